"""The networks that ``equiscope train`` knows by name: InceptionV1 in small and in full, plain and half equivariant.

``plain`` is the embedded network's architecture, ``half`` the same with half of each layer's channels in fields of C16
and the others invariant. Others are given as a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from equiscope.construction.equivariant import Fields
from equiscope.construction.equivariant.basis import kernel_basis
from equiscope.construction.training.descriptions import (
    Convolution,
    Description,
    Inception,
    Layer,
    Pool,
)
from equiscope.construction.training.parsing import load_description
from equiscope.construction.training.widths import divide, divide_bottleneck
from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.models.googlenet import BLOCKS, Widths

__all__ = ["ARCHITECTURES", "describe_network", "designed", "plain_twin"]

# Plain layers need no group; this one takes kernels of every odd size.
_NO_GROUP = "C2"
_TWIN = "twin:"

_MINI_BLOCKS = {
    "mixed3a": Widths(16, 56, 80, 16, 24, 8),
    "mixed3b": Widths(32, 64, 112, 24, 40, 8),
    "mixed4a": Widths(64, 80, 128, 24, 40, 24),
}


def _plain(n_units: int) -> Fields:
    return Fields(_NO_GROUP, plain=n_units)


def _block(name: str, widths: Widths) -> Inception:
    return Inception(
        name,
        _plain(widths.n_1x1),
        (
            (_plain(widths.n_3x3_bottleneck), _plain(widths.n_3x3), 3),
            (_plain(widths.n_5x5_bottleneck), _plain(widths.n_5x5), 5),
        ),
        _plain(widths.n_pool_reduce),
    )


def _mini() -> Description:
    """Describe the embedded network (`equiscope.models.mini`)."""
    blocks = {name: _block(name, widths) for name, widths in _MINI_BLOCKS.items()}
    return Description(
        "plain",
        (
            Convolution("conv2d0", _plain(48), 7, stride=2),
            Convolution("conv2d1", _plain(96), 3),
            Pool(),
            blocks["mixed3a"],
            blocks["mixed3b"],
            Pool(),
            blocks["mixed4a"],
        ),
    )


def _inceptionv1() -> Description:
    """InceptionV1 with batch normalisation in place of response normalisation, without auxiliary heads."""
    layers: list[Layer] = [
        Convolution("conv2d0", _plain(64), 7, stride=2),
        Pool(),
        Convolution("conv2d1", _plain(64), 1),
        Convolution("conv2d2", _plain(192), 3),
        Pool(),
    ]
    for name, widths in BLOCKS.items():
        if name in ("mixed4a", "mixed5a"):
            layers.append(Pool())
        layers.append(_block(name, widths))
    return Description("inceptionv1", tuple(layers))


def designed(
    description: Description, group: str, *, equivariant: float = 0.5, invariant: float = 0.5, name: str
) -> Description:
    """Give the network of the same widths in which a share of the units is equivariant and another invariant.

    Parameters
    ----------
    description
        A network; only its widths, kernels and poolings count.
    group
        What the fields are equivariant to, such as ``"C16"``.
    equivariant, invariant
        Shares of every layer's channels, the rest is plain.
    name
        Of the new network.

    Notes
    -----
    Kernels too small for the group grow to the smallest that it can use, those beside them in a block with them: for
    16 rotations 3 px become 5, and the branches 3x3 and 5x5 become 5x5 and 7x7. Where a share is no whole number of
    fields, the nearest number of fields is taken and the other units fill the width.

    Examples
    --------
    >>> plain = describe_network("plain")
    >>> str(plain.stem.fields), str(designed(plain, "C4", name="half-tied").stem.fields)
    ('48 channels (48 plain)', '48 channels (6 fields of C4, 24 invariant)')
    """
    layers: list[Layer] = []
    for layer in description.layers:
        if isinstance(layer, Convolution):
            (fields,) = divide([layer.fields.n_channels], equivariant, invariant, group)
            grown = layer.kernel_px + grown_by(group, [layer.kernel_px])
            layers.append(replace(layer, fields=fields, kernel_px=grown))
        elif isinstance(layer, Inception):
            direct, *outs, pooled = divide(
                [part.n_channels for part in layer.outputs], equivariant, invariant, group
            )
            growth = grown_by(group, [side for _, _, side in layer.reduced])
            reduced = []
            for (bottleneck, _, side), out in zip(layer.reduced, outs, strict=True):
                narrow = divide_bottleneck(bottleneck.n_channels, equivariant, invariant, group, out)
                reduced.append((narrow, out, side + growth))
            layers.append(Inception(layer.name, direct, tuple(reduced), pooled))
        else:
            layers.append(layer)
    return Description(name, tuple(layers), is_antialiased=True)


def grown_by(group: str, sides_px: Sequence[int]) -> int:
    """Tell by how many pixels all of these kernels must grow for a group to use them.

    Parameters
    ----------
    group
        Name of the group.
    sides_px
        Sides of kernels that stand side by side, px; 1 px mixes units, leaves angles alone and may stay.
    """
    growth = 0
    while True:
        try:
            for side in sides_px:
                if side > 1:
                    kernel_basis(group, side + growth)
        except EquiscopeError:
            growth += 2
            if growth > 32:
                raise
        else:
            return growth


def plain_twin(description: Description) -> Description:
    """Give the network of the same widths, kernels, grids and poolings in which every unit is plain.

    Examples
    --------
    >>> twin = plain_twin(designed(describe_network("plain"), "C4", name="half-tied"))
    >>> twin.name, str(twin.stem.fields)
    ('half-tied-twin', '48 channels (48 plain)')
    """

    def free(fields: Fields) -> Fields:
        return _plain(fields.n_channels)

    layers: list[Layer] = []
    for layer in description.layers:
        if isinstance(layer, Convolution):
            layers.append(replace(layer, fields=free(layer.fields)))
        elif isinstance(layer, Inception):
            reduced = tuple((free(a), free(b), side) for a, b, side in layer.reduced)
            layers.append(Inception(layer.name, free(layer.direct), reduced, free(layer.pooled)))
        else:
            layers.append(layer)
    return replace(description, name=f"{description.name}-twin", layers=tuple(layers), plain_to="plain")


ARCHITECTURES: dict[str, Callable[[], Description]] = {
    "plain": _mini,
    "half": lambda: designed(_mini(), "C16", name="half"),
    "half-blurred": lambda: replace(designed(_mini(), "C16", name="half-blurred"), is_blurred=True),
    "equivariant": lambda: designed(_mini(), "C16", equivariant=1.0, invariant=0.0, name="equivariant"),
    "inceptionv1": _inceptionv1,
    "inceptionv1-half": lambda: designed(_inceptionv1(), "C16", name="inceptionv1-half"),
}


def describe_network(spec: str | Path | Description) -> Description:
    """Give the network that a short text names.

    Parameters
    ----------
    spec
        A name (`ARCHITECTURES`), the path of a ``.json`` or ``.toml`` file, ``twin:`` before either for its plain
        twin, or a description, which is returned.

    Raises
    ------
    EquiscopeError
        If there is no such network, or the file describes none.

    Examples
    --------
    >>> describe_network("plain").name
    'plain'
    """
    if isinstance(spec, Description):
        return spec
    text = str(spec)
    if text.startswith(_TWIN):
        return plain_twin(describe_network(text.removeprefix(_TWIN)))
    if text in ARCHITECTURES:
        return ARCHITECTURES[text]()
    if Path(text).suffix in (".json", ".toml"):
        return load_description(Path(text))
    raise EquiscopeError(
        f"{unknown_name('network to train', text, ARCHITECTURES)} Or give a file that ends in .json or .toml, or "
        "twin: before one of these"
    )
