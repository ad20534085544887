"""Answers of readers: what is taken for answers, how they are counted, and how far readers agree."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import beta
from typer.testing import CliRunner

import equiscope
from budget_run import make_scale_family, planted_run, save_planted
from equiscope import EquiscopeError
from equiscope.cli import app
from equiscope.evidence.readers.answers import Answers, read_answers
from equiscope.evidence.readers.tally import count_answers
from equiscope.families.family import Family, Member
from equiscope.families.verdict import Verdict
from equiscope.foundations.statistics import share_interval


def family(number: int, verdict: str) -> Family:
    members = tuple(Member("a", channel, {}, 0.9, 0.8, 1.0) for channel in (number, number + 50))
    own = None if not verdict else Verdict(verdict)
    return Family(f"f{number}", ("a",), "rotation", 0.9, 0.8, 1.0, 0.01, members=members, verdict=own)


FAMILIES = [family(i, "copies") for i in range(10)] + [family(i, "alike in pose") for i in range(10, 16)]
FAMILIES += [family(20, "")]


def said(number: int, answer: str, draw: str = "all") -> dict[str, Any]:
    units = [f"a:{number}", f"a:{number + 50}"]
    return {"family": f"f{number}", "members": units, "answer": answer, "draw": draw, "seed": 0}


def write(path: Path, answers: list[dict[str, Any]], **more: Any) -> Path:
    path.write_text(json.dumps({"format": "equiscope answers", "version": 1, "answers": answers, **more}))
    return path


def reader(path: Path, answers: list[dict[str, Any]]) -> Answers:
    return read_answers(write(path, answers))


def test_precision_is_told_by_verdict_with_an_exact_interval(tmp_path: Path) -> None:
    answers = [said(i, "yes" if i < 7 else "no") for i in range(9)] + [said(9, "unsure")]
    answers += [said(10, "no"), said(11, "yes"), said(20, "no")]
    lines = {
        line.verdict: line for line in count_answers(FAMILIES, [reader(tmp_path / "a", answers)]).precisions
    }
    copies = lines["copies"]
    assert (copies.n_yes, copies.n_no, copies.n_unsure) == (7, 2, 1)
    assert copies.share == pytest.approx(7 / 9)
    # Clopper and Pearson from the quantiles of the beta distribution, 7 of 9.
    assert copies.low == pytest.approx(beta.ppf(0.025, 7, 3))
    assert copies.high == pytest.approx(beta.ppf(0.975, 8, 2))
    assert copies.low < share_interval(7, 9)[0]
    assert (lines["alike in pose"].n_yes, lines["alike in pose"].n_no) == (1, 1)
    assert (lines["untested"].n_yes, lines["untested"].n_no) == (0, 1)
    assert lines["untested"].low == 0.0
    assert (lines["all"].n_yes, lines["all"].n_no, lines["all"].n_unsure) == (8, 4, 1)


def test_what_was_drawn_by_verdict_says_nothing_of_all(tmp_path: Path) -> None:
    answers = [said(0, "yes", "stratified"), said(1, "yes", "copies"), said(10, "no"), said(11, "yes")]
    lines = {
        line.verdict: line for line in count_answers(FAMILIES, [reader(tmp_path / "a", answers)]).precisions
    }
    assert (lines["copies"].n_yes, lines["copies"].n_no) == (2, 0)
    assert (lines["all"].n_yes, lines["all"].n_no) == (1, 1)
    only = [said(0, "yes", "copies")]
    lines = {
        line.verdict: line for line in count_answers(FAMILIES, [reader(tmp_path / "a", only)]).precisions
    }
    assert set(lines) == {"copies"}


def test_unsure_alone_is_not_measured(tmp_path: Path) -> None:
    (line, _) = count_answers(FAMILIES, [reader(tmp_path / "a", [said(0, "unsure")])]).precisions
    assert line.n_unsure == 1
    assert all(math.isnan(value) for value in (line.share, line.low, line.high))


def test_readers_are_compared_where_both_said_yes_or_no(tmp_path: Path) -> None:
    first = [said(i, "yes" if i < 6 else "no") for i in range(9)] + [said(9, "unsure")]
    second = [said(i, "yes" if i < 5 else "no") for i in range(8)] + [said(8, "unsure"), said(9, "yes")]
    third = [said(15, "yes")]
    readers = [reader(tmp_path / name, own) for name, own in (("a", first), ("b", second), ("c", third))]
    one, *others = count_answers(FAMILIES, readers).agreements
    assert (one.n_both, one.n_same) == (8, 7)
    assert one.share == pytest.approx(7 / 8)
    assert (one.low, one.high) == pytest.approx(share_interval(7, 8, is_exact=True))
    # Of these eight the first said yes to 6, the second to 5.
    assert one.expected == pytest.approx(6 / 8 * 5 / 8 + 2 / 8 * 3 / 8)
    assert all(own.n_both == 0 and math.isnan(own.share) and math.isnan(own.expected) for own in others)


def test_answers_are_of_one_run(tmp_path: Path) -> None:
    with pytest.raises(EquiscopeError, match=r"'f40', which .* answers, is none of this run: give the run"):
        count_answers(FAMILIES, [reader(tmp_path / "a", [said(40, "yes")])])
    other = said(0, "yes") | {"members": ["a:50", "a:0"]}
    with pytest.raises(EquiscopeError, match=r"'f0', which .* answers, has other members in this run"):
        count_answers(FAMILIES, [reader(tmp_path / "a", [other])])
    own = reader(tmp_path / "a", [said(0, "yes")])
    with pytest.raises(EquiscopeError, match="was given twice: give the answers of each reader once"):
        count_answers(FAMILIES, [own, own])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "Expecting value"),
        ("[]", "its format is not 'equiscope answers'"),
        ('{"format": "notes", "version": 1}', "its format is not 'equiscope answers'"),
        ('{"format": "equiscope answers", "version": 2}', "version 2, this equiscope reads 1"),
        ('{"format": "equiscope answers", "version": 1}', "has no 'answers'"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_what_holds_no_answers_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "answers.json").write_text(content)
    with pytest.raises(
        EquiscopeError, match=rf"answers.json holds no answers \(.*{complaint}.*\): expected a file"
    ):
        read_answers(tmp_path / "answers.json")


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"answer": "maybe"}, "the answer on f0 is 'maybe', expected yes, no or unsure"),
        ({"members": "a:0"}, r"answers\[0\].members is 'a:0', expected a list"),
        ({"seed": "0"}, r"answers\[0\].seed is '0', expected an integer"),
        ({"family": None}, r"answers\[0\].family is None, expected text"),
    ],
)
def test_every_part_of_an_answer_is_checked(tmp_path: Path, changed: dict[str, Any], complaint: str) -> None:
    write(tmp_path / "answers.json", [said(0, "yes") | changed])
    with pytest.raises(EquiscopeError, match=complaint):
        read_answers(tmp_path / "answers.json")


def test_two_answers_on_one_family_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "answers.json", [said(0, "yes"), said(0, "no")])
    with pytest.raises(EquiscopeError, match="two answers on f0, expected one"):
        read_answers(tmp_path / "answers.json")


def test_files_that_are_none_or_too_large_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.json"):
        with pytest.raises(
            EquiscopeError, match="is no file: expected a file that the report's page Judge saved"
        ):
            read_answers(path)
    with (tmp_path / "large.json").open("wb") as stream:
        stream.truncate(20_000_001)
    with pytest.raises(EquiscopeError, match=r"has 20,000,001 bytes, of at most 20,000,000 for answers"):
        read_answers(tmp_path / "large.json")


def test_the_command_prints_precision_and_agreement(tmp_path: Path) -> None:
    families = [make_scale_family(name, [("a", 0, 0.0), ("a", 1, 1.0)]) for name in ("s", "t")]
    kinds = [{"scale": "s"}, {"scale": "s"}]
    save_planted(planted_run(tmp_path / "run", {"a": kinds}, ["scale"], families))
    own = {"members": ["a:0", "a:1"], "draw": "all", "seed": 0}
    for name, answer in (("one", "yes"), ("two\x1b[2J", "no")):
        write(
            tmp_path / name, [own | {"family": "s", "answer": "yes"}, own | {"family": "t", "answer": answer}]
        )
    paths = [str(tmp_path / name) for name in ("one", "two\x1b[2J")]
    done = CliRunner().invoke(app, ["tally", str(tmp_path / "run"), *paths])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert lines[0] == ["reader", "verdict", "yes", "no", "unsure", "precision", "95", "%"]
    assert lines[1][1:] == ["untested", "2", "0", "0", "100%", "16%-100%"]
    assert lines[-1][-5:] == ["2", "1", "50%", "1%-99%", "50%"]
    assert lines[-1][:2] == ["one", r"two\x1b[2J"]
    assert "\x1b" not in done.output
    found = equiscope.tally(tmp_path / "run", paths[0])
    assert [line.verdict for line in found.precisions] == ["untested", "all"]
    assert equiscope.tally(tmp_path / "run", paths).agreements[0].n_same == 1
    with pytest.raises(EquiscopeError, match="no answers were given: expected files"):
        equiscope.tally(tmp_path / "run", [])
    with pytest.raises(EquiscopeError, match="expected the folder of a finished run"):
        equiscope.tally(tmp_path, paths)
