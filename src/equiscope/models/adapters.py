"""Other people's networks: Python factories, timm and torchvision."""

from __future__ import annotations

import importlib
import importlib.util
import random
import re
import sys
import sysconfig
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.models.borrowing import keeping_random_state
from equiscope.models.extras import import_extra
from equiscope.models.leaving import no_exit
from equiscope.models.model import Model

# Words of factories' names that tell nothing of the network.
_SAY_NOTHING = frozenset(
    "a build create factory fn get init load main make model my net network new the".split()
)

__all__ = ["from_factory", "from_timm", "from_torchvision"]


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
        If the file, the package or the factory does not exist, raises, ends the program, or returns something else.

    Examples
    --------
    >>> from_factory("torch.nn:Identity").name
    'Identity'
    """
    place, _, factory_name = spec.rpartition(":")
    path = Path(place)
    is_file = path.suffix == ".py"
    if is_file and not path.is_file():
        raise EquiscopeError(f"there is no file {place}: give the model as path/file.py:factory")
    with _importable_from(path.resolve().parent if is_file else Path.cwd()):
        try:
            with no_exit(f"importing {place} for the model {spec!r}"):
                module = _module_from_file(path) if is_file else importlib.import_module(place)
        except EquiscopeError:
            raise
        except Exception as error:
            raise EquiscopeError(
                f"importing {place} for the model {spec!r} failed: {_told(error)}; "
                "mend it until Python imports it by itself"
            ) from error
        if not hasattr(module, factory_name):
            known = [name for name, value in vars(module).items() if callable(value) and name[0] != "_"]
            raise unknown_name(f"factory in {place}", factory_name, known)
        factory = getattr(module, factory_name)
        made = factory if isinstance(factory, nn.Module | Model) else _call(factory, spec)
    if isinstance(made, Model):
        return made
    if isinstance(made, nn.Module):
        return Model(
            made, _telling_name(factory_name, made, path.stem if is_file else place.rpartition(".")[2])
        )
    raise EquiscopeError(
        f"the factory {spec!r} returned a {type(made).__name__}, "
        "expected a torch.nn.Module or an equiscope.Model"
    )


def _call(factory: object, spec: str) -> object:
    """Call a factory; its own errors are told with their place."""
    if not callable(factory):
        raise EquiscopeError(f"{spec!r} is a {type(factory).__name__}, expected a function without arguments")
    try:
        with no_exit(f"the factory {spec!r}"):
            return factory()
    except EquiscopeError:
        raise
    except Exception as error:
        # A call that did not fit was refused before anything of the factory ran.
        is_refused = isinstance(error, TypeError) and error.__traceback__ and not error.__traceback__.tb_next
        advice = "it must work without arguments" if is_refused else "mend it there"
        raise EquiscopeError(f"the factory {spec!r} raised {_told(error)}; {advice}") from error


def _told(error: Exception) -> str:
    """Word an error of other people's code: what it says, and the last place of theirs that it came through."""
    words = f"{type(error).__name__}: {error}".removesuffix(": ")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_library(frame.filename)]
    if not frames:
        return words
    last = frames[-1]
    return f"{words} ({last.filename}, line {last.lineno}, in {last.name}: {last.line})"


def _is_library(file: str) -> bool:
    """Whether a file is Python's, an installed package's or this package's own."""
    folders = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    return file.startswith(("<", *folders, str(Path(__file__).parents[1])))


def _telling_name(factory_name: str, module: nn.Module, place: str) -> str:
    """Name a network after its factory; where that says nothing, after its class, or the file that it came from."""
    words = set(re.findall("[a-z]+", factory_name.lower()))
    if words - _SAY_NOTHING:
        return factory_name
    own = type(module)
    return place if own.__module__.partition(".")[0] == "torch" else own.__name__


def _standardise(mean: Sequence[float], sd: Sequence[float]) -> Callable[[Tensor], Tensor]:
    mean, sd = tuple(map(float, mean)), tuple(map(float, sd))

    def preprocess(images: Tensor) -> Tensor:
        centre = images.new_tensor(mean).view(-1, 1, 1)
        return (images - centre) / images.new_tensor(sd).view(-1, 1, 1)

    return preprocess


def from_timm(name: str, *, is_trained: bool = True) -> Model:
    """Take a network from timm, with the mean and standard deviation of its own weights.

    Parameters
    ----------
    name
        One of ``timm.list_models()``.
    is_trained
        Whether with its weights, which may be downloaded; or as it is initialised, always alike.

    Raises
    ------
    EquiscopeError
        If timm does not know the name, has no weights for it, or cannot fetch them; `MissingExtraError`
        without timm.

    Examples
    --------
    >>> model = from_timm("resnet18", is_trained=False)
    >>> model.name, model.input_size_px
    ('resnet18', 224)
    """
    timm = import_extra("timm", "timm")
    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())
    if is_trained and not timm.is_model_pretrained(name):
        raise EquiscopeError(
            f"timm has no pretrained weights for {name!r}: choose from timm.list_pretrained(), or give "
            f"timm:{name}-random"
        )
    try:
        with _alike():
            module = timm.create_model(name, pretrained=is_trained)
        given = module.pretrained_cfg
        prepare = _standardise(given["mean"], given["std"])
        size_px = int(given["input_size"][-1])
    except Exception as error:
        raise EquiscopeError(
            f"timm could not build {name!r} with its weights: {type(error).__name__}: {error}"
            if is_trained
            else f"timm could not build {name!r}: {type(error).__name__}: {error}"
        ) from error
    return Model(module.eval(), name, prepare, input_size_px=size_px)


def from_torchvision(name: str, *, is_trained: bool = True) -> Model:
    """Take a classifier from torchvision, with its weights' own mean and standard deviation.

    Parameters
    ----------
    name
        One of ``torchvision.models.list_models()``.
    is_trained
        Whether with its weights, which may be downloaded; or as it is initialised, always alike.

    Raises
    ------
    EquiscopeError
        If torchvision does not know the name or cannot fetch the weights, or it is no classifier of images;
        `MissingExtraError` without torchvision.

    Examples
    --------
    >>> model = from_torchvision("resnet18", is_trained=False)
    >>> model.name, model.input_size_px, model.layer_names[0]
    ('resnet18', 224, 'conv1')
    """
    zoo = import_extra("torchvision.models", "torchvision")
    known = zoo.list_models(module=zoo)
    if name not in known:
        raise unknown_name("torchvision model", name, known)
    weights = zoo.get_model_weights(name).DEFAULT
    try:
        with _alike():
            module = zoo.get_model(name, weights=weights if is_trained else None)
        given = weights.transforms()
        prepare = _standardise(given.mean, given.std)
        size_px = int(given.crop_size[0])
    except Exception as error:
        raise EquiscopeError(
            f"torchvision could not build {name!r} with its weights: {type(error).__name__}: {error}"
            if is_trained
            else f"torchvision could not build {name!r}: {type(error).__name__}: {error}"
        ) from error
    return Model(module.eval(), name, prepare, input_size_px=size_px)


@contextmanager
def _alike() -> Iterator[None]:
    """Draw the same first weights each time, and leave the random state as it is."""
    with keeping_random_state():
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - what libraries draw from
        torch.manual_seed(0)
        yield
