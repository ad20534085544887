r"""Survey the battery of networks whose families are known, and print how often what is called copies are copies.

    python reproduce/battery.py --seeds 0 1 2 3 --out battery.jsonl
    python reproduce/battery.py --kinds "mixtures" "own noise" --seeds 1

One line a scene: pairs of units called copies, how many of them are not (likeness of their kernels below 0.8), pairs of
copies (0.9 or more), how many of them are in one family called copies, the largest pose error of those, and the
adjusted Rand index of each layer. Then the sums, apart for the seeds on which thresholds may be chosen, and for those
that are only for reporting. Trained scenes take some minutes each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

import equiscope
from equiscope.testing.battery import KINDS, Score, battery_scene, is_for_choosing, score_scene


def survey_scene(kind: str, seed: int) -> tuple[dict[str, Score], float]:
    """Survey one scene; give the score of each layer and the time that it took."""
    scene = battery_scene(kind, seed)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = equiscope.survey(
            scene.model,
            layers=list(scene.layers),
            transformations=[scene.transformation],
            out=Path(folder) / "run",
        )
    return score_scene(scene, run.families), time.perf_counter() - started


def row(score: Score) -> dict[str, object]:
    """Give the figures of a score."""
    errors = np.array(score.errors or [np.nan])
    return {
        "called": score.n_called,
        "wrong": score.n_wrong,
        "copies": score.n_copies,
        "found": score.n_found,
        "in families": f"{score.n_in_families}/{score.n_units}",
        "pose error 95 %": round(float(np.quantile(errors, 0.95)), 2),
        "rand": [round(value, 3) for value in score.rand],
    }


def main() -> None:
    """Print one line a layer of a scene, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=KINDS, metavar="KIND")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--out", type=Path, help="write the lines there, too")
    options = parser.parse_args()
    total = {True: Score(), False: Score()}
    for kind in options.kinds:
        for seed in options.seeds:
            scores, seconds = survey_scene(kind, seed)
            for layer, score in scores.items():
                total[is_for_choosing(seed)] += score
                line = {"kind": kind, "seed": seed, "layer": layer, **row(score), "s": round(seconds, 1)}
                print(json.dumps(line), flush=True)
                if options.out:
                    with options.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
    for chosen, score in total.items():
        what = "for choosing" if chosen else "for reporting"
        print(
            f"{what}: of {score.n_called} pairs called copies {score.share_wrong:.1%} are not; "
            f"of {score.n_copies} pairs of copies {score.share_found:.1%} are found"
        )


if __name__ == "__main__":
    main()
