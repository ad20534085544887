"""On a CUDA device: the same families, exact equivariance, and trainings that go on and export."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import equiscope
from equiscope.construction.equivariant import BatchNorm2d, Conv2d, Fields, InceptionBlock, MaxPool2d
from equiscope.construction.training import (
    DesignedNetwork,
    Recipe,
    describe_network,
    load_training,
    parse_description,
)
from equiscope.construction.training.graphs import RecordedPasses
from equiscope.models.trained import build
from equiscope.testing import assert_fields_equivariant

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

NETWORK = {
    "name": "tiny",
    "group": "C8",
    "layers": [
        {"name": "conv2d0", "kernel_px": 5, "stride": 2, "equivariant": 2, "invariant": 4},
        {"pool": "max"},
        {"name": "conv2d1", "kernel_px": 5, "equivariant": 3, "invariant": 4},
    ],
}
RECIPE = Recipe(
    epochs=3, batch=32, crop_px=24, side_px=32, components=22, learning_rate=0.05, warmup_epochs=1
)


@pytest.fixture(scope="module")
def gratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that no rotation turns into each other: fine and coarse gratings."""
    folder, rng = tmp_path_factory.mktemp("gratings"), np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for label, frequency in enumerate((0.3, 1.2)):
        (folder / f"class{label}").mkdir()
        for index in range(100):
            angle, phase = rng.uniform(0, 2 * np.pi, 2)
            wave = np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)
            pixels = 128 + 90 * wave[..., None] + rng.normal(0, 10, (32, 32, 3))
            picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            picture.save(folder / f"class{label}" / f"{index:03d}.png")
    return folder


def test_a_survey_finds_the_same_families(tmp_path: Path) -> None:
    def members(device: str) -> set[frozenset[tuple[str, int]]]:
        run = equiscope.survey(
            "mini",
            layers=["conv2d0", "conv2d1"],
            transformations=["rotation"],
            out=tmp_path / device,
            device=device,
            precision="float32",
        )
        return {frozenset((m.layer, m.channel) for m in family.members) for family in run.families}

    here, there = members("cpu"), members("cuda")
    assert len(here) > 15
    # Convolutions on a GPU round to TF32 by default, so a unit at a threshold may fall on either side of it.
    assert len(here & there) >= 0.8 * max(len(here), len(there))


@pytest.mark.parametrize("group", ["C4", "C8", "C16", "D4", "H6"])
def test_layers_are_equivariant_to_rounding(group: str) -> None:
    fields = Fields(group, equivariant=2, invariant=3)
    layers = torch.nn.Sequential(
        Conv2d(fields, fields, 5, padding="same"), BatchNorm2d(fields), MaxPool2d(fields, 3, 2)
    )
    inputs = torch.randn(2, fields.n_channels, 17, 17, device="cuda")
    assert_fields_equivariant(layers.cuda(), inputs)


