"""The documents say what the program does; `EQUISCOPE_UPDATE_DOCS=1 pytest tests/test_docs.py` rewrites docs/cli.md."""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import importlib
import importlib.util
import inspect
import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import typer
import zarr

import equiscope
from equiscope.cli import app
from equiscope.construction.budget import (
    Budget,
    ConvolutionBudget,
    ForcedBudget,
    LayerBudget,
    PairBudget,
    TotalBudget,
)
from equiscope.construction.design import Design, LayerDesign
from equiscope.construction.simplify import Accuracy, Convolution, Point, Simplification
from equiscope.evidence.circuits import Circuit, CircuitEnd, Circuits, Confirmation
from equiscope.evidence.circuits.causal import CausalCheck
from equiscope.evidence.circuits.factors import Factor, Factors
from equiscope.evidence.circuits.results import LayerPairSummary, Skipped
from equiscope.evidence.circuits.transposed import Transposed
from equiscope.evidence.compare.comparison import (
    ComparedFamily,
    ComparedMember,
    ComparedRun,
    ComparedTransformation,
    Comparison,
    LayerShare,
    Match,
)
from equiscope.evidence.featurevis import visualise_run
from equiscope.evidence.verify.whole_run import verify_run
from equiscope.families.layer_families import UnitPair
from equiscope.families.rotation_scale import FamilyLink
from equiscope.measurement.examples import Examples
from equiscope.transformations import ALL
from test_layering import ORDER

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS]
BY_NAME = {command.name or command.callback.__name__: command for command in app.registered_commands}
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# --- the reference of the commands -------------------------------------------------------------------------


def worded_default(value: object) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    return "" if value is None else f"`{value}`"


def command_section(name: str) -> Iterator[str]:
    """One command as Markdown, from its signature: the text of --help depends on the version of typer."""
    function = BY_NAME[name].callback
    hints = get_type_hints(function, include_extras=True)
    yield f"## equiscope {name}\n\n{inspect.getdoc(function)}\n"
    yield "| argument or option | default | meaning |\n|---|---|---|"
    for parameter in inspect.signature(function).parameters.values():
        kind, info = get_args(hints[parameter.name])[:2]
        is_argument = isinstance(info, typer.models.ArgumentInfo)
        shown = parameter.name.upper() if is_argument else f"--{parameter.name.replace('_', '-')}"
        meaning = info.help
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            meaning += f" One of {', '.join(f'`{choice.value}`' for choice in kind)}."
        yield f"| `{shown}` | {worded_default(parameter.default)} | {meaning} |"
    yield ""


def commands_page() -> str:
    lines = [
        "# Commands\n",
        "<!-- Written by tests/test_docs.py from src/equiscope/cli/; EQUISCOPE_UPDATE_DOCS=1 renews it. -->\n",
        "[The guide of the survey](survey.md) explains the options; [Errors](errors.md) the messages and exit codes.",
        "`equiscope --version` tells the version; `-h` or `--help` after any command lists its options.\n",
    ]
    for name in BY_NAME:
        lines += command_section(name)
    return "\n".join(lines).rstrip() + "\n"


def test_reference_of_the_commands_is_current() -> None:
    if os.environ.get("EQUISCOPE_UPDATE_DOCS"):
        (ROOT / "docs" / "cli.md").write_text(commands_page(), encoding="utf-8")
    assert read("docs/cli.md") == commands_page(), "run EQUISCOPE_UPDATE_DOCS=1 pytest tests/test_docs.py"


def shell_commands() -> list[tuple[str, str]]:
    """Every line of a code block that begins with `equiscope`, continuation lines joined, and its page."""
    found = []
    for page in PAGES:
        for block in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.strip().removeprefix("$ ")
                if line.startswith("equiscope "):
                    found.append((page.name, line))
    return found


def test_every_command_has_an_example_in_a_guide() -> None:
    guides = {page.name for page in DOCS} - {"cli.md"}
    shown = {shlex.split(line, comments=True)[1] for page, line in shell_commands() if page in guides}
    assert set(BY_NAME) - shown == set()


def parse(line: str) -> None:
    """Parse a command line as the program would, without running it."""
    words = shlex.split(line, comments=True)
    # What follows a pipe or a redirection is the shell's.
    end = next((i for i, word in enumerate(words) if word in ("|", ">", "&&", "||")), len(words))
    _, name, *arguments = words[:end]
    if name != "--help":
        command: Any = typer.main.get_command(app)
        command.commands[name].make_context(name, arguments)


