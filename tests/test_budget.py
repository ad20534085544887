"""The parameter argument: its formula, networks that were built, and runs."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from equiscope.cli import app
from equiscope.construction.budget import Budget, count_ratio, estimate_budget, load_budget, predict_ratio
from equiscope.construction.budget.blocks import full_block
from equiscope.construction.budget.forcing import count_forced, force
from equiscope.construction.budget.kinds import Kinds
from equiscope.families.family import Symmetry, Unit
from equiscope.foundations.errors import EquiscopeError
from equiscope.runs.findings import families_document, units_document
from equiscope.runs.run import Run
from equiscope.runs.writing import write_json
from hand_made import IMAGES, SETTINGS


@pytest.mark.parametrize(("copies", "share"), [(1, 0.3), (4, 0.0), (8, 0.5), (16, 1.0), (10.5, 0.1)])
def test_formula_is_the_articles(copies: float, share: float) -> None:
    assert predict_ratio(copies, share) == pytest.approx(1 - (copies - 1) / copies * share**2)


def test_formula_counts_kernels_by_hand() -> None:
    """Four units of each kind before and after, four copies: 144 kernels, of which 96 are 24 in four copies each."""
    blocks = {"ee": 16, "ie": 16, "ei": 16, "ii": 16, "p": 144 - 64}
    free = (blocks["ee"] + blocks["ie"] + blocks["ei"]) / 4 + blocks["ii"] + blocks["p"]
    assert predict_ratio(4, 1 / 3, 1 / 3) == pytest.approx(free / 144)
    # The two layers may differ: all of the saving is where an equivariant unit is at one end.
    assert predict_ratio(4, (0.0, 1.0), (1.0, 0.0)) == pytest.approx(1 / 4)
    assert predict_ratio(4, (1.0, 0.0), (0.0, 1.0)) == pytest.approx(1 / 4)
    assert predict_ratio(4, (1.0, 0.0), (0.0, 0.0)) == 1.0


@pytest.mark.parametrize(
    "arguments", [(0.5, 0.5), (4, 1.5), (4, -0.1), (4, 0.7, 0.5), (4, (0.1, 0.7), (0.0, 0.5))]
)
def test_what_is_no_share_is_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(EquiscopeError, match="expected 1 copy or more"):
        predict_ratio(*arguments)


@pytest.mark.parametrize("group", ["C4", "C8", "C16", "D4", "D8"])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_networks_that_were_built_have_the_predicted_kernels(group: str, share: float) -> None:
    counted = count_ratio(group, 64, 5, equivariant=share)
    assert counted.kernels == pytest.approx(counted.predicted)
    # A turned kernel that is finer than quarter turns has 15 coefficients of 25; the rest is as it was.
    tied = share**2 / {"C4": 4, "D4": 8, "C8": 8, "C16": 16, "D8": 16}[group]
    expected = 1 - share**2 + tied * (1.0 if group in ("C4", "D4") else 15 / 25)
    assert counted.weights == pytest.approx(expected)
    with_invariant = count_ratio(group, 128, 5, equivariant=share / 2, invariant=share / 4)
    assert with_invariant.kernels == pytest.approx(with_invariant.predicted)


LAYERS = ("a", "b")


def made_run(
    folder: Path, families: dict[str, list[int]], invariant: dict[str, int], n: dict[str, int]
) -> Run:
    """A run in which layers have families of some sizes, some invariant units, and others."""
    units = []
    for layer in LAYERS:
        kinds: list[tuple[str, str | None]] = [
            ("equivariant", f"{layer}{i}") for i, size in enumerate(families[layer]) for _ in range(size)
        ]
        kinds += [("invariant", None)] * invariant[layer]
        kinds += [("neither", None)] * (n[layer] - len(kinds))
        for channel, (kind, family) in enumerate(kinds):
            fields: dict[str, Any] = {part.name: math.nan for part in dataclasses.fields(Unit)}
            fields |= {
                "layer": layer,
                "channel": channel,
                "symmetries": (Symmetry("rotation", kind, family),),
            }
            units.append(Unit(**fields))
    settings = SETTINGS | {"layers": list(LAYERS), "transformations": ["rotation", "scale"]}
    return Run(folder, {"images": IMAGES, "settings": settings}, tuple(units), ())


def test_a_run_is_counted_unit_by_unit(tmp_path: Path) -> None:
    families, invariant, n = {"a": [8, 4], "b": [4, 4, 6]}, {"a": 3, "b": 5}, {"a": 20, "b": 24}
    run = made_run(tmp_path, families, invariant, n)
    budget = estimate_budget(run, n_resamples=200)
    # Kernel by kernel: what a double loop over units says.
    free = 0.0
    for source in run.units[:20]:
        for target in run.units[20:]:
            a, b = source.symmetries[0], target.symmetries[0]
            size = {f"{layer}{i}": s for layer in LAYERS for i, s in enumerate(families[layer])}
            if b.kind == "equivariant" and a.kind in ("equivariant", "invariant"):
                free += 1 / size[b.family or ""]
            elif b.kind == "invariant" and a.kind == "equivariant":
                free += 1 / size[a.family or ""]
            else:
                free += 1
    pair = next(own for own in budget.pairs if own.transformation == "rotation")
    assert (pair.source, pair.target, pair.transformation, pair.n_kernels) == ("a", "b", "rotation", 480)
    assert pair.ratio == pytest.approx(free / 480)
    assert pair.ratio_low < pair.ratio < pair.ratio_high
    first, second = (own for own in budget.layers if own.transformation == "rotation")
    assert (first.n_equivariant, first.n_invariant, first.n_families, first.copies) == (12, 3, 2, 6.0)
    assert first.ratio == pytest.approx(predict_ratio(6, 12 / 20))
    assert second.ratio == pytest.approx(predict_ratio(14 / 3, 14 / 24))
    assert first.equivariant_low < first.equivariant_share < first.equivariant_high
    document = json.loads((tmp_path / "budget.json").read_text())
    assert document["pairs"][0]["ratio"] == pytest.approx(pair.ratio)
    # Nothing is in a family under scale, and the article's formula says nothing of it.
    scale = [entry for entry in document["layers"] if entry["transformation"] == "scale"]
    assert [(entry["n_families"], entry["copies"], entry["ratio"]) for entry in scale] == [
        (0, None, None)
    ] * 2
    assert [own.ratio for own in budget.pairs if own.transformation == "scale"] == [1.0]
    # Not a number is not equal to itself, but its words are.
    assert repr(load_budget(tmp_path)) == repr(budget)
    assert repr(estimate_budget(run, n_resamples=200)) == repr(budget)


def test_a_layer_without_families_saves_nothing(tmp_path: Path) -> None:
    run = made_run(tmp_path, {"a": [], "b": [8]}, {"a": 0, "b": 0}, {"a": 10, "b": 10})
    budget = estimate_budget(run, n_resamples=50)
    assert math.isnan(budget.layers[0].copies)
    assert budget.layers[0].ratio == 1.0
    assert budget.pairs[0].ratio == 1.0
    assert json.loads((tmp_path / "budget.json").read_text())["layers"][0]["copies"] is None


def test_even_families_agree_with_the_formula(tmp_path: Path) -> None:
    run = made_run(tmp_path, {"a": [8] * 2, "b": [8] * 4}, {"a": 8, "b": 16}, {"a": 32, "b": 64})
    budget: Budget = estimate_budget(run, n_resamples=50)
    assert budget.pairs[0].ratio == pytest.approx(predict_ratio(8, 0.5, 0.25))
    assert np.isclose(budget.layers[0].ratio, predict_ratio(8, 0.5))


def test_the_command_prints_a_table(tmp_path: Path) -> None:
    run = made_run(tmp_path, {"a": [8, 4], "b": []}, {"a": 3, "b": 5}, {"a": 20, "b": 24})
    manifest = run.manifest | {"model": {"name": "made"}}
    write_json(tmp_path / "run.json", {"schema_version": 2, "is_complete": True, **manifest})
    write_json(tmp_path / "units.json", units_document(run.units))
    write_json(tmp_path / "families.json", families_document(()))
    result = CliRunner().invoke(app, ["budget", str(tmp_path), "--resamples", "50"])
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    first = next(line for line in lines if line[:2] == ["a", "rotation"])
    # r = 12 / 20 and K = 6; between the layers only invariant outputs of the second save anything.
    assert (first[3], first[6], first[7]) == ("60%", "6.0", "70.0%")
    assert first[-2] == f"{1 - (8 * 7 / 8 + 4 * 3 / 4) / 20 * 5 / 24:.1%}"
    assert f"budget: {tmp_path / 'budget.json'}" in result.stdout
    assert (tmp_path / "budget.json").exists()
    assert (tmp_path / "budget.svg").exists()
    # All of 20 units forced: 12 stay, 8 become 6 each.
    (forced,) = (line for line in lines if line[:4] == ["a", "rotation", "100%", "6.0"])
    assert forced[4:6] == ["20", "60"]
    assert f"equiscope budget {tmp_path} made" in " ".join(result.stderr.split())


# --- forcing -----------------------------------------------------------------------------------------------

HALF = Kinds(
    np.array([2.0, 2.0, 1.0, 1.0]), np.array([0, 0, -1, -1]), np.array([[True], [True], [True], [False]]),
    np.array([[False], [False], [True], [False]]), np.array([0, 0, 1, 2]),
)  # fmt: skip


@pytest.mark.parametrize(
    ("share", "kept", "forced"),
    [(None, 1.0, 0.0), (0.125, 0.25, 0.0), (0.5, 1.0, 0.0), (0.75, 1.0, 0.5), (1.0, 1.0, 1.0)],
)
def test_families_are_forced_first_then_the_others_alike(
    share: float | None, kept: float, forced: float
) -> None:
    found = force(HALF, np.ones((1, 4)), share, np.array([9.0]))
    assert (found.copies.item(), found.kept.item(), found.forced.item()) == (2.0, kept, forced)


def test_only_what_stays_invariant_shares_the_kernels_of_a_family() -> None:
    block = full_block(("a", 4), ("a", 4))
    natural, all_forced = (force(HALF, np.ones((1, 4)), share, np.array([9.0])) for share in (None, 1.0))
    # Of the sixteen kernels three from tied units to the family are half as many, and two from the family to the
    # invariant unit one.
    assert count_forced([block], {"a": natural}).item() == 16 - 3 - 1
    # Both others become two units each: three features of two, of whose kernels half are free.
    assert count_forced([block], {"a": all_forced}).item() == 6 * 6 / 2
