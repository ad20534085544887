"""Optimised images against known optima, templates against planted families, and a network that stays as it was."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import equiscope
from equiscope.evidence.featurevis import (
    FamilyVisualisation,
    Robustness,
    Visualisation,
    load_visualisations,
    natural_responses,
    save_visualisations,
    visualise_family,
    visualise_run,
    visualise_units,
)
from equiscope.evidence.featurevis.objectives import redirected_rectifiers
from equiscope.evidence.featurevis.parameterisation import COLOURS, FourierImages
from equiscope.evidence.featurevis.poses import Pose, canvas_px, show_at_poses
from equiscope.families.family import Family, Member
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.options import Options
from equiscope.measurement.examples import empty_examples
from equiscope.models import load_model
from equiscope.models.geometry import find_geometry
from equiscope.runs.examples import load_examples
from equiscope.testing import PlantedOrbit, planted_network, planted_transformation
from equiscope.transformations.pixels import hue_matrix
from hand_made import a_family, a_member, moved, planted_pose
from in_process import run_command

STILL = Robustness()


# --- the parameterisation ----------------------------------------------------------------------------------


def spectrum_of(images: Tensor, canvas: FourierImages) -> Tensor:
    """The spectrum of an image, worked out backwards: what `render` should turn into the image again."""
    distances = torch.logit(images.double()) / 4
    planes = torch.einsum("ac,ncyx->nayx", torch.linalg.inv(torch.tensor(COLOURS).double()), distances)
    coefficients = torch.fft.rfft2(planes, norm="ortho") / canvas.amplitudes
    return torch.view_as_real(coefficients)


@pytest.mark.parametrize(("height", "width"), [(12, 17), (13, 18), (9, 9)])
@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5])
def test_every_image_has_a_spectrum(height: int, width: int, decay: float) -> None:
    canvas = FourierImages(height, width, min(height, width), decay=decay)
    generator = torch.Generator().manual_seed(1)
    images = 0.5 + 0.2 * (2 * torch.rand(2, 3, height, width, generator=generator).double() - 1)
    spectra = spectrum_of(images, canvas)
    assert spectra.shape[1:] == canvas.spectrum_shape
    torch.testing.assert_close(canvas.render(spectra), images, rtol=0, atol=1e-6)


def test_amplitudes_fall_with_frequency() -> None:
    amplitudes = FourierImages(32, 48, 32, decay=1.5).amplitudes
    # Twice as fine along either axis; a row of 32 px and a column of 48 have different frequencies.
    for low, high in ((amplitudes[4, 0], amplitudes[8, 0]), (amplitudes[0, 6], amplitudes[0, 12])):
        assert float(low / high) == pytest.approx(2**1.5, rel=1e-5)
    torch.testing.assert_close(amplitudes[4, 0], amplitudes[0, 6])
    torch.testing.assert_close(amplitudes[4, 0], amplitudes[-4, 0])


@pytest.mark.parametrize(("height", "width"), [(9, 14), (8, 7)])
def test_amplitudes_make_planes_of_variance_one(height: int, width: int) -> None:
    amplitudes = FourierImages(height, width, 7).amplitudes
    # The other half of the plane mirrors what is kept: column -k is column k with its rows reversed.
    rows = (-torch.arange(height)) % height
    full = torch.stack(
        [amplitudes[:, k] if k <= width // 2 else amplitudes[rows, width - k] for k in range(width)]
    )
    assert full.square().mean().item() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("width", [63, 64])
def test_noise_has_the_contrast_that_was_asked_for(width: int) -> None:
    canvas = FourierImages(48, width, 48, contrast=10.0)
    generator = torch.Generator().manual_seed(0)
    noise = torch.stack([canvas.draw(generator, 0.02) for _ in range(64)])
    # So faint that the sigmoid is straight; colours have the variance of the three axes together.
    expected = 0.02 * math.sqrt(torch.tensor(COLOURS).square().sum().item() / 3)
    measured = (canvas.render(noise) - 0.5).square().mean().sqrt().item()
    assert measured == pytest.approx(expected, rel=0.05)


def test_contrast_is_limited_where_it_is_shown() -> None:
    canvas = FourierImages(20, 24, 10)
    generator = torch.Generator().manual_seed(0)
    loud = torch.stack([canvas.draw(generator, c) for c in (3.0, 0.01)])
    images = canvas.render(loud)
    distances = canvas.cut(torch.logit(images.double()) / 4).square().mean((1, 2, 3)).sqrt()
    assert distances[0].item() == pytest.approx(canvas.contrast, rel=1e-3)
    assert distances[1].item() < 0.1 * canvas.contrast
    assert canvas.cut(images).shape == (2, 3, 10, 10)
    nothing = torch.zeros(1, *canvas.spectrum_shape, requires_grad=True)
    canvas.render(nothing)[0, 0, 3, 4].backward()
    assert torch.isfinite(nothing.grad).all()
    assert nothing.grad.abs().max() > 0


def test_colours_are_principal_axes() -> None:
    axes = torch.tensor(COLOURS)
    lengths = axes.norm(dim=0)
    assert lengths[0].item() == pytest.approx(1, abs=1e-3)
    assert lengths[0] > lengths[1] > lengths[2]
    directions = axes / lengths
    torch.testing.assert_close(directions.T @ directions, torch.eye(3), atol=2e-3, rtol=0)


def test_colours_are_those_of_photographs(shared: Path) -> None:
    images = equiscope.open_images(shared / "data" / "photos.tar")
    covariance = torch.zeros(3, 3, dtype=torch.float64)
    for index in range(0, len(images), 20):
        covariance += torch.cov(images.load(index).reshape(3, -1).double())
    axes = torch.tensor(COLOURS).double()
    found = axes @ axes.T
    assert (covariance / covariance.trace() - found / found.trace()).abs().max() < 0.03


# --- robustness --------------------------------------------------------------------------------------------


def test_no_change_is_the_middle() -> None:
    images = torch.rand(2, 3, 15, 19)
    shown = STILL.show(images, torch.zeros(2, 4), 9)
    torch.testing.assert_close(shown, images[:, :, 3:12, 5:14], atol=1e-5, rtol=0)
    assert STILL.margin_px(9) == 0
    assert STILL.draw(torch.Generator(), 5).abs().max() == 0


def test_changes_are_what_they_are_called() -> None:
    images = torch.rand(1, 3, 21, 21)
    shifted = STILL.show(images, torch.tensor([[2.0, -3.0, 0.0, 0.0]]), 9)
    torch.testing.assert_close(shifted, images[:, :, 8:17, 3:12], atol=1e-5, rtol=0)
    turned = STILL.show(images, torch.tensor([[0.0, 0.0, 90.0, 0.0]]), 9)
    torch.testing.assert_close(turned, images.rot90(1, (2, 3))[:, :, 6:15, 6:15], atol=1e-4, rtol=0)
    magnified = STILL.show(images, torch.tensor([[0.0, 0.0, 0.0, 1.0]]), 9)
    torch.testing.assert_close(magnified[:, :, ::2, ::2], images[:, :, 8:13, 8:13], atol=1e-5, rtol=0)


def test_changes_stay_within_their_bounds_and_margin() -> None:
    robustness = Robustness(shift_px=2.0, rotation_deg=10.0, octaves=0.25)
    changes = robustness.draw(torch.Generator().manual_seed(0), 2000)
    largest = torch.tensor([2.0, 2.0, 10.0, 0.25])
    assert (changes.abs() <= largest).all()
    assert (changes.abs().amax(0) > 0.95 * largest).all()
    size_px = 11
    margin = robustness.margin_px(size_px)
    # A rim beyond the margin is never read.
    images = torch.ones(len(changes), 1, size_px + 2 * margin + 2, size_px + 2 * margin + 2)
    images[:, :, [0, -1]] = images[:, :, :, [0, -1]] = torch.nan
    assert torch.isfinite(robustness.show(images, changes, size_px)).all()


@pytest.mark.parametrize("bad", [{"shift_px": -1.0}, {"rotation_deg": math.nan}, {"octaves": math.inf}])
def test_impossible_changes_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(EquiscopeError, match="of a robustness is"):
        Robustness(**bad)


# --- units -------------------------------------------------------------------------------------------------


def gabor(size_px: int = 15, wavelength_px: float = 7.0, angle: float = 0.6) -> Tensor:
    """A grey Gabor of zero mean, shape (3, y, x)."""
    y, x = torch.meshgrid(*[torch.arange(size_px) - (size_px - 1) / 2] * 2, indexing="ij")
    along = math.cos(angle) * x + math.sin(angle) * y
    wave = torch.cos(2 * math.pi * along / wavelength_px + 0.4) * torch.exp(-(x**2 + y**2) / 18)
    return ((wave - wave.mean()) / wave.norm()).expand(3, -1, -1).clone()


def convolution(kernels: Tensor, bias: float = 0.0, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(3, len(kernels), kernels.shape[-1], stride=stride)
    layer.weight.data = kernels.clone()
    layer.bias.data.fill_(bias)
    return layer


def cosine(image: Tensor, kernel: Tensor) -> float:
    return torch.cosine_similarity((image - 0.5).flatten(), kernel.flatten(), dim=0).item()


def test_the_image_of_a_linear_unit_is_its_kernel() -> None:
    kernels = torch.stack([gabor(), gabor(angle=2.0), -gabor()])
    model = equiscope.Model(nn.Sequential(OrderedDict(conv=convolution(kernels))))
    found = visualise_units(model, "conv", steps=128)
    assert found.images.shape == (3, 3, 15, 15)
    for image, kernel in zip(found.images, kernels, strict=True):
        # The sigmoid bends the kernel's peaks: with as many steps as you like the cosine is 0.914.
        assert cosine(image, kernel) > 0.9
    # The right unit's, not any: the second's kernel is turned, the third's is the first's negative.
    assert cosine(found.images[0], kernels[1]) < 0.5
    assert cosine(found.images[2], kernels[0]) < -0.9
    assert (found.after > 4 * abs(found.before)).all()
    with torch.no_grad():
        again = model.module(found.images)[torch.arange(3), torch.arange(3), 0, 0]
    np.testing.assert_allclose(found.after, again, rtol=1e-4)
    assert set(np.unique((found.images * 255).numpy().round(3) % 1)) == {0.0}


def test_a_coloured_unit_gets_its_colour() -> None:
    colour = torch.tensor([0.7, -0.1, -0.6])
    kernel = gabor() * colour[:, None, None]
    model = equiscope.Model(nn.Sequential(OrderedDict(conv=convolution(kernel[None]))))
    image = visualise_units(model, "conv", steps=256).images[0]
    # Without end 0.874, for colours saturate sooner than light; were it grey, 0.
    assert cosine(image, kernel) > 0.85


def two_layers() -> nn.Sequential:
    """A second layer whose inputs are all off for faint images."""
    torch.manual_seed(3)
    first = convolution(torch.stack([gabor(7, 5.0, 0.5 * k) for k in range(6)]), bias=-0.8, stride=2)
    second = nn.Conv2d(6, 7, 3)
    second.weight.data.abs_()
    return nn.Sequential(OrderedDict(first=first, relu=nn.ReLU(inplace=True), second=second))


def test_dead_rectifiers_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    model = equiscope.Model(two_layers())
    found = visualise_units(model, "second", steps=96)
    assert (found.after > found.before + 0.1).all()

    @contextlib.contextmanager
    def nothing() -> Iterator[None]:
        yield

    monkeypatch.setattr("equiscope.evidence.featurevis.ascent.redirected_rectifiers", nothing)
    stuck = visualise_units(model, "second", steps=96)
    np.testing.assert_allclose(stuck.after, stuck.before, atol=1e-6)


@pytest.mark.parametrize("rectify", [nn.ReLU(), nn.ReLU(inplace=True), torch.relu, nn.functional.relu])
def test_redirected_rectifiers_give_the_same_values(rectify: Callable[[Tensor], Tensor]) -> None:
    x = torch.tensor([-2.0, -1.0, 0.5, 3.0], requires_grad=True)
    with redirected_rectifiers():
        y = rectify(x * 1)
    assert torch.equal(y, torch.relu(x))
    # The loss falls as closed inputs rise, or as they fall: only the first passes.
    (rising,) = torch.autograd.grad((y * torch.tensor([-1.0, 1.0, -1.0, 1.0])).sum(), x)
    assert rising.tolist() == [-1.0, 0.0, -1.0, 1.0]


def test_redirected_rectifiers_work_in_place_where_they_did() -> None:
    x = torch.tensor([-2.0, 3.0], requires_grad=True)
    with redirected_rectifiers():
        y = x * 1
        torch.relu_(y)
        z = x * 1
        nn.functional.relu(z, inplace=True)
    assert y.tolist() == z.tolist() == [0.0, 3.0]
    assert torch.autograd.grad(-(y + z).sum(), x)[0].tolist() == [-2.0, -2.0]


def test_the_strongest_natural_response_is_over_both_halves() -> None:
    examples = empty_examples("layer", 3, 2)
    examples.value[:, 0] = [[1.0, 0.5], [4.0, np.nan]]
    examples.value[:, 1] = [[-2.0, -3.0], [np.nan, np.nan]]
    np.testing.assert_array_equal(natural_responses(examples), [4.0, -2.0, np.nan])


def test_a_batch_gives_what_single_units_give() -> None:
    model = load_model("mini")
    together = visualise_units(model, "conv2d1", range(10), steps=24)
    for channel in (0, 7):
        alone = visualise_units(model, "conv2d1", [channel], steps=24)
        # Rounding differs between batches, and eight bits are kept.
        assert (alone.images[0] - together.images[channel]).abs().max() <= 2 / 255
        assert alone.after[0] == pytest.approx(together.after[channel], rel=5e-3)
    assert (together.images[0] - together.images[1]).abs().max() > 0.2


def test_passes_of_several_batches_are_joined_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("mini")
    whole = visualise_units(model, "conv2d0", [5, 2, 9, 4, 1], steps=3)
    monkeypatch.setattr("equiscope.evidence.featurevis.units._MOST_PER_PASS", 2)
    parts = visualise_units(model, "conv2d0", [5, 2, 9, 4, 1], steps=3)
    assert parts.channels.tolist() == [5, 2, 9, 4, 1]
    np.testing.assert_allclose(parts.after, whole.after, rtol=1e-2)


def test_units_start_from_noise_of_their_own() -> None:
    kernels = gabor().repeat(2, 1, 1, 1)
    found = visualise_units(equiscope.Model(nn.Sequential(convolution(kernels))), "0", steps=1)
    assert found.before[0] != pytest.approx(found.before[1], rel=0.01)


def test_the_seed_decides() -> None:
    model = load_model("mini")
    first, again, other = (
        visualise_units(model, "conv2d0", [3], steps=12, options=Options(seed=s)) for s in (4, 4, 5)
    )
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def state_of(module: nn.Module) -> list[object]:
    return [
        [(n, p.requires_grad, p.grad is None, p.detach().clone()) for n, p in module.named_parameters()],
        [(n, b.clone()) for n, b in module.named_buffers()],
        [(n, m.training, len(m._forward_hooks), len(m._backward_hooks)) for n, m in module.named_modules()],
    ]


def assert_same(a: object, b: object) -> None:
    if isinstance(a, Tensor):
        assert isinstance(b, Tensor)
        assert torch.equal(a, b)
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def test_a_borrowed_network_stays_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 3, 3))
    module.train()
    module[1].eval()
    module[0].weight.requires_grad_(False)
    before, random_state = state_of(module), torch.get_rng_state()
    visualise_units(equiscope.Model(module), "3", steps=5)
    assert_same(state_of(module), before)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_borrowed_network_stays_as_it_was_after_an_error() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(inplace=True), nn.Conv2d(4, 3, 3)).train()
    model = equiscope.Model(module)
    geometry = find_geometry(model, ["2"])["2"]
    module[2].bias.data[1] = torch.inf
    before = state_of(module)
    with pytest.raises(EquiscopeError, match=r"gives NaN or infinity in channel\(s\) 1 "):
        visualise_units(model, "2", steps=5, geometry=geometry)
    assert_same(state_of(module), before)


def test_a_unit_that_cannot_be_driven_is_said_to_be() -> None:
    kernels = torch.stack([gabor(), gabor(), torch.zeros(3, 15, 15)])
    layer = convolution(kernels)
    layer.bias.data = torch.tensor([0.0, -1000.0, -0.5])
    found = visualise_units(equiscope.Model(nn.Sequential(layer)), "0", steps=8)
    assert np.isnan(found.natural).all()
    found = found.beside(np.array([0.1, -3.0, np.nan]))
    assert found.is_active.tolist() == [True, False, False]
    assert (found.images[1:] == round(0.5 * 255) / 255).all()
    assert found.images[0].std() > 0.05
    assert found.ratio[0] == pytest.approx(found.after[0] / 0.1)
    assert np.isnan(found.ratio[1:]).all()


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.detach())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layer": "conv2d00"}, "unknown layer of mini 'conv2d00': did you mean 'conv2d0'"),
        ({"channels": [48]}, "has channels 0 to 47, got 48"),
        ({"channels": [-1]}, "has channels 0 to 47, got -1"),
        ({"channels": []}, "no channel of conv2d0 was asked for"),
        ({"steps": 0}, "steps is 0, expected a whole number from 1"),
        ({"size_px": 10}, "no position of layer 'conv2d0' is centred in an image of 10 px: take 9 or 13 px"),
    ],
)
def test_what_cannot_be_done_is_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(EquiscopeError, match=message):
        visualise_units(load_model("mini"), **({"layer": "conv2d0", "steps": 1} | asked))


def test_a_network_without_gradient_or_maps_is_refused() -> None:
    model = equiscope.Model(Detached())
    with pytest.raises(EquiscopeError, match="no gradient leads from the units back"):
        visualise_units(model, "conv", steps=1)
    flat = equiscope.Model(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()))
    geometry = dataclasses.replace(find_geometry(flat, ["0"])["0"], layer="1")
    with pytest.raises(
        EquiscopeError, match="expected \\(image, channel, y, x\\): name a convolutional layer"
    ):
        visualise_units(flat, "1", steps=1, geometry=geometry)


class Exploding(nn.Module):
    """Finite at every image, with a gradient that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x + (x - x).sqrt())


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    with pytest.raises(EquiscopeError, match="the gradient of an image is NaN or infinite"):
        visualise_units(equiscope.Model(Exploding()), "conv", steps=1)


