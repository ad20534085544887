"""The site of a run: a folder of plain files that opens from disk, its pages, and how it is served."""
