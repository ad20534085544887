"""Messages: the nearest real names, and the packages that an extra needs."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path
from typing import Any

import pytest

from equiscope import EquiscopeError
from equiscope.foundations.errors import packages_of, unknown_name

EXTRAS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]


@pytest.mark.parametrize("extra", ["timm", "torchvision", "onnx", "figures"])
def test_packages_of_an_extra_are_those_of_the_project(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f'{line}; extra == "{name}"' for name, own in EXTRAS.items() for line in own]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _name: ["numpy>=1.26", *lines])
    names = packages_of(extra).split()
    assert names
    assert "torch" not in names
    assert all(any(line.startswith(f"{name}>=") for line in EXTRAS[extra]) for name in names)
    assert len(names) == len([line for line in EXTRAS[extra] if not line.startswith("torch>=")])


def test_an_extra_of_what_is_not_installed_has_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert packages_of("timm") == "timm"


@pytest.mark.parametrize("quote", ["'", '"'])
def test_either_quote_marks_an_extra(quote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"onnx2torch (>=1.5) ; (python_version > '3') and extra == {quote}onnx{quote}"
    monkeypatch.setattr(importlib.metadata, "requires", lambda _name: [line, "b; extra == 'onnxruntime'"])
    assert packages_of("onnx") == "onnx2torch"


@pytest.mark.parametrize("name", [None, 3, ["rotation"], object])
def test_what_is_no_name_is_unknown_too(name: Any) -> None:
    error = unknown_name("transformation", name, ["rotation", "hue"])
    assert isinstance(error, EquiscopeError)
    assert str(error).startswith("unknown transformation ")


def test_no_message_names_an_extra_that_pip_does_not_know() -> None:
    source = Path(__file__).parents[1] / "src"
    assert [path for path in source.rglob("*.py") if "equiscope[" in path.read_text(encoding="utf-8")] == []
