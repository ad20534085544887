"""Weights as witnesses: what they say of copies, of mixtures, and of what cannot be tested; and the verdicts."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from functools import cache
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import equiscope
from equiscope import Model
from equiscope.commands.export import export
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.paths import ExpandedWeights
from equiscope.evidence.witnesses.alignment import (
    Aligned,
    ImageWeights,
    InputWeights,
    join_aligned,
    moved_axes,
)
from equiscope.evidence.witnesses.image_kernels import read_image_kernels
from equiscope.evidence.witnesses.judge import LEAST_LIKENESS, LEAST_TESTED, give_verdict, judge_families
from equiscope.evidence.witnesses.weights import WeightsOf, WeightWitness
from equiscope.families.family import Family, Member, Symmetry, Unit
from equiscope.families.linkage import link_members
from equiscope.families.verdict import ALIKE_IN_POSE, COPIES, UNTESTED, VERDICTS, Core
from equiscope.models.geometry import find_geometry
from equiscope.testing import planted_circuits, planted_transformation
from equiscope.testing.battery import Scene, battery_scene
from equiscope.testing.battery.features import Feature, drawn, noisy, sample
from equiscope.testing.patterns import arc, edge, random_pattern
from equiscope.testing.planted_transformations.units import both_functional
from equiscope.transformations import Pose

Floats = NDArray[np.float64]


@cache
def scene_of(kind: str) -> Scene:
    return battery_scene(kind, seed=1)


def likeness_of(
    features: list[Feature], poses: list[dict[str, float]], transformation: str = "hue-rotation"
) -> Floats:
    weights = ImageWeights(torch.stack([sample(feature) for feature in features]).numpy())
    return weights.align(list(range(len(features))), [Pose(pose) for pose in poses], transformation).likeness


# --- a first layer ---------------------------------------------------------------------------------------------


def test_turned_kernels_are_alike_at_their_poses_and_not_at_others() -> None:
    curve = drawn(arc(7.0, 2.0))
    features = [curve, curve.moved(33.0), drawn(random_pattern(1))]
    found = likeness_of(features, [{"angle_deg": angle} for angle in (20.0, 53.0, 0.0)])
    assert found[0, 1] > 0.99
    assert abs(found[0, 2]) < 0.7
    assert likeness_of(features[:2], [{"angle_deg": 0.0}, {"angle_deg": -33.0}])[0, 1] < 0.7


def test_recoloured_and_mirrored_kernels_are_alike_at_their_poses() -> None:
    spot, hues = drawn(edge(2.5), both_functional(0.0)), (15.0, 140.0)
    found = likeness_of([spot.moved(hue_deg=hue) for hue in hues], [{"hue_deg": hue} for hue in hues])
    assert found[0, 1] == pytest.approx(1.0, abs=1e-6)
    assert likeness_of([spot.moved(hue_deg=hue) for hue in hues], [{}, {}])[0, 1] < 0.5
    pattern = drawn(random_pattern(3)).moved(25.0)
    both = [pattern, pattern.moved(mirror=True)]
    assert likeness_of(both, [{"is_mirrored": False}, {"is_mirrored": True}])[0, 1] > 0.99
    # A unit is mirrored before it is turned.
    both[1] = both[1].moved(70.0)
    poses = [{"is_mirrored": False, "angle_deg": 0.0}, {"is_mirrored": True, "angle_deg": 70.0}]
    assert likeness_of(both, poses)[0, 1] > 0.99
    assert likeness_of(both, [poses[0], poses[1] | {"angle_deg": -70.0}])[0, 1] < 0.8


def test_kernels_of_other_sizes_are_alike_at_their_sizes() -> None:
    sizes = [{"octaves": octaves} for octaves in (-0.75, -0.25, 0.25)]
    arcs = [drawn(arc(7.0, 2.0)).moved(**size) for size in sizes]
    thinner = drawn(arc(7.0, 0.7)).moved(**sizes[2])
    found = likeness_of([*arcs, thinner], [*sizes, sizes[2]], "scale")
    assert found[:3, :3].min() > 0.95
    assert found[:3, 3].max() < 0.8
    assert likeness_of(arcs, [sizes[0]] * 3, "scale")[0, 2] < 0.6


@pytest.mark.parametrize(("transformation", "axis"), [("contrast", "is_inverted"), ("up-down", "is_flipped")])
def test_kernels_of_pairs_are_changed_as_pictures_are(transformation: str, axis: str) -> None:
    pattern = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 9, 7))).repeat(3, 1, 1).numpy()
    changed = -pattern if transformation == "contrast" else pattern[:, ::-1]
    weights = ImageWeights(np.stack([pattern, changed]))
    as_they_are, of_a_pair = ([Pose({axis: False}), Pose({axis: on})] for on in (False, True))
    assert weights.align([0, 1], of_a_pair, transformation).likeness[0, 1] == pytest.approx(1.0, abs=1e-6)
    assert weights.align([0, 1], as_they_are, transformation).likeness[0, 1] < 0.5


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_noise_of_their_own_makes_copies_as_unlike_as_it_is(share: float) -> None:
    features = [noisy(drawn(arc(7.0, 2.0)).moved(45.0 * k), k, share) for k in range(8)]
    found = likeness_of(features, [{"angle_deg": 45.0 * k} for k in range(8)])
    assert found[np.triu_indices(8, 1)].mean() == pytest.approx(1 / (1 + share**2), abs=0.06)


def test_only_a_first_layer_is_read_as_kernels_of_the_image() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
    module[1].running_mean.uniform_(-0.2, 0.2)
    model = Model(module.eval())
    geometries = find_geometry(model, ["0", "2", "4"])
    for layer in ("0", "2"):
        kernels = read_image_kernels(model, geometries[layer])
        assert kernels is not None
        assert kernels.shape == (6, 3, 5, 5)
        scale = (
            module[1].weight / (module[1].running_var + module[1].eps).sqrt()
            if layer == "2"
            else torch.ones(6)
        )
        expected = (module[0].weight * scale[:, None, None, None]).detach().numpy()
        assert np.allclose(kernels, expected, atol=1e-5)
    assert read_image_kernels(model, geometries["4"]) is None


def test_preparation_of_images_is_part_of_the_kernels() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, 3)
    spread = torch.tensor([0.5, 0.25, 0.1]).view(3, 1, 1)
    model = Model(nn.Sequential(convolution), preprocess=lambda x: (x - 0.4) / spread)
    kernels = read_image_kernels(model, find_geometry(model, ["0"])["0"])
    assert np.allclose(kernels, (convolution.weight / spread).detach().numpy(), rtol=1e-4)


# --- a later layer -------------------------------------------------------------------------------------------------


def test_likeness_of_later_units_is_that_of_the_battery() -> None:
    scene = scene_of("layered")
    truth = scene.layers["late"]
    families, units = planted_families(scene)
    weights = WeightsOf(scene.model, find_geometry(scene.model, ["early", "late"]), families, units)
    for family in families:
        if family.layer == "late":
            found = weights.of(family)
            expected = truth.likeness[np.ix_(family.channels, family.channels)]
            assert found.likeness == pytest.approx(expected[np.triu_indices(family.size, 1)].mean(), abs=0.03)
            assert found.tested > 0.95
            assert found.permuted_95 < found.likeness - 0.2


def test_mixtures_of_turned_inputs_are_not_alike() -> None:
    scene = scene_of("mixtures")
    families, units = planted_families(scene)
    members = tuple(Member("late", c, Pose(angle_deg=45.0 * c), 0.8, 0.7, 0.9) for c in range(8))
    mixture = Family("late-rotation-1", ("late",), "rotation", 0.8, 0.7, 0.9, 0.01, members)
    weights = WeightsOf(scene.model, find_geometry(scene.model, ["early", "late"]), families, units)
    found = weights.of(mixture)
    assert abs(found.likeness) < 0.15
    assert give_verdict(mixture, found).word == ALIKE_IN_POSE


def planted_families(scene: Scene) -> tuple[list[Family], list[Unit]]:
    """Families as the truth of a scene has them, and a line about every unit."""
    families, units = [], []
    for layer, truth in scene.layers.items():
        names = np.array(truth.features)
        for number, name in enumerate(truth.stabilisers):
            channels = np.flatnonzero(names == name).tolist()
            members = tuple(Member(layer, c, truth.poses[c], 1.0, 1.0, 1.0) for c in channels)
            families.append(
                Family(f"{layer}-rotation-{number}", (layer,), "rotation", 1.0, 1.0, 1.0, 0.0, members)
            )
        for channel, name in enumerate(truth.features):
            # Early units without a feature are spots, which no turn changes.
            kind = "equivariant" if name else "invariant"
            units.append(Unit(layer, channel, 0.0, 1.0, (Symmetry("rotation", kind),)))
    return families, units


def test_what_comes_from_units_that_cannot_be_moved_is_not_tested() -> None:
    planted, place = planted_circuits(), np.arange(-4.0, 5.0)
    kernels = planted.model.module.late.weight.detach().numpy()
    weights = ExpandedWeights("early", "late", kernels, place, place, 1.0, ())
    family = planted.families[2]
    poses = [member.pose for member in family.members]
    whole = InputWeights(LayerPair(weights, planted.families, planted.units), family).align(poses)
    # Some units of the early layer are of no kind, and at irregular poses not every input has one of another near.
    assert 0.5 < whole.tested < 0.9
    without = InputWeights(LayerPair(weights, planted.families[1:], planted.units), family).align(poses)
    assert without.tested < whole.tested - 0.2
    assert without.energy == pytest.approx(whole.energy)
    nothing = InputWeights(LayerPair(weights, planted.families[2:], ()), family).align(poses)
    assert not nothing.compared.any()


SWITCHED = {
    "reflection": ("is_mirrored", (2,)),
    "up-down": ("is_flipped", (1,)),
    "contrast": ("is_inverted", ()),
}


def pairs_above_pairs(transformation: str, *, mixed: bool = False) -> tuple[InputWeights, list[Pose]]:
    """Two units of a later layer, the second the first switched, of inputs that are three pairs and one as it is.

    With ``mixed`` the second reads the inputs in their places, as no copy does.
    """
    axis, flips = SWITCHED[transformation]
    kernels = np.random.default_rng(1).normal(size=(7, 5, 5))
    partner = [1, 0, 3, 2, 5, 4, 6]
    switched = np.flip(kernels, flips) if flips else kernels
    weights = np.stack([kernels, switched if mixed else switched[partner]]).astype(np.float32)
    off, on = (Pose({axis: value}) for value in (False, True))

    def pair(layer: str, number: int, channels: tuple[int, int]) -> Family:
        members = tuple(
            Member(layer, c, own, 0.9, 0.8, 1.0) for c, own in zip(channels, (off, on), strict=True)
        )
        name = f"{layer}-{transformation}-{number}"
        return Family(name, (layer,), transformation, 0.9, 0.8, 1.0, 0.01, members)

    families = [pair("early", k, (2 * k, 2 * k + 1)) for k in range(3)]
    kinds = ["equivariant"] * 6 + ["invariant"]
    units = [Unit("early", c, 0.0, 1.0, (Symmetry(transformation, kind),)) for c, kind in enumerate(kinds)]
    place = np.arange(-2.0, 3.0)
    own = LayerPair(ExpandedWeights("early", "late", weights, place, place, 1.0, ()), families, units)
    return InputWeights(own, pair("late", 0, (0, 1))), [off, on]


@pytest.mark.parametrize("transformation", SWITCHED)
def test_pairs_of_a_later_layer_are_compared_through_pairs_of_inputs(transformation: str) -> None:
    weights, poses = pairs_above_pairs(transformation)
    found = weights.align(poses)
    assert found.likeness[0, 1] == pytest.approx(1.0, abs=1e-6)
    assert found.tested == pytest.approx(1.0)
    # Neither as they are nor from inputs that keep their places are they alike.
    assert weights.align([poses[0]] * 2).likeness[0, 1] < 0.5
    of_the_same, _ = pairs_above_pairs(transformation, mixed=True)
    assert of_the_same.align(poses).likeness[0, 1] < 0.5


def test_of_a_dihedral_family_with_a_mirror_axis_the_turn_is_compared() -> None:
    planted, place = planted_circuits(), np.arange(-4.0, 5.0)
    kernels = planted.model.module.late.weight.detach().numpy()
    weights = ExpandedWeights("early", "late", kernels, place, place, 1.0, ())
    pair, family = LayerPair(weights, planted.families, planted.units), planted.families[2]
    poses = [Pose(angle_deg=member.pose["angle_deg"], is_mirrored=False) for member in family.members]
    members = tuple(replace(m, pose=own) for m, own in zip(family.members, poses, strict=True))
    dihedral = replace(family, transformation="dihedral", members=members)
    found = InputWeights(pair, dihedral).align(poses)
    assert np.array_equal(found.likeness, InputWeights(pair, family).align(poses).likeness)
    # Of a handed one nothing is said.
    handed = (*members[:-1], replace(members[-1], pose=Pose(angle_deg=9.0, is_mirrored=True)))
    assert moved_axes(replace(dihedral, members=handed)) == ()


def test_likeness_stays_within_its_bounds_whatever_the_inputs() -> None:
    rng = np.random.default_rng(0)
    planted, place = planted_circuits(), np.arange(-4.0, 5.0)
    kernels = np.asarray(rng.normal(size=planted.model.module.late.weight.shape), dtype=np.float32)
    weights = ExpandedWeights("early", "late", kernels, place, place, 1.0, ())
    pair = LayerPair(weights, planted.families, planted.units)
    for family in planted.families[2:]:
        poses = [{"angle_deg": float(angle)} for angle in rng.uniform(0, 360, family.size)]
        found = InputWeights(pair, family).align(poses).likeness
        assert np.abs(found).max() <= 1 + 1e-9
        assert np.diag(found) == pytest.approx(1.0)


def test_parts_of_several_layers_are_joined() -> None:
    one = Aligned(np.array([[1.0 + 0j], [1.0]]), np.ones((2, 1)), np.ones((2, 1)), np.ones(2), 2 * np.ones(2))
    other = Aligned(np.array([[1.0 + 0j], [-1.0]]), np.ones((2, 1)), np.ones((2, 1)), np.ones(2), np.ones(2))
    joined = join_aligned([one, other])
    assert joined.likeness[0, 1] == pytest.approx(0.0)
    assert joined.tested == pytest.approx(2 / 3)


# --- the witness ---------------------------------------------------------------------------------------------------


def test_what_cannot_be_tested_says_why() -> None:
    planted = planted_circuits()
    geometries = find_geometry(planted.model, ["early", "late"])
    weights = WeightsOf(planted.model, geometries, planted.families, planted.units)
    family = planted.families[2]
    scale = dataclasses.replace(family, transformation="scale")
    assert "under scale weights are compared only where" in weights.of(scale).reason
    poses = [
        Pose(angle_deg=own["angle_deg"], is_mirrored=n == 0)
        for n, own in enumerate(m.pose for m in family.members)
    ]
    hands = tuple(replace(member, pose=own) for member, own in zip(family.members, poses, strict=True))
    assert "both hands" in weights.of(replace(family, transformation="dihedral", members=hands)).reason
    spread = dataclasses.replace(family, layers=("early", "late"))
    assert "in several" in weights.of(spread).reason
    alone = WeightsOf(planted.model, {"late": geometries["late"]}, planted.families[2:], planted.units)
    found = alone.of(family)
    assert "not surveyed" in found.reason
    assert isnan(found.likeness)
    bare = WeightsOf(planted.model, geometries, planted.families[2:], ())
    assert "none of its inputs" in bare.of(family).reason


class _Gate(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.softmax(20 * x, 1)


def test_a_path_that_is_not_linear_is_untested_and_named() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), _Gate(), nn.Conv2d(4, 3, 3)).eval()
    model = Model(module)
    members = tuple(Member("3", c, Pose(angle_deg=90.0 * c), 0.9, 0.8, 1.0) for c in range(3))
    family = Family("3-rotation-1", ("3",), "rotation", 0.9, 0.8, 1.0, 0.01, members)
    (judged,) = judge_families([family], WeightsOf(model, find_geometry(model, ["1", "3"]), [family], ()))
    assert judged.verdict is not None
    assert judged.verdict.word == UNTESTED
    assert "not linear" in judged.verdict.reason


class _Picky(nn.Module):
    """Throws where it is asked for gradients."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            raise AssertionError("no gradients\nhere")
        return x


