"""A run's units and families, layer by layer, so that an interrupted job goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.featurevis.families import FamilyVisualisation, visualise_family
from equiscope.evidence.featurevis.storage import (
    StoredVisualisations,
    load_visualisations,
    save_visualisations,
)
from equiscope.evidence.featurevis.units import (
    STEPS,
    Visualisation,
    check_budget,
    natural_responses,
    visualise_units,
)
from equiscope.families.family import Family
from equiscope.foundations.errors import unknown_name
from equiscope.foundations.limits import TEMPLATES, list_names
from equiscope.foundations.progress import Progress, silent
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.runs.examples import load_examples
from equiscope.runs.store import Run, check_network, read_geometries

__all__ = ["visualise_run"]

# The file of families is written anew as a whole, so not after each of them.
_SECONDS_BETWEEN_SAVES = 60.0


def visualise_run(
    run: Run,
    model: Model,
    layers: Sequence[str] | None = None,
    *,
    with_families: bool = True,
    steps: int = STEPS,
    n_null: int = 1,
    seed: int = 0,
    progress: Progress = silent,
) -> StoredVisualisations:
    """Visualise all units of a run's layers, and its families, into the run's folder.

    Parameters
    ----------
    run
        A finished run.
    model
        The network that was surveyed.
    layers
        Some of the run's; by default all. Families count if all their layers are among them.
    with_families
        Whether families are visualised, too.
    steps, n_null, seed
        As for `visualise_units` and `visualise_family`.
    progress
        Opens a progress bar.

    Returns
    -------
    StoredVisualisations
        Of these layers and families. What the folder holds already, of the same steps and seed, is not made again.

    Raises
    ------
    EquiscopeError
        If the network is not the one that was surveyed, a layer is none of the run's, or a file of the folder cannot be
        read.
    """
    check_budget(steps, seed)
    TEMPLATES.check("n_null", n_null)
    check_network(run, model)
    geometries = read_geometries(run.manifest)
    wanted = _choose_layers(run, geometries, list_names(layers))
    examples = load_examples(run.folder / "examples.npz")[0]
    natural = {layer: natural_responses(own) for layer, own in examples.items()}
    settings = _Settings(steps, n_null, seed, progress)
    stored = load_visualisations(run.folder, leave_out=True)
    of_layers = {
        layer: _visualise_layer(run, model, geometries[layer], natural[layer], stored, settings)
        for layer in wanted
    }
    families = [
        family
        for family in run.families
        if with_families
        and all(m.layer in wanted and not geometries[m.layer].is_global for m in family.members)
    ]
    of_families = _visualise_families(run, model, families, geometries, natural, stored, settings)
    return StoredVisualisations(of_layers, of_families)


def _choose_layers(
    run: Run, geometries: Mapping[str, LayerGeometry], asked: Sequence[str] | None
) -> list[str]:
    """Give the layers that are asked for, each once, by default all; refuse those that the run does not have."""
    wanted = list(geometries) if asked is None else list(dict.fromkeys(asked))
    for layer in wanted:
        if layer not in geometries:
            raise unknown_name(f"layer of the run in {run.folder}", layer, geometries)
    return wanted


@dataclass(frozen=True)
class _Settings:
    """How images are optimised."""

    steps: int
    n_null: int
    seed: int
    progress: Progress


def _visualise_layer(
    run: Run,
    model: Model,
    geometry: LayerGeometry,
    natural: NDArray[np.float64],
    stored: StoredVisualisations,
    settings: _Settings,
) -> Visualisation:
    """Give the images of a layer's units, those that are stored if they are the same, or else new ones, stored."""
    found = stored.layers.get(geometry.layer)
    if found is None or not _is_whole(found, geometry.n_channels, settings.steps, settings.seed):
        found = visualise_units(
            model, geometry.layer, natural=natural, geometry=geometry,
            steps=settings.steps, seed=settings.seed, progress=settings.progress,
        )  # fmt: skip
        save_visualisations(run.folder, [found])
    return found


def _visualise_families(
    run: Run,
    model: Model,
    families: Sequence[Family],
    geometries: Mapping[str, LayerGeometry],
    natural: Mapping[str, NDArray[np.float64]],
    stored: StoredVisualisations,
    settings: _Settings,
) -> dict[str, FamilyVisualisation]:
    """Give the templates of families by their ids, those that are stored where they are the same."""
    steps, n_null, seed = settings.steps, settings.n_null, settings.seed
    kept = dict(stored.families)
    missing = [f for f in families if not _is_same(kept.get(f.id), f, steps, n_null, seed)]
    tell = settings.progress if missing else silent
    with _saving(run, kept) as on_family, tell("templates of families", len(missing)) as on_step:
        for family in missing:
            kept[family.id] = visualise_family(
                model, family, natural=natural, geometries=geometries,
                steps=steps, n_null=n_null, seed=seed,
            )  # fmt: skip
            on_family()
            on_step(1)
    return {family.id: kept[family.id] for family in families}


def _is_whole(found: Visualisation, n_channels: int, steps: int, seed: int) -> bool:
    """Whether this is what the layer's visualisation would be."""
    is_all = np.array_equal(found.channels, np.arange(n_channels))
    return is_all and (found.steps, found.seed) == (steps, seed)


def _is_same(found: FamilyVisualisation | None, family: Family, steps: int, n_null: int, seed: int) -> bool:
    """Whether this is what the family's visualisation would be."""
    if found is None or (found.steps, len(found.null), found.seed) != (steps, n_null, seed):
        return False
    return list(zip(found.layers, found.channels.tolist(), strict=True)) == [
        (member.layer, member.channel) for member in family.members
    ]


@contextmanager
def _saving(run: Run, kept: dict[str, FamilyVisualisation]) -> Iterator[Callable[[], None]]:
    """Give what to call after each family; what was made is written now and then, and however the block ends."""
    order = {family.id: index for index, family in enumerate(run.families)}
    last, n_unsaved = time.monotonic(), 0

    def write() -> None:
        # Families that the run does not have are of an earlier one.
        known = [found for found in kept.values() if found.family in order]
        save_visualisations(run.folder, families=sorted(known, key=lambda found: order[found.family]))

    def on_family() -> None:
        nonlocal last, n_unsaved
        n_unsaved += 1
        if time.monotonic() - last > _SECONDS_BETWEEN_SAVES:
            write()
            last, n_unsaved = time.monotonic(), 0

    try:
        yield on_family
    finally:
        if n_unsaved:
            write()
