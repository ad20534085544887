"""Budgets of planted runs: several transformations at once, scale, forced units, and networks really built."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn
from typer.testing import CliRunner

from budget_run import Kinds, make_scale_family, planted_run, save_planted
from equiscope.cli import app
from equiscope.construction.budget import (
    TOGETHER,
    Budget,
    ForcedBudget,
    estimate_budget,
    load_budget,
    predict_ratio,
)
from equiscope.construction.equivariant import Conv2d, Fields
from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model, load_model


def ratio_of(budget: Budget, transformation: str) -> float:
    (pair,) = (own for own in budget.pairs if own.transformation == transformation)
    return pair.ratio


def forced_of(budget: Budget, layer: str, share: float) -> ForcedBudget:
    (own,) = (own for own in budget.forced if (own.layer, own.forced_share) == (layer, share))
    return own


def n_orbits(sources: Sequence[Kinds], targets: Sequence[Kinds], transformations: Sequence[str]) -> int:
    """Count kernels that stay apart when each is joined with all that tying makes it equal to.

    Families are cycles here: the next member of a family is the next copy. A transformation joins the kernel of two
    units to that of their next copies if both are equivariant or invariant under it.
    """

    def following(units: Sequence[Kinds], index: int, name: str) -> int | None:
        own = units[index].get(name)
        if own == "invariant":
            return index
        if own is None:
            return None
        members = [i for i, unit in enumerate(units) if unit.get(name) == own]
        return members[(members.index(index) + 1) % len(members)]

    parent = {kernel: kernel for kernel in product(range(len(sources)), range(len(targets)))}

    def root(kernel: tuple[int, int]) -> tuple[int, int]:
        while parent[kernel] != kernel:
            kernel = parent[kernel]
        return kernel

    for source, target in parent:
        for name in transformations:
            ends = following(sources, source, name), following(targets, target, name)
            if ends[0] is not None and ends[1] is not None:
                parent[root((source, target))] = root((ends[0], ends[1]))
    return len({root(kernel) for kernel in parent})


TURNS = {"rotation": "a"}
HUES = {"hue": "h", "rotation": "invariant"}


def test_transformations_that_act_on_both_ends_multiply(tmp_path: Path) -> None:
    """Colour contrasts that turn, round colour detectors of three hues, lines that turn and see no colour."""
    lines = {"rotation": "b", "hue": "invariant"}
    sources = [*[TURNS | {"hue": "invariant"}] * 4, *[HUES] * 3, {}]
    targets = [*[lines] * 4, {"rotation": "invariant", "hue": "invariant"}, {"hue": "invariant"}, {}]
    run = planted_run(tmp_path, {"a": sources, "b": targets}, ["rotation", "hue"])
    budget = estimate_budget(run, n_resamples=10)
    n_kernels = len(sources) * len(targets)
    for names in (["rotation"], ["hue"], ["rotation", "hue"]):
        counted = n_orbits(sources, targets, names)
        name = names[0] if len(names) == 1 else TOGETHER
        assert ratio_of(budget, name) * n_kernels == pytest.approx(counted)
    # From three hues to four lines: twelve kernels are one, and neither transformation alone says so.
    assert n_orbits([HUES] * 3, [lines] * 4, ["rotation", "hue"]) == 1


def test_no_unit_is_counted_twice(tmp_path: Path) -> None:
    """Units 4 and 5 are in two families, unit 9 in a pair that has lost its partner to a larger family."""
    own: list[dict[str, str]] = [{} for _ in range(14)]
    for family, transformation, members in (
        ("r", "rotation", range(6)),
        ("h", "hue", range(4, 9)),
        ("p", "reflection", (8, 9)),
        ("q", "contrast", (10, 11)),
    ):
        for member in members:
            own[member][transformation] = family
    names = ["rotation", "hue", "reflection", "contrast"]
    own[12] = dict.fromkeys(names, "invariant")
    own[13] = {"hue": "invariant"}
    run = planted_run(tmp_path, {"a": own}, names)
    budget = estimate_budget(run, n_resamples=10)
    (together,) = (entry for entry in budget.layers if entry.transformation == TOGETHER)
    # Six turn, three of five hues are left, the pair (8, 9) has one unit left and is none.
    assert (together.n_equivariant, together.n_families) == (11, 3)
    assert together.copies == pytest.approx(11 / 3)
    assert together.ratio == pytest.approx(1 - (11 - 3) / 14 * 11 / 14)
    # Invariant is what is so under every transformation.
    assert together.n_invariant == 1
    by_itself = {entry.transformation: entry.n_equivariant for entry in budget.layers}
    assert by_itself == {"rotation": 6, "hue": 5, "reflection": 2, "contrast": 2, TOGETHER: 11}


def test_a_product_takes_what_both_its_parts_leave_or_turn(tmp_path: Path) -> None:
    """Hue × rotation leaves out units that vary with one of them; kernels from them turn all the same."""
    target = [{"hue-rotation": "t"}] * 5
    sources: list[Kinds] = [
        {"hue": "invariant", "rotation": "r", "hue-rotation": "not measurable"},
        {"hue": "invariant", "rotation": "neither", "hue-rotation": "not measurable"},
    ]
    run = planted_run(tmp_path, {"a": sources, "b": target}, ["rotation", "hue", "hue-rotation"])
    budget = estimate_budget(run, n_resamples=10)
    assert ratio_of(budget, "hue-rotation") == pytest.approx((1 / 5 + 1) / 2)


def test_intervals_draw_families_whole(tmp_path: Path) -> None:
    own = [{"rotation": f"f{i // 3}"} if i < 60 else {} for i in range(100)]
    run = planted_run(tmp_path, {"a": own}, ["rotation"])
    (entry,) = estimate_budget(run, n_resamples=4000).layers
    rng = np.random.default_rng(5)
    clusters = [3] * 20 + [0] * 40
    shares = []
    for _ in range(4000):
        drawn = rng.choice(clusters, len(clusters))
        shares.append(drawn.sum() / (drawn.sum() + (drawn == 0).sum()))
    low, high = np.quantile(shares, [0.025, 0.975])
    assert (entry.equivariant_low, entry.equivariant_high) == pytest.approx((low, high), abs=0.02)
    # One by one units would be drawn with a third less spread.
    assert high - low > 1.3 * 2 * 1.96 * math.sqrt(0.6 * 0.4 / 100)


def test_scale_ties_kernels_that_are_as_far_apart_in_size(tmp_path: Path) -> None:
    """Small, middle and large features over three layers, each layer's kernels between sizes one octave apart."""
    small = make_scale_family("s", [("a", 0, 0.0), ("a", 1, 1.0), ("b", 0, 2.05)])
    large = make_scale_family("t", [("b", 1, 0.0), ("b", 2, 1.1), ("c", 0, 3.0)])
    members = {(m.layer, m.channel): f.id for f in (small, large) for m in f.members}
    n_units = {"a": 3, "b": 4, "c": 2}
    layers: dict[str, list[Kinds]] = {
        layer: [{"scale": members.get((layer, channel), "neither")} for channel in range(n)]
        for layer, n in n_units.items()
    }
    layers["a"][2] = {"scale": "invariant"}
    layers["c"][1] = {"scale": "invariant"}
    run = planted_run(tmp_path, layers, ["scale"], [small, large])
    budget = estimate_budget(run, n_resamples=10)
    first, second = budget.pairs
    # a0→b1: 0, a1→b2: 0.1 and b0→c0: 0.95 octaves, a0→b2: 1.1, a1→b1: -1. So a0→b1 and a1→b2 are one, and so are
    # a0→b2 and b0→c0. Those into b0 are from its own family: a0→b0 2.05 and a1→b0 1.05. The invariant a2 has one
    # kernel to b1 and b2; c1 has one from b1 and b2.
    apart_first = 3 * 4 - (1 + 0.5 + 1)
    apart_second = 4 * 2 - (0.5 + 1)
    assert first.ratio * 12 == pytest.approx(apart_first)
    assert second.ratio * 8 == pytest.approx(apart_second)
    (a, _, _) = budget.layers
    assert (a.n_equivariant, a.n_invariant, a.n_families, a.copies) == (2, 1, 1, 3.0)
    assert math.isnan(a.ratio)
    assert budget.forced == ()


