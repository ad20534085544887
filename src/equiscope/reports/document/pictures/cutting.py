"""Cut the pictures of a report out of the images: each image is decoded once, whatever shows parts of it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from equiscope.foundations.parallel import in_parallel
from equiscope.measurement.bank import Bank, centres_px
from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.models.geometry import LayerGeometry
from equiscope.reports.document.pictures.moved import held_out_place, order_moved, write_moved
from equiscope.reports.document.pictures.sheets import SheetWriter, shrink
from equiscope.reports.document.pictures.shown import Order, ShownImages
from equiscope.reports.document.pictures.tiles import TileFile, open_tiles
from equiscope.reports.document.poses import along, pose_of
from equiscope.reports.document.schema import (
    FamilyEntry,
    MemberEntry,
    MovedEntry,
    SheetEntry,
    TurnedEntry,
    UnitPicturesEntry,
)
from equiscope.transformations import Pose, Step, find
from equiscope.transformations.pixels import crop_around

__all__ = ["CutPictures", "cut_pictures"]

# Hue × rotation has a hundred elements and more: every second angle says as much.
_MOST_ELEMENTS = 72


@dataclass(frozen=True)
class CutPictures:
    """All pictures of a report.

    Attributes
    ----------
    sheets
        The sheets that were written.
    units
        Where the stimuli of each unit, as (layer, channel), are; units that never fired have no entry.
    turned
        Where the transformed stimulus of each family is; families without one have no entry.
    moved
        Where the stimuli and kernels of each family's members, moved back to pose 0, are; likewise.
    """

    sheets: list[SheetEntry]
    units: dict[tuple[str, int], UnitPicturesEntry]
    turned: dict[str, TurnedEntry]
    moved: dict[str, MovedEntry]


# A family, the member whose stimulus is shown, the axes, the first tile, and how many there are.
_Turned = tuple[FamilyEntry, MemberEntry, dict[str, list[float]], int, int]


def cut_pictures(
    folder: Path,
    shown: ShownImages,
    families: Sequence[FamilyEntry],
    on_image: Callable[[int], None] = lambda _steps: None,
) -> CutPictures:
    """Cut the strongest stimuli of all units, and those of families transformed, and write them onto sheets.

    Parameters
    ----------
    folder
        Of the run: sheets go into ``site/sprites``.
    shown
        What the network was shown.
    families
        The families.
    on_image
        Called with 1 after each image.

    Raises
    ------
    EquiscopeError
        If an image that could be read before can no longer be.

    Notes
    -----
    Tiles wait in a temporary file, 9.4 kB each, until their sheets are written: images come in the order of the set,
    sheets in the order of the units.

    Examples
    --------
    >>> from equiscope.measurement.examples import empty_examples
    >>> from equiscope.stimuli import open_images
    >>> examples, geometry = empty_examples("conv1", 2, 1), LayerGeometry("conv1", 2, (1, 1), (9, 9), (4.0, 4.0))
    >>> examples.value[0, 1, 0], examples.image[0, 1, 0], examples.position[0, 1, 0] = 0.7, 5, (40, 60)
    >>> shown = ShownImages(open_images(), {"conv1": geometry}, {"conv1": examples}, whole_px=224)
    >>> cut_pictures(Path("."), shown, []).units
    {('conv1', 1): {'strongest': [0, 0], 'stimuli': [1, 0], 'n': [1, 0], 'order': [0]}}
    """
    orders: dict[int, list[Order]] = defaultdict(list)
    n_tiles = 0
    runs: dict[str, dict[int, _Stimuli]] = {}
    for layer, geometry in shown.geometries.items():
        runs[layer], n_tiles = _order_stimuli(geometry, shown.examples[layer], orders, n_tiles)
    turned, n_tiles = _order_all_turned(families, shown, orders, n_tiles)
    moved = order_moved(families, shown, orders, n_tiles)
    with open_tiles(folder) as tiles:
        _cut_all(shown, orders, tiles, on_image)
        tiles.finish()
        writer = SheetWriter(folder)
        units = _write_units(writer, runs, tiles)
        placed = _write_turned(writer, turned, tiles), write_moved(writer, moved, shown, tiles)
        writer.remove_others()
        return CutPictures(writer.sheets, units, *placed)


@dataclass(frozen=True)
class _Stimuli:
    """Tiles of one unit, finding half first, how many of them each half has, and their order by falling response."""

    tiles: NDArray[np.int64]
    n: list[int]
    order: list[int]


def _order_stimuli(
    geometry: LayerGeometry, examples: Examples, orders: dict[int, list[Order]], first: int
) -> tuple[dict[int, _Stimuli], int]:
    """Order the strongest stimuli of a layer's units; units share what excites several of them."""
    fires = (examples.image != NO_IMAGE) & (np.nan_to_num(examples.value) > 0)
    half, channel, rank = np.nonzero(fires)
    keys = np.column_stack([examples.image[fires], examples.position[fires]]).astype(np.int64)
    distinct, tile_of = np.unique(keys.reshape(-1, 3), axis=0, return_inverse=True)
    tile_of = tile_of.reshape(-1)
    zeros = np.zeros(len(distinct), np.int64)
    centres = centres_px(Bank(geometry.layer, zeros, distinct[:, 0], distinct[:, 1:], zeros), geometry)
    for index, (image, centre) in enumerate(zip(distinct[:, 0].tolist(), centres.tolist(), strict=True)):
        orders[image].append(Order(geometry.layer, (centre[0], centre[1]), first + index))
    found: dict[int, list[tuple[int, int, float, int]]] = defaultdict(list)
    values = examples.value[fires]
    for h, c, r, value, tile in zip(half, channel, rank, values, tile_of, strict=True):
        found[int(c)].append((int(h), int(r), float(value), first + int(tile)))
    stimuli = {}
    for own_channel, entries in sorted(found.items()):
        entries.sort(key=lambda entry: entry[:2])
        order = sorted(range(len(entries)), key=lambda i: -entries[i][2])
        n = [sum(entry[0] == h for entry in entries) for h in (0, 1)]
        stimuli[own_channel] = _Stimuli(np.array([entry[3] for entry in entries]), n, order)
    return stimuli, first + len(distinct)


