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
    "surveys",
    "commands",
    "testing",
    "cli",
)
FILES = sorted(PACKAGE.rglob("*.py"))
# Lines that fit into one reading: a longer file is divided by noun, a longer function by what it does.
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 500, 60
# What travels together is one object; more than this is read by nobody. The command line has an option a parameter.
MOST_PARAMETERS = 8
LONG_SIGNATURES = {
    "evidence/circuits/causal.py:check_circuits",
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
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES_OF_A_FILE
    assert long_functions(ast.parse(text)) == []


@pytest.mark.parametrize(
    "head", ["def f():", "async def f():", "class C:\n  def f(self):", "def g():\n  def f():"]
)
def test_a_long_function_is_found(head: str) -> None:
    indent = " " * (head.count("\n") * 2 + 1)
    short, long = (head + f"\n{indent}pass" * (n - 1) for n in (60, 61))
    assert "f" not in long_functions(ast.parse(short))
    assert "f" in long_functions(ast.parse(long))


def long_signatures(body: list[ast.stmt], holder: str = "") -> Iterator[str]:
    """Public functions and methods that take more than they may, ``self`` aside, by their names."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from long_signatures(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_")):
            own = node.args
            taken = [*own.posonlyargs, *own.args, *own.kwonlyargs, *filter(None, (own.vararg, own.kwarg))]
            is_static = any(getattr(mark, "id", "") == "staticmethod" for mark in node.decorator_list)
            if len(taken) - bool(holder and not is_static) > MOST_PARAMETERS:
                yield f"{holder}{node.name}"


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if module_of(file) != "cli"],
    ids=lambda file: str(file.relative_to(PACKAGE)),
)
def test_public_signatures_are_short(file: Path) -> None:
    name, tree = file.relative_to(PACKAGE).as_posix(), ast.parse(file.read_text(encoding="utf-8"))
    assert {f"{name}:{found}" for found in long_signatures(tree.body)} <= LONG_SIGNATURES


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f({8}): ...", []),
        ("def f({9}): ...", ["f"]),
        ("def f({4}, *, e5, e6, e7, e8, **more): ...", ["f"]),
        ("def _f({9}): ...", []),
        ("class C:\n  def f(self, {8}): ...", []),
        ("class C:\n  def __init__(self, {9}): ...", ["C.__init__"]),
        ("class C:\n  @staticmethod\n  def f({9}): ...", ["C.f"]),
        ("class _C:\n  def f(self, {9}): ...", []),
    ],
)
def test_a_long_signature_is_found(text: str, found: list[str]) -> None:
    for n in (4, 8, 9):
        text = text.replace(f"{{{n}}}", ", ".join(f"a{i}" for i in range(n)))
    assert list(long_signatures(ast.parse(text).body)) == found


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