@pytest.mark.parametrize(("page", "line"), shell_commands())
def test_shell_commands_parse(page: str, line: str) -> None:
    parse(line)


@pytest.mark.parametrize(
    "line", ["equiscope surve mini", "equiscope survey --angels 8", "equiscope export x"]
)
def test_wrong_shell_commands_do_not_parse(line: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - its type depends on the version of typer
        parse(line)


# --- links and names ---------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_broken_links_are_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading, `code`\n[a](#a-heading-code) [b](#none) [c](page.md) [d](no.md) [e](https://x.y)\n"
    )
    assert broken_links(page) == ["#none", "no.md"]


def test_every_page_is_in_the_index() -> None:
    index = read("docs/index.md")
    assert [page.name for page in DOCS if page.name != "index.md" and f"({page.name})" not in index] == []


def test_every_public_name_is_documented() -> None:
    code = " ".join(re.findall(r"```.*?```|`[^`\n]+`", "\n".join(p.read_text() for p in DOCS), re.DOTALL))
    missing = [name for name in equiscope.__all__ if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", code)]
    assert missing == []


def resolve(name: str) -> Any:
    """What a dotted name means: a module, or what is in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        return functools.reduce(getattr, parts[end:], found)
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "LOG.md"], ids=lambda page: page.name
)
def test_names_of_the_package_lead_somewhere(page: Path) -> None:
    for name in set(
        re.findall(r"(?<![\w./-])equiscope(?:\.[A-Za-z_]\w*)+", page.read_text(encoding="utf-8"))
    ):
        resolve(name)


def test_names_that_lead_nowhere_are_seen() -> None:
    with pytest.raises(AttributeError):
        resolve("equiscope.store.load_run")


def test_readme_and_contributing_list_every_room() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        rows = re.findall(r"^\| (`.+?) \|", read(page), re.MULTILINE)
        assert re.findall(r"`(\w+)`", " ".join(rows)) == list(ORDER)


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    lines = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    names = {re.split(r"[<>=!~ \[]", line)[0] for line in lines}
    page = read("docs/dependencies.md")
    assert sorted(name for name in names if f"`{name}`" not in page) == []


def test_version_is_told_once() -> None:
    assert f"\nversion: {equiscope.__version__}\n" in read("CITATION.cff")
    assert f"\n## {equiscope.__version__}" in read("CHANGELOG.md")


def test_modules_that_moved_are_where_the_changelog_says() -> None:
    moved = re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|", read("CHANGELOG.md"), re.MULTILINE)
    assert len(moved) > 30
    assert [new for _, new in moved if importlib.util.find_spec(f"equiscope.{new}") is None] == []


# --- messages ----------------------------------------------------------------------------------------------


def template(node: ast.expr) -> str:
    """The text of a string in the source, with … for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    return "…"


def messages() -> dict[str, str]:
    """Every message of an error that a user can meet, and where it is."""
    found = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
                "EquiscopeError",
                "DamagedFileError",
                "MissingExtraError",
                "UndecodableError",
            ):
                found[template(node.args[0])] = f"{path.relative_to(ROOT)}:{node.lineno}"
    # Messages put together from parts that are messages of their own.
    return {text: place for text, place in found.items() if len(re.sub(r"\W", "", text)) > 4}


def documented_messages() -> list[str]:
    rows = re.findall(r"^\| (`+)(.+?)\1 \|", read("docs/errors.md"), re.MULTILINE)
    return [text for _, text in rows]


def test_every_message_is_explained() -> None:
    explained = documented_messages()
    assert len(explained) > 30
    missing = [
        f"{place}: {text}"
        for text, place in messages().items()
        if not any(part in text for part in explained)
    ]
    assert missing == []


def test_every_explained_message_exists() -> None:
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "src").rglob("*.py"))
    strings = (ast.JoinedStr, ast.Constant)
    texts = [template(node) for tree in trees for node in ast.walk(tree) if isinstance(node, strings)]
    assert [part for part in documented_messages() if not any(part in text for text in texts)] == []


