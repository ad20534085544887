"""Circuits between the families of `report_document`, and the folder of a run that has them, made without a network."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from equiscope.evidence.circuits import Circuit, CircuitEnd, Circuits, Confirmation
from equiscope.evidence.circuits.causal import CausalCheck
from equiscope.evidence.circuits.drawn import weights_path
from equiscope.evidence.circuits.factors import Factor, Factors
from equiscope.evidence.circuits.results import LayerPairSummary, Skipped
from equiscope.evidence.circuits.transposed import Transposed
from equiscope.reports import ReportDocument, load_document
from equiscope.reports.document.pictures.sprites import Pictures
from equiscope.reports.views.circuit.evidence import CIRCUITS
from equiscope.reports.views.context import SiteContext
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.writing import write_json

SOURCE, TARGET = "mixed3a", "mixed3b"


def make_end(name: str, layer: str) -> CircuitEnd:
    """An end by the name that pages have for it: a family's id, or ``layer:channel``."""
    channel = name.removeprefix(f"{layer}:")
    if channel.isdecimal():
        return CircuitEnd((layer,), channel=int(channel))
    return CircuitEnd((layer,), family=name)


def make_circuit(source: str, target: str, **figures: Any) -> Circuit:
    plain: dict[str, Any] = {
        "id": f"{source}>{target}",
        "ends": (make_end(source, SOURCE), make_end(target, TARGET)),
        "transformation": "rotation",
        "kinds": {"rotation": ("equivariant", "equivariant")},
        "n_source": 4,
        "n_target": 5,
        "is_small": False,
        "r2": 0.71,
        "r2_low": 0.62,
        "r2_high": 0.78,
        "r2_null_95": 0.2,
        "r2_null_99": 0.31,
        "p_value": 0.005,
        "q_value": 0.004,
        "energy_share": 0.051,
        "strength": 2.3,
        "alternatives": ((("invariant", "equivariant"), 0.33),),
    }
    return Circuit(**(plain | figures))


def make_weights(circuit: Circuit, *, is_transposed: bool = False, by_slot: bool = True) -> dict[str, Any]:
    generator = np.random.default_rng(3)
    raw = generator.normal(size=(circuit.n_target, circuit.n_source, 3, 5))
    n_rows, n_columns = raw.shape[1::-1] if is_transposed else raw.shape[:2]
    n_slots = 16 if by_slot else n_columns
    reordered = generator.normal(size=(n_rows, n_slots, 3, 5))
    if by_slot:
        reordered[:, 1::2] = np.nan
    return {
        "raw": raw.astype(np.float16),
        "reordered": reordered.astype(np.float16),
        "template": generator.normal(size=(n_slots, 3, 5)).astype(np.float16),
        "slots": np.arange(16) * 22.5 if by_slot else np.zeros(0),
        "rows": np.arange(n_rows)[::-1],
        "columns": np.zeros(0, np.int64) if by_slot else np.arange(n_columns),
    }


