"""Networks under study: built-in ones, and anybody's through adapters."""

from __future__ import annotations

import importlib
from pathlib import Path

from equiscope.errors import EquiscopeError, unknown_name
from equiscope.models import adapters, trained
from equiscope.models.controls import random_weights, shuffled_kernels
from equiscope.models.model import Model
from equiscope.models.weights import require_file

__all__ = ["BUILT_IN", "Model", "load_model"]

BUILT_IN = ("googlenet", "inception5h", "mini", "squeezenet")

_OTHER_FORMS = (
    "Or give package.module:factory, path/file.py:factory, timm:NAME, torchvision:NAME, "
    "or a file ending in .onnx or .safetensors; with -random or -shuffled at its end for a control"
)
# How the names of controls end, as those of the models that they return do.
_CONTROLS = {"-random": random_weights, "-shuffled": shuffled_kernels}


def load_model(spec: str, weights: str | Path | None = None) -> Model:
    """Give the network that a short text names.

    Parameters
    ----------
    spec
        A built-in name (`BUILT_IN`), ``package.module:factory``, ``path/file.py:factory``, ``timm:NAME``,
        ``torchvision:NAME``, or the path of an ``.onnx`` file or of a ``model.safetensors`` that ``equiscope train``
        wrote. With ``-random`` at its end, the same network with fresh weights, and with ``-shuffled`` with the cells
        of each kernel in random order: what a survey finds in them was not learnt.
    weights
        File of weights for a built-in network, instead of the cache or a download.

    Returns
    -------
    Model
        The network, in evaluation mode where it is built in.

    Raises
    ------
    EquiscopeError
        If there is no such network, its weights cannot be had or do not fit, or ``weights`` is given to a
        network that brings its own; `MissingExtraError` if an optional dependency is missing.
    """
    for end, control in _CONTROLS.items():
        if spec.endswith(end):
            return control(load_model(spec.removesuffix(end), weights))
    if spec in BUILT_IN:
        if weights is not None:
            require_file(Path(weights))
        built = importlib.import_module(f"equiscope.models.{spec}").build(
            None if weights is None else Path(weights)
        )
        if not isinstance(built, Model):
            raise TypeError(f"equiscope.models.{spec}.build returned a {type(built).__name__}")
        return built
    is_onnx, is_trained = spec.endswith(".onnx"), spec.endswith(".safetensors")
    if spec.endswith(".py"):
        raise EquiscopeError(
            f"{spec!r} names a file and no factory: give {spec}:FACTORY, the name of a function in it that returns the "
            "network"
        )
    if not is_onnx and not is_trained and ":" not in spec:
        raise EquiscopeError(f"{unknown_name('model', spec, BUILT_IN)} {_OTHER_FORMS}")
    if weights is not None:
        raise EquiscopeError(
            f"--weights {weights} cannot be used with {spec!r}, which brings its own weights: "
            f"leave it out, or use one of {', '.join(BUILT_IN)}"
        )
    if is_onnx:
        return adapters.from_onnx(Path(spec))
    if is_trained:
        return trained.build(Path(spec))
    library, _, name = spec.partition(":")
    if library == "timm":
        return adapters.from_timm(name)
    if library == "torchvision":
        return adapters.from_torchvision(name)
    return adapters.from_factory(spec)
