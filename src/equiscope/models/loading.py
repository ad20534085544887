"""A network by its name: built-in ones, and anybody's through adapters."""

from __future__ import annotations

import importlib
from pathlib import Path

from torch import nn

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.models import adapters, onnx_files, trained
from equiscope.models.controls import random_weights, shuffled_kernels
from equiscope.models.model import Model
from equiscope.models.weights import require_file

__all__ = ["BUILT_IN", "as_model", "load_model"]

BUILT_IN = ("googlenet", "inception5h", "mini", "squeezenet")

_OTHER_FORMS = (
    "Or give package.module:factory, path/file.py:factory, timm:NAME, torchvision:NAME, "
    "or a file ending in .onnx or .safetensors; with -random or -shuffled at its end for a control"
)
# Files that hold weights alone or belong to other frameworks, by their endings, and what to do with them.
_FILES_OF_OTHERS = {
    (
        ".pth",
        ".pt",
        ".ckpt",
        ".bin",
        ".pkl",
        ".pickle",
        ".tar",
    ): "holds weights and not the network that they belong to: "
    "write a Python file with a factory that builds the network and loads them, and give path/file.py:FACTORY "
    "(docs/networks.md has one)",
    (
        ".h5",
        ".hdf5",
        ".keras",
        ".tflite",
        ".mlmodel",
        ".engine",
        ".params",
    ): "is a file of another framework: export the network to ONNX there and give the file ending in .onnx",
    (
        ".pb",
        ".caffemodel",
        ".npz",
    ): "is a file of weights: give the name of the network first, as inception5h, googlenet "
    "or squeezenet, and the file with --weights; other networks come through ONNX or a factory",
}
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
        network that brings its own; if a control would be none; `MissingExtraError` if an optional dependency is
        missing.

    Examples
    --------
    >>> load_model("mini").name, load_model("mini-shuffled").name
    ('mini', 'mini-shuffled')
    """
    for end, control in _CONTROLS.items():
        if spec.endswith(end):
            # What -random replaces need not be fetched.
            return control(_load(spec.removesuffix(end), weights, is_trained=end != "-random"))
    return _load(spec, weights, is_trained=True)


def as_model(model: Model | nn.Module | str, weights: str | Path | None = None) -> Model:
    """Give the network that somebody means: one that is there, a module of torch, or a name for `load_model`.

    Parameters
    ----------
    model
        A `Model`; any module that takes (image, 3, y, x) RGB in [0, 1], which is called by the name of its class; or a
        name.
    weights
        File of weights for the name of a built-in network.

    Raises
    ------
    EquiscopeError
        If ``weights`` are given beside a network that is there, and as `load_model` does.

    Examples
    --------
    >>> as_model("mini").name
    'mini'
    >>> as_model(nn.ReLU()).name
    'ReLU'
    """
    if isinstance(model, str):
        return load_model(model, weights)
    if weights is not None:
        raise EquiscopeError(
            f"weights {weights} cannot be given to a network that is there, which has its own: leave them out, or name "
            f"one of {', '.join(BUILT_IN)} in its place"
        )
    return model if isinstance(model, Model) else Model(model, type(model).__name__)


def _load(spec: str, weights: str | Path | None, is_trained: bool) -> Model:
    """Give the network of a name without the end of a control."""
    if spec in BUILT_IN:
        if weights is not None:
            require_file(Path(weights))
        built = importlib.import_module(f"equiscope.models.{spec}").build(
            None if weights is None else Path(weights)
        )
        if not isinstance(built, Model):
            raise TypeError(f"equiscope.models.{spec}.build returned a {type(built).__name__}")
        return built
    is_onnx, is_stored = spec.endswith(".onnx"), spec.endswith(".safetensors")
    if not is_onnx and not is_stored and ":" not in spec:
        raise _no_network(spec)
    if weights is not None:
        raise EquiscopeError(
            f"--weights {weights} cannot be used with {spec!r}, which brings its own weights: "
            f"leave it out, or use one of {', '.join(BUILT_IN)}"
        )
    if is_onnx:
        return onnx_files.from_onnx(Path(spec))
    if is_stored:
        return trained.build(Path(spec))
    library, _, name = spec.partition(":")
    if library == "timm":
        return adapters.from_timm(name, is_trained=is_trained)
    if library == "torchvision":
        return adapters.from_torchvision(name, is_trained=is_trained)
    return adapters.from_factory(spec)


def _no_network(spec: str) -> EquiscopeError:
    """Word what a text that names no network probably is, and what to give instead."""
    end = Path(spec).suffix.lower()
    if end == ".py":
        return EquiscopeError(
            f"{spec!r} names a file and no factory: give {spec}:FACTORY, the name of a function in it that returns the "
            "network"
        )
    for ends, what in _FILES_OF_OTHERS.items():
        if end in ends:
            return EquiscopeError(f"{spec!r} {what}")
    if spec and Path(spec).is_dir():
        return EquiscopeError(
            f"{spec!r} is a folder: give a file in it, as path/file.py:factory, or one ending in .onnx or .safetensors"
        )
    if "/" in spec or "\\" in spec or Path(spec).is_file():
        there = "is no network that is known by its ending" if Path(spec).is_file() else "is not there"
        return EquiscopeError(f"the file {spec!r} {there}. {_OTHER_FORMS}")
    return EquiscopeError(f"{unknown_name('model', spec, BUILT_IN)} {_OTHER_FORMS}")
