"""Families of the verdict that is asked for: what is taken, what is left out and said, and where cores are shown."""

from __future__ import annotations

import dataclasses
import json
import logging
from math import isnan, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import networkx
import numpy as np
import pytest
from typer.testing import CliRunner

import equiscope
from budget_run import save_planted
from circuit_run import make_circuit, open_run
from equiscope.cli import app
from equiscope.construction.budget import Budget, load_budget
from equiscope.construction.simplify.simplification import _symmetric_circuits
from equiscope.evidence.circuits import Circuits, Confirmation, load_circuits, write_graph
from equiscope.evidence.circuits.results import save_circuits
from equiscope.evidence.compare.comparison import ComparedRun
from equiscope.evidence.compare.runs import _label
from equiscope.families.asked import (
    ALIKE,
    ANY,
    ASKED,
    ask_families,
    ask_units,
    core_family,
    core_id,
    family_of,
)
from equiscope.families.circle import spacing
from equiscope.families.family import Explanation, Family, Symmetry, Unit
from equiscope.families.verdict import ALIKE_IN_POSE, COPIES, UNTESTED, Core, Verdict
from equiscope.foundations.records import read_record
from equiscope.reports.views.circuit.ends import Ends
from equiscope.reports.views.circuit.evidence import CIRCUITS
from equiscope.reports.views.family.view import render_families
from equiscope.runs.asked import ask_run
from equiscope.runs.run import Run
from hand_made import IMAGES, SETTINGS, a_family, a_member
from report_document import complete_document

TREE = ((0, 1, 0.9), (2, 3, 0.8), (5, 6, 0.7), (4, 7, 0.6))


def made(name: str, first: int, verdict: Verdict | None, **said: Any) -> Family:
    """Make a family of five units, 50° apart."""
    members = [
        a_member("conv1", first + i, angle_deg=50.0 * i, score=0.5 + i / 10, low=0.4, high=1.0)
        for i in range(5)
    ]
    return a_family("rotation", members, name=f"conv1-rotation-{name}", verdict=verdict, tree=TREE, **said)


WHOLE = made("1", 0, Verdict(COPIES, cores=(Core((0, 1, 2, 3, 4), 0.9),)))
PARTLY = made(
    "2", 10, Verdict(ALIKE_IN_POSE, tested=0.6, cores=(Core((0, 1), 0.95, 0.9), Core((2, 3), 0.85, 0.8)))
)
ALIKE_ONLY = made("3", 20, Verdict(ALIKE_IN_POSE))
OPEN = made("4", 30, Verdict(UNTESTED, "its inputs are in no family"))
ALL = (WHOLE, PARTLY, ALIKE_ONLY, OPEN)


def unit(channel: int, family: Family | None, kind: str = "equivariant") -> Unit:
    own = None if family is None else family.id
    lines = (
        Symmetry("rotation", kind, own, 0.5 if own else nan, 0.1),
        # Of the members of the second family those of its first core alone are invariant to hue.
        Symmetry("hue", "invariant" if channel in (10, 11) else "neither"),
    )
    return Unit("conv1", channel, 0.0, 1.0, lines)


UNITS = (
    *(unit(member.channel, family) for family in ALL for member in family.members),
    unit(40, None, "invariant"),
    unit(41, None, "neither"),
)


def ids(families: tuple[Family, ...]) -> list[str]:
    return [family.id.removeprefix("conv1-rotation-") for family in families]


# --- which families ----------------------------------------------------------------------------------------------


def test_each_verdict_takes_its_families_and_counts_the_others() -> None:
    copies, alike, everything = (ask_families(ALL, verdict) for verdict in ASKED)
    assert ids(copies.families) == ["1", "2.1", "2.2"]
    assert copies.families[0] is WHOLE
    assert (copies.n_families, copies.n_divided, copies.n_alike, copies.n_untested) == (4, 1, 1, 1)
    assert ids(alike.families) == ["1", "2", "3"]
    assert (alike.n_divided, alike.n_alike, alike.n_untested) == (0, 0, 1)
    assert everything.families == ALL
    assert everything.sentence == ""
    assert [asked.verdict for asked in (copies, alike, everything)] == list(ASKED)


