"""The parameter argument: how many weights would be left if the units of a family shared theirs.

Units of a family are copies of one feature in K poses, so their kernels from an equivariant layer are one kernel in K
poses: tied, one of K is free. If a share r of the units of both layers is equivariant, the weights that stay are
``N_new / N_old = 1 - (K - 1) / K · r²``: for r = 0.5 and K = 8, 78 %. The article counts equivariant units alone; here
kernels that join invariant and equivariant units count too, each layer has its own families, and the network's
parameters are counted one by one.
"""

from equiscope.construction.budget.estimate import FORCED_SHARES, estimate_budget
from equiscope.construction.budget.formula import CountedRatio, count_ratio, predict_ratio
from equiscope.construction.budget.kinds import TOGETHER
from equiscope.construction.budget.results import (
    Budget,
    ConvolutionBudget,
    ForcedBudget,
    LayerBudget,
    PairBudget,
    TotalBudget,
    load_budget,
    save_budget,
)

__all__ = [
    "FORCED_SHARES",
    "TOGETHER",
    "Budget",
    "ConvolutionBudget",
    "CountedRatio",
    "ForcedBudget",
    "LayerBudget",
    "PairBudget",
    "TotalBudget",
    "count_ratio",
    "estimate_budget",
    "load_budget",
    "predict_ratio",
    "save_budget",
]
