"""A layer with all its units."""
