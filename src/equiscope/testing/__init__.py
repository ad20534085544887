"""Networks whose answers are known by hand, and checks of equivariance: for testing one's own tools."""

from equiscope.testing.checks import assert_equivariant
from equiscope.testing.controls import random_weights, shuffled_kernels
from equiscope.testing.planted import LayerTruth, Planted, PlantedFamily, planted_network
from equiscope.testing.rotating import equivariant_network

__all__ = [
    "LayerTruth",
    "Planted",
    "PlantedFamily",
    "assert_equivariant",
    "equivariant_network",
    "planted_network",
    "random_weights",
    "shuffled_kernels",
]
