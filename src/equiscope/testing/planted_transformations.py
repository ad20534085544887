"""Networks whose families under hue, mirroring, contrast and scale are known by hand, to test a search for them.

A group element g acts on a unit by ``(g·u)(x) = u(g⁻¹·x)``. Poses are elements of the group of one transformation,
and a member is its family's base unit acted upon by its pose:

================  =====================================================================================
``hue``           turn of the chroma by ``hue_deg`` as `equiscope.transformations.pixels.colour.hue_matrix` does it
``hue-rotation``  that turn, and a counter-clockwise turn of the picture by ``pose_deg``; they commute
``reflection``    mirroring left to right where ``is_mirrored``
``dihedral``      first that mirroring, then a counter-clockwise turn by ``pose_deg``
``contrast``      mirroring of luma at mid-grey where ``is_inverted``, as `invert_contrast` does it
``scale``         enlargement of the picture about the unit's centre by ``2 ** octaves``
================  =====================================================================================
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from equiscope.foundations.errors import unknown_name
from equiscope.models.model import Model
from equiscope.testing.planted import (
    Pattern,
    _arc,
    _bar,
    _blurring_stem,
    _cross,
    _expected_sd,
    _half_edge,
    _kernel,
    _random,
    _spot,
)
from equiscope.transformations.pixels.colour import LUMA, hue_matrix

__all__ = ["PlantedOrbit", "PlantedPose", "PlantedTransformations", "planted_transformation"]

# Chroma coordinate along hue 0°, as a functional of RGB: the direction of red across the grey axis, so that it is
# zero for every grey.
_ALONG_RED = torch.tensor([2.0, -1.0, -1.0], dtype=torch.float64) / math.sqrt(6)
# How much more a unit that reads both weighs chroma than luma, so that photographs, which are duller than they are
# contrasted, drive it by both.
_CHROMA_GAIN = 2.5
# Threshold in units of `_expected_sd`, by what the unit reads; higher than in `planted` because small photographs,
# which these were measured on, have more detail. See the notes of `planted_transformation` for the shares.
_THRESHOLD_SD = {"luma": 0.35, "chroma": 0.1, "both": 0.4}

# Radius of the window at octave 0, image px; kernels of half an octave more still fit into `_SCALE_KERNEL_PX`.
_SCALE_WINDOW_PX = 6.5
# Side of the kernels, early in image px and late in px of the stem: 2 ceil(6.5 · √2) - 1.
_SCALE_KERNEL_PX = 19
_BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=torch.float64) / 16


@dataclass(frozen=True)
class PlantedPose:
    """A unit and the element of the group that carries its family's base unit to it.

    Parameters
    ----------
    layer, channel
        The unit.
    pose_deg
        Counter-clockwise turn, degrees in [0, 360).
    hue_deg
        Turn of the hue, degrees in [0, 360), positive from red over green to blue.
    octaves
        Enlargement in image pixels, log2.
    is_mirrored
        Whether the base is mirrored left to right, before it is turned.
    is_inverted
        Whether light and dark are exchanged.

    Notes
    -----
    What does not apply to the transformation is NaN or False.
    """

    layer: str
    channel: int
    pose_deg: float = math.nan
    hue_deg: float = math.nan
    octaves: float = math.nan
    is_mirrored: bool = False
    is_inverted: bool = False


# To be filled in by `replace`.
_POSE = PlantedPose("", -1)


@dataclass(frozen=True)
class PlantedOrbit:
    """Units that are transformed copies of one feature.

    Parameters
    ----------
    name
        What the feature shows.
    transformation
        ``"hue"``, ``"hue-rotation"``, ``"reflection"``, ``"dihedral"``, ``"contrast"`` or ``"scale"``.
    members
        The units with their poses. Only ``pose_v · pose_u⁻¹`` can be measured, up to the stabiliser.
    stabiliser
        The elements that leave the base unit as it is, in words.
    """

    name: str
    transformation: str
    members: tuple[PlantedPose, ...]
    stabiliser: str


@dataclass(frozen=True)
class PlantedTransformations:
    """A network and the truth about its units under one transformation.

    Parameters
    ----------
    model
        The network. Its layers are ``model.default_layers``: ``"planted"``, for scale ``"early"`` and ``"late"``.
    orbits
        The families. With `other` they are a partition of the channels.
    other
        For each layer the channels in no family of the transformation.
    invariant
        For each layer those of them that every element of the group leaves as they are.
    kinds
        For each layer and channel what the unit is, in words.
    """

    model: Model
    orbits: tuple[PlantedOrbit, ...]
    other: dict[str, tuple[int, ...]]
    invariant: dict[str, tuple[int, ...]]
    kinds: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class _Unit:
    """A channel before the shuffle: its kernel, shape (3, y, x), its bias, and its place in the truth."""

    weight: Tensor
    bias: float
    kind: str
    orbit: str = ""
    pose: PlantedPose = _POSE
    is_invariant: bool = False


@dataclass(frozen=True)
class _Recipe:
    """The units of each layer, and for the name of each orbit its stabiliser."""

    layers: Mapping[str, Sequence[_Unit]]
    stabilisers: Mapping[str, str]


def planted_transformation(transformation: str, seed: int = 0) -> PlantedTransformations:
    """Build a network of analytic kernels whose families under one transformation are known.

    ================  =================================================================================
    ``hue``           colour spots of two sizes (seven members with a duplicate and a hole of 115°; five)
                      and colour edges (four), all with trivial stabiliser. Invariant: four black-and-white
                      units. Look-alikes: a colour cross, a colour curve, and a spot that reads luma and
                      chroma
    ``hue-rotation``  ten colour edges, odd patterns times a linear reading of chroma, so that turning both
                      hue and picture by 180° leaves them: two members have poses that differ by just that.
                      Seven colour curves with trivial stabiliser. Not in them: three colour spots (hue
                      moves them, rotation does not), three black-and-white edges (the reverse), a colour
                      edge that ends and one that also reads luma. Invariant to both: a grey spot
    ``reflection``    four pairs of smooth random patterns and a pair of oblique curves. Invariant: four
                      patterns that are their own mirror images. Look-alikes: a member mirrored top to
                      bottom, another turned by 180°, an oblique curve, random patterns
    ``dihedral``      nine spirals, five of them right- and four left-handed, with trivial stabiliser:
                      under rotation alone they are two families. Five curves, which are one rotation
                      family; their stabiliser is the mirror, so that poses (θ, plain) and (θ, mirrored)
                      are the same. Invariant: two spots. Look-alikes: a spiral of two arms, one of
                      shorter pitch, a half edge, random patterns
    ``contrast``      five even pairs (light and dark bars, spots, curves, crosses, random) and two odd
                      ones (edges, odd Gabors): an odd kernel inverted is also itself turned by 180°.
                      Invariant: two colour spots, because inversion keeps chroma. Look-alikes: a kernel
                      and its negative that read luma and chroma, which inversion does not exchange, and
                      units without a partner
    ``scale``         spots and curves at octaves 0 and 0.5 in ``early``, 1 and 1.5 in ``late``; half edges
                      at 0.5 and 1; crosses at 0 and 1.5. Look-alikes: random patterns, a bar, an arc of
                      stronger curvature at octave 1
    ================  =================================================================================

    Parameters
    ----------
    transformation
        One of the above.
    seed
        Shuffles the channels; the kernels are the same for every seed.

    Returns
    -------
    PlantedTransformations
        The network and its truth.

    Raises
    ------
    EquiscopeError
        If the transformation is unknown.

    Notes
    -----
    A kernel is a pattern, of zero mean and unit norm under a round window, times a functional of RGB: Rec. 709
    luma, or a chroma coordinate of unit norm that is zero for every grey. All members of a family have one bias.
    There is no padding.

    Hue, reflection and contrast are exact but for the rounding of float32. Turned kernels are sampled from their
    formula at their own angles: on scenes with a spectrum of 1/f below 0.3 cycles per px, responses that should be
    one differ by no more than 0.001 of their standard deviation.

    The early layer of ``scale`` has stride 1, the late one stands behind a blurring stem of stride 2, and both have
    a position on the middle of a patch of 41 px, 45 px, and so on. A kernel at s octaves is the base as a density,
    ``k(x / 2**s) / 4**s``, with unit norm at octave 0, so that ``v(2**s·x) = u(x)`` without a gain. Late kernels
    are the least squares solution for stem and kernel together being that density. On the same scenes the responses
    of all four members of a family differ by no more than 0.003 of their standard deviation; weighed by 1/f, late
    kernels of families miss the density by 0.03 to 0.7 %, and without the compensation would by 4 to 15 %. Random
    patterns, which are in no family, miss it by 1 to 3 %.

    Units fire on 1 to 8 % of the positions of the embedded photographs at 128 and 256 px, 14 of 26 without colour;
    on those in colour, the units that read chroma on 2 to 15 %, depending on their hue.
    Correlations of rectified responses at random positions of them: units of different families, or of none,
    0.92 or less at every sampled element. The nearest are an edge or spot that also reads luma and its
    black-and-white or coloured counterpart. Hue tuning is as broad as a linear reading of chroma makes it: 0.95 at
    45° off.
    """
    if transformation not in _RECIPES:
        raise unknown_name("planted transformation", transformation, _RECIPES)
    recipe = _RECIPES[transformation]()
    generator = torch.Generator().manual_seed(seed)
    members: dict[str, list[PlantedPose]] = {name: [] for name in recipe.stabilisers}
    other, invariant, kinds, convolutions = {}, {}, {}, {}
    for layer, units in recipe.layers.items():
        order = torch.randperm(len(units), generator=generator).tolist()
        for channel, unit in zip(order, units, strict=True):
            if unit.orbit:
                members[unit.orbit].append(replace(unit.pose, layer=layer, channel=channel))
        placed = [unit for _, unit in sorted(zip(order, units, strict=True), key=lambda pair: pair[0])]
        other[layer] = tuple(channel for channel, unit in enumerate(placed) if not unit.orbit)
        invariant[layer] = tuple(channel for channel, unit in enumerate(placed) if unit.is_invariant)
        kinds[layer] = tuple(unit.kind for unit in placed)
        convolutions[layer] = _convolution(placed)
    module: nn.Module
    if transformation == "scale":
        module = _TwoScales(convolutions["early"], convolutions["late"])
    else:
        module = nn.Sequential(OrderedDict(planted=convolutions["planted"], relu=nn.ReLU()))
    return PlantedTransformations(
        Model(module.eval(), name=f"planted-{transformation}", default_layers=tuple(recipe.layers)),
        tuple(
            PlantedOrbit(name, transformation, tuple(members[name]), stabiliser)
            for name, stabiliser in recipe.stabilisers.items()
        ),
        other,
        invariant,
        kinds,
    )


class _TwoScales(nn.Module):
    """A layer that reads the image itself, and one that reads it blurred at stride 2."""

    def __init__(self, early: nn.Conv2d, late: nn.Conv2d) -> None:
        super().__init__()
        self.early = early
        self.stem = _blurring_stem()
        self.late = late
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Respond with both layers, whose grids differ."""
        early: Tensor = self.relu(self.early(images))
        late: Tensor = self.relu(self.late(self.stem(images)))
        return early, late