def test_a_family_that_nobody_judged_is_untested_beside_others_that_were() -> None:
    unjudged = dataclasses.replace(OPEN, verdict=None)
    for verdict in (COPIES, ALIKE):
        asked = ask_families([WHOLE, unjudged], verdict)
        assert (asked.families, asked.n_untested) == ((WHOLE,), 1)


def test_what_is_left_out_is_said_with_the_option_that_takes_it() -> None:
    assert ask_families(ALL, COPIES).sentence == (
        "2 of 4 families are used (1 of them only by cores): 1 alike in pose and 1 untested were left out, which "
        "--verdict any takes"
    )
    # Alike in pose alone: the narrower option is enough.
    assert ask_families([ALIKE_ONLY], COPIES).sentence == (
        "none of 1 families is used: 1 alike in pose were left out, which --verdict alike takes"
    )
    assert (
        "1 untested were left out, which --verdict any takes" in ask_families([WHOLE, OPEN], ALIKE).sentence
    )
    assert ask_families([WHOLE], COPIES).sentence == ""


def test_an_unknown_verdict_is_refused() -> None:
    with pytest.raises(
        equiscope.EquiscopeError, match=r"unknown verdict to ask for 'copy': did you mean 'copies'"
    ):
        ask_families(ALL, "copy")


@pytest.mark.parametrize("verdict", ASKED)
def test_where_no_family_has_a_verdict_all_are_taken(verdict: str) -> None:
    unjudged = [dataclasses.replace(family, verdict=None) for family in ALL]
    asked = ask_families(unjudged, verdict)
    assert (asked.families, asked.verdict) == (tuple(unjudged), ANY)
    assert ask_families([], verdict).families == ()


# --- cores -------------------------------------------------------------------------------------------------------


def test_a_core_is_a_family_of_its_own_members() -> None:
    compared = Explanation("hue", 0.5, 0.1, 0.0, 0.2)
    whole = dataclasses.replace(
        PARTLY,
        phase_coherence=0.9,
        margin=0.3,
        half_turns=(0.1,),
        explained_by="hue",
        alternatives=(compared,),
    )
    first, second = (core_family(whole, number) for number in (1, 2))
    assert [m.channel for m in first.members] == [10, 11]
    assert (first.score, first.score_low, first.score_high) == pytest.approx((0.55, 0.4, 1.0))
    assert second.score == pytest.approx(0.75)
    assert (first.tree, second.tree) == (((0, 1, 0.9),), ((0, 1, 0.8),))
    assert first.verdict is not None
    assert (first.verdict.word, first.verdict.likeness, first.verdict.tested) == (COPIES, 0.95, 0.6)
    assert first.verdict.cores[0].members == (0, 1)
    # What was measured of the whole family is not said of its part.
    assert all(isnan(value) for value in (first.phase_coherence, first.margin, first.verdict.likeness_low))
    assert (first.half_turns, first.explained_by, first.alternatives) == ((), "", ())
    assert (first.q_value, first.transformation) == (whole.q_value, "rotation")


def test_the_tree_of_a_core_is_that_part_of_the_familys() -> None:
    core = dataclasses.replace(PARTLY, verdict=Verdict(ALIKE_IN_POSE, cores=(Core((0, 1, 2, 3), 0.9),)))
    assert core_family(core, 1).tree == ((0, 1, 0.9), (2, 3, 0.8), (4, 5, 0.7))


def test_spacing_is_measured_anew_where_the_family_has_it() -> None:
    poses = [0.0, 4.0, 180.0, 184.0, 200.0]
    members = [a_member("conv1", i, angle_deg=pose) for i, pose in enumerate(poses)]
    deviation, holes, duplicates = spacing(np.arange(5), np.array(poses), 360.0)
    family = a_family(
        "rotation", members, gap_deviation_deg=deviation, holes_deg=holes, duplicates=duplicates,
        verdict=Verdict(ALIKE_IN_POSE, cores=(Core((1, 2), 0.9), Core((2, 3), 0.9))),
    )  # fmt: skip
    apart, beside = core_family(family, 1), core_family(family, 2)
    assert apart.duplicates == ()
    assert apart.gap_deviation_deg == pytest.approx(4.0)
    assert beside.duplicates == ((2, 3),)
    assert beside.holes_deg == ((184.0, 180.0),)
    # Where the family has none, none is said of its cores; duplicates of theirs stay.
    plain = dataclasses.replace(family, gap_deviation_deg=nan)
    assert (core_family(plain, 1).duplicates, core_family(plain, 2).duplicates) == ((), ((2, 3),))
    assert isnan(core_family(plain, 2).gap_deviation_deg)