def test_whatever_a_network_throws_is_a_reason_and_no_error() -> None:
    torch.manual_seed(0)
    model = Model(nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), _Picky(), nn.Conv2d(4, 3, 3)).eval(), "picky")
    members = tuple(Member("3", c, Pose(angle_deg=90.0 * c), 0.9, 0.8, 1.0) for c in range(3))
    family = Family("3-rotation-1", ("3",), "rotation", 0.9, 0.8, 1.0, 0.01, members)
    geometries = find_geometry(model, ["1", "3"])
    (judged,) = judge_families([family], WeightsOf(model, geometries, [family], ()))
    assert judged.verdict is not None
    assert judged.verdict.reason == (
        "picky cannot run on the way from 1 to 3 (no gradients): its weights stay unread"
    )


def test_a_layer_of_which_one_way_cannot_be_read_is_untested() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
            self.gate, self.last = _Gate(), nn.Conv2d(4, 3, 3)
            self.second.weight.data *= 10

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x) + self.gate(self.second(x)))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    model = Model(Both().eval())
    members = tuple(Member("last", c, Pose(angle_deg=90.0 * c), 0.9, 0.8, 1.0) for c in range(3))
    family = Family("last-rotation-1", ("last",), "rotation", 0.9, 0.8, 1.0, 0.01, members)
    units = [Unit("first", c, 0.0, 1.0, (Symmetry("rotation", "invariant"),)) for c in range(4)]
    geometries = find_geometry(model, ["first", "second", "last"])
    assert "not linear" in WeightsOf(model, geometries, [family], units).of(family).reason
    only = {name: geometries[name] for name in ("first", "last")}
    assert WeightsOf(model, only, [family], units).of(family).reason == ""


