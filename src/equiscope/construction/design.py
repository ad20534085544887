"""Design a network from a survey: how many units of each layer to tie to which group, how many to leave free.

The shares that a survey found are taken as they are: of a layer of 64 units with 32 equivariant and 8 invariant ones,
32 channels become fields, 8 invariant units, and 24 stay plain. So the new network has as many kinds of units as the
surveyed one, and fewer free parameters.

The group of a layer is the one whose step is nearest to the typical step of the layer's families: the family's period
over its size, as a geometric mean over members. Families of eight curves have a step of 45°, so that their layer gets
C8. Groups may only become smaller from layer to layer; of all such sequences the one is taken that is nearest to the
measured steps, weighted by the numbers of equivariant units. A bottleneck, which is not surveyed, gets the shares of
its block, and one field or one invariant unit at least where equivariant or invariant units behind it need one. Kernels
too small for a group grow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import get_args

import numpy as np

from equiscope.construction.budget.kinds import draw_weights, kinds_under
from equiscope.construction.equivariant import Fields
from equiscope.construction.equivariant.convolution import PlainTo
from equiscope.construction.equivariant.fields import action_of
from equiscope.construction.training.architectures import (
    ARCHITECTURES,
    describe_network,
    grown_by,
    plain_twin,
)
from equiscope.construction.training.descriptions import (
    Convolution,
    Description,
    Inception,
    Layer,
    Pool,
    fields_of,
)
from equiscope.construction.training.matching import count
from equiscope.construction.training.widths import divide, divide_bottleneck, shares_of
from equiscope.families.asked import ANY
from equiscope.families.family import Family, Unit
from equiscope.foundations.documents import to_json
from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.foundations.files import write_atomically, write_output
from equiscope.foundations.statistics import percentile_interval
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.run import Run
from equiscope.transformations import ALL

__all__ = ["Design", "LayerDesign", "design_network"]

# Groups of each transformation, each a subgroup of the one after it: they may only become smaller from layer to layer.
_CHAINS = {transformation.name: transformation.designs for transformation in ALL if transformation.designs}
# Architectures of the networks that come with weights.
_LIKE = {"mini": "plain", "googlenet": "inceptionv1", "inception5h": "inceptionv1"}
# For the counts alone, which are compared with each other: sides and classes of Tiny ImageNet's first hundred.
_SIDE_PX, _N_CLASSES = 56, 100
_N_RESAMPLES = 1000


@dataclass(frozen=True)
class LayerDesign:
    """What a survey says of a layer, and what was made of it.

    Parameters
    ----------
    layer
        Name.
    is_surveyed
        Whether the survey had this layer; the others are plain.
    n_units, n_equivariant, n_invariant
        Units that were surveyed, and what they are under the transformation.
    equivariant_low, equivariant_high
        95 % interval of the share of equivariant units, by a bootstrap that draws families whole; NaN without a survey.
    n_families
        Families with members in the layer.
    step_deg
        Typical angle between neighbouring members of a family, degrees (of hue for hue); NaN without a family.
    group
        Whose fields the layer gets.
    fields, invariant, plain
        Fields, invariant units and plain units of the designed layer.
    share_equivariant, share_invariant
        Shares of its channels that these are: whole fields miss what was measured by a little.
    """

    layer: str
    is_surveyed: bool
    n_units: int
    n_equivariant: int
    n_invariant: int
    equivariant_low: float
    equivariant_high: float
    n_families: int
    step_deg: float
    group: str
    fields: int
    invariant: int
    plain: int
    share_equivariant: float
    share_invariant: float


@dataclass(frozen=True)
class Design:
    """A network designed from a survey.

    Parameters
    ----------
    transformation
        What its fields are equivariant to.
    description
        The network, as `equiscope.construction.training.train` takes it.
    layers
        From the survey to the design, layer by layer.
    free_parameters
        Numbers that its training would choose, with 100 classes.
    twin_free_parameters
        The same of its plain twin, which has the same widths and kernels.
    free_share_by_transformation
        Share of its plain twin's parameters that each transformation would leave free if plain units fed all others, so
        that ties alone make the difference; the smallest was chosen if none was asked for.
    verdict
        Which families were asked for: ``copies``, ``alike`` or ``any``.
    """

    transformation: str
    description: Description
    layers: tuple[LayerDesign, ...]
    free_parameters: int
    twin_free_parameters: int
    free_share_by_transformation: Mapping[str, float]
    verdict: str = ANY


@dataclass(frozen=True)
class _Measured:
    """What a survey says of one layer under one transformation."""

    n_units: int
    n_equivariant: int
    n_invariant: int
    n_families: int
    step_deg: float


def design_network(
    run: Run,
    *,
    like: str | Path | Description | None = None,
    transformation: str | None = None,
    plain_to: str = "plain",
    name: str = "designed",
    out: Path | None = None,
) -> Design:
    """Propose a network whose layers have the shares of equivariant, invariant and plain units that a survey found.

    Parameters
    ----------
    run
        A finished survey.
    like
        Network whose layers, widths and kernels are taken, as `equiscope.construction.training.describe_network` has
        it; its layers are matched to surveyed ones by name. None for the network that was surveyed, where its
        architecture is known.
    transformation
        ``"rotation"``, ``"dihedral"`` or ``"hue"``; None for the one that leaves the smallest share of
        parameters free.
    plain_to
        What plain units may feed: ``"plain"`` units only, which keeps the promise of the tied ones, or ``"all"``, as in
        nature, where the promise holds for kernels and not for features.
    name
        Of the new network.
    out
        File that ``equiscope train`` takes, ``.json``; None for ``design.json`` in the run's folder.

    Returns
    -------
    Design
        Layers that were not surveyed are plain.

    Raises
    ------
    EquiscopeError
        If the survey has no such transformation, the architecture is not known, or none of its layers was surveyed.

    Examples
    --------
    >>> from equiscope import load_run
    >>> design = design_network(load_run("equiscope-runs/mini"), transformation="rotation")
    >>> [layer.layer for layer in design.layers if layer.fields]
    ['conv2d0', 'conv2d1']
    >>> 0.5 < design.free_parameters / design.twin_free_parameters < 1
    True
    """
    if plain_to not in get_args(PlainTo):
        raise unknown_name("value of plain_to", plain_to, get_args(PlainTo))
    base = _architecture(run, like)
    surveyed = _surveyed(run, base, transformation)
    designs = {t: _describe(run, base, t, plain_to, name) for t in surveyed}
    # Where plain units feed plain ones only, kernels are missing: only with all of them do ties alone tell.
    shares = {t: _n_free(replace(d, plain_to="all")) / _n_free(plain_twin(d)) for t, d in designs.items()}
    chosen = transformation or min(shares, key=lambda t: shares[t])
    found = _sum_up(run, chosen, designs[chosen], shares)
    _write(found, run, out)
    return found


def _sum_up(run: Run, chosen: str, description: Description, shares: Mapping[str, float]) -> Design:
    """Put everything together that is told of a design under the chosen transformation."""
    layers = tuple(_compare(run, layer, chosen) for layer in description.units)
    n_free, n_twin = _n_free(description), _n_free(plain_twin(description))
    return Design(chosen, description, layers, n_free, n_twin, shares, run.verdict)


def _surveyed(run: Run, base: Description, transformation: str | None) -> list[str]:
    """Name the transformations of a survey that a network can be designed for; refuse where there is none."""
    surveyed = [t for t in run.manifest["settings"]["transformations"] if t in _CHAINS]
    if transformation is not None and transformation not in _CHAINS:
        raise unknown_name("transformation to design for", transformation, tuple(_CHAINS))
    if not surveyed or (transformation is not None and transformation not in surveyed):
        raise EquiscopeError(
            f"the survey in {run.folder} has no families of {transformation or ' or '.join(_CHAINS)}: survey "
            f"with --transformations {transformation or next(iter(_CHAINS))}"
        )
    names = [layer.name for layer in base.units]
    if not set(names) & set(run.manifest["settings"]["layers"]):
        raise EquiscopeError(
            f"no layer of {base.name!r} ({', '.join(names)}) was surveyed in {run.folder} "
            f"({', '.join(run.manifest['settings']['layers'])}): give a network with the same names as like"
        )
    return surveyed


def _write(found: Design, run: Run, out: Path | None) -> None:
    document = asdict(replace(found, layers=())) | {
        "description": found.description.document(),
        "layers": [asdict(layer) for layer in found.layers],
    }
    content = to_json({"schema_version": SCHEMA_VERSION, **document}).encode()
    write = write_atomically if out is None else write_output
    write(run.folder / "design.json" if out is None else out, lambda stream: stream.write(content))


def _n_free(description: Description) -> int:
    return count(description, _SIDE_PX, _N_CLASSES).free_parameters


def _architecture(run: Run, like: str | Path | Description | None) -> Description:
    """Give the network whose layers are taken, every unit plain."""
    if like is not None:
        return plain_twin(describe_network(like))
    name = run.manifest["model"]["name"]
    known = _LIKE.get(name, name)
    if known not in ARCHITECTURES:
        raise EquiscopeError(
            f"the architecture of {name!r} is not known: name a network with layers of the same names by --like, such "
            f"as {', '.join(ARCHITECTURES)} or a description (docs/training.md)"
        )
    return plain_twin(ARCHITECTURES[known]())


def _measure(run: Run, layer: str, transformation: str) -> _Measured:
    """Count a layer's units by kind, and find the typical step of its families."""
    kinds = [unit.under(transformation).kind for unit in run.units if unit.layer == layer]
    families = [f for f in run.families if f.layer == layer and f.transformation == transformation]
    members = sum(family.size for family in families)
    logarithms = sum(family.size * math.log(_step_deg(family)) for family in families)
    return _Measured(
        len(kinds),
        kinds.count("equivariant"),
        kinds.count("invariant"),
        len(families),
        math.exp(logarithms / members) if members else math.nan,
    )