def _convolution(units: Sequence[_Unit]) -> nn.Conv2d:
    """Build a convolution with one channel a unit, in the order given."""
    weight = torch.stack([unit.weight for unit in units])
    # On "meta" torch draws no initial weights, so that its global random state stays as it is.
    convolution = nn.Conv2d(3, len(units), weight.shape[-1], device="meta")
    convolution.weight = nn.Parameter(weight.float())
    convolution.bias = nn.Parameter(torch.tensor([unit.bias for unit in units]))
    return convolution


def _luma() -> Tensor:
    """Rec. 709 luma as a functional of RGB, shape (3,)."""
    return torch.tensor(LUMA, dtype=torch.float64)


def _chroma(hue_deg: float) -> Tensor:
    """Chroma coordinate along a hue as a functional of RGB, shape (3,).

    A row vector from the right of the inverse turn, so that it answers to turned colours as the one of hue 0°
    answers to the colours themselves.
    """
    return _ALONG_RED @ hue_matrix(-hue_deg)


def _both(hue_deg: float) -> Tensor:
    """Luma and chroma at once, shape (3,)."""
    return _luma() + _CHROMA_GAIN * _chroma(hue_deg)


def _times(kernel: Tensor, functional: Tensor) -> Tensor:
    """Make the kernel of a convolution that reads colours by a functional, shape (3, y, x)."""
    return functional[:, None, None] * kernel


