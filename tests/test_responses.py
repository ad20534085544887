"""Responses to turned stimuli against the full image, and orbit correlations against a slow double loop."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from equiscope.families.correlations import OrbitCorrelations, correlate_orbits
from equiscope.foundations.errors import EquiscopeError
from equiscope.measurement import responses as responses_module
from equiscope.measurement.bank import Bank, build_bank, cut_orbits, cut_stimuli
from equiscope.measurement.examples import NO_IMAGE, Examples, collect_examples, empty_examples, split_halves
from equiscope.measurement.responses import (
    CHUNK_STIMULI,
    Responses,
    measure_responses,
    open_responses,
    scramble_responses,
)
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry, find_geometry
from equiscope.models.sides import Sides
from equiscope.stimuli import ImageSet, open_images
from equiscope.transformations.groups import CyclicGroup
from equiscope.transformations.pixels import crop_around, crop_size_px, rotate_patches


def bank_of(half: list[int] | np.ndarray) -> Bank:
    n = len(half)
    return Bank(
        "l", np.sort(np.asarray(half)), np.arange(n), np.zeros((n, 2), np.int64), np.arange(n, dtype=np.int64)
    )


def synthetic(order: int, n_units: int = 5, n_stimuli: int = 30, seed: int = 0) -> Responses:
    """Random orbits, both signs, in two halves of unequal size."""
    rng = np.random.default_rng(seed)
    half = (np.arange(n_stimuli) >= n_stimuli // 3).astype(int)
    values = rng.normal(size=(n_stimuli, order, n_units)) + rng.normal(size=(n_stimuli, 1, n_units))
    return Responses(bank_of(half), CyclicGroup(order), values.astype(np.float32))


def slow_correlation(responses: Responses, half: int, u: int, v: int, g: int) -> float:
    """``corr over (p, h) of A[p, g⁻¹h, u] and A[p, h, v]``, as the definition says."""
    group = responses.group
    xs, ys = [], []
    for p in np.flatnonzero(responses.bank.half == half):
        for h in group.elements:
            source = group.compose(group.inverse(g), int(h))
            xs.append(max(float(responses.array[p, source, u]), 0.0))
            ys.append(max(float(responses.array[p, h, v]), 0.0))
    return float(np.corrcoef(xs, ys)[0, 1])


# --- orbit correlations ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 5, 8])
@pytest.mark.parametrize("half", [0, 1])
def test_correlations_are_those_of_a_slow_double_loop(order: int, half: int) -> None:
    responses = synthetic(order)
    found = correlate_orbits(responses, half)
    assert found.n_stimuli == (10, 20)[half]
    units = np.arange(5)
    at = found.at(units[:, None, None], units[None, :, None], responses.group.angles_deg[None, None, :])
    for u, v, g in itertools.product(range(5), range(5), range(order)):
        assert at[u, v, g] == pytest.approx(slow_correlation(responses, half, u, v, g), abs=2e-5)
    assert np.allclose(at[units, units, 0], 1, atol=1e-5)


@pytest.mark.parametrize("g", range(8))
def test_correlation_is_one_at_g_exactly_when_v_is_g_u(g: int) -> None:
    responses = synthetic(8, n_units=2)
    values = np.array(responses.array)
    values[:, :, 1] = np.roll(values[:, :, 0], g, axis=1)
    found = correlate_orbits(replace(responses, array=values), 1)
    u, v = np.array([0]), np.array([1])
    curve = found.curves(u, v, responses.group.angles_deg)[:, 0]
    assert curve[g] == pytest.approx(1, abs=1e-5)
    assert (np.delete(curve, g) < 0.9).all()
    # The other way round it is the inverse.
    assert found.curves(v, u, responses.group.angles_deg)[-g % 8, 0] == pytest.approx(1, abs=1e-5)


def noting_cuts(n_cut: list[int]) -> Callable[..., Tensor]:
    """Cut stimuli, and note how many at a time."""

    def cut(*args: Any) -> Tensor:
        n_cut.append(args[5].stop - args[5].start)
        return cut_orbits(*args)

    return cut


def test_scale_and_strength_of_a_unit_do_not_matter() -> None:
    responses = synthetic(6)
    values = np.array(responses.array) * np.array([1, 10, 1e3, 1e-3, 0.1], np.float32)
    found, wanted = correlate_orbits(replace(responses, array=values), 1), correlate_orbits(responses, 1)
    assert np.allclose(found.coefficients, wanted.coefficients, atol=1e-5)


def test_a_unit_that_does_not_vary_has_no_correlation() -> None:
    responses = synthetic(8, n_units=20)
    values = np.array(responses.array)
    values[:, :, 1] = -1.0
    # Constants whose sums round: what is left of their variance is noise.
    values[:, :, 2:18] = np.random.default_rng(0).uniform(0.1, 100, 16)
    found = correlate_orbits(replace(responses, array=values), 0)
    units = np.arange(20)
    varies = (units == 0) | (units >= 18)
    measured = np.isfinite(found.at(units[:, None], units[None, :], np.array(45.0)))
    assert np.array_equal(measured, varies[:, None] & varies[None, :])
    height, angle_deg = found.peaks(units)
    assert np.array_equal(np.isfinite(height), measured)
    assert np.array_equal(np.isfinite(angle_deg), measured)


def test_no_stimulus_gives_no_correlation() -> None:
    responses = Responses(bank_of([1, 1, 1]), CyclicGroup(4), np.ones((3, 4, 2), np.float32))
    found = correlate_orbits(responses, 0)
    assert found.n_stimuli == 0
    assert np.isnan(found.coefficients).all()


def test_chunk_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    responses = synthetic(8, n_stimuli=90)
    wanted = correlate_orbits(responses, 1)
    whole = Responses.chunks
    sizes: list[int] = []

    def in_sevens(self: Responses, half: int) -> list[tuple[int, np.ndarray]]:
        parts = list(whole(self, half, 7))
        sizes.extend(len(part) for _, part in parts)
        return parts

    monkeypatch.setattr(Responses, "chunks", in_sevens)
    found = correlate_orbits(responses, 1)
    assert sizes == [7] * 8 + [4]
    assert np.allclose(found.coefficients, wanted.coefficients, atol=1e-6)


def test_chunks_walk_through_one_half_after_the_relu() -> None:
    responses = synthetic(4, n_stimuli=20)
    for half, first, last in ((0, 0, 6), (1, 6, 20)):
        assert responses.of_half(half) == (first, last)
        parts = list(responses.chunks(half, 4))
        assert [start for start, _ in parts] == list(range(first, last, 4))
        joined = np.concatenate([part for _, part in parts])
        assert np.array_equal(joined, np.maximum(responses.array[first:last], 0))
    assert np.min(responses.array) < 0


# --- peaks -------------------------------------------------------------------------------------------------


def test_peaks_are_those_of_a_fine_grid() -> None:
    responses = synthetic(16, n_units=12, n_stimuli=60)
    found = correlate_orbits(responses, 1)
    units = np.array([0, 3, 4, 7, 11])
    height, angle_deg = found.peaks(units)
    fine = np.arange(0, 360, 0.05)
    for (i, u), (j, v) in itertools.product(enumerate(units), enumerate(units)):
        curve = found.curves(np.array([u]), np.array([v]), fine)[:, 0]
        assert height[i, j] == pytest.approx(curve.max(), abs=1e-3)
        # Of two peaks of one height either may be taken.
        at_found = float(found.at(np.array(u), np.array(v), np.array(float(angle_deg[i, j]))))
        assert at_found == pytest.approx(curve.max(), abs=1e-3)
    assert ((angle_deg >= 0) & (angle_deg < 360)).all()
    assert np.allclose(height.diagonal(), 1, atol=1e-4)
    off_zero = np.abs((angle_deg.diagonal() + 180) % 360 - 180)
    assert off_zero.max() < 0.01


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 360, exclude_max=True), st.integers(5, 12))
def test_the_pose_of_a_smooth_curve_is_found_between_the_samples(pose: float, sharpness: int) -> None:
    frequency = np.arange(9)
    series = np.exp(-((frequency / 8 * 16 / sharpness) ** 2)) * np.exp(-1j * np.radians(pose) * frequency)
    coefficients = np.zeros((9, 2, 2), np.complex64)
    coefficients[:, 0, 1] = series / np.abs(series).sum()
    height, angle_deg = OrbitCorrelations(coefficients, 1).peaks(np.arange(2))
    assert height[0, 1] == pytest.approx(1, abs=2e-3)
    assert abs((angle_deg[0, 1] - pose + 180) % 360 - 180) < 0.05
    assert 0 <= angle_deg[0, 1] < 360


# --- the null ----------------------------------------------------------------------------------------------


def family_of_orbits(order: int = 8, n_stimuli: int = 60) -> Responses:
    """Three units that are turned copies of each other, and a fourth without relation."""
    responses = synthetic(order, n_units=4, n_stimuli=n_stimuli)
    values = np.array(responses.array)
    for unit, turn in ((1, 1), (2, 5)):
        values[:, :, unit] = np.roll(values[:, :, 0], turn, axis=1)
    return replace(responses, array=values)


def test_scrambling_keeps_every_orbit_and_destroys_the_shared_pose() -> None:
    responses = family_of_orbits()
    channels = np.array([0, 2])
    found = scramble_responses(responses, channels, np.random.default_rng(0)).array
    values = np.asarray(responses.array)
    assert np.array_equal(found[:, :, [1, 3]], values[:, :, [1, 3]])
    shifts = []
    for p, unit in itertools.product(range(len(values)), channels):
        turned = [np.roll(values[p, :, unit], k) for k in range(8)]
        shifts += [k for k in range(8) if np.array_equal(found[p, :, unit], turned[k])]
    assert len(shifts) == 2 * len(values)
    assert np.bincount(shifts, minlength=8).min() > 3
    assert np.array_equal(responses.array, family_of_orbits().array)
    scrambled = correlate_orbits(replace(responses, array=found), 1)
    units = np.arange(4)
    before, after = (c.peaks(units)[0] for c in (correlate_orbits(responses, 1), scrambled))
    assert np.allclose(before[:3, :3], 1, atol=1e-3)
    assert max(after[0, 1], after[0, 2], after[1, 2]) < 0.75


def test_the_null_correlates_orbits_that_were_turned_at_random() -> None:
    responses = family_of_orbits()
    units = np.arange(4)
    real = correlate_orbits(responses, 1)
    null = correlate_orbits(responses, 1, scramble=np.random.default_rng(4))
    # The same draw made by hand: frequencies turned and responses turned are one thing.
    shift = np.random.default_rng(4).integers(0, 8, (40, 1, 4))
    values = np.array(responses.array)
    for p, unit in itertools.product(range(40), units):
        values[20 + p, :, unit] = np.roll(values[20 + p, :, unit], shift[p, 0, unit])
    by_hand = correlate_orbits(replace(responses, array=values), 1)
    assert np.allclose(null.coefficients, by_hand.coefficients, atol=1e-4)
    assert real.peaks(units)[0][0, 1] == pytest.approx(1, abs=1e-3)
    assert null.peaks(units)[0][0, 1] < 0.75
    # What a unit does by itself stays: the energy at every frequency.
    tuning = [c.coefficients[:, units, units].real for c in (null, real)]
    assert np.allclose(tuning[0], tuning[1], atol=1e-4)


# --- the bank ----------------------------------------------------------------------------------------------


def examples_with(
    rows: list[tuple[int, int, float, int, int, int]], n_units: int = 2, n: int = 3
) -> Examples:
    """Examples from (half, unit, response, image, y, x)."""
    examples = empty_examples("l", n_units, n)
    used: dict[tuple[int, int], int] = {}
    for half, unit, value, image, y, x in rows:
        rank = used.setdefault((half, unit), 0)
        used[half, unit] += 1
        examples.value[half, unit, rank] = value
        examples.image[half, unit, rank] = image
        examples.position[half, unit, rank] = y, x
    return examples


def test_a_bank_holds_each_stimulus_once_in_order_and_only_those_that_fire() -> None:
    rows = [
        (1, 0, 2.0, 3, 1, 1),
        (1, 1, 1.0, 0, 5, 2),
        (0, 0, 4.0, 7, 2, 2),
        (0, 1, 3.0, 7, 2, 2),
        (0, 1, 2.0, 4, 9, 0),
        (0, 0, -1.0, 2, 0, 0),
        (0, 0, 0.0, 1, 0, 0),
    ]
    bank = build_bank(examples_with(rows), photographs=np.arange(8) // 2 * 10)
    assert bank.layer == "l"
    assert len(bank) == 4
    assert bank.half.tolist() == [0, 0, 1, 1]
    assert bank.image.tolist() == [4, 7, 0, 3]
    assert bank.position.tolist() == [[9, 0], [2, 2], [5, 2], [1, 1]]
    assert bank.photograph.tolist() == [20, 30, 0, 10]


def test_a_layer_that_never_fires_has_an_empty_bank(tmp_path: Path) -> None:
    examples = examples_with([(0, 0, -1.0, 0, 0, 0)])
    assert examples.image[0, 0, 1] == NO_IMAGE
    bank = build_bank(examples, np.zeros(1, np.int64))
    assert len(bank) == 0
    responses = open_responses(tmp_path / "l.zarr", bank, CyclicGroup(4), 2)
    measure_responses(
        Model(nn.Conv2d(3, 2, 1)),
        None,
        LayerGeometry("l", 2, (1, 1), (3, 3), (1, 1)),
        responses,  # type: ignore[arg-type]
    )
    assert np.isnan(correlate_orbits(responses, 0).coefficients).all()


def test_orbits_start_staggered_within_one_step() -> None:
    bank = bank_of([0] * 10)
    starts = bank.starts_deg(CyclicGroup(16))[0]
    assert starts[0] == 0
    assert ((starts >= 0) & (starts < 22.5)).all()
    assert sorted(set(starts.tolist())) == [0, 5.625, 11.25, 16.875]


# --- measuring ---------------------------------------------------------------------------------------------

LAYER = "3"


def small_network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.ReLU(inplace=True),
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    rng = np.random.default_rng(2)
    coarse = rng.uniform(0, 255, (40, 9, 12, 3))
    smooth = np.stack([np.kron(c, np.ones((10, 10, 1))) for c in coarse])
    pixels = np.clip(smooth + rng.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, images=pixels)
    return open_images(path)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(small_network(), "small")


@pytest.fixture(scope="module")
def geometry(model: Model) -> LayerGeometry:
    return find_geometry(model, [LAYER])[LAYER]


@pytest.fixture(scope="module")
def bank(model: Model, images: ImageSet, geometry: LayerGeometry) -> Bank:
    halves = split_halves(images.groups, 0)
    examples = collect_examples(model, images, {LAYER: geometry}, halves, 16, per_image=2)
    bank = build_bank(examples[LAYER], np.asarray(images.groups))
    # Three chunks on disk, the last of them short.
    assert len(bank) > 2 * CHUNK_STIMULI
    some = slice(0, 2 * CHUNK_STIMULI + 3)
    return Bank(bank.layer, bank.half[some], bank.image[some], bank.position[some], bank.photograph[some])


GROUP = CyclicGroup(4)


@pytest.fixture(scope="module")
def measured(
    model: Model,
    images: ImageSet,
    geometry: LayerGeometry,
    bank: Bank,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Responses of an uninterrupted measurement, on disk."""
    path = tmp_path_factory.mktemp("run") / "l.zarr"
    steps: list[int] = []
    responses = open_responses(path, bank, GROUP, 5)
    measure_responses(model, images, geometry, responses, on_stimuli=steps.append)
    assert steps == [CHUNK_STIMULI, CHUNK_STIMULI, 3]
    assert np.isfinite(responses.array[:]).all()
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def picture_of(images: ImageSet, index: int) -> Tensor:
    picture = images.load(int(index))
    assert picture is not None
    return picture


