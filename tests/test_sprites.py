"""Sheets of pictures: what is cut, where it stands, and that each image is decoded once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from equiscope.foundations.errors import EquiscopeError
from equiscope.measurement.examples import Examples, empty_examples
from equiscope.models.geometry import LayerGeometry
from equiscope.reports import FamilyEntry
from equiscope.reports.document.pictures.cutting import CutPictures, cut_pictures
from equiscope.reports.document.pictures.sheets import FileStems, SheetWriter
from equiscope.reports.document.pictures.shown import ShownImages
from equiscope.reports.document.pictures.sprites import TILE_PX, Pictures, Tile
from equiscope.stimuli import ImageSet, open_images
from report_document import assemble_family, make_member
from site_document import site_document

GEOMETRY = LayerGeometry("block", 3, (2, 2), (21, 21), (10.0, 10.0))
EIGHT = [45.0 * k for k in range(8)]


def tile_pixels(folder: Path, tile: Tile) -> np.ndarray[Any, np.dtype[np.float64]]:
    with Image.open(folder / tile.sheet) as sheet:
        assert sheet.size == (TILE_PX * tile.n_columns, TILE_PX * tile.n_rows)
        x, y = TILE_PX * tile.column, TILE_PX * tile.row
        return np.asarray(sheet.convert("RGB").crop((x, y, x + TILE_PX, y + TILE_PX)), dtype=np.float64)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Two smooth coloured pictures that are not square, without any symmetry."""
    folder = tmp_path_factory.mktemp("images")
    y, x = np.mgrid[:60, :90].astype(float)
    for index in (0, 1):
        waves = [
            np.sin(x / (5 + index) + 0.3),
            np.cos((x + 1.3 * y) / 8 + index),
            np.sin(y / 6 + x / 31 + 2 * index),
        ]
        pixels = np.stack([127 + 70 * wave for wave in waves], axis=-1)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return open_images(folder)


@pytest.fixture
def examples() -> Examples:
    """Unit 0 has stimuli in both halves, unit 1 shares its strongest one, unit 2 never fired."""
    found = empty_examples("block", 3, 2)
    found.image[0, 0], found.value[0, 0], found.position[0, 0] = [0, 0], [5, 2], [[3, 4], [8, 20]]
    found.image[1, 0], found.value[1, 0], found.position[1, 0] = [1, 1], [4, 3], [[5, 6], [9, 30]]
    found.image[0, 1, 0], found.value[0, 1, 0], found.position[0, 1, 0] = 0, 7, [3, 4]
    found.image[1, 1, 0], found.value[1, 1, 0], found.position[1, 1, 0] = 1, 1, [2, 11]
    return replace(found, maximum=np.array([5.0, 7.0, -1.0]))


def cut(
    folder: Path, images: ImageSet, examples: Examples, families: list[FamilyEntry]
) -> tuple[CutPictures, Pictures]:
    shown = ShownImages(images, {"block": GEOMETRY}, {"block": examples}, 40)
    found = cut_pictures(folder, shown, families)
    document = site_document(folder / "other", n_families=0)
    document["sheets"] = found.sheets
    document["units"] = [
        {
            "layer": layer,
            "channel": c,
            "mean": None,
            "sd": None,
            "symmetries": [],
            "tuning": {},
            "pictures": place,
        }
        for (layer, c), place in found.units.items()
    ]
    document["families"] = [family | {"turned": found.turned.get(family["id"])} for family in families]
    return found, Pictures(document)


def expected_patch(
    images: ImageSet, image: int, position: list[int]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What the stimulus shows, cut without the package's help; it must lie within the image."""
    picture = images.load(image)
    assert picture is not None
    y, x = (int(10 + 2 * place) for place in position)
    patch = picture[:, y - 10 : y + 11, x - 10 : x + 11].permute(1, 2, 0).numpy()
    pixels = Image.fromarray((patch * 255).round().astype(np.uint8))
    return np.asarray(pixels.resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC), dtype=np.float64)