def _bias(pattern: Pattern, reads: str) -> float:
    """Threshold of all units of a pattern, from its upright kernel, so that poses have no part in it."""
    return -_THRESHOLD_SD[reads] * _expected_sd(_kernel(pattern, 0.0))


def _grey(
    pattern: Pattern,
    kind: str,
    pose_deg: float = 0.0,
    *,
    orbit: str = "",
    pose: PlantedPose = _POSE,
    is_invariant: bool = False,
) -> _Unit:
    """Build a unit that reads luma; its threshold is that of the upright, unmirrored, uninverted pattern."""
    kernel = _kernel(_mirrored(pattern) if pose.is_mirrored else pattern, pose_deg)
    if pose.is_inverted:
        kernel = -kernel
    return _Unit(_times(kernel, _luma()), _bias(pattern, "luma"), kind, orbit, pose, is_invariant)


def _coloured(
    pattern: Pattern,
    kind: str,
    hue_deg: float,
    pose_deg: float = 0.0,
    *,
    orbit: str = "",
    pose: PlantedPose = _POSE,
    is_invariant: bool = False,
) -> _Unit:
    """Build a unit that reads the chroma along a hue."""
    weight = _times(_kernel(pattern, pose_deg), _chroma(hue_deg))
    return _Unit(weight, _bias(pattern, "chroma"), kind, orbit, pose, is_invariant)


