"""Imports go down the list of rooms, files and functions are short, nothing prints or asserts."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import equiscope

PACKAGE = Path(equiscope.__file__).parent
# From the bottom up. A module may import those before it; the modules of a package import each other freely.
ORDER = (
    "foundations",
    "transformations",
    "stimuli",
    "models",
    "measurement",
    "families",
    "runs",
    "evidence",
    "construction",
    "reports",
    "testing",
    "surveys",
    "commands",
    "cli",
)
FILES = sorted(PACKAGE.rglob("*.py"))
# Lines that fit into one reading: a longer file is divided by noun, a longer function by what it does.
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 500, 60
# What is still to be divided. Nothing is added here.
LONG_FILES = {
    "evidence/circuits/recover.py",
    "evidence/circuits/strangers.py",
    "evidence/compare/counterparts.py",
    "evidence/verify/verification.py",
    "families/scales.py",
    "families/synchronisation.py",
    "runs/store.py",
    "surveys/stages.py",
    "surveys/survey.py",
}
LONG_FUNCTIONS = {
    "cli/circuits.py:circuits",
    "cli/compare.py:compare",
    "cli/simplify.py:simplify",
    "cli/survey.py:survey",
    "cli/train.py:train",
    "evidence/circuits/causal.py:check_circuits",
    "evidence/circuits/factors.py:find_factors",
    "evidence/circuits/gradients.py:gradient_weights",
    "evidence/circuits/partners.py:_judge_pairs",
    "evidence/circuits/paths.py:expanded_weights",
    "evidence/circuits/recover.py:_recover",
    "evidence/circuits/strangers.py:_test",
    "evidence/circuits/strangers.py:tie_stretched",
    "evidence/circuits/tied.py:tie_circuit",
    "evidence/compare/counterparts.py:find_counterparts",
    "evidence/compare/runs.py:compare_runs",
    "evidence/compare/runs.py:_compare_one",
    "evidence/featurevis/families.py:visualise_family",
    "evidence/featurevis/units.py:visualise_units",
    "evidence/featurevis/whole_run.py:visualise_run",
    "families/circles.py:search_circle",
    "families/circles.py:find_families",
    "families/correlations.py:correlate_torus",
    "families/dihedral.py:find_dihedral_families",
    "families/pairs.py:find_pairs",
    "families/rotation_scale.py:find_rotation_scale_families",
    "families/scales.py:find_scale_families",
    "families/scales.py:_as_family",
    "families/torus.py:find_toral_families",
    "surveys/survey.py:survey",
    "surveys/survey.py:run",
}


def module_of(file: Path) -> str:
    """First part of a file's module name below the package: ``models`` for models/geometry.py."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Modules of the package that a file imports, anywhere in it, by the first part of their names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports inside the package are absolute"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "equiscope" else [module]
        else:
            continue
        for name in names:
            # The package itself is imported for its version; that is checked by what is taken from it.
            if name.startswith("equiscope."):
                yield name.split(".")[1]


def going_up(module: str, tree: ast.AST) -> list[str]:
    """Imports of a file that the list does not allow."""
    below = {module, *ORDER[: ORDER.index(module)]}
    return [name for name in imports_of(tree) if name not in below]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_down(file: Path) -> None:
    module = module_of(file)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    if module == "__init__":
        assert set(imports_of(tree)) <= set(ORDER) - {"cli"}
    else:
        assert going_up(module, tree) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("transformations", "from equiscope.stimuli import open_images"),
        ("models", "from equiscope import survey"),
        ("foundations", "import equiscope.transformations.groups"),
        ("measurement", "def late():\n    from equiscope.reports.site.building import write_site"),
    ],
)
def test_an_import_that_goes_up_is_found(module: str, line: str) -> None:
    assert going_up(module, ast.parse(line))


def test_every_module_has_its_place() -> None:
    assert {module_of(file) for file in FILES} == {*ORDER, "__init__"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_the_root_is_imported_for_the_version_only_but_by_commands(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    taken = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "equiscope"
    }
    commands = {"load_run", *(name.stem for name in (PACKAGE / "commands").glob("[a-z]*.py"))}
    assert taken <= {"__version__"} | (commands if module_of(file) == "cli" else set())


def long_functions(tree: ast.AST) -> list[str]:
    """Functions of a file, methods and inner ones among them, with more lines than one may have, by their names."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_and_functions_are_short(file: Path) -> None:
    text, name = file.read_text(encoding="utf-8"), file.relative_to(PACKAGE).as_posix()
    if name not in LONG_FILES:
        assert len(text.splitlines()) <= MOST_LINES_OF_A_FILE
    assert {f"{name}:{found}" for found in long_functions(ast.parse(text))} <= LONG_FUNCTIONS


@pytest.mark.parametrize(
    "head", ["def f():", "async def f():", "class C:\n  def f(self):", "def g():\n  def f():"]
)
def test_a_long_function_is_found(head: str) -> None:
    indent = " " * (head.count("\n") * 2 + 1)
    short, long = (head + f"\n{indent}pass" * (n - 1) for n in (60, 61))
    assert "f" not in long_functions(ast.parse(short))
    assert "f" in long_functions(ast.parse(long))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_prints_or_asserts(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.Assert), f"assert in line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"print in line {node.lineno}"


@pytest.mark.parametrize("room", ["construction.training", "construction.equivariant"])
def test_training_imports_nothing_of_a_survey(room: str) -> None:
    program = (
        f"import sys, equiscope.{room}\n"
        "rooms = ('families', 'runs', 'evidence', 'reports', 'surveys')\n"
        "heavy = {'zarr', 'networkx', 'jinja2', 'sklearn', 'skimage', 'typer'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "found = {name.split('.')[1] for name in sys.modules if name.startswith('equiscope.')}\n"
        "assert not found & set(rooms), found & set(rooms)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
