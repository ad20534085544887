"""``equiscope export``: write the tables of a run to standard output."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from equiscope.cli.options import RunArgument
from equiscope.cli.tables import blank_unmeasured
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.received import printable_json, quoted, spreadsheet_cell

if TYPE_CHECKING:
    from equiscope.families.family import Family, Unit

__all__ = ["Format", "Part", "export"]


class Part(StrEnum):
    """What ``export`` can write."""

    units = "units"
    families = "families"
    circuits = "circuits"
    comparison = "comparison"


class Format(StrEnum):
    """How ``export`` can write it."""

    csv = "csv"
    json = "json"


_PAIR_COLUMNS = (
    "comparison transformation a b is_counterpart is_alike score score_low score_high q_value pose_q_value offset "
    "offset_difference"
).split()
_CIRCUIT_COLUMNS = (
    "source target source_layer target_layer transformation circuit_class rotation_class hue_class scale_class "
    "pair_class n_source n_target is_small r2 r2_low r2_high r2_null_95 r2_null_99 p_value q_value energy_share "
    "strength"
).split()
_SHARED = (
    "layer transformation disagreement_deg disagreement_hue_deg disagreement_octaves phase_coherence margin margin_low "
    "margin_high q_value stabiliser_order stabiliser explained_by"
).split()
_FAMILY_COLUMNS = [
    *(
        "family layer transformation channel pose_deg hue_deg octaves is_mirrored is_inverted score score_low "
        "score_high family_size family_score family_score_low family_score_high"
    ).split(),
    *_SHARED[2:],
    "circuits_tested",
    "circuits_symmetric",
]
_UNIT_COLUMNS = (
    "layer channel mean sd transformation kind family score invariance stabiliser_order pose_deg hue_deg octaves "
    "is_mirrored is_inverted"
).split()


def export(
    run: RunArgument,
    part: Annotated[Part, typer.Argument(help="What to write.")],
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.csv,
) -> None:
    """Write a run's units, families, circuits or comparisons to standard output.

    In CSV one line is a unit under one transformation, a member of a family, a circuit, or two families of two runs.
    Where circuits were recovered, families carry how many of their circuits turn with them, of how many were tested.
    """
    from equiscope.evidence.circuits import load_circuits
    from equiscope.foundations.records import leave_out_damaged
    from equiscope.runs.store import families_document, load_run, read_json, units_document

    opened = load_run(run)
    if part is Part.comparison:
        _export_comparisons(run, format)
        return
    found = load_circuits(run) if part is Part.circuits else leave_out_damaged(partial(load_circuits, run))
    if part is Part.circuits:
        if found is None:
            raise EquiscopeError(f"{run} has no circuits yet: run `equiscope circuits {quoted(run)}` first")
        if format is Format.json:
            _echo_json(read_json(run / "circuits.json"))
            return
        _echo_csv(
            [
                {key: blank_unmeasured(getattr(circuit, key)) for key in _CIRCUIT_COLUMNS}
                for circuit in found.circuits
            ],
            _CIRCUIT_COLUMNS,
        )
        return
    confirmed = {} if found is None else {entry.family: entry for entry in found.confirmations}
    document = families_document(opened.families) if part is Part.families else units_document(opened.units)
    if format is Format.json:
        _echo_json(document)
        return
    if part is Part.families:
        rows = [
            {k: blank_unmeasured(v) for k, v in row.items()}
            | {
                f"circuits_{k}": getattr(confirmed.get(row["family"]), f"n_{k}", None)
                for k in ("tested", "symmetric")
            }
            for row in _member_rows(document["families"])
        ]
        _echo_csv(rows, _FAMILY_COLUMNS)
    else:
        _echo_csv(_unit_rows(opened.units, opened.families), _UNIT_COLUMNS)


def _export_comparisons(run: Path, format: Format) -> None:
    """Write the pairs of all comparisons of a run, and the families that have none."""
    from equiscope.evidence.compare.comparison import load_comparisons
    from equiscope.runs.store import SCHEMA_VERSION

    comparisons = load_comparisons(run)
    if not comparisons:
        raise EquiscopeError(
            f"{run} was not compared yet: run `equiscope compare {quoted(run)} OTHER-RUN` first"
        )
    if format is Format.json:
        documents = [dataclasses.asdict(comparison) for comparison in comparisons]
        _echo_json({"schema_version": SCHEMA_VERSION, "comparisons": documents})
        return
    rows: list[dict[str, Any]] = []
    for comparison in comparisons:
        paired = {(run_, getattr(m, run_)) for m in comparison.matches for run_ in "ab"}
        found = [dataclasses.asdict(match) for match in comparison.matches]
        found += [
            {"transformation": f.transformation, f.run: f.id, "is_counterpart": False, "is_alike": False}
            for f in comparison.families
            if (f.run, f.id) not in paired
        ]
        rows += [
            {key: blank_unmeasured(row.get(key)) for key in _PAIR_COLUMNS} | {"comparison": comparison.name}
            for row in found
        ]
    _echo_csv(rows, _PAIR_COLUMNS)


def _member_rows(families: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each member, with what holds for its family."""
    return [
        {key: family[key] for key in _SHARED}
        | {"family": family["id"]}
        | {f"family_{key}": family[key] for key in ("size", "score", "score_low", "score_high")}
        | member
        for family in families
        for member in family["members"]
    ]


def _unit_rows(units: tuple[Unit, ...], families: tuple[Family, ...]) -> list[dict[str, Any]]:
    """One row for each unit and transformation; the pose is that in its family."""
    poses = {
        (family.id, member.layer, member.channel): member for family in families for member in family.members
    }
    rows = []
    for unit in units:
        for symmetry in unit.symmetries:
            row = dataclasses.asdict(unit) | dataclasses.asdict(symmetry)
            member = poses.get((symmetry.family or "", unit.layer, unit.channel))
            if member is not None:
                row |= {
                    key: getattr(member, key)
                    for key in ("pose_deg", "hue_deg", "octaves", "is_mirrored", "is_inverted")
                }
            rows.append({key: blank_unmeasured(row.get(key)) for key in _UNIT_COLUMNS})
    return rows


def _echo_json(document: dict[str, Any]) -> None:
    from equiscope.foundations.documents import to_json

    typer.echo(printable_json(to_json(document)), nl=False)


def _echo_csv(rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: spreadsheet_cell(value) for key, value in row.items()} for row in rows)
    typer.echo(stream.getvalue(), nl=False)
