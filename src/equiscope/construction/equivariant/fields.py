"""Feature spaces: which channels of a layer are equivariant, which invariant and which plain, and how they turn.

A **field** is a set of channels, one for each element of the group: the regular representation. Turning the input by g
turns every channel's picture and moves the channel of element h to that of g·h. An **invariant** unit is one channel
whose picture turns and that stays where it is, the trivial representation. A **plain** unit promises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.transformations.groups import CyclicGroup, DihedralGroup, TorusGroup
from equiscope.transformations.hue import Hue
from equiscope.transformations.pixels import hue_matrix, rotate_image

__all__ = ["GROUP_NAMES", "Action", "Colours", "Fields", "action_of"]

# Rotations come in powers of two: quarter turns, the only exact ones, then belong to every group from C4 on.
GROUP_NAMES = ("C2", "C4", "C8", "C16", "D2", "D4", "D8", "H3", "H4", "H6", "H8", "H12")
_PATTERN = re.compile(r"(?:H(?P<hues>\d+))?(?:(?(hues)x)(?P<kind>[CD])(?P<angles>\d+))?")


@dataclass(frozen=True)
class Action:
    """A finite group and what each element does to a picture: turn, mirror, turn its hue.

    Parameters
    ----------
    name
        ``"C8"`` (rotations), ``"D8"`` (rotations and reflections), ``"H6"`` (hue), ``"H4xC8"`` (hue and rotation).
    group
        The group, with the order of elements of `equiscope.transformations.groups`.
    """

    name: str
    group: CyclicGroup | DihedralGroup | TorusGroup

    @property
    def order(self) -> int:
        """Number of elements."""
        return self.group.order

    @property
    def _turns_hue(self) -> bool:
        """Whether it turns hue alone."""
        return isinstance(self.group, CyclicGroup) and self.group.name == Hue.name

    @property
    def n_angles(self) -> int:
        """Number of rotations among them; 1 for hue alone."""
        if isinstance(self.group, CyclicGroup):
            return 1 if self._turns_hue else self.group.order
        return self.group.n_angles

    @property
    def n_hues(self) -> int:
        """Number of turns of hue; 1 without hue."""
        if isinstance(self.group, TorusGroup):
            return self.group.n_hues
        return self.group.order if self._turns_hue else 1

    @property
    def has_reflection(self) -> bool:
        """Whether elements mirror."""
        return isinstance(self.group, DihedralGroup)

    def angle_deg(self, element: int) -> float:
        """Rotation by an element, counter-clockwise on screen, degrees; before mirroring if it mirrors."""
        return 360.0 * (element % self.n_angles) / self.n_angles

    def is_mirrored(self, element: int) -> bool:
        """Whether an element mirrors left-right, after turning."""
        return self.has_reflection and element >= self.n_angles

    def hue_deg(self, element: int) -> float:
        """Turn of hue by an element, degrees."""
        return 360.0 * (element // self.n_angles) / self.n_hues if self.n_hues > 1 else 0.0

    def is_exact(self, element: int) -> bool:
        """Whether it moves pixels onto pixels, so that nothing is interpolated."""
        return 4 * (element % self.n_angles) % self.n_angles == 0

    def label(self, element: int) -> str:
        """Name an element: ``"45°"``, ``"45°, mirrored"``, ``"hue 120°, 45°"``."""
        parts = [f"hue {self.hue_deg(element):g}°"] if self.n_hues > 1 else []
        parts += [f"{self.angle_deg(element):g}°"] if self.n_angles > 1 or not parts else []
        parts += ["mirrored"] if self.is_mirrored(element) else []
        return ", ".join(parts)

    @cached_property
    def relative(self) -> Tensor:
        """Element ``g⁻¹·h`` for each (g, h), shape (element, element): what a tied kernel may depend on."""
        elements = range(self.order)
        compose, inverse = self.group.compose, self.group.inverse
        return torch.tensor([[compose(inverse(g), h) for h in elements] for g in elements], device="cpu")

    def turn(self, pictures: Tensor, element: int) -> Tensor:
        """Turn and mirror pictures; hue is not theirs.

        Parameters
        ----------
        pictures
            Tensor, shape (..., y, x).

        Returns
        -------
        Tensor
            A quarter turn exchanges the last two axes and is exact bit for bit. The rest of other angles is
            interpolated within the frame, `equiscope.transformations.pixels.rotate_image`.
        """
        n_quarters, rest = divmod(element % self.n_angles * 4, self.n_angles)
        if rest:
            pictures = rotate_image(pictures, 90.0 * rest / self.n_angles)
        turned = torch.rot90(pictures, n_quarters, (-2, -1))
        return turned.flip(-1) if self.is_mirrored(element) else turned


@lru_cache
def action_of(name: str) -> Action:
    """Look a group up by its name.

    Raises
    ------
    EquiscopeError
        If no group has this name.

    Examples
    --------
    >>> action = action_of("H4xC8")
    >>> action.order, action.n_hues, action.n_angles
    (32, 4, 8)
    """
    found = _PATTERN.fullmatch(name) if name else None
    parts = [f"H{found['hues']}"] if found and found["hues"] else []
    parts += [f"{found['kind']}{found['angles']}"] if found and found["kind"] else []
    is_known = all(part in GROUP_NAMES for part in parts) and not (len(parts) == 2 and parts[1][0] == "D")
    if found is None or not is_known:
        raise unknown_name("group", name, (*GROUP_NAMES, "H4xC8"))
    n_hues, n_angles = int(found["hues"] or 0), int(found["angles"] or 0)
    if n_hues and n_angles:
        return Action(name, TorusGroup(n_hues, n_angles))
    if n_hues:
        return Action(name, CyclicGroup(n_hues, Hue.name))
    return Action(name, DihedralGroup(n_angles) if found["kind"] == "D" else CyclicGroup(n_angles))


@dataclass(frozen=True)
class Fields:
    """A feature space: how many fields, invariant units and plain units a layer has, and the order of its channels.

    Parameters
    ----------
    group
        ``"C4"``, ``"C8"``, ``"C16"`` (rotations), ``"D4"``, ``"D8"`` (with reflection), ``"H6"`` (hue), ``"H4xC8"``
        (hue and rotation); `GROUP_NAMES` has all.
    equivariant
        Number of fields, each of as many channels as the group has elements.
    invariant
        Number of invariant units.
    plain
        Number of plain units.

    Attributes
    ----------
    order
        Channels of a field: elements of the group.

    Notes
    -----
    Channels: element g of field f is channel ``f * order + g``; then come invariant units, then plain ones.

    Examples
    --------
    >>> Fields("C8", equivariant=4, invariant=16, plain=8).n_channels
    56
    """

    group: str
    equivariant: int = 0
    invariant: int = 0
    plain: int = 0
    order: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", action_of(self.group).order)
        for part in ("equivariant", "invariant", "plain"):
            count = getattr(self, part)
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise EquiscopeError(f"{part} is {count!r}, expected a whole number of 0 or more")
        if self.n_units == 0:
            raise EquiscopeError(
                "these fields have no unit: expected at least one equivariant, invariant or plain"
            )

    @classmethod
    def from_width(
        cls, group: str, n_channels: int, *, equivariant: float = 1.0, invariant: float = 0.0
    ) -> Fields:
        """Divide a width into fields, invariant units and plain ones by shares of its channels.

        Parameters
        ----------
        group
            As in `Fields`.
        n_channels
            The width, as an ordinary layer would have it.
        equivariant, invariant
            Shares of the channels, in [0, 1]; the rest is plain.

        Raises
        ------
        EquiscopeError
            If the shares are none, or the equivariant channels do not divide into fields.
        """
        order = action_of(group).order
        if min(equivariant, invariant) < 0 or equivariant + invariant > 1 + 1e-9:
            raise EquiscopeError(
                f"shares equivariant {equivariant} and invariant {invariant}: expected 0 or more each, together at "
                "most 1"
            )
        in_fields, n_invariant = n_channels * equivariant, round(n_channels * invariant)
        if abs(in_fields / order - round(in_fields / order)) > 1e-9:
            raise EquiscopeError(
                f"{in_fields:g} equivariant of {n_channels} channels do not divide into fields of {group}, which have "
                f"{order} channels each: {order * max(1, round(in_fields / order))} would"
            )
        n_fields = round(in_fields / order)
        return cls(group, n_fields, n_invariant, n_channels - n_fields * order - n_invariant)

    @property
    def action(self) -> Action:
        """The group and what its elements do."""
        return action_of(self.group)

    @property
    def n_field_channels(self) -> int:
        """Channels of all fields."""
        return self.equivariant * self.order

    @property
    def n_tied_channels(self) -> int:
        """Channels of fields and invariant units: those that keep a promise."""
        return self.n_field_channels + self.invariant

    @property
    def n_channels(self) -> int:
        """All channels."""
        return self.n_tied_channels + self.plain

    @property
    def n_units(self) -> int:
        """Units that are free of each other: a field counts once."""
        return self.equivariant + self.invariant + self.plain

    @property
    def unit_of_channel(self) -> Tensor:
        """Which free unit each channel belongs to, shape (channel,): what biases and norms are tied over."""
        fields = torch.arange(self.equivariant).repeat_interleave(self.order)
        return torch.cat([fields, torch.arange(self.equivariant, self.n_units)])

    def split(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """View the channels of fields, of invariant and of plain units apart, shape (image, channel, y, x)."""
        n, n_tied = self.n_field_channels, self.n_tied_channels
        return features[:, :n], features[:, n:n_tied], features[:, n_tied:]

    def check(self, features: Tensor) -> None:
        """Refuse features that are not of this space.

        Raises
        ------
        EquiscopeError
            If they have other channels than this space.
        """
        if features.ndim != 4 or features.shape[1] != self.n_channels:
            raise EquiscopeError(
                f"features of shape {tuple(features.shape)} are not of {self}: expected "
                f"(image, {self.n_channels}, y, x)"
            )

    def transform(self, features: Tensor, element: int) -> Tensor:
        """Act with a group element: turn every channel's picture, and move the channels of fields.

        Parameters
        ----------
        features
            Tensor, shape (image, channel, y, x).
        element
            0 to order - 1.

        Returns
        -------
        Tensor
            Exact bit for bit where `Action.is_exact`. Plain channels turn as pictures and stay where they are.
        """
        self.check(features)
        source = self.action.relative[element].to(features.device)
        fields, others = features[:, : self.n_field_channels], features[:, self.n_field_channels :]
        moved = (
            torch.unflatten(fields, 1, (-1, self.order))[:, :, source].flatten(1, 2)
            if self.equivariant
            else fields
        )
        return self.action.turn(torch.cat([moved, others], dim=1), element)

    def __add__(self, other: Fields) -> Fields:
        """Both side by side, in the channel order of `concatenate`."""
        if other.group != self.group:
            raise EquiscopeError(
                f"fields of {self.group} and {other.group} do not go together: both must be of one group"
            )
        counts = (
            self.equivariant + other.equivariant,
            self.invariant + other.invariant,
            self.plain + other.plain,
        )
        return Fields(self.group, *counts)

    @staticmethod
    def concatenate(features: Sequence[Tensor], spaces: Sequence[Fields]) -> Tensor:
        """Join features of several spaces to features of their sum: fields, then invariant, then plain units."""
        ordered: list[list[Tensor]] = [[], [], []]
        for part, space in zip(features, spaces, strict=True):
            counts = space.n_field_channels, space.invariant, space.plain
            # Not parts without channels, whose gradients would be written in another layout and slow the rest down.
            present = [kind for kind in range(3) if counts[kind]]
            pieces = torch.split(part, [counts[kind] for kind in present], dim=1)
            for place, kind in enumerate(present):
                ordered[kind].append(pieces[place])
        return torch.cat([part for kind in ordered for part in kind], dim=1)

    def __str__(self) -> str:
        parts = [f"{self.equivariant} fields of {self.group}" if self.equivariant else ""]
        parts += [
            f"{getattr(self, kind)} {kind}" if getattr(self, kind) else "" for kind in ("invariant", "plain")
        ]
        return f"{self.n_channels} channels ({', '.join(part for part in parts if part)})"


@dataclass(frozen=True)
class Colours:
    """The space of RGB images, on which hue acts by mixing the three channels.

    Parameters
    ----------
    group
        As in `Fields`; without hue the channels are three invariant units.
    """

    group: str

    @property
    def action(self) -> Action:
        """The group and what its elements do."""
        return action_of(self.group)

    @property
    def n_channels(self) -> int:
        """Red, green and blue."""
        return 3

    @property
    def n_tied_channels(self) -> int:
        """All of them."""
        return 3

    def hue_matrices(self) -> Tensor:
        """Give what each turn of hue does to RGB, shape (hue, 3, 3), float64."""
        n_hues = self.action.n_hues
        matrices = [hue_matrix(360.0 * hue / n_hues) for hue in range(1, n_hues)]
        return torch.stack([torch.eye(3, dtype=torch.float64), *matrices])

    def transform(self, images: Tensor, element: int) -> Tensor:
        """Act with a group element: turn the pictures and their hue; shape (image, 3, y, x)."""
        hue = self.hue_matrices()[element // self.action.n_angles if self.action.n_hues > 1 else 0].to(images)
        turned = self.action.turn(images, element)
        return torch.einsum("ij,njyx->niyx", hue, turned) if self.action.hue_deg(element) else turned

    def __str__(self) -> str:
        return "3 channels (red, green, blue)"
