"""The stimulus bank under every group element, and the orbit correlations of all pairs of units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor
from zarr.codecs import Crc32cCodec

from equiscope.errors import EquiscopeError
from equiscope.examples import NO_IMAGE, Examples
from equiscope.groups import CyclicGroup
from equiscope.models.geometry import LayerGeometry
from equiscope.models.model import Model
from equiscope.stimuli import ImageSet
from equiscope.transforms import crop_around, crop_size_px, rotate_patches

__all__ = [
    "Bank",
    "OrbitCorrelations",
    "Responses",
    "build_bank",
    "correlate_orbits",
    "cut_stimuli",
    "measure_responses",
    "open_responses",
    "patches_per_pass",
    "scramble_responses",
]

# One chunk on disk is what an interruption can lose: about two seconds of a deep layer.
CHUNK_STIMULI = 64
# Pixels of patches in one forward pass: large enough to keep two cores busy, small enough for their caches.
_PIXELS_PER_PASS = 700_000
# Pixels of patches cut together, 120 MB: a whole chunk for patches of up to 98 px at 16 angles.
_PIXELS_PER_CUT = 10_000_000
# Every stimulus starts its orbit at one of this many fractions of the angle step. Units tuned more narrowly than two
# steps are sampled below their Nyquist rate; were every orbit sampled at the same angles, poses would be drawn
# towards multiples of the step (by up to 2 degrees in GoogLeNet's mixed3a at 16 angles). Staggered, the aliases of
# different stimuli cancel.
_N_STAGGERS = 4


@dataclass(frozen=True)
class Bank:
    """The stimuli of one layer: the union of its units' strongest ones, each once.

    Attributes
    ----------
    layer
        Name of the layer.
    half
        Half of the images from which each stimulus comes, shape (stimulus,): 0 finds, 1 verifies.
    image
        Index of its image, shape (stimulus,).
    position
        Position (y, x) in the layer's grid on which it is centred, shape (stimulus, 2).
    photograph
        Number of the photograph from which its image was made, shape (stimulus,): the bootstrap draws these.
    """

    layer: str
    half: NDArray[np.int64]
    image: NDArray[np.int64]
    position: NDArray[np.int64]
    photograph: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image)

    def start_deg(self, group: CyclicGroup) -> NDArray[np.float64]:
        """Angle at which each stimulus' orbit starts, shape (stimulus,), degrees within one step of the group."""
        step_deg = 360.0 / group.order / _N_STAGGERS
        return np.asarray(np.arange(len(self)) % _N_STAGGERS * step_deg, dtype=np.float64)


def build_bank(examples: Examples, photographs: NDArray[np.int64]) -> Bank:
    """Collect the stimuli that made some unit fire, without repetition, ordered by half and image.

    Parameters
    ----------
    examples
        Strongest stimuli of every unit.
    photographs
        The photograph of each image, shape (image,).
    """
    rows = []
    for half in (0, 1):
        fires = (examples.image[half] != NO_IMAGE) & (np.nan_to_num(examples.value[half]) > 0)
        image, position = examples.image[half][fires], examples.position[half][fires]
        rows.append(np.column_stack([np.full(len(image), half), image, position]))
    distinct = np.unique(np.concatenate(rows).astype(np.int64), axis=0)
    return Bank(
        layer=examples.layer,
        half=distinct[:, 0],
        image=distinct[:, 1],
        position=distinct[:, 2:],
        photograph=photographs[distinct[:, 1]] if len(distinct) else np.zeros(0, np.int64),
    )