def test_unturned_stimuli_answer_as_the_full_image_does(
    model: Model, images: ImageSet, geometry: LayerGeometry, bank: Bank, measured: Path
) -> None:
    values = open_responses(measured, bank, GROUP, 5).array[:]
    starts = bank.starts_deg(GROUP)[0]
    checked = np.flatnonzero(starts == 0)
    assert len(checked) > 30
    for p in checked:
        grid = model.record(picture_of(images, bank.image[p])[None], [LAYER])[LAYER][0]
        wanted = grid[:, bank.position[p, 0], bank.position[p, 1]].numpy()
        assert np.allclose(values[p, 0], wanted, atol=1e-5)
    # Staggered ones are turned, so they answer otherwise.
    p = int(np.flatnonzero(starts > 0)[0])
    grid = model.record(picture_of(images, bank.image[p])[None], [LAYER])[LAYER][0]
    assert not np.allclose(values[p, 0], grid[:, bank.position[p, 0], bank.position[p, 1]], atol=1e-3)


def test_each_element_is_the_stimulus_turned_by_start_and_angle(
    model: Model, images: ImageSet, geometry: LayerGeometry, bank: Bank, measured: Path
) -> None:
    values = open_responses(measured, bank, GROUP, 5).array[:]
    starts = bank.starts_deg(GROUP)[0]
    size = geometry.patch_px
    for p in range(0, len(bank), 9):
        centre = np.array(geometry.centre_px) + np.array(geometry.stride_px) * bank.position[p]
        crop, inside, _ = crop_around(picture_of(images, bank.image[p]), tuple(centre), crop_size_px(size))
        for g, angle in enumerate(GROUP.angles_deg):
            patch = rotate_patches(crop[None], torch.tensor([inside]), [float(angle + starts[p])], size)[0]
            grid = model.record(patch, [LAYER])[LAYER][0]
            row, column = geometry.position_in_patch()
            assert np.allclose(values[p, g], grid[:, row, column], atol=1e-5)


