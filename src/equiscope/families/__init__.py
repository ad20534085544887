"""Families of units that are transformed copies of each other: what one is, and the search that finds them."""
