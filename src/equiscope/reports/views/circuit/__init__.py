"""A circuit: its weights as they are and in order of relative pose."""
