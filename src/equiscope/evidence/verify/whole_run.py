"""Second evidence for a run's families: tuning to stimuli drawn from formulas, in which no photograph takes part.

Every layer with families is shown a catalogue of synthetic stimuli, turned exactly. For each family the kind of
stimulus that drives its members most is suggested, with the runner-up, and the members' poses on it are compared with
those found on photographs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from equiscope.evidence.verify.drawn.catalogue import count_drawings, show_catalogue, time_drawings
from equiscope.evidence.verify.lines import verify_lines
from equiscope.evidence.verify.pairs import verify_pairs
from equiscope.evidence.verify.poses import verify_poses
from equiscope.evidence.verify.verification import FamilyVerification, save_verification
from equiscope.families.family import Family
from equiscope.foundations.options import untold
from equiscope.foundations.progress import Progress, rough_time, silent
from equiscope.models import Model
from equiscope.models.borrowing import borrows_model
from equiscope.models.geometry import LayerGeometry
from equiscope.runs.manifest import read_geometries
from equiscope.runs.run import Run, check_network
from equiscope.transformations import find
from equiscope.transformations.spaces import Line, Pair

__all__ = ["verify_run"]


@borrows_model
def verify_run(
    run: Run,
    model: Model,
    *,
    precision: torch.dtype = torch.float32,
    progress: Progress = silent,
    on_plan: Callable[[str], object] = untold,
) -> tuple[FamilyVerification, ...]:
    """Measure the tuning of every family of a run on synthetic stimuli and compare it with the run's poses.

    Parameters
    ----------
    run
        A finished run.
    model
        The network that was surveyed.
    precision
        ``torch.bfloat16`` runs the network under autocast.
    progress
        Called at the start of each stage.
    on_plan
        Told before the work what will be shown, and how long that takes; nothing is measured for nobody.

    Returns
    -------
    tuple of FamilyVerification
        By family; also written to the run's ``verification.json``. Families of hue × rotation appear twice, once for
        each axis.

    Raises
    ------
    EquiscopeError
        If the network is not the one that was surveyed.

    Examples
    --------
    >>> from equiscope import load_run
    >>> from equiscope.models import load_model
    >>> first = verify_run(load_run("equiscope-runs/mini"), load_model("mini"))[0]
    >>> first.family, first.axis, first.n_measured > 2, first.median_error < 45
    ('conv2d0-rotation-1', 'rotation', True, True)
    """
    check_network(run, model)
    geometries = read_geometries(run.manifest)
    every: list[FamilyVerification] = []
    within = {layer: [f for f in run.families if f.layers == (layer,)] for layer in geometries}
    shown = [own for layer, own in geometries.items() if within[layer] and not own.is_global]
    if shown and on_plan is not untold:
        on_plan(_word_plan(model, shown, precision))
    for geometry in shown:
        every += _verify_layer(model, geometry, within[geometry.layer], precision, progress)
    every += _verify_lines(run, model, geometries, precision, progress)
    # What was measured last about an axis of a family stands.
    found = {(own.family, own.axis): own for own in every}
    order = {family.id: index for index, family in enumerate(run.families)}
    verified = tuple(sorted(found.values(), key=lambda v: order[v.family]))
    save_verification(run.folder, verified)
    return verified


def _verify_lines(
    run: Run, model: Model, geometries: dict[str, LayerGeometry], precision: torch.dtype, progress: Progress
) -> list[FamilyVerification]:
    """Compare the families along lines of poses, which may span layers."""
    lines = [f for f in run.families if isinstance(find(f.transformation).space, Line)]
    if not lines:
        return []
    with progress("drawing stimuli along lines of poses", 1) as on_step:
        found = verify_lines(model, geometries, lines, precision)
        on_step(1)
    return list(found)


def _word_plan(model: Model, geometries: Sequence[LayerGeometry], precision: torch.dtype) -> str:
    """Say how many drawings the layers will be shown, and about how long that takes."""
    counts = [count_drawings(geometry) for geometry in geometries]
    each_s = [time_drawings(model, geometry, precision) for geometry in geometries]
    seconds = sum(n * own for n, own in zip(counts, each_s, strict=True))
    return (
        f"about {rough_time(seconds)}: {sum(counts):,} drawn patches in {len(counts)} layer(s), "
        f"{1e3 * min(each_s):.2g} to {1e3 * max(each_s):.2g} ms each"
    )


def _verify_layer(
    model: Model,
    geometry: LayerGeometry,
    families: Sequence[Family],
    precision: torch.dtype,
    progress: Progress,
) -> list[FamilyVerification]:
    """Show one layer the catalogue, and compare the poses of its families, and what pairs answer, with the run's."""
    with progress(f"drawing stimuli for {geometry.layer}", 3) as on_step:
        shown = show_catalogue(model, geometry, precision)
        on_step(1)
        found = [verification for family in families for verification in verify_poses(family, shown)]
        on_step(1)
        pairs = [f for f in families if isinstance(find(f.transformation).space, Pair)]
        found += verify_pairs(model, geometry, pairs, shown, precision)
        on_step(1)
    return found
