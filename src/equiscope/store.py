"""What a run leaves on disk: a versioned folder that survives interruption at any moment."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from equiscope.errors import EquiscopeError
from equiscope.examples import Examples
from equiscope.families import Family, Member, Symmetry, Unit
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.received import check_archive, refuse_links, shown_command, within_limits
from equiscope.stimuli import ImageFailure

__all__ = [
    "SCHEMA_VERSION",
    "Run",
    "check_network",
    "families_document",
    "layer_path",
    "load_examples",
    "load_run",
    "read_families",
    "read_geometries",
    "read_json",
    "read_manifest",
    "read_symmetries",
    "read_units",
    "save_examples",
    "to_json",
    "units_document",
    "write_atomically",
    "write_json",
]

SCHEMA_VERSION = 2


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


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is either there whole or not there at all.

    The bytes go to a temporary file in the same folder, to the disk, and only then to the name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    # What a killed process of this number left, or a link that somebody laid there to be written through.
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _plain(value: Any) -> Any:
    """Turn values into what JSON in UTF-8 can hold; NaN and infinity, which it cannot, into null."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    # A file name that is not valid UTF-8 reaches Python as lone surrogates, which UTF-8 cannot hold.
    return None if value is None else str(value).encode(errors="backslashreplace").decode()


def to_json(document: dict[str, Any], *, is_compact: bool = False) -> str:
    """Word a document as JSON, a value a line or all on one; NaN and infinity, which JSON cannot hold, become null."""
    layout: dict[str, Any] = {"separators": (",", ":")} if is_compact else {"indent": 1}
    return json.dumps(_plain(document), ensure_ascii=False, allow_nan=False, **layout) + "\n"


