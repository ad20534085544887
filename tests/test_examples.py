"""The streaming pass over the images against a slow loop, and merging against one pass.

The networks here compute with small whole numbers, so every response is exact and ties are frequent.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from functools import cache, reduce
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.measurement.examples import (
    NO_IMAGE,
    Examples,
    allowed_positions,
    collect_examples,
    empty_examples,
    merge_examples,
    split_halves,
)
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry, find_geometry
from equiscope.models.sides import Sides
from equiscope.stimuli import ImageSet, open_images

LAYERS = ("0", "2")
SHAPES = [(37, 52)] * 7 + [(52, 37), (24, 61), (8, 40), (6, 6), (37, 52), (37, 52), (15, 12)]


def whole_numbers() -> nn.Sequential:
    module = nn.Sequential(
        nn.Conv2d(3, 5, 5, stride=2, padding=2), nn.ReLU(inplace=True), nn.Conv2d(5, 6, 3, padding=1)
    )
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randint(-2, 3, parameter.shape, generator=generator).float())
        # A unit that never fires at all.
        module[2].weight[5] = 0
        module[2].bias[5] = -1
    return module


def model_of(module: nn.Module) -> Model:
    return Model(module, "whole", preprocess=lambda images: (images * 255).round())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index, shape in enumerate(SHAPES):
        # Four grey levels, so that responses tie often.
        Image.fromarray(rng.integers(0, 4, (*shape, 3), dtype=np.uint8)).save(folder / f"{index:02}.png")
    Image.fromarray(np.zeros((37, 52, 3), np.uint8)).save(folder / "98.png")
    Image.fromarray(np.zeros((37, 52, 3), np.uint8)).save(folder / "99.png")
    return open_images(folder)


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of(whole_numbers())


@pytest.fixture(scope="module")
def geometries(model: Model) -> dict[str, LayerGeometry]:
    return find_geometry(model, LAYERS)


@pytest.fixture(scope="module")
def halves(images: ImageSet) -> np.ndarray:
    return split_halves(images.groups, 0)


@pytest.fixture(scope="module")
def found(
    model: Model, images: ImageSet, geometries: dict[str, LayerGeometry], halves: np.ndarray
) -> dict[str, Examples]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("equiscope.measurement.examples._TOGETHER", 4)
        return collect_examples(model, images, geometries, halves, 3)


def grids_of(model: Model, images: ImageSet, layer: str) -> list[Tensor]:
    """Responses of a layer to each image, one at a time, float64, shape (channel, y, x)."""
    module = nn.Sequential(*list(model.module)[: int(layer) + 1]).double()  # type: ignore[call-overload]
    grids = []
    with torch.no_grad():
        for index in range(len(images)):
            picture = images.load(index)
            assert picture is not None
            x = (picture.double() * 255).round()[None]
            for child in module:
                x = torch.relu(x) if isinstance(child, nn.ReLU) else child(x)
            grids.append(x[0])
    module.float()
    return grids


def may_be_centred(geometry: LayerGeometry, length: int, axis: int, n: int) -> list[int]:
    """Positions along an axis whose rotated patch stays inside, or else those in the middle quarter."""
    centre = [geometry.centre_px[axis] + geometry.stride_px[axis] * i for i in range(n)]
    reach = geometry.patch_px * math.sqrt(2) / 2
    if length - 1 - 2 * reach < 0.25 * length - 1:
        reach = 0.375 * length
    inside = [i for i in range(n) if reach <= centre[i] <= length - 1 - reach]
    return inside or [min(range(n), key=lambda i: abs(centre[i] - (length - 1) / 2))]


def slow_strongest(
    model: Model, images: ImageSet, geometry: LayerGeometry, halves: np.ndarray, k: int
) -> dict[tuple[int, int], list[tuple[float, int, int, int]]]:
    """For each (half, unit) the k strongest (response, image, y, x), one an image."""
    table: dict[tuple[int, int], list[tuple[float, int, int, int]]] = {}
    for index, grid in enumerate(grids_of(model, images, geometry.layer)):
        picture = images.load(index)
        assert picture is not None
        shape = picture.shape[1:]
        if min(shape) < geometry.patch_px:
            continue
        ys, xs = (may_be_centred(geometry, shape[a], a, grid.shape[1 + a]) for a in (0, 1))
        for unit in range(len(grid)):
            best = min((-float(grid[unit, y, x]), y, x) for y in ys for x in xs)
            entry = (-best[0], index, best[1], best[2])
            table.setdefault((int(halves[index]), unit), []).append(entry)
    return {key: sorted(rows, key=lambda r: (-r[0], *r[1:]))[:k] for key, rows in table.items()}


def stimuli_of(examples: Examples, half: int, unit: int) -> list[tuple[float, int, int, int]]:
    return [
        (float(value), int(image), int(y), int(x))
        for value, image, (y, x) in zip(
            examples.value[half, unit], examples.image[half, unit], examples.position[half, unit], strict=True
        )
        if image != NO_IMAGE
    ]


def same_stimuli(a: Examples, b: Examples) -> bool:
    return all(
        np.array_equal(getattr(a, n), getattr(b, n), equal_nan=True) for n in ("value", "image", "position")
    )


# --- one pass against a slow loop --------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
def test_strongest_stimuli_are_those_of_a_slow_loop(
    found: dict[str, Examples],
    model: Model,
    images: ImageSet,
    geometries: dict[str, LayerGeometry],
    halves: np.ndarray,
    layer: str,
) -> None:
    wanted = slow_strongest(model, images, geometries[layer], halves, 3)
    assert len(wanted) == 2 * found[layer].n_units
    for (half, unit), rows in wanted.items():
        assert stimuli_of(found[layer], half, unit) == rows
    ranks = [row[0] for rows in wanted.values() for row in rows]
    assert len(set(ranks)) < len(ranks), "there should be ties, or they are not tested"


@pytest.mark.parametrize("layer", LAYERS)
def test_moments_are_those_of_all_positions_of_images_that_are_large_enough(
    found: dict[str, Examples],
    model: Model,
    images: ImageSet,
    geometries: dict[str, LayerGeometry],
    layer: str,
) -> None:
    shapes = SHAPES + [(37, 52)] * 2
    grids = [
        grid.flatten(1)
        for grid, shape in zip(grids_of(model, images, layer), shapes, strict=True)
        if min(shape) >= geometries[layer].patch_px
    ]
    every = torch.cat(grids, 1).numpy()
    examples = found[layer]
    assert examples.n_positions == every.shape[1]
    assert np.allclose(examples.mean, every.mean(1), rtol=1e-6)
    assert np.allclose(examples.sd, every.std(1), rtol=1e-6)
    assert np.array_equal(examples.maximum, every.max(1))


def test_a_unit_that_never_fires_is_inactive(found: dict[str, Examples]) -> None:
    assert found["2"].is_inactive.tolist() == [False] * 5 + [True]
    assert not found["0"].is_inactive.any()
    assert found["2"].maximum[5] == -1
    assert found["2"].sd[5] == 0
    assert stimuli_of(found["2"], 0, 5)[0][0] == -1


def test_images_that_are_too_small_give_no_stimulus(
    found: dict[str, Examples], geometries: dict[str, LayerGeometry], halves: np.ndarray
) -> None:
    assert [geometries[layer].patch_px for layer in LAYERS] == [5, 9]
    too_small = {9, 10}
    assert min(min(shape) for i, shape in enumerate(SHAPES) if i not in too_small) >= 9
    assert not too_small & set(found["2"].image.flatten().tolist())
    for layer, n_small in (("0", 0), ("2", 2)):
        assert found[layer].n_images.sum() == len(halves) - n_small
    small_in_half = np.bincount(halves[[9, 10]], minlength=2)
    assert found["2"].n_images.tolist() == (np.bincount(halves) - small_in_half).tolist()


def test_a_network_that_cannot_take_a_small_image_is_not_shown_it(tmp_path: Path) -> None:
    for name, shape in (("large", (40, 30)), ("small", (12, 18)), ("tiny", (5, 9))):
        Image.fromarray(np.full((*shape, 3), 2, np.uint8)).save(tmp_path / f"{name}.png")
    images = open_images(tmp_path)
    model = Model(nn.Sequential(nn.Conv2d(3, 2, 7), nn.Conv2d(2, 2, 9)), "unpadded")
    geometries = find_geometry(model, ["0", "1"])
    done: list[int] = []
    found = collect_examples(model, images, geometries, np.zeros(3, np.int64), 3, on_images=done.append)
    assert [found[layer].n_images[0] for layer in ("0", "1")] == [2, 1]
    assert [found[layer].n_positions for layer in ("0", "1")] == [34 * 24 + 6 * 12, 26 * 16]
    assert sum(done) == 3
    geometries["1"] = replace(geometries["1"], is_global=True)
    with pytest.raises(
        EquiscopeError, match=r"unpadded cannot run on images of 12 x 18 px, such as small\.png"
    ):
        collect_examples(model, images, geometries, np.zeros(3, np.int64), 3)


@pytest.mark.parametrize("error", [AssertionError, ValueError, IndexError, KeyError])
def test_whatever_a_network_throws_at_an_image_is_one_sentence(
    error: type[Exception], tmp_path: Path
) -> None:
    class Picky(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[2:] == (33, 47):
                raise error("never 33")
            return super().forward(x)

    Image.fromarray(np.full((33, 47, 3), 2, np.uint8)).save(tmp_path / "odd.png")
    model = Model(nn.Sequential(Picky(3, 2, 3)), "picky")
    with pytest.raises(
        EquiscopeError, match=r"picky cannot run on images of 33 x 47 px, such as odd\.png \('?never 33'?\)"
    ):
        collect_examples(model, open_images(tmp_path), find_geometry(model, ["0"]), np.zeros(1, np.int64), 3)


def test_images_are_cut_to_the_sides_of_a_geometry_and_positions_keep_their_places(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, shape in (("large", (45, 71)), ("small", (20, 40)), ("tiny", (15, 60))):
        Image.fromarray(rng.integers(0, 255, (*shape, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    images = open_images(tmp_path)
    model = Model(nn.Sequential(nn.Conv2d(3, 2, 3)), "plain")
    geometry = replace(find_geometry(model, ["0"])["0"], sides=Sides(16, 16))
    found = collect_examples(model, images, {"0": geometry}, np.zeros(3, np.int64), 2)["0"]
    assert (found.n_images[0], found.n_positions) == (2, 30 * 62 + 14 * 30)
    whole = {i: images.load(i) for i in range(3)}
    for value, index, (row, column) in zip(
        found.value[0, 0], found.image[0, 0], found.position[0, 0], strict=True
    ):
        picture = whole[int(index)]
        assert picture is not None
        assert float(model.record(picture[None], ["0"])["0"][0, 0, row, column]) == pytest.approx(
            value, abs=1e-6
        )


def test_units_with_fewer_stimuli_than_asked_are_filled_with_nothing(
    model: Model, images: ImageSet, geometries: dict[str, LayerGeometry], halves: np.ndarray
) -> None:
    examples = collect_examples(model, images, geometries, halves, 12)["2"]
    for half in (0, 1):
        n = int(examples.n_images[half])
        assert n < 12
        assert (examples.image[half, :, :n] != NO_IMAGE).all()
        assert (examples.image[half, :, n:] == NO_IMAGE).all()
        assert np.isnan(examples.value[half, :, n:]).all()
        assert (np.diff(examples.value[half, :, :n], axis=1) <= 0).all()


def test_no_stimulus_is_nearer_to_the_border_than_its_rotated_patch_needs(
    found: dict[str, Examples], geometries: dict[str, LayerGeometry]
) -> None:
    n_checked = 0
    for layer, geometry in geometries.items():
        reach = (geometry.patch_px - 1) / 2 * math.sqrt(2)
        for image, position in zip(
            found[layer].image.reshape(-1), found[layer].position.reshape(-1, 2), strict=True
        ):
            shape = SHAPES[image] if image < len(SHAPES) else (37, 52)
            if image == NO_IMAGE or min(shape) < 1.5 * math.sqrt(2) * geometry.patch_px:
                continue
            centre = np.array(geometry.centre_px) + np.array(geometry.stride_px) * position
            assert (centre >= reach).all()
            assert (centre <= np.array(shape) - 1 - reach).all()
            n_checked += 1
    assert n_checked > 30


@settings(deadline=None)
@given(
    n=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    stride=st.integers(1, 9),
    field=st.integers(1, 20),
    half_start=st.integers(-12, 4),
)
def test_allowed_positions_are_those_of_a_slow_search(
    n: tuple[int, int], stride: int, field: int, half_start: int
) -> None:
    centre = half_start + (field - 1) / 2
    geometry = LayerGeometry("l", 1, (stride, stride), (field, field), (centre, centre))
    shape = (geometry.patch_px + n[0], geometry.patch_px + n[1])
    # Padded so that the grid covers the image.
    grid = tuple(int((length - 1 - centre) // stride) + 1 for length in shape)
    found = allowed_positions(geometry, shape, grid)
    for axis in (0, 1):
        wanted = may_be_centred(geometry, shape[axis], axis, grid[axis])
        positions = list(range(grid[axis]))[found[axis]]
        middle = (shape[axis] - 1) / 2 - centre
        if len(wanted) == 1 and len(positions) == 1:
            # Of two equally central ones either may be taken.
            assert abs(stride * positions[0] - middle) == abs(stride * wanted[0] - middle)
        else:
            assert positions == wanted


def test_a_layer_asked_alone_or_in_other_batches_gives_the_same(
    found: dict[str, Examples],
    model: Model,
    images: ImageSet,
    geometries: dict[str, LayerGeometry],
    halves: np.ndarray,
) -> None:
    done: list[int] = []
    alone = collect_examples(model, images, {"2": geometries["2"]}, halves, 3, on_images=done.append)
    assert list(alone) == ["2"]
    assert same_stimuli(alone["2"], found["2"])
    assert np.allclose(alone["2"].mean, found["2"].mean, rtol=1e-12)
    assert sum(done) == len(images)


def test_several_stimuli_of_one_image_never_overlap(
    model: Model, images: ImageSet, geometries: dict[str, LayerGeometry], halves: np.ndarray
) -> None:
    geometry = geometries["2"]
    n = 10
    several = collect_examples(model, images, geometries, halves, n, indices=[0, 1], per_image=6)["2"]
    once = collect_examples(model, images, geometries, halves, n, indices=[0, 1])["2"]
    counts = []
    for half in (0, 1):
        for unit in range(several.n_units):
            rows = stimuli_of(several, half, unit)
            assert stimuli_of(once, half, unit) == [
                row for i, row in enumerate(rows) if row[1] not in {r[1] for r in rows[:i]}
            ]
            for i, (_, image, y, x) in enumerate(rows):
                for _, other, other_y, other_x in rows[:i]:
                    apart_px = max(
                        abs(y - other_y) * geometry.stride_px[0], abs(x - other_x) * geometry.stride_px[1]
                    )
                    assert image != other or apart_px >= geometry.patch_px
            counts.append(len(rows))
    assert max(counts) >= 5


def test_several_stimuli_are_taken_greedily(
    model: Model, images: ImageSet, geometries: dict[str, LayerGeometry], halves: np.ndarray
) -> None:
    geometry, half = geometries["2"], int(halves[0])
    found = collect_examples(model, images, geometries, halves, 4, indices=[0], per_image=4)["2"]
    grid = grids_of(model, images, "2")[0]
    ys, xs = (may_be_centred(geometry, SHAPES[0][a], a, grid.shape[1 + a]) for a in (0, 1))
    for unit in range(len(grid)):
        taken: list[tuple[float, int, int, int]] = []
        for negative, y, x in sorted((-float(grid[unit, y, x]), y, x) for y in ys for x in xs):
            if len(taken) < 4 and all(
                max(abs(y - b) * geometry.stride_px[0], abs(x - c) * geometry.stride_px[1])
                >= geometry.patch_px
                for _, _, b, c in taken
            ):
                taken.append((-negative, 0, y, x))
        assert stimuli_of(found, half, unit) == taken


@pytest.mark.parametrize("per_image", [1, 3])
def test_a_global_layer_has_one_stimulus_an_image(
    images: ImageSet, halves: np.ndarray, per_image: int
) -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean((2, 3), keepdim=True).round()

    module = nn.Sequential(whole_numbers()[0], Gate())
    model = model_of(module)
    geometry = find_geometry(model, ["1"])
    assert geometry["1"].is_global
    found = collect_examples(model, images, geometry, halves, 20, per_image=per_image)["1"]
    assert found.n_images.sum() == len(images)
    picture = images.load(0)
    assert picture is not None
    grid = model.record(picture[None], ["1"])["1"][0]
    for unit in range(found.n_units):
        rows = stimuli_of(found, int(halves[0]), unit)
        assert len(rows) == len({row[1] for row in rows}) == (halves == halves[0]).sum()
        row = next(row for row in rows if row[1] == 0)
        middle = (grid.shape[1] // 2, grid.shape[2] // 2)
        assert row == (float(grid[unit][middle]), 0, *middle)


def test_a_layer_made_global_for_want_of_large_images_has_one_stimulus_an_image(
    model: Model, images: ImageSet, geometries: dict[str, LayerGeometry], halves: np.ndarray
) -> None:
    geometry = {"2": replace(geometries["2"], is_global=True)}
    found = collect_examples(model, images, geometry, halves, 20, per_image=4)["2"]
    for half in (0, 1):
        assert len(stimuli_of(found, half, 0)) == (halves == half).sum()


# --- merging -----------------------------------------------------------------------------------------------


@cache
def parts_of_a_set(folder: Path) -> list[Examples]:
    """Examples of each image of a set on its own."""
    images = open_images(folder)
    model = model_of(whole_numbers())
    geometry = find_geometry(model, ["2"])
    half = split_halves(images.groups, 0)
    return [
        collect_examples(model, images, geometry, half, 3, indices=[index], per_image=2)["2"]
        for index in range(len(images))
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("to_merge")
    rng = np.random.default_rng(1)
    for index in range(8):
        # The last three show the same: equal responses in several images.
        seed = rng if index < 6 else np.random.default_rng(9)
        Image.fromarray(seed.integers(0, 3, (21, 30, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


@settings(deadline=None, max_examples=30)
@given(order=st.permutations(range(8)), cut=st.integers(0, 8))
def test_merging_in_any_order_equals_one_pass(folder: Path, order: list[int], cut: int) -> None:
    parts = parts_of_a_set(folder)
    whole = reduce(merge_examples, parts)
    empty = empty_examples("2", 6, 3)
    left = reduce(merge_examples, [parts[i] for i in order[:cut]], empty)
    right = reduce(merge_examples, [parts[i] for i in order[cut:]], empty)
    merged = merge_examples(left, right)
    assert same_stimuli(merged, whole)
    assert merged.n_positions == whole.n_positions
    assert np.array_equal(merged.n_images, whole.n_images)
    assert np.array_equal(merged.maximum, whole.maximum)
    assert np.allclose(merged.mean, whole.mean, rtol=1e-9)
    assert np.allclose(merged.m2, whole.m2, rtol=1e-9)


def test_one_pass_equals_merging_the_parts_of_each_image(folder: Path) -> None:
    images, model = open_images(folder), model_of(whole_numbers())
    halves = split_halves(images.groups, 0)
    one_pass = collect_examples(model, images, find_geometry(model, ["2"]), halves, 3, per_image=2)["2"]
    assert same_stimuli(one_pass, reduce(merge_examples, parts_of_a_set(folder)))


def test_merging_two_halves_equals_one_pass(
    found: dict[str, Examples],
    model: Model,
    images: ImageSet,
    geometries: dict[str, LayerGeometry],
    halves: np.ndarray,
) -> None:
    n = len(images)
    first, second = (
        collect_examples(model, images, geometries, halves, 3, indices=part)
        for part in (range(n // 2), range(n // 2, n))
    )
    for layer in LAYERS:
        merged = merge_examples(second[layer], first[layer])
        assert same_stimuli(merged, found[layer])
        assert merged.n_positions == found[layer].n_positions
        assert np.array_equal(merged.n_images, found[layer].n_images)
        assert np.array_equal(merged.maximum, found[layer].maximum)
        assert np.allclose(merged.mean, found[layer].mean, rtol=1e-6)
        assert np.allclose(merged.m2, found[layer].m2, rtol=1e-6)


def test_equal_responses_are_ordered_by_image_then_position() -> None:
    def one(image: int, y: int, x: int, value: float = 1.0) -> Examples:
        empty = empty_examples("l", 1, 2)
        return replace(
            empty,
            value=np.array([[[value, np.nan]], [[np.nan, np.nan]]], np.float32),
            image=np.array([[[image, NO_IMAGE]], [[NO_IMAGE, NO_IMAGE]]]),
            position=np.array([[[[y, x], [0, 0]]], [[[0, 0], [0, 0]]]]),
        )

    parts = [one(5, 0, 0), one(3, 2, 1), one(3, 1, 9), one(0, 0, 0, value=-2.0)]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        merged = reduce(merge_examples, [parts[i] for i in order])
        assert stimuli_of(merged, 0, 0) == [(1, 3, 1, 9), (1, 3, 2, 1)]
    # What is weak is still more than nothing.
    assert stimuli_of(merge_examples(parts[3], empty_examples("l", 1, 2)), 0, 0) == [(-2, 0, 0, 0)]


def test_the_empty_result_is_neutral(found: dict[str, Examples]) -> None:
    empty = empty_examples("2", 6, 3)
    assert np.isnan(empty.sd).all()
    for merged in (merge_examples(empty, found["2"]), merge_examples(found["2"], empty)):
        for part in fields(Examples):
            if part.name != "layer":
                assert np.array_equal(
                    getattr(merged, part.name), getattr(found["2"], part.name), equal_nan=True
                )
    assert merge_examples(empty, empty).n_positions == 0


@pytest.mark.parametrize("other", [("3", 6, 3), ("2", 5, 3), ("2", 6, 4)])
def test_what_does_not_belong_together_is_not_merged(other: tuple[str, int, int]) -> None:
    with pytest.raises(EquiscopeError, match=r"cannot merge stimuli of '2' \(2, 6, 3\) with"):
        merge_examples(empty_examples("2", 6, 3), empty_examples(*other))


# --- halves ------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), max_size=60), st.integers(0, 1000))
def test_halves_share_no_photograph_and_are_balanced(groups: list[int], seed: int) -> None:
    half = split_halves(groups, seed)
    assert set(half.tolist()) <= {0, 1}
    photographs = [{g for g, h in zip(groups, half, strict=True) if h == index} for index in (0, 1)]
    assert not photographs[0] & photographs[1]
    assert len(photographs[0]) - len(photographs[1]) in (0, 1)
    assert np.array_equal(half, split_halves(groups, seed))


def test_another_seed_makes_other_halves() -> None:
    splits = {tuple(split_halves(range(40), seed).tolist()) for seed in range(10)}
    assert len(splits) == 10
    # The images of one photograph, such as its reductions, go together also when they are far apart.
    half = split_halves([0, 1, 2, 3, 0, 1, 2, 3], 4)
    assert np.array_equal(half[:4], half[4:])