def test_scale_ties_only_kernels_of_one_size(tmp_path: Path) -> None:
    """A kernel of 3 x 3 and one of 1 x 1 are never one, however alike their octaves."""
    network = nn.Sequential(
        nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1)
    )
    families = [
        make_scale_family("s", [("0", 0, 0.0), ("1", 0, 1.0), ("2", 0, 2.0), ("3", 0, 3.0)]),
    ]
    layers = {str(i): [{"scale": "s"}, {}] for i in range(4)}
    model = Model(network, "sizes")
    run = planted_run(tmp_path, layers, ["scale"], families, model)
    budget = estimate_budget(run, model, n_resamples=10)
    free = {own.module: own.n_free for own in budget.convolutions}
    # Kernels 0→1, 1→2 and 2→3 are one octave each; the first two have nine weights each, which are counted once.
    assert free == pytest.approx({"0": 3 * 2 + 2, "1": 36 - 4.5 + 2, "2": 36 - 4.5 + 2, "3": 4 + 2})
    # Without the weights all three are one.
    assert [own.ratio for own in budget.pairs] == pytest.approx([(3 + 1 / 3) / 4] * 3)


def built_ratio(fields: Fields, n_units: int) -> float:
    """Free kernels of a layer that was built, over those of a plain one of so many units."""
    layer = Conv2d(fields, fields, 3, bias=False, plain_to="all")
    return layer.n_free_parameters / 9 / n_units**2


