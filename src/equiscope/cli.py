"""The command line: parse, one call, friendly errors."""

from __future__ import annotations

import csv
import dataclasses
import errno
import io
import re
import shlex
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from equiscope.errors import EquiscopeError
from equiscope.families import Family, Unit
from equiscope.store import Run
from equiscope.verification import FamilyVerification

if TYPE_CHECKING:
    from equiscope.budget import Budget
    from equiscope.circuits import Circuits
    from equiscope.comparison import Comparison
    from equiscope.featurevis import StoredVisualisations
    from equiscope.training import TrainingRun

__all__ = ["app", "main"]

app = typer.Typer(
    name="equiscope",
    help="Find, verify and show the families of transformed copies inside any convolutional network.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Part(StrEnum):
    """What ``export`` can write."""

    units = "units"
    families = "families"
    circuits = "circuits"
    comparison = "comparison"


class Subject(StrEnum):
    """What ``figure`` can draw."""

    family = "family"
    circuit = "circuit"
    layer = "layer"
    overview = "overview"


class Format(StrEnum):
    """How ``export`` can write it."""

    csv = "csv"
    json = "json"


class Match(StrEnum):
    """What twins can have in common."""

    widths = "widths"
    parameters = "parameters"
    compute = "compute"


KINDS = ("equivariant", "invariant", "neither", "inactive", "not measurable")


@contextmanager
def _show_progress(stage: str, total: int) -> Iterator[Callable[[int], None]]:
    """One progress bar with a time estimate, on standard error; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(stage, total=total)
        yield lambda steps: bars.advance(task, steps)


def _wide_console() -> Console:
    """Give standard output in which no column of a table is cut off, also where no terminal tells a width."""
    return Console(width=max(Console().width, 170))


def _names(text: str | None) -> list[str] | None:
    """Split names that are separated by commas; None without any."""
    return [name.strip() for name in text.split(",") if name.strip()] if text else None


def _kinds_table(run: Run) -> Table:
    """Tabulate what the units of each layer do under each transformation, and the share that is explained."""
    from equiscope.significance import share_interval

    table = Table(box=None, pad_edge=False, header_style="")
    for heading in (
        "layer",
        "transformation",
        "units",
        *KINDS,
        "equi + inv",
        "95 %",
        "families",
        "largest",
        "score",
    ):
        is_text = heading in ("layer", "transformation")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=True)
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
                *(str(kinds.count(kind)) for kind in KINDS),
                f"{n_explained / len(kinds):.0%}",
                f"{low:.0%}-{high:.0%}",
                str(len(families)),
                str(max((family.size for family in families), default="–")),
                f"{sum(f.score * f.size for f in families) / n_members:.2f}" if families else "–",
            )
    return table


ModelArgument = Annotated[
    str,
    typer.Argument(
        help="Network: mini, googlenet, inception5h, squeezenet, package.module:factory, file.py:factory, "
        "timm:NAME, torchvision:NAME, a file.onnx or a trained model.safetensors."
    ),
]
WeightsOption = Annotated[Path | None, typer.Option(help="Weight file for a built-in network.")]


@app.command()
def survey(
    model: ModelArgument = "mini",
    weights: WeightsOption = None,
    images: Annotated[
        str | None, typer.Option(help="Folder, .tar or .npz of images; default: embedded photographs.")
    ] = None,
    layers: Annotated[str | None, typer.Option(help="Module names, separated by commas.")] = None,
    transformations: Annotated[
        str | None,
        typer.Option(
            help="Some of rotation, hue, reflection, contrast, dihedral, hue-rotation, scale, separated by commas; "
            "default: all."
        ),
    ] = None,
    angles: Annotated[int, typer.Option(help="Number of rotations.")] = 16,
    examples_per_unit: Annotated[
        int, typer.Option(help="Strongest stimuli a unit; half find, half verify.")
    ] = 8,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; default: equiscope-runs/MODEL.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, float32 or bfloat16, for the passes that show transformed stimuli.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of halves, null and bootstrap.")] = 0,
    false_discovery_rate: Annotated[float, typer.Option(help="Largest accepted q-value.")] = 0.05,
) -> None:
    """Find the families of transformed copies in a network and write a report.

    An interrupted survey goes on when the same command is given again.
    """
    from equiscope.models import load_model
    from equiscope.survey import survey as run_survey

    console = Console(stderr=True)
    borrowed = load_model(model, weights)
    folder = out if out is not None else Path("equiscope-runs") / borrowed.name
    run = run_survey(
        borrowed,
        images,
        _names(layers),
        transformations=_names(transformations),
        out=folder,
        angles=angles,
        examples_per_unit=examples_per_unit,
        false_discovery_rate=false_discovery_rate,
        device=device,
        precision=precision,
        seed=seed,
        command=shlex.join(["equiscope", *sys.argv[1:]]),
        progress=_show_progress,
    )
    if failures := run.manifest["images"]["failures"]:
        console.print(
            f"{len(failures)} images could not be read; run.json names them, the first:", highlight=False
        )
        for failure in failures[:3]:
            console.print(f"  {failure['name']}: {failure['reason']}", markup=False, highlight=False)
    out_console = _wide_console()
    out_console.print(_kinds_table(run))
    seconds = sum(run.manifest["seconds"].values())
    members = {(member.layer, member.channel) for family in run.families for member in family.members}
    for result in run.manifest["results"]:
        for note in result["notes"]:
            console.print(f"{result['layer']}, {note}", markup=False, highlight=False)
    out_console.print(
        f"{len(run.families)} families of {len(members)} units, {seconds:.0f} s",
        highlight=False,
    )
    # Not through rich, which would break a long path over lines.
    typer.echo(f"report: {run.report}")


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    model: Annotated[
        str | None, typer.Argument(help="The network that was surveyed; default: the run's own name for it.")
    ] = None,
    weights: WeightsOption = None,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
) -> None:
    """Measure every family's tuning on synthetic stimuli and compare it with the poses found on photographs.

    Writes verification.json into the run and draws its report again with what was found.
    """
    from equiscope.models import load_model
    from equiscope.report.files import show_verification
    from equiscope.stages import choose_precision
    from equiscope.store import load_run
    from equiscope.verification import verify_run

    opened = load_run(run)
    borrowed = load_model(model or opened.manifest["model"]["name"], weights)
    found = verify_run(
        opened, borrowed, precision=choose_precision(precision, borrowed.device), progress=_show_progress
    )
    console = _wide_console()
    console.print(_verification_table(found))
    typer.echo(f"verification: {run / 'verification.json'}")
    if show_verification(run, found):
        typer.echo(f"report: {opened.report}")
    else:
        Console(stderr=True).print(
            "the report stays as it is: an earlier version made it, which kept nothing to draw it from"
        )


@app.command()
def circuits(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    model: Annotated[
        str | None, typer.Argument(help="The network that was surveyed; default: the run's own name for it.")
    ] = None,
    weights: WeightsOption = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="The images that were surveyed; default: embedded photographs if the run was on those, else none, "
            "which leaves out layers with others between them and the causal check."
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="Null draws a block.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the null.")] = 0,
    false_discovery_rate: Annotated[float, typer.Option(help="Largest accepted q-value.")] = 0.05,
    graphml: Annotated[Path | None, typer.Option(help="Also write the graph to this GraphML file.")] = None,
) -> None:
    """Recover the symmetric weights between a run's families, from the network's weights.

    Writes circuits.json into the run, and what is drawn of it.
    """
    from equiscope.circuits import recover_circuits, write_graph
    from equiscope.models import load_model
    from equiscope.report.files import show_circuits
    from equiscope.stimuli import open_images
    from equiscope.store import load_run

    opened = load_run(run)
    borrowed = load_model(model or opened.manifest["model"]["name"], weights)
    is_embedded = opened.manifest["images"]["name"] == "embedded"
    shown = open_images(images) if images is not None or is_embedded else None
    found = recover_circuits(
        opened,
        borrowed,
        shown,
        n_draws=draws,
        false_discovery_rate=false_discovery_rate,
        seed=seed,
        progress=_show_progress,
    )
    console = Console(stderr=True)
    for entry in found.skipped:
        console.print(f"{entry.source} to {entry.target}: {entry.reason}", markup=False, highlight=False)
    out_console = _wide_console()
    out_console.print(_circuits_table(found))
    scaled = [c for c in found.circuits if c.transformation == "scale"]
    if scaled:
        between = [c for c in scaled if c.is_between_families]
        out_console.print(
            f"scale, across layers: {sum(c.is_symmetric for c in between)} of {len(between)} blocks between two "
            f"families symmetric, {len(scaled) - len(between)} circuits between a family and a unit",
            highlight=False,
        )
    turning = [c for c in found.confirmations if c.n_tested]
    confirmed = sum(c.n_symmetric > 0 for c in turning)
    out_console.print(
        f"{sum(c.is_symmetric for c in found.circuits)} circuits, {len(found.factors)} families with factors, "
        f"{len(found.transposed)} transposed pairs; weights confirm {confirmed} of {len(turning)} families",
        highlight=False,
    )
    typer.echo(f"circuits: {run / 'circuits.json'}")
    if graphml is not None:
        write_graph(opened, found, graphml)
        typer.echo(f"graph: {graphml}")
    if show_circuits(run):
        typer.echo(f"report: {opened.report}")


def _circuits_table(found: Circuits) -> Table:
    """Tabulate for each two layers what was tested, and what came out in each class."""
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in (
        "from", "to", "path", "families tested", "symmetric", "equi→equi", "inv→equi", "equi→inv", "median R²",
        "with units", "pairs", "seconds",
    ):  # fmt: skip
        table.add_column(
            heading, justify="left" if heading in ("from", "to", "path") else "right", no_wrap=True
        )
    for pair in found.pairs:
        own = [
            c for c in found.circuits
            if (c.source_layer, c.target_layer) == (pair.source, pair.target) and c.is_symmetric
        ]  # fmt: skip
        between = [c for c in own if c.is_between_families and not c.pair_class]
        classes = Counter(c.rotation_class or c.hue_class for c in between)
        table.add_row(
            pair.source,
            pair.target,
            pair.path,
            str(pair.n_circuits),
            str(pair.n_symmetric),
            *(
                str(classes[f"{a}→{b}"])
                for a, b in (
                    ("equivariant", "equivariant"),
                    ("invariant", "equivariant"),
                    ("equivariant", "invariant"),
                )
            ),
            f"{statistics.median(c.r2 for c in between):.2f}" if between else "–",
            str(sum(not c.is_between_families for c in own if not c.pair_class)),
            str(sum(bool(c.pair_class) for c in own)),
            f"{pair.seconds:.1f}",
        )
    return table


@app.command()
def featurevis(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    model: Annotated[
        str | None, typer.Argument(help="The network that was surveyed; default: the run's own name for it.")
    ] = None,
    weights: WeightsOption = None,
    layers: Annotated[
        str | None, typer.Option(help="Some of the run's layers, separated by commas; default: all.")
    ] = None,
    families: Annotated[bool, typer.Option(help="Also one template for each family.")] = True,
    steps: Annotated[int, typer.Option(help="Steps of the optimiser.")] = 128,
    null_draws: Annotated[int, typer.Option(help="Templates for wrong poses, a family.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of noise, shifts and wrong poses.")] = 0,
) -> None:
    """Optimise an image for every unit of a run's layers, and one template for every family.

    Writes them into the run, as featurevis/LAYER.npz and featurevis/families.npz, and shows them in its report. An
    interrupted job goes on when the same command is given again.
    """
    _visualise(
        run, model, weights, _names(layers), with_families=families, steps=steps, n_null=null_draws, seed=seed
    )


def _visualise(
    run: Path, model: str | None, weights: Path | None, layers: list[str] | None = None, **options: Any
) -> None:
    """Optimise images, tabulate them, and show them in the report."""
    from equiscope.featurevis import visualise_run
    from equiscope.models import load_model
    from equiscope.report.files import build_site
    from equiscope.store import load_run

    opened = load_run(run)
    borrowed = load_model(model or opened.manifest["model"]["name"], weights)
    found = visualise_run(
        opened,
        borrowed,
        layers,
        progress=_show_progress,
        **options,
    )
    console = _wide_console()
    console.print(_images_table(found))
    if found.families:
        console.print(_templates_table(opened, found))
    typer.echo(f"visualisations: {run / 'featurevis'}")
    typer.echo(f"report: {build_site(run)}")


def _quartiles(values: Iterable[float]) -> str:
    """Word median and quartiles of what was measured."""
    known = sorted(value for value in values if value == value)
    if len(known) < 2:
        return f"{known[0]:.2f}" if known else "–"
    low, middle, high = statistics.quantiles(known, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _images_table(found: StoredVisualisations) -> Table:
    """Tabulate for each layer how strongly units answer to their images."""
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("layer", "units", "not driven", "response / strongest natural", "above 1"):
        table.add_column(heading, justify="left" if heading == "layer" else "right", no_wrap=True)
    for layer, own in found.layers.items():
        ratios = [ratio for ratio in own.ratio.tolist() if ratio == ratio]
        table.add_row(
            layer,
            str(len(own.channels)),
            str(int((~own.is_active).sum())),
            _quartiles(ratios),
            f"{sum(ratio > 1 for ratio in ratios)} of {len(ratios)}",
        )
    return table


def _templates_table(run: Run, found: StoredVisualisations) -> Table:
    """Tabulate for each transformation of each layer how strongly members answer to their copy, and to others."""
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in (
        "layer", "transformation", "families", "members", "own copy / strongest natural", "other poses / own copy",
        "strength / wrong poses", "above wrong poses",
    ):  # fmt: skip
        is_text = heading in ("layer", "transformation")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=True)
    groups: dict[tuple[str, str], list[str]] = {}
    for family in run.families:
        if family.id in found.families:
            groups.setdefault((family.layer, family.transformation), []).append(family.id)
    for (layer, transformation), ids in groups.items():
        own = [found.families[name] for name in ids]
        against = [(entry.strength, max(entry.null_strength)) for entry in own if len(entry.null)]
        table.add_row(
            layer,
            transformation,
            str(len(own)),
            str(sum(len(entry.channels) for entry in own)),
            _quartiles(ratio for entry in own for ratio in entry.ratio.tolist()),
            _quartiles(share for entry in own for share in entry.elsewhere.tolist()),
            _quartiles(strength / wrong for strength, wrong in against if wrong > 0),
            f"{sum(strength > wrong for strength, wrong in against)} of {len(against)}" if against else "–",
        )
    return table


@app.command()
def budget(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of each layer's units.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Predict how many kernels would stay free if the families of a run were tied.

    Writes budget.json into the run.
    """
    from equiscope.budget import estimate_budget
    from equiscope.store import load_run

    found = estimate_budget(load_run(run), n_resamples=resamples, seed=seed)
    console = _wide_console()
    console.print(_budget_table(found))
    typer.echo(f"budget: {run / 'budget.json'}")


def _budget_table(found: Budget) -> Table:
    """Tabulate the article's formula for each layer, and the kernels between it and the next one."""
    table = Table(box=None, pad_edge=False, header_style="")
    headings = (
        "layer",
        "transformation",
        "units",
        "r",
        "95 %",
        "families",
        "K",
        "1 - (K-1)/K r²",
        "95 %",
        "to",
        "free",
        "95 %",
    )
    for heading in headings:
        is_text = heading in ("layer", "transformation", "to")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=True)
    following = {(pair.source, pair.transformation): pair for pair in found.pairs}
    for entry in found.layers:
        pair = following.get((entry.layer, entry.transformation))
        table.add_row(
            entry.layer,
            entry.transformation,
            str(entry.n_units),
            f"{entry.equivariant_share:.0%}",
            f"{entry.equivariant_low:.0%}-{entry.equivariant_high:.0%}",
            str(entry.n_families),
            f"{entry.copies:.1f}" if entry.n_families else "–",
            f"{entry.ratio:.1%}",
            f"{entry.ratio_low:.1%}-{entry.ratio_high:.1%}",
            pair.target if pair else "–",
            f"{pair.ratio:.1%}" if pair else "–",
            f"{pair.ratio_low:.1%}-{pair.ratio_high:.1%}" if pair else "–",
        )
    return table


