"""Images in: every source, every kind of pixel, every kind of damage."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from equiscope.foundations.errors import EquiscopeError
from equiscope.stimuli import ImageFailure, ImageSet, open_images
from equiscope.stimuli import decoding as decoding_module
from equiscope.stimuli import embedded as embedded_module
from equiscope.stimuli import image_set as image_set_module
from equiscope.stimuli.sources import unpacking as unpacking_module

ORIENTATION = 0x0112


def make_pixels(height: int = 5, width: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def write(folder: Path, **files: bytes) -> Path:
    """Write files whose names are given with `__` for a slash and `_` for the dot of the ending."""
    for name, data in files.items():
        stem, _, ending = name.replace("__", "/").rpartition("_")
        path = folder / f"{stem}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def load_only(folder: Path, **options: int) -> np.ndarray:
    """The one image of a folder as (y, x, 3) in 0-255."""
    images = open_images(folder, **options)
    assert len(images) == 1
    image = images.load(0)
    assert images.failures == []
    assert image is not None
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert 0 <= image.min() <= image.max() <= 1
    return (image.permute(1, 2, 0) * 255).numpy()


def make_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


# Pixels ---------------------------------------------------------------------------------------------------


def test_rgb_is_exact_and_channels_come_first(tmp_path: Path) -> None:
    pixels = make_pixels()
    images = open_images(write(tmp_path, a_png=encode(pixels)))
    image = images.load(0)
    assert image is not None
    assert image.shape == (3, 5, 7)
    torch.testing.assert_close(image, torch.tensor(pixels).permute(2, 0, 1) / 255, rtol=0, atol=0)


KINDS = {
    "tif": "TIFF",
    "jpg": "JPEG",
    "jfif": "JPEG",
    "jpe": "JPEG",
    "jp2": "JPEG2000",
    "ppm": "PPM",
    "pnm": "PPM",
}


@pytest.mark.parametrize(
    "ending",
    "png bmp tif TIFF webp gif jpg JPEG jfif jpe avif jp2 ppm pnm qoi".split(),
)
def test_each_ending_is_read(tmp_path: Path, ending: str) -> None:
    kind = KINDS.get(ending, ending.upper())
    pixels = np.full((5, 7, 3), (200, 100, 50), np.uint8)
    options = {"lossless": True} if kind == "WEBP" else {}
    tolerance = 3 if kind in ("JPEG", "AVIF") else 0
    found = load_only(write(tmp_path, **{f"a_{ending}": encode(pixels, kind, **options)}))
    np.testing.assert_allclose(found, pixels, atol=tolerance + 1e-4)


def test_greyscale_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = make_pixels()[..., 0]
    found = load_only(write(tmp_path, a_png=encode(grey)))
    np.testing.assert_allclose(found, np.repeat(grey[..., None], 3, 2), atol=1e-4)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, ending: str) -> None:
    deep = np.array([[0, 257, 32768], [65535, 128 * 257, 300]], np.uint16)
    kind = {"png": "PNG", "tif": "TIFF"}[ending]
    found = load_only(write(tmp_path, **{f"a_{ending}": encode(deep, kind)}))
    np.testing.assert_allclose(found[..., 0], [[0, 1, 128], [255, 128, 1]], atol=1e-4)


RAMP = np.linspace(0, 65535, 35).astype(np.uint16).reshape(5, 7)


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "PPM"])
@pytest.mark.parametrize(("n_bits", "steps"), [(12, 4095), (8, 255)])
def test_fewer_bits_stored_in_sixteen_are_not_nearly_black(
    tmp_path: Path, kind: str, n_bits: int, steps: int
) -> None:
    (tmp_path / f"a.{kind.lower()}").write_bytes(encode(RAMP >> (16 - n_bits), kind))
    images = open_images(tmp_path)
    image = images.load(0)
    assert image is not None
    np.testing.assert_allclose(image[0].numpy(), (RAMP >> (16 - n_bits)) / steps, atol=1 / 255)
    (note,) = images.notes
    assert f"no value of its 16 bits is above {steps}: read as {n_bits} bits" in note


def test_sixteen_bits_that_are_dark_or_black_stay_as_they_are(tmp_path: Path) -> None:
    dark = np.minimum(RAMP, 4096)
    write(tmp_path, black_png=encode(0 * RAMP), dark_png=encode(dark))
    images = open_images(tmp_path)
    for index, expected in enumerate((0 * RAMP, dark)):
        image = images.load(index)
        assert image is not None
        np.testing.assert_allclose(image[0].numpy(), expected / 65535, atol=1 / 255)
    assert images.notes == []


def test_declared_bits_count(tmp_path: Path) -> None:
    Image.fromarray(RAMP >> 5).save(
        tmp_path / "a.tif", tiffinfo={281: 4000}
    )  # the largest that occurs, of 12 bits
    (tmp_path / "b.pgm").write_bytes(b"P5 7 5 1023\n" + (RAMP >> 6).astype(">u2").tobytes())
    images = open_images(tmp_path)
    for index, expected in enumerate(((RAMP >> 5) / 4095, RAMP / 65535)):
        image = images.load(index)
        assert image is not None
        np.testing.assert_allclose(image[0].numpy(), expected, atol=1 / 255)
    assert images.notes == []


def set_tag(data: bytes, tag: int, value: int) -> bytes:
    """Change a tag of one short number in a little-endian TIFF file."""
    (start,) = struct.unpack("<I", data[4:8])
    (n,) = struct.unpack("<H", data[start : start + 2])
    places = [start + 2 + 12 * i for i in range(n)]
    place = next(p for p in places if struct.unpack("<H", data[p : p + 2])[0] == tag)
    return data[: place + 8] + struct.pack("<H", value) + data[place + 10 :]


@pytest.mark.parametrize("depth", ["8", "16", "float"])
def test_tiff_whose_white_is_zero_is_inverted(tmp_path: Path, depth: str) -> None:
    stored = {"8": (RAMP >> 8).astype(np.uint8), "16": RAMP, "float": (RAMP / 65535).astype(np.float32)}[
        depth
    ]
    upright = load_only(write(tmp_path / "a", a_tif=encode(stored, "TIFF")))
    inverted = load_only(write(tmp_path / "b", a_tif=set_tag(encode(stored, "TIFF"), 262, 0)))
    np.testing.assert_allclose(inverted, 255 - upright, atol=1)
    assert upright[0, 0, 0] == 0


@pytest.mark.parametrize("kind", ["TIFF", "PPM"])
def test_floats_from_0_to_1_are_read_and_others_are_named(tmp_path: Path, kind: str) -> None:
    ending = {"TIFF": "tif", "PPM": "pfm"}[kind]
    unit = (RAMP / 65535).astype(np.float32)
    np.testing.assert_allclose(
        load_only(write(tmp_path / "a", **{f"a_{ending}": encode(unit, kind)}))[..., 0], 255 * unit, atol=0.51
    )
    broken = unit.copy()
    broken[2, 3] = np.nan
    files = {f"over_{ending}": encode(unit * 1.5, kind), f"nan_{ending}": encode(broken, kind)}
    images = open_images(write(tmp_path / "b", **files))
    assert [images.load(index) for index in range(2)] == [None, None]
    reasons = [failure.reason for failure in images.failures]
    assert "from 0 to 1.5 (floating point)" in reasons[1]
    assert all("expected 8 or 16 bits a channel, or floats from 0 to 1" in reason for reason in reasons)


def test_tiff_that_pillow_does_not_read_says_what_it_holds(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "colour.tif", np.zeros((5, 7, 3), np.float32), photometric="rgb")
    tifffile.imwrite(tmp_path / "double.tif", np.zeros((5, 7)))
    tifffile.imwrite(tmp_path / "signed.tif", np.full((5, 7), -1, np.int16))
    images = open_images(tmp_path)
    assert [images.load(index) for index in range(3)] == [None] * 3
    reasons = [failure.reason for failure in images.failures]
    assert reasons[0].startswith("an image in TIFF of 3 x 32 floating-point bits a pixel, which Pillow")
    assert reasons[1].startswith("an image in TIFF of 1 x 64 floating-point bits a pixel, which Pillow")
    assert "signed or 32-bit pixel values, from -1 to -1" in reasons[2]


def test_colours_of_twelve_bits_in_sixteen_are_named_not_nearly_black(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    full = rng.integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    for name, pixels in (("full", full), ("twelve", full >> 4)):
        (tmp_path / f"{name}.ppm").write_bytes(b"P6 7 5 65535\n" + pixels.astype(">u2").tobytes())
        (tmp_path / f"{name}.png").write_bytes(make_deep_png(pixels))
    images = open_images(tmp_path)
    loaded = [name for index, name in enumerate(images.names) if images.load(index) is not None]
    assert loaded == ["full.png", "full.ppm"]
    assert all("stay below a sixteenth of their range" in failure.reason for failure in images.failures)


def make_deep_png(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_palette(tmp_path: Path) -> None:
    pixels = np.zeros((5, 7, 3), np.uint8)
    pixels[:2], pixels[2:] = (250, 10, 20), (5, 60, 240)
    palette = Image.fromarray(pixels).quantize(2)
    palette.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as written:
        assert written.mode == "P"
    np.testing.assert_allclose(load_only(tmp_path), pixels, atol=1e-4)


def test_alpha_is_composited_on_mid_grey(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[..., :3] = (255, 0, 100)
    pixels[0, :, 3] = (0, 255, 128)
    pixels[1, :, 3] = 255
    found = load_only(write(tmp_path, a_png=encode(pixels)))
    np.testing.assert_allclose(found[0, 0], (128, 128, 128), atol=1e-4)
    np.testing.assert_allclose(found[0, 1], (255, 0, 100), atol=1e-4)
    np.testing.assert_allclose(found[0, 2], (191.5, 64, 114), atol=1)
    np.testing.assert_allclose(found[1], np.broadcast_to((255, 0, 100), (3, 3)), atol=1e-4)


def test_transparent_palette_entry_is_mid_grey(tmp_path: Path) -> None:
    image = Image.new("P", (3, 2), 1)
    image.putpalette([9, 9, 9, 200, 30, 40])
    image.putpixel((2, 0), 0)
    image.save(tmp_path / "a.png", transparency=0)
    found = load_only(tmp_path)
    np.testing.assert_allclose(found[0, 2], (128, 128, 128), atol=1e-4)
    np.testing.assert_allclose(found[1, 2], (200, 30, 40), atol=1e-4)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    # Cyan ink alone, over a whole block so that JPEG keeps it.
    Image.new("CMYK", (24, 16), (255, 0, 0, 0)).save(tmp_path / "a.jpg", quality=100)
    with Image.open(tmp_path / "a.jpg") as written:
        assert written.mode == "CMYK"
    np.testing.assert_allclose(load_only(tmp_path), np.broadcast_to((0, 255, 255), (16, 24, 3)), atol=2)


# What each EXIF orientation asks of the viewer, in array terms.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_exif_orientation_is_applied_once(tmp_path: Path, orientation: int, kind: str) -> None:
    pixels = make_pixels(4, 6)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True, "exact": True} if kind == "webp" else {}
    Image.fromarray(pixels).save(tmp_path / f"a.{kind}", exif=exif, **options)
    np.testing.assert_allclose(load_only(tmp_path), UPRIGHT[orientation](pixels), atol=1e-4)


def test_exif_orientation_of_a_reduced_jpeg(tmp_path: Path) -> None:
    pixels = np.zeros((400, 800, 3), np.uint8)
    pixels[:, :400] = (255, 0, 0)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    found = load_only(tmp_path, max_side_px=64)
    assert found.shape == (64, 32, 3)
    assert found[:30, :, 0].min() > 240
    assert found[34:, :, 0].max() < 15


def test_one_pixel(tmp_path: Path) -> None:
    found = load_only(write(tmp_path, a_png=encode(np.full((1, 1, 3), (9, 8, 7), np.uint8))))
    np.testing.assert_allclose(found, [[[9, 8, 7]]], atol=1e-4)


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(load_only(tmp_path), np.broadcast_to((255, 0, 0), (3, 4, 3)), atol=1e-4)


def test_stereo_jpeg_of_a_phone_gives_its_first_picture(tmp_path: Path) -> None:
    pair = [Image.new("RGB", (32, 16), colour) for colour in ("red", "blue")]
    pair[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=pair[1:])
    np.testing.assert_allclose(load_only(tmp_path), np.broadcast_to((255, 0, 0), (16, 32, 3)), atol=3)


# Reducing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(300, 500), (500, 300), (2000, 1), (1, 2000)])
def test_large_images_are_reduced_to_the_longer_side(tmp_path: Path, height: int, width: int) -> None:
    found = load_only(write(tmp_path, a_png=encode(make_pixels(height, width))), max_side_px=100)
    shrink = 100 / max(height, width)
    assert found.shape == (max(1, height * shrink), max(1, width * shrink), 3)


def test_images_within_the_limit_stay_as_they_are(tmp_path: Path) -> None:
    pixels = make_pixels(60, 100)
    np.testing.assert_allclose(
        load_only(write(tmp_path, a_png=encode(pixels)), max_side_px=100), pixels, atol=1e-4
    )


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_reducing_does_not_alias(tmp_path: Path, kind: str) -> None:
    rows, columns = np.indices((900, 600))
    board = np.repeat((255 * ((rows + columns) % 2))[..., None], 3, 2).astype(np.uint8)
    options = {"quality": 100} if kind == "jpg" else {}
    Image.fromarray(board).save(tmp_path / f"a.{kind}", **options)
    found = load_only(tmp_path, max_side_px=250)
    inside = found[10:-10, 10:-10]
    assert abs(inside.mean() - 127.5) < 3
    assert inside.std() < 8


def test_reduced_jpeg_agrees_with_a_full_decode(tmp_path: Path) -> None:
    y, x = np.indices((1200, 1600))
    waves = np.stack([np.sin(x / 60), np.cos(y / 45), np.sin((x + 2 * y) / 80)], -1)
    pixels = (127.5 + 127.5 * waves).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    reference = Image.open(tmp_path / "a.jpg").convert("RGB").resize((200, 150), Image.Resampling.BICUBIC)
    found = load_only(tmp_path, max_side_px=200)
    assert np.abs(found - np.asarray(reference, np.float32)).mean() < 1.5


def make_large(mode: str) -> Image.Image:
    y, x = np.indices((900, 1403))
    waves = 0.5 + 0.5 * np.stack([np.sin(x / 30), np.cos(y / 45), np.sin((x + 2 * y) / 80), x / 1403], -1)
    if mode == "I;16":
        return Image.fromarray((waves[..., 0] * 65535).astype(np.uint16))
    if mode == "F":
        return Image.fromarray(waves[..., 1].astype(np.float32))
    image = Image.fromarray((255 * waves).astype(np.uint8))
    return image.convert("RGB").quantize(64) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16", "F", "L"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_images_are_reduced_in_bands_to_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {} if mode == "F" else {"exif": exif}
    make_large(mode).save(tmp_path / ("a.tif" if mode == "F" else "a.png"), **options)
    whole = load_only(tmp_path, max_side_px=200)
    monkeypatch.setattr(decoding_module, "_LARGE_PX", 10_000)
    monkeypatch.setattr(decoding_module, "_BAND_PX", 50_000)
    in_bands = load_only(tmp_path, max_side_px=200)
    assert in_bands.shape == whole.shape
    if orientation == 1:
        np.testing.assert_array_equal(in_bands, whole)
    else:  # turned before, or after it was resized
        np.testing.assert_allclose(in_bands, whole, atol=2)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_large_picture_takes_little_more_than_its_pixels(tmp_path: Path, kind: str) -> None:
    # 36 million pixels of 4 bytes: 144 MB, of which copies would take another 400.
    image = Image.new("RGBA", (6000, 6000), (10, 200, 30, 200))
    image.save(tmp_path / f"a.{kind}", **({"compression": "tiff_deflate"} if kind == "tif" else {}))
    measure = (
        "import resource, sys\n"
        "from equiscope.stimuli import open_images\n"
        "images = open_images(sys.argv[1])\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before = peak()\n"
        "assert images.load(0).shape == (3, 512, 512)\n"
        "print(peak() - before)"
    )
    run = subprocess.run(
        [sys.executable, "-c", measure, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < 250


# Damage ---------------------------------------------------------------------------------------------------


def make_huge_png() -> bytes:
    """A small valid PNG whose header claims 50,000 x 40,000 pixels."""
    data = bytearray(encode(make_pixels()))
    data[16:24] = struct.pack(">II", 50_000, 40_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def test_each_damaged_image_is_named_with_its_reason(tmp_path: Path) -> None:
    jpeg = encode(make_pixels(64, 96), "JPEG")
    float_image = Image.fromarray(np.linspace(-3, 900, 35, dtype=np.float32).reshape(5, 7))
    float_image.save(tmp_path / "float.tif")
    write(
        tmp_path,
        cut_jpg=jpeg[: len(jpeg) // 2],
        empty_png=b"",
        good_png=encode(make_pixels()),
        huge_png=make_huge_png(),
        text_jpg=b"this is no image",
        script_png=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    )
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    images = open_images(tmp_path)
    assert images.failures == []
    for _ in range(2):  # the second pass adds nothing
        loaded = [name for index, name in enumerate(images.names) if images.load(index) is not None]
    assert loaded == ["good.png"]
    reasons = {failure.name: failure.reason for failure in images.failures}
    assert list(reasons) == [
        "cut.jpg", "empty.png", "float.tif", "gone.jpg", "huge.png", "script.png", "text.jpg",
    ]  # fmt: skip
    assert len(images.failures) == 7
    assert "truncated" in reasons["cut.jpg"]
    assert reasons["empty.png"] == "the file is empty (0 bytes)"
    assert "32-bit pixel values" in reasons["float.tif"]
    assert "FileNotFoundError" in reasons["gone.jpg"]
    assert "too large to decode safely" in reasons["huge.png"]
    assert "2000000000 pixels" in reasons["huge.png"]
    assert "from -3 to 900" in reasons["float.tif"]
    assert "not a JPEG, PNG" in reasons["script.png"]
    assert "74 68 69 73" in reasons["text.jpg"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_truncated_anywhere_never_raises(tmp_path: Path, kind: str) -> None:
    data = encode(make_pixels(40, 60), kind)
    ending = kind.lower()
    for n_bytes in range(1, len(data), max(1, len(data) // 40)):
        (tmp_path / f"{n_bytes:06d}.{ending}").write_bytes(data[:n_bytes])
    images = open_images(tmp_path)
    n_loaded = sum(images.load(index) is not None for index in range(len(images)))
    assert n_loaded + len(images.failures) == len(images)
    assert len(images.failures) > 0.9 * len(images)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_damage_never_raises(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP"):
        data = np.frombuffer(encode(make_pixels(20, 30), kind, exif=exif), np.uint8)
        for trial in range(30):
            damaged = data.copy()
            damaged[random.integers(0, min(len(data), 300), 8)] = random.integers(0, 256, 8)
            (tmp_path / f"{trial}.{kind.lower()}").write_bytes(damaged.tobytes())
    images = open_images(tmp_path)
    for index in range(len(images)):
        image = images.load(index)
        assert image is None or (image.ndim == 3 and image.shape[0] == 3)
    assert images.failures


# Folders --------------------------------------------------------------------------------------------------


def test_folder_is_searched_in_sorted_order(tmp_path: Path) -> None:
    png = [encode(make_pixels(seed=seed)) for seed in range(6)]
    write(tmp_path, z_png=png[0], b__c_PNG=png[1], a_jpg=png[2], b__a__deep_png=png[3], notes_txt=b"x")
    write(tmp_path / ".cache", hidden_png=png[4])
    (tmp_path / ".hidden.png").write_bytes(png[5])
    images = open_images(tmp_path)
    assert images.names == ["a.jpg", "b/a/deep.png", "b/c.PNG", "z.png"]
    assert images.name == tmp_path.name
    assert images.groups == [0, 1, 2, 3]
    assert images.licences == {}
    assert open_images(str(tmp_path)).names == images.names


def test_order_does_not_depend_on_creation(tmp_path: Path) -> None:
    names = ["10.png", "9.png", "A.png", "a.png", "é.png", "b c.png"]
    for order, folder in ((names, tmp_path / "one"), (names[::-1], tmp_path / "two")):
        folder.mkdir()
        for name in order:
            (folder / name).write_bytes(encode(make_pixels()))
    assert open_images(tmp_path / "one").names == open_images(tmp_path / "two").names == sorted(names)


def test_links_to_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    png = encode(make_pixels())
    write(tmp_path / "elsewhere", a_png=png)
    write(tmp_path / "set", b_png=png)
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    assert open_images(tmp_path / "set").names == ["b.png", "linked/a.png"]


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_unlistable_folder_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, a_png=encode(make_pixels()), locked__b_png=b"")
    real_scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    images = open_images(tmp_path)
    assert images.names == ["a.png"]
    assert images.failures == [ImageFailure("locked", "the folder cannot be listed: Permission denied")]


def within(seconds: float, call: Callable[[], object]) -> object:
    """What a call gives or raises; a failure if it does not end."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"it did not end within {seconds} s"
    return outcome[0]


