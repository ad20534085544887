"""``equiscope layers``: list the layers of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from equiscope.cli.console import show_progress, wide_console
from equiscope.cli.options import ModelArgument, WeightsOption, split_names
from equiscope.cli.tables import new_table

if TYPE_CHECKING:
    from equiscope.models.geometry import LayerGeometry

__all__ = ["layers"]


def layers(
    model: ModelArgument = "mini",
    weights: WeightsOption = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Module names or patterns such as 'layer1.*', separated by commas; default: all that can be surveyed."
        ),
    ] = None,
) -> None:
    """List the layers of a network: sizes, and which of them a survey without --layers takes, and why."""
    import equiscope

    found = equiscope.layers(model, split_names(layers), weights=weights, progress=show_progress)
    headings = ("layer", "default", "channels", "stride", "receptive field", "centre", "stimulus", "why")
    table = new_table(headings, text=("layer", "default", "why"))
    for name, geometry in found.geometries.items():
        choice = found.choices[name]
        table.add_row(
            name, "yes" if choice.is_default else "–", str(geometry.n_channels), *_sizes(geometry), choice.why
        )
    wide_console().print(table)
    for note in found.notes:
        typer.echo(note, err=True)


def _sizes(geometry: LayerGeometry) -> tuple[str, str, str, str]:
    """Word the stride, the receptive field, the centre and the stimulus of a layer."""
    if geometry.is_global:
        return "–", "whole image", "–", "whole image"
    stride, field = (dict.fromkeys(pair) for pair in (geometry.stride_px, geometry.receptive_field_px))
    centre = ", ".join(f"{c:g}" for c in dict.fromkeys(geometry.centre_px))
    return (
        "x".join(map(str, stride)),
        f"{'x'.join(map(str, field))} px",
        f"{centre} px",
        f"{geometry.patch_px} px",
    )
