"""The main job from end to end: planted truth, interruption, other people's networks, bad input."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import adjusted_rand_score
from torch import nn

import equiscope
from equiscope.families.find import find_families
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.statistics import circular_difference_deg, circular_mean_deg
from equiscope.runs.examples import load_examples
from equiscope.runs.reading import read_json
from equiscope.surveys import image_pass
from equiscope.testing import equivariant_network, planted_network, sample_crops


def rotations(*arguments: Any, **options: Any) -> equiscope.Run:
    """Survey rotation alone, in the precision that every machine has."""
    return equiscope.survey(*arguments, transformations=["rotation"], precision="float32", **options)


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty non-square crops of two photographs, 72 x 88 px."""
    folder = tmp_path_factory.mktemp("crops")
    np.savez(folder / "crops.npz", images=sample_crops())
    return folder / "crops.npz"


def bars() -> nn.Module:
    """One convolution of six half-edges at irregular poses, a blob and a unit that never fires."""
    torch.manual_seed(0)
    size = 9
    y, x = np.mgrid[:size, :size] - size // 2
    window = np.exp(-(x**2 + y**2) / 8)
    kernels = []
    for pose in np.radians([0, 40, 95, 130, 200, 300]):
        along, across = x * np.cos(pose) - y * np.sin(pose), x * np.sin(pose) + y * np.cos(pose)
        kernels.append(window * across / (1 + np.exp(-2 * along)))
    kernels += [window - window.mean(), window]
    weight = torch.tensor(np.stack(kernels), dtype=torch.float32)
    weight[:7] -= weight[:7].mean((1, 2), keepdim=True)
    layer = nn.Conv2d(3, 8, size, padding=size // 2)
    with torch.no_grad():
        layer.weight.copy_(
            weight[:, None].expand(-1, 3, -1, -1) / weight.flatten(1).norm(dim=1)[:, None, None, None]
        )
        layer.bias.copy_(torch.tensor([-0.1] * 7 + [-1e3]))
    return nn.Sequential(layer, nn.ReLU(inplace=True), nn.AvgPool2d(2), nn.Conv2d(8, 4, 3))


class TwoSizes(nn.Module):
    """Ten random smooth features, and the same ones twice as large behind a pool of 2 x 2."""

    def __init__(self) -> None:
        super().__init__()
        side = 9
        y, x = np.mgrid[:side, :side] - side // 2
        window = torch.from_numpy(np.exp(-(x**2 + y**2) / 8)).float()
        smooth = nn.AvgPool2d(3, 1, 1)
        kernels = smooth(smooth(torch.randn(10, 3, side, side, generator=torch.Generator().manual_seed(0))))
        kernels = kernels * window
        kernels -= kernels.sum((2, 3), keepdim=True) / window.sum() * window
        kernels /= kernels.flatten(1).norm(dim=1)[:, None, None, None]
        self.early, self.pool, self.late = nn.Conv2d(3, 10, side), nn.AvgPool2d(2), nn.Conv2d(3, 10, side)
        with torch.no_grad():
            for layer in (self.early, self.late):
                layer.weight.copy_(kernels)
                layer.bias.fill_(-0.05)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.early(images).relu(), self.late(self.pool(images)).relu()


class TestPlantedTruth:
    @pytest.mark.parametrize("kind", ["grey", "strided"])
    def test_membership_is_exact_and_poses_are_right(self, kind: str, crops: Path, tmp_path: Path) -> None:
        planted = planted_network(seed=5, kind=kind)  # type: ignore[arg-type]
        truth = planted.truth[planted.layer]
        run = rotations(planted.model, crops, out=tmp_path / "run")
        found = {frozenset(family.channels.tolist()): family for family in run.families}
        assert set(found) == {frozenset(family.channels) for family in truth.families}
        for true in truth.families:
            family = found[frozenset(true.channels)]
            assert family.stabiliser_order == true.stabiliser_order
            poses = dict(zip(true.channels, true.poses_deg, strict=True))
            period = 360 / true.stabiliser_order
            error = circular_difference_deg(
                family.poses_deg, np.array([poses[c] for c in family.channels]), period
            )
            error = circular_difference_deg(error, circular_mean_deg(error, period_deg=period), period)
            assert np.abs(error).max() < 2
            assert family.score > 0.95
            assert family.q_value <= 0.05
        kinds = {
            kind: {u.channel for u in run.units if u.under("rotation").kind == kind}
            for kind in ("invariant", "inactive")
        }
        assert kinds == {"invariant": set(truth.invariant), "inactive": set(truth.inactive)}
        curves = next(f for f in truth.families if f.name == "curves")
        family = found[frozenset(curves.channels)]
        assert len(family.duplicates) == 1
        assert family.holes_deg

    def test_c8_network_with_shuffled_channels_is_recovered(self, crops: Path, tmp_path: Path) -> None:
        network = equivariant_network(order=8, seed=2)
        run = rotations(network.model, crops, layers=list(network.truth), out=tmp_path / "run")
        for layer, truth in network.truth.items():
            label = {member.channel: f.id for f in run.families if f.layer == layer for member in f.members}
            found = [label.get(channel, f"alone {channel}") for channel in range(truth.n_channels)]
            assert adjusted_rand_score(truth.family_index, found) == 1.0, layer


class TestOtherPeoplesNetworks:
    def test_any_module_is_left_as_it_was(self, crops: Path, tmp_path: Path) -> None:
        module = bars().train()
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        run = rotations(module, crops, layers=["0"], out=tmp_path / "run")
        assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
        assert module.training
        assert not any(part._forward_hooks for part in module.modules())
        (family,) = run.families
        assert family.channels.tolist() == [0, 1, 2, 3, 4, 5]
        assert [u.under("rotation").kind for u in run.units[6:]] == ["invariant", "inactive"]

    def test_all_convolutions_when_none_are_named(self, crops: Path, tmp_path: Path) -> None:
        run = rotations(bars(), crops, out=tmp_path / "run", angles=8, examples_per_unit=4, n_null=2)
        assert run.manifest["settings"]["layers"] == ["0", "3"]

    def test_stimuli_of_a_layer_larger_than_the_images_leave_out_its_rim(
        self, crops: Path, tmp_path: Path
    ) -> None:
        module = nn.Sequential(nn.Conv2d(3, 6, 7, stride=4), nn.ReLU(), nn.Conv2d(6, 5, 25, padding=12))
        torch.manual_seed(0)
        run = rotations(module, crops, layers=["2"], out=tmp_path / "run", angles=4, n_null=2)
        (layer,) = run.manifest["layers"]
        assert any("leave out the rim of its receptive field" in note for note in layer["notes"])
        (geometry,) = run.manifest["geometry"]
        assert geometry["largest_px"] == 71  # the largest within 72 px that is centred on one of its places
        assert geometry["is_global"] is False
        assert len(run.units) == 5


class TestRunFolder:
    def test_contract(self, crops: Path, tmp_path: Path) -> None:
        run = rotations(bars(), crops, layers=["0"], out=tmp_path / "run", seed=3)
        manifest = json.loads((run.folder / "run.json").read_text())
        assert manifest["schema_version"] == 3
        assert manifest["is_complete"] is True
        assert len(manifest["model"]["weights_sha256"]) == len(manifest["images"]["fingerprint"]) == 64
        assert manifest["settings"]["seed"] == 3
        assert {"geometry", "examples", "rotation", "explaining", "report"} <= set(manifest["seconds"])
        (family,) = json.loads((run.folder / "families.json").read_text())["families"]
        assert {"id", "layers", "transformation", "size", "score", "disagreement", "q_value"} <= set(family)
        assert set(family["members"][0]) == {
            "layer",
            "channel",
            "pose",
            "score",
            "score_low",
            "score_high",
            "pose_low",
            "pose_high",
        }
        for member in family["members"]:
            (axis,) = member["pose"]
            assert member["pose_low"][axis] < member["pose"][axis] < member["pose_high"][axis]
        assert 0.8 <= family["stability"] <= 1
        assert family["id"] == "0-rotation-1"
        unit = json.loads((run.folder / "units.json").read_text())["units"][0]
        assert set(unit) == {"layer", "channel", "mean", "sd", "symmetries"}
        assert [line["transformation"] for line in unit["symmetries"]] == ["rotation"]
        page = run.report.read_text()
        assert "0-rotation-1" in page
        assert "site/sprites/0-strongest-0.webp" in page
        assert list((run.folder / "site" / "data" / "unit").iterdir())
        assert repr(equiscope.load_run(run.folder)) == repr(run)

    def test_same_seed_same_bytes_another_seed_others(self, crops: Path, tmp_path: Path) -> None:
        runs = [rotations(bars(), crops, layers=["0"], out=tmp_path / str(i), seed=i // 2) for i in range(3)]
        first, again, other = ((run.folder / "families.json").read_bytes() for run in runs)
        assert first == again
        assert first != other

    @pytest.mark.parametrize(
        "stop_at", ["showing images", "rotation: showing 0", "rotation: families of 0", "drawing"]
    )
    def test_interrupted_anywhere_it_goes_on_to_the_same_result(
        self, stop_at: str, crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(image_pass, "_SHARD", 8)
        monkeypatch.setattr(importlib.import_module("equiscope.measurement.responses"), "CHUNK_STIMULI", 8)
        whole = rotations(bars(), crops, layers=["0"], out=tmp_path / "whole")

        class Killed(BaseException):
            pass

        calls = []

        @contextlib.contextmanager
        def killing(stage: str, total: int) -> Iterator[Callable[[int], None]]:
            def on_steps(steps: int) -> None:
                if stage.startswith(stop_at):
                    calls.append(steps)
                    if len(calls) == 3 or stop_at == "drawing":
                        raise Killed

            yield on_steps

        with pytest.raises(Killed):
            rotations(bars(), crops, layers=["0"], out=tmp_path / "cut", progress=killing)
        with pytest.raises(EquiscopeError, match="not finished"):
            equiscope.load_run(tmp_path / "cut")
        resumed = rotations(bars(), crops, layers=["0"], out=tmp_path / "cut")
        for name in ("families.json", "units.json"):
            assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes()
        assert not list(resumed.folder.rglob("*.part"))

    def test_a_folder_of_another_run_is_refused(self, crops: Path, tmp_path: Path) -> None:
        rotations(bars(), crops, layers=["0"], out=tmp_path / "run", n_null=2)
        with pytest.raises(EquiscopeError, match="another run: its settings seed is 0, asked for is 1"):
            rotations(bars(), crops, layers=["0"], out=tmp_path / "run", n_null=2, seed=1)

    def test_a_folder_that_is_no_run_is_not_touched(self, crops: Path, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("years of work")
        with pytest.raises(EquiscopeError, match="not the folder of a run"):
            rotations(bars(), crops, out=tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"angles": 3}, "angles is 3"),
            ({"examples_per_unit": 1}, "examples_per_unit is 1"),
            ({"false_discovery_rate": 0.0}, "false_discovery_rate is 0.0"),
            ({"n_null": 0}, "n_null is 0"),
            ({"device": "warp"}, "device 'warp'"),
            ({"layers": ["O"]}, "unknown layer"),
        ],
    )
    def test_options(self, options: dict, message: str, crops: Path, tmp_path: Path) -> None:
        with pytest.raises(EquiscopeError, match=message):
            rotations(bars(), crops, out=tmp_path / "run", **options)

    def test_one_image(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "one.npz", images=np.zeros((1, 40, 50, 3), np.uint8))
        with pytest.raises(EquiscopeError, match="at least 2"):
            rotations(bars(), tmp_path / "one.npz", out=tmp_path / "run")

    def test_unreadable_images(self, tmp_path: Path) -> None:
        for name in ("a.jpg", "b.jpg"):
            (tmp_path / name).write_bytes(b"not a picture")
        (tmp_path / "0.heic").write_bytes(b"")
        with pytest.raises(
            EquiscopeError, match=r"none of the 2 images tried in .* could be read; the first, a.jpg"
        ):
            rotations(bars(), tmp_path, out=tmp_path / "run")

    def test_copies_of_one_photograph_are_one(self, crops: Path, tmp_path: Path) -> None:
        with np.load(crops) as stored:
            pixels = stored["images"][:1]
        np.savez(tmp_path / "copies.npz", images=np.repeat(pixels, 6, axis=0))
        with pytest.raises(EquiscopeError, match=r"holds 1 photograph\(s\) \(5 of its 6 images are copies\)"):
            rotations(bars(), tmp_path / "copies.npz", layers=["0"], out=tmp_path / "run")

    def test_a_run_begun_before_copies_were_told_apart_is_another(self, crops: Path, tmp_path: Path) -> None:
        with np.load(crops) as stored:
            np.savez(tmp_path / "copies.npz", images=stored["images"][[0, 0, 1, 2, 3]])
        options = {"layers": ["0"], "out": tmp_path / "run", "n_null": 2}
        assert rotations(bars(), tmp_path / "copies.npz", **options).manifest["images"]["n_copies"] == 1
        assert rotations(bars(), tmp_path / "copies.npz", **options)
        manifest = json.loads((tmp_path / "run" / "run.json").read_text())
        del manifest["images"]["n_copies"]
        (tmp_path / "run" / "run.json").write_text(json.dumps(manifest))
        with pytest.raises(
            EquiscopeError, match="holds another run: its images n_copies is None, asked for is 1"
        ):
            rotations(bars(), tmp_path / "copies.npz", **options)

    def test_all_grey_images_measure_nothing(self, tmp_path: Path) -> None:
        levels = np.arange(100, 160, 10, dtype=np.uint8)
        np.savez(tmp_path / "grey.npz", images=np.tile(levels[:, None, None, None], (1, 60, 70, 3)))
        run = rotations(bars(), tmp_path / "grey.npz", layers=["0"], out=tmp_path / "run", n_null=2)
        assert run.families == ()
        assert {unit.under("rotation").kind for unit in run.units} <= {"inactive", "not measurable"}

    def test_a_broken_image_is_named_and_the_rest_goes_on(self, crops: Path, tmp_path: Path) -> None:
        pictures = tmp_path / "pictures"
        pictures.mkdir()
        with np.load(crops) as stored:
            for index, pixels in enumerate(stored["images"]):
                Image.fromarray(pixels).save(pictures / f"{index:02}.png")
        (pictures / "07.png").write_bytes((pictures / "07.png").read_bytes()[:500])
        run = rotations(bars(), pictures, layers=["0"], out=tmp_path / "run", n_null=2)
        assert [failure["name"] for failure in run.manifest["images"]["failures"]] == ["07.png"]

    def test_a_network_that_answers_with_nan(self, crops: Path, tmp_path: Path) -> None:
        module = bars()
        with torch.no_grad():
            module[0].weight[2] = math.nan
        with pytest.raises(EquiscopeError, match="channel 2"):
            rotations(module, crops, layers=["0"], out=tmp_path / "run")

    def test_all_units_that_answer_with_nan_or_infinity_are_named(self, crops: Path, tmp_path: Path) -> None:
        module = bars()
        with torch.no_grad():
            module[0].weight[2] = math.nan
            module[0].bias = torch.nn.Parameter(torch.zeros(len(module[0].weight)))
            module[0].bias[3] = math.inf
        with pytest.raises(EquiscopeError, match=r"channel 2, 3: check"):
            rotations(module, crops, layers=["0"], out=tmp_path / "run")

    def test_a_network_that_answers_with_nothing_but_nan(self, crops: Path, tmp_path: Path) -> None:
        module = bars()
        with torch.no_grad():
            module[0].weight.fill_(math.nan)
        with pytest.raises(EquiscopeError, match="channel 0"):
            rotations(module, crops, layers=["0"], out=tmp_path / "run")


class TestTransformationsThatCannotBeDone:
    def test_grey_images_say_so_under_hue_and_the_rest_goes_on(self, crops: Path, tmp_path: Path) -> None:
        with np.load(crops) as stored:
            grey = np.repeat(stored["images"].mean(3, keepdims=True).round().astype(np.uint8), 3, axis=3)
        np.savez(tmp_path / "grey.npz", images=grey)
        run = equiscope.survey(bars(), tmp_path / "grey.npz", ["0"], out=tmp_path / "run", n_null=20)
        notes = {r["transformation"]: r["notes"] for r in run.manifest["results"]}
        assert "grey" in notes["hue"][0]
        assert "0 units vary with both" in notes["hue-rotation"][0]
        active = [unit for unit in run.units if unit.under("rotation").kind != "inactive"]
        assert {unit.under("hue").kind for unit in active} == {"not measurable"}
        assert [f.size for f in run.families if f.transformation == "rotation"] == [6]

    def test_layers_that_meet_nowhere_are_left_out_of_scale(self, crops: Path, tmp_path: Path) -> None:
        torch.manual_seed(0)
        # An odd patch is centred on a position of the first, an even one on one of the second.
        module = nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.Conv2d(6, 6, 4))
        run = equiscope.survey(
            module, crops, ["0", "2"], transformations=["scale"], out=tmp_path / "run", n_null=2
        )
        (result,) = run.manifest["results"]
        assert result["notes"][0].startswith("2 took no part in scale")
        assert {unit.under("scale").kind for unit in run.units if unit.layer == "2"} == {"not measurable"}
        assert {unit.under("scale").kind for unit in run.units if unit.layer == "0"} != {"not measurable"}

    def test_layers_behind_a_pool_of_two_take_part_in_scale(self, crops: Path, tmp_path: Path) -> None:
        run = equiscope.survey(
            TwoSizes(), crops, ["early", "late"], transformations=["scale"], out=tmp_path / "run"
        )
        (result,) = run.manifest["results"]
        assert "up to 0.25 of a stride" in result["notes"][0]
        assert len(run.families) >= 2
        for family in run.families:
            small, large = family.members
            assert (small.layer, large.layer, small.channel) == ("early", "late", large.channel)
            assert large.octaves - small.octaves == pytest.approx(1, abs=0.25)
            assert family.score > 0.9

    def test_images_too_small_for_any_layer_leave_scale_unmeasured(self, crops: Path, tmp_path: Path) -> None:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 6, 7, stride=4), nn.ReLU(), nn.Conv2d(6, 5, 25, padding=12))
        names = ["rotation", "scale"]
        run = equiscope.survey(
            module, crops, ["2"], transformations=names, out=tmp_path / "run", angles=8, n_null=2
        )
        notes = {r["transformation"]: r["notes"] for r in run.manifest["results"]}
        assert "took no part in scale" in notes["scale"][0]
        assert notes["rotation"] == []

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"transformations": ["rotaton"]}, "unknown transformation 'rotaton': did you mean 'rotation'"),
            ({"transformations": []}, "no transformation was asked for"),
            ({"precision": "float16"}, "unknown precision 'float16'"),
        ],
    )
    def test_names_that_do_not_exist(self, options: dict, message: str, crops: Path, tmp_path: Path) -> None:
        with pytest.raises(EquiscopeError, match=message):
            equiscope.survey(bars(), crops, ["0"], out=tmp_path / "run", **options)

    def test_what_a_transformation_needs_is_surveyed_with_it(self, crops: Path, tmp_path: Path) -> None:
        run = equiscope.survey(
            bars(), crops, ["0"], transformations=["dihedral"], out=tmp_path / "run", n_null=2
        )
        assert run.manifest["settings"]["transformations"] == ["rotation", "dihedral"]


