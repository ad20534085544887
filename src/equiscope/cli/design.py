"""``equiscope design``: propose a network with the shares of units that a survey found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from equiscope.cli.console import wide_console
from equiscope.cli.options import RunArgument, VerdictOption
from equiscope.cli.tables import new_table
from equiscope.foundations.received import printable

if TYPE_CHECKING:
    from equiscope.construction.design import Design, LayerDesign

__all__ = ["design"]


def design(
    run: RunArgument,
    like: Annotated[
        str | None,
        typer.Option(
            help="Network whose layers and widths are taken, named as for train; default: that which was surveyed."
        ),
    ] = None,
    transformation: Annotated[
        str | None,
        typer.Option(help="rotation, dihedral or hue; default: the one that leaves fewest parameters free."),
    ] = None,
    plain_to: Annotated[
        str, typer.Option(help="What plain units feed: plain, which keeps the others' promise, or all.")
    ] = "plain",
    out: Annotated[Path | None, typer.Option(help="File to write; default: design.json in the run.")] = None,
    verdict: VerdictOption = "copies",
) -> None:
    """Propose a network whose layers have the shares of equivariant, invariant and plain units that a survey found.

    Writes a file that train takes.
    """
    import equiscope

    found = equiscope.design(
        run, like=like, transformation=transformation, plain_to=plain_to, out=out, verdict=verdict
    )
    console = wide_console()
    console.print(_design_table(found))
    for name, share in found.free_share_by_transformation.items():
        typer.echo(
            f"{name}: {share:.1%} of the plain twin's parameters stay free if plain units feed all others"
        )
    typer.echo(
        f"{printable(found.description.name)}: {found.free_parameters:,} free parameters with 100 classes; its plain "
        f"twin {found.twin_free_parameters:,}"
    )
    typer.echo(f"design: {out or run / 'design.json'}")


def _design_table(found: Design) -> Table:
    """Tabulate what was measured in each layer beside what it became."""
    headings = ("layer", "units", "equivariant", "95 %", "invariant", "families", "step", "group")
    designed = ("fields", "invariant", "plain", "equivariant", "invariant")
    table = new_table((*headings, *designed), text=("layer", "group"))
    for layer in found.layers:
        table.add_row(layer.layer, *_measured(layer), layer.group, *_designed(layer))
    return table


def _measured(layer: LayerDesign) -> list[str]:
    if not layer.is_surveyed:
        return ["not surveyed", *["–"] * 5]
    n = layer.n_units
    return [
        str(n),
        f"{layer.n_equivariant / n:.0%}",
        f"{layer.equivariant_low:.0%}-{layer.equivariant_high:.0%}",
        f"{layer.n_invariant / n:.0%}",
        str(layer.n_families),
        f"{layer.step_deg:.0f}°" if layer.n_families else "–",
    ]


def _designed(layer: LayerDesign) -> list[str]:
    shares = (f"{share:.0%}" for share in (layer.share_equivariant, layer.share_invariant))
    return [str(layer.fields), str(layer.invariant), str(layer.plain), *shares]
