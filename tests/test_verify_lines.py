"""Sizes and pairs on drawings: which series are shown, at which size a unit responds most, what a pair must do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from equiscope import Model, Run
from equiscope.evidence.verify import lines
from equiscope.evidence.verify.drawn import size_series
from equiscope.evidence.verify.drawn.catalogue import show_catalogue
from equiscope.evidence.verify.drawn.shown import Shown, record_centres
from equiscope.evidence.verify.drawn.size_series import _magnified, make_size_series, series_octaves
from equiscope.evidence.verify.lines import _preferred_step, _show_series, verify_lines
from equiscope.evidence.verify.pairs import verify_pairs
from equiscope.evidence.verify.whole_run import verify_run
from equiscope.families.family import Family
from equiscope.measurement.centres import Centres
from equiscope.models.geometry import find_geometry
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import read_json
from equiscope.runs.writing import write_json
from equiscope.stimuli.drawn import SyntheticStimulus
from equiscope.transformations import find
from hand_made import a_family, a_member

OCTAVES = np.arange(-8, 9) * 0.25

# --- series of sizes ---------------------------------------------------------------------------------------


def test_series_differ_in_size_alone() -> None:
    series = make_size_series(60)
    assert len(series) > 5
    for own in series:
        octaves = series_octaves(own)
        assert len(own) >= 5
        assert np.diff(octaves) == pytest.approx(0.25)
        assert len({s.kind for s in own}) == 1
        for stimulus, by in zip(own, octaves, strict=True):
            for (name, value), (same, first) in zip(stimulus.parameters, own[0].parameters, strict=True):
                assert name == same
                expected = first * 2**by if name.endswith("_px") else first
                assert value == pytest.approx(expected), name


def test_what_has_no_size_of_its_own_is_in_no_series() -> None:
    kinds = {own[0].kind for own in make_size_series(60)}
    assert not kinds & {"edge", "corner", "brightness_gradient", "colour_contrast"}
    assert {"line", "grating"} & kinds


def test_what_can_no_longer_be_drawn_is_left_out() -> None:
    stimulus = make_size_series(60)[0][0]
    assert _magnified(stimulus, 0.0) == SyntheticStimulus(stimulus.kind, stimulus.parameters)
    assert _magnified(stimulus, -20.0) is None


@pytest.mark.parametrize(("least", "is_kept"), [(1.0, True), (1.25, False)])
def test_a_series_needs_five_sizes(monkeypatch: pytest.MonkeyPatch, least: float, is_kept: bool) -> None:
    """Octaves reach from -2 to 2 by quarters: five are 1.0 or more."""

    def magnified(stimulus: SyntheticStimulus, octaves: float) -> SyntheticStimulus | None:
        return _magnified(stimulus, octaves) if octaves >= least else None

    monkeypatch.setattr(size_series, "_magnified", magnified)
    assert bool(make_size_series(60)) == is_kept


def test_the_preferred_size_is_the_curves_maximum() -> None:
    curve = 4 - (OCTAVES - 0.4) ** 2
    assert _preferred_step(curve, OCTAVES) == pytest.approx(0.4)


@pytest.mark.parametrize(
    "curve",
    [4 + OCTAVES, 4 - OCTAVES, -1 - (OCTAVES - 0.4) ** 2, 0 * OCTAVES],
    ids=["largest is best", "smallest is best", "below 0", "no response"],
)
def test_at_either_end_and_without_response_no_size_is_preferred(curve: np.ndarray) -> None:
    assert np.isnan(_preferred_step(curve, OCTAVES))


def test_shapes_of_either_polarity_have_series_of_their_own() -> None:
    lines_of = [dict(own[0].parameters)["polarity"] for own in make_size_series(60) if own[0].kind == "line"]
    assert set(lines_of) == {1.0, -1.0}


def test_sizes_are_compared_with_those_of_members_up_to_one_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of two layers side by side; the last member's drawing is 0.6 octaves larger than its pose says."""
    model = Model(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 3)).eval())
    stimulus = make_size_series(60)[0][0]
    at = np.array([-0.5, 9.0, 0.0, 0.5, 1.1])
    shown = Shown(stimulus, np.zeros(1), OCTAVES, 200 - (OCTAVES[:, None, None] - at) ** 2)
    monkeypatch.setattr(lines, "_show_series", lambda *_: [shown])
    sizes = [("0", 0, -1.0), ("2", 0, -0.5), ("2", 1, 0.0), ("2", 2, 0.0)]
    family = a_family("scale", [a_member(layer, channel, octaves=own) for layer, channel, own in sizes])
    (entry,) = verify_lines(model, find_geometry(model, ["0", "2"]), [family], torch.float32)
    assert [m.synthetic for m in entry.members] == pytest.approx([-0.5, 0.0, 0.5, 1.1])
    assert [m.error for m in entry.members] == pytest.approx([0.0, 0.0, 0.0, 0.6], abs=1e-6)
    # Beyond half an octave.
    assert entry.n_outliers == 1


