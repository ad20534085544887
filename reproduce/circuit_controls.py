r"""Count circuits where there is nothing to find, and measure R² where the truth is known.

    python reproduce/circuit_controls.py --run RUN --weights bvlc_googlenet_fp16.npz --images photos.tar \
        --plot noise.svg

*Real weights, wrong families*: the blocks between neighbouring layers of a run are tested with its families as they
are, with random poses in place of theirs, and with random units of the layer in place of their members. The last two
must give nothing. Scale families, and hue families with single units, are tested over all layers at once, as they are
and with random units.

*Planted networks* (`equiscope.testing.planted_circuits`): sixteen circuits of known classes, with noise from none of
the weight energy to all of it, and networks of the same sizes without ties.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from pathlib import Path

import numpy as np
import torch

import equiscope
from equiscope.evidence.circuits.circuit import Circuit
from equiscope.evidence.circuits.find import find_circuits
from equiscope.evidence.circuits.kept_weights import keep_weights
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.linearised import measure_gains
from equiscope.evidence.circuits.paths import expanded_weights
from equiscope.evidence.circuits.strangers import find_stranger_circuits
from equiscope.families.family import Family
from equiscope.models.geometry import find_geometry
from equiscope.runs.manifest import read_geometries
from equiscope.testing import planted_circuits
from equiscope.transformations import Pose

NOISE = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)


def with_random_poses(family: Family, rng: np.random.Generator) -> Family:
    """Give every member a pose of its own, uniform on the family's period."""
    members = []
    for member in family.members:
        drawn = {"angle_deg": rng.uniform(0, 360 / family.stabiliser_order), "hue_deg": rng.uniform(0, 360)}
        members.append(
            dataclasses.replace(
                member,
                pose=Pose(member.pose, **{axis: own for axis, own in drawn.items() if axis in member.pose}),
            )
        )
    return dataclasses.replace(family, members=tuple(members))


def with_strangers(family: Family, n_units: int, rng: np.random.Generator) -> Family:
    """Put random units of the layer into the members' places."""
    channels = rng.choice(n_units, family.size, replace=False).tolist()
    members = [dataclasses.replace(m, channel=c) for m, c in zip(family.members, channels, strict=True)]
    return dataclasses.replace(family, members=tuple(members))


