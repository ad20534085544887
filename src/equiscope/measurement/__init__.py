"""Responses of units to the stimuli that excite them most, under every element of a transformation."""
