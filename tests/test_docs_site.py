"""The site of guides and reference builds without a warning, fetches nothing, and has every public name."""

from __future__ import annotations

import doctest
import functools
import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import equiscope
from site_browser import CHROMIUM, OPTIONS, watched_page
from test_layering import ORDER

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="needs the extra docs: pip install '.[docs]'"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


# --- nothing is fetched ------------------------------------------------------------------------------------


class Fetched(HTMLParser):
    """Addresses that a browser fetches by itself when it shows a page; links that a reader follows are none."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (
                name in ("src", "srcset", "poster", "data") or (name == "href" and tag in ("link", "use"))
            ):
                self.addresses.append(value)
            if value and name == "style":
                self.addresses += fetched_by_style(value)


def fetched_by_style(text: str) -> list[str]:
    return re.findall(r"(?:url\(|@import\s+)[\"']?([^\"')\s]+)", text)


def from_elsewhere(text: str, *, is_style: bool) -> list[str]:
    """Addresses of other machines among what a page or a style sheet fetches."""
    if is_style:
        addresses = fetched_by_style(text)
    else:
        page = Fetched()
        page.feed(text)
        addresses = page.addresses
    return [address for address in addresses if re.match(r"(?:https?:)?//", address)]


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    found = {
        path.name: addresses
        for path in files
        if (addresses := from_elsewhere(path.read_text(encoding="utf-8"), is_style=path.suffix == ".css"))
    }
    assert len(files) > len(ORDER)
    assert found == {}


@pytest.mark.parametrize(
    ("text", "is_style"),
    [
        ('<script src="https://a.b/c.js"></script>', False),
        ('<link rel="stylesheet" href="//fonts.a.b/css">', False),
        ('<p style="background:url(http://a.b/c.png)">', False),
        ('@import "https://a.b/c.css";', True),
    ],
)
def test_what_would_be_fetched_is_seen(text: str, is_style: bool) -> None:
    assert from_elsewhere(text, is_style=is_style)
    assert from_elsewhere('<a href="https://a.b">read</a> <img src="c.png">', is_style=False) == []


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    """Address of the site on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium, which `make chromium` installs as root on Debian")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield chromium
        chromium.close()


def test_pages_and_search_stay_on_this_machine(served: str, browser: Any) -> None:
    """Also what scripts fetch, which reading the pages cannot tell."""
    with watched_page(browser, served) as (page, troubles):
        for name in ("index", "run", "reference/foundations"):
            page.goto(f"{served}{name}.html", wait_until="networkidle")
        page.goto(f"{served}index.html", wait_until="networkidle")
        page.keyboard.press("/")
        page.keyboard.type("bootstrap")
        page.wait_for_selector(".md-search-result__item")
        assert troubles == []


# --- what is on it -----------------------------------------------------------------------------------------


def test_every_room_has_a_page_with_its_public_names(site: Path) -> None:
    pages = {room: (site / "reference" / f"{room}.html").read_text(encoding="utf-8") for room in ORDER}
    shown = {name for page in pages.values() for name in re.findall(r'id="(equiscope\.[\w.]+)"', page)}
    homes = {getattr(equiscope, name) for name in equiscope.__all__ if name != "__version__"}
    assert {f"{thing.__module__}.{thing.__qualname__}" for thing in homes} - shown == set()
    assert [name for name in shown if re.search(r"\._[a-z]", name)] == []


def test_links_between_guides_and_files_beside_them_hold(site: Path) -> None:
    """`--strict` sees to links inside docs/; these lead out of it, or into it, in the repository."""
    assert 'href="LOG.html"' in (site / "results.html").read_text(encoding="utf-8")
    assert 'href="reliability.html"' in (site / "CHANGELOG.html").read_text(encoding="utf-8")
    assert 'blob/main/LICENSE"' in (site / "CONTRIBUTING.html").read_text(encoding="utf-8")


def test_tables_of_docstrings_are_tables(site: Path) -> None:
    spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs" / "docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert doctest.testmod(module) == (0, 1)
    page = (site / "reference" / "stimuli.html").read_text(encoding="utf-8")
    assert re.search(r"<td><code>copies</code></td>\s*<td>which images are copies", page)
    assert not any("====" in page.read_text(encoding="utf-8") for page in site.glob("reference/*.html"))
