"""Two runs side by side: which families of one network have a counterpart in the other.

Both networks are shown the same stimuli, centred on the same points of the same images, under the same elements; their
layers, strides, receptive fields and preprocessing may differ. What is matched is responses, never weights or names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import torch
from numpy.typing import NDArray

from equiscope.evidence.compare.comparison import (
    ComparedFamily,
    ComparedMember,
    ComparedRun,
    ComparedTransformation,
    Comparison,
    Match,
    comparison_name,
    count_by_layers,
    save_comparison,
)
from equiscope.evidence.compare.counterparts import Counterparts, FamilyResponses, find_counterparts
from equiscope.families.family import Family, Member, NullSummary
from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.foundations.limits import DRAWS, FALSE_DISCOVERY_RATE, SEED, list_names
from equiscope.foundations.progress import Progress, silent
from equiscope.measurement.bank import Bank, centres_px
from equiscope.measurement.examples import NO_IMAGE, Examples, collect_examples, split_halves
from equiscope.measurement.responses import Responses, measure_responses
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry, joint_patch_px
from equiscope.runs.examples import load_examples
from equiscope.runs.store import Run, check_network, read_geometries
from equiscope.stimuli import ImageSet
from equiscope.transformations.groups import CyclicGroup, Involution

__all__ = ["COMPARED", "compare_runs"]

# Transformations under which poses of two families can be brought onto each other by one offset.
COMPARED = ("rotation", "hue", "reflection", "contrast")
_N_HUES = 16
# Strongest stimuli of each member that may be shown, and how many in all: a pass of both networks costs some
# milliseconds for each stimulus and element.
_PER_MEMBER = 4
_MOST_STIMULI = 1024
# What a mutually best pair lacks, by whether it is a counterpart, and whether its poses agree.
_SHORTFALLS = {
    (False, True): "its best match is alike in pose, but no closer than other families of its own layer are",
    (False, False): "its best match agrees with its poses no better than by chance",
    (True, True): "",
    (True, False): "",
}

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Side:
    """One run, opened: what of it is compared on these images."""

    run: Run
    model: Model
    geometries: dict[str, LayerGeometry]
    examples: dict[str, Examples]
    # Images that may score its families: those that did not find them.
    is_held_out: NDArray[np.bool_]
    has_these_images: bool

    def families(self, transformation: str) -> list[Family]:
        """Families under a transformation whose layer can be shown patches."""
        return [
            f for f in self.run.families if f.transformation == transformation and f.layer in self.geometries
        ]


def compare_runs(
    run_a: Run,
    model_a: Model,
    run_b: Run,
    model_b: Model,
    images: ImageSet,
    *,
    transformations: Sequence[str] | None = None,
    n_draws: int = 200,
    false_discovery_rate: float = 0.05,
    seed: int = 0,
    precision: torch.dtype = torch.float32,
    progress: Progress = silent,
) -> Comparison:
    """Find which families of two runs are counterparts, and write that into the first run's folder.

    Parameters
    ----------
    run_a, run_b
        Two finished runs.
    model_a, model_b
        The networks that were surveyed.
    images
        What both are shown: the images of the surveys, or others.
    transformations
        Some of ``rotation``, ``hue``, ``reflection`` and ``contrast``; by default those that both runs surveyed.
    n_draws
        Draws of either null.
    false_discovery_rate
        Largest q-value of a counterpart, and of a pair that is alike.
    seed
        Seed of the halves of the photographs, the null and the bootstrap.
    precision
        ``torch.bfloat16`` runs the networks under autocast.
    progress
        Called at the start of each stage.

    Returns
    -------
    Comparison
        Also written to ``compare/NAME.json`` of the first run.

    Raises
    ------
    EquiscopeError
        If both are one run, a network is not the one that was surveyed, no transformation was surveyed in both runs, or
        fewer than two photographs are left to choose and to score.

    Notes
    -----
    The shared stimuli are the strongest ones of all members of the families of both runs, from the half of the images
    that did not find them (in both runs, where both surveyed these images), at most 1,024, strongest ranks first. A run
    that surveyed other images has its strongest stimuli looked for in one pass over these. Each network is shown
    patches just as large as its own layers need, about the same point: what lies further out cannot reach its units.

    Cost: one forward pass of each network a stimulus and element.
    """
    n_draws = DRAWS.check("n_draws", n_draws)
    rate = FALSE_DISCOVERY_RATE.check("false_discovery_rate", false_discovery_rate)
    seed = SEED.check("seed", seed)
    folder_a, folder_b = run_a.folder.resolve(), run_b.folder.resolve()
    if folder_a == folder_b:
        raise EquiscopeError(
            f"{run_a.folder} was given twice: every family would find itself; give the folders of two runs"
        )
    check_network(run_a, model_a)
    check_network(run_b, model_b)
    names = _common_transformations(run_a, run_b, list_names(transformations))
    notes: list[str] = []
    sides = tuple(
        _open_side(run, model, images, names, notes, progress)
        for run, model in ((run_a, model_a), (run_b, model_b))
    )
    compared, matches, families = [], [], []
    for name in names:
        entry, own_matches, own_families = _compare_one(
            sides[0], sides[1], images, name, n_draws, rate, seed, precision, progress
        )
        compared.append(entry)
        matches += own_matches
        families += own_families
    comparison = Comparison(
        name=comparison_name(run_b.folder),
        a=_label(sides[0]),
        b=_label(sides[1]),
        images=images.name,
        false_discovery_rate=false_discovery_rate,
        n_draws=n_draws,
        seed=seed,
        transformations=tuple(compared),
        matches=tuple(matches),
        families=tuple(families),
        layers=count_by_layers(matches, families),
        notes=tuple(notes),
    )
    save_comparison(run_a.folder, comparison)
    return comparison


def _label(side: _Side) -> ComparedRun:
    model = side.run.manifest["model"]
    return ComparedRun(
        comparison_name(side.run.folder), model["name"], model["weights_sha256"], side.has_these_images
    )


def _common_transformations(run_a: Run, run_b: Run, asked: Sequence[str] | None) -> list[str]:
    """Choose the transformations that are asked for and that both runs surveyed."""
    surveyed = [run.manifest["settings"]["transformations"] for run in (run_a, run_b)]
    for name in asked or ():
        if name not in COMPARED:
            raise unknown_name("transformation to compare", name, COMPARED)
    names = [
        name for name in COMPARED if name in (asked or COMPARED) and all(name in own for own in surveyed)
    ]
    if not names:
        wanted = f"of {', '.join(asked or COMPARED)} "
        raise EquiscopeError(
            f"none {wanted}was surveyed in both runs: {run_a.folder} has {', '.join(surveyed[0])}, {run_b.folder} has "
            f"{', '.join(surveyed[1])}; survey one of them again with the other's transformations"
        )
    return names


def _open_side(
    run: Run, model: Model, images: ImageSet, names: Sequence[str], notes: list[str], progress: Progress
) -> _Side:
    """Open a run's geometry and strongest stimuli; where it surveyed other images, look for them in these."""
    name = run.manifest["model"]["name"]
    geometries = {}
    for layer, geometry in read_geometries(run.manifest).items():
        if not any(f.layer == layer and f.transformation in names for f in run.families):
            continue
        if geometry.is_global or not geometry.is_centred(geometry.patch_px):
            notes.append(
                f"{layer} of {name}: no patch can be centred on its positions, so it was not compared"
            )
        else:
            geometries[layer] = geometry
    has_these = images.fingerprint == run.manifest["images"]["fingerprint"]
    if has_these:
        examples = load_examples(run.folder / "examples.npz")[0]
        is_held_out = split_halves(images.groups, run.manifest["settings"]["seed"]) == 1
        return _Side(run, model, geometries, examples, is_held_out, True)
    notes.append(
        f"{name} was surveyed on other images ({run.manifest['images']['name']}): its strongest stimuli were looked "
        f"for among those of {images.name}, all of which count as held out"
    )
    examples = {}
    if geometries:
        with progress(f"strongest stimuli of {name}", len(images)) as on_images:
            examples = collect_examples(
                model, images, geometries, np.ones(len(images), np.int64), _PER_MEMBER, on_images=on_images
            )
    return _Side(run, model, geometries, examples, np.ones(len(images), bool), False)


