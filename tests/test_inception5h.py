"""The article's network, read from a graph that the test writes, against a plain reimplementation."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from equiscope.foundations.errors import EquiscopeError
from equiscope.models import inception5h, load_model

# block: in, 1x1, 3x3 bottleneck, 3x3, 5x5 bottleneck, 5x5, pool_reduce
BLOCKS = {
    "mixed3a": (192, 64, 96, 128, 16, 32, 32),
    "mixed3b": (256, 128, 128, 192, 32, 96, 64),
    "mixed4a": (480, 192, 96, 204, 16, 48, 64),
    "mixed4b": (508, 160, 112, 224, 24, 64, 64),
    "mixed4c": (512, 128, 128, 256, 24, 64, 64),
    "mixed4d": (512, 112, 144, 288, 32, 64, 64),
    "mixed4e": (528, 256, 160, 320, 32, 128, 128),
    "mixed5a": (832, 256, 160, 320, 48, 128, 128),
    "mixed5b": (832, 384, 192, 384, 48, 128, 128),
}
# TensorFlow's terms: depth_radius, bias, alpha, beta.
ARTICLE_LRN = (4, 1.0, 1e-4 / 9, 0.5)
OTHER_LRN = (5, 2.0, 3e-4, 0.6)


def random_constants(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights in TensorFlow's layout, scaled so that every layer stays in a range where it matters."""
    rng = np.random.default_rng(seed)
    shapes = {"conv2d0": (7, 7, 3, 64), "conv2d1": (1, 1, 64, 64), "conv2d2": (3, 3, 64, 192)}
    for block, (n_in, n1, n3b, n3, n5b, n5, pool) in BLOCKS.items():
        shapes[f"{block}_1x1"] = (1, 1, n_in, n1)
        shapes[f"{block}_3x3_bottleneck"] = (1, 1, n_in, n3b)
        shapes[f"{block}_3x3"] = (3, 3, n3b, n3)
        shapes[f"{block}_5x5_bottleneck"] = (1, 1, n_in, n5b)
        shapes[f"{block}_5x5"] = (5, 5, n5b, n5)
        shapes[f"{block}_pool_reduce"] = (1, 1, n_in, pool)
    shapes["softmax2"] = (1024, 1008)
    constants = {}
    for name, shape in shapes.items():
        spread = np.sqrt(2 / np.prod(shape[:-1]))
        constants[f"{name}_w"] = rng.standard_normal(shape, np.float32) * np.float32(spread)
        constants[f"{name}_b"] = rng.standard_normal(shape[-1], np.float32) * np.float32(0.1)
    return constants


# --- a writer of TensorFlow graphs, independent of the reader ----------------------------------------------


def varint(value: int) -> bytes:
    head = b""
    while value > 127:
        head += bytes([value & 127 | 128])
        value >>= 7
    return head + bytes([value])


def field(number: int, content: int | bytes) -> bytes:
    if isinstance(content, int):
        return varint(number * 8) + varint(content)
    return varint(number * 8 + 2) + varint(len(content)) + content


def attribute(key: str, value: bytes) -> bytes:
    return field(5, field(1, key.encode()) + field(2, value))


def node(name: str, operation: str, *attributes: bytes) -> bytes:
    described = (
        field(1, name.encode()) + field(2, operation.encode()) + field(3, b"input") + field(4, b"/cpu:0")
    )
    return field(1, described + b"".join(attributes))


def tensor_shape(shape: tuple[int, ...]) -> bytes:
    return field(2, b"".join(field(2, field(1, size)) for size in shape))


def constant(name: str, array: np.ndarray, how: str = "content") -> bytes:
    kind, values = {
        "content": (1, lambda: field(4, array.astype("<f4").tobytes())),
        "packed": (1, lambda: field(5, array.astype("<f4").tobytes())),
        "half": (
            19,
            lambda: field(13, b"".join(varint(int(v)) for v in array.astype("<f2").view("<u2").ravel())),
        ),
        "one": (1, lambda: varint(5 * 8 + 5) + struct.pack("<f", array.flat[0])),
        "integer": (3, lambda: field(4, array.astype("<i4").tobytes())),
    }[how]
    tensor = field(1, kind) + tensor_shape(array.shape) + values()
    return node(name, "Const", attribute("dtype", field(6, kind)), attribute("value", field(8, tensor)))


