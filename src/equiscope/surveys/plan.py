"""What a survey will do, and what that takes: counted as the survey counts, times what was measured (`rates`).

    seconds of a stage  =  stimuli · elements · (making a patch + showing it)  +  images decoded  +  searches

Example: 1,536 stimuli at 16 angles are 24,576 patches; at 0.2 ms each to make and to show they take 5 s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from equiscope.foundations.progress import rough_time
from equiscope.measurement.responses import CHUNK_STIMULI
from equiscope.models.geometry import MAX_OFFSET, joint_patch_px
from equiscope.surveys.rates import Rates
from equiscope.surveys.stages import Stage
from equiscope.transformations import find
from equiscope.transformations.spaces import Circle, HandedCircle, Line, Pair, PoseSpace, Torus

__all__ = ["Plan", "PlannedStage", "Saving", "predict"]

# Seconds of all searches of a stage, a unit: a base for each space of poses, and more for each patch that was shown. On
# one core of 2026, on the first layers of GoogLeNet, ResNet-18 and SqueezeNet, where both were 2 to 45 ms together.
_SEARCH_S: Mapping[type[PoseSpace], float] = {
    Pair: 0.0013,
    Circle: 0.008,
    HandedCircle: 0.02,
    Torus: 0.0,
    Line: 0.02,
}
_OTHER_SEARCH_S, _SEARCH_PATCH_S = 0.02, 8e-7
# Searches on the null of those, and others: the real one, and those on photographs drawn anew.
_USUAL_NULL, _OTHER_SEARCHES = 20, 6
# Families a unit and transformation (0.067 to 0.10 there), and seconds to judge one and to compare its explanations.
_FAMILIES, _JUDGE_S, _EXPLAIN_S = 0.09, 0.04, 0.02
# Seconds of the page, and of each unit of it.
_PAGE_S, _DRAW_S = 4.0, 0.01
# Bytes of the page a unit, and of a number of the responses.
_PAGE_BYTES, _NUMBER_BYTES = 23_000, 4
# Of the patches of a chunk of stimuli, which are cut together up to this, and copies of them that are held meanwhile.
_MOST_CUT_BYTES, _PIXEL_BYTES, _COPIES = 120_000_000, 12, 4
# Shares of the time below which leaving something out is not worth a line.
_LEAST_SAVED = 0.1
# Fewer angles cannot tell stabilisers.
_LEAST_ANGLES = 8


@dataclass(frozen=True)
class PlannedStage:
    """One transformation of one layer, or of all layers together.

    Attributes
    ----------
    layer
        The layer; empty where all are measured together.
    transformation
        Its name.
    n_stimuli, n_elements
        Stimuli, at most, and elements under which each is shown: their product is the number of passes.
    patch_px
        Side of the patches, px.
    patch_s
        To make and show one patch, seconds.
    seconds
        Of the stage with its searches.
    disk_bytes
        Of its responses.
    is_shared
        Whether its patches are those of a layer before it, which is shown them together with this one.
    """

    layer: str
    transformation: str
    n_stimuli: int
    n_elements: int
    patch_px: int
    patch_s: float
    seconds: float
    disk_bytes: int
    is_shared: bool = False

    @property
    def n_passes(self) -> int:
        """Patches that are shown for it."""
        return 0 if self.is_shared else self.n_stimuli * self.n_elements


@dataclass(frozen=True)
class Saving:
    """What a survey could do without: the options that say so, and the seconds that are left."""

    options: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a survey will do, and what that takes.

    Attributes
    ----------
    stages
        Each transformation of each layer.
    n_images
        Images that are shown.
    settings
        Of the survey, as its manifest has them.
    others
        Seconds of what is done once: receptive fields, images, verdicts, page.
    others_bytes
        Of the page.
    memory_bytes
        Most that is held at a time; NaN where the system does not tell.
    savings
        What would make it shorter, by how much it does.
    look
        What a look leaves out; empty for a survey.
    """

    stages: tuple[PlannedStage, ...]
    n_images: int
    settings: Mapping[str, Any]
    others: Mapping[str, float]
    others_bytes: float = 0.0
    memory_bytes: float = math.nan
    savings: tuple[Saving, ...] = field(default=())
    look: str = ""

    @property
    def seconds(self) -> float:
        """Seconds of the whole survey."""
        return sum(stage.seconds for stage in self.stages) + sum(self.others.values())

    @property
    def n_passes(self) -> int:
        """Patches that are shown."""
        return sum(stage.n_passes for stage in self.stages)

    @property
    def disk_bytes(self) -> float:
        """Bytes of the run's folder."""
        return sum(stage.disk_bytes for stage in self.stages) + self.others_bytes

    @property
    def sentence(self) -> str:
        """What it takes, in one sentence."""
        per_patch = sorted(1e3 * stage.patch_s for stage in self.stages) or [0.0]
        ends = dict.fromkeys((_short(per_patch[0]), _short(per_patch[-1])))
        memory = "" if math.isnan(self.memory_bytes) else f"{self.memory_bytes / 1e9:.1f} GB of memory, "
        return (
            f"about {rough_time(self.seconds)}: {self.n_images:,} images, then {self.n_passes:,} patches of "
            f"{' to '.join(ends)} ms each; "
            f"{memory}{self.disk_bytes / 1e6:,.0f} MB of disk"
        )


