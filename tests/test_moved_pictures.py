"""Pictures for an eye to judge: cut to what units look at, and moved back to pose 0."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from equiscope.evidence.effective_fields import EffectiveField
from equiscope.evidence.witnesses.alignment import ImageWeights
from equiscope.measurement.examples import Examples, empty_examples
from equiscope.models.geometry import LayerGeometry
from equiscope.reports import FamilyEntry
from equiscope.reports.document.pictures.cutting import cut_pictures
from equiscope.reports.document.pictures.moved import draw_kernels
from equiscope.reports.document.pictures.shown import ShownImages
from equiscope.reports.document.pictures.sprites import MOST_MOVED, TILE_PX, Pictures, Tile
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.family.moved import moved_sentence
from equiscope.reports.views.family.view import render_families
from equiscope.reports.views.judge.view import render_at_zero, render_judge
from equiscope.stimuli import ImageSet, open_images
from html_page import Page
from report_document import assemble_family, make_member
from site_document import site_document

GEOMETRY = LayerGeometry("block", 4, (2, 2), (21, 21), (10.0, 10.0))
Pixels = np.ndarray[Any, np.dtype[np.float64]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Two smooth coloured pictures that are not square, without any symmetry."""
    folder = tmp_path_factory.mktemp("images")
    y, x = np.mgrid[:70, :96].astype(float)
    for index in (0, 1):
        waves = [np.sin(x / (5 + index)), np.cos((x + 1.3 * y) / 8 + index), np.sin(y / 6 + x / 31)]
        pixels = np.stack([127 + 70 * wave for wave in waves], axis=-1)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return open_images(folder)


@pytest.fixture
def examples() -> Examples:
    """Units with two held-out stimuli each, unit 2 with one, unit 3 with none."""
    found = empty_examples("block", 4, 2)
    for unit in (0, 1, 2):
        found.image[1, unit], found.value[1, unit] = [0, 1], [5 - unit, 2]
        found.position[1, unit] = [[6 + unit, 12], [9, 20 - unit]]
    found.value[1, 2, 1] = math.nan
    found.image[0, 3, 0], found.value[0, 3, 0], found.position[0, 3, 0] = 0, 7, [5, 5]
    return replace(found, maximum=np.full(4, 5.0))


def family_of(transformation: str, poses: list[dict[str, Any]], units: list[int]) -> FamilyEntry:
    members = [make_member("block", c, 0.8, **pose) for c, pose in zip(units, poses, strict=True)]
    axes = {name: [0.0, 1.0] if isinstance(v, bool) else [0.0, 90.0] for name, v in poses[0].items()}
    return assemble_family("own-1", "block", transformation, 0.9, members, axes, [0.5] * len(members))


def cut(
    folder: Path, images: ImageSet, examples: Examples, families: list[FamilyEntry], **more: Any
) -> tuple[Pictures, dict[str, Any]]:
    shown = ShownImages(images, {"block": GEOMETRY}, {"block": examples}, 40, **more)
    found = cut_pictures(folder, shown, families)
    document = site_document(folder / "other", n_families=0)
    document["sheets"] = found.sheets
    document["families"] = [own | {"turned": None, "moved": found.moved.get(own["id"])} for own in families]
    return Pictures(document), dict(document)


def tile_pixels(folder: Path, tile: Tile) -> Pixels:
    with Image.open(folder / tile.sheet) as sheet:
        x, y = TILE_PX * tile.column, TILE_PX * tile.row
        return np.asarray(sheet.convert("RGB").crop((x, y, x + TILE_PX, y + TILE_PX)), dtype=np.float64)


def patch_of(images: ImageSet, examples: Examples, unit: int, rank: int, reach_px: int = 10) -> Pixels:
    """A held-out stimulus, cut without the package's help; it must lie within the image."""
    picture = images.load(int(examples.image[1, unit, rank]))
    assert picture is not None
    y, x = (int(10 + 2 * place) for place in examples.position[1, unit, rank])
    return (
        picture[:, y - reach_px : y + reach_px + 1, x - reach_px : x + reach_px + 1].permute(1, 2, 0).numpy()
    )


def as_tile(patch: Pixels) -> Pixels:
    pixels = Image.fromarray((np.clip(patch, 0, 1) * 255).round().astype(np.uint8))
    return np.asarray(pixels.resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC), dtype=np.float64)


def away(folder: Path, tile: Tile, patch: Pixels) -> float:
    """How far a tile is from a patch: sheets are compressed with losses, of some 4 grey levels."""
    return float(np.abs(tile_pixels(folder, tile) - as_tile(patch)).mean())


