"""The parameter argument: how many weights would be left if equivariant units were tied, predicted and counted.

Of the kernels from one layer to the next, those that join equivariant or invariant units to equivariant ones are
copies of each other: one in K is free, K being the copies in a family. So are those from equivariant to invariant
units. The article counts equivariant units alone, with one share r and one K: ``N_new / N_old = 1 - (K - 1) / K · r²``.
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
