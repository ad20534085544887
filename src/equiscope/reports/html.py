"""What all pages share: assets, anchors, checked addresses, and a template engine that escapes everything."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FunctionLoader, StrictUndefined

from equiscope.foundations.errors import EquiscopeError
from equiscope.reports.schema import PictureEntry

__all__ = ["anchors_of", "asset", "checked_address", "render_template", "script_hash", "view_address"]


def asset(name: str) -> str:
    """Read a file of ``assets/``."""
    return (files("equiscope.reports") / "assets" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    """Make the engine once: a site has thousands of fragments, and templates are compiled on first use."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(asset),
    )
    environment.globals["address"] = view_address
    return environment


def view_address(kind: str, name: str = "") -> str:
    """Address of a view within the site, such as ``#/family/mixed3a-rotation-2``; its name is percent-encoded."""
    return f"#/{kind}/{quote(name.encode('utf-8', 'replace'), safe='')}" if name else f"#/{kind}"


def render_template(name: str, /, **values: Any) -> str:
    """Render a template of ``assets/``; everything is escaped, and a value that is not given is an error.

    Templates may call ``address(kind, name)`` for the address of a view.
    """
    page = _environment().get_template(name).render(**values)
    # A file name that is not valid UTF-8 reaches Python as lone surrogates, which UTF-8 cannot hold.
    return page.encode("utf-8", "replace").decode("utf-8")


def script_hash(script: str) -> str:
    """Give the checksum by which a content security policy allows a script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def anchors_of(prefix: str, names: Iterable[str]) -> dict[str, str]:
    """One anchor a name, safe in an id and in an address, and unique even where two names clean to one."""
    anchors: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        stem = f"{prefix}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"
        anchor, n_same = stem, 1
        while anchor in used:
            n_same += 1
            anchor = f"{stem}--{n_same}"
        used.add(anchor)
        anchors[name] = anchor
    return anchors


def checked_address(picture: PictureEntry) -> str:
    """Give the address of a picture.

    Raises
    ------
    EquiscopeError
        If it is not a base64 ``data:image/`` address and nothing else: the page may not fetch anything, and the address
        stands in a style sheet.
    """
    address = picture["stimuli"]
    if not re.fullmatch(r"data:image/(jpeg|png|webp);base64,[A-Za-z0-9+/=]+", address):
        raise EquiscopeError(
            f"the stimuli of {picture['layer']}:{picture['channel']} are {address[:60]!r}; expected a "
            f"base64 data:image/jpeg, png or webp address, because the page may not fetch anything"
        )
    return address
