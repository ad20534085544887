"""What readers say of families by eye: their answers, and how often they say yes."""
