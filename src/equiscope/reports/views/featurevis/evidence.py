"""What ``equiscope featurevis`` made: images optimised for units and families, which their own views show."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from equiscope.evidence.featurevis import FamilyVisualisation, load_visualisations
from equiscope.reports.document.wording import counted, measured, number
from equiscope.reports.drawing.poses import Shown
from equiscope.reports.views.evidence import Evidence

__all__ = ["FEATUREVIS", "Optimised"]

# Larger than stimuli are stored: an optimised image is made to be looked at, and there is one a unit.
_SIDE_PX = 112
_QUALITY = 80


class Optimised:
    """What ``equiscope featurevis`` left in a run's folder.

    Parameters
    ----------
    folder
        Of the run.
    """

    def __init__(self, folder: Path) -> None:
        stored = load_visualisations(folder, leave_out=True)
        self._layers, self._families = dict(stored.layers), dict(stored.families)
        self._rows = {
            layer: {int(channel): i for i, channel in enumerate(own.channels)}
            for layer, own in self._layers.items()
        }

    def unit(self, layer: str, channel: int) -> dict[str, Any] | None:
        """Give the picture of a unit, and what it does to it; None where there is none."""
        row = self._rows.get(layer, {}).get(channel)
        if row is None:
            return None
        own = self._layers[layer]
        is_active = bool(own.is_active[row])
        return {
            "address": _address(own.images[row]) if is_active else None,
            "alt": f"An image optimised for {layer}:{channel}",
            "said": _said_of_unit(is_active, own.after[row], own.ratio[row]),
            "settings": f"{counted(own.steps, 'step')}, seed {own.seed}",
        }

    def family(self, name: str, shown: list[Shown]) -> dict[str, Any] | None:
        """Give a family's template at the pose of each member, in the order of the view; None where there is none."""
        own = self._families.get(name)
        if own is None:
            return None
        places = {
            (layer, int(c)): i for i, (layer, c) in enumerate(zip(own.layers, own.channels, strict=True))
        }
        copies = []
        for member in shown:
            place = places.get((member.entry["layer"], member.entry["channel"]))
            if place is not None:
                copies.append(
                    {
                        "address": _address(own.copies[place]),
                        "unit": member.unit,
                        "pose": member.pose,
                        "ratio": number(own.ratio[place]),
                        "elsewhere": number(own.elsewhere[place]),
                    }
                )
        return {"copies": copies, "said": _said_of_family(own)}


def _said_of_unit(is_active: bool, response: float, ratio: float) -> str:
    if not is_active:
        return "No image could be found that drives it: its response stays at or below 0."
    share = measured(ratio)
    if share is None:
        return f"It responds to this image with {number(response)}."
    return f"It responds to this image {share:.1f} times as much as to its strongest photograph."


def _said_of_family(own: FamilyVisualisation) -> str:
    n_best, n = int(own.is_best_at_own.sum()), len(own.channels)
    elsewhere = own.elsewhere[np.isfinite(own.elsewhere)]
    said = (
        f"One image was optimised for all members at once, each of which saw it transformed to its own pose. "
        f"{n_best} of {counted(n, 'member')} respond most to the copy at their own pose"
    )
    if len(elsewhere):
        said += f", and to those at other poses with {number(float(elsewhere.mean()))} of that on average"
    null = own.null_strength
    if len(null):
        ratio = own.strength / max(float(null.mean()), 1e-9)
        said += (
            f". Templates optimised in the same way for wrong poses drive the members "
            f"{number(1 / max(ratio, 1e-9))} times as much ({counted(len(null), 'draw')})"
        )
    return said + "."


def _address(image: Tensor) -> str:
    """Make a small picture of an image, shape (3, y, x) in [0, 1]."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


FEATUREVIS = Evidence("featurevis", "featurevis", Optimised)
