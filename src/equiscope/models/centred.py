"""Passes of which one position is read: only what that position needs is computed.

A unit's response to a patch is one number of a whole map, and each map before it is needed only as far as that number
sees. So a network is run once on one patch to see which operators it consists of; from the position that is read the
extent that each map needs is found backwards (`equiscope.models.extents`); and in every later pass each operator gets
that part of its input alone. The numbers are the same up to the order in which a convolution adds.

For example, a unit behind two convolutions of 3 x 3, read in the middle of a patch of 35 px, needs 5 x 5 px of the
patch and 3 x 3 places of the map between.

Nothing is taken on trust. The first patches of each size are run plainly, too. Where the answers differ, or the network
does not do the same again, all passes are plain.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from equiscope.models.extents import Extent, Reach, everything, hull, reach_of, resized, same_place, whole
from equiscope.models.leaving import EverythingSeen
from equiscope.models.model import Model
from equiscope.models.passes import BoundedPasses

__all__ = ["CentredPasses"]

_LOG = logging.getLogger(__name__)

# Where a map that comes from the images bears its number, and the pass in which it got it.
_MARK = "_equiscope_map"
# Stands for an argument that holds tensors: those are of each pass.
_OWN = object()
# Differences from a plain pass that are rounding, in root mean squares of a layer's answers: in float32 they are below
# 1e-5, in bfloat16, in which a sum in another order may round to the next of 256 steps, below 0.02. One row too few at
# the rim of a kernel makes 0.01 and more, which float32 shows.
_ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.05}
# Patches that are compared, of the first batch: what one stimulus in all poses costs.
_N_COMPARED = 16


@dataclass
class _Step:
    """One operator of a pass: the numbers of the maps that it takes and gives, and the part that it needs of each."""

    operator: OpOverload
    takes: list[int]
    gives: list[int]
    reach: Reach
    inside: tuple[Any, ...]
    # Whether what it gives shares its memory with what it takes.
    is_view: bool
    needs: list[Extent] = field(default_factory=list)

    def inside_of(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """Give the arguments for a part of the maps: as noted, for the network may find them from a map's size."""
        if not self.inside:
            return resized(args)
        given = (*args, *[None] * len(self.inside))
        return tuple(own if noted is _OWN else noted for own, noted in zip(given, self.inside, strict=False))


