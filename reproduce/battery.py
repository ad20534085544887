r"""Survey the battery of networks whose families are known, and print how often what is called copies are copies.

    python reproduce/battery.py --seeds 1 3 --out battery.jsonl
    python reproduce/battery.py --kinds mixtures "own noise" --seeds 1

Two lines a layer of a scene: of the families that the survey accepted, and of what is called copies by the weights.
Each says how many pairs of units are in one of them, how many of these are no copies (likeness of their kernels below
0.8), how many pairs are copies (0.9 or more), how many of them are in one of them, the 95th percentile of their pose
errors and of those of exact copies (0.99), and the adjusted Rand index. Then the sums, apart for the seeds on which
thresholds may be chosen, and for those that are only for reporting. Shown are the embedded photographs at up to 256 px.
Trained scenes take some minutes each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

import equiscope
from equiscope.testing.battery import (
    KINDS,
    Scene,
    Score,
    battery_scene,
    copies_of,
    is_for_choosing,
    score_scene,
)


def survey_scene(scene: Scene) -> equiscope.Run:
    """Survey a scene on the embedded photographs; its folder is gone afterwards, its families are in memory."""
    with tempfile.TemporaryDirectory() as folder:
        return equiscope.survey(
            scene.model,
            equiscope.open_images(max_side_px=256),
            list(scene.layers),
            transformations=[scene.transformation],
            out=Path(folder) / "run",
        )


def score_survey(kind: str, seed: int) -> tuple[dict[str, dict[str, Score]], float]:
    """Survey one scene; give the scores of each layer, of all families and of copies, and the time that it took."""
    scene = battery_scene(kind, seed)
    started = time.perf_counter()
    run = survey_scene(scene)
    scores = {
        "accepted": score_scene(scene, run.families),
        "copies": score_scene(scene, copies_of(run.families)),
    }
    return scores, time.perf_counter() - started


def row(score: Score) -> dict[str, object]:
    """Give the figures of a score."""
    errors, exact = (np.array(own or [np.nan]) for own in (score.errors, score.exact_errors))
    return {
        "called": score.n_called,
        "wrong": score.n_wrong,
        "copies": score.n_copies,
        "found": score.n_found,
        "in families": f"{score.n_in_families}/{score.n_units}",
        "pose error 95 %": round(float(np.quantile(errors, 0.95)), 2),
        "of exact copies": round(float(np.quantile(exact, 0.95)), 2),
        "rand": [round(value, 3) for value in score.rand],
    }


def main() -> None:
    """Print two lines a layer of a scene, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=KINDS, metavar="KIND")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--out", type=Path, help="write the lines there, too")
    options = parser.parse_args()
    total: dict[tuple[bool, str], Score] = {}
    for kind in options.kinds:
        for seed in options.seeds:
            found, seconds = score_survey(kind, seed)
            for said, scores in found.items():
                for layer, score in scores.items():
                    key = is_for_choosing(seed), said
                    total[key] = total.get(key, Score()) + score
                    line = {"kind": kind, "seed": seed, "layer": layer, "of": said, **row(score)}
                    print(json.dumps(line | {"s": round(seconds, 1)}), flush=True)
                    if options.out:
                        with options.out.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(line) + "\n")
    for (is_chosen, said), score in total.items():
        what = "for choosing" if is_chosen else "for reporting"
        print(
            f"{what}, {said}: of {score.n_called} pairs {score.share_wrong:.1%} are no copies; "
            f"of {score.n_copies} pairs of copies {score.share_found:.1%} are found; poses of exact copies differ from "
            f"the truth by less than {np.quantile(score.exact_errors or [np.nan], 0.95):.2f} in 95 %"
        )


if __name__ == "__main__":
    main()
