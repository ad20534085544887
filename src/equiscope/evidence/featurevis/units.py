"""Images for single units: one for each, all of a layer in batches.

What is optimised is the response at one position, the centre's, by gradient ascent on the image's spectrum; see
`parameterisation` for the prior and `robustness` for the changes. The network runs to the layer and back only. An image
shows *a* way to excite a unit, neither the only one nor the usual one: read it beside the unit's strongest stimuli on
photographs.

References
----------
Olah, Mordvintsev, Schubert, *Feature Visualization*, Distill, 2017: Fourier basis, decorrelated colours and robustness
to transformations. Here contrast is limited, too, and frequencies start at the patch's size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.evidence.featurevis.ascent import climb
from equiscope.evidence.featurevis.objectives import CentreResponses, frozen
from equiscope.evidence.featurevis.parameterisation import FourierImages
from equiscope.evidence.featurevis.robustness import Robustness
from equiscope.foundations import limits
from equiscope.foundations.devices import keep_large_buffers
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.progress import Progress, silent
from equiscope.measurement.examples import Examples
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry, find_geometry

__all__ = ["STEPS", "Visualisation", "natural_responses", "visualise_units"]

Floats = NDArray[np.float64]

# Responses of `mini` are then 91 % (mixed3b) to 97 % (conv2d1) of those after 512: benchmarks/featurevis.py.
STEPS = 128
# Contrast of the noise from which images start: faint, so that little of it is left in the end.
START_CONTRAST = 0.05
# Half a stride is what the layer's own grid leaves open: a unit must stand it.
SHIFT_STRIDES = 0.5
_ROTATION_DEG = 4.0
_OCTAVES = 0.1
# A pass forwards and backwards keeps some 500 bytes a pixel of GoogLeNet's first blocks.
_PIXELS_PER_PASS = 700_000
_MOST_PER_PASS = 256
_SIZE_PX = 224


@dataclass(frozen=True)
class Visualisation:
    """Images optimised for units of a layer.

    Attributes
    ----------
    layer, channels
        The units, shape (unit,).
    images
        Tensor, shape (unit, 3, y, x), RGB in [0, 1] in steps of 1/255. Mid-grey for a unit that could not be driven.
    before, after
        Response to the noise that an image started from, and to the image as it is, shape (unit,), activation units,
        before the ReLU.
    natural
        Response to the strongest stimulus of a run, shape (unit,), activation units; NaN where it is not known.
    steps, seed
        As they were asked for.
    """

    layer: str
    channels: NDArray[np.int64]
    images: Tensor
    before: Floats
    after: Floats
    natural: Floats
    steps: int
    seed: int

    @property
    def is_active(self) -> NDArray[np.bool_]:
        """Units whose response to their image is above 0, shape (unit,)."""
        return self.after > 0

    @property
    def ratio(self) -> Floats:
        """Response to the image over that to the strongest natural stimulus; NaN where the latter is not above 0."""
        return over_natural(self.after, self.natural)


def over_natural(responses: Floats, natural: Floats) -> Floats:
    """Divide by the strongest natural response; NaN where that is unknown or not above 0."""
    return np.asarray(np.divide(responses, natural, out=np.full(len(natural), np.nan), where=natural > 0))


def natural_responses(examples: Examples) -> Floats:
    """Response of each unit to its strongest stimulus on photographs, shape (unit,); NaN without one."""
    values = np.where(np.isnan(examples.value), -np.inf, examples.value).max(axis=(0, 2)).astype(np.float64)
    return np.where(np.isinf(values), np.nan, values)


def visualise_units(
    model: Model,
    layer: str,
    channels: Sequence[int] | None = None,
    *,
    natural: Floats | None = None,
    geometry: LayerGeometry | None = None,
    steps: int = STEPS,
    size_px: int | None = None,
    robustness: Robustness | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Visualisation:
    """Find, for each unit, an image that excites it strongly at its centre.

    Parameters
    ----------
    model
        The network. It is borrowed: everything about it is the same afterwards.
    layer
        Name of a module. Images are for its output: for built-in networks the value before the ReLU.
    channels
        Which units, in this order; by default all of the layer.
    natural
        From `natural_responses`, shape (unit of the layer,), activation units: to compare with.
    geometry
        Of the layer, where it is known; otherwise it is measured.
    steps, progress
        Steps of the optimiser; opens a progress bar, given its name and number of steps.
    size_px
        Side of the images, px; by default the layer's `patch_px`, which holds the receptive field and no more.
    robustness
        Random changes meanwhile; by default shifts by half the stride, turns by 4° and a tenth of an octave.
    seed
        Of the noise and the changes. One gives the same image on one machine, up to rounding, whatever else is asked.

    Raises
    ------
    EquiscopeError
        If the layer or a channel does not exist, no step or no unit is asked for, no position is centred in images of
        this size, or the network gives NaN.
    """
    (layer,) = model.resolve_layers([layer])
    check_budget(steps, seed)
    geometry = geometry or find_geometry(model, [layer])[layer]
    wanted = _check_channels(model, geometry, channels)
    if size_px is None:
        own_px = geometry.sides.at_least(model.input_size_px or _SIZE_PX)[0]
        size_px = own_px if geometry.is_global else geometry.patch_px
    limits.SIDE_PX.check("size_px", size_px)
    shift_px = max(geometry.stride_px) * SHIFT_STRIDES
    robustness = robustness or Robustness(shift_px, _ROTATION_DEG, _OCTAVES)
    images, before, after = _visualise_all(
        model, geometry, wanted, size_px, robustness, steps, seed, progress
    )
    known = np.full(geometry.n_channels, np.nan) if natural is None else np.asarray(natural, np.float64)
    return Visualisation(
        layer, np.array(wanted, dtype=np.int64), images, before.double().numpy(), after.double().numpy(),
        known[wanted], steps, seed,
    )  # fmt: skip


def _visualise_all(
    model: Model,
    geometry: LayerGeometry,
    wanted: list[int],
    size_px: int,
    robustness: Robustness,
    steps: int,
    seed: int,
    progress: Progress,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images of units, batch by batch, with the responses before and after."""
    responses = CentreResponses(model, geometry, size_px)
    shown_px = geometry.sides.at_least(size_px)[0]
    per_pass = min(_MOST_PER_PASS, max(1, _PIXELS_PER_PASS // shown_px**2))
    keep_large_buffers()
    parts = []
    n_passes = -(-len(wanted) // per_pass)
    with frozen(model), progress(f"images for {geometry.layer}", steps * n_passes) as on_step:
        for start in range(0, len(wanted), per_pass):
            own = wanted[start : start + per_pass]
            parts.append(_visualise_batch(model, responses, own, size_px, robustness, steps, seed, on_step))
    images, before, after = (torch.cat(part) for part in zip(*parts, strict=True))
    return images, before, after


def _check_channels(model: Model, geometry: LayerGeometry, channels: Sequence[int] | None) -> list[int]:
    """Give the units that were asked for, all of the layer by default; refuse those that it does not have."""
    layer = geometry.layer
    wanted = list(range(geometry.n_channels)) if channels is None else [int(c) for c in channels]
    if not wanted:
        raise EquiscopeError(f"no channel of {layer} was asked for: name some, or leave channels out for all")
    for channel in wanted:
        if not 0 <= channel < geometry.n_channels:
            raise EquiscopeError(
                f"layer {layer!r} of {model.name} has channels 0 to {geometry.n_channels - 1}, got {channel}: "
                "name one of these"
            )
    return wanted


def check_budget(steps: int, seed: int) -> None:
    """Refuse what cannot be optimised with."""
    limits.STEPS.check("steps", steps)
    limits.SEED.check("seed", seed)


def generator_for(seed: int, *numbers: int) -> torch.Generator:
    """Random numbers that depend on a seed and on what they are for, and on nothing else."""
    state = np.random.SeedSequence((seed, *numbers)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def in_eight_bits(images: Tensor) -> Tensor:
    """Round to what a picture file holds, so that what is measured is what is shown."""
    return (images.clamp(0, 1) * 255).round() / 255


def _visualise_batch(
    model: Model,
    responses: CentreResponses,
    channels: list[int],
    size_px: int,
    robustness: Robustness,
    steps: int,
    seed: int,
    on_step: Callable[[int], None],
) -> tuple[Tensor, Tensor, Tensor]:
    """Images of one batch of units, with the responses before and after, on the CPU."""
    side_px = size_px + 2 * robustness.margin_px(size_px)
    canvas = FourierImages(side_px, side_px, size_px)
    generators = [generator_for(seed, channel) for channel in channels]
    spectra = torch.stack([canvas.draw(g, START_CONTRAST) for g in generators]).to(model.device)
    changes = torch.stack([robustness.draw(g, steps) for g in generators])
    own = (torch.arange(len(channels)), torch.tensor(channels))

    def objective(spectra: Tensor, step: int) -> Tensor:
        shown = robustness.show(canvas.render(spectra), changes[:, step], size_px)
        return responses(shown)[own]

    with torch.no_grad():
        before = responses(canvas.cut(canvas.render(spectra)))[own].cpu()
    spectra = climb(spectra, objective, steps, on_step=on_step)
    with torch.no_grad():
        images = in_eight_bits(canvas.cut(canvas.render(spectra)))
        after = responses(images)[own].cpu()
    images = images.cpu()
    images[after <= 0] = in_eight_bits(torch.tensor(0.5))
    return images, before, after