@pytest.mark.parametrize("counts", [(4, 0, 0), (2, 8, 3)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("side_px", [8, 64])  # few calls, and many
def test_fields_are_normalised_as_on_the_cpu(
    counts: tuple[int, int, int], layout: torch.memory_format, side_px: int
) -> None:
    torch.manual_seed(0)
    fields = Fields("C8", *counts)
    features = torch.randn(2, fields.n_channels, side_px, side_px) + torch.randn(fields.n_channels, 1, 1)
    weights = torch.randn_like(features)
    found = []
    for device, precision in (("cpu", torch.float64), ("cuda", torch.float32), ("cuda", torch.bfloat16)):
        # Half precision has single-precision parameters, as under autocast.
        norm = BatchNorm2d(fields).to(device, max(precision, torch.float32, key=lambda kind: kind.itemsize))
        inputs = (
            features.detach().clone().to(device, precision).contiguous(memory_format=layout).requires_grad_()
        )
        answers = norm(inputs)
        (answers * weights.to(answers)).sum().backward()
        parts = (
            answers.detach(),
            inputs.grad,
            norm.weight.grad,
            norm.bias.grad,
            norm.running_mean,
            norm.running_var,
        )
        found.append([part.cpu().double() for part in parts])
        assert answers.is_contiguous(memory_format=layout)
    expected, single, half = found
    for ours, other, wanted in zip(single, half, expected, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())
        torch.testing.assert_close(other, wanted, rtol=3e-2, atol=3e-2 * wanted.abs().max().item())


def test_a_network_gives_what_it_gives_on_the_cpu() -> None:
    network = DesignedNetwork(describe_network("half"), 10).double().eval()
    images = torch.randn(2, 3, 57, 57, dtype=torch.float64)
    with torch.no_grad():
        here = network(images)
        there = network.cuda()(images.cuda()).cpu()
    torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-9)
    assert any(isinstance(part, InceptionBlock) for part in network.modules())


def test_recorded_passes_give_what_plain_ones_give() -> None:
    network = DesignedNetwork(parse_description(NETWORK), 5).cuda().train()
    recorded = RecordedPasses(network, torch.float32)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    for side in (25, 25, 33):  # the second is replayed, the third recorded anew
        images = torch.randn(8, 3, side, side, device="cuda")
        gradients, moments = [], []
        for run in (network, recorded):
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])
            network.zero_grad()
            run(images).square().sum().backward()
            gradients.append(
                torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
            )
            moments.append(torch.cat([b.flatten().double() for b in network.buffers()]))
        torch.testing.assert_close(
            gradients[0], gradients[1], rtol=1e-3, atol=1e-3 * float(gradients[0].abs().max())
        )
        torch.testing.assert_close(moments[0], moments[1], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert network.eval()(images).shape == (8, 5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_learns_goes_on_and_exports(gratings: Path, tmp_path: Path, precision: str) -> None:
    def start(out: Path, **more: object) -> equiscope.construction.training.TrainingRun:
        description = parse_description(NETWORK)
        return equiscope.train(
            description, gratings, out, recipe=RECIPE, precision=precision, device="cuda", **more
        )  # type: ignore[arg-type]

    class Interrupted(Exception):
        pass

    taken = 0

    def count(n: int) -> None:
        nonlocal taken
        taken += n
        if taken == 8:
            raise Interrupted

    class Bar:
        def __enter__(self):  # type: ignore[no-untyped-def]
            return count

        def __exit__(self, *_: object) -> None:
            return None

    whole = start(tmp_path / "whole")
    with pytest.raises(Interrupted):
        start(tmp_path / "parts", checkpoint_every=1, progress=lambda _title, _total: Bar())
    parts = start(tmp_path / "parts")
    assert whole.top1 > 0.9
    assert parts.top1 > 0.9
    rows = [run.manifest["curves"] for run in (whole, parts)]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    # Kernels of a GPU add in no fixed order, so this holds nearly and not bit for bit.
    assert rows[1][-1]["train_loss"] == pytest.approx(rows[0][-1]["train_loss"], abs=0.1)
    plain = build(tmp_path / "whole" / "model.safetensors")
    designed = whole.load_network().eval()
    images = torch.rand(4, 3, 25, 25)
    with torch.no_grad():
        torch.testing.assert_close(
            plain.module(plain.preprocess(images)), designed(plain.preprocess(images)), rtol=1e-4, atol=1e-4
        )


def test_a_process_that_torchrun_started_trains_through_nccl(gratings: Path, tmp_path: Path) -> None:
    """One process speaks with itself: two cannot share a GPU."""
    network = tmp_path / "tiny.json"
    network.write_text(json.dumps(NETWORK))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
    command += ["-m", "equiscope.cli", "train", str(network), "--data", str(gratings)]
    command += ["--out", str(tmp_path / "run"), "--device", "cuda", "--precision", "bfloat16"]
    command += "--epochs 3 --batch 32 --crop 24 --learning-rate 0.05".split()
    environment = os.environ | {"NCCL_DEBUG": "INFO"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "NCCL INFO" in done.stdout + done.stderr
    assert load_training(tmp_path / "run").top1 > 0.9
