"""Training: descriptions, budgets, data, augmentation, going on from any step, what is written, accuracies."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import nn

import equiscope
from equiscope import EquiscopeError
from equiscope.construction.equivariant import Fields
from equiscope.construction.training import (
    MATCHES,
    MINI_RECIPE,
    Description,
    DesignedNetwork,
    Recipe,
    TrainingRun,
    count,
    describe_network,
    designed,
    load_description,
    load_training,
    loop,
    match_budget,
    measure_equivariance,
    open_labelled,
    parse_description,
    summarise,
    to_plain,
)
from equiscope.construction.training.batches import (
    Schedule,
    centre_batch,
    draw_batch,
    epoch_order,
    iterate_batches,
    uniform,
)
from equiscope.construction.training.curves import draw_curves
from equiscope.construction.training.network import Restriction
from equiscope.construction.training.processes import Processes, join_processes
from equiscope.construction.training.recipe import make_optimiser, whiten_stem
from equiscope.construction.training.widths import divide
from equiscope.models.mini import Mini
from equiscope.models.trained import standardise

ROOT = Path(__file__).parents[1]
TINY = {
    "name": "tiny",
    "group": "C4",
    "layers": [
        {"name": "conv2d0", "kernel_px": 5, "stride": 2, "equivariant": 2, "invariant": 3, "plain": 2},
        {"pool": "max"},
        {
            "name": "mixed3a",
            "direct": {"equivariant": 1},
            "reduced": [
                {
                    "kernel_px": 3,
                    "bottleneck": {"equivariant": 1, "plain": 1},
                    "units": {"equivariant": 1, "invariant": 2, "plain": 1},
                }
            ],
            "pooled": {"invariant": 2, "plain": 2},
        },
    ],
}
TINY_RECIPE = Recipe(
    epochs=2,
    batch=16,
    crop_px=24,
    side_px=32,
    components=22,
    warmup_epochs=1,
    learning_rate=0.1,
    crop_schedule=((0.5, 0.75), (1.0, 1.0)),
)


def grating(angle: float, rng: np.random.Generator, height: int = 32, width: int = 32) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    wave = np.sin(x * np.cos(angle) + y * np.sin(angle) + rng.uniform(0, 2 * np.pi))
    noisy = 128 + 90 * wave[..., None] + rng.normal(0, 20, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_classes(folder: Path, n: int, rng: np.random.Generator, **sides: int) -> Path:
    """Four classes of gratings, lossless."""
    for label in range(4):
        (folder / f"class{label}").mkdir(parents=True)
        for index in range(n):
            picture = Image.fromarray(grating(np.pi * label / 4, rng, **sides))
            picture.save(folder / f"class{label}" / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("gratings"), 20, np.random.default_rng(0))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train_tiny(data: Path, out: Path, **options: Any) -> TrainingRun:
    return equiscope.train(
        parse_description(TINY), data, out, **{"recipe": TINY_RECIPE, "precision": "float32", **options}
    )


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    torch.set_num_threads(1)
    return train_tiny(data, tmp_path_factory.mktemp("finished") / "run")


# --- descriptions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", ["plain", "half", "half-blurred", "twin:half-blurred", "inceptionv1", "inceptionv1-half"]
)
def test_descriptions_survive_json(spec: str) -> None:
    description = describe_network(spec)
    assert parse_description(json.loads(json.dumps(description.document()))) == description


def test_half_of_the_units_are_equivariant_and_half_invariant() -> None:
    for layer in describe_network("half").units:
        fields = layer.fields
        assert fields.group == "C16"
        assert fields.plain == 0
        # The stem's 48 channels are no whole number of halves of 16.
        assert fields.n_field_channels == (32 if layer.name == "conv2d0" else fields.n_channels / 2)


def test_plain_is_the_embedded_network() -> None:
    plain, _ = to_plain(
        DesignedNetwork(describe_network("plain"), 100),
        56,
        classes=tuple("x" * 100),
        mean=(0, 0, 0),
        sd=(1, 1, 1),
    )
    mini = Mini()
    mini.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 56, 48)
    with torch.no_grad():
        torch.testing.assert_close(mini(images), plain(images))


def test_toml_is_read(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        'group = "D4"\n[[layers]]\nname = "first"\nkernel_px = 3\nequivariant = 2\nplain = 1\n'
    )
    description = load_description(tmp_path / "own.toml")
    assert description.name == "own"
    assert description.is_antialiased
    assert description.units[0].fields == Fields("D4", 2, 0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": []}, "does not begin with a convolution"),
        ({"layers": [{"pool": "max"}]}, "does not begin with a convolution"),
        ({"layers": [{"pool": "mean"}]}, "unknown pool 'mean'"),
        ({"layers": 3}, "layers of the network is 3, expected a value of type list"),
        ({"layers": [4]}, "layer 0 is 4, expected a table"),
        ({"layers": [{"name": "a", "kernel_px": 3, "plan": 3}]}, "unknown key of layer 0 'plan'"),
        ({"layers": [{"kernel_px": 3, "plain": 3}]}, "layer 0 has no name"),
        ({"layers": [{"name": "a b", "kernel_px": 3, "plain": 3}]}, "expected different names"),
        ({"layers": [{"name": "a", "kernel_px": 3, "plain": 3}] * 2}, "expected different names"),
        ({"layers": [{"name": "a", "kernel_px": 3, "stride": 0, "plain": 3}]}, "the stride of a is 0"),
        ({"antialiased": False}, "is not antialiased"),
        ({"plain_to": "none"}, "unknown value of plain_to"),
        ({"kind": 3}, "unknown key of the network 'kind'"),
    ],
)
def test_wrong_descriptions_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EquiscopeError, match=re.escape(message)):
        parse_description(TINY | change)


@pytest.mark.parametrize("name", ["pool1", "blur2", "steps", "rectifiers", "train", "keys", "training"])
def test_names_that_parts_of_the_network_have_are_refused(name: str) -> None:
    layers = [{"name": n, "kernel_px": 3, "plain": 4} for n in ("a", name)]
    with pytest.raises(EquiscopeError, match=f"a layer of 'n' is called '{name}'"):
        parse_description({"name": "n", "layers": [layers[0], {"pool": "max"}, layers[1]]})


def test_kernels_of_one_size_are_refused() -> None:
    document = json.loads(json.dumps(TINY))
    document["layers"][2]["reduced"] *= 2
    with pytest.raises(EquiscopeError, match="expected a different side above 1"):
        parse_description(document)


def test_unknown_networks_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EquiscopeError, match="did you mean 'half'"):
        describe_network("halv")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(EquiscopeError, match="cannot read the network's description"):
        describe_network(tmp_path / "bad.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(EquiscopeError, match="holds a list, expected a table"):
        describe_network(tmp_path / "list.json")


def test_a_layer_that_cannot_be_built_is_named() -> None:
    document = {"layers": [{"name": "first", "kernel_px": 3, "group": "C16", "equivariant": 1}], "name": "n"}
    with pytest.raises(EquiscopeError, match="layer first of 'n': a kernel of 3 px is too small for C16"):
        DesignedNetwork(parse_description(document), 3)


def test_groups_may_only_become_smaller() -> None:
    layers = [
        {"name": n, "kernel_px": 5, "group": g, "equivariant": 1} for n, g in (("a", "C4"), ("b", "C8"))
    ]
    with pytest.raises(EquiscopeError, match="groups may only become smaller"):
        DesignedNetwork(parse_description({"name": "n", "layers": layers}), 3)


@pytest.mark.parametrize(("large", "small"), [("C8", "C4"), ("D4", "C4"), ("D8", "D2"), ("H4xC8", "C8")])
def test_restriction_commutes_with_the_subgroup(large: str, small: str) -> None:
    fields = Fields(large, 2, 1, 1)
    restriction = Restriction(fields, small)
    # Values that tell channel, place and image apart.
    features = torch.rand(1, fields.n_channels, 6, 6)
    big, little = fields.action, restriction.out_fields.action
    for h in range(little.order):
        key = (little.angle_deg(h), little.is_mirrored(h), little.hue_deg(h))
        g = next(g for g in range(big.order) if (big.angle_deg(g), big.is_mirrored(g), big.hue_deg(g)) == key)
        if big.is_exact(g):
            turned = restriction(fields.transform(features, g))
            assert torch.equal(turned, restriction.out_fields.transform(restriction(features), h))


def test_shares_are_kept_over_a_layer() -> None:
    spaces = divide([16, 80, 24, 8], 0.5, 0.5, "C16")
    assert [space.equivariant for space in spaces] == [1, 2, 1, 0]
    assert sum(space.invariant for space in spaces) == 64
    assert [space.n_channels for space in spaces] == [16, 80, 24, 8]
    assert [space.equivariant for space in divide([20, 40], 1.0, 0.0, "C16")] == [1, 2]


# --- networks ------------------------------------------------------------------------------------------------


def unsettle(network: nn.Module) -> nn.Module:
    """Give normalisations moments, scales and shifts that differ from unit to unit."""
    for module in network.modules():
        if hasattr(module, "running_var"):
            n = len(module.running_var)
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.data = torch.rand(n) + 0.5
            module.bias.data.normal_(0, 0.2)
    return network.eval()


HUE = {
    "name": "hue",
    "group": "H4xC8",
    "layers": [
        {"name": "a", "kernel_px": 5, "equivariant": 1, "invariant": 2},
        {"pool": "max"},
        {"name": "b", "kernel_px": 3, "group": "C4", "equivariant": 2, "invariant": 1, "plain": 2},
        {"name": "c", "kernel_px": 3, "plain": 5},
    ],
}


# Behind a block, whose channels a plain network has in another order.
DEEP = TINY | {"layers": [*TINY["layers"], {"name": "last", "kernel_px": 3, "equivariant": 1, "plain": 2}]}
# Strided and behind an even side as well as at the stem.
BLURRED = DEEP | {
    "blurred": True,
    "layers": [*DEEP["layers"], {"name": "end", "kernel_px": 3, "stride": 2, "equivariant": 1}],
}
DOCUMENTS = pytest.mark.parametrize(
    "document",
    [TINY, TINY | {"plain_to": "all"}, HUE, DEEP, BLURRED, HUE | {"blurred": True}],
    ids=["tiny", "all", "hue", "deep", "blurred", "hue blurred"],
)


@DOCUMENTS
def test_the_exported_network_is_the_same_function(document: dict[str, Any]) -> None:
    description = parse_description(document)
    side = description.fit_side(24)
    network = unsettle(DesignedNetwork(description, 3))
    plain, blueprint = to_plain(network, side, classes=("a", "b", "c"), mean=(0, 0, 0), sd=(1, 1, 1))
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), network(images), atol=1e-5, rtol=1e-4)
    assert {type(m) for m in plain.modules() if not list(m.children())} <= {
        nn.Conv2d,
        nn.MaxPool2d,
        nn.ReLU,
        nn.Linear,
    }
    assert blueprint.layer_names == tuple(layer.name for layer in description.units)


def test_logits_of_tied_units_do_not_see_quarter_turns() -> None:
    document = json.loads(
        json.dumps(TINY).replace('"plain": 2', '"plain": 0').replace('"plain": 1', '"plain": 0')
    )
    description = parse_description(document)
    network = unsettle(DesignedNetwork(description, 3)).double()
    side = description.fit_side(24)
    images = torch.rand(2, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(torch.rot90(images, 1, (2, 3))), network(images))
        # The side matters: where strided grids do not lie symmetrically they are refused.
        with pytest.raises(EquiscopeError, match="px over"):
            network(images[..., : side - 1, : side - 1])


# Behind a block, whose channels a plain network has in another order.
DEEP = TINY | {"layers": [*TINY["layers"], {"name": "last", "kernel_px": 3, "equivariant": 1, "plain": 2}]}
DOCUMENTS = pytest.mark.parametrize(
    "document", [TINY, TINY | {"plain_to": "all"}, HUE, DEEP], ids=["tiny", "all", "hue", "deep"]
)


@DOCUMENTS
def test_counts_are_those_of_the_built_network(document: dict[str, Any]) -> None:
    description = parse_description(document)
    counts = count(description, 24, 3)
    network = DesignedNetwork(description, 3)
    plain, _ = to_plain(network, counts.side_px, classes=("a", "b", "c"), mean=(0, 0, 0), sd=(1, 1, 1))
    n_multiply_adds = 0

    def add(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal n_multiply_adds
        n_multiply_adds += module.weight.numel() * int(np.prod(output.shape[2:]))

    for module in plain.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    plain(torch.zeros(1, 3, counts.side_px, counts.side_px))
    assert counts.free_parameters == network.n_free_parameters
    assert counts.expanded_parameters == sum(p.numel() for p in plain.parameters() if p.requires_grad)
    assert counts.multiply_adds == n_multiply_adds


@pytest.mark.parametrize("by", MATCHES)
@pytest.mark.parametrize(("spec", "reference"), [("half", "plain"), ("plain", "half"), ("twin:half", "half")])
def test_budgets_are_matched(spec: str, reference: str, by: str) -> None:
    other = describe_network(reference)
    matched = match_budget(describe_network(spec), other, by, 56, 100)
    own, wanted = count(matched, 56, 100), count(other, 56, 100)
    if by == "widths":
        assert [u.fields.n_channels for u in matched.units] == [u.fields.n_channels for u in other.units]
    elif by == "parameters":
        assert own.free_parameters == pytest.approx(wanted.free_parameters, rel=0.02)
    else:
        assert own.multiply_adds == pytest.approx(wanted.multiply_adds, rel=0.02)
    has_fields = [bool(u.fields.equivariant) for u in matched.units]
    assert has_fields == [spec == "half"] * 5


def test_widths_of_other_layers_are_refused() -> None:
    with pytest.raises(EquiscopeError, match="so their widths cannot be the same"):
        match_budget(describe_network("plain"), describe_network("inceptionv1"), "widths", 56, 3)
    with pytest.raises(EquiscopeError, match="unknown match 'size'"):
        match_budget(describe_network("plain"), describe_network("half"), "size", 56, 3)


@pytest.mark.parametrize("by", ["parameters", "compute"])
def test_budgets_out_of_reach_are_refused(by: str) -> None:
    small = parse_description({"name": "small", "layers": [{"name": "a", "kernel_px": 3, "plain": 2}]})
    for one, other in ((describe_network("inceptionv1"), small), (small, describe_network("inceptionv1"))):
        with pytest.raises(EquiscopeError, match=f"'{one.name}' cannot have the .* of '{other.name}'"):
            match_budget(one, other, by, 56, 10)


def test_designed_keeps_other_units_plain() -> None:
    network = designed(describe_network("plain"), "C8", equivariant=0.25, invariant=0.25, name="quarter")
    fields = network.units[1].fields
    assert (fields.n_field_channels, fields.invariant, fields.plain) == (24, 24, 48)
    assert network.units[1].kernel_px == 3


# --- data ----------------------------------------------------------------------------------------------------


def jpeg(pixels: np.ndarray) -> bytes:
    import io

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def write_archive(path: Path, n: int, **change: np.ndarray) -> Path:
    rng, arrays = np.random.default_rng(1), {}
    for split in ("train", "val"):
        files = [jpeg(grating(np.pi * (i % 4) / 4, rng)) for i in range(n)]
        arrays[f"{split}_jpeg"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"{split}_offset"] = np.cumsum([0] + [len(file) for file in files])
        arrays[f"{split}_label"] = np.arange(n) % 4
    arrays["name"] = np.array(["a", "b", "c", "d"])
    np.savez(path, **(arrays | change))
    return path


def test_archives_are_read(tmp_path: Path) -> None:
    images = open_labelled(write_archive(tmp_path / "a.npz", 8), 32)
    assert images.classes == ("a", "b", "c", "d")
    assert images.train.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    rng = np.random.default_rng(1)
    loaded = images.train.load(0)
    assert loaded is not None
    assert np.abs(loaded.transpose(1, 2, 0).astype(float) - grating(0, rng)).mean() < 15  # JPEG


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_label": np.arange(8)}, "labels of '.*' go from 0 to 7, expected 0 to 3"),
        ({"val_label": np.arange(8) % 4 - 1}, "the validation labels of '.*' go from -1 to 2"),
        ({"train_label": np.arange(5)}, "expected one whole number for each of 8 images"),
        ({"train_label": np.arange(8) % 3}, "class 'd' of '.*' has no training image"),
        (
            {"train_label": np.zeros(8, int), "val_label": np.zeros(8, int), "name": np.array(["a"])},
            "one class",
        ),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(EquiscopeError, match=message):
        open_labelled(write_archive(tmp_path / "a.npz", 8, **change), 32)


def write_cifar(folder: Path, n: int = 20) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(2)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels = np.stack([grating(0, rng) for _ in range(n)])
        batch = {
            b"data": pixels.transpose(0, 3, 1, 2).reshape(n, 3072),
            b"labels": [i % 10 for i in range(n)],
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {b"label_names": [f"class {i}".encode() for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return folder


def test_cifar_is_read(tmp_path: Path) -> None:
    images = open_labelled(write_cifar(tmp_path / "cifar"), 32)
    assert images.classes[3] == "class 3"
    assert (len(images.train), len(images.val)) == (100, 20)
    expected = grating(0, np.random.default_rng(2))
    assert np.array_equal(images.train.load(0), expected.transpose(2, 0, 1))
    assert open_labelled(tmp_path / "cifar", 40).train.load(0).shape == (3, 40, 40)


class Harmful:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, ("harm",)


def test_a_pickle_with_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar(tmp_path / "cifar")
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": Harmful()}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EquiscopeError, match=r"asks for .*mkdir, which no array needs"):
        open_labelled(folder, 32)
    assert not (tmp_path / "harm").exists()
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": np.zeros((4, 3072))}))
    with pytest.raises(EquiscopeError, match="has no labels"):
        open_labelled(folder, 32)
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": np.zeros((4, 3)), b"labels": [0] * 4}))
    with pytest.raises(EquiscopeError, match="expected 3,072 bytes"):
        open_labelled(folder, 32)
    (folder / "test_batch").unlink()
    with pytest.raises(EquiscopeError, match="has no test_batch"):
        open_labelled(folder, 32)


def test_class_folders_are_read(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "all", 20, np.random.default_rng(0), height=40, width=64)
    images = open_labelled(folder, 32)
    assert (len(images.train), len(images.val)) == (72, 8)
    assert images.train.load(0).shape == (3, 32, 51)
    # No image is in both parts.
    assert not set(images.train.indices) & set(images.val.indices)
    both = tmp_path / "both"
    write_classes(both / "train", 2, np.random.default_rng(0))
    write_classes(both / "val", 1, np.random.default_rng(0))
    images = open_labelled(both, 32)
    assert (len(images.train), len(images.val)) == (8, 4)
    assert images.val.labels.tolist() == [0, 1, 2, 3]
    (both / "val" / "class3").rename(both / "val" / "klass3")
    with pytest.raises(EquiscopeError, match=r"unknown class in '.*val' 'klass3': did you mean 'class3'"):
        open_labelled(both, 32)


def test_folders_of_no_use_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EquiscopeError, match="there is no file or folder"):
        open_labelled(tmp_path / "none", 32)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(EquiscopeError, match=r"is no \.npz archive"):
        open_labelled(tmp_path / "text.npz", 32)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(EquiscopeError, match="has no train_label, only x"):
        open_labelled(tmp_path / "other.npz", 32)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(EquiscopeError, match="no image in the folder"):
        open_labelled(folder, 32)
    write_classes(folder, 3, np.random.default_rng(0))
    with pytest.raises(EquiscopeError, match="has 10 images, so none could be held out"):
        open_labelled(folder, 32)
    (folder / "empty").mkdir()
    with pytest.raises(EquiscopeError, match="empty' holds no image"):
        open_labelled(folder, 32)
    (folder / "class0" / "000.png").rename(folder / "loose.png")
    with pytest.raises(EquiscopeError, match=r"1 images of .* are in no class folder \(loose.png\)"):
        open_labelled(folder, 32)


# --- batches -------------------------------------------------------------------------------------------------


def test_draws_are_uniform_and_independent() -> None:
    draws = uniform(3, 5, np.arange(20000), 4)
    assert np.abs(draws.mean(0) - 0.5).max() < 0.01
    assert np.abs(draws.var(0) - 1 / 12).max() < 0.002
    neighbours = np.concatenate(
        [draws, uniform(3, 6, np.arange(20000), 4), uniform(4, 5, np.arange(20000), 4)], 1
    )
    shifted = np.concatenate([neighbours[1:], neighbours[:-1]], axis=1)
    assert np.abs(np.corrcoef(shifted.T) - np.eye(24)).max() < 0.04
    # What is drawn for an image does not depend on the others.
    assert np.array_equal(uniform(3, 5, np.array([77]), 4)[0], draws[77])


def test_crops_and_mirrors(data: Path) -> None:
    split = open_labelled(data, 32).train
    images = np.arange(40)
    batch = draw_batch(split, images, 24, seed=1, epoch=2)
    assert batch.pixels.shape == (40, 3, 24, 24)
    tops, n_mirrored = set(), 0
    for row, index in enumerate(images.tolist()):
        whole = split.load(index)
        places = [
            (top, left, is_mirrored)
            for top in range(9)
            for left in range(9)
            for is_mirrored in (False, True)
            if np.array_equal(
                batch.pixels[row],
                whole[:, top : top + 24, left : left + 24][:, :, :: -1 if is_mirrored else 1],
            )
        ]
        assert len(places) == 1
        tops.add(places[0][0])
        n_mirrored += places[0][2]
    assert {0, 8} <= tops
    assert 8 < n_mirrored < 32
    assert 0.8 <= batch.contrast.min() < 0.9 < 1.1 < batch.contrast.max() <= 1.2
    assert -0.1 <= batch.shift.min() < -0.05 < 0.05 < batch.shift.max() <= 0.1
    centre = centre_batch(split, images[:1], 24)
    assert np.array_equal(centre.pixels[0], split.load(0)[:, 4:28, 4:28])


def test_batches_cover_the_epoch_whoever_makes_them(data: Path) -> None:
    split = open_labelled(data, 32).train
    schedule = Schedule(n_steps_per_epoch=4, batch=16, crops_px=[24, 32], seed=7)
    alone = list(iterate_batches(split, schedule, range(8)))
    assert [batch.pixels.shape[-1] for batch in alone] == [24] * 4 + [32] * 4
    order = epoch_order(7, 1, len(split))
    assert sorted(order) == list(range(len(split)))
    assert np.array_equal(alone[4].labels, split.labels[order[:16]])
    later = list(iterate_batches(split, schedule, range(5, 8), n_workers=3))
    for a, b in zip(alone[5:], later, strict=True):
        assert np.array_equal(a.pixels, b.pixels)
    halves = [next(iterate_batches(split, schedule, range(1), rank=r, n_ranks=2)) for r in (0, 1)]
    assert np.array_equal(alone[0].pixels[::2], halves[0].pixels)
    assert np.array_equal(alone[0].pixels[1::2], halves[1].pixels)


# --- training ------------------------------------------------------------------------------------------------


def weights(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def assert_same_training(a: Path, b: Path) -> None:
    """Bit for bit: weights, momenta, curves but for the clock, exported network."""
    one, other = weights(a), weights(b)
    for part in ("network",):
        assert one[part].keys() == other[part].keys()
        assert all(torch.equal(one[part][key], other[part][key]) for key in one[part])
    momenta = [document["optimiser"]["state"] for document in (one, other)]
    assert momenta[0].keys() == momenta[1].keys()
    assert all(
        torch.equal(momenta[0][k]["momentum_buffer"], momenta[1][k]["momentum_buffer"]) for k in momenta[0]
    )
    clock = {"seconds", "images_per_s"}
    rows = [
        [{k: v for k, v in row.items() if k not in clock} for row in d["state"]["rows"]] for d in (one, other)
    ]
    assert rows[0] == rows[1]
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()


def test_loss_falls(finished: TrainingRun, data: Path, tmp_path: Path) -> None:
    runs = [finished, *(train_tiny(data, tmp_path / f"{seed}", seed=seed) for seed in (1, 2))]
    losses = np.array([[row["train_loss"] for row in run.manifest["curves"]] for run in runs])
    # Single starts learn by 0.08 to 0.18 in so few steps.
    assert losses[:, -2:].mean() < losses[:, :2].mean() - 0.1


def test_everything_is_written(finished: TrainingRun) -> None:
    manifest = finished.manifest
    assert {path.name for path in finished.folder.iterdir()} == {
        "training.json",
        "checkpoint.pt",
        "model.safetensors",
        "curves.csv",
        "curves.svg",
    }
    rows = manifest["curves"]
    assert [row["val_top1"] is not None for row in rows] == [False] * 3 + [True] + [False] * 3 + [True]
    assert manifest["counts"]["free_parameters"] == count(finished.description, 24, 4).free_parameters
    result = manifest["result"]
    assert result["low"] <= result["top1"] <= result["high"]
    assert result["n_images"] == 8
    with (finished.folder / "curves.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert float(table[-1]["val_top1"]) == rows[-1]["val_top1"]
    assert table[0]["val_top1"] == ""
    picture = ET.fromstring((finished.folder / "curves.svg").read_text(encoding="utf-8"))  # noqa: S314
    assert len(picture.findall(".//{*}circle")) == 4


def test_the_written_network_can_be_surveyed_and_loaded(finished: TrainingRun, data: Path) -> None:
    model = equiscope.load_model(str(finished.model_file))
    assert list(model.default_layers) == ["conv2d0", "mixed3a"]
    designed_network = finished.load_network()
    split = open_labelled(data, 32).val
    side = model.input_size_px
    pixels = torch.from_numpy(centre_batch(split, np.arange(8), side).pixels).float() / 255
    with torch.no_grad():
        prepared = model.preprocess(pixels)
        torch.testing.assert_close(model.module(prepared), designed_network(prepared), atol=1e-4, rtol=1e-3)
        n_right = (model.module(prepared).argmax(1).numpy() == split.labels).sum()
    assert n_right / 8 == finished.top1
    recorded = model.record(pixels, ["conv2d0", "mixed3a.3x3"])
    assert recorded["conv2d0"].shape[1] == 2 * 4 + 3 + 2
    assert recorded["conv2d0"].min() < 0


def test_a_survey_finds_the_fields_that_were_designed(data: Path, tmp_path: Path) -> None:
    # Not whitened: after a few steps on grey gratings a whitened field is still a blob, which has no pose.
    recipe = dataclasses.replace(TINY_RECIPE, components=0)
    trained = train_tiny(data, tmp_path / "trained", recipe=recipe)
    model = equiscope.load_model(str(trained.model_file))
    run = equiscope.survey(
        model, layers=["conv2d0"], transformations=["rotation"], angles=4, out=tmp_path / "run"
    )
    found = sorted(sorted(family.channels) for family in run.families)
    assert [0, 1, 2, 3] in found
    assert [4, 5, 6, 7] in found
    for family in run.families:
        if set(family.channels) <= set(range(8)):
            assert family.score > 0.99
            assert np.diff(np.sort(family.poses_deg)) == pytest.approx([90] * 3, abs=1)
    # By quarter turns, which is all that C4 promises.
    kinds = [unit.under("rotation").kind for unit in run.units]
    assert kinds[8:11] == ["invariant"] * 3


def test_the_contract_of_the_folder_is_complete(finished: TrainingRun) -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    explained = set(
        re.findall(r"^\| `([\w.]+)` \| [a-z]+(?: of text| or null)?(?:, \w+)? \|", page, re.MULTILINE)
    )
    written = set()
    for key, value in finished.manifest.items():
        written.add(key)
        inner = value[0] if isinstance(value, list) else value
        if isinstance(inner, dict) and key not in ("versions", "reference", "result"):
            written |= {f"{key}.{name}" for name in inner}
    assert explained == written
    assert all(f"`{name}`" in page for name in finished.manifest["result"])
    assert all(f"| `{path.name}` |" in page for path in finished.folder.iterdir())


def test_a_finished_training_is_not_repeated(
    finished: TrainingRun, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "DesignedNetwork", None)
    assert train_tiny(data, finished.folder).manifest == finished.manifest


class Stopped(Exception):
    pass


@contextmanager
def stopped_after(n: int, how: Callable[[], None]) -> Iterator[Callable[[int], None]]:
    done = 0

    def on_step(steps: int) -> None:
        nonlocal done
        done += steps
        if done == n:
            how()

    yield on_step


def fail() -> None:
    raise Stopped


@pytest.mark.parametrize("n_steps", [1, 3, 4, 6])
def test_an_interrupted_training_ends_like_an_uninterrupted_one(
    finished: TrainingRun, data: Path, tmp_path: Path, n_steps: int
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        train_tiny(data, folder, checkpoint_every=1, progress=lambda *_: stopped_after(n_steps, fail))
    assert weights(folder)["state"]["step"] == n_steps
    torch.manual_seed(99)
    train_tiny(data, folder, n_workers=2)
    assert_same_training(folder, finished.folder)


def test_a_signal_waits_for_the_step_and_saves_it(finished: TrainingRun, data: Path, tmp_path: Path) -> None:
    folder, handler = tmp_path / "run", signal.getsignal(signal.SIGTERM)
    interrupt = stopped_after(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        train_tiny(data, folder, progress=lambda *_: interrupt)
    assert weights(folder)["state"]["step"] == 3
    assert signal.getsignal(signal.SIGTERM) is handler
    with pytest.raises(EquiscopeError, match=r"is not finished \(step 3 of 8\)"):
        load_training(folder)
    train_tiny(data, folder)
    assert_same_training(folder, finished.folder)


def test_a_kill_in_the_middle_of_a_checkpoint_keeps_the_one_before(
    finished: TrainingRun, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    script = (
        "import json, os, sys, torch\n"
        "from pathlib import Path\n"
        "import equiscope\n"
        "from equiscope.construction.training import Recipe, checkpoint, parse_description\n"
        "torch.set_num_threads(1)\n"
        "document, recipe, data, folder = json.loads(sys.argv[1])\n"
        "write = checkpoint.write_atomically\n"
        "def killed(path, fill):\n"
        "    if path.name != 'checkpoint.pt' or not path.exists():\n"
        "        return write(path, fill)\n"
        "    class Half:\n"
        "        def __init__(self, stream): self.stream = stream\n"
        "        def write(self, data):\n"
        "            self.stream.write(bytes(data)[: len(data) // 2]); self.stream.flush(); os._exit(9)\n"
        "    return write(path, lambda stream: fill(Half(stream)))\n"
        "checkpoint.write_atomically = killed\n"
        "equiscope.train(parse_description(document), data, folder, recipe=Recipe(**recipe), precision='float32',"
        " checkpoint_every=3)\n"
    )
    recipe = dataclasses.asdict(TINY_RECIPE)
    arguments = json.dumps([TINY, recipe, str(data), str(folder)])
    done = subprocess.run(
        [sys.executable, "-c", script, arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 9, done.stderr
    assert list(folder.glob(".equiscope-*.part"))
    assert weights(folder)["state"]["step"] == 3
    train_tiny(data, folder)
    assert not list(folder.glob(".*.part"))
    assert_same_training(folder, finished.folder)


def killed_in(module: str, name: str, nth: int, is_half: bool) -> str:
    """Words of a program that trains, and dies in the nth write of a file of this name, or just after it."""
    return (
        "import json, os, sys, torch\n"
        "from pathlib import Path\n"
        "import equiscope\n"
        "from equiscope.construction.training import Recipe, parse_description\n"
        f"import {module} as module\n"
        "torch.set_num_threads(1)\n"
        "document, recipe, data, folder = json.loads(sys.argv[1])\n"
        "write, seen = module.write_atomically, []\n"
        "def killed(path, fill, **options):\n"
        f"    seen.append(path.name == {name!r})\n"
        f"    is_it = seen[-1] and sum(seen) == {nth}\n"
        "    def half(stream):\n"
        "        stream.write(b'half'); stream.flush(); os._exit(9)\n"
        f"    write(path, half if is_it and {is_half} else fill, **options)\n"
        "    if is_it: os._exit(9)\n"
        "module.write_atomically = killed\n"
        "equiscope.train(parse_description(document), data, folder, recipe=Recipe(**recipe), precision='float32',"
        " checkpoint_every=3)\n"
    )


def without_clock(folder: Path) -> tuple[list[list[str]], dict[str, Any], str]:
    """The table of the curves, the record and the picture, without times."""
    with (folder / "curves.csv").open() as stream:
        table = [line[:-2] for line in csv.reader(stream)]
    record = json.loads((folder / "training.json").read_text())
    for row in record["curves"]:
        row.pop("seconds"), row.pop("images_per_s")
    record.pop("seconds"), record.pop("command")
    return table, record, (folder / "curves.svg").read_text()


# The checkpoints of this training are written after steps 3, 4, 6 and 8, each with curves and record.
@pytest.mark.parametrize(
    ("module", "name", "nth", "is_half"),
    [
        ("equiscope.construction.training.loop", "training.json", 1, True),
        ("equiscope.construction.training.checkpoint", "checkpoint.pt", 1, False),
        ("equiscope.construction.training.checkpoint", "checkpoint.pt", 4, False),
        ("equiscope.construction.training.curves", "curves.csv", 4, True),
        ("equiscope.construction.training.curves", "curves.svg", 4, True),
        ("equiscope.construction.training.loop", "model.safetensors", 1, True),
        ("equiscope.construction.training.loop", "model.safetensors", 1, False),
    ],
)
def test_a_training_killed_between_any_two_writes_ends_as_if_it_had_not_been(
    finished: TrainingRun, data: Path, tmp_path: Path, module: str, name: str, nth: int, is_half: bool
) -> None:
    folder = tmp_path / "run"
    arguments = json.dumps([TINY, dataclasses.asdict(TINY_RECIPE), str(data), str(folder)])
    script = killed_in(module, name, nth, is_half)
    done = subprocess.run(
        [sys.executable, "-c", script, arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 9, done.stderr
    train_tiny(data, folder)
    assert_same_training(folder, finished.folder)
    assert without_clock(folder) == without_clock(finished.folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in finished.folder.iterdir()
    )


def test_the_seed_matters(finished: TrainingRun, data: Path, tmp_path: Path) -> None:
    other = train_tiny(data, tmp_path / "run", seed=1)
    with pytest.raises(AssertionError):
        assert_same_training(other.folder, finished.folder)
    summary = summarise([other, finished.folder])
    assert [entry.seed for entry in summary.runs] == [0, 1]
    tops = [finished.top1, other.top1]
    assert summary.mean == pytest.approx(np.mean(tops))
    # Student's t for two values: 12.706 standard errors.
    reach = 12.7062 * abs(tops[0] - tops[1]) / 2
    assert (summary.low, summary.high) == pytest.approx((summary.mean - reach, summary.mean + reach))
    with pytest.raises(EquiscopeError, match="have the same seed, 0"):
        summarise([finished, finished])


def test_runs_that_are_not_alike_are_not_summarised(finished: TrainingRun) -> None:
    alone = summarise([finished])
    assert np.isnan([alone.low, alone.high]).all()
    assert alone.runs[0].low < alone.runs[0].top1 < alone.runs[0].high
    manifest = json.loads(json.dumps(finished.manifest))
    manifest["settings"] |= {"seed": 3, "precision": "bfloat16"}
    with pytest.raises(EquiscopeError, match="differ in precision and not in the seed alone"):
        summarise([finished, TrainingRun(finished.folder, manifest)])
    with pytest.raises(EquiscopeError, match="no training was given"):
        summarise([])


def test_bfloat16_and_a_plain_stem(data: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY_RECIPE, components=0, epochs=1)
    run = train_tiny(data, tmp_path / "run", recipe=recipe, precision="bfloat16")
    assert np.isfinite([row["train_loss"] for row in run.manifest["curves"]]).all()
    assert all(weight.dtype == torch.float32 for weight in run.load_network().parameters())


@pytest.mark.parametrize("what", ["loss", "weights"])
def test_what_is_not_finite_stops_the_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    step = loop.Training._step

    def broken(self: Any, model: nn.Module, batch: Any) -> torch.Tensor:
        loss = step(self, model, batch)
        if self.state.step < 5:
            return loss
        with torch.no_grad():
            next(iter(model.parameters())).fill_(float("inf"))
        return loss * float("nan") if what == "loss" else loss

    monkeypatch.setattr(loop.Training, "_step", broken)
    message = "the loss is nan at step 6 of 8" if what == "loss" else "after step 6 weights are not finite"
    with pytest.raises(EquiscopeError, match=message):
        train_tiny(data, tmp_path / "run", checkpoint_every=2 if what == "weights" else 3)
    document = weights(tmp_path / "run")
    assert document["state"]["step"] == 4
    assert all(torch.isfinite(value).all() for value in document["network"].values())


def test_corrupt_images_are_left_out_and_counted(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    rng = np.random.default_rng(5)
    write_classes(folder, 20, rng)
    for name in ("class0/003.png", "class2/009.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:200])
    run = train_tiny(folder, tmp_path / "run")
    failures = run.manifest["data"]["failures"]
    assert [failure["name"] for failure in failures] == ["class0/003.png", "class2/009.png"]
    assert run.manifest["result"]["n_images"] == 7
    for index in range(5, 11):
        (folder / f"class1/{index:03d}.png").write_bytes(b"")
    with pytest.raises(
        EquiscopeError, match=r"of 72 images of data cannot be decoded, the first: class0/003.png"
    ):
        train_tiny(folder, tmp_path / "other")


def test_failures_of_all_processes_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of training and of validation images, of which each process decodes its share."""
    folder = write_classes(tmp_path / "data", 20, np.random.default_rng(5))
    names = ["class0/003.png", "class2/009.png"]
    for name in names:
        (folder / name).write_bytes(b"")

    def join(_self: Processes, own: dict[str, str]) -> dict[str, str]:
        return own | {f"{name} elsewhere": reason for name, reason in own.items() if name in names}

    monkeypatch.setattr(Processes, "join", join)
    run = train_tiny(folder, tmp_path / "run", recipe=dataclasses.replace(TINY_RECIPE, epochs=1))
    recorded = [failure["name"] for failure in run.manifest["data"]["failures"]]
    assert recorded == [name + where for name in names for where in ("", " elsewhere")]


