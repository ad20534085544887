"""Patches compared with images: what differs is given whole images, what hardly differs a note."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.measurement.fidelity import CLOSE, EXACT, patch_errors, settle_geometries
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry, find_geometry
from equiscope.models.sides import Sides
from equiscope.stimuli import ImageSet, open_images
from equiscope.testing import planted_oddity, sample_crops


class Gate(nn.Module):
    """Multiplies by a function of the image's mean."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + self.strength * (x.mean((2, 3), keepdim=True) - 0.5))


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Six images of noise in two non-square sizes; the mean of a patch nears the image's as it grows."""
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for index in range(6):
        shape = (101, 133, 3) if index % 2 else (120, 97, 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{index}.png")
    return open_images(folder)


def plain(*, padding: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, 2, padding), nn.ReLU(), nn.Conv2d(6, 6, 3, 2, padding))


def pictures(images: ImageSet) -> list[Tensor]:
    return [image for i in range(3) if (image := images.load(i)) is not None]


def test_a_patch_of_a_plain_network_answers_as_the_image(noise: ImageSet) -> None:
    model = Model(plain())
    errors = patch_errors(model, pictures(noise), find_geometry(model, ["0", "2"]))
    assert max(errors.values()) < 1e-5


@pytest.mark.parametrize("where", ["centre", "stride", "field", "sides"])
def test_a_wrong_geometry_is_seen(where: str, noise: ImageSet) -> None:
    model = Model(plain()) if where != "sides" else planted_oddity("same-padding").model
    layer = "2" if where != "sides" else "planted"
    right = find_geometry(model, [layer], side_px=96)[layer]
    wrong = {
        "centre": replace(right, centre_px=(right.centre_px[0], right.centre_px[1] - right.stride_px[1])),
        "stride": replace(right, stride_px=(right.stride_px[0], right.stride_px[1] // 2)),
        "field": replace(right, receptive_field_px=(1, 1)),
        "sides": replace(right, sides=Sides()),
    }[where]
    images = [image[:, :96, :96] for image in pictures(noise)]
    assert patch_errors(model, images, {layer: right})[layer] < 1e-5
    assert patch_errors(model, images, {layer: wrong})[layer] > 10 * CLOSE


def test_an_error_is_that_of_the_worst_unit_by_a_slow_computation(noise: ImageSet) -> None:
    class Placed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            # Only unit 2 tells how far down it is.
            rows = torch.arange(x.shape[2], dtype=x.dtype)[:, None] / 500
            return x + rows * F.one_hot(torch.tensor(2), 4).view(1, 4, 1, 1)

    torch.manual_seed(0)
    model = Model(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Placed()))
    geometry = LayerGeometry("1", 4, (1, 1), (3, 3), (0, 0))
    image = pictures(noise)[0]
    height, width = image.shape[1:]
    rows = [round(share * (height - 3)) for share in (0.1, 0.5, 0.9)]
    whole = model.record(image[None], ["1"])["1"][0]
    # A patch's middle lies in its row 1, so it answers by as much less as the patch lies down.
    away = np.sqrt(np.mean([(row / 500) ** 2 for row in rows]))
    spread = whole.flatten(1).var(1, correction=0).mean().sqrt()
    assert patch_errors(model, [image], {"1": geometry})["1"] == pytest.approx(away / float(spread), rel=0.02)
    assert width != height


def test_a_layer_that_answers_with_nan_or_nowhere_does_not_agree(noise: ImageSet) -> None:
    model = Model(plain())
    geometry = find_geometry(model, ["2"])["2"]
    off = replace(geometry, centre_px=(geometry.centre_px[0] - 4 * 40, geometry.centre_px[1] - 4 * 40))
    assert patch_errors(model, pictures(noise), {"2": replace(off, receptive_field_px=(9, 9))})["2"] == np.inf


def test_no_image_that_holds_the_patch_is_no_answer(noise: ImageSet) -> None:
    geometry = replace(find_geometry(Model(plain()), ["2"])["2"], smallest_px=110)
    assert np.isnan(patch_errors(Model(plain()), pictures(noise)[1:2], {"2": geometry})["2"])


def test_plain_layers_are_settled_without_a_word(noise: ImageSet) -> None:
    model = Model(plain())
    settled = settle_geometries(model, noise, ["0", "2"])
    assert settled.geometries == find_geometry(model, ["0", "2"])
    assert settled.notes == {"0": [], "2": []}
    assert settled.whole_px == 99


def test_a_gate_that_hardly_gates_keeps_the_field_of_what_is_local(noise: ImageSet) -> None:
    module = nn.Sequential(*plain(), Gate(1e-3), nn.Conv2d(6, 6, 3, padding=1))
    settled = settle_geometries(Model(module), noise, ["2", "3", "4"])
    assert settled.notes["2"] == []
    for layer, field in (("3", 7), ("4", 15)):
        geometry = settled.geometries[layer]
        assert (geometry.is_global, geometry.receptive_field_px) == (False, (field, field))
        (note,) = settled.notes[layer]
        assert note.startswith("it sees the whole image in principle; a patch of ")


def test_a_larger_patch_is_taken_where_it_is_needed(noise: ImageSet) -> None:
    module = nn.Sequential(*plain(), Gate(0.7), nn.Conv2d(6, 6, 3, padding=1))
    model = Model(module)
    settled = settle_geometries(model, noise, ["4"])
    geometry = settled.geometries["4"]
    assert not geometry.is_global
    assert geometry.smallest_px is not None
    assert geometry.patch_px > geometry.receptive_field_px[0] + 8
    assert patch_errors(model, pictures(noise), {"4": geometry})["4"] <= CLOSE
    smaller = replace(geometry, smallest_px=int(geometry.smallest_px / 1.3))
    assert patch_errors(model, pictures(noise), {"4": smaller})["4"] > CLOSE
    assert f"a patch of {geometry.patch_px} px holds its answer within" in settled.notes["4"][0]


@pytest.mark.parametrize("strength", [0.5, 3.0, 30.0])
def test_a_gate_that_gates_stays_global(strength: float) -> None:
    # On photographs: patches of noise have the mean of their image.
    module = nn.Sequential(*plain(), Gate(strength), nn.Conv2d(6, 6, 3, padding=1))
    settled = settle_geometries(Model(module), open_images(), ["4"])
    assert settled.geometries["4"].is_global
    assert settled.notes["4"][0].startswith("it sees the whole image, or tells where in it it looks: ")
    assert settled.notes["4"][1].startswith("whole images of ")


def test_an_image_norm_stays_global(noise: ImageSet) -> None:
    module = nn.Sequential(*plain(), nn.InstanceNorm2d(6))
    assert settle_geometries(Model(module), noise, ["3"]).geometries["3"].is_global


def test_what_find_geometry_cannot_see_is_seen_on_images() -> None:
    class Bright(nn.Module):
        """Adds the mean of the image where that is bright, which strips of noise are not."""

        def forward(self, x: Tensor) -> Tensor:
            mean = x.mean((1, 2, 3), keepdim=True)
            return x + torch.nan_to_num(F.relu(mean - 0.55)) * x.mean((2, 3), keepdim=True).nan_to_num()

    images = open_images()
    model = Model(nn.Sequential(Bright(), *plain()), preprocess=lambda x: x)
    assert not find_geometry(model, ["3"])["3"].is_global
    settled = settle_geometries(Model(model.module, preprocess=lambda x: x + 0.3), images, ["3"])
    assert settled.geometries["3"].is_global
    assert any("whole images" in note for note in settled.notes["3"])


def test_images_that_the_network_does_not_take_are_told(noise: ImageSet) -> None:
    model = planted_oddity("only-128").model
    with pytest.raises(
        EquiscopeError, match=r"takes images with sides of 128 px, and those tried have 101 px at"
    ):
        settle_geometries(model, noise, ["planted"])


def test_a_patch_without_its_rim_says_how_alike_it_answers(noise: ImageSet) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=80, dilation=80))
    settled = settle_geometries(Model(module), noise, ["0"])
    (note,) = settled.notes["0"]
    assert note.startswith("stimuli of 85 px leave out the rim of its receptive field, which needs 161 px")
    assert "answers correlate with those in the whole image by " in note


def test_tolerances_are_apart_from_rounding_and_from_faults() -> None:
    assert 1e-4 < EXACT < CLOSE < 0.1


def test_the_crops_are_not_square() -> None:
    assert sample_crops().shape[1:3] == (72, 88)


def test_thirty_images_are_looked_at(tmp_path: Path) -> None:
    np.savez(tmp_path / "crops.npz", images=sample_crops())
    settled = settle_geometries(Model(plain()), open_images(tmp_path / "crops.npz"), ["0"])
    assert settled.whole_px == 72
