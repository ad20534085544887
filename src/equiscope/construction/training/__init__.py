"""Train twins, a plain network and a designed one, under one budget.

The designed twin has equivariant, invariant and plain units in the shares that it is given, and as many channels,
parameters or multiply-adds as the plain one. Both are trained by one recipe on the same images in the same order, and
exported as ordinary convolutions.
"""

from equiscope.construction.training.architectures import (
    ARCHITECTURES,
    describe_network,
    designed,
    plain_twin,
)
from equiscope.construction.training.datasets import LabelledImages, open_labelled
from equiscope.construction.training.descriptions import (
    Convolution,
    Description,
    Inception,
    Pool,
)
from equiscope.construction.training.equivariance import LayerEquivariance, measure_equivariance
from equiscope.construction.training.matching import MATCHES, Counts, count, match_budget
from equiscope.construction.training.network import DesignedNetwork, to_plain
from equiscope.construction.training.parsing import load_description, parse_description
from equiscope.construction.training.recipe import MINI_RECIPE, Recipe
from equiscope.construction.training.record import Accuracy, Summary, TrainingRun, load_training, summarise
from equiscope.construction.training.starting import Wish, train_network

__all__ = [
    "ARCHITECTURES",
    "MATCHES",
    "MINI_RECIPE",
    "Accuracy",
    "Convolution",
    "Counts",
    "Description",
    "DesignedNetwork",
    "Inception",
    "LabelledImages",
    "LayerEquivariance",
    "Pool",
    "Recipe",
    "Summary",
    "TrainingRun",
    "Wish",
    "count",
    "describe_network",
    "designed",
    "load_description",
    "load_training",
    "match_budget",
    "measure_equivariance",
    "open_labelled",
    "parse_description",
    "plain_twin",
    "summarise",
    "to_plain",
    "train_network",
]
