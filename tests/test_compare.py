"""Comparisons of two runs: planted counterparts are found, others are not, and false ones stay at the stated rate."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import equiscope
import equiscope.evidence.compare.sides as sides_module
from equiscope import EquiscopeError, ImageSet, Model, Run
from equiscope.cli import app
from equiscope.evidence.compare.comparison import Comparison, load_comparisons
from equiscope.evidence.compare.counterparts import find_counterparts
from equiscope.evidence.compare.runs import compare_runs
from equiscope.evidence.compare.spectra import FamilyResponses
from equiscope.families.family import Symmetry, Unit
from equiscope.foundations.options import Options
from equiscope.foundations.progress import silent
from equiscope.foundations.statistics import circular_difference_deg
from equiscope.measurement.examples import collect_examples, split_halves
from equiscope.models.geometry import find_geometry
from equiscope.runs.examples import save_examples
from equiscope.runs.findings import families_document, units_document
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import read_json
from equiscope.runs.run import load_run
from equiscope.runs.writing import write_json
from equiscope.testing import Planted, planted_network
from equiscope.transformations.groups import CyclicGroup, Involution
from hand_made import a_family, a_member

NAN = float("nan")
IN_FLOAT32 = Options(precision="float32")
NAMES = ("curves", "edges", "lines", "crosses")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Sixteen pictures with the amplitude spectrum of photographs, wider than high."""
    generator = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(100)[:, None], np.fft.fftfreq(130)[None])
    frequency[0, 0] = np.inf
    pictures = np.fft.ifft2(np.fft.fft2(generator.normal(size=(16, 100, 130))) / frequency).real
    pictures = 0.5 + 0.18 * pictures / pictures.std((1, 2), keepdims=True)
    path = tmp_path_factory.mktemp("images") / "noise.npz"
    np.savez(path, images=(255 * pictures.clip(0, 1)).astype(np.uint8))
    return equiscope.open_images(path)


def write_run(
    folder: Path,
    planted: Planted,
    images: ImageSet,
    names: Sequence[str] = NAMES,
    *,
    transformations: Sequence[str] = ("rotation",),
    seed: int = 0,
) -> Run:
    """What a survey leaves that finds just the planted families of these names, at their true poses."""
    model, layer = planted.model, planted.layer
    geometries = find_geometry(model, [layer])
    examples = collect_examples(model, images, geometries, split_halves(images.groups, seed), 2)
    families, own = [], {}
    for number, truth in enumerate((f for f in planted.truth[layer].families if f.name in names), 1):
        order = np.argsort(truth.channels)
        zero = truth.poses_deg[order[0]]
        period = 360 / truth.stabiliser_order
        members = [
            a_member(
                layer, truth.channels[i], score=0.9, low=0.8, angle_deg=(truth.poses_deg[i] - zero) % period
            )
            for i in order
        ]
        family = a_family(
            "rotation", members, name=f"{layer}-rotation-{number}", turns=truth.stabiliser_order,
            score=0.9, score_low=0.8, q_value=0.01,
        )  # fmt: skip
        families.append(family)
        own |= dict.fromkeys(truth.channels, family.id)
    still = {*planted.truth[layer].invariant, *planted.truth[layer].inactive}
    still |= {c for f in planted.truth[layer].families if f.name not in names for c in f.channels}
    kinds = dict.fromkeys(still, "invariant") | dict.fromkeys(own, "equivariant")
    units = [
        Unit(
            layer, channel, 0.0, 1.0, (Symmetry("rotation", kinds.get(channel, "neither")),)
        )
        for channel in range(planted.truth[layer].n_channels)
    ]  # fmt: skip
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "is_complete": True,
        "command": "equiscope survey",
        "model": {"name": model.name, "weights_sha256": model.weights_sha256()},
        "images": {"name": images.name, "n_images": len(images), "fingerprint": images.fingerprint},
        "settings": {
            "layers": [layer],
            "transformations": list(transformations),
            "angles": 16,
            "seed": seed,
            "examples_per_unit": 4,
            "false_discovery_rate": 0.05,
            "min_score": 0.35,
            "n_null": 20,
        },
        "geometry": [dataclasses.asdict(geometry) for geometry in geometries.values()],
    }
    write_json(folder / "run.json", manifest)
    write_json(folder / "units.json", units_document(units))
    write_json(folder / "families.json", families_document(families))
    save_examples(folder / "examples.npz", examples, len(images), [])
    return load_run(folder)


