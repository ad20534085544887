"""Train plain and designed twins under one budget."""

from equiscope.training.architectures import ARCHITECTURES, describe_network, designed, plain_twin
from equiscope.training.datasets import LabelledImages, open_labelled
from equiscope.training.descriptions import (
    Convolution,
    Description,
    Inception,
    Pool,
    load_description,
    parse_description,
)
from equiscope.training.equivariance import LayerEquivariance, measure_equivariance
from equiscope.training.loop import train
from equiscope.training.matching import MATCHES, Counts, count, match_budget
from equiscope.training.network import DesignedNetwork, to_plain
from equiscope.training.recipe import MINI_RECIPE, Recipe
from equiscope.training.record import Accuracy, Summary, TrainingRun, load_training, summarise

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
    "train",
]
