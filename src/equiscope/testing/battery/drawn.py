"""Scenes of one layer whose kernels are formulas.

============== ======================================================================================================
irregular      three families at random angles, with holes and duplicates, and patterns of their own
stabilisers    families that are themselves after 1, 2, 3, 4 and 6 equal turns
small          families of two and three beside one of twelve
alike 5 %      four families, each beside its look-alike: another aspect, radius, frequency, colour or sharpness
alike 15 %
alike 30 %
own noise      families whose members have noise of their own: 10, 20, 40 and 60 % of the norm
exact, loose   exact families beside families with 30 % of noise
noise          smooth noise beside three exact families
hue            colour spots, edges and half edges in several hues, look-alikes, noise
reflection     pairs of mirror images, exact and with noise
scale          spots, arcs and half edges in several sizes, look-alikes, noise
hue-rotation   coloured arcs and edges in several hues at several angles, look-alikes, noise
============== ======================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from equiscope.testing.battery.features import SIDE_PX, Feature, drawn, noisy
from equiscope.testing.patterns import (
    Pattern,
    arc,
    edge,
    half_edge,
    odd_gabor,
    random_pattern,
    short_bar,
    spot,
    star,
)
from equiscope.testing.planted_transformations.units import both_functional, luma_functional
from equiscope.transformations import Pose

__all__ = ["DRAWN", "Drawing", "DrawnUnit"]

# The side of kernels that hold features of up to one octave more.
_WIDE_PX = 33
_SMALL_RADIUS_PX = 8.0


@dataclass(frozen=True)
class DrawnUnit:
    """A unit: what it is a copy of, and at which pose; its kernel."""

    name: str
    pose: Pose | None
    feature: Feature


@dataclass
class Drawing:
    """Units as they are drawn, one after the other.

    Attributes
    ----------
    rng
        Draws poses and which patterns are taken.
    transformation
        Along which copies are moved.
    side_px
        Of the kernels.
    units, stabilisers
        What was drawn, and for each feature the number of its equal turns.
    """

    rng: np.random.Generator
    transformation: str = "rotation"
    side_px: int = SIDE_PX
    units: list[DrawnUnit] = field(default_factory=list)
    stabilisers: dict[str, int] = field(default_factory=dict)

    def family(
        self, name: str, feature: Feature, poses: Sequence[Pose], *, stabiliser: int = 1, noise: float = 0.0
    ) -> None:
        """Draw copies of a feature."""
        self.stabilisers[name] = stabiliser
        for pose in poses:
            own = feature.at(pose)
            if noise:
                own = noisy(own, int(self.rng.integers(1 << 30)), noise)
            self.units.append(DrawnUnit(name, pose, own))

    def alone(self, feature: Feature) -> None:
        """Draw a unit that stands for itself, at any angle."""
        self.units.append(DrawnUnit("", None, feature.moved(float(self.rng.uniform(0, 360)))))

    def strangers(self, n: int) -> None:
        """Draw patterns of their own."""
        for _ in range(n):
            self.alone(drawn(random_pattern(int(self.rng.integers(1 << 30)))))

    def angles(
        self, n: int, stabiliser: int = 1, *, hole: bool = False, duplicate: bool = False
    ) -> list[Pose]:
        """Draw angles at least 12° apart, all round or with a hole of a third; the last may repeat the first."""
        period = 360 / stabiliser
        width = period * (2 / 3 if hole else 1)
        n_apart = n - duplicate
        least = min(12.0, 0.6 * width / n_apart)
        gaps = self.rng.dirichlet(np.ones(n_apart)) * (width - n_apart * least) + least
        at = (np.cumsum(gaps) + self.rng.uniform(0, period)) % period
        return [Pose(angle_deg=float(value)) for value in [*at, *at[:1]][:n]]


def _pattern(rng: np.random.Generator, kind: str, changed: float = 0.0) -> Pattern:
    """Give a pattern of a kind; what tells it from others is changed by a share.

    The numbers are drawn by the same calls whatever the change, so that a look-alike differs in it alone.
    """
    size = float(rng.uniform(0.9, 1.1))
    more = 1 + changed
    kinds: dict[str, Callable[[], Pattern]] = {
        "aspect": lambda: short_bar(2.0 * size, 4.0 * size * more),
        "radius": lambda: arc(5.0 * size * more, 1.9 * size),
        "frequency": lambda: odd_gabor(7.0 * size * more, 3.5 * size),
        "sharpness": lambda: half_edge(2.2 * size * more),
    }
    return kinds[kind]()


_KINDS = ("aspect", "radius", "frequency", "sharpness")


def _irregular(drawing: Drawing) -> None:
    for kind, n in zip(drawing.rng.permutation(_KINDS)[:3].tolist(), (8, 6, 5), strict=True):
        stabiliser = 2 if kind == "aspect" else 1
        poses = drawing.angles(n, stabiliser, hole=n != 6, duplicate=n == 8)
        drawing.family(kind, drawn(_pattern(drawing.rng, kind)), poses, stabiliser=stabiliser)
    drawing.strangers(8)


def _stabilisers(drawing: Drawing) -> None:
    for order in (1, 2, 3, 4, 6):
        width = {1: 3.0, 2: 2.8, 3: 2.4, 4: 2.2, 6: 1.9}[order] * float(drawing.rng.uniform(0.95, 1.05))
        poses = drawing.angles(5, order)
        drawing.family(f"star {order}", drawn(star(width, order)), poses, stabiliser=order)
    drawing.strangers(5)


def _small(drawing: Drawing) -> None:
    kinds = drawing.rng.permutation(_KINDS).tolist()
    for kind, n in zip(kinds, (12, 3, 3, 2), strict=True):
        stabiliser = 2 if kind == "aspect" else 1
        poses = drawing.angles(n, stabiliser)
        drawing.family(kind, drawn(_pattern(drawing.rng, kind)), poses, stabiliser=stabiliser)
    drawing.family("star 3", drawn(star(2.4, 3)), drawing.angles(2, 3), stabiliser=3)
    drawing.strangers(8)


def _alike(changed: float) -> Callable[[Drawing], None]:
    def draw(drawing: Drawing) -> None:
        for kind in _KINDS:
            stabiliser = 2 if kind == "aspect" else 1
            seed = int(drawing.rng.integers(1 << 30))
            for name, own in ((kind, 0.0), (f"{kind}, other", changed)):
                feature = drawn(_pattern(np.random.default_rng(seed), kind, own))
                drawing.family(name, feature, drawing.angles(5, stabiliser), stabiliser=stabiliser)
        hue_deg = float(drawing.rng.uniform(0, 360))
        for name, own in (("colour", 0.0), ("colour, other", changed * 180)):
            feature = drawn(edge(2.5), both_functional(hue_deg + own))
            drawing.family(name, feature, drawing.angles(5))

    return draw


def _own_noise(drawing: Drawing) -> None:
    for kind, noise in zip(drawing.rng.permutation(_KINDS).tolist(), (0.1, 0.2, 0.4, 0.6), strict=True):
        stabiliser = 2 if kind == "aspect" else 1
        feature = drawn(_pattern(drawing.rng, kind))
        name = f"{kind}, noise {noise:.0%}"
        drawing.family(name, feature, drawing.angles(7, stabiliser), stabiliser=stabiliser, noise=noise)
    drawing.strangers(4)


def _exact_and_loose(drawing: Drawing) -> None:
    for kind in _KINDS:
        stabiliser = 2 if kind == "aspect" else 1
        for name, noise in ((f"{kind}, exact", 0.0), (f"{kind}, loose", 0.3)):
            feature = drawn(_pattern(drawing.rng, kind, 0.0 if noise else 0.4))
            drawing.family(name, feature, drawing.angles(5, stabiliser), stabiliser=stabiliser, noise=noise)
    drawing.strangers(2)


def _noise(drawing: Drawing) -> None:
    for kind, n in zip(drawing.rng.permutation(_KINDS)[:3].tolist(), (6, 6, 6), strict=True):
        stabiliser = 2 if kind == "aspect" else 1
        feature = drawn(_pattern(drawing.rng, kind))
        drawing.family(kind, feature, drawing.angles(n, stabiliser), stabiliser=stabiliser)
    for _ in range(16):
        drawing.alone(drawn(_smoothed(int(drawing.rng.integers(1 << 30)))))


def _smoothed(number: int) -> Pattern:
    """Draw a sum of forty waves of random directions, phases and frequencies up to one in six pixels."""
    rng = np.random.default_rng(number)
    direction, phase = rng.uniform(0, 2 * math.pi, (2, 40))
    frequency = 2 * math.pi * np.sqrt(rng.uniform(0, 1, 40)) / 6

    def pattern(y: Tensor, x: Tensor) -> Tensor:
        total = torch.zeros_like(y)
        for angle, start, each in zip(direction, phase, frequency, strict=True):
            total = total + torch.cos(each * (math.cos(angle) * x + math.sin(angle) * y) + start)
        return total

    return pattern


def _hues(drawing: Drawing, n: int) -> list[Pose]:
    at = drawing.rng.uniform(0, 360) + 360 / n * (np.arange(n) + drawing.rng.uniform(-0.25, 0.25, n))
    return [Pose(hue_deg=float(value % 360)) for value in at]


def _chroma(pattern: Pattern) -> Feature:
    return drawn(pattern, both_functional(0.0) - luma_functional())


def _hue(drawing: Drawing) -> None:
    for name, pattern, n, noise in (
        ("small spots", spot(1.7), 7, 0.0),
        ("large spots", spot(3.6), 5, 0.2),
        ("edges", edge(2.5), 5, 0.0),
        ("sharp edges", edge(2.2), 4, 0.0),
        ("half edges", half_edge(2.4), 5, 0.6),
    ):
        drawing.family(name, _chroma(pattern), _hues(drawing, n), noise=noise)
    for _ in range(6):
        drawing.alone(_chroma(random_pattern(int(drawing.rng.integers(1 << 30)))))


def _reflection(drawing: Drawing) -> None:
    for pair in range(8):
        pattern, noise = random_pattern(int(drawing.rng.integers(1 << 30))), (0.0, 0.2, 0.4, 0.6)[pair % 4]
        feature = drawn(pattern).moved(float(drawing.rng.uniform(0, 360)))
        poses = [Pose(is_mirrored=False), Pose(is_mirrored=True)]
        drawing.family(f"pair {pair}", feature, poses, noise=noise)
    drawing.strangers(10)


def _scale(drawing: Drawing) -> None:
    drawing.side_px = _WIDE_PX
    angle = float(drawing.rng.uniform(0, 360))
    for name, pattern, sizes, noise in (
        ("spots", spot(1.4), (0.0, 0.5, 1.0), 0.0),
        ("arcs", arc(4.0, 1.4), (0.0, 0.4, 0.9), 0.0),
        ("sharper arcs", arc(2.8, 1.4), (0.1, 0.6), 0.0),
        ("stars", star(1.5, 3), (0.0, 0.5, 1.0), 0.2),
        ("patterns", random_pattern(int(drawing.rng.integers(1 << 30))), (0.0, 0.6, 1.0), 0.6),
    ):
        feature = drawn(_within(pattern, name), radius_px=_SMALL_RADIUS_PX).moved(angle)
        drawing.family(name, feature, [Pose(octaves=size) for size in sizes], noise=noise)
    for _ in range(6):
        pattern = _within(random_pattern(int(drawing.rng.integers(1 << 30))), "patterns")
        octaves = float(drawing.rng.uniform(0, 1))
        drawing.alone(drawn(pattern, radius_px=_SMALL_RADIUS_PX).moved(octaves=octaves))


def _within(pattern: Pattern, name: str) -> Pattern:
    """Make the rings of a random pattern, at up to 8 px, fit into the smaller window."""
    return (lambda y, x: pattern(y / 0.65, x / 0.65)) if name == "patterns" else pattern


def _hue_rotation(drawing: Drawing) -> None:
    for name, pattern, n, noise in (
        ("arcs", arc(5.5, 2.0), 9, 0.0),
        ("half edges", half_edge(2.4), 8, 0.2),
        ("sharp half edges", half_edge(1.9), 6, 0.0),
        ("loose arcs", arc(3.6, 1.8), 6, 0.6),
    ):
        angles = drawing.angles(n)
        poses = [
            Pose(angle_deg=own["angle_deg"], hue_deg=float(drawing.rng.uniform(0, 360))) for own in angles
        ]
        drawing.family(name, _chroma(pattern), poses, noise=noise)
    for _ in range(6):
        hue_deg = float(drawing.rng.uniform(0, 360))
        drawing.alone(_chroma(random_pattern(int(drawing.rng.integers(1 << 30)))).moved(hue_deg=hue_deg))


@dataclass(frozen=True)
class DrawnKind:
    """How a kind of scene is drawn, along what copies are moved, and through which geometry the image is read."""

    draw: Callable[[Drawing], None]
    transformation: str = "rotation"
    geometry: str = "plain"


DRAWN: dict[str, DrawnKind] = {
    "irregular": DrawnKind(_irregular),
    "stabilisers": DrawnKind(_stabilisers, geometry="strided"),
    "small": DrawnKind(_small, geometry="inception"),
    "alike 5 %": DrawnKind(_alike(0.05)),
    "alike 15 %": DrawnKind(_alike(0.15), geometry="inception"),
    "alike 30 %": DrawnKind(_alike(0.3), geometry="residual"),
    "own noise": DrawnKind(_own_noise, geometry="residual"),
    "exact, loose": DrawnKind(_exact_and_loose),
    "noise": DrawnKind(_noise, geometry="strided"),
    "hue": DrawnKind(_hue, "hue"),
    "reflection": DrawnKind(_reflection, "reflection", "inception"),
    "scale": DrawnKind(_scale, "scale"),
    "hue-rotation": DrawnKind(_hue_rotation, "hue-rotation"),
}