def test_every_file_is_read_or_named_or_counted(tmp_path: Path) -> None:
    jpeg = encode(make_pixels(seed=1), "JPEG")
    write(
        tmp_path,
        a_jpg=jpeg,
        b__c_jfif=encode(make_pixels(seed=2), "JPEG"),
        phone_heic=b"\0\0\0\x18ftypheic" + bytes(40),
        raw_NEF=b"MM\0*" + bytes(40),
        list_csv=b"a,b",
        d__notes_txt=b"x",
        d__more_txt=b"y",
        disguised_jpg=b"\0\0\0\x18ftypheic" + bytes(40),
    )
    (tmp_path / "without").write_bytes(encode(make_pixels(seed=3)))
    (tmp_path / "strange.large").write_bytes(encode(make_pixels(seed=4), "JPEG"))
    (tmp_path / ".DS_Store").write_bytes(b"x")
    images = open_images(tmp_path)
    assert images.names == ["a.jpg", "b/c.jfif", "disguised.jpg", "strange.large", "without"]
    for index in range(len(images)):
        images.load(index)
    reasons = {failure.name: failure.reason for failure in images.failures}
    assert list(reasons) == ["disguised.jpg", "phone.heic", "raw.NEF"]
    assert (
        reasons["phone.heic"]
        == "a picture in a format that is not read here (.heic): convert it to PNG or JPEG"
    )
    assert reasons["disguised.jpg"].startswith("an image in HEIC, which Pillow")
    assert "not read here (.nef)" in reasons["raw.NEF"]
    assert images.notes == [f"4 things in {tmp_path.name} are no images: 2 .txt, 1 .csv, 1 hidden"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_sockets_in_a_folder_are_named_and_never_waited_for(tmp_path: Path) -> None:
    write(tmp_path, a_png=encode(make_pixels()))
    os.mkfifo(tmp_path / "b.png")
    os.mkfifo(tmp_path / "without")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "c.jpg"))
        images = within(20, lambda: open_images(tmp_path))
    assert isinstance(images, ImageSet)
    assert images.names == ["a.png"]
    assert {failure.name: failure.reason for failure in images.failures} == {
        "b.png": "it is a named pipe, not a file",
        "c.jpg": "it is a socket, not a file",
        "without": "it is a named pipe, not a file",
        "zero.png": "it is a device, not a file",
    }
    # One that takes the place of an image afterwards.
    (tmp_path / "a.png").unlink()
    os.mkfifo(tmp_path / "a.png")
    assert within(20, lambda: images.load(0)) is None
    assert "it is a named pipe" in images.failures[0].reason
    assert len(within(20, lambda: images.fingerprint)) == 64  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["pipe", "pipe.tar", "pipe.npz", "pipe.tar.gz", "zero.tar", "zero.npz"])
