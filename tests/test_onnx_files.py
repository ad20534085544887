"""ONNX files: newer words are put back into known ones that say the same, and inputs are what a file asks for."""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.models import load_model

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")

FLOAT, UINT8 = 1, 2
needs_onnx2torch = pytest.mark.skipif(
    importlib.util.find_spec("onnx2torch") is None, reason="needs onnx2torch (extra: onnx)"
)


def save(
    path: Path,
    nodes: list[Any],
    version: int,
    *,
    rank: int = 4,
    kind: int = FLOAT,
    shape: tuple[Any, ...] = ("n", 3, 8, 10),
    **held: Any,
) -> Path:
    """Write a graph from ``images`` to ``answer``."""
    helper = onnx.helper
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info("answer", FLOAT, [None] * rank)],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=10), path)
    return path


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for onnx2torch: what was to be converted, each time."""
    given: list[Any] = []

    def convert(model: Any) -> nn.Module:
        given.append(model)
        return nn.Conv2d(3, 4, 3)

    fake = types.ModuleType("onnx2torch")
    fake.convert = convert  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnx2torch", fake)
    return given


def answer(model: Any, images: np.ndarray) -> np.ndarray:
    return reference.ReferenceEvaluator(model).run(None, {"images": images})[0]  # type: ignore[no-any-return]


node = onnx.helper.make_node
GRAPHS = {
    "mean": ([node("ReduceMean", ["images", "axes"], ["answer"], keepdims=0)], {"axes": np.array([2, 3]), "rank": 2}),
    "largest": ([node("ReduceMax", ["images", "axes"], ["answer"])], {"axes": np.array([1])}),
    "axes of a node": (
        [
            node("Constant", [], ["axes"], value=onnx.numpy_helper.from_array(np.array([2]))),
            node("ReduceMin", ["images", "axes"], ["answer"], noop_with_empty_axes=0),
        ],
        {},
    ),
    "split": (
        [
            node("Split", ["images"], ["a", "b"], axis=1, num_outputs=2),
            node("ReduceMean", ["a", "axes"], ["c"]),
            node("ReduceMean", ["b", "axes"], ["d"]),
            node("Concat", ["c", "d"], ["answer"], axis=1),
        ],
        {"axes": np.array([1])},
    ),
    "resize": (
        [
            node(
                "Resize", ["images", "", "scales"], ["answer"], mode="nearest", antialias=0, nearest_mode="floor",
                coordinate_transformation_mode="asymmetric", keep_aspect_ratio_policy="stretch",
            )
        ],
        {"scales": np.array([1, 1, 2, 2], np.float32)},
    ),
    "pool": ([node("AveragePool", ["images"], ["answer"], kernel_shape=[2, 3], dilations=[1, 1])], {}),
    "pad": ([node("Pad", ["images", "pads"], ["answer"])], {"pads": np.array([0, 0, 1, 2, 0, 0, 1, 0])}),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_newer_words_are_put_back_and_say_the_same(tmp_path: Path, converted: list[Any], name: str) -> None:
    nodes, held = GRAPHS[name]
    path = save(tmp_path / "net.onnx", nodes, 20, **held)
    load_model(str(path))
    (model,) = converted
    assert [entry.version for entry in model.opset_import] == [17]
    onnx.checker.check_model(model)
    images = np.random.default_rng(0).random((2, 3, 8, 10)).astype(np.float32)
    np.testing.assert_array_equal(answer(model, images), answer(onnx.load(path), images))


@pytest.mark.parametrize(
    ("nodes", "held", "why"),
    [
        (
            [node("Pad", ["images", "pads", "", "axes"], ["answer"])],
            {"pads": np.array([1, 1]), "axes": np.array([3])},
            "Pad.*input size 4",
        ),
        (
            [node("AveragePool", ["images"], ["answer"], kernel_shape=[2, 2], dilations=[2, 2])],
            {},
            "attribute: dilations",
        ),
        ([node("Gelu", ["images"], ["answer"])], {}, "No Op registered for Gelu"),
        (
            [
                node("Shape", ["images"], ["axes"], start=3),
                node("ReduceMean", ["images", "axes"], ["answer"]),
            ],
            {},
            "its axes",
        ),
        ([node("Split", ["images"], ["answer", "b"], num_outputs=2)], {}, "parts of unknown size"),
        (
            [node("Resize", ["images", "", "scales"], ["answer"], antialias=1)],
            {"scales": np.ones(4, np.float32)},
            "attribute: antialias",
        ),
    ],
)
def test_what_has_no_known_word_is_refused(
    tmp_path: Path, converted: list[Any], nodes: Any, held: Any, why: str
) -> None:
    path = save(tmp_path / "net.onnx", nodes, 20, **held)
    with pytest.raises(EquiscopeError, match=rf"(?s)could not convert .*net\.onnx.*{why}.*opset_version=17"):
        load_model(str(path))
    assert converted == []


def test_a_file_of_known_words_is_left_as_it_is(tmp_path: Path, converted: list[Any]) -> None:
    path = save(tmp_path / "net.onnx", [node("ReduceMean", ["images"], ["answer"], axes=[1])], 17)
    load_model(str(path))
    assert converted[0] == onnx.load(path)


@pytest.mark.parametrize(
    ("kind", "shape", "wanted"),
    [
        (FLOAT, ("n", 3, 8, 10), lambda images: images),
        (UINT8, ("n", 3, 8, 10), lambda images: (images * 255).round()),
        (UINT8, ("n", 8, 10, 3), lambda images: (images * 255).round().permute(0, 2, 3, 1)),
        (FLOAT, (1, "y", "x", 3), lambda images: images.permute(0, 2, 3, 1)),
        (FLOAT, (1, 3, 3, 3), lambda images: images),
        (6, ("n", 3, "y", "x"), lambda images: (images * 255).round()),
    ],
)
def test_inputs_are_what_the_file_asks_for(
    tmp_path: Path, converted: list[Any], kind: int, shape: Any, wanted: Any
) -> None:
    path = save(
        tmp_path / "net.onnx", [node("Cast", ["images"], ["answer"], to=1)], 13, kind=kind, shape=shape
    )
    images = torch.rand(2, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    prepared = load_model(str(path)).preprocess(images)
    assert torch.equal(prepared, wanted(images))
    # NaN marks what a position sees, and passes.
    assert load_model(str(path)).preprocess(images * torch.nan).isnan().all()


class Net(nn.Module):
    """Uses what a newer set of operators words otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 5, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(F.max_pool2d(self.norm(self.first(x)).relu(), 2))
        x = F.pad(F.interpolate(x, scale_factor=2), (1, 1, 1, 1))
        a, b = x.split([3, 2], 1)
        return torch.cat([a.mean((2, 3)), b.amax((2, 3))], 1)


