"""From a description to a module that can be trained, and from that to a plain network.

`DesignedNetwork` has tied layers with their normalisations. `to_plain` writes their kernels out, folds the
normalisations into them, and gives ordinary convolutions of the same function.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, cast

import torch
from torch import Tensor, nn

from equiscope.construction.equivariant import (
    BatchNorm2d,
    Blur,
    BlurredReLU,
    Colours,
    Conv2d,
    Fields,
    HueStem,
    InceptionBlock,
    MaxPool2d,
)
from equiscope.construction.equivariant.convolution import PlainTo
from equiscope.construction.equivariant.fields import action_of
from equiscope.construction.training.descriptions import (
    Convolution,
    Description,
    Inception,
    Layer,
    Pool,
    branch_names,
    fields_of,
)
from equiscope.foundations.errors import EquiscopeError
from equiscope.models.trained import Blueprint, PlainNetwork

__all__ = ["DesignedNetwork", "Restriction", "blur_taps", "space_before", "to_plain"]


class Restriction(nn.Module):
    """Features of one group read as those of a subgroup: a field falls apart into one field a coset.

    Parameters
    ----------
    in_fields
        The space before.
    group
        The subgroup's name.

    Raises
    ------
    EquiscopeError
        If it is no subgroup.
    """

    index: Tensor

    def __init__(self, in_fields: Fields, group: str) -> None:
        super().__init__()
        large, small = in_fields.action, action_of(group)
        places = {(large.angle_deg(e), large.is_mirrored(e), large.hue_deg(e)): e for e in range(large.order)}
        keys = [(small.angle_deg(e), small.is_mirrored(e), small.hue_deg(e)) for e in range(small.order)]
        if not all(key in places for key in keys):
            raise EquiscopeError(
                f"a layer with units of {group} follows one with units of {in_fields.group}, which do not keep that "
                "promise: groups may only become smaller from layer to layer, such as C16, C8, C4"
            )
        embedded = [places[key] for key in keys]
        cosets: list[list[int]] = []
        for element in range(large.order):
            if not any(element in coset for coset in cosets):
                cosets.append([large.group.compose(h, element) for h in embedded])
        n_fields = in_fields.equivariant * len(cosets)
        self.in_fields = in_fields
        self.out_fields = Fields(group, n_fields, in_fields.invariant, in_fields.plain)
        fields = torch.arange(in_fields.n_field_channels).reshape(-1, large.order)
        order = torch.tensor(cosets).flatten()
        others = torch.arange(in_fields.n_field_channels, in_fields.n_channels)
        self.register_buffer("index", torch.cat([fields[:, order].flatten(), others]), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Reorder the channels, shape (image, channel, y, x)."""
        return features.index_select(1, self.index)