def test_members_are_turned_back_by_their_poses(tmp_path: Path, images: ImageSet, examples: Examples) -> None:
    family = family_of("rotation", [{"angle_deg": 0.0}, {"angle_deg": 90.0}], [0, 1])
    rows = cut(tmp_path, images, examples, [family])[0].moved("own-1")
    assert [len(row) for row in rows] == [2, 2]
    for rank in (0, 1):
        assert away(tmp_path, rows[0][rank], patch_of(images, examples, 0, rank)) < 6
        patch = patch_of(images, examples, 1, rank)
        # Counter-clockwise by 90° is its pose, so clockwise brings it back.
        assert away(tmp_path, rows[1][rank], np.rot90(patch, -1)) < 6
        assert min(away(tmp_path, rows[1][rank], np.rot90(patch, k)) for k in (0, 1, 2)) > 12


def test_members_are_mirrored_back(tmp_path: Path, images: ImageSet, examples: Examples) -> None:
    family = family_of("reflection", [{"is_mirrored": False}, {"is_mirrored": True}], [0, 1])
    rows = cut(tmp_path, images, examples, [family])[0].moved("own-1")
    assert away(tmp_path, rows[0][0], patch_of(images, examples, 0, 0)) < 6
    patch = patch_of(images, examples, 1, 0)
    assert away(tmp_path, rows[1][0], patch[:, ::-1]) < 6
    assert away(tmp_path, rows[1][0], patch) > 12


def test_only_held_out_stimuli_that_excite_and_poses_that_are_known(
    tmp_path: Path, images: ImageSet, examples: Examples
) -> None:
    poses = [{"angle_deg": 0.0}, {"angle_deg": math.nan}, {"angle_deg": 10.0}, {"angle_deg": 20.0}]
    family = family_of("rotation", poses, [0, 1, 2, 3])
    pictures, document = cut(tmp_path, images, examples, [family])
    # Of unit 1 the pose was not measured, unit 2 has one stimulus, unit 3 none that is held out.
    assert document["families"][0]["moved"]["n"] == [2, 0, 1, 0]
    assert [len(row) for row in pictures.moved("own-1")] == [2, 0, 1, 0]


def test_what_is_too_far_away_is_not_shown(tmp_path: Path, images: ImageSet, examples: Examples) -> None:
    family = family_of("scale", [{"octaves": 0.5}, {"octaves": 90.0}], [0, 1])
    _, document = cut(tmp_path, images, examples, [family | {"tuning": None}])
    assert document["families"][0]["moved"]["n"] == [2, 0]


def test_families_that_nothing_shows_moved_have_no_entry(
    tmp_path: Path, images: ImageSet, examples: Examples
) -> None:
    joined = family_of("rotation-scale", [{"angle_deg": 0.0, "octaves": 0.0}] * 2, [0, 1]) | {"tuning": None}
    silent = family_of("rotation", [{"angle_deg": 0.0}], [3])
    for family in (joined, silent):
        pictures, document = cut(tmp_path, images, examples, [family])
        assert document["families"][0]["moved"] is None
        assert pictures.moved("own-1") == ()


def test_pictures_are_cut_to_the_effective_field(
    tmp_path: Path, images: ImageSet, examples: Examples
) -> None:
    family = family_of("rotation", [{"angle_deg": 0.0}, {"angle_deg": 90.0}], [0, 1])
    rows = cut(tmp_path, images, examples, [family], effective={"block": EffectiveField(11)})[0].moved(
        "own-1"
    )
    assert away(tmp_path, rows[0][0], patch_of(images, examples, 0, 0, reach_px=5)) < 6
    assert away(tmp_path, rows[1][0], np.rot90(patch_of(images, examples, 1, 0, reach_px=5), -1)) < 6
    assert away(tmp_path, rows[0][0], patch_of(images, examples, 0, 0)) > 10


def test_a_run_that_was_changed_leads_nowhere(tmp_path: Path, images: ImageSet, examples: Examples) -> None:
    family = family_of("rotation", [{"angle_deg": 0.0}, {"angle_deg": 90.0}], [0, 1])
    _, document = cut(tmp_path, images, examples, [family])
    for changed, n_rows in (
        ({"n": [10**15, -3]}, 2),
        ({"first": 10**15}, 0),
        ({"first": -4}, 0),
        ({"sheet": 99}, 0),
        ({"kernels": [0]}, 2),
    ):
        own = document["families"][0]
        pictures = Pictures(document | {"families": [own | {"moved": own["moved"] | changed}]})  # type: ignore[arg-type]
        rows = pictures.moved("own-1")
        assert len(rows) == n_rows
        assert all(len(row) <= MOST_MOVED for row in rows)
        assert pictures.kernels("own-1", is_moved=False) == ()


# Kernels ------------------------------------------------------------------------------------------------------------


def turned_kernels() -> np.ndarray[Any, np.dtype[np.float64]]:
    """A kernel, itself a quarter turn further, another; and no weight in the rim of the patch."""
    generator = np.random.default_rng(3)
    smooth = np.exp(-(((np.mgrid[-2:3, -2:3] ** 2).sum(0)) / 4.0))
    one, other = (generator.normal(size=(3, 5, 5)) * smooth for _ in range(2))
    kernels = np.stack([one, np.rot90(one, axes=(1, 2)), other, other])
    return np.pad(kernels, ((0, 0), (0, 0), (1, 1), (1, 1)))