def test_forcing_costs_what_a_layer_that_was_built_so_has(tmp_path: Path) -> None:
    """Sixteen units in four families and 48 that are single: forced, each of those takes four."""
    own: list[Kinds] = [{"rotation": f"f{i // 4}"} if i < 16 else {} for i in range(64)]
    run = planted_run(tmp_path, {"a": own}, ["rotation"])
    budget = estimate_budget(run, n_resamples=200)
    everything, half = forced_of(budget, "a", 1.0), forced_of(budget, "a", 0.5)
    assert (everything.copies, everything.n_units, everything.n_needed) == (4.0, 64, 16 + 4 * 48)
    assert everything.ratio == pytest.approx(built_ratio(Fields("C4", equivariant=4 + 48), 64))
    # Half of 64 are the families and 16 more.
    assert half.n_needed == pytest.approx(16 + 4 * 16 + 32)
    assert half.ratio == pytest.approx(built_ratio(Fields("C4", equivariant=4 + 16, plain=32), 64))
    assert half.right == everything.right == pytest.approx(built_ratio(Fields("C4", 4, 0, 48), 64))
    assert everything.ratio_low < everything.ratio < everything.ratio_high


def test_invariant_units_that_are_left_so_still_share_their_kernels(tmp_path: Path) -> None:
    """A family of four, six invariant units and six plain ones; half forced takes two of either kind of six."""
    own: list[Kinds] = [{"rotation": "f"}] * 4 + [{"rotation": "invariant"}] * 6 + [{}] * 6
    budget = estimate_budget(planted_run(tmp_path, {"a": own}, ["rotation"]), n_resamples=20)
    half = forced_of(budget, "a", 0.5)
    assert half.right == pytest.approx(predict_ratio(4, 4 / 16, 6 / 16))
    # Five fields of four, four invariant units and four plain ones.
    assert half.n_needed == pytest.approx(28)
    assert half.ratio == pytest.approx(28**2 / 16**2 * predict_ratio(4, 20 / 28, 4 / 28))


def test_a_feature_that_gains_nothing_costs_k_times_as_much(tmp_path: Path) -> None:
    """What the article says of upside-down dogs; a layer without a family takes the K of the others."""
    layers = {"a": [{"rotation": "f"}] * 8, "b": [{}] * 10, "c": [{"rotation": "invariant"}] * 10}
    budget = estimate_budget(planted_run(tmp_path, layers, ["rotation"]), n_resamples=20)
    dogs = forced_of(budget, "b", 1.0)
    assert (dogs.copies, dogs.n_needed, dogs.right) == (8.0, 80, 1.0)
    assert dogs.ratio == pytest.approx(8.0)
    assert forced_of(budget, "c", 1.0).ratio == pytest.approx(8.0)
    # All of a family forced is what nature has; half of it forced is half of its saving in either end.
    assert forced_of(budget, "a", 1.0).ratio == pytest.approx(1 / 8)
    assert forced_of(budget, "a", 0.5).ratio == pytest.approx(1 - 7 / 8 / 4)
    assert forced_of(budget, "a", 0.5).n_needed == 8


def kinds_of(fields: Fields) -> list[Kinds]:
    families: list[Kinds] = [
        {"rotation": f"f{i}"} for i in range(fields.equivariant) for _ in range(fields.order)
    ]
    return [*families, *[{"rotation": "invariant"}] * fields.invariant, *[{}] * fields.plain]


