"""equiscope: find the families of transformed copies inside a convolutional network.

Each command of ``equiscope`` is a function here, of the same name: ``equiscope survey mini`` is
``equiscope.survey("mini")``. Everything is loaded when it is first used: ``equiscope --help`` and
``equiscope.load_run(...)`` do not wait for torch.
"""

from typing import TYPE_CHECKING

from equiscope.foundations.lazy import lazy_names

__version__ = "0.2.0"

if TYPE_CHECKING:
    from equiscope.commands.budget import budget
    from equiscope.commands.circuits import circuits
    from equiscope.commands.compare import compare
    from equiscope.commands.design import design
    from equiscope.commands.export import export
    from equiscope.commands.featurevis import featurevis
    from equiscope.commands.figure import figure
    from equiscope.commands.layers import layers
    from equiscope.commands.open import open
    from equiscope.commands.plan import plan
    from equiscope.commands.report import report
    from equiscope.commands.simplify import simplify
    from equiscope.commands.survey import survey
    from equiscope.commands.tally import tally
    from equiscope.commands.train import train
    from equiscope.commands.verify import verify
    from equiscope.families.family import Family, Member, Unit
    from equiscope.foundations.errors import EquiscopeError, MissingExtraError
    from equiscope.models import Model, load_model
    from equiscope.runs.run import Run, load_run
    from equiscope.stimuli import ImageSet, open_images

__all__ = [  # noqa: RUF022 - in groups
    # The commands, in the order of their help.
    "survey", "verify", "circuits", "featurevis", "budget", "simplify", "design", "compare", "tally", "report", "open",
    "layers", "plan", "figure", "train", "export",
    # What they are given.
    "load_run", "load_model", "open_images",
    # What they return.
    "Run", "Model", "ImageSet", "Family", "Member", "Unit",
    # What they raise.
    "EquiscopeError", "MissingExtraError",
    "__version__",
]  # fmt: skip

# The module in which each name is at home; a command's is the module of its name in `commands`.
_HOMES = {
    **{name: f"commands.{name}" for name in __all__[:16]},
    **dict.fromkeys(("Family", "Member", "Unit"), "families.family"),
    **dict.fromkeys(("EquiscopeError", "MissingExtraError"), "foundations.errors"),
    **dict.fromkeys(("Model", "load_model"), "models"),
    **dict.fromkeys(("Run", "load_run"), "runs.run"),
    **dict.fromkeys(("ImageSet", "open_images"), "stimuli"),
}

__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