def test_a_pipe_or_device_given_as_the_images_is_refused(tmp_path: Path, name: str) -> None:
    if name.startswith("pipe"):
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("/dev/zero")
    error = within(20, lambda: open_images(tmp_path / name))
    assert isinstance(error, EquiscopeError)
    assert re.search(r"is a (named pipe|device), not a file: expected a folder of images", str(error))


def test_names_that_are_no_text_are_kept_as_text(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff\x1b[31m.png")).write_bytes(encode(make_pixels()))
    except OSError:
        pytest.skip("the file system takes only text")
    (tmp_path / os.fsdecode(b"\xfe.png")).write_bytes(b"no image")
    images = open_images(tmp_path)
    assert images.names == ["\\xfe.png", "\\xff\x1b[31m.png"]
    json.dumps(images.names, ensure_ascii=False).encode()
    assert [images.load(index) is not None for index in range(2)] == [False, True]
    assert len(images.fingerprint) == 64


def test_a_file_larger_than_any_picture_is_named_unread(tmp_path: Path) -> None:
    write(tmp_path, a_png=encode(make_pixels()))
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(40 << 30)
    images = open_images(tmp_path)
    assert [images.load(index) is not None for index in range(2)] == [True, False]
    assert "more than the 1073741824 of a picture" in images.failures[0].reason


# Archives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz")])
def test_tar(tmp_path: Path, ending: str, mode: str) -> None:
    first, second = make_pixels(seed=1), make_pixels(9, 4, seed=2)
    members = {
        "./z.png": encode(second),
        "sub/a.PNG": encode(first),
        "readme.txt": b"x",
        "sub/._a.PNG": b"mac",
    }
    images = open_images(make_tar(tmp_path / f"set.{ending}", members, mode))
    assert images.name == f"set.{ending}"
    assert images.names == ["sub/a.PNG", "z.png"]
    for index, pixels in ((1, second), (0, first)):
        image = images.load(index)
        assert image is not None
        torch.testing.assert_close(image, torch.tensor(pixels).permute(2, 0, 1) / 255)
    assert images.failures == []


def test_later_member_of_one_name_wins_and_links_are_failures(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "set.tar", {"a.png": encode(make_pixels())})
    with tarfile.open(path, "a") as tar:
        data = encode(make_pixels(2, 3))
        member = tarfile.TarInfo("a.png")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = tarfile.SYMTYPE, "a.png"
        tar.addfile(link)
    images = open_images(path)
    assert images.names == ["a.png"]
    image = images.load(0)
    assert image is not None
    assert image.shape == (3, 2, 3)
    assert [failure.name for failure in images.failures] == ["b.png"]


@pytest.mark.parametrize(
    "damage", ["cut in a member", "cut in a header", "header", "cut gzip", "no tar", "empty"]
)
def test_damaged_tar_is_refused_as_a_whole(tmp_path: Path, damage: str) -> None:
    rng = np.random.default_rng(0)
    members = {f"{i}.png": rng.bytes(700) for i in range(4)}
    data = bytearray(make_tar(tmp_path / "set.tar", members).read_bytes())
    if damage == "cut in a member":
        del data[3 * 1536 + 600 :]
    elif damage == "cut in a header":
        del data[3 * 1536 + 100 :]
    elif damage == "header":
        data[2 * 1536 + 10] ^= 1
    elif damage == "cut gzip":
        data = bytearray(gzip.compress(bytes(data)))[:-900]
    elif damage == "no tar":
        data = bytearray(rng.bytes(5000))
    else:
        data = bytearray()
    (tmp_path / "bad.tar").write_bytes(data)
    with pytest.raises(EquiscopeError, match=r"(?s)bad\.tar.*Expected a whole \.tar.*fetch it again"):
        open_images(tmp_path / "bad.tar")


def test_hostile_names_and_links_of_an_archive_are_data(tmp_path: Path) -> None:
    png = encode(make_pixels())
    names = ["../../out.png", "/root.png", "a\x1b]0;title\x07.png", "b/../../c.png"]
    path = make_tar(tmp_path / "set.tar", dict.fromkeys(names, png))
    with tarfile.open(path, "a") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo(f"link{ord(kind)}.png")
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    before = sorted(tmp_path.rglob("*"))
    images = open_images(path)
    assert images.names == sorted(names)
    assert all(images.load(index) is not None for index in range(4))
    assert len(images.failures) == 4
    assert sorted(tmp_path.rglob("*")) == before


def test_a_member_of_negative_size_does_not_go_round_for_ever(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a.png")
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + (-1024 % 65536).to_bytes(2, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "bad.tar").write_bytes(bytes(header) * 3 + bytes(1024))
    error = within(20, lambda: open_images(tmp_path / "bad.tar"))
    assert isinstance(error, EquiscopeError)
    assert "cannot read the archive" in str(error)


def test_an_archive_that_unpacks_to_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking_module, "_ALWAYS_UNPACKED_BYTES", 3 << 20)
    members = {"a.png": encode(make_pixels()), "b.png": bytes(8 << 20)}
    bomb = make_tar(tmp_path / "bomb.tar.gz", members, "w:gz")
    assert bomb.stat().st_size < 20_000
    with pytest.raises(EquiscopeError, match=r"bomb.tar.gz.*unpack to .* over 100 times as many"):
        open_images(bomb)
    np.savez_compressed(tmp_path / "bomb.npz", images=np.zeros((40, 300, 300, 3), np.uint8))
    with pytest.raises(EquiscopeError, match=r"bomb.npz.*unpack to .* over 100 times as many"):
        open_images(tmp_path / "bomb.npz")
    # As large, and packed as tightly as pictures may be; and packed more tightly, but small.
    rows = np.repeat(np.random.default_rng(0).integers(0, 256, 6 << 18, np.uint8), 4).tobytes()
    assert len(open_images(make_tar(tmp_path / "a.tar.gz", {"a.png": rows}, "w:gz"))) == 1
    assert len(open_images(make_tar(tmp_path / "b.tar.gz", {"a.png": bytes(1 << 20)}, "w:gz"))) == 1


@pytest.mark.parametrize("n", [1 << 50, 1 << 62, 1 << 70])
def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path: Path, n: int) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|u1", "fortran_order": False, "shape": (n, 4, 5, 3)}
    )
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("images.npy", stream.getvalue() + bytes(100))
    with pytest.raises(EquiscopeError, match=r"cannot read .*set.npz.*fetch the file again"):
        open_images(tmp_path / "set.npz")