def test_data_without_any_image_that_decodes_is_refused(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "data", 10, np.random.default_rng(0))
    for path in folder.rglob("*.png"):
        path.write_bytes(b"\x89PNG")
    with pytest.raises(EquiscopeError, match="none of 36 images of data could be decoded"):
        train_tiny(folder, tmp_path / "run")


def test_folders_of_something_else_are_left_alone(finished: TrainingRun, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(EquiscopeError, match="is there already and is not the folder of a training"):
        train_tiny(data, tmp_path)
    with pytest.raises(EquiscopeError, match="holds another training, which differs in seed"):
        train_tiny(data, finished.folder, seed=5)
    with pytest.raises(EquiscopeError, match=r"holds no training\.json"):
        load_training(tmp_path)
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(EquiscopeError, match="cannot be read as the record of a training"):
        load_training(tmp_path)
    (tmp_path / "training.json").write_text('{"schema_version": 99}')
    with pytest.raises(EquiscopeError, match="has schema version 99"):
        load_training(tmp_path)


def test_damaged_and_foreign_checkpoints_are_refused(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        train_tiny(data, folder, checkpoint_every=1, progress=lambda *_: stopped_after(1, fail))
    path = folder / "checkpoint.pt"
    document = weights(folder)
    torch.save(document | {"settings": "{}"}, path)
    with pytest.raises(EquiscopeError, match="is the checkpoint of another training"):
        train_tiny(data, folder)
    torch.save(document | {"version": 9}, path)
    with pytest.raises(EquiscopeError, match="is of version 9"):
        train_tiny(data, folder)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(EquiscopeError, match="cannot read the checkpoint"):
        train_tiny(data, folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": dataclasses.replace(TINY_RECIPE, batch=500)}, "a batch of 500 is larger than the 72"),
        ({"recipe": dataclasses.replace(TINY_RECIPE, side_px=20)}, "are smaller than crops of 25 px"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0, expected a whole number from 1"),
        ({"n_workers": 0}, "n_workers is 0, expected a whole number from 1"),
        ({"seed": -1}, "seed is -1, expected a whole number from 0"),
        ({"device": "cudo"}, "cannot be used here"),
        ({"precision": "int8"}, "unknown precision"),
    ],
)
def test_options_out_of_range_are_refused(
    data: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(EquiscopeError, match=message):
        train_tiny(data, tmp_path / "run", **options)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs of the recipe is 0, expected a whole number from 1 to"),
        ({"momentum": 1.5}, "momentum of the recipe is 1.5"),
        ({"learning_rate": float("nan")}, "learning_rate of the recipe is nan"),
        ({"crop_schedule": ((0.5, 1.0),)}, "the last one up to 1"),
        ({"mean": (0.5, 0.5, 0.5)}, "give both, or neither"),
        ({"mean": (0.5, 0.5, 0.5), "sd": (0.2, 0.0, 0.2)}, "the latter above 0"),
    ],
)
def test_recipes_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EquiscopeError, match=message):
        Recipe(**change)


