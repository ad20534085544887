"""`equiscope.design`: propose a network with the shares of units that a survey found."""

from __future__ import annotations

from pathlib import Path

from equiscope.construction.design import Design, design_network
from equiscope.construction.training import Description
from equiscope.runs.run import Run, as_run

__all__ = ["design"]


def design(
    run: Run | str | Path,
    *,
    like: str | Path | Description | None = None,
    transformation: str | None = None,
    plain_to: str = "plain",
    out: str | Path | None = None,
) -> Design:
    """Propose a network whose layers have the shares of equivariant, invariant and plain units that a survey found.

    Parameters
    ----------
    run
        A finished run, or its folder.
    like
        Network whose layers and widths are taken, named as for `equiscope.train`; by default that which was surveyed.
    transformation
        ``rotation``, ``dihedral`` or ``hue``; by default the one that leaves fewest parameters free.
    plain_to
        What plain units feed: ``plain``, which keeps the others' promise, or ``all``.
    out
        File to write; by default ``design.json`` in the run.

    Returns
    -------
    Design
        Its file is what `equiscope.train` takes.

    Raises
    ------
    EquiscopeError
        If the run has no families of the transformation, or the network has no layers of the surveyed names.

    Examples
    --------
    >>> import equiscope
    >>> found = equiscope.design("equiscope-runs/mini", transformation="rotation", out="design.json")
    >>> first = found.description.layers[0]
    >>> first.name, first.fields.group, first.fields.equivariant > 0
    ('conv2d0', 'C4', True)
    """
    target = None if out is None else Path(out)
    return design_network(
        as_run(run), like=like, transformation=transformation, plain_to=plain_to, out=target
    )
