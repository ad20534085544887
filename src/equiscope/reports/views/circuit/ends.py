"""What stands at the two ends of a circuit: members with their poses and pictures, under the names that pages use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from equiscope.evidence.circuits import Circuit
from equiscope.evidence.circuits.tying_axes import TURNING, TURNING_AND_COLOURING
from equiscope.reports.document.cores import core_entries
from equiscope.reports.document.poses import measured_pose
from equiscope.reports.document.schema import FamilyEntry
from equiscope.reports.document.wording import measured
from equiscope.reports.drawing.palette import category_colours
from equiscope.reports.drawing.poses import Shown, Tiles, members_in_order
from equiscope.transformations import ALL, Pose

__all__ = ["EndUnit", "Ends", "colours_of", "is_unit", "place_of", "strength_of", "transformation_of"]


def is_unit(name: str, layer: str) -> bool:
    """Whether the end of a circuit is a single unit of a layer, not a family.

    Examples
    --------
    >>> is_unit("conv2d0:7", "conv2d0"), is_unit("conv2d0-rotation-1", "conv2d0")
    (True, False)
    """
    head, _, channel = name.rpartition(":")
    return head == layer and channel.isdecimal()


def transformation_of(name: str) -> str:
    """Give the transformation that a family's id tells, or nothing: for runs whose families cannot be read.

    Examples
    --------
    >>> [transformation_of(name) for name in ("conv2d0-rotation-1", "conv2d0-hue-rotation-2", "conv2d0:7")]
    ['rotation', 'hue-rotation', '']
    """
    head = name.rpartition("-")[0]
    # "hue-rotation" ends like "rotation".
    known = sorted((transformation.name for transformation in ALL), key=len, reverse=True)
    return next((own for own in known if head.endswith(f"-{own}")), "")


def colours_of(transformation: str) -> tuple[str, str]:
    """Give the colour of a transformation by its place among all, for a light and for a dark page.

    Examples
    --------
    >>> colours_of("rotation"), colours_of("hue")
    (('#0072b2', '#56b4e9'), ('#d55e00', '#f0894a'))
    """
    return category_colours(place_of(transformation))


def place_of(transformation: str) -> int:
    """Give the place of a transformation among all that there are; the end for one that cannot be read.

    Examples
    --------
    >>> place_of("rotation"), place_of("hue")
    (0, 1)
    """
    names = [own.name for own in ALL]
    return names.index(transformation) if transformation in names else len(names)


@dataclass(frozen=True)
class EndUnit:
    """One unit at an end of a circuit.

    Attributes
    ----------
    name
        ``layer:channel``, or its place where the family cannot be read.
    pose
        In words; empty where it has none.
    unit
        ``layer:channel``; None where it is not known.
    tile
        Its strongest stimulus; None where there is none.
    colours
        Of its pose, for a light and for a dark page.
    place
        Its coordinates that were measured.
    """

    name: str
    pose: str = ""
    unit: str | None = None
    tile: Any | None = None
    colours: tuple[str, str] | None = None
    place: Pose = field(default_factory=Pose)

    @property
    def text(self) -> str:
        """Name and pose."""
        return f"{self.name} at {self.pose}" if self.pose else self.name


class Ends:
    """Families and units by the names that circuits have for them.

    Parameters
    ----------
    families
        All families of the run; their cores have names as well.
    pictures
        Of its units; None leaves pictures out.
    """

    def __init__(self, families: Iterable[FamilyEntry], pictures: Tiles | None = None) -> None:
        self.families = {own["id"]: own for family in families for own in (family, *core_entries(family))}
        self._pictures = pictures

    def transformation(self, name: str) -> str:
        """Give the transformation of a family; nothing for a unit."""
        family = self.families.get(name)
        return family["transformation"] if family else transformation_of(name)

    def turns(self, name: str, layer: str) -> bool:
        """Whether the members have poses in the plane."""
        turning = (TURNING, TURNING_AND_COLOURING)
        return not is_unit(name, layer) and self.transformation(name) in turning

    def unit(self, layer: str, channel: int) -> EndUnit:
        """Give a unit by itself."""
        name = f"{layer}:{channel}"
        return EndUnit(name, unit=name, tile=self._tile(layer, channel))

    def members(self, name: str, layer: str, n: int) -> list[EndUnit]:
        """Give the members of an end that has ``n`` of them, in the order of its weights."""
        if is_unit(name, layer):
            return [self.unit(layer, int(name.rpartition(":")[2]))]
        family = self.families.get(name)
        if family is None or len(family["members"]) != n:
            return [EndUnit(f"member {i}") for i in range(1, n + 1)]
        # In the family's own order, which is that of the weights.
        return [self._member(own) for own in sorted(members_in_order(family, ()), key=lambda own: own.index)]

    def _member(self, own: Shown) -> EndUnit:
        layer, channel = own.entry["layer"], own.entry["channel"]
        return EndUnit(
            own.unit,
            own.pose,
            own.unit,
            self._tile(layer, channel),
            own.colours,
            measured_pose(own.entry["pose"]),
        )

    def _tile(self, layer: str, channel: int) -> Any | None:
        return None if self._pictures is None else self._pictures.tile(layer, channel)


def strength_of(circuit: Circuit) -> float:
    """Give what circuits are ranked by: the share of the target's weights that the symmetry explains.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> [strength_of(SimpleNamespace(r2=r2, energy_share=0.25)) for r2 in (0.5, float("nan"))]
    [0.125, 0.0]
    """
    value = measured(circuit.r2 * circuit.energy_share)
    return value if value is not None else 0.0
