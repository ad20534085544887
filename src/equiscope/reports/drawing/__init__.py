"""Drawings that views and figures share: SVG, colours, members at their poses, kernels."""
