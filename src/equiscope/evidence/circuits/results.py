"""What the weights of a run's network say about its families, and its file in the run's folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from equiscope.evidence.circuits.causal import CausalCheck
from equiscope.evidence.circuits.circuit import Circuit
from equiscope.evidence.circuits.earlier import current_circuit
from equiscope.evidence.circuits.factors import Factors
from equiscope.evidence.circuits.transposed import Transposed
from equiscope.families.asked import ANY
from equiscope.foundations.records import read_record, reading
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import read_json
from equiscope.runs.writing import write_json

__all__ = [
    "Circuits",
    "Confirmation",
    "LayerPairSummary",
    "Skipped",
    "load_circuits",
    "save_circuits",
]

_FILE = "circuits.json"


@dataclass(frozen=True)
class LayerPairSummary:
    """How the weights between two layers were had.

    Attributes
    ----------
    source, target
        The layers.
    path
        ``expanded``: composed along every path that goes through no other surveyed layer; ``gradient``: across such
        layers, by mean gradients over real stimuli.
    linearised
        What was not linear and by what it was replaced; empty where the weights are exact.
    energy_outside
        Share of the kernels' energy that the turning functions miss: R² and energies are of what they hold.
    n_circuits, n_symmetric
        Blocks between families that were tested, and that have a class.
    seconds
        Wall time.
    """

    source: str
    target: str
    path: str
    linearised: tuple[str, ...]
    energy_outside: float
    n_circuits: int
    n_symmetric: int
    seconds: float


@dataclass(frozen=True)
class Skipped:
    """Two layers that no circuit could be looked for between, and why."""

    source: str
    target: str
    reason: str


@dataclass(frozen=True)
class Confirmation:
    """What the weights, which took no part in finding it, say about one family.

    Attributes
    ----------
    family
        Its id.
    n_tested, n_symmetric
        Blocks between it and other families, into it and out of it, and how many of them turn with its poses.
    best_r2, best_null_95, best_circuit
        The one that explains most of its weights beyond its null; NaN and empty where there is none.
    """

    family: str
    n_tested: int
    n_symmetric: int
    best_r2: float
    best_null_95: float
    best_circuit: str


@dataclass(frozen=True)
class Circuits:
    """What the weights of a run's network say about its families.

    ``verdict``: which of them, ``copies``, ``alike`` or ``any``.
    """

    pairs: tuple[LayerPairSummary, ...]
    skipped: tuple[Skipped, ...]
    circuits: tuple[Circuit, ...]
    factors: tuple[Factors, ...]
    transposed: tuple[Transposed, ...]
    checks: tuple[CausalCheck, ...]
    confirmations: tuple[Confirmation, ...]
    verdict: str = ANY


def save_circuits(folder: Path, result: Circuits) -> None:
    """Write circuits into a run's folder.

    Examples
    --------
    >>> save_circuits(Path("my-run"), Circuits((), (Skipped("a", "b", "no path"),), (), (), (), (), ()))
    >>> load_circuits("my-run").skipped[0].reason
    'no path'
    """
    write_json(
        folder / _FILE,
        {
            "schema_version": SCHEMA_VERSION,
            "verdict": result.verdict,
            "pairs": [asdict(entry) for entry in result.pairs],
            "skipped": [asdict(entry) for entry in result.skipped],
            "circuits": [asdict(c) | {"circuit_class": c.circuit_class} for c in result.circuits],
            "factors": [asdict(entry) for entry in result.factors],
            "transposed": [asdict(entry) for entry in result.transposed],
            "checks": [asdict(entry) for entry in result.checks],
            "confirmations": [asdict(entry) for entry in result.confirmations],
        },
    )


def load_circuits(folder: str | Path) -> Circuits | None:
    """Read what `save_circuits` wrote into a run's folder; None where it was not run.

    Raises
    ------
    EquiscopeError
        If the file is damaged, or of a newer version.

    Examples
    --------
    >>> print(load_circuits("a-run-without-circuits"))
    None
    """
    path = Path(folder) / _FILE
    if not path.exists():
        return None
    document = read_json(path)
    with reading(path):
        found: Circuits = read_record(Circuits, _current(document))
    return found


def _current(document: dict[str, Any]) -> dict[str, Any]:
    """Give a document the form that files have today, whatever version wrote it."""
    circuits = document.get("circuits")
    if not isinstance(circuits, list):
        return document
    return document | {"circuits": [current_circuit(entry, index) for index, entry in enumerate(circuits)]}