def test_the_recipe_of_mini() -> None:
    assert [MINI_RECIPE.crop_in_epoch(e) for e in range(13)] == [40] * 6 + [48] * 4 + [56] * 3
    rates = [MINI_RECIPE.learning_rate_at(step, 10) for step in range(130)]
    assert rates[0] == pytest.approx(0.15 / 20)
    assert max(rates) == pytest.approx(0.15 * 0.5 * (1 + np.cos(np.pi * 19 / 130)))
    assert rates[-1] < 1e-4


def test_the_stem_is_learned_in_whitened_coordinates(finished: TrainingRun) -> None:
    network = finished.load_network()
    stem = network.layers["conv2d0"].convolution
    for name in ("invariant_to_fields", "to_plain"):
        original = stem.parametrizations[name].original
        assert original.shape[1] == 22
        whitening = stem.parametrizations[name][0].whitening
        assert torch.equal(getattr(stem, name).flatten(1), original @ whitening)
    # Seven numbers of three colours: fewer directions than components, all are kept.
    assert stem.parametrizations["invariant_to_invariant"].original.shape[1] == 3 * stem.basis.n_fixed


def test_only_whitened_coordinates_have_their_weight_decay(data: Path) -> None:
    """A stem that turns hue is learned as it is, and decays as other kernels do."""
    recipe = dataclasses.replace(TINY_RECIPE, mean=(0.5, 0.5, 0.5), sd=(0.2, 0.2, 0.2))
    layers = [{"name": "stem", "kernel_px": 5, "equivariant": 2, "plain": 3}]
    decays = {}
    for group in ("C4", "H4"):
        network = DesignedNetwork(parse_description({"name": "n", "group": group, "layers": layers}), 4)
        whiten_stem(network, open_labelled(data, 32).train, recipe, 0)
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        for own in make_optimiser(network, recipe).param_groups:
            decays |= {(group, names[id(p)]): own["weight_decay"] for p in own["params"] if p.ndim > 1}
    stem = "layers.stem.convolution"
    assert decays == {
        ("C4", f"{stem}.parametrizations.invariant_to_fields.original"): 5e-3,
        ("C4", f"{stem}.parametrizations.to_plain.original"): 5e-3,
        ("H4", f"{stem}.to_fields"): 5e-4,
        ("H4", f"{stem}.to_plain"): 5e-4,
        ("C4", "classifier.weight"): 5e-4,
        ("H4", "classifier.weight"): 5e-4,
    }


