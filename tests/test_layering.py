"""Imports only go down the list of modules, the package's door is pinned, and nothing prints or asserts."""

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
    "cli",
)
FILES = sorted(PACKAGE.rglob("*.py"))


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
def test_the_root_is_imported_for_the_version_only(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    taken = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "equiscope"
    }
    assert taken <= {"__version__"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_prints_or_asserts(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.Assert), f"assert in line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"print in line {node.lineno}"


def test_the_door_is_pinned() -> None:
    assert sorted(equiscope.__all__) == [
        "EquiscopeError",
        "Family",
        "ImageSet",
        "Member",
        "MissingExtraError",
        "Model",
        "Run",
        "Unit",
        "__version__",
        "load_model",
        "load_run",
        "open_images",
        "survey",
    ]
    assert all(hasattr(equiscope, name) for name in equiscope.__all__)


def test_the_door_opens_without_torch_and_leads_to_the_rooms() -> None:
    program = (
        "import sys, equiscope\n"
        "assert 'torch' not in sys.modules\n"
        "from equiscope.surveys.survey import survey\n"
        "assert equiscope.survey is survey\n"
        "assert equiscope.reports.save_figure\n"
        "assert not hasattr(equiscope, 'nothing')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
