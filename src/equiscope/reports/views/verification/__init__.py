"""What drawn stimuli say about a family, which the view of a family shows."""
