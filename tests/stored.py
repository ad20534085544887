"""Families that were stored, as JSON: what a change of the code that is to change no result compares with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from equiscope.families.family import Family
from equiscope.foundations.statistics import circular_difference_deg

DATA = Path(__file__).parent / "data"


def stored_families(file: str) -> dict[str, list[dict[str, Any]]]:
    """Families by transformation, of a file of ``data/``."""
    stored: dict[str, list[dict[str, Any]]] = json.loads((DATA / file).read_text(encoding="utf-8"))
    return stored


def store_if_new(file: str, name: str, families: Iterable[Family]) -> None:
    """Write down families of a transformation that has none in the file, if ``EQUISCOPE_UPDATE_DOCS`` is set."""
    stored = stored_families(file)
    if not os.environ.get("EQUISCOPE_UPDATE_DOCS") or name in stored:
        return
    stored[name] = [
        {
            "id": family.id,
            "members": [[m.layer, m.channel, _rounded(m.pose), round(m.score, 6)] for m in family.members],
            "stabiliser": [_rounded(element) for element in family.stabiliser],
            "score": round(family.score, 6),
            "q_value": round(family.q_value, 6),
        }
        for family in families
    ]
    lines = [
        f" {json.dumps(own)}: [\n" + ",\n".join(f"  {json.dumps(family)}" for family in found) + "\n ]"
        for own, found in stored.items()
    ]
    (DATA / file).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _rounded(pose: Mapping[str, Any]) -> dict[str, Any]:
    return {axis: value if isinstance(value, bool) else round(value, 6) for axis, value in pose.items()}


def assert_as_stored(families: Iterable[Family], stored: Sequence[dict[str, Any]]) -> None:
    """Members and stabilisers are those that were stored; poses and scores are, but for rounding.

    With other instructions of the same processor (``ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default``) poses
    differed by 7e-6 at most and scores by 4e-7. Exact copies have equal scores, and rounding decides which of them is
    numbered first.
    """
    of_members = {(own["id"].rpartition("-")[0], _units(own["members"])): own for own in stored}
    found = {
        (family.id.rpartition("-")[0], tuple((m.layer, m.channel) for m in family.members)): family
        for family in families
    }
    assert set(found) == set(of_members)
    for key, family in found.items():
        own = of_members[key]
        for member, (*_, pose, score) in zip(family.members, own["members"], strict=True):
            _assert_pose(member.pose, pose)
            assert member.score == pytest.approx(score, abs=1e-5)
        for element, expected in zip(family.stabiliser, own["stabiliser"], strict=True):
            _assert_pose(element, expected)
        assert family.score == pytest.approx(own["score"], abs=1e-5)
        assert family.q_value == pytest.approx(own["q_value"], abs=1e-6)


def _units(members: list[Any]) -> tuple[tuple[str, int], ...]:
    return tuple((layer, channel) for layer, channel, *_ in members)


def _assert_pose(found: Mapping[str, Any], stored: dict[str, Any]) -> None:
    assert set(found) == set(stored)
    for axis, value in stored.items():
        if value is None:  # version 0.1.0 did not keep at which angle a mirror stands
            continue
        away = found[axis] - value
        # A pose at 0 may be at 360 to the last digit.
        assert abs(circular_difference_deg(away, 0.0) if axis.endswith("_deg") else away) < 5e-5
