"""Layers with large receptive fields: how much of them a patch must hold, and stimuli that several layers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import equiscope
from equiscope.measurement.bank import Bank, centres_px
from equiscope.measurement.examples import NO_IMAGE, Examples, empty_examples
from equiscope.measurement.fidelity import settle_geometries
from equiscope.measurement.responses import Responses, measure_responses, open_responses
from equiscope.measurement.shared_bank import share_bank, strongest_shown
from equiscope.measurement.sufficient_patches import ENOUGH, settle_large_patches
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry, find_geometry
from equiscope.models.receptive_fields import LARGE_PATCH_PX
from equiscope.stimuli import ImageSet, open_images
from equiscope.surveys import shown_stimuli
from equiscope.surveys.asked import bare_stage
from equiscope.surveys.stages import Stage
from equiscope.transformations import find
from equiscope.transformations.groups import CyclicGroup

NOISE = list(torch.rand(12, 3, 224, 224, generator=torch.Generator().manual_seed(0)))


def looking_at(*sides_px: int) -> nn.Conv2d:
    """Kernels of 151 px on a grid of 16, with weights in their middle alone; patches of 97, 129, 161, … are centred."""
    conv = nn.Conv2d(3, len(sides_px), 151, stride=16, padding=75)
    torch.manual_seed(1)
    with torch.no_grad():
        conv.weight.zero_()
        for kernel, side in zip(conv.weight, sides_px, strict=True):
            rim = (151 - side) // 2
            kernel[:, rim : rim + side, rim : rim + side].normal_()
    return conv


def settled(
    module: nn.Module, layers: list[str], whole_px: int = 224
) -> tuple[dict[str, LayerGeometry], dict[str, list[str]]]:
    model = Model(module)
    return settle_large_patches(model, NOISE, find_geometry(model, layers), whole_px)


Opens = Callable[[list[Tensor]], ImageSet]


@pytest.fixture(scope="module")
def images_of(tmp_path_factory: pytest.TempPathFactory) -> Opens:
    """Opens pictures of one size as a set of images."""

    def opened(pictures: list[Tensor]) -> ImageSet:
        path = tmp_path_factory.mktemp("pictures") / "images.npz"
        np.savez(path, images=torch.stack(pictures).permute(0, 2, 3, 1).mul(255).byte().numpy())
        return open_images(path)

    return opened


# How much of a field is enough ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sides_px", "patch_px"),
    [
        ((31,) * 10, 97),
        ((111,) * 10, 129),
        ((151,) * 10, 161),
        # Nine of ten units are enough, eight are not.
        ((31,) * 9 + (151,), 97),
        ((31,) * 8 + (151, 151), 161),
    ],
)
def test_the_smallest_patch_is_taken_in_which_nine_of_ten_units_answer_alike(
    sides_px: tuple[int, ...], patch_px: int
) -> None:
    geometries, notes = settled(nn.Sequential(looking_at(*sides_px)), ["0"])
    assert geometries["0"].receptive_field_px == (151, 151)
    assert geometries["0"].patch_px == patch_px
    assert geometries["0"].is_centred(patch_px)
    assert (notes["0"] == []) == (patch_px == 161)


def test_what_is_left_out_is_told_in_figures() -> None:
    _, notes = settled(nn.Sequential(looking_at(*[31] * 9, 151)), ["0"])
    (note,) = notes["0"]
    assert note.startswith(
        "stimuli of 97 px leave out the rim of its receptive field, which needs 161 px: at 24 places"
    )
    assert "of 12 images answers correlate" in note
    assert "by 1.000 in the median unit, and by 1.000 or more in nine of ten units" in note


def test_the_correlation_that_is_told_is_that_of_patches_with_images() -> None:
    module = nn.Sequential(looking_at(*[121] * 4))
    geometries, notes = settled(module, ["0"], whole_px=97)
    assert geometries["0"].patch_px == 97
    # Two places along the diagonal of each image: a quarter and three quarters of the way that a patch can go.
    wanted, found = [], []
    with torch.no_grad():
        for image in NOISE:
            whole = module(image[None])[0]
            for step in (2, 5):
                corner = 16 * step
                patch = module(image[None, :, corner : corner + 97, corner : corner + 97])[0]
                wanted.append(whole[:, step + 3, step + 3])
                found.append(patch[:, 3, 3])
    own = [
        float(np.corrcoef(x, y)[0, 1])
        for x, y in zip(torch.stack(found).T, torch.stack(wanted).T, strict=True)
    ]
    lower = sorted(own)[1]
    assert max(own) < ENOUGH
    assert f"by {lower:.3f} in the median unit" in notes["0"][0]
    assert f"by {min(own):.3f} or more in nine of ten" in notes["0"][0]


def test_layers_on_one_grid_get_the_patch_that_the_most_demanding_needs() -> None:
    module = nn.Sequential(looking_at(*[31] * 6), nn.ReLU(), looking_around(6))
    geometries, notes = settled(module, ["0", "2"])
    assert geometries["0"].patch_px == geometries["2"].patch_px == 129
    alone, _ = settled(module, ["0"])
    assert alone["0"].patch_px == 97
    assert [len(notes[layer]) for layer in ("0", "2")] == [1, 1]


def looking_around(n_channels: int) -> nn.Conv2d:
    """Sums what lies three places further, 48 px of the image, and nothing between."""
    conv = nn.Conv2d(n_channels, 5, 7, padding=3)
    torch.manual_seed(2)
    with torch.no_grad():
        conv.weight[:, :, 1:-1, 1:-1] = 0.0
    return conv


def test_layers_on_other_grids_are_settled_apart() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = looking_at(*[31] * 4), looking_at(*[31] * 4)
            self.other.padding = (74, 74)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.one(x).mean((2, 3)), self.other(x).mean((2, 3))], dim=1)

    geometries, _ = settled(Branches(), ["one", "other"])
    assert (geometries["one"].patch_px, geometries["other"].patch_px) == (97, 99)


class WithPlaces(nn.Module):
    """Adds where in the image it is, counted from its corner."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 50 * torch.arange(x.shape[-1], device=x.device).view(1, 1, 1, -1) / 224