# --- pairs, on a network of four kernels -------------------------------------------------------------------


class Kernels(nn.Module):
    """Four units: a ramp to the right, its mirror image, its inverse beside a bias, and a ramp upwards."""

    def __init__(self) -> None:
        super().__init__()
        ramp = torch.linspace(-1, 1, 7).expand(7, 7) + torch.linspace(-0.3, 0.5, 7)[:, None]
        self.conv = nn.Conv2d(3, 4, 7, bias=False)
        kernels = torch.stack([ramp, ramp.flip(-1), -ramp, ramp.T])
        self.conv.weight = nn.Parameter(
            (kernels - kernels.mean((1, 2), keepdim=True))[:, None].repeat(1, 3, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(Kernels().eval(), name="kernels", default_layers=("conv",))


def pair(transformation: str, u: int, v: int) -> Family:
    return a_family(transformation, [a_member("conv", channel) for channel in (u, v)], name="pair")


@pytest.mark.parametrize(
    ("transformation", "right", "wrong"), [("reflection", (0, 1), (0, 3)), ("contrast", (0, 2), (0, 3))]
)
def test_a_pair_answers_alike_once_the_drawings_are_transformed(
    model: Model, transformation: str, right: tuple[int, int], wrong: tuple[int, int]
) -> None:
    geometry = find_geometry(model, ["conv"])["conv"]
    shown = show_catalogue(model, geometry, torch.float32)
    families = [pair(transformation, *right), dataclasses.replace(pair(transformation, *wrong), id="wrong")]
    good, bad = verify_pairs(model, geometry, families, shown, torch.float32)
    assert good.axis == "pair"
    # Colours that are inverted are cut to what can be shown.
    assert good.score > 0.99
    assert good.margin > 0.3
    assert bad.score < 0.9
    # Poses are not what a pair is about.
    assert (good.n_measured, good.n_outliers) == (0, 0)
    assert np.isnan([good.median_error, *(m.error for m in good.members)]).all()


def test_responses_are_those_at_the_centre_after_the_rectifier(model: Model) -> None:
    geometry = find_geometry(model, ["conv"])["conv"]
    patches = torch.rand(40, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    seen = record_centres(Centres(model, [geometry], 7), patches)
    with torch.no_grad():
        plain = model.module(model.preprocess(patches))[:, :, 0, 0].double().numpy()
    assert (plain < 0).any()
    assert seen == pytest.approx(np.maximum(plain, 0), abs=1e-5)


@pytest.mark.parametrize(
    ("layers", "size_px", "positions"),
    [(("0", "1"), 5, (1, 0)), (("1", "0"), 7, (1, 2)), (("0", "3"), 7, (2, 0)), (("3", "1"), 7, (0, 1))],
)
def test_several_layers_answer_side_by_side_each_at_its_own_middle(
    layers: tuple[str, str], size_px: int, positions: tuple[int, int]
) -> None:
    """In the order in which they are given; the last layer has no position in the very middle."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Conv2d(2, 3, 3), nn.AvgPool2d(2), nn.Conv2d(3, 4, 1)).eval()
    model = Model(module)
    geometries = find_geometry(model, ["0", "1", "3"])
    patches = torch.rand(3, 3, size_px, size_px)
    seen = record_centres(Centres(model, [geometries[layer] for layer in layers], size_px), patches)
    with torch.no_grad():
        answers = [module[: int(layer) + 1](model.preprocess(patches)) for layer in layers]
    plain = torch.cat([own[:, :, at, at] for own, at in zip(answers, positions, strict=True)], 1).numpy()
    assert seen == pytest.approx(np.maximum(plain, 0), abs=1e-5)


def test_the_margin_is_over_the_likeness_of_both_members_as_they_are(model: Model) -> None:
    geometry = find_geometry(model, ["conv"])["conv"]
    shown = [s for s in show_catalogue(model, geometry, torch.float32) if len(s.angles_deg) in (1, 8, 16, 32)]
    (found,) = verify_pairs(model, geometry, [pair("reflection", 0, 3)], shown, torch.float32)
    # The same drawings at the eight angles of a pair, before their hue is turned.
    plain = np.concatenate([s.responses[0, :: max(1, len(s.angles_deg) // 8)] for s in shown])
    alike = np.corrcoef(plain[:, 0], plain[:, 3])[0, 1]
    assert found.score - found.margin == pytest.approx(alike, abs=1e-4)


# --- what is shown -----------------------------------------------------------------------------------------


def test_a_drawing_is_turned_as_far_as_it_differs(model: Model) -> None:
    for entry in show_catalogue(model, find_geometry(model, ["conv"])["conv"], torch.float32):
        ends = len(entry.angles_deg) * np.diff(entry.angles_deg)
        assert ends == pytest.approx(entry.stimulus.period_deg)


def test_hues_go_round_from_red_by_green_to_blue() -> None:
    layer = nn.Conv2d(3, 3, 7)
    # Above 0 at every hue.
    layer.bias = nn.Parameter(torch.full((3,), 5.0))
    layer.weight = nn.Parameter(torch.zeros(3, 3, 7, 7))
    layer.weight.data[:, :, 3, 3] = 2 * torch.eye(3) - 1
    by_hue = Model(nn.Sequential(layer).eval())
    shown = show_catalogue(by_hue, find_geometry(by_hue, ["0"])["0"], torch.float32)
    patch = next(s for s in shown if s.stimulus.kind == "colour_centre_surround")
    waves = np.exp(1j * np.radians(patch.steps)) @ patch.responses[:, 0]
    away = np.degrees(np.angle(waves)) - np.array([0.0, 120.0, 240.0])
    # Responses are no cosines of hue, so that their phases are the hues only about.
    assert np.abs((away + 180) % 360 - 180).max() < 30
    assert patch.steps[-1] == 337.5


def test_along_a_line_a_drawing_is_shown_at_its_best_angle() -> None:
    layer = nn.Conv2d(3, 4, 7, bias=False)
    layer.weight.data = torch.randn(4, 1, 7, 7, generator=torch.Generator().manual_seed(0)).repeat(1, 3, 1, 1)
    model = Model(nn.Sequential(layer).eval())
    geometry = find_geometry(model, ["0"])["0"]
    brightness = find("brightness")
    found = _show_series(Centres(model, [geometry], geometry.patch_px), brightness)
    turned = show_catalogue(model, geometry, torch.float32)
    for entry, same in zip(found, turned, strict=True):
        assert entry.stimulus == same.stimulus
        if len(same.angles_deg) in (8, 16, 32):
            n = max(1, round(8 * entry.stimulus.period_deg / 360))
            best = same.responses[0, :: len(same.angles_deg) // n].max(0)
            assert entry.responses[entry.steps == 0, 0][0] == pytest.approx(best, abs=1e-5)
        # Linear units answer more, the brighter it is.
        assert (np.diff(entry.responses[:, 0], axis=0) >= -1e-4).all()


def test_a_layer_that_sees_the_whole_image_is_shown_no_drawing(tmp_path: Path) -> None:
    """Nothing can be drawn about a middle of its field; families of other layers are verified all the same."""
    model = Model(nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 2, 1)).eval())
    geometries = find_geometry(model, ["2", "0"])
    assert [geometry.is_global for geometry in geometries.values()] == [True, False]
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": "made", "weights_sha256": model.weights_sha256()},
        "geometry": [dataclasses.asdict(geometry) for geometry in geometries.values()],
    }
    write_json(tmp_path / "run.json", manifest)
    families = [
        a_family("contrast", [a_member(layer, i, is_inverted=i) for i in (0, 1)]) for layer in ("2", "0")
    ]
    run = Run(tmp_path, read_json(tmp_path / "run.json"), families=tuple(families))
    found = verify_run(run, model)
    assert [entry.family for entry in found] == ["0-contrast-1"]
