"""CI, pre-commit and the Makefile agree with each other and with what pyproject.toml promises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def commands(workflow: Any) -> list[str]:
    return [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    return set(phony.split())


def supported() -> list[str]:
    """Versions of Python that the classifiers name."""
    prefix = "Programming Language :: Python :: "
    versions = [line.removeprefix(prefix) for line in PROJECT["classifiers"] if line.startswith(prefix)]
    return [version for version in versions if "." in version]


def test_every_supported_python_is_tested() -> None:
    matrix = load(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == supported()
    assert PROJECT["requires-python"] == f">={supported()[0]}"
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos"}


@pytest.mark.parametrize("version", supported())
def test_source_compiles_with_every_supported_python_that_is_here(version: str, tmp_path: Path) -> None:
    interpreter = shutil.which(f"python{version}")
    if (
        interpreter is None
        or subprocess.run([interpreter, "-c", ""], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"python{version} is not here")
    folders = [ROOT / name for name in ("src", "tests", "examples", "benchmarks", "reproduce", "docs")]
    done = subprocess.run(
        [interpreter, "-W", "error", "-m", "compileall", "-q", *folders],
        env={**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_oldest_torch_is_tested_on_the_oldest_python() -> None:
    matrix = load(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["tests"]["strategy"]["matrix"]
    (oldest,) = matrix["include"]
    assert f"torch>={oldest['torch'].removesuffix('.0')}" in PROJECT["dependencies"]
    assert oldest["python"] == supported()[0]
    assert matrix["torch"] == [""]  # the newest


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_targets_of_the_makefile(path: Path) -> None:
    lines = commands(load(path))
    assert lines
    assert {line.split()[1] for line in lines if line.startswith("make ")} <= targets()
    assert all(line.startswith("make ") for line in lines), "what CI runs, anybody can run by make"


def test_lint_docs_and_tests_are_run() -> None:
    run = {line.split()[1] for path in WORKFLOWS for line in commands(load(path))}
    assert run >= {"lint", "docs", "test"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_have_no_secrets_and_may_only_read(path: Path) -> None:
    assert "secrets." not in path.read_text(encoding="utf-8")
    assert load(path)["permissions"] == {"contents": "read"}
    assert "concurrency" in load(path)


def test_every_target_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    explained = set(re.findall(r"@echo 'make (\w+) ", makefile))
    assert explained | {"help", "chromium"} == targets()
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in targets())


def test_hooks_are_the_tools_of_the_project_and_fetch_nothing() -> None:
    repositories = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for hook in hooks:
        tool = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert f"$(BIN)/{tool}" in makefile
    assert not any("additional_dependencies" in hook for hook in hooks)
