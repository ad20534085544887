"""equiscope: find the families of transformed copies inside a convolutional network."""

__version__ = "0.1.0"

from equiscope.errors import EquiscopeError, MissingExtraError
from equiscope.families import Family, Member, Unit
from equiscope.models import Model, load_model
from equiscope.stimuli import ImageSet, open_images
from equiscope.store import Run, load_run
from equiscope.survey import survey

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
