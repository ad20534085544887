"""A borrowed network seen as named layers, whose outputs are recorded and which stays as it was.

A layer is a module, by its name; its output has the shape (image, channel, y, x). ``model.record(images, ["conv1"])``
runs the images up to that module and gives what it returned. Weights, buffers, hooks, modes and the random state are
the same afterwards, so that any number of stages can use one network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy as is_uninitialised

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.models.borrowing import evaluating
from equiscope.models.layers import choose_layers
from equiscope.models.leaving import EverythingSeen, no_exit

__all__ = ["Model"]


def _identity(images: Tensor) -> Tensor:
    return images


def _unwrapped(module: nn.Module) -> nn.Module:
    """Give the network inside `torch.compile`, `torch.nn.DataParallel` and its distributed kin, or as it is."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if isinstance(module, nn.DataParallel | DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


@dataclass
class Model:
    """A network under study: the module, how its input is prepared, and which layers it is asked about.

    Parameters
    ----------
    module
        Any network that takes one batch of images. It is borrowed: its parameters, buffers, attributes, hooks and
        each submodule's train/eval flag are the same after every use, whatever its forward pass does to them, and so
        is the random state. What `torch.compile` and
        `torch.nn.DataParallel` wrap is taken out of the wrapper: hooks and ever new sizes would have it compiled again
        and again, and layers keep the names that they have without.
    name
        Short name for files and reports.
    preprocess
        Maps images, shape (image, 3, y, x), RGB in [0, 1], to what ``module`` expects. The default passes
        them on unchanged.
    default_layers
        Layers that are studied when the user names none. Empty: the outputs of blocks, where branches meet, and
        every convolution outside of blocks, or the batch normalisation that its output goes into.
    input_size_px
        Side of the images on which the network was trained, px, where it is known.
    """

    module: nn.Module
    name: str = "model"
    preprocess: Callable[[Tensor], Tensor] = _identity
    default_layers: Sequence[str] = field(default_factory=tuple)
    input_size_px: int | None = None

    def __post_init__(self) -> None:
        self.module = _unwrapped(self.module)
        if isinstance(self.module, torch.jit.ScriptModule):
            raise EquiscopeError(
                f"{self.name} is a TorchScript module, whose layers cannot be recorded: give the torch.nn.Module that "
                "it was made from"
            )
        for name, value in self.module.named_parameters():
            is_lazy = is_uninitialised(value)
            if is_lazy or value.is_meta:
                why = "waits for the shape of its first input" if is_lazy else "is on the meta device"
                raise EquiscopeError(
                    f"{self.name} has no weights yet ({name} {why}): load them before it is studied"
                )

    @property
    def device(self) -> torch.device:
        """Device of the first parameter; the CPU for a network without any."""
        first = next(self.module.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def layer_names(self) -> list[str]:
        """Every module name that can be recorded, in the order of registration."""
        return [name for name, _ in self.module.named_modules() if name]

    def resolve_layers(self, layers: Sequence[str] | None = None) -> list[str]:
        """Check the asked layers; without any, the model's defaults, or else its blocks and other convolutions.

        A name may be a shell pattern, such as ``layer1.*``: it means all modules of matching names that run and give
        (image, channel, y, x). By default a block, in which branches meet by a sum or side by side, is represented by
        its output. A convolution outside of blocks whose output goes into a batch normalisation is represented by
        that: only behind it do a unit's sign and threshold stand; convolutions that run on a single
        position, as gates do, are left out. Finding this takes one forward pass; of a network that refuses an empty
        image all convolutions, or all matching names, are given.

        Raises
        ------
        EquiscopeError
            If a layer does not exist (the message names the nearest), a pattern means none, or the network has no
            convolution.
        """
        return choose_layers(self, layers)

    def weights_sha256(self) -> str:
        """SHA-256 over names, shapes and values of all parameters and buffers, in their order."""
        digest = hashlib.sha256()
        for name, tensor in self.module.state_dict().items():
            if isinstance(tensor, Tensor):
                digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
                flat = tensor.detach().cpu().contiguous().reshape(-1)
                digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
        return digest.hexdigest()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Set evaluation mode for the time of the block; the network and the random state are then what they were.

        Around many passes one block is cheaper than one for each: it copies all parameters and buffers
        (`equiscope.models.borrowing`).
        """
        with evaluating(self.module):
            yield

    def run(self, images: Tensor, within: AbstractContextManager[object] | None = None) -> Any:
        """Run images of shape (image, 3, y, x), RGB in [0, 1], through the network; give what it returns.

        The images stay as they are, even where the network or ``preprocess`` normalises in place. They are given
        channels last, which is fastest, or channels first to a network that flattens by ``view`` and takes no other.
        ``within`` is open while the network computes, and not while it is prepared and put back.

        Raises
        ------
        EquiscopeError
            If the network or ``preprocess`` ends the program. Their own errors are passed on.
        """

        def in_order(memory_format: torch.memory_format) -> Any:
            with within or nullcontext():
                prepared = self.preprocess(images.to(self.device).clone())
                return self.module(prepared.contiguous(memory_format=memory_format))

        with self.evaluating(), no_exit(f"the forward pass of {self.name}"):
            try:
                return in_order(torch.channels_last)
            except RuntimeError as error:
                if "view size is not compatible" not in str(error):
                    raise
            return in_order(torch.contiguous_format)

    def record(
        self,
        images: Tensor,
        layers: Sequence[str],
        read: Callable[[str, Tensor], Tensor] | None = None,
        within: AbstractContextManager[object] | None = None,
    ) -> dict[str, Tensor]:
        """Run images forward and keep the outputs of some layers; the pass stops after the last of them.

        Parameters
        ----------
        images
            Tensor, shape (image, 3, y, x), RGB in [0, 1].
        layers
            Names of modules; one that runs several times in a pass is recorded at its first run.
        read
            What to keep of an output, given the layer's name and its output, shape (image, channel, y, x).
            The default keeps all of it. Results are copied, so that a later in-place ReLU cannot
            change them.
        within
            Open while the network computes.

        Returns
        -------
        dict
            For each layer what ``read`` returned.

        Raises
        ------
        EquiscopeError
            If a layer was never run, or its output is not a (image, channel, y, x) tensor.

        Examples
        --------
        >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), name="small")
        >>> model.record(torch.zeros(2, 3, 8, 6), ["0"])["0"].shape
        torch.Size([2, 4, 6, 4])
        """
        recording = _Recording(self.name, set(layers), read)
        modules = dict(self.module.named_modules())
        handles = []
        try:
            for layer in layers:
                if layer not in modules:
                    raise unknown_name(f"layer of {self.name}", layer, modules)
                handles.append(modules[layer].register_forward_hook(recording.hook_for(layer)))
            with torch.no_grad():
                self.run(images, within)
        except EverythingSeen:
            pass
        except Exception:
            # A network that caught the signal went on; nobody asked for what it met then.
            if recording.waiting and not recording.refused:
                raise
        finally:
            for handle in handles:
                handle.remove()
        return recording.result()


@dataclass
class _Recording:
    """What one pass keeps of the layers that wait for their first run."""

    model: str
    waiting: set[str]
    read: Callable[[str, Tensor], Tensor] | None
    kept: dict[str, Tensor] = field(default_factory=dict)
    # What a hook raises may be caught by the network, which is not what it is for.
    refused: list[Exception] = field(default_factory=list)

    def hook_for(self, layer: str) -> Callable[[nn.Module, object, object], None]:
        """Give the hook that keeps a layer's output, and ends the pass with the last layer that is waited for."""

        def keep(_module: nn.Module, _inputs: object, output: object) -> None:
            if layer not in self.waiting or self.refused:
                # Later runs would be kept or not depending on what else was asked.
                return
            try:
                kept = self._positions(layer, output)
                self.kept[layer] = (kept if self.read is None else self.read(layer, kept)).detach().clone()
            except Exception as error:
                self.refused.append(error)
                raise EverythingSeen from error
            self.waiting.discard(layer)
            if not self.waiting:
                raise EverythingSeen

        return keep

    def result(self) -> dict[str, Tensor]:
        """Give what was kept, or raise what was met instead."""
        if self.refused:
            raise self.refused[0]
        if self.waiting:
            raise EquiscopeError(
                f"{self.model} did not run {', '.join(sorted(self.waiting))} in its forward pass: name other layers"
            )
        return self.kept

    def _positions(self, layer: str, output: object) -> Tensor:
        """Check that the output of a layer has channels and positions."""
        if isinstance(output, Tensor) and output.ndim == 4:
            return output
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise EquiscopeError(
            f"layer {layer!r} of {self.model} gives {shape}, "
            "expected (image, channel, y, x): name a convolutional layer"
        )
