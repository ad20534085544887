"""Passes run in pieces where outputs are large: the same results, and bounded memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from equiscope.models import Model
from equiscope.models import passes as passes_module
from equiscope.models.passes import BoundedPasses, largest_output_bytes


def network() -> Model:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3), nn.Conv2d(4, 99, 1)
    )
    return Model(module, "network")


def means(_layer: str, output: Tensor) -> Tensor:
    return output.mean((2, 3))


def test_the_largest_output_before_the_last_layer_counts() -> None:
    model, image = network(), torch.zeros(2, 3, 20, 30)
    assert largest_output_bytes(model, image, ["3"]) == 2 * 8 * 20 * 30 * 4
    assert largest_output_bytes(model, image, ["4"]) == 2 * 99 * 8 * 13 * 4
    assert all(not module._forward_hooks for module in model.module.modules())


@pytest.mark.parametrize(("limit", "sizes"), [(10**9, [7]), (3 * 8 * 20 * 30 * 4, [3, 3, 1]), (1, [1] * 7)])
def test_batches_run_in_pieces_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch, limit: int, sizes: list[int]
) -> None:
    model, images = network(), torch.rand(7, 3, 20, 30)
    whole = model.record(images, ["0", "3"], means)
    monkeypatch.setattr(passes_module, "MAX_OUTPUT_BYTES", limit)
    passes = BoundedPasses(model)
    passes.record(images, ["0", "3"], means)  # the first image is run once more, here
    seen: list[int] = []
    handle = model.module.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    found = passes.record(images, ["0", "3"], means)
    handle.remove()
    assert seen == sizes
    for layer, expected in whole.items():
        torch.testing.assert_close(found[layer], expected, rtol=1e-5, atol=1e-6)


def test_larger_images_run_in_smaller_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes_module, "MAX_OUTPUT_BYTES", 8 * 20 * 30 * 4 * 4)
    passes = BoundedPasses(network())
    assert passes._together(torch.zeros(9, 3, 20, 30), ["0"]) == 4
    assert passes._together(torch.zeros(9, 3, 20, 60), ["0"]) == 2
    assert passes._together(torch.zeros(9, 3, 80, 60), ["0"]) == 1


WIDE, FINE = "nn.Conv2d(3, 512, 7, stride=2, padding=3)", "nn.Conv2d(3, 128, 5, padding=2)"


# Megabytes that a stage may add: an output of 128 MB or less, and copies of an image's; for responses also the patches
# that are cut together.
@pytest.mark.parametrize(
    ("stage", "layers", "most"), [("examples", WIDE, 280), ("examples", FINE, 280), ("responses", FINE, 800)]
)
def test_memory_of_wide_layers_is_bounded(stage: str, layers: str, most: int) -> None:
    code = f"""
import resource, tempfile, numpy as np, torch
from pathlib import Path
from PIL import Image
from torch import nn
from equiscope.measurement.bank import build_bank
from equiscope.measurement.examples import collect_examples, split_halves
from equiscope.transformations.groups import CyclicGroup
from equiscope.models import Model
from equiscope.models.geometry import find_geometry
from equiscope.measurement.responses import measure_responses, open_responses
from equiscope.stimuli import open_images
torch.set_num_threads(1)
folder = Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)
for i in range(16):
    Image.fromarray(rng.integers(0, 256, (224, 226, 3), dtype=np.uint8)).save(folder / f"{{i:02}}.png")
model, images = Model(nn.Sequential({layers}), "wide"), open_images(folder)
geometries = find_geometry(model, ["0"])
half = split_halves(images.groups, 0)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
start = peak()
found = collect_examples(model, images, geometries, half, 1)["0"]
if {stage!r} == "responses":
    bank = build_bank(found, np.arange(16), channels=np.arange(3))
    group = CyclicGroup(16)
    responses = open_responses(folder / "run.zarr", bank, group, found.n_units)
    measure_responses(model, images, geometries["0"], responses, size_px=223)
print(peak() - start)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < most
