"""Tied templates put back into a trained network, and what it can still do, beside other ways to remove parameters."""

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
