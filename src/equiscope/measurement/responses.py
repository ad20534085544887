"""Responses of all units to a stimulus bank under every element of a group: on disk, and continued where they stopped.

The array has the shape (stimulus, element, unit) and holds the value of each unit at the middle of each patch. For 500
stimuli, 16 angles and 64 units it takes 2 MB. It is written in chunks of 64 stimuli with a checksum each, so that an
interrupted survey measures only the chunks that are missing or damaged.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from zarr.abc.buffer import Buffer
from zarr.codecs import Crc32cCodec
from zarr.storage import LocalStore, MemoryStore

from equiscope.foundations.documents import to_json
from equiscope.foundations.errors import DamagedFileError, EquiscopeError
from equiscope.foundations.files import write_atomically
from equiscope.foundations.records import reading
from equiscope.measurement.bank import Bank, cut_orbits
from equiscope.measurement.centres import Centres
from equiscope.models.borrowing import borrows_model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.model import Model
from equiscope.models.refusals import refusals_told
from equiscope.stimuli import ImageSet
from equiscope.transformations.groups import Group, Segment

__all__ = [
    "Measured",
    "Responses",
    "measure_responses",
    "open_responses",
    "scramble_responses",
]

_LOG = logging.getLogger(__name__)

G = TypeVar("G", bound=Group)

# Channels that an error names.
_MOST_NAMED = 8
# One chunk on disk is what an interruption can lose: about two seconds of a deep layer.
CHUNK_STIMULI = 64
# Nothing is compressed: a chunk that somebody else made cannot unpack into more than it is.
_CODECS = (Crc32cCodec(),)
# Pixels of patches cut together, 120 MB: a whole chunk for patches of up to 98 px at 16 angles.
_PIXELS_PER_CUT = 10_000_000
_DIGEST = "stimuli_sha256"
# Parts of an array's description that are not the same in all versions of equiscope and zarr.
_VARYING = ("attributes", "storage_transformers")


@dataclass(frozen=True)
class Responses(Generic[G]):
    """Centre responses of every unit to every stimulus under every group element.

    Element k of a rotation of stimulus p is the stimulus turned by ``bank.starts_deg(group)[0][p] + k * 360 / order``
    degrees; likewise for hue.

    Attributes
    ----------
    bank
        The stimuli.
    group
        The group.
    array
        The numbers, on disk or in memory, shape (stimulus, element, unit), before the ReLU, activation units.
    path
        Folder of the array on disk; None in memory.
    """

    bank: Bank
    group: G
    array: zarr.Array[Any] | NDArray[np.float32]
    path: Path | None = None

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.array.shape[2])

    def of_half(self, half: int) -> tuple[int, int]:
        """First and last (exclusive) stimulus of a half; the bank is ordered by half."""
        return int(np.searchsorted(self.bank.half, half)), int(np.searchsorted(self.bank.half, half + 1))

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Responses after the ReLU, shape (stimulus, element, unit), of a range of stimuli.

        Raises
        ------
        DamagedFileError
            If a chunk on disk is damaged, or is not there.
        """
        return np.maximum(self._stored(start, stop), 0)

    def _stored(self, start: int, stop: int) -> NDArray[np.float32]:
        if self.path is None:
            return np.asarray(self.array[start:stop], dtype=np.float32)
        with reading(self.path):
            values = np.asarray(self.array[start:stop], dtype=np.float32)
            # A chunk that is not there reads as NaN, and the smallest of anything with NaN in it is NaN.
            if values.size and not np.isfinite(values.min()):
                raise ValueError(f"the responses to stimuli {start} to {stop - 1} are not all there")
        return values

    def chunks(
        self, half: int, n_stimuli: int = 8 * CHUNK_STIMULI
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Walk through a half in bounded memory: index of the first stimulus and responses after the ReLU."""
        first, last = self.of_half(half)
        for start in range(first, last, n_stimuli):
            yield start, self.read(start, min(start + n_stimuli, last))


@dataclass(frozen=True)
class Measured:
    """What it took to measure responses.

    Attributes
    ----------
    n_chunks
        Chunks that were not there before.
    notes
        Why more was computed than the positions need, a sentence each.
    """

    n_chunks: int
    notes: tuple[str, ...] = ()


class _ChunkStore(LocalStore):
    """Files of chunks, written as everything else in a run, so that a killed process leaves nothing unknown."""

    async def set(self, key: str, value: Buffer) -> None:
        """Write a chunk or the description."""
        content = value.to_bytes()
        path = Path(self.root) / key
        await asyncio.to_thread(write_atomically, path, lambda stream: stream.write(content), is_synced=False)


def open_responses(path: Path, bank: Bank, group: G, n_units: int) -> Responses[G]:
    """Open the array of a layer's responses, or make an empty one where there is none of these stimuli.

    Every chunk carries a checksum, so that a chunk which was half written when the process was killed is
    recognised and measured again. The description of the array, ``zarr.json``, carries a digest of what was to be
    measured. Where it is damaged, or the digest is that of other stimuli, the array is begun again.

    Raises
    ------
    EquiscopeError
        If there is an array of another shape at this place.

    Examples
    --------
    >>> from equiscope.transformations.groups import CyclicGroup
    >>> place = np.arange(4)
    >>> bank = Bank("conv1", place // 2, place, np.zeros((4, 2), int), place)
    >>> responses = open_responses(Path("responses.zarr"), bank, CyclicGroup(4), n_units=3)
    >>> responses.array.shape
    (4, 4, 3)
    """
    described = _describe(bank, group, n_units)
    chunks, place = path / "c", path / "zarr.json"
    # In this order: another process that begins the same array writes its description before its first chunk.
    has_chunks = chunks.exists()
    found = _read_description(place)
    if found is None or not _is_whole(found, described, path):
        if has_chunks:
            _LOG.warning(
                "%s was lost, damaged, or of other stimuli: all of these responses are measured again", place
            )
            shutil.rmtree(chunks)
        write_atomically(place, lambda stream: stream.write(to_json(described).encode()))
    with reading(place):
        return Responses(bank, group, zarr.open_array(_ChunkStore(path), mode="r+"), path)


def _read_description(place: Path) -> dict[str, Any] | None:
    """Read the description of an array; None where it is not there, or is no JSON."""
    try:
        with reading(place):
            found = json.loads(place.read_bytes())
    except DamagedFileError:
        if place.is_dir():
            raise
        return None
    return found if isinstance(found, dict) else None


def _is_whole(found: dict[str, Any], described: dict[str, Any], path: Path) -> bool:
    """Whether a description says what it should; a whole one of another array is refused."""
    attributes = found.get("attributes")
    digest = attributes.get(_DIGEST) if isinstance(attributes, dict) else None
    differing = [key for key in described if key not in _VARYING and found.get(key) != described[key]]
    is_ours = digest == described["attributes"][_DIGEST]
    if not is_ours and set(differing) == {"shape", "chunk_grid"}:
        shape = str(found.get("shape"))[:60]
        raise EquiscopeError(
            f"{path} holds responses of shape {shape}, expected {tuple(described['shape'])}: remove it"
        )
    # Earlier versions wrote no digest.
    return not differing and (is_ours or attributes == {})


def _describe(bank: Bank, group: Group, n_units: int) -> dict[str, Any]:
    """Give the description of an array, the contents of ``zarr.json``; the same for the same array."""
    digest = hashlib.sha256(f"{group.name} {group.order} {n_units}".encode())
    for part in (bank.half, bank.image, bank.position, bank.centre_px):
        digest.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
    store: dict[str, Buffer] = {}
    zarr.create_array(
        MemoryStore(store),
        shape=(len(bank), group.order, n_units),
        chunks=(CHUNK_STIMULI, group.order, n_units),
        dtype="float32",
        fill_value=np.nan,
        compressors=_CODECS,
        attributes={_DIGEST: digest.hexdigest()},
    )
    return dict(json.loads(store["zarr.json"].to_bytes()))


def scramble_responses(
    responses: Responses[G], channels: NDArray[np.int64], rng: np.random.Generator
) -> Responses[G]:
    """Copy responses into memory with the poses of some units destroyed: a control with known truth.

    Each (stimulus, unit) of the channels is transformed by its own random group element, so that any family that holds
    such a unit is false. Steps along a line, which are no group, are shifted round.

    Parameters
    ----------
    responses
        Responses of a layer, read whole.
    channels
        Units to scramble, shape (unit,).
    rng
        Source of randomness.

    Examples
    --------
    >>> from equiscope.transformations.groups import CyclicGroup
    >>> place = np.arange(4)
    >>> bank = Bank("conv1", place // 2, place, np.zeros((4, 2), int), place)
    >>> values = np.arange(48, dtype=np.float32).reshape(4, 4, 3)
    >>> responses = Responses(bank, CyclicGroup(4), values)
    >>> turned = scramble_responses(responses, np.array([1]), np.random.default_rng(0)).array
    >>> np.array_equal(turned[:, :, 0], values[:, :, 0]), np.array_equal(turned[:, :, 1], values[:, :, 1])
    (True, False)
    >>> np.array_equal(np.sort(turned, axis=1), values)
    True
    """
    values = np.array(responses.array[:], dtype=np.float32)
    group, order = responses.group, responses.group.order
    if isinstance(group, Segment):
        table = (np.arange(order)[None, :] - np.arange(order)[:, None]) % order
    else:
        # Shown g⁻¹h where h was asked for: what is left is the unit transformed by g.
        table = np.array([[group.compose(group.inverse(g), h) for h in range(order)] for g in range(order)])
    drawn = rng.integers(0, order, (len(values), len(channels)))
    element = table[drawn].transpose(0, 2, 1)
    values[:, :, channels] = np.take_along_axis(values[:, :, channels], element, axis=1)
    return Responses(responses.bank, responses.group, values)


@borrows_model
def measure_responses(
    model: Model,
    images: ImageSet,
    geometry: LayerGeometry | Sequence[LayerGeometry],
    responses: Responses[Any] | Sequence[Responses[Any]],
    *,
    size_px: int | None = None,
    whole_px: int = 224,
    precision: torch.dtype = torch.float32,
    on_stimuli: Callable[[int], None] | None = None,
) -> Measured:
    """Run every stimulus of a bank under every group element once and keep all units' centre responses.

    Parameters
    ----------
    model, images, geometry
        The network, the images of the bank, and the layer; of several, the units stand side by side in the array.
    responses
        Where the numbers go; chunks that are already there are not measured again. With several of the same stimuli
        each takes its part of the units, in the order of the layers.
    size_px, whole_px
        Side of the stimuli, px; by default the first layer's patch, or ``whole_px`` where that is the whole image.
    precision
        ``torch.bfloat16`` runs the network under autocast; its parameters stay.
    on_stimuli
        Called with the number of stimuli done since the last call.

    Returns
    -------
    Measured
        How many chunks were measured; all are on the disk now.

    Raises
    ------
    EquiscopeError
        If the network answers with NaN or infinity, or refuses the stimuli.

    Notes
    -----
    One forward pass a stimulus and element, of what the position that is read sees (`equiscope.measurement.centres`).

    Examples
    --------
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.stimuli import open_images
    >>> from equiscope.transformations.groups import CyclicGroup
    >>> model, place = Model(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5))), np.arange(2)
    >>> bank = Bank("0", place, place, np.full((2, 2), 9), place)
    >>> responses = Responses(bank, CyclicGroup(8), np.full((2, 8, 4), np.nan, np.float32))
    >>> measured = measure_responses(model, open_images(), find_geometry(model, ["0"])["0"], responses)
    >>> measured.n_chunks, bool(np.isfinite(responses.array).all())
    (1, True)
    """
    several = [geometry] if isinstance(geometry, LayerGeometry) else list(geometry)
    arrays = [responses] if isinstance(responses, Responses) else list(responses)
    if size_px is None:
        size_px = whole_px if several[0].is_global else several[0].patch_px
    centres = Centres(model, several, size_px, precision)
    shown = _Shown(centres, images, several, arrays[0].bank, arrays[0].group)
    return Measured(_measure_missing(shown, arrays, on_stimuli), centres.notes)


def _measure_missing(
    shown: _Shown, arrays: Sequence[Responses[Any]], on_stimuli: Callable[[int], None] | None
) -> int:
    """Measure the chunks that are not there yet, give their number, and see to it that all are on the disk."""
    n_measured, n_stimuli = 0, len(shown.bank)
    bounds = np.cumsum([own.n_units for own in arrays])[:-1]
    for start in range(0, n_stimuli, CHUNK_STIMULI):
        stop = min(start + CHUNK_STIMULI, n_stimuli)
        missing = [not _is_measured(own, start, stop) for own in arrays]
        if any(missing):
            values = np.split(shown.measure(start, stop), bounds, axis=2)
            for own, part, is_missing in zip(arrays, values, missing, strict=True):
                if is_missing:
                    _clear_chunk(own, start)
                    own.array[start:stop] = part
            n_measured += 1
        if on_stimuli is not None:
            on_stimuli(stop - start)
    for own in arrays:
        _sync_chunks(own)
    return n_measured


@dataclass(frozen=True)
class _Shown:
    """What is shown to a network."""

    centres: Centres
    images: ImageSet
    layers: Sequence[LayerGeometry]
    bank: Bank
    group: Group

    def measure(self, start: int, stop: int) -> NDArray[np.float32]:
        """Show some stimuli under every element; shape (stimulus, element, unit), activation units."""
        model, group, size_px = self.centres.model, self.group, self.centres.size_px
        per_cut = max(1, _PIXELS_PER_CUT // (group.order * size_px**2))
        what = f"stimuli of {size_px} x {size_px} px"
        advice = "leave the layer out, or give images of another size"
        parts = []
        for begin in range(start, stop, per_cut):
            some = slice(begin, min(begin + per_cut, stop))
            patches = cut_orbits(self.images, self.bank, self.layers[0], group, size_px, some).flatten(0, 1)
            with refusals_told(model, what, advice):
                parts.append(self.centres.read(patches, group.order))
        values = torch.cat(parts).view(stop - start, group.order, -1).numpy()
        if not np.isfinite(values).all():
            columns = np.flatnonzero(~np.isfinite(values).all((0, 1)))
            units = [_unit_of_column(self.layers, column) for column in columns.tolist()]
            layer, _ = units[0]
            raise not_finite(model, layer, [channel for own, channel in units if own == layer])
        return values


def _unit_of_column(layers: Sequence[LayerGeometry], column: int) -> tuple[str, int]:
    """Layer and channel of a column of the array."""
    return [(own.layer, channel) for own in layers for channel in range(own.n_channels)][column]


def not_finite(model: Model, layer: str, channels: Sequence[int]) -> EquiscopeError:
    """Build the error for a network that answers with NaN or infinity in some channels."""
    named = ", ".join(map(str, channels[:_MOST_NAMED]))
    others = f" and {len(channels) - _MOST_NAMED} more" if len(channels) > _MOST_NAMED else ""
    return EquiscopeError(
        f"{model.name} answers with NaN or infinity in layer {layer!r}, channel {named}{others}: "
        "check its weights and the value range that it expects (images come as RGB in [0, 1])"
    )


def _is_measured(responses: Responses[Any], start: int, stop: int) -> bool:
    """Whether a chunk is on disk, whole."""
    try:
        return bool(np.isfinite(responses._stored(start, stop)).all())
    except DamagedFileError:
        # The checksum or the length is wrong, or there is nothing yet: the process ended before it was written.
        return False


def _chunk_files(responses: Responses[Any], starts: Iterable[int]) -> list[Path]:
    """Files of the chunks that begin with some stimuli; none in memory."""
    if responses.path is None or isinstance(responses.array, np.ndarray):
        return []
    key = responses.array.metadata.encode_chunk_key
    return [responses.path / key((start // CHUNK_STIMULI, 0, 0)) for start in starts]


def _clear_chunk(responses: Responses[Any], start: int) -> None:
    """Take away a folder that stands in the place of a chunk; a damaged file is replaced as it is written."""
    for path in _chunk_files(responses, [start]):
        if path.is_dir():
            shutil.rmtree(path)


def _sync_chunks(responses: Responses[Any]) -> None:
    """See to it that all chunks are on the disk, so that no result outlives, in a power cut, what it rests on."""
    files = _chunk_files(responses, range(0, len(responses.bank), CHUNK_STIMULI))
    for path in files:
        with path.open("r+b") as stream:
            os.fsync(stream.fileno())
    # Their names stand in folders, which not every system can sync.
    for folder in dict.fromkeys(parent for path in files for parent in list(path.parents)[:4]):
        with suppress(OSError):
            _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
