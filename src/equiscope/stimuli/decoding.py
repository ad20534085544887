"""Bytes of any image format to RGB pixels."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["IMAGE_ENDINGS", "UndecodableError", "decode_image"]

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

# Named, so that a renamed file cannot reach Pillow's other readers (EPS, for one, starts Ghostscript).
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_MID_GREY = (128, 128, 128, 255)


class UndecodableError(Exception):
    """An image that cannot be decoded; the message is the whole reason."""


def decode_image(data: bytes, pixel_shape: tuple[int, ...] | None, max_side_px: int) -> NDArray[np.uint8]:
    """Decode one image and reduce it.

    Parameters
    ----------
    data
        An encoded image; or raw uint8 pixels where `pixel_shape` is given.
    pixel_shape
        (y, x) or (y, x, 3) if `data` are raw pixels.
    max_side_px
        A longer side is reduced to this, with antialiasing.

    Returns
    -------
    array, shape (y, x, 3), uint8 RGB

    Raises
    ------
    UndecodableError
        If the bytes are no image, too large an image, or pixels of no agreed range.
    Exception
        Whatever Pillow raises on damaged bytes: OSError for truncated files, and nearly any other type.

    Notes
    -----
    Pillow's limit of 179 million pixels stands. Colour profiles are not applied.
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
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    image = _convert_to_rgb(image)
    image.thumbnail((max_side_px, max_side_px))  # leaves a smaller image as it is
    return np.asarray(image)


def _open_encoded(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise UndecodableError(
            f"not a JPEG, PNG, WebP, BMP, GIF or TIFF image: it begins with the bytes {data[:8].hex(' ')}"
        ) from None
    except Image.DecompressionBombError as error:
        raise UndecodableError(f"too large to decode safely: {error}") from None


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        # Pillow's own conversion clips 16 bits at 255.
        grey = np.asarray(image).astype(np.float32) * np.float32(255 / 65535)
        return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UndecodableError(
            f"32-bit pixel values (mode {image.mode}) have no agreed range; expected 8 or 16 bits a channel"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _MID_GREY), image)
    return image.convert("RGB")
