"""The views of the site, a folder each, and the records that they are made of."""