def test_intervals_and_nulls_of_pairs_are_not_made_up() -> None:
    curve = drawn(arc(7.0, 2.0))
    module = nn.Conv2d(3, 4, 23, bias=False)
    module.weight.data = torch.stack([sample(curve.moved(40.0 * k)) for k in range(4)]).float()
    model = Model(nn.Sequential(module))
    members = tuple(Member("0", c, Pose(angle_deg=40.0 * c), 1.0, 1.0, 1.0) for c in range(4))
    family = Family("0-rotation-1", ("0",), "rotation", 1.0, 1.0, 1.0, 0.0, members)
    weights = WeightsOf(model, find_geometry(model, ["0"]), [family], ())
    found = weights.of(family)
    assert found.low <= found.likeness <= found.high
    assert found.permuted_95 < found.likeness
    pair = weights.of(dataclasses.replace(family, members=members[:2]))
    assert pair.likeness > 0.99
    assert isnan(pair.low)
    assert isnan(pair.permuted_95)


# --- verdicts ------------------------------------------------------------------------------------------------------


def of_likeness(pairs: Floats, **figures: Any) -> WeightWitness:
    n = len(pairs)
    mean = float(pairs[~np.eye(n, dtype=bool)].mean())
    return WeightWitness(**{"likeness": mean, "permuted_95": 0.2, "tested": 1.0, "pairs": pairs} | figures)