def _verification_table(found: Sequence[FamilyVerification]) -> Table:
    """Tabulate what drives each family and how its poses compare."""
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("family", "axis", "driven by", "drive", "runner-up", "lead", "error", "95 %", "outliers"):
        is_text = heading in ("family", "axis", "driven by", "runner-up")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=True)
    for entry in found:
        unit = {"scale": " oct", "pair": ""}.get(entry.axis, "°")
        digits = 2 if entry.axis == "scale" else 1
        if entry.axis == "pair":
            error, interval, outliers = f"r {entry.score:.2f}", f"margin {entry.margin:.2f}", "–"
        elif entry.n_measured:
            error = f"{entry.median_error:.{digits}f}{unit}"
            interval = f"{entry.error_low:.{digits}f}-{entry.error_high:.{digits}f}"
            outliers = f"{entry.n_outliers} of {entry.n_measured}"
        else:
            error, interval, outliers = "–", "–", "–"
        table.add_row(
            entry.family,
            entry.axis,
            entry.kind,
            f"{entry.drive:.2f}",
            entry.runner_up,
            f"{entry.lead:.2f} ({entry.lead_low:.2f} to {entry.lead_high:.2f})",
            error,
            interval,
            outliers,
        )
    return table


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="Folder of the run that keeps the comparison and shows it.")],
    run_b: Annotated[Path, typer.Argument(help="Folder of the other run.")],
    model_a: Annotated[
        str | None, typer.Option(help="Network of the first run; default: the run's own name for it.")
    ] = None,
    weights_a: Annotated[Path | None, typer.Option(help="Weight file of a built-in network.")] = None,
    model_b: Annotated[
        str | None, typer.Option(help="Network of the second run; default: the run's own name for it.")
    ] = None,
    weights_b: Annotated[Path | None, typer.Option(help="Weight file of a built-in network.")] = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="What both networks are shown: those of the surveys, or others; default: embedded photographs."
        ),
    ] = None,
    transformations: Annotated[
        str | None,
        typer.Option(
            help="Some of rotation, hue, reflection, contrast, separated by commas; default: those of both runs."
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="Null draws a transformation.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the halves, the null and the bootstrap.")] = 0,
    false_discovery_rate: Annotated[float, typer.Option(help="Largest accepted q-value.")] = 0.05,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
) -> None:
    """Find which families of two runs are counterparts: alike in what they answer to the same stimuli.

    Writes compare/NAME.json into the first run, NAME being the second run's folder, and builds its report again.
    """
    from equiscope.compare import compare_runs
    from equiscope.models import load_model
    from equiscope.report.files import show_comparison
    from equiscope.stages import choose_precision
    from equiscope.stimuli import open_images
    from equiscope.store import load_run

    first, second = load_run(run_a), load_run(run_b)
    models = [
        load_model(model or opened.manifest["model"]["name"], weights)
        for model, weights, opened in ((model_a, weights_a, first), (model_b, weights_b, second))
    ]
    found = compare_runs(
        first,
        models[0],
        second,
        models[1],
        open_images(images),
        transformations=_names(transformations),
        n_draws=draws,
        false_discovery_rate=false_discovery_rate,
        seed=seed,
        precision=choose_precision(precision, models[0].device),
        progress=_show_progress,
    )
    for note in found.notes:
        typer.echo(note, err=True)
    _wide_console().print(_comparison_table(found))
    typer.echo(f"comparison: {run_a / 'compare' / found.name}.json")
    typer.echo(f"report: {show_comparison(run_a, found, run_b)}")