def _order_all_turned(
    families: Sequence[FamilyEntry], shown: ShownImages, orders: dict[int, list[Order]], first: int
) -> tuple[list[_Turned], int]:
    """Order a transformed stimulus of each family that has one; also gives the first tile after them."""
    turned: list[_Turned] = []
    for family in families:
        chosen = _order_turned(family, shown.geometries, shown.examples, orders, first)
        if chosen is not None:
            turned.append((family, *chosen))
            first += chosen[-1]
    return turned, first


def _order_turned(
    family: FamilyEntry,
    geometries: Mapping[str, LayerGeometry],
    examples: Mapping[str, Examples],
    orders: dict[int, list[Order]],
    first: int,
) -> tuple[MemberEntry, dict[str, list[float]], int, int] | None:
    """Order the family's strongest held-out stimulus under each element; member, axes, first tile and their number."""
    tuning = family["tuning"]
    if tuning is None:
        return None
    strongest: tuple[float, MemberEntry] | None = None
    for member in family["members"]:
        own = examples[member["layer"]]
        value = float(own.value[1, member["channel"], 0]) if own.value.shape[2] else math.nan
        if own.image[1, member["channel"], 0] == NO_IMAGE or not value > 0:
            continue
        # Responses of units differ in scale; each is told as a share of the unit's own largest.
        share = value / float(own.maximum[member["channel"]])
        if strongest is None or share > strongest[0]:
            strongest = share, member
    if strongest is None:
        return None
    member = strongest[1]
    layer, channel = member["layer"], member["channel"]
    axes = {name: [float(value) for value in axis] for name, axis in tuning["axes"].items()}
    for step in find(family["transformation"]).axes:
        if isinstance(step, Step) and step.name in axes:
            own_step = along(member, step)
            axes[step.name] = [value for value in axes[step.name] if abs(value - own_step) <= step.reach]
    while math.prod(len(axis) for axis in axes.values()) > _MOST_ELEMENTS:
        longest = max(axes, key=lambda name: len(axes[name]))
        axes[longest] = axes[longest][::2]
    n = math.prod(len(axis) for axis in axes.values())
    if n == 0:
        return None
    image, place = held_out_place(geometries[layer], examples[layer], channel, 0)
    orders[image].append(Order(layer, place, first, family, member, axes))
    return member, axes, first, n