def linked(n: int, tree: tuple[tuple[int, int, float], ...] = ()) -> Family:
    members = tuple(Member("a", c, Pose(angle_deg=50.0 * c), 0.9, 0.8, 1.0) for c in range(n))
    return Family("a-rotation-1", ("a",), "rotation", 0.9, 0.8, 1.0, 0.01, members, tree=tree)


def test_verdict_follows_likeness_its_null_and_what_was_tested() -> None:
    alike = np.full((3, 3), LEAST_LIKENESS + 0.01) + np.eye(3) * (0.99 - LEAST_LIKENESS)
    family = linked(3, ((0, 1, 0.9), (2, 3, 0.8)))
    found = give_verdict(family, of_likeness(alike))
    assert found.word == COPIES
    assert found.is_copies
    assert found.cores == (Core((0, 1, 2), pytest.approx(LEAST_LIKENESS + 0.01), 0.8),)
    # Each guard with an impostor that only it refuses.
    assert give_verdict(family, of_likeness(alike - 0.02)).word == ALIKE_IN_POSE
    assert give_verdict(family, of_likeness(alike, permuted_95=0.9)).word == ALIKE_IN_POSE
    assert give_verdict(family, of_likeness(alike, permuted_95=nan)).word == COPIES
    assert give_verdict(dataclasses.replace(family, strangers_95=0.89), of_likeness(alike)).word == COPIES
    ordinary = give_verdict(dataclasses.replace(family, strangers_95=0.91), of_likeness(alike))
    assert (ordinary.word, ordinary.cores) == (ALIKE_IN_POSE, ())
    little = give_verdict(family, of_likeness(alike, tested=LEAST_TESTED - 0.01))
    assert little.word == UNTESTED
    assert "of what feeds its members" in little.reason
    assert little.likeness > LEAST_LIKENESS
    assert give_verdict(family, WeightWitness(reason="because")).reason == "because"
    assert VERDICTS == (COPIES, ALIKE_IN_POSE, UNTESTED)