def _short(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def predict(stage: Stage, rates: Rates, once: Mapping[str, float], memory_bytes: float = math.nan) -> Plan:
    """Predict what a survey takes.

    Parameters
    ----------
    stage
        The survey before its pass over the images (`equiscope.surveys.asked.bare_stage`).
    rates
        What each step takes.
    once
        Seconds of what was done, or measured, before, by its name.
    memory_bytes
        Most memory that was held while the rates were measured.

    Returns
    -------
    Plan

    Notes
    -----
    Stimuli that several units share are counted for each. How many units a transformation concerns that only takes the
    members of earlier families is taken from other networks.

    Examples
    --------
    >>> from equiscope.models import load_model
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.stimuli import open_images
    >>> from equiscope.surveys.asked import bare_stage
    >>> model = load_model("mini")
    >>> settings = {"transformations": ["hue"], "angles": 16, "examples_per_unit": 8, "n_null": 20}
    >>> stage = bare_stage(model, open_images(), find_geometry(model, ["conv2d0"]), settings)
    >>> rates = Rates(0.01, 0.02, {"conv2d0": 1e-4}, {"hue": (0.0, 1e-6)})
    >>> plan = predict(stage, rates, {})
    >>> plan.n_passes, [own.layer for own in plan.stages]
    (3072, ['conv2d0'])
    """
    plan = _plan(stage, rates, once)
    more = max((max(_table_bytes(stage, own), _cut_bytes(own)) for own in plan.stages), default=0)
    plan = replace(plan, memory_bytes=memory_bytes + more)
    savings = [Saving(options, _plan(other, rates, once).seconds) for options, other in _shorter(stage, plan)]
    worth = [own for own in savings if own.seconds <= (1 - _LEAST_SAVED) * plan.seconds]
    return replace(plan, savings=tuple(sorted(worth, key=lambda own: own.seconds)))


def _plan(stage: Stage, rates: Rates, once: Mapping[str, float]) -> Plan:
    """Predict without saying what could be left out."""
    chosen = [find(name) for name in stage.settings["transformations"]]
    joint = [
        own.name for own in chosen if own.is_joint and own.name in rates.element_s and "" in rates.pass_s
    ]
    planned = [
        _alone(stage, rates, own.name, layer)
        for layer in stage.geometries
        for own in chosen
        if not own.is_joint
    ]
    planned += [_joint(stage, rates, name) for name in joint]
    n_units = sum(own.n_units for own in stage.examples.values())
    n_families = _FAMILIES * n_units * len(chosen)
    n_images = len(stage.images)
    others = {
        **once,
        "images": n_images * rates.image_s,
        "verdicts": (_JUDGE_S + _EXPLAIN_S) * n_families,
        "page": _PAGE_S + _DRAW_S * n_units + rates.load_s * _n_distinct(4 * n_units, n_images),
    }
    return Plan(tuple(planned), n_images, stage.settings, others, others_bytes=float(_PAGE_BYTES * n_units))


def _alone(stage: Stage, rates: Rates, name: str, layer: str) -> PlannedStage:
    shown = _Shown(
        layer,
        name,
        stage.count_stimuli(name, layer),
        stage.examples[layer].n_units,
        stage.patch_px(layer),
        rates.pass_s[layer],
        is_shared=layer != stage.together(layer)[0],
    )
    return _stage(stage, rates, shown)


def _joint(stage: Stage, rates: Rates, name: str) -> PlannedStage:
    layers, _ = stage.aligned(name)
    geometries = [stage.geometries[layer] for layer in layers]
    size_px = joint_patch_px(geometries, max_offset=MAX_OFFSET) or 0
    n_stimuli = sum(stage.count_stimuli(name, layer) for layer in layers)
    n_units = sum(stage.examples[layer].n_units for layer in layers)
    return _stage(stage, rates, _Shown("", name, n_stimuli, n_units, size_px, rates.pass_s[""]))


@dataclass(frozen=True)
class _Shown:
    """What one stage shows, to how many units, and how long a pass takes that nobody else needs."""

    layer: str
    name: str
    n_stimuli: int
    n_units: int
    size_px: int
    pass_s: float
    is_shared: bool = False


def _stage(stage: Stage, rates: Rates, shown: _Shown) -> PlannedStage:
    """Put together what one stage takes."""
    transformation = find(shown.name)
    order = stage.group(transformation, shown.layer or None).order
    patch_s = rates.element(shown.name, shown.size_px) + shown.pass_s
    n_values = shown.n_stimuli * order * shown.n_units
    # Where a transformation may change nothing, the stimuli are cut once more to see whether it does.
    n_cuts = (0 if shown.is_shared else 1) + (0 if math.isnan(transformation.least_change) else 1)
    loads_s = n_cuts * rates.load_s * _n_distinct(shown.n_stimuli, len(stage.images))
    unit_s = (
        _SEARCH_S.get(type(transformation.space), _OTHER_SEARCH_S) + _SEARCH_PATCH_S * shown.n_stimuli * order
    )
    searches = (stage.settings["n_null"] + _OTHER_SEARCHES) / (_USUAL_NULL + _OTHER_SEARCHES)
    seconds = loads_s + searches * shown.n_units * unit_s
    if not shown.is_shared:
        seconds += shown.n_stimuli * order * patch_s
    return PlannedStage(
        shown.layer,
        shown.name,
        shown.n_stimuli,
        order,
        shown.size_px,
        patch_s,
        seconds,
        _NUMBER_BYTES * n_values,
        shown.is_shared,
    )


def _n_distinct(n_stimuli: int, n_images: int) -> float:
    """Give how many of some images stimuli come from that are drawn from them at random."""
    return n_images * (1 - (1 - 1 / max(n_images, 1)) ** n_stimuli)


def _table_bytes(stage: Stage, own: PlannedStage) -> int:
    """Bytes of the tables of pairs that a search holds: of both halves, and of those of each null draw that runs."""
    transformation = find(own.transformation)
    layers = [own.layer] if own.layer else stage.aligned(own.transformation)[0]
    n_units = sum(stage.examples[layer].n_units for layer in layers)
    if isinstance(transformation.space, Torus):
        n_units = round(transformation.usual_share * n_units)
    # Units and their mirror images make four times as many pairs, at half of the elements.
    n_numbers = n_units**2 * own.n_elements * (2 if isinstance(transformation.space, HandedCircle) else 1)
    return 2 * (1 + torch.get_num_threads()) * _NUMBER_BYTES * n_numbers


def _cut_bytes(own: PlannedStage) -> int:
    """Bytes of the patches that are cut together, and of their copies: a measurement cuts fewer."""
    n_px = min(own.n_stimuli, CHUNK_STIMULI) * own.n_elements * own.patch_px**2
    return _COPIES * min(_PIXEL_BYTES * n_px, _MOST_CUT_BYTES)


def _shorter(stage: Stage, plan: Plan) -> Iterator[tuple[str, Stage]]:
    """Give surveys that do less, each with the options that ask for it."""
    settings = stage.settings
    angles, examples = settings["angles"], settings["examples_per_unit"]
    if angles >= 2 * _LEAST_ANGLES:
        yield f"--angles {angles // 2}", _with(stage, {"angles": angles // 2})
    if examples >= 4:
        yield f"--examples-per-unit {examples // 2}", _with(stage, {"examples_per_unit": examples // 2})
    names = list(settings["transformations"])
    for name in names:
        left = [own for own in names if own != name and name not in find(own).needs]
        if left:
            yield f"--transformations {','.join(left)}", _with(stage, {"transformations": left})
    layers = list(stage.geometries)
    if len(layers) > 1:
        dearest = max(layers, key=lambda layer: sum(own.seconds for own in plan.stages if own.layer == layer))
        left = [layer for layer in layers if layer != dearest]
        yield f"--layers {','.join(left)}", _without(stage, dearest)


def _with(stage: Stage, settings: Mapping[str, Any]) -> Stage:
    return replace(stage, settings=stage.settings | dict(settings))


def _without(stage: Stage, layer: str) -> Stage:
    kept = [own for own in stage.geometries if own != layer]
    return replace(
        stage,
        geometries={own: stage.geometries[own] for own in kept},
        examples={own: stage.examples[own] for own in kept},
    )
