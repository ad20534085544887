"""Networks that ``equiscope train`` has written: one ``.safetensors`` file with the weights and a description.

The description, a `Blueprint`, is kept as text in the file's header: layers with their kinds and sizes, the names of
the classes, and the mean and standard deviation by which images are standardised. The file holds numbers and text, no
code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.models.model import Model

__all__ = ["Blueprint", "InceptionBranches", "PlainNetwork", "build", "serialise", "standardise"]

_KEY = "equiscope"
_VERSION = 1
# A description may come from anybody: the most that its parts may be, far above what `equiscope train` writes.
_LONGEST_NAME, _MOST_LAYERS = 200, 1000
_LARGEST = dict.fromkeys(("n_channels", "direct", "pooled", "reduced"), 1 << 16) | {
    "kernel_px": 255,
    "stride": 64,
}


@dataclass(frozen=True)
class Blueprint:
    """What a plain network is built from, beside its weights.

    Attributes
    ----------
    name
        Short name.
    layers
        Of a convolution ``name``, ``n_channels``, ``kernel_px``, ``stride``; of a block ``name``, ``direct``,
        ``reduced`` (bottleneck, outputs, side of the kernel in px, each) and ``pooled``; of a pooling ``pool_taps``: 0
        for the largest of 3 x 3 values at every second pixel, 4 or 5 for the taps along either axis of a blur behind
        the maxima.
    classes
        Names, in the order of the logits.
    mean, sd
        Of the training images' channels, RGB in [0, 1].
    input_size_px
        Side of the training images, px.
    is_blurred
        A binomial blur of 2 · stride + 1 taps stands before strided convolutions, one of 3 taps behind every ReLU.
    """

    name: str
    layers: tuple[Mapping[str, Any], ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    input_size_px: int
    is_blurred: bool = False

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers that have units."""
        return tuple(layer["name"] for layer in self.layers if "name" in layer)


