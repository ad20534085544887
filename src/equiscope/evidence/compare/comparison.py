"""What a comparison of two runs says, and its file in the first run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from equiscope.families.asked import ANY
from equiscope.families.layer_families import NullSummary
from equiscope.foundations.files import file_name
from equiscope.foundations.records import leave_out_damaged
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import load_record
from equiscope.runs.writing import write_json

__all__ = [
    "ComparedFamily",
    "ComparedMember",
    "ComparedRun",
    "ComparedTransformation",
    "Comparison",
    "LayerShare",
    "Match",
    "comparison_name",
    "count_by_layers",
    "load_comparisons",
    "save_comparison",
]

_FOLDER = "compare"


@dataclass(frozen=True)
class ComparedRun:
    """One of the two runs.

    ``name``: its folder's name; ``model``, ``weights_sha256``: its network; ``has_these_images``: whether it was
    surveyed on the images of the comparison; if not, its units' strongest stimuli were looked for among them;
    ``verdict``: which of its families were asked for, ``copies``, ``alike`` or ``any``.
    """

    name: str
    model: str
    weights_sha256: str
    has_these_images: bool
    verdict: str = ANY


@dataclass(frozen=True)
class ComparedMember:
    """A member of a family: its layer, channel, and pose in degrees; 0 or 1 for reflection and contrast."""

    layer: str
    channel: int
    pose: float


@dataclass(frozen=True)
class ComparedFamily:
    """A family and whether it was found in the other run.

    Attributes
    ----------
    run
        ``a`` or ``b``.
    id, layer, transformation, stabiliser_order
        Of the family.
    counterpart
        ``id`` of its counterpart, of the one with the highest score where several layers have one; None without one.
    nearest, nearest_score
        The family of the other run that it resembles most, and the held-out score; None and NaN where there is none.
    reason
        Why it has no counterpart, in words; empty where it has one.
    members
        By pose.
    """

    run: str
    id: str
    layer: str
    transformation: str
    stabiliser_order: int
    counterpart: str | None
    nearest: str | None
    nearest_score: float
    reason: str
    members: tuple[ComparedMember, ...]


@dataclass(frozen=True)
class Match:
    """Two families that are each other's best match among those of their two layers, on either half of the photographs.

    Attributes
    ----------
    transformation, a, b
        Which families, by their ids.
    is_counterpart
        Whether they are closer than families of other identity are: ``q_value`` is small enough.
    is_alike
        Whether their poses agree by more than chance: ``pose_q_value`` is small enough.
    score, score_low, score_high
        Mean correlation of either's members with the other's template on photographs that chose neither partner nor
        offset, with its 95 % bootstrap interval over photographs.
    q_value
        Estimated share of families of other identity among the pairs that score as high.
    pose_q_value
        Estimated share of pairs whose poses agree by chance among those that score as high.
    offset, offset_difference
        What to add to poses of b to compare them with poses of a, up to what the stabiliser of either family leaves as
        it is, and by how much the two halves of the photographs differ on it; degrees, or 0 and 1 (exchanged) for
        reflection and contrast.
    """

    transformation: str
    a: str
    b: str
    is_counterpart: bool
    is_alike: bool
    score: float
    score_low: float
    score_high: float
    q_value: float
    pose_q_value: float
    offset: float
    offset_difference: float


@dataclass(frozen=True)
class LayerShare:
    """Pairs of counterparts, and further pairs alike in pose, of ``n_a`` families of a layer and ``n_b`` of another."""

    transformation: str
    layer_a: str
    layer_b: str
    n_a: int
    n_b: int
    n_matched: int
    n_alike: int


@dataclass(frozen=True)
class ComparedTransformation:
    """How one transformation was compared.

    ``n_elements``, ``n_stimuli``, ``n_photographs``: what both networks were shown; ``null``: what the search finds
    among families of other identity; ``pose_null``: what it finds when poses are scrambled; ``note``: why it was not
    compared, empty where it was.
    """

    transformation: str
    n_elements: int
    n_stimuli: int
    n_photographs: int
    null: NullSummary
    pose_null: NullSummary
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes
    ----------
    name
        Of its file, from the name of the second run's folder.
    a, b
        The runs.
    images
        Name of the images that both networks were shown.
    false_discovery_rate, n_draws, seed
        Settings.
    transformations
        How each was compared.
    matches
        Mutually best pairs by transformation and falling score.
    families
        All families of both runs under these transformations.
    layers
        Counterparts by pair of layers; only pairs of layers that both have families.
    notes
        What was left out, and why.
    """

    name: str
    a: ComparedRun
    b: ComparedRun
    images: str
    false_discovery_rate: float
    n_draws: int
    seed: int
    transformations: tuple[ComparedTransformation, ...]
    matches: tuple[Match, ...]
    families: tuple[ComparedFamily, ...]
    layers: tuple[LayerShare, ...]
    notes: tuple[str, ...] = ()