def renamed(planted: Planted) -> Planted:
    """The same units as another network sees them: stride 2 with padding, its own range of values, another name."""
    first = planted.model.module[0]
    layer = nn.Conv2d(3, first.out_channels, first.kernel_size, stride=2, padding=4, device="meta")
    layer.weight = nn.Parameter(first.weight.detach() / 255)
    layer.bias = nn.Parameter(first.bias.detach().clone())
    module = nn.Sequential()
    module.add_module("stage/one", layer)
    model = Model(module.eval(), "strided", preprocess=lambda pictures: pictures * 255)
    return Planted(model, {"stage/one": planted.truth[planted.layer]})


def without(planted: Planted, names: Sequence[str]) -> Planted:
    """The same network with the units of some families silenced."""
    module = copy.deepcopy(planted.model.module)
    gone = [c for f in planted.truth[planted.layer].families if f.name in names for c in f.channels]
    with torch.no_grad():
        module[0].weight[gone] = 0
        module[0].bias[gone] = -1
    return Planted(Model(module, f"without-{names[0]}"), planted.truth)


@pytest.fixture(scope="module")
def runs(images: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Run, Planted]]:
    folder = tmp_path_factory.mktemp("runs")
    first, second = planted_network(0), planted_network(1)
    made = {"first": first, "second": second, "strided": renamed(second)}
    found = {name: (write_run(folder / name, planted, images), planted) for name, planted in made.items()}
    for name, whole, kept, gone in (
        ("curved", first, NAMES[:2], NAMES[2:]),
        ("straight", second, NAMES[2:], NAMES[:2]),
    ):
        planted = without(whole, gone)
        found[name] = write_run(folder / name, planted, images, kept), planted
    return found


