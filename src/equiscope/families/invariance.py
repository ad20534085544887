"""Which units vary under a transformation: those that are unlike themselves moved, or less so than another unit is.

Moved by g, an invariant unit still answers like itself, so it has no pose to find. A unit with a weak pose is nearly
like itself, too. It has one if it has copies: then some other unit is much nearer to it moved than it is itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equiscope.families.family import INVARIANCE_CUT

__all__ = ["does_vary"]

Floats = NDArray[np.float64]

# The ratio that parts members from outliers in families, too (`equiscope.families.linkage`).
_MUCH_NEARER = 3.0


def does_vary(own: Floats, others: Floats) -> NDArray[np.bool_]:
    """Tell which units may have a pose.

    Parameters
    ----------
    own
        Lowest correlation of each unit with itself moved, shape (unit,).
    others
        Highest correlation of each with another unit moved, shape (unit,).

    Examples
    --------
    The second unit is nearly like itself and has an exact copy; the third has none.

    >>> does_vary(np.array([0.2, 0.75, 0.75]), np.array([0.5, 0.99, 0.8])).tolist()
    [True, True, False]
    """
    return np.asarray((own <= INVARIANCE_CUT) | (_MUCH_NEARER * (1 - others) < 1 - own))