def _shared_bank(sides: Sequence[_Side], images: ImageSet, name: str) -> Bank:
    """Strongest held-out stimuli of all members of both runs, at most `_MOST_STIMULI`, strongest ranks first."""
    is_held_out = sides[0].is_held_out & sides[1].is_held_out
    rows: dict[tuple[int, float, float], None] = {}
    for rank in range(_PER_MEMBER):
        found = [row for side in sides for row in _stimuli_of_rank(side, name, rank) if is_held_out[row[0]]]
        own = [row for row in dict.fromkeys(found) if row not in rows]
        room = _MOST_STIMULI - len(rows)
        if len(own) > room:
            # All over both runs: the last families of the second would otherwise be shown nothing of theirs.
            own = [own[i] for i in np.linspace(0, len(own) - 1, room).astype(int)]
        rows |= dict.fromkeys(own)
    chosen = sorted(rows)
    image = np.array([row[0] for row in chosen], np.int64)
    return Bank(
        layer="+".join(side.model.name for side in sides),
        half=np.ones(len(chosen), np.int64),
        image=image,
        position=np.zeros((len(chosen), 2), np.int64),
        photograph=np.asarray(images.groups, np.int64)[image],
        centre_px=np.array([row[1:] for row in chosen], np.float64).reshape(-1, 2),
    )