@dataclass
class _Noted:
    """The operators of a pass; of each map its size, and the extent that is needed; of each layer what is read."""

    steps: list[_Step] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)
    needed: list[Extent | None] = field(default_factory=list)
    read: dict[str, tuple[int, tuple[int, int]]] = field(default_factory=dict)

    def add(self, given: Tensor) -> int:
        """Give a number to a map, of which only the shape is kept."""
        self.maps.append(torch.empty(given.shape, device="meta"))
        self.needed.append(None)
        return len(self.maps) - 1

    def find_extents(self) -> None:
        """Find the extents of all maps from the positions that are read."""
        for number, (row, column) in self.read.values():
            self.needed[number] = hull(self.needed[number], ((row, row + 1), (column, column + 1)))
        self._walk_back()
        # What nobody needs is computed at one place, for the network goes on with it.
        for step in self.steps:
            for number in step.gives:
                self.needed[number] = self.needed[number] or self._one_place(number, step.takes[0])
        self._walk_back()

    def _walk_back(self) -> None:
        """Go from the last step to the first, again and again, until nothing more is needed.

        Once would do but for what writes into its input: that is as large as all need it who take it before.
        """
        before: list[Extent | None] = []
        while before != self.needed:
            before = list(self.needed)
            for step in reversed(self.steps):
                if not step.gives or any(self.needed[number] for number in step.gives):
                    self._need(step)

    def _need(self, step: _Step) -> None:
        """Say what a step needs for what is needed of its maps."""
        # Into a map that shares its memory with another the network may write, and both have one extent.
        wanted = self._wanted([*step.gives, *step.takes] if step.is_view else step.gives)
        parts = [step.reach(wanted, self.maps[number]) if wanted else None for number in step.takes]
        # An operator that needs one map whole runs as it is.
        step.needs = [part for part in parts if part is not None]
        if len(step.needs) < len(parts):
            step.needs = [whole(self.maps[number]) for number in step.takes]
        for number, part in zip(step.takes, step.needs, strict=True):
            self.needed[number] = hull(self.needed[number], part)

    def _wanted(self, gives: Sequence[int]) -> Extent | None:
        """Give the part that is needed of the maps that one operator gives, of all the same; None is all of them."""
        wanted: Extent | None = None
        for number in gives:
            wanted = hull(wanted, self.needed[number])
        if len({self.maps[number].shape[-2:] for number in gives}) > 1:
            wanted = None
        for number in gives:
            self.needed[number] = wanted or whole(self.maps[number])
        return wanted

    def _one_place(self, number: int, taken: int) -> Extent:
        """Give one place of a map, near to what is needed of the map that it is made from."""
        places = []
        needed = self.needed[taken] or whole(self.maps[taken])
        for (first, last), size, before in zip(
            needed, self.maps[number].shape[-2:], self.maps[taken].shape[-2:], strict=True
        ):
            place = min(size - 1, (first + last) * size // (2 * before))
            places.append((place, place + 1))
        return places[0], places[1]


class _Following(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the maps of one pass from operator to operator, by a mark that they bear."""

    _passes = count()

    def __init__(self, noted: _Noted) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.own, self.noted = next(self._passes), noted
        self.is_reading = False
        # Why this pass is not what it should be.
        self.reason = ""

    def number_of(self, value: object) -> int | None:
        """Give the number of a map of this pass, or None."""
        own, number = getattr(value, _MARK, (None, None))
        return number if own == self.own else None

    def mark(self, given: Tensor, number: int) -> None:
        """Let a map bear its number."""
        setattr(given, _MARK, (self.own, number))

    def refuse(self, reason: str) -> None:
        """End the pass."""
        self.reason = reason
        raise EverythingSeen

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator: as it is, unless it takes maps."""
        kwargs = kwargs or {}
        maps = (
            []
            if self.is_reading
            else [m for m in tree_leaves((args, kwargs)) if self.number_of(m) is not None]
        )
        return self.step(func, maps, args, kwargs) if maps else func(*args, **kwargs)

    def step(
        self, operator: OpOverload, maps: list[Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Run an operator that takes maps."""
        raise NotImplementedError


class _Noting(_Following):  # type: ignore[no-untyped-call]
    """Notes what a pass over whole maps does."""

    def __init__(self) -> None:
        super().__init__(_Noted())
        # Maps that share their memory with one that has other places; into these nothing may be written.
        self.shared: set[int] = set()

    def step(
        self, operator: OpOverload, maps: list[Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Note an operator, with what it takes and gives."""
        takes = [number for own in maps if (number := self.number_of(own)) is not None]
        given = operator(*args, **kwargs)
        outputs = [own for own in tree_leaves(given) if isinstance(own, Tensor) and own.ndim > 2]
        is_writing = any(own.alias_info and own.alias_info.is_write for own in operator._schema.arguments)
        if is_writing and (len(outputs) != 1 or outputs[0] is not maps[0] or takes[0] in self.shared):
            self.refuse(f"{operator} writes into maps that others take")
        reach, inside = reach_of(operator, args, maps, outputs) if outputs else (everything, ())
        gives = takes[:1] if is_writing else [self.noted.add(own) for own in outputs]
        for own, number in zip(outputs, gives, strict=True):
            self.mark(own, number)
        is_view = not is_writing and any(own.alias_info for own in operator._schema.returns)
        if is_view and reach is not same_place:
            self.shared.update(takes, gives)
        inside = tuple(
            _OWN if any(isinstance(own, Tensor) for own in tree_leaves(part)) else part for part in inside
        )
        is_view = is_view and reach is same_place
        self.noted.steps.append(_Step(operator, takes, gives, reach, inside, is_view))
        return given

    def take(self, layer: str, output: Tensor, position: tuple[int, int]) -> Tensor:
        """Note which position of a layer is read, and read it."""
        number = self.number_of(output)
        if number is None:
            self.refuse(f"{layer} gives what does not come from the images")
        else:
            self.noted.read.setdefault(layer, (number, position))
        return output[:, :, position[0], position[1]]


class _Cropping(_Following):  # type: ignore[no-untyped-call]
    """Does what was noted, each operator on the part of its maps that it needs."""

    def __init__(self, noted: _Noted) -> None:
        super().__init__(noted)
        self.place = 0

    def step(
        self, operator: OpOverload, maps: list[Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Run an operator on the part of its maps that it needs."""
        step = self.noted.steps[self.place] if self.place < len(self.noted.steps) else None
        self.place += 1
        if (
            step is None
            or step.operator is not operator
            or step.takes != [self.number_of(own) for own in maps]
        ):
            self.refuse(f"{operator} runs where it had not before")
            return None
        parts = {
            id(own): self._part(own, number, need)
            for own, number, need in zip(maps, step.takes, step.needs, strict=True)
        }
        args, kwargs = tree_map_only(Tensor, lambda own: parts.get(id(own), own), (tuple(args), kwargs))
        if step.needs != [whole(self.noted.maps[number]) for number in step.takes]:
            args = step.inside_of(args)
        return self._marked(operator(*args, **kwargs), step)

    def _part(self, given: Tensor, number: int, need: Extent) -> Tensor:
        """Cut the part that is needed out of a map, of which all is there or what anybody needs."""
        there = self.noted.needed[number]
        if there is None or given.shape[-2:] == self.noted.maps[number].shape[-2:]:
            there = whole(given)
        if given.shape[-2:] != _size(there):
            self.refuse(f"a map has {tuple(given.shape[-2:])} places where {_size(there)} were expected")
        for axis, (own, part) in enumerate(zip(there, need, strict=True)):
            if own != part:
                given = given.narrow(axis - 2, part[0] - own[0], part[1] - part[0])
        return given

    def _marked(self, given: Any, step: _Step) -> Any:
        """Let the maps that an operator gave bear their numbers, each cut to what is needed."""
        numbers = iter(step.gives)

        def mark(own: Tensor) -> Tensor:
            if own.ndim > 2:
                number = next(numbers)
                needed = self.noted.needed[number]
                own = own if number in step.takes or needed is None else self._part(own, number, needed)
                self.mark(own, number)
            return own

        return tree_map_only(Tensor, mark, given)

    def take(self, layer: str, output: Tensor, _position: tuple[int, int]) -> Tensor:
        """Read the position of a layer that was noted."""
        number, (row, column) = self.noted.read[layer]
        needed = self.noted.needed[number]
        if self.number_of(output) != number or needed is None or output.shape[-2:] != _size(needed):
            self.refuse(f"{layer} gives another map than before")
            return output
        return output[:, :, row - needed[0][0], column - needed[1][0]]


def _size(extent: Extent) -> tuple[int, int]:
    (top, bottom), (left, right) = extent
    return bottom - top, right - left


class CentredPasses:
    """Passes of one network over patches, of which one position of each layer is read.

    Parameters
    ----------
    model
        The network.
    positions
        Of each layer a function that gives the position (y, x) which is read of a map of (y, x) places.

    Examples
    --------
    >>> from torch import nn
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1)))
    >>> passes = CentredPasses(model, {"2": lambda size: (size[0] // 2, size[1] // 2)})
    >>> images = torch.rand(5, 3, 35, 35)
    >>> read = passes.read(images)["2"]
    >>> read.shape, bool(torch.allclose(read, model.record(images, ["2"])["2"][:, :, 17, 17], atol=1e-6))
    (torch.Size([5, 2]), True)
    """

    def __init__(
        self, model: Model, positions: Mapping[str, Callable[[tuple[int, int]], tuple[int, int]]]
    ) -> None:
        self.model, self.positions = model, positions
        self.passes = BoundedPasses(model)
        #: Where passes as noted gave other answers than plain ones, a sentence each.
        self.notes: list[str] = []
        self._noted: dict[tuple[object, ...], _Noted | None] = {}

    def read(self, images: Tensor) -> dict[str, Tensor]:
        """Run patches forward; of each layer the answers at its position, shape (image, unit).

        Raises
        ------
        EquiscopeError
            As `Model.record`.
        """
        key = (images.shape[-2:], _precision(self.model))
        if key not in self._noted:
            self._noted[key] = self._note(images)
        noted = self._noted[key]
        if noted is not None:
            found = self._cropped(noted, images)
            if isinstance(found, dict):
                return found
            self._noted[key] = None
            self._say_plain(images, found)
        return self._plain(images)

    def _plain(self, images: Tensor) -> dict[str, Tensor]:
        def read(layer: str, output: Tensor) -> Tensor:
            row, column = self.positions[layer](_places(output))
            return output[:, :, row, column].float()

        return self.passes.record(images, list(self.positions), read)

    def _cropped(self, noted: _Noted, images: Tensor) -> dict[str, Tensor] | str:
        """Run patches as noted, or say why that cannot be."""
        parts = []
        for piece in self.passes.pieces(images, list(self.positions)):
            found = self._follow(_Cropping(noted), piece)
            if isinstance(found, str):
                return found
            parts.append(found)
        return {layer: torch.cat([part[layer] for part in parts]) for layer in self.positions}

    def _follow(self, following: _Noting | _Cropping, images: Tensor) -> dict[str, Tensor] | str:
        """Run one pass and read it, or say why it cannot be followed."""

        def read(layer: str, output: Tensor) -> Tensor:
            following.is_reading = True
            try:
                return following.take(layer, output, self.positions[layer](_places(output))).float()
            finally:
                following.is_reading = False

        images = images.detach()
        following.mark(images, following.noted.add(images) if isinstance(following, _Noting) else 0)
        try:
            found = self.model.record(images, list(self.positions), read, within=following)
        except Exception as error:  # a plain pass tells whether that is the network's own
            return following.reason or f"{type(error).__name__}: {error}"
        return following.reason or found

    def _note(self, images: Tensor) -> _Noted | None:
        """Note what passes do, if they then give what plain passes give; in float32, and as they will run."""
        some = images[:_N_COMPARED]
        device = self.model.device.type
        with torch.autocast(device, enabled=False):
            noted = self._compared(some, torch.float32)
        precision = _precision(self.model)
        if isinstance(noted, _Noted) and precision != torch.float32:
            noted = self._compared(some, precision)
        if isinstance(noted, _Noted):
            return noted
        self._say_plain(images, noted)
        return None

    def _compared(self, images: Tensor, precision: torch.dtype) -> _Noted | str:
        """Note one pass and compare cropped passes with plain ones; give why not to crop, if so."""
        following = _Noting()
        found = self._follow(following, images[:1])
        if isinstance(found, str):
            return found
        following.noted.find_extents()
        cropped = self._cropped(following.noted, images)
        if isinstance(cropped, str):
            return cropped
        plain = self._plain(images)
        for layer, own in cropped.items():
            away = float((own - plain[layer]).square().mean().sqrt())
            size = float(plain[layer].square().mean().sqrt())
            if not away <= _ROUNDING[precision] * size:
                self.notes.append(
                    f"{layer} answers otherwise, by {away / size if size else float('inf'):.2g} of its answers, where "
                    "only what its position sees is computed; so whole maps were"
                )
                return self.notes[-1]
        return following.noted

    def _say_plain(self, images: Tensor, reason: str) -> None:
        """Say that whole maps are computed."""
        side = " x ".join(map(str, images.shape[-2:]))
        _LOG.info("%s computes whole maps for patches of %s px: %s", self.model.name, side, reason)


def _places(output: Tensor) -> tuple[int, int]:
    return output.shape[2], output.shape[3]


def _precision(model: Model) -> torch.dtype:
    """Give the type in which convolutions run here."""
    device = model.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