@needs_onnx2torch
def test_what_torch_exports_by_default_is_read(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    net, example = Net().eval(), torch.rand(1, 3, 32, 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (example,),
            tmp_path / "new.onnx",
            dynamo=True,
            dynamic_shapes={"x": {0: "n", 2: "y", 3: "z"}},
        )
    assert onnx.load(tmp_path / "new.onnx").opset_import[0].version > 17
    model = load_model(str(tmp_path / "new.onnx"))
    assert len(model.resolve_layers()) == 2
    images = torch.rand(2, 3, 48, 36)
    with torch.no_grad():
        torch.testing.assert_close(model.run(images), net(images))


@needs_onnx2torch
def test_a_network_of_bytes_answers_for_bytes(tmp_path: Path) -> None:
    conv = nn.Conv2d(3, 4, 3)
    nodes = [node("Cast", ["images"], ["x"], to=1), node("Conv", ["x", "w", "b"], ["answer"], name="first")]
    held = {"w": conv.weight.detach().numpy(), "b": conv.bias.detach().numpy()}
    path = save(tmp_path / "bytes.onnx", nodes, 13, kind=UINT8, shape=("n", 3, "y", "x"), **held)
    images = torch.rand(2, 3, 8, 10)
    with torch.no_grad():
        wanted = conv((images * 255).round())
    torch.testing.assert_close(load_model(str(path)).record(images, ["first"])["first"], wanted)