def lrn(name: str, terms: tuple[int, float, float, float]) -> bytes:
    radius, *rest = terms
    numbers = [attribute("depth_radius", field(3, radius))]
    for key, value in zip(("bias", "alpha", "beta"), rest, strict=True):
        numbers.append(attribute(key, varint(4 * 8 + 5) + struct.pack("<f", value)))
    return node(name, "LRN", *numbers)


def graph(constants: dict[str, np.ndarray], terms: tuple[int, float, float, float] = ARTICLE_LRN) -> bytes:
    parts = [node("input", "Placeholder"), constant("mixed3a/concat_dim", np.array(3), "integer")]
    parts += [constant(name, array) for name, array in constants.items()]
    parts += [constant("head0_bottleneck_w", np.ones((1, 1, 5, 2))), constant("avgpool0/scale", np.ones(2))]
    parts += [lrn("localresponsenorm0", terms), lrn("localresponsenorm1", terms), field(4, field(1, 8))]
    return b"".join(parts)


# --- the network as the articles' notes describe it, in the plainest way -----------------------------------


def plain_forward(
    images: Tensor, constants: dict[str, np.ndarray], terms: tuple[int, float, float, float]
) -> dict[str, Tensor]:
    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        kernel = torch.from_numpy(np.ascontiguousarray(np.einsum("yxio->oiyx", constants[f"{name}_w"])))
        side = kernel.shape[-1]
        before, after = (2, 3) if stride == 2 else (side // 2, side // 2)
        padded = F.pad(x, (before, after, before, after))
        return F.conv2d(padded, kernel, torch.from_numpy(constants[f"{name}_b"]), stride)

    def shrink(x: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)

    def normalise(x: Tensor) -> Tensor:
        radius, bias, alpha, beta = terms
        energy = torch.zeros_like(x)
        for channel in range(x.shape[1]):
            window = x[:, max(0, channel - radius) : channel + radius + 1]
            energy[:, channel] = (window**2).sum(1)
        return x / (bias + alpha * energy) ** beta

    seen = {}
    x = images * 255 - 117
    seen["conv2d0"] = conv(x, "conv2d0", stride=2)
    x = normalise(shrink(seen["conv2d0"].relu()))
    seen["conv2d1"] = conv(x, "conv2d1")
    seen["conv2d2"] = conv(seen["conv2d1"].relu(), "conv2d2")
    x = shrink(normalise(seen["conv2d2"].relu()))
    for block in BLOCKS:
        if block in ("mixed4a", "mixed5a"):
            x = shrink(x)
        pooled = F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, 1)
        branches = [
            conv(x, f"{block}_1x1"),
            conv(conv(x, f"{block}_3x3_bottleneck").relu(), f"{block}_3x3"),
            conv(conv(x, f"{block}_5x5_bottleneck").relu(), f"{block}_5x5"),
            conv(pooled, f"{block}_pool_reduce"),
        ]
        seen[block] = torch.cat(branches, 1)
        x = seen[block].relu()
    pooled = x.mean((2, 3))
    seen["logits"] = pooled @ torch.from_numpy(constants["softmax2_w"]) + torch.from_numpy(
        constants["softmax2_b"]
    )
    return seen


@pytest.fixture(scope="module")
def constants() -> dict[str, np.ndarray]:
    return random_constants()


