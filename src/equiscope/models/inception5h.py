"""The Circuits articles' InceptionV1 ("inception5h"), read from its graph without TensorFlow."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.models.caffe import LocalResponseNorm
from equiscope.models.googlenet import BLOCKS as CAFFE_BLOCKS
from equiscope.models.googlenet import LAYERS, GoogLeNet, Widths
from equiscope.models.model import Model
from equiscope.models.protobuf import (
    WireError,
    floats,
    integers,
    last_integer,
    message_fields,
    nested,
    shaped,
    text,
)
from equiscope.models.weights import PublicFile, assign, obtain, require_file

__all__ = ["BLOCKS", "LAYERS", "GraphNode", "build", "inception5h_input", "read_graph"]

WEIGHTS = PublicFile(
    name="tensorflow_inception_graph.pb",
    url="https://github.com/petewarden/tf_ios_makefile_example/raw/master/data/tensorflow_inception_graph.pb",
    sha1="c8a5a000ee8d8dd75886f152a50a9c5b53d726a5",
)

BLOCKS = CAFFE_BLOCKS | {
    "mixed4a": Widths(192, 96, 204, 16, 48, 64),
    "mixed5a": Widths(256, 160, 320, 48, 128, 128),
}
N_CLASSES = 1008

_AUXILIARY = ("head0_", "head1_", "nn0_", "nn1_", "softmax0_", "softmax1_")
# Values of the largest array that is filled up from a few: this network's largest has a million.
_MOST_VALUES = 1 << 26
_LARGEST_CONSTANT = 100
_FLOAT32, _FLOAT16 = 1, 19  # TensorFlow's numbers for its types
# What TensorFlow takes where a normalisation node leaves a constant out.
_LRN_DEFAULTS = {"depth_radius": 5, "bias": 1.0, "alpha": 1.0, "beta": 0.5}


class GraphNode(NamedTuple):
    """One node of a TensorFlow graph: its operation, and its attributes as undecoded bytes."""

    name: str
    operation: str
    attributes: dict[str, memoryview]


def _read_nodes(graph: memoryview) -> Iterator[GraphNode]:
    for graph_number, node in message_fields(graph):
        if graph_number != 1:
            continue
        name = operation = ""
        attributes: dict[str, memoryview] = {}
        for number, value in message_fields(nested(node)):
            if number == 1:
                name = text(value)
            elif number == 2:
                operation = text(value)
            elif number == 5:
                entry = dict(message_fields(nested(value)))
                if 1 in entry and 2 in entry:
                    attributes[text(entry[1])] = nested(entry[2])
        yield GraphNode(name, operation, attributes)


def _read_tensor(message: memoryview) -> NDArray[np.float32] | None:
    """Decode a tensor; ``None`` for one that is not of floats."""
    kind = 0
    shape: list[int] = []
    content = memoryview(b"")
    parts: list[NDArray[np.float32]] = []
    for number, value in message_fields(message):
        if number == 1:
            kind = last_integer(value)
        elif number == 2:
            for inner, dimension in message_fields(nested(value)):
                if inner == 2:
                    sizes = dict(message_fields(nested(dimension)))
                    shape.append(last_integer(sizes.get(1, 0)))
        elif number == 4:
            content = nested(value)
        elif number == 5:
            parts.append(floats(value))
        elif number == 13:
            halves = [number & 0xFFFF for number in integers(value)]
            parts.append(np.array(halves, np.uint16).view(np.float16).astype(np.float32))
    if kind not in (_FLOAT32, _FLOAT16):
        return None
    n_values = math.prod(shape)
    if content:
        width = 4 if kind == _FLOAT32 else 2
        if len(content) != n_values * width:
            raise WireError(f"a tensor of shape {tuple(shape)!r:.80} has {len(content)} bytes")
        return shaped(np.frombuffer(content, f"<f{width}").astype(np.float32), shape)
    data = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not 0 < data.size <= n_values <= _MOST_VALUES:
        raise WireError(f"a tensor of shape {tuple(shape)!r:.80} has {data.size} values")
    # TensorFlow leaves out repetitions of the last value.
    return shaped(np.pad(data, (0, n_values - data.size), mode="edge"), shape)


def _read_number(message: memoryview) -> float:
    for number, value in message_fields(message):
        if number == 3 and isinstance(value, int):
            return value
        if number == 4:
            content = nested(value)
            if len(content) != 4:
                raise WireError(f"a 32-bit number has {len(content)} bytes")
            return float(struct.unpack("<f", content)[0])
    raise WireError("an attribute that should be a number is none")


def read_graph(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, float]]]:
    """Read the constants and the normalisation nodes of a frozen TensorFlow graph (``GraphDef``).

    Parameters
    ----------
    path
        A ``.pb`` file.

    Returns
    -------
    constants
        Name to array, float32, in TensorFlow's axis order: convolutions (y, x, in, out).
    norms
        For each ``LRN`` node its ``depth_radius``, ``bias``, ``alpha`` and ``beta``.

    Raises
    ------
    EquiscopeError
        If the file does not exist, is cut short, or is not a graph with constants.

    Examples
    --------
    >>> def field(number, data):
    ...     return bytes([8 * number + 2, len(data)]) + data
    >>> tensor = bytes([8, 1]) + field(2, field(2, bytes([8, 1]))) + field(4, np.float32([0.5]).tobytes())
    >>> node = field(1, b"w") + field(2, b"Const") + field(5, field(1, b"value") + field(2, field(8, tensor)))
    >>> _ = Path("graph.pb").write_bytes(field(1, node))
    >>> read_graph(Path("graph.pb"))
    ({'w': array([0.5], dtype=float32)}, {})
    """
    require_file(path)
    constants: dict[str, NDArray[np.float32]] = {}
    norms: dict[str, dict[str, float]] = {}
    node_name = ""
    try:
        for node in _read_nodes(memoryview(path.read_bytes())):
            node_name = node.name
            if node.operation == "Const" and "value" in node.attributes:
                attribute = dict(message_fields(node.attributes["value"]))
                tensor = _read_tensor(nested(attribute[8])) if 8 in attribute else None
                if tensor is not None:
                    constants[node.name] = tensor
            elif node.operation == "LRN":
                given = {
                    key: _read_number(node.attributes[key]) for key in _LRN_DEFAULTS if key in node.attributes
                }
                norms[node.name] = _LRN_DEFAULTS | given
    except WireError as error:
        last = f" (the last whole node before or at the fault is {node_name!r})" if node_name else ""
        raise EquiscopeError(
            f"{path} is cut short or not a TensorFlow graph: {error}{last}. Fetch the file again"
        ) from error
    if not constants:
        raise EquiscopeError(f"{path} holds no constants, expected a frozen TensorFlow graph: fetch it again")
    return constants, norms


def inception5h_input(images: Tensor) -> Tensor:
    """Turn RGB in [0, 1], shape (image, 3, y, x), into the network's range: 0 to 255 minus 117.

    Examples
    --------
    >>> import torch
    >>> inception5h_input(torch.tensor([0.0, 1.0])).tolist()
    [-117.0, 138.0]
    """
    return images * 255 - 117


def _tensor_names(module: nn.Module) -> dict[str, str]:
    names = {}
    for parameter, _ in module.named_parameters():
        layer, kind = parameter.rsplit(".", 1)
        constant = "softmax2" if layer == "softmax2_pre_activation" else layer.replace(".", "_")
        names[parameter] = f"{constant}_{kind[0]}"
    return names


def _in_torch_order(constant: NDArray[np.float32]) -> NDArray[np.float32]:
    if constant.ndim == 4:
        return constant.transpose(3, 2, 0, 1)
    return constant.T if constant.ndim == 2 else constant


def build(weights: Path | None = None) -> Model:
    """Build the article's InceptionV1 with its trained weights.

    Parameters
    ----------
    weights
        ``tensorflow_inception_graph.pb``. Without it the cache is used, or else the file is downloaded
        from its public address.

    Returns
    -------
    Model
        The network with the layers of `LAYERS` as its default.

    Raises
    ------
    EquiscopeError
        If the weights cannot be had, or do not fit.

    Notes
    -----
    TensorFlow's "same" padding depends on the size of the image. Here it is fixed to what it is at 224 px
    (first convolution: 2 before and 3 after; pools: 0 before and 1 after), so that a layer's positions keep
    their distance and offset at every image size; images with sides that are multiples of 32 agree exactly.
    The constants of the two normalisations are read from the graph.

    Examples
    --------
    >>> n_bytes = Path("cut.pb").write_bytes(bytes([10, 200]))
    >>> try:
    ...     build(Path("cut.pb"))
    ... except EquiscopeError as error:
    ...     str(error).partition(":")[0]
    'cut.pb is cut short or not a TensorFlow graph'
    """
    path = obtain(WEIGHTS) if weights is None else weights
    constants, norms = read_graph(path)
    module = GoogLeNet(BLOCKS, N_CLASSES, stem_padding_px=(2, 3))
    for name in ("localresponsenorm0", "localresponsenorm1"):
        if name not in norms:
            raise EquiscopeError(
                f"{path} has no LRN node {name!r}: the file is cut short or belongs to another network"
            )
        given = norms[name]
        if not all(0 <= value <= _LARGEST_CONSTANT for value in given.values()):
            raise EquiscopeError(
                f"{path}: LRN node {name!r} has {given}, expected numbers from 0 to {_LARGEST_CONSTANT}: "
                "the file is damaged, fetch it again"
            )
        size = 2 * int(given["depth_radius"]) + 1
        # TensorFlow does not divide alpha by the size of the window.
        setattr(module, name, LocalResponseNorm(size, given["alpha"] * size, given["beta"], given["bias"]))
    tensors = {
        name: _in_torch_order(constant)
        for name, constant in constants.items()
        if name.endswith(("_w", "_b")) and not name.startswith(_AUXILIARY)
    }
    assign(module, _tensor_names(module), tensors, f"{path} (axes turned to out, in, y, x)")
    return Model(module.eval(), "inception5h", inception5h_input, LAYERS, input_size_px=224)
