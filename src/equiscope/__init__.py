"""equiscope: find the families of transformed copies inside a convolutional network.

Everything is loaded when it is first used, so that ``equiscope --help`` need not wait for torch.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from equiscope.families.family import Family, Member, Unit
    from equiscope.foundations.errors import EquiscopeError, MissingExtraError
    from equiscope.models import Model, load_model
    from equiscope.runs.store import Run, load_run
    from equiscope.stimuli import ImageSet, open_images
    from equiscope.surveys.survey import survey

__all__ = [
    "EquiscopeError",
    "Family",
    "ImageSet",
    "Member",
    "MissingExtraError",
    "Model",
    "Run",
    "Unit",
    "__version__",
    "load_model",
    "load_run",
    "open_images",
    "survey",
]

# The module in which each name is at home.
_HOMES = {
    "EquiscopeError": "foundations.errors",
    "Family": "families.family",
    "ImageSet": "stimuli",
    "Member": "families.family",
    "MissingExtraError": "foundations.errors",
    "Model": "models",
    "Run": "runs.store",
    "Unit": "families.family",
    "load_model": "models",
    "load_run": "runs.store",
    "open_images": "stimuli",
    "survey": "surveys.survey",
}


def __getattr__(name: str) -> Any:
    """Load what is used for the first time: a public name, or a module of the package."""
    if name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        setattr(sys.modules[__name__], name, value)
        return value
    from importlib.util import find_spec

    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
