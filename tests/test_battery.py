"""The battery: its scenes are what their truth says, and its score counts what it says."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch

from equiscope.families.family import Family, Member
from equiscope.foundations.errors import EquiscopeError
from equiscope.models.geometry import find_geometry
from equiscope.testing.battery import (
    ALIKE,
    KINDS,
    LayerScene,
    Score,
    battery_scene,
    is_for_choosing,
    score_layer,
    score_scene,
)
from equiscope.testing.battery.drawn import DRAWN
from equiscope.testing.battery.features import drawn, likeness, noisy, sample
from equiscope.testing.battery.geometries import GEOMETRIES, with_kernels
from equiscope.testing.battery.stacked import STACKED
from equiscope.testing.battery.trained import TRAINED
from equiscope.testing.patterns import arc, bar, random_pattern, spiral
from equiscope.transformations import Pose

scene_of = cache(battery_scene)


def test_kinds_geometries_and_transformations_are_those_that_are_promised() -> None:
    assert len(KINDS) >= 12
    geometries = {kind.geometry for kind in DRAWN.values()} | {kind.geometry for kind in STACKED.values()}
    assert geometries == set(GEOMETRIES)
    assert {kind.transformation for kind in DRAWN.values()} == {
        "rotation",
        "hue",
        "reflection",
        "scale",
        "hue-rotation",
    }
    assert {kind.group for kind in TRAINED.values()} == {"C4", "C8", "C16"}
    assert [is_for_choosing(seed) for seed in range(4)] == [True, False, True, False]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_geometries_read_by_the_kernels_that_were_given(geometry: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 3, 5, 7, generator=generator, dtype=torch.float64)
    image = torch.randn(2, 3, 21, 18, generator=generator)
    expected = torch.nn.functional.conv2d(image, weight.float())
    module = with_kernels(weight, geometry, generator)
    if geometry == "strided":
        (stem, kernels) = module.children()
        assert torch.equal(module(image), kernels(stem(image)))
        assert torch.equal(kernels.weight, weight.float())
    else:
        assert torch.allclose(module(image), expected, atol=1e-4)
    shapes = {parameter.shape for parameter in module.parameters()}
    assert (weight.shape in shapes) == (geometry != "inception")


def test_likeness_is_the_cosine_at_the_best_pose() -> None:
    curve, line, other = drawn(arc(7.0, 2.0)), drawn(bar(2.2)), drawn(random_pattern(1))
    found = likeness([curve, curve.moved(130.0), line, other], "rotation")
    assert found[0, 1] > 0.99
    assert found[0, 2] == pytest.approx(found[2, 0])
    assert found[0, 2] < 0.95
    assert found[0, 3] < ALIKE
    assert np.array_equal(np.diag(found), np.ones(4))
    # Mirrored, a spiral is no turned copy; it is a mirrored one.
    winding = drawn(spiral(8.0, 5.0))
    both = [winding, winding.moved(mirror=True)]
    assert likeness(both, "rotation")[0, 1] < ALIKE
    assert likeness(both, "reflection")[0, 1] == pytest.approx(1.0)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6])
def test_own_noise_costs_what_it_says(share: float) -> None:
    pairs = [
        likeness(
            [noisy(drawn(arc(7.0, 2.0)), 2 * i, share), noisy(drawn(arc(7.0, 2.0)), 2 * i + 1, share)],
            "rotation",
        )
        for i in range(8)
    ]
    assert np.mean([pair[0, 1] for pair in pairs]) == pytest.approx(1 / (1 + share**2), abs=0.05)


def test_an_enlarged_feature_answers_alike_to_an_enlarged_picture() -> None:
    feature = drawn(arc(4.0, 1.4), radius_px=8.0)
    small, large = sample(feature, 33), sample(feature.moved(octaves=1.0), 33)
    # A density: four times the area, a quarter of the height.
    assert large.norm() == pytest.approx(float(small.norm()) / 2, rel=0.02)


@pytest.mark.parametrize("kind", ["small", "own noise", "hue", "reflection", "mixtures", "layered"])
def test_truth_of_a_scene_is_that_of_its_network(kind: str) -> None:
    scene = scene_of(kind, 1)
    geometries = find_geometry(scene.model, list(scene.layers))
    for name, layer in scene.layers.items():
        n = geometries[name].n_channels
        assert layer.likeness.shape == (n, n) == (len(layer.features), len(layer.poses))
        assert np.allclose(layer.likeness, layer.likeness.T)
        assert not layer.are_copies.diagonal().any()
        assert (layer.must_be_found <= layer.are_copies).all()
        assert {feature for feature in layer.features if feature} == set(layer.stabilisers)
        assert all(
            (pose is None) == (feature == "")
            for pose, feature in zip(layer.poses, layer.features, strict=True)
        )


def test_seeds_draw_other_scenes_and_one_seed_the_same() -> None:
    first, again, other = (battery_scene("small", seed) for seed in (0, 0, 1))
    assert first.layers["responses"].features == again.layers["responses"].features
    for a, b in zip(first.model.module.parameters(), again.model.module.parameters(), strict=True):
        assert torch.equal(a, b)
    assert first.layers["responses"].features != other.layers["responses"].features


def test_mixtures_are_no_copies_and_their_inputs_are() -> None:
    scene = scene_of("mixtures", 1)
    assert not scene.layers["late"].are_copies.any()
    assert scene.layers["early"].must_be_found.sum() == 4 * 8 * 7


def test_a_third_of_the_noise_is_too_much_to_be_asked_for() -> None:
    layer = scene_of("layered", 1).layers["late"]
    names = np.array(layer.features)
    for name, must in (("exact five", True), ("noise 20 %", True), ("noise 60 %", False)):
        own = np.flatnonzero(names == name)
        assert layer.must_be_found[own[0], own[1]] == must


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(EquiscopeError, match="kind of scene"):
        battery_scene("mixture")


# --- the score -----------------------------------------------------------------------------------------------


def a_layer() -> LayerScene:
    likeness = np.array(
        [[1, 0.95, 0.85, 0.1], [0.95, 1, 0.85, 0.2], [0.85, 0.85, 1, 0.3], [0.1, 0.2, 0.3, 1]]
    )
    poses = (*(Pose(angle_deg=angle) for angle in (0.0, 40.0, 90.0)), None)
    return LayerScene(("bar", "bar", "bar", ""), poses, likeness, {"bar": 2})


def a_family(*channels: int, angles: tuple[float, ...] = (10.0, 51.0, 100.0, 0.0)) -> Family:
    members = tuple(Member("a", c, Pose(angle_deg=angles[c]), 0.9, 0.8, 1.0) for c in channels)
    return Family("a-rotation-1", ("a",), "rotation", 0.9, 0.8, 1.0, 0.01, members)


def test_score_counts_pairs() -> None:
    score = score_layer(a_layer(), [a_family(0, 1, 3)], "rotation")
    assert (score.n_called, score.n_wrong, score.n_copies, score.n_found) == (3, 2, 1, 1)
    assert (score.n_units, score.n_in_families) == (4, 3)
    assert score.errors == pytest.approx((1.0,))
    assert score.share_wrong == pytest.approx(2 / 3)
    assert score.share_found == 1
    nothing = score_layer(a_layer(), [], "rotation")
    assert np.isnan(nothing.share_wrong)
    assert nothing.share_found == 0
    assert nothing.rand == pytest.approx((0.0,))
    assert score_layer(a_layer(), [a_family(0, 1, 2)], "rotation").rand == (1.0,)


def test_a_bar_is_the_same_after_half_a_turn() -> None:
    score = score_layer(a_layer(), [a_family(0, 1, angles=(10.0, 231.0))], "rotation")
    assert score.errors == pytest.approx((1.0,))
    whole = dataclasses.replace(a_layer(), stabilisers={"bar": 1})
    assert score_layer(whole, [a_family(0, 1, angles=(10.0, 231.0))], "rotation").errors == pytest.approx(
        (179.0,)
    )


def test_scores_add_up_and_families_of_other_layers_do_not_count() -> None:
    one = score_layer(a_layer(), [a_family(0, 1)], "rotation")
    assert one + one == Score(2, 0, 2, 2, 8, 4, one.errors * 2, one.exact_errors * 2, one.rand * 2)
    scene = dataclasses.replace(scene_of("small", 1), layers={"b": a_layer()})
    assert score_scene(scene, [a_family(0, 1)])["b"].n_called == 0
    assert (
        score_scene(dataclasses.replace(scene, layers={"a": a_layer()}), [a_family(0, 1)])["a"].n_called == 1
    )