def _stimuli_of_rank(side: _Side, name: str, rank: int) -> Iterator[tuple[int, float, float]]:
    """Image and centre (y, x), px, of the stimulus of one rank of each member, in the verifying half."""
    for family in side.families(name):
        own, geometry = side.examples[family.layer], side.geometries[family.layer]
        if rank >= own.image.shape[2]:
            continue
        image, value = own.image[1, family.channels, rank], own.value[1, family.channels, rank]
        position = own.position[1, family.channels, rank]
        zeros = np.zeros(len(image), np.int64)
        centres = centres_px(Bank(family.layer, zeros, image, position, zeros), geometry)
        for index, strength, (y, x) in zip(image.tolist(), value.tolist(), centres.tolist(), strict=True):
            if index != NO_IMAGE and strength > 0:
                yield index, y, x


def _compare_one(
    a: _Side,
    b: _Side,
    images: ImageSet,
    name: str,
    n_draws: int,
    false_discovery_rate: float,
    seed: int,
    precision: torch.dtype,
    progress: Progress,
) -> tuple[ComparedTransformation, list[Match], list[ComparedFamily]]:
    """Compare the families of both runs under one transformation."""
    group = _group(a.run, b.run, name)
    families = (a.families(name), b.families(name))
    nothing = NullSummary(0, 0.0, 0.0, nan)
    if not families[0] or not families[1]:
        lacking = " and ".join(side.model.name for side, own in zip((a, b), families, strict=True) if not own)
        note = f"{lacking} has no {name} family to compare"
        entry = ComparedTransformation(name, group.order, 0, 0, nothing, nothing, note)
        return entry, [], _describe(families, None, {}, name, note)
    bank = _shared_bank((a, b), images, name)
    n_photographs = len(np.unique(bank.photograph))
    if n_photographs < 2:
        raise EquiscopeError(
            f"{n_photographs} photograph(s) of {images.name} with stimuli for {name} took no part in finding families "
            "in either run: one half must choose and the other score; give more images, or survey both with one seed"
        )
    measured = [
        _measure(side, own, images, bank, group, name, precision, progress)
        for side, own in zip((a, b), families, strict=True)
    ]
    with progress(f"{name}: matching families", 1) as on_step:
        found = find_counterparts(
            measured[0],
            measured[1],
            group,
            bank.photograph,
            n_draws=n_draws,
            seed=seed,
            false_discovery_rate=false_discovery_rate,
        )
        on_step(1)
    unit = 360.0 / group.order if isinstance(group, CyclicGroup) else 1.0
    matches = [
        Match(
            name,
            families[0][pair.a].id,
            families[1][pair.b].id,
            pair.q_value <= false_discovery_rate,
            pair.pose_q_value <= false_discovery_rate,
            pair.score,
            pair.score_low,
            pair.score_high,
            pair.q_value,
            pair.pose_q_value,
            pair.offset * unit,
            pair.offset_difference * unit,
        )
        for pair in found.pairs
    ]
    # The highest score of each family stands: a feature that several layers pass on has a counterpart in each.
    partners = {(run, getattr(m, run)): m for run in "ab" for m in reversed(matches)}
    entry = ComparedTransformation(name, group.order, len(bank), n_photographs, found.null, found.pose_null)
    return entry, matches, _describe(families, found, partners, name, "")


