"""The members of a family at pose 0: their stimuli, and in a first layer their kernels, each moved back by its pose.

Of exact copies all rows then look the same, whatever their poses are; a look-alike stands out. The stimuli are the
strongest ones of the verifying half of the images, which took no part in finding members and poses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.measurement.bank import Bank, centres_px
from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.models.geometry import LayerGeometry
from equiscope.reports.document.pictures.sheets import SheetWriter, shrink
from equiscope.reports.document.pictures.shown import Order, ShownImages
from equiscope.reports.document.pictures.tiles import TileFile
from equiscope.reports.document.poses import pose_of
from equiscope.reports.document.schema import FamilyEntry, MemberEntry, MovedEntry
from equiscope.reports.document.wording import measured
from equiscope.transformations import Step, find

__all__ = ["draw_kernels", "held_out_place", "order_moved", "write_moved"]

# Stimuli of each member that are shown moved back: a survey keeps four of each half unless it is asked for more.
_N_STIMULI = 4

# A family, its first tile, and how many each member has.
_Moved = tuple[FamilyEntry, int, list[int]]


def held_out_place(
    geometry: LayerGeometry, examples: Examples, channel: int, rank: int
) -> tuple[int, tuple[float, float]]:
    """Give the image of a unit's held-out stimulus, and its centre (y, x) there, px; NaN for the image's own middle.

    Examples
    --------
    >>> from equiscope.measurement.examples import empty_examples
    >>> examples, geometry = empty_examples("conv1", 2, 1), LayerGeometry("conv1", 2, (2, 2), (9, 9), (4.0, 4.0))
    >>> examples.image[1, 0, 0], examples.position[1, 0, 0] = 7, (3, 5)
    >>> held_out_place(geometry, examples, 0, 0)
    (7, (10.0, 14.0))
    """
    image, position = examples.image[1, channel, rank], examples.position[1, channel, rank : rank + 1]
    zero = np.zeros(1, np.int64)
    centre = centres_px(Bank(geometry.layer, zero, zero, position, zero), geometry)[0]
    return int(image), (float(centre[0]), float(centre[1]))


def order_moved(
    families: Sequence[FamilyEntry], shown: ShownImages, orders: dict[int, list[Order]], first: int
) -> list[_Moved]:
    """Order the strongest held-out stimuli of all members, moved back to pose 0.

    Parameters
    ----------
    families, shown
        The families, and what the network was shown.
    orders
        What is to be cut, by image: added to.
    first
        Number of the first tile.

    Returns
    -------
    list of (family, first tile, number of tiles of each member)
        Families of which nothing can be shown moved are left out.

    Examples
    --------
    >>> from equiscope.measurement.examples import empty_examples
    >>> from equiscope.stimuli import open_images
    >>> examples, geometry = empty_examples("conv1", 1, 1), LayerGeometry("conv1", 1, (2, 2), (9, 9), (4.0, 4.0))
    >>> examples.value[1, 0, 0], examples.image[1, 0, 0], examples.position[1, 0, 0] = 0.7, 7, (3, 5)
    >>> member = {"layer": "conv1", "channel": 0, "pose": {"angle_deg": 90.0}}
    >>> family = {"transformation": "rotation", "members": [member, member | {"pose": {"angle_deg": None}}]}
    >>> shown, orders = ShownImages(open_images(), {"conv1": geometry}, {"conv1": examples}, 224), defaultdict(list)
    >>> [number for _, *number in order_moved([family], shown, orders, 5)], orders[7][0].axes
    ([[5, [1, 0]]], {'angle_deg': [0.0]})
    """
    moved: list[_Moved] = []
    for family in families:
        transformation = find(family["transformation"])
        if not transformation.is_surveyed:
            continue  # nothing shows its stimuli
        zero = {axis.name: [0.0] for axis in transformation.axes}
        start, counts = first, []
        for member in family["members"]:
            n = _n_shown(family, member, shown.examples[member["layer"]])
            for rank in range(n):
                layer = member["layer"]
                place = shown.geometries[layer], shown.examples[layer]
                image, centre = held_out_place(*place, member["channel"], rank)
                orders[image].append(Order(layer, centre, first, family, member, zero))
                first += 1
            counts.append(n)
        if first > start:
            moved.append((family, start, counts))
    return moved


def _n_shown(family: FamilyEntry, member: MemberEntry, examples: Examples) -> int:
    """Count the stimuli of a member that can be shown moved: none where its pose was not measured or is too far."""
    for axis in find(family["transformation"]).axes:
        value = measured(member["pose"].get(axis.name))
        if value is None or (isinstance(axis, Step) and abs(value) > axis.reach):
            return 0
    channel = member["channel"]
    fires = (examples.image[1, channel] != NO_IMAGE) & (np.nan_to_num(examples.value[1, channel]) > 0)
    # Stimuli stand by falling response: behind the first that is none there is no other.
    return int(np.argmin(fires[:_N_STIMULI])) if not fires[:_N_STIMULI].all() else len(fires[:_N_STIMULI])


def draw_kernels(kernels: NDArray[Any], largest: NDArray[Any] | None = None) -> NDArray[np.uint8]:
    """Draw kernels on the image as pictures: grey is 0, and a colour is what excites the unit there.

    Parameters
    ----------
    kernels
        Shape (unit, 3, y, x).
    largest
        What stands for full colour, shape (unit,); by default the largest weight of each.

    Returns
    -------
    ndarray, shape (unit, tile, tile, 3)

    Examples
    --------
    >>> kernel = np.zeros((1, 3, 5, 5))
    >>> kernel[0, 0, :, 3:] = 0.3
    >>> draw_kernels(kernel)[0, 28, [0, 55]].tolist()
    [[128, 128, 128], [255, 128, 128]]
    """
    most = np.abs(kernels).max((1, 2, 3)) if largest is None else largest
    shares = kernels / np.where(most > 0, most, 1.0)[:, None, None, None]
    pixels = np.rint(127.5 + 127.5 * np.clip(shares, -1, 1)).astype(np.uint8).transpose(0, 2, 3, 1)
    return np.stack([shrink(np.ascontiguousarray(own)) for own in pixels])


def write_moved(
    writer: SheetWriter, moved: Sequence[_Moved], shown: ShownImages, tiles: TileFile
) -> dict[str, MovedEntry]:
    """Write the tiles that were ordered onto sheets, and kernels beside them; gives where, by family.

    Examples
    --------
    A family of two members with one stimulus each, as it is and moved back.

    >>> from pathlib import Path
    >>> from equiscope.reports.document.pictures.tiles import open_tiles
    >>> from equiscope.stimuli import open_images
    >>> family, shown = {"id": "conv1-rotation-1", "layers": ["conv1"]}, ShownImages(open_images(), {}, {}, 224)
    >>> with open_tiles(Path(".")) as tiles:
    ...     for number in range(4):
    ...         tiles.write(number, np.full((56, 56, 3), 60 * number, np.uint8))
    ...     write_moved(SheetWriter(Path(".")), [(family, 0, [2, 2])], shown, tiles)
    {'conv1-rotation-1': {'sheet': 0, 'first': 0, 'n': [2, 2]}}
    """
    found: dict[str, MovedEntry] = {}
    by_layer: dict[str, list[_Moved]] = defaultdict(list)
    for entry in moved:
        by_layer["+".join(entry[0]["layers"])].append(entry)
    for layer, entries in by_layer.items():
        runs = [np.arange(first, first + sum(counts)) for _, first, counts in entries]
        places = writer.write(f"{layer}-moved", runs, tiles.read)
        for (family, _, counts), (sheet, first) in zip(entries, places, strict=True):
            found[family["id"]] = {"sheet": sheet, "first": first, "n": counts}
        if layer in shown.kernels:
            _write_kernels(writer, layer, [family for family, *_ in entries], shown, found)
    return found


def _write_kernels(
    writer: SheetWriter,
    layer: str,
    families: Sequence[FamilyEntry],
    shown: ShownImages,
    found: Mapping[str, MovedEntry],
) -> None:
    """Write the kernels of families of a first layer, as they are and moved back."""
    weights = shown.kernels[layer]
    pictures: list[NDArray[np.uint8]] = []
    runs: list[tuple[FamilyEntry, bool, NDArray[np.int64]]] = []
    for family in families:
        channels = [member["channel"] for member in family["members"]]
        own, name = weights.kernels(channels), family["transformation"]
        poses = [pose_of(member, find(name).axes) for member in family["members"]]
        drawn = {False: own, True: weights.kernels_moved_back(channels, poses, name)}
        for is_moved, kernels in drawn.items():
            start = len(pictures)
            pictures += list(draw_kernels(_without_rim(kernels, own), np.abs(own).max((1, 2, 3))))
            runs.append((family, is_moved, np.arange(start, len(pictures))))
    if not runs:
        return
    places = writer.write(
        f"{layer}-kernels",
        [run for *_, run in runs],
        lambda numbers: np.stack([pictures[i] for i in numbers]),
    )
    for (family, is_moved, _), place in zip(runs, places, strict=True):
        found[family["id"]]["moved_kernels" if is_moved else "kernels"] = list(place)


def _without_rim(kernels: NDArray[Any], own: NDArray[Any]) -> NDArray[Any]:
    """Leave out the rim, all round, in which no kernel as it is has a weight: patches are larger than kernels."""
    is_used = np.abs(own).max((0, 1)) > 0
    rim = 0
    while min(is_used.shape) - 2 * rim > 2:
        inner = is_used[rim + 1 : is_used.shape[0] - rim - 1, rim + 1 : is_used.shape[1] - rim - 1]
        if inner.sum() < is_used.sum():
            break
        rim += 1
    return kernels[..., rim : kernels.shape[-2] - rim, rim : kernels.shape[-1] - rim]
