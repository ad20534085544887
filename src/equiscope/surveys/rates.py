"""How long each thing that a survey does takes, measured in a second or two on the network, images and machine at hand.

Stimuli are shown by the functions that the survey itself calls, so that what makes these faster is seen here. Only some
layers are measured, evenly over those asked for; between two of them the time a pixel is taken as growing steadily.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from equiscope.measurement.bank import Bank, cut_orbits
from equiscope.measurement.centres import Centres
from equiscope.measurement.examples import collect_examples, split_halves
from equiscope.models.geometry import MAX_OFFSET, joint_patch_px
from equiscope.surveys.stages import Stage
from equiscope.transformations import Transformation, find
from equiscope.transformations.groups import Group

__all__ = ["Rates", "measure_rates"]

# Layers that are measured.
_MOST_LAYERS = 6
# Pixels of the patches that one measurement shows: those of one pass of a survey, and no more stimuli than a chunk has.
_PIXELS, _MOST_STIMULI = 700_000, 64
# Times that a step is measured, and seconds from which on once more is too long.
_REPEATS, _LONG_S = 3, 0.6
# Images that the pass over the images is measured on.
_N_IMAGES = 8
# The clock, for those who would rather count the time of the processor.
clock: Callable[[], float] = time.perf_counter


@dataclass(frozen=True)
class Rates:
    """Seconds.

    Attributes
    ----------
    load_s
        To decode an image.
    image_s
        To decode an image, show it to the network and sum up all layers.
    pass_s
        To show a patch, by layer; by ``""`` a patch of all layers together.
    element_s
        To cut and transform one stimulus under one element, by transformation: an offset, and a slope a pixel.
    """

    load_s: float
    image_s: float
    pass_s: Mapping[str, float]
    element_s: Mapping[str, tuple[float, float]]

    def element(self, name: str, size_px: int) -> float:
        """Seconds to cut and transform one stimulus of a side under one element of a transformation."""
        offset, slope = self.element_s[name]
        return max(0.0, offset + slope * size_px**2)


def measure_rates(stage: Stage, transformations: Sequence[str]) -> Rates:
    """Measure how long a survey's steps take.

    Parameters
    ----------
    stage
        The survey; the stimuli of its units need not be known.
    transformations
        Those that are surveyed.

    Returns
    -------
    Rates

    Raises
    ------
    EquiscopeError
        If no image can be read, or the network refuses what a survey would show it.

    Notes
    -----
    Cost: eight images, and three batches of patches for each of six layers at most.

    Examples
    --------
    >>> from equiscope.models import load_model
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.stimuli import open_images
    >>> from equiscope.surveys.asked import bare_stage
    >>> model, settings = load_model("mini"), {"angles": 16, "examples_per_unit": 8, "seed": 0}
    >>> stage = bare_stage(model, open_images(), find_geometry(model, ["conv2d0"]), settings)
    >>> rates = measure_rates(stage, ["hue"])
    >>> list(rates.pass_s), list(rates.element_s), rates.pass_s["conv2d0"] < rates.image_s
    (['conv2d0'], ['hue'], True)
    """
    index, middle_px = _some_image(stage)
    load_s = _seconds(lambda: stage.images.load(index))
    shown, every = _Shown(stage, index, middle_px, load_s), [find(name) for name in transformations]
    pass_s = _passes(shown, next((own for own in every if not own.is_joint), find("rotation")))
    sizes = [stage.patch_px(layer) for layer in stage.geometries]
    element_s = {}
    for transformation in every:
        ends = sorted({min(sizes), max(sizes)})
        if transformation.is_joint:
            together = stage.aligned(transformation.name)[0]
            if not together:
                continue
            ends = [
                joint_patch_px([stage.geometries[own] for own in together], max_offset=MAX_OFFSET) or ends[-1]
            ]
            pass_s[""] = shown.pass_s(together, ends[0], transformation)
        element_s[transformation.name] = _line(ends, [shown.element_s(transformation, px) for px in ends])
    return Rates(load_s, _image_seconds(stage), pass_s, element_s)


def _passes(shown: _Shown, by: Transformation) -> dict[str, float]:
    """Seconds to show a patch to each layer, measured under one transformation on some layers."""
    # Of layers that share their stimuli the passes are those to the last of them.
    together = list(dict.fromkeys(tuple(shown.stage.together(layer)) for layer in shown.stage.geometries))
    places = np.unique(np.linspace(0, len(together) - 1, _MOST_LAYERS).round().astype(int)).tolist()
    sizes = [shown.stage.patch_px(layers[0]) for layers in together]
    # In logarithms, because layers differ by orders of magnitude.
    measured = [np.log(shown.pass_s(together[i], sizes[i], by) / sizes[i] ** 2) for i in places]
    per_px = np.exp(np.interp(range(len(together)), places, measured)).tolist()
    return {
        layer: own * size**2
        for layers, own, size in zip(together, per_px, sizes, strict=True)
        for layer in layers
    }


@dataclass(frozen=True)
class _Shown:
    """Stimuli that are cut from the middle of one image, for what they cost alone."""

    stage: Stage
    index: int
    middle_px: tuple[float, float]
    load_s: float

    def bank(self, size_px: int, group: Group) -> Bank:
        """Give about as many stimuli as one pass of a survey shows."""
        n = int(np.clip(_PIXELS // (group.order * size_px**2), 1, _MOST_STIMULI))
        zeros = np.zeros(n, np.int64)
        centres = np.tile(self.middle_px, (n, 1))
        return Bank("", zeros, np.full(n, self.index), np.zeros((n, 2), np.int64), zeros, centres)

    def element_s(self, transformation: Transformation, size_px: int) -> float:
        """Seconds to cut and transform a stimulus under one element, without those to decode its image."""
        group = self.stage.group(transformation)
        bank = self.bank(size_px, group)
        seconds = _seconds(
            lambda: cut_orbits(self.stage.images, bank, None, group, size_px, slice(0, len(bank)))
        )
        return max(0.0, seconds - self.load_s) / (len(bank) * group.order)

    def pass_s(self, layers: Sequence[str], size_px: int, transformation: Transformation) -> float:
        """Seconds to show one patch to some layers, without those that it takes to make it."""
        stage, group = self.stage, self.stage.group(transformation)
        bank, geometries = self.bank(size_px, group), [self.stage.geometries[layer] for layer in layers]
        centres = Centres(stage.model, geometries, size_px, stage.precision)
        patches = cut_orbits(stage.images, bank, None, group, size_px, slice(0, len(bank))).flatten(0, 1)
        return _seconds(lambda: centres.read(patches, group.order)) / len(patches)


def _some_image(stage: Stage) -> tuple[int, tuple[float, float]]:
    """Give the index of an image that can be read, and its middle (y, x), px."""
    for index in range(len(stage.images)):
        picture = stage.images.load(index)
        if picture is not None:
            return index, ((picture.shape[1] - 1) / 2, (picture.shape[2] - 1) / 2)
    return 0, (0.0, 0.0)  # the geometries could not have been found


def _image_seconds(stage: Stage) -> float:
    """Seconds of the pass over the images for one of them."""
    n = len(stage.images)
    indices = np.unique(np.linspace(0, n - 1, min(n, _N_IMAGES)).astype(int)).tolist()
    half = split_halves(stage.images.groups, stage.settings["seed"])
    n_kept = -(-stage.settings["examples_per_unit"] // 2)

    def show() -> None:
        collect_examples(stage.model, stage.images, stage.geometries, half, n_kept, indices=indices)

    return _seconds(show) / len(indices)


def _seconds(step: Callable[[], object]) -> float:
    """Time a step, after it was done once: the first time libraries choose their ways.

    The least of a few times, for whatever else the machine does only adds to them.
    """
    step()
    taken: list[float] = []
    while len(taken) < _REPEATS and sum(taken) < _LONG_S:
        start = clock()
        step()
        taken.append(clock() - start)
    return min(taken)


def _line(sizes_px: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Give offset and slope of seconds over pixels, through one or two points."""
    if len(sizes_px) == 1:
        return 0.0, seconds[0] / sizes_px[0] ** 2
    slope = (seconds[1] - seconds[0]) / (sizes_px[1] ** 2 - sizes_px[0] ** 2)
    return seconds[0] - slope * sizes_px[0] ** 2, slope
