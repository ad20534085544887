"""Libraries that are there only where an extra is installed."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from equiscope.foundations.errors import EquiscopeError, MissingExtraError, packages_of

__all__ = ["import_extra"]


def import_extra(module: str, extra: str) -> Any:
    """Import a library that an extra of the package installs.

    Raises
    ------
    EquiscopeError
        If it is installed and fails to import; `MissingExtraError` if it is not installed.

    Examples
    --------
    >>> import_extra("math", "figures").pi > 3
    True
    """
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
