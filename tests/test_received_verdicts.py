"""Verdicts in files that were damaged, edited or made to do harm: refused with the file's name, never shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from equiscope.families.family import Family, Member
from equiscope.families.verdict import ALIKE_IN_POSE, COPIES, UNTESTED, Core, Verdict
from equiscope.foundations.errors import DamagedFileError
from equiscope.reports.document.stored import read_document, write_document
from equiscope.runs.findings import families_document, load_families
from equiscope.runs.writing import write_json
from equiscope.surveys.results import read_judged
from equiscope.transformations import Pose
from site_document import site_document

MEMBERS = tuple(
    Member("conv1", channel, Pose(angle_deg=90.0 * channel), 0.9, 0.8, 1.0) for channel in range(4)
)
FAMILY = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, MEMBERS)
VERDICT = Verdict(ALIKE_IN_POSE, "", 0.5, 0.4, 0.6, 0.3, 1.0, (Core((0, 1), 0.9), Core((2, 3), 0.9)))


def write_families(folder: Path) -> None:
    write_json(folder / "families.json", families_document([replace(FAMILY, verdict=VERDICT)]))


def write_report(folder: Path) -> None:
    document = site_document(folder)
    family = max(document["families"], key=lambda entry: len(entry["members"]))
    assert len(family["members"]) > 3
    document["families"] = [family]
    cores = [{"members": list(core.members), "likeness": core.likeness} for core in VERDICT.cores]
    figures = {"likeness": 0.5, "likeness_low": 0.4, "likeness_high": 0.6, "permuted_95": 0.3, "tested": 1.0}
    family["verdict"] = {"word": VERDICT.word, "reason": "", **figures, "cores": cores}  # type: ignore[typeddict-item]
    write_document(folder, document)


# What writes each file, and what reads it.
FILES: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any]]] = {
    "families.json": (write_families, load_families),
    "judged.json": (
        lambda folder: write_json(
            folder / "judged.json", families_document([replace(FAMILY, verdict=VERDICT)])
        ),
        lambda folder: read_judged(folder / "judged.json", [FAMILY]),
    ),
    "report.json": (write_report, read_document),
}


def with_core(members: list[int], verdict: dict[str, Any]) -> None:
    verdict["cores"][1]["members"] = members


# What is done to the verdict, and what is said of it.
DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "beyond the family": (partial(with_core, [2, 999]), r"members \[2, 999\] of a family of"),
    "beyond a machine's counting": (partial(with_core, [2, 10**30]), r"members \[2, 10+\] of a family of"),
    "counted from the end": (partial(with_core, [2, -1]), r"members \[2, -1\] of a family of"),
    "twice in a core": (partial(with_core, [2, 2]), r"members \[2, 2\], of which one was named before"),
    "in two cores": (partial(with_core, [1, 2]), r"members \[1, 2\], of which one was named before"),
    "another word": (
        lambda verdict: verdict.update(word="<b>sure"),
        "verdict is '<b>sure', expected one of copies",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_verdict_that_is_none_is_one_sentence(tmp_path: Path, name: str, damage: str) -> None:
    write, read = FILES[name]
    change, said = DAMAGES[damage]
    write(tmp_path)
    assert read(tmp_path)
    document = json.loads((tmp_path / name).read_text("utf-8"))
    change(document["families"][0]["verdict"])
    (tmp_path / name).write_text(json.dumps(document), "utf-8")
    with pytest.raises(DamagedFileError, match=rf"{name} is damaged \(.*{said}"):
        read(tmp_path)


@pytest.mark.parametrize("word", [COPIES, ALIKE_IN_POSE, UNTESTED])
def test_every_word_of_a_verdict_is_read(tmp_path: Path, word: str) -> None:
    family = replace(FAMILY, verdict=Verdict(word))
    write_json(tmp_path / "judged.json", families_document([family]))
    assert read_judged(tmp_path / "judged.json", [FAMILY])[FAMILY.id].verdict == Verdict(word)


def test_a_verdict_that_is_missing_is_asked_for_again(tmp_path: Path) -> None:
    write_json(tmp_path / "judged.json", families_document([FAMILY]))
    with pytest.raises(DamagedFileError, match="it holds no verdict on conv1-rotation-1"):
        read_judged(tmp_path / "judged.json", [FAMILY])
