"""Which class the weights between two families that turn have: the richest, or a simpler one that explains as much.

Three templates are fitted: over the difference of poses, over the target's poses alone, over the source's alone. The
first holds the others as special cases. So a simpler class is one in which the *gain* is nothing:

    gain = (left unexplained by the simpler template - left unexplained by the richest) / energy of the weights

Weights that are means over stimuli have a sampling error, which no template explains, and which costs the richest most
because it has most to fit. What it leaves is known from a draw of it (`Tie.noise_residual`) and taken off both. Where
the interval of the gain that remains holds both nothing and something worth having, the end in question is
*undetermined*: that it turns is neither shown nor refuted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from equiscope.evidence.circuits.circuit import UNDETERMINED, Kinds
from equiscope.evidence.circuits.ends import End
from equiscope.evidence.circuits.layer_pair import LayerPair, problem_of
from equiscope.evidence.circuits.ties import Tie, member_resamples, permutations

__all__ = ["ClassFit", "choose_class", "fit_classes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A simpler class is kept unless the richer one explains more by this much, significantly.
_WORTH_HAVING = 0.01


@dataclass(frozen=True)
class ClassFit:
    """What both ends are in one class, and how well its template explains the weights."""

    kinds: Kinds
    tie: Tie


def fit_classes(pair: LayerPair, source: End, target: End, draws: Ints) -> list[ClassFit]:
    """Fit the classes that weights between two families may have, the richest first.

    Parameters
    ----------
    pair, source, target
        The block.
    draws
        Permutations of the poses of the members that are left out in turn, shape (draw, member).

    Returns
    -------
    list of ClassFit
        Simpler ones where both ends turn in the plane and the end that stays has no hues.

    Examples
    --------
    >>> from equiscope.evidence.circuits.paths import ExpandedWeights
    >>> from equiscope.testing import planted_circuits
    >>> planted, place = planted_circuits(), np.arange(-4.0, 5.0)
    >>> kernels = planted.model.module.late.weight.detach().numpy()
    >>> weights = ExpandedWeights("early", "late", kernels, place, place, 1.0, ())
    >>> pair = LayerPair(weights, planted.families, planted.units)
    >>> draws = permutations(pair.targets[0].own_poses, 9, np.random.default_rng(0))
    >>> fits = fit_classes(pair, pair.sources[0], pair.targets[0], draws)
    >>> [fit.kinds for fit in fits]
    [('equivariant', 'equivariant'), ('invariant', 'equivariant'), ('equivariant', 'invariant')]
    >>> bool(fits[0].tie.r2[0] > 0.99 > fits[1].tie.r2[0])
    True
    """
    found = [ClassFit((source.rotation, target.rotation), problem_of(pair, source, target).tie(draws))]
    if source.angles is None or target.angles is None or source.hues is not None:
        return found
    problem = problem_of(pair, _still(source), target)
    found.append(ClassFit(("invariant", "equivariant"), problem.tie(draws)))
    if target.hues is None:
        problem = problem_of(pair, source, _still(target))
        own = permutations(source.own_poses, len(draws), np.random.default_rng(len(draws)))
        found.append(ClassFit(("equivariant", "invariant"), problem.tie(own)))
    return found


def _still(end: End) -> End:
    """Give an end as if its poses made no difference."""
    return replace(end, angles=None, stabiliser=((0.0, 0.0),))


def choose_class(fits: Sequence[ClassFit]) -> ClassFit:
    """Choose the simplest class that explains as much as the richest, which comes first; or say which end is open.

    A simpler class has to stand out from its own null. Of exact weights the gain of the richest has to be significant
    over members, or the simpler class is kept. Of weights with a sampling error nothing is kept by default: the gain's
    interval has to say that it is nothing, or that it is something.

    Examples
    --------
    Half of the energy is explained by either; exact weights are of the simpler class.

    >>> half, whole, nothing = (np.full((4, 1), value) for value in (0.5, 1.0, 0.0))
    >>> tie = Tie(np.array([0.5]), np.zeros((9, 1)), half, whole, nothing, nothing)
    >>> fits = [ClassFit(("equivariant", "equivariant"), tie), ClassFit(("invariant", "equivariant"), tie)]
    >>> choose_class(fits).kinds
    ('invariant', 'equivariant')
    """
    richest, *others = fits
    standing = [fit for fit in others if fit.tie.r2[0] > np.quantile(fit.tie.null, 0.95)]
    if not richest.tie.noise_energy.any():
        as_good = [fit for fit in standing if _is_as_good(fit.tie, richest.tie)]
        return max(as_good, key=lambda fit: fit.tie.r2[0], default=richest)
    gains = {fit.kinds: _gain(fit, richest) for fit in others}
    as_good = [fit for fit in standing if gains[fit.kinds][1] <= _WORTH_HAVING]
    if as_good:
        return max(as_good, key=lambda fit: fit.tie.r2[0])
    # That a noisy template does not stand out refutes it no more than it shows it.
    unclear = [fit for fit in others if not gains[fit.kinds][0] > 0]
    # An end on which what is left disagrees may be either.
    source, target = (
        kind if all(fit.kinds[end] == kind for fit in unclear) else UNDETERMINED
        for end, kind in enumerate(richest.kinds)
    )
    return ClassFit((source, target), max([richest, *unclear], key=lambda fit: fit.tie.r2[0]).tie)


def _is_as_good(simpler: Tie, richer: Tie) -> bool:
    """Whether a class with less freedom explains as much of exact weights, up to chance."""
    if len(simpler.residual) != len(richer.residual):
        return bool(simpler.r2[0] >= richer.r2[0] - _WORTH_HAVING)
    draws = member_resamples(len(simpler.energy))
    gain = (simpler.residual - richer.residual)[:, 0]
    low = np.quantile((draws @ gain) / (draws @ simpler.energy[:, 0]), 0.025)
    return bool(low <= 0 or simpler.r2[0] >= richer.r2[0] - _WORTH_HAVING)


def _gain(simpler: ClassFit, richer: ClassFit) -> tuple[float, float]:
    """95 % interval of the share of the weights, less their sampling error, that a richer class explains beyond.

    Student's, over members: resampling four of them gives intervals that are half as wide as they should be. Where
    nothing but sampling error may be there, from minus to plus infinity.
    """
    ties = simpler.tie, richer.tie
    left = [(tie.residual - tie.noise_residual)[:, 0] for tie in ties]
    energy = [(tie.energy - tie.noise_energy)[:, 0] for tie in ties]
    if min(own.sum() for own in energy) <= 0:
        return -np.inf, np.inf
    # A simpler class in which the target stays leaves out the members of the source.
    if simpler.kinds[1] == richer.kinds[1]:
        gain, error = _ratio(left[0] - left[1], energy[0])
    else:
        (more, first), (less, second) = (_ratio(*own) for own in zip(left, energy, strict=True))
        gain, error = more - less, float(np.hypot(first, second))
    width = float(stdtrit(min(len(own) for own in left) - 1, 0.975)) * error
    return gain - width, gain + width


def _ratio(part: Floats, whole: Floats) -> tuple[float, float]:
    """Give the ratio of two sums over members, and its standard error."""
    n = len(part)
    ratio = float(part.sum() / whole.sum())
    return ratio, float(np.std(part - ratio * whole, ddof=1) / np.sqrt(n) / whole.mean())
