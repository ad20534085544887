"""What a budget says, as Python and as ``budget.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from equiscope.families.asked import ANY
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import load_record
from equiscope.runs.writing import write_json

__all__ = [
    "Budget",
    "ConvolutionBudget",
    "ForcedBudget",
    "LayerBudget",
    "PairBudget",
    "TotalBudget",
    "load_budget",
    "save_budget",
]

_FILE = "budget.json"


@dataclass(frozen=True)
class LayerBudget:
    """What one transformation of one layer would save, if the layer were joined to one like itself.

    Parameters
    ----------
    layer, transformation
        Names; ``together`` is all transformations within layers, each unit in one family at most.
    n_units, n_equivariant, n_invariant, n_families
        Units of the layer, and families with members in it. Together, invariant units are those that are in no family
        and invariant under every transformation.
    equivariant_share
        r of the article, with its 95 % interval ``equivariant_low`` to ``equivariant_high``.
    copies
        K: mean size of the families within the layer, for scale over all layers; NaN without one.
    ratio
        ``1 - (K - 1) / K · r²``, with ``ratio_low`` to ``ratio_high``; NaN for scale, whose copies stand in other
        layers.
    """

    layer: str
    transformation: str
    n_units: int
    n_equivariant: int
    n_invariant: int
    n_families: int
    equivariant_share: float
    equivariant_low: float
    equivariant_high: float
    copies: float
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class PairBudget:
    """What tying would save between two layers if every kernel counted alike.

    Parameters
    ----------
    source, target
        Layers, surveyed one after the other.
    transformation
        Name.
    n_kernels
        Pairs of units.
    ratio
        Share of kernels that stay free, with invariant units and each family's own number of copies, with
        ``ratio_low`` to ``ratio_high``.
    """

    source: str
    target: str
    transformation: str
    n_kernels: int
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class ConvolutionBudget:
    """What tying would save of the parameters of one module.

    Parameters
    ----------
    module
        Its name.
    target
        The surveyed layer that it leads to first.
    transformation
        Name.
    n_parameters
        Its weights, biases and factors of normalisations.
    n_unsurveyed
        Those of them that have an end that was not surveyed.
    n_free
        Parameters that stay free if ends that were not surveyed are like the units that they lead to, with
        ``n_free_low`` to ``n_free_high``.
    n_free_surveyed
        The same if nothing of such ends is tied.
    """

    module: str
    target: str
    transformation: str
    n_parameters: int
    n_unsurveyed: int
    n_free: float
    n_free_low: float
    n_free_high: float
    n_free_surveyed: float
    n_free_surveyed_low: float
    n_free_surveyed_high: float


@dataclass(frozen=True)
class TotalBudget:
    """What tying would save of all parameters on the way to the surveyed layers.

    Parameters
    ----------
    transformation
        Name.
    n_others
        Parameters of the network that are not among them: behind the last surveyed layer, or in no convolution, linear
        map or normalisation.
    n_parameters, n_unsurveyed, n_free, n_free_surveyed
        As for `ConvolutionBudget`.
    """

    transformation: str
    n_others: int
    n_parameters: int
    n_unsurveyed: int
    n_free: float
    n_free_low: float
    n_free_high: float
    n_free_surveyed: float
    n_free_surveyed_low: float
    n_free_surveyed_high: float


@dataclass(frozen=True)
class ForcedBudget:
    """What it would cost to make more units equivariant than nature has, and still hold all of its features.

    Parameters
    ----------
    layer
        Joined to one like itself; empty for the parameters of the whole network.
    transformation
        Name.
    forced_share
        Share of the units that are forced to be equivariant, families first.
    copies
        K of the forced units: the layer's own, or where it has no family that of all layers; NaN for the whole network.
    n_units
        Units of the layer, or of all.
    n_needed
        Units that its features then take, with ``n_needed_low`` to ``n_needed_high``.
    ratio
        Free parameters then, over those of the network as it is, with ``ratio_low`` to ``ratio_high``.
    right
        Free parameters over those of the network as it is if just what is equivariant or invariant by nature is tied,
        with ``right_low`` to ``right_high``.
    """

    layer: str
    transformation: str
    forced_share: float
    copies: float
    n_units: int
    n_needed: float
    n_needed_low: float
    n_needed_high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    right: float
    right_low: float
    right_high: float


@dataclass(frozen=True)
class Budget:
    """What tying the families of a run would save.

    Parameters
    ----------
    layers
        Each layer under each transformation.
    pairs
        Each two layers that were surveyed one after the other, under each transformation.
    forced
        Each layer, and the whole network where it was given, with half and all of its units forced.
    convolutions, totals
        The network's own parameters; empty where it was not given.
    verdict
        Which families were asked for: ``copies``, ``alike`` or ``any``.
    """

    layers: tuple[LayerBudget, ...]
    pairs: tuple[PairBudget, ...]
    forced: tuple[ForcedBudget, ...] = ()
    convolutions: tuple[ConvolutionBudget, ...] = ()
    totals: tuple[TotalBudget, ...] = ()
    verdict: str = ANY


def save_budget(folder: Path, budget: Budget) -> None:
    """Write ``budget.json`` into a run's folder.

    Examples
    --------
    >>> save_budget(Path("."), Budget(layers=(), pairs=()))
    >>> load_budget(Path("."))
    Budget(layers=(), pairs=(), forced=(), convolutions=(), totals=(), verdict='any')
    """
    write_json(folder / _FILE, {"schema_version": SCHEMA_VERSION} | asdict(budget))


def load_budget(folder: Path) -> Budget | None:
    """Read ``budget.json`` back; None where the command was not run.

    Raises
    ------
    EquiscopeError
        If the file is damaged, or of a newer version.

    Examples
    --------
    >>> load_budget(Path("run")) is None
    True
    """
    path = folder / _FILE
    # Earlier versions counted neither the network's own parameters nor forced units.
    return load_record(path, Budget) if path.exists() else None
