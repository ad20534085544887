"""What every view of the site is rendered from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from equiscope.construction.budget import Budget, load_budget
from equiscope.construction.simplify import Simplification, load_simplification
from equiscope.evidence.circuits import Circuits
from equiscope.foundations.records import leave_out_damaged
from equiscope.reports.optimised import Optimised
from equiscope.reports.schema import FamilyEntry, LayerEntry, ReportDocument, UnitEntry
from equiscope.reports.sprites import Pictures

__all__ = ["SiteContext"]


@dataclass(frozen=True)
class SiteContext:
    """One run, as all of its views see it.

    Attributes
    ----------
    document
        The document that everything is taken from.
    pictures
        Its pictures.
    folder
        The run's folder, for what is kept in files of its own: weights of circuits and of neighbours.
    circuits
        The circuits that were recovered; None where they were not.
    """

    document: ReportDocument
    pictures: Pictures
    folder: Path | None = None
    circuits: Circuits | None = None

    @cached_property
    def families(self) -> Mapping[str, FamilyEntry]:
        """Families by their ids, in the order of the document."""
        return {family["id"]: family for family in self.document["families"]}

    @cached_property
    def layers(self) -> Mapping[str, LayerEntry]:
        """Layers by their names, in the order of the network."""
        return {layer["name"]: layer for layer in self.document["layers"]}

    @cached_property
    def units(self) -> Mapping[str, Sequence[UnitEntry]]:
        """Units of each layer by channel; empty where the run is of an earlier version."""
        units: dict[str, list[UnitEntry]] = {name: [] for name in self.layers}
        for unit in self.document.get("units", []):
            units.setdefault(unit["layer"], []).append(unit)
        return units

    @cached_property
    def optimised(self) -> Optimised:
        """Images optimised for units and families, as far as the run's folder holds any."""
        return Optimised(self.folder)

    @cached_property
    def budget(self) -> Budget | None:
        """What tying would save; None where it was not counted."""
        return None if self.folder is None else leave_out_damaged(partial(load_budget, self.folder))

    @cached_property
    def simplification(self) -> Simplification | None:
        """What the network can do with its families tied; None where none were."""
        return None if self.folder is None else leave_out_damaged(partial(load_simplification, self.folder))

    @cached_property
    def families_of(self) -> Mapping[tuple[str, int], Sequence[FamilyEntry]]:
        """Families that each unit, as (layer, channel), belongs to; units without one have no entry."""
        found: dict[tuple[str, int], list[FamilyEntry]] = defaultdict(list)
        for family in self.document["families"]:
            for member in family["members"]:
                found[member["layer"], member["channel"]].append(family)
        return dict(found)
