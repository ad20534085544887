"""Bytes of an image in any usual format to RGB pixels, bounded in size.

Grey becomes three equal channels, transparency is laid on mid-grey, 16 bits become 8, and the orientation that a camera
noted is applied. What is larger than asked for is made smaller, a large picture band by band, so that conversions make
no copies of the whole.
"""

from __future__ import annotations

import io
from math import ceil
from typing import NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

__all__ = [
    "IMAGE_ENDINGS",
    "USUAL_ENDINGS",
    "DecodedImage",
    "UndecodableError",
    "decode_image",
    "find_size",
    "name_format",
    "refuse_ending",
]

# Named, so that a renamed file cannot reach Pillow's other readers: EPS, for one, starts Ghostscript, and TGA takes
# nearly any bytes for a picture. Formats that this release of Pillow does not know are left out.
_WANTED_FORMATS = (
    "JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI", "SGI",
)  # fmt: skip
Image.init()
_FORMATS = tuple(name for name in _WANTED_FORMATS if name in Image.OPEN)

USUAL_ENDINGS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".avif",
    ".jp2",
    ".ppm",
    ".pgm",
)
# Usual ones first, for messages; then all others by which Pillow knows these formats.
IMAGE_ENDINGS = tuple(
    dict.fromkeys(
        (*USUAL_ENDINGS, *(end for end, name in Image.registered_extensions().items() if name in _FORMATS))
    )
)

# What else is a picture by its ending: cameras' raw formats, and formats that Pillow reads badly or not at all.
_OTHER_ENDINGS = frozenset(
    """.heic .heif .jxl .svg .exr .hdr .dng .cr2 .cr3 .nef .arw .orf .raf .rw2 .pef .srw .xcf .psd .psb .ico .icns .cur
    .dds .eps .fits .tga .pcx .dib .ras .wmf .emf .xbm .xpm .pcd""".split()
)

# First bytes of a file, where they begin, and whose they are. Two bytes, as of BMP, would tell too little.
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "BigTIFF"),
    (0, b"MM\0+", "BigTIFF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"qoif", "QOI"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"8BPS", "Photoshop"),
)

_MID_GREY = (128, 128, 128, 255)
_ORIENTATION = 0x0112
# TIFF tags.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _MAX_SAMPLE_VALUE, _SAMPLE_FORMAT = 258, 262, 281, 339
# Above this many pixels an image is reduced in bands, so that conversions make no copies of the whole.
_LARGE_PX = 16_000_000
_BAND_PX = 4_000_000


class UndecodableError(Exception):
    """An image that cannot be decoded; the message is the whole reason."""


class DecodedImage(NamedTuple):
    """Pixels, uint8 RGB of shape (y, x, 3), and what had to be assumed about the stored numbers, if anything."""

    pixels: NDArray[np.uint8]
    assumption: str | None


class _Levels(NamedTuple):
    """Stored numbers that are black and white; black is the larger one where white is stored as 0."""

    black: float
    white: float
    assumption: str | None = None


def name_format(head: bytes) -> str | None:
    r"""Tell by its first 16 bytes which kind of picture a file is; None where they are no known picture's.

    Examples
    --------
    >>> name_format(b"\x89PNG\r\n\x1a\n" + bytes(8)), name_format(b"plain text here.")
    ('PNG', None)
    """
    for start, signature, name in _SIGNATURES:
        if head[start : start + len(signature)] == signature:
            return name
    return None


def refuse_ending(ending: str) -> str | None:
    """Say why a picture with this ending, in lower case with its dot, is not read; None for what is no picture.

    Examples
    --------
    >>> refuse_ending(".png") is None, refuse_ending(".svg")
    (True, 'a picture in a format that is not read here (.svg): convert it to PNG or JPEG')
    """
    if ending not in _OTHER_ENDINGS:
        return None
    return f"a picture in a format that is not read here ({ending}): convert it to PNG or JPEG"


