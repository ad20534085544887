"""A network is borrowed: whatever a forward pass changes in it is put back.

Two things are kept, because they cost differently. The attributes of every module (names, hooks, flags, counters, the
tensors that stand under each name) are noted before every pass and put back after it: some microseconds a module. The
values of all tensors are copied once, when the outermost block of `evaluating` begins, and compared with the copies bit
for bit. So what a pass leaves behind, such as the NaN of an observer, does not reach the next one.

A network may write behind the version counter (through ``.data``), which only a comparison of values tells. Reading
all of them takes as long as a pass over a small patch, so it is done after the first pass, and at the end of every
block that holds a pass: a stage, or a pass forwards and backwards. After any other pass those are compared whose
counter or address has changed, the small ones, and those that were once found written behind the counter.
"""

from __future__ import annotations

import functools
import inspect
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["borrows_model", "evaluating", "keeping_random_state"]

Given = ParamSpec("Given")
Result = TypeVar("Result")

# Integers of the same width, by bytes: values are compared as bits, for NaN is not equal to itself.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_CONTAINERS = (dict, list, set)
# Values of a small tensor: statistics and counters are; copying so many takes microseconds.
_SMALL = 1 << 14
# Values of the networks on which a block of `evaluating` is open, by the network's id.
_OPEN: dict[int, _Values] = {}


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode for the time of the block, and put back everything that the block changes in the network.

    Parameters
    ----------
    module
        The network. Blocks may be nested; an inner one puts back what has changed since it began.

    Notes
    -----
    The outermost block needs memory for one more copy of all parameters and buffers. A large tensor that is written
    through ``.data`` by some passes, but not by the first, is put back at the end of the block around them. Mutable
    values inside the containers of a module (a list of lists) are not followed, nor is what the network keeps outside
    its modules.

    Examples
    --------
    >>> module = nn.Sequential(nn.Dropout())
    >>> with evaluating(module):
    ...     module.training, module[0].training
    (False, False)
    >>> module.training
    True
    """
    opened = _OPEN.get(id(module))
    with keeping_random_state():
        with _unobserved():
            attributes = _Attributes(module)
            original = _Values(module) if opened is None else opened
        n_before = original.n_put_back
        try:
            if any(part.training for part in module.modules()):
                module.eval()
            if opened is None:
                with _unobserved():
                    # Some networks fold their weights when they are set to evaluation.
                    _OPEN[id(module)] = _Values(module) if _has_own_mode(module) else original
            yield
        finally:
            if opened is None:
                _OPEN.pop(id(module), None)
            with _unobserved():
                attributes.put_back()
                is_first, holds_passes = n_before == 0, original.n_put_back > n_before
                original.put_back(exactly=is_first or holds_passes)


def borrows_model(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Open one block of `evaluating` around a function that runs its argument ``model`` many times.

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope.models.model import Model
    >>> @borrows_model
    ... def is_learning(model):
    ...     return model.module.training
    >>> is_learning(Model(nn.Dropout().train()))
    False
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def inside(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with signature.bind(*args, **kwargs).arguments["model"].evaluating():
            return function(*args, **kwargs)

    return inside


@contextmanager
def keeping_random_state() -> Iterator[None]:
    """Put back the random state of Python, NumPy and torch (on the CPU and on every GPU in use) after the block.

    Examples
    --------
    >>> before = torch.initial_seed()
    >>> with keeping_random_state():
    ...     _ = torch.manual_seed(7)
    >>> torch.initial_seed() == before
    True
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def _unobserved() -> Iterator[None]:
    """Work on tensors without gradients, and past every mode that follows what the network computes."""
    with torch.inference_mode(False), torch.no_grad(), torch._C.DisableTorchFunction():
        yield


def _has_own_mode(module: nn.Module) -> bool:
    """Whether a module does more than to set flags when it is set to evaluation."""
    plain = (nn.Module.train, nn.Module.eval)
    return any((type(part).train, type(part).eval) != plain for part in module.modules())


