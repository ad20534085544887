"""Networks in ONNX files, read by onnx2torch, which knows operators up to version 17 of their set."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.models.extras import import_extra
from equiscope.models.model import Model

__all__ = ["from_onnx"]

_KNOWN_VERSION = 17
# ONNX numbers for uint8, int8, uint16, int16, int32, int64, uint32 and uint64.
_WHOLE_TYPES = frozenset((2, 3, 4, 5, 6, 7, 12, 13))
# Attributes that operators have had since version 18, with the value that leaves the operator as it was.
_NEWER = {"antialias": 0, "keep_aspect_ratio_policy": b"stretch", "saturate": 1}


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Stand in for torchvision during an import that names it and does not use it."""
    if "torchvision" in sys.modules:
        yield
        return
    stand_ins = {"torchvision": types.ModuleType("torchvision"), "torchvision.ops": types.ModuleType("ops")}
    vars(stand_ins["torchvision"])["ops"] = stand_ins["torchvision.ops"]
    vars(stand_ins["torchvision.ops"])["roi_align"] = None
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)


def from_onnx(path: Path) -> Model:
    """Convert an ONNX file to a PyTorch module; it must take RGB, shape (image, 3, y, x) or (image, y, x, 3).

    Parameters
    ----------
    path
        The file. Inputs of whole numbers are given 0 to 255, others [0, 1].

    Raises
    ------
    EquiscopeError
        If the file does not exist, or cannot be converted; `MissingExtraError` without onnx2torch.

    Notes
    -----
    What PyTorch exports by default is of a newer set of operators. Of those, the ones that say the same in other words
    are put back into the words of version 17, so that such files can be read as well.

    onnx2torch imports torchvision for two operators of detection networks (``NonMaxSuppression`` and
    ``RoiAlign``). torchvision needs the very build that matches torch, so it is left out: networks with
    these operators do not run.

    Examples
    --------
    >>> import torch
    >>> torch.onnx.export(nn.Conv2d(3, 8, 5), (torch.zeros(1, 3, 16, 16),), "edges.onnx", dynamo=False)
    >>> model = from_onnx(Path("edges.onnx"))
    >>> model.name, tuple(model.run(torch.zeros(2, 3, 16, 16)).shape)
    ('edges', (2, 8, 12, 12))
    """
    if not path.is_file():
        raise EquiscopeError(f"there is no file {path}: give an existing .onnx file")
    with _without_torchvision():
        converter = import_extra("onnx2torch", "onnx")
    try:
        import onnx

        stored = onnx.load(str(path))
        prepare = _input_of(stored)
        module: nn.Module = converter.convert(_in_known_words(stored))
    except Exception as error:
        raise EquiscopeError(
            f"could not convert {path} from ONNX: {type(error).__name__}: {error}. "
            "Give the network as file.py:factory instead, or export it again in opset 17: "
            "torch.onnx.export(..., opset_version=17, dynamo=False)"
        ) from error
    return Model(module.eval(), path.stem, prepare)


def _input_of(stored: Any) -> Callable[[Tensor], Tensor]:
    """Give what makes the network's input from RGB in [0, 1]: whole numbers for integers, channels last where they are.

    The numbers stay floating-point: they are the same, and a network casts them itself.
    """
    held = {tensor.name for tensor in stored.graph.initializer}
    given = next(value for value in stored.graph.input if value.name not in held).type.tensor_type
    sides = [dimension.dim_value for dimension in given.shape.dim]
    is_last = len(sides) == 4 and sides[3] == 3 and sides[1] != 3
    is_whole = given.elem_type in _WHOLE_TYPES

    def prepare(images: Tensor) -> Tensor:
        scaled = (images * 255).round() if is_whole else images
        return scaled.permute(0, 2, 3, 1) if is_last else scaled

    return prepare


def _in_known_words(stored: Any) -> Any:
    """Put a graph of a newer set of operators into the words of version 17, where they say the same.

    Raises
    ------
    ValueError
        If an operator does what version 17 has no word for.
    """
    import onnx

    versions = [entry for entry in stored.opset_import if entry.domain in ("", "ai.onnx")]
    if all(entry.version <= _KNOWN_VERSION for entry in versions):
        return stored
    constants = {tensor.name: tensor for tensor in stored.graph.initializer}
    constants |= {
        node.output[0]: entry.t
        for node in stored.graph.node
        if node.op_type == "Constant"
        for entry in node.attribute
        if entry.name == "value"
    }
    inferred = onnx.shape_inference.infer_shapes(stored).graph
    sides = {
        value.name: value.type.tensor_type.shape.dim for value in (*inferred.value_info, *inferred.input)
    }
    for node in stored.graph.node:
        if node.op_type == "Split" and len(node.input) == 1:
            stored.graph.initializer.append(_sizes_of_split(node, sides))
        _reword(node, constants)
    for entry in versions:
        entry.version = _KNOWN_VERSION
    # Operators that came later, and attributes that are no longer there, are found here.
    onnx.checker.check_model(stored)
    return stored


def _sizes_of_split(node: Any, sides: dict[str, Any]) -> Any:
    """Give a split into a number of parts their sizes: in version 18 the last part may be smaller."""
    import onnx

    given = {entry.name: entry.i for entry in node.attribute}
    shape = sides.get(node.input[0], ())
    axis = given.get("axis", 0)
    length = shape[axis].dim_value if -len(shape) <= axis < len(shape) else 0
    part = -(-length // given.get("num_outputs", len(node.output)))
    if not length:
        raise ValueError(f"Split {node.name!r} has parts of unknown size")
    sizes = [min(part, length - start) for start in range(0, length, part)]
    node.input.append(f"{node.output[0]}_sizes")
    kept = [entry for entry in node.attribute if entry.name != "num_outputs"]
    del node.attribute[:]
    node.attribute.extend(kept)
    return onnx.numpy_helper.from_array(np.array(sizes, np.int64), node.input[1])


def _reword(node: Any, constants: dict[str, Any]) -> None:
    """Change one node in place: axes become attributes, and attributes that change nothing go."""
    import onnx

    kept = [
        entry for entry in node.attribute if onnx.helper.get_attribute_value(entry) != _NEWER.get(entry.name)
    ]
    if node.op_type == "AveragePool":
        kept = [entry for entry in kept if entry.name != "dilations" or set(entry.ints) != {1}]
    if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum" and len(node.input) == 2:
        axes = constants.get(node.input[1])
        if axes is None:
            raise ValueError(f"{node.op_type} {node.name!r} computes its axes")
        kept = [entry for entry in kept if entry.name != "noop_with_empty_axes"]
        kept.append(onnx.helper.make_attribute("axes", onnx.numpy_helper.to_array(axes).tolist()))
        del node.input[1:]
    del node.attribute[:]
    node.attribute.extend(kept)
