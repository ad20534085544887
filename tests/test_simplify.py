"""Tied templates put back: a network of exact families loses nothing but as many parameters as are predicted."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from typer.testing import CliRunner

from circuit_run import make_circuit
from equiscope.cli import app
from equiscope.construction.simplify import (
    Curve,
    EvaluationImages,
    Simplification,
    load_simplification,
    open_evaluation,
    simplification,
    simplify_run,
)
from equiscope.construction.simplify.baselines import low_rank, prune
from equiscope.construction.simplify.evaluation import (
    compare_predictions,
    load_batch,
    measure_moments,
    recalibrate,
)
from equiscope.construction.simplify.templates import ends_of, join_ends, kernel_functions, tie_weights
from equiscope.construction.simplify.wiring import Wire, find_wires
from equiscope.evidence.circuits import load_circuits
from equiscope.families.family import Family, Symmetry, Unit
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.options import Options
from equiscope.models import Model, load_model
from equiscope.models.connections import IMAGE
from equiscope.models.geometry import find_geometry
from equiscope.reports import save_report
from equiscope.runs.findings import families_document, units_document
from equiscope.runs.run import Run
from equiscope.runs.writing import write_json
from equiscope.testing import planted_circuits
from hand_made import IMAGES, SETTINGS, a_family, a_member
from site_document import site_document

N_CLASSES = 5
POSES = (0, 90, 180, 270)
# Channels of the two layers: families of four, units that rotation leaves as they are, others.
FIRST: dict[str, Any] = {"families": ((3, 0, 5, 8), (1, 9, 2, 7)), "invariant": (4, 10), "neither": (6, 11)}
SECOND: dict[str, Any] = {"families": ((2, 6, 0, 4), (8, 1, 3, 9)), "invariant": (5,), "neither": (7, 10)}
# By hand, of 3 x 3 kernels: from colours to a family 27 of 108 stay; between families 36 of 144; from a unit to a
# family and from a family to a unit 9 of 36. Members of families keep a factor each.
REMOVED = 2 * (108 - 27) + 4 * (144 - 36) + 2 * 2 * (36 - 9) + 2 * 1 * (36 - 9) - 8 - 8


class Tied(nn.Module):
    """Two convolutions, behind the first of which units are pooled and joined to others in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Conv2d(3, 12, 3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.late = nn.Conv2d(12, 11, 3, padding=1)
        self.classifier = nn.Linear(11, N_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.late(self.pool(torch.relu(self.early(x)))))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def turned(kernel: Tensor, quarter: int) -> Tensor:
    """Counter-clockwise on screen."""
    return torch.rot90(kernel, quarter % 4, (-2, -1))


def tied_network(seed: int = 0, noise: float = 0.0) -> Model:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    module = Tied()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * draw(*parameter.shape))
        for family in FIRST["families"]:
            template = 0.3 * draw(3, 3, 3)
            for quarter, channel in enumerate(family):
                module.early.weight[channel] = turned(template, quarter)
        late = module.late.weight
        for target in SECOND["families"]:
            for source in FIRST["families"]:
                template = 0.3 * draw(4, 3, 3)
                for b, v in enumerate(target):
                    for a, u in enumerate(source):
                        late[v, u] = turned(template[(a - b) % 4], b)
            for u in FIRST["invariant"]:
                template = 0.3 * draw(3, 3)
                for b, v in enumerate(target):
                    late[v, u] = turned(template, b)
        for v in SECOND["invariant"]:
            for source in FIRST["families"]:
                template = 0.3 * draw(3, 3)
                for a, u in enumerate(source):
                    late[v, u] = turned(template, a)
        for convolution in (module.early, module.late):
            convolution.weight += noise * draw(*convolution.weight.shape)
    return Model(module.eval(), "tied", default_layers=("early", "late"), input_size_px=24)


def family_of(name: str, layer: str, channels: tuple[int, ...]) -> Family:
    members = sorted(zip(channels, POSES, strict=True))
    own = [a_member(layer, channel, angle_deg=float(pose)) for channel, pose in members]
    return a_family("rotation", own, name=name)


