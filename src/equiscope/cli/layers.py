"""``equiscope layers``: list the layers of a network."""

from __future__ import annotations

from typing import Annotated

import typer

from equiscope.cli.console import show_progress, wide_console
from equiscope.cli.options import ModelArgument, WeightsOption, split_names
from equiscope.cli.tables import new_table

__all__ = ["layers"]


def layers(
    model: ModelArgument = "mini",
    weights: WeightsOption = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Module names or patterns such as 'layer1.*', separated by commas; default: those that a survey takes "
            "without --layers."
        ),
    ] = None,
) -> None:
    """List the layers of a network: channels, stride, receptive field and stimulus size."""
    import equiscope

    found = equiscope.layers(model, split_names(layers), weights=weights, progress=show_progress)
    headings = ("layer", "channels", "stride", "receptive field", "centre", "stimulus")
    table = new_table(headings, text=("layer",))
    for name, geometry in found.geometries.items():
        if geometry.is_global:
            table.add_row(name, str(geometry.n_channels), "–", "whole image", "–", "whole image")
        else:
            table.add_row(
                name,
                str(geometry.n_channels),
                "x".join(map(str, dict.fromkeys(geometry.stride_px))),
                f"{'x'.join(map(str, dict.fromkeys(geometry.receptive_field_px)))} px",
                f"{', '.join(f'{c:g}' for c in dict.fromkeys(geometry.centre_px))} px",
                f"{geometry.patch_px} px",
            )
    wide_console().print(table)
    for note in found.notes:
        typer.echo(note, err=True)
