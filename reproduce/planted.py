"""Survey networks whose families are known and print how right the answers are.

    python reproduce/planted.py

For each planted network, on the embedded photographs: families found exactly, families found wrongly, and the largest
pose error in degrees after each family's free offset is taken out.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

import equiscope
from equiscope.significance import circular_difference_deg, circular_mean_deg
from equiscope.testing import PlantedFamily, planted_network


def largest_pose_error_deg(found: equiscope.Family, true: PlantedFamily) -> float:
    """Largest difference between found and true poses of a family, degrees."""
    period = 360 / true.stabiliser_order
    poses = dict(zip(true.channels, true.poses_deg, strict=True))
    error = circular_difference_deg(found.poses_deg, np.array([poses[c] for c in found.channels]), period)
    offset = circular_mean_deg(error, period_deg=period)
    return float(np.abs(circular_difference_deg(error, offset, period)).max())


def main() -> None:
    """Print one line for each kind of planted network."""
    for kind in ("grey", "strided", "colour"):
        planted = planted_network(seed=1, kind=kind)
        with tempfile.TemporaryDirectory() as folder:
            run = equiscope.survey(planted.model, out=Path(folder) / "run")
        truth = {frozenset(family.channels): family for family in planted.truth[planted.layer].families}
        right = [family for family in run.families if frozenset(family.channels.tolist()) in truth]
        errors = [largest_pose_error_deg(f, truth[frozenset(f.channels.tolist())]) for f in right]
        row = {
            "network": kind,
            "planted": len(truth),
            "found_exactly": len(right),
            "found_wrongly": len(run.families) - len(right),
            "largest_pose_error_deg": round(max(errors), 2),
            "smallest_score": round(min(family.score for family in right), 3),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
