"""Every public function has an example in its docstring, which runs and gives what it says."""

from __future__ import annotations

import ast
import doctest
import shutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch

import equiscope
from equiscope.cli import app
from example_runs import are_asked_for, make_example_runs

PACKAGE = Path(equiscope.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")
# Functions that take networks of packages which only extras install: their examples run where those are.
NEEDED = {
    "equiscope.models.adapters.from_timm": "timm",
    "equiscope.models.adapters.from_torchvision": "torchvision",
    "equiscope.models.onnx_files.from_onnx": "onnx2torch",
}


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def has_example(docstring: str | None) -> bool:
    return any(line.strip().startswith(">>> ") for line in (docstring or "").splitlines())


def public_functions(tree: ast.Module) -> list[tuple[str, bool]]:
    """Functions of a module that its ``__all__`` names, and whether each has an example."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            names = ast.literal_eval(node.value)
    return [(name, has_example(ast.get_docstring(functions[name]))) for name in names if name in functions]


def without_example() -> list[str]:
    """Public functions without one; those of commands are in the guides, and tests/test_docs.py parses them."""
    commands = {
        f"{command.callback.__module__}.{command.callback.__name__}" for command in app.registered_commands
    }
    found = []
    for file in FILES:
        for name, shown in public_functions(ast.parse(file.read_text(encoding="utf-8"))):
            whole = f"{module_name(file)}.{name}"
            if not shown and whole not in commands:
                found.append(whole)
    return sorted(found)


@pytest.fixture(scope="module")
def example_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that holds ``equiscope-runs/``."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_example_runs()
    return folder


# Parsed, not imported: only modules with an example need be loaded.
WITH_EXAMPLES = [file for file in FILES if has_example(file.read_text(encoding="utf-8"))]


def examples_of(module: ModuleType) -> tuple[list[doctest.DocTest], list[str]]:
    """Examples of a module that can run here, and the packages that others lack."""
    found = [own for own in doctest.DocTestFinder().find(module) if own.examples]
    lacking = {
        own.name: NEEDED[own.name] for own in found if own.name in NEEDED and not find_spec(NEEDED[own.name])
    }
    return [own for own in found if own.name not in lacking], list(lacking.values())


@pytest.mark.parametrize("file", WITH_EXAMPLES, ids=module_name)
def test_examples_give_what_they_say(
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)  # an example may write a file
    if are_asked_for(file):
        shutil.copytree(request.getfixturevalue("example_runs"), tmp_path, dirs_exist_ok=True)
    examples, lacking = examples_of(import_module(module_name(file)))
    if lacking and not examples:
        pytest.skip(f"needs {', '.join(lacking)}")
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for own in examples:
        torch.manual_seed(0)  # new layers are the same whatever ran before
        runner.run(own)
    assert runner.tries > 0
    assert runner.failures == 0, capsys.readouterr().out


def test_examples_that_need_a_package_are_there() -> None:
    for name in NEEDED:
        module, _, function = name.rpartition(".")
        file = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
        assert (function, True) in public_functions(ast.parse(file.read_text(encoding="utf-8")))


def outside_section(docstring: str) -> bool:
    """Whether an example stands outside a section of examples, where the site would read it as Markdown."""
    before, _, _ = docstring.partition(">>> ")
    return before != docstring and "Examples\n--------\n" not in before


def test_examples_stand_in_their_section() -> None:
    definitions = (ast.Module, ast.ClassDef, ast.FunctionDef)
    found = [
        f"{module_name(file)}.{getattr(node, 'name', '')}"
        for file in WITH_EXAMPLES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, definitions) and outside_section(ast.get_docstring(node) or "")
    ]
    assert found == []


def test_an_example_outside_a_section_is_seen() -> None:
    assert outside_section("Say.\n\n>>> [0][:3]\n[0]")
    assert not outside_section("Say.\n\nExamples\n--------\n>>> [0][:3]\n[0]")
    assert not outside_section("Say.")


def test_every_public_function_has_an_example() -> None:
    assert without_example() == []


def test_functions_without_example_are_seen() -> None:
    tree = ast.parse(
        '__all__ = ["f", "g"]\ndef f():\n    """>>> 1"""\ndef g():\n    """Say."""\ndef h(): ...\n'
    )
    assert public_functions(tree) == [("f", True), ("g", False)]
