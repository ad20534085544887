"""``equiscope simplify``: put tied templates back into the network and see what it still can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from equiscope.cli.console import echo_report, show_progress, wide_console
from equiscope.cli.options import (
    PrecisionOption,
    RunArgument,
    SurveyedModelArgument,
    VerdictOption,
    WeightsOption,
    split_names,
)
from equiscope.cli.tables import new_table

if TYPE_CHECKING:
    from equiscope.construction.simplify import Accuracy, Simplification

__all__ = ["simplify"]

_ImagesOption = Annotated[
    str,
    typer.Option(help="Labelled images: class folders, CIFAR's folder, an .npz; with --labels any images."),
]
_LabelsOption = Annotated[
    Path | None, typer.Option(help="CSV file with a line an image: its file and its label.")
]
_LabelColumnOption = Annotated[str, typer.Option(help="Column of --labels with the label.")]
_ClassesOption = Annotated[
    Path | None,
    typer.Option(help="Names of the classes, one a line, in the order of the logits; default: alphabetical."),
]
_TransformationOption = Annotated[str, typer.Option(help="rotation or hue.")]
_BlocksOption = Annotated[str, typer.Option(help="all, or the symmetric circuits among them.")]
_OrderOption = Annotated[
    str, typer.Option(help="error: what costs least first; layers: layer by layer from the image on.")
]
_PointsOption = Annotated[int, typer.Option(help="Points of the curve; with --order layers one a layer.")]
_MethodsOption = Annotated[
    str | None,
    typer.Option(
        help="Some of tied, wrong poses, magnitude in blocks, magnitude, low rank, with commas; default: all."
    ),
]
_EvaluatedOption = Annotated[int | None, typer.Option(help="Labelled images to evaluate; default: all.")]
_CalibrationOption = Annotated[
    int, typer.Option(help="Images to recalibrate with; their labels are not used.")
]
_CropOption = Annotated[
    int | None, typer.Option(help="Square that the network sees, px; default: as trained.")
]
_ResizeOption = Annotated[
    int | None, typer.Option(help="Shorter side of images before, px; default: 8/7 of the square.")
]
_SeedOption = Annotated[int, typer.Option(help="Seed of the wrong poses and the bootstrap.", min=0)]
_SaveOption = Annotated[
    Path | None,
    typer.Option(help="Also write the recalibrated network of the last point, as .safetensors."),
]


def simplify(
    run: RunArgument,
    images: _ImagesOption,
    model: SurveyedModelArgument = None,
    labels: _LabelsOption = None,
    label_column: _LabelColumnOption = "label",
    classes: _ClassesOption = None,
    weights: WeightsOption = None,
    transformation: _TransformationOption = "rotation",
    blocks: _BlocksOption = "all",
    order: _OrderOption = "error",
    points: _PointsOption = 6,
    methods: _MethodsOption = None,
    evaluated: _EvaluatedOption = None,
    calibration: _CalibrationOption = 128,
    crop: _CropOption = None,
    resize: _ResizeOption = None,
    precision: PrecisionOption = "auto",
    seed: _SeedOption = 0,
    save: _SaveOption = None,
    verdict: VerdictOption = "copies",
) -> None:
    """Tie the weights between a run's families, step by step, and see how accurate the network still is.

    Beside it the same number of parameters removed by pruning and low rank, and templates at wrong poses.
    Writes simplify.json and simplify.svg into the run, and draws its report again with them.
    """
    import equiscope

    found = equiscope.simplify(
        run,
        images,
        model,
        transformation=transformation,
        blocks=blocks,
        order=order,
        save=save,
        verdict=verdict,
        labels=labels,
        label_column=label_column,
        classes=classes,
        crop_px=crop,
        side_px=resize,
        n_points=points,
        methods=split_names(methods),
        n_images=evaluated,
        n_calibration=calibration,
        weights=weights,
        precision=precision,
        seed=seed,
        progress=show_progress,
    )
    _tell(found)
    typer.echo(f"simplify: {run / 'simplify.json'}")
    typer.echo(f"figure: {run / 'simplify.svg'}")
    if save is not None:
        typer.echo(f"network: {save}")
    echo_report(run)


def _tell(found: Simplification) -> None:
    """Print what templates explain, the curve, and on what it was measured."""
    for note in found.notes:
        Console(stderr=True).print(note, markup=False, highlight=False)
    console = wide_console()
    console.print(_convolutions_table(found))
    console.print()
    console.print(_points_table(found))
    console.print(
        f"{found.n_images} images, original {_share(found.original)}; {found.n_parameters} parameters; "
        f"recalibrated on {found.n_calibration} other images, without labels",
        highlight=False,
    )


def _share(accuracy: Accuracy) -> str:
    return f"{accuracy.top1:.1%} ({accuracy.low:.1%}-{accuracy.high:.1%})"


def _difference(accuracy: Accuracy) -> str:
    points = (100 * v for v in (accuracy.difference, accuracy.difference_low, accuracy.difference_high))
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*points)


def _convolutions_table(found: Simplification) -> Table:
    """Tabulate what templates explain in each convolution, beside wrong poses."""
    headings = (
        "convolution", "from", "to", "weights", "in blocks", "tied", "blocks", "explained", "at wrong poses",
    )  # fmt: skip
    table = new_table(headings, text=("convolution", "from", "to"))
    for own in found.convolutions:
        table.add_row(
            own.name,
            own.source,
            own.target,
            str(own.n_weights),
            str(own.n_tied),
            str(own.n_free),
            str(own.n_blocks),
            f"{own.explained:.0%}",
            f"{own.explained_wrong:.0%}" if own.explained_wrong == own.explained_wrong else "–",
        )
    return table


def _points_table(found: Simplification) -> Table:
    """Tabulate the curve."""
    is_by_layer = found.order == "layers"
    headings = [
        "method", "up to", "removed", "of all", "of these", "blocks", "energy lost", "top 1", "less original, points",
        "recalibrated", "less original, points", "same class",
    ]  # fmt: skip
    if not is_by_layer:
        headings.remove("up to")
    table = new_table(headings, text=("method", "up to"))
    for point in found.points:
        table.add_row(
            point.method,
            *([str(point.layer)] if is_by_layer else []),
            str(point.n_removed),
            f"{point.n_removed / found.n_parameters:.1%}",
            f"{point.n_removed / (point.n_free + point.n_removed):.1%}",
            str(point.n_blocks or "–"),
            f"{point.error:.1%}",
            f"{point.plain.top1:.1%}",
            _difference(point.plain),
            f"{point.recalibrated.top1:.1%}",
            _difference(point.recalibrated),
            f"{point.recalibrated.agreement:.1%}",
        )
    return table