# npz ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_grey", [False, True])
def test_npz_of_pixels(tmp_path: Path, is_grey: bool) -> None:
    pixels = np.stack([make_pixels(seed=seed) for seed in range(3)])
    stored = pixels[..., 0] if is_grey else pixels
    np.savez_compressed(tmp_path / "set.npz", images=stored)
    images = open_images(tmp_path / "set.npz")
    assert images.names == ["images/000000", "images/000001", "images/000002"]
    expected = np.repeat(stored[..., None], 3, -1) if is_grey else stored
    for index in range(3):
        image = images.load(index)
        assert image is not None
        torch.testing.assert_close(image, torch.tensor(expected[index]).permute(2, 0, 1) / 255)
    reduced = open_images(tmp_path / "set.npz", max_side_px=3).load(0)
    assert reduced is not None
    assert reduced.shape == (3, 2, 3)


def make_runs(path: Path) -> list[np.ndarray]:
    """Two splits, `b` of two images before `a` of one, and return all three images."""
    pixels = [make_pixels(seed=1), make_pixels(3, 8, seed=2), make_pixels(6, 2, seed=3)]
    files = [encode(each) for each in pixels]
    np.savez(
        path,
        b_jpeg=np.frombuffer(files[0] + files[1], np.uint8),
        b_offset=np.array([0, len(files[0]), len(files[0]) + len(files[1])]),
        b_label=np.array([4, 5]),
        a_jpeg=np.frombuffer(files[2], np.uint8),
        a_offset=np.array([0, len(files[2])], np.uint32),
    )
    return pixels


