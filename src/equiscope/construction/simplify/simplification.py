"""Put tied templates back into the network that was surveyed, and see what it still can do.

The weights between two families are tied if each kernel is one template, turned by the poses of its two units. A
network whose kernels from eight curves to four lines are tied keeps one template in place of 32 kernels, and a factor
for each line. If it classifies as well as before, the poses that a survey found describe its weights; at wrong poses,
which permute the poses within every family, it should do worse. Biases stay.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as to_safetensors
from torch import Tensor

from equiscope.construction.simplify.curve import BY_ERROR, ONLY_CIRCUITS, Curve
from equiscope.construction.simplify.evaluation import (
    Accuracy,
    Moments,
    compare_predictions,
    load_batch,
    measure_moments,
    predict,
    recalibrate,
)
from equiscope.construction.simplify.labelled import EvaluationImages
from equiscope.construction.simplify.plans import Plan, make_plans
from equiscope.construction.simplify.result import TIED, Point, Simplification, save_simplification
from equiscope.construction.simplify.tying import Ties, kernels_of, summarise, tie_all
from equiscope.construction.simplify.wiring import Wire, find_wires
from equiscope.evidence.circuits import load_circuits
from equiscope.foundations import limits
from equiscope.foundations.devices import choose_precision
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.files import check_output, write_output
from equiscope.foundations.options import DEFAULTS, Options
from equiscope.models import Model
from equiscope.runs.run import Run, check_network

__all__ = ["simplify_run"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def simplify_run(
    run: Run,
    model: Model,
    images: EvaluationImages,
    curve: Curve,
    *,
    crop_px: int | None = None,
    save: Path | None = None,
    options: Options = DEFAULTS,
) -> Simplification:
    """Tie the weights between a run's families, block by block, and evaluate the network at several stages.

    Parameters
    ----------
    run, model, images
        A finished run, the network that was surveyed, which stays as it is, and images from `open_evaluation`.
    curve
        What is tied, in what order, and how finely that is looked at.
    crop_px
        Side of the square about the images' centres that the network sees, px, by default what it was trained on.
    save
        Where to write the last tied, recalibrated network, as a state dictionary (``.safetensors``).
    options
        ``precision`` of the passes that are scored; ``seed`` of the wrong poses and the bootstrap; ``progress``.

    Raises
    ------
    EquiscopeError
        If the network is not the run's, the run lacks circuits or ties, or images do not fit.

    Examples
    --------
    >>> from equiscope import load_run
    >>> from equiscope.construction.simplify.labelled import open_evaluation
    >>> from equiscope.models import load_model
    >>> run, model = load_run("equiscope-runs/mini"), load_model("mini")
    >>> images = open_evaluation("gratings", labels="gratings/labels.csv", n_logits=100, side_px=56)
    >>> found = simplify_run(run, model, images, Curve(methods="tied", n_points=1), crop_px=56)
    >>> found.original.top1, found.points[0].n_removed > 5000, found.points[0].error < 0.5
    (1.0, True, True)
    """
    if crop_px is not None:
        limits.SIDE_PX.check("crop_px", crop_px)
    check_network(run, model)
    if save is not None:
        check_output(save)
    circuits = _symmetric_circuits(run) if curve.blocks == ONLY_CIRCUITS else None
    bench, wires = _set_up(run, model, images, curve, crop_px, options)
    ties = bench.tie_both(wires, circuits)
    scores = bench.score(bench.plan(ties, wires), ties[0].n_weights, save)
    result = bench.sum_up(ties, wires, scores)
    save_simplification(run.folder, result)
    return result


@dataclass(frozen=True)
class _Scores:
    """How the network and its changed copies did."""

    n_images: int
    original: Accuracy
    points: tuple[Point, ...]


@dataclass(frozen=True)
class _Bench:
    """A surveyed network, and the images that it and changed copies of it are evaluated and recalibrated on."""

    run: Run
    model: Model
    images: EvaluationImages
    curve: Curve
    options: Options
    crop_px: int
    dtype: torch.dtype
    batch: Tensor
    moments: Mapping[str, Moments]

    @property
    def layers(self) -> list[str]:
        """The surveyed layers, in the order of the network."""
        layers: list[str] = self.run.manifest["settings"]["layers"]
        return layers

    def tie_both(self, wires: Sequence[Wire], circuits: set[str] | None) -> tuple[Ties, Ties]:
        """Tie every convolution at the poses that were found, and at wrong ones."""
        transformation = self.curve.transformation
        with self.options.progress("tying weights", 2 * len(wires)) as on_step:
            tied, wrong = (
                tie_all(self.run, self.model, wires, self.moments, transformation, circuits, rng, on_step)
                for rng in (None, np.random.default_rng(self.options.seed))
            )
        if not tied.blocks:
            raise EquiscopeError(
                f"no convolution of {self.model.name} joins families under {transformation} that {self.run.folder} "
                "has: survey layers that follow each other directly, bottlenecks too (`equiscope layers` lists them)"
            )
        return tied, wrong

    def plan(self, ties: tuple[Ties, Ties], wires: Sequence[Wire]) -> list[Plan]:
        """Choose the networks that are evaluated; refuse if there is none."""
        n_points = self.curve.n_points if self.curve.order == BY_ERROR else None
        plans = make_plans(*ties, self.curve.methods, n_points=n_points, wires=wires, layers=self.layers)
        if not plans:
            raise EquiscopeError(
                f"tying the {len(ties[0].blocks)} blocks of {self.model.name} under {self.curve.transformation} would "
                "save no parameter"
            )
        return plans

    def choose(self) -> tuple[Ints, Ints]:
        """Choose images from all over the set that can be decoded; also what the network says of them."""
        chosen, n_images = np.arange(len(self.images.evaluated)), self.curve.n_images
        if n_images is not None:
            chosen = np.unique(np.linspace(0, len(chosen) - 1, min(n_images, len(chosen))).astype(np.int64))
        before = self.predict(self.model, chosen)
        is_there = before >= 0
        if not is_there.any():
            raise EquiscopeError(f"none of the images of {self.images.name} can be decoded: give others")
        return chosen[is_there], before[is_there]

    def predict(self, model: Model, chosen: Ints) -> Ints:
        """Classify images, shape (image,)."""
        return predict(model, self.images.evaluated, chosen, self.crop_px, self.dtype)

    def score(self, plans: Sequence[Plan], n_weights: int, save: Path | None) -> _Scores:
        """Evaluate the network and every plan, before and after recalibration; the last tied network may be saved."""
        points, seed = [], self.options.seed
        last = [plan for plan in plans if plan.method == TIED][-1]
        with self.options.progress("evaluating", 1 + 2 * len(plans)) as on_step:
            chosen, before = self.choose()
            on_step(1)
            labels = self.images.evaluated.labels[chosen]
            original = compare_predictions(before, before, labels, seed)
            for plan in plans:
                changed = _changed(self.model, plan.weights)
                plain = compare_predictions(self.predict(changed, chosen), before, labels, seed)
                on_step(1)
                recalibrate(changed, self.batch, self.moments)
                after = compare_predictions(self.predict(changed, chosen), before, labels, seed)
                on_step(1)
                n_removed = n_weights - plan.n_free
                points.append(
                    Point(
                        plan.method, n_removed, plan.n_free, plan.n_blocks, plan.error, plain, after, plan.layer
                    )
                )  # fmt: skip
                if save is not None and plan is last:
                    state = changed.module.state_dict()
                    _write(save, to_safetensors({k: v.detach().cpu().contiguous() for k, v in state.items()}))
        return _Scores(len(chosen), original, tuple(points))

    def sum_up(self, ties: tuple[Ties, Ties], wires: Sequence[Wire], scores: _Scores) -> Simplification:
        """Put everything together that is told of a simplification."""
        tied, wrong = ties
        model, images, curve = self.model, self.images, self.curve
        return Simplification(
            model.name, images.name, curve.transformation, curve.blocks, scores.n_images, len(self.batch), self.crop_px,
            images.evaluated.side_px, str(self.dtype).removeprefix("torch."),
            sum(p.numel() for p in model.module.parameters()), scores.original,
            tuple(summarise(wire, tied, wrong) for wire in wires if any(n == wire.name for n, _ in tied.blocks)),
            scores.points, curve.order, images.notes, self.run.verdict,
        )  # fmt: skip


def _set_up(
    run: Run, model: Model, images: EvaluationImages, curve: Curve, crop_px: int | None, options: Options
) -> tuple[_Bench, tuple[Wire, ...]]:
    """Find the network's convolutions, and measure their moments."""
    crop_px, dtype = _check_crop(model, images, crop_px), choose_precision(options.precision, model.device)
    with options.progress("finding convolutions", 1) as on_step:
        wires = find_wires(model, run.manifest["settings"]["layers"])
        on_step(1)
    batch = load_batch(images.calibration, curve.n_calibration, crop_px)
    with options.progress("measuring moments", 1) as on_step:
        moments = measure_moments(model, batch)
        on_step(1)
    return _Bench(run, model, images, curve, options, crop_px, dtype, batch, moments), wires


