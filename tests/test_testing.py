"""The planted networks hold what their truth says, and the checks reject what they should."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import scipy.signal
import skimage.data
import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.models.model import Model
from equiscope.testing import (
    LayerTruth,
    Planted,
    assert_equivariant,
    equivariant_network,
    planted_network,
    random_weights,
    shuffled_kernels,
)
from equiscope.transformations.pixels import crop_around, crop_size_px, rotate_image, rotate_patches

N_ANGLES = 16


@pytest.fixture(scope="module")
def photographs() -> list[Tensor]:
    """Parts of shipped photographs, (3, y, x), RGB in [0, 1], none of them square."""
    colour = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.rocket(), skimage.data.chelsea()]
    colour += load_sample_images().images
    grey = [skimage.data.camera(), skimage.data.coins(), skimage.data.page()]
    images = [torch.from_numpy(image.copy()).permute(2, 0, 1) for image in colour]
    images += [torch.from_numpy(image.copy()).expand(3, -1, -1) for image in grey]
    return [image[:, 20:180, 60:300].float() / 255 for image in images]


def orbit_responses(
    planted: Planted, layer: str, photographs: list[Tensor], size_px: int, stride_px: int, per_unit: int = 3
) -> np.ndarray:
    """Rectified responses (stimulus, angle, unit) to the strongest patch of each unit in some photographs."""
    crops, centres = [], []
    for image in photographs:
        response = planted.model.record(image[None], [layer])[layer][0]
        strength, position = response.flatten(1).max(1)
        for unit in range(len(response)):
            y, x = divmod(int(position[unit]), response.shape[2])
            centre = (y * stride_px + (size_px - 1) / 2, x * stride_px + (size_px - 1) / 2)
            crop, centre_in_crop, _ = crop_around(image, centre, crop_size_px(size_px))
            crops.append((unit, strength[unit].item(), crop, centre_in_crop))
    chosen = []
    for unit in range(len(response)):
        chosen += sorted((c for c in crops if c[0] == unit), key=lambda c: -c[1])[:per_unit]
    centres = torch.tensor([c[3] for c in chosen])
    angles = [360 * step / N_ANGLES for step in range(N_ANGLES)]
    patches = rotate_patches(torch.stack([c[2] for c in chosen]), centres, angles, size_px)
    recorded = planted.model.record(patches.flatten(0, 1), [layer])[layer]
    assert recorded.shape[2:] == (1, 1)  # a patch as large as the receptive field has one position
    return recorded.relu().reshape(len(chosen), N_ANGLES, -1).double().numpy()


def orbit_correlations(a: np.ndarray) -> np.ndarray:
    """Correlation of a[p, h - g, u] with a[p, h, v] for all g, u, v, by brute force over g."""
    spread = a.std((0, 1))
    z = (a - a.mean((0, 1))) / np.where(spread == 0, np.inf, spread)
    flat = z.reshape(-1, a.shape[2])
    return np.stack(
        [np.roll(z, g, axis=1).reshape(flat.shape).T @ flat / len(flat) for g in range(a.shape[1])]
    )


def assert_separated(a: np.ndarray, truth: LayerTruth) -> None:
    index = truth.family_index
    pose = {c: p for f in truth.families for c, p in zip(f.channels, f.poses_deg, strict=True)}
    active = [c for c in range(truth.n_channels) if c not in truth.inactive]
    fine = scipy.signal.resample(orbit_correlations(a), 1440, axis=0)
    heights, angles = fine.max(0), fine.argmax(0) / 4
    for u in active:
        for v in active:
            if u >= v:
                continue
            height, angle = heights[u, v], angles[u, v]
            if index[u] == index[v] != -1:
                period = 360 / truth.families[index[u]].stabiliser_order
                deviation = (angle - (pose[v] - pose[u]) + period / 2) % period - period / 2
                assert height > 0.965, (truth.families[index[u]].name, pose[u], pose[v], height)
                assert abs(deviation) < 1.5, (truth.families[index[u]].name, pose[u], pose[v], deviation)
            else:
                assert height < 0.93, (u, v, index[u], index[v], height)


@pytest.mark.parametrize(
    ("kind", "size_px", "stride_px"), [("grey", 23, 1), ("colour", 23, 1), ("strided", 49, 2)]
)
def test_planted_families_stand_apart_on_photographs(
    kind: str, size_px: int, stride_px: int, photographs: list[Tensor]
):
    planted = planted_network(1, kind)
    truth = planted.truth[planted.layer]
    a = orbit_responses(planted, planted.layer, photographs, size_px, stride_px)
    assert_separated(a, truth)
    rho = orbit_correlations(a)
    for family in truth.families:
        self_rho = rho[:, family.channels[0], family.channels[0]]
        stabiliser = np.flatnonzero(self_rho > 0.93).tolist()
        assert stabiliser == [i * N_ANGLES // family.stabiliser_order for i in range(family.stabiliser_order)]
        assert self_rho.min() < 0.3
    for unit in truth.invariant:
        assert rho[:, unit, unit].min() > 0.99
    for unit in truth.inactive:
        assert not a[:, :, unit].any()


def test_a_wrong_truth_is_noticed(photographs: list[Tensor]):
    """The separation test above can fail: the look-alike as a member, or a pose off by 5°."""
    planted = planted_network(1)
    truth = planted.truth["planted"]
    a = orbit_responses(planted, "planted", photographs[:3], 23, 1, per_unit=2)
    curves = truth.families[0]
    look_alike = truth.unrelated[0]
    for channels, poses in [
        ((*curves.channels, look_alike), (*curves.poses_deg, 97.0)),
        (curves.channels, (curves.poses_deg[0] + 5, *curves.poses_deg[1:])),
    ]:
        wrong = type(curves)("curves", channels, poses, 1)
        only = [c for c in range(truth.n_channels) if c not in channels]
        with pytest.raises(AssertionError, match="curves"):
            assert_separated(a, LayerTruth((wrong,), inactive=tuple(only)))


@pytest.mark.parametrize("kind", ["grey", "colour", "strided"])
def test_planted_units_are_selective(kind: str, photographs: list[Tensor]):
    planted = planted_network(0, kind)
    truth = planted.truth["planted"]
    firing = torch.stack(
        [
            (planted.model.record(image[None], ["planted"])["planted"] > 0).double().mean((0, 2, 3))
            for image in photographs
        ]
    ).mean(0)
    for channel, share in enumerate(firing.tolist()):
        assert (share == 0.0) if channel in truth.inactive else 0.005 < share < 0.2, (channel, share)


def test_planted_kernels_are_what_the_truth_says():
    planted = planted_network(3)
    truth = planted.truth["planted"]
    assert planted.layer == "planted"
    weight = planted.model.module.planted.weight.sum(1)
    torch.testing.assert_close(weight.mean((1, 2)), torch.zeros(len(weight)), rtol=0, atol=1e-6)
    torch.testing.assert_close(weight.flatten(1).norm(dim=1), torch.ones(len(weight)))
    curves, edges, lines, crosses = truth.families
    by_pose = dict(zip(curves.poses_deg, curves.channels, strict=True))
    # A turn by the difference of two poses carries one kernel onto the other, counter-clockwise.
    padded = F.pad(weight, (8, 8, 8, 8))  # zeros, not reflections, turn in at the corners
    torch.testing.assert_close(
        rotate_image(padded[by_pose[0.0]], 54.0), padded[by_pose[54.0]], rtol=0, atol=2e-3
    )
    assert (rotate_image(padded[by_pose[0.0]], -54.0) - padded[by_pose[54.0]]).abs().max() > 0.05
    for family in truth.families:
        gap_deg = np.diff(sorted(set(family.poses_deg)))
        assert len(set(gap_deg.round(6))) > 1, "regular spacing is too easy"
        for channel in family.channels:
            for order in (2, 4):
                closed = rotate_image(weight[channel], 360 / order)
                is_closed = (closed - weight[channel]).abs().max().item() < 1e-6
                assert is_closed is (family.stabiliser_order % order == 0)
    poses = sorted(curves.poses_deg)
    assert max(np.diff([*poses, poses[0] + 360])) >= 90  # the hole
    assert len(poses) - len(set(poses)) == 1  # the duplicate
    assert sorted(len(f.channels) for f in (edges, lines, crosses)) == [4, 5, 6]


def test_planted_channels_are_a_partition_shuffled_by_the_seed():
    truths = [planted_network(seed).truth["planted"] for seed in (0, 1)]
    for truth in truths:
        places = [c for f in truth.families for c in f.channels]
        places += [*truth.invariant, *truth.unrelated, *truth.inactive]
        assert sorted(places) == list(range(truth.n_channels))
        assert [truth.family_index[c] for c in truth.families[2].channels] == [2] * 5
        assert {truth.family_index[c] for c in truth.unrelated} == {-1}
    assert truths[0] != truths[1]
    assert planted_network(1).truth["planted"] == truths[1]
    state = torch.get_rng_state()
    assert planted_network(1).model.weights_sha256() == planted_network(1).model.weights_sha256()
    assert (
        equivariant_network(4, 1).model.weights_sha256() == equivariant_network(4, 1).model.weights_sha256()
    )
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(EquiscopeError, match="did you mean 'colour'"):
        planted_network(0, "color")  # type: ignore[arg-type]


def smooth_noise(height: int, width: int, blur_px: float) -> Tensor:
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    axis = torch.arange(-12, 13, dtype=torch.float64)
    taps = torch.exp(-(axis**2) / (2 * blur_px**2))
    taps /= taps.sum()
    rows = F.conv2d(image.flatten(0, 1)[:, None], taps[None, None, :, None], padding="same")
    return F.conv2d(rows, taps[None, None, None, :], padding="same").reshape(image.shape)


def turned_fields(truth: LayerTruth, angle_deg: float) -> Callable[[Tensor], Tensor]:
    """How a layer's output must change: in space, and within each family from one pose to the next."""
    source = list(range(truth.n_channels))
    for family in truth.families:
        order = len(family.channels)
        step = round(angle_deg * order / 360)
        for pose, channel in enumerate(family.channels):
            source[channel] = family.channels[(pose - step) % order]
    return lambda output: rotate_image(output[:, source], angle_deg)