def _comparison_table(found: Comparison) -> Table:
    """Tabulate for each transformation how many families of either run have a counterpart."""
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in (
        "transformation", "stimuli", "photographs", f"of {found.a.model}", f"of {found.b.model}",
        "mutually best", "counterparts", "also alike", "median score", "other identity, 95 %", "scrambled, 95 %",
    ):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "transformation" else "right", no_wrap=True)
    for entry in found.transformations:
        own = [f for f in found.families if f.transformation == entry.transformation]
        pairs = [m for m in found.matches if m.transformation == entry.transformation]
        scores = [m.score for m in pairs if m.is_counterpart or m.is_alike]
        sides = [[f.counterpart is not None for f in own if f.run == run] for run in "ab"]
        nulls = [null.score_95 for null in (entry.null, entry.pose_null)]
        table.add_row(
            entry.transformation,
            str(entry.n_stimuli),
            str(entry.n_photographs),
            *(f"{sum(side)} of {len(side)}" for side in sides),
            str(len(pairs)),
            str(sum(m.is_counterpart for m in pairs)),
            str(sum(m.is_alike and not m.is_counterpart for m in pairs)),
            f"{statistics.median(scores):.2f}" if scores else "–",
            *("–" if _cell(null) is None else f"{null:.2f}" for null in nulls),
        )
    return table


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    publish: Annotated[
        Path | None,
        typer.Option(help="Also copy the site, and nothing else of the run, into this new or empty folder."),
    ] = None,
    featurevis: Annotated[
        bool,
        typer.Option(help="First make what `equiscope featurevis` makes, and is not there yet."),
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="For --featurevis: the network; default: the run's own name for it.")
    ] = None,
    weights: WeightsOption = None,
) -> None:
    """Build a run's report again, from its folder alone: no images and no network are needed but for --featurevis.

    A run that is not finished, or of an earlier version, is shown as far as it goes.
    """
    from equiscope.report.files import build_site, publish_site

    if featurevis:
        _visualise(run, model, weights)
    typer.echo(f"report: {build_site(run) if publish is None else publish_site(run, publish)}")


