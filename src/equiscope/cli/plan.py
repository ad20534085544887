"""``equiscope plan``: say what a survey will take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from equiscope.cli.console import print_note, show_progress, wide_console
from equiscope.cli.options import (
    AnglesOption,
    DeviceOption,
    ExamplesPerUnitOption,
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
    from equiscope.surveys.plan import Plan

__all__ = ["plan"]


def plan(
    model: ModelArgument = "mini",
    weights: WeightsOption = None,
    images: ImagesOption = None,
    layers: LayersOption = None,
    transformations: TransformationsOption = None,
    angles: AnglesOption = None,
    examples_per_unit: ExamplesPerUnitOption = None,
    device: DeviceOption = "auto",
    precision: ShownPrecisionOption = "auto",
    seed: SurveySeedOption = 0,
    quick: QuickOption = False,
) -> None:
    """Say what a survey of the same options will do, and what time, memory and disk it will take.

    A few passes are measured. Nothing is surveyed, and nothing is written.
    """
    import equiscope

    found = equiscope.plan(
        model,
        images,
        split_names(layers),
        transformations=split_names(transformations),
        angles=angles,
        examples_per_unit=examples_per_unit,
        weights=weights,
        device=device,
        precision=precision,
        seed=seed,
        quick=quick,
        progress=show_progress,
    )
    console = wide_console()
    console.print(_stages_table(found))
    for line in _others(found):
        typer.echo(line)
    if found.savings:
        console.print(_savings_table(found))
    typer.echo(found.sentence)
    if found.look:
        print_note(found.look)


def _stages_table(plan: Plan) -> Table:
    """Tabulate what each layer is shown under each transformation, and what that takes."""
    headings = ("layer", "transformation", "stimuli", "elements", "patch", "ms a patch", "time", "disk")
    table = new_table(headings, text=("layer", "transformation"))
    for stage in plan.stages:
        table.add_row(
            stage.layer or "all layers",
            stage.transformation,
            f"{stage.n_stimuli:,}",
            str(stage.n_elements),
            f"{stage.patch_px} px",
            f"{1e3 * stage.patch_s:.2g}",
            _seconds(stage.seconds),
            f"{stage.disk_bytes / 1e6:.1f} MB",
        )
    return table


def _savings_table(plan: Plan) -> Table:
    """Tabulate what would make the survey shorter."""
    table = new_table(("instead", "time", "of it"), text=("instead",))
    for saving in plan.savings:
        table.add_row(saving.options, _seconds(saving.seconds), f"{saving.seconds / plan.seconds:.0%}")
    return table


def _others(plan: Plan) -> Iterator[str]:
    once = ", ".join(f"{name} {_seconds(seconds)}" for name, seconds in plan.others.items())
    yield f"once: {once}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.0f} min"