def test_cut_stimuli_are_square_pieces_of_the_image(
    images: ImageSet, geometry: LayerGeometry, bank: Bank
) -> None:
    some = np.array([0, 1, 5])
    size = 15
    found = cut_stimuli(
        images, geometry, bank.image[some], bank.position[some], np.array([0.0, 90.0]), size, np.zeros(3)
    )
    assert found.shape == (3, 2, 3, size, size)
    for p, (unturned, turned) in zip(some, found, strict=True):
        centre = np.array(geometry.centre_px) + np.array(geometry.stride_px) * bank.position[p]
        first = (centre - (size - 1) / 2).astype(int)
        piece = picture_of(images, bank.image[p])[:, first[0] : first[0] + size, first[1] : first[1] + size]
        assert torch.equal(unturned, piece)
        # Counter-clockwise: what was on the right comes to the top.
        assert torch.equal(turned[:, 0, :], piece[:, :, -1])


def test_a_turned_copy_of_a_unit_peaks_at_its_angle(images: ImageSet, tmp_path: Path) -> None:
    torch.manual_seed(1)
    kernel = torch.randn(1, 3, 9, 9)
    module = nn.Conv2d(3, 4, 9, bias=False)
    with torch.no_grad():
        # Counter-clockwise by 0°, 90° and 180°, and a stranger.
        module.weight.copy_(
            torch.cat([kernel.rot90(k, (2, 3)) for k in (0, 1, 2)] + [torch.randn(1, 3, 9, 9)])
        )
    model = Model(nn.Sequential(module), "turned")
    geometry = find_geometry(model, ["0"])["0"]
    examples = collect_examples(model, images, {"0": geometry}, split_halves(images.groups, 0), 8)["0"]
    bank = build_bank(examples, np.asarray(images.groups))
    responses = open_responses(tmp_path / "0.zarr", bank, GROUP, 4)
    measure_responses(model, images, geometry, responses)
    found = correlate_orbits(responses, 1)
    # Quarter turns are exact, from whichever angle an orbit starts.
    at = found.at(np.array([0, 0, 1]), np.array([1, 2, 2]), np.array([90.0, 180.0, 90.0]))
    assert np.allclose(at, 1, atol=1e-4)
    height, angle_deg = found.peaks(np.arange(4))
    assert np.allclose(angle_deg[[0, 0, 1], [1, 2, 0]], [90, 180, 270], atol=0.5)
    assert height[0, 3] < 0.9