def test_kernels_are_shown_as_they_are_and_turned_back(
    tmp_path: Path, images: ImageSet, examples: Examples
) -> None:
    weights = ImageWeights(turned_kernels())
    families = [
        family_of("rotation", [{"angle_deg": 0.0}, {"angle_deg": 90.0}, {"angle_deg": 0.0}], [0, 1, 2])
        | {"id": "turning"},
        family_of("contrast", [{"is_inverted": False}, {"is_inverted": True}], [0, 1]) | {"id": "inverting"},
    ]
    pictures, _ = cut(tmp_path, images, examples, families, kernels={"block": weights})
    own, moved = (
        [tile_pixels(tmp_path, tile) for tile in pictures.kernels("turning", is_moved=is_moved)]
        for is_moved in (False, True)
    )
    assert len(own) == len(moved) == 3
    # The middle 5 x 5 places alone, without the rim that no kernel has.
    assert np.abs(own[0] - draw_kernels(turned_kernels()[:1, :, 1:-1, 1:-1])[0]).mean() < 12
    assert np.abs(moved[0] - moved[1]).mean() < 6
    assert np.abs(own[0] - own[1]).mean() > 18
    assert np.abs(moved[0] - moved[2]).mean() > 18
    # Under contrast the second is inverted back: its luma is mirrored at grey.
    inverted = [
        tile_pixels(tmp_path, tile).astype(float) for tile in pictures.kernels("inverting", is_moved=True)
    ]
    luma = np.array([0.299, 0.587, 0.114])
    assert np.abs(inverted[0] - own[0]).mean() < 6
    assert np.abs((inverted[1] - 128) @ luma + (own[1].astype(float) - 128) @ luma).mean() < 12
    assert np.abs(inverted[1] - own[1]).mean() > 18


def test_no_weight_is_grey() -> None:
    drawn = draw_kernels(np.zeros((2, 3, 5, 5)))
    assert drawn.shape == (2, TILE_PX, TILE_PX, 3)
    assert set(drawn.ravel().tolist()) == {128}
    # Full colour is the largest of each unit, or what is given.
    kernels = np.zeros((1, 3, 3, 3))
    kernels[0, 2, 1, 1] = -0.2
    assert draw_kernels(kernels)[0, 28, 28].tolist() == [128, 128, 0]
    assert draw_kernels(kernels, np.array([0.4]))[0, 28, 28].tolist() == [128, 128, 64]


# Pages --------------------------------------------------------------------------------------------------------------


def context_of(folder: Path, **moved: Any) -> SiteContext:
    document = site_document(folder)
    first, second = document["families"][:2]
    first["moved"] = {"sheet": 0, "first": 0, "n": [2] * first["size"], **moved}  # type: ignore[typeddict-item]
    second["moved"] = {"sheet": 0, "first": 0, "n": [2] + [0] * (second["size"] - 1)}
    first["verdict"] = {
        "word": "copies", "reason": "", "likeness": 0.9, "likeness_low": 0.8, "likeness_high": 1.0,
        "permuted_95": 0.3, "tested": 1.0, "cores": [],
    }  # fmt: skip
    return SiteContext(document, Pictures(document))


def test_a_familys_page_has_members_beside_themselves_moved_back(tmp_path: Path) -> None:
    context = context_of(tmp_path, kernels=[0, 0])
    pages = dict(render_families(context))
    first, *_, last = context.document["families"]
    page = Page(pages[first["id"]].html)
    labels = [attrs.get("aria-label", "") for attrs, _ in page.all("span")]
    assert sum(label.endswith("as it is") for label in labels) == first["size"]
    assert sum(label.endswith("moved back to pose 0") for label in labels) == first["size"]
    assert "turned back by its pose" in pages[first["id"]].html
    assert "as they are." in moved_sentence(first, [{"kernel": 1, "moved_kernel": None}])
    assert "At pose 0" not in pages[last["id"]].html


def test_the_page_to_judge_on_hides_the_verdict(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    ((_, page),) = render_judge(context)
    first = context.document["families"][0]
    # The second has pictures of one member, which has nobody to be alike.
    assert page.data["families"] == [[first["id"], 0]]
    assert page.data["run"]["network"] == "drawn"
    cards = dict(render_at_zero(context))
    assert list(cards) == [first["id"]]
    assert cards[first["id"]].data["members"] == [f"{m['layer']}:{m['channel']}" for m in first["members"]]
    assert "copies" not in cards[first["id"]].html
    assert first["id"] not in cards[first["id"]].html


def test_a_run_without_such_pictures_says_so(tmp_path: Path) -> None:
    document = site_document(tmp_path)
    ((_, page),) = render_judge(SiteContext(document, Pictures(document)))
    assert "None of the 12 families of this run has pictures at pose 0" in page.html
    assert page.data["families"] == []
