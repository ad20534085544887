"""A report document of real size, with planted tuning curves and drawn pictures.

`python tests/report_document.py FOLDER` writes its site.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image, ImageDraw

from equiscope.evidence.verify.verification import FamilyVerification
from equiscope.reports import (
    AlternativeEntry,
    FamilyEntry,
    LayerEntry,
    LinkEntry,
    MemberEntry,
    PictureEntry,
    ReportDocument,
    ResultEntry,
    UnitCounts,
    VerificationEntry,
    save_report,
)
from equiscope.reports.document.earlier import earlier_document
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.writing import write_json

TRANSFORMATIONS = ("rotation", "hue", "reflection", "contrast", "dihedral", "hue-rotation", "scale")

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


def make_member(layer: str, channel: int, score: float, **pose: Any) -> MemberEntry:
    """A member at a pose, by the names of the axes: ``angle_deg=45.0``."""
    return {
        "layer": layer,
        "channel": channel,
        "pose": pose,
        "score": score,
        "score_low": score - 0.04,
        "score_high": min(1.0, score + 0.03),
    }


def make_picture(layer: str, channel: int, stimuli: str) -> PictureEntry:
    return {"layer": layer, "channel": channel, "stimuli": stimuli, "n_stimuli": N_STIMULI}


def assemble_family(
    key: str,
    layers: str | list[str],
    transformation: str,
    score: float,
    members: list[MemberEntry],
    axes: dict[str, list[float]] | None,
    values: list[Any],
    **figures: Any,
) -> FamilyEntry:
    """A family with what all transformations have, and the figures given of its own."""
    plain: FamilyEntry = {
        "id": key,
        "layers": [layers] if isinstance(layers, str) else layers,
        "transformation": transformation,
        "size": len(members),
        "score": score,
        "score_low": score - 0.05,
        "score_high": score + 0.03,
        "disagreement": {},
        "phase_coherence": None,
        "margin": None,
        "margin_low": None,
        "margin_high": None,
        "q_value": 0.018,
        "stabiliser": [],
        "half_turns": [],
        "gap_deviation_deg": None,
        "holes_deg": [],
        "duplicates": [],
        "explained_by": "",
        "alternatives": [],
        "tuning": None if axes is None else {"axes": axes, "values": values},
        "verification": [],
        "members": members,
    }
    return cast("FamilyEntry", plain | figures)


def find_holes(poses_deg: list[float], period_deg: float) -> list[list[float]]:
    cyclic = [*poses_deg, poses_deg[0] + period_deg]
    gaps = itertools.pairwise(cyclic)
    return [[a, b % period_deg] for a, b in gaps if b - a > period_deg / 6]


def make_family(
    layer: str, channels: list[int], number: int, generator: np.random.Generator
) -> tuple[FamilyEntry, list[PictureEntry]]:
    draw, order = DRAWINGS[number % len(DRAWINGS)]
    period_deg, n = 360.0 / order, len(channels)
    slots = np.sort(generator.choice(16, min(n, 16), replace=False))
    poses_deg = [(22.5 * s + float(generator.normal(0, 2))) / order % period_deg for s in slots]
    poses_deg = sorted([*poses_deg, *(poses_deg[i] + 1.0 for i in range(n - len(poses_deg)))])
    canvases = draw_canvases(draw, generator)
    score = round(float(generator.uniform(0.72, 0.96)), 3)
    members = [
        make_member(layer, channel, score + float(generator.normal(0, 0.015)), angle_deg=pose)
        for channel, pose in zip(channels, poses_deg, strict=True)
    ]
    pairs = itertools.pairwise(zip(channels, poses_deg, strict=True))
    family = assemble_family(
        f"{layer}-rotation-{number}",
        layer,
        "rotation",
        score,
        members,
        {"angle_deg": ANGLES_DEG},
        [von_mises(pose, order, 2.2 if order == 1 else 1.4, generator) for pose in poses_deg],
        disagreement={"angle_deg": float(generator.gamma(3, 1.2))},
        gap_deviation_deg=float(generator.uniform(1, 40)),
        phase_coherence=float(generator.uniform(0.75, 1)),
        q_value=float(generator.choice([0.0002, 0.003, 0.018, 0.041])),
        stabiliser=[{"angle_deg": period_deg * k} for k in range(order)],
        holes_deg=find_holes(poses_deg, period_deg),
        duplicates=[[a, b] for (a, low), (b, high) in pairs if high - low < 4],
        explained_by="rotation",
        alternatives=[
            make_alternative("reflection", 0.41, 0.4),
            make_alternative("rotation", score, 0.0),
            make_alternative("dihedral", score - 0.01, 0.01),
        ],
        verification=[make_verification("rotation")],
    )
    pictures = [
        make_picture(layer, channel, draw_strip(canvases, pose, generator))
        for channel, pose in zip(channels, poses_deg, strict=True)
    ]
    return family, pictures


def make_alternative(transformation: str, score: float, deficit: float) -> AlternativeEntry:
    return {
        "transformation": transformation,
        "score": score,
        "deficit": deficit,
        "deficit_low": deficit - 0.03,
        "deficit_high": deficit + 0.04,
    }


def save_verification(folder: Path, *found: FamilyVerification) -> None:
    """What `verify_run` leaves."""
    verified = [dataclasses.asdict(entry) for entry in found]
    write_json(folder / "verification.json", {"schema_version": SCHEMA_VERSION, "verifications": verified})


def make_verification(axis: str, **figures: Any) -> VerificationEntry:
    plain: VerificationEntry = {
        "axis": axis,
        "kind": "curve",
        "drive": 0.93,
        "drive_low": 0.9,
        "drive_high": 0.96,
        "runner_up": "corner",
        "lead": 0.11,
        "lead_low": 0.06,
        "lead_high": 0.17,
        "stimulus": "curve, radius 9 px",
        "median_error": 3.42,
        "error_low": 2.1,
        "error_high": 5.6,
        "n_outliers": 1,
        "n_measured": 4,
        "score": None,
        "margin": None,
    }
    return cast("VerificationEntry", plain | figures)


def make_layer(name: str, n_units: int, field_px: int, stride_px: int, has_families: bool) -> LayerEntry:
    n_equivariant = round(n_units * (0.78 if has_families else 0.3))
    n_invariant, n_inactive = n_units // 8, n_units // 60
    return {
        "name": name,
        "n_units": n_units,
        "receptive_field_px": field_px,
        "stride_px": stride_px,
        "whole_images": False,
        "notes": [],
        "kinds": [
            {
                "transformation": "rotation",
                "counts": {
                    "equivariant": n_equivariant,
                    "invariant": n_invariant,
                    "neither": n_units - n_equivariant - n_invariant - n_inactive,
                    "inactive": n_inactive,
                    "not measurable": 0,
                },
            }
        ],
    }


def make_result(layers: str | list[str], transformation: str) -> ResultEntry:
    return {
        "layers": [layers] if isinstance(layers, str) else layers,
        "transformation": transformation,
        "null": {"families_expected": 0.2, "score_95": 0.612},
        "n_refused": 3,
        "notes": [],
    }


def families_under_everything(
    rotation: list[FamilyEntry], generator: np.random.Generator
) -> list[FamilyEntry]:
    """Families of every other transformation, of units that are in rotation families too."""
    layer = "mixed3b"
    channels = sorted({m["channel"] for f in rotation if f["layers"] == [layer] for m in f["members"]})

    def wave(*turns_deg: float) -> float:
        return math.exp(sum(1.6 * (math.cos(math.radians(turn)) - 1) for turn in turns_deg))

    hues = [0.0, 70.0, 150.0, 310.0]
    families = [
        assemble_family(
            f"{layer}-hue-1", layer, "hue", 0.81,
            [make_member(layer, c, 0.8, hue_deg=h) for c, h in zip(channels, hues, strict=False)],
            {"hue_deg": ANGLES_DEG}, [von_mises(h, 1, 2.0, generator) for h in hues],
            disagreement={"hue_deg": 6.2}, phase_coherence=0.93, gap_deviation_deg=31.0, holes_deg=[[150.0, 310.0]],
        )
    ]  # fmt: skip
    for name, key in (("reflection", "is_mirrored"), ("contrast", "is_inverted")):
        families.append(
            assemble_family(
                f"{layer}-{name}-1", layer, name, 0.88,
                [make_member(layer, channels[i], 0.88, **{key: bool(i)}) for i in (0, 1)],
                {key: [0.0, 1.0]}, [[1.0, 0.12], [0.31, 1.0]],
                margin=0.42, margin_low=0.35, margin_high=0.51, stabiliser=[{key: False}],
                explained_by="rotation",
                alternatives=[make_alternative("rotation", 0.9, 0.0), make_alternative(name, 0.88, 0.02)],
                verification=[make_verification("pair", score=0.91, margin=0.37, median_error=None)],
            )
        )  # fmt: skip
    hands = [(0.0, False), (95.0, False), (200.0, False), (40.0, True), (180.0, True), (290.0, True)]
    families.append(
        assemble_family(
            f"{layer}-dihedral-1", layer, "dihedral", 0.84,
            [
                make_member(layer, c, 0.84, angle_deg=pose, is_mirrored=is_mirrored)
                for c, (pose, is_mirrored) in zip(channels, hands, strict=False)
            ],
            {"is_mirrored": [0.0, 1.0], "angle_deg": ANGLES_DEG},
            [
                [von_mises(pose if sheet == is_mirrored else 0.0, 1, 2.0 if sheet == is_mirrored else 0.1, generator)
                 for sheet in (False, True)]
                for pose, is_mirrored in hands
            ],
            disagreement={"angle_deg": 4.1}, phase_coherence=0.9,
        )
    )  # fmt: skip
    eight = [45.0 * k for k in range(8)]
    for number in (1, 2):
        copies = [(0.0, 0.0), (180.0, 180.0)] if number == 1 else [(0.0, 0.0)]
        places = [(0.0, 0.0), (25.0, 70.0), (100.0, 130.0), (150.0, 210.0), (20.0, 300.0), (160.0, 20.0)]
        families.append(
            assemble_family(
                f"{layer}-hue-rotation-{number}", layer, "hue-rotation", 0.79,
                [
                    make_member(layer, c, 0.79, angle_deg=pose, hue_deg=hue)
                    for c, (hue, pose) in zip(channels[2:], places, strict=False)
                ],
                {"hue_deg": eight, "angle_deg": ANGLES_DEG},
                [
                    [[sum(wave(h - hue - i, a - pose - j) for i, j in copies) for a in ANGLES_DEG] for h in eight]
                    for hue, pose in places
                ],
                disagreement={"angle_deg": 5.0, "hue_deg": 11.5}, phase_coherence=0.87,
                stabiliser=[{"angle_deg": angle, "hue_deg": hue} for hue, angle in copies],
                half_turns=[0.91, -0.2, None] if number == 1 else [0.1, -0.2, -0.1],
                explained_by="hue-rotation",
                alternatives=[make_alternative("hue", 0.3, 0.5), make_alternative("hue-rotation", 0.8, 0.0)],
            )
        )  # fmt: skip
    sizes = [-0.25 + 0.25 * k for k in range(8)]
    other = next(f for f in rotation if f["layers"] == ["mixed3a"])["members"]
    for number, members in (
        (1, [make_member(layer, channels[0], 0.7, octaves=0.0), make_member(layer, channels[1], 0.7, octaves=1.2)]),
        (2, [
            make_member("mixed3a", other[0]["channel"], 0.7, octaves=0.0),
            make_member("mixed3a", other[1]["channel"], 0.7, octaves=0.4),
            make_member(layer, channels[0], 0.7, octaves=0.5),
            make_member(layer, channels[2], 0.7, octaves=1.1),
        ]),
    ):  # fmt: skip
        own = [
            [None if size < 0 else wave(90 * (size - (m["pose"]["octaves"] or 0.0))) for size in sizes]
            for m in members
        ]
        families.append(
            assemble_family(
                f"scale-{number}", list(dict.fromkeys(m["layer"] for m in members)), "scale", 0.7, members,
                {"octaves": sizes}, own,
                disagreement={"octaves": 0.08}, margin=0.2, margin_low=0.11, margin_high=0.3,
                stabiliser=[{"octaves": 0.0}],
            )
        )  # fmt: skip
    return families


def join_rotation_families(first: FamilyEntry, second: FamilyEntry) -> tuple[FamilyEntry, LinkEntry]:
    """Two rotation families as one over rotation and scale."""
    members = [
        make_member(m["layer"], m["channel"], 0.7, angle_deg=m["pose"]["angle_deg"], octaves=octaves)
        for family, octaves in ((first, 0.0), (second, 1.0))
        for m in family["members"]
    ]
    family = assemble_family(
        "rotation-scale-1", [*first["layers"], *second["layers"]], "rotation-scale", 0.71, members, None, [],
        score_low=None, score_high=None, disagreement={"angle_deg": 7.0},
        stabiliser=[{**element, "octaves": 0.0} for element in first["stabiliser"]],
    )  # fmt: skip
    link: LinkEntry = {
        "first": first["id"],
        "second": second["id"],
        "n_pairs": 4,
        "offset_deg": 12.0,
        "octaves": 1.0,
        "residual_deg": 7.0,
        "q_value": 0.004,
    }
    return family, link


def complete_document(n_families: int = 10, n_members: int = 44, seed: int = 0) -> ReportDocument:
    """Make a document that has families of every transformation besides that many of rotation."""
    document = synthetic_document(n_families, n_members, seed)
    rotation = list(document["families"])
    document["families"] += families_under_everything(rotation, np.random.default_rng([seed, 1]))
    first, second = (next(f for f in rotation if f["layers"] == [name]) for name in ("mixed3a", "mixed3b"))
    second["stabiliser"] = first["stabiliser"]
    joined, link = join_rotation_families(first, second)
    document["families"].append(joined)
    document["links"] = [link]
    names = [layer["name"] for layer in document["layers"]]
    document["settings"]["transformations"] = list(TRANSFORMATIONS)
    for number, name in enumerate(TRANSFORMATIONS[1:], 1):
        if name != "scale":
            document["results"] += [make_result(layer, name) for layer in names]
        for depth, layer in enumerate(document["layers"]):
            n = layer["n_units"]
            n_equivariant, n_unmeasurable = (
                n * (number + depth) // 24,
                n // 3 if name == "hue-rotation" else 0,
            )
            counts = {
                "equivariant": n_equivariant,
                "invariant": n // 9,
                "neither": n - n_equivariant - n // 9 - n_unmeasurable,
                "inactive": 0,
                "not measurable": n_unmeasurable,
            }
            layer["kinds"].append({"transformation": name, "counts": cast("UnitCounts", counts)})
    document["results"].append(make_result(names, "scale"))
    return document


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
    pictures: list[PictureEntry] = []
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
        for number, size in enumerate(here):
            family, drawn = make_family(name, sorted(free.pop() for _ in range(size)), number, generator)
            families.append(family)
            pictures += drawn
        layers.append(make_layer(name, n_units, field_px, stride_px, bool(here)))
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
            "transformations": ["rotation"],
            "angles": 16,
            "examples_per_unit": N_STIMULI,
            "false_discovery_rate": 0.05,
            "seed": 0,
            "min_score": 0.6,
        },
        "seconds": {"examples": 61.2, "responses": 118.9, "families": 14.3},
        "layers": layers,
        "results": [make_result(layer["name"], "rotation") for layer in layers],
        "families": families,
        "links": [],
        "pictures": pictures,
    }


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    (place / "run.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION}), encoding="utf-8")
    save_report(place, earlier_document(place, complete_document(120, 500)))