def _group(run_a: Run, run_b: Run, name: str) -> CyclicGroup | Involution:
    """Elements that both networks are shown: as many angles as the finer of the two surveys had."""
    if name == "rotation":
        return CyclicGroup(max(run.manifest["settings"]["angles"] for run in (run_a, run_b)))
    return CyclicGroup(_N_HUES, "hue") if name == "hue" else Involution(name)


def _measure(
    side: _Side,
    families: Sequence[Family],
    images: ImageSet,
    bank: Bank,
    group: CyclicGroup | Involution,
    name: str,
    precision: torch.dtype,
    progress: Progress,
) -> FamilyResponses:
    """Show one network the shared stimuli and put the units of its families' layers side by side."""
    used = {f.layer for f in families}
    geometries = [g for layer, g in side.geometries.items() if layer in used]
    joint_px = joint_patch_px(geometries)
    parts = []
    together = [geometries] if joint_px is not None else [[g] for g in geometries]
    with progress(f"{name}: showing {side.model.name}", len(bank) * len(together)) as on_stimuli:
        for some in together:
            n_units = sum(g.n_channels for g in some)
            array = np.full((len(bank), group.order, n_units), np.nan, np.float32)
            responses = Responses(bank, group, array)
            measure_responses(
                side.model, images, some, responses,
                size_px=joint_px or some[0].patch_px, precision=precision, on_stimuli=on_stimuli,
            )  # fmt: skip
            parts.append(responses.read(0, len(bank)))
    start_of, start = {}, 0
    for geometry in geometries:
        start_of[geometry.layer] = start
        start += geometry.n_channels
    kinds = {(u.layer, u.channel): u.under(name).kind for u in side.run.units}
    per_degree = group.order / 360.0 if isinstance(group, CyclicGroup) else 1.0
    return FamilyResponses(
        responses=np.concatenate(parts, axis=2),
        members=tuple(start_of[f.layer] + f.channels for f in families),
        poses=tuple(np.array([_pose(m, name) for m in f.members]) * per_degree for f in families),
        stabiliser_orders=tuple(max(1, f.stabiliser_order) for f in families),
        layer_of_unit=np.repeat(np.arange(len(geometries)), [g.n_channels for g in geometries]),
        is_varying=np.array(
            [
                kinds.get((g.layer, channel)) in ("equivariant", "neither")
                for g in geometries
                for channel in range(g.n_channels)
            ]
        ),
    )


def _pose(member: Member, name: str) -> float:
    """Pose under a transformation: degrees, or 0 and 1."""
    match name:
        case "rotation":
            return member.pose_deg
        case "hue":
            return member.hue_deg
        case "reflection":
            return float(member.is_mirrored)
        case _:
            return float(member.is_inverted)


def _describe(
    families: Sequence[Sequence[Family]],
    found: Counterparts | None,
    partners: dict[tuple[str, str], Match],
    name: str,
    note: str,
) -> list[ComparedFamily]:
    """Say of each family of both runs what became of it."""
    described = []
    for number, (run, own) in enumerate(zip("ab", families, strict=True)):
        others = families[1 - number]
        for i, family in enumerate(own):
            match = partners.get((run, family.id))
            nearest, score = None, nan
            if found is not None:
                row = found.scores[i] if number == 0 else found.scores[:, i]
                if np.isfinite(row).any():
                    best = int(np.nanargmax(row))
                    nearest, score = others[best].id, float(row[best])
            if match is None:
                reason = note or (
                    "its members do not respond to the shared stimuli" if nearest is None
                    else "no family is its best match, and it that one's, on both halves of the photographs"
                )  # fmt: skip
            else:
                reason = _SHORTFALLS[match.is_counterpart, match.is_alike]
            counterpart = None
            if match is not None and match.is_counterpart:
                counterpart = match.b if run == "a" else match.a
            members = sorted(
                (ComparedMember(m.layer, m.channel, _pose(m, name)) for m in family.members),
                key=lambda m: (m.pose, m.channel),
            )
            described.append(
                ComparedFamily(
                    run, family.id, family.layer, name, family.stabiliser_order,
                    counterpart, nearest, score, reason, tuple(members),
                )
            )  # fmt: skip
    return described