def _mirrored(pattern: Pattern) -> Pattern:
    """Left to right."""
    return lambda y, x: pattern(y, -x)


def _edge(width_px: float) -> Pattern:
    """Bright above dark, the derivative of a round Gaussian: exactly odd."""
    return lambda y, x: -y * torch.exp(-(y**2 + x**2) / (2 * width_px**2))


def _odd_gabor(wavelength_px: float, width_px: float) -> Pattern:
    return lambda y, x: (
        -torch.sin(2 * math.pi * y / wavelength_px) * torch.exp(-(y**2 + x**2) / (2 * width_px**2))
    )


def _spiral(pitch_px: float, width_px: float, n_arms: int = 1) -> Pattern:
    """As many bright as dark arms that wind clockwise on screen as they go out, under a Gaussian.

    The pitch is the distance of neighbouring bright arms along a radius. A long one leaves little of a hand: in
    photographs, whose coarse structure is the strongest, a spiral of one arm is then nearly an edge.
    """

    def pattern(y: Tensor, x: Tensor) -> Tensor:
        radius = torch.hypot(x, y)
        # An azimuth has no value at the centre itself, and must leave it smoothly: a kink is sampled differently
        # at every pose.
        envelope = torch.tanh(radius / 3) ** n_arms * torch.exp(-((radius / width_px) ** 2) / 2)
        return envelope * torch.cos(n_arms * torch.atan2(-y, x) + 2 * math.pi * radius / pitch_px)

    return pattern


