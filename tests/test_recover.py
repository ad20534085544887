"""Circuits of a run: gradients, factors, transposed patterns, causal checks, what is written and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import equiscope
from equiscope.evidence.circuits import Circuits, load_circuits, normalisations, recover_circuits, write_graph
from equiscope.evidence.circuits.circuit import Circuit, CircuitEnd, circuit_id, class_text
from equiscope.evidence.circuits.drawn import weights_path
from equiscope.evidence.circuits.ends import End, family_end
from equiscope.evidence.circuits.factors import find_factors
from equiscope.evidence.circuits.gradients import gradient_weights
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.paths import ExpandedWeights, expanded_weights
from equiscope.evidence.circuits.results import save_circuits
from equiscope.evidence.circuits.tied import tie_circuit
from equiscope.evidence.circuits.transposed import Template, find_transposed
from equiscope.foundations.errors import EquiscopeError
from equiscope.models.geometry import find_geometry
from equiscope.runs.examples import load_examples
from equiscope.runs.manifest import read_geometries
from equiscope.runs.writing import write_json
from equiscope.testing import Planted, equivariant_network
from in_process import run_command


@pytest.fixture(scope="module")
def network() -> Planted:
    return equivariant_network(8)


@pytest.fixture(scope="module")
def run(network: Planted, tmp_path_factory: pytest.TempPathFactory) -> equiscope.Run:
    out = tmp_path_factory.mktemp("circuits") / "run"
    return equiscope.survey(
        network.model, transformations=["rotation"], precision="float32", examples_per_unit=4, out=out
    )


@pytest.fixture(scope="module")
def found(network: Planted, run: equiscope.Run) -> Circuits:
    return recover_circuits(run, network.model, equiscope.open_images(), n_draws=60)


def test_all_weights_of_a_designed_network_are_found_from_its_survey(
    found: Circuits, run: equiscope.Run
) -> None:
    assert len(run.families) == 12
    assert [(p.source, p.target, p.path) for p in found.pairs] == [
        ("lifting", "group1", "expanded"),
        ("group1", "group2", "expanded"),
        ("lifting", "group2", "gradient"),
    ]
    assert not found.skipped
    for pair in found.pairs[:2]:
        own = [c for c in found.circuits if (c.source_layer, c.target_layer) == (pair.source, pair.target)]
        assert len(own) == pair.n_circuits == pair.n_symmetric == 16
        assert {c.circuit_class for c in own} == {"equivariant→equivariant"}
        # Poses come from photographs here, not from the truth.
        assert min(c.r2 for c in own) > 0.98
        assert all(c.r2 > c.r2_null_99 and c.r2_low <= c.r2 <= c.r2_high for c in own)
        shares = {}
        for circuit in own:
            shares[circuit.target] = shares.get(circuit.target, 0.0) + circuit.energy_share
        assert list(shares.values()) == pytest.approx([1.0] * 4)
    assert found.pairs[0].linearised == ("relu: passed on",)
    assert {entry.family for entry in found.confirmations} == {f.id for f in run.families}
    assert all(entry.n_symmetric > 0 and entry.best_r2 > 0.9 for entry in found.confirmations)
    assert all(entry.is_confirmed for entry in found.confirmations)


def test_a_template_keeps_the_tuning_and_a_wrong_pose_breaks_it(found: Circuits) -> None:
    assert len(found.checks) >= 16
    for check in found.checks:
        assert check.template > 0.98
        assert check.template_low <= check.template <= check.template_high
        assert check.template > max(check.zeroed, check.wrong_pose)
    # Each circuit carries about a quarter of its target's weights.
    assert np.median([check.wrong_pose for check in found.checks]) < 0.9


def test_what_was_written_is_read_back(found: Circuits, run: equiscope.Run, tmp_path: Path) -> None:
    again = load_circuits(run.folder)
    assert again is not None
    for part in dataclasses.fields(Circuits):
        ours, theirs = getattr(found, part.name), getattr(again, part.name)
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert repr(a) == repr(b)  # NaN is not equal to itself
    assert load_circuits(tmp_path) is None
    text = (run.folder / "circuits.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert json.loads(text)["circuits"][0]["circuit_class"] == "equivariant→equivariant"
    with np.load(weights_path(run.folder, "lifting", "group1")) as arrays:
        n = len(arrays["ids"])
        assert n == 16
        assert arrays["0:raw"].shape[:2] == (8, 8)
        assert arrays["0:reordered"].shape[:2] == (8, 16)
        assert arrays["0:template"].shape[0] == len(arrays["0:slots"]) == 16
        # Turned back to pose 0 all rows show one kernel for each relative pose; eight poses fill every second slot.
        rows = arrays["0:reordered"].astype(float)
        is_there = np.isfinite(rows).all((2, 3))
        assert is_there.sum() == 64
        assert is_there.all(0).sum() == 8
        spread = rows[:, is_there.all(0)].std(0)
        assert spread.max() < 0.15 * np.nanmax(np.abs(rows))
    write_graph(run, found, tmp_path / "graph.graphml")
    graph = networkx.read_graphml(tmp_path / "graph.graphml")
    assert {name for name, data in graph.nodes(data=True) if data["kind"] == "rotation"} == {
        f.id for f in run.families
    }
    edge = graph.edges["lifting-rotation-1", "group1-rotation-1"]
    assert edge["circuit_class"] == "equivariant→equivariant"
    assert edge["r2"] > 0.98


def as_version_2(circuit: Circuit) -> dict[str, Any]:
    """A circuit as version 2 wrote it: its ends and classes as text."""
    own = dataclasses.asdict(circuit)
    del own["ends"], own["kinds"]
    names = "source target source_layer target_layer rotation_class hue_class scale_class pair_class circuit_class"
    own |= {name: getattr(circuit, name) for name in names.split()}
    own["alternatives"] = [[class_text(kinds), r2] for kinds, r2 in circuit.alternatives]
    return own


def write_version_2(folder: Path, found: Circuits, circuits: Sequence[dict[str, Any]]) -> None:
    document = {"schema_version": 2} | dataclasses.asdict(found) | {"circuits": circuits}
    write_json(folder / "circuits.json", document)


def test_circuits_of_an_earlier_version_are_read(found: Circuits, tmp_path: Path) -> None:
    one = found.circuits[0]
    kinds = ("invariant", "equivariant")
    circuits = [
        *found.circuits,
        dataclasses.replace(one, kinds={"rotation": None, "hue": None}, transformation="hue-rotation"),
        dataclasses.replace(
            one, kinds={"rotation": kinds, "hue": kinds[::-1]}, transformation="hue-rotation",
            alternatives=((kinds, 0.25), (kinds[::-1], 0.5)),
        ),
        dataclasses.replace(one, kinds={"reflection": kinds}, transformation="reflection"),
        # A unit of a layer whose name looks like a unit's, and families of one layer and of several.
        dataclasses.replace(
            one, ends=(CircuitEnd(("x:3",), channel=7), CircuitEnd(("stem+act",), "stem+act-rotation-1"))
        ),
        dataclasses.replace(
            one, kinds={"scale": kinds}, transformation="scale",
            ends=(CircuitEnd(("x:3",), channel=7), CircuitEnd(("a", "b"), "scale-1")),
        ),
    ]  # fmt: skip
    written = [as_version_2(circuit) for circuit in circuits]
    # Before classes of scale were found none were written.
    del written[0]["scale_class"]
    write_version_2(tmp_path, found, written)
    again = load_circuits(tmp_path)
    assert again is not None
    assert [repr(c) for c in again.circuits] == [repr(c) for c in circuits]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"source": 7}, r"circuits\[1\]\.source is '7', expected text"),
        ({"rotation_class": "equivariant"}, r"circuits\[1\] has the class 'equivariant'"),
        (
            {"rotation_class": "equivariant→purple"},
            "has an end that is 'purple', expected equivariant or inv",
        ),
        ({"alternatives": [["turned", 0.5]]}, r"circuits\[1\] has the class 'turned'"),
        ({"alternatives": 3}, r"circuits\[1\]\.alternatives is 3, expected a list"),
        ({"source_layer": None}, r"circuits\[1\]\.source_layer is 'None', expected text"),
        ({"r2": "much"}, r"circuits\[1\]\.r2 is 'much', expected a number"),
    ],
)
def test_nonsense_in_circuits_of_an_earlier_version_is_named(
    found: Circuits, tmp_path: Path, damage: dict[str, Any], said: str
) -> None:
    written = [as_version_2(circuit) for circuit in found.circuits[:3]]
    written[1] |= damage
    write_version_2(tmp_path, found, written)
    with pytest.raises(EquiscopeError, match=said):
        load_circuits(tmp_path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"kinds": {"rotation": ["equivariant", "purple"]}}, "has an end that is 'purple'"),
        (
            {"kinds": {"rotation": ["equivariant"]}},
            r"circuits\[1\]\.kinds\['rotation'\] is list, expected a list of 2",
        ),
        ({"alternatives": [[["purple", "invariant"], 0.5]]}, "has an end that is 'purple'"),
        ({"ends": [{"layers": ["a"], "family": "a-1", "channel": 3}] * 2}, "neither a family nor a unit"),
        ({"ends": [{"layers": ["a"]}] * 2}, "neither a family nor a unit"),
        ({"ends": [{"layers": [], "channel": 3}] * 2}, "neither a family nor a unit"),
        ({"ends": [{"layers": ["a"], "channel": 3}]}, r"circuits\[1\]\.ends is list, expected a list of 2"),
    ],
)
def test_nonsense_in_circuits_is_named(
    found: Circuits, tmp_path: Path, damage: dict[str, Any], said: str
) -> None:
    save_circuits(tmp_path, dataclasses.replace(found, circuits=found.circuits[:3]))
    document = json.loads((tmp_path / "circuits.json").read_text(encoding="utf-8"))
    document["circuits"][1] |= damage
    (tmp_path / "circuits.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(EquiscopeError, match=said):
        load_circuits(tmp_path)


def test_names_of_circuits_are_told_apart() -> None:
    """Two circuits that would be one text if names were only joined by a sign that they may hold."""
    assert circuit_id("a>b", "c") != circuit_id("a", "b>c")
    assert circuit_id("a%3Eb", "c") != circuit_id("a>b", "c")
    assert circuit_id("a-rotation-1", "b:3") == "a-rotation-1>b:3"


def test_the_command_prints_a_table_and_writes_page_and_graph(
    found: Circuits, run: equiscope.Run, tmp_path: Path
) -> None:
    assert found.circuits
    (tmp_path / "net.py").write_text(
        "from equiscope.testing import equivariant_network\ndef network():\n    return equivariant_network(8).model\n"
    )
    shutil.copytree(run.folder, tmp_path / "run")
    done = run_command(
        "circuits",
        "run",
        "net.py:network",
        "--draws",
        "20",
        "--graphml",
        "g.graphml",
        "--verdict",
        "any",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["from", "to", "path"]
    assert [line.split()[:5] for line in lines[1:3]] == [
        ["lifting", "group1", "expanded", "16", "16"],
        ["group1", "group2", "expanded", "16", "16"],
    ]
    assert lines[5:7] == [
        "12 of 12 families have a circuit that turns with them",
        "all their inputs together confirm 12 of 12 families; 0 untested",
    ]
    assert lines[-3:] == [
        f"circuits: {Path('run') / 'circuits.json'}",
        "graph: g.graphml",
        f"report: {Path('run') / 'index.html'}",
    ]
    assert (tmp_path / "g.graphml").exists()
    # Every circuit whose weights were kept has a view, and the report leads there.
    views = list((tmp_path / "run" / "site" / "data" / "circuit").iterdir())
    assert len(views) >= 32
    assert all("In order of relative pose" in path.read_text(encoding="utf-8") for path in views)
    assert 'href="#/circuits"' in (tmp_path / "run" / "index.html").read_text(encoding="utf-8")
    table = list(csv.DictReader(io.StringIO(run_command("export", "run", "circuits", cwd=tmp_path).stdout)))
    assert {row["circuit_class"] for row in table} == {"equivariant→equivariant"}
    families = list(
        csv.DictReader(io.StringIO(run_command("export", "run", "families", cwd=tmp_path).stdout))
    )
    assert all(int(row["circuits_symmetric"]) > 0 for row in families)
    as_json = json.loads(run_command("export", "run", "circuits", "--format", "json", cwd=tmp_path).stdout)
    assert len(as_json["circuits"]) == len(table)
    (tmp_path / "run" / "circuits.json").unlink()
    refused = run_command("export", "run", "circuits", cwd=tmp_path)
    assert refused.returncode == 2
    assert "has no circuits yet: run `equiscope circuits run` first" in refused.stderr


def test_without_images_layers_across_others_are_named(
    network: Planted, run: equiscope.Run, tmp_path: Path
) -> None:
    alone = recover_circuits(
        dataclasses.replace(run, folder=_copied(run, tmp_path)), network.model, n_draws=20
    )
    assert [(s.source, s.target) for s in alone.skipped] == [("lifting", "group2")]
    assert "without images gradients cannot be taken" in alone.skipped[0].reason
    assert len(alone.pairs) == 2
    assert not alone.checks


def _copied(run: equiscope.Run, folder: Path) -> Path:
    (folder / "examples.npz").write_bytes((run.folder / "examples.npz").read_bytes())
    return folder


def test_what_is_not_of_the_run_is_refused(network: Planted, run: equiscope.Run, tmp_path: Path) -> None:
    with pytest.raises(EquiscopeError, match="has other weights than the network of"):
        recover_circuits(run, equivariant_network(8, seed=3).model)
    np.savez(tmp_path / "images.npz", images=np.zeros((2, 40, 40, 3), np.uint8))
    with pytest.raises(EquiscopeError, match="holds other images than those of"):
        recover_circuits(run, network.model, equiscope.open_images(tmp_path / "images.npz"))
    one = dataclasses.replace(run, manifest=run.manifest | {"geometry": run.manifest["geometry"][:1]})
    with pytest.raises(EquiscopeError, match="is a run of one layer"):
        recover_circuits(one, network.model)


def test_a_layer_pair_without_a_linear_path_is_skipped_and_the_rest_computed(tmp_path: Path) -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            self.first, self.second, self.third = nn.Conv2d(3, 8, 5), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)
            for parameter in self.parameters():
                parameter.data.normal_(generator=generator)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.second(torch.relu(self.first(x)))
            return self.third(torch.softmax(x, 1) * x)

    model = equiscope.Model(Gated().eval(), "gated")
    out = equiscope.survey(
        model,
        layers=["first", "second", "third"],
        transformations=["rotation"],
        n_null=2,
        out=tmp_path / "run",
    )
    result = recover_circuits(out, model, equiscope.open_images(), n_draws=10)
    assert [(p.source, p.target, p.path) for p in result.pairs] == [
        ("first", "second", "expanded"),
        ("first", "third", "gradient"),
    ]
    (skipped,) = result.skipped
    assert (skipped.source, skipped.target) == ("second", "third")
    assert "Softmax" in skipped.reason


def test_small_images_do_not_shrink_those_on_which_normalisations_are_measured(tmp_path: Path) -> None:
    for name, height, width in (("a", 90, 70), ("b", 6, 8), ("c", 60, 80)):
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    images = equiscope.open_images(tmp_path)
    assert normalisations._sample(images, 20).shape == (2, 3, 60, 60)
    assert normalisations._sample(images, 100).shape == (1, 3, 70, 70)  # the largest there is


def test_gradients_of_a_linear_network_are_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Conv2d(5, 6, 3)).eval()
    model = equiscope.Model(module, "linear")
    images = equiscope.open_images()
    out = equiscope.survey(
        model, images, ["0", "2"], transformations=["rotation"], n_null=1, out=tmp_path / "run"
    )
    geometries = read_geometries(out.manifest)
    examples = load_examples(out.folder / "examples.npz")[0]["2"]
    exact = expanded_weights(model, geometries["0"], geometries["2"])
    seen: list[int] = []
    (found,) = gradient_weights(
        model, images, [geometries["0"]], geometries["2"], examples, on_units=seen.append
    )
    fires = ~examples.is_inactive
    assert np.abs(found.weights - exact.weights)[fires].max() < 1e-5
    assert found.y_px.tolist() == exact.y_px.tolist()
    assert found.linearised == ("gradient, mean over each target unit's strongest stimuli",)
    assert sum(seen) >= fires.sum()
    assert all(p.grad is None for p in module.parameters())


def test_wide_gradients_are_summed_over_blocks() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 25, bias=False)).eval()
    geometries = find_geometry(equiscope.Model(module), ["0", "1"])
    exact = module[1].weight.detach().numpy()
    from equiscope.evidence.circuits.gradients import _coarse, _coarse_places

    coarse = _coarse(torch.from_numpy(exact)).numpy()
    places = _coarse_places(np.arange(25.0) - 12)
    assert coarse.shape[2:] == (9, 9)
    assert coarse.sum() == pytest.approx(exact.sum(), rel=1e-4)
    assert places.tolist() == [-12.0, -9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0, 12.0]
    assert geometries["1"].receptive_field_px == (25, 25)


# Factors and transposed patterns -------------------------------------------------------------------------------------


def _cells(side: int) -> tuple[np.ndarray, np.ndarray]:
    axis = np.arange(side) - (side - 1) / 2
    y, x = np.meshgrid(-axis, axis, indexing="ij")
    return x.ravel(), y.ravel()


def _lobe(x: np.ndarray, y: np.ndarray, angle: float, sign: float) -> np.ndarray:
    away = (x - 1.5 * np.cos(angle)) ** 2 + (y - 1.5 * np.sin(angle)) ** 2
    return sign * np.exp(-away / 2)


def high_low_pair(noise: float = 0.0) -> tuple[LayerPair, End]:
    """Thirty units excite a family on one side and twenty on the other: the article's two factors; ten do nothing."""
    rng = np.random.default_rng(0)
    x, y = _cells(7)
    angles = np.deg2rad([0.0, 50.0, 95.0, 160.0, 200.0, 290.0])
    loading = rng.uniform(0.3, 1.0, 60)
    kernels = np.zeros((6, 60, 49))
    for v, angle in enumerate(angles):
        for u in range(50):
            kernels[v, u] = loading[u] * _lobe(x, y, angle + (np.pi if u >= 30 else 0.0), 1.0)
    kernels += noise * np.sqrt((kernels**2).mean()) * rng.standard_normal(kernels.shape)
    axis = (np.arange(7) - 3.0) * 4
    weights = ExpandedWeights(
        "early", "late", kernels.reshape(6, 60, 7, 7).astype(np.float32), axis, axis, 4.0, ()
    )
    target = End("late-rotation-1", "late", np.arange(6), angles, None, rotation="equivariant")
    return LayerPair(weights, [], []), target


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_high_and_a_low_factor_fall_out(noise: float) -> None:
    pair, target = high_low_pair(noise)
    found = find_factors(pair, target, n_draws=50)
    assert found is not None
    assert len(found.factors) == 2
    assert found.r2 > found.r2_null_95
    assert found.p_value < 0.05
    groups = [set(factor.channels) for factor in found.factors]
    assert groups[0] <= set(range(30))
    assert groups[1] <= set(range(30, 50))
    assert found.factors[0].share + found.factors[1].share == pytest.approx(1.0)
    first, second = (np.array(factor.template) for factor in found.factors)
    # One excites to the right of the centre, the other to the left.
    assert first[3, 4:].sum() > 5 * abs(first[3, :3].sum())
    assert second[3, :3].sum() > 5 * abs(second[3, 4:].sum())
    assert found.held_out_errors[1] < found.held_out_errors[0] - 0.1 * (noise == 0)


