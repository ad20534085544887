"""What a run leaves on disk: a versioned folder that survives interruption at any moment.

Runs are opened to read their families and units, where no network takes part: this module does not wait for torch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equiscope.families.family import Family, Symmetry, Unit
from equiscope.foundations.documents import to_json
from equiscope.foundations.errors import DamagedFileError, EquiscopeError, unknown_name
from equiscope.foundations.files import file_name, write_atomically, write_new
from equiscope.foundations.received import inside, refuse_links, shown_command, within_limits
from equiscope.foundations.records import leave_out_damaged, read_record, reading, remedy, run_folder
from equiscope.models.receptive_fields import LayerGeometry
from equiscope.runs.earlier import families_of_2, manifest_of_2
from equiscope.runs.manifest import Begun, Finished
from equiscope.transformations import ALL
from equiscope.transformations.rotation import Rotation

if TYPE_CHECKING:
    from equiscope.models import Model

try:
    import fcntl
except ImportError:  # Windows has no such locks; what they keep apart hardly ever meets.
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "SCHEMA_VERSION",
    "FamiliesFile",
    "Run",
    "as_run",
    "check_network",
    "create_json",
    "families_document",
    "folder_of",
    "is_as_written",
    "layer_path",
    "load_families",
    "load_record",
    "load_run",
    "load_units",
    "read_families",
    "read_geometries",
    "read_json",
    "read_manifest",
    "read_units",
    "say_changes",
    "units_document",
    "write_archive",
    "write_json",
]

SCHEMA_VERSION = 3
_DIGESTS = "digests.json"
_LOG = logging.getLogger(__name__)


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
    """

    folder: Path
    manifest: dict[str, Any]
    units: tuple[Unit, ...] = ()
    families: tuple[Family, ...] = field(default_factory=tuple)

    @property
    def report(self) -> Path:
        """The page to open."""
        return self.folder / "index.html"


def as_run(run: Run | str | Path) -> Run:
    """Give an open run: the argument itself if it is one, otherwise its folder opened by `load_run`."""
    return run if isinstance(run, Run) else load_run(run)


def folder_of(run: Run | str | Path) -> Path:
    """Give the folder of a run, which is given open or by that folder, finished or not."""
    return run.folder if isinstance(run, Run) else Path(run)


def check_network(run: Run, model: Model) -> None:
    """Check that a network is the one that a run surveyed.

    Raises
    ------
    EquiscopeError
        If its weights are others.
    """
    if model.weights_sha256() != run.manifest["model"]["weights_sha256"]:
        raise EquiscopeError(
            f"{model.name} has other weights than the network of {run.folder} "
            f"({run.manifest['model']['name']}): give the network and the weights that were surveyed"
        )


def write_json(path: Path, document: dict[str, Any], *, is_compact: bool = False) -> None:
    """Write a document as JSON, atomically; inside a run's folder its SHA-256 digest goes into ``digests.json``."""
    content = to_json(document, is_compact=is_compact).encode()
    with _keeping_digest(path, content):
        write_atomically(path, lambda stream: stream.write(content))


