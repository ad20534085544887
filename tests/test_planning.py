"""What a survey will take, said before it is done; and looks, which are surveys of less."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import Tensor, nn
from typer.testing import CliRunner

import equiscope
from equiscope import EquiscopeError, Model
from equiscope.cli import app
from equiscope.foundations.options import Options
from equiscope.measurement import bank, centres
from equiscope.models.geometry import find_geometry
from equiscope.models.operations import count_multiplications
from equiscope.runs.surveyed import surveyed_images
from equiscope.surveys import asked, pipeline, plan, rates
from equiscope.surveys.asked import ask_survey, bare_stage
from equiscope.surveys.plan import predict
from equiscope.surveys.rates import Rates, measure_rates
from equiscope.transformations import standard_names

SETTINGS = {"angles": 8, "examples_per_unit": 4, "seed": 0, "n_null": 5}


def network(n_layers: int = 2) -> Model:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 6, 5), *(nn.Conv2d(6, 6, 3) for _ in range(n_layers - 1))]
    return Model(nn.Sequential(*parts).eval(), "net")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> equiscope.ImageSet:
    """Twenty noisy images that are not square."""
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 256, (20, 40, 48, 3), dtype=np.uint8))
    return equiscope.open_images(path)


def stage_of(images: equiscope.ImageSet, names: list[str], **settings: Any) -> Any:
    model = network()
    return bare_stage(
        model, images, find_geometry(model, ["0", "1"]), SETTINGS | settings | {"transformations": names}
    )


FLAT = Rates(0.5, 0.25, {"0": 1e-3, "1": 2e-3, "": 3e-3}, dict.fromkeys(standard_names(), (1e-3, 0.0)))


# --- what is counted ---------------------------------------------------------------------------------------


def test_stimuli_and_elements_are_those_that_a_survey_shows(
    images: equiscope.ImageSet, tmp_path: Path
) -> None:
    names = ["rotation", "hue", "reflection", "scale"]
    model = network()
    found = equiscope.plan(model, images, transformations=names, angles=8, examples_per_unit=4)
    run = equiscope.survey(
        model, images, transformations=names, angles=8, examples_per_unit=4, n_null=1, out=tmp_path / "run"
    )
    assert {stage.transformation for stage in found.stages} == set(names)
    for stage in found.stages:
        path = run.folder / "responses" / stage.transformation / f"{stage.layer or 'joint'}.zarr"
        n_stimuli, n_elements, n_units = zarr.open_array(path).shape
        assert stage.n_elements == n_elements
        # Some stimuli are shared by units.
        assert 0.8 * stage.n_stimuli <= n_stimuli <= stage.n_stimuli
        assert stage.disk_bytes == 4 * stage.n_stimuli * n_elements * n_units
    assert found.n_images == 20


def test_time_is_patches_images_and_searches(images: equiscope.ImageSet) -> None:
    found = predict(stage_of(images, ["rotation"]), FLAT, {"checks": 7.0})
    first, second = found.stages
    # Two of each of six units and half at eight angles, one millisecond to make and one or two to show.
    assert first.n_passes == second.n_passes == 24 * 8
    assert (first.patch_s, second.patch_s) == (2e-3, 3e-3)
    # Both decode as many images, and search as much: what they differ by is what showing takes.
    assert second.seconds - first.seconds == pytest.approx(24 * 8 * 1e-3)
    n_images = 20 * (1 - (1 - 1 / 20) ** 24)
    assert 0.5 * n_images + 24 * 8 * 2e-3 < first.seconds < 0.5 * n_images + 24 * 8 * 2e-3 + 0.5
    assert found.others["images"] == 20 * 0.25
    assert found.seconds == pytest.approx(first.seconds + second.seconds + sum(found.others.values()))
    # Hue cuts its stimuli twice: once to see whether they have a colour.
    hue = predict(stage_of(images, ["hue"]), FLAT, {}).stages[0]
    assert hue.seconds > 2 * 0.5 * 20 * (1 - (1 - 1 / 20) ** hue.n_stimuli)


def test_joint_transformations_are_one_stage_on_the_largest_patch(images: equiscope.ImageSet) -> None:
    (stage,) = predict(stage_of(images, ["scale"]), FLAT, {}).stages
    assert (stage.layer, stage.patch_px, stage.n_elements) == ("", 7, 11)
    assert stage.patch_s == 1e-3 + 3e-3
    assert stage.disk_bytes == 4 * stage.n_stimuli * 11 * 12


def test_what_would_make_it_shorter(images: equiscope.ImageSet) -> None:
    # Decoding is free here, so that half of the angles is nearly half of the time.
    quick = replace(FLAT, load_s=0.0, image_s=0.0)
    found = predict(stage_of(images, ["rotation", "hue", "dihedral"], angles=16), quick, {})
    said = {saving.options: saving.seconds for saving in found.savings}
    assert "--angles 8" in said
    assert "--examples-per-unit 2" in said
    assert "--layers 0" in said  # the dearer one is left out
    # What needs rotation goes with it.
    assert "--transformations hue" in said
    assert [*said.values()] == sorted(said.values())
    assert all(seconds < found.seconds for seconds in said.values())
    # Eight angles and two stimuli are the least, and one layer cannot be left out.
    least = stage_of(images, ["rotation"], angles=8, examples_per_unit=2)
    alone = replace(least, geometries={"0": least.geometries["0"]}, examples={"0": least.examples["0"]})
    assert predict(alone, quick, {}).savings == ()


def test_memory_is_what_was_held_and_patches_or_pairs(images: equiscope.ImageSet) -> None:
    found = predict(stage_of(images, ["rotation", "scale"]), FLAT, {}, 1e9)
    # 48 stimuli in 11 sizes of 7 px, four copies of 12 bytes a pixel; of hue × rotation 120 MB are cut at a time.
    assert found.memory_bytes == 1e9 + 4 * 12 * 48 * 11 * 7**2
    large = replace(found.stages[0], n_stimuli=1000, n_elements=128, patch_px=99)
    assert plan._cut_bytes(large) == 4 * 120_000_000
    assert plan._table_bytes(stage_of(images, ["scale"]), replace(large, layer="")) == 4 * 4 * 12**2 * 128
    unknown = predict(stage_of(images, ["rotation"]), FLAT, {})
    assert math.isnan(unknown.memory_bytes)
    assert "memory" not in unknown.sentence


# --- what is measured --------------------------------------------------------------------------------------


class Clock:
    """A clock that goes on by what passes are said to take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The functions of the survey take a second a patch of a layer's number plus one, and a tenth to make it."""
    own = Clock()
    read, cut = centres.Centres.read, bank.cut_orbits

    def slow_read(self: centres.Centres, patches: Tensor, order: int = 1) -> Tensor:
        last = max(int(layer) for layer in self._passes.positions)
        own.now += (last + 1) * len(patches)
        return read(self, patches, order)

    def slow_cut(images: Any, shown: Any, geometry: Any, group: Any, *rest: Any) -> Tensor:
        own.now += 0.1 * len(shown) * group.order
        return cut(images, shown, geometry, group, *rest)

    monkeypatch.setattr(rates, "clock", own)
    monkeypatch.setattr(centres.Centres, "read", slow_read)
    monkeypatch.setattr(rates, "cut_orbits", slow_cut)
    return own