def test_a_layer_that_tells_where_it_looks_is_not_settled_by_a_patch() -> None:
    # Its field is small enough for a patch to hold all of it, in which it must answer as in the image.
    own, plain = (
        Model(nn.Sequential(first, looking_at(*[31] * 4))) for first in (WithPlaces(), nn.Identity())
    )
    geometries = find_geometry(plain, ["1"])
    assert settle_large_patches(own, NOISE, geometries, 224) == ({}, {})
    assert settle_large_patches(plain, NOISE, geometries, 224)[0]["1"].patch_px == 97


def test_units_that_never_vary_do_not_count() -> None:
    conv = looking_at(*[31] * 2, 151, 151)
    with torch.no_grad():
        conv.weight[2:] = 0.0
    geometries, _ = settled(nn.Sequential(conv), ["0"])
    assert geometries["0"].patch_px == 97
    with torch.no_grad():
        conv.weight.zero_()
    # Of answers that are all alike nothing can be said.
    assert settle_large_patches(Model(nn.Sequential(conv)), NOISE, {"0": geometries["0"]}, 224)[0] == {}


def test_no_patch_within_the_images_is_said() -> None:
    conv = nn.Conv2d(3, 2, 151, stride=16)  # its first position is centred 75 px from the corner
    small = [image[:, :120, :120] for image in NOISE]
    geometries = find_geometry(Model(nn.Sequential(conv)), ["0"])
    assert settle_large_patches(Model(nn.Sequential(conv)), small, geometries, 120) == ({}, {})


def test_a_small_field_is_left_as_it_is(images_of: Opens) -> None:
    whole = settle_geometries(Model(nn.Sequential(nn.Conv2d(3, 4, 5))), images_of(NOISE), ["0"])
    assert whole.geometries["0"] == find_geometry(Model(nn.Sequential(nn.Conv2d(3, 4, 5))), ["0"])["0"]


# Stimuli that layers share --------------------------------------------------------------------------------------------


def listed(
    layer: str, units: list[list[int]], stride_px: int, positions: Mapping[int, tuple[int, int]]
) -> tuple[Examples, LayerGeometry]:
    """Examples whose units name images, the even ones of half 0; each image is named at one position."""
    examples = empty_examples(layer, len(units), 2)
    for unit, images in enumerate(units):
        for rank, image in enumerate(images):
            half = image % 2
            examples.value[half, unit, rank] = 1.0
            examples.image[half, unit, rank] = image
            examples.position[half, unit, rank] = positions[image]
    return examples, LayerGeometry(layer, len(units), (stride_px,) * 2, (121, 121), (60.0, 60.0))


def banks(n_most: int = 9, n_per_half: int = 2) -> dict[str, Any]:
    coarse, fine = (
        listed("coarse", [[0, 2], [2]], 32, {0: (1, 1), 2: (2, 0)}),
        listed("fine", [[2, 4], [1, 3]], 16, {1: (1, 1), 2: (4, 0), 3: (1, 3), 4: (3, 2)}),
    )
    return share_bank(
        {"coarse": coarse[0], "fine": fine[0]},
        {"coarse": coarse[1], "fine": fine[1]},
        np.arange(10) + 100,
        n_per_half=n_per_half,
        n_stimuli_per_half=n_most,
    )


