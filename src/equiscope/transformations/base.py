"""What a transformation is to this package: the one object that every other room asks.

A transformation changes pictures: it turns them, mirrors them, turns their hue. Two units are copies under it if one
answers to every picture as the other answers to the transformed picture. All that is special about a transformation is
said by its object, in its own file; the search, the checks, the circuits and the page ask the object, and none of them
tests its name. Example: `equiscope.transformations.rotation` has all there is to say of rotation.

A new transformation is a subclass of `Transformation` and a line in ``transformations/__init__.py`` (CONTRIBUTING.md,
"To add a transformation"). `equiscope.testing.check_transformation` takes it through a planted network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from equiscope.foundations.errors import EquiscopeError
from equiscope.transformations.axes import MISSING, Axis, Pose, Step, Switch, Turn
from equiscope.transformations.groups import Group
from equiscope.transformations.spaces import Circle, Cylinder, HandedCircle, Line, Pair, PoseSpace, Torus

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SurveyedLayer", "Transformation", "Words"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Words:
    """How tables and pages speak of a transformation.

    Attributes
    ----------
    steps
        What is done to the one photograph that a family's page shows step by step: "turned".
    back
        What is done to a member's stimulus before it is compared with another's: "turned back by its pose".
    poses
        Caption of the drawing of a family's poses.
    untuned
        What is said where no joint tuning was measured.
    subject
        What moves as responses are recorded: "stimuli turn".
    copies
        What the members of its families are of each other.
    follow
        What weights do that belong to a family: "turn with its poses".
    """

    steps: str
    back: str
    poses: str
    untuned: str = "No tuning was measured."
    subject: str = "stimuli change"
    copies: str = "transformed copies"
    follow: str = "follow its poses"


class SurveyedLayer(Protocol):
    """What a transformation may ask of a layer that was surveyed under those that it needs."""

    def members(self, name: str) -> Ints:
        """Channels that are in a family under a transformation."""

    def varying(self, names: Sequence[str]) -> Ints:
        """Channels that vary, on the finding half, under each of some transformations."""


class Transformation(ABC):
    """One way of changing pictures, and all that follows from it.

    Attributes
    ----------
    name
        The word for it in commands, results and addresses.
    space
        Where poses live: decides which search, which charts and which checks are used.
    words
        How it is worded.
    simplicity
        Rank among what can explain a family: what has fewer elements to choose from explains more simply.
    needs
        Names of the transformations that are surveyed before it.
    is_standard
        Whether a survey that is asked for none in particular surveys it.
    is_surveyed
        Whether it is surveyed at all: families that join those of other transformations are not.
    is_quick
        Whether it shows each stimulus so rarely that large patches need no fewer stimuli.
    least_change
        Largest `change` of a unit's stimuli below which it cannot be measured; NaN where it changes every picture.
    unchanged
        What is said where no unit of a layer can be measured.
    least_units
        Eligible units that a layer needs.
    usual_share
        Share of a layer's units that are eligible as a rule: for what a survey will cost, before it is known.
    designs
        Groups of equivariant layers that are made for it, each a subgroup of the next (`equiscope.design`).
    """

    name: ClassVar[str]
    space: ClassVar[PoseSpace]
    words: ClassVar[Words]
    simplicity: ClassVar[int]
    needs: ClassVar[tuple[str, ...]] = ()
    is_standard: ClassVar[bool] = True
    is_surveyed: ClassVar[bool] = True
    is_quick: ClassVar[bool] = False
    least_change: ClassVar[float] = nan
    unchanged: ClassVar[str] = ""
    least_units: ClassVar[int] = 1
    usual_share: ClassVar[float] = 1.0
    designs: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, is_partial: bool = False, **kwargs: Any) -> None:
        """Refuse an object that lacks what every stage asks for, unless it is a part that several have in common."""
        super().__init_subclass__(**kwargs)
        if is_partial:
            return
        missing = [part for part in ("name", "space", "words", "simplicity") if not hasattr(cls, part)]
        if missing:
            raise EquiscopeError(
                f"{cls.__name__} is no whole transformation: it lacks {', '.join(missing)}; "
                "see equiscope.transformations.base.Transformation"
            )

    def __repr__(self) -> str:
        """Word it as its class."""
        return f"<{type(self).__name__}: {self.name}>"

    @property
    def is_joint(self) -> bool:
        """Whether all layers are surveyed together, so that a family can span several."""
        return isinstance(self.space, Line) and self.space.is_joint

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Coordinates of a pose, in the order in which they are worded."""
        return self.space.axes

    # How it is measured --------------------------------------------------------------------------------------------

    @abstractmethod
    def group(self, n_angles: int, patch_px: int | None = None) -> Group:
        """Elements under which stimuli are shown.

        Parameters
        ----------
        n_angles
            Rotations that the survey was asked for.
        patch_px
            Side of the stimuli, px: fewer elements may be worth their cost on large ones. None for the most.
        """

    def stimuli_per_half(self, per_half: int) -> int:
        """Strongest stimuli of a unit and half that are worth showing, of ``per_half`` that are known."""
        return 1

    def eligible(self, layer: SurveyedLayer) -> Ints | None:
        """Channels whose stimuli are shown, from what was found under the transformations needed; None for all."""
        return None

    def none_eligible(self, n_units: int) -> str:
        """Say why a layer with so few eligible units is not searched."""
        return f"{n_units} units can be searched"

    def change(self, patches: Tensor) -> Tensor:
        """By how much it can change some pictures, shape (picture,); asked of transformations with a `least_change`.

        A unit whose stimuli all stay under that is not measurable: turning the hue of grey pictures.
        """
        return patches.new_ones(len(patches))

    def crop_px(self, size_px: int, group: Group) -> int:
        """Side of the square that must be cut from an image to show a patch of ``size_px`` under every element."""
        from equiscope.transformations.pixels import crop_size_px

        return crop_size_px(size_px)

    def show(
        self, crops: Tensor, centres: Tensor, group: Any, starts: Sequence[Floats], size_px: int
    ) -> Tensor:
        """Show stimuli under every element.

        Parameters
        ----------
        crops
            Tensor, shape (stimulus, 3, crop_px, crop_px), RGB.
        centres
            Tensor, shape (stimulus, 2): the place (y, x) in its crop about which each is transformed, px.
        group
            The elements.
        starts
            From where each stimulus' orbit runs, an array, shape (stimulus,), for each turn of the space
            (`equiscope.transformations.groups.stagger`).
        size_px
            Side of the result, px.

        Returns
        -------
        Tensor, shape (stimulus, element, 3, size_px, size_px), RGB
            Values outside of [0, 1] are kept where a transformation makes them.
        """
        import torch

        from equiscope.transformations.pixels import rotate_patches

        upright = rotate_patches(crops, centres, [0.0], size_px)[:, 0]
        (axis,) = self.axes
        if axis.act is None:
            raise EquiscopeError(
                f"{self.name} does not say how it acts on pictures: give its axis an `act`, or the class a `show`"
            )
        if isinstance(self.space, Pair):
            return torch.stack([upright, axis.act(upright, 1.0)], dim=1)
        values = group.values if isinstance(self.space, Line) else group.angles_deg
        if isinstance(self.space, Line):
            return torch.stack([axis.act(upright, float(value)) for value in values], dim=1)
        shown = upright.new_empty(len(upright), len(values), *upright.shape[1:])
        for start in np.unique(starts[0]).tolist():
            mine = torch.from_numpy(starts[0] == start)
            shown[mine] = torch.stack(
                [axis.act(upright[mine], value + start) for value in values.tolist()], dim=1
            )
        return shown

    def crop_px_at(self, own: Pose, wanted: Sequence[Pose], size_px: int) -> int:
        """Side of the square from which `show_at` cuts, px."""
        from equiscope.transformations.pixels import crop_size_px

        return crop_size_px(size_px)

    def show_at(
        self, crop: Tensor, centre: tuple[float, float], own: Pose, wanted: Sequence[Pose], size_px: int
    ) -> Tensor:
        """Show one stimulus, whose feature is at one pose, so that the feature is at others.

        Parameters
        ----------
        crop
            Tensor, shape (3, y, x), RGB, with room for every pose (`crop_px_at`).
        centre
            The place (y, x) in it about which it is transformed, px.
        own
            Pose of the feature that it shows.
        wanted
            Poses at which it is to be shown.
        size_px
            Side of the result, px.

        Returns
        -------
        Tensor, shape (pose, 3, size_px, size_px)
        """
        import torch

        from equiscope.transformations.pixels import rotate_patches

        places = torch.tensor([centre], dtype=torch.float64)
        upright = rotate_patches(crop[None], places, [0.0], size_px)[0]
        (axis,) = self.axes
        if axis.act is None:
            raise EquiscopeError(
                f"{self.name} does not say how it acts on pictures: give the class a `show_at`"
            )
        tiles = []
        for pose in wanted:
            if isinstance(axis, Switch):
                is_changed = bool(pose[axis.name]) != bool(own.get(axis.name, False))
                tiles.append(axis.act(upright, 1.0) if is_changed else upright)
            else:
                tiles.append(axis.act(upright, pose[axis.name] - own.get(axis.name, 0.0)))
        return torch.cat(tiles)

    # How it acts on weights -----------------------------------------------------------------------------------------

    def change_kernels(self, kernels: NDArray[Any], y_px: Floats, x_px: Floats) -> NDArray[Any] | None:
        """Give the kernels that a unit's changed copy has, for transformations of pairs.

        Parameters
        ----------
        kernels
            Shape (..., y, x).
        y_px, x_px
            Places of their cells about the centre, px.

        Returns
        -------
        ndarray or None
            None where the cells do not fall onto each other, or weights say nothing of this transformation.
        """
        return None

    # How it is worded -----------------------------------------------------------------------------------------------

    def pose_text(self, pose: Mapping[str, float], period: float = 360.0) -> str:
        """Word a pose: "45°, hue 120°", "45° mirrored", "as it is".

        ``period``: of the first turn.
        """
        first = next((axis for axis in self.axes if not isinstance(axis, Switch)), None)
        values = [
            axis.text(pose.get(axis.name), period if axis is first else 360.0)
            for axis in self.axes
            if not isinstance(axis, Switch)
        ]
        switches = [axis.text(pose.get(axis.name)) for axis in self.axes if isinstance(axis, Switch)]
        return " ".join([", ".join(values), *switches]).strip() or "as it is"

    def distance_text(self, distances: Mapping[str, float]) -> str:
        """Word how far poses differ, along each axis that has distances; empty where there is none."""
        measured = [axis for axis in self.axes if not isinstance(axis, Switch)]
        if not measured:
            return MISSING
        if len(measured) == 1:
            return measured[0].distance_text(distances.get(measured[0].name))
        said = [(axis, axis.distance_text(distances.get(axis.name))) for axis in measured]
        # The unit of a step says what it is of.
        return ", ".join(
            text if isinstance(axis, Step) and text != MISSING else f"{text} of {axis.noun}"
            for axis, text in said
        )

    def title(self, size: int) -> str:
        """Word a family: "rotation family of 8", "reflection pair"."""
        if isinstance(self.space, Pair) and size == 2:
            return f"{self.name} pair"
        return f"{self.name} family of {size}"

    def symmetry_text(self, stabiliser: Sequence[Mapping[str, float]], hands: Sequence[bool] = ()) -> str:
        """Word what leaves a family's members as they are.

        Parameters
        ----------
        stabiliser
            The elements.
        hands
            Which members are mirrored, for families in two hands.
        """
        match self.space:
            case Circle(axis):
                return _turns_text(len(stabiliser)) + (f" of {axis.noun}" if axis.prefix else "")
            case HandedCircle(_, hand):
                turn = _turns_text(sum(not element.get(hand.name, False) for element in stabiliser))
                if any(element.get(hand.name, False) for element in stabiliser):
                    return f"{turn}; its own mirror image"
                return f"{turn}; comes in two hands" if any(hands) else f"{turn}; no mirrored copy was found"
            case Cylinder():
                return _turns_text(len(stabiliser))
            case Torus(axis, other):
                return _pairs_of_turns_text(stabiliser, other, axis)
            case _:
                return "none"

    def stabiliser_text(self, stabiliser: Sequence[Mapping[str, float]]) -> str:
        """Write the elements that leave a family's members as they are as a set: "{0°, 180°}", "{identity}"."""
        match self.space:
            case Circle(axis) | Cylinder(axis, _):
                said = [_degrees(element, axis) for element in stabiliser]
            case HandedCircle(axis, hand):
                said = [_degrees(element, axis) for element in stabiliser if not element.get(hand.name)]
                said += ["mirror"] * any(element.get(hand.name) for element in stabiliser)
            case Torus(axis, other):
                said = [f"({_degrees(own, other)}, {_degrees(own, axis)})" for own in stabiliser]
            case Line(step):
                said = [f"0 {step.unit}"] * bool(stabiliser)
            case _:
                said = ["identity"] * bool(stabiliser)
        return "{" + ", ".join(said) + "}" if said else ""


def _degrees(element: Mapping[str, float], axis: Axis) -> str:
    return f"{element.get(axis.name) or 0.0:g}°"


def _turns_text(order: int) -> str:
    order = max(1, order)
    return "none short of a full turn" if order == 1 else f"repeats every {360.0 / order:g}°"


def _pairs_of_turns_text(elements: Sequence[Mapping[str, float]], slow: Turn, fast: Turn) -> str:
    words = []
    for element in elements:
        one, other = (element.get(axis.name) or 0.0 for axis in (slow, fast))
        if one % 360 and other % 360:
            both = f"{one:g}° of {slow.what_turns} with {other:g}° of {fast.what_turns}"
            is_half = one == other == 180
            words.append(
                f"half a turn of {slow.what_turns} and of {fast.what_turns} together" if is_half else both
            )
        elif one % 360 or other % 360:
            turn, axis = (one, slow) if one % 360 else (other, fast)
            words.append(
                f"half a turn of {axis.what_turns} alone"
                if turn == 180
                else f"{turn:g}° of {axis.what_turns}"
            )
    return "repeats after " + "; ".join(words) if words else "none short of a full turn of both"