@pytest.mark.parametrize("n_fields", [0, 4, 8, 12, 16])
def test_parameters_are_those_of_the_network_built_with_these_fields(tmp_path: Path, n_fields: int) -> None:
    """C4, whose turned kernels keep all their weights: three layers, with biases."""
    own = Fields("C4", equivariant=n_fields, plain=64 - 4 * n_fields)
    last = Fields("C4", equivariant=4, plain=8)
    sizes = [(Fields("C4", invariant=3), own, 5), (own, own, 3), (own, last, 1)]
    plain = nn.Sequential(*(nn.Conv2d(a.n_channels, b.n_channels, k, padding=k // 2) for a, b, k in sizes))
    built = [Conv2d(a, b, k, padding=k // 2, plain_to="all") for a, b, k in sizes]
    model = Model(plain, "plain")
    layers = {str(i): kinds_of(b) for i, (_, b, _) in enumerate(sizes)}
    run = planted_run(tmp_path, layers, ["rotation"], model=model)
    budget = estimate_budget(run, model, n_resamples=50)
    assert {own.module: own.n_free for own in budget.convolutions} == pytest.approx(
        {str(i): layer.n_free_parameters for i, layer in enumerate(built)}
    )
    (total,) = budget.totals
    assert total.n_free == pytest.approx(sum(layer.n_free_parameters for layer in built))
    assert total.n_free == total.n_free_surveyed
    assert (total.n_parameters, total.n_others, total.n_unsurveyed) == (
        sum(value.numel() for value in plain.parameters()), 0, 0,
    )  # fmt: skip
    assert total.n_free_low <= total.n_free <= total.n_free_high
    whole = forced_of(budget, "", 1.0)
    assert whole.right == pytest.approx(total.n_free / total.n_parameters)
    assert math.isnan(whole.copies)
    assert whole.n_units == 64 + 64 + 24


class Narrow(nn.Module):
    """Sixteen units, a bottleneck of six that is not surveyed, sixteen units; and a head behind."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.narrow = nn.Conv2d(16, 6, 1, bias=False)
        self.last = nn.Conv2d(6, 16, 3, padding=1, bias=False)
        self.head = nn.Conv2d(16, 10, 1)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.last(self.narrow(self.first(x).relu())).relu())


def test_what_was_not_surveyed_is_like_what_it_leads_to_or_not_tied_at_all(tmp_path: Path) -> None:
    model = Model(Narrow(), "narrow")
    layers = {"first": [{"rotation": "f"}] * 8 + [{}] * 8, "last": [{"rotation": "g"}] * 8 + [{}] * 8}
    run = planted_run(tmp_path, layers, ["rotation"], model=model)
    budget = estimate_budget(run, model, n_resamples=20)
    free = {own.module: (own.n_free, own.n_free_surveyed, own.n_unsurveyed) for own in budget.convolutions}
    # Half of either end is in one family of eight: a quarter of the kernels is tied.
    share = 1 - 7 / 8 / 4
    first = 27 * (8 + 1)
    assert free["first"] == pytest.approx((first, first, 0))
    assert free["narrow"] == pytest.approx((96 * share, 96, 96))
    assert free["last"] == pytest.approx((864 * share, 864, 864))
    (total,) = budget.totals
    assert (total.n_parameters, total.n_unsurveyed, total.n_others) == (432 + 96 + 864, 960, 170)
    assert (total.n_free, total.n_free_surveyed) == pytest.approx((first + 960 * share, first + 960))
    # The layers count as joined, through the bottleneck.
    assert [(own.source, own.target, own.n_kernels) for own in budget.pairs] == [("first", "last", 256)]


def test_another_network_is_refused(tmp_path: Path) -> None:
    model = Model(Narrow(), "narrow")
    layers = {"first": [{}] * 16, "last": [{}] * 16}
    run = planted_run(tmp_path, layers, ["rotation"], model=model)
    with pytest.raises(EquiscopeError, match="has other weights"):
        estimate_budget(run, Model(Narrow(), "narrow"), n_resamples=5)


def test_budgets_of_earlier_versions_are_read(tmp_path: Path) -> None:
    run = planted_run(tmp_path, {"a": [{"rotation": "f"}] * 4, "b": [{}] * 4}, ["rotation"])
    assert load_budget(tmp_path) is None
    budget = estimate_budget(run, n_resamples=5)
    path = tmp_path / "budget.json"
    document = json.loads(path.read_text())
    for name in ("forced", "convolutions", "totals"):
        del document[name]
    path.write_text(json.dumps(document))
    earlier = load_budget(tmp_path)
    assert earlier is not None
    assert (repr(earlier.layers), earlier.pairs) == (repr(budget.layers), budget.pairs)
    assert (earlier.forced, earlier.totals) == ((), ())


def test_the_command_counts_the_embedded_network(tmp_path: Path) -> None:
    model = load_model("mini")
    layers: dict[str, list[Kinds]] = {
        "conv2d0": [{"rotation": f"f{i // 6}"} for i in range(48)],
        "conv2d1": [{"rotation": f"g{i // 8}"} for i in range(96)],
    }
    save_planted(planted_run(tmp_path, layers, ["rotation"], model=model))
    result = CliRunner().invoke(app, ["budget", str(tmp_path), "--resamples", "20"])
    assert result.exit_code == 0, result.output
    n_first, n_last = 3 * 49 * 48 + 48, 48 * 9 * 96 + 96
    free = n_first / 6 + n_last / 8
    (line,) = (own.split() for own in result.stdout.splitlines() if str(n_first + n_last) in own)
    assert line[:4] == ["rotation", str(n_first + n_last), f"{free:.0f}", f"{free / (n_first + n_last):.1%}"]
    assert "every kernel counts alike" not in result.stderr
