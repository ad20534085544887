"""Visualisations in a run's folder: one file a layer, one for all families."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.evidence.featurevis.families import FamilyVisualisation
from equiscope.evidence.featurevis.units import Visualisation
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.records import Archive, leave_out_damaged, reading
from equiscope.runs.layout import SCHEMA_VERSION, layer_path
from equiscope.runs.writing import write_archive

__all__ = ["StoredVisualisations", "load_visualisations", "save_visualisations"]

_FOLDER = "featurevis"
_FAMILIES = "families.npz"


@dataclass(frozen=True)
class StoredVisualisations:
    """What a run's folder holds.

    Attributes
    ----------
    layers
        By name of the layer.
    families
        By ``id`` of the family.
    """

    layers: Mapping[str, Visualisation] = field(default_factory=dict)
    families: Mapping[str, FamilyVisualisation] = field(default_factory=dict)


def save_visualisations(
    folder: str | Path,
    layers: Iterable[Visualisation] = (),
    families: Iterable[FamilyVisualisation] | None = None,
) -> None:
    """Write visualisations into a run's folder.

    Parameters
    ----------
    folder
        Of the run.
    layers
        Each replaces what was there of its layer; other layers stay as they are.
    families
        All that are to be kept: they replace those that were there. None leaves these as they are.

    Examples
    --------
    >>> import torch
    >>> one = np.ones(1)
    >>> made = Visualisation("conv1", np.arange(1), torch.zeros(1, 3, 5, 5), one, one, one, steps=8, seed=0)
    >>> save_visualisations("run", [made])
    >>> load_visualisations("run").layers["conv1"].steps
    8
    """
    for visualisation in layers:
        _write(_path_of(Path(folder), visualisation.layer), _arrays_of_layer(visualisation))
    if families is not None:
        _write(Path(folder) / _FOLDER / _FAMILIES, _arrays_of_families(list(families)))


def load_visualisations(folder: str | Path, *, leave_out: bool = False) -> StoredVisualisations:
    """Read what a run's folder holds of visualisations; empty where there are none.

    Parameters
    ----------
    folder
        Of the run.
    leave_out
        Whether a file that cannot be read is said to be so and left out.

    Raises
    ------
    EquiscopeError
        If a file cannot be read, or is of a newer version.

    Examples
    --------
    >>> load_visualisations("no-such-run")
    StoredVisualisations(layers={}, families={})
    """
    layers: dict[str, Visualisation] = {}
    families: dict[str, FamilyVisualisation] = {}
    for path in sorted((Path(folder) / _FOLDER).glob("*.npz")):
        read = partial(_read, path)
        found = (leave_out_damaged(read) or StoredVisualisations()) if leave_out else read()
        layers |= found.layers
        families |= found.families
    return StoredVisualisations(layers, families)


def _path_of(folder: Path, layer: str) -> Path:
    path = layer_path(folder, _FOLDER, layer, ".npz")
    # A layer of that name must not take the place of the families.
    return path.with_name(f"%66{_FAMILIES[1:]}") if path.name == _FAMILIES else path


def _arrays_of_layer(own: Visualisation) -> dict[str, Any]:
    return {
        "layer": own.layer,
        "channels": own.channels,
        "images": _to_bytes(own.images),
        "before": own.before,
        "after": own.after,
        "natural": own.natural,
        "steps": own.steps,
        "seed": own.seed,
    }


def _layer_from(arrays: Mapping[str, NDArray[Any]]) -> Visualisation:
    return Visualisation(
        str(arrays["layer"]),
        arrays["channels"],
        _from_bytes(arrays["images"]),
        arrays["before"],
        arrays["after"],
        arrays["natural"],
        int(arrays["steps"]),
        int(arrays["seed"]),
    )


def _arrays_of_families(families: list[FamilyVisualisation]) -> dict[str, Any]:
    arrays: dict[str, Any] = {"families": np.array([own.family for own in families], dtype=np.str_)}
    for index, own in enumerate(families):
        parts = {
            "transformation": own.transformation,
            "layers": np.array(own.layers, dtype=np.str_),
            "channels": own.channels,
            "template": _to_bytes(own.template),
            "responses": own.responses,
            "natural": own.natural,
            "scale": own.scale,
            "null": own.null,
            "same_pose": own.same_pose,
            "steps": own.steps,
            "seed": own.seed,
        }
        arrays |= {f"{index}:{name}": value for name, value in parts.items()}
        # Members of several layers have copies of several sizes.
        arrays |= {f"{index}:{member}:copy": _to_bytes(copy) for member, copy in enumerate(own.copies)}
    return arrays


def _families_from(arrays: Mapping[str, NDArray[Any]]) -> Iterable[FamilyVisualisation]:
    for index, family in enumerate(arrays["families"].tolist()):
        own = {
            name.removeprefix(f"{index}:"): v for name, v in arrays.items() if name.startswith(f"{index}:")
        }
        yield FamilyVisualisation(
            str(family),
            str(own["transformation"]),
            tuple(own["layers"].tolist()),
            own["channels"],
            _from_bytes(own["template"]),
            tuple(_from_bytes(own[f"{member}:copy"]) for member in range(len(own["channels"]))),
            own["responses"],
            own["natural"],
            own["scale"],
            own["null"],
            own["same_pose"],
            int(own["steps"]),
            int(own["seed"]),
        )


def _to_bytes(images: Tensor) -> NDArray[np.uint8]:
    return np.asarray((images * 255).round().to(torch.uint8).numpy())


def _from_bytes(stored: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(stored).float() / 255


def _write(path: Path, arrays: dict[str, Any]) -> None:
    stored = {name: np.asarray(value) for name, value in arrays.items()}
    write_archive(path, {"schema_version": np.array(SCHEMA_VERSION), **stored})


def _read(path: Path) -> StoredVisualisations:
    """Read one file: a layer's images, or all families' templates."""
    said = "cannot be read as a file of visualisations"
    with Archive(path, said) as stored, reading(path, said):
        arrays = dict(stored)
        version = int(arrays["schema_version"])
        if version <= SCHEMA_VERSION and "families" in arrays:
            families = {found.family: found for found in _families_from(arrays)}
            return StoredVisualisations({}, families)
        if version <= SCHEMA_VERSION:
            layer = _layer_from(arrays)
            return StoredVisualisations({layer.layer: layer}, {})
    raise EquiscopeError(
        f"{path} has schema version {version}, this equiscope reads 1 to {SCHEMA_VERSION}: update equiscope"
    )