def _step_deg(family: Family) -> float:
    """Angle between neighbouring members if they were evenly spaced, degrees: the period over the places taken."""
    n_places = family.size - len(family.duplicates)
    if any(member.is_mirrored for member in family.members):
        n_places = math.ceil(n_places / 2)
    return 360.0 / family.stabiliser_order / max(1, n_places)


def _choose_groups(measured: Sequence[_Measured], transformation: str) -> list[str]:
    """Choose a group for each layer, each a subgroup of the one before, nearest to the measured steps."""
    chain = _CHAINS[transformation]
    steps = np.log2([360.0 / _n_steps(group) for group in chain])
    wanted = np.log2([m.step_deg for m in measured])
    weights = np.array([float(m.n_equivariant) for m in measured])
    distances = weights[:, None] * np.abs(wanted[:, None] - steps)
    # A layer without families gets the smallest group that later ones allow, which any kernel can hold.
    costs = np.where(weights[:, None] > 0, distances, 1e-9 * np.arange(len(chain)))
    largest_first = range(len(chain) - 1, -1, -1)
    best = min(
        combinations_with_replacement(largest_first, len(measured)),
        key=lambda groups: sum(costs[layer, group] for layer, group in enumerate(groups)),
    )
    return [chain[group] for group in best]


def _n_steps(group: str) -> int:
    """Rotations of a group, or turns of hue."""
    action = action_of(group)
    return max(action.n_angles, action.n_hues)