# --- interrupted and damaged -------------------------------------------------------------------------------


class Killed(Exception):
    pass


def kill_after(n_chunks: int) -> object:
    done = itertools.count(1)

    def on_stimuli(_n: int) -> None:
        if next(done) == n_chunks:
            raise Killed

    return on_stimuli


@pytest.mark.parametrize("n_chunks", [1, 2])
def test_an_interrupted_measurement_goes_on_where_it_stopped(
    model: Model,
    images: ImageSet,
    geometry: LayerGeometry,
    bank: Bank,
    measured: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_chunks: int,
) -> None:
    path = tmp_path / "l.zarr"
    with pytest.raises(Killed):
        measure_responses(
            model,
            images,
            geometry,
            open_responses(path, bank, GROUP, 5),
            on_stimuli=kill_after(n_chunks),  # type: ignore[arg-type]
        )
    resumed = open_responses(path, bank, GROUP, 5)
    assert np.isfinite(resumed.array[:]).all((1, 2)).sum() == n_chunks * CHUNK_STIMULI
    n_cut: list[int] = []
    monkeypatch.setattr(responses_module, "cut_orbits", noting_cuts(n_cut))
    steps: list[int] = []
    measure_responses(model, images, geometry, resumed, on_stimuli=steps.append)
    assert sum(n_cut) == len(bank) - n_chunks * CHUNK_STIMULI
    assert sum(steps) == len(bank)
    assert files_of(path) == files_of(measured)


