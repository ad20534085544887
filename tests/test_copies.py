"""Copies of one photograph are one group; pictures that are merely alike are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from equiscope.measurement.examples import split_halves
from equiscope.stimuli import ImageSet, open_images
from equiscope.stimuli import copies as copies_module

FLIP = Image.Transpose.FLIP_LEFT_RIGHT


def photograph(seed: int, height: int = 180, width: int = 240) -> Image.Image:
    """Light and shade at all sizes, as in photographs: fewer and weaker the finer."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for side in (3, 6, 12, 24, 48):
        noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        total += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), float) / side**0.5
    total -= total.min()
    return Image.fromarray((255 * total / total.max()).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def opened(folder: Path, files: dict[str, bytes]) -> ImageSet:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return open_images(folder)


def groups_by_name(images: ImageSet) -> dict[str, int]:
    return dict(zip(images.names, images.groups, strict=True))


def test_without_copies_every_image_is_its_own_photograph(tmp_path: Path) -> None:
    images = opened(tmp_path / "set", {f"{seed:02}.png": encoded(photograph(seed)) for seed in range(12)})
    assert images.groups == list(range(12))
    assert images.n_copies == 0
    assert images.notes == []


def test_equal_bytes_are_one_photograph_wherever_they_are(tmp_path: Path) -> None:
    first, second = (encoded(photograph(seed)) for seed in (1, 2))
    changed = bytearray(second)
    changed[5000] ^= 1  # of the same size, the same beginning and the same end, but damaged
    files = {"a.png": first, "b.png": second, "c.png": bytes(changed), "d.png": first, "e.jpg": first}
    images = opened(tmp_path / "set", files)
    assert images.groups == [0, 1, 2, 0, 0]
    assert images.n_copies == 2
    assert images.notes == [
        "2 of 5 images are copies of others: they count as 3 photographs, and copies are never in both halves"
    ]
    half = split_halves(images.groups, 0)
    assert len({half[0], half[3], half[4]}) == 1


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "encoded again": lambda image: encoded(image, "JPEG", quality=30),
    "encoded badly": lambda image: encoded(image, "JPEG", quality=10),
    "half the size": lambda image: encoded(
        image.resize((120, 90), Image.Resampling.BICUBIC), "JPEG", quality=75
    ),
    "larger": lambda image: encoded(image.resize((480, 360), Image.Resampling.BICUBIC), "WEBP", quality=80),
    "thumbnail": lambda image: encoded(image.resize((96, 72), Image.Resampling.LANCZOS), "JPEG", quality=75),
    "mirrored": lambda image: encoded(image.transpose(FLIP), "JPEG", quality=75),
    "turned back by EXIF": lambda image: encoded(
        image.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=90, exif=exif_of(6)
    ),
}


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("kind", COPIES)
def test_pictures_that_were_encoded_or_resized_again_are_copies(tmp_path: Path, kind: str) -> None:
    files = {f"{seed}.png": encoded(photograph(seed)) for seed in range(6)}
    files |= {f"{seed}.copy.jpg": COPIES[kind](photograph(seed)) for seed in (1, 4)}
    files = {
        name.replace("copy.jpg", "copy.webp") if kind == "larger" else name: f for name, f in files.items()
    }
    found = groups_by_name(opened(tmp_path / "set", files))
    for seed in range(6):
        own = {group for name, group in found.items() if name.startswith(f"{seed}.")}
        assert len(own) == 1
    assert len(set(found.values())) == 6


def grainy(level: float, seed: int, sd: float) -> Image.Image:
    """A plain picture with some grain of its own."""
    noise = np.random.default_rng(seed).normal(level, sd, (180, 240, 3))
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))


def sky(seed: int) -> Image.Image:
    """A gradient as of all skies, with small clouds of its own."""
    ramp = np.linspace(200, 120, 180)[:, None, None] * np.array([0.7, 0.85, 1.0])
    clouds = np.random.default_rng(seed).normal(0, 60, (45, 60, 1))
    fine = np.asarray(Image.fromarray(clouds[..., 0].astype(np.float32)).resize((240, 180)))[..., None]
    return Image.fromarray((ramp + fine).clip(0, 255).astype(np.uint8))


def grating(phase: float, period: float = 9) -> Image.Image:
    y, x = np.indices((180, 240))
    grey = 128 + 100 * np.sin(2 * np.pi * (x + 0.5 * y) / period + phase)
    return Image.fromarray(np.repeat(grey[..., None], 3, 2).astype(np.uint8))