def test_larger_images_keep_the_unit_in_the_middle() -> None:
    model = equiscope.Model(nn.Sequential(convolution(gabor()[None], stride=2)))
    size_px = find_geometry(model, ["0"])["0"].patch_px + 8
    found = visualise_units(model, "0", size_px=size_px, steps=96)
    assert found.images.shape[-2:] == (size_px, size_px)
    first = (size_px - 15) // 2
    assert cosine(found.images[0, :, first : first + 15, first : first + 15], gabor()) > 0.8


def test_a_layer_that_sees_the_whole_image_gets_whole_images() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last = convolution(gabor(7)[None].repeat(4, 1, 1, 1)), nn.Conv2d(4, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.conv(x)).mean((2, 3), keepdim=True))

    found = visualise_units(equiscope.Model(Pooled(), input_size_px=24), "last", steps=4)
    assert found.images.shape == (3, 3, 24, 24)


# --- poses -------------------------------------------------------------------------------------------------


def test_poses_act_as_the_conventions_say() -> None:
    template = torch.rand(1, 3, 15, 15)
    poses = [Pose(), Pose(is_mirrored=True), Pose(angle_deg=90.0), Pose(hue_deg=120.0)]
    poses += [Pose(is_inverted=True), Pose(angle_deg=90.0, is_mirrored=True)]
    big = torch.nn.functional.pad(template, (20,) * 4, value=0.2)
    still, mirrored, turned, hue, inverted, both = show_at_poses(big, poses, 15)[0]
    image = template[0]
    assert torch.equal(still, image)
    assert torch.equal(mirrored, image.flip(-1))
    # Counter-clockwise on screen: what was to the right is on top.
    torch.testing.assert_close(turned[:, 0, :], image[:, :, -1], atol=1e-5, rtol=0)
    torch.testing.assert_close(hue, torch.einsum("ij,jyx->iyx", hue_matrix(120.0).float(), image))
    luma = torch.tensor([0.2126, 0.7152, 0.0722])
    torch.testing.assert_close(
        torch.einsum("c,cyx->yx", luma, inverted), 1 - torch.einsum("c,cyx->yx", luma, image)
    )
    # Mirrored first, then turned.
    torch.testing.assert_close(both, image.flip(-1).rot90(1, (1, 2)), atol=1e-5, rtol=0)


