"""The parameters: what tying would save."""