class TestRealNetworks:
    def test_conv2d2_of_googlenet_has_its_families(self, shared: Path, tmp_path: Path) -> None:
        model = equiscope.load_model("googlenet", shared / "weights" / "bvlc_googlenet_fp16.npz")
        images = equiscope.open_images(shared / "data" / "photos.tar")
        few = _first(images, 400)
        run = rotations(model, few, layers=["conv2d2"], out=tmp_path / "run", examples_per_unit=6)
        assert max(family.size for family in run.families) >= 8
        assert sum(family.size for family in run.families) >= 90
        assert np.median([family.disagreement["angle_deg"] for family in run.families]) < 3
        # The same responses, with every unit's pose scrambled, hold nothing.
        from equiscope.measurement.bank import build_bank
        from equiscope.measurement.responses import open_responses, scramble_responses
        from equiscope.runs.layout import layer_path
        from equiscope.transformations.groups import CyclicGroup

        examples = load_examples(run.folder / "examples.npz")[0]["conv2d2"]
        bank = build_bank(examples, np.asarray(few.groups))
        path = layer_path(run.folder, "responses/rotation", "conv2d2", ".zarr")
        responses = open_responses(path, bank, CyclicGroup(16), 192)
        null = scramble_responses(responses, np.arange(192), np.random.default_rng(5))
        assert find_families(null, examples, seed=9).families == ()

    def test_squeezenet_needs_no_other_settings(self, shared: Path, tmp_path: Path) -> None:
        model = equiscope.load_model("squeezenet", shared / "weights" / "squeezenet1_1_fp16.npz")
        images = _first(equiscope.open_images(shared / "data" / "photos.tar"), 200)
        run = rotations(model, images, layers=["fire2"], out=tmp_path / "run", examples_per_unit=4)
        assert len(run.families) >= 5
        assert read_json(run.folder / "run.json")["layers"][0]["layer"] == "fire2"


def _first(images: equiscope.ImageSet, n_images: int) -> equiscope.ImageSet:
    """Keep every k-th image of a set, so that a test takes seconds."""
    step = len(images) // n_images
    arrays = [images.load(index) for index in range(0, step * n_images, step)]
    import tempfile

    path = Path(tempfile.mkdtemp()) / "few.npz"
    np.savez(
        path, images=np.stack([(a.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for a in arrays])
    )
    return equiscope.open_images(path)
