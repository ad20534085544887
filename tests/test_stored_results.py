"""A survey of the embedded network finds the families that it found before.

``data/mini_families.json`` holds those of version 0.1.0, whose search was another for each kind of transformation;
those under rotation and dihedral since what a search refuses is divided, which found two more of each.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import equiscope
from equiscope.runs.run import Run
from stored import assert_as_stored, stored_families

STORED = stored_families("mini_families.json")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out: Path = tmp_path_factory.mktemp("mini") / "run"
    return equiscope.survey(
        "mini",
        layers=["conv2d0"],
        transformations=list(STORED),
        precision="float32",
        device="cpu",
        out=out,
    )


@pytest.mark.parametrize("name", STORED)
def test_families_of_the_embedded_network_are_those_that_were_stored(run: Run, name: str) -> None:
    assert_as_stored([f for f in run.families if f.transformation == name], STORED[name])
