"""A report document of real size, with planted tuning curves and drawn pictures.

`python tests/report_document.py report.html` writes its page.
"""

from __future__ import annotations

import base64
import io
import itertools
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from equiscope.report import FamilyEntry, LayerEntry, MemberEntry, ReportDocument, render_page

ANGLES_DEG = [22.5 * i for i in range(16)]
SIDE_PX = 56
CANVAS_PX = 80  # a rotated canvas still fills the middle square
N_STIMULI = 8

# name, units, receptive field, stride, families
LAYERS = [
    ("conv2d0", 64, 7, 2, 9),
    ("conv2d1", 64, 7, 4, 6),
    ("conv2d2", 192, 15, 4, 24),
    ("mixed3a", 256, 35, 8, 27),
    ("mixed3b", 480, 91, 8, 34),
    ("mixed4a", 508, 139, 16, 14),
    ("mixed4b", 512, 187, 16, 6),
    ("mixed4c", 512, 235, 16, 0),
]

Colour = tuple[int, int, int]


def draw_curve(pen: ImageDraw.ImageDraw, dark: Colour, light: Colour) -> None:
    pen.arc((-34, 6, 46, 86), -62, 62, fill=dark, width=9)


def draw_line(pen: ImageDraw.ImageDraw, dark: Colour, light: Colour) -> None:
    pen.rectangle((36, -20, 44, 100), fill=dark)


def draw_corner(pen: ImageDraw.ImageDraw, dark: Colour, light: Colour) -> None:
    pen.polygon([(40, 40), (110, 5), (110, 75)], fill=dark)


def draw_contrast(pen: ImageDraw.ImageDraw, dark: Colour, light: Colour) -> None:
    pen.rectangle((40, -20, 100, 100), fill=dark)


def draw_high_low(pen: ImageDraw.ImageDraw, dark: Colour, light: Colour) -> None:
    for y in range(0, 80, 4):
        pen.line((40, y, 80, y), fill=dark, width=2)


def draw_fur(pen: ImageDraw.ImageDraw, dark: Colour, light: Colour) -> None:
    for i in range(-4, 14):
        pen.line((8 * i, 90, 8 * i + 26, -10), fill=dark, width=3)


DRAWINGS: list[tuple[Callable[[ImageDraw.ImageDraw, Colour, Colour], None], int]] = [
    (draw_curve, 1),
    (draw_line, 2),
    (draw_corner, 1),
    (draw_contrast, 1),
    (draw_high_low, 1),
    (draw_fur, 2),
]


def draw_strip(canvases: list[Image.Image], pose_deg: float, generator: np.random.Generator) -> str:
    strip = Image.new("RGB", (N_STIMULI * SIDE_PX, SIDE_PX))
    edge = (CANVAS_PX - SIDE_PX) // 2
    for i, j in enumerate(generator.permutation(len(canvases))[:N_STIMULI]):
        turned = canvases[j].rotate(pose_deg + float(generator.normal(0, 7)), Image.Resampling.BILINEAR)
        strip.paste(turned.crop((edge, edge, edge + SIDE_PX, edge + SIDE_PX)), (i * SIDE_PX, 0))
    data = io.BytesIO()
    strip.save(data, "JPEG", quality=72)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def draw_canvases(draw: Callable[..., None], generator: np.random.Generator) -> list[Image.Image]:
    canvases = []
    for _ in range(N_STIMULI + 2):
        dark, light = generator.integers(15, 120, 3), generator.integers(130, 245, 3)
        canvas = Image.new("RGB", (CANVAS_PX, CANVAS_PX), tuple(int(c) for c in light))
        draw(ImageDraw.Draw(canvas), tuple(int(c) for c in dark), tuple(int(c) for c in light))
        texture = np.asarray(canvas, np.float32) + generator.normal(0, 13, (CANVAS_PX, CANVAS_PX, 1))
        canvases.append(Image.fromarray(texture.clip(0, 255).astype(np.uint8)))
    return canvases


def von_mises(
    pose_deg: float, order: int, sharpness: float, generator: np.random.Generator
) -> list[float | None]:
    """Planted response: 1 at the pose, repeated `order` times a turn."""
    noise = generator.normal(0, 0.025, len(ANGLES_DEG))
    values = [
        math.exp(sharpness * (math.cos(math.radians(order * (angle - pose_deg))) - 1)) for angle in ANGLES_DEG
    ]
    return [round(float(min(1, max(0, value + n))), 4) for value, n in zip(values, noise, strict=True)]


def make_member(layer: str, channel: int, pose_deg: float, score: float, order: int, stimuli: str,
                generator: np.random.Generator) -> MemberEntry:  # fmt: skip
    return {
        "layer": layer,
        "channel": channel,
        "pose_deg": pose_deg,
        "score": score,
        "score_low": score - 0.04,
        "score_high": min(1.0, score + 0.03),
        "tuning": von_mises(pose_deg, order, 2.2 if order == 1 else 1.4, generator),
        "stimuli": stimuli,
        "n_stimuli": N_STIMULI,
    }


