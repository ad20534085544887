"""Every number that a command or a function takes: what is out of its range is one sentence, before any work."""

from __future__ import annotations

import contextlib
import inspect
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import equiscope
from equiscope import EquiscopeError
from equiscope.cli import app
from equiscope.construction.budget import estimate_budget
from equiscope.construction.simplify import Curve, count_logits, open_evaluation, simplify_run
from equiscope.construction.training import Recipe
from equiscope.evidence.circuits import recover_circuits
from equiscope.evidence.compare.runs import compare_runs
from equiscope.evidence.featurevis import Robustness, visualise_family, visualise_run, visualise_units
from equiscope.foundations import limits
from equiscope.foundations.devices import choose_device, choose_precision
from equiscope.foundations.limits import Count, Number, list_names
from equiscope.foundations.options import Options
from equiscope.reports.site.serve import open_site, serve_site
from equiscope.stimuli import open_images
from in_process import run_command

NETWORK = """
import torch
from torch import nn
def network():
    torch.manual_seed(1)
    trunk = nn.Conv2d(3, 12, 7), nn.ReLU(), nn.Conv2d(12, 8, 3)
    return nn.Sequential(*trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
"""
# What has to stand beside a number so that the command gets as far as looking at it.
COMMANDS = {
    "survey": "survey net.py:network --images images.npz --layers 0 --out new",
    "plan": "plan net.py:network --images images.npz --layers 0",
    "circuits": "circuits run net.py:network --images images.npz",
    "featurevis": "featurevis run net.py:network",
    "budget": "budget run",
    "simplify": "simplify run net.py:network --images labelled",
    "compare": "compare run other --model-a net.py:network --model-b net.py:network --images images.npz",
    "open": "open run --no-browser",
    "train": "train plain --data images.npz --out new",
}
VALUES = ("nan", "inf", "-inf", "-1", "0", "1e20", str(2**70), "1000000000000", "many", "")
# Among these values the ones with a meaning.
DEFAULTING = ("angles", "examples_per_unit", "n_images", "crop_px", "side_px", "size_px")
MEANINGS = {
    *((command, "--seed", "0") for command in COMMANDS),
    ("featurevis", "--null-draws", "0"),
    ("open", "--port", "0"),
    ("train", "--learning-rate", "0"),
    ("train", "--weight-decay", "0"),
}


def numeric_options() -> Iterator[tuple[str, str]]:
    """Every option of every command that takes a number."""
    for command in app.registered_commands:
        function: Any = command.callback
        name = function.__name__
        for parameter, hint in get_type_hints(function, include_extras=True).items():
            kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
            if {int, float} & {kind, *get_args(kind)}:
                yield name, f"--{parameter.replace('_', '-')}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of a tiny network, on images that are not square."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "net.py").write_text(NETWORK)
    images = np.random.default_rng(0).integers(0, 256, (6, 40, 48, 3), dtype=np.uint8)
    np.savez(folder / "images.npz", images=images)
    for index in range(24):
        path = folder / "labelled" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index % 6]).save(path)
    with contextlib.chdir(folder):
        for name in ("run", "other"):
            equiscope.survey(
                "net.py:network",
                "images.npz",
                ["0", "2"],
                transformations="reflection",
                n_null=1,
                seed=len(name),
                out=name,
            )
    return folder


def test_every_numeric_option_is_known_here() -> None:
    assert {command for command, _ in numeric_options()} == set(COMMANDS)
    assert len(list(numeric_options())) >= 29


@pytest.mark.parametrize(("command", "option"), list(numeric_options()))
def test_options_out_of_range_are_one_sentence(command: str, option: str, place: Path) -> None:
    before = sorted(path.name for path in place.iterdir())
    for value in VALUES:
        if (command, option, value) in MEANINGS:
            continue
        done = run_command(*COMMANDS[command].split(), f"{option}={value}", cwd=place)
        code, said = done.returncode, done.stderr
        assert code == 2, f"{option}={value}: {said}"
        last = said.splitlines()[-1]
        words = option.removeprefix("--").replace("-", "_")
        if "Error: " in last:  # What is no number at all is refused by the parser.
            assert option in last
            continue
        assert said.count("\n") == 1
        found = re.match(r"equiscope: .* is (.+), expected .*: .", said)
        assert found, said
        np.testing.assert_equal(float(found.group(1)), float(value))
        assert words in said or option in said
    assert sorted(path.name for path in place.iterdir()) == before


@pytest.mark.parametrize("name", ["--angles", "--examples-per-unit", "--false-discovery-rate"])
def test_a_number_that_is_given_twice_over_is_judged_alike(name: str, place: Path) -> None:
    """The same limits in Python and on the command line."""
    parameter = name.removeprefix("--").replace("-", "_")
    with pytest.raises(EquiscopeError) as refused, contextlib.chdir(place):
        equiscope.survey("net.py:network", "images.npz", ["0"], out="new", **{parameter: -3})
    done = run_command(*COMMANDS["survey"].split(), f"{name}=-3", cwd=place)
    said = done.stderr
    assert said.replace("-3.0", "-3") == f"equiscope: {refused.value}\n"


