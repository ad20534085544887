r"""Survey scenes of the battery, and print how often the intervals of poses hold the poses that were planted.

    python reproduce/pose_intervals.py --seeds 1 3
    python reproduce/pose_intervals.py --kinds irregular scale --seeds 0

A line a family of a scene: how many of its poses have an interval, how many of these hold the planted pose, by how much
poses are off in the median, the median half-width, and the family's stability. Then the sums over all families of a
kind. Planted and measured poses are compared up to what is common to the family: the mean of their differences, and the
stabiliser. Members that are not of the feature that most of a family's are have no planted pose there. Shown are the
embedded photographs at up to 256 px.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict

import numpy as np
from battery import survey_scene
from numpy.typing import NDArray

from equiscope.families.family import Family
from equiscope.foundations.statistics import circular_difference_deg, share_interval
from equiscope.testing.battery import KINDS, LayerScene, battery_scene, is_for_choosing
from equiscope.transformations import Turn, find

Floats = NDArray[np.float64]
_KINDS = ("irregular", "stabilisers", "small", "exact, loose", "own noise", "hue", "hue-rotation", "scale")


def errors_of(family: Family, truth: LayerScene) -> tuple[str, Floats, Floats]:
    """Give the feature of a family, and errors and half-widths of poses, shape (axis, member) both."""
    names = [truth.features[member.channel] for member in family.members]
    counted = Counter(name for name in names if name)
    if not counted:
        return "", np.zeros((0, 0)), np.zeros((0, 0))
    ((name, _),) = counted.most_common(1)
    own = [m for m, feature in zip(family.members, names, strict=True) if feature == name]
    axes = find(family.transformation).axes
    planted, found, high = (
        np.array([[pose.get(axis.name, np.nan) for pose in poses] for axis in axes], dtype=float)
        for poses in (
            [truth.poses[m.channel] or {} for m in own],
            [m.pose for m in own],
            [m.pose_high for m in own],
        )
    )
    elements = np.array([[element[axis.name] for axis in axes] for element in family.stabiliser], dtype=float)
    # Of poses that are equal up to the stabiliser the one nearest to what the first member is off by.
    away = (found - planted)[..., None] + elements.T[:, None]
    for row, axis in zip(away, axes, strict=True):
        row -= row[0, 0]
        if isinstance(axis, Turn):
            row[:] = circular_difference_deg(row, 0.0)
    nearest = (away**2).sum(0).argmin(1)
    errors = np.take_along_axis(away, nearest[None, :, None], axis=2)[..., 0]
    return name, errors - errors.mean(1, keepdims=True), high - found


def compare_poses(kind: str, seed: int) -> list[tuple[Family, str, Floats, Floats]]:
    """Survey a scene; give each family of its transformation with its feature, errors and half-widths."""
    scene = battery_scene(kind, seed)
    (truth,) = scene.layers.values()
    families = [f for f in survey_scene(scene).families if f.transformation == scene.transformation]
    return [(family, *errors_of(family, truth)) for family in families]


def said(errors: Floats, widths: Floats) -> str:
    """Word how many intervals hold the planted poses."""
    known = np.isfinite(errors) & np.isfinite(widths)
    n, held = int(known.sum()), int((np.abs(errors) <= widths)[known].sum())
    if not n:
        return "no interval"
    low, high = share_interval(held, n)
    return (
        f"{held} of {n} ({held / n:.0%}, {low:.0%} to {high:.0%}) hold the planted pose; "
        f"median error {np.median(np.abs(errors[known])):.3f}, median half-width {np.median(widths[known]):.3f}"
    )


def main() -> None:
    """Print a line a family, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=_KINDS, choices=KINDS, metavar="KIND")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3])
    options = parser.parse_args()
    total: dict[tuple[bool, str], list[tuple[Floats, Floats]]] = defaultdict(list)
    stable: dict[tuple[bool, str], list[float]] = defaultdict(list)
    for kind in options.kinds:
        for seed in options.seeds:
            for family, name, errors, widths in compare_poses(kind, seed):
                print(
                    f"{kind} {seed}, {name or 'strangers'}, {family.size} members: {said(errors, widths)}; "
                    f"stability {family.stability:.2f}",
                    flush=True,
                )
                total[is_for_choosing(seed), kind].append((errors.ravel(), widths.ravel()))
                stable[is_for_choosing(seed), kind].append(family.stability)
    for (is_chosen, kind), parts in total.items():
        what = "for choosing" if is_chosen else "for reporting"
        errors, widths = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        mean = np.mean(stable[is_chosen, kind])
        print(f"{what}, {kind}: {said(errors, widths)}; mean stability {mean:.2f}")


if __name__ == "__main__":
    main()