@pytest.mark.parametrize(
    ("angle_deg", "tolerances"), [(45.0, (0.005, 0.04, 0.07)), (90.0, (1e-6,) * 3), (180.0, (1e-6,) * 3)]
)
def test_designed_network_is_equivariant(angle_deg: float, tolerances: Sequence[float]):
    planted = equivariant_network(8, seed=1)
    image = smooth_noise(61, 73, 2.0)
    for depth, (layer, tolerance) in enumerate(zip(planted.truth, tolerances, strict=True)):
        until = planted.model.module[: 2 * depth + 1]
        truth = planted.truth[layer]

        def turn(x: Tensor) -> Tensor:
            return rotate_image(x, angle_deg)

        error = assert_equivariant(
            until, turn, turned_fields(truth, angle_deg), image, tolerance=tolerance, margin_px=12
        )
        assert error <= tolerance
        if layer == "lifting":
            wrong = turned_fields(truth, angle_deg + 90)
            with pytest.raises(AssertionError, match="above the tolerance"):
                assert_equivariant(until, turn, wrong, image, tolerance=0.5, margin_px=12)


def test_designed_families_stand_apart_on_photographs(photographs: list[Tensor]):
    planted = equivariant_network(8, seed=0)
    assert list(planted.truth) == ["lifting", "group1", "group2"]
    for layer, size_px in zip(planted.truth, (9, 17, 25), strict=True):
        a = orbit_responses(planted, layer, photographs[:5], size_px, 1, per_unit=2)
        assert_separated(a, planted.truth[layer])


