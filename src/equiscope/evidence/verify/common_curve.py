"""At which turn each member of a family shows the tuning curve that all of them share.

Copies answer to one drawing by one curve, each moved by its pose. So a member's pose is how far its whole curve has to
be moved to lie on those of the others. The top of a curve alone says less: a curve may have two tops of nearly one
height, or a broad one, and noise decides which of its places is the highest.

    pose of a member = argmax over turns of the correlation of its curve, moved back, with the others' common curve

Correlations are taken over all turns, after the mean over turns, of all drawings together. Members that a drawing
drives more have more say in the common curve.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["peak_deg", "read_poses_deg"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Places between two turns that were shown, for moving curves and for the top of one, which is interpolated further: of
# 32 turns curves are moved by steps of 0.18 degrees.
_FINER, _FINE = 64, 16
# Settles within three or four rounds wherever members are alike.
_N_ROUNDS = 20


def read_poses_deg(curves: Floats, drives: Floats, span_deg: float) -> Floats:
    """Read the poses of members from their tuning curves to drawings that they have in common.

    Parameters
    ----------
    curves
        Shape (drawing, turn, member), turns evenly spaced.
    drives
        How much say each member has, shape (member,), 0 or more.
    span_deg
        After which turn the drawings repeat.

    Returns
    -------
    ndarray, shape (member,)
        The turn at which the common curve, moved onto that of the member, has its top: degrees in [0, span). NaN where
        a member does not fire, or answers to all turns alike.

    Examples
    --------
    The curves have two tops, of which noise makes the wrong one of the second member the higher.

    >>> turn = np.radians(np.arange(32) * 11.25)
    >>> def curve(at_deg, wrong):
    ...     at = np.radians(at_deg)
    ...     return np.exp(4 * np.cos(turn - at)) + wrong * np.exp(4 * np.cos(turn - at - 2.5))
    >>> curves = np.stack([curve(0, 0.9), curve(90, 1.1), curve(225, 0.9)], axis=1)
    >>> curves.argmax(0) * 11.25
    array([  0.  , 236.25, 225.  ])
    >>> read_poses_deg(curves[None], np.ones(3), 360.0).round()
    array([  0.,  90., 225.])
    """
    spectra = _shapes_of(curves)
    poses = np.full(curves.shape[2], np.nan)
    places = np.flatnonzero(np.isfinite(spectra).all((0, 1)))
    if not len(places):
        return poses
    own = spectra[:, :, places]
    n_fine = _FINER * curves.shape[1]
    # Correlation of each two when the second is moved back, shape (member, member, turn).
    pairs = np.fft.irfft(np.einsum("dkm,dkn->mnk", own.conj(), own), n_fine, axis=2)
    moves = _settle(pairs, np.maximum(drives[places], 1e-12))
    turns = np.exp(2j * np.pi * np.arange(own.shape[1])[:, None] * moves / n_fine)
    common = np.fft.irfft((own * turns * drives[places]).sum((0, 2)), n_fine)
    poses[places] = (peak_deg(common, span_deg) + moves * span_deg / n_fine) % span_deg
    return poses


def _shapes_of(curves: Floats) -> NDArray[np.complex128]:
    """Spectra of the members' curves without their means, of norm 1, (drawing, wave, member); NaN where flat."""
    n = curves.shape[1]
    spectra = np.fft.rfft(curves, axis=1)
    spectra[:, 0] = 0
    if n % 2 == 0:
        # Half of the finest wave that samples hold belongs to its mirror image.
        spectra[:, -1] /= 2
    norms = np.sqrt((np.abs(spectra) ** 2).sum((0, 1)))
    is_flat = ~(norms > 1e-9 * np.maximum(curves.max((0, 1)), 1e-12) * n)
    return np.asarray(np.where(is_flat, np.nan, spectra / np.where(is_flat, 1.0, norms)))


def _settle(pairs: Floats, drives: Floats) -> Ints:
    """Move every member to where it agrees best with all others, until none moves, shape (member,)."""
    n, n_fine = len(pairs), pairs.shape[2]
    # From the member that the others are most alike, each moved as agrees best with that one.
    first = int(((pairs.max(2) - np.eye(n)) * drives).sum(1).argmax())
    moves = pairs[first].argmax(1)
    moves[first] = 0
    places = np.arange(n_fine)
    for _ in range(_N_ROUNDS):
        before = moves.copy()
        for member in range(n):
            others = [index for index in range(n) if index != member]
            if others:
                moved = (places[None] - moves[others, None]) % n_fine
                agreed = np.take_along_axis(pairs[others, member], moved, axis=1)
                moves[member] = (drives[others, None] * agreed).sum(0).argmax()
        if np.array_equal(moves, before):
            break
    return np.asarray(moves)


def peak_deg(curve: Floats, span_deg: float) -> float:
    """Place of the maximum of a periodic curve, interpolated; NaN where it does not vary.

    Examples
    --------
    >>> turn = np.radians(np.arange(16) * 22.5)
    >>> round(peak_deg(np.exp(np.cos(turn - np.radians(50))), 360.0), 1)
    50.0
    """
    n = len(curve)
    if n < 3 or not float(np.ptp(curve)) > 1e-9 * max(float(curve.max()), 1e-12):
        return float("nan")
    spectrum = np.fft.rfft(curve)
    if n % 2 == 0:
        spectrum[-1] /= 2
    fine = np.fft.irfft(spectrum, _FINE * n)
    top = int(fine.argmax())
    before, at, after = fine[top - 1], fine[top], fine[(top + 1) % len(fine)]
    bend = before - 2 * at + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float((top + shift) * span_deg / len(fine) % span_deg)