def test_a_canvas_is_large_enough_and_no_larger_than_needed() -> None:
    poses = [Pose(angle_deg=45.0), Pose(octaves=-1.0), Pose()]
    for size_px in (9, 14):
        assert canvas_px([Pose(), Pose(hue_deg=90.0)], size_px) == size_px
        side = canvas_px(poses, size_px)
        assert (side - size_px) % 2 == 0
        white = torch.ones(1, 3, side, side)
        # Nothing from beyond the canvas, which would be grey.
        assert (show_at_poses(white, poses, size_px) - 1).abs().max() < 1e-4
        small = show_at_poses(torch.ones(1, 3, size_px, size_px), poses, size_px)
        assert small[0, 1].min() < 0.9


def test_poses_have_a_gradient() -> None:
    poses = [
        Pose(angle_deg=30.0, hue_deg=40.0, octaves=-0.5, is_mirrored=True, is_inverted=True),
        Pose(octaves=0.5),
        Pose(angle_deg=200.0),
    ]
    template = torch.rand(1, 3, 31, 31, dtype=torch.float64, requires_grad=True)
    direction = torch.rand(1, 3, 31, 31, dtype=torch.float64)

    def total(x: Tensor) -> Tensor:
        return (show_at_poses(x, poses, 9) * torch.arange(9)).sum()

    (slope,) = torch.autograd.grad(total(template), template)
    with torch.no_grad():
        measured = total(template + direction) - total(template)
    # All of them are affine.
    assert (slope * direction).sum().item() == pytest.approx(measured.item(), rel=1e-6)