def test_whitened_coordinates_see_patches_with_one_variance(data: Path) -> None:
    recipe = dataclasses.replace(
        TINY_RECIPE, components=4, whitening_power=0.5, mean=(0.5, 0.4, 0.5), sd=(0.3, 0.3, 0.2)
    )
    split = open_labelled(data, 32).train
    # Kernels of C8 are sums of fewer harmonics than pixels.
    stem_document = TINY["layers"][0] | {"group": "C8"}
    network = DesignedNetwork(parse_description(TINY | {"layers": [stem_document]}), 4)
    whiten_stem(network, split, recipe, seed=0)
    stem = network.layers["conv2d0"].convolution
    pixels = torch.stack([torch.from_numpy(split.load(i)) for i in range(len(split))]).float() / 255
    images = standardise(recipe.mean, recipe.sd)(pixels)
    for name, basis in (
        ("to_plain", torch.eye(25)),
        ("invariant_to_fields", stem.basis.turned[:, 0].float()),
    ):
        whitening = stem.parametrizations[name][0].whitening
        kernels = (whitening.reshape(4, 3, -1) @ basis).reshape(4, 3, 5, 5)
        seen = nn.functional.conv2d(images, kernels, stride=5).transpose(0, 1).flatten(1)
        torch.testing.assert_close(torch.cov(seen), torch.eye(4), atol=2e-3, rtol=0)
    patches = nn.functional.unfold(images, 5, stride=5).transpose(0, 1).flatten(1)
    strongest = torch.linalg.eigvalsh(torch.cov(patches))[-4:].flip(0)
    rows = stem.parametrizations["to_plain"][0].whitening
    torch.testing.assert_close(1 / rows.square().sum(1), strongest, rtol=0.01, atol=0)


