"""The first view: what was found, the network as a strip of layers, and the shares by depth."""
