"""The network with its families tied: what that removes and costs."""
