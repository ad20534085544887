"""Pages of the site that are not files of docs/: the reference, a page a room, and what stands beside the README.

mkdocs calls the three functions without underscores while it builds (``mkdocs.yml`` names this file).
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "equiscope"
REPOSITORY = "https://github.com/equiscope/equiscope/blob/main/"
# Pages beside the README, under "Project"; links to them are written as links to files, so that they hold there too.
PROJECT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "VISION.md", "LOG.md")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the generated pages to the navigation."""
    reference = ["reference/index.md", *(f"reference/{room}.md" for room in _rooms())]
    config.nav += [{"Reference": reference}, {"Project": list(PROJECT_PAGES)}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages themselves."""
    files.append(File.generated(config, "reference/index.md", content=_reference_index()))
    for room in _rooms():
        content = f"# {room}\n\n::: equiscope.{room}\n"
        files.append(File.generated(config, f"reference/{room}.md", content=content))
    for name in PROJECT_PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links between the repository's files into links between the site's pages."""
    place = "" if page.file.src_uri in PROJECT_PAGES else "docs"

    def moved(link: re.Match[str]) -> str:
        return f"]({_site_target(link[1], place)})"

    return re.sub(r"\]\(((?![a-z]+:|#)[^)\s]+)\)", moved, markdown)


def _site_target(target: str, place: str) -> str:
    """Give the address in the site of a link that stands in a file of the folder ``place`` of the repository."""
    path = posixpath.normpath(posixpath.join(place, target))
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return path if path.partition("#")[0] in PROJECT_PAGES else REPOSITORY + path


def _rooms() -> list[str]:
    """List the rooms of the package in the order in which they import each other, as tests/test_layering.py has it."""
    tree = ast.parse((ROOT / "tests" / "test_layering.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ORDER":
            return list(ast.literal_eval(node.value))
    raise ValueError("tests/test_layering.py has no ORDER")


def _reference_index() -> str:
    """Write the page that lists the rooms, each with the first line of its docstring."""
    lines = [
        "# Reference\n",
        "Every public class and function, by the room of the package that it is in. A room uses only those above it.\n",
        "| room | what is in it |\n|---|---|",
    ]
    for room in _rooms():
        tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
        summary = (ast.get_docstring(tree) or "").partition("\n")[0]
        lines.append(f"| [{room}]({room}.md) | {summary} |")
    return "\n".join(lines) + "\n"
