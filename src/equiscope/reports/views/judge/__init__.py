"""The page on which a reader judges families by eye."""