# --- functions ---------------------------------------------------------------------------------------------

NOT_COUNTS = (math.nan, math.inf, -1, 10**20, 1.5, 4.0, True, "4", None, 10**5000)
NOT_RATES = (math.nan, math.inf, -0.1, 0, 1, 1.5, "0.05", None, True)


@pytest.fixture(scope="module")
def runs(place: Path) -> tuple[equiscope.Run, equiscope.Run, equiscope.Model]:
    with contextlib.chdir(place):
        return (
            equiscope.load_run("run"),
            equiscope.load_run("other"),
            equiscope.load_model("net.py:network"),
        )


def functions(place: Path, runs: tuple[equiscope.Run, equiscope.Run, equiscope.Model]) -> dict[str, Any]:
    """Public functions of which numbers are asked, with all else that they need."""
    run, other, model = runs
    images = open_images(place / "images.npz")
    return {
        "survey": lambda **k: equiscope.survey(model, images, ["0"], out=place / "new", **k),
        "recover_circuits": lambda **k: recover_circuits(run, model, images, **k),
        "compare_runs": lambda **k: compare_runs(run, model, other, model, images, **k),
        "estimate_budget": lambda **k: estimate_budget(run, **k),
        "visualise_units": lambda **k: visualise_units(model, "0", [0], **k),
        "visualise_family": lambda **k: visualise_family(model, None, **k),
        "visualise_run": lambda **k: visualise_run(run, model, **k),
        "Options": lambda **k: Options(**k),
        "simplify_run": lambda crop_px=8, **k: simplify_run(run, model, None, Curve(**k), crop_px=crop_px),
        "count_logits": lambda **k: count_logits(model, **k),
        "open_evaluation": lambda **k: open_evaluation(place / "images.npz", n_logits=3, **k),
        "serve_site": lambda **k: serve_site(run.folder, **k).__enter__(),
        "open_site": lambda **k: open_site(run.folder, in_browser=False, **k),
        "train": lambda **k: equiscope.train("plain", place / "images.npz", place / "new", **k),
        "Recipe": Recipe,
        "open_images": lambda **k: open_images(place / "images.npz", **k),
        "batches": lambda **k: images.batches(range(2), **k),
    }


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        ("survey", "angles examples_per_unit n_null seed"),
        ("recover_circuits", "n_draws seed"),
        ("compare_runs", "n_draws"),
        ("estimate_budget", "n_resamples seed"),
        ("visualise_units", "steps size_px"),
        ("visualise_family", "steps n_null"),
        ("visualise_run", "steps n_null"),
        ("simplify_run", "n_points n_calibration n_images crop_px"),
        ("Options", "seed n_null n_workers"),
        ("count_logits", "crop_px"),
        ("open_evaluation", "side_px"),
        ("serve_site", "port"),
        ("open_site", "port"),
        ("train", "seed n_workers checkpoint_every"),
        ("Recipe", "epochs batch components crop_px side_px"),
        ("open_images", "max_side_px"),
        ("batches", "batch_size"),
    ],
)
def test_functions_refuse_what_is_no_count(
    function: str, parameters: str, place: Path, runs: tuple[equiscope.Run, equiscope.Run, equiscope.Model]
) -> None:
    known = functions(place, runs)[function]
    for parameter in parameters.split():
        for value in NOT_COUNTS:
            if value is None and parameter in DEFAULTING:
                continue
            with pytest.raises(EquiscopeError, match=f"{parameter}.* is .*, expected a whole number from"):
                known(**{parameter: value})


@pytest.mark.parametrize("function", ["survey", "recover_circuits", "Options"])
def test_functions_refuse_what_is_no_rate(
    function: str, place: Path, runs: tuple[equiscope.Run, equiscope.Run, equiscope.Model]
) -> None:
    for value in NOT_RATES:
        with pytest.raises(
            EquiscopeError, match=r"false_discovery_rate is .*, expected a number above 0 and"
        ):
            functions(place, runs)[function](false_discovery_rate=value)


@pytest.mark.parametrize("name", ["learning_rate", "warmup_epochs", "weight_decay", "momentum"])
def test_recipes_refuse_what_is_no_number(name: str) -> None:
    for value in (math.nan, math.inf, -1e-9, "0.1", None, 1e20):
        with pytest.raises(EquiscopeError, match=f"{name} of the recipe is .*, expected a number from 0 to"):
            Recipe(**{name: value})


def test_min_score_is_a_correlation(place: Path) -> None:
    for value in (math.nan, 1.01, -2):
        with pytest.raises(EquiscopeError, match=r"min_score is .*, expected a number from -1 to 1"):
            equiscope.survey(nn.Conv2d(3, 4, 3), place / "images.npz", out=place / "new", min_score=value)


