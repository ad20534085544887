"""From the stages of a run to the document that a page is made from."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import equiscope
from equiscope.bank import cut_stimuli
from equiscope.examples import NO_IMAGE, Examples
from equiscope.families import Family, LayerFamilies
from equiscope.groups import CyclicGroup
from equiscope.models.geometry import LayerGeometry
from equiscope.report.page import FamilyEntry, LayerEntry, MemberEntry, ReportDocument
from equiscope.stimuli import ImageSet

__all__ = ["build_document"]

# Strongest stimuli shown for each member, and the side at which they are stored, px.
_N_PICTURES = 4
_PICTURE_PX = 56


def build_document(
    manifest: dict[str, Any],
    images: ImageSet,
    geometries: dict[str, LayerGeometry],
    examples: dict[str, Examples],
    results: Sequence[LayerFamilies],
    tunings: dict[str, NDArray[np.float64]],
    group: CyclicGroup,
    whole_px: int,
    on_family: Callable[[int], None] = lambda _steps: None,
) -> ReportDocument:
    """Collect what the page shows, with the members' strongest stimuli as pictures.

    Parameters
    ----------
    manifest
        Contents of ``run.json``.
    images, geometries, examples, results
        The images and, for each layer, the results of the stages.
    tunings
        Joint tuning curves of each family, shape (member, element).
    group
        The rotations.
    whole_px
        Side of whole-image stimuli, px.
    on_family
        Called with 1 after each family.
    """
    layers: list[LayerEntry] = []
    families: list[FamilyEntry] = []
    for result in results:
        geometry = geometries[result.layer]
        counts = Counter(unit.rotation for unit in result.units)
        layers.append(
            {
                "name": result.layer,
                "n_units": len(result.units),
                "receptive_field_px": None if geometry.is_global else max(geometry.receptive_field_px),
                "stride_px": None if geometry.is_global else max(geometry.stride_px),
                "whole_images": geometry.is_global,
                "counts": {
                    "equivariant": counts["equivariant"],
                    "invariant": counts["invariant"],
                    "neither": counts["neither"],
                    "inactive": counts["inactive"],
                    "not measurable": counts["not measurable"],
                },
                "null": {
                    "families_expected": result.null.families_expected,
                    "score_95": result.null.score_95,
                },
                "notes": list(result.notes),
                "family_ids": [family.id for family in result.families],
            }
        )
        for family in result.families:
            families.append(
                _family_entry(
                    family, images, geometry, examples[result.layer], tunings[family.id], group, whole_px
                )
            )
            on_family(1)
    settings = manifest["settings"]
    return {
        "title": f"Rotation families of {manifest['model']['name']}",
        "equiscope_version": equiscope.__version__,
        "command": manifest["command"],
        "created": manifest["created"],
        "model": {
            "name": manifest["model"]["name"],
            "weights_sha256": manifest["model"]["weights_sha256"],
        },
        "images": {
            "name": images.name,
            "n_images": len(images),
            "n_failed": len(manifest["images"]["failures"]),
            "licences": images.licences,
        },
        "settings": {
            "angles": settings["angles"],
            "examples_per_unit": settings["examples_per_unit"],
            "false_discovery_rate": settings["false_discovery_rate"],
            "seed": settings["seed"],
            "min_score": settings["min_score"],
        },
        "seconds": manifest["seconds"],
        "layers": layers,
        "families": families,
    }


def _family_entry(
    family: Family,
    images: ImageSet,
    geometry: LayerGeometry,
    examples: Examples,
    tuning: NDArray[np.float64],
    group: CyclicGroup,
    whole_px: int,
) -> FamilyEntry:
    members: list[MemberEntry] = []
    for member, curve in zip(family.members, tuning, strict=True):
        strip, n_pictures = _strip(images, geometry, examples, member.channel, whole_px)
        members.append(
            {
                "layer": member.layer,
                "channel": member.channel,
                "pose_deg": member.pose_deg,
                "score": member.score,
                "score_low": member.score_low,
                "score_high": member.score_high,
                "tuning": [float(value) if np.isfinite(value) else None for value in curve],
                "stimuli": strip,
                "n_stimuli": n_pictures,
            }
        )
    return {
        "id": family.id,
        "layer": family.layer,
        "transformation": family.transformation,
        "size": family.size,
        "score": family.score,
        "score_low": family.score_low,
        "score_high": family.score_high,
        "disagreement_deg": family.disagreement_deg,
        "phase_coherence": family.phase_coherence,
        "q_value": family.q_value,
        "stabiliser_order": family.stabiliser_order,
        "gap_deviation_deg": family.gap_deviation_deg,
        "holes_deg": [list(hole) for hole in family.holes_deg],
        "duplicates": [list(pair) for pair in family.duplicates],
        "angles_deg": group.angles_deg.tolist(),
        "members": members,
    }


def _strip(
    images: ImageSet, geometry: LayerGeometry, examples: Examples, channel: int, whole_px: int
) -> tuple[str | None, int]:
    """Draw the unit's strongest stimuli of both halves side by side, as the address of a picture."""
    value = examples.value[:, channel].ravel()
    image = examples.image[:, channel].ravel()
    position = examples.position[:, channel].reshape(-1, 2)
    fires = np.flatnonzero((image != NO_IMAGE) & (np.nan_to_num(value) > 0))
    chosen = fires[np.argsort(-value[fires], kind="stable")][:_N_PICTURES]
    if not len(chosen):
        return None, 0
    size_px = whole_px if geometry.is_global else geometry.patch_px
    patches = cut_stimuli(images, geometry, image[chosen], position[chosen], np.zeros(1), size_px)[:, 0]
    tiles = []
    for patch in patches:
        pixels = (patch.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        tiles.append(Image.fromarray(pixels).resize((_PICTURE_PX, _PICTURE_PX), Image.Resampling.BICUBIC))
    strip = Image.new("RGB", (_PICTURE_PX * len(tiles), _PICTURE_PX))
    for index, tile in enumerate(tiles):
        strip.paste(tile, (index * _PICTURE_PX, 0))
    stream = io.BytesIO()
    strip.save(stream, "WEBP", quality=75, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode(), len(tiles)
