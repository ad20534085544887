"""All families in a list."""
