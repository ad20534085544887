"""Tuning to stimuli drawn from formulas."""
