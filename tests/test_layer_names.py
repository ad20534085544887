"""Layers may be called anything: no stage of evidence takes a sign in a name for one of its own."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import OrderedDict
from pathlib import Path

import networkx
import numpy as np
import pytest
from torch import nn

import equiscope
from equiscope import ImageSet, Model, Run
from equiscope.evidence.circuits import Circuits, load_circuits, recover_circuits, write_graph
from equiscope.evidence.circuits.drawn import weights_path
from equiscope.evidence.circuits.neighbours import load_neighbours
from equiscope.evidence.compare.comparison import load_comparisons
from equiscope.evidence.compare.runs import compare_runs
from equiscope.evidence.featurevis import load_visualisations, visualise_run
from equiscope.evidence.verify.verification import load_verification
from equiscope.evidence.verify.whole_run import verify_run
from equiscope.foundations.options import Options
from equiscope.testing import equivariant_network

PLAIN = ("lifting", "group1", "group2")
# Signs that join layers, that join the ends of a circuit, that join layer and channel, and a folder above.
STRANGE = [("stem+act", "a>b", "x:3"), ("..", "x:3", "stem+act")]


def renamed_network(names: tuple[str, ...]) -> Model:
    """The equivariant network of four fields a layer, its layers under other names."""
    plain = equivariant_network(4)
    stages = dict(plain.model.module.named_children())
    new = dict(zip(PLAIN, names, strict=True))
    module = nn.Sequential()
    # add_module refuses a point in a name; what has been loaded from elsewhere may have one.
    module._modules = OrderedDict((new.get(name, name), stage) for name, stage in stages.items())
    return Model(module.eval(), name="renamed", default_layers=names)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return equiscope.open_images()


def survey(names: tuple[str, ...], out: Path) -> tuple[Run, Model]:
    model = renamed_network(names)
    run = equiscope.survey(
        model, transformations=["rotation"], precision="float32", examples_per_unit=4, n_null=5, out=out
    )
    return run, model


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, images: ImageSet) -> tuple[Run, Model, Circuits]:
    run, model = survey(PLAIN, tmp_path_factory.mktemp("plain") / "run")
    return run, model, recover_circuits(run, model, images, n_draws=20)


@pytest.fixture(scope="module", params=STRANGE, ids=" ".join)
def strange(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Model, tuple[str, ...]]:
    run, model = survey(request.param, tmp_path_factory.mktemp("strange") / "run")
    return run, model, request.param


def figures(circuits: Circuits) -> list[tuple[object, ...]]:
    return [(c.kinds, c.n_source, c.n_target, c.r2, c.q_value, c.energy_share) for c in circuits.circuits]


def test_circuits_are_the_same_whatever_layers_are_called(
    plain: tuple[Run, Model, Circuits], strange: tuple[Run, Model, tuple[str, ...]], images: ImageSet, tmp_path: Path
) -> None:  # fmt: skip
    run, model, names = strange
    found = recover_circuits(run, model, images, n_draws=20)
    assert repr(figures(found)) == repr(figures(plain[2]))
    assert len(found.circuits) >= 32
    assert {layer for c in found.circuits for end in c.ends for layer in end.layers} == set(names)
    assert len({c.id for c in found.circuits}) == len(found.circuits)
    assert all(c.id.count(">") == 1 for c in found.circuits)
    assert len(found.checks) == len(plain[2].checks)
    assert all(entry.n_symmetric for entry in found.confirmations)
    assert repr(load_circuits(run.folder)) == repr(found)
    for source, target in itertools.pairwise(names):
        with np.load(weights_path(run.folder, source, target)) as arrays:
            assert {c.id for c in found.circuits} >= set(arrays["ids"].tolist())
            assert len(arrays["ids"])
        neighbours = load_neighbours(run.folder, source, target)
        assert neighbours is not None
        assert (neighbours.source, neighbours.target) == (source, target)
    write_graph(run, found, tmp_path / "graph.graphml")
    graph = networkx.read_graphml(tmp_path / "graph.graphml")
    assert {f.id for f in run.families} <= set(graph.nodes)
    # Nothing was written beside the folder.
    assert {path.name for path in run.folder.parent.iterdir()} == {"run"}
    document = json.loads((run.folder / "circuits.json").read_text(encoding="utf-8"))
    assert [end["layers"] for end in document["circuits"][0]["ends"]] == [[names[0]], [names[1]]]


def test_drawings_say_the_same_whatever_layers_are_called(
    plain: tuple[Run, Model, Circuits], strange: tuple[Run, Model, tuple[str, ...]]
) -> None:
    run, model, _ = strange
    found = verify_run(run, model)
    expected = verify_run(plain[0], plain[1])
    assert [v.family for v in found] == [f.id for f in run.families]
    assert repr([v.median_error for v in found]) == repr([v.median_error for v in expected])
    assert repr(load_verification(run.folder)) == repr(found)


def test_counterparts_are_found_whatever_layers_are_called(
    plain: tuple[Run, Model, Circuits], strange: tuple[Run, Model, tuple[str, ...]], images: ImageSet
) -> None:
    run, model, names = strange
    # Each family of the last two layers is there in both runs.
    found = compare_runs(run, model, *plain[:2], images, n_draws=5, options=Options(precision="float32"))
    alike = {m.a: m.b for m in found.matches if m.score > 0.999}
    assert alike == {f.id: p.id for f, p in zip(run.families, plain[0].families, strict=True)}
    assert {share.layer_a for share in found.layers} == set(names)
    (again,) = load_comparisons(run.folder)
    assert repr(again) == repr(found)


def test_images_are_optimised_whatever_layers_are_called(
    strange: tuple[Run, Model, tuple[str, ...]],
) -> None:
    run, model, names = strange
    few = dataclasses.replace(run, families=run.families[:1] + run.families[-1:])
    found = visualise_run(few, model, steps=2, n_null=0)
    assert set(found.layers) == set(names)
    assert set(found.families) == {family.id for family in few.families}
    stored = load_visualisations(run.folder)
    assert set(stored.layers) == set(names)
    assert set(stored.families) == set(found.families)
