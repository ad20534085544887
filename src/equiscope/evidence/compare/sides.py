"""One run of a comparison, opened: which of its layers can be shown patches, and what drives its units most.

The shared stimuli are the strongest ones of all members of the families of both runs, from the half of the images that
did not find them (in both runs, where both surveyed these images), at most 1,024, strongest ranks first. A run that
surveyed other images has its strongest stimuli looked for in one pass over these. Each network is shown patches just as
large as its own layers need, about the same point: what lies further out cannot reach its units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from equiscope.evidence.compare.spectra import FamilyResponses
from equiscope.families.family import Family, Member
from equiscope.foundations.progress import Progress
from equiscope.measurement.bank import Bank, centres_px
from equiscope.measurement.examples import NO_IMAGE, Examples, collect_examples, split_halves
from equiscope.measurement.responses import Responses, measure_responses
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry, joint_patch_px
from equiscope.runs.examples import load_examples
from equiscope.runs.manifest import read_geometries
from equiscope.runs.run import Run
from equiscope.stimuli import ImageSet
from equiscope.transformations import find
from equiscope.transformations.groups import CyclicGroup, Involution

__all__ = ["Side", "choose_shared_stimuli", "measure_side", "member_pose", "open_side"]

# Strongest stimuli of each member that may be shown, and how many in all: a pass of both networks costs some
# milliseconds for each stimulus and element.
_PER_MEMBER = 4
_MOST_STIMULI = 1024


@dataclass(frozen=True)
class Side:
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


def open_side(
    run: Run, model: Model, images: ImageSet, names: Sequence[str], notes: list[str], progress: Progress
) -> Side:
    """Open a run's geometry and strongest stimuli; where it surveyed other images, look for them in these.

    Examples
    --------
    >>> from equiscope import load_run, open_images
    >>> from equiscope.foundations.progress import silent
    >>> from equiscope.models import load_model
    >>> run, images = load_run("equiscope-runs/mini"), open_images()
    >>> side = open_side(run, load_model("mini"), images, ["hue"], [], silent)
    >>> list(side.geometries), side.has_these_images
    (['conv2d0', 'conv2d1'], True)
    """
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
        return Side(run, model, geometries, examples, is_held_out, True)
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
    return Side(run, model, geometries, examples, np.ones(len(images), bool), False)


def choose_shared_stimuli(sides: Sequence[Side], images: ImageSet, name: str) -> Bank:
    """Strongest held-out stimuli of all members of both runs, at most `_MOST_STIMULI`, strongest ranks first.

    Examples
    --------
    >>> from equiscope import load_run, open_images
    >>> from equiscope.foundations.progress import silent
    >>> from equiscope.models import load_model
    >>> runs, images = [load_run(f"equiscope-runs/{name}") for name in ("mini", "seed-1")], open_images()
    >>> sides = [open_side(run, load_model("mini"), images, ["hue"], [], silent) for run in runs]
    >>> bank = choose_shared_stimuli(sides, images, "hue")
    >>> len(bank) > 0, [bool(side.is_held_out[bank.image].all()) for side in sides]
    (True, [True, True])
    """
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


def _stimuli_of_rank(side: Side, name: str, rank: int) -> Iterator[tuple[int, float, float]]:
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


def measure_side(
    side: Side,
    families: Sequence[Family],
    images: ImageSet,
    bank: Bank,
    group: CyclicGroup | Involution,
    name: str,
    precision: torch.dtype,
    progress: Progress,
) -> FamilyResponses:
    """Show one network the shared stimuli and put the units of its families' layers side by side.

    Examples
    --------
    >>> from equiscope import load_run, open_images
    >>> from equiscope.foundations.progress import silent
    >>> from equiscope.models import load_model
    >>> run, images, group = load_run("equiscope-runs/mini"), open_images(), CyclicGroup(8)
    >>> side = open_side(run, load_model("mini"), images, ["hue"], [], silent)
    >>> shown = images, choose_shared_stimuli([side, side], images, "hue"), group, "hue", torch.float32, silent
    >>> measured = measure_side(side, side.families("hue"), *shown)
    >>> measured.responses.shape[1:], len(measured.members) == len(side.families("hue"))
    ((8, 144), True)
    """
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
        poses=tuple(np.array([member_pose(m, name) for m in f.members]) * per_degree for f in families),
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


def member_pose(member: Member, name: str) -> float:
    """Pose under a transformation: degrees, or 0 and 1.

    Examples
    --------
    >>> from equiscope.transformations import Pose
    >>> member_pose(Member("conv1", 3, Pose(angle_deg=45.0), 0.9, 0.8, 1.0), "rotation")
    45.0
    """
    (axis,) = find(name).axes
    return float(member.pose[axis.name])
