"""equiscope: find the families of transformed copies inside a convolutional network."""

__version__ = "0.1.0"