@pytest.mark.parametrize("terms", [ARTICLE_LRN, OTHER_LRN])
def test_every_layer_equals_the_plain_network(
    tmp_path: Path, constants: dict[str, np.ndarray], terms: tuple[int, float, float, float]
) -> None:
    path = tmp_path / "graph.pb"
    path.write_bytes(graph(constants, terms))
    model = load_model("inception5h", path)
    images = torch.rand(2, 3, 97, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = plain_forward(images, constants, terms)
        logits = model.module(model.preprocess(images))
    found = model.record(images, model.resolve_layers())
    assert list(found) == [layer for layer in wanted if layer != "logits"]
    for layer, value in (found | {"logits": logits}).items():
        assert value.shape == wanted[layer].shape
        spread = wanted[layer].std()
        assert spread > 0
        assert (value - wanted[layer]).abs().max() < 1e-4 * spread, layer
    assert found["mixed4a"].shape[1] == 508


def test_normalisation_matters_in_the_comparison(constants: dict[str, np.ndarray]) -> None:
    images = torch.rand(1, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = (
            plain_forward(images, constants, terms)["mixed3a"] for terms in (ARTICLE_LRN, OTHER_LRN)
        )
    assert (first - second).abs().max() > 0.1 * first.std()


def test_all_encodings_of_a_tensor(tmp_path: Path) -> None:
    array = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
    path = tmp_path / "graph.pb"
    path.write_bytes(
        b"".join(constant(how, array, how) for how in ("content", "packed", "half", "one"))
        + constant("integer", np.arange(4), "integer")
    )
    found, norms = inception5h.read_graph(path)
    assert set(found) == {"content", "packed", "half", "one"}
    np.testing.assert_array_equal(found["content"], array)
    np.testing.assert_array_equal(found["packed"], array)
    np.testing.assert_array_equal(found["half"], array.astype(np.float16))
    np.testing.assert_array_equal(found["one"], np.full((3, 4), -2.0))
    assert norms == {}


def test_normalisation_without_attributes_has_tensorflows_defaults(tmp_path: Path) -> None:
    path = tmp_path / "graph.pb"
    path.write_bytes(constant("a", np.ones(2)) + node("norm", "LRN"))
    assert inception5h.read_graph(path)[1] == {
        "norm": {"depth_radius": 5, "bias": 1.0, "alpha": 1.0, "beta": 0.5}
    }


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_refuses_truncated_graph(tmp_path: Path, constants: dict[str, np.ndarray], share: float) -> None:
    whole = graph(constants)
    path = tmp_path / "graph.pb"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(EquiscopeError, match=r"graph\.pb is cut short"):
        load_model("inception5h", path)


def test_refuses_what_is_no_graph(tmp_path: Path) -> None:
    path = tmp_path / "graph.pb"
    for content in (b"", b"<html>not found</html>", b"\xff" * 30):
        path.write_bytes(content)
        with pytest.raises(EquiscopeError, match="graph"):
            load_model("inception5h", path)
    with pytest.raises(EquiscopeError, match="no such file"):
        load_model("inception5h", tmp_path / "absent.pb")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixed4a_3x3_w": None}, r"no tensor 'mixed4a_3x3_w', expected shape \(204, 96, 3, 3\)"),
        (
            {"mixed4a_3x3_w": np.zeros((3, 3, 96, 208))},
            r"'mixed4a_3x3_w' has shape \(208, 96, 3, 3\), expected \(204, 96, 3, 3\)",
        ),
        (
            {"softmax2_w": np.zeros((1008, 1024))},
            r"'softmax2_w' has shape \(1024, 1008\), expected \(1008, 1024\)",
        ),
        ({"mixed6a_1x1_w": np.zeros((1, 1, 2, 2))}, r"'mixed6a_1x1_w' of shape \(2, 2, 1, 1\)"),
    ],
)
def test_names_the_constant_that_does_not_fit(
    tmp_path: Path, constants: dict[str, np.ndarray], change: dict[str, np.ndarray | None], message: str
) -> None:
    changed = {name: array for name, array in (constants | change).items() if array is not None}
    path = tmp_path / "graph.pb"
    path.write_bytes(graph(changed))
    with pytest.raises(EquiscopeError, match=message):
        load_model("inception5h", path)


def test_refuses_graph_without_normalisation(tmp_path: Path, constants: dict[str, np.ndarray]) -> None:
    path = tmp_path / "graph.pb"
    path.write_bytes(b"".join(constant(name, array) for name, array in constants.items()))
    with pytest.raises(EquiscopeError, match="no LRN node 'localresponsenorm0'"):
        load_model("inception5h", path)
