"""`equiscope.export`: the tables of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from equiscope.evidence.circuits import Circuits, load_circuits
from equiscope.evidence.compare.comparison import Comparison, load_comparisons
from equiscope.families.asked import core_id
from equiscope.families.family import Family, Member, Unit
from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.foundations.received import quoted
from equiscope.foundations.records import leave_out_damaged
from equiscope.runs.findings import families_document, units_document
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import read_json
from equiscope.runs.run import Run, as_run
from equiscope.transformations import ALL, Switch, find

__all__ = ["PARTS", "Export", "export"]

PARTS = ("units", "families", "circuits", "comparison")

_PAIR_COLUMNS = (
    "comparison transformation a b is_counterpart is_alike score score_low score_high q_value pose_q_value offset "
    "offset_difference"
).split()
_CIRCUIT_COLUMNS = (
    "source target source_layer target_layer transformation circuit_class rotation_class hue_class scale_class "
    "pair_class n_source n_target is_small r2 r2_low r2_high r2_null_95 r2_null_99 p_value q_value energy_share "
    "strength"
).split()
# Every axis along which some transformation moves features is a column.
_AXES = {axis.name: axis for transformation in ALL for axis in transformation.axes}
_DISTANCES = {f"disagreement_{name}": name for name, axis in _AXES.items() if not isinstance(axis, Switch)}
_SHARED = (
    "phase_coherence margin margin_low margin_high strangers_95 q_value stabiliser_order explained_by".split()
)
# Ends of the intervals of poses.
_ENDS = {f"{name}_{end}": (name, f"pose_{end}") for name in _DISTANCES.values() for end in ("low", "high")}
_FAMILY_COLUMNS = [
    *"family layer transformation channel".split(),
    *_AXES,
    *"score score_low score_high family_size family_score family_score_low family_score_high".split(),
    *_DISTANCES,
    *_SHARED,
    "stabiliser",
    "circuits_tested",
    "circuits_symmetric",
    *"verdict likeness likeness_low likeness_high tested core".split(),
    "stability",
    *_ENDS,
]
_UNIT_COLUMNS = [
    *"layer channel mean sd transformation kind family score invariance stabiliser_order".split(),
    *_AXES,
]


@dataclasses.dataclass(frozen=True)
class Export:
    """A part of a run, as a table and as a document.

    Attributes
    ----------
    columns
        Names of the columns, in their order.
    rows
        One line each: a unit under one transformation, a member of a family, a circuit, or two families of two runs.
        Every row has every column; what was not measured is None.
    document
        The same part as JSON has it.
    """

    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    document: dict[str, Any]


def export(run: Run | str | Path, part: str) -> Export:
    """Give a run's units, families, circuits or comparisons as a table and as a document.

    Parameters
    ----------
    run
        A finished run, or its folder.
    part
        ``units``, ``families``, ``circuits`` or ``comparison``.

    Returns
    -------
    Export
        ``pandas.DataFrame(export(run, "families").rows)`` is the table. Where circuits were recovered, families carry
        how many of their circuits turn with them, of how many were tested.

    Raises
    ------
    EquiscopeError
        If there is no such part, or the run has none yet.

    Examples
    --------
    >>> import equiscope
    >>> table = equiscope.export("equiscope-runs/mini", "units")
    >>> [table.rows[0][column] for column in ("layer", "channel", "transformation")]
    ['conv2d0', 0, 'rotation']
    >>> len(table.rows)  # 48 units of conv2d0 and 96 of conv2d1, under rotation and hue
    288
    """
    if part not in PARTS:
        raise unknown_name("part of a run", part, PARTS)
    opened = as_run(run)
    if part == "comparison":
        return _export_comparisons(opened.folder)
    if part == "circuits":
        return _export_circuits(opened.folder)
    if part == "units":
        return _table(_unit_rows(opened.units, opened.families), _UNIT_COLUMNS, units_document(opened.units))
    found = leave_out_damaged(partial(load_circuits, opened.folder))
    rows = _member_rows(opened.families, found)
    return _table(rows, _FAMILY_COLUMNS, families_document(opened.families))


def _table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], document: dict[str, Any]) -> Export:
    """Cut rows to their columns; what was not measured is None."""
    cut = [{key: _blank_unmeasured(row.get(key)) for key in columns} for row in rows]
    return Export(tuple(columns), cut, document)


def _blank_unmeasured(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value


def _export_circuits(folder: Path) -> Export:
    found = load_circuits(folder)
    if found is None:
        raise EquiscopeError(f"{folder} has no circuits yet: run `equiscope circuits {quoted(folder)}` first")
    rows = ({key: getattr(circuit, key) for key in _CIRCUIT_COLUMNS} for circuit in found.circuits)
    return _table(rows, _CIRCUIT_COLUMNS, read_json(folder / "circuits.json"))


def _export_comparisons(folder: Path) -> Export:
    """Give the pairs of all comparisons of a run, and the families that have none."""
    comparisons = load_comparisons(folder)
    if not comparisons:
        raise EquiscopeError(
            f"{folder} was not compared yet: run `equiscope compare {quoted(folder)} OTHER-RUN` first"
        )
    documents = [dataclasses.asdict(comparison) for comparison in comparisons]
    rows = [row for comparison in comparisons for row in _pair_rows(comparison)]
    return _table(rows, _PAIR_COLUMNS, {"schema_version": SCHEMA_VERSION, "comparisons": documents})


def _pair_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One row for each pair, then for each family without one."""
    paired = {(run, getattr(match, run)) for match in comparison.matches for run in "ab"}
    rows: list[dict[str, Any]] = [dataclasses.asdict(match) for match in comparison.matches]
    rows += [
        {"transformation": f.transformation, f.run: f.id, "is_counterpart": False, "is_alike": False}
        for f in comparison.families
        if (f.run, f.id) not in paired
    ]
    return [row | {"comparison": comparison.name} for row in rows]