def test_all_layers_are_shown_the_same_places_of_the_same_images() -> None:
    found = banks()
    coarse, fine = found["coarse"], found["fine"]
    assert (coarse.layer, fine.layer) == ("coarse", "fine")
    assert coarse.half.tolist() == fine.half.tolist() == [0, 0, 0, 1, 1]
    # Image 2 is named by both layers at one place, and shown once.
    assert coarse.image.tolist() == fine.image.tolist() == [0, 2, 4, 1, 3]
    assert coarse.photograph.tolist() == [100, 102, 104, 101, 103]
    own = {
        name: LayerGeometry(name, 2, (stride,) * 2, (121, 121), (60.0, 60.0))
        for name, stride in (("coarse", 32), ("fine", 16))
    }
    np.testing.assert_array_equal(centres_px(coarse, own["coarse"]), centres_px(fine, own["fine"]))
    # Between its own places the coarse layer counts in halves.
    assert coarse.position[2].tolist() == [1.5, 1.0]
    assert fine.position[2].tolist() == [3.0, 2.0]


def test_what_most_units_want_is_chosen_first_and_then_what_others_still_need() -> None:
    # Three units want image 2.
    assert banks(n_most=1)["fine"].image.tolist() == [2, 1] or banks(n_most=1)["fine"].image.tolist() == [
        2,
        3,
    ]
    units = [[0, 2], [0, 2], [0, 8], [4], [6]]
    examples, geometry = listed("l", units, 16, dict.fromkeys(range(9), (1, 1)))
    # Two want 2 beside the three that want 0; once these have 0, one unit each waits for 4 and 6, and nobody for 2.
    for n_most, chosen in ((1, [0]), (3, [0, 4, 6]), (4, [0, 2, 4, 6]), (9, [0, 2, 4, 6, 8])):
        bank = share_bank(
            {"l": examples}, {"l": geometry}, np.arange(9), n_per_half=2, n_stimuli_per_half=n_most
        )["l"]
        assert bank.image.tolist() == chosen


def test_stimuli_that_did_not_make_a_unit_fire_are_not_shown() -> None:
    examples, geometry = listed("l", [[0, 2]], 16, dict.fromkeys(range(8), (1, 1)))
    examples.value[0, 0, 1] = -1.0
    bank = share_bank({"l": examples}, {"l": geometry}, np.arange(8), n_per_half=2, n_stimuli_per_half=5)["l"]
    assert bank.image.tolist() == [0]
    silent = empty_examples("l", 3, 2)
    nothing = share_bank({"l": silent}, {"l": geometry}, np.arange(8), n_per_half=2, n_stimuli_per_half=5)[
        "l"
    ]
    assert len(nothing) == 0


def test_layers_that_see_the_whole_image_share_images() -> None:
    examples, geometry = listed("a", [[0, 2]], 16, {0: (3, 3), 2: (3, 4)})
    other, _ = listed("b", [[2]], 16, {2: (7, 7)})
    whole = replace(geometry, is_global=True, stride_px=(0, 0), centre_px=(np.nan, np.nan))
    found = share_bank(
        {"a": examples, "b": other},
        {"a": whole, "b": replace(whole, layer="b")},
        np.arange(8),
        n_per_half=2,
        n_stimuli_per_half=5,
    )
    assert found["a"].image.tolist() == [0, 2]
    assert found["a"].position.tolist() == [[3, 3], [3, 4]]
    assert found["b"].position[1].tolist() == [7, 7]
    assert np.isnan(found["b"].position[0]).all()