def _hue_recipe() -> _Recipe:
    units: list[_Unit] = []
    stabilisers = {}
    for name, pattern, hues_deg in (
        ("small colour spots", _spot(1.6), (0.0, 20.0, 75.0, 130.0, 185.0, 185.0, 300.0)),
        ("large colour spots", _spot(4.0), (10.0, 55.0, 160.0, 210.0, 320.0)),
        ("colour edges", _edge(2.5), (15.0, 80.0, 160.0, 290.0)),
    ):
        stabilisers[name] = "{0°}"
        for hue_deg in hues_deg:
            pose = replace(_POSE, hue_deg=hue_deg)
            units.append(_coloured(pattern, f"{name}, hue {hue_deg:g}°", hue_deg, orbit=name, pose=pose))
    for name, pattern in (
        ("small black-and-white spot", _spot(1.6)),
        ("large black-and-white spot", _spot(4.0)),
        ("black-and-white edge", _edge(2.5)),
        ("black-and-white half edge", _half_edge(2.5)),
    ):
        units.append(_grey(pattern, f"{name}, hue-invariant", is_invariant=True))
    units.append(_coloured(_cross(2.2), "colour cross, hue 75°", 75.0))
    units.append(_coloured(_arc(7.0, 2.0), "colour curve, hue 130°", 130.0))
    both = _times(_kernel(_spot(1.6), 0.0), _both(75.0))
    units.append(_Unit(both, _bias(_spot(1.6), "both"), "small spot that reads luma and hue 75°"))
    return _Recipe({"planted": units}, stabilisers)


def _hue_rotation_recipe() -> _Recipe:
    units: list[_Unit] = []
    edges = (
        (0, 0),
        (25, 60),
        (75, 130),
        (75, 220),
        (140, 35),
        (200, 95),
        (250, 160),
        (300, 10),
        (120, 190),
        (340, 300),
    )
    curves = ((0, 0), (50, 110), (110, 30), (170, 200), (230, 290), (290, 160), (290, 70))
    for name, pattern, poses in (
        ("colour edges", _edge(2.5), edges),
        ("colour curves", _arc(7.0, 2.0), curves),
    ):
        for hue_deg, pose_deg in poses:
            pose = replace(_POSE, hue_deg=float(hue_deg), pose_deg=float(pose_deg))
            kind = f"{name}, hue {hue_deg}°, turned by {pose_deg}°"
            units.append(_coloured(pattern, kind, hue_deg, pose_deg, orbit=name, pose=pose))
    for hue_deg in (10, 100, 220):
        kind = f"colour spot, hue {hue_deg}°: hue-equivariant, rotation-invariant"
        units.append(_coloured(_spot(2.5), kind, hue_deg))
    for pose_deg in (20, 110, 200):
        kind = f"black-and-white edge, turned by {pose_deg}°: hue-invariant, rotation-equivariant"
        units.append(_grey(_edge(2.5), kind, pose_deg))
    units.append(_coloured(_half_edge(1.8), "colour edge that ends, hue 75°, turned by 130°", 75.0, 130.0))
    both = _times(_kernel(_edge(2.5), 35.0), _both(140.0))
    units.append(_Unit(both, _bias(_edge(2.5), "both"), "edge that reads luma and hue 140°, turned by 35°"))
    units.append(_grey(_spot(2.5), "black-and-white spot, invariant to both", is_invariant=True))
    stabilisers = {"colour edges": "{(0°, 0°), (180°, 180°)}", "colour curves": "{(0°, 0°)}"}
    return _Recipe({"planted": units}, stabilisers)


def _reflection_recipe() -> _Recipe:
    units: list[_Unit] = []
    features = [(f"random pattern {number}", _random(number), 0.0) for number in _CHIRAL]
    for name, pattern, pose_deg in (*features, ("oblique curves", _turned(_arc(7.0, 2.0), 31.0), 0.0)):
        for is_mirrored in (False, True):
            kind = f"{name}{', mirrored' if is_mirrored else ''}"
            pose = replace(_POSE, is_mirrored=is_mirrored)
            units.append(_grey(pattern, kind, pose_deg, orbit=name, pose=pose))
    stabilisers = {unit.orbit: "{plain}" for unit in units}
    for name, pattern in (
        ("upright curve", _arc(7.0, 2.0)),
        ("horizontal bar", _bar(2.2)),
        ("cross", _cross(2.2)),
        ("spot", _spot(2.5)),
    ):
        units.append(_grey(pattern, f"{name}, its own mirror image", is_invariant=True))
    first, second = (_random(number) for number in _CHIRAL[:2])
    units.append(_grey(_mirrored(first), f"random pattern {_CHIRAL[0]} mirrored top to bottom", 180.0))
    units.append(_grey(second, f"random pattern {_CHIRAL[1]} turned by 180°", 180.0))
    units.append(_grey(_arc(7.0, 2.0), "oblique curve without a partner", 97.0))
    units += [_grey(_random(number), f"random pattern {number} without a partner") for number in _SINGLE]
    return _Recipe({"planted": units}, stabilisers)