def decode_image(data: bytes, pixel_shape: tuple[int, ...] | None, max_side_px: int) -> DecodedImage:
    """Decode one image and reduce it.

    Parameters
    ----------
    data
        An encoded image; or raw uint8 pixels where `pixel_shape` is given.
    pixel_shape
        (y, x) or (y, x, 3) if `data` are raw pixels.
    max_side_px
        A longer side is reduced to this, with antialiasing.

    Raises
    ------
    UndecodableError
        If the bytes are no image, too large an image, or pixels of no agreed range.
    Exception
        Whatever Pillow raises on damaged bytes: OSError for truncated files, and nearly any other type.

    Notes
    -----
    Pillow's limit of 179 million pixels stands. Memory: the stored pixels, which Pillow holds in 1 to 4 bytes each (a
    JPEG's after it was reduced to 1/2, 1/4 or 1/8), and of images of up to 16 million pixels some copies of them.
    Colour profiles are not applied.

    Examples
    --------
    Raw pixels of 2 x 3 px.

    >>> image = decode_image(bytes([255, 0, 0] * 6), (2, 3, 3), max_side_px=64)
    >>> image.pixels.shape
    (2, 3, 3)
    """
    if not data:
        raise UndecodableError("the file is empty (0 bytes)")
    if pixel_shape is not None:
        image = Image.fromarray(np.frombuffer(data, np.uint8).reshape(pixel_shape))
    else:
        image = _open_encoded(data)

    shrink = max_side_px / max(image.size)
    if shrink < 1:
        # JPEG can be decoded at 1/2, 1/4 or 1/8, which other formats ignore. Twice the final size leaves the
        # antialiasing to the resampling below.
        image.draft(None, (int(2 * shrink * image.width) or 1, int(2 * shrink * image.height) or 1))
    is_deep = _has_deep_channels(image)
    image.load()
    levels = _find_levels(image, is_deep)
    if image.width * image.height > _LARGE_PX:
        image = _reduce_in_bands(image, levels, max_side_px)
    ImageOps.exif_transpose(image, in_place=True)
    image = _convert_to_rgb(image, levels)
    image.thumbnail((max_side_px, max_side_px))  # leaves a smaller image as it is
    return DecodedImage(np.asarray(image), None if levels is None else levels.assumption)


def find_size(data: bytes) -> tuple[int, int]:
    """Read the width and height of an encoded image, px, without decoding it.

    Raises
    ------
    UndecodableError
        If the bytes are no image, or too large an image.

    Examples
    --------
    >>> stream = io.BytesIO()
    >>> Image.new("RGB", (40, 30)).save(stream, "PNG")
    >>> find_size(stream.getvalue())
    (40, 30)
    """
    return _open_encoded(data).size