def test_curves_without_a_line_can_be_drawn() -> None:
    ET.fromstring(draw_curves([], "a <b>"))  # noqa: S314


def test_running_moments_are_the_mean_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (unsettle(DesignedNetwork(parse_description(TINY), 3)) for _ in range(2))
    expected = {
        key: (value + other.state_dict()[key]) / 2
        for key, value in one.state_dict().items()
        if "running_" in key
    }
    moments = [value for key, value in other.state_dict().items() if key in expected]
    monkeypatch.setattr("torch.distributed.all_reduce", lambda own: own.add_(torch.cat(moments)))
    Processes(0, 2, torch.device("cpu"), is_group=True).average_moments(one)
    assert len(expected) == 10
    for key, value in expected.items():
        torch.testing.assert_close(one.state_dict()[key], value)


def test_one_process_of_torchrun_is_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    with join_processes("cpu") as alone:
        assert not alone.is_group
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in (started | {"TORCHELASTIC_RUN_ID": "test"}).items():
        monkeypatch.setenv(name, value)
    with join_processes("cpu") as one:
        assert (one.rank, one.n, one.is_group) == (0, 1, True)
        assert isinstance(one.wrap(nn.Linear(2, 2)), nn.parallel.DistributedDataParallel)
        assert one.join({"a": "b"}) == {"a": "b"}


