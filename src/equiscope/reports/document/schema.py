"""The document that a page is made from: nothing but JSON types, so whatever can write it can have a page."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from equiscope.foundations.records import NumberTree

__all__ = [
    "AlternativeEntry",
    "ConfirmationEntry",
    "EffectiveFieldEntry",
    "FamilyEntry",
    "ImagesEntry",
    "KindsEntry",
    "LayerEntry",
    "LinkEntry",
    "MemberEntry",
    "ModelEntry",
    "MovedEntry",
    "NullEntry",
    "PictureEntry",
    "PoseEntry",
    "ReportDocument",
    "ResultEntry",
    "SettingsEntry",
    "SheetEntry",
    "SymmetryEntry",
    "TuningEntry",
    "TurnedEntry",
    "UnitCounts",
    "UnitEntry",
    "UnitPicturesEntry",
    "UnitTuningEntry",
]


# Coordinates along the axes of a transformation, by the names of the axes: ``{"angle_deg": 45.0}``. Along a switch they
# are true or false; None, or NaN, where nothing was measured.
PoseEntry = dict[str, float | bool | None]


class ModelEntry(TypedDict):
    """The network that was surveyed."""

    name: str
    weights_sha256: str | None


class ImagesEntry(TypedDict):
    """The images it was shown; ``licences`` maps the name of an image, or of a set, to its licence."""

    name: str
    n_images: int
    n_failed: int
    licences: dict[str, str]


class SettingsEntry(TypedDict):
    """The options of the run that change its result."""

    transformations: list[str]
    angles: int
    examples_per_unit: int
    false_discovery_rate: float
    seed: int
    min_score: float | None


UnitCounts = TypedDict(
    "UnitCounts",
    {"equivariant": int, "invariant": int, "neither": int, "inactive": int, "not measurable": int},
)


class KindsEntry(TypedDict):
    """How many units of one layer are of which kind under one transformation."""

    transformation: str
    counts: UnitCounts


class EffectiveFieldEntry(TypedDict):
    """To how much of its receptive field the pictures of a layer are cut.

    The figures of `equiscope.evidence.effective_fields.EffectiveField`, px; ``share`` is that of the gradient's energy
    which the square holds.
    """

    side_px: int
    low_px: float | None
    high_px: float | None
    n_units: int
    share: float


class LayerEntry(TypedDict):
    """One surveyed layer, in the order of the network; ``kinds``: one entry a transformation surveyed in it.

    ``unit_axes``: by transformation the axes of its units' own tuning, as in `TuningEntry`; absent in older runs.
    ``effective_field`` is None or absent where pictures show the whole receptive field.
    """

    name: str
    n_units: int
    receptive_field_px: int | None
    stride_px: int | None
    whole_images: bool
    notes: list[str]
    kinds: list[KindsEntry]
    unit_axes: NotRequired[dict[str, dict[str, list[float]]]]
    effective_field: NotRequired[EffectiveFieldEntry | None]


class NullEntry(TypedDict):
    """What the same search finds after each unit's pose has been scrambled.

    ``families_expected`` is the mean number of families a scrambled layer gives that pass the same test;
    ``score_95`` is what 95 % of the scrambled layers' families stay below in what families are ranked by: their score,
    or for pairs and along a line their gain.
    """

    families_expected: float | None
    score_95: float | None


class ResultEntry(TypedDict):
    """One transformation of one layer, or of several together.

    ``null`` is None where nothing could be searched; ``n_refused`` candidates were found and not accepted.
    """

    layers: list[str]
    transformation: str
    null: NullEntry | None
    n_refused: int
    notes: list[str]


class MemberEntry(TypedDict):
    """One unit of a family and its pose along the axes of the family's transformation.

    ``pose_low`` and ``pose_high`` have a coordinate for each that has an interval; absent in pages of earlier versions.
    """

    layer: str
    channel: int
    pose: PoseEntry
    score: float | None
    score_low: float | None
    score_high: float | None
    pose_low: NotRequired[PoseEntry]
    pose_high: NotRequired[PoseEntry]


class TuningEntry(TypedDict):
    """How the members respond to the family's feature, as it is transformed.

    ``axes``: the values of each axis of poses by its name, the one that runs fastest last; along a switch 0 and 1.
    ``values``: one entry a member, nested by the axes, in [0, 1]; None, or NaN, where nothing was shown.
    """

    axes: dict[str, list[float]]
    values: NumberTree


class AlternativeEntry(TypedDict):
    """How well a transformation explains the family, and by how much worse than the best one that was compared."""

    transformation: str
    score: float | None
    deficit: float | None
    deficit_low: float | None
    deficit_high: float | None


class VerificationEntry(TypedDict):
    """What synthetic stimuli say about a family along one axis: the figures of `equiscope.FamilyVerification`.

    ``members``: in the family's order, with ``pose`` on photographs, pose on ``synthetic`` stimuli, ``error``, the
    difference but for the offset that all members share, ``drive``, and ``own_stimulus`` and ``own_error``, what each
    alone would have been read on, and the error there. These and the figures below are absent in documents of earlier
    versions.
    """

    axis: str
    kind: str
    drive: float | None
    drive_low: float | None
    drive_high: float | None
    runner_up: str
    lead: float | None
    lead_low: float | None
    lead_high: float | None
    stimulus: str
    median_error: float | None
    error_low: float | None
    error_high: float | None
    n_outliers: int
    n_measured: int
    score: float | None
    margin: float | None
    members: NotRequired[list[dict[str, Any]]]
    agreement: NotRequired[float | None]
    agreement_low: NotRequired[float | None]
    agreement_high: NotRequired[float | None]
    agreement_null_95: NotRequired[float | None]
    read_drive: NotRequired[float | None]


class ConfirmationEntry(TypedDict):
    """What the weights say about a family: the figures of `equiscope.evidence.circuits.Confirmation`."""

    n_tested: int
    n_symmetric: int
    best_r2: float | None
    best_null_95: float | None
    best_circuit: str
    verdict: NotRequired[VerdictEntry | None]


class TurnedEntry(TypedDict):
    """One stimulus of a family under each element, as tiles beside each other on one sheet.

    ``layer`` and ``channel``: the member whose strongest held-out stimulus it is. ``axes`` are those of the family's
    tuning, of which some values may be left out; the tile at ``angle_deg`` θ shows the feature at pose θ. ``sheet``
    counts in the document's ``sheets``, ``first`` the tiles on it, row by row; the last axis runs fastest.
    ``responses``: what each member, in the family's order, answered to each tile, in the order of the tiles, as a share
    of its largest response to any image; absent where they were not read.
    """

    layer: str
    channel: int
    axes: dict[str, list[float]]
    sheet: int
    first: int
    responses: NotRequired[list[list[float | None]]]


class MovedEntry(TypedDict):
    """Stimuli of a family's members moved back to pose 0, as tiles beside each other on one sheet.

    They are the strongest of the verifying half, ``n`` of each member in the family's order, strongest first; one of
    rank r is the member's own of that half and rank, moved. ``sheet`` counts in the document's ``sheets``, ``first``
    the tiles on it. ``kernels``: sheet and first tile of the members' kernels on the image, where the layer is a first
    one; ``moved_kernels``: the same moved back, where they can be.
    """

    sheet: int
    first: int
    n: list[int]
    kernels: NotRequired[list[int]]
    moved_kernels: NotRequired[list[int]]


class CoreEntry(TypedDict):
    """Members of a family, by their place in it, that are copies of each other by their weights."""

    members: list[int]
    likeness: float | None


class VerdictEntry(TypedDict):
    """What the weights say of a family; the figures are those of `equiscope.families.verdict.Verdict`."""

    word: str
    reason: str
    likeness: float | None
    likeness_low: float | None
    likeness_high: float | None
    permuted_95: float | None
    tested: float | None
    cores: list[CoreEntry]


class FamilyEntry(TypedDict):
    """Units that are copies of one feature under ``transformation``.

    ``layers`` are those of its members. ``disagreement`` has a number for each axis that is no switch. ``stabiliser``
    are the elements that leave every member as it is, the identity first. ``holes_deg`` are arcs (from, to),
    counter-clockwise, in which the family has no member. Poses and holes of a family with s such turns repeat every
    360°/s and are given once. ``half_turns``, for hue × rotation: correlation of the members with
    themselves after half a turn of both, of hue, of the plane; otherwise empty. ``explained_by`` is empty where
    transformations were not compared. ``verification`` is empty where nothing was verified, and ``confirmation`` is
    None or absent where circuits were not recovered. ``turned`` is None or absent where no stimulus could be shown
    transformed, ``moved`` where no member's could be moved back, ``verdict`` where none was asked for, ``strangers_95``
    where others were not asked. The other figures are those of `equiscope.Family`.
    """

    id: str
    layers: list[str]
    transformation: str
    size: int
    score: float | None
    score_low: float | None
    score_high: float | None
    disagreement: dict[str, float | None]
    phase_coherence: float | None
    margin: float | None
    margin_low: float | None
    margin_high: float | None
    q_value: float | None
    stabiliser: list[PoseEntry]
    half_turns: list[float | None]
    gap_deviation_deg: float | None
    holes_deg: list[list[float]]
    duplicates: list[list[int]]
    explained_by: str
    alternatives: list[AlternativeEntry]
    tuning: TuningEntry | None
    verification: list[VerificationEntry]
    confirmation: NotRequired[ConfirmationEntry | None]
    turned: NotRequired[TurnedEntry | None]
    moved: NotRequired[MovedEntry | None]
    verdict: NotRequired[VerdictEntry | None]
    strangers_95: NotRequired[float | None]
    stability: NotRequired[float | None]
    members: list[MemberEntry]


class LinkEntry(TypedDict):
    """Two rotation families that scale pairs join.

    ``offset_deg`` is to be added to poses of the first to compare them with those of the second, which is larger by
    ``octaves``; the pairs differ from that by ``residual_deg`` in the median.
    """

    first: str
    second: str
    n_pairs: int
    offset_deg: float | None
    octaves: float | None
    residual_deg: float | None
    q_value: float | None


class SheetEntry(TypedDict):
    """A picture of square tiles in rows; ``address`` is relative to ``index.html``."""

    address: str
    n_columns: int
    n_rows: int


class SymmetryEntry(TypedDict):
    """How one unit behaves under one transformation: the figures of `equiscope.Symmetry`."""

    transformation: str
    kind: str
    family: str | None
    score: float | None
    invariance: float | None
    stabiliser_order: int


class UnitTuningEntry(TypedDict):
    """How a unit responds as its own strongest stimuli are transformed.

    ``values``: mean over ``n_stimuli`` stimuli of both halves, nested by the layer's ``unit_axes``, as a share of the
    largest; the stimuli as they are stand at 0. ``error``: the standard error of each, None for a single stimulus.
    """

    n_stimuli: int
    values: NumberTree
    error: NumberTree | None


class UnitPicturesEntry(TypedDict):
    """Where a unit's strongest stimuli are.

    ``strongest``: sheet and tile of the strongest one, on a sheet of all units' strongest. ``stimuli``: sheet and
    first of all its tiles: ``n[0]`` of the finding half, strongest first, then ``n[1]`` of the verifying half; where
    ``n`` has one number only, halves are not told apart. ``order``: these tiles by falling response.
    """

    strongest: list[int]
    stimuli: list[int]
    n: list[int]
    order: list[int]


class UnitEntry(TypedDict):
    """One unit. ``pictures`` is None where it never fired; ``tuning`` has the transformations it was measured under."""

    layer: str
    channel: int
    mean: float | None
    sd: float | None
    symmetries: list[SymmetryEntry]
    tuning: dict[str, UnitTuningEntry]
    pictures: UnitPicturesEntry | None


class PictureEntry(TypedDict):
    """One unit's strongest stimuli: a ``data:image/…`` address of a strip of ``n_stimuli`` squares, strongest first.

    This is how runs of earlier versions kept them, for members of families alone.
    """

    layer: str
    channel: int
    stimuli: str
    n_stimuli: int


class ReportDocument(TypedDict):
    """Everything that the site shows of a survey.

    Families stand in the order in which those of one layer and transformation are shown. ``units`` has every unit of
    every layer in order, ``sheets`` their pictures; both are absent in documents of earlier versions, which have
    ``pictures`` instead. ``missing`` says in sentences what the run has not (yet) got. ``has_circuits``: whether
    circuits were recovered. ``is_finished``, absent for true: whether the survey came to its end.
    """

    title: str
    equiscope_version: str
    command: str
    created: str
    model: ModelEntry
    images: ImagesEntry
    settings: SettingsEntry
    seconds: dict[str, float]
    layers: list[LayerEntry]
    results: list[ResultEntry]
    families: list[FamilyEntry]
    links: list[LinkEntry]
    has_circuits: NotRequired[bool]
    units: NotRequired[list[UnitEntry]]
    sheets: NotRequired[list[SheetEntry]]
    pictures: NotRequired[list[PictureEntry]]
    missing: NotRequired[list[str]]
    is_finished: NotRequired[bool]