def _open_encoded(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise UndecodableError(_why_unidentified(data)) from None
    except Image.DecompressionBombError as error:
        raise UndecodableError(f"too large to decode safely: {error}") from None


def _why_unidentified(data: bytes) -> str:
    name = name_format(data[:16])
    if name is None:
        return f"not a JPEG, PNG or other picture that is read here: it begins with the bytes {data[:8].hex(' ')}"
    kind = _describe_samples(data) if name == "TIFF" else ""
    return f"an image in {name}{kind}, which Pillow {PIL.__version__} does not read: convert it to 8-bit PNG or JPEG"


def _describe_samples(data: bytes) -> str:
    """Describe the samples of a TIFF image that Pillow refuses, as far as its tags can be read."""
    try:
        stream = io.BytesIO(data)
        tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
        stream.seek(tags.next)
        tags.load(stream)
        bits, formats = (tuple(tags.get(tag, (1,))) for tag in (_BITS_PER_SAMPLE, _SAMPLE_FORMAT))
    except Exception:  # its damage is of no interest: Pillow has refused it already
        return ""
    kind = {1: "", 2: " signed", 3: " floating-point"}.get(formats[0], " unusual")
    return f" of {len(bits)} x {bits[0]}{kind} bits a pixel"


def _has_deep_channels(image: Image.Image) -> bool:
    """Whether channels of 16 bits are about to be decoded to 8, as Pillow does with all but grey images."""
    if image.mode not in ("RGB", "RGBA", "LA", "RGBX"):
        return False
    # Of PPM the second argument is the largest value; of the others the raw mode ends in the bits of a channel.
    return any(
        ";16" in str(tile[3])
        or (image.format == "PPM" and isinstance(tile[3], tuple) and tile[3][1] == 65535)
        for tile in getattr(image, "tile", ())
    )


def _find_levels(image: Image.Image, is_deep: bool) -> _Levels | None:
    """Find which stored numbers are black and white; None where Pillow's own conversion knows."""
    if is_deep:
        _refuse_dark(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        levels = _sixteen_bits(image)
    elif image.mode == "F":
        levels = _floats(image)
    elif image.mode == "I":
        low, high = image.getextrema()
        raise UndecodableError(
            f"signed or 32-bit pixel values, from {low} to {high}, have no agreed range; expected 8 or 16 bits a "
            "channel without a sign, or floats from 0 to 1"
        )
    else:
        return None
    is_inverted = image.format == "TIFF" and _tag(image, _PHOTOMETRIC) == 0
    return _Levels(levels.white, levels.black, levels.assumption) if is_inverted else levels


def _sixteen_bits(image: Image.Image) -> _Levels:
    """White of 16-bit grey: as the file declares it, or as values below a sixteenth of the range leave no doubt of."""
    largest = 65535
    if image.format == "TIFF":
        n_bits = _tag(image, _BITS_PER_SAMPLE) or 16
        largest = min(_tag(image, _MAX_SAMPLE_VALUE) or 65535, (1 << n_bits) - 1)
    declared = (1 << max(8, largest.bit_length())) - 1
    high = int(np.asarray(image).max())
    if declared < 65535 or high == 0 or high > 4095:
        return _Levels(0, declared)
    n_bits = 8 if high <= 255 else 12
    assumption = f"no value of its 16 bits is above {high}: read as {n_bits} bits"
    return _Levels(0, (1 << n_bits) - 1, assumption)


def _floats(image: Image.Image) -> _Levels:
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    # NaN fails both comparisons.
    if not (low >= 0 and high <= 1):
        raise UndecodableError(
            f"32-bit pixel values from {low:g} to {high:g} (floating point) have no agreed range; expected 8 or 16 "
            "bits a channel, or floats from 0 to 1"
        )
    return _Levels(0, 1)


def _refuse_dark(image: Image.Image) -> None:
    """Refuse colours of 12 bits stored in 16: Pillow gives their upper 8 bits, in which only 16 steps are left."""
    colours = "RGB" if "RGB" in image.mode else "L"
    if max(int(np.asarray(image.getchannel(colour)).max()) for colour in colours) <= 16:
        raise UndecodableError(
            "its channels of 16 bits stay below a sixteenth of their range, as those of 12 bits do: scale its values "
            "to 16 bits, or convert it to 8"
        )


def _tag(image: Image.Image, tag: int) -> int | None:
    """First value of a TIFF tag, if the image has it."""
    value = image.tag_v2.get(tag)  # type: ignore[attr-defined]
    first = value[0] if isinstance(value, tuple) and value else value
    return int(first) if isinstance(first, int | float) else None


def _reduce_in_bands(image: Image.Image, levels: _Levels | None, max_side_px: int) -> Image.Image:
    """Convert a large image to RGB and reduce it, some rows at a time, so that no copy of the whole is made.

    As `Image.thumbnail` does it: by a whole number to at least twice the final size, then with antialiasing.
    """
    shrink = max_side_px / max(image.size)
    factor = int(1 / shrink / 2)
    if factor < 2:
        return image
    within = (image.width / factor, image.height / factor)
    small = Image.new("RGB", (ceil(within[0]), ceil(within[1])))
    rows = factor * max(1, _BAND_PX // (image.width * factor))
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        small.paste(_convert_to_rgb(band, levels).reduce(factor), (0, top // factor))
    final = (max(1, round(shrink * image.width)), max(1, round(shrink * image.height)))
    reduced = small.resize(final, Image.Resampling.BICUBIC, box=(0, 0, *within))
    if (orientation := image.getexif().get(_ORIENTATION)) is not None:
        reduced.getexif()[_ORIENTATION] = orientation
    return reduced


def _convert_to_rgb(image: Image.Image, levels: _Levels | None) -> Image.Image:
    if levels is not None and image.mode != "RGB":
        # Pillow's own conversion clips 16 bits at 255.
        black, white = (np.float32(level) for level in levels[:2])
        grey = (np.asarray(image).astype(np.float32) - black) * np.float32(255 / (white - black))
        return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _MID_GREY), image)
    return image if image.mode == "RGB" else image.convert("RGB")
