"""One transformation of one layer: from its stimulus bank to verified families and how their members are tuned."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equiscope.families.circles import find_families, find_invariance, joint_tuning
from equiscope.families.dihedral import find_dihedral_families, joint_dihedral_tuning
from equiscope.families.explain import Comparison, simplest
from equiscope.families.family import Family, LayerFamilies, NullSummary, Symmetry, Tuning
from equiscope.families.pairs import find_pairs, joint_pair_tuning
from equiscope.families.scales import ScaleEdge, find_scale_families, joint_scale_tuning
from equiscope.families.synchronisation import INVARIANCE_CUT
from equiscope.families.torus import find_toral_families, joint_toral_tuning
from equiscope.foundations.progress import Progress
from equiscope.measurement.bank import Bank, build_bank, join_banks, measure_chroma
from equiscope.measurement.examples import Examples
from equiscope.measurement.responses import Responses, measure_responses, open_responses
from equiscope.models import Model
from equiscope.models.geometry import MAX_OFFSET, LayerGeometry, joint_patch_px
from equiscope.runs.store import layer_path
from equiscope.stimuli import ImageSet
from equiscope.transformations.groups import CyclicGroup, DihedralGroup, Involution, Scales, TorusGroup

__all__ = [
    "TRANSFORMATIONS",
    "Stage",
    "StageResult",
    "with_needed",
]

_LOG = logging.getLogger(__name__)

# In the order in which they are surveyed: later ones use the results of earlier ones.
TRANSFORMATIONS = ("rotation", "hue", "reflection", "contrast", "dihedral", "hue-rotation", "scale")
_NEEDS = {"dihedral": ("rotation",), "hue-rotation": ("rotation", "hue")}
_N_HUES = 16
_N_HUES_WITH_ROTATION = 8
_SCALES = (-1.0, 1.5, 0.25)
# From this patch size on, half as many stimuli are turned: a pass costs 5 to 15 ms there.
_LARGE_PATCH_PX = 128
# Up to this patch size hue × rotation takes all angles, beyond it half: 128 elements cost too much there.
_SMALL_PATCH_PX = 48
# Stimuli in each half below which correlations hang on a few of them: planted look-alikes then pass for copies.
_FEW_STIMULI = 64
# Response-weighted root mean square chroma below which a turn of hue changes too little to measure: on GoogLeNet's
# photographs the units' stimuli have 0.02 to 0.3, grey pictures in colour files under 0.005.
_LEAST_CHROMA = 0.01


def with_needed(transformations: list[str]) -> list[str]:
    """Put the transformations into their order, with those that they need."""
    wanted = set(transformations)
    for name in transformations:
        wanted |= set(_NEEDS.get(name, ()))
    return [name for name in TRANSFORMATIONS if name in wanted]


@dataclass(frozen=True)
class StageResult:
    """Families of one transformation with their tuning.

    For scale also the accepted pairs, whose units are counted through ``scale_layers``.
    """

    result: LayerFamilies
    tunings: dict[str, Tuning] = field(default_factory=dict)
    edges: tuple[ScaleEdge, ...] = ()
    scale_layers: tuple[str, ...] = ()


def find_layer_families(
    responses: Responses[Any],
    examples: Examples,
    *,
    channels: NDArray[np.int64] | None = None,
    is_measurable: NDArray[np.bool_] | None = None,
    **options: Any,
) -> LayerFamilies:
    """Find the families of one layer under the transformations that its responses were measured under.

    Parameters
    ----------
    responses, examples
        Of the layer.
    channels
        For hue × rotation the units that vary with both.
    is_measurable
        For hue the units whose stimuli have colour.
    options
        Seed, rates and sizes, as for ``circles.find_families``.
    """
    match responses.group.name:
        case "reflection" | "contrast":
            return find_pairs(responses, examples, **options)
        case "dihedral":
            return find_dihedral_families(responses, examples, **options)
        case "hue-rotation":
            units = np.arange(examples.n_units) if channels is None else channels
            return find_toral_families(responses, examples, units, **options)
        case _:
            return find_families(responses, examples, is_measurable=is_measurable, **options)


def tune_family(responses: Responses[Any], examples: Examples, family: Family) -> Tuning:
    """Joint tuning of a family of one layer, from its members' own held-out stimuli."""
    group = responses.group
    match group.name:
        case "reflection" | "contrast":
            return Tuning({"element": [0.0, 1.0]}, joint_pair_tuning(responses, examples, family))
        case "dihedral":
            axes = {"is_mirrored": [0.0, 1.0], "angle_deg": group.rotations.angles_deg.tolist()}
            return Tuning(axes, joint_dihedral_tuning(responses, examples, family))
        case "hue-rotation":
            axes = {
                "hue_deg": group.hues.angles_deg.tolist(),
                "angle_deg": group.rotations.angles_deg.tolist(),
            }
            return Tuning(axes, joint_toral_tuning(responses, examples, family))
        case _:
            name = "hue_deg" if group.name == "hue" else "angle_deg"
            return Tuning({name: group.angles_deg.tolist()}, joint_tuning(responses, examples, family))