def compare(
    runs: dict[str, tuple[Run, Planted]], a: str, b: str, images: ImageSet, **options: object
) -> Comparison:
    (run_a, first), (run_b, second) = runs[a], runs[b]
    return compare_runs(run_a, first.model, run_b, second.model, images, options=IN_FLOAT32, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("other", ["second", "strided"])
def test_a_network_with_its_channels_shuffled_finds_every_family(
    runs: dict[str, tuple[Run, Planted]], images: ImageSet, other: str
) -> None:
    """Also through another stride, padding, layer's name and preprocessing."""
    found = compare(runs, "first", other, images)
    accepted = [match for match in found.matches if match.is_counterpart]
    # Families have the order of their names in either run.
    assert sorted((m.a[-1], m.b[-1]) for m in accepted) == [(n, n) for n in "1234"]
    assert all(match.is_alike for match in accepted)
    assert all(family.counterpart for family in found.families)
    (_, first), (_, second) = runs["first"], runs[other]
    for match in accepted:
        number = int(match.a[-1]) - 1
        truth = [planted.truth[planted.layer].families[number] for planted in (first, second)]
        # Poses count from the lowest channel, which the shuffle makes another one: the offset is that one's pose.
        zeros = [t.poses_deg[int(np.argmin(t.channels))] for t in truth]
        period = 360 / truth[0].stabiliser_order
        away = circular_difference_deg(match.offset, zeros[1] - zeros[0], period)
        assert abs(float(away)) < 1.5
        assert match.score > 0.97
        assert match.score_low <= match.score <= match.score_high + 0.01 <= 1.02
    assert [(s.n_a, s.n_b, s.n_matched) for s in found.layers] == [(4, 4, 4)]


def test_families_of_other_identity_are_no_counterparts(
    runs: dict[str, tuple[Run, Planted]], images: ImageSet
) -> None:
    found = compare(runs, "curved", "straight", images)
    assert not any(match.is_counterpart for match in found.matches)
    assert {f.counterpart for f in found.families} == {None}
    assert all(f.reason and f.nearest for f in found.families)
    assert [s.n_matched for s in found.layers] == [0]


def test_a_half_of_the_families_is_found_where_a_half_is_there(
    runs: dict[str, tuple[Run, Planted]], images: ImageSet
) -> None:
    found = compare(runs, "first", "straight", images)
    assert sorted((m.a[-1], m.b[-1]) for m in found.matches if m.is_counterpart) == [("3", "1"), ("4", "2")]
    missing = [f.id[-1] for f in found.families if f.run == "a" and f.counterpart is None]
    assert missing == ["1", "2"]


def test_the_comparison_survives_its_file(runs: dict[str, tuple[Run, Planted]], images: ImageSet) -> None:
    found = compare(runs, "curved", "first", images, n_draws=10)
    (again,) = [c for c in load_comparisons(runs["curved"][0].folder) if c.name == "first"]
    assert repr(again) == repr(found)
    assert read_json(runs["curved"][0].folder / "compare" / "first.json")["schema_version"] == SCHEMA_VERSION


def test_other_images_than_surveyed_are_used_and_that_is_said(
    runs: dict[str, tuple[Run, Planted]], images: ImageSet, tmp_path: Path
) -> None:
    pictures = np.stack([(255 * images.load(i).numpy().transpose(1, 2, 0)).round() for i in range(10)])
    np.savez(tmp_path / "others.npz", images=pictures[:, ::-1].astype(np.uint8))
    found = compare(runs, "first", "second", equiscope.open_images(tmp_path / "others.npz"), n_draws=20)
    assert len(found.notes) == 2
    assert all("other images" in note for note in found.notes)
    assert not found.a.has_these_images
    assert sum(match.is_counterpart and match.a == match.b for match in found.matches) == 4


def test_only_images_that_found_neither_run_are_shown(
    images: ImageSet, runs: dict[str, tuple[Run, Planted]], tmp_path: Path
) -> None:
    run_a, first = runs["first"]
    run_b = write_run(tmp_path / "seeded", planted_network(1), images, seed=1)
    found = compare_runs(
        run_a, first.model, run_b, planted_network(1).model, images, n_draws=2, options=IN_FLOAT32
    )
    both = (split_halves(images.groups, 0) == 1) & (split_halves(images.groups, 1) == 1)
    assert found.transformations[0].n_photographs <= both.sum() < len(images) / 2


def test_all_families_of_both_runs_are_shown_their_own_where_not_everything_can_be(
    runs: dict[str, tuple[Run, Planted]], images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = [
        sides_module.open_side(run, planted.model, images, ["rotation"], [], silent)
        for run, planted in (runs["curved"], runs["straight"])
    ]
    monkeypatch.setattr(sides_module, "_MOST_STIMULI", 12)
    bank = sides_module.choose_shared_stimuli(sides, images, "rotation")
    assert len(bank) == 12
    shown = set(zip(bank.image.tolist(), *bank.centre_px.T.tolist(), strict=True))
    for side in sides:
        for family in side.run.families:
            of_one = dataclasses.replace(side, run=dataclasses.replace(side.run, families=(family,)))
            strongest = set(sides_module._stimuli_of_rank(of_one, "rotation", 0))
            assert len(strongest) > 3
            assert strongest & shown


def test_a_model_is_left_as_it_was(runs: dict[str, tuple[Run, Planted]], images: ImageSet) -> None:
    model = runs["first"][1].model
    before = model.weights_sha256(), model.module.training
    compare(runs, "first", "second", images, n_draws=2)
    assert (model.weights_sha256(), model.module.training) == before


def test_what_cannot_be_compared_is_refused(
    runs: dict[str, tuple[Run, Planted]], images: ImageSet, tmp_path: Path
) -> None:
    (run, planted), (other, second) = runs["first"], runs["second"]
    with pytest.raises(EquiscopeError, match="was given twice"):
        compare_runs(run, planted.model, run, planted.model, images)
    with pytest.raises(EquiscopeError, match="has other weights than the network of"):
        compare_runs(run, second.model, other, second.model, images)
    with pytest.raises(EquiscopeError, match="unknown transformation to compare 'scale'"):
        compare_runs(run, planted.model, other, second.model, images, transformations=["scale"])
    with pytest.raises(EquiscopeError, match="none of hue was surveyed in both runs"):
        compare_runs(run, planted.model, other, second.model, images, transformations=["hue"])
    with pytest.raises(EquiscopeError, match="n_draws is 0"):
        compare_runs(run, planted.model, other, second.model, images, n_draws=0)
    shutil.copytree(other.folder, tmp_path / "copy")
    (tmp_path / "copy" / "examples.npz").unlink()
    with pytest.raises(EquiscopeError, match=r"holds no examples\.npz"):
        compare_runs(run, planted.model, load_run(tmp_path / "copy"), second.model, images)
    manifest = read_json(tmp_path / "copy" / "run.json") | {"is_complete": False}
    write_json(tmp_path / "copy" / "run.json", manifest)
    with pytest.raises(EquiscopeError, match="is not finished"):
        load_run(tmp_path / "copy")


def test_one_photograph_cannot_choose_and_score(
    runs: dict[str, tuple[Run, Planted]], images: ImageSet, tmp_path: Path
) -> None:
    picture = (255 * images.load(0).numpy().transpose(1, 2, 0)).round().astype(np.uint8)
    np.savez(tmp_path / "one.npz", images=picture[None])
    with pytest.raises(EquiscopeError, match=r"1 photograph\(s\) of one\.npz"):
        compare(runs, "first", "second", equiscope.open_images(tmp_path / "one.npz"))


def test_a_run_without_families_is_a_result(
    runs: dict[str, tuple[Run, Planted]], images: ImageSet, tmp_path: Path
) -> None:
    run_a, first = runs["first"]
    run_b = write_run(tmp_path / "empty", planted_network(1), images, ())
    found = compare_runs(run_a, first.model, run_b, planted_network(1).model, images, options=IN_FLOAT32)
    assert found.matches == ()
    assert "no rotation family" in found.transformations[0].note
    assert len(found.families) == 4


# --- the search, on responses that are drawn ------------------------------------------------------------------------

N_STIMULI, N_ANGLES, N_FAMILIES, N_MEMBERS = 96, 8, 10, 3


def drawn_features(generator: np.random.Generator, n: int, basis: np.ndarray) -> np.ndarray:
    """Features that resemble each other, as features of one kind do, shape (stimulus, element, feature)."""
    weight = generator.gamma(0.4, size=(len(basis), n))
    own = np.fft.irfft(basis_of(generator, n), n=N_ANGLES, axis=1).transpose(0, 1, 2)
    return np.asarray(np.tensordot(basis, weight, axes=(0, 0)) + 0.5 * own)


def basis_of(generator: np.random.Generator, n: int) -> np.ndarray:
    """Fourier series of smooth orbits, shape (stimulus, frequency, n)."""
    shape = (N_STIMULI, N_ANGLES // 2 + 1, n)
    fall = np.array([1.0, 1.0, 0.5, 0.2, 0.0])[:, None]
    return np.asarray(fall * (generator.normal(size=shape) + 1j * generator.normal(size=shape)))


def drawn_side(generator: np.random.Generator, features: np.ndarray, singles: np.ndarray) -> FamilyResponses:
    """A network with one family a feature, members at random poses with some noise, and single units beside them."""
    columns, poses = [], []
    for feature in features.transpose(2, 0, 1):
        own = generator.uniform(0, N_ANGLES, N_MEMBERS)
        wave = np.exp(-2j * np.pi / N_ANGLES * np.outer(np.arange(N_ANGLES // 2 + 1), own))
        turned = np.fft.irfft(np.fft.rfft(feature, axis=1)[:, :, None] * wave, n=N_ANGLES, axis=1)
        columns.append(turned + 0.2 * feature.std() * generator.normal(size=turned.shape))
        poses.append(own)
    responses = np.maximum(np.concatenate([*columns, singles], axis=2), 0).astype(np.float32)
    n_units = responses.shape[2]
    members = [np.arange(i * N_MEMBERS, (i + 1) * N_MEMBERS) for i in range(features.shape[2])]
    return FamilyResponses(
        responses,
        tuple(members),
        tuple(poses),
        (1,) * len(members),
        np.zeros(n_units, np.int64),
        np.ones(n_units, bool),
    )


@pytest.mark.parametrize("n_shared", [0, 6])
def test_false_counterparts_stay_at_the_stated_rate(n_shared: int) -> None:
    photographs = np.arange(N_STIMULI) // 4
    false_share, n_found, n_true = [], 0, 0
    for draw in range(40):
        generator = np.random.default_rng(draw)
        basis = np.fft.irfft(basis_of(generator, 12), n=N_ANGLES, axis=1).transpose(2, 0, 1)
        shared = drawn_features(generator, n_shared, basis)
        sides = []
        for _ in range(2):
            own = drawn_features(generator, N_FAMILIES - n_shared, basis)
            singles = drawn_features(generator, 8, basis)
            sides.append(drawn_side(generator, np.concatenate([shared, own], axis=2), singles))
        found = find_counterparts(
            sides[0], sides[1], CyclicGroup(N_ANGLES), photographs, n_draws=40, seed=draw
        )
        accepted = [pair for pair in found.pairs if pair.q_value <= 0.05]
        true = sum(pair.a == pair.b < n_shared for pair in accepted)
        n_found, n_true = n_found + len(accepted), n_true + true
        false_share.append((len(accepted) - true) / max(len(accepted), 1))
    # The rate is the mean share of false ones; 0.05 is stated, and 40 draws of it scatter by 0.035.
    assert np.mean(false_share) <= 0.085
    assert n_true >= 0.6 * 40 * n_shared


def test_poses_that_agree_by_chance_stay_at_the_stated_rate() -> None:
    """The same features in both networks, but each stimulus reaches the families of one at an angle of its own."""
    false_share = []
    for draw in range(40):
        generator = np.random.default_rng(100 + draw)
        features = generator.gamma(0.4, size=(N_STIMULI, 1, 6)) * np.exp(
            np.cos(
                2
                * np.pi
                * (np.arange(N_ANGLES)[:, None] / N_ANGLES - generator.uniform(size=(N_STIMULI, 1, 6)))
            )
        )
        shift = (np.arange(N_ANGLES)[:, None] + generator.integers(0, N_ANGLES, (N_STIMULI, 1, 6))) % N_ANGLES
        sides = [
            drawn_side(generator, own, own[:, :, :1])
            for own in (features, np.take_along_axis(features, shift, axis=1))
        ]
        found = find_counterparts(
            sides[0], sides[1], CyclicGroup(N_ANGLES), np.arange(N_STIMULI) // 4, n_draws=40, seed=draw
        )
        false_share.append(any(pair.pose_q_value <= 0.05 for pair in found.pairs))
        assert found.pose_null.score_95 > 0.05
    assert np.mean(false_share) <= 0.125


def test_no_q_value_claims_more_than_few_stand_ins_can_show() -> None:
    """However many rounds are dealt: three families and a unit leave 3 + 3 pairs of kin and 3 + 3 with units a side."""
    generator = np.random.default_rng(7)
    features, single = (generator.gamma(0.3, size=(N_STIMULI, N_ANGLES, n)) for n in (3, 1))
    sides = [drawn_side(generator, features, single) for _ in range(2)]
    found = find_counterparts(sides[0], sides[1], CyclicGroup(N_ANGLES), np.arange(N_STIMULI), n_draws=200)
    assert [(pair.a, pair.b) for pair in sorted(found.pairs, key=lambda p: p.a)] == [(0, 0), (1, 1), (2, 2)]
    n_stand_ins, n_tried = 2 * (3 + 3 + 3), 3 * 3
    assert min(pair.q_value for pair in found.pairs) >= n_tried / n_stand_ins / 3
    assert min(pair.pose_q_value for pair in found.pairs) < 0.01


def test_scores_are_held_out() -> None:
    """Among responses of pure chance the best of many offsets and partners scores nothing on the other photographs."""
    generator = np.random.default_rng(5)
    features = [generator.normal(size=(N_STIMULI, N_ANGLES, 20)) for _ in range(2)]
    sides = [drawn_side(generator, own, own[:, :, :1]) for own in features]
    found = find_counterparts(sides[0], sides[1], CyclicGroup(N_ANGLES), np.arange(N_STIMULI), n_draws=2)
    assert abs(found.scores.mean()) < 0.01
    assert np.abs(found.scores).max() < 0.2


def test_offsets_are_told_up_to_the_stabiliser_of_either_family() -> None:
    """Lines, in the other network what nearly is one: half a turn more or less is the same offset."""
    generator = np.random.default_rng(4)
    lines = generator.gamma(0.3, size=(N_STIMULI, N_ANGLES // 2, 3))
    nearly = np.concatenate([lines, lines * generator.uniform(0.8, 1.2, lines.shape)], axis=1)
    features = [nearly, np.roll(nearly, -2, axis=1)]
    sides = [
        drawn_side(generator, own, generator.gamma(0.3, size=(N_STIMULI, N_ANGLES, 4))) for own in features
    ]
    half = dataclasses.replace(sides[0], stabiliser_orders=(2,) * 3)
    found = find_counterparts(half, sides[1], CyclicGroup(N_ANGLES), np.arange(N_STIMULI), n_draws=2)
    assert {(pair.a, pair.b) for pair in found.pairs} == {(i, i) for i in range(3)}
    for pair in found.pairs:
        assert abs(pair.offset - 2) < 0.2
        assert pair.offset_difference < 0.2


def test_turns_of_either_stabiliser_make_no_other_offset() -> None:
    """What repeats after half a turn in one network, and after a third in the other, is told up to a sixth."""
    generator = np.random.default_rng(4)
    features = generator.gamma(0.3, size=(N_STIMULI, N_ANGLES, 6))
    singles = generator.gamma(0.3, size=(N_STIMULI, N_ANGLES, 4))
    sides = [
        dataclasses.replace(
            drawn_side(generator, np.roll(features, turn, axis=1), singles), stabiliser_orders=own
        )
        for turn, own in ((0, (2,) * 6), (2, (3,) * 6))
    ]
    found = find_counterparts(sides[0], sides[1], CyclicGroup(N_ANGLES), np.arange(N_STIMULI), n_draws=2)
    assert [(pair.a == pair.b) for pair in found.pairs] == [True] * 6
    assert [pair.offset for pair in found.pairs] == pytest.approx([2 % (N_ANGLES / 6)] * 6, abs=0.1)


def test_the_best_pairs_come_first() -> None:
    generator = np.random.default_rng(6)
    features = generator.gamma(0.3, size=(N_STIMULI, N_ANGLES, 6))
    singles = generator.gamma(0.3, size=(N_STIMULI, N_ANGLES, 4))
    sides = [drawn_side(generator, features, singles) for _ in range(2)]
    found = find_counterparts(sides[0], sides[1], CyclicGroup(N_ANGLES), np.arange(N_STIMULI), n_draws=2)
    scores = [pair.score for pair in found.pairs]
    assert len(set(scores)) == 6
    assert scores == sorted(scores, reverse=True)
    assert all(pair.score_low < pair.score < pair.score_high for pair in found.pairs)


def test_pairs_under_a_reflection_are_matched_by_exchange() -> None:
    generator = np.random.default_rng(2)
    features = generator.gamma(0.3, size=(N_STIMULI, 2, 7))
    exchanged = np.array([0, 1, 1, 0, 1, 0, 0])
    sides = []
    for turn in (np.zeros(7, np.int64), exchanged):
        units = [np.roll(features[:, :, i], (turn[i] + k) % 2, axis=1) for i in range(7) for k in (0, 1)]
        singles = generator.gamma(0.3, size=(N_STIMULI, 2, 8))
        responses = np.concatenate([np.stack(units, axis=2), singles], axis=2).astype(np.float32)
        members = tuple(np.array([2 * i, 2 * i + 1]) for i in range(7))
        poses = (np.array([0.0, 1.0]),) * 7
        n_units = responses.shape[2]
        sides.append(
            FamilyResponses(
                responses, members, poses, (1,) * 7, np.zeros(n_units, np.int64), np.ones(n_units, bool)
            )
        )
    found = find_counterparts(sides[0], sides[1], Involution("reflection"), np.arange(N_STIMULI), n_draws=40)
    assert {(p.a, p.b, round(p.offset)) for p in found.pairs if p.q_value <= 0.05} == {
        (i, i, int(exchanged[i])) for i in range(7)
    }


def test_a_family_that_never_fires_is_not_measured() -> None:
    generator = np.random.default_rng(3)
    side = drawn_side(
        generator,
        generator.gamma(0.3, size=(N_STIMULI, N_ANGLES, 3)),
        generator.gamma(0.3, size=(N_STIMULI, N_ANGLES, 4)),
    )
    silent = side.responses.copy()
    silent[:, :, :N_MEMBERS] = 0
    found = find_counterparts(
        dataclasses.replace(side, responses=silent),
        side,
        CyclicGroup(N_ANGLES),
        np.arange(N_STIMULI),
        n_draws=10,
    )
    assert np.isnan(found.scores[0]).all()
    assert {pair.a for pair in found.pairs} == {1, 2}


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_the_comparison_and_export_reads_it(
    runs: dict[str, tuple[Run, Planted]], images: ImageSet, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    for name in ("first", "second"):
        shutil.copytree(runs[name][0].folder, tmp_path / name, ignore=shutil.ignore_patterns("compare"))
    (tmp_path / "net.py").write_text(
        "from equiscope.testing import planted_network\n"
        "def first():\n    return planted_network(0).model.module\n"
        "def second():\n    return planted_network(1).model.module\n"
    )
    pictures = np.stack(
        [(255 * images.load(i).numpy().transpose(1, 2, 0)).round() for i in range(len(images))]
    )
    np.savez(tmp_path / "noise.npz", images=pictures[..., 0].astype(np.uint8))
    a, b = str(tmp_path / "first"), str(tmp_path / "second")
    runner = CliRunner()
    refused = runner.invoke(app, ["export", a, "comparison"])
    assert "was not compared yet" in str(refused.exception)
    done = runner.invoke(
        app,
        ["compare", a, b, "--model-a", f"{tmp_path}/net.py:first", "--model-b", f"{tmp_path}/net.py:second",
         "--images", str(tmp_path / "noise.npz"), "--draws", "40"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "4 of 4" in done.output
    assert (tmp_path / "first" / "compare" / "second.json").exists()
    assert "#/compare" in (tmp_path / "first" / "index.html").read_text()
    lines = runner.invoke(app, ["export", a, "comparison"]).stdout.splitlines()
    assert lines[0].startswith("comparison,transformation,a,b,is_counterpart,is_alike,score")
    assert sum(",True,True," in line for line in lines) == 4
