"""All convolutions of a network tied at once, at the poses that were found or at wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np
import torch
from numpy.typing import NDArray

from equiscope.construction.simplify.evaluation import Moments
from equiscope.construction.simplify.result import Convolution
from equiscope.construction.simplify.templates import Block, ends_of, join_ends, kernel_functions, tie_weights
from equiscope.construction.simplify.wiring import Wire
from equiscope.evidence.circuits.circuit import circuit_id
from equiscope.evidence.circuits.ends import End
from equiscope.evidence.circuits.ties import permutations
from equiscope.models import Model
from equiscope.runs.run import Run

__all__ = ["Ties", "kernels_of", "summarise", "tie_all"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ties:
    """All convolutions with blocks: original and tied kernels, and how much a change of each matters."""

    weights: Mapping[str, Floats]
    tied: Mapping[str, Floats]
    importance: Mapping[str, Floats]
    blocks: Sequence[tuple[str, Block]]

    @property
    def n_weights(self) -> int:
        """Weights of all these convolutions."""
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


def tie_all(
    run: Run,
    model: Model,
    wires: Sequence[Wire],
    moments: Mapping[str, Moments],
    transformation: str,
    circuits: set[str] | None,
    rng: np.random.Generator | None,
    on_step: Callable[[int], None],
) -> Ties:
    """Tie every convolution at the poses of its families, or at random, wrong ones where ``rng`` is given.

    Examples
    --------
    At the poses that were found less is lost than at wrong ones.

    >>> from equiscope import load_run
    >>> from equiscope.construction.simplify.evaluation import measure_moments
    >>> from equiscope.construction.simplify.wiring import find_wires
    >>> from equiscope.models import load_model
    >>> run, model = load_run("equiscope-runs/mini"), load_model("mini")
    >>> wires = find_wires(model, ["conv2d0", "conv2d1"])
    >>> moments = measure_moments(model, torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(0)))
    >>> own = run, model, wires, moments, "rotation", None
    >>> tied, wrong = (tie_all(*own, rng, lambda _n: None) for rng in (None, np.random.default_rng(0)))
    >>> list(tied.tied), 0 < tied.error(tied.tied) < wrong.error(wrong.tied)
    (['conv2d0', 'conv2d1'], True)
    """
    ends: dict[str, list[End]] = {}
    modules = dict(model.module.named_modules())
    weights, tied, importance, blocks = {}, {}, {}, []
    for wire in wires:
        for layer in (wire.source, wire.target):
            if layer not in ends:
                own = ends_of(run.families, run.units, layer, transformation)
                ends[layer] = own if rng is None else [_with_wrong_poses(end, rng) for end in own]
        kernels = kernels_of(modules[wire.name]).detach().double().cpu().numpy()
        joints = join_ends(wire, ends[wire.source], ends[wire.target], kernel_functions(*kernels.shape[2:]))
        on_step(1)
        moment = moments[wire.name]
        tie = tie_weights(kernels, joints, moment.input_rms, moment.sd)
        kept = [b for b in tie.blocks if circuits is None or circuit_id(b.source, b.target) in circuits]
        if kept:
            weights[wire.name], tied[wire.name] = kernels, tie.weights
            importance[wire.name] = moment.input_rms[None] ** 2 / np.maximum(moment.sd, 1e-12)[:, None] ** 2
            blocks += [(wire.name, block) for block in kept]
    return Ties(weights, tied, importance, blocks)


def _with_wrong_poses(end: End, rng: np.random.Generator) -> End:
    if end.angles is None and end.hues is None:
        return end
    order = permutations(end.own_poses, 1, rng)[0]
    return replace(end, **{k: v[order] for k in ("angles", "hues") if (v := getattr(end, k)) is not None})


def kernels_of(module: torch.nn.Module) -> torch.Tensor:
    """Give the kernels of a convolution, shape (output, input, y, x).

    Examples
    --------
    >>> kernels_of(torch.nn.Conv2d(3, 4, 5)).shape
    torch.Size([4, 3, 5, 5])
    """
    if not isinstance(module, torch.nn.Conv2d):
        raise TypeError(f"a {type(module).__name__} has no kernels")
    return module.weight


def summarise(wire: Wire, tied: Ties, wrong: Ties) -> Convolution:
    """Say of one convolution how much of its weights its tied templates explain, and those at wrong poses.

    Examples
    --------
    >>> from equiscope.construction.simplify.templates import Block
    >>> wire = Wire("conv1", "image", "conv1", np.arange(3), np.arange(4))
    >>> block = Block("image", "conv1-rotation-1", np.arange(4), np.arange(3), 108, 27, False, error=1.0, energy=4.0)
    >>> ties = Ties({"conv1": np.ones((4, 3, 3, 3))}, {}, {}, [("conv1", block)])
    >>> summarise(wire, ties, ties).explained
    0.75
    """
    own = [block for name, block in tied.blocks if name == wire.name]

    def explained(blocks: Sequence[Block]) -> float:
        energy = sum(block.energy for block in blocks)
        return 1 - sum(block.error for block in blocks) / energy if energy else nan

    return Convolution(
        wire.name, wire.source, wire.target, tied.weights[wire.name].size,
        sum(b.n_weights for b in own), sum(b.n_free for b in own), len(own), explained(own),
        explained([block for name, block in wrong.blocks if name == wire.name]),
    )  # fmt: skip