# --- the limits themselves ---------------------------------------------------------------------------------


def test_ends_are_taken() -> None:
    count, number = Count(2, 5, "3"), Number(0, 1, "0.5")
    assert [count.check("n", value) for value in (2, 5, np.int8(3))] == [2, 5, 3]
    assert type(count.check("n", np.int64(3))) is int
    assert [number.check("x", value) for value in (0, 1, np.float32(0.5))] == [0.0, 1.0, 0.5]
    assert type(number.check("x", np.float64(0.5))) is float


@pytest.mark.parametrize("value", [1, 6, 2.0, True, torch.tensor(3), np.bool_(True), [3] * 10_000])
def test_a_refusal_is_short_and_says_what_to_take(value: Any) -> None:
    with pytest.raises(EquiscopeError) as refused:
        Count(2, 5, "3 is usual").check("n", value)
    message = str(refused.value)
    assert message.startswith("n is ")
    assert message.endswith(", expected a whole number from 2 to 5: 3 is usual")
    assert len(message) < 120


def test_an_open_range_has_no_ends() -> None:
    for value in (0, 1.0):
        with pytest.raises(EquiscopeError, match="above 0 and below 1"):
            Number(0, 1, "", is_open=True).check("x", value)


def test_the_page_has_the_ranges() -> None:
    page = (Path(__file__).parents[1] / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (-?\d[^|]*|above[^|]*) \| (.*) \|$", page, re.MULTILINE))
    known = {f"{limit.least} to {limit.most}" for limit in vars(limits).values() if isinstance(limit, Count)}
    assert known <= set(rows)
    documented = " ".join(rows.values())
    pages = re.findall(r"^\| (?:-?\d|above)[^|]* \| (.*) \|$", page, re.MULTILINE)
    documented = " ".join(pages)
    assert [option for _, option in numeric_options() if f"`{option}`" not in documented] == []


# --- devices, precision, names -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "device", ["meta", "cuda:99", "xla", "vulkan", "hpu", "mkldnn", "garbage", "", "cpu cuda", None, 3.5]
)
def test_devices_that_do_not_compute_are_one_sentence(device: Any) -> None:
    with pytest.raises(
        EquiscopeError, match=r"cannot be used here .*: expected auto, cpu or cuda"
    ) as refused:
        choose_device(device)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250


def test_devices_that_compute_are_taken() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize("precision", ["half", "", "BFLOAT16", None, 16, torch.float16, ["float32"]])
def test_unknown_precisions_are_one_sentence(precision: Any) -> None:
    with pytest.raises(EquiscopeError, match="unknown precision"):
        choose_precision(precision, torch.device("cpu"))


@pytest.mark.parametrize("option", ["--device=meta", "--device=cuda:99", "--precision=half"])
def test_commands_refuse_devices_and_precisions(option: str, place: Path) -> None:
    done = run_command(*COMMANDS["survey"].split(), option, cwd=place)
    code, said = done.returncode, done.stderr
    assert code == 2
    assert said.startswith("equiscope: ")
    assert said.count("\n") == 1
    assert not (place / "new").exists()


def test_a_string_is_one_name() -> None:
    assert list_names("rotation") == ["rotation"]
    assert list_names(("a", "b")) == ["a", "b"]
    assert list_names([]) == []
    assert list_names(None) is None


def test_a_string_of_python_is_one_name(
    place: Path, runs: tuple[equiscope.Run, equiscope.Run, equiscope.Model]
) -> None:
    run, other, model = runs
    survey: Callable[..., Any] = equiscope.survey
    assert run.manifest["settings"]["transformations"] == ["reflection"]
    with pytest.raises(EquiscopeError, match="unknown transformation 'rotatoin': did you mean 'rotation'"):
        survey(model, place / "images.npz", ["0"], transformations="rotatoin", out=place / "new")
    with pytest.raises(EquiscopeError, match=r"unknown layer .* '02'"):
        survey(model, place / "images.npz", "02", out=place / "new")
    with pytest.raises(EquiscopeError, match=r"unknown layer .* '02'"):
        visualise_run(run, model, "02")
    images = open_images(place / "images.npz")
    with pytest.raises(EquiscopeError, match="unknown transformation to compare 'turning'"):
        compare_runs(run, model, other, model, images, transformations="turning")
    with pytest.raises(EquiscopeError, match="unknown method 'tide'"):
        simplify_run(run, model, None, Curve(methods="tide"))  # type: ignore[arg-type]


def test_changes_of_a_robustness_are_finite() -> None:
    for name in inspect.signature(Robustness).parameters:
        with pytest.raises(EquiscopeError, match=f"{name} of a robustness"):
            Robustness(**{name: math.nan})
