"""How group elements act on images: turning, turning the hue, inverting contrast, zooming, stretching."""

from equiscope.transformations.pixels.colour import (
    LUMA,
    chroma_of_hue,
    chroma_strength,
    hue_matrix,
    invert_contrast,
    luma_of,
    rotate_hue,
)
from equiscope.transformations.pixels.turning import crop_around, crop_size_px, rotate_image, rotate_patches
from equiscope.transformations.pixels.zoom import stretch_crop_px, stretch_patches, zoom_crop_px, zoom_patches

__all__ = [
    "LUMA",
    "chroma_of_hue",
    "chroma_strength",
    "crop_around",
    "crop_size_px",
    "hue_matrix",
    "invert_contrast",
    "luma_of",
    "rotate_hue",
    "rotate_image",
    "rotate_patches",
    "stretch_crop_px",
    "stretch_patches",
    "zoom_crop_px",
    "zoom_patches",
]