def test_cores_are_the_largest_parts_of_the_tree_that_are_alike() -> None:
    pairs = np.eye(5)
    pairs[:3, :3] = pairs[3:, 3:] = 0.9
    np.fill_diagonal(pairs, 1.0)
    tree = ((0, 1, 0.95), (3, 4, 0.9), (2, 5, 0.85), (6, 7, 0.4))
    verdict = give_verdict(linked(5, tree), of_likeness(pairs))
    assert verdict.word == ALIKE_IN_POSE
    assert [(core.members, core.level) for core in verdict.cores] == [((0, 1, 2), 0.85), ((3, 4), 0.9)]
    # Responses decide who is together: alike by weights alone does not join 0 and 3.
    crossed = ((0, 3, 0.95), (1, 4, 0.9), (2, 5, 0.85), (6, 7, 0.4))
    assert give_verdict(linked(5, crossed), of_likeness(pairs)).cores == ()
    assert give_verdict(linked(5), of_likeness(pairs)).cores == ()


def test_members_come_together_by_their_correlation() -> None:
    correlation = np.array(
        [[1, 0.2, 0.9, np.nan], [0.2, 1, 0.3, 0.8], [0.9, 0.3, 1, 0.1], [np.nan, 0.8, 0.1, 1]]
    )
    (first, second, last) = link_members(correlation)
    assert first == (0, 2, 0.9)
    assert second == (1, 3, 0.8)
    assert last[:2] == (4, 5)
    assert last[2] < 0.2


