"""`equiscope.layers`: list the layers of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

from torch import nn

from equiscope.foundations.limits import list_names
from equiscope.foundations.options import NetworkOptions, take_options
from equiscope.models import Model, as_model
from equiscope.models.geometry import LayerGeometry, find_geometry
from equiscope.models.layers import LayerChoice, explain_layers, left_out

__all__ = ["NetworkLayers", "layers"]


@dataclass(frozen=True)
class NetworkLayers:
    """Layers of a network, and what is to be said of them.

    Attributes
    ----------
    geometries
        Channels, stride, receptive field and centre of each layer, by its name.
    choices
        Whether a survey that names no layers takes each layer, and why, by its name.
    notes
        Sentences on what a survey leaves out.
    """

    geometries: dict[str, LayerGeometry]
    choices: dict[str, LayerChoice]
    notes: tuple[str, ...]

    @property
    def by_default(self) -> list[str]:
        """Those of the layers that a survey takes without any."""
        return [name for name, choice in self.choices.items() if choice.is_default]


def layers(
    model: Model | nn.Module | str = "mini",
    names: Sequence[str] | None = None,
    **options: Unpack[NetworkOptions],
) -> NetworkLayers:
    """List the layers of a network: sizes, and which of them a survey takes that names none.

    Parameters
    ----------
    model
        An ``equiscope.Model``, any module that takes (image, 3, y, x) RGB in [0, 1], or a name for
        ``load_model``.
    names
        Module names or patterns such as ``layer1.*``; by default all modules that give (image, channel, y, x).
    **options
        ``weights`` and ``progress``, as for `equiscope.survey`.

    Returns
    -------
    NetworkLayers
        In the order of the network.

    Raises
    ------
    EquiscopeError
        If the network cannot be loaded, or has no such layer.

    Examples
    --------
    >>> first = layers("mini", ["conv2d0"]).geometries["conv2d0"]
    >>> first.n_channels, first.stride_px, first.receptive_field_px
    (48, (2, 2), (7, 7))
    >>> layers("mini", ["conv2d*"]).by_default
    ['conv2d0', 'conv2d1']
    """
    chosen = take_options(layers, NetworkOptions, options)
    network = as_model(model, options.get("weights"))
    known = explain_layers(network)
    resolved = list(known) if names is None else network.resolve_layers(list_names(names))
    with network.evaluating(), chosen.progress("Finding receptive fields", 1) as on_step:
        geometries = find_geometry(network, resolved)
        on_step(1)
    # Of a network that takes no empty image only its default layers are known.
    choices = {name: known.get(name, LayerChoice(False, "not a convolution")) for name in resolved}
    by_default = [name for name, choice in choices.items() if choice.is_default]
    return NetworkLayers(geometries, choices, tuple(left_out(network, by_default)))
