"""``equiscope train``: train a network of equivariant, invariant and plain units."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from equiscope.cli.console import show_progress, wide_console
from equiscope.cli.tables import new_table

if TYPE_CHECKING:
    from equiscope.construction.training import TrainingRun

__all__ = ["Match", "train"]


class Match(StrEnum):
    """What twins can have in common."""

    widths = "widths"
    parameters = "parameters"
    compute = "compute"


_NetworkArgument = Annotated[
    str,
    typer.Argument(
        help="plain, half, inceptionv1, inceptionv1-half, a FILE.json or FILE.toml that describes a network, or "
        "twin: before one of these for its plain twin."
    ),
]
_DataOption = Annotated[
    Path,
    typer.Option(
        help="Labelled images: folder of class folders, CIFAR's python folder, or .npz of JPEG files."
    ),
]
_OutOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the training; default: equiscope-runs/trained/NETWORK-SEED."),
]
_MatchOption = Annotated[
    Match, typer.Option(help="What the network shall have in common with the reference.")
]
_ReferenceOption = Annotated[
    str | None,
    typer.Option(
        help="Network to whose budget it is resized, named like NETWORK; default: it stays as it is."
    ),
]
_EpochsOption = Annotated[int, typer.Option(help="Passes over the training images.")]
_BatchOption = Annotated[int, typer.Option(help="Images a step, over all processes.")]
_LearningRateOption = Annotated[float, typer.Option(help="At its highest.")]
_WeightDecayOption = Annotated[float, typer.Option(help="Of the weights behind the first layer.")]
_CropOption = Annotated[int, typer.Option(help="Side of the images that the network sees, px.")]
_SeedOption = Annotated[int, typer.Option(help="Seed of start, order and augmentation.", min=0)]
_DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda; under torchrun a GPU a process.")]
_PrecisionOption = Annotated[str, typer.Option(help="auto, float32 or bfloat16, for passes in training.")]
_WorkersOption = Annotated[int, typer.Option(help="Threads that decode and crop ahead.")]
_CheckpointEveryOption = Annotated[int, typer.Option(help="Steps between checkpoints.")]
_GraphsOption = Annotated[bool, typer.Option(help="On one GPU, record passes as CUDA graphs.")]


def train(
    network: _NetworkArgument,
    data: _DataOption,
    out: _OutOption = None,
    match: _MatchOption = Match.widths,
    reference: _ReferenceOption = None,
    epochs: _EpochsOption = 13,
    batch: _BatchOption = 128,
    learning_rate: _LearningRateOption = 0.15,
    weight_decay: _WeightDecayOption = 5e-4,
    crop: _CropOption = 56,
    seed: _SeedOption = 0,
    device: _DeviceOption = "auto",
    precision: _PrecisionOption = "auto",
    workers: _WorkersOption = 1,
    checkpoint_every: _CheckpointEveryOption = 500,
    graphs: _GraphsOption = True,
) -> None:
    """Train a network of equivariant, invariant and plain units, and export it as a plain one that can be surveyed.

    An interrupted training goes on when the same command is given again, and ends as if it had not been interrupted.
    """
    import equiscope
    from equiscope.construction.training import Recipe

    recipe = Recipe(
        epochs=epochs, batch=batch, learning_rate=learning_rate, weight_decay=weight_decay, crop_px=crop
    )
    run = equiscope.train(
        network,
        data,
        out,
        recipe=recipe,
        match=match.value,
        reference=reference,
        checkpoint_every=checkpoint_every,
        seed=seed,
        device=device,
        precision=precision,
        n_workers=workers,
        use_graphs=graphs,
        command=shlex.join(["equiscope", *sys.argv[1:]]),
        progress=show_progress,
    )
    _tell(run)
    typer.echo(f"network: {run.model_file}")


def _tell(run: TrainingRun) -> None:
    """Print what the network costs, how equivariant it is, and how well it classifies."""
    console = Console(stderr=True)
    for note in run.manifest["data"].get("notes", ()):
        console.print(note, markup=False, highlight=False)
    if failures := run.manifest["data"]["failures"]:
        console.print(f"{len(failures)} images could not be read; training.json names them", highlight=False)
    out_console = wide_console()
    out_console.print(_costs_table(run))
    if run.manifest.get("equivariance"):
        out_console.print()
        out_console.print(_equivariance_table(run))
        out_console.print()
    result = run.manifest["result"]
    out_console.print(
        f"top 1: {result['top1']:.1%} ({result['low']:.1%} to {result['high']:.1%}) of {result['n_images']} images, "
        f"{run.manifest['seconds']:.0f} s",
        highlight=False,
    )


def _costs_table(run: TrainingRun) -> Table:
    """Tabulate what a network costs, and what that to whose budget it was resized costs."""
    table = new_table(("network", "free parameters", "expanded", "multiply-adds", "image"), text=("network",))
    costs = {run.description.name: run.manifest["counts"]}
    if run.manifest["reference"] is not None:
        costs[f"reference: {run.manifest['reference']['name']}"] = run.manifest["reference"]["counts"]
    for name, own in costs.items():
        keys = ("free_parameters", "expanded_parameters", "multiply_adds")
        table.add_row(name, *(f"{own[key]:,}" for key in keys), f"{own['side_px']} px")
    return table


def _equivariance_table(run: TrainingRun) -> Table:
    """Tabulate how far each layer keeps what its group promises."""
    columns = ("layer", "group", "error at exact turns", "between")
    table = new_table(columns, text=("layer", "group"))
    for entry in run.manifest["equivariance"]:
        cells = (
            "–" if entry[key] is None else f"{entry[key]:.{digits}}"
            for key, digits in (("exact", "0e"), ("between", "3f"))
        )
        table.add_row(entry["layer"], entry["group"], *cells)
    return table
