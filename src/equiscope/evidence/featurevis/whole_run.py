"""A run's units and families, layer by layer, so that an interrupted job goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from equiscope.evidence.featurevis.families import FamilyVisualisation, visualise_family
from equiscope.evidence.featurevis.storage import (
    StoredVisualisations,
    load_visualisations,
    save_visualisations,
)
from equiscope.evidence.featurevis.units import (
    STEPS,
    Floats,
    Visualisation,
    natural_responses,
    visualise_units,
)
from equiscope.families.family import Family
from equiscope.foundations import limits
from equiscope.foundations.errors import unknown_name
from equiscope.foundations.limits import list_names
from equiscope.foundations.options import DEFAULTS, Options
from equiscope.foundations.progress import silent
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.runs.examples import load_examples
from equiscope.runs.manifest import read_geometries
from equiscope.runs.run import Run, check_network

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
    options: Options = DEFAULTS,
) -> StoredVisualisations:
    """Visualise all units of a run's layers, and its families, into the run's folder.

    Parameters
    ----------
    run, model
        A finished run, and the network that was surveyed.
    layers
        Some of the run's; by default all. Families count if all their layers are among them.
    with_families
        Whether families are visualised, too.
    steps, n_null
        As for `visualise_units` and `visualise_family`.
    options
        ``seed``, as for these, and ``progress``.

    Returns
    -------
    StoredVisualisations
        Of these layers and families. What the folder holds already, of the same steps and seed, is not made again.

    Raises
    ------
    EquiscopeError
        If the network is not the one that was surveyed, a layer is none of the run's, or a file of the folder cannot be
        read.

    Examples
    --------
    >>> from equiscope import load_run
    >>> from equiscope.models import load_model
    >>> run, model = load_run("equiscope-runs/mini"), load_model("mini")
    >>> found = visualise_run(run, model, ["conv2d0"], steps=2)
    >>> found.layers["conv2d0"].images.shape, found.families["conv2d0-rotation-1"].steps
    (torch.Size([48, 3, 9, 9]), 2)
    """
    limits.STEPS.check("steps", steps)
    limits.TEMPLATES.check("n_null", n_null)
    check_network(run, model)
    geometries = read_geometries(run.manifest)
    wanted = _choose_layers(run, geometries, list_names(layers))
    examples = load_examples(run.folder / "examples.npz")[0]
    natural = {layer: natural_responses(own) for layer, own in examples.items()}
    job = _Job(run, model, geometries, natural, steps, n_null, options)
    stored = load_visualisations(run.folder, leave_out=True)
    of_layers = {layer: job.visualise_layer(layer, stored.layers.get(layer)) for layer in wanted}
    families = [f for f in run.families if with_families and job.can_show(f, wanted)]
    kept = job.visualise_families(families, stored.families)
    return StoredVisualisations(of_layers, {family.id: kept[family.id] for family in families})


def _choose_layers(run: Run, geometries: Mapping[str, LayerGeometry], asked: list[str] | None) -> list[str]:
    wanted = list(geometries) if asked is None else list(dict.fromkeys(asked))
    for layer in wanted:
        if layer not in geometries:
            raise unknown_name(f"layer of the run in {run.folder}", layer, geometries)
    return wanted


@dataclass(frozen=True)
class _Job:
    """A run that is visualised: what is known of it, and how images are optimised."""

    run: Run
    model: Model
    geometries: Mapping[str, LayerGeometry]
    natural: Mapping[str, Floats]
    steps: int
    n_null: int
    options: Options

    def visualise_layer(self, layer: str, found: Visualisation | None) -> Visualisation:
        """Visualise a layer and save that, unless it is there."""
        geometry, seed = self.geometries[layer], self.options.seed
        if found is not None and _is_whole(found, geometry.n_channels, self.steps, seed):
            return found
        made = visualise_units(
            self.model, layer, geometry=geometry, steps=self.steps, options=self.options
        ).beside(self.natural[layer])
        save_visualisations(self.run.folder, [made])
        return made

    def can_show(self, family: Family, layers: Sequence[str]) -> bool:
        """Whether a family has a template, and all its layers are among these."""
        own = {member.layer for member in family.members}
        return own <= set(layers) and not any(self.geometries[layer].is_global for layer in own)

    def visualise_families(
        self, families: Sequence[Family], stored: Mapping[str, FamilyVisualisation]
    ) -> dict[str, FamilyVisualisation]:
        """Visualise families that are not there, and save them beside those that are, by id."""
        kept, asked = dict(stored), (self.steps, self.n_null, self.options.seed)
        missing = [family for family in families if not _is_same(kept.get(family.id), family, *asked)]
        tell = self.options.progress if missing else silent
        with _saving(self.run, kept) as on_family, tell("templates of families", len(missing)) as on_step:
            for family in missing:
                kept[family.id] = visualise_family(
                    self.model,
                    family,
                    natural=self.natural,
                    geometries=self.geometries,
                    steps=self.steps,
                    n_null=self.n_null,
                    options=replace(self.options, progress=silent),
                )
                on_family()
                on_step(1)
        return kept


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
