"""Hostile names through every page, table and message: in a network, and written into a run that was received.

A name is data. In a page it may be text, but no element, no attribute and no address that leaves the folder; on a
console it may not hold an escape sequence; in a table no cell may begin as a formula does.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from kills import Fault
from processes import Outcome, run_command
from scene import COMMANDS, make_scene

__all__ = ["HOSTILE", "hostile_names"]

# Closes attributes, elements and scripts; opens a window's title, an SVG, a formula; turns text round.
HOSTILE = (
    "=cmd|' /C calc'!A0",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "\"' onmouseover='alert(3)",
    "javascript:alert(4)",
    "\x1b]0;owned\x07\x1b[2J",
    "\u202egnp.exe",
    "../../../../etc/passwd",
    "[link=file:///etc/passwd]x[/link]",
    "]]><svg onload=alert(5)>",
)
_OWN_SCRIPT = re.compile(r"site/(app|data)/[\w./%-]+\.js(\?[\w=.-]*)?$")
_AWAY = re.compile(r"^\s*(javascript:|data:text|https?:|file:|//|/|[^#]*\.\.)", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class _Elements(HTMLParser):
    """What a page's elements do that a name must not make them do."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.n_elements = 0
        self.wrong: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.n_elements += 1
        for name, value in attrs:
            if name.startswith("on"):
                self.wrong.append(f"<{tag} {name}={value!r}>")
            if name in ("href", "src", "xlink:href", "action", "formaction") and self._leaves(
                tag, value or ""
            ):
                self.wrong.append(f"<{tag} {name}={value!r}>")
        # The browser does not run what is declared as data.
        is_data = dict(attrs).get("type") == "application/json"
        if tag == "script" and not is_data and not _OWN_SCRIPT.match(dict(attrs).get("src") or ""):
            self.wrong.append(f"<script {attrs}>")

    def _leaves(self, tag: str, value: str) -> bool:
        is_a_source = tag == "a" and value.startswith("https://")  # the article that a page cites
        return bool(_AWAY.match(value)) and not is_a_source


def hostile_names(main: Callable[[], None], folder: Path) -> Iterator[tuple[str, list[Fault]]]:
    """Survey a network and photographs with such names, then read a received run whose every text is one."""
    named = folder / "named"
    _name_scene(named)
    for command in _commands_on_named():
        outcome = run_command(main, command, named)
        yield from _judge(f"names, {command[0]}", outcome)
    for reader in (*_TABLES, *_figures(named / "run")):
        outcome = run_command(main, reader, named)
        yield from _judge(f"names, {' '.join(reader[:3])}", outcome)
    yield from _judge_pages("names", named / "run")
    for document in sorted(path.name for path in (named / "run").glob("*.json")):
        received = folder / "received"
        shutil.rmtree(received, ignore_errors=True)
        shutil.copytree(named, received)
        _poison(received / "run" / document)
        for reader in (("report", "run"), *_TABLES, ("verify", "run", "net.py:network")):
            outcome = run_command(main, reader, received)
            yield from _judge(f"{document} of names, {' '.join(reader[:3])}", outcome)
        yield from _judge_pages(f"{document} of names", received / "run")


_TABLES = tuple(("export", "run", part) for part in ("units", "families", "circuits"))


def _figures(run: Path) -> Iterator[tuple[str, ...]]:
    yield ("figure", "run", "overview", "--out", "overview.svg")
    for family in json.loads((run / "families.json").read_text())["families"][:1]:
        yield ("figure", "run", family["id"], "--out", "family.svg")


def _layers() -> tuple[str, str]:
    # Modules may be called anything without a dot.
    return tuple(name.replace(".", "·") for name in ("".join(HOSTILE[:5]), "".join(HOSTILE[5:])))  # type: ignore[return-value]


def _name_scene(folder: Path) -> None:
    """Make the scene with hostile names of layers, photographs and the network."""
    make_scene(folder)
    net = folder / "net.py"
    first, second = _layers()
    net.write_text(
        net.read_text().replace(
            "return nn.Sequential(first, nn.ReLU(), second)",
            f"from collections import OrderedDict\n    import equiscope\n"
            f"    parts = [({first!r}, first), ('relu', nn.ReLU()), ({second!r}, second)]\n"
            f"    module = nn.Sequential(OrderedDict(parts))\n"
            f"    return equiscope.Model(module, {HOSTILE[1] + HOSTILE[5]!r}, default_layers=({first!r}, {second!r}))",
        )
    )
    for index, photograph in enumerate(sorted((folder / "photos").iterdir())):
        name = HOSTILE[index % len(HOSTILE)].replace("/", "∕")
        photograph.rename(photograph.with_name(f"{name}{index:02d}.png"))


def _commands_on_named() -> Iterator[tuple[str, ...]]:
    for command in COMMANDS:
        if command.folder == "run":
            place = command.arguments.index("--layers") if "--layers" in command.arguments else None
            yield (
                command.arguments
                if place is None
                else (
                    *command.arguments[:place],
                    *command.arguments[place + 2 :],
                )
            )


def _poison(path: Path) -> None:
    """Put a hostile name before every text of a document."""
    count = [0]

    def poisoned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poisoned(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [poisoned(entry) for entry in value]
        if isinstance(value, str):
            count[0] += 1
            return HOSTILE[count[0] % len(HOSTILE)] + value
        return value

    path.write_text(json.dumps(poisoned(json.loads(path.read_text()))))


def _judge(trial: str, outcome: Outcome) -> Iterator[tuple[str, list[Fault]]]:
    """Ask for an ending without a fault, a console without control characters, tables without formulas."""
    faults = [Fault(trial, f"{outcome.fault}: {outcome.err.strip()[-300:]}")] if outcome.fault else []
    for stream, text in (("output", outcome.out), ("messages", outcome.err)):
        if found := _CONTROL.search(text):
            faults.append(
                Fault(trial, f"{stream} with {found.group()!r}: {text[max(0, found.start() - 40) :][:80]!r}")
            )
    if ", export" in trial and outcome.code == 0:
        for row in csv.reader(io.StringIO(outcome.out)):
            if wrong := [cell for cell in row if re.match(r"[=+@\t\r]|-(?![\d.])", cell)]:
                faults.append(Fault(trial, f"a cell that begins as a formula: {wrong[0]!r}"))
                break
    yield trial, faults


def _judge_pages(trial: str, run: Path) -> Iterator[tuple[str, list[Fault]]]:
    """Every page and every piece of a page of the site."""
    pieces = [("index.html", (run / "index.html").read_text(encoding="utf-8"))]
    for path in sorted((run / "site" / "data").rglob("*.js")):
        for line in path.read_text(encoding="utf-8").splitlines():
            found = re.fullmatch(r"equiscope\.receive\((.*)\);?", line)
            if found is None:
                yield (
                    f"{trial}, {path.name}",
                    [Fault(trial, f"{path.name} holds another script: {line[:80]}")],
                )
                continue
            value = json.loads(f"[{found.group(1)}]")[1]
            if isinstance(value, dict) and isinstance(value.get("html"), str):
                pieces.append((str(path.relative_to(run)), value["html"]))
    figures = sorted(run.parent.glob("*.svg"))
    pieces += [(path.name, path.read_text(encoding="utf-8")) for path in figures]
    for name, text in pieces:
        wrong = _Elements(text).wrong
        yield f"{trial}, {name}", [Fault(f"{trial}, {name}", wrong[0])] if wrong else []