def damage(raw: bytes, kind: str) -> bytes:
    middle = len(raw) // 2
    changed = raw[:middle] + bytes([raw[middle] ^ 0x10]) + raw[middle + 1 :]
    return {"changed": changed, "truncated": raw[:middle], "empty": b"", "too long": raw + b"\0\0"}[kind]


@pytest.mark.parametrize("kind", ["changed", "truncated", "empty", "too long"])
def test_a_damaged_chunk_is_measured_again(
    model: Model,
    images: ImageSet,
    geometry: LayerGeometry,
    bank: Bank,
    measured: Path,
    tmp_path: Path,
    kind: str,
) -> None:
    path = tmp_path / "l.zarr"
    for name, raw in files_of(measured).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(raw)
    (chunk,) = (p for p in path.rglob("*") if p.is_file() and p.relative_to(path).parts[:2] == ("c", "1"))
    whole = chunk.read_bytes()
    chunk.write_bytes(damage(whole, kind))
    measure_responses(model, images, geometry, open_responses(path, bank, GROUP, 5))
    assert files_of(path) == files_of(measured)


def test_responses_of_another_shape_are_refused(bank: Bank, measured: Path) -> None:
    before = files_of(measured)
    with pytest.raises(EquiscopeError, match=r"l\.zarr holds responses of shape .*expected \(131, 8, 5\)"):
        open_responses(measured, bank, CyclicGroup(8), 5)
    assert files_of(measured) == before