class InceptionBranches(nn.ModuleDict):
    """A block whose branches are joined in the order of their names, before their ReLU.

    The names are those of `equiscope.models.googlenet.MixedBlock`, with the kernels' sides: ``1x1``,
    ``3x3_bottleneck``, ``3x3``, … ``pool_reduce``.
    """

    def __init__(
        self, n_in: int, direct: int, reduced: Sequence[Sequence[int]], pooled: int, is_blurred: bool = False
    ) -> None:
        super().__init__({"1x1": nn.Conv2d(n_in, direct, 1)})
        self.sides_px = tuple(side for _, _, side in reduced)
        for n_bottleneck, n_out, side in reduced:
            self[f"{side}x{side}_bottleneck"] = nn.Conv2d(n_in, n_bottleneck, 1)
            self[f"{side}x{side}_relu"] = _rectifier(n_bottleneck, is_blurred)
            self[f"{side}x{side}"] = nn.Conv2d(n_bottleneck, n_out, side, padding=side // 2)
        self["pool"] = nn.MaxPool2d(3, stride=1, padding=1)
        self["pool_reduce"] = nn.Conv2d(n_in, pooled, 1)
        self.n_out = direct + sum(n for _, n, _ in reduced) + pooled

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on ``x``, shape (image, channel, y, x), non-negative."""
        reduced = [
            self[f"{side}x{side}"](self[f"{side}x{side}_relu"](self[f"{side}x{side}_bottleneck"](x)))
            for side in self.sides_px
        ]
        return torch.cat([self["1x1"](x), *reduced, self["pool_reduce"](self["pool"](x))], dim=1)


class PlainNetwork(nn.Module):
    """A network of ordinary convolutions; its layers give their values before the ReLU.

    Parameters
    ----------
    blueprint
        What it is built from.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        n_channels = 3
        self.steps: list[str] = []
        self.rectifiers = nn.ModuleDict()
        for index, layer in enumerate(blueprint.layers):
            if "pool_taps" in layer:
                name, module = f"pool{index}", _pool(n_channels, layer["pool_taps"])
            elif "kernel_px" in layer:
                name, side = layer["name"], layer["kernel_px"]
                if blueprint.is_blurred and layer["stride"] > 1:
                    self.steps.append(f"blur{index}")
                    self.add_module(self.steps[-1], _blur(n_channels, 2 * layer["stride"] + 1))
                module = nn.Conv2d(n_channels, layer["n_channels"], side, layer["stride"], side // 2)
                n_channels = layer["n_channels"]
            else:
                name = layer["name"]
                module = InceptionBranches(
                    n_channels, layer["direct"], layer["reduced"], layer["pooled"], blueprint.is_blurred
                )
                n_channels = module.n_out
            self.add_module(name, module)
            self.steps.append(name)
            if "name" in layer:
                self.rectifiers[name] = _rectifier(n_channels, blueprint.is_blurred)
        self.classifier = nn.Linear(n_channels, len(blueprint.classes))

    def forward(self, x: Tensor) -> Tensor:
        """Map (image, 3, y, x), standardised, to logits, shape (image, class)."""
        for name in self.steps:
            x = getattr(self, name)(x)
            if name in self.rectifiers:
                x = self.rectifiers[name](x)
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def _pool(n_channels: int, n_taps: int) -> nn.Module:
    """Make the pooling of one layer; its taps do not depend on the image, so that a layer is one convolution."""
    if not n_taps:
        return nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _blur(n_channels, n_taps, stride=2))


def _rectifier(n_channels: int, is_blurred: bool) -> nn.Module:
    return nn.Sequential(nn.ReLU(), _blur(n_channels, 3)) if is_blurred else nn.ReLU()


def _blur(n_channels: int, n_taps: int, stride: int = 1) -> nn.Conv2d:
    """Make a binomial blur of every channel by itself; beyond the border the border is repeated."""
    taps = torch.tensor([float(math.comb(n_taps - 1, k)) for k in range(n_taps)])
    blur = nn.Conv2d(
        n_channels,
        n_channels,
        n_taps,
        stride=stride,
        padding=(n_taps - 1) // 2,
        groups=n_channels,
        bias=False,
        padding_mode="replicate",
    )
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    blur.weight = nn.Parameter(kernel.expand(n_channels, 1, -1, -1).clone(), requires_grad=False)
    return blur


def standardise(mean: Sequence[float], sd: Sequence[float]) -> Callable[[Tensor], Tensor]:
    """Make the function that subtracts a mean and divides by a standard deviation, channel by channel.

    Examples
    --------
    >>> prepare = standardise((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    >>> prepare(torch.ones(1, 3, 1, 1)).flatten().tolist()
    [2.0, 2.0, 2.0]
    """

    def prepare(images: Tensor) -> Tensor:
        centre, spread = (
            torch.tensor(value, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
            for value in (mean, sd)
        )
        return (images - centre) / spread

    return prepare


def serialise(network: PlainNetwork, blueprint: Blueprint) -> bytes:
    """Write a network as the bytes of a ``.safetensors`` file that holds its blueprint as well.

    Examples
    --------
    >>> layers = ({"name": "conv1", "n_channels": 4, "kernel_px": 3, "stride": 1},)
    >>> blueprint = Blueprint("small", layers, ("cat", "dog"), (0.5,) * 3, (0.2,) * 3, 32)
    >>> _ = Path("model.safetensors").write_bytes(serialise(PlainNetwork(blueprint), blueprint))
    >>> build(Path("model.safetensors")).default_layers
    ('conv1',)
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    header = {"version": _VERSION, **asdict(blueprint)}
    return bytes(to_safetensors(tensors, metadata={_KEY: json.dumps(header)}))


def _read_blueprint(header: Mapping[str, Any]) -> Blueprint:
    """Read a description that may come from anybody.

    Raises
    ------
    TypeError, ValueError, KeyError
        If a part is missing, unknown, or not what `equiscope train` writes.
    """
    parts: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in header.items()
    }
    blueprint = Blueprint(**parts)
    layers = [layer for layer in blueprint.layers if isinstance(layer, dict)]
    for name in (blueprint.name, *(layer["name"] for layer in layers if "name" in layer)):
        _require(
            isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isprintable(), "name", name
        )
    for layer in layers:
        for key, value in layer.items():
            if key in _LARGEST:
                numbers = torch.utils._pytree.tree_leaves(value)
                _require(all(type(n) is int and 0 <= n <= _LARGEST[key] for n in numbers), key, value)
    _require(all(isinstance(name, str) for name in blueprint.classes), "list of classes", blueprint.classes)
    _require(len(layers) == len(blueprint.layers) <= _MOST_LAYERS, "number of layers", len(blueprint.layers))
    _require(
        all(layer.get("pool_taps", 0) in (0, 4, 5) for layer in layers), "pool_taps", [*map(dict, layers)][:3]
    )
    for colours in (blueprint.mean, blueprint.sd):
        _require(len(colours) == 3 and all(map(math.isfinite, colours)), "mean or sd", colours)
    _require(min(blueprint.sd) > 0, "sd", blueprint.sd)
    _require(
        type(blueprint.input_size_px) is int and 0 < blueprint.input_size_px <= 4096,
        "size",
        header["input_size_px"],
    )
    return blueprint


def _require(is_right: bool, what: str, value: object) -> None:
    if not is_right:
        raise ValueError(f"its {what} is {value!r:.80}")


def build(path: Path) -> Model:
    """Load a network that ``equiscope train`` wrote.

    Parameters
    ----------
    path
        ``model.safetensors`` of a training's folder.

    Raises
    ------
    EquiscopeError
        If the file does not exist, is no such network, or is of a newer version.

    Examples
    --------
    >>> layers = ({"name": "conv1", "n_channels": 4, "kernel_px": 3, "stride": 1},)
    >>> blueprint = Blueprint("small", layers, ("cat", "dog"), (0.5,) * 3, (0.2,) * 3, 32)
    >>> _ = Path("model.safetensors").write_bytes(serialise(PlainNetwork(blueprint), blueprint))
    >>> build(Path("model.safetensors")).name
    'small'
    """
    if not path.is_file():
        raise EquiscopeError(f"there is no file {path}: give the model.safetensors of a finished training")
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
        header = json.loads(metadata[_KEY])
        version = header.pop("version")
    except Exception as error:
        raise EquiscopeError(
            f"{path} is not a network that equiscope trained ({type(error).__name__}: {error}): give the "
            "model.safetensors of a training's folder; for the weights of mini, --weights"
        ) from error
    if version != _VERSION:
        raise EquiscopeError(
            f"{path} is of version {version}, this equiscope reads {_VERSION}: update equiscope"
        )
    try:
        blueprint = _read_blueprint(header)
        # Nothing is allocated before the file's own tensors have turned out to be of the sizes that it names.
        with torch.device("meta"):
            network = PlainNetwork(blueprint)
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    except Exception as error:
        told = " ".join(str(error).split())
        raise EquiscopeError(
            f"the weights in {path} do not fit their own description: {told:.300}"
        ) from error
    return Model(
        network.eval(),
        blueprint.name,
        standardise(blueprint.mean, blueprint.sd),
        default_layers=blueprint.layer_names,
        input_size_px=blueprint.input_size_px,
    )
