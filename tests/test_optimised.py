"""Images optimised for units and families, in the views of the site."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from equiscope.evidence.featurevis import FamilyVisualisation, Visualisation, save_visualisations
from equiscope.reports import ReportDocument, build_site
from site_document import save_run, site_document


def view(folder: Path, kind: str, key: str) -> str:
    """HTML of one view of the site."""
    for path in (folder / "site" / "data" / kind).glob("*.js"):
        for line in path.read_text(encoding="utf-8").splitlines():
            found: list[Any] = json.loads(f"[{line.removeprefix('equiscope.receive(').removesuffix(');')}]")
            if found[0] == f"{kind}/{key}":
                return str(found[1]["html"])
    raise AssertionError(f"no view {kind}/{key}")


def colour_of(address: str) -> tuple[int, ...]:
    """Mean colour of a picture in an address."""
    content = base64.b64decode(address.removeprefix("data:image/webp;base64,"))
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (112, 112)
        return tuple(np.asarray(picture.convert("RGB")).mean((0, 1)).round().astype(int).tolist())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def document(folder: Path) -> ReportDocument:
    document = site_document(folder)
    save_run(folder, document)
    return document


def test_without_any_nothing_is_said_of_them(folder: Path, document: ReportDocument) -> None:
    build_site(folder)
    assert "An image made for it" not in view(folder, "unit", "conv2d0-3")
    assert "One image for all" not in view(folder, "family", document["families"][0]["id"])


def test_a_unit_has_its_image_and_what_it_does(folder: Path, document: ReportDocument) -> None:
    images = torch.zeros(3, 3, 20, 20)
    images[0, 0] = 1.0  # red
    images[1, 2] = 1.0  # blue
    save_visualisations(
        folder,
        [
            Visualisation("conv2d0", np.array([3, 5, 7]), images, np.zeros(3), np.array([6.0, 2.0, -1.0]),
                          np.array([4.0, np.nan, 1.0]), 128, 0)
        ],
    )  # fmt: skip
    build_site(folder)
    red = view(folder, "unit", "conv2d0-3")
    address = re.search(r'src="(data:image/webp[^"]+)" alt="An image optimised for conv2d0:3"', red)
    assert address
    assert colour_of(address[1]) == pytest.approx((254, 0, 0), abs=4)
    assert "It responds to this image 1.5 times as much as to its strongest photograph." in red
    assert "128 steps, seed 0" in red
    # Where no natural response is known there is nothing to compare with.
    assert "It responds to this image with 2.00." in view(folder, "unit", "conv2d0-5")
    undriven = view(folder, "unit", "conv2d0-7")
    assert "No image could be found that drives it" in undriven
    assert 'alt="An image optimised' not in undriven
    assert "An image made for it" not in view(folder, "unit", "conv2d0-4")


def test_a_family_has_one_image_at_every_pose(folder: Path, document: ReportDocument) -> None:
    family = document["families"][0]
    members = family["members"]
    n = len(members)
    copies = tuple(torch.full((3, 20, 20), i / n) for i in range(n))
    responses = np.full((n, n), 1.0) + 3 * np.eye(n)
    responses[0, 1] = 5.0  # the first member prefers the second's pose
    save_visualisations(
        folder,
        families=[
            FamilyVisualisation(
                family["id"], family["transformation"], tuple(m["layer"] for m in members),
                np.array([m["channel"] for m in members]), torch.zeros(3, 20, 20), copies, responses,
                np.full(n, 2.0), np.full(n, 1.0), np.full((1, n), 1.0), np.eye(n, dtype=bool), 128, 0,
            )
        ],
    )  # fmt: skip
    build_site(folder)
    html = view(folder, "family", family["id"])
    assert "One image for all" in html
    assert f"{n - 1} of {n} members respond most to the copy at their own pose" in html
    # One wrong pose's template drives them a quarter as much.
    assert "drive the members 0.25 times as much (1 draw)" in html
    found = dict(re.findall(r'data-unit="([^"]+)"><img src="(data:image/webp[^"]+)"', html))
    assert set(found) == {f"{m['layer']}:{m['channel']}" for m in members}
    for i, member in enumerate(members):
        grey = round(255 * i / n)
        assert colour_of(found[f"{member['layer']}:{member['channel']}"]) == pytest.approx((grey,) * 3, abs=3)
    # Four times the natural two is two; the others get a quarter of that.
    assert "2.00 (0.25)" in html
