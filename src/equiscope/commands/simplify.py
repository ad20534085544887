"""`equiscope.simplify`: put tied templates back into the network and see what it still can do."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from torch import nn

from equiscope.construction.simplify import (
    METHODS,
    Curve,
    EvaluationImages,
    Simplification,
    count_logits,
    open_evaluation,
    simplify_run,
)
from equiscope.families.verdict import COPIES
from equiscope.foundations.options import SimplifyOptions, take_options
from equiscope.foundations.received import quoted
from equiscope.models import Model
from equiscope.reports.site.files import show_evidence
from equiscope.reports.views.simplify.drawings import save_curves
from equiscope.runs.asked import ask_run
from equiscope.runs.run import Run, as_run
from equiscope.runs.surveyed import surveyed_model
from equiscope.transformations.rotation import Rotation

__all__ = ["simplify"]


def simplify(
    run: Run | str | Path,
    images: EvaluationImages | str | Path,
    model: Model | nn.Module | str | None = None,
    *,
    transformation: str = Rotation.name,
    blocks: str = "all",
    order: str = "error",
    save: str | Path | None = None,
    **options: Unpack[SimplifyOptions],
) -> Simplification:
    """Tie the weights between a run's families, step by step, and see how accurate the network still is.

    Parameters
    ----------
    run
        A finished run, or its folder.
    images
        Labelled images: class folders, CIFAR's folder, an ``.npz``; with ``labels`` any images.
    model
        The network that was surveyed; by default the run's own name for it, if that is of a built-in network.
    transformation
        ``rotation`` or ``hue``.
    blocks
        ``all`` blocks between families, or the symmetric ``circuits`` among them.
    order
        ``error``: what costs least first; ``layers``: layer by layer from the image on.
    save
        Where to write the tied, recalibrated network of the last point, as ``.safetensors``.
    **options
        Families: ``verdict`` (``copies`` and cores, ``alike`` in pose too, or ``any``). Labels: ``labels`` (CSV file, a
        line an image), ``label_column`` (``"label"``), ``classes`` (file, names in the order of the logits). How images
        are seen: ``crop_px`` (square, as trained), ``side_px`` (shorter side before, 8/7 of it), ``n_images`` (all),
        ``n_calibration`` (128). Curve: ``n_points`` (6), ``methods`` (all). As for `equiscope.survey`: ``weights``,
        ``precision``, ``seed``, ``progress``.

    Returns
    -------
    Simplification
        Also in the run's ``simplify.json``, drawn in ``simplify.svg`` and shown in its report.

    Raises
    ------
    EquiscopeError
        If the network is not the run's, something given cannot be used, or no convolution joins families of two layers.

    Examples
    --------
    >>> own = {"labels": "gratings/labels.csv", "crop_px": 56, "side_px": 56, "precision": "float32"}
    >>> found = simplify("equiscope-runs/mini", "gratings", methods="tied", n_points=2, verdict="any", **own)
    >>> found.original.top1, found.points[-1].n_removed > 5000, found.points[-1].recalibrated.top1 > 0.5
    (1.0, True, True)
    """
    chosen = take_options(simplify, SimplifyOptions, options)
    opened = ask_run(as_run(run), options.get("verdict", COPIES))
    network = surveyed_model(opened, model, options.get("weights"), _command(opened, images))
    labelled, crop_px = _open(images, network, options)
    curve = _ask(transformation, blocks, order, options)
    found = simplify_run(opened, network, labelled, curve, crop_px=crop_px, save=_path(save), options=chosen)
    return _shown(opened, found)


def _path(save: str | Path | None) -> Path | None:
    return None if save is None else Path(save)


def _shown(run: Run, found: Simplification) -> Simplification:
    """Draw what was found, and show it in the run's report."""
    save_curves(run.folder, found)
    show_evidence(run.folder, "simplify")
    return found


def _command(run: Run, images: EvaluationImages | str | Path) -> str:
    """Word the command that takes a network, for the message where one has to be given."""
    named = "IMAGES" if isinstance(images, EvaluationImages) else quoted(images)
    return f"equiscope simplify {quoted(run.folder)} NETWORK --images {named}"


def _ask(transformation: str, blocks: str, order: str, options: SimplifyOptions) -> Curve:
    """Put together what is asked for; what is not takes its default."""
    methods = options.get("methods") or METHODS
    n_points = options.get("n_points", Curve.n_points)
    n_calibration = options.get("n_calibration", Curve.n_calibration)
    return Curve(transformation, blocks, order, methods, n_points, options.get("n_images"), n_calibration)


def _open(
    images: EvaluationImages | str | Path, network: Model, options: SimplifyOptions
) -> tuple[EvaluationImages, int]:
    """Open labelled images as the network sees them; also the side of its square, px."""
    crop_px, side_px, classes = options.get("crop_px"), options.get("side_px"), options.get("classes")
    crop_px = crop_px if crop_px is not None else network.input_size_px or 224
    if isinstance(images, EvaluationImages):
        return images, crop_px
    n_logits = count_logits(network, crop_px)
    names = None
    if classes is not None:
        lines = Path(classes).read_text("utf-8").splitlines()
        names = [name for line in lines if (name := line.strip())]
    opened = open_evaluation(
        images,
        n_logits=n_logits,
        side_px=side_px if side_px is not None else round(crop_px * 8 / 7),
        labels=options.get("labels"),
        label_column=options.get("label_column", "label"),
        classes=names,
    )
    return opened, crop_px