# --- families ----------------------------------------------------------------------------------------------


def family_of(
    transformation: str, members: list[Member], duplicates: tuple[tuple[int, int], ...] = ()
) -> Family:
    return a_family(transformation, members, duplicates=duplicates)


def planted_family(orbit: PlantedOrbit) -> Family:
    members = [
        a_member(m.layer, m.channel, **planted_pose(orbit.transformation, m))
        for m in sorted(orbit.members, key=lambda m: (m.layer, m.channel))
    ]
    return family_of(orbit.transformation, members)


@pytest.fixture(scope="module")
def curves() -> tuple[equiscope.Model, Family]:
    planted = planted_network(seed=1)
    found = planted.truth["planted"].families[0]
    assert found.name == "curves"
    members = [
        a_member("planted", channel, angle_deg=pose)
        for channel, pose in sorted(zip(found.channels, found.poses_deg, strict=True))
    ]
    return planted.model, family_of("rotation", members)


@pytest.fixture(scope="module")
def shown(curves: tuple[equiscope.Model, Family]) -> FamilyVisualisation:
    return visualise_family(*curves, steps=64, n_null=2)


def test_a_planted_rotation_family_is_shown_at_its_poses(
    curves: tuple[equiscope.Model, Family], shown: FamilyVisualisation
) -> None:
    model, family = curves
    kernels = model.module[0].weight.detach()[family.channels]
    for member, copy in enumerate(shown.copies):
        alike = [cosine(copy, kernel) for kernel in kernels]
        # Thin ridges saturate: an image for one unit alone has 0.74, too.
        assert alike[member] > 0.7
        # Of the others only the one at the same pose has as much.
        assert sum(value > 0.5 for value in alike) == 1 + (family.poses_deg[member] == 97.0)
    assert shown.is_active.all()
    # Two members share a pose, so the one may be beaten by the other's copy.
    poses = family.poses_deg
    away = np.abs((poses[:, None] - poses + 180) % 360 - 180)
    best = shown.responses.argmax(1)
    assert (away[np.arange(family.size), best] < 8).all()
    assert (shown.elsewhere < 0.4).all()
    with torch.no_grad():
        again = model.module[0](torch.stack(shown.copies))[:, family.channels, 0, 0].T
    np.testing.assert_allclose(shown.responses, again, rtol=1e-3, atol=1e-3)


