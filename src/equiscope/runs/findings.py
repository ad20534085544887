"""What a survey found, as ``families.json`` and ``units.json`` of its run hold it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from equiscope.families.family import Family, Symmetry, Unit
from equiscope.families.verdict import check_verdict
from equiscope.foundations.records import read_record, reading
from equiscope.runs.earlier import families_of_2
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import load_record, read_json
from equiscope.transformations.rotation import Rotation

__all__ = ["FamiliesFile", "families_document", "load_families", "load_units", "units_document"]


def families_document(families: Iterable[Family]) -> dict[str, Any]:
    """Turn families into the contents of ``families.json``.

    Examples
    --------
    >>> found = load_families(Path("equiscope-runs/mini"))
    >>> entry = families_document(found)["families"][0]
    >>> entry["id"], entry["layers"], entry["transformation"]
    ('conv2d0-rotation-1', ('conv2d0',), 'rotation')
    """
    first = ("id", "layers", "transformation")
    documents = []
    for family in families:
        entry = asdict(family)
        members = entry.pop("members")
        head = {key: entry.pop(key) for key in first}
        documents.append(head | {"size": family.size} | entry | {"members": members})
    return {"schema_version": SCHEMA_VERSION, "families": documents}


def load_families(folder: Path) -> tuple[Family, ...]:
    """Read the ``families.json`` of a run.

    Raises
    ------
    EquiscopeError
        As for `load_units`.

    Examples
    --------
    >>> family = load_families(Path("equiscope-runs/mini"))[0]
    >>> family.id, list(family.members[0].pose)
    ('conv2d0-rotation-1', ['angle_deg'])
    """
    found: tuple[Family, ...] = load_record(folder / "families.json", FamiliesFile).families
    return found


@dataclass(frozen=True)
class FamiliesFile:
    """Contents of ``families.json``, of ``results/explained`` and of ``results/judged.json``."""

    families: tuple[Family, ...]

    def __post_init__(self) -> None:
        """Check what their types do not say."""
        for family in self.families:
            if family.verdict is not None:
                cores = (core.members for core in family.verdict.cores)
                check_verdict(family.verdict.word, cores, family.size)

    @staticmethod
    def from_earlier(document: dict[str, Any]) -> dict[str, Any]:
        """Say one of an earlier version as this version does."""
        return families_of_2(document)


def units_document(units: Iterable[Unit]) -> dict[str, Any]:
    """Turn units into the contents of ``units.json``.

    Examples
    --------
    >>> units_document([Unit("conv1", 4, mean=0.5, sd=1.0)])["units"]
    [{'layer': 'conv1', 'channel': 4, 'mean': 0.5, 'sd': 1.0, 'symmetries': ()}]
    """
    return {"schema_version": SCHEMA_VERSION, "units": [asdict(unit) for unit in units]}


def load_units(folder: Path) -> tuple[Unit, ...]:
    """Read the ``units.json`` of a run.

    Raises
    ------
    EquiscopeError
        If it is not there, is damaged, or is of a newer schema.

    Examples
    --------
    >>> units = load_units(Path("equiscope-runs/mini"))
    >>> sum(unit.layer == "conv2d0" for unit in units)
    48
    >>> [symmetry.transformation for symmetry in units[0].symmetries]
    ['rotation', 'hue']
    """
    path = folder / "units.json"
    document = read_json(path)
    with reading(path):
        return _read_units(document)


def _read_units(document: dict[str, Any]) -> tuple[Unit, ...]:
    """Turn a ``units.json`` document back into units, also one of schema version 1, which knew rotation only.

    Raises
    ------
    ValueError
        If an entry is not what `read_record` can read.
    """
    if document["schema_version"] == 1:
        old: _UnitsFile1 = read_record(_UnitsFile1, document)
        return tuple(unit.later() for unit in old.units)
    found: tuple[Unit, ...] = read_record(_UnitsFile, document).units
    return found


@dataclass(frozen=True)
class _UnitsFile:
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class _Unit1:
    """A unit as schema version 1 had it; some files of that version have units of the later kind."""

    layer: str
    channel: int
    mean: float
    sd: float
    symmetries: tuple[Symmetry, ...] = ()
    rotation: str = ""
    stabiliser_order: int = 0
    family: str | None = None

    def later(self) -> Unit:
        line = Symmetry(Rotation.name, self.rotation, self.family, stabiliser_order=self.stabiliser_order)
        lines = (line,) if self.rotation else self.symmetries
        return Unit(self.layer, self.channel, self.mean, self.sd, lines)


@dataclass(frozen=True)
class _UnitsFile1:
    units: tuple[_Unit1, ...]