def comparison_name(folder: Path) -> str:
    """Give what a comparison with the run in a folder is called: the folder's own name.

    Examples
    --------
    >>> comparison_name(Path("equiscope-runs/googlenet"))
    'googlenet'
    """
    return folder.resolve().name


def save_comparison(folder: Path, comparison: Comparison) -> Path:
    """Write a comparison into a run's folder, as ``compare/NAME.json``; give that file.

    Examples
    --------
    >>> run = ComparedRun("mine", "mini", "0" * 64, has_these_images=True)
    >>> comparison = Comparison("theirs", run, run, "embedded", 0.05, 200, 0, (), (), (), ())
    >>> save_comparison(Path("."), comparison).as_posix()
    'compare/theirs.json'
    >>> load_comparisons(".") == (comparison,)
    True
    """
    path = folder / _FOLDER / file_name(comparison.name, ending=".json")
    write_json(path, {"schema_version": SCHEMA_VERSION, **asdict(comparison)})
    return path


def load_comparisons(folder: str | Path) -> tuple[Comparison, ...]:
    """Read what ``compare_runs`` wrote into a run's folder, by name; empty where nothing was compared.

    A file that is damaged is said to be, and left out.

    Examples
    --------
    >>> load_comparisons("no-such-run")
    ()
    """
    paths = sorted((Path(folder) / _FOLDER).glob("*.json"))
    found = (leave_out_damaged(partial(load_record, path, Comparison)) for path in paths)
    return tuple(comparison for comparison in found if comparison is not None)


def count_by_layers(matches: Sequence[Match], families: Sequence[ComparedFamily]) -> tuple[LayerShare, ...]:
    """Count counterparts by pair of layers, in the order of the runs.

    Examples
    --------
    >>> def family(run, number):
    ...     return ComparedFamily(run, f"{run}{number}", "conv1", "hue", 1, None, None, 0.0, "", ())
    >>> match = Match("hue", "a0", "b1", True, True, 0.9, 0.8, 1.0, 0.01, 0.01, 0.0, 0.0)
    >>> (share,) = count_by_layers([match], [family("a", 0), family("b", 0), family("b", 1)])
    >>> share.n_a, share.n_b, share.n_matched
    (1, 2, 1)
    """
    by_key = {(f.run, f.transformation, f.id): f.layer for f in families}
    shares = []
    for name in dict.fromkeys(f.transformation for f in families):
        own = [f for f in families if f.transformation == name]
        layers = [list(dict.fromkeys(f.layer for f in own if f.run == run)) for run in "ab"]
        layers_of = {
            (m.a, m.b): (by_key["a", name, m.a], by_key["b", name, m.b])
            for m in matches
            if m.transformation == name
        }
        found = [layers_of[m.a, m.b] for m in matches if m.is_counterpart and (m.a, m.b) in layers_of]
        alike = [
            layers_of[m.a, m.b]
            for m in matches
            if m.is_alike and not m.is_counterpart and (m.a, m.b) in layers_of
        ]
        shares += [
            LayerShare(
                name, first, second,
                sum(f.run == "a" and f.layer == first for f in own),
                sum(f.run == "b" and f.layer == second for f in own),
                found.count((first, second)),
                alike.count((first, second)),
            )
            for first in layers[0] for second in layers[1]
        ]  # fmt: skip
    return tuple(shares)
