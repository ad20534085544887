"""Synthetic stimuli, drawn from formulas, and what a network's units answer to them."""
