"""Networks under study: built-in ones, and anybody's through adapters.

``load_model("mini")`` gives a `Model`: a network whose layers have names, and which is lent, not changed. Both are
loaded when they are first used, so that what is only written down about a network can be read without torch.
"""

from typing import TYPE_CHECKING

from equiscope.foundations.lazy import lazy_names

if TYPE_CHECKING:
    from equiscope.models.loading import BUILT_IN, as_model, load_model
    from equiscope.models.model import Model

__all__ = ["BUILT_IN", "Model", "as_model", "load_model"]

__getattr__ = lazy_names(
    __name__, {"BUILT_IN": "loading", "Model": "model", "as_model": "loading", "load_model": "loading"}
)