def cut_stimuli(
    images: ImageSet,
    geometry: LayerGeometry,
    image: NDArray[np.int64],
    position: NDArray[np.int64],
    angles_deg: NDArray[np.float64],
    size_px: int,
    start_deg: NDArray[np.float64] | None = None,
) -> Tensor:
    """Cut stimuli out of their images, turned about their centres by each angle.

    Parameters
    ----------
    images
        The images.
    geometry
        The layer's geometry, which says where a position is centred.
    image, position
        Image, shape (stimulus,), and grid position (y, x), shape (stimulus, 2).
    angles_deg
        Counter-clockwise angles, degrees, shape (angle,).
    size_px
        Side of the patches, px.
    start_deg
        Further angle by which each stimulus is turned, shape (stimulus,), degrees; by default none.

    Returns
    -------
    Tensor
        Shape (stimulus, angle, 3, size_px, size_px), RGB in [0, 1]. The image is turned before the patch is
        cut, so corners hold real content; where the image ends it is reflected.

    Raises
    ------
    EquiscopeError
        If an image that could be read before can no longer be.
    """
    crop_px = crop_size_px(size_px)
    crops, centres = [], []
    last_index, picture = -1, None
    for index, (row, column) in zip(image.tolist(), position.tolist(), strict=True):
        if index != last_index:
            picture, last_index = images.load(index), index
        if picture is None:
            raise EquiscopeError(
                f"{images.names[index]} could be read before but no longer: {images.failures[-1].reason}"
            )
        if geometry.is_global:
            centre = ((picture.shape[1] - 1) / 2, (picture.shape[2] - 1) / 2)
        else:
            centre = (
                geometry.centre_px[0] + geometry.stride_px[0] * row,
                geometry.centre_px[1] + geometry.stride_px[1] * column,
            )
        crop, inside, _ = crop_around(picture, centre, crop_px)
        crops.append(crop)
        centres.append(inside)
    stacked, middles = torch.stack(crops), torch.tensor(centres)
    if start_deg is None:
        return rotate_patches(stacked, middles, angles_deg.tolist(), size_px)
    patches = torch.empty(len(crops), len(angles_deg), 3, size_px, size_px)
    for start in np.unique(start_deg).tolist():
        mine = torch.from_numpy(start_deg == start)
        patches[mine] = rotate_patches(stacked[mine], middles[mine], (angles_deg + start).tolist(), size_px)
    return patches


@dataclass(frozen=True)
class Responses:
    """Centre responses of every unit to every stimulus under every group element.

    Element k of stimulus p is the stimulus turned by ``bank.start_deg(group)[p] + k * 360 / order`` degrees.

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
    group: CyclicGroup
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


def open_responses(path: Path, bank: Bank, group: CyclicGroup, n_units: int) -> Responses:
    """Open the array of a layer's responses, or make an empty one where there is none.

    Every chunk carries a checksum, so that a chunk which was half written when the process was killed is
    recognised and measured again.

    Raises
    ------
    EquiscopeError
        If there is an array of another shape at this place.
    """
    shape = (len(bank), group.order, n_units)
    # The description is written last, by renaming, so a folder without one holds nothing yet.
    if (path / "zarr.json").exists():
        array = zarr.open_array(path, mode="r+")
        if array.shape != shape:
            raise EquiscopeError(
                f"{path} holds responses of shape {array.shape}, expected {shape}: remove it"
            )
    else:
        array = zarr.create_array(
            path,
            shape=shape,
            chunks=(CHUNK_STIMULI, group.order, n_units),
            dtype="float32",
            fill_value=np.nan,
            compressors=[Crc32cCodec()],
            overwrite=True,
        )
    return Responses(bank, group, array)


def scramble_responses(
    responses: Responses, channels: NDArray[np.int64], rng: np.random.Generator
) -> Responses:
    """Copy responses into memory with the poses of some units destroyed: a control with known truth.

    Each (stimulus, unit) of the channels is turned by its own random group element, so that any family that holds
    such a unit is false.

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
    shift = rng.integers(0, responses.group.order, (len(values), 1, len(channels)))
    element = (responses.group.elements[None, :, None] - shift) % responses.group.order
    values[:, :, channels] = np.take_along_axis(values[:, :, channels], element, axis=1)
    return Responses(responses.bank, responses.group, values)


