"""Chromium for tests of the site: pages that note every request that leaves, every error and every dialog."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = shutil.which("chromium")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def watched_page(browser: Any, address: str, **options: Any) -> Iterator[tuple[Any, list[str]]]:
    """Open a context with one page; what it should not do is collected. ``address``: of its ``index.html``."""
    context = browser.new_context(**options)
    page = context.new_page()
    troubles: list[str] = []
    home = address.removesuffix("index.html")

    def note_request(request: Any) -> None:
        if not request.url.startswith((home, "data:")):
            troubles.append(f"request: {request.url}")

    def refuse_dialog(dialog: Any) -> None:
        troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
    page.on("request", note_request)
    page.on("dialog", refuse_dialog)
    yield page, troubles
    context.close()


def go_to(page: Any, address: str, view: str = "") -> None:
    """Show a view and wait for it."""
    page.goto(f"{address}#/{view}")
    wait_for_view(page)


def wait_until(page: Any, expression: str, seconds: float = 10.0) -> None:
    """Wait until an expression holds; Playwright's own waiting compiles text in the page, which its policy forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"{expression} did not come true within {seconds} s"
        page.wait_for_timeout(10)


def wait_for_view(page: Any) -> None:
    main = "document.querySelector('main')"
    wait_until(page, f"!{main}.hasAttribute('aria-busy') && {main}.querySelector('h1') !== null")


def follow(page: Any, click: Callable[[], object]) -> None:
    """Do what leads to another view, and wait for that."""
    before = page.evaluate("equiscope.nShown")
    click()
    wait_until(page, f"equiscope.nShown > {before}")
