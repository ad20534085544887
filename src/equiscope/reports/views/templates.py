"""What all views share: addresses, and a template engine that escapes everything."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FunctionLoader, StrictUndefined

from equiscope.families.asked import ASKED_WORDS

__all__ = ["read_asset", "render_template", "view_address"]


def read_asset(module: str, name: str) -> str:
    """Read a file that lies beside a module.

    Parameters
    ----------
    module
        The ``__name__`` of the module.
    name
        Of the file: a template, a script, a style sheet.

    Examples
    --------
    >>> read_asset("equiscope.reports.views.budget.view", "budget.html.jinja").splitlines()[0]
    '<article class="budget">'
    """
    return (files(module.rpartition(".")[0]) / name).read_text(encoding="utf-8")


def _load(address: str) -> str:
    """Read a template by ``MODULE/NAME``; a name alone is that of a template beside this module, for all views."""
    module, _, name = address.rpartition("/")
    return read_asset(module or __name__, name)


@cache
def _environment() -> Environment:
    """Make the engine once: a site has thousands of fragments, and templates are compiled on first use."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_load),
    )
    environment.globals["address"] = view_address
    environment.globals["asked_words"] = ASKED_WORDS
    return environment


def view_address(kind: str, name: str = "") -> str:
    """Address of a view within the site, such as ``#/family/mixed3a-rotation-2``; its name is percent-encoded.

    Examples
    --------
    >>> view_address("family", "mixed3a-rotation-2"), view_address("circuit", "conv1:0>conv2:7"), view_address("budget")
    ('#/family/mixed3a-rotation-2', '#/circuit/conv1%3A0%3Econv2%3A7', '#/budget')
    """
    return f"#/{kind}/{quote(name.encode('utf-8', 'replace'), safe='')}" if name else f"#/{kind}"


def render_template(module: str, name: str, /, **values: Any) -> str:
    """Render a template; everything is escaped, and a value that is not given is an error.

    Parameters
    ----------
    module
        The ``__name__`` of the module that the template lies beside: the caller's own.
    name
        Of the template's file.
    **values
        What it is filled with.

    Notes
    -----
    Templates may call ``address(kind, name)`` for the address of a view, look up in ``asked_words`` what families of a
    verdict are, and import ``picture.html.jinja``.

    Examples
    --------
    >>> names = {"title": "<conv1> → conv2", "n": "3 circuits"}
    >>> html = render_template("equiscope.reports.views.circuits.view", "list.html.jinja", **names)
    >>> [line.strip() for line in html.splitlines() if "<h1>" in line]
    ['<h1>&lt;conv1&gt; → conv2</h1>']
    """
    page = _environment().get_template(f"{module}/{name}").render(**values)
    # A file name that is not valid UTF-8 reaches Python as lone surrogates, which UTF-8 cannot hold.
    return page.encode("utf-8", "replace").decode("utf-8")
