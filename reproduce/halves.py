"""How much of what a survey finds it finds again on other photographs: two surveys on disjoint halves of them.

    python reproduce/halves.py --weights bvlc_googlenet_fp16.npz --images photos.tar --out halves

The photographs are divided at random, copies of one photograph staying together; each half is surveyed under rotation.
Of each layer it prints how many pairs of units are in one family in either survey and in both, and the F1 score of
these pairs (twice those in both, divided by the sum of those in either); of all accepted families, and of copies by
their weights (cores). The interval is of a bootstrap over families, those of both surveys that share a unit together.
Then the differences of relative poses of pairs in both.
"""

from __future__ import annotations

import argparse
import io
import tarfile
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import equiscope
from equiscope.families.family import Family
from equiscope.foundations.statistics import circular_difference_deg
from equiscope.testing.battery import copies_of

# A pair of units; the angle from the first to the second, deg, and the turn after which their family returns.
Pairs = dict[tuple[int, int], tuple[float, float]]


def write_halves(images: equiscope.ImageSet, folder: Path, seed: int) -> list[Path]:
    """Write two archives of photographs; a group of copies is in one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = np.unique(images.groups)
    first = set(np.random.default_rng(seed).permutation(groups)[: len(groups) // 2].tolist())
    paths = [folder / "a.tar", folder / "b.tar"]
    with tarfile.open(paths[0], "w") as a, tarfile.open(paths[1], "w") as b:
        for index, (name, group) in enumerate(zip(images.names, images.groups, strict=True)):
            pixels = images.load(index)
            if pixels is not None:
                out = io.BytesIO()
                Image.fromarray((pixels.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).save(
                    out, "PNG"
                )
                entry = tarfile.TarInfo(Path(name).with_suffix(".png").as_posix())
                entry.size = out.tell()
                out.seek(0)
                (a if group in first else b).addfile(entry, out)
    return paths


def pairs_of(families: Iterable[Family]) -> Pairs:
    """Give the pairs of units that are in one family, and their relative poses."""
    pairs: Pairs = {}
    for family in families:
        angles_deg = dict(zip(family.channels.tolist(), family.poses_deg.tolist(), strict=True))
        for own, other in combinations(sorted(angles_deg), 2):
            pairs[own, other] = angles_deg[other] - angles_deg[own], 360 / family.stabiliser_order
    return pairs


def f1_interval(a: Pairs, b: Pairs, rng: np.random.Generator) -> tuple[float, float, float]:
    """Give the F1 score of pairs, with a 95 % bootstrap interval over sets of units that pairs join."""
    union = sorted({*a, *b})
    if not union:
        return np.nan, np.nan, np.nan
    rows, columns = np.array(union).T
    size = int(columns.max()) + 1
    _, part = connected_components(coo_array((np.ones(len(union)), (rows, columns)), shape=(size, size)))
    in_both = np.array([pair in a and pair in b for pair in union])
    in_either = np.array([(pair in a) + (pair in b) for pair in union])
    _, of = np.unique(part[rows], return_inverse=True)
    both, either = (np.bincount(of, weights=values) for values in (in_both, in_either))
    drawn = rng.integers(0, len(both), (2000, len(both)))
    samples = 2 * both[drawn].sum(1) / either[drawn].sum(1)
    low, high = np.quantile(samples, [0.025, 0.975])
    return 2 * both.sum() / either.sum(), float(low), float(high)


def _angle_apart(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Give the difference of two relative poses, deg, up to the finer of both stabilisers."""
    return float(np.abs(circular_difference_deg(a[0], b[0], min(a[1], b[1]))))


def tell(layer: str, kind: str, halves: list[list[Family]]) -> None:
    """Print what two surveys have in common in a layer."""
    a, b = (pairs_of(family for family in families if family.layer == layer) for families in halves)
    f1, low, high = f1_interval(a, b, np.random.default_rng(0))
    common = sorted(a.keys() & b.keys())
    apart = np.array([_angle_apart(a[pair], b[pair]) for pair in common] or [np.nan])
    print(
        f"{layer} {kind}: pairs {len(a)} and {len(b)}, in both {len(common)}, F1 {f1:.2f} ({low:.2f}-{high:.2f}); "
        f"relative poses differ by {np.median(apart):.1f}°, 95 % by less than {np.quantile(apart, 0.95):.1f}°",
        flush=True,
    )


def main() -> None:
    """Survey both halves and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", default="conv2d0,conv2d1,conv2d2,mixed3a,mixed3b")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = equiscope.load_model("googlenet", options.weights)
    layers = options.layers.split(",")
    runs = [
        equiscope.survey(
            model,
            equiscope.open_images(path),
            layers,
            transformations=["rotation"],
            out=options.out / path.stem,
        )
        for path in write_halves(equiscope.open_images(options.images), options.out, options.seed)
    ]
    for layer in layers:
        tell(layer, "all accepted", [list(run.families) for run in runs])
        tell(layer, "copies", [copies_of(run.families) for run in runs])


if __name__ == "__main__":
    main()