def test_units_show_their_stimuli_by_half_and_rank(
    tmp_path: Path, images: ImageSet, examples: Examples
) -> None:
    found, pictures = cut(tmp_path, images, examples, [])
    assert set(found.units) == {("block", 0), ("block", 1)}
    assert [pictures.n_stimuli("block", c) for c in (0, 1, 2)] == [4, 2, 0]
    assert [pictures.n_stimuli("block", 0, half) for half in (0, 1)] == [2, 2]
    # By falling response over both halves: 5, 4, 3, 2.
    for rank, (image, position) in enumerate([(0, [3, 4]), (1, [5, 6]), (1, [9, 30]), (0, [8, 20])]):
        tile = pictures.tile("block", 0, rank)
        assert tile is not None
        # The sheets are compressed with losses.
        assert np.abs(tile_pixels(tmp_path, tile) - expected_patch(images, image, position)).mean() < 6
    second = pictures.tile("block", 0, 1, half=1)
    assert second is not None
    assert np.abs(tile_pixels(tmp_path, second) - expected_patch(images, 1, [9, 30])).mean() < 6
    assert pictures.tile("block", 0, 4) is None
    assert pictures.tile("block", 0, 2, half=0) is None
    assert pictures.tile("block", 2) is None
    assert pictures.tile("nowhere", 0) is None


