"""All circuits of a run: the network, and lists that are loaded when opened."""