def test_a_core_has_the_layers_of_its_members() -> None:
    members = [a_member(layer, i, octaves=float(i)) for i, layer in enumerate(("a", "b", "c", "c"))]
    verdict = Verdict(ALIKE_IN_POSE, cores=(Core((2, 3), 0.9), Core((0, 1), 0.9)))
    family = a_family("scale", members, name="scale-1", verdict=verdict)
    assert [core_family(family, number).layers for number in (1, 2)] == [("c",), ("a", "b")]


def test_names_of_cores_lead_back_and_no_other_names_change() -> None:
    for name in ("conv1-rotation-12", "layer1.0.conv1-hue-rotation-3", "scale-4"):
        assert family_of(core_id(name, 11)) == name
        assert family_of(name) == name
    for name in ("block.1:7", "layer1.0", "conv-1.2:3", "a-1.2b"):
        assert family_of(name) == name


# --- units -------------------------------------------------------------------------------------------------------


def test_units_are_in_the_families_that_are_asked_for_or_in_none() -> None:
    told, families = ask_units(UNITS, ask_families(ALL, COPIES).families)
    by_channel = {own.channel: own.under("rotation") for own in told}
    assert {c for c, line in by_channel.items() if line.kind == "equivariant"} == {*range(5), *range(10, 14)}
    assert by_channel[12].family == "conv1-rotation-2.2"
    assert by_channel[12].score == pytest.approx(0.7)
    # The fifth of the second family is in no core, the third and fourth families are left out.
    for channel in (14, 20, 34):
        line = by_channel[channel]
        assert (line.kind, line.family, line.invariance) == ("neither", None, 0.1)
        assert isnan(line.score)
    assert (by_channel[40].kind, by_channel[41].kind) == ("invariant", "neither")
    assert [family.invariant_to for family in families] == [(), ("hue",), ()]


def test_a_unit_is_not_taken_into_a_family_that_it_does_not_name() -> None:
    stray = dataclasses.replace(unit(0, WHOLE), symmetries=unit(0, OPEN).symmetries)
    (told,), _ = ask_units([stray], (WHOLE,))
    assert told.under("rotation").kind == "neither"


# --- runs --------------------------------------------------------------------------------------------------------


def made_run(folder: Path, families: tuple[Family, ...] = ALL) -> Run:
    settings = SETTINGS | {"layers": ["conv1"], "transformations": ["rotation", "hue"]}
    manifest = {"images": IMAGES, "settings": settings, "model": {"name": "planted", "weights_sha256": ""}}
    return Run(folder, manifest, UNITS, families)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "equiscope.runs.asked"]


def test_a_run_has_what_is_asked_for_and_says_what_it_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    run = made_run(tmp_path)
    copies = ask_run(run, COPIES)
    assert (ids(copies.families), copies.verdict) == (["1", "2.1", "2.2"], COPIES)
    assert copies.units[14].under("rotation").kind == "neither"
    assert said(caplog) == [f"{tmp_path}: {ask_families(ALL, COPIES).sentence}"]
    caplog.clear()
    assert ask_run(run, ANY) == run
    assert said(caplog) == []


def test_a_run_from_before_there_were_verdicts_is_used_whole_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    unjudged = tuple(dataclasses.replace(family, verdict=None) for family in ALL)
    run = made_run(tmp_path, unjudged)
    assert ask_run(run, COPIES) == run
    (sentence,) = said(caplog)
    assert "was made before there were verdicts: all of its 4 families are used" in sentence
    caplog.clear()
    ask_run(run, ANY)
    # Units of a run whose families are not there stay as they are.
    assert ask_run(made_run(tmp_path, ()), COPIES).units == UNITS
    assert said(caplog) == []