def test_families_of_three_or_without_angles_have_no_factors() -> None:
    pair, target = high_low_pair()
    small = dataclasses.replace(target, channels=np.arange(3), angles=np.arange(3.0))
    assert find_factors(pair, small) is None
    assert find_factors(pair, dataclasses.replace(target, angles=None, hues=np.arange(6.0))) is None


def test_a_pattern_used_backwards_is_recognised() -> None:
    x, y = _cells(7)
    cells = np.stack([x, y], axis=1)
    pattern = _lobe(x, y, 0.4, 1.0) + 0.6 * _lobe(x, y, 2.2, -1.0)
    turned = _lobe(-x, -y, 0.4 + 1.3, 1.0) + 0.6 * _lobe(-x, -y, 2.2 + 1.3, -1.0)
    rng = np.random.default_rng(1)
    others = [
        Template(f"other {i}", bool(i % 2), rng.standard_normal(49) * np.exp(-(x**2 + y**2) / 6), cells)
        for i in range(20)
    ]
    found = find_transposed(
        [Template("to", True, pattern, cells), Template("from", False, turned, cells), *others]
    )
    assert (found[0].forward, found[0].backward) == ("to", "from")
    assert found[0].cosine > 0.98
    assert min(abs(found[0].turn_deg - 74.5), abs(found[0].turn_deg - 285.5)) < 6
    assert len(found) <= 2
    assert find_transposed([Template("to", True, pattern, cells)]) == ()


def test_a_wrong_pose_is_half_a_period_away(run: equiscope.Run, network: Planted) -> None:
    geometries = read_geometries(run.manifest)
    weights = expanded_weights(network.model, geometries["lifting"], geometries["group1"])
    pair = LayerPair(weights, run.families, run.units)
    source, target = pair.sources[0], pair.targets[0]
    right, wrong = (tie_circuit(pair, source, target, wrong_pose=is_wrong) for is_wrong in (False, True))
    size = np.linalg.norm(right.raw)
    assert np.linalg.norm(right.tied - right.raw) < 0.15 * size
    assert np.linalg.norm(wrong.tied - right.raw) > 0.5 * size
    assert np.linalg.norm(wrong.tied) == pytest.approx(np.linalg.norm(right.tied), rel=0.05)
    assert family_end(run.families[0]) is not None
