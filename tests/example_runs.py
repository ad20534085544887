"""The finished runs that examples of docstrings speak of, as somebody has them who has tried the package."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import equiscope
from equiscope.models import load_model

# Names as in the guides: what `make survey` leaves, and a second run that it can be compared with.
RUN, OTHER = "equiscope-runs/mini", "equiscope-runs/seed-1"
_SURVEY = {"layers": ["conv2d0", "conv2d1"], "transformations": ["rotation", "hue"]}
# Images as large as those that mini was trained on. Half of them have labels; the others are for recalibration.
_GRATINGS, _SIDE_PX, _N_GRATINGS = "gratings", 56, 24


def make_example_runs() -> None:
    """Make the runs below the working directory: small, and with what every later command finds."""
    equiscope.survey("mini", out=RUN, **_SURVEY)
    equiscope.survey("mini", out=OTHER, seed=1, **_SURVEY)
    equiscope.verify(RUN)
    equiscope.circuits(RUN, n_draws=20, verdict="any")
    equiscope.budget(RUN, n_resamples=20, verdict="any")
    equiscope.featurevis(RUN, layers=["conv2d0"], steps=1)
    # Of the embedded photographs too few are held out from both surveys for rotation.
    equiscope.compare(RUN, OTHER, transformations=["hue"], n_draws=20, verdict="any")
    save_gratings(Path(_GRATINGS))
    equiscope.simplify(
        RUN,
        _GRATINGS,
        labels=f"{_GRATINGS}/labels.csv",
        crop_px=_SIDE_PX,
        side_px=_SIDE_PX,
        n_points=2,
        precision="float32",
        verdict="any",
    )


def draw_grating(index: int) -> NDArray[np.uint8]:
    """Draw coloured stripes, shape (y, x, 3): each image has its own orientation, width of stripes and hue."""
    y, x = np.mgrid[:_SIDE_PX, :_SIDE_PX] - _SIDE_PX / 2
    angle, wavelength_px = np.pi * index / _N_GRATINGS, 4 + index % 5 * 3
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wavelength_px)
    colour = np.cos(2 * np.pi * (index / 7 + np.arange(3) / 3))
    return np.round(127.5 + 80 * wave[..., None] * (0.5 + 0.5 * colour) + 40 * colour).astype(np.uint8)


def save_gratings(folder: Path) -> None:
    """Write drawn images, and for every other one the class that mini itself gives it: it is right about all."""
    folder.mkdir()
    model = load_model("mini")
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(("file", "label"))
        for index in range(_N_GRATINGS):
            name, pixels = f"{index:02}.png", draw_grating(index)
            Image.fromarray(pixels).save(folder / name)
            if index % 2 == 0:
                image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
                with torch.inference_mode():
                    table.writerow((name, int(model.run(image).argmax())))


def are_asked_for(file: Path) -> bool:
    """Whether the examples of a module need them."""
    return "equiscope-runs/" in file.read_text(encoding="utf-8")