def painted(seed: int) -> Image.Image:
    """Two pictures that differ at 8 x 8 alone: what is finer is the canvas."""
    colours = np.random.default_rng(seed).integers(80, 170, (8, 8, 3), dtype=np.uint8)
    canvas = np.random.default_rng(9).integers(-60, 60, (32, 32, 1))
    shown = np.kron(colours, np.ones((4, 4, 1))) + canvas
    return Image.fromarray(np.kron(shown, np.ones((4, 4, 1))).clip(0, 255).astype(np.uint8))


IMPOSTORS: dict[str, tuple[Image.Image, Image.Image]] = {
    "plain, of one colour": (grainy(90, 0, 0.6), grainy(90, 1, 0.6)),
    "plain, of two colours": (Image.new("RGB", (240, 180), "red"), Image.new("RGB", (240, 180), (250, 0, 0))),
    "plain, of two sizes": (Image.new("RGB", (240, 180), "red"), Image.new("RGB", (120, 90), "red")),
    "grain": (grainy(128, 0, 120), grainy(128, 1, 120)),
    "skies": (sky(0), sky(1)),
    "gratings": (grating(0), grating(2.2)),
    "one texture, two places": (
        photograph(0, 180, 500).crop((0, 0, 240, 180)),
        photograph(0, 180, 500).crop((24, 0, 264, 180)),
    ),
    "one canvas under two paintings": (painted(0), painted(1)),
    "of another colour": (photograph(3), Image.fromarray(np.asarray(photograph(3))[..., ::-1].copy())),
    "of another shape": (photograph(3), photograph(3).resize((240, 120))),
}


@pytest.mark.parametrize("kind", IMPOSTORS)
def test_pictures_that_are_merely_alike_are_no_copies(tmp_path: Path, kind: str) -> None:
    images = opened(
        tmp_path / "set", {f"{index}.png": encoded(image) for index, image in enumerate(IMPOSTORS[kind])}
    )
    assert images.groups == [0, 1]


def test_copies_of_copies_are_one_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    # Each is a copy of the next, the first hardly of the last.
    chain = [photograph(2).filter(ImageFilter.GaussianBlur(0.1 + 1.3 * step)) for step in range(5)]
    others = {f"other{seed}": encoded(photograph(seed)) for seed in range(10, 14)}
    members = {f"chain{step}": encoded(image) for step, image in enumerate(chain)} | others
    partitions = set()
    for trial in range(4):
        order = np.random.default_rng(trial).permutation(len(members))
        files = {f"{place:02}.png": members[sorted(members)[i]] for place, i in enumerate(order.tolist())}
        found = groups_by_name(opened(tmp_path / str(trial), files))
        named = {f"{place:02}.png": sorted(members)[i] for place, i in enumerate(order.tolist())}
        partitions.add(
            frozenset(
                frozenset(named[name] for name, own in found.items() if own == group)
                for group in found.values()
            )
        )
    (partition,) = partitions
    assert max(partition, key=len) == {f"chain{step}" for step in range(5)}
    assert len(partition) == 5


def test_pairs_are_joined_through_others() -> None:
    assert copies_module._join(6, [(0, 3), (2, 3), (4, 2), (5, 5)]) == [0, 1, 0, 0, 0, 5]


def test_files_that_are_no_pictures_are_no_copies(tmp_path: Path) -> None:
    images = opened(
        tmp_path / "set", {"a.jpg": b"not a picture", "b.jpg": b"not a picture", "c.png": b"", "d.png": b""}
    )
    assert images.groups == [0, 1, 2, 3]


def test_arrays_of_pixels_have_copies_too(tmp_path: Path) -> None:
    pixels = np.stack([np.asarray(photograph(seed)) for seed in (0, 1, 0, 2)])
    np.savez(tmp_path / "set.npz", images=pixels)
    assert open_images(tmp_path / "set.npz").groups == [0, 1, 0, 3]


def test_large_sets_are_compared_by_their_bytes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies_module, "_MAX_COMPARED", 3)
    first = photograph(0)
    files = {"a.png": encoded(first), "b.jpg": encoded(first, "JPEG"), "c.png": encoded(photograph(1))}
    assert opened(tmp_path / "set", files).groups == [0, 0, 2]
    assert opened(tmp_path / "set", {"d.png": encoded(first)}).groups == [0, 1, 2, 0]


def test_the_embedded_photographs_keep_their_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "equiscope.stimuli.image_set.find_copies", lambda _source: pytest.fail("looked for copies")
    )
    images = open_images()
    assert images.groups == [photograph for photograph in range(13) for _ in range(3)]
    assert (images.n_copies, images.notes) == (0, [])


def test_the_photographs_have_no_copies(shared: Path) -> None:
    images = open_images(shared / "data" / "photos.tar")
    assert images.groups == list(range(1880))
