r"""How strongly units answer to their images, and how well one template fits a family.

    python reproduce/featurevis.py RUN mini --largest 2
    python reproduce/featurevis.py RUN googlenet --weights bvlc_googlenet_fp16.npz --families mixed3b-rotation-1
    python reproduce/featurevis.py RUN googlenet --weights bvlc_googlenet_fp16.npz --units mixed3b:368,394

Prints one line for each family: those named, or the largest few of each transformation of each layer. ``ratio`` is
the response to the own copy over that to the strongest natural stimulus, median over members; ``elsewhere`` the mean
response to copies at other poses as a share of the own; ``strength`` what was optimised, and ``null`` the same of
templates for wrong poses. With ``--units`` the ratios of these units instead. ``--pictures`` is a folder for one
contact sheet each: the template, then the copies; or the images.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from equiscope.evidence.featurevis import natural_responses, visualise_family, visualise_units
from equiscope.families.family import Family
from equiscope.models import load_model
from equiscope.runs.examples import load_examples
from equiscope.runs.manifest import read_geometries
from equiscope.runs.run import load_run

_LARGEST_PX = 96


def choose(families: tuple[Family, ...], names: str | None, n_largest: int) -> list[Family]:
    """Give the named families, or the largest of each transformation of each layer."""
    if names:
        return [family for family in families if family.id in names.split(",")]
    seen: Counter[tuple[str, str]] = Counter()
    chosen = []
    for family in sorted(families, key=lambda family: -family.size):
        if seen[family.layer, family.transformation] < n_largest:
            chosen.append(family)
        seen[family.layer, family.transformation] += 1
    return chosen


def draw(images: Iterable[Tensor], path: Path) -> None:
    """Write images side by side."""
    tiles = [_to_picture(image) for image in images]
    path.parent.mkdir(parents=True, exist_ok=True)
    height = max(tile.height for tile in tiles)
    sheet = Image.new("RGB", (sum(tile.width + 4 for tile in tiles), height), "white")
    left = 0
    for tile in tiles:
        sheet.paste(tile, (left, 0))
        left += tile.width + 4
    sheet.save(path)


def _to_picture(image: Tensor) -> Image.Image:
    picture = Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy())
    factor = max(1, _LARGEST_PX // picture.width)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def main() -> None:
    """Print one line for each family, or for the units."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("model")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--families")
    parser.add_argument("--units")
    parser.add_argument("--largest", type=int, default=1)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    run = load_run(options.run)
    model = load_model(options.model, options.weights)
    examples = load_examples(run.folder / "examples.npz")[0]
    natural = {layer: natural_responses(own) for layer, own in examples.items()}
    geometries = read_geometries(run.manifest)
    if options.units:
        layer, _, channels = options.units.partition(":")
        units = visualise_units(
            model,
            layer,
            [int(channel) for channel in channels.split(",")],
            geometry=geometries[layer],
        ).beside(natural[layer])
        print(
            json.dumps(
                {
                    "layer": layer,
                    "ratio": dict(zip(units.channels.tolist(), units.ratio.round(2), strict=True)),
                }
            )
        )
        if options.pictures:
            draw(units.images, options.pictures / f"{layer}.png")
        return
    for family in choose(run.families, options.families, options.largest):
        found = visualise_family(model, family, natural=natural, geometries=geometries, n_null=options.draws)
        line = {
            "family": family.id,
            "members": family.size,
            "ratio": round(float(np.nanmedian(found.ratio)), 2),
            "elsewhere": round(float(np.nanmean(found.elsewhere)), 2),
            "best_at_own": int(found.is_best_at_own.sum()),
            "strength": round(found.strength, 2),
            "null": found.null_strength.round(2).tolist(),
        }
        print(json.dumps(line), flush=True)
        if options.pictures:
            draw([found.template, *found.copies], options.pictures / f"{family.id}.png")


if __name__ == "__main__":
    main()
