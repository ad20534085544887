"""The survey of a network: its call, its stages, the pass over the images."""
