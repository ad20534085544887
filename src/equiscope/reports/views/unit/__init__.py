"""A unit: its stimuli, its tuning, what feeds it and what it feeds."""