def find_holes(poses_deg: list[float], period_deg: float) -> list[list[float]]:
    cyclic = [*poses_deg, poses_deg[0] + period_deg]
    gaps = itertools.pairwise(cyclic)
    return [[a, b % period_deg] for a, b in gaps if b - a > period_deg / 6]


def make_family(layer: str, channels: list[int], number: int, generator: np.random.Generator) -> FamilyEntry:
    draw, order = DRAWINGS[number % len(DRAWINGS)]
    period_deg, n = 360.0 / order, len(channels)
    slots = np.sort(generator.choice(16, min(n, 16), replace=False))
    poses_deg = [(22.5 * s + float(generator.normal(0, 2))) / order % period_deg for s in slots]
    poses_deg = sorted([*poses_deg, *(poses_deg[i] + 1.0 for i in range(n - len(poses_deg)))])
    canvases = draw_canvases(draw, generator)
    score = round(float(generator.uniform(0.72, 0.96)), 3)
    members = [
        make_member(layer, channel, pose, score + float(generator.normal(0, 0.015)), order,
                    draw_strip(canvases, pose, generator), generator)
        for channel, pose in zip(channels, poses_deg, strict=True)
    ]  # fmt: skip
    pairs = itertools.pairwise(members)
    return {
        "id": f"{layer}-rotation-{number}",
        "layer": layer,
        "transformation": "rotation",
        "size": n,
        "score": score,
        "score_low": score - 0.05,
        "score_high": score + 0.03,
        "disagreement_deg": float(generator.gamma(3, 1.2)),
        "gap_deviation_deg": float(generator.uniform(1, 40)),
        "phase_coherence": float(generator.uniform(0.75, 1)),
        "q_value": float(generator.choice([0.0002, 0.003, 0.018, 0.041])),
        "stabiliser_order": order,
        "holes_deg": find_holes(poses_deg, period_deg),
        "duplicates": [[a["channel"], b["channel"]] for a, b in pairs if b["pose_deg"] - a["pose_deg"] < 4],
        "angles_deg": ANGLES_DEG,
        "members": members,
    }


def make_layer(name: str, n_units: int, field_px: int, stride_px: int, family_ids: list[str]) -> LayerEntry:
    n_equivariant = round(n_units * (0.78 if family_ids else 0.3))
    n_invariant, n_inactive = n_units // 8, n_units // 60
    return {
        "name": name,
        "n_units": n_units,
        "receptive_field_px": field_px,
        "stride_px": stride_px,
        "whole_images": False,
        "counts": {
            "equivariant": n_equivariant,
            "invariant": n_invariant,
            "neither": n_units - n_equivariant - n_invariant - n_inactive,
            "inactive": n_inactive,
            "not measurable": 0,
        },
        "null": {"families_expected": 0.2, "score_95": 0.612},
        "notes": [],
        "family_ids": family_ids,
    }


def synthetic_document(n_families: int = 120, n_members: int = 500, seed: int = 0) -> ReportDocument:
    """Make a document with exactly that many families and members, largest families first in each layer."""
    generator = np.random.default_rng(seed)
    share = generator.pareto(1.3, n_families) + 0.12
    sizes = 3 + np.minimum(10, np.floor(share / share.sum() * (n_members - 3 * n_families))).astype(int)
    while sizes.sum() < n_members:
        sizes[generator.choice(np.flatnonzero(sizes < 14))] += 1
    total = sum(entry[4] for entry in LAYERS)
    layers: list[LayerEntry] = []
    families: list[FamilyEntry] = []
    taken = 0
    for name, n_units, field_px, stride_px, weight in LAYERS:
        n_here = (
            n_families - taken
            if name == "mixed4b"
            else min(n_families - taken, max(1, weight * n_families // total) if weight else 0)
        )
        here = sorted(sizes[taken : taken + n_here], reverse=True)
        taken += n_here
        free = [int(c) for c in generator.permutation(max(n_units, sum(here)))]
        family_ids = []
        for number, size in enumerate(here):
            family = make_family(name, sorted(free.pop() for _ in range(size)), number, generator)
            family_ids.append(family["id"])
            families.append(family)
        layers.append(make_layer(name, n_units, field_px, stride_px, family_ids))
    layers[5]["notes"] = [
        "Its receptive field is wider than 38 of the photographs; these were left out here."
    ]
    return {
        "title": "The families of googlenet",
        "equiscope_version": "0.1.0",
        "command": "equiscope survey googlenet --weights googlenet.npz --images photos.tar --out report",
        "created": "2026-10-03",
        "model": {"name": "googlenet", "weights_sha256": "9f" * 32},
        "images": {
            "name": "photos.tar",
            "n_images": 1880,
            "n_failed": 3,
            "licences": {"photos.tar": "Creative Commons Attribution 2.0"},
        },
        "settings": {
            "angles": 16,
            "examples_per_unit": N_STIMULI,
            "false_discovery_rate": 0.05,
            "seed": 0,
            "min_score": 0.6,
        },
        "seconds": {"examples": 61.2, "responses": 118.9, "families": 14.3},
        "layers": layers,
        "families": families,
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render_page(synthetic_document()), encoding="utf-8")