# --- a run's folder ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> equiscope.Run:
    """A real run that has everything: the example's network, and a file that is no image."""
    spec = importlib.util.spec_from_file_location("own_network", ROOT / "examples" / "own_network.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    example.draw_images(folder, 30, rng)
    (folder / "broken.png").write_bytes(b"no image")
    network = example.build_network(rng)
    run = equiscope.survey(network, folder, out=folder / "run")
    verify_run(run, equiscope.Model(network))
    visualise_run(run, equiscope.Model(network), steps=1)
    return run


def keys(value: Any) -> set[str]:
    """All keys of a JSON document, at any depth, but for `tuning`, whose keys are the families' names."""
    if isinstance(value, dict):
        inner = (keys(entry) for key, entry in value.items() if key != "tuning")
        return set(value).union(*inner)
    return set().union(*(keys(entry) for entry in value)) if isinstance(value, list) else set()


def test_contract_of_a_run_is_complete(run: equiscope.Run) -> None:
    assert run.families
    assert run.manifest["images"]["failures"]
    documents = [run.folder / f"{part}.json" for part in ("run", "units", "families")]
    documents += (run.folder / "results").rglob("*.json")
    documents.append(run.folder / "verification.json")
    written = set().union(*(keys(json.loads(path.read_text(encoding="utf-8"))) for path in documents))
    for path in (run.folder / "examples.npz", *(run.folder / "featurevis").iterdir()):
        with np.load(path) as arrays:
            written |= {name.rpartition(":")[2] for name in arrays.files}
    # Lists that are empty in this run.
    written |= {part.name for kind in (UnitPair, FamilyLink) for part in dataclasses.fields(kind)}
    # Coordinates of poses, also of families that this run has none of.
    written |= {axis.name for transformation in ALL for axis in transformation.axes}
    # The run has one layer, and so no circuits, nor is it compared; tests/test_recover.py, tests/test_compare.py and
    # tests/test_simplify.py see what is written of those.
    kinds = (
        Circuits,
        Circuit,
        CircuitEnd,
        LayerPairSummary,
        Skipped,
        Factors,
        Factor,
        Transposed,
        CausalCheck,
        Confirmation,
        Budget,
        LayerBudget,
        PairBudget,
        ForcedBudget,
        ConvolutionBudget,
        TotalBudget,
        Design,
        LayerDesign,
        Comparison,
        ComparedFamily,
        ComparedMember,
        ComparedRun,
        ComparedTransformation,
        LayerShare,
        Match,
        Simplification,
        Convolution,
        Point,
        Accuracy,
    )
    written |= {part.name for kind in kinds for part in dataclasses.fields(kind)} | {"circuit_class"}
    # Of a look alone: tests/test_planning.py sees it.
    written.add("look")
    written -= {f"{name}_{end}" for name in ("zeroed", "template", "wrong_pose") for end in ("low", "high")}
    explained = {
        name.rpartition(".")[2]
        for name in re.findall(r"^\| `([\w.-]+)` \|", read("docs/run.md"), re.MULTILINE)
    }
    assert explained ^ written == set()


def test_files_of_a_run_are_those_of_the_contract(run: equiscope.Run) -> None:
    page = read("docs/run.md")
    there = {path.name for path in run.folder.iterdir()}
    later = {
        "circuits.json",
        "circuits",
        "budget.json",
        "budget.svg",
        "design.json",
        "simplify.json",
        "simplify.svg",
        "compare",
    }
    assert there | later == set(re.findall(r"^[├└]── ([\w.]+)", page, re.MULTILINE))
    assert f"schema version {run.manifest['schema_version']}" in page


def test_responses_are_stored_as_the_contract_says(run: equiscope.Run) -> None:
    (path,) = (run.folder / "responses" / "rotation").iterdir()
    array = zarr.open_array(path, mode="r")
    assert array.shape[1:] == (16, len(run.units))
    assert array.dtype == np.float32
    with np.load(run.folder / "examples.npz") as arrays:
        assert {f"0:{part.name}" for part in dataclasses.fields(Examples)} <= set(arrays.files)
        # The recipe of docs/run.md for the stimulus of each row.
        rows = []
        for half in (0, 1):
            value, image, position = (arrays[f"0:{part}"][half] for part in ("value", "image", "position"))
            fires = (image >= 0) & (np.nan_to_num(value) > 0)
            rows += sorted(
                {(half, int(i), *map(int, yx)) for i, yx in zip(image[fires], position[fires], strict=True)}
            )
    assert len(rows) == array.shape[0]