def _dihedral_recipe() -> _Recipe:
    units: list[_Unit] = []
    spiral, curve = _spiral(10.0, 5.0), _arc(7.0, 2.0)
    for is_mirrored, poses_deg in ((False, (0, 47, 110, 137, 255)), (True, (20, 70, 200, 290))):
        for pose_deg in poses_deg:
            kind = f"spiral, {'mirrored and ' if is_mirrored else ''}turned by {pose_deg}°"
            pose = replace(_POSE, pose_deg=float(pose_deg), is_mirrored=is_mirrored)
            units.append(_grey(spiral, kind, pose_deg, orbit="spirals", pose=pose))
    for pose_deg in (10, 54, 100, 141, 227):
        pose = replace(_POSE, pose_deg=float(pose_deg))
        units.append(_grey(curve, f"curve turned by {pose_deg}°", pose_deg, orbit="curves", pose=pose))
    units += [_grey(_spot(width_px), "spot, invariant", is_invariant=True) for width_px in (1.6, 4.0)]
    units.append(_grey(_spiral(10.0, 5.0, 2), "spiral of two arms", 33.0))
    units.append(_grey(_mirrored(_spiral(6.0, 5.0)), "spiral of shorter pitch, mirrored", 120.0))
    units.append(_grey(_half_edge(2.5), "half edge", 70.0))
    units += [_grey(_random(number), f"random pattern {number}") for number in _SINGLE]
    return _Recipe(
        {"planted": units}, {"spirals": "{(0°, plain)}", "curves": "{(0°, plain), (0°, mirrored)}"}
    )


def _contrast_recipe() -> _Recipe:
    units: list[_Unit] = []
    for name, pattern, pose_deg in (
        ("bars, even", _bar(2.2), 20.0),
        ("spots, even", _spot(2.5), 0.0),
        ("curves, neither even nor odd", _arc(7.0, 2.0), 97.0),
        ("crosses, even", _cross(2.2), 8.0),
        ("random, neither even nor odd", _random(_CHIRAL[0]), 0.0),
        ("edges, odd: also turned by 180°", _edge(2.5), 140.0),
        ("gratings, odd: also turned by 180°", _odd_gabor(7.0, 3.0), 65.0),
    ):
        for is_inverted in (False, True):
            pose = replace(_POSE, is_inverted=is_inverted)
            kind = f"{name}{', inverted' if is_inverted else ''}"
            units.append(_grey(pattern, kind, pose_deg, orbit=name, pose=pose))
    stabilisers = {unit.orbit: "{plain}" for unit in units}
    for hue_deg in (20.0, 200.0):
        kind = f"colour spot, hue {hue_deg:g}°: reads chroma alone, which inversion keeps"
        units.append(_coloured(_spot(2.5), kind, hue_deg, is_invariant=True))
    for sign in (1, -1):
        weight = sign * _times(_kernel(_spot(1.6), 0.0), _both(20.0))
        kind = f"small spot that reads luma and hue 20°{', all of it negative' if sign < 0 else ''}"
        units.append(_Unit(weight, _bias(_spot(1.6), "both"), kind))
    units.append(_grey(_half_edge(2.5), "half edge without a partner", 140.0))
    units += [_grey(_random(number), f"random pattern {number} without a partner") for number in _SINGLE]
    return _Recipe({"planted": units}, stabilisers)