class DesignedNetwork(nn.Module):
    """A network as described, with batch normalisation, and a linear classifier that sees every field's mean.

    Parameters
    ----------
    description
        Its layers.
    n_classes
        Number of classes.

    Notes
    -----
    The classifier reads units averaged over places, and fields over the group's elements as well, so that it cannot
    tell an angle.
    """

    def __init__(self, description: Description, n_classes: int) -> None:
        super().__init__()
        self.description, self.n_classes = description, n_classes
        self.layers = nn.ModuleDict()
        fields: Fields | None = None
        for index, layer in enumerate(description.layers):
            if isinstance(layer, Pool):
                self.layers[f"pool{index}"] = _pool(fields, description)
                continue
            try:
                self.layers[layer.name], fields = _layer(layer, fields, description)
            except EquiscopeError as error:
                raise EquiscopeError(f"layer {layer.name} of {description.name!r}: {error}") from error
        if fields is None:  # the description begins with a convolution
            raise TypeError(f"{description.name!r} has no layer with units")
        self.fields = fields
        self.classifier = nn.Linear(fields.n_units, n_classes)

    @property
    def n_free_parameters(self) -> int:
        """Numbers that training chooses."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        """Map (image, 3, y, x), standardised, to logits, shape (image, class)."""
        for layer in self.layers.values():
            x = layer(x)
        means = x.mean(dim=(2, 3))
        n = self.fields.n_field_channels
        if n:
            fields = torch.unflatten(means[:, :n], 1, (self.fields.equivariant, self.fields.order)).mean(2)
            means = torch.cat([fields, means[:, n:]], dim=1)
        logits: Tensor = self.classifier(means)
        return logits


def _pool(fields: Fields | None, description: Description) -> nn.Module:
    if description.is_antialiased and fields is not None:
        return MaxPool2d(fields, 3, 2)
    return nn.MaxPool2d(3, stride=2, padding=1)


def space_before(layer: Convolution | Inception, before: Fields | None) -> Fields | Colours:
    """Give the kinds of channels (fields, invariant and plain units, or colours) as which a layer reads its input.

    Parameters
    ----------
    layer
        The layer.
    before
        Space of the layer before; None before the first, which reads images.

    Examples
    --------
    >>> conv1, conv2 = (Convolution(name, Fields("C4", 2, plain=4), 3) for name in ("conv1", "conv2"))
    >>> str(space_before(conv1, None)), str(space_before(conv2, conv1.fields))
    ('3 channels (3 invariant)', '12 channels (2 fields of C4, 4 plain)')
    """
    group = layer.fields.group
    is_tied = any(part.n_tied_channels for part in fields_of(layer))
    if before is None:
        if layer.fields.action.n_hues > 1 and is_tied:
            return Colours(group)
        return Fields(group, invariant=3) if is_tied else Fields(group, plain=3)
    if not is_tied:
        # Units without a promise take any input as it is.
        return Fields(group, plain=before.n_channels)
    return Restriction(before, group).out_fields if before.group != group else before


def _layer(
    layer: Convolution | Inception, before: Fields | None, description: Description
) -> tuple[nn.Module, Fields]:
    """Make one layer, and tell its space."""
    plain_to = cast("PlainTo", description.plain_to)
    space = space_before(layer, before)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if description.is_blurred and isinstance(layer, Convolution) and layer.stride > 1:
        parts["blur"] = Blur(3 if before is None else before.n_channels, 1, layer.stride)
    if isinstance(space, Colours):
        if not isinstance(layer, Convolution):  # the description begins with a convolution
            raise TypeError(f"{layer.name} is a {type(layer).__name__}")
        parts["convolution"] = HueStem(
            layer.fields, layer.kernel_px, stride=layer.stride, padding="same", bias=False
        )
    else:
        if before is not None and before.group != space.group and space.n_tied_channels:
            parts["restriction"] = Restriction(before, space.group)
        if isinstance(layer, Inception):
            parts["block"] = block = InceptionBlock(
                space,
                direct=layer.direct,
                reduced=layer.reduced,
                pooled=layer.pooled,
                plain_to=plain_to,
                blurred=description.is_blurred,
            )
            return nn.Sequential(parts), block.out_fields
        parts["convolution"] = Conv2d(
            space,
            layer.fields,
            layer.kernel_px,
            stride=layer.stride,
            padding="same",
            bias=False,
            plain_to=plain_to,
        )
    parts["normalisation"] = BatchNorm2d(layer.fields)
    parts["relu"] = BlurredReLU(layer.fields) if description.is_blurred else nn.ReLU()
    return nn.Sequential(parts), layer.fields


@torch.no_grad()
def to_plain(
    network: DesignedNetwork,
    side_px: int,
    *,
    classes: tuple[str, ...],
    mean: tuple[float, ...],
    sd: tuple[float, ...],
) -> tuple[PlainNetwork, Blueprint]:
    """Write a network out as ordinary convolutions, with batch normalisation folded into them.

    Parameters
    ----------
    network, side_px
        The trained network, left as it is; the side of images for which antialiased pooling lies symmetrically, px.
    classes, mean, sd
        What the blueprint tells: names of the classes, moments of the training images.

    Returns
    -------
    PlainNetwork, Blueprint
        The same function on images of this side, to rounding. Channels of a convolution are in the order of its
        space, those of a block in that of its branches.

    Examples
    --------
    >>> network = DesignedNetwork(Description("small", (Convolution("conv1", Fields("C4", 1), 3),), True), 2)
    >>> plain, blueprint = to_plain(network, 9, classes=("cat", "dog"), mean=(0.5,) * 3, sd=(0.2,) * 3)
    >>> blueprint.layer_names
    ('conv1',)
    """
    layers = _blueprint_layers(network.description, side_px)
    name = network.description.name
    blueprint = Blueprint(name, tuple(layers), classes, mean, sd, side_px, network.description.is_blurred)
    plain = PlainNetwork(blueprint)
    state: dict[str, Tensor] = {}
    # For each channel of the designed network where the plain one has it.
    position = torch.arange(3)
    for layer in network.description.layers:
        if isinstance(layer, Pool):
            continue
        module = cast("nn.Sequential", network.layers[layer.name])
        parts = dict(module.named_children())
        if "restriction" in parts:
            position = position[cast("Restriction", parts["restriction"]).index.cpu()]
        if isinstance(layer, Convolution):
            _fold(state, layer.name, parts["convolution"], parts["normalisation"], position)
            position = torch.arange(layer.fields.n_channels)
            continue
        block = cast("InceptionBlock", parts["block"])
        _fold_block(state, layer, block, position)
        position = _branch_order(block)
    fields, head = network.fields, network.classifier
    weight = head.weight[:, fields.unit_of_channel.to(head.weight.device)].clone()
    weight[:, : fields.n_field_channels] /= fields.order
    state["classifier.weight"] = torch.empty_like(weight)
    state["classifier.weight"][:, position] = weight
    state["classifier.bias"] = head.bias.clone()
    own = plain.state_dict()
    plain.load_state_dict({key: state.get(key, value) for key, value in own.items()})
    return plain.eval(), blueprint


def _fold_block(state: dict[str, Tensor], layer: Inception, block: InceptionBlock, position: Tensor) -> None:
    """Fold the convolutions of all branches of a block, which read the channels at ``position``."""
    for part, branch in zip(branch_names(layer), block.branches, strict=True):
        # Each branch: a pooling perhaps, a convolution with its normalisation, and perhaps one more of both.
        modules = [m for m in cast("nn.Sequential", branch) if isinstance(m, Conv2d | BatchNorm2d)]
        prefix = f"{layer.name}.{part}"
        if len(modules) == 4:
            _fold(state, f"{prefix}_bottleneck", modules[0], modules[1], position)
            _fold(state, prefix, modules[2], modules[3], torch.arange(modules[2].in_fields.n_channels))
        else:
            _fold(state, prefix, modules[0], modules[1], position)


def _fold(
    state: dict[str, Tensor], name: str, convolution: nn.Module, norm: nn.Module, position: Tensor
) -> None:
    """Add one convolution with its normalisation to the plain network's state."""
    if not isinstance(convolution, Conv2d | HueStem) or not isinstance(norm, BatchNorm2d):
        raise TypeError(f"{name} is a {type(convolution).__name__} and a {type(norm).__name__}")
    weight, _ = convolution.expand()
    parts = {key: part for key, part in norm.expand().items() if part is not None}
    scale = parts["weight"] / torch.sqrt(parts["running_var"] + norm.eps)
    placed = torch.empty_like(weight)
    placed[:, position.to(weight.device)] = weight
    state[f"{name}.weight"] = placed * scale.view(-1, 1, 1, 1)
    state[f"{name}.bias"] = parts["bias"] - parts["running_mean"] * scale