def test_passes_are_timed_by_the_functions_of_the_survey(images: equiscope.ImageSet, clock: Clock) -> None:
    names = ["rotation", "scale"]
    found = measure_rates(stage_of(images, names), names)
    assert found.pass_s == pytest.approx({"0": 1.0, "1": 2.0, "": 2.0})
    assert found.element("rotation", 5) == pytest.approx(0.1)
    assert found.element("scale", 7) == pytest.approx(0.1)


def test_layers_between_two_that_were_measured_are_taken_as_between_them(
    images: equiscope.ImageSet, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_MOST_LAYERS", 2)
    model = network(3)
    stage = bare_stage(model, images, find_geometry(model, ["0", "1", "2"]), SETTINGS)
    found = measure_rates(stage, ["rotation"]).pass_s
    per_px = [found[layer] / stage.patch_px(layer) ** 2 for layer in "012"]
    assert per_px[1] == pytest.approx(math.sqrt(per_px[0] * per_px[2]))
    assert (found["0"], found["2"]) == pytest.approx((1.0, 3.0))


def test_the_first_readable_image_is_shown(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 48, 3), dtype=np.uint8)
    for name, own in zip("bc", pixels, strict=True):
        torch_free_save(tmp_path / f"{name}.png", own)
    shown = equiscope.open_images(tmp_path)
    assert measure_rates(stage_of(shown, ["rotation"]), ["rotation"]).load_s > 0


