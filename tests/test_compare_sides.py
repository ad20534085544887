"""One run of a comparison by hand: which stimuli both networks are shown, and which unit each answer is given to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import equiscope.evidence.compare.runs as runs_module
import equiscope.evidence.compare.sides as sides_module
from equiscope import ImageSet, Model, Run, open_images
from equiscope.evidence.compare.counterparts import Counterpart, Counterparts
from equiscope.evidence.compare.runs import _compare_one, _Settings
from equiscope.evidence.compare.sides import (
    Side,
    _stimuli_of_rank,
    choose_shared_stimuli,
    measure_side,
    open_side,
)
from equiscope.evidence.compare.spectra import FamilyResponses
from equiscope.families.family import Family, Symmetry, Unit
from equiscope.families.layer_families import NullSummary
from equiscope.foundations.options import DEFAULTS
from equiscope.foundations.progress import silent
from equiscope.measurement.bank import Bank
from equiscope.measurement.examples import Examples, empty_examples, split_halves
from equiscope.models.geometry import LayerGeometry, find_geometry, joint_patch_px
from equiscope.runs.examples import save_examples
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import read_json
from equiscope.runs.writing import write_json
from equiscope.transformations.groups import CyclicGroup, Involution
from hand_made import a_family, a_member

Floats = NDArray[np.float64]


def examples_of(layer: str, images: Sequence[Sequence[int]]) -> Examples:
    """What units answered to in the verifying half, strongest first, each at a position of its own."""
    image = np.array([np.zeros_like(images), images])
    position = np.stack([np.zeros_like(image), image], axis=-1)
    made = empty_examples(layer, *image.shape[1:])
    return dataclasses.replace(made, value=np.ones(image.shape, np.float32), image=image, position=position)


def side_of(images: dict[str, Sequence[Sequence[int]]], is_held_out: Sequence[bool]) -> Side:
    """A run with one family of rotation a layer, of all its units; ``images``: of each layer by unit and rank."""
    families = tuple(
        a_family("rotation", [a_member(layer, i, angle_deg=45.0 * i) for i in range(len(own))])
        for layer, own in images.items()
    )
    geometries = {
        layer: LayerGeometry(layer, len(own), (1, 1), (3, 3), (1, 1)) for layer, own in images.items()
    }
    examples = {layer: examples_of(layer, own) for layer, own in images.items()}
    run = cast(Run, SimpleNamespace(families=families, manifest={"settings": {"angles": 8}}))
    model = cast(Model, SimpleNamespace(name="made"))
    return Side(run, model, geometries, examples, np.array(is_held_out), True)


def shown_images(*sides: Side) -> list[int]:
    """Images of the shared stimuli, where each is of another photograph."""
    images = cast(ImageSet, SimpleNamespace(groups=list(range(len(sides[0].is_held_out)))))
    return choose_shared_stimuli(sides, images, "rotation").image.tolist()


# --- which stimuli are shown -------------------------------------------------------------------------------


def test_images_are_held_out_that_found_neither_run() -> None:
    every = {"x": [[0], [1], [2], [3]]}
    a, b = side_of(every, [True, True, False, False]), side_of(every, [True, False, True, False])
    assert shown_images(a, b) == shown_images(b, a) == [0]


def test_the_half_of_a_run_that_verified_its_families_is_held_out(tmp_path: Path) -> None:
    save_examples(tmp_path / "examples.npz", {"x": empty_examples("x", 2, 1)}, 9, [])
    family = a_family("rotation", [a_member("x", i, angle_deg=0.0) for i in (0, 1)])
    geometry = dataclasses.asdict(LayerGeometry("x", 2, (1, 1), (3, 3), (1.0, 1.0)))
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION, "model": {"name": "made"}, "images": {"fingerprint": "these"},
        "settings": {"seed": 3}, "geometry": [geometry],
    }  # fmt: skip
    write_json(tmp_path / "run.json", manifest)
    images = cast(ImageSet, SimpleNamespace(groups=[0, 0, 1, 2, 3, 3, 4, 5, 6], fingerprint="these"))
    run = Run(tmp_path, read_json(tmp_path / "run.json"), families=(family,))
    side = open_side(run, cast(Model, None), images, ["rotation"], [], silent)
    # Half 0 finds; another seed would divide other halves.
    assert side.is_held_out.tolist() == (split_halves(images.groups, 3) == 1).tolist()
    assert side.is_held_out.tolist() != (split_halves(images.groups, 0) == 1).tolist()


def test_layers_may_keep_unequally_many_stimuli_of_a_unit() -> None:
    """The first layer kept one a unit, of three units, the second three a unit, of two."""
    side = side_of({"x": [[0], [1], [2]], "y": [[3, 4, 5], [6, 7, 8]]}, [True] * 9)
    found = [[image for image, *_ in _stimuli_of_rank(side, "rotation", rank)] for rank in range(4)]
    assert found == [[0, 1, 2, 3, 6], [4, 7], [5, 8], []]


def test_the_four_strongest_stimuli_of_each_member_are_shown() -> None:
    a = side_of({"x": [[0, 1, 2, 3, 4, 5]]}, [True] * 12)
    b = side_of({"y": [[6, 7, 8, 9, 10, 11]]}, [True] * 12)
    assert shown_images(a, b) == [0, 1, 2, 3, 6, 7, 8, 9]


def test_what_there_is_room_for_is_chosen_all_over_both_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for four: none of the second strongest, and of the strongest as many of either run."""
    monkeypatch.setattr(sides_module, "_MOST_STIMULI", 4)
    a = side_of({"x": [[image, 12] for image in range(6)]}, [True] * 13)
    b = side_of({"y": [[image, 12] for image in range(6, 12)]}, [True] * 13)
    chosen = shown_images(a, b)
    assert [image < 6 for image in chosen] == [True, True, False, False]
    assert (chosen[0], chosen[-1]) == (0, 11)