def test_designed_network_hides_its_group():
    planted = equivariant_network(6, seed=4)
    truth = planted.truth["group2"]
    assert planted.layer == "group2"
    assert all(family.poses_deg == (0, 60, 120, 180, 240, 300) for family in truth.families)
    assert sorted(c for f in truth.families for c in f.channels) == list(range(24))
    assert truth.family_index != sorted(truth.family_index)
    assert {type(module) for module in planted.model.module.children()} == {nn.Conv2d, nn.ReLU}
    with pytest.raises(EquiscopeError, match="order 1"):
        equivariant_network(1)


def test_assert_equivariant_logs_and_returns_the_error(caplog: pytest.LogCaptureFixture):
    blur = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        blur.weight.copy_(torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]))
    image = torch.rand(1, 1, 12, 17)
    with caplog.at_level(logging.INFO, logger="equiscope.testing"):
        error = assert_equivariant(blur, torch.fliplr, torch.fliplr, image)
        error = assert_equivariant(blur, lambda x: x.flip(-1), lambda x: x.flip(-1), image)
    assert error < 1e-15
    assert "relative equivariance error" in caplog.text
    assert blur.weight.dtype == torch.float32  # the module itself is left alone


@pytest.mark.parametrize(
    ("function", "transform_out", "message"),
    [
        (lambda x: x.cumsum(-1), lambda x: x.flip(-1), "above the tolerance"),
        (lambda x: x + 1e6, lambda x: x.roll(1, -1), "above the tolerance"),  # not hidden by the constant
        (lambda x: x * torch.nan, lambda x: x.flip(-1), "nan is above"),
        (lambda x: x * 0 + 3, lambda x: x.flip(-1), "constant"),
        (lambda x: x * 0, lambda x: x.flip(-1), "constant"),
        (lambda x: x, lambda x: x.flip(-1)[..., 1:], "shape"),
    ],
)
def test_assert_equivariant_rejects(
    function: Callable[[Tensor], Tensor], transform_out: Callable[[Tensor], Tensor], message: str
):
    with pytest.raises(AssertionError, match=message):
        assert_equivariant(
            function, lambda x: x.flip(-1), transform_out, torch.rand(2, 3, 11, 14), tolerance=0.1
        )