def torch_free_save(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path)


def test_multiplications_are_those_of_the_convolutions_so_far() -> None:
    model = Model(nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 6, 1, groups=2)))
    first, second = 4 * 3 * 3 * 3 * 9, 6 * 2 * 9
    assert count_multiplications(model, ["0", "2"], 8) == {"0": first, "2": first + second}


def test_nothing_is_measured_where_nobody_listens(
    images: equiscope.ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_stage: object) -> None:
        raise AssertionError("measured for nobody")

    monkeypatch.setattr(pipeline, "plan_stage", refuse)
    equiscope.survey(network(), images, ["0"], transformations=["reflection"], n_null=1, out=tmp_path / "run")
    with pytest.raises(AssertionError, match="nobody"):
        equiscope.survey(
            network(),
            images,
            ["0"],
            transformations=["reflection"],
            n_null=1,
            out=tmp_path / "other",
            on_plan=print,
        )


# --- what is refused ---------------------------------------------------------------------------------------


class Restless(nn.Module):
    """Drops units in evaluation mode, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(nn.functional.dropout(x))


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (None, {"layers": ["5"]}, "unknown layer of net '5'"),
        (None, {"images": "nowhere"}, "no images at 'nowhere'"),
        (None, {"transformations": ["turn"]}, "unknown transformation 'turn'"),
        (None, {"angles": 2}, "angles is 2, expected"),
        (None, {"examples_per_unit": 1}, "examples_per_unit is 1, expected"),
        (Model(Restless(), "restless"), {}, "restless answers"),
        (None, {"fast": True}, "unknown option of plan 'fast'"),
    ],
)
def test_a_plan_refuses_what_a_survey_would(
    model: Model | None, options: dict[str, Any], message: str, images: equiscope.ImageSet
) -> None:
    with pytest.raises(EquiscopeError, match=message):
        equiscope.plan(model or network(), **({"images": images} | options))


def test_images_smaller_than_the_field_are_shown_whole_as_in_a_survey(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "small.npz",
        images=np.random.default_rng(0).integers(0, 256, (4, 12, 14, 3), dtype=np.uint8),
    )
    wide = Model(nn.Sequential(nn.Conv2d(3, 4, 21, padding=10)).eval(), "wide")
    (stage,) = equiscope.plan(wide, tmp_path / "small.npz", transformations=["reflection"]).stages
    assert stage.patch_px <= 12


def test_one_photograph_is_too_few(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", images=np.zeros((1, 40, 48, 3), np.uint8))
    with pytest.raises(EquiscopeError, match="holds 1 photograph"):
        equiscope.plan(network(), tmp_path / "one.npz")


# --- looks -------------------------------------------------------------------------------------------------


def test_a_look_takes_less_and_what_is_given_wins(images: equiscope.ImageSet) -> None:
    model = network(12)

    def settings(**given: Any) -> dict[str, Any]:
        chosen = {"layers": None, "transformations": None, "angles": None, "examples_per_unit": None} | given
        return ask_survey(model, images, **chosen, options=Options(quick=True)).settings

    look = settings()
    assert look["layers"] == ["0", "3", "6", "8", "11"]
    assert look["transformations"] == ["rotation", "hue", "reflection"]
    assert (look["angles"], look["examples_per_unit"]) == (8, 4)
    given = settings(layers=["7"], transformations=["contrast"], angles=16, examples_per_unit=8)
    assert given["layers"] == ["7"]
    assert given["transformations"] == ["contrast"]
    assert (given["angles"], given["examples_per_unit"]) == (16, 8)
    whole = ask_survey(model, images, None, None, None, None, Options())
    assert whole.settings["layers"] == [str(i) for i in range(12)]
    assert (whole.settings["angles"], whole.settings["examples_per_unit"], whole.look) == (16, 8, "")


def test_a_look_goes_as_deep_as_its_time_allows(
    images: equiscope.ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(12)

    def layers(most: float) -> list[str]:
        monkeypatch.setattr(asked, "_MOST_MULTIPLICATIONS", most)
        return ask_survey(model, images, None, None, None, None, Options(quick=True)).settings["layers"]  # type: ignore[no-any-return]

    depths = [int(layers(most)[-1]) for most in (1e12, 3e8, 5e7, 1.0)]
    assert depths[0] == 11
    assert depths == sorted(set(depths), reverse=True)
    # The first layer is always there.
    assert depths[-1] == 0


def test_a_look_shows_some_images_evenly(images: equiscope.ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    part = images.spread(5)
    assert part.names == [images.names[i] for i in (0, 5, 10, 14, 19)]
    for index, place in enumerate((0, 5, 10, 14, 19)):
        assert torch.equal(part.load(index), images.load(place))  # type: ignore[arg-type]
    assert part.fingerprint != images.fingerprint
    assert images.spread(20) is images
    monkeypatch.setattr(asked, "_FEW_IMAGES", 5)
    assert len(ask_survey(network(), images, None, None, None, None, Options(quick=True)).images) == 5
    embedded = equiscope.open_images()
    some = embedded.spread(8)
    assert len(some.groups) == 8
    assert torch.equal(some.load(7), embedded.load(38))  # type: ignore[arg-type]


def test_a_look_says_that_it_is_one(
    images: equiscope.ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "_FEW_IMAGES", 16)
    options = {"quick": True, "n_null": 1, "precision": "float32"}
    run = equiscope.survey(network(), images, out=tmp_path / "look", **options)
    said = run.manifest["look"]
    assert said.startswith(
        "This is a look, not a survey: 2 of 2 layers, rotation, hue, reflection, 8 angles, 4 stimuli a unit, 16 of 20"
    )
    assert "without --quick" in said
    assert said in run.report.read_text(encoding="utf-8")
    # The same command goes on, and later commands find the images again in the whole set.
    assert equiscope.survey(network(), images, out=tmp_path / "look", **options).manifest["look"] == said
    assert len(surveyed_images(run, images)) == 16
    equiscope.circuits(run, network(), images, n_draws=1, verdict="any")
    whole = equiscope.survey(
        network(), images, ["0"], transformations=["reflection"], n_null=1, out=tmp_path / "whole"
    )
    assert "look" not in whole.manifest
    assert surveyed_images(whole, images) is images
    assert "This is a look" not in whole.report.read_text(encoding="utf-8")


# --- the command -------------------------------------------------------------------------------------------


def test_the_command_tabulates_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(
        app, ["plan", "mini", "--layers", "conv2d0", "--transformations", "rotation,scale", "--quick"]
    )
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == "layer transformation stimuli elements patch ms a patch time disk".split()
    assert rows[1][:6] == ["conv2d0", "rotation", "192", "8", "9", "px"]
    assert rows[2][:3] == ["all", "layers", "scale"]
    assert "about " in result.stdout
    assert "This is a look, not a survey: 1 of 1 layers" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_short_numbers() -> None:
    assert [plan._short(value) for value in (0.01234, 1.26, 25.3, 1234.5)] == ["0.012", "1.3", "25", "1234"]