def test_wrong_poses_do_not_fit(curves: tuple[equiscope.Model, Family], shown: FamilyVisualisation) -> None:
    model, family = curves
    assert shown.null.shape == (2, family.size)
    assert (shown.null_strength < 0.75 * shown.strength).all()
    # The same with poses that turn the wrong way, which a template could satisfy only for a feature of its own.
    members = tuple(moved(m, angle_deg=-m.pose_deg % 360) for m in family.members)
    backwards = visualise_family(model, dataclasses.replace(family, members=members), steps=64, n_null=0)
    assert backwards.strength < 0.75 * shown.strength
    assert backwards.null.shape == (0, family.size)


@pytest.mark.parametrize(
    ("transformation", "orbit", "least"),
    [
        # Not every hue can be had at every luma, so members of hue families fall short or exceed what they have alone.
        ("hue", "colour edges", 0.6),
        ("hue-rotation", "colour curves", 0.6),
        ("reflection", "oblique curves", 0.98),
        ("dihedral", "spirals", 0.98),
        ("contrast", "bars, even", 0.98),
        # What the smaller member's image may hold beyond its own patch, the larger one sees.
        ("scale", "crosses", 0.6),
    ],
)
def test_planted_families_of_every_kind_are_shown(transformation: str, orbit: str, least: float) -> None:
    planted = planted_transformation(transformation)
    geometries = find_geometry(planted.model, planted.model.default_layers)
    family = planted_family(next(own for own in planted.orbits if own.name == orbit))
    found = visualise_family(planted.model, family, geometries=geometries, steps=48)
    # Each member's own copy, against the best that could be drawn for it alone.
    for own, layer, channel in zip(found.own, found.layers, found.channels, strict=True):
        alone = visualise_units(
            planted.model, layer, [channel], geometry=geometries[layer], steps=48, robustness=Robustness(0.5)
        )
        assert own > least * alone.after[0]
    assert found.null_strength[0] < 0.9 * found.strength
    assert np.nanmean(found.elsewhere) < 0.4
    assert found.is_best_at_own.mean() > 0.75


