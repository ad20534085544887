"""Docstrings in the reference: the simple tables and the roles of reStructuredText become Markdown.

mkdocstrings reads docstrings as Markdown; in the source a table without bars is easier to read.
"""

from __future__ import annotations

import re
from itertools import pairwise

import griffe

RULER = re.compile(r"=+(?: +=+)+")
ROLE = re.compile(r":(?:class|func|meth|mod):(?=`)")


class MarkdownDocstrings(griffe.Extension):
    """Rewrite every docstring while the package is read."""

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite the docstring of a module, a class, a function or an attribute."""
        if obj.docstring:
            obj.docstring.value = rewrite_tables(ROLE.sub("", obj.docstring.value))


def rewrite_tables(text: str) -> str:
    r"""Give the text with bars around the cells of its tables.

    Examples
    --------
    >>> print(rewrite_tables("===  ====\none  two\n     more\n===  ===="))
    |  |  |
    |---|---|
    | one | two more |
    """
    lines, out = text.split("\n"), []
    while lines:
        line = lines.pop(0)
        if not RULER.fullmatch(line):
            out.append(line)
            continue
        starts = [match.start() for match in re.finditer("=+", line)]
        parts = [[]]
        while lines and (line := lines.pop(0)).strip():
            if RULER.fullmatch(line):
                parts.append([])
                continue
            cells = [line[start:end].strip() for start, end in pairwise([*starts, None])]
            if cells[0]:
                parts[-1].append(cells)
            else:
                parts[-1][-1] = [
                    f"{above} {cell}".strip() for above, cell in zip(parts[-1][-1], cells, strict=True)
                ]
        head = parts[0][0] if len(parts) == 3 else [""] * len(starts)
        body = parts[1] if len(parts) == 3 else parts[0]
        out += [f"| {' | '.join(row)} |" for row in (head, *body)]
        out.insert(-len(body), "|" + "---|" * len(starts))
        out.append("")
    return "\n".join(out).removesuffix("\n")
