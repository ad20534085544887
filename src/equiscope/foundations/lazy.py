"""Names that a package loads when they are first used, so that what needs no torch does not wait for it."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Give the ``__getattr__`` of a package that loads its names, and its modules, when they are first used.

    Parameters
    ----------
    package
        The package's ``__name__``.
    homes
        The module, relative to the package, in which each name is at home.

    Examples
    --------
    >>> load = lazy_names("json", {"JSONDecoder": "decoder"})
    >>> load("JSONDecoder").__module__
    'json.decoder'
    >>> load("tool").__name__
    'json.tool'
    """

    def load(name: str) -> Any:
        if name in homes:
            value = getattr(import_module(f"{package}.{homes[name]}"), name)
            # A module of the same name may have put itself there while it was imported.
            setattr(sys.modules[package], name, value)
            return value
        from importlib.util import find_spec

        if not name.startswith("_") and find_spec(f"{package}.{name}") is not None:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load
