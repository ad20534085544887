"""Put tied templates back into the network that was surveyed, and see what it still can do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as to_safetensors

from equiscope.construction.simplify.baselines import low_rank, prune
from equiscope.construction.simplify.evaluation import (
    Moments,
    compare_predictions,
    load_batch,
    measure_moments,
    predict,
    recalibrate,
)
from equiscope.construction.simplify.labelled import EvaluationImages
from equiscope.construction.simplify.result import (
    LOW_RANK,
    METHODS,
    PRUNED_BLOCKS,
    TIED,
    TRANSFORMATIONS,
    WRONG,
    Convolution,
    Point,
    Simplification,
    save_simplification,
)
from equiscope.construction.simplify.templates import Block, ends_of, join_ends, kernel_functions, tie_weights
from equiscope.construction.simplify.wiring import Wire, find_wires
from equiscope.evidence.circuits import load_circuits
from equiscope.evidence.circuits.circuit import circuit_id
from equiscope.evidence.circuits.ends import End
from equiscope.evidence.circuits.ties import permutations
from equiscope.foundations import limits
from equiscope.foundations.devices import choose_precision
from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.foundations.files import check_output, write_output
from equiscope.foundations.limits import list_names
from equiscope.foundations.progress import Progress, silent
from equiscope.models import Model
from equiscope.runs.store import Run, check_network

__all__ = ["simplify_run"]

Floats = NDArray[np.float64]

_CHOICES = ("all", "circuits")
_BY_ERROR, _BY_LAYER = _ORDERS = ("error", "layers")


def simplify_run(
    run: Run,
    model: Model,
    images: EvaluationImages,
    *,
    transformation: str = "rotation",
    blocks: str = "all",
    order: str = _BY_ERROR,
    n_points: int = 6,
    n_images: int | None = None,
    n_calibration: int = 128,
    crop_px: int | None = None,
    methods: Sequence[str] = METHODS,
    precision: str = "auto",
    seed: int = 0,
    save: Path | None = None,
    progress: Progress = silent,
) -> Simplification:
    """Tie the weights between a run's families, block by block, and evaluate the network at several stages.

    Parameters
    ----------
    run
        A finished run.
    model
        The network that was surveyed; it stays as it is.
    images
        From `equiscope.construction.simplify.open_evaluation`.
    transformation
        ``rotation`` or ``hue``.
    blocks
        ``all`` blocks between families, and between families and units that the transformation leaves as they are; or
        the symmetric ``circuits`` among them.
    order
        ``error``: the blocks of least error per parameter that they save come first, wherever they are. ``layers``:
        layer by layer from the image on, each point with all blocks into one more surveyed layer.
    n_points
        Points of the curve in the order of error: each ties as many more blocks as remove one ``n_points``-th of what
        all would remove.
    n_images
        How many labelled images are evaluated, from all over the set; by default all.
    n_calibration
        Images on which moments are measured.
    crop_px
        Side of the square about the centre that the network sees; by default what it was trained on.
    methods
        Some of ``METHODS``; ``tied`` is always among them.
    precision
        ``auto``, ``float32`` or ``bfloat16``, for the passes that are scored.
    seed
        Of the wrong poses and the bootstrap.
    save
        Where to write the tied, recalibrated network of the last point, as a state dictionary (``.safetensors``).
    progress
        Called at the start of each stage.

    Returns
    -------
    Simplification
        Also in ``simplify.json`` of the run.

    Raises
    ------
    EquiscopeError
        If the network is not that of the run, an option is none, the run has no circuits though they were asked for,
        or no convolution joins units of two surveyed layers that have families.

    Notes
    -----
    Members of a family keep a factor each, which counts as a parameter. Wrong poses permute the poses within every
    family; they are tied and ordered in the same way. Biases stay.
    """
    methods = list_names(methods) or []
    _check_options(transformation, blocks, order, methods)
    _check_numbers(n_points, n_images, n_calibration, crop_px, seed)
    check_network(run, model)
    if save is not None:
        check_output(save)
    circuits = _symmetric_circuits(run) if blocks == "circuits" else None
    crop = _check_crop(model, images, crop_px)
    dtype = choose_precision(precision, model.device)
    layers: list[str] = run.manifest["settings"]["layers"]
    with progress("finding convolutions", 1) as on_step:
        wires = find_wires(model, layers)
        on_step(1)
    batch = load_batch(images.calibration, n_calibration, crop)
    with progress("measuring moments", 1) as on_step:
        moments = measure_moments(model, batch)
        on_step(1)
    with progress("tying weights", 2 * len(wires)) as on_step:
        tied = _tie_all(run, model, wires, moments, transformation, circuits, None, on_step)
        wrong = _tie_all(
            run, model, wires, moments, transformation, circuits, np.random.default_rng(seed), on_step
        )
    if not tied.blocks:
        raise EquiscopeError(
            f"no convolution of {model.name} joins families under {transformation} that {run.folder} has: survey "
            "layers that follow each other directly, bottlenecks too (`equiscope layers` lists them)"
        )
    chosen = np.arange(len(images.evaluated))
    if n_images is not None:
        chosen = np.unique(np.linspace(0, len(chosen) - 1, min(n_images, len(chosen))).astype(np.int64))
    goals = (
        _goals_by_error(tied, wrong, n_points)
        if order == _BY_ERROR
        else _goals_by_layer(tied, wrong, wires, layers)
    )
    plans = _plan(tied, wrong, goals, [m for m in METHODS if m in methods or m == TIED])
    if not plans:
        raise EquiscopeError(
            f"tying the {len(tied.blocks)} blocks of {model.name} under {transformation} would save no parameter"
        )
    with progress("evaluating", 1 + 2 * len(plans)) as on_step:
        before = predict(model, images.evaluated, chosen, crop, dtype)
        on_step(1)
        is_there = before >= 0
        if not is_there.any():
            raise EquiscopeError(f"none of the images of {images.name} can be decoded: give others")
        chosen, before = chosen[is_there], before[is_there]
        labels = images.evaluated.labels[chosen]
        original = compare_predictions(before, before, labels, seed)
        points = []
        last = [plan for plan in plans if plan.method == TIED][-1]
        for plan in plans:
            changed = _changed(model, plan.weights)
            after = predict(changed, images.evaluated, chosen, crop, dtype)
            plain = compare_predictions(after, before, labels, seed)
            on_step(1)
            recalibrate(changed, batch, moments)
            after = predict(changed, images.evaluated, chosen, crop, dtype)
            recalibrated = compare_predictions(after, before, labels, seed)
            on_step(1)
            n_removed = tied.n_weights - plan.n_free
            points.append(
                Point(
                    plan.method, n_removed, plan.n_free, plan.n_blocks, plan.error, plain, recalibrated, plan.layer
                )
            )  # fmt: skip
            if save is not None and plan is last:
                state = changed.module.state_dict()
                _write(save, to_safetensors({k: v.detach().cpu().contiguous() for k, v in state.items()}))
    result = Simplification(
        model.name, images.name, transformation, blocks, len(chosen), len(batch), crop,
        images.evaluated.side_px, str(dtype).removeprefix("torch."),
        sum(p.numel() for p in model.module.parameters()), original,
        tuple(_summary(wire, tied, wrong) for wire in wires if any(n == wire.name for n, _ in tied.blocks)),
        tuple(points), order, images.notes,
    )  # fmt: skip
    save_simplification(run.folder, result)
    return result


def _check_options(transformation: str, blocks: str, order: str, methods: Sequence[str]) -> None:
    if transformation not in TRANSFORMATIONS:
        raise unknown_name("transformation to tie", transformation, TRANSFORMATIONS)
    if blocks not in _CHOICES:
        raise unknown_name("choice of blocks", blocks, _CHOICES)
    if order not in _ORDERS:
        raise unknown_name("order of blocks", order, _ORDERS)
    for method in methods:
        if method not in METHODS:
            raise unknown_name("method", method, METHODS)


def _check_numbers(
    n_points: int, n_images: int | None, n_calibration: int, crop_px: int | None, seed: int
) -> None:
    """Refuse what a network cannot be simplified with."""
    limits.POINTS.check("n_points", n_points)
    limits.CALIBRATION.check("n_calibration", n_calibration)
    limits.SEED.check("seed", seed)
    if n_images is not None:
        limits.EVALUATED.check("n_images", n_images)
    if crop_px is not None:
        limits.SIDE_PX.check("crop_px", crop_px)


def _symmetric_circuits(run: Run) -> set[str]:
    """Ids of the circuits that are symmetric."""
    found = load_circuits(run.folder)
    if found is None:
        raise EquiscopeError(
            f"{run.folder} has no circuits yet, so none can be tied: run `equiscope circuits {run.folder}` first, "
            "or take --blocks all"
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


@dataclass(frozen=True)
class _Ties:
    """All convolutions with blocks: original and tied kernels, and how much a change of each matters."""

    weights: Mapping[str, Floats]
    tied: Mapping[str, Floats]
    importance: Mapping[str, Floats]
    blocks: Sequence[tuple[str, Block]]

    @property
    def n_weights(self) -> int:
        return sum(w.size for w in self.weights.values())

    def error(self, weights: Mapping[str, Floats]) -> float:
        """Lost share of the energy."""
        lost, energy = (
            sum(float((part**2 * self.importance[n][:, :, None, None]).sum()) for n, part in parts)
            for parts in (
                [(n, w - self.weights[n]) for n, w in weights.items()],
                list(self.weights.items()),
            )
        )
        return lost / max(energy, 1e-30)


def _tie_all(
    run: Run,
    model: Model,
    wires: Sequence[Wire],
    moments: Mapping[str, Moments],
    transformation: str,
    circuits: set[str] | None,
    rng: np.random.Generator | None,
    on_step: Callable[[int], None],
) -> _Ties:
    """Tie every convolution; with a source of randomness at wrong poses."""
    ends: dict[str, list[End]] = {}
    modules = dict(model.module.named_modules())
    weights, tied, importance, blocks = {}, {}, {}, []
    for wire in wires:
        for layer in (wire.source, wire.target):
            if layer not in ends:
                own = ends_of(run.families, run.units, layer, transformation)
                ends[layer] = own if rng is None else [_with_wrong_poses(end, rng) for end in own]
        kernels = _weight(modules[wire.name]).detach().double().cpu().numpy()
        joints = join_ends(wire, ends[wire.source], ends[wire.target], kernel_functions(*kernels.shape[2:]))
        on_step(1)
        moment = moments[wire.name]
        tie = tie_weights(kernels, joints, moment.input_rms, moment.sd)
        kept = [b for b in tie.blocks if circuits is None or circuit_id(b.source, b.target) in circuits]
        if kept:
            weights[wire.name], tied[wire.name] = kernels, tie.weights
            importance[wire.name] = moment.input_rms[None] ** 2 / np.maximum(moment.sd, 1e-12)[:, None] ** 2
            blocks += [(wire.name, block) for block in kept]
    return _Ties(weights, tied, importance, blocks)


def _with_wrong_poses(end: End, rng: np.random.Generator) -> End:
    if end.angles is None and end.hues is None:
        return end
    order = permutations(end.own_poses, 1, rng)[0]
    return replace(end, **{k: v[order] for k in ("angles", "hues") if (v := getattr(end, k)) is not None})


@dataclass(frozen=True)
class _Goal:
    """The blocks that are tied at one point, and those at wrong poses among which as many parameters are saved."""

    layer: str | None
    blocks: Sequence[tuple[str, Block]]
    wrong: Sequence[tuple[str, Block]]


def _goals_by_error(tied: _Ties, wrong: _Ties, n_points: int) -> list[_Goal]:
    """Let each point remove as many parameters more, wherever that costs least."""
    own, other = _orders(tied, wrong)
    most = _removed(own)
    return [_Goal(None, _take(own, most * step / n_points), other) for step in range(1, n_points + 1)]


def _goals_by_layer(tied: _Ties, wrong: _Ties, wires: Sequence[Wire], layers: Sequence[str]) -> list[_Goal]:
    """Let each point have all blocks into the units of one more layer."""
    own, other = _orders(tied, wrong)
    place = {wire.name: layers.index(wire.target) for wire in wires}
    return [
        _Goal(layer, *([entry for entry in order if place[entry[0]] <= last] for order in (own, other)))
        for last, layer in enumerate(layers)
    ]


def _orders(tied: _Ties, wrong: _Ties) -> tuple[list[tuple[str, Block]], list[tuple[str, Block]]]:
    """All blocks, and all at wrong poses, in the order of their error."""
    # With other poses within a convolution it may be another one in which nothing can be saved.
    return (
        _in_order(tied.blocks),
        _in_order([(name, block) for name, block in wrong.blocks if name in tied.weights]),
    )


@dataclass(frozen=True)
class _Plan:
    """One network to evaluate."""

    method: str
    layer: str | None
    weights: Mapping[str, Floats]
    n_free: int
    n_blocks: int
    error: float


def _plan(tied: _Ties, wrong: _Ties, goals: Sequence[_Goal], methods: Sequence[str]) -> list[_Plan]:
    """Choose the weights of every point; the other methods keep as many parameters as the tied network has."""
    plans: dict[str, list[_Plan]] = {method: [] for method in methods}
    for goal in goals:
        n_free = tied.n_weights - _removed(goal.blocks)
        if n_free >= (plans[TIED][-1].n_free if plans[TIED] else tied.n_weights):
            continue
        for method in methods:
            n_blocks = 0
            if method == TIED:
                weights, own_free, n_blocks = (
                    _apply(tied.weights, tied.tied, goal.blocks),
                    n_free,
                    len(goal.blocks),
                )
            elif method == WRONG:
                some = _take(goal.wrong, tied.n_weights - n_free)
                weights, n_blocks = _apply(tied.weights, wrong.tied, some), len(some)
                own_free = tied.n_weights - _removed(some)
            elif method == LOW_RANK:
                weights, own_free = low_rank(tied.weights, tied.importance, n_free)
            else:
                within = _is_within(tied, goal.blocks) if method == PRUNED_BLOCKS else None
                weights, own_free = prune(tied.weights, tied.importance, n_free, within)
            plans[method].append(_Plan(method, goal.layer, weights, own_free, n_blocks, tied.error(weights)))
    return [plan for own in plans.values() for plan in own]


def _in_order(blocks: Sequence[tuple[str, Block]]) -> list[tuple[str, Block]]:
    """Blocks by error per parameter saved."""
    return sorted(blocks, key=lambda entry: entry[1].error / (entry[1].n_weights - entry[1].n_free))


def _take(order: Sequence[tuple[str, Block]], n_removed: float) -> list[tuple[str, Block]]:
    """As many blocks from the beginning as remove a number of parameters."""
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if _removed(order[:middle]) < n_removed else (low, middle)
    return list(order[:low])


def _removed(blocks: Sequence[tuple[str, Block]]) -> int:
    """Parameters that tying removes; rows that share templates keep a factor each."""
    rows = {(name, row) for name, block in blocks if block.is_shared for row in block.rows.tolist()}
    return sum(block.n_weights - block.n_free for _, block in blocks) - len(rows)


def _is_within(ties: _Ties, blocks: Sequence[tuple[str, Block]]) -> dict[str, NDArray[np.bool_]]:
    """Tell which kernels stand in some blocks, by convolution, shape (output, input)."""
    within = {name: np.zeros(w.shape[:2], bool) for name, w in ties.weights.items()}
    for name, block in blocks:
        within[name][np.ix_(block.rows, block.columns)] = True
    return within


def _apply(
    weights: Mapping[str, Floats], tied: Mapping[str, Floats], blocks: Sequence[tuple[str, Block]]
) -> dict[str, Floats]:
    """Replace blocks of weights by tied ones."""
    applied = {name: w.copy() for name, w in weights.items()}
    for name, block in blocks:
        place = np.ix_(block.rows, block.columns)
        applied[name][place] = tied[name][place]
    return applied


def _changed(model: Model, weights: Mapping[str, Floats]) -> Model:
    """Copy a network and give some of its convolutions other weights."""
    changed = replace(model, module=copy.deepcopy(model.module))
    modules = dict(changed.module.named_modules())
    with torch.no_grad():
        for name, kernels in weights.items():
            own = _weight(modules[name])
            own.copy_(torch.as_tensor(kernels).to(own))
    return changed


def _weight(module: torch.nn.Module) -> torch.Tensor:
    if not isinstance(module, torch.nn.Conv2d):
        raise TypeError(f"a {type(module).__name__} has no kernels")
    return module.weight


def _summary(wire: Wire, tied: _Ties, wrong: _Ties) -> Convolution:
    own = [block for name, block in tied.blocks if name == wire.name]

    def explained(blocks: Sequence[Block]) -> float:
        energy = sum(block.energy for block in blocks)
        return 1 - sum(block.error for block in blocks) / energy if energy else nan

    return Convolution(
        wire.name, wire.source, wire.target, tied.weights[wire.name].size,
        sum(b.n_weights for b in own), sum(b.n_free for b in own), len(own), explained(own),
        explained([block for name, block in wrong.blocks if name == wire.name]),
    )  # fmt: skip