def write_archive(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as a compressed ``.npz``, atomically; inside a run's folder ``digests.json`` lists its name."""
    with _keeping_digest(path, None):
        write_atomically(path, lambda stream: np.savez_compressed(stream, **arrays))


def create_json(path: Path, document: dict[str, Any]) -> bool:
    """Write a document as JSON unless a file of that name exists: of several processes exactly one succeeds.

    Returns
    -------
    bool
        False where another was there already, which stays as it is.

    Examples
    --------
    >>> create_json(Path("first.json"), {"from": "one"}), create_json(Path("first.json"), {"from": "another"})
    (True, False)
    """
    content = to_json(document).encode()
    return write_new(path, lambda stream: stream.write(content))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON document of a run.

    Raises
    ------
    EquiscopeError
        If it is not there, is not JSON, is no document of a run, or is of a newer schema than this version knows.
    """
    if path.name == "run.json" and not path.exists():
        raise EquiscopeError(
            f"{path.parent} holds no {path.name}: expected the folder of a finished run, as `equiscope survey --out` "
            "makes it (an interrupted one goes on when the same command is given again)"
        )
    with reading(path, "cannot be read as JSON"):
        text = path.read_text(encoding="utf-8")
        document = json.loads(text, parse_constant=_refuse_constant, object_hook=within_limits)
    version = document.get("schema_version") if isinstance(document, dict) else None
    with reading(path):
        if type(version) is not int or version < 1:
            raise ValueError(
                f"schema version {version!r}, expected 1 to {SCHEMA_VERSION}: it is no file of a run"
            )
    if version > SCHEMA_VERSION:
        raise DamagedFileError(
            f"{path} has schema version {version}, this equiscope reads 1 to {SCHEMA_VERSION}: update equiscope"
        )
    return dict(document)


def load_record(path: Path, kind: Any) -> Any:
    """Read a JSON document of a run into the dataclass ``kind`` that it was written from, by `read_record`.

    A kind whose ``from_earlier`` says documents of earlier versions as this version does is read through that.

    Raises
    ------
    EquiscopeError
        As for `read_json`, or if something in it is missing or of another type.
    """
    document = read_json(path)
    with reading(path):
        if document["schema_version"] < SCHEMA_VERSION and hasattr(kind, "from_earlier"):
            document = kind.from_earlier(document)
        return read_record(kind, document)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class _DigestsFile:
    """Contents of ``digests.json``: of each JSON file of the run what was written to it last, and before that.

    Archives have checksums of their own, so that of them only the names stand here, without a digest.
    """

    files: dict[str, list[str]]


@contextmanager
def _keeping_digest(path: Path, content: bytes | None) -> Iterator[None]:
    """Keep the digest of a file of a run that the block writes; of one without content that it was written.

    The digest is added before the file takes its name, and that of the file before it stays beside it: a process that
    is killed between the two leaves a file that has one of both. Other processes wait meanwhile.
    """
    folder = run_folder(path)
    if not (folder / "run.json").exists() or (folder / _DIGESTS).is_dir():
        yield
        return
    with _locked(folder):
        files = _known_digests(folder)
        name = path.relative_to(folder).as_posix()
        own = files.get(name, [])[-1:]
        kept = own if content is None or own == [_digest(content)] else [*own, _digest(content)]
        if files.get(name) is None or kept != own:
            document = {"schema_version": SCHEMA_VERSION, "files": files | {name: kept}}
            text = to_json(document).encode()
            write_atomically(folder / _DIGESTS, lambda stream: stream.write(text))
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a block that reads digests and writes them."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network drives have no locks.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _known_digests(folder: Path) -> dict[str, list[str]]:
    """Digests of a run's files; none where there are none, as in runs of earlier versions."""
    path = folder / _DIGESTS
    found = leave_out_damaged(partial(load_record, path, _DigestsFile)) if path.exists() else None
    return found.files if found is not None else {}


def is_as_written(path: Path) -> bool:
    """Whether a JSON file of a run has the digest listed in ``digests.json``; True where none is listed."""
    folder = run_folder(path)
    known = _known_digests(folder).get(path.relative_to(folder).as_posix())
    return not known or _digest(path.read_bytes()) in known


def say_changes(folder: Path) -> None:
    """Log a warning for every file of a run that is missing, or is a JSON file and differs from what was written.

    Notes
    -----
    Cost: every such file is read once, 0.1 s for a hundred megabytes.
    """
    for name, known in _known_digests(folder).items():
        try:
            # A run that comes from somebody else names no file outside it.
            path = inside(folder, name)
            is_there = path.exists()
        except (EquiscopeError, OSError):
            continue  # no file of a run is called so
        if not is_there:
            _LOG.warning("%s was lost, or never finished, and is left out here: %s", path, remedy(path))
        elif known and path.is_file() and (found := _digest(path.read_bytes())) not in known:
            _LOG.warning(
                "%s was changed since it was written (sha256 %s…, was %s…): what is said here is what it says now",
                path, found[:12], known[-1][:12],
            )  # fmt: skip


def layer_path(folder: Path, stage: str, layer: str, ending: str) -> Path:
    """File of one layer in a stage's folder; any layer name makes a safe file name.

    Examples
    --------
    >>> layer_path(Path("my-run"), "results/rotation", "block/1", ".json").as_posix()
    'my-run/results/rotation/block%2F1.json'
    """
    return folder / stage / file_name(layer, ending=ending)


def read_geometries(manifest: dict[str, Any]) -> dict[str, LayerGeometry]:
    """Turn the ``geometry`` of a run's manifest back into geometries, in the order of the survey."""
    found = read_record(list[LayerGeometry], manifest["geometry"])
    return {geometry.layer: geometry for geometry in found}


def families_document(families: Iterable[Family]) -> dict[str, Any]:
    """Turn families into the contents of ``families.json``."""
    first = ("id", "layers", "transformation")
    documents = []
    for family in families:
        entry = asdict(family)
        members = entry.pop("members")
        head = {key: entry.pop(key) for key in first}
        documents.append(head | {"size": family.size} | entry | {"members": members})
    return {"schema_version": SCHEMA_VERSION, "families": documents}


def read_families(document: dict[str, Any]) -> tuple[Family, ...]:
    """Turn a ``families.json`` document back into families.

    Raises
    ------
    ValueError
        If an entry is not what `read_record` can read.
    """
    is_earlier = document["schema_version"] < SCHEMA_VERSION
    found: tuple[Family, ...] = read_record(
        FamiliesFile, families_of_2(document) if is_earlier else document
    ).families
    return found


@dataclass(frozen=True)
class FamiliesFile:
    """Contents of ``families.json``, and of ``results/explained``."""

    families: tuple[Family, ...]

    @staticmethod
    def from_earlier(document: dict[str, Any]) -> dict[str, Any]:
        """Say one of an earlier version as this version does."""
        return families_of_2(document)


def units_document(units: Iterable[Unit]) -> dict[str, Any]:
    """Turn units into the contents of ``units.json``."""
    return {"schema_version": SCHEMA_VERSION, "units": [asdict(unit) for unit in units]}


def read_units(document: dict[str, Any]) -> tuple[Unit, ...]:
    """Turn a ``units.json`` document back into units, also one of schema version 1, which knew rotation only.

    Raises
    ------
    ValueError
        As `read_families` does.
    """
    if document["schema_version"] == 1:
        old: _UnitsFile1 = read_record(_UnitsFile1, document)
        return tuple(unit.later() for unit in old.units)
    found: tuple[Unit, ...] = read_record(_UnitsFile, document).units
    return found


@dataclass(frozen=True)
class _UnitsFile:
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class _Unit1:
    """A unit as schema version 1 had it; some files of that version have units of the later kind."""

    layer: str
    channel: int
    mean: float
    sd: float
    symmetries: tuple[Symmetry, ...] = ()
    rotation: str = ""
    stabiliser_order: int = 0
    family: str | None = None

    def later(self) -> Unit:
        line = Symmetry(Rotation.name, self.rotation, self.family, stabiliser_order=self.stabiliser_order)
        lines = (line,) if self.rotation else self.symmetries
        return Unit(self.layer, self.channel, self.mean, self.sd, lines)


@dataclass(frozen=True)
class _UnitsFile1:
    units: tuple[_Unit1, ...]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the ``run.json`` of a run, finished or not, and refuse a folder that holds links.

    Raises
    ------
    EquiscopeError
        If it is not there, is damaged, or is of a newer schema, or if the folder holds links (`refuse_links`).
    """
    path = folder / "run.json"
    # A folder that is none of a run may be a whole disk.
    if path.exists():
        refuse_links(folder)
    manifest = read_json(path)
    with reading(path):
        if manifest["schema_version"] < SCHEMA_VERSION:
            manifest = manifest_of_2(manifest)
        # What the first version wrote, and what other programs made, is taken as it is.
        if manifest["schema_version"] > 1 and "equiscope_version" in manifest:
            read_record(Finished if manifest.get("is_complete") else Begun, manifest)
            read_geometries({"geometry": manifest.get("geometry", [])})
    return manifest


def load_run(folder: str | Path) -> Run:
    """Open the folder of a finished run.

    Raises
    ------
    EquiscopeError
        If the folder is not that of a finished run, is of a newer schema, or holds links (`refuse_links`).

    Examples
    --------
    >>> folder = Path("finished-run")
    >>> write_json(folder / "run.json", {"schema_version": SCHEMA_VERSION, "is_complete": True})
    >>> write_json(folder / "units.json", units_document([Unit("conv1", 4, mean=0.5, sd=1.0)]))
    >>> write_json(folder / "families.json", families_document([]))
    >>> [(unit.layer, unit.channel) for unit in load_run(folder).units]
    [('conv1', 4)]
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
        n_channels = {entry["layer"]: entry["n_channels"] for entry in run.manifest.get("geometry", [])}
        for member in (member for family in run.families for member in family.members):
            if n_channels and not 0 <= member.channel < n_channels.get(member.layer, 0):
                raise ValueError(f"the run has no unit {member.layer!r}:{member.channel}")


def load_units(folder: Path) -> tuple[Unit, ...]:
    """Read the ``units.json`` of a run.

    Raises
    ------
    EquiscopeError
        If it is not there, is damaged, or is of a newer schema.
    """
    path = folder / "units.json"
    document = read_json(path)
    with reading(path):
        return read_units(document)


def load_families(folder: Path) -> tuple[Family, ...]:
    """Read the ``families.json`` of a run.

    Raises
    ------
    EquiscopeError
        As for `load_units`.
    """
    found: tuple[Family, ...] = load_record(folder / "families.json", FamiliesFile).families
    return found