def _cut(image: Tensor, order: Order, size_px: int) -> Tensor:
    """Cut what was ordered, shape (tile, 3, size_px, size_px)."""
    centre = order.centre_px
    if math.isnan(centre[0]):
        centre = ((image.shape[1] - 1) / 2, (image.shape[2] - 1) / 2)
    if order.member is None or order.axes is None or order.family is None:
        return crop_around(image, centre, size_px)[0][None]
    transformation = find(order.family["transformation"])
    own = pose_of(order.member, transformation.axes)
    wanted = [Pose(dict(zip(order.axes, values, strict=True))) for values in product(*order.axes.values())]
    crop, inside, _ = crop_around(image, centre, transformation.crop_px_at(own, wanted, size_px))
    return transformation.show_at(crop, inside, own, wanted, size_px)


def _cut_all(
    shown: ShownImages,
    orders: Mapping[int, Sequence[Order]],
    tiles: TileFile,
    on_image: Callable[[int], None],
) -> None:
    """Cut what is ordered of each image, decoded once, and write its tiles; some images at a time."""
    wanted = sorted(orders)

    def cut(number: int) -> list[tuple[int, NDArray[np.uint8]]]:
        return list(_tiles_of(shown, wanted[number], orders[wanted[number]]))

    for own in in_parallel(cut, len(wanted)):
        for number, tile in own:
            tiles.write(number, tile)
        on_image(1)


def _tiles_of(
    shown: ShownImages, index: int, orders: Sequence[Order]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Cut what is ordered of one image: the number of each tile, and the tile."""
    image = shown.images.load_again(index)
    for order in orders:
        for i, patch in enumerate(_cut(image, order, shown.side_px(order.layer))):
            pixels = (patch.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            yield order.first + i, shrink(pixels)


def _write_units(
    writer: SheetWriter, runs: Mapping[str, Mapping[int, _Stimuli]], tiles: TileFile
) -> dict[tuple[str, int], UnitPicturesEntry]:
    units: dict[tuple[str, int], UnitPicturesEntry] = {}
    for layer, stimuli in runs.items():
        all_own = list(stimuli.values())
        strongest = writer.write(
            f"{layer}-strongest", [own.tiles[own.order[:1]] for own in all_own], tiles.read
        )
        places = writer.write(f"{layer}-stimuli", [own.tiles for own in all_own], tiles.read)
        for (channel, own), top, place in zip(stimuli.items(), strongest, places, strict=True):
            units[layer, channel] = {
                "strongest": list(top),
                "stimuli": list(place),
                "n": own.n,
                "order": own.order,
            }
    return units


def _write_turned(writer: SheetWriter, turned: Sequence[_Turned], tiles: TileFile) -> dict[str, TurnedEntry]:
    found: dict[str, TurnedEntry] = {}
    by_layer: dict[str, list[Any]] = defaultdict(list)
    for entry in turned:
        by_layer["+".join(entry[0]["layers"])].append(entry)
    for layer, entries in by_layer.items():
        places = writer.write(
            f"{layer}-turned", [np.arange(first, first + n) for *_, first, n in entries], tiles.read
        )
        for (family, member, axes, _, _), (sheet, first) in zip(entries, places, strict=True):
            found[family["id"]] = {
                "layer": member["layer"],
                "channel": member["channel"],
                "axes": axes,
                "sheet": sheet,
                "first": first,
            }
    return found