def _symmetric_circuits(run: Run) -> set[str]:
    """Ids of the circuits that are symmetric."""
    found = load_circuits(run.folder)
    if found is None:
        raise EquiscopeError(
            f"{run.folder} has no circuits yet, so none can be tied: run `equiscope circuits {run.folder}` first, "
            "or take --blocks all"
        )
    if found.verdict != run.verdict:
        raise EquiscopeError(
            f"the circuits of {run.folder} are between families asked for with --verdict {found.verdict}, and here "
            f"{run.verdict} is asked for: give the same, or run `equiscope circuits {run.folder} --verdict "
            f"{run.verdict}` first"
        )
    return {circuit.id for circuit in found.circuits if circuit.is_symmetric}


def _check_crop(model: Model, images: EvaluationImages, crop_px: int | None) -> int:
    """Tell the side of the square that the network sees, px."""
    crop = crop_px or model.input_size_px
    if crop is None:
        raise EquiscopeError(f"{model.name} does not say on what size of image it was trained: give --crop")
    if images.evaluated.side_px < crop:
        raise EquiscopeError(
            f"images are {images.evaluated.side_px} px on their shorter side, and the network sees {crop} px of them: "
            "give a larger --resize or a smaller --crop"
        )
    return crop


def _write(path: Path, data: bytes) -> None:
    write_output(path, lambda stream: stream.write(data))


def _changed(model: Model, weights: Mapping[str, Floats]) -> Model:
    """Copy a network and give some of its convolutions other weights."""
    changed = replace(model, module=copy.deepcopy(model.module))
    modules = dict(changed.module.named_modules())
    with torch.no_grad():
        for name, kernels in weights.items():
            own = kernels_of(modules[name])
            own.copy_(torch.as_tensor(kernels).to(own))
    return changed