@app.command("open")
def open_report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open it in the system's browser.")] = True,
) -> None:
    """Serve a run's report on 127.0.0.1, to this machine alone, and open it in the browser; Ctrl-C ends it."""
    from equiscope.report.serve import open_site

    open_site(
        run,
        port=port,
        in_browser=browser,
        on_address=lambda address: typer.echo(f"report: {address} (Ctrl-C ends it)"),
    )


@app.command()
def layers(model: ModelArgument = "mini", weights: WeightsOption = None) -> None:
    """List the layers of a network: channels, stride, receptive field and stimulus size."""
    from equiscope.models import load_model
    from equiscope.models.geometry import find_geometry

    borrowed = load_model(model, weights)
    names = borrowed.resolve_layers()
    with _show_progress("Finding receptive fields", 1) as on_step:
        geometries = find_geometry(borrowed, names)
        on_step(1)
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("layer", "channels", "stride", "receptive field", "centre", "stimulus"):
        table.add_column(heading, justify="left" if heading == "layer" else "right", no_wrap=True)
    for name, geometry in geometries.items():
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
    _wide_console().print(table)


@app.command()
def figure(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    subject: Annotated[Subject, typer.Argument(help="What the figure is of.")],
    name: Annotated[
        str, typer.Argument(help="Id of the family or circuit, name of the layer; nothing for the overview.")
    ] = "",
    kind: Annotated[
        str | None,
        typer.Option(
            help="family: dial, chart or pair, strip, tuning, joint, synthetic; circuit: matrices, raw, reordered, "
            "template; layer and overview: shares. Default: the first that there is."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write, .svg or .png; default: SUBJECT-NAME.svg here.")
    ] = None,
) -> None:
    """Draw one chart of a run as a figure for a paper: an SVG that needs nothing else, or a PNG."""
    from equiscope.report.figures import save_figure

    stem = "-".join(part for part in (subject, name.replace(">", "-to-"), kind) if part)
    path = out if out is not None else Path(re.sub(r"[^\w.-]+", "-", stem) + ".svg")
    typer.echo(f"figure: {save_figure(run, subject, name, path, kind=kind)}")


@app.command()
def train(
    network: Annotated[
        str,
        typer.Argument(
            help="plain, half, inceptionv1, inceptionv1-half, a FILE.json or FILE.toml that describes a network, or "
            "twin: before one of these for its plain twin."
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Labelled images: folder of class folders, CIFAR's python folder, or .npz of JPEG files."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the training; default: equiscope-runs/trained/NETWORK-SEED."),
    ] = None,
    match: Annotated[
        Match, typer.Option(help="What the network shall have in common with the reference.")
    ] = Match.widths,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Network to whose budget it is resized, named like NETWORK; default: it stays as it is."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 13,
    batch: Annotated[int, typer.Option(help="Images a step, over all processes.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="At its highest.")] = 0.15,
    weight_decay: Annotated[float, typer.Option(help="Of the weights behind the first layer.")] = 5e-4,
    crop: Annotated[int, typer.Option(help="Side of the images that the network sees, px.")] = 56,
    seed: Annotated[int, typer.Option(help="Seed of start, order and augmentation.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; under torchrun a GPU a process.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, float32 or bfloat16, for passes in training.")
    ] = "auto",
    workers: Annotated[int, typer.Option(help="Threads that decode and crop ahead.")] = 1,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 500,
) -> None:
    """Train a network of equivariant, invariant and plain units, and export it as a plain one that can be surveyed.

    An interrupted training goes on when the same command is given again, and ends as if it had not been interrupted.
    """
    from equiscope.training import Recipe, describe_network
    from equiscope.training import train as run_training

    description = describe_network(network)
    recipe = Recipe(
        epochs=epochs, batch=batch, learning_rate=learning_rate, weight_decay=weight_decay, crop_px=crop
    )
    run = run_training(
        description,
        data,
        out if out is not None else Path("equiscope-runs/trained") / f"{description.name}-{seed}",
        recipe=recipe,
        match=match.value,
        reference=reference,
        seed=seed,
        device=device,
        precision=precision,
        n_workers=workers,
        checkpoint_every=checkpoint_every,
        command=shlex.join(["equiscope", *sys.argv[1:]]),
        progress=_show_progress,
    )
    if failures := run.manifest["data"]["failures"]:
        Console(stderr=True).print(
            f"{len(failures)} images could not be decoded; training.json names them", highlight=False
        )
    out_console = _wide_console()
    out_console.print(_costs_table(run))
    result = run.manifest["result"]
    out_console.print(
        f"top 1: {result['top1']:.1%} ({result['low']:.1%} to {result['high']:.1%}) of {result['n_images']} images, "
        f"{run.manifest['seconds']:.0f} s",
        highlight=False,
    )
    typer.echo(f"network: {run.model_file}")


def _costs_table(run: TrainingRun) -> Table:
    """Tabulate what a network costs, and what that to whose budget it was resized costs."""
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("network", "free parameters", "expanded", "multiply-adds", "image"):
        table.add_column(heading, justify="left" if heading == "network" else "right", no_wrap=True)
    costs = {run.description.name: run.manifest["counts"]}
    if run.manifest["reference"] is not None:
        costs[f"reference: {run.manifest['reference']['name']}"] = run.manifest["reference"]["counts"]
    for name, own in costs.items():
        keys = ("free_parameters", "expanded_parameters", "multiply_adds")
        table.add_row(name, *(f"{own[key]:,}" for key in keys), f"{own['side_px']} px")
    return table


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    part: Annotated[Part, typer.Argument(help="What to write.")],
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.csv,
) -> None:
    """Write a run's units, families, circuits or comparisons to standard output.

    In CSV one line is a unit under one transformation, a member of a family, a circuit, or two families of two runs.
    Where circuits were recovered, families carry how many of their circuits turn with them, of how many were tested.
    """
    from equiscope.circuits import load_circuits
    from equiscope.store import families_document, load_run, read_json, to_json, units_document

    opened = load_run(run)
    if part is Part.comparison:
        _export_comparisons(run, format)
        return
    found = load_circuits(run)
    if part is Part.circuits:
        if found is None:
            raise EquiscopeError(f"{run} has no circuits yet: run `equiscope circuits {run}` first")
        if format is Format.json:
            typer.echo(to_json(read_json(run / "circuits.json")), nl=False)
            return
        _echo_csv(
            [{key: _cell(getattr(circuit, key)) for key in _CIRCUIT_COLUMNS} for circuit in found.circuits],
            _CIRCUIT_COLUMNS,
        )
        return
    confirmed = {} if found is None else {entry.family: entry for entry in found.confirmations}
    document = families_document(opened.families) if part is Part.families else units_document(opened.units)
    if format is Format.json:
        typer.echo(to_json(document), nl=False)
        return
    if part is Part.families:
        rows = [
            {k: _cell(v) for k, v in row.items()}
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
    from equiscope.comparison import load_comparisons
    from equiscope.store import SCHEMA_VERSION, to_json

    comparisons = load_comparisons(run)
    if not comparisons:
        raise EquiscopeError(f"{run} was not compared yet: run `equiscope compare {run} OTHER-RUN` first")
    if format is Format.json:
        documents = [dataclasses.asdict(comparison) for comparison in comparisons]
        typer.echo(to_json({"schema_version": SCHEMA_VERSION, "comparisons": documents}), nl=False)
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
            {key: _cell(row.get(key)) for key in _PAIR_COLUMNS} | {"comparison": comparison.name}
            for row in found
        ]
    _echo_csv(rows, _PAIR_COLUMNS)


_PAIR_COLUMNS = (
    "comparison transformation a b is_counterpart is_alike score score_low score_high q_value pose_q_value offset "
    "offset_difference"
).split()


def _echo_csv(rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    typer.echo(stream.getvalue(), nl=False)


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


_UNIT_COLUMNS = (
    "layer channel mean sd transformation kind family score invariance stabiliser_order pose_deg hue_deg octaves "
    "is_mirrored is_inverted"
).split()


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
            rows.append({key: _cell(row.get(key)) for key in _UNIT_COLUMNS})
    return rows


def _cell(value: Any) -> Any:
    """Turn what was not measured into an empty cell."""
    return None if isinstance(value, float) and value != value else value


def main() -> None:
    """Run the command line; what a user can mend is one message and exit code 2."""
    try:
        app()
    except EquiscopeError as error:
        typer.echo(f"equiscope: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        typer.echo(
            f"equiscope: {error.strerror} ({error.filename or 'while writing the run'}); what is finished is kept: "
            "make room or choose another --out, and give the same command again",
            err=True,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("equiscope: interrupted; the same command goes on from here", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
