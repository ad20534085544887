"""One transformation of one layer: from its stimulus bank to verified families and how their members are tuned.

A `Stage` shows stimuli and keeps what the layer answered; which stimuli, under which elements, and what is searched in
the answers, the transformation says (`equiscope.transformations`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equiscope.families.circle import find_varying
from equiscope.families.correlations import correlate_orbits
from equiscope.families.explain import Comparison, simplest
from equiscope.families.family import Symmetry, Tuning
from equiscope.families.find import open_search
from equiscope.families.layer_families import LayerFamilies, NullSummary
from equiscope.families.search import SearchOptions, run_search
from equiscope.families.tuning import tune_family
from equiscope.foundations.progress import Progress
from equiscope.measurement.bank import Bank, join_banks, measure_change
from equiscope.measurement.examples import Examples
from equiscope.measurement.responses import Measured, Responses, measure_responses, open_responses
from equiscope.models import Model
from equiscope.models.geometry import MAX_OFFSET, LayerGeometry, joint_patch_px
from equiscope.models.receptive_fields import LARGE_PATCH_PX
from equiscope.runs.layout import layer_path
from equiscope.stimuli import ImageSet
from equiscope.surveys.shown_stimuli import ShownStimuli
from equiscope.transformations import Transformation, find

__all__ = ["Stage", "StageResult"]

_LOG = logging.getLogger(__name__)

# Patches that are a larger part of the image cannot be shown smaller: there is nothing around them.
_MOST_SCALED_SHARE = 0.75


@dataclass(frozen=True)
class StageResult:
    """Families of one transformation with their tuning, by id.

    ``joint_layers``: where layers were measured together, those through which units of pairs are counted.
    """

    result: LayerFamilies
    tunings: dict[str, Tuning] = field(default_factory=dict)
    joint_layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """What a transformation may ask of a layer (`equiscope.transformations.base.SurveyedLayer`)."""

    stage: Stage
    layer: str
    results: Mapping[str, LayerFamilies]

    def members(self, name: str) -> NDArray[np.int64]:
        families = self.results[name].families
        return np.array(sorted({m.channel for f in families for m in f.members}), dtype=np.int64)

    def varying(self, names: Sequence[str]) -> NDArray[np.int64]:
        return self.stage.varying_units(self.layer, tuple(names))


@dataclass(kw_only=True)
class Stage(ShownStimuli):
    """What all stages of one survey share: what is shown, and how.

    Attributes
    ----------
    model, images
        The network and the images.
    folder
        The run's folder; responses go there.
    precision
        What the network computes in.
    progress
        Opens a progress bar.
    """

    model: Model
    images: ImageSet
    folder: Path
    precision: torch.dtype
    progress: Progress
    _varying: dict[tuple[str, tuple[str, ...]], NDArray[np.int64]] = field(default_factory=dict, repr=False)
    # Arrays all of whose chunks this process has seen, and what is to be said of how they were measured.
    _seen: set[Path] = field(default_factory=set, repr=False)
    _notes: dict[Path, tuple[str, ...]] = field(default_factory=dict, repr=False)

    # What is measured -----------------------------------------------------------------------------------------------

    def measure(
        self, transformation: Transformation, layer: str, bank: Bank, *, is_done: bool = False
    ) -> Responses[Any]:
        """Measure the responses of a layer to a bank, or what is missing of them.

        With ``is_done`` they were all measured before, so that whatever is missing was lost, which is said.
        """
        group = self.group(transformation, layer)
        banks = self.banks(transformation, layer) if self.shares(transformation, layer) else {layer: bank}
        arrays = {
            name: open_responses(
                layer_path(self.folder, f"responses/{transformation.name}", name, ".zarr"),
                own,
                group,
                self.examples[name].n_units,
            )
            for name, own in banks.items()
        }
        responses = arrays[layer]
        if responses.path not in self._seen:
            shown = layer if len(arrays) == 1 else f"{len(arrays)} layers, from {next(iter(arrays))} on"
            with self.progress(f"{transformation.name}: showing {shown}", len(bank)) as on_stimuli:
                measured = measure_responses(
                    self.model,
                    self.images,
                    [self.geometries[name] for name in arrays],
                    list(arrays.values()),
                    whole_px=self.whole_px,
                    precision=self.precision,
                    on_stimuli=on_stimuli,
                )
            for own_responses in arrays.values():
                if own_responses.path is not None:
                    self._have_seen(own_responses.path, measured, is_done)
        return responses

    def _have_seen(self, path: Path, measured: Measured, is_done: bool) -> None:
        self._seen.add(path)
        self._notes[path] = measured.notes
        if is_done and measured.n_chunks:
            _LOG.warning(
                "%s: %d chunk(s) were lost or damaged, and are measured again", path, measured.n_chunks
            )

    # What is found --------------------------------------------------------------------------------------------------

    def run(self, name: str, layer: str, earlier: Mapping[str, LayerFamilies]) -> StageResult:
        """Survey one transformation of one layer.

        Parameters
        ----------
        name
            One that is surveyed layer by layer: see `run_joint` for the others.
        layer
            The layer.
        earlier
            What was found of the layer under the transformations before.
        """
        transformation = find(name)
        channels = transformation.eligible(_Found(self, layer, earlier))
        if channels is not None and len(channels) < transformation.least_units:
            said = transformation.none_eligible(len(channels))
            return StageResult(self._nothing(transformation, (layer,), said))
        bank = self.bank(transformation, layer, channels)
        is_measurable = self._is_measurable(transformation, layer, bank)
        if is_measurable is not None and not is_measurable.any():
            return StageResult(self._nothing(transformation, (layer,), transformation.unchanged))
        responses = self.measure(transformation, layer, bank)
        result = self._search(
            transformation,
            layer,
            responses,
            [self.examples[layer]],
            channels=channels,
            is_measurable=is_measurable,
        )
        shown = self.own(transformation, layer, responses) if result.families else self.examples[layer]
        tunings = {f.id: tune_family(responses, shown, f) for f in result.families}
        return StageResult(self._with_notes(result, responses), tunings)

    def _search(
        self,
        transformation: Transformation,
        where: str,
        responses: Responses[Any],
        examples: Sequence[Examples],
        **eligible: Any,
    ) -> LayerFamilies:
        """Search families, announcing as many steps as are done."""
        options = SearchOptions(
            seed=self.settings["seed"],
            false_discovery_rate=self.settings["false_discovery_rate"],
            min_score=self.settings["min_score"],
            n_null=self.settings["n_null"],
        )
        space = open_search(responses, examples, options, **eligible)
        with self.progress(f"{transformation.name}: families of {where}", space.count_draws() + 2) as on_step:
            return run_search(space, on_step)

    def run_joint(self, name: str) -> StageResult:
        """Survey a transformation over all layers that can be measured at one place."""
        transformation = find(name)
        layers, note = self.aligned(name)
        if not layers:
            return StageResult(self._nothing(transformation, tuple(self.geometries), note))
        examples = [self.examples[layer] for layer in layers]
        responses = self._measure_joint(transformation, layers)
        found = self._search(transformation, "all layers", responses, examples)
        tunings = {f.id: tune_family(responses, examples, f, self.geometries) for f in found.families}
        own = dict(zip(layers, _split(found.symmetries, examples), strict=True))
        symmetries = tuple(
            line
            for layer, all_own in self.examples.items()
            for line in own.get(layer, (Symmetry(name, "not measurable"),) * all_own.n_units)
        )
        result = replace(
            found, layers=tuple(self.geometries), symmetries=symmetries, notes=(note,) if note else ()
        )
        return StageResult(self._with_notes(result, responses), tunings, tuple(layers))

    def _with_notes(self, result: LayerFamilies, responses: Responses[Any]) -> LayerFamilies:
        """Add what is to be said of how its responses were measured."""
        own = () if responses.path is None else self._notes.get(responses.path, ())
        return replace(result, notes=(*result.notes, *(f"{result.transformation}: {note}" for note in own)))

    def aligned(self, name: str) -> tuple[list[str], str]:
        """Give the layers with positions at one place in one patch that the images can hold, and what is to be said."""
        usable = [n for n in self.geometries if self._has_surroundings(n)]
        left = [n for n in self.geometries if n not in usable]
        size_px: int | None = None
        geometries: list[LayerGeometry] = []
        while usable and size_px is None:
            geometries = [self.geometries[n] for n in usable]
            size_px = joint_patch_px(geometries, max_offset=MAX_OFFSET)
            if size_px is None:
                left.append(usable.pop())
        said = []
        if left:
            said.append(
                f"{', '.join(left)} took no part in {name}: the images have nothing around its stimuli that could be "
                "shown with them, or no patch has one of its positions in its middle together with those of the other "
                "layers"
            )
        if size_px is not None and (away := max(g.offset_strides(size_px) for g in geometries)) > 0:
            said.append(
                f"{name}: the layers' grids do not meet, so positions up to {away:.2g} of a stride beside the middle "
                "of the stimuli were read"
            )
        return usable, "; ".join(said)

    def _has_surroundings(self, layer: str) -> bool:
        """Whether images have more around a layer's stimuli, so that these can be shown smaller."""
        own = self.geometries[layer]
        if own.is_global:
            return False
        is_small = own.largest_px is None and own.patch_px <= LARGE_PATCH_PX
        return is_small or own.patch_px <= _MOST_SCALED_SHARE * self.whole_px

    def _nothing(self, transformation: Transformation, layers: tuple[str, ...], note: str) -> LayerFamilies:
        """No family, because nothing could be measured, and why."""
        name = transformation.name
        symmetries = tuple(
            Symmetry(name, "inactive" if inactive else "not measurable")
            for layer in layers
            for inactive in self.examples[layer].is_inactive.tolist()
        )
        nothing = NullSummary(0, 0.0, 0.0, float("nan"))
        return LayerFamilies(layers, name, (), symmetries, nothing, 0, (f"{name}: {note}",))

    def varying_units(self, layer: str, names: tuple[str, ...]) -> NDArray[np.int64]:
        """Units that vary under each of some transformations of a circle, on the finding half."""
        key = (layer, names)
        if key not in self._varying:
            self._varying[key] = self._find_varying(layer, names)
        return self._varying[key]

    def _find_varying(self, layer: str, names: Sequence[str]) -> NDArray[np.int64]:
        varies = ~self.examples[layer].is_inactive
        for transformation in map(find, names):
            bank = self.bank(transformation, layer)
            is_measurable = self._is_measurable(transformation, layer, bank)
            if is_measurable is not None and not is_measurable.any():
                return np.zeros(0, np.int64)
            with np.errstate(invalid="ignore"):
                measured = self.measure(transformation, layer, bank, is_done=True)
                varies &= find_varying(correlate_orbits(measured, 0), len(varies))
        return np.flatnonzero(varies)

    def _is_measurable(
        self, transformation: Transformation, layer: str, bank: Bank
    ) -> NDArray[np.bool_] | None:
        """Units whose strongest stimuli a transformation changes; None where it changes every picture."""
        if np.isnan(transformation.least_change):
            return None
        geometry, examples = self.geometries[layer], self.examples[layer]
        changes = measure_change(self.images, bank, geometry, self.patch_px(layer), transformation)
        of_key = dict(
            zip(zip(bank.image.tolist(), *bank.position.T.tolist(), strict=True), changes, strict=True)
        )
        if self.shares(transformation, layer):
            # Each unit is measured on all of them, whichever its own are.
            return np.full(examples.n_units, changes.max(initial=0.0) >= transformation.least_change)
        n = self.n_per_half(transformation, layer, examples.n_units)
        largest = np.zeros(examples.n_units)
        for half in (0, 1):
            for channel in range(examples.n_units):
                for image, place in zip(
                    examples.image[half, channel, :n], examples.position[half, channel, :n], strict=True
                ):
                    found = of_key.get((int(image), int(place[0]), int(place[1])), 0.0)
                    largest[channel] = max(largest[channel], found)
        return np.asarray(largest >= transformation.least_change)

    # What was measured ----------------------------------------------------------------------------------------------

    def measured(
        self, name: str, layer: str, results: Mapping[str, LayerFamilies]
    ) -> tuple[Responses[Any], NDArray[np.int64] | None]:
        """Give what was measured of a layer under a transformation; what was lost of it is measured again.

        Parameters
        ----------
        name
            One that is surveyed layer by layer: see `measured_jointly` for the others.
        layer
            The layer.
        results
            What was found of the layer, by transformation.

        Returns
        -------
        responses, channels
            The responses, and the units whose stimuli were shown; None for all.
        """
        transformation = find(name)
        channels = transformation.eligible(_Found(self, layer, results))
        bank = self.bank(transformation, layer, channels)
        return self.measure(transformation, layer, bank, is_done=True), channels

    def measured_jointly(self, name: str) -> tuple[list[str], Responses[Any] | None]:
        """Give what was measured of all layers together: layers, whose units stand side by side, and responses."""
        layers, _ = self.aligned(name)
        return layers, self._measure_joint(find(name), layers, is_done=True) if layers else None

    def _measure_joint(
        self, transformation: Transformation, layers: list[str], *, is_done: bool = False
    ) -> Responses[Any]:
        """Measure the responses of layers side by side to a joint bank, or what is missing of them."""
        geometries = [self.geometries[layer] for layer in layers]
        bank = join_banks([self.bank(transformation, layer) for layer in layers], geometries)
        n_units = sum(self.examples[layer].n_units for layer in layers)
        path = layer_path(self.folder, f"responses/{transformation.name}", "joint", ".zarr")
        responses = open_responses(path, bank, self.group(transformation), n_units)
        if path not in self._seen:
            with self.progress(f"{transformation.name}: showing all layers", len(bank)) as on_stimuli:
                measured = measure_responses(
                    self.model,
                    self.images,
                    geometries,
                    responses,
                    size_px=joint_patch_px(geometries, max_offset=MAX_OFFSET),
                    precision=self.precision,
                    on_stimuli=on_stimuli,
                )
            self._have_seen(path, measured, is_done)
        return responses

    def explain(self, results: dict[str, LayerFamilies], layer: str) -> dict[str, LayerFamilies]:
        """Say of each family of a layer which transformation explains it best and simplest."""
        measured = {
            name: self.measured(name, layer, results)[0]
            for name, result in results.items()
            if result.null.n_draws
        }
        comparison = Comparison(measured, self.settings["seed"])
        explained = {}
        for name, result in results.items():
            families = []
            for family in result.families:
                found = comparison.of(family.channels, name)
                families.append(replace(family, explained_by=simplest(found), alternatives=tuple(found)))
            explained[name] = replace(result, families=tuple(families))
        return explained


def _split(symmetries: Sequence[Symmetry], examples: Sequence[Examples]) -> list[tuple[Symmetry, ...]]:
    """Divide the lines of units that stand side by side among their layers."""
    parts, start = [], 0
    for own in examples:
        parts.append(tuple(symmetries[start : start + own.n_units]))
        start += own.n_units
    return parts