def test_npz_of_encoded_images(tmp_path: Path) -> None:
    pixels = make_runs(tmp_path / "set.npz")
    images = open_images(tmp_path / "set.npz")
    assert images.names == ["b/000000", "b/000001", "a/000000"]
    for index, each in enumerate(pixels):
        image = images.load(index)
        assert image is not None
        torch.testing.assert_close(image, torch.tensor(each).permute(2, 0, 1) / 255)

    one = open_images(f"{tmp_path}/set.npz:a")
    assert one.names == ["a/000000"]
    assert one.name == "set.npz:a"
    image = one.load(0)
    assert image is not None
    torch.testing.assert_close(image, torch.tensor(pixels[2]).permute(2, 0, 1) / 255)


def test_npz_with_an_empty_and_a_damaged_image(tmp_path: Path) -> None:
    good = encode(make_pixels())
    run = np.frombuffer(good + good[:40], np.uint8)
    np.savez(tmp_path / "set.npz", x_jpeg=run, x_offset=[0, len(good), len(good), len(good) + 40])
    images = open_images(tmp_path / "set.npz")
    assert [images.load(index) is not None for index in range(3)] == [True, False, False]
    assert [failure.name for failure in images.failures] == ["x/000001", "x/000002"]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"labels": np.arange(3)}, "its arrays are labels"),
        ({"images": np.zeros((2, 4, 5, 3), np.float32)}, r"float32 of shape \(2, 4, 5, 3\)"),
        ({"images": np.zeros((2, 3, 4, 5), np.uint8)}, r"uint8 of shape \(2, 3, 4, 5\)"),
        ({"images": np.zeros((0, 4, 5, 3), np.uint8)}, r"shape \(0, 4, 5, 3\)"),
        ({"images": np.array([object()])}, "holds Python objects"),
        ({"x_jpeg": np.zeros(9, np.uint8)}, "no `x_offset`"),
        ({"x_jpeg": np.zeros(9, np.int8), "x_offset": np.array([0, 9])}, "`x_jpeg` is int8"),
        ({"x_jpeg": np.zeros(9, np.uint8), "x_offset": np.array([0.0, 9.0])}, "`x_offset` is float64"),
        (
            {"x_jpeg": np.zeros(9, np.uint8), "x_offset": np.array([0])},
            r"`x_offset` is int64 of shape \(1,\)",
        ),
        ({"x_jpeg": np.zeros(9, np.uint8), "x_offset": np.array([0, 10])}, "does not rise within 0 to 9"),
        ({"x_jpeg": np.zeros(9, np.uint8), "x_offset": np.array([0, 7, 5, 9])}, "does not rise"),
        ({"x_jpeg": np.zeros(9, np.uint8), "x_offset": np.array([-1, 9])}, "does not rise"),
    ],
)
def test_npz_with_wrong_arrays(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(EquiscopeError, match=f"(?s)set.npz.*{said}|{said}.*set.npz") as caught:
        open_images(tmp_path / "set.npz")
    assert "Expected one uint8 array `images`" in str(caught.value)


def test_npz_that_is_none_and_a_split_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_bytes(b"no zip")
    with pytest.raises(EquiscopeError, match="no zip archive"):
        open_images(tmp_path / "text.npz")
    make_runs(tmp_path / "set.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "set.npz").read_bytes()[:-30])
    with pytest.raises(EquiscopeError, match=r"cut\.npz.*fetch the file again"):
        open_images(tmp_path / "cut.npz")
    with pytest.raises(EquiscopeError, match=r"unknown split .* 'c': it has b, a"):
        open_images(f"{tmp_path}/set.npz:c")


# Refusals -------------------------------------------------------------------------------------------------


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(EquiscopeError, match=r"nowhere.*no such file or folder.*Expected a folder"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(EquiscopeError, match="no such file or folder"):
        open_images("")
    with pytest.raises(EquiscopeError, match="max_side_px is 0, expected a whole number from 1"):
        open_images(max_side_px=0)
    write(tmp_path, photo_jpg=b"x")
    with pytest.raises(EquiscopeError, match=r"ending in '\.jpg'.*put single images into a folder"):
        open_images(tmp_path / "photo.jpg")


def test_no_image_says_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(EquiscopeError, match=r"no image in the folder .*other files there: none"):
        open_images(tmp_path / "empty")
    write(tmp_path / "other", a_txt=b"", b_TXT=b"", c_mp4=b"")
    (tmp_path / "other" / "README").write_bytes(b"")
    with pytest.raises(EquiscopeError, match=r"2 \.txt, 1 .*\.mp4.*\.jpg \.jpeg .*give the folder") as caught:
        open_images(tmp_path / "other")
    assert "1 without an ending" in str(caught.value)
    tar = make_tar(tmp_path / "set.tar", {"a.csv": b"x"})
    with pytest.raises(EquiscopeError, match=r"no image in the archive .*1 \.csv"):
        open_images(tar)


# Fingerprints ---------------------------------------------------------------------------------------------


def test_fingerprint_follows_contents_not_place(tmp_path: Path) -> None:
    here = write(tmp_path / "here", a_png=encode(make_pixels(seed=1)), b_png=encode(make_pixels(seed=2)))
    before = open_images(here).fingerprint
    assert len(before) == 64
    assert open_images(here).fingerprint == before
    shutil.copytree(here, tmp_path / "there")
    assert open_images(tmp_path / "there", max_side_px=9).fingerprint == before
    write(here, notes_txt=b"not an image")
    assert open_images(here).fingerprint == before

    changed = bytearray((here / "a.png").read_bytes())
    changed[40] ^= 1
    (here / "a.png").write_bytes(changed)
    seen = {before, open_images(here).fingerprint}
    (here / "b.png").rename(here / "c.png")
    seen.add(open_images(here).fingerprint)
    write(here, d_png=encode(make_pixels(seed=3)))
    seen.add(open_images(here).fingerprint)
    (here / "a.png").unlink()
    seen.add(open_images(here).fingerprint)
    assert len(seen) == 5


def test_fingerprint_sees_head_tail_and_size_of_large_files(tmp_path: Path) -> None:
    data = bytearray(20_000)

    def fingerprint() -> str:
        (tmp_path / "a.png").write_bytes(data)
        return open_images(tmp_path).fingerprint

    seen = {fingerprint()}
    for place in (0, 4095, 20_000 - 4096, 19_999):
        data[place] = 1
        seen.add(fingerprint())
    assert len(seen) == 5
    data[10_000] = 1
    assert fingerprint() in seen  # as documented
    data.insert(10_000, 0)  # the same ends, another size
    assert fingerprint() not in seen


def test_fingerprint_of_archives_and_arrays(tmp_path: Path) -> None:
    members = {"a.png": encode(make_pixels(seed=1)), "b.png": encode(make_pixels(seed=2))}
    plain = open_images(make_tar(tmp_path / "set.tar", members)).fingerprint
    turned = dict(reversed(members.items()))
    assert open_images(make_tar(tmp_path / "set.tar.gz", turned, "w:gz")).fingerprint == plain
    folder = tmp_path / "set"
    folder.mkdir()
    for name, data in members.items():
        (folder / name).write_bytes(data)
    assert open_images(folder).fingerprint == plain
    (folder / "b.png").unlink()
    (folder / "b.png").symlink_to("nowhere")
    assert open_images(folder).fingerprint != plain

    images = np.zeros((2, 3, 4, 3), np.uint8)
    seen = set()
    for stored in (images, images.reshape(2, 4, 3, 3), images + np.uint8(1), images[:1]):
        np.savez(tmp_path / "set.npz", images=stored)
        seen.add(open_images(tmp_path / "set.npz").fingerprint)
    assert len(seen) == 4


def test_fingerprint_samples_contents_of_large_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_set_module, "_MAX_SAMPLED", 3)
    for index in range(9):
        (tmp_path / f"{index}.png").write_bytes(bytes([index]))
    before = open_images(tmp_path).fingerprint
    for index, is_seen in ((0, True), (1, False), (4, True), (8, True)):
        (tmp_path / f"{index}.png").write_bytes(b"x")
        assert (open_images(tmp_path).fingerprint != before) == is_seen
        (tmp_path / f"{index}.png").write_bytes(bytes([index]))


# Batches --------------------------------------------------------------------------------------------------


def decoder_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("equiscope-decode")]


@pytest.fixture
def mixed(tmp_path: Path) -> ImageSet:
    """Seven images: four of 5 x 7 with a damaged one among them, then two of 7 x 5."""
    for index in range(7):
        shape = (5, 7) if index < 5 else (7, 5)
        (tmp_path / f"{index}.png").write_bytes(
            b"bad" if index == 2 else encode(make_pixels(*shape, seed=index))
        )
    return open_images(tmp_path)


def test_batches_group_sizes_and_skip_failures(mixed: ImageSet) -> None:
    batches = list(mixed.batches(range(7), 3))
    assert [indices for indices, _ in batches] == [[0, 1, 3], [4], [5, 6]]
    assert [tuple(images.shape) for _, images in batches] == [(3, 3, 5, 7), (1, 3, 5, 7), (2, 3, 7, 5)]
    for indices, images in batches:
        for index, image in zip(indices, images, strict=True):
            alone = mixed.load(index)
            assert alone is not None
            torch.testing.assert_close(image, alone, rtol=0, atol=0)
    assert [failure.name for failure in mixed.failures] == ["2.png"]
    assert decoder_threads() == []


def test_batches_keep_the_order_asked_for(mixed: ImageSet) -> None:
    assert [indices for indices, _ in mixed.batches([6, 4, 0, 5, 6], 2)] == [[6], [4, 0], [5, 6]]
    assert list(mixed.batches([], 2)) == []
    assert list(mixed.batches([2], 2)) == []


def test_closing_batches_ends_their_thread(mixed: ImageSet) -> None:
    batches = mixed.batches(range(7), 1)
    next(batches)
    assert len(decoder_threads()) == 1
    batches.close()
    assert decoder_threads() == []
    for _ in mixed.batches(range(7), 1):
        break
    assert decoder_threads() == []


def test_batches_decode_ahead_within_bounds(mixed: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []
    real_load = ImageSet.load

    def load(images: ImageSet, index: int) -> torch.Tensor | None:
        loaded.append(index)
        return real_load(images, index)

    monkeypatch.setattr(ImageSet, "load", load)
    batches = mixed.batches([0] * 40, 4)
    next(batches)
    deadline = time.monotonic() + 5
    while len(loaded) < 8 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    assert len(loaded) == 8  # the batch in hand, and one ahead of it
    batches.close()
    assert len(loaded) == 8


def test_errors_in_the_thread_reach_the_caller(mixed: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IndexError):
        list(mixed.batches([0, 99], 2))
    assert decoder_threads() == []

    def load(images: ImageSet, index: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageSet, "load", load)
    with pytest.raises(KeyboardInterrupt):
        list(mixed.batches([0, 1], 2))
    assert decoder_threads() == []
    with pytest.raises(EquiscopeError, match="batch_size is 0, expected a whole number from 1"):
        mixed.batches([0], 0)


def test_load_from_several_threads(tmp_path: Path) -> None:
    members = {f"{i:02d}.png": encode(make_pixels(30, 40, seed=i)) for i in range(40)}
    images = open_images(make_tar(tmp_path / "set.tar", members))
    alone = [images.load(index) for index in range(40)]
    source: Any = images._source
    archive = source._archive

    class SlowToSeek:
        """Leaves other threads time to seek between this one's seek and its read."""

        def seek(self, place: int) -> None:
            archive.seek(place)
            time.sleep(0.0005)

        def read(self, n_bytes: int) -> bytes:
            return archive.read(n_bytes)

    source._archive = SlowToSeek()
    wrong: list[int] = []

    def check(order: np.ndarray) -> None:
        for index in order.tolist():
            image, expected = images.load(index), alone[index]
            if image is None or expected is None or not torch.equal(image, expected):
                wrong.append(index)

    threads = [
        threading.Thread(target=check, args=(np.random.default_rng(seed).permutation(40),))
        for seed in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# The embedded photographs ---------------------------------------------------------------------------------


def test_embedded_photographs_load_at_three_sizes() -> None:
    images = open_images()
    assert images.name == "embedded"
    assert images.failures == []
    assert images.names == sorted(images.names)
    assert len(images) == 3 * 13
    assert set(images.licences) == set(images.names)
    shapes: dict[int, list[tuple[int, ...]]] = {}
    for index, name in enumerate(images.names):
        image = images.load(index)
        assert image is not None
        assert image.std() > 0.02
        assert max(image.shape) <= int(name.split("@")[1])
        assert name.split("@")[0] in images.licences[name]
        shapes.setdefault(images.groups[index], []).append(tuple(image.shape))
    assert len(shapes) == 13
    assert all(len(set(each)) == 3 for each in shapes.values())  # no size twice
    assert images.failures == []


def test_embedded_photographs_respect_the_limit() -> None:
    images = open_images(max_side_px=200)
    assert {name.split("@")[1] for name in images.names} == {"128"}
    tiny = open_images(max_side_px=40)
    image = tiny.load(tiny.names.index("chelsea.png@40"))
    assert image is not None
    assert image.shape == (3, 27, 40)


def test_embedded_photographs_that_are_missing_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    coffee = embedded_module._PHOTOS["coffee.png"]
    gone = {"gone.png": (("skimage", "data"), "CC0"), "other.png": (("no_such_package", "data"), "CC0")}
    monkeypatch.setattr(embedded_module, "_PHOTOS", {**gone, "coffee.png": coffee})
    images = open_images()
    assert [failure.name for failure in images.failures] == ["gone.png", "other.png"]
    assert "does not ship data/gone.png" in images.failures[0].reason
    assert "no_such_package" in images.failures[1].reason
    assert len(images) == 3
    assert set(images.groups) == {2}
    monkeypatch.setattr(embedded_module, "_PHOTOS", gone)
    with pytest.raises(EquiscopeError, match="none of the 2 embedded photographs"):
        open_images()


def test_licences_are_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "images.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    for file, (_, licence) in embedded_module._PHOTOS.items():
        for part in licence.split("; "):
            assert part.split(" (")[0] in rows[file], (file, part)


# Real sets ------------------------------------------------------------------------------------------------


def test_photos_tar(shared: Path) -> None:
    images = open_images(shared / "data" / "photos.tar")
    assert len(images) == 1880
    assert images.names[:2] == ["photos/00000.jpg", "photos/00001.jpg"]
    shapes = {tuple(batch.shape[1:]) for _, batch in images.batches(range(0, 1880, 40), 16)}
    assert shapes == {(3, 224, 224)}
    assert images.failures == []


def test_tiny_imagenet(shared: Path) -> None:
    images = open_images(f"{shared}/data/tiny_imagenet_100.npz:val")
    assert len(images) == 5000
    assert images.names[0] == "val/000000"
    shapes = [tuple(batch.shape) for _, batch in images.batches(range(0, 5000, 50), 50)]
    assert shapes == [(50, 3, 64, 64)] * 2
    assert images.failures == []
