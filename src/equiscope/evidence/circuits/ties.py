"""Tying the weights between two families to one template, and what that explains of weights it has not seen.

If ``W[a -> b] = W[T a -> T b]``, kernels turned back by their output's pose depend on the difference of poses alone.
With a kernel in coefficients ``w[v, u, k]`` that turn by ``exp(-i m_k b)`` (see `harmonics`), that is

    exp(i m_k b_v) w[v, u, k] = sum over characters c of  t[c, k] exp(i c (a_u - b_v))

for input poses a_u and output poses b_v, however irregular: the template t is a small linear regression. What it
explains is measured on output members that were left out of it, and beside the same with output poses permuted.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from equiscope.foundations.statistics import bootstrap_weights

__all__ = ["Tie", "member_resamples", "permutations", "predict", "tie_equivariant", "tie_invariant"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complex = NDArray[np.complex128]
Bools = NDArray[np.bool_]

# Ridge penalties, in members' worth of zeros; which one is chosen for a member left out, the other members tell.
_PENALTIES = (1e-3, 0.1, 0.5, 2.0)
_N_RESAMPLES = 200
# Mean resultant of the changes of pose above which all moved by the same: within about 10 degrees.
_SAME_MOVE = 0.985
# Members of which all orders are listed.
_FEW = 5


@dataclass(frozen=True)
class Tie:
    """How well one template explains the weights between two families, shapes (block,) for several at once.

    Attributes
    ----------
    r2
        Share of the weight energy of left-out members that the template of the others explains, at most 1 and below 0
        where it misleads.
    null
        The same with permuted poses, shape (draw, block).
    residual, energy
        Of each left-out member: what is not explained, and all, shape (member, block).
    noise_residual, noise_energy
        What the weights' sampling error adds to either, as expected, shape (member, block); 0 for exact weights.
    """

    r2: Floats
    null: Floats
    residual: Floats
    energy: Floats
    noise_residual: Floats
    noise_energy: Floats

    def interval(self) -> Floats:
        """Give the 95 % bootstrap interval of R² over members, low and high, shape (2, block)."""
        draws = member_resamples(len(self.energy))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.quantile(1 - (draws @ self.residual) / (draws @ self.energy), (0.025, 0.975), axis=0)


@cache
def member_resamples(n_members: int) -> Floats:
    """How often each member counts in each bootstrap resample, shape (resample, member); the same for all blocks.

    Examples
    --------
    >>> draws = member_resamples(3)
    >>> draws.shape, bool((draws.sum(1) == 3).all())
    ((200, 3), True)
    """
    return bootstrap_weights(np.arange(n_members), _N_RESAMPLES, np.random.default_rng(0))


def permutations(poses: Floats, n_draws: int, rng: np.random.Generator) -> Ints:
    """Draw permutations of members that change their relative poses, shape (draw, member).

    Where all poses move by the same, as in a cyclic shift of evenly spaced ones, the template turns with them and
    explains as much: such draws, and those that leave all as they are, would put the truth into its own null.

    Parameters
    ----------
    poses
        Of the members, radians on their own period, shape (member,).
    n_draws
        Number of draws. Up to five members all orders are taken in turn, each as often as the others.
    rng
        Source of randomness.

    Examples
    --------
    Of three even poses half of the orders are cyclic shifts, which are left out.

    >>> draws = permutations(np.radians([0.0, 120.0, 240.0]), 6, np.random.default_rng(0))
    >>> sorted({tuple(order) for order in draws.tolist()})
    [(0, 2, 1), (1, 0, 2), (2, 1, 0)]
    """
    n = len(poses)
    if n <= _FEW:
        every = np.array(list(itertools.permutations(range(n))))
        kept = every[_moves_apart(poses, every)]
        kept = rng.permutation(kept) if len(kept) else every[-1:]
        return np.resize(kept, (n_draws, n))
    kept = np.zeros((0, n), np.int64)
    while len(kept) < n_draws:
        drawn = rng.permuted(np.tile(np.arange(n), (2 * n_draws, 1)), axis=1)
        apart = drawn[_moves_apart(poses, drawn)]
        # Where all members share a pose there is no other order.
        kept = np.concatenate([kept, apart if len(apart) else drawn])
    return kept[:n_draws]


def _moves_apart(poses: Floats, orders: Ints) -> Bools:
    """Whether poses move differently under each permutation, beyond what a common turn does."""
    moved = np.exp(1j * (poses[orders] - poses)).mean(1)
    return np.asarray(np.abs(moved) < _SAME_MOVE)


def _distinct(draws: Ints) -> tuple[Ints, Ints]:
    """Give the order as it is and those drawn, each once, and which of them is that and each draw.

    Few members have few orders, which are drawn again and again.
    """
    n = draws.shape[1]
    orders = np.concatenate([np.arange(n)[None], draws])
    if n > _FEW:
        return orders, np.arange(len(orders))
    _, first, which = np.unique(orders @ n ** np.arange(n), return_index=True, return_inverse=True)
    return orders[first], which


def _finish(residual: Floats, energy: Floats, which: Ints, noise: tuple[Floats, Floats] | None = None) -> Tie:
    """Choose each member's penalty by the others, and sum up.

    Residuals have shape (order, penalty, member, block); ``which`` is the order of the data, then those of the draws;
    ``noise`` holds residuals of the sampling error for the data, shape (penalty, member, block), and its energy.
    """
    # An energy: what falls below zero is rounding, and would make R² more than 1.
    residual = np.maximum(residual, 0.0)
    # Over all members but the one whose penalty is chosen.
    others = residual.sum(-2, keepdims=True) - residual
    best = others.argmin(-3)[..., None, :, :]
    chosen = np.take_along_axis(residual, best, -3)[..., 0, :, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.asarray(1 - chosen.sum(-2) / energy.sum(0))
    data = which[0]
    if noise is None:
        of_noise = np.zeros_like(energy), np.zeros_like(energy)
    else:
        of_noise = np.take_along_axis(noise[0], best[data], 0)[0], noise[1]
    return Tie(r2[data], r2[which[1:]], chosen[data], energy, *of_noise)


def tie_invariant(weights: Complex, phases: Complex, draws: Ints, is_allowed: Bools | None = None) -> Tie:
    """Tie weights whose other end does not turn: one template a block, turned by the members' poses.

    Parameters
    ----------
    weights
        Coefficients, shape (member, block, function): members of the family, blocks the units at the other end.
    phases
        What turns each member's kernel back to pose 0, shape (member, function).
    draws
        Permutations of the members' poses, shape (draw, member).
    is_allowed
        Functions that may differ from zero in the template, shape (function,): those that the members' stabiliser
        leaves as they are. By default all.

    Examples
    --------
    One template, turned by the poses of four members.

    >>> poses = np.radians([0.0, 50.0, 140.0, 230.0])
    >>> phases = np.exp(1j * np.outer(poses, [1, 2]))
    >>> tie = tie_invariant(phases.conj()[:, None], phases, permutations(poses, 9, np.random.default_rng(0)))
    >>> round(float(tie.r2[0]), 3), bool(tie.null.max() < 0.9)
    (1.0, True)
    """
    n = len(weights)
    energy = (np.abs(weights) ** 2).sum(2)
    if is_allowed is not None:
        weights, phases = weights[:, :, is_allowed], phases[:, is_allowed]
    orders, which = _distinct(draws)
    if not phases.shape[1]:
        return _finish(np.tile(energy, (len(orders), len(_PENALTIES), 1, 1)), energy, which)
    distinct, turn = np.unique(np.round(phases, 9), axis=1, return_inverse=True)
    # Inner products between members, split by how they turn: (turn, member, member, block).
    by_turn = np.stack(
        [
            np.einsum(
                "vbk,wbk->vwb", weights[:, :, turn == m], weights[:, :, turn == m].conj(), optimize=True
            )
            for m in range(distinct.shape[1])
        ]
    )
    own = np.einsum("mvvb->vb", by_turn).real[None]

    turned = distinct[orders]  # (order, member, turn)
    relative = turned[:, :, None, :] * turned[:, None, :, :].conj()
    inner = np.einsum("dvwm,mvwb->dvwb", relative, by_turn, optimize=True).real
    total = inner.sum(2)  # of each member with the sum of all
    whole = inner.sum((1, 2))[:, None]  # of that sum with itself
    with_others = total - own
    of_others = whole - 2 * total + own
    shares = 1 / (n - 1 + np.array(_PENALTIES))[:, None, None]
    residual = energy - 2 * shares * with_others[:, None] + shares**2 * of_others[:, None]
    return _finish(residual, energy, which)


def tie_equivariant(
    weights: Complex,
    phases: Complex,
    inputs: Complex,
    outputs: Complex,
    draws: Ints,
    is_allowed: Bools | None = None,
    noise: Complex | None = None,
) -> Tie:
    """Tie weights between two families that turn together: one template over the difference of poses.

    Parameters
    ----------
    weights
        Coefficients, shape (output member, input member, function).
    phases
        What turns each output's kernels back to pose 0, shape (output member, function).
    inputs, outputs
        Characters at the poses of the input and output members, shapes (input, character) and (output, character).
    draws
        Permutations of the output members' poses, shape (draw, output member).
    is_allowed
        Which functions may go with which characters, shape (function, character): those that both families'
        stabilisers leave as they are. By default all.
    noise
        A draw of the weights' sampling error, of their shape; by default they have none.

    Notes
    -----
    What a template leaves unexplained is a quadratic form in the weights. So an independent draw of their sampling
    error, put through the same fit, has as much left as that error adds to what is left of the weights, on average.

    Examples
    --------
    The weight between two members is the cosine of the difference of their poses.

    >>> poses = np.radians([0.0, 50.0, 140.0, 230.0])
    >>> weights = np.cos(poses - poses[:, None])[:, :, None].astype(complex)
    >>> waves, draws = np.exp(1j * np.outer(poses, [-1, 0, 1])), permutations(poses, 9, np.random.default_rng(0))
    >>> tie = tie_equivariant(weights, np.ones((4, 1), complex), waves, waves, draws)
    >>> round(float(tie.r2[0]), 3), bool(tie.null.max() < 0.9)
    (1.0, True)
    """
    if is_allowed is None:
        is_allowed = np.ones((weights.shape[2], inputs.shape[1]), bool)
    orders, which = _distinct(draws)
    residual, energy = _left(weights, phases, inputs, outputs, orders, is_allowed)
    of_noise = None
    if noise is not None:
        as_it_is = np.arange(len(noise))[None]
        left, all_of_it = _left(noise, phases, inputs, outputs, as_it_is, is_allowed)
        of_noise = left[0], all_of_it
    return _finish(residual, energy, which, of_noise)


def _left(
    weights: Complex, phases: Complex, inputs: Complex, outputs: Complex, orders: Ints, is_allowed: Bools
) -> tuple[Floats, Floats]:
    """Give what is left of each output member, shape (order, penalty, member, 1), and its energy, shape (member, 1)."""
    energy = (np.abs(weights) ** 2).sum((1, 2))
    # Sums of squares are taken in single precision, whose range is small.
    scale = float(np.sqrt(energy.mean())) or 1.0
    weights = weights / scale
    explained = np.zeros((len(orders), len(_PENALTIES), len(weights)))
    for pattern in _patterns(is_allowed):
        if pattern.any():
            functions = (is_allowed == pattern).all(1)
            explained += _explained_energy(
                weights[:, :, functions],
                phases[:, functions],
                inputs[:, pattern],
                outputs[:, pattern],
                orders,
            )
    return (energy - scale**2 * explained)[..., None], energy[:, None]


def _patterns(is_allowed: Bools) -> list[Bools]:
    """Distinct rows: functions that go with the same characters are fitted together."""
    return list({row.tobytes(): row for row in is_allowed}.values())


def _explained_energy(
    weights: Complex, phases: Complex, inputs: Complex, outputs: Complex, orders: Ints
) -> Floats:
    """Energy of each output member that the template of the others explains, (order, penalty, output member)."""
    n_out, n_in, _ = weights.shape
    summed = np.einsum("uc,vuk->vck", inputs.conj(), weights, optimize=True)
    # What member v would contribute if it had the pose of member p: (pose, character, member, function).
    table = outputs[:, :, None, None] * phases[:, None, None, :] * summed.swapaxes(0, 1)[None]
    gram = outputs[:, :, None] * outputs.conj()[:, None, :] * (inputs.conj().T @ inputs)[None]
    rest = gram.sum(0) - gram
    identity = np.eye(inputs.shape[1])
    # Leaving out the member at pose p: (penalty, pose, character, character).
    inverse = np.linalg.inv(rest[None] + n_in * np.array(_PENALTIES)[:, None, None, None] * identity)
    # With the sum o of the others and a of its own, the template is A o and explains Re <o, 2 A a - A G A o>.
    both = np.concatenate([2 * inverse, -(inverse @ gram @ inverse)], axis=3)
    # Single precision from here: thousands of permutations, and shares of energy need no more. Everything is laid out
    # by pose, of which each has one matrix, with all orders side by side.
    single = table.astype(np.complex64)
    at_pose = [
        single[pose].take(members, axis=1) for pose, members in enumerate(np.argsort(orders, axis=1).T)
    ]  # each (character, order, function)
    total = np.sum(at_pose, axis=0)
    by_pose = both.astype(np.complex64).transpose(1, 0, 2, 3).reshape(n_out, -1, 2 * inputs.shape[1])
    found = np.empty((len(orders), len(_PENALTIES), n_out))
    for pose, own in enumerate(at_pose):
        others = total - own
        product = by_pose[pose] @ np.concatenate([own, others]).reshape(2 * len(own), -1)
        # Real and imaginary parts side by side: Re <a, b> is the sum of their products.
        parts = others.view(np.float32)
        found[:, :, pose] = np.einsum(
            "pcdf,cdf->dp", product.view(np.float32).reshape(len(_PENALTIES), *parts.shape), parts
        )
    return np.take_along_axis(found, orders[:, None], axis=2)


def predict(
    weights: Complex,
    phases: Complex,
    inputs: Complex,
    outputs: Complex,
    is_allowed: Bools | None = None,
    penalty: float = 0.1,
) -> tuple[Complex, Complex]:
    """Fit one template to all members; give it, shape (character, function), and the coefficients that it ties.

    The tied coefficients have the shape of ``weights``. For a family whose other end does not turn, give the single
    character 1.

    Examples
    --------
    The cosine of a difference of poses is half of either harmonic.

    >>> poses = np.radians([0.0, 50.0, 140.0, 230.0])
    >>> weights = np.cos(poses - poses[:, None])[:, :, None].astype(complex)
    >>> waves = np.exp(1j * np.outer(poses, [-1, 0, 1]))
    >>> template, tied = predict(weights, np.ones((4, 1), complex), waves, waves, penalty=1e-9)
    >>> template[:, 0].real.round(3).tolist(), np.allclose(tied, weights)
    ([0.5, 0.0, 0.5], True)
    """
    n_out, n_in, _ = weights.shape
    aligned = phases[:, None] * weights
    design = inputs[None] * outputs.conj()[:, None]  # (output, input, character)
    flat = design.reshape(n_out * n_in, -1)
    gram = flat.conj().T @ flat + penalty * n_in * np.eye(flat.shape[1])
    target = flat.conj().T @ aligned.reshape(n_out * n_in, -1)
    template = np.zeros_like(target)
    if is_allowed is None:
        is_allowed = np.ones((weights.shape[2], inputs.shape[1]), bool)
    for pattern in _patterns(is_allowed):
        functions = (is_allowed == pattern).all(1)
        template[np.ix_(pattern, functions)] = np.linalg.solve(
            gram[np.ix_(pattern, pattern)], target[np.ix_(pattern, functions)]
        )
    tied = (flat @ template).reshape(aligned.shape) * phases.conj()[:, None]
    return np.asarray(template), np.asarray(tied)