def test_members_that_share_a_pose_are_not_compared(curves: tuple[equiscope.Model, Family]) -> None:
    model, family = curves
    pair = family.members[:2]
    twins = family_of("rotation", [moved(m, angle_deg=0.0) for m in pair])
    apart = visualise_family(model, twins, steps=2, n_null=0)
    assert np.isfinite(apart.elsewhere[apart.is_active]).all()
    twins = dataclasses.replace(twins, duplicates=((pair[0].channel, pair[1].channel),))
    found = visualise_family(model, twins, steps=2, n_null=0)
    assert found.same_pose.all()
    assert np.isnan(found.elsewhere).all()


def test_members_count_alike_whatever_their_scale(curves: tuple[equiscope.Model, Family]) -> None:
    model, family = curves
    # At one and the same pose, where no image suits both.
    first, second = (moved(m, angle_deg=0.0) for m in family.members[:2])
    rivals = family_of("rotation", [first, second])
    natural = np.full(32, 2.0)
    alike = visualise_family(model, rivals, natural={"planted": natural}, steps=32, n_null=0)
    np.testing.assert_allclose(alike.scale, 2.0)
    np.testing.assert_allclose(alike.ratio, alike.own / 2)
    natural[second.channel] = 20.0
    tilted = visualise_family(model, rivals, natural={"planted": natural}, steps=32, n_null=0)
    # Divided by so much it counts for little, and the other gains.
    assert tilted.own[0] > 1.2 * alike.own[0]
    assert tilted.own[1] < 0.8 * alike.own[1]
    # Noise makes these two respond about alike, being copies.
    unknown = visualise_family(model, rivals, steps=1, n_null=0)
    assert np.isnan(unknown.natural).all()
    assert unknown.scale[0] == pytest.approx(unknown.scale[1], rel=0.3)
    assert (unknown.scale > 0).all()


