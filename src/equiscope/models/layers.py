"""Which layers of a network are studied: those that are named, those that a pattern means, or a choice by default.

One pass over an empty image tells which modules run and what they give. Only outputs of shape (image, channel, y, x)
can be surveyed. By default these are

- the outputs of blocks, where branches meet (`equiscope.models.blocks`), and
- the convolutions outside of blocks, each represented by the batch normalisation that its output goes into.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.models.blocks import choose_blocks, noting_joins

if TYPE_CHECKING:
    from equiscope.models.model import Model

__all__ = ["LayerChoice", "choose_layers", "explain_layers", "left_out"]

# Sides of the empty image to try, px, after the network's own.
_SIDES_PX = (224, 256, 64)


@dataclass
class _Observed:
    """What one pass showed.

    Attributes
    ----------
    shapes
        Of the first output of each module that gives a tensor, in the order of registration.
    chosen
        For each convolution the layer that stands for it: itself, or the batch normalisation that its output goes into.
    gates
        Convolutions that run on a single position, such as those of squeeze-excitation.
    blocks
        Modules in which branches meet, with the convolutions that each holds.
    """

    shapes: dict[str, torch.Size] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)
    gates: list[str] = field(default_factory=list)
    blocks: dict[str, list[str]] = field(default_factory=dict)

    @property
    def spread(self) -> list[str]:
        """The convolutions that have positions."""
        return [name for name in self.shapes if name in self.chosen and name not in self.gates]

    @property
    def by_default(self) -> list[str]:
        """Blocks, and what stands for the other convolutions with positions; all convolutions where none has."""
        held = {name for own in self.blocks.values() for name in own}
        standing = {name: self.chosen[name] for name in self.spread if name not in held}
        standing |= {name: name for name in self.blocks}
        ordered = [standing[name] for name in self.shapes if name in standing]
        return list(dict.fromkeys(ordered or self.chosen.values()))

    def block_of(self, name: str) -> str | None:
        """Give the block that a module is in, if it is in one."""
        return next((block for block in self.blocks if name.startswith(f"{block}.")), None)


@dataclass(frozen=True)
class LayerChoice:
    """Whether a survey that names no layers takes one, and why.

    Attributes
    ----------
    is_default
        Whether it is taken.
    why
        The reason, in words.
    """

    is_default: bool
    why: str


def choose_layers(model: Model, asked: Sequence[str] | None) -> list[str]:
    """Check asked layers and fill in patterns; without any, the model's defaults, or else blocks and convolutions.

    Raises
    ------
    EquiscopeError
        If a layer does not exist, a pattern means none, or the network has no convolution.

    Examples
    --------
    >>> from equiscope.models.model import Model
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3)))
    >>> choose_layers(model, None), choose_layers(model, ["?"])
    (['1', '3'], ['0', '1', '2', '3'])
    """
    known = model.layer_names
    if asked:
        return list(dict.fromkeys(layer for name in asked for layer in _named(model, name, known)))
    if model.default_layers:
        return list(model.default_layers)
    convolutions = [n for n, m in model.module.named_modules() if n and isinstance(m, nn.Conv2d)]
    if not convolutions:
        raise EquiscopeError(
            f"{model.name} has no torch.nn.Conv2d, so there is no default choice of layers: "
            "name some with --layers, for example "
            f"{', '.join(known[:5]) or 'after wrapping it in a torch.nn.Sequential'}"
        )
    observed = _observe(model)
    return (observed.by_default if observed else []) or convolutions


def explain_layers(model: Model) -> dict[str, LayerChoice]:
    """Say of every module that gives (image, channel, y, x) whether it is surveyed by default, and why.

    Returns
    -------
    dict
        By name, in the order of the network. Of a network that refuses an empty image the default layers alone.

    Raises
    ------
    EquiscopeError
        If there is no default choice.

    Examples
    --------
    >>> from equiscope.models.model import Model
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    >>> for name, choice in explain_layers(model).items():
    ...     print(name, choice.is_default, choice.why)
    0 False represented by the normalisation 1
    1 True normalisation of the convolution 0
    2 False computed from other layers without a convolution
    """
    chosen, observed = choose_layers(model, None), _observe(model)
    if observed is None:
        return {
            name: LayerChoice(True, "the network takes no empty image, so every convolution is")
            for name in chosen
        }
    names = [name for name, shape in observed.shapes.items() if len(shape) == 4]
    if model.default_layers:
        return {
            name: LayerChoice(
                name in chosen, f"{'' if name in chosen else 'not '}among the network's own choice"
            )
            for name in dict.fromkeys([*names, *chosen])
        }
    return {name: LayerChoice(name in chosen, _why(observed, name, chosen)) for name in names}


def _why(observed: _Observed, name: str, chosen: Sequence[str]) -> str:
    """Say why a layer is in the default choice, or why not."""
    block, standing = observed.block_of(name), observed.chosen.get(name)
    sources = [own for own, layer in observed.chosen.items() if layer == name != own]
    if name in observed.blocks:
        return "output of a block, where branches meet"
    if name in observed.gates:
        return "has a single position: a gate or a classifier"
    if block is not None:
        return f"inside the block {block}"
    if name in chosen:
        return (
            f"normalisation of the convolution {sources[0]}" if sources else "convolution outside of blocks"
        )
    if standing is not None:
        return f"represented by the normalisation {standing}"
    held = [layer for layer in chosen if layer.startswith(f"{name}.")]
    if held:
        return f"holds {len(held)} of the default layers, the last of them {held[-1]}"
    return "computed from other layers without a convolution"


def _named(model: Model, name: str, known: Sequence[str]) -> list[str]:
    """Give the layer of a name, or the layers of a pattern that have positions."""
    if name in known:
        return [name]
    matches = [layer for layer in known if fnmatchcase(layer, name)]
    if not matches:
        raise unknown_name(f"layer of {model.name}", name, known)
    observed = _observe(model)
    if observed is None:  # why it does not run is told, with what to do, when it is measured
        return matches
    spread = [layer for layer in matches if len(observed.shapes.get(layer, ())) == 4]
    if not spread:
        raise EquiscopeError(
            f"the pattern {name!r} means {len(matches)} module(s) of {model.name}, such as {matches[0]}, and none of "
            "them runs and gives (image, channel, y, x): choose another; `equiscope layers` lists those of a pattern"
        )
    return spread


def left_out(model: Model, layers: Sequence[str]) -> list[str]:
    """Say what the default choice of layers leaves out of a network, one sentence each; nothing for another choice.

    Examples
    --------
    >>> from equiscope.models.model import Model
    >>> left_out(Model(nn.Sequential(nn.Conv2d(3, 4, 3))), ["0"])
    []
    """
    observed = None if model.default_layers else _observe(model)
    if observed is None or observed.by_default != list(layers):
        return []
    notes = []
    if held := [name for own in observed.blocks.values() for name in own]:
        notes.append(
            f"{len(held)} convolution(s) inside of blocks, such as {held[0]}, are left out: the outputs of the "
            f"{len(observed.blocks)} block(s) are surveyed instead (name them with --layers to survey them)"
        )
    if gates := [name for name in observed.gates if observed.chosen[name] not in layers]:
        notes.append(
            f"{len(gates)} convolution(s) that have a single position, such as {gates[0]}, are left out: gates and "
            "classifiers see the whole image (name them with --layers to survey them)"
        )
    tokens = [name for name, shape in observed.shapes.items() if len(shape) == 3]
    linear = [name for name in tokens if isinstance(model.module.get_submodule(name), nn.Linear)]
    if linear:
        notes.append(
            f"{len(tokens)} module(s) that give (image, token, channel), such as {linear[0]}, are left out, for they "
            "have no positions along y and x: docs/networks.md says how a module can give tokens as a grid"
        )
    return notes


def _observe(model: Model) -> _Observed | None:
    """Run an empty image of the first side that the network takes; None if it takes none."""
    for side_px in dict.fromkeys((model.input_size_px or _SIDES_PX[0], *_SIDES_PX)):
        try:
            return _observe_at(model, side_px)
        except Exception:  # noqa: S112 - networks refuse a size with any type, and another may do
            continue
    return None


def _observe_at(model: Model, side_px: int) -> _Observed:
    observed = _Observed()
    names = {module: name for name, module in model.module.named_modules() if name}
    shapes: dict[str, torch.Size] = {}
    # The tensor is held, so that its id is not given away again; its version tells whether a ReLU changed it since.
    made_by: dict[int, tuple[str, Tensor, int]] = {}

    def keep(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if not isinstance(output, Tensor):
            return
        given, name = inputs[0] if inputs else None, names[module]
        shapes.setdefault(name, output.shape)
        if isinstance(module, nn.Conv2d):
            observed.chosen.setdefault(name, name)
            made_by[id(output)] = (name, output, output._version)
            if (
                name not in observed.gates
                and isinstance(given, Tensor)
                and max(given.shape[2:]) == 1 < side_px
            ):
                observed.gates.append(name)
        elif isinstance(module, _BatchNorm) and id(given) in made_by:
            source, made, version = made_by[id(given)]
            if made._version == version:
                observed.chosen[source] = name

    with ExitStack() as stack:
        for module in names:
            stack.callback(module.register_forward_hook(keep).remove)
        joined = stack.enter_context(noting_joins(names))
        with torch.no_grad():
            model.run(torch.zeros(1, 3, side_px, side_px))
    observed.shapes = {name: shapes[name] for name in names.values() if name in shapes}
    modules = {name: module for module, name in names.items()}
    observed.blocks = choose_blocks(modules, [names[own] for own in joined], observed.shapes, observed.spread)
    return observed