def make_circuits(document: ReportDocument) -> tuple[Circuits, dict[str, dict[str, Any]]]:
    """Some circuits between families of the document, and of units, with the weights of those that are drawn."""
    rotation = {
        layer: [
            f for f in document["families"] if (f["layers"], f["transformation"]) == ([layer], "rotation")
        ]
        for layer in (SOURCE, TARGET)
    }
    source, target = rotation[SOURCE][0], rotation[TARGET][0]
    sizes = {"n_source": source["size"], "n_target": target["size"]}
    hue = next(f for f in document["families"] if f["id"].endswith("mixed3b-hue-1"))
    drawn = [
        make_circuit(source["id"], target["id"], **sizes),
        make_circuit(
            source["id"], f"{TARGET}:7", n_source=source["size"], n_target=1,
            kinds={"rotation": ("equivariant", "invariant")}, alternatives=(), is_small=True,
        ),
        make_circuit(
            f"{SOURCE}:9", target["id"], n_source=1, n_target=target["size"],
            kinds={"rotation": ("invariant", "equivariant")}, alternatives=(),
        ),
        make_circuit(
            source["id"], hue["id"], n_source=source["size"], n_target=hue["size"], transformation="hue-rotation",
            kinds={"rotation": ("equivariant", "invariant"), "hue": ("invariant", "equivariant")},
        ),
    ]  # fmt: skip
    weights = {
        drawn[0].id: make_weights(drawn[0]),
        drawn[1].id: make_weights(drawn[1], is_transposed=True, by_slot=False),
        drawn[2].id: make_weights(drawn[2], by_slot=False),
        drawn[3].id: make_weights(drawn[3], is_transposed=True, by_slot=False),
    }
    others = [
        make_circuit(rotation[SOURCE][-1]["id"], target["id"], kinds={"rotation": None}, r2=-0.1),
        make_circuit(rotation[SOURCE][-1]["id"], rotation[TARGET][-1]["id"], r2=0.12, r2_null_99=0.1),
    ]
    check = CausalCheck(drawn[0].id, 0.81, 0.7, 0.9, 0.99, 0.98, 1.0, 0.35, 0.2, 0.5, 12)
    factors = Factors(
        SOURCE, target["id"], 0.62, 0.14, 0.005, (0.48, 0.1, 0.11),
        (
            Factor((source["members"][0]["channel"], 11), (0.4, 0.2), ((0.1, -0.2), (0.0, 0.3)), 0.58),
            Factor((12,), (0.1,), ((0.0, -0.2), (0.1, 0.3)), 0.42),
        ),
    )  # fmt: skip
    result = Circuits(
        pairs=(
            LayerPairSummary(SOURCE, TARGET, "expanded", ("relu: passed on",), 0.012, 6, 4, 1.2),
            LayerPairSummary("conv2d0", TARGET, "gradient", (), 0.4, 0, 0, 0.2),
        ),
        skipped=(Skipped("conv2d0", SOURCE, "no path leads from one to the other"),),
        circuits=(*drawn, *others),
        factors=(factors,),
        transposed=(Transposed(drawn[2].id, drawn[1].id, 0.93, 45.0, 0.01),),
        checks=(check,),
        confirmations=(
            Confirmation(target["id"], 6, 2, 0.71, 0.2, drawn[0].id),
            Confirmation(source["id"], 6, 0, math.nan, math.nan, ""),
            Confirmation(rotation[SOURCE][-1]["id"], 0, 0, math.nan, math.nan, ""),
        ),
    )
    return result, weights


def write_circuits(folder: Path, circuits: Circuits, weights: dict[str, dict[str, Any]]) -> None:
    """What `recover_circuits` leaves."""
    write_json(folder / "circuits.json", {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(circuits))
    if not circuits.pairs:
        return
    arrays: dict[str, Any] = {"ids": np.array(list(weights), dtype=np.str_)}
    for i, own in enumerate(weights.values()):
        arrays |= {f"{i}:{name}": value for name, value in own.items()}
    path = weights_path(folder, circuits.pairs[0].source, circuits.pairs[0].target)
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **arrays)


def write_run(
    folder: Path,
    document: ReportDocument,
    circuits: Circuits | None = None,
    weights: dict[str, dict[str, Any]] | None = None,
) -> None:
    """What of a run its report is built from: the document, and circuits if any."""
    write_json(folder / "run.json", {"schema_version": SCHEMA_VERSION})
    write_json(folder / "report.json", {"schema_version": SCHEMA_VERSION, **document})
    if circuits is not None:
        write_circuits(folder, circuits, weights or {})


def open_run(
    folder: Path,
    document: ReportDocument,
    circuits: Circuits | None = None,
    weights: dict[str, dict[str, Any]] | None = None,
) -> SiteContext:
    """Such a run, as the views of its site see it."""
    write_run(folder, document, circuits, weights)
    loaded = load_document(folder)
    assert loaded is not None
    return SiteContext(loaded, Pictures(loaded), folder)


def recovered(context: SiteContext) -> Circuits:
    """The circuits of such a run."""
    circuits = context.found(CIRCUITS)
    assert circuits is not None
    return circuits