def sample_of(images: equiscope.ImageSet) -> torch.Tensor:
    """Give a dozen images from all over the set."""
    sample = [images.load(i) for i in range(0, len(images), max(1, len(images) // 12))]
    return torch.stack([s for s in sample if s is not None])


def control(run: equiscope.Run, model: equiscope.Model, images: equiscope.ImageSet) -> None:
    """Print how many blocks of real weights are symmetric with true and with wrong families."""
    geometries = read_geometries(run.manifest)
    gains = measure_gains(model, sample_of(images), list(geometries)[-1])
    rng = np.random.default_rng(5)
    turning = ("rotation", "hue", "hue-rotation")
    layers = list(geometries)
    for source, target in list(zip(layers, layers[1:], strict=False))[1:4]:
        weights = expanded_weights(model, geometries[source], geometries[target], gains)
        for name in ("as found", "random poses", "random units"):
            families = []
            for family in run.families:
                if family.transformation not in turning or name == "as found":
                    families.append(family)
                elif name == "random poses":
                    families.append(with_random_poses(family, rng))
                else:
                    families.append(with_strangers(family, geometries[family.layer].n_channels, rng))
            found = [c for c in find_circuits(LayerPair(weights, families, run.units)) if not c.pair_class]
            between = [c for c in found if c.is_between_families]
            # Two units that do not turn have no poses that could be wrong.
            n_units = sum(not c.is_between_families and c.n_source * c.n_target > 1 for c in found)
            print(
                f"{source} to {target}, {name}: {sum(c.is_symmetric for c in between)} of {len(between)} blocks "
                f"between families symmetric, {n_units} between a family and a unit; p <= 5 % in "
                f"{np.mean([c.p_value <= 0.05 for c in between]):.1%}",
                flush=True,
            )


def control_strangers(run: equiscope.Run, model: equiscope.Model, images: equiscope.ImageSet) -> None:
    """Print the same of circuits whose null is strangers."""
    geometries = read_geometries(run.manifest)
    layers = list(geometries)
    gains = measure_gains(model, sample_of(images), layers[-1])
    rng = np.random.default_rng(7)
    weights = [
        expanded_weights(model, geometries[source], geometries[target], gains)
        for source, target in itertools.pairwise(layers)
    ]
    for name in ("as found", *["random units"] * 3):
        families = [f for f in run.families if f.transformation in ("scale", "hue")]
        if name == "random units":
            taken: dict[str, list[int]] = {}
            for layer, geometry in geometries.items():
                for transformation in ("scale", "hue"):
                    taken[f"{layer} {transformation}"] = rng.permutation(geometry.n_channels).tolist()
            families = [
                dataclasses.replace(
                    family,
                    members=tuple(
                        dataclasses.replace(m, channel=taken[f"{m.layer} {family.transformation}"].pop())
                        for m in family.members
                    ),
                )
                for family in families
            ]
        pairs = [LayerPair(own, families, run.units) for own in weights]
        found = []
        kept = [k for pair in pairs if (k := keep_weights(pair, "scale")) is not None]
        found += find_stranger_circuits(kept, families, run.units, "scale")
        for pair in pairs:
            of_hue = keep_weights(pair, "hue")
            if of_hue is not None:
                found += find_stranger_circuits([of_hue], families, run.units, "hue")
        scaled = [c for c in found if c.transformation == "scale"]
        between = [c for c in scaled if c.is_between_families]
        print(
            f"scale, {name}: {sum(c.is_symmetric for c in between)} of {len(between)} blocks between families "
            f"symmetric, {len(scaled) - len(between)} circuits with units; "
            f"hue with units: {len(found) - len(scaled)} circuits",
            flush=True,
        )


def planted(noise: float, seed: int, *, is_tied: bool = True) -> list[Circuit]:
    """Circuits of one planted network."""
    network = planted_circuits(seed, noise=noise, is_tied=is_tied)
    geometries = find_geometry(network.model, ["early", "late"])
    weights = expanded_weights(network.model, geometries["early"], geometries["late"])
    return list(find_circuits(LayerPair(weights, network.families, network.units)))


def main() -> None:
    """Print both controls; draw R² against noise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--model", default="googlenet")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--seeds", type=int, default=6)
    options = parser.parse_args()
    means = []
    for noise in NOISE:
        found = [c for seed in range(options.seeds) for c in planted(noise, seed) if c.is_symmetric]
        r2 = [c.r2 for seed in range(options.seeds) for c in planted(noise, seed) if c.is_between_families]
        means.append(float(np.mean(r2)))
        print(
            f"planted, noise {noise:.0%}: {len(found)} of {16 * options.seeds} found, mean R² between families "
            f"{means[-1]:.3f}, expected {1 - noise:.2f}",
            flush=True,
        )
    untied = [sum(c.is_symmetric for c in planted(0, seed, is_tied=False)) for seed in range(60)]
    print(
        f"untied: {sum(untied)} false circuits in 60 networks of 16 blocks, in {sum(n > 0 for n in untied)} of them"
    )
    if options.plot:
        points = " ".join(
            f"{40 + 300 * x:.1f},{220 - 190 * max(y, 0):.1f}" for x, y in zip(NOISE, means, strict=True)
        )
        ticks = "".join(
            f'<text x="{40 + 300 * t}" y="236" text-anchor="middle">{t:.0%}</text>'
            f'<text x="34" y="{224 - 190 * t}" text-anchor="end">{t:g}</text>'
            for t in (0.0, 0.5, 1.0)
        )
        options.plot.write_text(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 360 260" font-family="sans-serif" font-size="11">'
            '<rect width="360" height="260" fill="#fff"/><path d="M40,30V220H340" fill="none" stroke="#888"/>'
            '<path d="M40,30L340,220" stroke="#bbb" stroke-dasharray="4 3"/>'
            f'<polyline points="{points}" fill="none" stroke="#2f79c9" stroke-width="2"/>{ticks}'
            '<text x="190" y="254" text-anchor="middle">noise, share of the weight energy</text>'
            '<text x="46" y="24">R² of members left out; dashed: the share that is tied</text></svg>\n',
            encoding="utf-8",
        )
    if options.run:
        run = equiscope.load_run(options.run)
        model, images = (
            equiscope.load_model(options.model, options.weights),
            equiscope.open_images(options.images),
        )
        control(run, model, images)
        control_strangers(run, model, images)


if __name__ == "__main__":
    main()
