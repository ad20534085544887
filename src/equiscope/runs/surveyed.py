"""The network of a run: the one that the user gives, or the run's own name for it where that names no code."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from equiscope.foundations.received import built_in_name
from equiscope.models import BUILT_IN, Model, as_model
from equiscope.runs.run import Run

__all__ = ["surveyed_model"]


def surveyed_model(
    run: Run, model: Model | nn.Module | str | None, weights: str | Path | None, command: str
) -> Model:
    """Give the network that a run surveyed.

    Parameters
    ----------
    run
        Whoever made it.
    model
        What the user gives; None takes the run's own name, if that is one of a built-in network.
    weights
        File of weights of a built-in network.
    command
        How the network is given to this command, for the message where it has to be.

    Raises
    ------
    EquiscopeError
        If the run's own name could be that of code, or the network cannot be loaded.

    Examples
    --------
    >>> run = Run(Path("my-run"), {"model": {"name": "tiny"}})
    >>> surveyed_model(run, nn.Conv2d(3, 2, 3), None, "--model").name
    'Conv2d'
    """
    if model is None or model == "":
        model = built_in_name(run.manifest["model"]["name"], BUILT_IN, command)
    return as_model(model, weights)
