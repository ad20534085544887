"""How hue, saturation, contrast, scale and stretch act on pictures: exactly, or with an error that is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equiscope.foundations.errors import EquiscopeError
from equiscope.transformations import Pose, find
from equiscope.transformations.pixels import (
    LUMA,
    chroma_of_hue,
    chroma_strength,
    hue_matrix,
    invert_contrast,
    rotate_hue,
    stretch_crop_px,
    stretch_patches,
    zoom_crop_px,
    zoom_patches,
)

ANGLES = st.floats(-720, 720)


def picture(seed: int = 0) -> torch.Tensor:
    """Random colours, not square."""
    return torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def luma_of(images: torch.Tensor) -> torch.Tensor:
    return torch.einsum("j,...jyx->...yx", torch.tensor(LUMA, dtype=images.dtype), images)


@settings(deadline=None)
@given(ANGLES, ANGLES)
def test_hues_compose_by_adding_angles(a: float, b: float) -> None:
    assert torch.allclose(hue_matrix(a) @ hue_matrix(b), hue_matrix(a + b), atol=1e-9)


def test_hue_zero_is_the_picture_itself() -> None:
    images = picture().float()
    assert torch.equal(rotate_hue(images, [0.0, 90.0, 360.0])[:, 0], images)
    assert torch.equal(rotate_hue(images, [0.0, 90.0, 360.0])[:, 2], images)


@pytest.mark.parametrize("hue_deg", [22.5, 90.0, 180.0, 301.0])
def test_luma_and_greys_stay(hue_deg: float) -> None:
    images = picture()
    turned = rotate_hue(images, [hue_deg])[:, 0]
    assert torch.allclose(luma_of(turned), luma_of(images), atol=1e-12)
    grey = images[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(rotate_hue(grey, [hue_deg])[:, 0], grey, atol=1e-12)
    assert not torch.allclose(turned, images, atol=0.01)


def test_half_a_turn_negates_chroma() -> None:
    images = picture()
    luma = luma_of(images).unsqueeze(1)
    assert torch.allclose(rotate_hue(images, [180.0])[:, 0] - luma, luma - images, atol=1e-12)


def test_a_third_of_a_turn_takes_red_to_green_to_blue() -> None:
    red, green, blue = torch.eye(3, dtype=torch.float64)
    luma = torch.tensor(LUMA, dtype=torch.float64)

    def chroma(colour: torch.Tensor) -> torch.Tensor:
        return colour - luma @ colour

    assert torch.allclose(chroma(hue_matrix(120) @ red), chroma(green), atol=1e-12)
    assert torch.allclose(chroma(hue_matrix(120) @ green), chroma(blue), atol=1e-12)
    assert torch.allclose(chroma_of_hue(0.0, math.sqrt(2 / 3)), chroma(red), atol=1e-12)


def test_chroma_has_no_luma_and_turns_with_hue() -> None:
    for hue_deg in (0.0, 50.0, 200.0):
        chroma = chroma_of_hue(hue_deg, 0.3)
        assert abs(float(chroma @ torch.tensor(LUMA, dtype=torch.float64))) < 1e-12
        assert torch.allclose(hue_matrix(35.0) @ chroma, chroma_of_hue(hue_deg + 35.0, 0.3), atol=1e-12)


def test_contrast_inversion_undoes_itself_and_keeps_chroma() -> None:
    images = picture()
    inverted = invert_contrast(images)
    assert torch.allclose(luma_of(inverted), 1 - luma_of(images), atol=1e-12)
    assert torch.allclose(invert_contrast(inverted), images, atol=1e-12)
    assert torch.allclose(
        inverted - luma_of(inverted).unsqueeze(1), images - luma_of(images).unsqueeze(1), atol=1e-12
    )


# --- scale -------------------------------------------------------------------------------------------------


def wave(size: int, centre: tuple[float, float], cycles_per_px: float) -> torch.Tensor:
    """A plane wave with its crest on the centre, slanted, float64."""
    y = torch.arange(size, dtype=torch.float64)[:, None] - centre[0]
    x = torch.arange(size, dtype=torch.float64)[None, :] - centre[1]
    return torch.cos(2 * math.pi * cycles_per_px * (0.6 * y + 0.8 * x)).expand(1, 3, size, size)


@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.5, 0.5), (0.25, 0.75)])
@pytest.mark.parametrize(("octaves", "error"), [(1.0, 0.001), (0.5, 0.001), (-0.5, 0.05), (-1.0, 0.16)])
def test_waves_are_magnified_about_the_centre(
    centre: tuple[float, float], octaves: float, error: float
) -> None:
    size = 31
    crop = zoom_crop_px(size, -1.0)
    place = (crop // 2 - 1 + centre[0], crop // 2 - 1 + centre[1])
    found = zoom_patches(wave(crop, place, 0.1), torch.tensor([place]), [octaves], size)[0, 0, 0]
    middle = ((size - 1) / 2, (size - 1) / 2)
    expected = wave(size, middle, 0.1 / 2**octaves)[0, 0]
    # Reduced waves lose amplitude to the antialiasing, and nothing else.
    gain = float((found * expected).sum() / (expected * expected).sum())
    assert float((found - expected).norm() / expected.norm()) < error
    assert float((found - gain * expected).norm() / expected.norm()) < 0.002


@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.25, 0.75)])
@pytest.mark.parametrize("octaves", [1.0, -1.0, 0.5])
def test_waves_are_stretched_along_x_and_squeezed_along_y(
    centre: tuple[float, float], octaves: float
) -> None:
    size = 31
    crop = stretch_crop_px(size, 1.0)
    place = (crop // 2 - 1 + centre[0], crop // 2 - 1 + centre[1])
    found = stretch_patches(wave(crop, place, 0.08), torch.tensor([place]), [octaves], size)[0, 0, 0]
    # Content twice as wide for its height is read at steps that are shorter along x and longer along y.
    y, x = (
        (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) * step
        for step in (2 ** (octaves / 2), 2 ** (-octaves / 2))
    )
    expected = torch.cos(2 * math.pi * 0.08 * (0.6 * y[:, None] + 0.8 * x[None, :]))
    gain = float((found * expected).sum() / (expected * expected).sum())
    assert 0.9 < gain < 1.0005
    assert float((found - gain * expected).norm() / expected.norm()) < 0.002


def test_no_stretch_cuts_whole_pixels_and_a_crop_that_ends_too_early_is_refused() -> None:
    crop = torch.rand(1, 3, 40, 40)
    found = stretch_patches(crop, torch.tensor([[19.0, 20.0]]), [0.0], 9)[0, 0]
    assert torch.equal(found, crop[0, :, 15:24, 16:25])
    with pytest.raises(EquiscopeError, match="crops of 20 x 20 px do not hold"):
        stretch_patches(torch.rand(1, 3, 20, 20), torch.tensor([[9.0, 9.0]]), [1.0], 15)


def test_a_picture_alone_is_stretched_about_its_middle() -> None:
    stretch, octaves = find("stretch").axes[0].act, 0.75
    assert stretch is not None
    size = 31
    picture = wave(size, (15.0, 15.0), 0.05)
    around = wave(91, (45.0, 45.0), 0.05)
    known = stretch_patches(around, torch.tensor([[45.0, 45.0]]), [octaves], size)[:, 0]
    found = stretch(picture, octaves)
    assert found.shape == picture.shape
    # Its ends are made up; the middle is not.
    torch.testing.assert_close(found[..., 11:20, 11:20], known[..., 11:20, 11:20], rtol=0, atol=0.002)
    plain = torch.full_like(picture, 0.7)
    torch.testing.assert_close(stretch(plain, octaves), plain, rtol=0, atol=1e-6)


def test_a_stretched_patch_shows_what_lies_beyond_the_patch() -> None:
    stretch = find("stretch")
    group = stretch.group(16)
    crop_px = stretch.crop_px(15, group)
    crops = torch.rand(2, 3, crop_px, crop_px)
    centres = torch.full((2, 2), crop_px // 2 - 1.0, dtype=torch.float64)
    shown = stretch.show(crops, centres, group, (), 15)
    assert shown.shape == (2, 13, 3, 15, 15)
    one = stretch.show_at(
        crops[0], (crop_px // 2 - 1.0,) * 2, Pose(aspect_octaves=0.5), [Pose(aspect_octaves=-0.25)], 15
    )
    torch.testing.assert_close(one[0], shown[0, group.values.index(-0.75)])


def test_saturation_keeps_luma_and_greys() -> None:
    act = find("saturation").axes[0].act
    assert act is not None
    pictures = torch.rand(2, 3, 5, 6)
    twice = act(pictures, 1.0)
    torch.testing.assert_close(luma_of(twice), luma_of(pictures))
    torch.testing.assert_close(chroma_strength(twice), 2 * chroma_strength(pictures))
    torch.testing.assert_close(act(twice, -1.0), pictures)
    grey = torch.rand(1, 1, 4, 4).expand(1, 3, 4, 4)
    torch.testing.assert_close(act(grey, 1.5), grey)
    assert float(find("saturation").change(grey)) < 1e-6


def test_size_zero_cuts_whole_pixels() -> None:
    crop = torch.rand(2, 3, 40, 40)
    centres = torch.tensor([[19.0, 20.0], [18.0, 21.0]])
    found = zoom_patches(crop, centres, [0.0], 9)[:, 0]
    assert torch.equal(found[0], crop[0, :, 15:24, 16:25])
    assert torch.equal(found[1], crop[1, :, 14:23, 17:26])


def test_reducing_does_not_alias() -> None:
    crop = zoom_crop_px(31, -1.0)
    place = (crop // 2 - 1.0, crop // 2 - 1.0)
    fine = wave(crop, place, 0.45)
    # At half the size this wave would alias to 0.1 cycles per pixel.
    found = zoom_patches(fine, torch.tensor([place]), [-1.0], 31)[0, 0]
    assert float(found.abs().max()) < 0.2


def test_a_crop_that_ends_too_early_is_refused() -> None:
    with pytest.raises(EquiscopeError, match="crops of 20 x 20 px do not hold"):
        zoom_patches(torch.rand(1, 3, 20, 20), torch.tensor([[9.0, 9.0]]), [-1.0], 15)