# In a survey ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deep() -> Model:
    """Two layers of large fields on one grid, and a small one before them."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=4, padding=2),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=8, dilation=8),
        nn.ReLU(),
        nn.Conv2d(8, 7, 3, padding=5, dilation=5),
    )
    return Model(module, name="deep")


@pytest.fixture(scope="module")
def stage(deep: Model, images_of: Opens, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    from equiscope.measurement.examples import collect_examples, split_halves

    images = images_of(NOISE)
    layers = ["0", "2", "4"]
    found = settle_geometries(deep, images, layers)
    # The middle one as large as the last, whatever it needs.
    geometries = found.geometries | {
        "2": replace(found.geometries["2"], smallest_px=found.geometries["4"].patch_px)
    }
    assert geometries["2"].patch_px == geometries["4"].patch_px > LARGE_PATCH_PX
    half = split_halves(images.groups, 0)
    settings = {
        "transformations": ["rotation", "hue", "scale"],
        "angles": 4,
        "examples_per_unit": 4,
        "n_null": 2,
        "seed": 0,
        "false_discovery_rate": 0.05,
        "min_score": 0.35,
    }
    bare = bare_stage(deep, images, geometries, settings)
    return replace(
        bare,
        examples=collect_examples(deep, images, geometries, half, 2),
        folder=tmp_path_factory.mktemp("deep"),
    )


def test_layers_with_large_patches_of_one_size_are_shown_together(stage: Stage) -> None:
    assert [stage.together(layer) for layer in ("0", "2", "4")] == [["0"], ["2", "4"], ["2", "4"]]
    rotation = find("rotation")
    first, second = (stage.bank(rotation, layer) for layer in ("2", "4"))
    assert first.image.tolist() == second.image.tolist()
    np.testing.assert_allclose(
        centres_px(first, stage.geometries["2"]), centres_px(second, stage.geometries["4"])
    )
    assert stage.count_stimuli("rotation", "2") == stage.count_stimuli("rotation", "4") >= len(first)
    # One that is a pixel larger, whole, or shown other sides, is shown its own.
    other = replace(
        stage, geometries=stage.geometries | {"4": replace(stage.geometries["4"], is_global=True)}
    )
    assert other.together("2") == ["2"]


def test_a_pass_that_several_layers_share_gives_each_what_its_own_would(stage: Stage, tmp_path: Path) -> None:
    rotation = find("rotation")
    group = stage.group(rotation, "4")
    for layer in ("2", "4"):
        bank = stage.bank(rotation, layer)
        together = stage.measure(rotation, layer, bank)
        alone = open_responses(tmp_path / layer, bank, group, stage.examples[layer].n_units)
        measure_responses(stage.model, stage.images, stage.geometries[layer], alone)
        np.testing.assert_allclose(together.array[:], alone.array[:], rtol=1e-4, atol=1e-5)
        assert np.isfinite(np.asarray(together.array[:])).all()
    upright = stage.geometries["4"]
    assert upright.position_in_patch() is not None


def test_showing_the_first_measures_the_others(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, rotation = replace(stage, folder=tmp_path), find("rotation")
    own.measure(rotation, "2", own.bank(rotation, "2"))
    assert (tmp_path / "responses" / "rotation" / "4.zarr").is_dir()
    monkeypatch.setattr("equiscope.surveys.stages.measure_responses", None)
    measured = own.measure(rotation, "4", own.bank(rotation, "4"))
    assert np.isfinite(np.asarray(measured.array[:])).all()


def test_a_lost_chunk_of_one_layer_is_measured_again_and_the_others_stay(
    stage: Stage, tmp_path: Path
) -> None:
    own, rotation = replace(stage, folder=tmp_path), find("rotation")
    before = np.asarray(own.measure(rotation, "2", own.bank(rotation, "2")).array[:])
    other = tmp_path / "responses" / "rotation" / "4.zarr"
    written = {path: path.stat().st_mtime_ns for path in other.rglob("*") if path.is_file()}
    for path in (tmp_path / "responses" / "rotation" / "2.zarr" / "c").rglob("*"):
        if path.is_file():
            path.unlink()
    again = replace(own, _seen=set())
    np.testing.assert_array_equal(
        np.asarray(again.measure(rotation, "2", own.bank(rotation, "2")).array[:]), before
    )
    assert {path: path.stat().st_mtime_ns for path in other.rglob("*") if path.is_file()} == written


def test_no_more_stimuli_are_shared_than_some_units_would_be_shown(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown_stimuli, "_UNITS_SHOWN", 3)
    few = replace(stage, _shared={})
    rotation = find("rotation")
    n_per_half = few.n_per_half(rotation, "4", 3)
    bank = few.bank(rotation, "4")
    assert stage.bank(rotation, "4").half.tolist().count(0) > 3 * n_per_half
    assert [bank.half.tolist().count(half) for half in (0, 1)] == [3 * n_per_half] * 2


def test_tuning_is_read_from_the_strongest_of_what_was_shown(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from equiscope.families.family import Family, Member
    from equiscope.families.tuning import tune_family
    from equiscope.reports.document.unit_tuning import tune_units
    from equiscope.transformations import Pose

    monkeypatch.setattr(shown_stimuli, "_UNITS_SHOWN", 3)
    few, rotation = replace(stage, folder=tmp_path, _shared={}, _seen=set()), find("rotation")
    for layer in ("2", "4"):
        responses = few.measure(rotation, layer, few.bank(rotation, layer))
        own, examples = few.own(rotation, layer, responses), few.examples[layer]
        tuned = tune_units(responses, own, few.geometries[layer]).units
        fires = (responses.read(0, len(responses.bank))[:, 0] > 0).any(0)
        assert sorted(tuned) == np.flatnonzero(fires).tolist()
        without = tune_units(responses, examples, few.geometries[layer]).units
        assert set(tuned) - set(without)
        for half in (0, 1):
            first, last = responses.of_half(half)
            answers = responses.read(first, last)[:, 0]
            active, strongest = answers.max(0) > 0, first + answers.argmax(0)
            bank = responses.bank
            np.testing.assert_array_equal(
                own.image[half, :, 0], np.where(active, bank.image[strongest], NO_IMAGE)
            )
            np.testing.assert_array_equal(own.position[half, active, 0], bank.position[strongest][active])
        np.testing.assert_array_equal(own.sd, examples.sd)
        members = tuple(
            Member(layer, unit, Pose(angle_deg=0.0), 1.0, 1.0, 1.0)
            for unit in np.flatnonzero(active).tolist()
        )
        family = Family(f"{layer}-rotation-1", (layer,), "rotation", 1.0, 1.0, 1.0, 0.0, members)
        assert np.isfinite(tune_family(responses, own, family).values).all()
    responses = few.measure(rotation, "0", few.bank(rotation, "0"))
    assert few.own(rotation, "0", responses) is few.examples["0"]


def test_places_between_those_of_a_layer_stay_where_they_are() -> None:
    between = np.array([[0.5, 1.25], [2.0, 3.5]])
    bank = Bank("l", np.array([0, 1]), np.array([0, 1]), between, np.array([0, 1]))
    responses = Responses(bank, CyclicGroup(1), np.ones((2, 1, 1), np.float32))
    own = strongest_shown(responses, empty_examples("l", 1, 1))
    np.testing.assert_array_equal(own.position[:, 0, 0], between)


def test_only_the_first_of_layers_that_share_stimuli_costs_passes(stage: Stage) -> None:
    assert stage.cost("rotation", "2") > 0
    assert stage.cost("rotation", "4") == 0
    # Over all layers each layer's own stimuli are shown.
    assert stage.cost("scale", "4") > 0


def test_a_unit_is_measured_on_all_that_is_shared(stage: Stage, images_of: Opens) -> None:
    hue = find("hue")
    measurable = stage._is_measurable(hue, "4", stage.bank(hue, "4"))
    assert measurable is not None
    assert measurable.all()
    grey = replace(
        stage, images=images_of([image.mean(0, keepdim=True).expand(3, -1, -1) for image in NOISE])
    )
    unmeasurable = grey._is_measurable(hue, "4", stage.bank(hue, "4"))
    assert unmeasurable is not None
    assert not unmeasurable.any()


def test_a_plan_counts_shared_passes_once(stage: Stage) -> None:
    from equiscope.surveys.plan import predict
    from equiscope.surveys.rates import Rates

    one = replace(stage, settings=stage.settings | {"transformations": ["rotation"]})
    rates = Rates(0.01, 0.02, dict.fromkeys(("0", "2", "4"), 1e-3), {"rotation": (0.0, 0.0)})
    first, second, third = predict(one, rates, {}).stages
    assert [own.is_shared for own in (first, second, third)] == [False, False, True]
    assert (second.n_passes, third.n_passes) == (second.n_stimuli * 4, 0)
    assert third.seconds < second.seconds


def test_images_that_have_nothing_around_a_patch_take_no_part_in_scale(stage: Stage) -> None:
    assert stage.aligned("scale")[0] == ["0", "2", "4"]
    small = replace(stage, whole_px=stage.patch_px("4") + 1)
    layers, note = small.aligned("scale")
    assert layers == ["0"]
    assert "2, 4 took no part in scale" in note


def test_a_survey_of_late_layers_ends_with_tunings_and_a_page(
    deep: Model, images_of: Opens, tmp_path: Path
) -> None:
    run = equiscope.survey(
        deep,
        images_of(NOISE),
        ["2", "4"],
        transformations=["rotation", "reflection"],
        angles=8,
        examples_per_unit=4,
        n_null=2,
        out=tmp_path / "run",
    )
    shapes = {geometry["layer"]: geometry for geometry in run.manifest["geometry"]}
    assert set(shapes) == {"2", "4"}
    assert (tmp_path / "run" / "index.html").is_file()
    assert len(run.units) == 15
