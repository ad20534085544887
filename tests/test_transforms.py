"""Rotation of patches and images: exact where it can be, faithful elsewhere, in the stated direction."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equiscope.foundations.errors import EquiscopeError
from equiscope.transformations.pixels import crop_around, crop_size_px, rotate_image, rotate_patches

SIXTEEN = [22.5 * step for step in range(16)]


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def waves(y: Tensor, x: Tensor, cycles_per_px: float) -> Tensor:
    """Forty plane waves of one frequency in all directions, evaluated anywhere."""
    generator = torch.Generator().manual_seed(1)
    direction, phase = 2 * math.pi * torch.rand(2, 40, generator=generator, dtype=torch.float64)
    along = y[..., None] * direction.sin() + x[..., None] * direction.cos()
    return torch.cos(2 * math.pi * cycles_per_px * along + phase).sum(-1)


def grid(height: int, width: int, centre: tuple[float, float]) -> tuple[Tensor, Tensor]:
    y = torch.arange(height, dtype=torch.float64)[:, None] - centre[0]
    x = torch.arange(width, dtype=torch.float64)[None, :] - centre[1]
    return y.expand(height, width), x.expand(height, width)


@pytest.mark.parametrize(
    ("size_px", "centre"), [(9, (11.0, 17.0)), (8, (10.5, 16.5)), (1, (3.0, 20.0)), (12, (12.5, 18.5))]
)
@pytest.mark.parametrize("n_quarters", [0, 1, 2, 3, 4, -1])
def test_quarter_turns_are_rot90_bit_for_bit(size_px: int, centre: tuple[float, float], n_quarters: int):
    crops = noise(2, 3, 23, 31)
    centres = torch.tensor([centre, centre])
    patches = rotate_patches(crops, centres, [90.0 * n_quarters], size_px)
    y, x = (int(c - (size_px - 1) / 2) for c in centre)
    expected = torch.rot90(crops[:, :, y : y + size_px, x : x + size_px], n_quarters, (2, 3))
    assert patches.shape == (2, 1, 3, size_px, size_px)
    assert torch.equal(patches[:, 0], expected)


def test_interpolated_angles_differ_by_exact_quarter_turns():
    side = crop_size_px(9)
    crops = noise(3, 2, side + 2, side + 5)
    centres = torch.full((3, 2), side / 2)
    patches = rotate_patches(crops, centres, SIXTEEN, 9)
    for index in range(16):
        turned = torch.rot90(patches[:, index], 1, (-2, -1))
        assert torch.equal(patches[:, (index + 4) % 16], turned)
    assert not torch.equal(patches[:, 0], patches[:, 1])


def test_each_crop_turns_about_its_own_centre():
    side = crop_size_px(7)
    crops = noise(4, 3, side + 6, side + 9)
    centres = torch.tensor([[15.0, 13.0], [12.5, 14.5], [11.0, 12.5], [15.0, 13.0]])
    centres += side / 2 - 10
    angles = [10.0, 0.0, 100.0]
    together = rotate_patches(crops, centres, angles, 7)
    for index in range(4):
        alone = rotate_patches(crops[index : index + 1], centres[index : index + 1], angles, 7)
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=1e-6)


def test_positive_angles_turn_counter_clockwise_on_screen():
    crops = torch.zeros(1, 1, 41, 51)
    crops[0, 0, 20, 25 + 6] = 1.0  # to the right of the centre
    at_90, at_45 = rotate_patches(crops, torch.tensor([[20.0, 25.0]]), [90.0, 45.0], 21)[0, :, 0]
    assert divmod(int(at_90.argmax()), 21) == (10 - 6, 10)  # straight up
    assert divmod(int(at_45.argmax()), 21) == (10 - 4, 10 + 4)  # up and right
    image = torch.zeros(1, 21, 31)
    image[0, 10, 15 + 6] = 1.0
    assert divmod(int(rotate_image(image, 90.0).argmax()), 31) == (10 - 6, 15)


@pytest.mark.parametrize("angle", [22.5, 45.0, 67.5, 200.0])
@pytest.mark.parametrize(("cycles_per_px", "limit"), [(0.1, 5e-4), (0.2, 1e-3), (0.3, 8e-3)])
def test_plane_waves_turn_faithfully(angle: float, cycles_per_px: float, limit: float):
    centre = (26.5, 29.0)
    crop = waves(*grid(56, 60, centre), cycles_per_px)[None, None]
    patch = rotate_patches(crop, torch.tensor([centre]), [angle], 25)[0, 0, 0]
    y, x = grid(25, 25, (12.0, 12.0))
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    expected = waves(cos * y + sin * x, cos * x - sin * y, cycles_per_px)
    error = ((patch - expected).norm() / expected.norm()).item()
    assert error < limit
    assert ((torch.rot90(patch) - expected).norm() / expected.norm()).item() > 0.5


def test_two_rotations_compose():
    image = waves(*grid(81, 91, (40.0, 45.0)), 0.1)[None]
    twice = rotate_image(rotate_image(image, 30.0), 15.0)
    once = rotate_image(image, 45.0)
    middle = (..., slice(25, 56), slice(30, 61))
    torch.testing.assert_close(twice[middle], once[middle], rtol=0, atol=1e-2)
    assert (rotate_image(image, 40.0)[middle] - once[middle]).abs().max() > 1


def test_rotation_is_linear_and_not_clamped():
    first, second = noise(2, 1, 30, 33, 37, seed=3, dtype=torch.float64)
    both = rotate_image(2 * first - second, 33.0)
    torch.testing.assert_close(both, 2 * rotate_image(first, 33.0) - rotate_image(second, 33.0))
    assert both.max() > 1


@pytest.mark.parametrize(("height", "width", "angles"), [(24, 24, (90, 180, 270)), (23, 32, (180, 360))])
def test_whole_images_turn_exactly(height: int, width: int, angles: tuple[int, ...]):
    images = noise(2, 3, height, width)
    for angle in angles:
        assert torch.equal(rotate_image(images, angle), torch.rot90(images, angle // 90, (-2, -1)))


def test_non_square_images_keep_their_frame_at_90():
    image = noise(3, 20, 30)
    turned = rotate_image(image, 90.0)
    expected = torch.rot90(image, 1, (-2, -1))  # 30 x 20: rows 5 to 24 stay in the frame
    assert turned.shape == image.shape
    assert torch.equal(turned[:, :, 5:25], expected[:, 5:25])
    # With an odd difference of the sides the grid falls between pixels.
    smooth = waves(*grid(21, 30, (10.0, 14.5)), 0.05)[None]
    y, x = grid(21, 30, (10.0, 14.5))
    torch.testing.assert_close(
        rotate_image(smooth, 90.0)[..., 6:-6, 9:-9], waves(x, -y, 0.05)[None, 6:-6, 9:-9], rtol=0, atol=2e-2
    )


def test_crops_reflect_where_the_image_ends():
    image = torch.arange(12.0).reshape(1, 3, 4)
    crop, centre, invented = crop_around(image, (0.0, 3.0), 5)
    assert centre == (2.0, 2.0)
    assert crop[0].tolist() == [
        [9, 10, 11, 10, 9],
        [5, 6, 7, 6, 5],
        [1, 2, 3, 2, 1],
        [5, 6, 7, 6, 5],
        [9, 10, 11, 10, 9],
    ]
    assert invented == pytest.approx(1 - 9 / 25)


def test_tiny_images_are_reflected_repeatedly():
    image = torch.tensor([[[0.0, 1.0, 2.0]]])
    crop, centre, invented = crop_around(image, (0.0, 1.0), 9)
    assert crop[0].tolist() == [[1, 2, 1, 0, 1, 2, 1, 0, 1]] * 9
    assert centre == (4.0, 4.0)
    assert invented == pytest.approx(1 - 3 / 81)
    assert rotate_image(noise(3, 2, 5), 30.0).isfinite().all()


@pytest.mark.parametrize("centre", [(30.0, 41.0), (30.5, 41.5), (30.0, 41.5), (30.25, 41.75), (2.0, 70.5)])
@pytest.mark.parametrize("size_px", [1, 8, 9])
def test_crops_of_the_stated_size_serve_every_angle(centre: tuple[float, float], size_px: int):
    crop, centre_in_crop, invented = crop_around(noise(3, 61, 73), centre, crop_size_px(size_px))
    assert crop.shape == (3, crop_size_px(size_px), crop_size_px(size_px))
    assert (invented > 0) is (centre == (2.0, 70.5))
    patches = rotate_patches(crop[None], torch.tensor([centre_in_crop]), [*SIXTEEN, 45.1], size_px)
    assert patches.isfinite().all()


def test_the_margin_of_the_crop_suffices():
    """More content than the stated crop changes no pixel visibly."""
    image = noise(1, 121, 131)
    values = []
    for margin in (0, 30):
        crop, centre, _ = crop_around(image, (60.0, 62.0), crop_size_px(31) + margin)
        values.append(rotate_patches(crop[None], torch.tensor([centre]), [22.5, 45.0], 31))
    assert (values[0] - values[1]).abs().max() < 1e-3


def test_short_crops_are_refused_with_their_size():
    with pytest.raises(EquiscopeError, match=r"crops of 20 x 24 px .* crop_size_px"):
        rotate_patches(noise(1, 1, 20, 24), torch.tensor([[9.5, 11.5]]), [45.0], 16)
    with pytest.raises(EquiscopeError, match="crops of 20 x 24 px"):
        rotate_patches(noise(1, 1, 20, 24), torch.tensor([[9.5, 20.5]]), [0.0], 16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    crops = noise(3, 3, 50, 60)
    centres = torch.tensor([[24.0, 29.0], [24.5, 29.5], [24.0, 29.0]])
    here = rotate_patches(crops, centres, SIXTEEN, 21)
    there = rotate_patches(crops.cuda(), centres.cuda(), SIXTEEN, 21)
    torch.testing.assert_close(here, there.cpu(), rtol=0, atol=1e-5)
