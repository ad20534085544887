"""The network and the images of a run, from what the user gives: the run's own name for a network may be enough."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from equiscope.foundations.received import built_in_name
from equiscope.models import BUILT_IN, Model, as_model
from equiscope.runs.run import Run
from equiscope.stimuli import ImageSet

__all__ = ["surveyed_images", "surveyed_model"]


def surveyed_images(run: Run, images: ImageSet) -> ImageSet:
    """Give those of some images that a run surveyed: a look is shown some of a set alone.

    Where the run surveyed others, the images are given as they are, for whoever asks to refuse them.

    Examples
    --------
    >>> from equiscope import open_images
    >>> images = open_images()
    >>> part = images.spread(10)
    >>> run = Run(Path("my-run"), {"images": {"n_images": 10, "fingerprint": part.fingerprint}})
    >>> len(surveyed_images(run, images)), surveyed_images(run, part) is part
    (10, True)
    """
    surveyed = run.manifest["images"]
    part = images.spread(surveyed["n_images"])
    return part if part.fingerprint == surveyed["fingerprint"] else images


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
