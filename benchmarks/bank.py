r"""Cost of the stimulus bank against plain forward passes of the same number of patches of the same size.

    python benchmarks/bank.py --model googlenet --weights bvlc_googlenet_fp16.npz --images photos.tar \
        --layers conv2d0,conv2d2,mixed3a,mixed3b

For each layer, in one process and in turn: a bank of stimuli measured as the survey does it (images decoded, stimuli
cut and turned, centre responses written to disk), and the same number of random patches run through the same part of
the network, whole maps of them, in the same batches, results thrown away. Prints the ratio of the medians of the
repeats: below 1 where the position that is read sees less than the patch's maps hold.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import equiscope
from equiscope.foundations.devices import keep_large_buffers
from equiscope.measurement.bank import Bank, build_bank
from equiscope.measurement.centres import Centres
from equiscope.measurement.examples import collect_examples, split_halves
from equiscope.measurement.responses import measure_responses, open_responses
from equiscope.models.geometry import LayerGeometry, find_geometry
from equiscope.transformations.groups import CyclicGroup


def time_bank(
    model: equiscope.Model,
    images: equiscope.ImageSet,
    geometry: LayerGeometry,
    bank: Bank,
    group: CyclicGroup,
) -> float:
    """Seconds to measure a bank, from images on disk to responses on disk."""
    with tempfile.TemporaryDirectory() as folder:
        responses = open_responses(Path(folder) / "a.zarr", bank, group, geometry.n_channels)
        started = time.perf_counter()
        measure_responses(model, images, geometry, responses)
        return time.perf_counter() - started


def time_plain(model: equiscope.Model, geometry: LayerGeometry, n_patches: int, order: int) -> float:
    """Seconds to run as many patches through the network, up to the layer."""
    size = geometry.patch_px
    batch = Centres(model, [geometry], size).per_pass(order)
    patches = torch.rand(batch, 3, size, size)
    started = time.perf_counter()
    for start in range(0, n_patches, batch):
        model.record(patches[: n_patches - start], [geometry.layer], lambda _layer, output: output[:1, :1])
    return time.perf_counter() - started


def main() -> None:
    """Print one line for each layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--layers")
    parser.add_argument("--stimuli", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    keep_large_buffers()
    model, images = (
        equiscope.load_model(options.model, options.weights),
        equiscope.open_images(options.images),
    )
    geometries = find_geometry(
        model, model.resolve_layers(options.layers.split(",") if options.layers else None)
    )
    chosen = range(0, len(images), max(1, len(images) // 300))
    halves = split_halves(images.groups, 0)
    examples = collect_examples(model, images, geometries, halves, 3, indices=chosen)
    group = CyclicGroup(16)
    for layer, geometry in geometries.items():
        whole = build_bank(examples[layer], np.asarray(images.groups))
        keep = np.linspace(0, len(whole) - 1, min(options.stimuli, len(whole))).astype(int)
        bank = Bank(layer, whole.half[keep], whole.image[keep], whole.position[keep], whole.photograph[keep])
        n_patches = len(bank) * group.order
        time_plain(model, geometry, n_patches, group.order)
        seconds = [
            (
                time_bank(model, images, geometry, bank, group),
                time_plain(model, geometry, n_patches, group.order),
            )
            for _ in range(options.repeats)
        ]
        ours, plain = (statistics.median(column) for column in zip(*seconds, strict=True))
        row = {
            "layer": layer,
            "patch_px": geometry.patch_px,
            "patches": n_patches,
            "bank_ms_a_patch": round(1000 * ours / n_patches, 4),
            "plain_ms_a_patch": round(1000 * plain / n_patches, 4),
            "ratio": round(ours / plain, 3),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