def _describe(run: Run, base: Description, transformation: str, plain_to: str, name: str) -> Description:
    """Give the network of the same widths with the measured shares."""
    measured = [_measure(run, layer.name, transformation) for layer in base.units]
    groups = dict(
        zip((layer.name for layer in base.units), _choose_groups(measured, transformation), strict=True)
    )
    shares = {
        layer.name: (m.n_equivariant / m.n_units, m.n_invariant / m.n_units) if m.n_units else (0.0, 0.0)
        for layer, m in zip(base.units, measured, strict=True)
    }
    layers: list[Layer] = []
    before: Fields | None = None
    for layer in base.layers:
        if isinstance(layer, Pool):
            layers.append(layer)
            continue
        group, (equivariant, invariant) = groups[layer.name], shares[layer.name]
        if before is not None and not before.n_tied_channels and plain_to == "plain":
            equivariant = invariant = 0.0  # nothing that keeps the promise would reach them
        made = (
            _convolution(layer, group, equivariant, invariant, before, plain_to)
            if isinstance(layer, Convolution)
            else _block(layer, group, equivariant, invariant, before, plain_to)
        )
        layers.append(made)
        before = made.fields
    tied = [fields.action for layer in layers for fields in fields_of(layer) if fields.n_tied_channels]
    is_fine = any(not action.is_exact(g) for action in tied for g in range(action.order))
    return Description(name, tuple(layers), bool(tied), plain_to, is_fine)


