"""Images for single units: one for each, all of a layer in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
from equiscope.foundations.options import DEFAULTS, Options
from equiscope.foundations.progress import Progress
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
        Response to the strongest stimulus of a run, shape (unit,), activation units, from `beside`; NaN where it is not
        known.
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

    def beside(self, natural: Floats) -> Visualisation:
        """Give the same, to compare with what `natural_responses` says of all units of the layer, shape (unit,)."""
        return replace(self, natural=np.asarray(natural, np.float64)[self.channels])


def over_natural(responses: Floats, natural: Floats) -> Floats:
    """Divide by the strongest natural response; NaN where that is unknown or not above 0."""
    return np.asarray(np.divide(responses, natural, out=np.full(len(natural), np.nan), where=natural > 0))


def natural_responses(examples: Examples) -> Floats:
    """Response of each unit to its strongest stimulus on photographs, shape (unit,); NaN without one.

    Examples
    --------
    >>> from equiscope.measurement.examples import empty_examples
    >>> examples = empty_examples("conv1", 2, 3)
    >>> examples.value[1, 0, 0] = 4.0
    >>> natural_responses(examples).tolist()
    [4.0, nan]
    """
    values = np.where(np.isnan(examples.value), -np.inf, examples.value).max(axis=(0, 2)).astype(np.float64)
    return np.where(np.isinf(values), np.nan, values)


def visualise_units(
    model: Model,
    layer: str,
    channels: Sequence[int] | None = None,
    *,
    geometry: LayerGeometry | None = None,
    steps: int = STEPS,
    size_px: int | None = None,
    robustness: Robustness | None = None,
    options: Options = DEFAULTS,
) -> Visualisation:
    """Find, for each unit, an image that excites it strongly at its centre.

    Parameters
    ----------
    model
        The network. It is borrowed: everything about it is the same afterwards.
    layer, channels
        Name of a module, and which of its units, in this order, by default all. Images are for its output: for built-in
        networks the value before the ReLU.
    geometry
        Of the layer, where it is known; otherwise it is measured.
    steps
        Steps of the optimiser.
    size_px
        Side of the images, px; by default the layer's `patch_px`, which holds the receptive field and no more.
    robustness
        Random changes in each step; by default shifts by half the stride, turns by 4° and a tenth of an octave.
    options
        ``seed`` of the noise that images start from and of the changes: the same gives the same image on the same
        machine, whatever other units are asked for, up to rounding. ``progress`` counts the steps.

    Raises
    ------
    EquiscopeError
        If the layer or a channel does not exist, no step or no unit is asked for, no position is centred in images of
        this size, or the network gives NaN.

    Examples
    --------
    >>> from torch import nn
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5)))
    >>> found = visualise_units(model, "0", [2, 0], steps=8)
    >>> found.channels.tolist(), found.images.shape
    ([2, 0], torch.Size([2, 3, 5, 5]))
    """
    (layer,) = model.resolve_layers([layer])
    limits.STEPS.check("steps", steps)
    geometry = geometry or find_geometry(model, [layer])[layer]
    wanted = _choose_channels(model, layer, geometry, channels)
    size_px = _choose_size_px(model, geometry) if size_px is None else size_px
    limits.SIDE_PX.check("size_px", size_px)
    robustness = robustness or _usual_robustness(geometry)
    ascent = _UnitAscent(model, geometry, size_px, robustness, steps, options.seed)
    found = ascent.climb_all(wanted, options.progress)
    unknown = np.full(len(wanted), np.nan)
    return Visualisation(layer, np.array(wanted, dtype=np.int64), *found, unknown, steps, options.seed)


def _choose_channels(
    model: Model, layer: str, geometry: LayerGeometry, channels: Sequence[int] | None
) -> list[int]:
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


def _choose_size_px(model: Model, geometry: LayerGeometry) -> int:
    """Side of images that hold the receptive field and no more; of a layer that sees all, what it was trained on."""
    if geometry.is_global:
        return geometry.sides.at_least(model.input_size_px or _SIZE_PX)[0]
    return geometry.patch_px


def _usual_robustness(geometry: LayerGeometry) -> Robustness:
    return Robustness(max(geometry.stride_px) * SHIFT_STRIDES, _ROTATION_DEG, _OCTAVES)


def generator_for(seed: int, *numbers: int) -> torch.Generator:
    """Random numbers that depend on a seed and on what they are for, and on nothing else."""
    state = np.random.SeedSequence((seed, *numbers)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def in_eight_bits(images: Tensor) -> Tensor:
    """Round to what a picture file holds, so that what is measured is what is shown."""
    return (images.clamp(0, 1) * 255).round() / 255


@dataclass(frozen=True)
class _UnitAscent:
    """How the images of a layer's units are optimised."""

    model: Model
    geometry: LayerGeometry
    size_px: int
    robustness: Robustness
    steps: int
    seed: int

    def climb_all(self, channels: list[int], progress: Progress) -> tuple[Tensor, Floats, Floats]:
        """Images of all these units, with the responses before and after, on the CPU; some together in a pass."""
        responses = CentreResponses(self.model, self.geometry, self.size_px)
        shown_px = self.geometry.sides.at_least(self.size_px)[0]
        per_pass = min(_MOST_PER_PASS, max(1, _PIXELS_PER_PASS // shown_px**2))
        batches = [channels[start : start + per_pass] for start in range(0, len(channels), per_pass)]
        keep_large_buffers()
        n_steps = self.steps * len(batches)
        with frozen(self.model), progress(f"images for {self.geometry.layer}", n_steps) as on_step:
            parts = [self.climb(responses, own, on_step) for own in batches]
        images, before, after = (torch.cat(part) for part in zip(*parts, strict=True))
        return images, before.double().numpy(), after.double().numpy()

    def climb(
        self, responses: CentreResponses, channels: list[int], on_step: Callable[[int], None]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Images of one batch of units, with the responses before and after, on the CPU."""
        side_px = self.size_px + 2 * self.robustness.margin_px(self.size_px)
        canvas = FourierImages(side_px, side_px, self.size_px)
        generators = [generator_for(self.seed, channel) for channel in channels]
        spectra = torch.stack([canvas.draw(g, START_CONTRAST) for g in generators]).to(self.model.device)
        changes = torch.stack([self.robustness.draw(g, self.steps) for g in generators])
        own = (torch.arange(len(channels)), torch.tensor(channels))

        def objective(spectra: Tensor, step: int) -> Tensor:
            shown = self.robustness.show(canvas.render(spectra), changes[:, step], self.size_px)
            return responses(shown)[own]

        with torch.no_grad():
            before = responses(canvas.cut(canvas.render(spectra)))[own].cpu()
        spectra = climb(spectra, objective, self.steps, borrowing=self.model.evaluating, on_step=on_step)
        with torch.no_grad():
            images = in_eight_bits(canvas.cut(canvas.render(spectra)))
            after = responses(images)[own].cpu()
        images = images.cpu()
        images[after <= 0] = in_eight_bits(torch.tensor(0.5))
        return images, before, after