def test_assert_equivariant_leaves_the_margin_out():
    def spoilt_border(x: Tensor) -> Tensor:
        x = x.clone()
        x[..., 0] = 7.0
        return x

    image = torch.rand(1, 2, 9, 14)
    with pytest.raises(AssertionError):
        assert_equivariant(spoilt_border, lambda x: x.flip(-1), lambda x: x.flip(-1), image)
    assert_equivariant(spoilt_border, lambda x: x.flip(-1), lambda x: x.flip(-1), image, margin_px=1)


@pytest.fixture
def small_model() -> Model:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 5),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, (3, 5), groups=4),
        nn.Conv2d(8, 4, 1),
        nn.Flatten(),
        nn.LazyLinear(6),
    )
    module(torch.rand(2, 3, 12, 15))  # also moves the running statistics
    return Model(module, name="small", default_layers=("0", "3"))


def test_shuffled_kernels_keep_each_slice_and_lose_its_order(small_model: Model):
    before = small_model.weights_sha256()
    shuffled = shuffled_kernels(small_model, seed=1)
    assert small_model.weights_sha256() == before
    assert shuffled.weights_sha256() == shuffled_kernels(small_model, seed=1).weights_sha256()
    assert shuffled.weights_sha256() != shuffled_kernels(small_model, seed=2).weights_sha256()
    assert shuffled.default_layers == small_model.default_layers
    for layer in ("0", "3"):
        old = small_model.module.get_submodule(layer).weight.flatten(2)
        new = shuffled.module.get_submodule(layer).weight.flatten(2)
        assert torch.equal(old.sort(-1).values, new.sort(-1).values)
        moved = (old != new).any(-1).double().mean()
        assert moved == 1.0
    for name, value in small_model.module.state_dict().items():
        if name not in ("0.weight", "3.weight"):
            assert torch.equal(shuffled.module.state_dict()[name], value)


def test_shuffled_kernels_permute_each_slice_on_its_own():
    conv = nn.Conv2d(4, 6, (3, 5))
    with torch.no_grad():
        conv.weight.copy_(torch.arange(15.0).reshape(3, 5))
    new = shuffled_kernels(Model(nn.Sequential(conv))).module[0].weight.reshape(24, 15)
    assert len({tuple(row) for row in new.tolist()}) == 24


def test_random_weights_start_from_nothing(small_model: Model):
    before = small_model.weights_sha256()
    state = torch.get_rng_state()
    fresh = random_weights(small_model, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert small_model.weights_sha256() == before
    assert fresh.weights_sha256() == random_weights(small_model, seed=1).weights_sha256()
    assert fresh.weights_sha256() != random_weights(small_model, seed=2).weights_sha256()
    for layer in ("0", "3", "4", "6"):
        part = fresh.module.get_submodule(layer)
        assert not part.bias.any()
        assert part.weight.std().item() == pytest.approx((2 / part.weight[0].numel()) ** 0.5, rel=0.3)
        assert not torch.equal(part.weight, small_model.module.get_submodule(layer).weight)
    norm = fresh.module[1]
    assert not norm.running_mean.any()
    assert (norm.weight == 1).all()


def test_random_weights_name_what_they_cannot_reset(caplog: pytest.LogCaptureFixture):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)
            self.gamma = nn.Parameter(torch.full((1,), 0.25))

        def forward(self, x: Tensor) -> Tensor:
            return self.gamma * self.conv(x)

    with caplog.at_level(logging.WARNING, logger="equiscope.testing"):
        fresh = random_weights(Model(Scaled(), name="scaled"))
    assert "scaled" in caplog.text
    assert "gamma" in caplog.text
    assert fresh.module.gamma.item() == 0.25


def test_shuffling_destroys_the_planted_families(photographs: list[Tensor]):
    planted = planted_network(1)
    shuffled = Planted(shuffled_kernels(planted.model), planted.truth)
    a = orbit_responses(shuffled, "planted", photographs[:3], 23, 1, per_unit=2)
    with pytest.raises(AssertionError):
        assert_separated(a, planted.truth["planted"])
