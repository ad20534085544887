"""Networks whose answers are known by hand, and checks of equivariance: for testing one's own tools."""

from typing import TYPE_CHECKING

from equiscope.foundations.lazy import lazy_names
from equiscope.models.controls import random_weights, shuffled_kernels
from equiscope.testing.checks import assert_equivariant
from equiscope.testing.fields import EquivarianceErrors, assert_fields_equivariant
from equiscope.testing.planted import LayerTruth, Planted, PlantedFamily, planted_network
from equiscope.testing.planted_circuits import PlantedCircuits, planted_circuits
from equiscope.testing.planted_fields import planted_fields, sample_crops
from equiscope.testing.planted_scales import planted_scales
from equiscope.testing.planted_sides import Oddity, planted_oddity
from equiscope.testing.planted_transformations import (
    PlantedOrbit,
    PlantedPose,
    PlantedTransformations,
    planted_transformation,
)
from equiscope.testing.rotating import equivariant_network

if TYPE_CHECKING:
    from equiscope.testing.battery import battery_scene
    from equiscope.testing.contract import check_transformation

__all__ = [
    "EquivarianceErrors",
    "LayerTruth",
    "Oddity",
    "Planted",
    "PlantedCircuits",
    "PlantedFamily",
    "PlantedOrbit",
    "PlantedPose",
    "PlantedTransformations",
    "assert_equivariant",
    "assert_fields_equivariant",
    "battery_scene",
    "check_transformation",
    "equivariant_network",
    "planted_circuits",
    "planted_fields",
    "planted_network",
    "planted_oddity",
    "planted_scales",
    "planted_transformation",
    "random_weights",
    "sample_crops",
    "shuffled_kernels",
]

# It stands on the commands, for which those who want a planted network need not wait.
__getattr__ = lazy_names(__name__, {"battery_scene": "battery", "check_transformation": "contract"})
