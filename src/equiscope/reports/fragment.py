"""What a view of the site is made of: a piece of HTML, and what its behaviour needs to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Fragment"]


@dataclass(frozen=True)
class Fragment:
    """One view.

    Attributes
    ----------
    html
        Goes into the page's ``<main>`` as it is: everything in it was escaped.
    data
        JSON types, for the view's script.
    """

    html: str
    data: dict[str, Any] = field(default_factory=dict)