class _Attributes:
    """Which objects stand under each module's names and in its containers; which parameters want a gradient."""

    def __init__(self, module: nn.Module) -> None:
        self.modules = [(part, type(part), part.__dict__.copy()) for part in module.modules()]
        self.containers = [
            (value, value.copy())
            for _, _, own in self.modules
            for value in own.values()
            if isinstance(value, _CONTAINERS)
        ]
        self.parameters = [(value, value.requires_grad, value.grad) for value in module.parameters()]

    def put_back(self) -> None:
        """Put back what is another object now."""
        for part, kind, own in self.modules:
            if type(part) is not kind:
                part.__class__ = kind
            if _marks(part.__dict__) != _marks(own):
                _refill(part.__dict__, own)
        for container, content in self.containers:
            # Most are the empty dictionaries of hooks.
            if (container or content) and _marks(container) != _marks(content):
                _refill(container, content)
        for parameter, asks, gradient in self.parameters:
            if parameter.requires_grad is not asks:
                parameter.requires_grad_(asks)
            if parameter.grad is not gradient:
                parameter.grad = gradient


def _marks(container: Any) -> list[Any]:
    """Give what tells whether a container holds the very objects that it held, in their order."""
    if isinstance(container, dict):
        return [*container, *map(id, container.values())]
    return [*map(id, container)]


def _refill(container: Any, content: Any) -> None:
    container.clear()
    container.extend(content) if isinstance(container, list) else container.update(content)


class _Kept:
    """One tensor with its place in memory, a copy of its values, and its version when they were last the same."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.place, self.value = tensor, tensor.data, tensor.detach().clone()
        self.version, self.is_leaf = tensor._version, tensor.is_leaf
        self.was_unseen = False

    def may_have_changed(self) -> bool:
        """Whether the version counter, the address or the shape says so, or the counter has been silent before."""
        return self.was_unseen or self._is_seen_to_change()

    def put_back(self) -> None:
        """Put the values back where they have changed."""
        is_seen = self._is_seen_to_change()
        if self.is_leaf and not self.tensor.is_leaf:
            self.tensor.detach_()
        if not self._is_in_place():
            self.tensor.data = self.place
        if not torch.equal(_bits(self.place), _bits(self.value)):
            self.was_unseen |= not is_seen
            self.place.copy_(self.value)
        self.version = self.tensor._version

    def _is_seen_to_change(self) -> bool:
        return self.tensor._version != self.version or not self._is_in_place()

    def _is_in_place(self) -> bool:
        own, place = self.tensor, self.place
        return (
            own.data_ptr() == place.data_ptr()
            and own.shape == place.shape
            and own.stride() == place.stride()
            and own.dtype == place.dtype
        )


class _Values:
    """The values of all tensors of a network: parameters, buffers, and those under other names."""

    def __init__(self, module: nn.Module) -> None:
        self.kept = [_Kept(tensor) for tensor in _tensors(module)]
        self.n_put_back = 0
        # Small tensors side by side, by width and device, and their values: one comparison, and one wait for a GPU.
        small: dict[tuple[torch.dtype, torch.device], list[_Kept]] = defaultdict(list)
        for kept in self.kept:
            if kept.value.numel() <= _SMALL and kept.place.is_contiguous():
                small[_bits(kept.place).dtype, kept.place.device].append(kept)
        self.small = [
            (group, torch.cat([_bits(kept.value).flatten() for kept in group])) for group in small.values()
        ]

    def put_back(self, *, exactly: bool) -> None:
        """Put back the values that have changed: of all tensors, or of those that are looked at after a pass."""
        self.n_put_back += 1
        for kept in self.kept:
            if exactly or kept.may_have_changed():
                kept.put_back()
        for group, value in self.small:
            if not torch.equal(torch.cat([_bits(kept.place).flatten() for kept in group]), value):
                for kept in group:
                    kept.put_back()


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield each tensor of a network once."""
    seen: set[int] = set()
    for part in module.modules():
        for value in part.__dict__.values():
            inner = (
                value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            )
            for tensor in inner:
                if isinstance(tensor, Tensor) and id(tensor) not in seen and _is_plain(tensor):
                    seen.add(id(tensor))
                    yield tensor


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has values in memory of its own that can be compared."""
    return (
        tensor.layout is torch.strided
        and not tensor.is_meta
        and not tensor.is_quantized
        and not tensor.is_inference()
    )


def _bits(tensor: Tensor) -> Tensor:
    plain = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return plain.view(_BITS[plain.element_size()])