def run_of(folder: Path, model: Model) -> Run:
    families, units = [], []
    for layer, groups in (("early", FIRST), ("late", SECOND)):
        kinds = {c: Symmetry("rotation", kind) for kind in ("invariant", "neither") for c in groups[kind]}
        for index, channels in enumerate(groups["families"]):
            families.append(family_of(f"{layer}-rotation-{index}", layer, channels))
            kinds |= {c: Symmetry("rotation", "equivariant", families[-1].id) for c in channels}
        units += [Unit(layer, c, 0.0, 1.0, (kinds[c],)) for c in sorted(kinds)]
    geometry = find_geometry(model, ["early", "late"])
    manifest = {
        "schema_version": 2,
        "is_complete": True,
        "model": {"name": model.name, "weights_sha256": model.weights_sha256()},
        "images": IMAGES,
        "settings": SETTINGS | {"layers": ["early", "late"], "transformations": ["rotation"]},
        "geometry": [dataclasses.asdict(g) for g in geometry.values()],
    }
    write_json(folder / "run.json", manifest)
    write_json(folder / "units.json", units_document(units))
    write_json(folder / "families.json", families_document(families))
    return Run(folder, manifest, tuple(units), tuple(families))


def draw_class_folders(folder: Path, n: int = 20) -> Path:
    rng = np.random.default_rng(1)
    for label in range(N_CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
        for index in range(n):
            pixels = rng.integers(0, 256, (7, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).resize((40, 30)).save(folder / f"class{label}" / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_class_folders(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def images(folders: Path) -> EvaluationImages:
    return open_evaluation(folders, n_logits=N_CLASSES, side_px=28)


def simplified(
    folder: Path,
    model: Model,
    images: EvaluationImages,
    *,
    crop_px: int | None = None,
    save: Path | None = None,
    **asked: Any,
) -> Simplification:
    curve = Curve(**{"n_calibration": 40, "n_points": 3} | asked)
    options = Options(precision="float32")
    return simplify_run(
        run_of(folder, model), model, images, curve, crop_px=crop_px, save=save, options=options
    )


def of(result: Simplification, method: str) -> list:
    return [point for point in result.points if point.method == method]


# --- exact families ------------------------------------------------------------------------------------------


def test_exact_families_cost_nothing_and_save_what_is_predicted(
    tmp_path: Path, images: EvaluationImages
) -> None:
    model = tied_network()
    before = model.weights_sha256()
    result = simplified(tmp_path, model, images, save=tmp_path / "small.safetensors")
    last = of(result, "tied")[-1]
    assert last.n_removed == REMOVED
    assert last.n_free == model.module.early.weight.numel() + model.module.late.weight.numel() - REMOVED
    assert last.error < 1e-10
    assert last.plain.agreement == last.recalibrated.agreement == 1.0
    assert last.plain.difference == 0.0
    # The network itself, on pictures that nothing was measured on.
    small = tied_network()
    small.module.load_state_dict(load_file(tmp_path / "small.safetensors"))
    pictures = torch.rand(6, 3, 31, 24, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        away = (small.module(pictures) - model.module(pictures)).abs().max()
    assert float(away) < 1e-5
    assert model.weights_sha256() == before
    assert [p.n_removed for p in of(result, "tied")] == sorted(p.n_removed for p in of(result, "tied"))


def test_wrong_poses_and_less_symmetric_ways_lose_much(tmp_path: Path, images: EvaluationImages) -> None:
    result = simplified(tmp_path, tied_network(), images)
    # Half of the weights of a random kernel hold nearly all of its energy, half of its parameters in two factors less.
    least_lost = {"wrong poses": 0.2, "magnitude in blocks": 0.02, "magnitude": 0.005, "low rank": 0.05}
    assert {p.method for p in result.points} == {"tied", *least_lost}
    for method, least in least_lost.items():
        last = of(result, method)[-1]
        assert last.error > least, method
        assert last.plain.agreement < 1.0, method
        assert last.n_free <= of(result, "tied")[-1].n_free
    assert of(result, "wrong poses")[-1].n_removed == REMOVED
    for convolution in result.convolutions:
        assert convolution.explained > 1 - 1e-10
        assert convolution.explained_wrong < 0.8
    assert {c.name: (c.source, c.target, c.n_weights) for c in result.convolutions} == {
        "early": (IMAGE, "early", 12 * 27),
        "late": ("early", "late", 11 * 12 * 9),
    }


def test_layer_by_layer_each_point_has_one_layer_more(
    tmp_path: Path, images: EvaluationImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = []
    change = simplification._changed

    def note(model: Model, weights: Any) -> Model:
        changes.append(weights)
        return change(model, weights)

    monkeypatch.setattr(simplification, "_changed", note)
    model = tied_network(noise=0.1)
    result = simplified(tmp_path, model, images, order="layers", methods=("tied", "wrong poses"))
    early = 2 * (108 - 27) - 8
    assert [(p.layer, p.n_removed) for p in of(result, "tied")] == [("early", early), ("late", REMOVED)]
    assert [p.layer for p in of(result, "wrong poses")] == ["early", "late"]
    assert of(result, "wrong poses")[0].n_removed >= early
    assert len(changes) == 4
    for index, weights in enumerate(changes):
        late = model.module.late.weight.detach().double().numpy()
        assert np.array_equal(weights["late"], late) == (index % 2 == 0)
        assert not np.array_equal(weights["early"], model.module.early.weight.detach().double().numpy())
    assert load_simplification(tmp_path) == result


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_noise_is_lost_as_far_as_it_is_outside_the_template(tmp_path: Path, noise: float) -> None:
    model, exact = tied_network(noise=noise), tied_network()
    run = run_of(tmp_path, model)
    wire = find_wires(model, ["early", "late"])[1]
    ends = {layer: ends_of(run.families, run.units, layer, "rotation") for layer in ("early", "late")}
    joints = join_ends(wire, ends["early"], ends["late"], kernel_functions(3, 3))
    weights = model.module.late.weight.detach().double().numpy()
    tie = tie_weights(weights, joints, np.ones(12), np.ones(11))
    n_tied, n_free = (sum(getattr(b, name) for b in tie.blocks) for name in ("n_weights", "n_free"))
    error = sum(block.error for block in tie.blocks)
    assert error == pytest.approx(noise**2 * (n_tied - n_free), rel=0.12)
    # Averaging over copies brings weights nearer to what they were before the noise.
    was = exact.module.late.weight.detach().double().numpy()
    assert ((tie.weights - was) ** 2).sum() < 0.6 * ((weights - was) ** 2).sum()


def test_irregular_poses_are_tied_as_circuits_plant_them() -> None:
    planted = planted_circuits(seed=2)
    model = planted.model
    (wire,) = (w for w in find_wires(model, ["early", "late"]) if w.target == "late")
    ends = {layer: ends_of(planted.families, planted.units, layer, "rotation") for layer in ("early", "late")}
    weights = model.module.late.weight.detach().double().numpy()  # type: ignore[union-attr,operator]
    joints = join_ends(wire, ends["early"], ends["late"], kernel_functions(9, 9))
    tie = tie_weights(weights, joints, np.ones(23), np.ones(21))
    assert {(b.source, b.target) for b in tie.blocks} == set(planted.classes)
    for block in tie.blocks:
        assert block.n_free < block.n_weights
        assert block.error < 0.01 * block.energy
    loose = planted_circuits(seed=2, is_tied=False).model.module.late.weight.detach().double().numpy()  # type: ignore[union-attr,operator]
    free = tie_weights(loose, joints, np.ones(23), np.ones(21)).blocks
    assert sum(b.error for b in free) > 0.4 * sum(b.energy for b in free)


def test_channels_in_another_order_give_the_same_blocks() -> None:
    planted = planted_circuits(seed=2)
    ends = {layer: ends_of(planted.families, planted.units, layer, "rotation") for layer in ("early", "late")}
    weights = planted.model.module.late.weight.detach().double().numpy()  # type: ignore[union-attr,operator]
    rng = np.random.default_rng(0)
    # A branch of some of the layer's units, behind a shuffled concatenation with three channels that are none.
    source_units = rng.permutation(np.concatenate([np.arange(23), [-1] * 3]))
    target_units = rng.permutation(21)[:15]
    picked = rng.normal(size=(15, 26, 9, 9))
    is_unit = source_units >= 0
    picked[:, is_unit] = weights[np.ix_(target_units, source_units[is_unit])]
    wire = Wire("late", "early", "late", source_units, target_units)
    tie = tie_weights(
        picked, join_ends(wire, ends["early"], ends["late"], kernel_functions(9, 9)), np.ones(26), np.ones(15)
    )
    assert {(b.source, b.target) for b in tie.blocks} <= set(planted.classes)
    invariant = {c for _, c in planted.classes if c.removeprefix("late:").isdigit()}
    n_invariant = len(invariant & {f"late:{unit}" for unit in target_units})
    assert len(tie.blocks) == 4 + 2 * 3 + 2 * n_invariant
    for block in tie.blocks:
        assert block.error < 0.01 * block.energy
        unit = block.source.removeprefix("early:")
        if unit.isdigit():
            assert source_units[block.columns].tolist() == [int(unit)]
    assert (tie.weights[:, ~is_unit] == picked[:, ~is_unit]).all()


def test_only_circuits_are_tied_if_asked(tmp_path: Path, images: EvaluationImages) -> None:
    model = tied_network()
    with pytest.raises(EquiscopeError, match="has no circuits yet, so none can be tied"):
        simplified(tmp_path, model, images, blocks="circuits")
    kept = make_circuit("early-rotation-0", "late-rotation-1")
    other = make_circuit("early-rotation-1", "late-rotation-1", kinds={"rotation": None})
    empty: dict[str, list] = {
        name: [] for name in ("pairs", "skipped", "factors", "transposed", "checks", "confirmations")
    }
    entries = [dataclasses.asdict(circuit) for circuit in (kept, other)]
    write_json(tmp_path / "circuits.json", {"schema_version": 2, **empty, "circuits": entries})
    assert load_circuits(tmp_path) is not None
    result = simplified(tmp_path, model, images, blocks="circuits")
    assert of(result, "tied")[-1].n_removed == 144 - 36 - 4
    assert [(c.name, c.n_blocks) for c in result.convolutions] == [("late", 1)]


# --- which convolutions --------------------------------------------------------------------------------------


class Branches(nn.Module):
    """Layers behind normalisation, in other orders, beside each other, and one that mixes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.mixing = nn.Conv2d(6, 6, 1)
        self.left = nn.Conv2d(6, 4, 1)
        self.right = nn.Conv2d(6, 3, 3, padding=1)
        self.deep = nn.Conv2d(6, 2, 1)
        self.joined = nn.Identity()
        self.last = nn.Conv2d(9, 5, 3, padding=1)
        self.grouped = nn.Conv2d(5, 5, 3, padding=1, groups=5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.a(x)))
        pooled = torch.max_pool2d(x, 3, 2, 1)
        parts = [self.right(pooled.flip(1)), self.left(pooled), self.deep(torch.relu(self.mixing(pooled)))]
        joined = self.joined(torch.cat(parts, 1))
        out: Tensor = self.grouped(self.last(torch.relu(joined)))
        return out


def test_wires_are_found_whatever_lies_between() -> None:
    torch.manual_seed(0)
    model = Model(Branches().eval(), "branches", input_size_px=40)
    wires = {wire.name: wire for wire in find_wires(model, ["norm", "joined", "last"])}
    assert set(wires) == {"a", "left", "right", "last"}
    assert (wires["a"].source, wires["a"].target) == (IMAGE, "norm")
    assert wires["right"].source_units.tolist() == [5, 4, 3, 2, 1, 0]
    assert wires["right"].target_units.tolist() == [0, 1, 2]
    assert wires["left"].source_units.tolist() == [0, 1, 2, 3, 4, 5]
    assert wires["left"].target_units.tolist() == [3, 4, 5, 6]
    assert (wires["last"].source, wires["last"].target) == ("joined", "last")
    assert wires["last"].source_units.tolist() == list(range(9))


class Residual(nn.Module):
    """Two stems on the image, a shortcut with two layers added to it, a depthwise and a computed kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 2, 1)
        self.stem = nn.Identity()
        self.narrow, self.wide = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 3, padding=1)
        self.side, self.after = nn.Conv2d(6, 6, 1), nn.Conv2d(12, 5, 1)
        self.depthwise, self.behind = nn.Conv2d(5, 5, 3, groups=5), nn.Conv2d(5, 4, 1)
        self.computed = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
        self.last = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(torch.cat([self.two(x.flip(1)), self.one(x)], 1))
        total = torch.relu(stem) + self.wide(torch.relu(self.narrow(torch.relu(stem)))).flip(1)
        after = torch.relu(self.after(torch.cat([total, self.side(total)], 1)))
        out: Tensor = self.last(self.computed(self.behind(self.depthwise(after))))
        return out


ALL = ("stem", "narrow", "wide", "side", "after", "depthwise", "behind", "computed", "last")


def wires_of(*without: str) -> dict[str, tuple[str, str, list[int], list[int]]]:
    wires = find_wires(Model(Residual()), [layer for layer in ALL if layer not in without])
    return {w.name: (w.source, w.target, w.source_units.tolist(), w.target_units.tolist()) for w in wires}


def test_of_several_layers_the_last_counts() -> None:
    found = wires_of()
    assert list(found) == ["one", "two", "narrow", "wide", "side", "after", "behind", "last"]
    assert found["one"] == (IMAGE, "stem", [0, 1, 2], [2, 3, 4, 5])
    assert found["two"] == (IMAGE, "stem", [2, 1, 0], [0, 1])
    # The sum of the stem and of what is added to it.
    assert found["side"] == ("wide", "side", [5, 4, 3, 2, 1, 0], list(range(6)))
    assert found["after"] == ("side", "after", [-1] * 6 + list(range(6)), list(range(5)))
    assert found["behind"] == ("depthwise", "behind", list(range(5)), list(range(4)))
    assert found["last"] == ("computed", "last", list(range(4)), list(range(3)))


def test_what_was_not_surveyed_is_no_unit() -> None:
    found = wires_of("wide", "side", "depthwise")
    # Sums with an unsurveyed branch, and what is behind a kernel that would turn with its unit.
    assert list(found) == ["one", "two", "narrow", "last"]
    assert wires_of("wide")["after"][0] == "side"
    assert list(wires_of("narrow")) == ["one", "two", "side", "after", "behind", "last"]


def test_several_places_to_go() -> None:
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.left, self.right = nn.Conv2d(3, 7, 1), nn.Identity(), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            right: Tensor = self.right(x[:, 3:])
            return self.left(x[:, :4]).sum() + right

    (wire,) = find_wires(Model(Split()), ["left", "right"])
    # The first in the forward pass, whatever the order of the survey.
    assert (wire.target, wire.target_units.tolist()) == ("right", [-1] * 3 + [0, 1, 2, 3])


def test_a_mixture_of_units_is_none() -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(6, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            out: Tensor = self.last(torch.cat([torch.softmax(x, 1), x[:, [3, 1]]], 1))
            return out

    wire = find_wires(Model(Mixing()), ["stem", "last"])[1]
    assert wire.source_units.tolist() == [-1] * 4 + [3, 1]


# --- other ways, accuracy, recalibration ---------------------------------------------------------------------


def test_pruning_and_low_rank_keep_to_the_budget() -> None:
    rng = np.random.default_rng(0)
    # One of low rank, one without.
    weights = {
        "a": (rng.normal(size=(20, 3)) @ rng.normal(size=(3, 90))).reshape(20, 10, 3, 3),
        "b": rng.normal(size=(8, 16, 1, 1)),
    }
    importance = {name: np.ones(w.shape[:2]) for name, w in weights.items()}
    pruned, n = prune(weights, importance, 700)
    assert n == sum(int((w != 0).sum()) for w in pruned.values()) == 700
    least = min(np.abs(w[w != 0]).min() for w in pruned.values())
    assert least >= max(np.abs(weights[k][pruned[k] == 0]).max() for k in weights)
    exact, n = low_rank(weights, importance, 3 * (20 + 90) + 128)
    assert n == 3 * 110 + 128
    assert all(np.abs(exact[k] - weights[k]).max() < 1e-10 for k in weights)
    less, n = low_rank(weights, importance, 250)
    assert n <= 250
    ranks = {k: np.linalg.matrix_rank(w.reshape(len(w), -1)) for k, w in less.items()}
    spent = sum(
        w.size if ranks[k] == 8 and k == "b" else ranks[k] * sum(w.reshape(len(w), -1).shape)
        for k, w in less.items()
    )
    assert spent == n
    # One price buys ranks 0 or all of a matrix without structure; what is left over is spent.
    noise = {"c": rng.normal(size=(24, 12, 3, 3))}
    _, n = low_rank(noise, {"c": np.ones((24, 12))}, 2550)
    assert n == 19 * (24 + 108)
    every, n = prune(weights, importance, 10**6)
    assert n == 1928
    assert all((every[k] == weights[k]).all() for k in weights)
    # Only here, though weights there are smaller.
    only = {"a": np.zeros((20, 10), bool), "b": np.zeros((8, 16), bool)}
    only["a"][3:5, 2:9] = True
    inside, n = prune(weights, importance, 1928 - 100, only)
    assert n == 1828
    assert (inside["b"] == weights["b"]).all()
    assert (inside["a"] == weights["a"])[~only["a"]].all()
    assert (inside["a"][3:5, 2:9] == 0).sum() == 100
    # What matters more stays.
    importance["b"] = 1e6 * importance["b"]
    assert (prune(weights, importance, 128)[0]["b"] != 0).all()


def test_differences_are_paired() -> None:
    labels = np.arange(400) % 7
    before = np.where(np.arange(400) < 300, labels, (labels + 1) % 7)
    after = np.where((np.arange(400) >= 12) & (np.arange(400) < 304), labels, (labels + 2) % 7)
    score = compare_predictions(after, before, labels)
    assert score.top1 == pytest.approx(292 / 400)
    assert score.difference == pytest.approx((4 - 12) / 400)
    # Sixteen images changed sides: the interval is that of their sum, far narrower than of two samples.
    sd = math.sqrt(16 / 400 - 0.02**2) / 20
    assert score.difference_high - score.difference_low == pytest.approx(2 * 1.96 * sd, rel=0.15)
    assert score.high - score.low > 0.08
    assert score.agreement == pytest.approx((304 - 12) / 400, abs=0.05)


def test_recalibration_gives_moments_back(images: EvaluationImages) -> None:
    model, changed = tied_network(), tied_network()
    batch = load_batch(images.calibration, 30, 24)
    wanted = measure_moments(model, batch)
    with torch.no_grad():
        changed.module.early.weight *= torch.linspace(0.5, 2, 12)[:, None, None, None]
        changed.module.late.weight += 0.1
        changed.module.late.bias = None
    off = measure_moments(changed, batch)
    assert np.abs(off["late"].sd / wanted["late"].sd - 1).max() > 0.1
    recalibrate(changed, batch, wanted)
    found = measure_moments(changed, batch)
    for name in ("early", "late"):
        np.testing.assert_allclose(found[name].mean, wanted[name].mean, atol=1e-4)
        np.testing.assert_allclose(found[name].sd, wanted[name].sd, rtol=1e-4)
    # Factors alone, where nothing else was changed.
    assert torch.allclose(changed.module.early.weight, model.module.early.weight, atol=1e-5)


# --- what users give -----------------------------------------------------------------------------------------


def write_pictures(folder: Path, n: int = 12) -> Path:
    folder.mkdir()
    for index in range(n):
        Image.new("RGB", (12, 10), (20 * index, 0, 0)).save(folder / f"{index:02d}.png")
    return folder


def write_labels(path: Path, lines: list[str], header: str = "file,label") -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_labels_from_a_table(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures")
    lines = [f"{i:02d}.png,{name},x" for i, name in enumerate("cab")] + ["07.png,,x"]
    labels = write_labels(tmp_path / "labels.csv", lines, "name,kind,other")
    opened = open_evaluation(folder, n_logits=3, side_px=10, labels=labels, label_column="kind")
    assert opened.evaluated.labels.tolist() == [2, 0, 1]
    assert len(opened.calibration) == 9
    red = [int(opened.calibration.load(i)[0, 0, 0]) for i in range(9)]
    assert red == [20 * i for i in range(3, 12)]
    named = open_evaluation(
        folder, n_logits=4, side_px=10, labels=labels, label_column="kind", classes=["b", "x", "c", "a"]
    )
    assert named.evaluated.labels.tolist() == [2, 3, 0]
    numbers = write_labels(tmp_path / "numbers.csv", ["04.png,6", "02.png,0"])
    opened = open_evaluation(folder, n_logits=7, side_px=10, labels=numbers)
    assert opened.evaluated.labels.tolist() == [0, 6]


def test_what_cannot_be_evaluated_is_told(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures")

    def opened(lines: list[str], header: str = "file,label", **more: list[str]) -> Callable[[], object]:
        def call() -> object:
            labels = write_labels(tmp_path / "labels.csv", lines, header)
            return open_evaluation(folder, n_logits=3, side_px=10, labels=labels, **more)  # type: ignore[arg-type]

        return call

    cases = {
        "go up to 3, expected 0 to 2": opened(["00.png,3"]),
        "unknown image of .*'0.png'": opened(["0.png,1"]),
        "has 2 classes, the network 3": opened(["00.png,a", "01.png,b"]),
        "2 classes are named, the network has 3": opened(["00.png,a"], classes=["a", "b"]),
        "unknown class 'd'": opened(["00.png,d"], classes=["a", "b", "c"]),
        "unknown column of": opened(["00.png,1"], header="file,labels"),
        "unknown image of .*''": opened(["0"], header="label,file"),
        "no line of .* has a label": opened(["00.png,"]),
        "so none is left to recalibrate with": opened([f"{i:02d}.png,{i % 3}" for i in range(12)]),
    }
    for message, call in cases.items():
        with pytest.raises(EquiscopeError, match=message):
            call()
    with pytest.raises(EquiscopeError, match="no class folder"):
        open_evaluation(folder, n_logits=3, side_px=10)
    tar = tmp_path / "photos.tar"
    tar.write_bytes(b"")
    with pytest.raises(EquiscopeError, match="images without labels"):
        open_evaluation(tar, n_logits=3, side_px=10)
    with pytest.raises(EquiscopeError, match="cannot read the labels"):
        open_evaluation(folder, n_logits=3, side_px=10, labels=tmp_path / "none.csv")
    with pytest.raises(EquiscopeError, match="there is no file or folder"):
        open_evaluation(tmp_path / "none", n_logits=3, side_px=10, labels=tmp_path / "labels.csv")


def test_what_cannot_be_simplified_is_told(tmp_path: Path, images: EvaluationImages) -> None:
    model = tied_network()
    with pytest.raises(EquiscopeError, match="unknown transformation to tie"):
        simplified(tmp_path, model, images, transformation="reflection")
    with pytest.raises(EquiscopeError, match="unknown choice of blocks"):
        simplified(tmp_path, model, images, blocks="some")
    with pytest.raises(EquiscopeError, match="unknown order of blocks"):
        simplified(tmp_path, model, images, order="late")
    with pytest.raises(EquiscopeError, match="unknown method"):
        simplified(tmp_path, model, images, methods=("tide",))
    with pytest.raises(EquiscopeError, match="give a larger --resize"):
        simplified(tmp_path, model, images, crop_px=29)
    with pytest.raises(EquiscopeError, match="no convolution of tied joins families under hue"):
        simplified(tmp_path, model, images, transformation="hue")
    run = run_of(tmp_path, model)
    with pytest.raises(EquiscopeError, match="has other weights than the network of"):
        simplify_run(run, tied_network(seed=1), images, Curve())
    with pytest.raises(EquiscopeError, match="n_points is 0, expected a whole number from 1"):
        simplify_run(run, model, images, Curve(n_points=0))
    with pytest.raises(EquiscopeError, match="does not say on what size of image"):
        simplify_run(run, dataclasses.replace(model, input_size_px=None), images, Curve())
    # A family of four on one unit, with kernels of one cell: three weights less, and four factors.
    model.module.late = nn.Conv2d(12, 11, 1)
    run = run_of(tmp_path, model)
    run = dataclasses.replace(
        run,
        families=tuple(f for f in run.families if f.id == "late-rotation-0"),
        units=tuple(
            u
            for u in run.units
            if (u.layer, u.channel) in {("early", 4), *(("late", c) for c in (2, 6, 0, 4))}
        ),
    )
    with pytest.raises(EquiscopeError, match="would save no parameter"):
        simplify_run(run, model, images, Curve())


# --- what is left --------------------------------------------------------------------------------------------


def write_factory(folder: Path) -> str:
    """Write the network down as the command line takes it."""
    (folder / "net.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_simplify import tied_network\n\n\ndef factory():\n    return tied_network()\n"
    )
    return f"{folder / 'net.py'}:factory"


def test_the_command_leaves_table_picture_and_network(
    tmp_path: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of(tmp_path, tied_network())
    save_report(tmp_path, site_document(tmp_path))
    assert 'href="#/simplify"' not in (tmp_path / "index.html").read_text()
    command = [
        "simplify", str(tmp_path), write_factory(tmp_path), "--images", str(folders), "--points", "2",
        "--calibration", "20", "--evaluated", "6", "--save", str(tmp_path / "small.safetensors"),
    ]  # fmt: skip
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "wrong poses" in result.output
    assert str(REMOVED) in result.output
    found = load_simplification(tmp_path)
    assert found is not None
    assert found.n_images == 6
    assert (found.crop_px, found.resized_px) == (24, 27)
    picture = (tmp_path / "simplify.svg").read_text()
    # A title a point in both panels, and that of the whole.
    assert picture.count("<title>") == 2 * len(found.points) + 1
    assert "nan" not in picture.lower()
    assert f"report: {tmp_path / 'index.html'}" in result.output
    assert 'href="#/simplify"' in (tmp_path / "index.html").read_text()
    assert set(load_file(tmp_path / "small.safetensors")) == set(tied_network().module.state_dict())
    document = json.loads((tmp_path / "simplify.json").read_text())
    assert document["points"][0]["plain"]["top1"] == found.points[0].plain.top1
    assert load_simplification(tmp_path / "none") is None
    # Files from before there were two orders.
    for entry in (document, *document["points"]):
        del entry["layer" if "method" in entry else "order"]
    write_json(tmp_path / "simplify.json", document)
    assert load_simplification(tmp_path) == found


def test_the_command_shows_layers(tmp_path: Path, folders: Path) -> None:
    run_of(tmp_path, tied_network())
    command = [
        "simplify", str(tmp_path), write_factory(tmp_path), "--images", str(folders), "--order", "layers",
        "--calibration", "20", "--evaluated", "6", "--methods", "tied",
    ]  # fmt: skip
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines() if line.startswith("tied ")]
    assert [row[1] for row in rows] == ["early", "late"]


def test_the_embedded_network_can_be_simplified() -> None:
    model = load_model("mini")
    layers = ["conv2d0", "conv2d1", "mixed3a", "mixed3b"]
    wires = find_wires(model, layers)
    assert {(w.name, w.source, w.target) for w in wires} == {
        ("conv2d0", "image", "conv2d0"),
        ("conv2d1", "conv2d0", "conv2d1"),
        ("mixed3a.1x1", "conv2d1", "mixed3a"),
        ("mixed3a.pool_reduce", "conv2d1", "mixed3a"),
        ("mixed3b.1x1", "mixed3a", "mixed3b"),
        ("mixed3b.pool_reduce", "mixed3a", "mixed3b"),
    }