def _can_mix(before: Fields | None, plain_to: str) -> bool:
    """Whether a kernel of 1 px may feed fields: it cannot make them of units with one picture in every channel."""
    return before is not None and (before.equivariant > 0 or plain_to == "all")


def _convolution(
    layer: Convolution, group: str, equivariant: float, invariant: float, before: Fields | None, plain_to: str
) -> Convolution:
    """Divide a convolution's units."""
    if layer.kernel_px == 1 and not _can_mix(before, plain_to):
        equivariant = 0.0
    (fields,) = divide([layer.fields.n_channels], equivariant, invariant, group)
    return replace(layer, fields=fields, kernel_px=layer.kernel_px + grown_by(group, [layer.kernel_px]))


def _block(
    layer: Inception, group: str, equivariant: float, invariant: float, before: Fields | None, plain_to: str
) -> Inception:
    """Divide a block's units, and those of its bottlenecks after them."""
    widths = [part.n_channels for part in layer.outputs]
    if _can_mix(before, plain_to):
        direct, *outs, pooled = divide(widths, equivariant, invariant, group)
    else:
        # Only the larger kernels can lift: they get the fields of the whole block, where it has such kernels.
        within = min(1.0, equivariant * sum(widths) / max(1, sum(widths[1:-1])))
        direct, pooled = divide([widths[0], widths[-1]], 0.0, invariant, group)
        outs = divide(widths[1:-1], within, min(invariant, 1 - within), group)
    growth = grown_by(group, [side for _, _, side in layer.reduced])
    own = shares_of([direct, *outs, pooled])
    reduced = []
    for (bottleneck, _, side), out in zip(layer.reduced, outs, strict=True):
        shares = own if _can_mix(before, plain_to) else (0.0, own[1])
        narrow = divide_bottleneck(bottleneck.n_channels, *shares, group, out)
        reduced.append((narrow, out, side + growth))
    return Inception(layer.name, direct, tuple(reduced), pooled)


def _compare(run: Run, layer: Convolution | Inception, transformation: str) -> LayerDesign:
    """Set what was measured beside what was designed."""
    measured, fields = _measure(run, layer.name, transformation), layer.fields
    units = [unit for unit in run.units if unit.layer == layer.name]
    low, high = _share_interval(units, transformation) if units else (math.nan, math.nan)
    return LayerDesign(
        layer.name,
        measured.n_units > 0,
        measured.n_units,
        measured.n_equivariant,
        measured.n_invariant,
        low,
        high,
        measured.n_families,
        measured.step_deg,
        fields.group,
        fields.equivariant,
        fields.invariant,
        fields.plain,
        fields.n_field_channels / fields.n_channels,
        fields.invariant / fields.n_channels,
    )


def _share_interval(units: Sequence[Unit], transformation: str) -> tuple[float, float]:
    """Give the interval of a layer's share of equivariant units."""
    kinds = kinds_under(units, transformation)
    weights = draw_weights(kinds.cluster, _N_RESAMPLES, np.random.default_rng(0))[1:]
    low, high = percentile_interval(weights @ kinds.is_equivariant / weights.sum(1))
    return float(low), float(high)