def measure_responses(
    model: Model,
    images: ImageSet,
    geometry: LayerGeometry,
    responses: Responses,
    *,
    whole_px: int = 224,
    on_stimuli: Callable[[int], None] | None = None,
) -> None:
    """Run every stimulus of a bank under every group element once and keep all units' centre responses.

    Parameters
    ----------
    model, images
        The network and the images from which the bank was made.
    geometry
        The layer's geometry.
    responses
        Where the numbers go; chunks that are already there are not measured again.
    whole_px
        Side of the stimuli for a layer whose receptive field is the whole image, px.
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
    bank = responses.bank
    size_px = whole_px if geometry.is_global else geometry.patch_px
    centre = None if geometry.is_global else geometry.position_in_patch()

    def read_centre(_layer: str, output: Tensor) -> Tensor:
        row, column = (output.shape[2] // 2, output.shape[3] // 2) if centre is None else centre
        return output[:, :, row, column].float()

    angles_deg = responses.group.angles_deg
    starts = bank.start_deg(responses.group)
    per_pass = patches_per_pass(size_px, responses.group.order)
    per_cut = max(1, _PIXELS_PER_CUT // (responses.group.order * size_px**2))
    for start in range(0, len(bank), CHUNK_STIMULI):
        stop = min(start + CHUNK_STIMULI, len(bank))
        if not _is_measured(responses, start, stop):
            parts = []
            for first in range(start, stop, per_cut):
                some = slice(first, min(first + per_cut, stop))
                patches = cut_stimuli(
                    images, geometry, bank.image[some], bank.position[some], angles_deg, size_px, starts[some]
                ).flatten(0, 1)
                parts += [
                    model.record(patches[i : i + per_pass], [bank.layer], read_centre)[bank.layer].cpu()
                    for i in range(0, len(patches), per_pass)
                ]
            values = torch.cat(parts).view(stop - start, len(angles_deg), -1).numpy()
            if not np.isfinite(values).all():
                channel = int(np.argwhere(~np.isfinite(values))[0, 2])
                raise not_finite(model, bank.layer, channel)
            responses.array[start:stop] = values
        if on_stimuli is not None:
            on_stimuli(stop - start)


def not_finite(model: Model, layer: str, channel: int) -> EquiscopeError:
    """Build the error for a network that answers with NaN or infinity."""
    return EquiscopeError(
        f"{model.name} answers with NaN or infinity in layer {layer!r}, channel {channel}: "
        "check its weights and the value range that it expects (images come as RGB in [0, 1])"
    )


def patches_per_pass(size_px: int, order: int) -> int:
    """Patches that ``measure_responses`` puts into one forward pass: at least one stimulus under all elements."""
    return max(order, _PIXELS_PER_PASS // size_px**2)


def _is_measured(responses: Responses, start: int, stop: int) -> bool:
    """Whether a chunk is on disk, whole."""
    try:
        return bool(np.isfinite(np.asarray(responses.array[start:stop])).all())
    except (ValueError, RuntimeError):
        # The checksum or the length is wrong: the chunk was being written when the process ended.
        return False


@dataclass(frozen=True)
class OrbitCorrelations:
    """Correlation of every pair of units under every rotation, as a Fourier series of the angle.

    ``rho_uv(g) = corr over (stimulus p, element h) of A[p, g⁻¹h, u] and A[p, h, v]`` is 1 exactly if
    ``v = g · u`` on these stimuli.

    Attributes
    ----------
    coefficients
        Complex, shape (frequency, unit u, unit v): ``rho_uv(angle) = Re sum_f coefficients[f] exp(i f angle)``.
        Rows and columns of units that did not vary are NaN.
    n_stimuli
        Number of stimuli.
    """

    coefficients: NDArray[np.complex64]
    n_stimuli: int

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.coefficients.shape[1])

    def at(
        self, u: NDArray[np.int64], v: NDArray[np.int64], angle_deg: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """``rho_uv`` at any angle, for arrays of pairs and angles that broadcast together."""
        u, v, angle_deg = np.broadcast_arrays(u, v, np.asarray(angle_deg, dtype=float))
        frequency = np.arange(len(self.coefficients)).reshape((-1,) + (1,) * u.ndim)
        wave = np.exp(1j * np.radians(angle_deg) * frequency)
        return np.asarray((self.coefficients[:, u, v] * wave).real.sum(0))

    def curves(
        self, u: NDArray[np.int64], v: NDArray[np.int64], angles_deg: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """``rho_uv`` of pairs at a list of angles, shape (angle, pair)."""
        wave = np.exp(1j * np.radians(np.outer(angles_deg, np.arange(len(self.coefficients)))))
        return np.asarray((wave @ self.coefficients[:, u, v]).real)

    def autocorrelation(self, angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """``rho_uu`` of every unit, shape (angle, unit)."""
        units = np.arange(self.n_units)
        return self.curves(units, units, angles_deg)

    def peaks(
        self, units: NDArray[np.int64], n_grid: int = 128
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Height and place of the highest correlation of every pair among some units.

        Returns
        -------
        height : ndarray, shape (unit, unit)
        angle_deg : ndarray, shape (unit, unit)
            The rotation g with ``v ≈ g · u``, degrees in [0, 360), refined by a parabola through the three
            points about the maximum of the interpolated curve. NaN, as the height, where a unit did not vary.
        """
        step = 360.0 / n_grid
        wave = np.exp(1j * np.radians(np.outer(np.arange(n_grid) * step, np.arange(len(self.coefficients)))))
        wave = wave.astype(np.complex64)
        height = np.empty((len(units), len(units)), np.float32)
        angle = np.empty_like(height)
        for row, u in enumerate(units.tolist()):
            curve = (wave @ self.coefficients[:, u, units]).real
            top = curve.argmax(0)
            columns = np.arange(len(units))
            before, at, after = (curve[(top + d) % n_grid, columns] for d in (-1, 0, 1))
            bend = before - 2 * at + after
            shift = np.where(bend < -1e-9, 0.5 * (before - after) / np.where(bend < -1e-9, bend, 1), 0.0)
            height[row] = at - 0.25 * (before - after) * shift
            angle[row] = np.where(np.isnan(at), np.nan, (top + shift) * step)
        # Twice, because the first remainder of a tiny negative angle is 360 by rounding.
        return height, angle % 360.0 % 360.0