def test_a_network_that_answers_nan_is_refused_by_channel(
    images: ImageSet, geometry: LayerGeometry, bank: Bank, tmp_path: Path
) -> None:
    module = small_network()
    with torch.no_grad():
        module[3].bias[3] = torch.nan
    responses = open_responses(tmp_path / "l.zarr", bank, GROUP, 5)
    with pytest.raises(EquiscopeError, match=r"broken answers with NaN.*layer '3', channel 3.*\[0, 1\]"):
        measure_responses(Model(module, "broken"), images, geometry, responses)
    assert np.isnan(responses.array[:]).all()


def test_an_image_that_is_gone_is_named(
    model: Model, images: ImageSet, geometry: LayerGeometry, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = images.names[bank.image[0]]

    class Gone(ImageSet):
        def __init__(self) -> None:
            self.names, self._reasons = images.names, {gone: "no such file", "z.png": "another"}

        def load(self, index: int) -> None:
            return None

    said = f"^{re.escape(gone)} could be read before but no longer: no such file"
    with pytest.raises(EquiscopeError, match=said):
        cut_stimuli(Gone(), geometry, bank.image[:1], bank.position[:1], np.zeros(1), 9)


# --- whole images ------------------------------------------------------------------------------------------


class Gated(nn.Module):
    """Positions scaled by the mean of the whole image."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + x.mean((1, 2, 3), keepdim=True))


def test_a_global_layer_is_shown_whole_images(images: ImageSet, tmp_path: Path) -> None:
    module = nn.Sequential(small_network()[0], Gated())
    model = Model(module, "global")
    geometry = find_geometry(model, ["1"])["1"]
    assert geometry.is_global
    examples = collect_examples(model, images, {"1": geometry}, split_halves(images.groups, 0), 2)["1"]
    bank = build_bank(examples, np.asarray(images.groups))
    responses = open_responses(tmp_path / "l.zarr", bank, GROUP, 6)
    measure_responses(model, images, geometry, responses, whole_px=90)
    starts = bank.starts_deg(GROUP)[0]
    for p in np.flatnonzero(starts == 0):
        # The middle of a 90 x 120 px image, and its turned self read at the same place.
        middle = picture_of(images, bank.image[p])[:, :, 15:105]
        for g in range(4):
            grid = model.record(middle.rot90(g, (1, 2))[None], ["1"])["1"][0]
            assert np.allclose(
                responses.array[p, g], grid[:, grid.shape[1] // 2, grid.shape[2] // 2], atol=1e-5
            )


def test_large_patches_are_cut_a_few_at_a_time(
    model: Model,
    images: ImageSet,
    geometry: LayerGeometry,
    bank: Bank,
    measured: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(responses_module, "_PIXELS_PER_CUT", 5 * 4 * geometry.patch_px**2)
    n_cut: list[int] = []
    monkeypatch.setattr(responses_module, "cut_orbits", noting_cuts(n_cut))
    responses = open_responses(tmp_path / "l.zarr", bank, GROUP, 5)
    measure_responses(model, images, geometry, responses)
    assert max(n_cut) == 5
    assert sum(n_cut) == len(bank)
    assert np.allclose(responses.array[:], open_responses(measured, bank, GROUP, 5).array[:], atol=1e-6)


@pytest.mark.parametrize("error", [AssertionError, IndexError])
def test_stimuli_that_a_network_refuses_are_told(
    error: type[Exception], images: ImageSet, bank: Bank, geometry: LayerGeometry
) -> None:
    class Refusing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise error("not today")

    responses = Responses(
        bank, CyclicGroup(4), np.full((len(bank), 4, geometry.n_channels), np.nan, np.float32)
    )
    size = geometry.patch_px
    with pytest.raises(
        EquiscopeError,
        match=rf"moody cannot run on stimuli of {size} x {size} px \(not today\): leave the layer",
    ):
        measure_responses(
            Model(nn.Sequential(*[Refusing() for _ in range(4)]), "moody"), images, geometry, responses
        )


def test_passes_are_as_large_as_what_the_network_is_shown(
    model: Model, images: ImageSet, bank: Bank, geometry: LayerGeometry
) -> None:
    shown: list[tuple[int, ...]] = []

    def seen(x: Tensor) -> Tensor:
        shown.append(tuple(x.shape))
        return x

    alone = replace(geometry, sides=Sides(400, 0))
    responses = Responses(
        bank, CyclicGroup(4), np.full((len(bank), 4, geometry.n_channels), np.nan, np.float32)
    )
    measure_responses(Model(model.module, preprocess=seen), images, alone, responses)
    # Where whole maps are compared it sees all that it is shown, and else what the position sees.
    assert {shape[2:] for shape in shown} == {(400, 400), geometry.receptive_field_px}
    assert max(shape[0] for shape in shown) == 4
    plain = Responses(bank, CyclicGroup(4), np.full((len(bank), 4, geometry.n_channels), np.nan, np.float32))
    measure_responses(model, images, geometry, plain)
    assert np.allclose(responses.array, plain.array, atol=1e-5)
