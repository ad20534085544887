"""A convolution whose rotation families are known by hand, with everything that makes a search go wrong."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from equiscope.foundations.errors import unknown_name
from equiscope.models.model import Model

__all__ = ["LayerTruth", "Planted", "PlantedFamily", "planted_network"]

_KERNEL_SIZE_PX = 23
# Rec. 709 luma: a grey kernel that reads colour photographs as the eye weighs them.
_LUMA = (0.2126, 0.7152, 0.0722)
_RED_GREEN = (0.8, -0.45, -0.15)
# Threshold in units of `_expected_sd`. Measured on the twenty photographs that scikit-image and scikit-learn
# ship: 5 to 7 % of positions are above it, for every pattern.
_THRESHOLD_SD = {"grey": 0.2, "colour": 0.07, "strided": 0.35}

Pattern = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class PlantedFamily:
    """Units that are rotated copies of one pattern.

    Parameters
    ----------
    name
        What the pattern shows.
    channels
        Channels of the members.
    poses_deg
        For each member the counter-clockwise angle by which its kernel is turned against the base pattern,
        in [0, 360 / stabiliser_order). Only differences between members can be measured.
    stabiliser_order
        Number of rotations that leave the pattern unchanged: 1 for a curve, 2 for a line, 4 for a cross.
    """

    name: str
    channels: tuple[int, ...]
    poses_deg: tuple[float, ...]
    stabiliser_order: int


@dataclass(frozen=True)
class LayerTruth:
    """What every channel of a layer is; each channel stands in exactly one place."""

    families: tuple[PlantedFamily, ...]
    invariant: tuple[int, ...] = ()
    unrelated: tuple[int, ...] = ()
    inactive: tuple[int, ...] = ()

    @property
    def n_channels(self) -> int:
        """Number of channels of the layer."""
        in_families = sum(len(family.channels) for family in self.families)
        return in_families + len(self.invariant) + len(self.unrelated) + len(self.inactive)

    @property
    def family_index(self) -> list[int]:
        """For each channel the index of its family; -1 for a channel without one."""
        index = [-1] * self.n_channels
        for number, family in enumerate(self.families):
            for channel in family.channels:
                index[channel] = number
        return index


@dataclass(frozen=True)
class Planted:
    """A network and the truth about its layers.

    Parameters
    ----------
    model
        The network.
    truth
        For each studied layer what its channels are.
    """

    model: Model
    truth: Mapping[str, LayerTruth]

    @property
    def layer(self) -> str:
        """The deepest of the layers whose truth is known."""
        return list(self.truth)[-1]


def planted_network(seed: int = 0, kind: Literal["grey", "colour", "strided"] = "grey") -> Planted:
    """Build one convolution of analytic kernels with known families.

    Its channels, shuffled by the seed:

    ============  ==================================================================================
    curves        seven arcs, irregularly spaced, a hole of 133°, two units at one pose
    edges         six edges that end at the centre, irregularly spaced all around
    lines         five straight bars, poses modulo 180°
    crosses       four crosses, poses modulo 90°
    invariant     two isotropic centre-surrounds of different size
    unrelated     six smooth random patterns, and a look-alike of the curves with stronger curvature
    inactive      one unit with a bias that no stimulus overcomes
    ============  ==================================================================================

    Parameters
    ----------
    seed
        Shuffles the channels; the kernels are the same for every seed.
    kind
        ``"grey"`` reads luma. ``"colour"`` reads a red-green contrast with some luma. ``"strided"`` is the
        grey convolution behind a blurring stem of stride 2, so that units stand on every second pixel.

    Returns
    -------
    Planted
        With the truth of layer ``"planted"``.

    Raises
    ------
    EquiscopeError
        If the kind is unknown.

    Notes
    -----
    Every kernel is sampled from its formula at its own exact angle, so two members of a family differ from
    exact copies by sampling alone. Kernels have zero mean and unit norm, under a round window. Biases let a
    unit fire on 2 to 10 % of the positions of photographs. There is no padding: a patch as large as the
    receptive field (23 px, 49 px if strided) gives one position.

    Orbit correlations on the photographs of scikit-image and scikit-learn (eighteen, six strongest patches a
    unit, peak interpolated between 16 angles, all three kinds): any two members of a family 0.99 or more,
    with relative poses within 0.5°; any other two units 0.91 or less, curves and their look-alike nearest.
    """
    if kind not in _THRESHOLD_SD:
        raise unknown_name("kind of planted network", kind, _THRESHOLD_SD)
    kernels: list[Tensor] = []
    biases: list[float] = []
    order = torch.randperm(_N_CHANNELS, generator=torch.Generator().manual_seed(seed)).tolist()

    def plant(pattern: Pattern, poses_deg: tuple[float, ...] = (0.0,), bias: float = 0.0) -> tuple[int, ...]:
        first = len(kernels)
        kernels.extend(_kernel(pattern, pose) for pose in poses_deg)
        upright = _expected_sd(_kernel(pattern, 0.0))
        biases.extend([-_THRESHOLD_SD[kind] * upright - bias] * len(poses_deg))
        return tuple(order[first : len(kernels)])

    families = tuple(
        PlantedFamily(name, plant(pattern, poses), poses, stabiliser_order)
        for name, pattern, poses, stabiliser_order in _FAMILIES
    )
    truth = LayerTruth(
        families,
        invariant=plant(_spot(1.6)) + plant(_spot(4.0)),
        unrelated=plant(_LOOK_ALIKE, (97.0,)) + tuple(plant(_random(i))[0] for i in _UNRELATED),
        inactive=plant(_spot(2.5), bias=1e3),
    )
    weights = torch.empty(_N_CHANNELS, _KERNEL_SIZE_PX, _KERNEL_SIZE_PX, dtype=torch.float64)
    weights[order] = torch.stack(kernels)
    bias = torch.empty(_N_CHANNELS, dtype=torch.float64)
    bias[order] = torch.tensor(biases, dtype=torch.float64)

    colour = torch.tensor(_RED_GREEN if kind == "colour" else _LUMA, dtype=torch.float64)
    # On "meta" torch draws no initial weights, so that its global random state stays as it is.
    planted = nn.Conv2d(3, _N_CHANNELS, _KERNEL_SIZE_PX, device="meta")
    planted.weight = nn.Parameter((weights[:, None] * colour[:, None, None]).float())
    planted.bias = nn.Parameter(bias.float())
    stages: dict[str, nn.Module] = {"planted": planted, "relu": nn.ReLU()}
    if kind == "strided":
        stages = {"stem": _blurring_stem(), **stages}
    module = nn.Sequential(OrderedDict(stages)).eval()
    return Planted(Model(module, name=f"planted-{kind}", default_layers=("planted",)), {"planted": truth})


def _arc(radius_px: float, width_px: float) -> Pattern:
    """Bright ridge along a circle through the centre that bends upwards."""
    return lambda y, x: _ridge(torch.hypot(x, y + radius_px) - radius_px, width_px)


def _ridge(distance_px: Tensor, width_px: float) -> Tensor:
    """Bright line between two dark ones across a distance, the second derivative of a Gaussian."""
    squared = (distance_px / width_px) ** 2
    return (1 - squared) * torch.exp(-squared / 2)


def _bar(width_px: float) -> Pattern:
    return lambda y, x: _ridge(y, width_px)


def _half_edge(width_px: float) -> Pattern:
    """Bright above dark, only to the right of the centre."""
    return lambda y, x: -y * torch.exp(-((y / width_px) ** 2) / 2) * torch.sigmoid(x / 2)


def _cross(width_px: float) -> Pattern:
    """Four bright arms around a bright centre, four dark lobes between them."""
    spot = _spot(0.73 * width_px)

    def pattern(y: Tensor, x: Tensor) -> Tensor:
        y_share, x_share = y / width_px, x / width_px
        # The fourth circular harmonic, cos(4 azimuth) radius^4, under a Gaussian.
        harmonic = y_share**4 - 6 * y_share**2 * x_share**2 + x_share**4
        # 4.5 gives both parts equal energy. Lobes alone are so sharply tuned that 16 angles alias them, and
        # members at odd poses then correlate by no more than 0.93.
        return harmonic * torch.exp(-(y_share**2 + x_share**2) / 2) + 4.5 * spot(y, x)

    return pattern


def _spot(width_px: float) -> Pattern:
    """Isotropic bright centre in a dark surround, the Laplacian of a Gaussian."""

    def pattern(y: Tensor, x: Tensor) -> Tensor:
        squared = (y**2 + x**2) / (2 * width_px**2)
        return (1 - squared) * torch.exp(-squared)

    return pattern


def _random(number: int) -> Pattern:
    """Circular harmonics 0 to 4 on three rings with random amplitudes and phases."""
    generator = torch.Generator().manual_seed(number)
    amplitude, phase = torch.rand(2, 5, 3, generator=generator, dtype=torch.float64)

    def pattern(y: Tensor, x: Tensor) -> Tensor:
        radius, azimuth = torch.hypot(x, y), torch.atan2(-y, x)
        total = torch.zeros_like(y)
        for harmonic in range(5):
            for ring, ring_px in enumerate((0.0, 4.0, 8.0)):
                # An angular harmonic has no value at the centre itself.
                profile = torch.exp(-((radius - ring_px) ** 2) / 8) * (radius / 3).clamp(max=1) ** (
                    harmonic > 0
                )
                angle = harmonic * azimuth + 2 * math.pi * phase[harmonic, ring]
                total = total + amplitude[harmonic, ring] * profile * torch.cos(angle)
        return total

    return pattern


_LOOK_ALIKE = _arc(5.0, 2.0)
_FAMILIES: tuple[tuple[str, Pattern, tuple[float, ...], int], ...] = (
    ("curves", _arc(7.0, 2.0), (0.0, 31.0, 54.0, 97.0, 97.0, 141.0, 227.0), 1),
    ("edges", _half_edge(2.5), (10.0, 70.0, 100.0, 170.0, 215.0, 290.0), 1),
    ("lines", _bar(2.2), (5.0, 40.0, 62.0, 110.0, 150.0), 2),
    ("crosses", _cross(2.2), (8.0, 25.0, 48.0, 71.0), 4),
)
# Seeds of `_random`; among the first sixteen these correlate least with each other, by no more than 0.6.
_UNRELATED = (0, 1, 3, 6, 8, 9)
_N_CHANNELS = sum(len(poses) for _, _, poses, _ in _FAMILIES) + 2 + 1 + len(_UNRELATED) + 1


def _kernel(pattern: Pattern, pose_deg: float) -> Tensor:
    """Sample a pattern turned counter-clockwise by a pose: zero mean and unit norm under a round window."""
    axis = torch.arange(_KERNEL_SIZE_PX, dtype=torch.float64) - (_KERNEL_SIZE_PX - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    cos, sin = math.cos(math.radians(pose_deg)), math.sin(math.radians(pose_deg))
    radius_share = torch.hypot(x, y) / (_KERNEL_SIZE_PX / 2)
    window = torch.cos(math.pi / 2 * radius_share.clamp(max=1)) ** 2
    kernel = pattern(cos * y + sin * x, cos * x - sin * y) * window
    kernel = kernel - window * (kernel.sum() / window.sum())
    normed: Tensor = kernel / kernel.norm()
    return normed


def _expected_sd(kernel: Tensor) -> float:
    """Predict the spread of a kernel's response to images of amplitude spectrum 1/f, in arbitrary units.

    Photographs have about this spectrum; on twenty of them it predicted the measured deviations of very
    different kernels up to one common factor of 0.14 to 0.17.
    """
    frequency = torch.fft.fftfreq(64, dtype=torch.float64)
    squared = frequency[:, None] ** 2 + frequency[None, :] ** 2
    squared[0, 0] = torch.inf
    power = torch.fft.fft2(kernel, s=(64, 64)).abs() ** 2 / squared
    total: float = power.sum().item()
    return math.sqrt(total) / 512


def _blurring_stem() -> nn.Conv2d:
    """Binomial blur of each colour at stride 2: isotropic enough that rotations still hold behind it."""
    stem = nn.Conv2d(3, 3, 5, stride=2, groups=3, bias=False, device="meta")
    binomial = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    stem.weight = nn.Parameter((binomial[:, None] * binomial[None, :]).repeat(3, 1, 1, 1))
    return stem