def correlate_orbits(
    responses: Responses, half: int, *, scramble: np.random.Generator | None = None
) -> OrbitCorrelations:
    """Correlate the responses of all pairs of units over one half of the stimuli.

    Parameters
    ----------
    responses
        Responses to the bank.
    half
        0 or 1.
    scramble
        If given, the null: each (stimulus, unit) is turned by its own random group element first, which keeps
        every unit's strength and tuning for every stimulus and destroys only what units share in pose.

    Notes
    -----
    An FFT over the orbit, then one matrix product a frequency over the stimuli: all pairs of a 480-unit layer
    in under a second. One chunk of stimuli is in memory at a time.
    """
    order = responses.group.order
    n_frequencies = order // 2 + 1
    n_units = responses.n_units
    cross = torch.zeros(n_frequencies, n_units, n_units, dtype=torch.complex64)
    total = torch.zeros(n_units, dtype=torch.float64)
    n_stimuli = 0
    frequency = torch.arange(n_frequencies).view(1, -1, 1)
    for _, chunk in responses.chunks(half):
        values = torch.from_numpy(chunk)
        total += values.double().sum((0, 1))
        n_stimuli += len(values)
        spectrum = torch.fft.rfft(values, dim=1)
        if scramble is not None:
            shift = torch.from_numpy(scramble.integers(0, order, (len(values), 1, n_units)))
            waves = torch.polar(torch.ones(order), -2 * math.pi / order * torch.arange(order).float())
            spectrum = spectrum * waves[(frequency * shift) % order]
        spectrum = spectrum.permute(1, 0, 2).contiguous()
        cross += spectrum.conj().transpose(1, 2) @ spectrum
    return _normalise(cross, total, n_stimuli, order)


def _normalise(cross: Tensor, total: Tensor, n_stimuli: int, order: int) -> OrbitCorrelations:
    """Turn summed cross-spectra into Fourier coefficients of correlations."""
    n_frequencies = len(cross)
    multiplicity = torch.full((n_frequencies, 1, 1), 2.0)
    multiplicity[0] = 1
    if order % 2 == 0:
        multiplicity[-1] = 1
    count = n_stimuli * order
    covariance = cross / order * multiplicity
    mean = total / max(count, 1)
    covariance[0] -= (count * torch.outer(mean, mean)).to(torch.complex64)
    variance = covariance.real.sum(0).diagonal().double()
    # A unit that did not vary has no correlation: NaN, not zero.
    sd = torch.where(variance > 1e-6 * count * mean**2 + 1e-20, variance, torch.nan).sqrt().float()
    return OrbitCorrelations((covariance / torch.outer(sd, sd)).numpy(), n_stimuli)
