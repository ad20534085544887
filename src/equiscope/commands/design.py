"""`equiscope.design`: propose a network with the shares of units that a survey found."""

from __future__ import annotations

from pathlib import Path

from equiscope.construction.design import Design, design_network
from equiscope.construction.training import Description
from equiscope.families.verdict import COPIES
from equiscope.runs.asked import ask_run
from equiscope.runs.run import Run, as_run

__all__ = ["design"]


def design(
    run: Run | str | Path,
    *,
    like: str | Path | Description | None = None,
    transformation: str | None = None,
    plain_to: str = "plain",
    out: str | Path | None = None,
    verdict: str = COPIES,
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
    verdict
        Whose members are equivariant: families that are ``copies`` by their weights, and cores of others; ``alike``:
        also those only alike in pose; ``any``: all, the untested too.

    Returns
    -------
    Design
        Its file is what `equiscope.train` takes.

    Raises
    ------
    EquiscopeError
        If the run has no families of the transformation, the network has no layers of the surveyed names, or there is
        no such verdict.

    Examples
    --------
    >>> import equiscope
    >>> found = equiscope.design("equiscope-runs/mini", transformation="rotation", verdict="any", out="design.json")
    >>> first = found.description.layers[0]
    >>> first.name, first.fields.group, first.fields.equivariant > 0
    ('conv2d0', 'C4', True)
    """
    target = None if out is None else Path(out)
    return design_network(
        ask_run(as_run(run), verdict), like=like, transformation=transformation, plain_to=plain_to, out=target
    )