# --- what is measured --------------------------------------------------------------------------------------

HEIGHT, WIDTH = 30, 40
# Brightness of the three colours in the middle, and how it changes down and to the right, 1/255 and 1/255 px.
RAMPS = [
    ((120, 100, 90), (1, 2, -1), (2, -1, 1)),
    ((60, 150, 140), (2, -2, 1), (-1, 1, 2)),
    ((130, 80, 170), (-1, 1, 2), (1, 2, -2)),
]


def draw_ramp(number: int, y: Floats, x: Floats) -> Floats:
    """Colours, 1/255, of a ramp at distances from the middle of its image, shape (y, x, 3)."""
    middle, down, right = (np.array(part, float) for part in RAMPS[number])
    return middle + down * y[:, None, None] + right * x[None, :, None]


@pytest.fixture(scope="module")
def ramps(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Ramps, which are read between their pixels without error."""
    y, x = np.arange(HEIGHT) - HEIGHT / 2, np.arange(WIDTH) - WIDTH / 2
    pictures = np.stack([draw_ramp(number, y, x) for number in range(len(RAMPS))])
    assert 0 <= pictures.min() < pictures.max() <= 255
    path = tmp_path_factory.mktemp("ramps") / "ramps.npz"
    np.savez(path, images=pictures.astype(np.uint8))
    return open_images(path)


@pytest.fixture(scope="module")
def model() -> Model:
    """Layers of 2, 3 and 4 channels that see 3, 5 and 7 px, and of 5 that see 8, halfway between."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 2, 3), nn.Conv2d(2, 3, 3), nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.Conv2d(4, 5, 1)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            # Nothing is cut by the ReLU.
            layer.bias.data += 3
    return Model(nn.Sequential(*layers).eval(), "made")


CENTRES_PX = np.array([[14.0, 20.0], [12.0, 25.0], [17.0, 17.0]])


def answers_of(model: Model, geometry: LayerGeometry, number: int) -> Floats:
    """Answers of a layer to a patch just as large as it sees, drawn about a stimulus' centre, shape (unit,)."""
    size = geometry.patch_px
    about = np.arange(size) - (size - 1) / 2
    y, x = CENTRES_PX[number] - (HEIGHT / 2, WIDTH / 2)
    patch = torch.from_numpy(draw_ramp(number, y + about, x + about) / 255).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        answers = model.module[: int(geometry.layer) + 1](model.preprocess(patch))
    assert answers.shape[2:] == (1, 1)
    return np.asarray(answers[0, :, 0, 0].numpy(), np.float64)


def measured(
    model: Model, images: ImageSet, families: Sequence[Family], group: CyclicGroup | Involution, name: str
) -> FamilyResponses:
    """Show the ramps to a run whose units are of every kind."""
    geometries = find_geometry(model, ["0", "1", "2", "4"])
    kinds = {
        "0": ("equivariant",) * 2,
        "1": ("equivariant", "invariant", "neither"),
        "2": ("neither", "equivariant", "inactive", "invariant"),
        "4": ("invariant", "inactive", "not measurable", "equivariant", "neither"),
    }
    units = tuple(
        Unit(layer, channel, 0.0, 1.0, (Symmetry("hue", "inactive"), Symmetry(name, kind)))
        for layer, own in kinds.items()
        for channel, kind in enumerate(own)
    )
    place = np.arange(len(RAMPS))
    bank = Bank("made", np.ones_like(place), place, np.zeros((len(place), 2), np.int64), place, CENTRES_PX)
    run = cast(Run, SimpleNamespace(families=tuple(families), units=units))
    side = Side(run, model, geometries, {}, np.ones(len(place), bool), True)
    return measure_side(side, families, images, bank, group, name, torch.float32, silent)


@pytest.mark.parametrize("layers", [("1", "2"), ("1", "4")], ids=["one patch for both", "a patch for each"])
def test_units_of_the_layers_with_families_stand_side_by_side(
    model: Model, ramps: ImageSet, layers: tuple[str, str]
) -> None:
    """The first family is of the second layer, and no family is of the network's first layer."""
    first, second = (find_geometry(model, ["1", "2", "4"])[layer] for layer in layers)
    assert (joint_patch_px([first, second]) is None) == (layers[1] == "4")
    families = [
        a_family("contrast", [a_member(layers[1], 1, is_inverted=0), a_member(layers[1], 3, is_inverted=1)]),
        a_family("contrast", [a_member(layers[0], 0, is_inverted=1), a_member(layers[0], 2, is_inverted=0)]),
    ]
    found = measured(model, ramps, families, Involution("contrast"), "contrast")
    expected = [
        np.concatenate([answers_of(model, geometry, number) for geometry in (first, second)])
        for number in range(len(RAMPS))
    ]
    assert np.min(expected) > 0
    assert found.responses[:, 0] == pytest.approx(np.array(expected), abs=1e-4)
    assert np.abs(found.responses[:, 1] - found.responses[:, 0]).min(0).max() > 0.01
    assert [columns.tolist() for columns in found.members] == [[3 + 1, 3 + 3], [0, 2]]
    assert [poses.tolist() for poses in found.poses] == [[0.0, 1.0], [1.0, 0.0]]
    assert found.layer_of_unit.tolist() == [0] * 3 + [1] * second.n_channels
    # Units that are invariant, never fired or could not be measured are no stand-ins.
    of_second = {"2": [True, True, False, False], "4": [False, False, False, True, True]}
    assert found.is_varying.tolist() == [True, False, True, *of_second[layers[1]]]


def test_poses_are_told_in_elements_and_turns_that_change_nothing_are_counted(
    model: Model, ramps: ImageSet
) -> None:
    families = [
        a_family("rotation", [a_member("0", 0, angle_deg=90.0), a_member("0", 1, angle_deg=11.25)], turns=2),
        a_family("rotation", [a_member("0", 0, angle_deg=0.0), a_member("0", 1, angle_deg=315.0)]),
    ]
    found = measured(model, ramps, families, CyclicGroup(16), "rotation")
    assert found.responses.shape == (3, 16, 2)
    assert [poses.tolist() for poses in found.poses] == [[4.0, 0.5], [0.0, 14.0]]
    assert found.stabiliser_orders == (2, 1)


# --- what is kept of several matches -----------------------------------------------------------------------


def test_the_counterpart_of_a_family_is_its_highest_match(monkeypatch: pytest.MonkeyPatch) -> None:
    """The family of a layer of either run is passed on to the next layer of the other, where it scores less."""
    sides = [side_of({layer: [[0, 1]] for layer in own}, [True] * 2) for own in ("xy", "uv")]
    nothing = NullSummary(0, 0.0, 0.0, nan)
    scores = np.array([[0.9, 0.8], [0.7, 0.6]])
    pairs = tuple(
        Counterpart(a, b, 0.0, 0.0, scores[a, b], 0.5, 1.0, 0.01, 0.01)
        for a, b in [(0, 0), (0, 1), (1, 0), (1, 1)]
    )
    monkeypatch.setattr(runs_module, "measure_side", lambda *_: None)
    monkeypatch.setattr(
        runs_module, "find_counterparts", lambda *_, **__: Counterparts(pairs, scores, nothing, nothing)
    )
    images = cast(ImageSet, SimpleNamespace(groups=[0, 1]))
    settings = _Settings(images, 1, torch.float32, DEFAULTS)
    _, matches, families = _compare_one(sides[0], sides[1], "rotation", settings)
    assert [match.score for match in matches] == [0.9, 0.8, 0.7, 0.6]
    assert {f.id[0]: (f.counterpart or "")[0] for f in families} == {"x": "u", "y": "u", "u": "x", "v": "x"}