def write_json(path: Path, document: dict[str, Any], *, is_compact: bool = False) -> None:
    """Write a document as JSON, atomically."""
    text = to_json(document, is_compact=is_compact)
    write_atomically(path, lambda stream: stream.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON document of a run.

    Raises
    ------
    EquiscopeError
        If it is not there, is not JSON, is no document of a run, or is of a newer schema than this version knows.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"), object_hook=within_limits)
    except FileNotFoundError:
        raise EquiscopeError(
            f"{path.parent} holds no {path.name}: expected the folder of a finished run, as `equiscope survey --out` "
            "makes it (an interrupted one goes on when the same command is given again)"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise EquiscopeError(f"{path} cannot be read as JSON ({error}): run the survey again") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, int) or version < 1:
        raise EquiscopeError(
            f"{path} has schema version {version!r}, expected 1 to {SCHEMA_VERSION}: it is no file of a run"
        )
    if version > SCHEMA_VERSION:
        raise EquiscopeError(
            f"{path} has schema version {version}, this equiscope reads 1 to {SCHEMA_VERSION}: update equiscope"
        )
    return dict(document)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the ``run.json`` of a run, whoever made it, and see to it that its folder holds no links.

    Raises
    ------
    EquiscopeError
        If it is not there or cannot be read (`read_json`), or if the folder holds links (`refuse_links`).
    """
    path = folder / "run.json"
    # A folder that is none of a run may be a whole disk.
    if path.exists():
        refuse_links(folder)
    return read_json(path)


def layer_path(folder: Path, stage: str, layer: str, ending: str) -> Path:
    """File of one layer in a stage's folder; any layer name makes a safe file name."""
    return folder / stage / (quote(layer, safe="", errors="surrogatepass") + ending)


def read_geometries(manifest: dict[str, Any]) -> dict[str, LayerGeometry]:
    """Turn the ``geometry`` of a run's manifest back into geometries, in the order of the survey."""
    geometries = {}
    for entry in manifest["geometry"]:
        pairs = {
            key: tuple(math.nan if part is None else part for part in entry[key])
            for key in ("stride_px", "receptive_field_px", "centre_px")
        }
        geometries[entry["layer"]] = LayerGeometry(**(entry | pairs))
    return geometries


def save_examples(
    path: Path, examples: dict[str, Examples], n_done: int, failures: list[ImageFailure]
) -> None:
    """Store the examples of all layers after the first ``n_done`` images, and the images that failed so far."""
    arrays: dict[str, NDArray[Any]] = {
        "n_done": np.array(n_done),
        "failures": np.array([[failure.name, failure.reason] for failure in failures], dtype=np.str_),
        "layers": np.array(list(examples), dtype=np.str_),
    }
    for index, result in enumerate(examples.values()):
        for part in fields(Examples):
            arrays[f"{index}:{part.name}"] = np.asarray(getattr(result, part.name))
    write_atomically(path, lambda stream: np.savez(stream, **arrays))  # type: ignore[arg-type]


def load_examples(path: Path) -> tuple[dict[str, Examples], int, list[ImageFailure]]:
    """Read back what ``save_examples`` wrote."""
    examples = {}
    check_archive(path)
    with np.load(path, allow_pickle=False) as stored:
        for index, layer in enumerate(stored["layers"].tolist()):
            arrays = {part.name: stored[f"{index}:{part.name}"] for part in fields(Examples)}
            arrays |= {"layer": str(layer), "n_positions": int(arrays["n_positions"])}
            examples[str(layer)] = Examples(**arrays)
        failures = [
            ImageFailure(str(name), str(reason)) for name, reason in stored["failures"].reshape(-1, 2)
        ]
        return examples, int(stored["n_done"]), failures


def families_document(families: Iterable[Family]) -> dict[str, Any]:
    """Return the families as the run's contract words them (``families.json``)."""
    first = ("id", "layer", "transformation")
    documents = []
    for family in families:
        entry = asdict(family)
        members = entry.pop("members")
        head = {key: entry.pop(key) for key in first}
        documents.append(head | {"size": family.size} | entry | {"members": members})
    return {"schema_version": SCHEMA_VERSION, "families": documents}


def read_families(document: dict[str, Any]) -> tuple[Family, ...]:
    """Turn a ``families.json`` document back into families."""
    families = []
    for entry in document["families"]:
        own = _with_nan(entry)
        own.pop("size")
        own["holes_deg"] = tuple((float(a), float(b)) for a, b in own["holes_deg"])
        own["duplicates"] = tuple((int(a), int(b)) for a, b in own["duplicates"])
        own["invariant_to"] = tuple(own.get("invariant_to", ()))
        own["half_turns"] = tuple(math.nan if v is None else float(v) for v in own.get("half_turns", ()))
        own["alternatives"] = tuple(
            (str(name), *(math.nan if value is None else float(value) for value in values))
            for name, *values in own.get("alternatives", ())
        )
        own["members"] = tuple(Member(**_with_nan(member)) for member in own["members"])
        families.append(Family(**own))
    return tuple(families)


def units_document(units: Iterable[Unit]) -> dict[str, Any]:
    """Return the units as the run's contract words them (``units.json``)."""
    return {"schema_version": SCHEMA_VERSION, "units": [asdict(unit) for unit in units]}


def read_units(document: dict[str, Any]) -> tuple[Unit, ...]:
    """Turn a ``units.json`` document back into units, also one of schema version 1, which knew rotation only."""
    units = []
    for entry in document["units"]:
        own = _with_nan(entry)
        if "symmetries" in own:
            own["symmetries"] = read_symmetries(own["symmetries"])
        else:
            kind, order, family = (own.pop(key) for key in ("rotation", "stabiliser_order", "family"))
            own["symmetries"] = (Symmetry("rotation", kind, family, stabiliser_order=order),)
        units.append(Unit(**own))
    return tuple(units)


def read_symmetries(lines: Iterable[dict[str, Any]]) -> tuple[Symmetry, ...]:
    """Turn the lines of one unit, or of one transformation, back into symmetries."""
    return tuple(Symmetry(**_with_nan(line)) for line in lines)


# The fields that hold NaN where something could not be measured.
_NUMBERS = frozenset(
    part.name
    for kind in (Unit, Symmetry, Member, Family)
    for part in fields(kind)
    if part.type in ("float", float)
)


def _with_nan(entry: dict[str, Any]) -> dict[str, Any]:
    """Undo what JSON did to numbers that were not measured."""
    return {key: math.nan if value is None and key in _NUMBERS else value for key, value in entry.items()}


def load_run(folder: str | Path) -> Run:
    """Open the folder of a finished run.

    Raises
    ------
    EquiscopeError
        If the folder is not that of a finished run, is of a newer schema, or holds links (`refuse_links`).
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
    return Run(
        folder,
        manifest,
        read_units(read_json(folder / "units.json")),
        read_families(read_json(folder / "families.json")),
    )
