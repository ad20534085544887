"""Networks with oddities give the families of their plain twin, or whole images with a note; never other families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

import equiscope
from equiscope.evidence.circuits.gradients import _within, gradient_weights
from equiscope.evidence.circuits.paths import expanded_weights
from equiscope.evidence.featurevis.objectives import CentreResponses
from equiscope.evidence.verify.drawn.shown import record_centres
from equiscope.evidence.verify.whole_run import verify_run
from equiscope.foundations.errors import EquiscopeError
from equiscope.measurement.bank import build_bank
from equiscope.measurement.centres import Centres
from equiscope.measurement.examples import collect_examples, split_halves
from equiscope.measurement.responses import Responses, measure_responses
from equiscope.models import Model
from equiscope.models.geometry import MAX_OFFSET, find_geometry, joint_patch_px
from equiscope.models.sides import Sides, fitted
from equiscope.runs.manifest import read_geometries
from equiscope.stimuli import open_images
from equiscope.surveys import image_pass, pipeline
from equiscope.testing import Oddity, planted_oddity
from equiscope.transformations.groups import CyclicGroup

# Those that no patch can stand for, and those that need images of 128 px.
WHOLE = ("coordinates", "gated")
LARGE = ("only-128", "resizes")
PATCHES = [oddity for oddity in get_args(Oddity) if oddity not in WHOLE + LARGE]


def photo_crops(folder: Path, shapes: list[tuple[int, int]]) -> Path:
    """Forty crops of scikit-learn's two photographs at half their size, in turn of some shapes."""
    rng = np.random.default_rng(0)
    photos = load_sample_images().images
    folder.mkdir()
    for index in range(40):
        photo, (height, width) = photos[index % 2], shapes[index // 2 % len(shapes)]
        y, x = (rng.integers(0, n - 2 * own) for n, own in zip(photo.shape[:2], (height, width), strict=True))
        Image.fromarray(photo[y : y + 2 * height : 2, x : x + 2 * width : 2]).save(folder / f"{index:02}.png")
    return folder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Non-square crops of four shapes, so that sides have every remainder by 4."""
    shapes = [(100, 140), (97, 131), (118, 101), (103, 150)]
    return photo_crops(tmp_path_factory.mktemp("mixed") / "crops", shapes)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of 130 x 141 px and some of 128 x 128 px."""
    return photo_crops(tmp_path_factory.mktemp("large") / "crops", [(130, 141), (128, 128)])


def rotations(oddity: Oddity, images: Path, out: Path) -> equiscope.Run:
    model = planted_oddity(oddity).model
    return equiscope.survey(model, images, transformations=["rotation"], precision="float32", out=out)


def members(run: equiscope.Run) -> set[frozenset[int]]:
    return {frozenset(family.channels.tolist()) for family in run.families}


def planted(oddity: Oddity) -> set[frozenset[int]]:
    return {frozenset(family.channels) for family in planted_oddity(oddity).truth["planted"].families}


@pytest.mark.parametrize("oddity", PATCHES)
def test_families_are_those_of_the_plain_twin(oddity: Oddity, mixed: Path, tmp_path: Path) -> None:
    run = rotations(oddity, mixed, tmp_path / "run")
    assert members(run) == planted(oddity)
    assert min(family.score for family in run.families) > 0.97
    assert {u.channel for u in run.units if u.under("rotation").kind == "invariant"} == set(
        planted_oddity(oddity).truth["planted"].invariant
    )
    (geometry,) = read_geometries(run.manifest).values()
    assert (geometry.is_global, geometry.stride_px) == (False, (4, 4))
    assert len(run.manifest["layers"][0]["notes"]) == (
        0 if oddity in ("none", "stops-nan", "stops-nan-in-a-branch", "quantised") else 1
    )


@pytest.mark.parametrize("oddity", LARGE)
def test_a_network_of_one_side_is_shown_it(oddity: Oddity, large: Path, tmp_path: Path) -> None:
    run = rotations(oddity, large, tmp_path / "run")
    assert members(run) == planted(oddity)
    assert "shown sides of 128 px alone" in " ".join(run.manifest["layers"][0]["notes"])


@pytest.mark.parametrize("oddity", WHOLE)
def test_what_no_patch_can_stand_for_is_shown_whole_images_and_said(
    oddity: Oddity, mixed: Path, tmp_path: Path
) -> None:
    run = rotations(oddity, mixed, tmp_path / "run")
    assert read_geometries(run.manifest)["planted"].is_global
    assert any("whole images of" in note for note in run.manifest["layers"][0]["notes"])


def test_images_that_a_network_cannot_be_shown_are_said(mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(
        EquiscopeError, match=r"sides of 128 px, and those tried have \d+ px at most: give larger"
    ):
        rotations("only-128", mixed, tmp_path / "run")


def test_an_interrupted_run_keeps_what_it_had_settled(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(image_pass, "collect_examples", stop)
        with pytest.raises(KeyboardInterrupt):
            rotations("same-padding", mixed, tmp_path / "run")
    whole = rotations("same-padding", mixed, tmp_path / "whole")
    # Comparing again might, on another machine, round the other way.
    monkeypatch.setattr(pipeline, "settle_geometries", stop)
    resumed = rotations("same-padding", mixed, tmp_path / "run")
    again = rotations("same-padding", mixed, tmp_path / "run")
    for run in (resumed, again):
        assert run.families == whole.families
        assert read_geometries(run.manifest) == read_geometries(whole.manifest)
        assert run.manifest["layers"] == whole.manifest["layers"]


def test_positions_of_images_and_patches_agree_for_every_shape(mixed: Path) -> None:
    # What a unit answered in its image is what it answers in the upright patch cut there.
    model = planted_oddity("same-padding").model
    images = open_images(mixed)
    geometry = find_geometry(model, ["planted"], side_px=101)["planted"]
    half = split_halves(images.groups, 0)
    examples = collect_examples(model, images, {"planted": geometry}, half, 4)["planted"]
    bank = build_bank(examples, np.asarray(images.groups))
    array: NDArray[np.float32] = np.full((len(bank), 4, examples.n_units), np.nan, np.float32)
    responses = Responses(bank, CyclicGroup(4), array)
    measure_responses(model, images, geometry, responses)
    upright = bank.starts_deg(responses.group)[0] == 0
    row_of = {
        (int(i), int(y), int(x)): row
        for row, (i, (y, x)) in enumerate(zip(bank.image, bank.position, strict=True))
        if upright[row]
    }
    n_compared = 0
    for h, u, r in np.argwhere(examples.value > 0):
        row = row_of.get((int(examples.image[h, u, r]), *map(int, examples.position[h, u, r])))
        if row is not None:
            assert array[row, 0, u] == pytest.approx(examples.value[h, u, r], rel=1e-3, abs=1e-5)
            n_compared += 1
    assert n_compared > 20


class Padded(nn.Module):
    """Two strided layers of random kernels, padded as TensorFlow does, or by one pixel more than it at the start."""

    def __init__(self, pads: Callable[[int], tuple[int, int]]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pads = pads
        self.first, self.second = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 5, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.second):
            y, x_pads = (self.pads(n) for n in x.shape[2:])
            x = layer(F.pad(x, (*x_pads, *y)))
        return x


def twins() -> tuple[Model, Model]:
    same = Padded(lambda side: (0, 1) if side % 2 == 0 else (1, 1))
    return Model(same, "same"), Model(Padded(lambda side: (1, 1)), "plain")


def test_circuits_and_pictures_are_those_of_the_plain_twin(mixed: Path) -> None:
    images = open_images(mixed)
    weights, gradients, centres = [], [], []
    for model in twins():
        own = find_geometry(model, ["first", "second"], side_px=98)
        weights.append(expanded_weights(model, own["first"], own["second"]))
        half = split_halves(images.groups, 0)
        examples = collect_examples(model, images, own, half, 2)
        gradients += gradient_weights(model, images, [own["first"]], own["second"], examples["second"])
        size = own["second"].patch_px
        patch = torch.rand(1, 3, 41, 41, generator=torch.Generator().manual_seed(0))
        rim = (41 - size) // 2
        responses = CentreResponses(model, own["second"], size)
        centres.append(responses(patch[:, :, rim : 41 - rim, rim : 41 - rim]))
    assert find_geometry(twins()[0], ["second"], side_px=98)["second"].sides.step_px == 4
    for found, wanted in (weights, gradients):
        assert np.allclose(_cells(found), _cells(wanted), atol=1e-6)
    assert torch.allclose(centres[0], centres[1], atol=1e-6)


def _cells(weights: Any) -> dict[tuple[float, float], float]:
    used = (weights.weights != 0).any((0, 1))
    found = weights.weights[:, :, used.any(1)][..., used.any(0)]
    return np.concatenate([found.ravel(), weights.y_px[used.any(1)], weights.x_px[used.any(0)]])  # type: ignore[return-value]


def test_gradients_leave_out_what_a_patch_was_filled_up_with() -> None:
    geometry = find_geometry(twins()[0], ["first"], side_px=98)["first"]
    assert (geometry.centre_px, geometry.stride_px) == ((1, 1), (2, 2))
    maps = torch.rand(2, 3, 30, 40)
    # Positions at 1, 3, ... 9 px lie in a patch of 11 px.
    assert torch.equal(_within(maps, geometry, 11), maps[:, :, :5, :5])
    assert _within(maps, replace(geometry, sides=Sides()), 11) is maps


def test_layers_share_a_patch_in_which_each_answers_as_in_the_image() -> None:
    model = twins()[0]
    own = find_geometry(model, ["first", "second"], side_px=98)
    every = list(own.values())
    size = joint_patch_px(every, max_offset=MAX_OFFSET)
    assert size is not None
    image = torch.rand(3, 98, 102)
    network = fitted(model, every[0].sides)
    whole = network.record(image[None], list(own))
    part = network.record(image[None, :, 8 : 8 + size, 12 : 12 + size], list(own))
    for layer, geometry in own.items():
        row, column = geometry.nearest_position(size)
        moved = whole[layer][0, :, row + 8 // geometry.stride_px[0], column + 12 // geometry.stride_px[1]]
        assert torch.allclose(part[layer][0, :, row, column], moved, atol=1e-6)


def test_poses_are_confirmed_on_drawn_stimuli(mixed: Path, tmp_path: Path) -> None:
    run = rotations("same-padding", mixed, tmp_path / "run")
    curves = max(run.families, key=lambda family: len(family.members))
    (verified,) = (v for v in verify_run(run, planted_oddity("same-padding").model) if v.family == curves.id)
    assert verified.median_error < 3


def test_drawn_stimuli_are_answered_as_by_the_plain_twin() -> None:
    models = [planted_oddity(oddity).model for oddity in ("same-padding", "none")]
    same, plain = (find_geometry(model, ["planted"], side_px=100)["planted"] for model in models)
    size, core = same.patch_px, plain.patch_px
    assert same.sides.at_least(size) != (size,)
    # Bright enough that units fire at noise.
    patches = 20 * torch.rand(5, 3, size, size, generator=torch.Generator().manual_seed(0))
    rim = (size - core) // 2
    cores = patches[:, :, rim : rim + core, rim : rim + core]
    found = record_centres(Centres(models[0], [same], size), patches)
    assert found.any()
    assert np.allclose(found, record_centres(Centres(models[1], [plain], core), cores), atol=1e-5)