def _member_rows(families: Sequence[Family], circuits: Circuits | None) -> list[dict[str, Any]]:
    """One row for each member, with what holds for its family."""
    confirmed = {} if circuits is None else {entry.family: entry for entry in circuits.confirmations}
    rows = []
    for family in families:
        transformation = find(family.transformation)
        shared = {key: getattr(family, key) for key in _SHARED} | {
            "family": family.id,
            "transformation": family.transformation,
            "stability": family.stability,
            "stabiliser": "; ".join(transformation.pose_text(element) for element in family.stabiliser),
        }
        shared |= {
            f"family_{key}": getattr(family, key) for key in ("size", "score", "score_low", "score_high")
        }
        shared |= {column: family.disagreement.get(name) for column, name in _DISTANCES.items()}
        for place, member in enumerate(family.members):
            verdict = _verdict_of(family, place)
            # Circuits are between whole families or between cores, as it was asked for.
            core = verdict.get("core")
            entry = confirmed.get(family.id) or confirmed.get(core_id(family.id, core) if core else "")
            circuits_of = {
                f"circuits_{key}": getattr(entry, f"n_{key}", None) for key in ("tested", "symmetric")
            }
            rows.append(shared | circuits_of | _member_row(member) | verdict)
    return rows


def _verdict_of(family: Family, place: int) -> dict[str, Any]:
    """Give the verdict on a member's family, and which of its cores, counted from 1, the member is in."""
    verdict = family.verdict
    if verdict is None:
        return {}
    figures = {key: getattr(verdict, key) for key in ("likeness", "likeness_low", "likeness_high", "tested")}
    cores = (number for number, core in enumerate(verdict.cores, start=1) if place in core.members)
    return figures | {"verdict": verdict.word, "core": next(cores, None)}


def _member_row(member: Member) -> dict[str, Any]:
    own = {key: getattr(member, key) for key in ("layer", "channel", "score", "score_low", "score_high")}
    ends = {column: getattr(member, end).get(name) for column, (name, end) in _ENDS.items()}
    return own | dict(member.pose) | ends


def _unit_rows(units: tuple[Unit, ...], families: tuple[Family, ...]) -> list[dict[str, Any]]:
    """One row for each unit and transformation; the pose is that in its family."""
    poses = {
        (family.id, member.layer, member.channel): member.pose
        for family in families
        for member in family.members
    }
    rows: list[dict[str, Any]] = []
    for unit in units:
        for symmetry in unit.symmetries:
            pose: Mapping[str, float] = poses.get((symmetry.family or "", unit.layer, unit.channel), {})
            rows.append(dataclasses.asdict(unit) | dataclasses.asdict(symmetry) | dict(pose))
    return rows
