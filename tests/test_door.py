"""The door: each command is a function of its name, with its options; it is small, pinned, and opens at once."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from torch import nn

import equiscope
from budget_run import make_scale_family, planted_run, save_planted
from equiscope import EquiscopeError
from equiscope.cli import app
from equiscope.foundations.options import Options, SeedOptions, SurveyOptions, take_options
from equiscope.models import as_model
from equiscope.runs.run import as_run, folder_of
from equiscope.runs.surveyed import surveyed_model
from equiscope.stimuli import as_images

ROOT = Path(__file__).parents[1]
COMMANDS = {command.callback.__name__: command.callback for command in app.registered_commands}
# Options that are called otherwise in Python, where names carry units and counts begin with n_.
RENAMED = {
    ("layers", "layers"): "names",  # a list beside the function of the same name
    ("circuits", "draws"): "n_draws",
    ("compare", "draws"): "n_draws",
    ("featurevis", "families"): "with_families",
    ("featurevis", "null_draws"): "n_null",
    ("budget", "resamples"): "n_resamples",
    ("simplify", "points"): "n_points",
    ("simplify", "evaluated"): "n_images",
    ("simplify", "calibration"): "n_calibration",
    ("simplify", "crop"): "crop_px",
    ("simplify", "resize"): "side_px",
    ("train", "workers"): "n_workers",
    ("train", "graphs"): "use_graphs",
}
# Options without an argument, and why.
WITHOUT = {
    ("circuits", "graphml"): "what is returned is written by evidence.circuits.write_graph",
    ("export", "format"): "what is returned has both, rows and document",
    ("train", "epochs"): "in the recipe",
    ("train", "batch"): "in the recipe",
    ("train", "learning_rate"): "in the recipe",
    ("train", "weight_decay"): "in the recipe",
    ("train", "crop"): "in the recipe, as crop_px",
}
MOST_PARAMETERS = 8


def door_function(name: str) -> Any:
    return getattr(equiscope, name)


def options_of(name: str) -> dict[str, Any]:
    """What a function takes beside its own parameters, from the dictionary that its module names."""
    function = door_function(name)
    last = list(inspect.signature(function).parameters.values())[-1]
    if last.kind is not last.VAR_KEYWORD:
        return {}
    kind = str(last.annotation).removeprefix("Unpack[").removesuffix("]")
    return dict(getattr(importlib.import_module(function.__module__), kind).__annotations__)


def arguments_of(name: str) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(door_function(name)).parameters
    return {key: own for key, own in parameters.items() if own.kind is not own.VAR_KEYWORD}


# --- what is at the door -----------------------------------------------------------------------------------


def test_the_door_is_pinned() -> None:
    assert equiscope.__all__ == [
        *("survey", "verify", "circuits", "featurevis", "budget", "simplify", "design", "compare", "tally"),
        *("report", "open", "layers", "plan", "figure", "train", "export"),
        *("load_run", "load_model", "open_images"),
        *("Run", "Model", "ImageSet", "Family", "Member", "Unit"),
        *("EquiscopeError", "MissingExtraError"),
        "__version__",
    ]
    assert all(hasattr(equiscope, name) for name in equiscope.__all__)
    assert dir(equiscope) == sorted(equiscope.__all__)
    assert not hasattr(equiscope, "nothing")


def test_the_names_are_loaded_in_the_same_places_as_type_checkers_see_them() -> None:
    text = (ROOT / "src" / "equiscope" / "__init__.py").read_text(encoding="utf-8")
    shown = text[text.index("if TYPE_CHECKING:") : text.index("__all__")]
    for name in equiscope.__all__[:-1]:
        home = equiscope._HOMES[name]
        (line,) = (line for line in shown.splitlines() if f"from equiscope.{home} import" in line)
        assert name in line.split("import")[1].replace(",", " ").split()


def test_commands_and_functions_are_the_same() -> None:
    assert list(COMMANDS) == equiscope.__all__[: len(COMMANDS)]
    for name in COMMANDS:
        function = door_function(name)
        assert (function.__name__, function.__module__) == (name, f"equiscope.commands.{name}")


# --- what the functions take -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_of_a_command_has_an_argument(name: str) -> None:
    taken = {*arguments_of(name), *options_of(name)}
    for option in inspect.signature(COMMANDS[name]).parameters:
        if (name, option) in WITHOUT:
            assert option not in taken
        else:
            assert RENAMED.get((name, option), option) in taken


def test_exceptions_are_of_options_that_there_are() -> None:
    for name, option in (*RENAMED, *WITHOUT):
        assert option in inspect.signature(COMMANDS[name]).parameters


@pytest.mark.parametrize("name", COMMANDS)
def test_defaults_of_command_and_function_are_the_same(name: str) -> None:
    own = arguments_of(name)
    for option, parameter in inspect.signature(COMMANDS[name]).parameters.items():
        argument = RENAMED.get((name, option), option)
        if argument in own and (name, option) not in WITHOUT:
            assert own[argument].default == parameter.default, option
        elif hasattr(Options, argument):
            assert getattr(Options, argument) == parameter.default, option


@pytest.mark.parametrize("name", COMMANDS)
def test_signatures_are_short(name: str) -> None:
    assert len(inspect.signature(door_function(name)).parameters) <= MOST_PARAMETERS


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_in_the_docstring(name: str) -> None:
    said = inspect.getdoc(door_function(name)) or ""
    for argument in (*arguments_of(name), *options_of(name)):
        assert argument in said, argument


@pytest.mark.parametrize("name", COMMANDS)
def test_functions_and_commands_are_in_the_documents(name: str) -> None:
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert f"equiscope.{name}(" in text
    assert f"equiscope {name} " in text


def test_every_option_has_a_limit_or_a_kind() -> None:
    """An option that functions take, and that no object holds, is used by the function itself."""
    used = {"weights", "weights_a", "weights_b", "verdict"}
    for name in COMMANDS:
        if name != "simplify":  # whose own options are of one function
            assert set(options_of(name)) <= {*inspect.signature(Options).parameters, *used}


# --- options -----------------------------------------------------------------------------------------------


def takes_seed(run: str, **options: Any) -> None: ...


@pytest.mark.parametrize(
    ("given", "hint"), [("sede", "did you mean 'seed'"), ("rnu", "did you mean 'run'"), ("device", "it has")]
)
def test_unknown_options_are_refused_with_the_nearest(given: str, hint: str) -> None:
    with pytest.raises(EquiscopeError, match=f"unknown option of takes_seed '{given}': {hint}"):
        take_options(takes_seed, SeedOptions, {given: 1})


def test_options_are_checked_and_plain() -> None:
    import numpy as np

    assert take_options(takes_seed, SeedOptions, {"seed": np.int64(3)}) == Options(seed=3)
    assert type(Options(seed=np.int64(3)).seed) is int  # type: ignore[arg-type]
    for wrong in (
        {"seed": -1},
        {"n_null": 0},
        {"false_discovery_rate": 1},
        {"min_score": 2},
        {"n_workers": 0},
    ):
        with pytest.raises(EquiscopeError, match=f"{next(iter(wrong))} is .*, expected"):
            take_options(takes_seed, SurveyOptions, wrong) if "n_workers" not in wrong else Options(**wrong)


def test_every_function_refuses_unknown_options_before_any_work() -> None:
    for name in COMMANDS:
        if options_of(name):
            needed = [p for p in arguments_of(name).values() if p.default is p.empty]
            with pytest.raises(EquiscopeError, match=f"unknown option of {name} 'sedd'"):
                door_function(name)(*("nowhere" for _ in needed), sedd=1)


# --- what they are given -----------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> equiscope.Run:
    """A run of two units that can be opened."""
    kinds = [{"scale": "s"}, {"scale": "s"}]
    families = [make_scale_family("s", [("a", 0, 0.0), ("a", 1, 1.0)])]
    made = planted_run(tmp_path / "run", {"a": kinds}, ["scale"], families)
    save_planted(made)
    return made


def test_a_run_is_given_open_or_by_its_folder(run: equiscope.Run) -> None:
    assert as_run(run) is run
    assert as_run(run.folder).units == as_run(str(run.folder)).units == run.units
    assert folder_of(run) == folder_of(run.folder) == folder_of(str(run.folder)) == run.folder
    for given in (run, run.folder, str(run.folder)):
        assert equiscope.export(given, "units").rows == equiscope.export(run, "units").rows


def test_a_network_is_given_as_it_is_or_by_name() -> None:
    module = nn.Conv2d(3, 2, 3)
    model = as_model(module)
    assert (model.module, model.name) == (module, "Conv2d")
    assert as_model(model) is model
    assert as_model("mini").name == "mini"
    with pytest.raises(EquiscopeError, match=r"weights w\.npz cannot be given to a network that is there"):
        as_model(module, "w.npz")


def test_a_surveyed_network_is_the_runs_own_only_where_it_is_built_in(run: equiscope.Run) -> None:
    run.manifest["model"]["name"] = "mini"
    assert surveyed_model(run, None, None, "").name == "mini"
    module = nn.ReLU()
    assert surveyed_model(run, module, None, "").module is module
    run.manifest["model"]["name"] = "theirs.py:factory"
    with pytest.raises(EquiscopeError, match="equiscope verify RUN NETWORK"):
        surveyed_model(run, None, None, "equiscope verify RUN NETWORK")


def test_images_are_given_open_or_by_path(tmp_path: Path) -> None:
    images = as_images(None)
    assert images.name == "embedded"
    assert as_images(images) is images
    with pytest.raises(EquiscopeError):
        as_images(tmp_path / "nowhere")


# --- what they return --------------------------------------------------------------------------------------


def test_exported_rows_have_every_column(run: equiscope.Run) -> None:
    units, families = equiscope.export(run, "units"), equiscope.export(run, "families")
    assert [row["octaves"] for row in families.rows] == [0.0, 1.0]
    assert [row["angle_deg"] for row in families.rows] == [None, None]  # not measured
    assert all(tuple(row) == table.columns for table in (units, families) for row in table.rows)
    assert families.document["families"][0]["id"] == "s"
    with pytest.raises(EquiscopeError, match="unknown part of a run 'unit': did you mean 'units'"):
        equiscope.export(run, "unit")


def test_layers_are_returned_as_data() -> None:
    found = equiscope.layers("mini", ["conv2d0"])
    assert found.geometries["conv2d0"].n_channels == 48
    assert list(equiscope.layers(nn.Sequential(nn.Conv2d(3, 2, 3)), "0").geometries) == ["0"]


# --- how fast it opens -------------------------------------------------------------------------------------

HEAVY = ("torch", "networkx", "jinja2", "zarr", "skimage", "sklearn", "scipy", "PIL")


def loaded_by(program: str) -> list[str]:
    """Which of the libraries that take long a program has loaded in the end."""
    end = f"\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program + end], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_run_opens_without_what_takes_long(run: equiscope.Run) -> None:
    program = (
        "import equiscope\n"
        f"run = equiscope.load_run({str(run.folder)!r})\n"
        "for family in run.families:\n"
        "    family.channels, family.poses_deg, [member.score for member in family.members]\n"
        "for unit in run.units:\n"
        "    unit.under('scale').kind\n"
        "assert run.families and run.units\n"
        "assert issubclass(equiscope.EquiscopeError, ValueError)\n"
    )
    assert loaded_by(program) == []


def test_what_takes_long_is_seen() -> None:
    assert "torch" in loaded_by("import equiscope\nequiscope.load_model")


@pytest.mark.parametrize("arguments", ["--help", "--version"])
def test_help_takes_little_processor_time(arguments: str) -> None:
    program = (
        "import resource, subprocess, sys\n"
        f"subprocess.run([sys.executable, '-m', 'equiscope.cli', {arguments!r}], capture_output=True, check=True)\n"
        "own = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(own.ru_utime + own.ru_stime)\n"
    )
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.4


def test_rooms_are_reached_from_the_door() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import equiscope\nassert equiscope.reports.draw_figure\nassert equiscope.models.geometry",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_type_hints_of_the_options_are_whole() -> None:
    assert get_type_hints(SurveyOptions)["seed"] is int
