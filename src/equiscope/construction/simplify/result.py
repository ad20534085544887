"""What simplifying a network gave: how much of the weights templates explain, and accuracy over parameters removed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from equiscope.construction.simplify.evaluation import Accuracy
from equiscope.families.asked import ANY
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import load_record
from equiscope.runs.writing import write_json
from equiscope.transformations import ALL
from equiscope.transformations.spaces import Circle

__all__ = [
    "METHODS",
    "TRANSFORMATIONS",
    "Convolution",
    "Point",
    "Simplification",
    "load_simplification",
    "save_simplification",
]

_FILE = "simplify.json"
TRANSFORMATIONS = tuple(own.name for own in ALL if isinstance(own.space, Circle))
METHODS = ("tied", "wrong poses", "magnitude in blocks", "magnitude", "low rank")
TIED, WRONG, PRUNED_BLOCKS, PRUNED, LOW_RANK = METHODS


@dataclass(frozen=True)
class Convolution:
    """One convolution whose weights have templates, with all its blocks tied.

    Attributes
    ----------
    name, source, target
        The module, and the layers whose units it joins; the source may be ``image``.
    n_weights
        Its weights, biases aside.
    n_tied, n_free
        Those in blocks, and the free parameters of their templates.
    n_blocks
        Blocks between two families, or a family and a unit.
    explained
        Share of the blocks' weight energy that is left after tying, with each weight's part in the variance of its
        output; `n_free / n_tied` is what random directions would leave.
    explained_wrong
        The same with wrong poses.
    """

    name: str
    source: str
    target: str
    n_weights: int
    n_tied: int
    n_free: int
    n_blocks: int
    explained: float
    explained_wrong: float


@dataclass(frozen=True)
class Point:
    """One simplified network.

    Attributes
    ----------
    method
        One of ``METHODS``.
    n_removed
        Parameters fewer than in the original network.
    n_free
        Parameters left in the convolutions that have blocks, biases aside.
    n_blocks
        Blocks that are tied; 0 for the other methods.
    error
        Lost share of those convolutions' weight energy, each weight with its part in the variance of its output.
    plain, recalibrated
        Accuracy as it is, and after recalibration.
    layer
        Surveyed layer up to which all blocks are tied; None where the order is that of their error.
    """

    method: str
    n_removed: int
    n_free: int
    n_blocks: int
    error: float
    plain: Accuracy
    recalibrated: Accuracy
    layer: str | None = None


@dataclass(frozen=True)
class Simplification:
    """What a network still can do with its families' weights tied.

    Attributes
    ----------
    network, images
        Names.
    transformation
        Under which the families are copies.
    blocks
        ``all`` blocks of families, or those that are ``circuits``.
    n_images, n_calibration
        Images evaluated, and images for moments and recalibration.
    crop_px, resized_px
        Side of the square that the network sees, and of the image before, px.
    precision
        In which it was evaluated.
    n_parameters
        Of the original network, all of them.
    original
        Its accuracy.
    convolutions
        Those with blocks.
    points
        By method, with rising ``n_removed``.
    order
        In which blocks are tied: by ``error`` per parameter saved, or by ``layers``.
    notes
        What is to be known of the images: which folders were taken for classes and for splits.
    verdict
        Which families were asked for: ``copies``, ``alike`` or ``any``.
    """

    network: str
    images: str
    transformation: str
    blocks: str
    n_images: int
    n_calibration: int
    crop_px: int
    resized_px: int
    precision: str
    n_parameters: int
    original: Accuracy
    convolutions: tuple[Convolution, ...]
    points: tuple[Point, ...]
    order: str = "error"
    notes: tuple[str, ...] = ()
    verdict: str = ANY


def save_simplification(folder: Path, result: Simplification) -> None:
    """Write ``simplify.json`` into a run's folder.

    Examples
    --------
    >>> original = Accuracy(0.75, 0.7, 0.8, 0.0, 0.0, 0.0, 1.0)
    >>> sizes = {"n_images": 50, "n_calibration": 20, "crop_px": 48, "resized_px": 56, "n_parameters": 9000}
    >>> more = {"precision": "float32", "original": original, "convolutions": (), "points": ()}
    >>> found = Simplification("mini", "photos", "rotation", "all", **sizes, **more)
    >>> save_simplification(Path("."), found)
    >>> load_simplification(".") == found
    True
    """
    write_json(folder / _FILE, {"schema_version": SCHEMA_VERSION} | asdict(result))


def load_simplification(folder: str | Path) -> Simplification | None:
    """Read what `simplify_run` wrote into a run's folder; None where it was not run.

    Raises
    ------
    EquiscopeError
        If the file is damaged, or of a newer version.

    Examples
    --------
    >>> load_simplification("run") is None
    True
    """
    path = Path(folder) / _FILE
    return load_record(path, Simplification) if path.exists() else None