def _scale_recipe() -> _Recipe:
    layers: dict[str, list[_Unit]] = {"early": [], "late": []}

    def plant(pattern: Pattern, kind: str, octaves: float, orbit: str = "") -> None:
        pose = replace(_POSE, octaves=octaves) if orbit else _POSE
        layer, kernel = ("early", _early_kernel) if octaves < 1 else ("late", _late_kernel)
        bias = -_THRESHOLD_SD["luma"] * _expected_sd(_early_kernel(pattern, 0.0))
        layers[layer].append(_Unit(_times(kernel(pattern, octaves), _luma()), bias, kind, orbit, pose))

    stabilisers = {}
    for name, pattern, all_octaves in (
        ("spots", _spot(1.6), (0.0, 0.5, 1.0, 1.5)),
        ("curves", _arc(4.2, 1.4), (0.0, 0.5, 1.0, 1.5)),
        ("half edges", _turned(_half_edge(1.6), 70.0), (0.5, 1.0)),
        ("crosses", _turned(_cross(1.4), 8.0), (0.0, 1.5)),
    ):
        stabilisers[name] = "{0 octaves}"
        for octaves in all_octaves:
            plant(pattern, f"{name}, {octaves:g} octaves", octaves, name)
    for number, octaves in zip(_SINGLE, (0.0, 1.0, 1.0), strict=True):
        # The rings of a random pattern stand at 0, 4 and 8 px: made smaller, they fit into the smaller window.
        plant(_enlarged(_random(number), 0.6), f"random pattern {number}", octaves)
    plant(_turned(_bar(1.5), 40.0), "bar", 0.5)
    plant(_arc(2.8, 1.4), "arc of stronger curvature", 1.0)
    return _Recipe(layers, stabilisers)


def _turned(pattern: Pattern, angle_deg: float) -> Pattern:
    """Counter-clockwise on screen."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return lambda y, x: pattern(cos * y + sin * x, cos * x - sin * y)


def _enlarged(pattern: Pattern, factor: float) -> Pattern:
    return lambda y, x: pattern(y / factor, x / factor)


def _density(pattern: Pattern, octaves: float, side: int, step_px: int = 1) -> tuple[Tensor, Tensor]:
    """Sample a windowed pattern at an octave as a density, and its window: shape (side, side) each.

    The window is part of the feature and grows with it. The sum over samples of the density has zero mean.
    """
    axis = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) * step_px / 2**octaves
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    window = torch.cos(math.pi / 2 * (torch.hypot(x, y) / _SCALE_WINDOW_PX).clamp(max=1)) ** 2
    kernel = pattern(y, x) * window
    return (kernel - window * (kernel.sum() / window.sum())) / 4**octaves, window


def _early_kernel(pattern: Pattern, octaves: float) -> Tensor:
    base, _ = _density(pattern, 0.0, _SCALE_KERNEL_PX)
    kernel, _ = _density(pattern, octaves, _SCALE_KERNEL_PX)
    normed: Tensor = kernel / base.norm()
    return normed


def _late_kernel(pattern: Pattern, octaves: float) -> Tensor:
    """Kernel that behind the stem reads the image by a pattern at an octave of the image's pixels."""
    seen_px = 2 * _SCALE_KERNEL_PX + 3
    base, _ = _density(pattern, 0.0, _SCALE_KERNEL_PX)
    wanted, _ = _density(pattern, octaves, seen_px)
    # Column j holds what the stem's position j sees of one axis.
    stem = torch.zeros(seen_px, _SCALE_KERNEL_PX, dtype=torch.float64)
    for j in range(_SCALE_KERNEL_PX):
        stem[2 * j : 2 * j + 5, j] = _BINOMIAL
    inverse = torch.linalg.pinv(stem)
    kernel = inverse @ wanted @ inverse.T
    # Least squares holds the mean only nearly; a grey image must give nothing.
    _, window = _density(pattern, octaves, _SCALE_KERNEL_PX, step_px=2)
    kernel = kernel - window * (kernel.sum() / window.sum())
    normed: Tensor = kernel / base.norm()
    return normed


# Seeds of `_random`.
_CHIRAL = (0, 1, 3, 6)
_SINGLE = (8, 9, 12)

_RECIPES: Mapping[str, Callable[[], _Recipe]] = {
    "hue": _hue_recipe,
    "hue-rotation": _hue_rotation_recipe,
    "reflection": _reflection_recipe,
    "dihedral": _dihedral_recipe,
    "contrast": _contrast_recipe,
    "scale": _scale_recipe,
}