@pytest.mark.parametrize(
    "said",
    [
        {"verdict": Verdict(ALIKE_IN_POSE, cores=(Core((0, 5), 0.9),))},
        {"verdict": Verdict(ALIKE_IN_POSE, cores=(Core((-1, 0), 0.9),))},
        {"verdict": Verdict(ALIKE_IN_POSE, cores=(Core((0,), 0.9),))},
        {"tree": ((0, 1, 0.9), (6, 2, 0.8))},
        {"tree": ((0, -1, 0.9),)},
    ],
)
def test_cores_and_trees_of_what_is_not_in_the_family_are_refused(
    tmp_path: Path, said: dict[str, Any]
) -> None:
    save_planted(made_run(tmp_path, (dataclasses.replace(PARTLY, **said),)))
    with pytest.raises(
        equiscope.EquiscopeError, match=r"a core has members .* of a family of 5|has 5 members, and a tree"
    ):
        equiscope.load_run(tmp_path)


# --- commands ----------------------------------------------------------------------------------------------------


def ask(*words: str) -> Any:
    return CliRunner().invoke(app, [*words], catch_exceptions=False)


def test_budget_counts_the_families_that_are_asked_for(tmp_path: Path) -> None:
    save_planted(made_run(tmp_path))
    shares = {}
    for verdict in ASKED:
        found = equiscope.budget(tmp_path, n_resamples=5, verdict=verdict)
        own = next(entry for entry in found.layers if entry.transformation == "rotation")
        shares[verdict] = (own.n_equivariant, own.n_families)
        again = load_budget(tmp_path)
        assert again is not None
        assert again.verdict == verdict
    assert shares == {COPIES: (9, 3), ALIKE: (15, 3), ANY: (20, 4)}
    assert equiscope.budget(tmp_path, n_resamples=5).verdict == COPIES


def test_a_command_with_nothing_left_says_why_and_ends_well(tmp_path: Path) -> None:
    save_planted(made_run(tmp_path, (ALIKE_ONLY, OPEN)))
    result = ask("budget", str(tmp_path))
    assert result.exit_code == 0
    text = " ".join(result.stderr.split())
    assert (
        "none of 2 families is used: 1 alike in pose and 1 untested were left out, which --verdict any"
        in text
    )
    document = json.loads((tmp_path / "budget.json").read_text())
    assert {entry["n_equivariant"] for entry in document["layers"]} == {0}
    with pytest.raises(
        equiscope.EquiscopeError, match="unknown verdict to ask for 'copied': did you mean 'copies'"
    ):
        ask("budget", str(tmp_path), "--verdict", "copied")


def test_documents_of_earlier_versions_are_of_all_families(tmp_path: Path) -> None:
    assert read_record(Budget, {"layers": [], "pairs": []}).verdict == ANY
    assert read_record(
        ComparedRun, {"name": "a", "model": "m", "weights_sha256": "", "has_these_images": True}
    )
    parts = "pairs skipped circuits factors transposed checks confirmations".split()
    nothing: dict[str, Any] = {name: [] for name in parts}
    (tmp_path / "circuits.json").write_text(json.dumps({"schema_version": 3, **nothing}))
    found = load_circuits(tmp_path)
    assert found is not None
    assert found.verdict == ANY


def test_documents_say_which_families_were_used(tmp_path: Path) -> None:
    run = ask_run(made_run(tmp_path), COPIES)
    save_circuits(tmp_path, Circuits((), (), (), (), (), (), (), run.verdict))
    found = load_circuits(tmp_path)
    assert found is not None
    assert found.verdict == COPIES
    side: Any = SimpleNamespace(run=run, has_these_images=True)
    assert _label(side).verdict == COPIES


