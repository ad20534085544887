"""The network of a run: the one that the user names, or the run's own name for it where that names no code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from equiscope.foundations.received import built_in_name

if TYPE_CHECKING:
    from equiscope.models import Model
    from equiscope.runs.store import Run

__all__ = ["load_surveyed"]


def load_surveyed(run: Run, network: str | None, weights: Path | None, command: str) -> Model:
    """Load the network that a run surveyed.

    Parameters
    ----------
    run
        Whoever made it.
    network
        How the user names it; None takes the run's own name, if that is one of a built-in network.
    weights
        File of weights of a built-in network.
    command
        How the network is given to this command, for the message where it has to be.

    Raises
    ------
    EquiscopeError
        If the run's own name could be that of code, or the network cannot be loaded.
    """
    from equiscope.models import BUILT_IN, load_model

    return load_model(network or built_in_name(run.manifest["model"]["name"], BUILT_IN, command), weights)