def _branch_order(block: InceptionBlock) -> Tensor:
    """Where a plain block, which joins whole branches, has each channel of an equivariant one."""
    channels = torch.arange(block.out_fields.n_channels).reshape(1, -1, 1, 1)
    numbered = torch.split(channels, [space.n_channels for space in block.spaces], dim=1)
    return Fields.concatenate(numbered, block.spaces).flatten()


def blur_taps(side_px: int) -> int:
    """Taps of the blur behind a maximum, along either axis, where it meets an even or an odd side.

    Examples
    --------
    >>> blur_taps(28), blur_taps(27)
    (4, 5)
    """
    return 4 + side_px % 2


def _blueprint_layers(description: Description, side_px: int) -> list[dict[str, Any]]:
    """Word the layers of the plain network; taps of a blur depend on whether the side that it meets is odd."""
    layers: list[dict[str, Any]] = []
    for layer in description.layers:
        layers.append(_blueprint_layer(layer, side_px if description.is_antialiased else 0))
        if isinstance(layer, Pool):
            side_px = math.ceil(side_px / 2)
        elif isinstance(layer, Convolution):
            side_px = math.ceil(side_px / layer.stride)
    return layers


def _blueprint_layer(layer: Layer, blurred_side_px: int) -> dict[str, Any]:
    if isinstance(layer, Pool):
        return {"pool_taps": blur_taps(blurred_side_px) if blurred_side_px else 0}
    if isinstance(layer, Convolution):
        return {
            "name": layer.name,
            "n_channels": layer.fields.n_channels,
            "kernel_px": layer.kernel_px,
            "stride": layer.stride,
        }
    return {
        "name": layer.name,
        "direct": layer.direct.n_channels,
        "reduced": [[a.n_channels, b.n_channels, side] for a, b, side in layer.reduced],
        "pooled": layer.pooled.n_channels,
    }