def test_only_circuits_of_the_same_families_can_be_tied(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    save_circuits(tmp_path, Circuits((), (), (make_circuit("a", "b"),), (), (), (), (), COPIES))
    assert _symmetric_circuits(ask_run(run, COPIES)) == {"a>b"}
    refused = (
        r"asked for with --verdict copies, and here any is asked for: .* circuits .* --verdict any` first"
    )
    with pytest.raises(equiscope.EquiscopeError, match=refused):
        _symmetric_circuits(run)


# --- where cores are shown ---------------------------------------------------------------------------------------


def judged_document() -> tuple[Any, Any, Any]:
    """Give a document with a family of two cores, and one that these have circuits with."""
    document: Any = complete_document()
    source, target = (
        next(f for f in document["families"] if (f["layers"], f["transformation"]) == ([layer], "rotation"))
        for layer in ("mixed3a", "mixed3b")
    )
    n = target["size"]
    cores = [{"members": [0, 1], "likeness": 0.9}, {"members": [n - 2, n - 1], "likeness": 0.85}]
    figures = dict.fromkeys(("likeness", "likeness_low", "likeness_high", "permuted_95", "tested"), 0.5)
    target["verdict"] = {"word": ALIKE_IN_POSE, "reason": "", **figures, "cores": cores}
    return document, source, target


def test_ends_know_cores_by_their_names() -> None:
    document, _, target = judged_document()
    ends = Ends(document["families"])
    last = ends.members(core_id(target["id"], 2), "mixed3b", 2)
    assert [own.unit for own in last] == [f"mixed3b:{member['channel']}" for member in target["members"][-2:]]
    assert ends.turns(core_id(target["id"], 1), "mixed3b")
    target["verdict"]["word"] = COPIES
    assert core_id(target["id"], 1) not in Ends(document["families"]).families


def test_the_page_of_a_family_shows_the_circuits_of_its_cores(tmp_path: Path) -> None:
    document, source, target = judged_document()
    first, second = (core_id(target["id"], number) for number in (1, 2))
    circuits = Circuits(
        (), (), tuple(make_circuit(source["id"], name, n_target=2) for name in (first, second)), (), (), (),
        (
            Confirmation(first, 3, 1, 0.5, 0.3, f"{source['id']}>{first}"),
            Confirmation(second, 4, 2, 0.7, 0.2, f"{source['id']}>{second}"),
        ),
        COPIES,
    )  # fmt: skip
    context = open_run(tmp_path, document, circuits)
    entry = next(f for f in context.document["families"] if f["id"] == target["id"])["confirmation"]
    assert entry is not None
    assert (entry["n_tested"], entry["n_symmetric"], entry["best_r2"]) == (7, 3, 0.7)
    pages = dict(render_families(context))
    html = pages[target["id"]].html
    assert f"most clearly from {source['id']}," in html
    assert html.count("symmetric circuit") >= 1
    assert first in pages[source["id"]].html


def test_the_best_of_two_cores_is_said_in_either_order() -> None:
    document, source, target = judged_document()
    names = [core_id(target["id"], number) for number in (1, 2)]
    better = Confirmation(names[0], 1, 1, 0.6, 0.1, f"{source['id']}>{names[0]}")
    unknown = Confirmation(names[1], 1, 0, nan, nan, "")
    for own in ((better, unknown), (unknown, better)):
        assert CIRCUITS.join is not None
        joined = CIRCUITS.join(document, Circuits((), (), (), (), (), (), own))
        entry = next(f for f in joined["families"] if f["id"] == target["id"])["confirmation"]
        assert entry is not None
        assert (entry["n_tested"], entry["best_circuit"]) == (2, better.best_circuit)


def test_the_exported_members_have_what_weights_say_of_their_core(tmp_path: Path) -> None:
    save_planted(made_run(tmp_path))
    said = [
        Confirmation(WHOLE.id, 9, 8, nan, nan, ""),
        Confirmation(core_id(PARTLY.id, 2), 7, 6, nan, nan, ""),
    ]
    save_circuits(tmp_path, Circuits((), (), (), (), (), (), tuple(said), COPIES))
    rows = {row["channel"]: row for row in equiscope.export(tmp_path, "families").rows}
    tested = {channel: row["circuits_tested"] for channel, row in rows.items() if row["circuits_tested"]}
    assert tested == dict.fromkeys(range(5), 9) | dict.fromkeys((12, 13), 7)


def test_a_graph_has_the_families_that_the_circuits_are_between(tmp_path: Path) -> None:
    for verdict in ASKED:
        path = tmp_path / f"{verdict}.graphml"
        write_graph(made_run(tmp_path), Circuits((), (), (), (), (), (), (), verdict), path)
        assert list(networkx.read_graphml(path).nodes) == [
            own.id for own in ask_families(ALL, verdict).families
        ]