@pytest.mark.parametrize("n", [1, 2])
def test_several_processes_train_one_network(data: Path, tmp_path: Path, n: int) -> None:
    network = tmp_path / "tiny.json"
    network.write_text(json.dumps(TINY))
    options = (
        f"{network} --data {data} --epochs 2 --batch 16 --crop 24 --precision float32 --device cpu".split()
    )
    launcher = f"-m torch.distributed.run --standalone --nproc-per-node {n}".split()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    starts: dict[str, list[str]] = {"run": launcher} | ({"alone": []} if n == 1 else {})
    for out, start in starts.items():
        command = [
            sys.executable,
            *start,
            "-m",
            "equiscope.cli",
            "train",
            *options,
            "--out",
            str(tmp_path / out),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
    run = load_training(tmp_path / "run")
    assert run.manifest["settings"]["n_processes"] == n
    assert run.manifest["result"]["n_images"] == 8
    if n == 1:  # the same through torch.distributed as without it
        ours, plain = (load_training(tmp_path / out).load_network().state_dict() for out in ("run", "alone"))
        for key, value in plain.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-5, atol=1e-6)
    losses = [row["train_loss"] for row in run.manifest["curves"]]
    assert np.mean(losses[-2:]) < np.mean(losses[:2])


def test_the_command_trains_and_its_network_can_be_listed(data: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from equiscope.cli import app

    network = tmp_path / "tiny.json"
    network.write_text(json.dumps(TINY))
    command = ["train", str(network), "--data", str(data), "--out", str(tmp_path / "run"), "--epochs", "1"]
    command += ["--batch", "16", "--crop", "24", "--match", "parameters", "--reference", f"twin:{network}"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert "reference: tiny-twin" in result.output
    run = load_training(tmp_path / "run")
    assert run.manifest["counts"]["free_parameters"] == pytest.approx(
        run.manifest["reference"]["counts"]["free_parameters"], rel=0.2
    )
    listed = CliRunner().invoke(app, ["layers", str(run.model_file)], catch_exceptions=False)
    assert "mixed3a" in listed.output


def test_files_that_are_no_trained_network_are_refused(finished: TrainingRun, tmp_path: Path) -> None:
    with pytest.raises(EquiscopeError, match="there is no file"):
        equiscope.load_model(str(tmp_path / "model.safetensors"))
    mini = Path(equiscope.models.__file__).parent / "mini.safetensors"
    with pytest.raises(EquiscopeError, match="is not a network that equiscope trained"):
        equiscope.load_model(str(mini))
    stored = finished.model_file.read_bytes()
    changed = tmp_path / "model.safetensors"
    changed.write_bytes(stored.replace(rb"\"version\": 1", rb"\"version\": 2"))
    with pytest.raises(EquiscopeError, match="is of version 2, this equiscope reads 1"):
        equiscope.load_model(str(changed))
    changed.write_bytes(stored.replace(rb"\"pooled\": 4", rb"\"pooled\": 5"))
    with pytest.raises(EquiscopeError, match="do not fit their own description"):
        equiscope.load_model(str(changed))


# --- equivariance of trained networks ------------------------------------------------------------------------


def pictures(n: int, height: int = 40, width: int = 44) -> torch.Tensor:
    """Smooth random pictures, standardised."""
    drawn = np.random.default_rng(0).standard_normal((n, 3, height, width))
    smooth = gaussian_filter(drawn, (0, 0, 1.5, 1.5))
    return torch.from_numpy(smooth / smooth.std()).float()


def settled(description: Description, images: torch.Tensor, seed: int = 0) -> DesignedNetwork:
    """A network with random weights and the moments of its own features."""
    torch.manual_seed(seed)
    network = DesignedNetwork(description, 3)
    side = description.fit_side(max(images.shape[2:]))
    square = torch.nn.functional.interpolate(images, (side, side))
    with torch.no_grad():
        for _ in range(40):
            network(square)
    return network


def test_blurs_keep_what_fine_rotations_promise() -> None:
    images = pictures(12)
    document = json.loads(json.dumps(DEEP).replace("C4", "C8").replace('"kernel_px": 3', '"kernel_px": 5'))
    errors = []
    for seed in range(5):
        for blurred in (False, True):
            network = settled(parse_description(document | {"blurred": blurred}), images, seed)
            found = measure_equivariance(network, images)
            assert network.training
            assert [entry.layer for entry in found] == ["conv2d0", "mixed3a", "last"]
            assert all(entry.group == "C8" and entry.n_images == 12 for entry in found)
            assert all(entry.exact < 2e-6 for entry in found)
            errors.append([entry.between for entry in found])
    # What the stem does to smooth pictures is as exact as its kernels; detail that its ReLU makes is what follows sees.
    sharp, blurred = np.array(errors[::2])[:, 1:].max(1), np.array(errors[1::2]).max(1)
    assert sharp.min() > 0.25
    assert (blurred < sharp / 2).all()
    assert 0 < np.median(blurred) < 0.15


def test_a_unit_that_breaks_its_promise_is_measured() -> None:
    images = pictures(6)
    description = parse_description(TINY)
    network = settled(description, images).eval()
    before = measure_equivariance(network, images)
    assert all(math.isnan(entry.between) for entry in before)
    seen: list[torch.Tensor] = []

    def add(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        changed = output.clone()
        changed[:, 5] += 0.5  # the second element of the second field
        return changed

    network.layers["conv2d0"].register_forward_hook(add)
    network.layers["conv2d0"].register_forward_hook(lambda _m, _i, output: seen.append(output))
    entry = measure_equivariance(network, images)[0]
    # Each element but the identity puts the half where it is not, and leaves it out where it is.
    upright = seen[0][:, :11, seen[0].shape[2] // 2, seen[0].shape[3] // 2]
    fields = upright[:, :8].unflatten(1, (2, 4))
    deviations = [fields - fields.mean((0, 2), keepdim=True), upright[:, 8:] - upright[:, 8:].mean(0)]
    spread = torch.cat([part.flatten() for part in deviations]).square().mean().item()
    assert entry.exact == pytest.approx(math.sqrt(2 * 0.25 / 11 / spread), rel=1e-3)


def test_plain_networks_promise_nothing() -> None:
    document = {"name": "free", "layers": [{"name": "a", "kernel_px": 3, "plain": 4}]}
    assert measure_equivariance(DesignedNetwork(parse_description(document), 3), pictures(2)) == ()


def test_trainings_record_what_is_kept(finished: TrainingRun) -> None:
    kept = finished.manifest["equivariance"]
    assert [(entry["layer"], entry["group"]) for entry in kept] == [("conv2d0", "C4"), ("mixed3a", "C4")]
    assert all(entry["exact"] < 1e-5 and entry["between"] is None for entry in kept)


def test_a_blurred_stem_is_whitened_as_it_sees(data: Path) -> None:
    images = open_labelled(data, 32)
    recipe = dataclasses.replace(TINY_RECIPE, mean=(0.5, 0.5, 0.5), sd=(0.3, 0.3, 0.3))
    scales = []
    for blurred in (False, True):
        torch.manual_seed(0)
        network = DesignedNetwork(parse_description(TINY | {"blurred": blurred}), 4)
        whiten_stem(network, images.train, recipe, 0)
        stem = network.layers["conv2d0"].get_submodule("convolution")
        scales.append(stem.parametrizations["to_plain"][0].whitening.norm(dim=1))
    # Directions that a blur weakens are made louder.
    assert (scales[1] > 1.1 * scales[0]).all()
