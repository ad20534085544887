"""``equiscope survey``: find the families of a network."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from equiscope.cli.console import print_note, show_progress, wide_console
from equiscope.cli.options import (
    AnglesOption,
    DeviceOption,
    ExamplesPerUnitOption,
    FalseDiscoveryRateOption,
    ImagesOption,
    LayersOption,
    ModelArgument,
    QuickOption,
    ShownPrecisionOption,
    SurveySeedOption,
    TransformationsOption,
    WeightsOption,
    split_names,
)
from equiscope.cli.tables import new_table

if TYPE_CHECKING:
    from equiscope.families.family import Family
    from equiscope.runs.run import Run

__all__ = ["survey"]


_KINDS = ("equivariant", "invariant", "neither", "inactive", "not measurable")

_OutOption = Annotated[Path | None, typer.Option(help="Folder of the run; default: equiscope-runs/MODEL.")]


def survey(
    model: ModelArgument = "mini",
    weights: WeightsOption = None,
    images: ImagesOption = None,
    layers: LayersOption = None,
    transformations: TransformationsOption = None,
    angles: AnglesOption = None,
    examples_per_unit: ExamplesPerUnitOption = None,
    out: _OutOption = None,
    device: DeviceOption = "auto",
    precision: ShownPrecisionOption = "auto",
    seed: SurveySeedOption = 0,
    false_discovery_rate: FalseDiscoveryRateOption = 0.05,
    quick: QuickOption = False,
) -> None:
    """Find the families of transformed copies in a network and write a report.

    An interrupted survey goes on when the same command is given again.
    """
    import equiscope

    console = Console(stderr=True)
    run = equiscope.survey(
        model,
        images,
        split_names(layers),
        transformations=split_names(transformations),
        out=out,
        angles=angles,
        examples_per_unit=examples_per_unit,
        weights=weights,
        false_discovery_rate=false_discovery_rate,
        device=device,
        precision=precision,
        seed=seed,
        quick=quick,
        command=shlex.join(["equiscope", *sys.argv[1:]]),
        on_plan=lambda plan: typer.echo(plan, err=True),
        progress=show_progress,
    )
    if failures := run.manifest["images"]["failures"]:
        console.print(
            f"{len(failures)} images could not be read; run.json names them, the first:", highlight=False
        )
        for failure in failures[:3]:
            print_note(f"  {failure['name']}: {failure['reason']}")
    for note in run.manifest["images"].get("notes", ()):
        print_note(note)
    out_console = wide_console()
    out_console.print(_kinds_table(run))
    for result in run.manifest["results"]:
        for note in result["notes"]:
            print_note(f"{'+'.join(result['layers'])}, {note}")
    out_console.print(_found(run), highlight=False)
    if look := run.manifest.get("look"):
        print_note(look)
    # Not through rich, which would break a long path over lines.
    typer.echo(f"report: {run.report}")


def _found(run: Run) -> str:
    """Say how many units are copies, and how many families there are of each verdict."""
    from equiscope.families.shares import count_copies, judged_family
    from equiscope.families.verdict import VERDICTS

    seconds = sum(run.manifest["seconds"].values())
    members = {(member.layer, member.channel) for family in run.families for member in family.members}
    found = f"{len(run.families)} families of {len(members)} units, {seconds:.0f} s"
    words = [family.verdict.word for family in run.families if family.verdict is not None]
    if not words:
        return found
    share = count_copies(map(judged_family, run.families), ((unit.layer, unit.channel) for unit in run.units))
    interval = f", {share.share:.0%} ({share.low:.0%}-{share.high:.0%})" if share.is_measured else ""
    copies = f"{share.n_copies} of {share.n_units} units are copies of others by their weights{interval}"
    bound = f"{len(members)}, {len(members) / max(1, share.n_units):.0%}, are in families"
    untested = f" ({share.n_untested} of them in untested ones alone)" if share.n_untested else ""
    verdicts = ", ".join(f"{words.count(word)} {word}" for word in VERDICTS)
    return f"{copies}; at most {bound}{untested}\n{found}\nby their weights: {verdicts}"


def _copies(families: Sequence[Family], layer: str, n_units: int) -> tuple[str, str]:
    """Give the share of a layer's units that are copies by their weights, and its interval; dashes if untested."""
    from equiscope.families.shares import count_copies, judged_family

    share = count_copies(map(judged_family, families), ((layer, channel) for channel in range(n_units)))
    if not share.is_measured:
        return "–", "–"
    return f"{share.share:.0%}", f"{share.low:.0%}-{share.high:.0%}"


def _kinds_table(run: Run) -> Table:
    """Tabulate what the units of each layer do under each transformation, and the share that is explained."""
    from equiscope.foundations.statistics import share_interval

    headings = (
        "layer", "transformation", "units", *_KINDS, "copies", "95 %", "equi + inv", "95 %", "families", "largest",
        "score",
    )  # fmt: skip
    table = new_table(headings, text=("layer", "transformation"))
    for layer in run.manifest["settings"]["layers"]:
        units = [unit for unit in run.units if unit.layer == layer]
        for transformation in run.manifest["settings"]["transformations"]:
            kinds = [unit.under(transformation).kind for unit in units]
            families = [
                family
                for family in run.families
                if family.transformation == transformation and any(m.layer == layer for m in family.members)
            ]
            n_explained = kinds.count("equivariant") + kinds.count("invariant")
            low, high = share_interval(n_explained, len(kinds))
            n_members = sum(f.size for f in families)
            table.add_row(
                layer,
                transformation,
                str(len(units)),
                *(str(kinds.count(kind)) for kind in _KINDS),
                *_copies(families, layer, len(units)),
                f"{n_explained / len(kinds):.0%}",
                f"{low:.0%}-{high:.0%}",
                str(len(families)),
                str(max((family.size for family in families), default="–")),
                f"{sum(f.score * f.size for f in families) / n_members:.2f}" if families else "–",
            )
    return table