# Opens one stage: given its name and number of steps, a context that yields a function to call with steps done.


@dataclass
class Stage:
    """What all stages of one survey share, and one method a kind of transformation.

    Attributes
    ----------
    model, images, geometries, examples, photographs
        The network, the images, and each layer's geometry and strongest stimuli.
    folder
        The run's folder; responses go there.
    settings
        The run's settings.
    whole_px
        Side of whole-image stimuli, px.
    precision
        What the network computes in.
    progress
        Opens a progress bar.
    """

    model: Model
    images: ImageSet
    geometries: dict[str, LayerGeometry]
    examples: dict[str, Examples]
    photographs: NDArray[np.int64]
    folder: Path
    settings: dict[str, Any]
    whole_px: int
    precision: torch.dtype
    progress: Progress
    _varying: dict[str, NDArray[np.int64]] = field(default_factory=dict, repr=False)
    # Arrays all of whose chunks this process has seen.
    _seen: set[Path] = field(default_factory=set, repr=False)

    def group(self, transformation: str, layer: str | None = None) -> Any:
        """Give the elements that stimuli are shown under."""
        n_angles = self.settings["angles"]
        match transformation:
            case "rotation":
                return CyclicGroup(n_angles)
            case "hue":
                return CyclicGroup(_N_HUES, "hue")
            case "dihedral":
                return DihedralGroup(n_angles)
            case "hue-rotation":
                is_small = layer is None or self._patch_px(layer) <= _SMALL_PATCH_PX
                return TorusGroup(_N_HUES_WITH_ROTATION, n_angles if is_small else max(8, n_angles // 2))
            case "scale":
                return Scales.between(*_SCALES)
            case _:
                return Involution(transformation)

    def n_per_half(self, transformation: str, layer: str, n_units: int) -> int:
        """Strongest stimuli of each unit and half that are shown under a transformation.

        All where a pass is cheap or each stimulus is shown twice only; fewer for many elements and large patches, but
        never so few that ``n_units`` units together have less than some hundreds.
        """
        per_half = -(-int(self.settings["examples_per_unit"]) // 2)
        is_large = self._is_large(layer)
        if transformation == "reflection":
            return per_half
        wanted = {"rotation": per_half, "contrast": per_half, "hue": per_half // 2}.get(transformation, 1)
        wanted = max(wanted // 2 if is_large else wanted, -(-_FEW_STIMULI // max(n_units, 1)))
        return min(max(wanted, 1), per_half)

    def cost(self, transformation: str, layer: str) -> float:
        """Estimate what a transformation of a layer costs: pixels that go through the network, at most.

        For ``scale`` the layer's part of the pass that all layers share.
        """
        n_units = self.examples[layer].n_units
        n_stimuli = 2 * n_units * self.n_per_half(transformation, layer, n_units)
        layers = self.geometries if transformation == "scale" else [layer]
        side_px = max(map(self._patch_px, layers))
        return float(n_stimuli * self.group(transformation, layer).order * side_px**2)

    def _is_large(self, layer: str) -> bool:
        """Whether a pass on one of the layer's stimuli costs much."""
        return self._patch_px(layer) > _LARGE_PATCH_PX

    def _patch_px(self, layer: str) -> int:
        """Side of the layer's stimuli, px."""
        geometry = self.geometries[layer]
        return self.whole_px if geometry.is_global else geometry.patch_px

    def bank(self, transformation: str, layer: str, channels: NDArray[np.int64] | None = None) -> Bank:
        """Stimuli of a layer that are shown under a transformation."""
        return build_bank(
            self.examples[layer],
            self.photographs,
            channels=channels,
            n_per_half=self.n_per_half(transformation, layer, self._n_units(transformation, layer, channels)),
        )

    def _n_units(self, transformation: str, layer: str, channels: NDArray[np.int64] | None) -> int:
        """Units whose stimuli together make the bank."""
        if transformation == "scale":
            return sum(own.n_units for own in self.examples.values())
        return self.examples[layer].n_units if channels is None else len(channels)

    def measure(
        self, transformation: str, layer: str, bank: Bank, *, is_done: bool = False
    ) -> Responses[Any]:
        """Measure the responses of a layer to a bank, or what is missing of them.

        With ``is_done`` they were all measured before, so that whatever is missing was lost, which is said.
        """
        path = layer_path(self.folder, f"responses/{transformation}", layer, ".zarr")
        group = self.group(transformation, layer)
        responses = open_responses(path, bank, group, self.examples[layer].n_units)
        if path not in self._seen:
            with self.progress(f"{transformation}: showing {layer}", len(bank)) as on_stimuli:
                n_measured = measure_responses(
                    self.model,
                    self.images,
                    self.geometries[layer],
                    responses,
                    whole_px=self.whole_px,
                    precision=self.precision,
                    on_stimuli=on_stimuli,
                )
            self._have_seen(path, n_measured, is_done)
        return responses

    def _have_seen(self, path: Path, n_measured: int, is_done: bool) -> None:
        self._seen.add(path)
        if is_done and n_measured:
            _LOG.warning("%s: %d chunk(s) were lost or damaged, and are measured again", path, n_measured)

    def run(self, transformation: str, layer: str, earlier: dict[str, LayerFamilies]) -> StageResult:
        """Survey one transformation of one layer.

        Parameters
        ----------
        transformation
            All but ``scale``, which concerns all layers at once: see `run_scale`.
        layer
            The layer.
        earlier
            What was found of the layer under the transformations before.
        """
        examples = self.examples[layer]
        channels: NDArray[np.int64] | None = None
        match transformation:
            case "dihedral":
                channels = self.turning_units(earlier["rotation"])
                if not len(channels):
                    return StageResult(
                        self._nothing(transformation, layer, "no unit is in a rotation family")
                    )
            case "hue-rotation":
                channels = self.varying_units(layer)
                if len(channels) < 3:
                    return StageResult(
                        self._nothing(
                            transformation, layer, f"{len(channels)} units vary with both hue and rotation"
                        )
                    )
        bank = self.bank(transformation, layer, channels)
        is_measurable = None
        if transformation == "hue":
            is_measurable = self._is_coloured(layer, bank)
            if not is_measurable.any():
                return StageResult(
                    self._nothing(
                        transformation,
                        layer,
                        "the stimuli of every unit are grey, so turning hue changes nothing: give colour images",
                    )
                )
        responses = self.measure(transformation, layer, bank)
        options = {
            "seed": self.settings["seed"],
            "false_discovery_rate": self.settings["false_discovery_rate"],
            "min_score": self.settings["min_score"],
            "n_null": self.settings["n_null"],
        }
        with self.progress(f"{transformation}: families of {layer}", options["n_null"] + 2) as on_step:
            result = find_layer_families(
                responses,
                examples,
                channels=channels,
                is_measurable=is_measurable,
                on_step=on_step,
                **options,
            )
            tunings = {f.id: tune_family(responses, examples, f) for f in result.families}
        return StageResult(result, tunings)

    def run_scale(self) -> StageResult:
        """Survey scale over all layers that can be measured at one place."""
        layers, note = self._aligned()
        if not layers:
            joint = "+".join(self.geometries)
            return StageResult(self._nothing("scale", joint, note))
        examples = [self.examples[layer] for layer in layers]
        responses = self._measure_scale(layers)
        with self.progress("scale: families of all layers", self.settings["n_null"] + 2) as on_step:
            found = find_scale_families(
                responses,
                examples,
                seed=self.settings["seed"],
                false_discovery_rate=self.settings["false_discovery_rate"],
                n_null=self.settings["n_null"],
                on_step=on_step,
            )
        tunings = {}
        for family in found.result.families:
            octaves, values = joint_scale_tuning(responses, examples, self.geometries, family)
            tunings[family.id] = Tuning({"octaves": octaves.tolist()}, values)
        symmetries = tuple(
            line
            for layer, own in self.examples.items()
            for line in (
                found.symmetries[layer]
                if layer in layers
                else (Symmetry("scale", "not measurable"),) * own.n_units
            )
        )
        result = replace(
            found.result,
            layer="+".join(self.geometries),
            symmetries=symmetries,
            notes=(note,) if note else (),
        )
        return StageResult(result, tunings, found.edges, tuple(layers))

    def _aligned(self) -> tuple[list[str], str]:
        """Layers that have positions at one place in one patch that the images can hold, and what is to be said."""
        usable = [n for n, g in self.geometries.items() if not g.is_global and g.largest_px is None]
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
                f"{', '.join(left)} took no part in scale: no patch that the images can hold has one of its "
                "positions in its middle together with those of the other layers"
            )
        if size_px is not None and (away := max(g.offset_strides(size_px) for g in geometries)) > 0:
            said.append(
                f"scale: the layers' grids do not meet, so positions up to {away:.2g} of a stride beside the middle of "
                "the stimuli were read"
            )
        return usable, "; ".join(said)

    def _nothing(self, transformation: str, layer: str, note: str) -> LayerFamilies:
        """No family, because nothing could be measured, and why."""
        layers = layer.split("+") if transformation == "scale" else [layer]
        symmetries = tuple(
            Symmetry(transformation, "inactive" if inactive else "not measurable")
            for name in layers
            for inactive in self.examples[name].is_inactive.tolist()
        )
        nothing = NullSummary(0, 0.0, 0.0, float("nan"))
        return LayerFamilies(
            layer, transformation, (), symmetries, nothing, 0, (f"{transformation}: {note}",)
        )

    def turning_units(self, rotation: LayerFamilies) -> NDArray[np.int64]:
        """Units of rotation families: only they can be in a dihedral one."""
        return np.array(sorted({m.channel for f in rotation.families for m in f.members}), dtype=np.int64)

    def varying_units(self, layer: str) -> NDArray[np.int64]:
        """Units that vary with hue and with rotation, on the finding half."""
        if layer not in self._varying:
            self._varying[layer] = self._find_varying(layer)
        return self._varying[layer]

    def _find_varying(self, layer: str) -> NDArray[np.int64]:
        varies = ~self.examples[layer].is_inactive
        for transformation in ("rotation", "hue"):
            bank = self.bank(transformation, layer)
            if transformation == "hue" and not self._is_coloured(layer, bank).any():
                return np.zeros(0, np.int64)
            with np.errstate(invalid="ignore"):
                varies &= (
                    find_invariance(self.measure(transformation, layer, bank, is_done=True), 0)
                    <= INVARIANCE_CUT
                )
        return np.flatnonzero(varies)

    def _is_coloured(self, layer: str, bank: Bank) -> NDArray[np.bool_]:
        """Units whose strongest stimuli have colour that a turn of hue would change."""
        geometry, examples = self.geometries[layer], self.examples[layer]
        chroma = measure_chroma(self.images, bank, geometry, self._patch_px(layer))
        of_key = dict(
            zip(zip(bank.image.tolist(), *bank.position.T.tolist(), strict=True), chroma, strict=True)
        )
        n = self.n_per_half("hue", layer, examples.n_units)
        strongest = np.zeros(examples.n_units)
        for half in (0, 1):
            for channel in range(examples.n_units):
                for image, place in zip(
                    examples.image[half, channel, :n], examples.position[half, channel, :n], strict=True
                ):
                    found = of_key.get((int(image), int(place[0]), int(place[1])), 0.0)
                    strongest[channel] = max(strongest[channel], found)
        return np.asarray(strongest >= _LEAST_CHROMA)

    def measured(
        self, transformation: str, layer: str, results: dict[str, LayerFamilies]
    ) -> tuple[Responses[Any], NDArray[np.int64] | None]:
        """Give what was measured of a layer under a transformation; what was lost of it is measured again.

        Parameters
        ----------
        transformation
            All but ``scale``: see `measured_scale`.
        layer
            The layer.
        results
            What was found of the layer, by transformation.

        Returns
        -------
        responses, channels
            The responses, and the units whose stimuli were shown; None for all.
        """
        channels = None
        if transformation == "dihedral":
            channels = self.turning_units(results["rotation"])
        elif transformation == "hue-rotation":
            channels = self.varying_units(layer)
        bank = self.bank(transformation, layer, channels)
        return self.measure(transformation, layer, bank, is_done=True), channels

    def measured_scale(self) -> tuple[list[str], Responses[Any] | None]:
        """Give what was measured under scale: layers, whose units stand side by side, and responses, if any."""
        layers, _ = self._aligned()
        return layers, self._measure_scale(layers, is_done=True) if layers else None

    def _measure_scale(self, layers: list[str], *, is_done: bool = False) -> Responses[Any]:
        """Measure the joint responses of layers at all sizes, or what is missing of them."""
        geometries = [self.geometries[layer] for layer in layers]
        bank = join_banks([self.bank("scale", layer) for layer in layers], geometries)
        n_units = sum(self.examples[layer].n_units for layer in layers)
        path = layer_path(self.folder, "responses/scale", "joint", ".zarr")
        responses = open_responses(path, bank, self.group("scale"), n_units)
        if path not in self._seen:
            with self.progress("scale: showing all layers", len(bank)) as on_stimuli:
                n_measured = measure_responses(
                    self.model,
                    self.images,
                    geometries,
                    responses,
                    size_px=joint_patch_px(geometries, max_offset=MAX_OFFSET),
                    precision=self.precision,
                    on_stimuli=on_stimuli,
                )
            self._have_seen(path, n_measured, is_done)
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
                alternatives = tuple(
                    (e.transformation, e.score, e.deficit, e.deficit_low, e.deficit_high) for e in found
                )
                families.append(replace(family, explained_by=simplest(found), alternatives=alternatives))
            explained[name] = replace(result, families=tuple(families))
        return explained
