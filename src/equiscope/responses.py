"""The responses of every unit to a stimulus bank under every element of a group, on disk and resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor
from zarr.codecs import Crc32cCodec

from equiscope.bank import Bank, cut_orbits
from equiscope.errors import EquiscopeError
from equiscope.groups import Group, Scales
from equiscope.models.geometry import LayerGeometry
from equiscope.models.model import Model
from equiscope.stimuli import ImageSet

__all__ = [
    "Responses",
    "measure_responses",
    "open_responses",
    "patches_per_pass",
    "scramble_responses",
]

G = TypeVar("G", bound=Group)

# One chunk on disk is what an interruption can lose: about two seconds of a deep layer.
CHUNK_STIMULI = 64
# Nothing is compressed: a chunk that somebody else made cannot unpack into more than it is.
_CODECS = (Crc32cCodec(),)
# Pixels of patches in one forward pass: large enough to keep two cores busy, small enough for their caches.
_PIXELS_PER_PASS = 700_000
# Pixels of patches cut together, 120 MB: a whole chunk for patches of up to 98 px at 16 angles.
_PIXELS_PER_CUT = 10_000_000


@dataclass(frozen=True)
class Responses(Generic[G]):
    """Centre responses of every unit to every stimulus under every group element.

    Element k of a rotation of stimulus p is the stimulus turned by ``bank.start_deg(group)[p] + k * 360 / order``
    degrees; likewise for hue.

    Attributes
    ----------
    bank
        The stimuli.
    group
        The group.
    array
        The numbers, on disk or in memory, shape (stimulus, element, unit), before the ReLU, activation units.
    """

    bank: Bank
    group: G
    array: zarr.Array[Any] | NDArray[np.float32]

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.array.shape[2])

    def of_half(self, half: int) -> tuple[int, int]:
        """First and last (exclusive) stimulus of a half; the bank is ordered by half."""
        return int(np.searchsorted(self.bank.half, half)), int(np.searchsorted(self.bank.half, half + 1))

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Responses after the ReLU, shape (stimulus, element, unit), of a range of stimuli."""
        return np.maximum(np.asarray(self.array[start:stop], dtype=np.float32), 0)

    def chunks(
        self, half: int, n_stimuli: int = 8 * CHUNK_STIMULI
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Walk through a half in bounded memory: index of the first stimulus and responses after the ReLU."""
        first, last = self.of_half(half)
        for start in range(first, last, n_stimuli):
            yield start, self.read(start, min(start + n_stimuli, last))


def open_responses(path: Path, bank: Bank, group: G, n_units: int) -> Responses[G]:
    """Open the array of a layer's responses, or make an empty one where there is none.

    Every chunk carries a checksum, so that a chunk which was half written when the process was killed is
    recognised and measured again.

    Raises
    ------
    EquiscopeError
        If there is an array of another shape at this place.
    """
    shape = (len(bank), group.order, n_units)
    chunks = (CHUNK_STIMULI, group.order, n_units)
    # The description is written last, by renaming, so a folder without one holds nothing yet.
    if (path / "zarr.json").exists():
        array = zarr.open_array(path, mode="r+")
        if array.shape != shape:
            raise EquiscopeError(
                f"{path} holds responses of shape {array.shape}, expected {shape}: remove it"
            )
        if (
            array.chunks != chunks
            or array.shards
            or array.compressors != _CODECS
            or array.dtype != np.float32
        ):
            raise EquiscopeError(
                f"{path} stores its responses in another way than a survey does (chunks of {array.chunks}, "
                f"{array.dtype}), expected chunks of {chunks}, float32: remove it"
            )
    else:
        array = zarr.create_array(
            path,
            shape=shape,
            chunks=chunks,
            dtype="float32",
            fill_value=np.nan,
            compressors=_CODECS,
            overwrite=True,
        )
    return Responses(bank, group, array)


def scramble_responses(
    responses: Responses[G], channels: NDArray[np.int64], rng: np.random.Generator
) -> Responses[G]:
    """Copy responses into memory with the poses of some units destroyed: a control with known truth.

    Each (stimulus, unit) of the channels is transformed by its own random group element, so that any family that holds
    such a unit is false. Scales, which are no group, are shifted round.

    Parameters
    ----------
    responses
        Responses of a layer, read whole.
    channels
        Units to scramble, shape (unit,).
    rng
        Source of randomness.
    """
    values = np.array(responses.array[:], dtype=np.float32)
    group, order = responses.group, responses.group.order
    if isinstance(group, Scales):
        table = (np.arange(order)[None, :] - np.arange(order)[:, None]) % order
    else:
        # Shown g⁻¹h where h was asked for: what is left is the unit transformed by g.
        table = np.array([[group.compose(group.inverse(g), h) for h in range(order)] for g in range(order)])
    drawn = rng.integers(0, order, (len(values), len(channels)))
    element = table[drawn].transpose(0, 2, 1)
    values[:, :, channels] = np.take_along_axis(values[:, :, channels], element, axis=1)
    return Responses(responses.bank, responses.group, values)


def measure_responses(
    model: Model,
    images: ImageSet,
    geometry: LayerGeometry | Sequence[LayerGeometry],
    responses: Responses[Any],
    *,
    size_px: int | None = None,
    whole_px: int = 224,
    precision: torch.dtype = torch.float32,
    on_stimuli: Callable[[int], None] | None = None,
) -> None:
    """Run every stimulus of a bank under every group element once and keep all units' centre responses.

    Parameters
    ----------
    model, images
        The network and the images from which the bank was made.
    geometry
        The layer's geometry; of several layers, whose units then stand side by side in the array.
    responses
        Where the numbers go; chunks that are already there are not measured again.
    size_px
        Side of the stimuli; by default just as large as the receptive field needs. Several layers need one that has
        room for all (``joint_patch_px``), and are read at the positions nearest to its middle.
    whole_px
        Side of the stimuli for a layer whose receptive field is the whole image, px.
    precision
        ``torch.bfloat16`` runs the network under autocast, which leaves its parameters as they are.
    on_stimuli
        Called with the number of stimuli done since the last call.

    Raises
    ------
    EquiscopeError
        If the network answers with NaN or infinity.

    Notes
    -----
    Cost: one forward pass a stimulus and element, on a patch just as large as the receptive field needs. The
    position read is the one centred in the patch, whose value equals that in the full image: padding inside the
    network only reaches positions further out.
    """
    bank, group = responses.bank, responses.group
    layers = {g.layer: g for g in ([geometry] if isinstance(geometry, LayerGeometry) else geometry)}
    first = next(iter(layers.values()))
    own_geometry = first if len(layers) == 1 else None
    if size_px is None:
        size_px = whole_px if first.is_global else first.patch_px

    def read_centre(layer: str, output: Tensor) -> Tensor:
        if layers[layer].is_global:
            row, column = output.shape[2] // 2, output.shape[3] // 2
        elif len(layers) == 1:
            row, column = layers[layer].position_in_patch(size_px)
        else:
            row, column = layers[layer].nearest_position(size_px)
        return output[:, :, row, column].float()

    per_pass = patches_per_pass(size_px, group.order)
    per_cut = max(1, _PIXELS_PER_CUT // (group.order * size_px**2))
    for start in range(0, len(bank), CHUNK_STIMULI):
        stop = min(start + CHUNK_STIMULI, len(bank))
        if not _is_measured(responses, start, stop):
            parts = []
            for begin in range(start, stop, per_cut):
                some = slice(begin, min(begin + per_cut, stop))
                patches = cut_orbits(images, bank, own_geometry, group, size_px, some).flatten(0, 1)
                for i in range(0, len(patches), per_pass):
                    with torch.autocast(model.device.type, precision, enabled=precision != torch.float32):
                        read = model.record(patches[i : i + per_pass], list(layers), read_centre)
                    parts.append(torch.cat([read[layer].cpu() for layer in layers], dim=1))
            values = torch.cat(parts).view(stop - start, group.order, -1).numpy()
            if not np.isfinite(values).all():
                column = int(np.argwhere(~np.isfinite(values))[0, 2])
                raise not_finite(model, *_unit_of_column(layers, column))
            responses.array[start:stop] = values
        if on_stimuli is not None:
            on_stimuli(stop - start)


def _unit_of_column(layers: dict[str, LayerGeometry], column: int) -> tuple[str, int]:
    """Layer and channel of a column of the array."""
    names = [(name, channel) for name, geometry in layers.items() for channel in range(geometry.n_channels)]
    return names[column]


def not_finite(model: Model, layer: str, channel: int) -> EquiscopeError:
    """Build the error for a network that answers with NaN or infinity."""
    return EquiscopeError(
        f"{model.name} answers with NaN or infinity in layer {layer!r}, channel {channel}: "
        "check its weights and the value range that it expects (images come as RGB in [0, 1])"
    )


def patches_per_pass(size_px: int, order: int) -> int:
    """Patches that ``measure_responses`` puts into one forward pass: at least one stimulus under all elements."""
    return max(order, _PIXELS_PER_PASS // size_px**2)


def _is_measured(responses: Responses[Any], start: int, stop: int) -> bool:
    """Whether a chunk is on disk, whole."""
    try:
        return bool(np.isfinite(np.asarray(responses.array[start:stop])).all())
    except (ValueError, RuntimeError):
        # The checksum or the length is wrong: the chunk was being written when the process ended.
        return False
