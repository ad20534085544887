"""Which modules of a network are its blocks: those in whose own forward branches meet, by a sum or side by side.

A residual block gives ``x + f(x)``, an inception module its branches one behind the other along the channels. Both are
found by what they do, not by what they are called: while an empty image runs, every sum and concatenation is noted for
the module in whose forward it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["choose_blocks", "noting_joins"]

_SUMS = ("add", "add_", "__add__", "__iadd__", "__radd__")
_SIDE_BY_SIDE = ("cat", "concat", "concatenate")
# Share of a network's convolutions that a block of which there is one alone may hold: more is the network itself.
_MOST_OF_ALL = 0.75


class _Joins(TorchFunctionMode):
    """Notes the modules in whose own forward branches meet."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[nn.Module, None] = {}
        # Modules that are running, outermost first, each with what it was given.
        self.running: list[tuple[nn.Module, list[Tensor]]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.running and _is_join(getattr(func, "__name__", ""), args):
            module, given = self.running[-1]
            came_in = {tensor.data_ptr() for tensor in given}
            # What only collects what came in has no branch of its own, such as a layer of DenseNet.
            if any(own.data_ptr() not in came_in for own in _tensors(args)):
                self.found.setdefault(module)
        return func(*args, **(kwargs or {}))


def _is_join(name: str, args: Sequence[Any]) -> bool:
    """Whether a call puts together maps of equal sides: a number or a value for each channel is no branch."""
    if name not in (*_SUMS, *_SIDE_BY_SIDE):
        return False
    maps = [own for own in _tensors(args) if own.ndim == 4]
    sides = {own.shape[2:] if name in _SIDE_BY_SIDE else own.shape for own in maps}
    return len(maps) > 1 and len(sides) == 1 and max(next(iter(sides))[-2:]) > 1


def _tensors(given: object) -> Iterator[Tensor]:
    """Give the tensors in arguments, also those in lists, tuples and dictionaries."""
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, Mapping):
        for value in given.values():
            yield from _tensors(value)
    elif isinstance(given, list | tuple):
        for value in given:
            yield from _tensors(value)


@contextmanager
def noting_joins(names: Mapping[nn.Module, str]) -> Iterator[Mapping[nn.Module, None]]:
    """Note, while a network runs, the modules in whose own forward branches meet.

    Parameters
    ----------
    names
        The modules that are looked at, with their names.

    Yields
    ------
    mapping
        The modules found so far, in the order in which they were found.

    Examples
    --------
    >>> class Residual(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.conv = nn.Conv2d(3, 3, 3, padding=1)
    ...     def forward(self, x):
    ...         return x + self.conv(x)
    >>> network = nn.Sequential(Residual(), nn.Conv2d(3, 2, 1))
    >>> names = {module: name for name, module in network.named_modules() if name}
    >>> with noting_joins(names) as found:
    ...     output = network(torch.zeros(1, 3, 8, 8))
    >>> [names[module] for module in found]
    ['0']
    """
    joins = _Joins()

    def begin(module: nn.Module, args: Any, kwargs: Any) -> None:
        joins.running.append((module, list(_tensors((args, kwargs)))))

    def end(_module: nn.Module, _args: object, _output: object) -> None:
        joins.running.pop()

    with ExitStack() as stack:
        for module in names:
            stack.callback(module.register_forward_pre_hook(begin, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(end).remove)
        stack.enter_context(joins)
        yield joins.found


def choose_blocks(
    modules: Mapping[str, nn.Module],
    joined: Sequence[str],
    shapes: Mapping[str, torch.Size],
    convolutions: Sequence[str],
) -> dict[str, list[str]]:
    """Choose the blocks of a network, and say which convolutions each of them holds.

    Modules of one class are blocks if branches meet in one of them: the first block of a stage, which changes sides or
    channels, has often no sum. Of blocks in each other the outermost counts whose class repeats.

    Parameters
    ----------
    modules
        All modules, by name.
    joined
        Those in whose own forward branches meet.
    shapes
        Of what each module gave.
    convolutions
        The convolutions that ran, without gates.

    Returns
    -------
    dict
        For each block, in the order of ``modules``, the convolutions in it; none where branches meet nowhere, or in the
        forward of the network itself alone.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 3)))
    >>> modules, shape = dict(network.named_modules()), torch.Size([1, 4, 6, 6])
    >>> choose_blocks(modules, ["1"], {"1": shape, "1.0": shape}, ["0", "1.0"])
    {'1': ['1.0']}
    """
    kinds = {type(modules[name]) for name in joined}
    held = {
        name: [layer for layer in convolutions if layer.startswith(f"{name}.")]
        for name, module in modules.items()
        if name and type(module) in kinds and len(shapes.get(name, ())) == 4
    }
    held = {name: own for name, own in held.items() if own}
    n_of_kind = Counter(type(modules[name]) for name in held)
    repeats = {name: n_of_kind[type(modules[name])] > 1 for name in held}

    def is_within(inner: str, outer: str) -> bool:
        return inner.startswith(f"{outer}.")

    def stands(name: str) -> bool:
        if any(repeats[outer] and is_within(name, outer) for outer in held):
            return False
        if repeats[name]:
            return True
        is_whole = len(held[name]) > _MOST_OF_ALL * len(convolutions)
        return not is_whole and not any(is_within(inner, name) for inner in held)

    return {name: own for name, own in held.items() if stands(name)}
