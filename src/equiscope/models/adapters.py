"""Other people's networks: Python factories, timm, torchvision and ONNX files."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equiscope.errors import EquiscopeError, MissingExtraError, packages_of, unknown_name
from equiscope.models.model import Model

__all__ = ["from_factory", "from_onnx", "from_timm", "from_torchvision"]


@contextmanager
def _importable_from(folder: Path) -> Iterator[None]:
    """Let imports look into a folder first, as Python does for a script in it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _module_from_file(path: Path) -> types.ModuleType:
    name = f"_equiscope_factory_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise EquiscopeError(f"cannot import {path}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    spec.loader.exec_module(module)
    return module


def from_factory(spec: str) -> Model:
    """Call a factory that the user names, and take the network that it returns.

    Parameters
    ----------
    spec
        ``package.module:factory`` or ``path/file.py:factory``. Packages are also looked for in the current
        folder. The factory takes no arguments and returns a `torch.nn.Module` that takes RGB in [0, 1],
        shape (image, 3, y, x), or an `equiscope.Model` with its own preprocessing.

    Raises
    ------
    EquiscopeError
        If the file, the package or the factory does not exist, raises, or returns something else.
    """
    place, _, factory_name = spec.rpartition(":")
    path = Path(place)
    is_file = path.suffix == ".py"
    if is_file and not path.is_file():
        raise EquiscopeError(f"there is no file {place}: give the model as path/file.py:factory")
    with _importable_from(path.resolve().parent if is_file else Path.cwd()):
        try:
            module = _module_from_file(path) if is_file else importlib.import_module(place)
        except Exception as error:
            raise EquiscopeError(
                f"importing {place} for the model {spec!r} failed: {type(error).__name__}: {error}"
            ) from error
        if not hasattr(module, factory_name):
            known = [name for name, value in vars(module).items() if callable(value) and name[0] != "_"]
            raise unknown_name(f"factory in {place}", factory_name, known)
        factory = getattr(module, factory_name)
        if isinstance(factory, nn.Module | Model):
            made: object = factory
        elif callable(factory):
            try:
                made = factory()
            except Exception as error:
                raise EquiscopeError(
                    f"the factory {spec!r} raised {type(error).__name__}: {error}; "
                    "it must work without arguments"
                ) from error
        else:
            raise EquiscopeError(
                f"{spec!r} is a {type(factory).__name__}, expected a function without arguments"
            )
    if isinstance(made, Model):
        return made
    if isinstance(made, nn.Module):
        return Model(made, factory_name)
    raise EquiscopeError(
        f"the factory {spec!r} returned a {type(made).__name__}, "
        "expected a torch.nn.Module or an equiscope.Model"
    )


def _import_extra(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module} cannot be imported ({error}): pip install {packages_of(extra)}"
        ) from error
    except Exception as error:
        # A torchvision built for another torch fails with a RuntimeError about its operators.
        raise EquiscopeError(
            f"{module} is installed but fails to import ({type(error).__name__}: {error}): "
            f"install a build of {packages_of(extra)} that matches torch {torch.__version__}"
        ) from error


def _standardise(mean: Sequence[float], sd: Sequence[float]) -> Callable[[Tensor], Tensor]:
    def preprocess(images: Tensor) -> Tensor:
        centre = images.new_tensor(mean).view(-1, 1, 1)
        return (images - centre) / images.new_tensor(sd).view(-1, 1, 1)

    return preprocess


def from_timm(name: str) -> Model:
    """Take a pretrained network from timm, with its own mean and standard deviation.

    Raises
    ------
    EquiscopeError
        If timm does not know the name, has no weights for it, or cannot fetch them; `MissingExtraError`
        without timm.
    """
    timm = _import_extra("timm", "timm")
    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())
    if not timm.is_model_pretrained(name):
        raise EquiscopeError(
            f"timm has no pretrained weights for {name!r}: choose from timm.list_pretrained()"
        )
    try:
        module = timm.create_model(name, pretrained=True)
    except Exception as error:
        raise EquiscopeError(
            f"timm could not build {name!r} with its weights: {type(error).__name__}: {error}"
        ) from error
    given = module.pretrained_cfg
    return Model(
        module.eval(),
        name,
        _standardise(given["mean"], given["std"]),
        input_size_px=int(given["input_size"][-1]),
    )


def from_torchvision(name: str) -> Model:
    """Take a pretrained classifier from torchvision, with its weights' own mean and standard deviation.

    Raises
    ------
    EquiscopeError
        If torchvision does not know the name or cannot fetch the weights; `MissingExtraError` without
        torchvision.
    """
    zoo = _import_extra("torchvision.models", "torchvision")
    known = zoo.list_models(module=zoo)
    if name not in known:
        raise unknown_name("torchvision model", name, known)
    weights = zoo.get_model_weights(name).DEFAULT
    try:
        module = zoo.get_model(name, weights=weights)
    except Exception as error:
        raise EquiscopeError(
            f"torchvision could not build {name!r} with its weights: {type(error).__name__}: {error}"
        ) from error
    given = weights.transforms()
    return Model(
        module.eval(), name, _standardise(given.mean, given.std), input_size_px=int(given.crop_size[0])
    )


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Stand in for torchvision during an import that names it and does not use it."""
    if "torchvision" in sys.modules:
        yield
        return
    stand_ins = {"torchvision": types.ModuleType("torchvision"), "torchvision.ops": types.ModuleType("ops")}
    vars(stand_ins["torchvision"])["ops"] = stand_ins["torchvision.ops"]
    vars(stand_ins["torchvision.ops"])["roi_align"] = None
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)


def from_onnx(path: Path) -> Model:
    """Convert an ONNX file to a PyTorch module; it must take RGB in [0, 1], shape (image, 3, y, x).

    Raises
    ------
    EquiscopeError
        If the file does not exist, or cannot be converted; `MissingExtraError` without onnx2torch.

    Notes
    -----
    onnx2torch imports torchvision for two operators of detection networks (``NonMaxSuppression`` and
    ``RoiAlign``). torchvision needs the very build that matches torch, so it is left out: networks with
    these operators do not run.
    """
    if not path.is_file():
        raise EquiscopeError(f"there is no file {path}: give an existing .onnx file")
    with _without_torchvision():
        converter = _import_extra("onnx2torch", "onnx")
    try:
        module: nn.Module = converter.convert(str(path))
    except Exception as error:
        raise EquiscopeError(
            f"could not convert {path} from ONNX: {type(error).__name__}: {error}. "
            "Give the network as file.py:factory instead, or export it again in opset 17: "
            "torch.onnx.export(..., opset_version=17, dynamo=False)"
        ) from error
    return Model(module.eval(), path.stem)