def test_families_that_do_not_fit_are_refused(curves: tuple[equiscope.Model, Family]) -> None:
    model, family = curves
    other = family_of("rotation", [a_member("planted2", 0, angle_deg=0.0)])
    with pytest.raises(EquiscopeError, match="unknown layer of planted-grey 'planted2'"):
        visualise_family(model, other)
    other = family_of("rotation", [a_member("planted", 32, angle_deg=0.0)])
    with pytest.raises(EquiscopeError, match="has channel 32 of 'planted', which has 32 channels"):
        visualise_family(model, other)
    with pytest.raises(EquiscopeError, match="n_null is -1"):
        visualise_family(model, family, n_null=-1)
    with pytest.raises(EquiscopeError, match="steps is 0"):
        visualise_family(model, family, steps=0)
    whole = dataclasses.replace(find_geometry(model, ["planted"])["planted"], is_global=True)
    with pytest.raises(EquiscopeError, match="so its families have no template"):
        visualise_family(model, family, geometries={"planted": whole})


# --- in a run's folder -------------------------------------------------------------------------------------


def test_what_is_saved_is_what_is_loaded(shown: FamilyVisualisation, tmp_path: Path) -> None:
    assert load_visualisations(tmp_path).layers == {}
    model = load_model("mini")
    units = visualise_units(model, "conv2d0", [7, 3], steps=2).beside(np.arange(48.0))
    assert units.natural.tolist() == [7.0, 3.0]
    # A layer may be called as the file of families is.
    awkward = [units, dataclasses.replace(units, layer="families"), dataclasses.replace(units, layer="a/b.c")]
    save_visualisations(tmp_path, awkward, [shown])
    found = load_visualisations(tmp_path)
    assert set(found.layers) == {"conv2d0", "families", "a/b.c"}
    for entry, saved in (
        *((found.layers[own.layer], own) for own in awkward),
        (found.families[shown.family], shown),
    ):
        for part in dataclasses.fields(type(saved)):
            a, b = getattr(entry, part.name), getattr(saved, part.name)
            if isinstance(b, (np.ndarray, Tensor)):
                np.testing.assert_array_equal(a, b)
            elif part.name == "copies":
                assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
            else:
                assert a == b
    save_visualisations(tmp_path, families=[])
    assert load_visualisations(tmp_path).families == {}
    assert len(load_visualisations(tmp_path).layers) == 3


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "featurevis").mkdir()
    path = tmp_path / "featurevis" / "conv2d0.npz"
    objects = io.BytesIO()
    np.savez(objects, layer=np.array([{}], dtype=object))
    plain = io.BytesIO()
    np.save(plain, np.zeros(3))
    for content in (b"no archive", b"", objects.getvalue(), plain.getvalue(), objects.getvalue()[:-60]):
        path.write_bytes(content)
        with pytest.raises(EquiscopeError, match="cannot be read as a file of visualisations") as error:
            load_visualisations(tmp_path)
        # numpy advises to allow pickles, which may run code.
        assert "pickle" not in str(error.value)
    np.savez(path, schema_version=np.array(99))
    with pytest.raises(EquiscopeError, match="has schema version 99, this equiscope reads 1 to"):
        load_visualisations(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> equiscope.Run:
    """A run on two layers of `mini` with pairs in both."""
    out = tmp_path_factory.mktemp("featurevis") / "run"
    return equiscope.survey(
        load_model("mini"),
        layers=["conv2d0", "conv2d1"],
        transformations=["reflection"],
        precision="float32",
        out=out,
    )


def test_the_command_visualises_a_run_and_goes_on(run: equiscope.Run) -> None:
    folder = str(run.folder)
    done = run_command("featurevis", folder, "--steps", "3", "--layers", "conv2d0", "--no-families")
    code, out, err = done.returncode, done.stdout, done.stderr
    assert code == 0
    assert err == "images for conv2d0\n"
    assert "conv2d0     48" in out
    assert f"visualisations: {run.folder / 'featurevis'}\n" in out
    assert out.endswith(f"report: {run.folder / 'index.html'}\n")
    (file,) = (run.folder / "featurevis").iterdir()
    first = file.stat().st_mtime_ns

    done = run_command("featurevis", folder, "mini", "--steps", "3")
    code, out = done.returncode, done.stdout
    assert code == 0
    assert "reflection" in out
    assert {path.name for path in (run.folder / "featurevis").iterdir()} == {
        "conv2d0.npz",
        "conv2d1.npz",
        "families.npz",
    }
    assert file.stat().st_mtime_ns == first, "a finished layer was made again"
    found = load_visualisations(run.folder)
    assert list(found.families) == [family.id for family in run.families]
    natural = natural_responses(load_examples(run.folder / "examples.npz")[0]["conv2d1"])
    np.testing.assert_array_equal(found.layers["conv2d1"].natural, natural)
    assert (natural > 0).all()
    own = found.families[run.families[0].id]
    np.testing.assert_array_equal(own.scale, own.natural)

    families = run.folder / "featurevis" / "families.npz"
    times = [path.stat().st_mtime_ns for path in (file, families)]
    assert run_command("featurevis", folder, "--steps", "3").returncode == 0
    assert [path.stat().st_mtime_ns for path in (file, families)] == times
    assert run_command("featurevis", folder, "--steps", "4", "--layers", "conv2d0").returncode == 0
    assert load_visualisations(run.folder).layers["conv2d0"].steps == 4
    # Families of the other layer are kept as they were.
    assert list(load_visualisations(run.folder).families) == [family.id for family in run.families]


def test_an_interrupted_run_keeps_its_families(run: equiscope.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from equiscope.evidence.featurevis import whole_run

    made: list[str] = []

    def stop_at_second(model: equiscope.Model, family: Family, **options: object) -> FamilyVisualisation:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(family.id)
        return visualise_family(model, family, **options)

    monkeypatch.setattr(whole_run, "visualise_family", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        visualise_run(run, load_model("mini"), steps=2)
    stored = load_visualisations(run.folder).families
    assert (
        [name for name, own in stored.items() if own.steps == 2] == made == [f.id for f in run.families[:2]]
    )
    done = list(made)
    made.clear()

    def note(model: equiscope.Model, family: Family, **options: Any) -> FamilyVisualisation:
        made.append(family.id)
        return visualise_family(model, family, **options)

    monkeypatch.setattr(whole_run, "visualise_family", note)
    visualise_run(run, load_model("mini"), steps=2)
    assert made == [f.id for f in run.families if f.id not in done]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "conv2d9"], "unknown layer of the run in"),
        (["--steps", "0"], "steps is 0"),
        (["--null-draws", "-1", "--steps", "2"], "n_null is -1"),
        (["mine.py:net"], "has other weights than the network of"),
    ],
)
def test_wrong_commands_are_refused(
    run: equiscope.Run, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3))\n"
    )
    done = run_command("featurevis", os.fspath(run.folder), *arguments)
    code, err = done.returncode, done.stderr
    assert code == 2
    assert message in err


def test_images_of_a_trained_layer_excite_more_than_photographs(run: equiscope.Run) -> None:
    natural = natural_responses(load_examples(run.folder / "examples.npz")[0]["conv2d1"])
    found: Visualisation = visualise_units(load_model("mini"), "conv2d1", steps=64).beside(natural)
    assert found.is_active.all()
    assert np.median(found.ratio) > 1.3
    assert (found.ratio > 1).mean() > 0.8
