"""Units outside a family as a null of its score: how alike to its members others are, at the poses that suit them.

Poses that are scrambled tell whether units share a pose. They do not tell whether the members are more alike than units
of one tuning are. Strangers do: each of the layer's other units is moved to where it agrees best with the members, by
the images that verify, which is more than a member may do. A family whose score is no higher than that of its
strangers is a group of units that are tuned to poses, like the others.
"""

from __future__ import annotations

from math import nan

import numpy as np
from numpy.typing import NDArray

__all__ = ["strangers_percentile"]

# Of fewer strangers the 95th percentile is the highest, or nearly.
_LEAST_STRANGERS = 5


def strangers_percentile(fits: NDArray[np.float64]) -> float:
    """Give the 95th percentile of how alike a family's strangers are to its members; NaN for fewer than five.

    Examples
    --------
    >>> strangers_percentile(np.linspace(0, 1, 21)), strangers_percentile(np.ones(2))
    (0.95, nan)
    """
    measured = fits[np.isfinite(fits)]
    return round(float(np.quantile(measured, 0.95)), 6) if len(measured) >= _LEAST_STRANGERS else nan
