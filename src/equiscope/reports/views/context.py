"""What every view of the site is rendered from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from equiscope.reports.document.pictures.sprites import Pictures
from equiscope.reports.document.schema import FamilyEntry, LayerEntry, ReportDocument, UnitEntry
from equiscope.reports.views.evidence import Evidence

__all__ = ["SiteContext"]

T = TypeVar("T")


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
        The run's folder, for what later commands found, and weights of circuits and of neighbours.
    """

    document: ReportDocument
    pictures: Pictures
    folder: Path | None = None
    _evidence: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def found(self, evidence: Evidence[T]) -> T | None:
        """Give what a later command found, read once; None where it was not run, or its file is damaged."""
        if self.folder is None:
            return None
        if evidence.command not in self._evidence:
            self._evidence[evidence.command] = evidence.read(self.folder)
        found: T | None = self._evidence[evidence.command]
        return found

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
    def families_of(self) -> Mapping[tuple[str, int], Sequence[FamilyEntry]]:
        """Families that each unit, as (layer, channel), belongs to; units without one have no entry."""
        found: dict[tuple[str, int], list[FamilyEntry]] = defaultdict(list)
        for family in self.document["families"]:
            for member in family["members"]:
                found[member["layer"], member["channel"]].append(family)
        return dict(found)
