"""Write an equivariant network out as an ordinary one, in which nothing shows the group.

Each tied convolution becomes a `torch.nn.Conv2d` with the kernels that were written out of its parameters, and each
normalisation of fields one with a factor a channel. The exported network gives the same values, and a survey of it must
find the fields as families.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from equiscope.construction.equivariant.blocks import InceptionBlock, ResidualBlock
from equiscope.construction.equivariant.convolution import Conv2d
from equiscope.construction.equivariant.hue_stem import HueStem
from equiscope.construction.equivariant.normalisation import BatchNorm2d, Dropout2d
from equiscope.construction.equivariant.pooling import AvgPool2d, Blur, BlurredReLU, GroupPool, MaxPool2d
from equiscope.foundations.errors import EquiscopeError

__all__ = ["export"]

Size = tuple[int, int]


def export(module: nn.Module, example: Tensor | None = None) -> nn.Module:
    """Copy a network with every equivariant layer replaced by torch's own.

    Parameters
    ----------
    module
        Any module that contains layers of `equiscope.construction.equivariant`; left as it is.
    example
        Inputs, shape (image, channel, y, x), of the size that the copy will be used with. Needed where pooling is
        antialiased: its taps depend on whether a side is odd. The values do not matter.

    Returns
    -------
    nn.Module
        Convolutions are ``torch.nn.Conv2d`` with the expanded weights bit for bit, normalisations
        ``torch.nn.BatchNorm2d``, antialiased pooling a depthwise ``torch.nn.Conv2d``; blocks and group pooling become
        ``torch.fx.GraphModule``. Modules of your own stay, with their layers replaced. Same type, device and mode as
        ``module``. Outputs are the same in evaluation. It can be trained: nothing is tied any more.

    Raises
    ------
    EquiscopeError
        If pooling is antialiased and there is no example, or one layer meets odd and even sides.

    Examples
    --------
    >>> from equiscope.construction.equivariant.fields import Fields
    >>> layer = Conv2d(Fields("C4", equivariant=1), Fields("C4", equivariant=2), 3)
    >>> type(export(nn.Sequential(layer))[0]).__name__, export(nn.Sequential(layer))[0].weight.shape
    ('Conv2d', torch.Size([8, 4, 3, 3]))
    """
    sizes = _blurred_sizes(module, example)
    return _replace(module, {id(part): size for part, size in sizes.items()}, {})


def _blurred_sizes(module: nn.Module, example: Tensor | None) -> dict[Blur, Size]:
    """Size (y, x) of what each blur that leaves out pixels is given."""
    # Where a blur keeps the grid its taps are always odd.
    blurs = {
        part: name for name, part in module.named_modules() if isinstance(part, Blur) and part.stride > 1
    }
    if not blurs:
        return {}
    if example is None:
        raise EquiscopeError(
            f"{next(iter(blurs.values()))} is antialiased, and its taps depend on whether a side is odd: give an "
            "example of the inputs, export(module, example)"
        )
    seen: dict[Blur, list[Size]] = {part: [] for part in blurs}

    def note(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(part, Blur):
            height, width = inputs[0].shape[-2:]
            seen[part].append((height, width))

    hooks = [part.register_forward_pre_hook(note) for part in blurs]
    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
        with torch.no_grad():
            module(example)
    finally:
        for hook in hooks:
            hook.remove()
        for part, mode in modes.items():
            part.training = mode
    for part, sizes in seen.items():
        kinds = {tuple(part.kernel(*size)[1]) + part.kernel(*size)[0].shape for size in sizes}
        if len(kinds) > 1:
            raise EquiscopeError(
                f"{blurs[part]} is used on sides of {sizes}, which need different taps: use a layer of its own for each"
            )
    return {part: sizes[0] for part, sizes in seen.items() if sizes}


def _replace(module: nn.Module, sizes: dict[int, Size], done: dict[int, nn.Module]) -> nn.Module:
    """Copy a module with its equivariant parts replaced; one that is used twice stays one."""
    if id(module) in done:
        return done[id(module)]
    writer = next((write for kind, write in _WRITERS if isinstance(module, kind)), None)
    if writer is not None:
        written = writer(module, sizes).train(module.training)
    else:
        # The children are copied one by one below, so only what the module itself holds is copied here.
        memo = {id(child): child for child in module.children()}
        written = copy.deepcopy(module, memo)
        # Not named_children(), which leaves out the second name of a child that has two.
        for name, child in module._modules.items():
            if child is not None:
                written.register_module(name, _replace(child, sizes, done))
        if isinstance(module, InceptionBlock | ResidualBlock):
            written = fx.symbolic_trace(written)
    done[id(module)] = written
    return written


def _plain_convolution(module: Conv2d | HueStem, _sizes: dict[int, Size]) -> nn.Module:
    with torch.no_grad():
        weight, bias = module.expand()
    plain = nn.Conv2d(
        weight.shape[1],
        weight.shape[0],
        module.kernel_size,
        module.stride,
        module.padding,
        bias=bias is not None,
        device="meta",
    )
    # Where all units are plain, the kernel is the parameter itself.
    plain.weight = nn.Parameter(weight.clone())
    if bias is not None:
        plain.bias = nn.Parameter(bias)
    return plain


def _plain_normalisation(module: BatchNorm2d, _sizes: dict[int, Size]) -> nn.Module:
    with torch.no_grad():
        parts = module.expand()
    plain = nn.BatchNorm2d(
        module.out_fields.n_channels, module.eps, module.momentum, affine=parts["weight"] is not None
    )
    plain.num_batches_tracked = module.num_batches_tracked.clone()
    for name, part in parts.items():
        if part is not None:
            setattr(plain, name, nn.Parameter(part) if name in ("weight", "bias") else part)
    return plain


def _plain_blur(module: Blur, sizes: dict[int, Size]) -> nn.Module:
    if id(module) not in sizes and module.stride > 1:
        raise EquiscopeError(
            "an antialiased pooling took no part when the example was run, so its size is unknown: give an example "
            "that reaches it, or leave it out"
        )
    kernel, padding = module.kernel(*sizes.get(id(module), (1, 1)))
    plain = nn.Conv2d(
        module.n_channels,
        module.n_channels,
        (kernel.shape[2], kernel.shape[3]),
        module.stride,
        padding,
        groups=module.n_channels,
        bias=False,
        padding_mode="replicate",
        device="meta",
    )
    plain.weight = nn.Parameter(kernel.detach().clone(), requires_grad=False)
    return plain


def _plain_rectifier(module: BlurredReLU, sizes: dict[int, Size]) -> nn.Module:
    return nn.Sequential(
        *(_plain_blur(part, sizes) if isinstance(part, Blur) else nn.ReLU() for part in module)
    )


def _plain_pool(module: MaxPool2d | AvgPool2d, sizes: dict[int, Size]) -> nn.Module:
    if isinstance(module, AvgPool2d):
        if module.blur is not None:
            return _plain_blur(module.blur, sizes)
        return nn.AvgPool2d(module.kernel_size, module.stride, module.padding, count_include_pad=False)
    if not module.antialiased:
        return nn.MaxPool2d(module.kernel_size, module.stride, module.padding)
    around = nn.MaxPool2d(module.kernel_size, 1, module.kernel_size // 2)
    return around if module.blur is None else nn.Sequential(around, _plain_blur(module.blur, sizes))


def _plain_dropout(module: Dropout2d, _sizes: dict[int, Size]) -> nn.Module:
    return nn.Dropout2d(module.p)


def _plain_group_pool(module: GroupPool, _sizes: dict[int, Size]) -> nn.Module:
    return fx.symbolic_trace(module)


_WRITERS: tuple[tuple[type | tuple[type, ...], Callable[..., nn.Module]], ...] = (
    ((Conv2d, HueStem), _plain_convolution),
    (BatchNorm2d, _plain_normalisation),
    ((MaxPool2d, AvgPool2d), _plain_pool),
    (BlurredReLU, _plain_rectifier),
    (Blur, _plain_blur),
    (Dropout2d, _plain_dropout),
    (GroupPool, _plain_group_pool),
)
