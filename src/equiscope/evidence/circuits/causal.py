"""Causal check: zero a circuit, or replace it by its template, also at a wrong pose, and watch the family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.evidence.circuits.circuit import CircuitEnd
from equiscope.evidence.circuits.ends import End
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.tied import tie_circuit
from equiscope.foundations.statistics import bootstrap_weights, percentile_interval
from equiscope.measurement.bank import cut_stimuli
from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.sides import fitted
from equiscope.stimuli import ImageSet

__all__ = ["CausalCheck", "check_circuits"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_N_ANGLES = 8
_STIMULI_PER_MEMBER = 2
_HELD_OUT = 1
_PIXELS_PER_PASS = 700_000
_N_RESAMPLES = 300
_CONDITIONS = ("zeroed", "template", "wrong_pose")


@dataclass(frozen=True)
class CausalCheck:
    """What interventions on one circuit do to the target family, on held-out stimuli turned through a full circle.

    Each figure is the mean over members of the correlation, over stimuli and angles, of the member's responses after
    the intervention with those before it, with its 95 % bootstrap interval over photographs.

    Attributes
    ----------
    circuit
        Its id.
    zeroed
        The weights of the circuit set to zero.
    template
        Replaced by those that the template gives.
    wrong_pose
        Replaced by those that the template gives for poses half a period away.
    n_stimuli
        Stimuli shown, each at eight angles.
    """

    circuit: str
    zeroed: float
    zeroed_low: float
    zeroed_high: float
    template: float
    template_low: float
    template_high: float
    wrong_pose: float
    wrong_pose_low: float
    wrong_pose_high: float
    n_stimuli: int


def check_circuits(
    model: Model,
    images: ImageSet,
    pair: LayerPair,
    circuits: Sequence[tuple[str, End, End]],
    source: LayerGeometry,
    target: LayerGeometry,
    examples: Examples,
) -> tuple[CausalCheck, ...]:
    """Intervene on circuits between two layers that a linear path joins.

    The target's responses before its rectifier change by the changed weights times the source's rectified responses:
    exact where nothing on the path had to be linearised, and to first order elsewhere.

    Parameters
    ----------
    model, images
        The network, and the images of the survey.
    pair
        The layers, with their expanded weights.
    circuits
        Id, source and target of each; targets are families with angles.
    source, target
        Geometry of the layers.
    examples
        Strongest stimuli of the target's units; those of the verifying half are shown.

    Examples
    --------
    Of tied weights the template says all. Without these, or with those of wrong poses, the family's tuning is lost.

    >>> from equiscope import open_images
    >>> from equiscope.evidence.circuits.paths import expanded_weights
    >>> from equiscope.measurement.examples import collect_examples, split_halves
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.testing import planted_circuits
    >>> planted, images = planted_circuits(), open_images(max_side_px=96)
    >>> geometries = find_geometry(planted.model, ["early", "late"])
    >>> pair = LayerPair(expanded_weights(planted.model, *geometries.values()), planted.families, planted.units)
    >>> examples = collect_examples(planted.model, images, geometries, split_halves(images.groups, 0), 2)["late"]
    >>> own = [("first>first", pair.sources[0], pair.targets[0])]
    >>> (check,) = check_circuits(planted.model, images, pair, own, *geometries.values(), examples)
    >>> check.template > 0.99, check.zeroed < 0.8, check.wrong_pose < 0.8
    (True, True, True)
    """
    bench = _Bench(model, images, pair, source, target, examples)
    by_target: dict[CircuitEnd, list[tuple[str, End, End]]] = {}
    for entry in circuits:
        by_target.setdefault(entry[2].named, []).append(entry)
    return tuple(check for own in by_target.values() for check in bench.check_family(own))


@dataclass(frozen=True)
class _Bench:
    """Two layers of a network with the weights between them, and the stimuli on which interventions are judged."""

    model: Model
    images: ImageSet
    pair: LayerPair
    source: LayerGeometry
    target: LayerGeometry
    examples: Examples

    def check_family(self, circuits: Sequence[tuple[str, End, End]]) -> Iterator[CausalCheck]:
        """Intervene on circuits into one family; none where its members have no stimuli."""
        family = circuits[0][2]
        image, position = self.stimuli(family)
        if not len(image):
            return
        wanted = np.unique(np.concatenate([source.channels for _, source, _ in circuits]))
        below, before = self.record(image, position, wanted, family)
        photographs = np.asarray(self.images.groups, dtype=np.int64)[image]
        draws = bootstrap_weights(photographs, _N_RESAMPLES, np.random.default_rng(0))
        for circuit, source, target in circuits:
            own_below = below[:, :, np.searchsorted(wanted, source.channels)]
            figures = _intervene(self.pair, source, target, own_below, before, draws)
            yield CausalCheck(circuit, **figures, n_stimuli=len(image))

    def stimuli(self, family: End) -> tuple[Ints, Ints]:
        """Strongest held-out stimuli of a family's members: images, shape (stimulus,), and positions (y, x)."""
        chosen = _HELD_OUT, family.channels, slice(_STIMULI_PER_MEMBER)
        image, position = self.examples.image[chosen].ravel(), self.examples.position[chosen].reshape(-1, 2)
        is_there = image != NO_IMAGE
        return image[is_there], position[is_there]

    def record(self, image: Ints, position: Ints, channels: Ints, family: End) -> tuple[Floats, Floats]:
        """Record responses to stimuli that are turned through a full circle.

        Rectified ones of the source under the kernel, shape (stimulus, angle, source, y, x), and those of the family.
        """
        source, target = self.source, self.target
        angles_deg = np.arange(_N_ANGLES) * 360 / _N_ANGLES
        size_px = target.patch_px
        centre = target.position_in_patch(size_px)
        rows, columns = (
            torch.as_tensor(
                np.round(
                    ((size_px - 1) / 2 + places - source.centre_px[axis]) / source.stride_px[axis]
                ).astype(int)
            )
            for axis, places in enumerate((self.pair.weights.y_px, self.pair.weights.x_px))
        )
        network = fitted(self.model, target.sides)

        def read(layer: str, output: Tensor) -> Tensor:
            if layer == target.layer:
                return output[:, family.channels, centre[0], centre[1]].float()
            inside = output[:, channels].clamp(min=0)
            return inside[:, :, rows][..., columns].float()

        per_pass = max(1, _PIXELS_PER_PASS // (target.sides.at_least(size_px)[0] ** 2 * len(angles_deg)))
        below, above = [], []
        for start in range(0, len(image), per_pass):
            some = slice(start, start + per_pass)
            patches = cut_stimuli(self.images, target, image[some], position[some], angles_deg, size_px)
            n = len(patches)
            seen = network.record(patches.flatten(0, 1), [source.layer, target.layer], read)
            below.append(seen[source.layer].cpu().view(n, len(angles_deg), *seen[source.layer].shape[1:]))
            above.append(seen[target.layer].cpu().view(n, len(angles_deg), -1))
        return torch.cat(below).double().numpy(), torch.cat(above).double().numpy()


def _intervene(
    pair: LayerPair, source: End, target: End, below: Floats, before: Floats, draws: Floats
) -> dict[str, float]:
    """Compare the target's responses before with those after each intervention on a circuit.

    ``below``: rectified source responses under the kernels, shape (stimulus, angle, source, y, x); ``before``: the
    target's, shape (stimulus, angle, target).
    """
    figures: dict[str, float] = {}
    tied = tie_circuit(pair, source, target)
    away = tie_circuit(pair, source, target, wrong_pose=True)
    for name, kernels in zip(_CONDITIONS, (0 * tied.raw, tied.tied, away.tied), strict=True):
        change = np.einsum("pguyx,vuyx->pgv", below, kernels - tied.raw, optimize=True)
        figures |= _compare(name, before, before + change, draws)
    return figures


def _compare(name: str, before: Floats, after: Floats, draws: Floats) -> dict[str, float]:
    """Mean over members of the correlation of rectified responses, with its interval over photographs."""
    x, y = np.maximum(before, 0), np.maximum(after, 0)
    weights = np.concatenate([np.ones((1, draws.shape[1])), draws])
    n = weights.sum(1)[:, None] * x.shape[1]
    mean_x, mean_y, xx, yy, xy = (weights @ part.sum(1) / n for part in (x, y, x * x, y * y, x * y))
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = (xx - mean_x**2) * (yy - mean_y**2)
        # A member that an intervention silences keeps nothing of its tuning.
        correlation = np.where(
            spread > 1e-12 * xx**2, (xy - mean_x * mean_y) / np.sqrt(np.maximum(spread, 1e-300)), 0.0
        )
        correlation = np.where(xx - mean_x**2 > 0, correlation, np.nan)
    mean = np.nanmean(correlation, axis=1)
    low, high = percentile_interval(mean[1:])
    return {name: float(mean[0]), f"{name}_low": float(low), f"{name}_high": float(high)}