def test_each_image_is_decoded_once(
    tmp_path: Path, images: ImageSet, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: Counter[int] = Counter()
    load = images.load

    def counted(index: int) -> Any:
        loads[index] += 1
        return load(index)

    monkeypatch.setattr(images, "load", counted)
    cut(tmp_path, images, examples, [rotation_family(0.0)])
    assert loads == {0: 1, 1: 1}


def test_an_image_that_is_gone_is_named(
    tmp_path: Path, images: ImageSet, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(index: int) -> None:
        images._reasons[images.names[index]] = "no such file"

    monkeypatch.setattr(images, "load", broken)
    with pytest.raises(EquiscopeError, match=r"0\.png could be read before but no longer: no such file"):
        cut(tmp_path, images, examples, [])


def rotation_family(angle_deg: float) -> FamilyEntry:
    members = [make_member("block", 0, 0.8, angle_deg=angle_deg)]
    return assemble_family("f", "block", "rotation", 0.8, members, {"angle_deg": EIGHT}, [[1.0] * 8])


FAMILIES = {
    "rotation": (make_member("block", 0, 0.8, angle_deg=135.0), {"angle_deg": EIGHT}, {"angle_deg": 135.0}),
    "hue": (make_member("block", 0, 0.8, hue_deg=90.0), {"hue_deg": EIGHT}, {"hue_deg": 90.0}),
    "reflection": (make_member("block", 0, 0.8, is_mirrored=True), {"is_mirrored": [0.0, 1.0]}, {"is_mirrored": 1.0}),
    "contrast": (make_member("block", 0, 0.8, is_inverted=True), {"is_inverted": [0.0, 1.0]}, {"is_inverted": 1.0}),
    "dihedral": (
        make_member("block", 0, 0.8, angle_deg=90.0, is_mirrored=True),
        {"is_mirrored": [0.0, 1.0], "angle_deg": EIGHT},
        {"is_mirrored": 1.0, "angle_deg": 90.0},
    ),
    "hue-rotation": (
        make_member("block", 0, 0.8, angle_deg=180.0, hue_deg=270.0),
        {"hue_deg": EIGHT, "angle_deg": EIGHT},
        {"hue_deg": 270.0, "angle_deg": 180.0},
    ),
    "scale": (
        make_member("block", 0, 0.8, octaves=0.5),
        {"octaves": [-2.0, -0.5, 0.0, 0.5, 1.0]},
        {"octaves": 0.5},
    ),
}  # fmt: skip


@pytest.mark.parametrize("transformation", FAMILIES)
def test_a_stimulus_stands_unchanged_at_its_members_own_pose(
    tmp_path: Path, images: ImageSet, examples: Examples, transformation: str
) -> None:
    member, axes, own = FAMILIES[transformation]
    family = assemble_family("f", "block", transformation, 0.8, [member], axes, [[1.0]])
    found, pictures = cut(tmp_path, images, examples, [family])
    tiles, places = pictures.turned("f"), pictures.turned_at("f")
    assert len(tiles) == len(places)
    assert (found.turned["f"]["layer"], found.turned["f"]["channel"]) == ("block", 0)
    # Its strongest held-out stimulus, not the strongest of all.
    stimulus = expected_patch(images, 1, [5, 6])
    errors = [np.abs(tile_pixels(tmp_path, tile) - stimulus).mean() for tile in tiles]
    assert errors[places.index(own)] < 6
    assert sum(error < 6 for error in errors) == 1


def test_the_member_with_the_strongest_held_out_stimulus_shows_it(
    tmp_path: Path, images: ImageSet, examples: Examples
) -> None:
    # Unit 1 answers best to a stimulus that found it, unit 0 to one that did not.
    examples = replace(examples, maximum=np.array([6.0, 7.0, -1.0]))
    members = [make_member("block", channel, 0.8, angle_deg=0.0) for channel in (0, 1)]
    family = assemble_family("f", "block", "rotation", 0.8, members, {"angle_deg": EIGHT}, [[1.0] * 8] * 2)
    found, _ = cut(tmp_path, images, examples, [family])
    assert found.turned["f"]["channel"] == 0


def test_a_turned_stimulus_turns_counter_clockwise(
    tmp_path: Path, images: ImageSet, examples: Examples
) -> None:
    _, pictures = cut(tmp_path, images, examples, [rotation_family(0.0)])
    tiles = dict(
        zip([place["angle_deg"] for place in pictures.turned_at("f")], pictures.turned("f"), strict=True)
    )
    quarter = np.rot90(tile_pixels(tmp_path, tiles[0.0]))
    assert np.abs(tile_pixels(tmp_path, tiles[90.0]) - quarter).mean() < 8


def test_a_mirrored_pose_mirrors_before_it_turns(
    tmp_path: Path, images: ImageSet, examples: Examples
) -> None:
    member = make_member("block", 0, 0.8, angle_deg=0.0)
    axes = {"is_mirrored": [0.0, 1.0], "angle_deg": EIGHT}
    family = assemble_family("f", "block", "dihedral", 0.8, [member], axes, [[1.0]])
    _, pictures = cut(tmp_path, images, examples, [family])
    at = [(place["is_mirrored"], place["angle_deg"]) for place in pictures.turned_at("f")]
    tiles = {key: tile_pixels(tmp_path, tile) for key, tile in zip(at, pictures.turned("f"), strict=True)}
    assert np.abs(tiles[1.0, 90.0] - np.rot90(tiles[0.0, 0.0][:, ::-1])).mean() < 8


def test_what_has_too_many_elements_is_thinned(tmp_path: Path, images: ImageSet, examples: Examples) -> None:
    member = make_member("block", 0, 0.8, angle_deg=0.0, hue_deg=0.0)
    axes = {"hue_deg": EIGHT, "angle_deg": [22.5 * k for k in range(16)]}
    family = assemble_family("f", "block", "hue-rotation", 0.8, [member], axes, [[1.0]])
    found, pictures = cut(tmp_path, images, examples, [family])
    assert found.turned["f"]["axes"] == {"hue_deg": EIGHT, "angle_deg": EIGHT}
    assert len(pictures.turned("f")) == 64


def test_a_missing_sheet_is_no_picture(tmp_path: Path, images: ImageSet, examples: Examples) -> None:
    document = site_document(tmp_path)
    gone = next(sheet["address"] for sheet in document["sheets"] if "mixed3a-strongest" in sheet["address"])
    pictures = Pictures(document, missing=[gone])
    assert pictures.tile("mixed3a", 0) is None
    assert pictures.tile("mixed3a", 0, 1) is not None
    assert pictures.tile("mixed3b", 0) is not None


def test_runs_stay_together_and_sheets_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("equiscope.reports.document.pictures.sheets._MOST_BYTES", 120_000)
    generator = np.random.default_rng(0)
    tiles = generator.integers(
        0, 256, (400, TILE_PX, TILE_PX, 3), dtype=np.uint8
    )  # noise is what compresses worst
    runs = [np.arange(40 * k, 40 * k + 40) for k in range(10)]
    writer = SheetWriter(tmp_path)
    places = writer.write("noise", runs, tiles.__getitem__)
    assert sorted({sheet for sheet, _ in places}) == list(range(len(writer.sheets)))
    for (sheet, first), run in zip(places, runs, strict=True):
        entry = writer.sheets[sheet]
        assert first + len(run) <= entry["n_columns"] * entry["n_rows"]
        assert (tmp_path / entry["address"]).stat().st_size <= 120_000
    stale = tmp_path / "site" / "sprites" / "noise-99.webp"
    stale.write_bytes(b"")
    writer.remove_others()
    assert not stale.exists()
    assert all((tmp_path / sheet["address"]).exists() for sheet in writer.sheets)


def test_file_names_are_harmless_and_unique() -> None:
    stems = FileStems()
    names = ["conv", "Conv", "a/b", "a:b", "../..", "", "x" * 300, "<img src=x>", ".hidden"]
    made = [stems.of(name) for name in names]
    assert len({stem.lower() for stem in made}) == len(names)
    assert all(len(stem) < 100 and "/" not in stem and not stem.startswith(".") for stem in made)
    assert made[0] == "conv"
