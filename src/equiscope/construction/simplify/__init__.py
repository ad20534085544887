"""Tied templates put back into a trained network: how much of its accuracy stays.

The weights between two families are replaced by the nearest ones that are copies of one template. If the network still
classifies, the poses that a survey found are those in which it uses its units. Beside it stand networks that lost as
many parameters otherwise: by wrong poses, by pruning, by low rank.
"""

from equiscope.construction.simplify.curve import Curve
from equiscope.construction.simplify.evaluation import Accuracy, count_logits
from equiscope.construction.simplify.labelled import EvaluationImages, open_evaluation
from equiscope.construction.simplify.result import (
    METHODS,
    TRANSFORMATIONS,
    Convolution,
    Point,
    Simplification,
    load_simplification,
)
from equiscope.construction.simplify.simplification import simplify_run

__all__ = [
    "METHODS",
    "TRANSFORMATIONS",
    "Accuracy",
    "Convolution",
    "Curve",
    "EvaluationImages",
    "Point",
    "Simplification",
    "count_logits",
    "load_simplification",
    "open_evaluation",
    "simplify_run",
]
