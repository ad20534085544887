"""A finished run, opened: its manifest, its units and its families.

Runs are opened to read their families and units, where no network takes part: this module does not wait for torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiscope.families.asked import ANY
from equiscope.families.family import Family, Unit
from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.foundations.received import shown_command
from equiscope.foundations.records import reading
from equiscope.runs.digests import say_changes
from equiscope.runs.findings import load_families, load_units
from equiscope.runs.manifest import read_manifest
from equiscope.transformations import ALL

if TYPE_CHECKING:
    from equiscope.models import Model

__all__ = ["Run", "as_run", "check_network", "folder_of", "load_run"]


@dataclass(frozen=True)
class Run:
    """A finished survey, as its folder holds it.

    Attributes
    ----------
    folder
        Where it lies.
    manifest
        Contents of ``run.json``.
    units
        One line a unit.
    families
        The accepted families.
    verdict
        Which of them these are: ``any`` is all, others are those that were asked for (`equiscope.runs.asked`).
    """

    folder: Path
    manifest: dict[str, Any]
    units: tuple[Unit, ...] = ()
    families: tuple[Family, ...] = field(default_factory=tuple)
    verdict: str = ANY

    @property
    def report(self) -> Path:
        """The page to open."""
        return self.folder / "index.html"


def as_run(run: Run | str | Path) -> Run:
    """Give an open run: the argument itself if it is one, otherwise its folder opened by `load_run`.

    Examples
    --------
    >>> run = as_run("equiscope-runs/mini")
    >>> as_run(run) is run, run.manifest["model"]["name"]
    (True, 'mini')
    """
    return run if isinstance(run, Run) else load_run(run)


def folder_of(run: Run | str | Path) -> Path:
    """Give the folder of a run, which is given open or by that folder, finished or not.

    Examples
    --------
    >>> folder_of("equiscope-runs/mini") == folder_of(load_run("equiscope-runs/mini")) == Path("equiscope-runs/mini")
    True
    """
    return run.folder if isinstance(run, Run) else Path(run)


def check_network(run: Run, model: Model) -> None:
    """Check that a network is the one that a run surveyed.

    Raises
    ------
    EquiscopeError
        If its weights are others.

    Examples
    --------
    >>> from equiscope.models import load_model
    >>> run = load_run("equiscope-runs/mini")
    >>> check_network(run, load_model("mini"))  # the same: nothing is said
    >>> try:
    ...     check_network(run, load_model("mini-shuffled"))
    ... except EquiscopeError as error:
    ...     str(error).partition(":")[0]
    'mini-shuffled has other weights than the network of equiscope-runs/mini (mini)'
    """
    if model.weights_sha256() != run.manifest["model"]["weights_sha256"]:
        raise EquiscopeError(
            f"{model.name} has other weights than the network of {run.folder} "
            f"({run.manifest['model']['name']}): give the network and the weights that were surveyed"
        )


def load_run(folder: str | Path) -> Run:
    """Open the folder of a finished run.

    Raises
    ------
    EquiscopeError
        If the folder is not that of a finished run, is of a newer schema, or holds links (`refuse_links`).

    Examples
    --------
    >>> run = load_run("equiscope-runs/mini")
    >>> run.families[0].id, run.families[0].layer, run.families[0].transformation
    ('conv2d0-rotation-1', 'conv2d0', 'rotation')
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EquiscopeError(
            f"{folder} is no folder: expected the folder of a run, as `equiscope survey --out` makes it"
        )
    manifest = read_manifest(folder)
    if not manifest.get("is_complete"):
        raise EquiscopeError(
            f"the run in {folder} is not finished: give the same command again and it goes on "
            f"({shown_command(manifest.get('command'))})"
        )
    say_changes(folder)
    run = Run(folder, manifest, load_units(folder), load_families(folder))
    _check_families(run)
    return run


def _check_families(run: Run) -> None:
    """Check that families are under transformations that are known, and of channels of the run's layers."""
    with reading(run.folder / "families.json"):
        known = [transformation.name for transformation in ALL]
        for family in run.families:
            if family.transformation not in known:
                raise ValueError(str(unknown_name("transformation", family.transformation, known)))
            _check_tree(family)
        n_channels = {entry["layer"]: entry["n_channels"] for entry in run.manifest.get("geometry", [])}
        for member in (member for family in run.families for member in family.members):
            if n_channels and not 0 <= member.channel < n_channels.get(member.layer, 0):
                raise ValueError(f"the run has no unit {member.layer!r}:{member.channel}")


def _check_tree(family: Family) -> None:
    """Check that the merges of a family's tree are of its own members."""
    for step, (a, b, _) in enumerate(family.tree):
        if not (0 <= a < family.size + step and 0 <= b < family.size + step):
            raise ValueError(f"{family.id} has {family.size} members, and a tree that joins {a} and {b}")