def test_a_survey_judges_its_families_and_keeps_the_verdicts(tmp_path: Path) -> None:
    truth = planted_transformation("rotation")
    run = equiscope.survey(
        truth.model,
        equiscope.open_images(max_side_px=128),
        transformations=["rotation"],
        out=tmp_path / "run",
    )
    assert run.families
    assert {family.verdict.word for family in run.families if family.verdict} == {COPIES}
    for family in run.families:
        assert family.verdict is not None
        assert family.verdict.likeness > 0.95
        assert len(family.tree) == family.size - 1
    rows = export(run, "families").rows
    assert {row["verdict"] for row in rows} == {COPIES}
    assert {row["core"] for row in rows} == {1}
    assert all(row["angle_deg_low"] < row["angle_deg"] < row["angle_deg_high"] for row in rows)
    assert {row["hue_deg_low"] for row in rows} == {None}
    assert {row["stability"] for row in rows} == {family.stability for family in run.families}
    again = equiscope.load_run(tmp_path / "run")
    assert [family.verdict for family in again.families] == [family.verdict for family in run.families]
    page = (tmp_path / "run" / "site").rglob("family/*.js")
    assert all("<strong>Copies.</strong>" in path.read_text(encoding="utf-8") for path in page)
    for path in (tmp_path / "run" / "site").rglob("family/*.js"):
        told = path.read_text(encoding="utf-8")
        assert "of its members are found again over resampled photographs." in told
        assert "± " in told
    told = (tmp_path / "run" / "index.html").read_text(encoding="utf-8")
    assert f"{len(run.families)} families whose units answer as " in told
    assert f"By their weights {len(run.families)} are copies as a whole and 0 only alike in pose" in told
    # The verdict of other members is not taken over.
    judged = tmp_path / "run" / "results" / "judged.json"
    judged.write_text(
        judged.read_text(encoding="utf-8").replace('"angle_deg": ', '"angle_deg": 1'), encoding="utf-8"
    )
    once_more = equiscope.survey(
        truth.model,
        equiscope.open_images(max_side_px=128),
        transformations=["rotation"],
        out=tmp_path / "run",
    )
    assert [family.verdict for family in once_more.families] == [family.verdict for family in run.families]
