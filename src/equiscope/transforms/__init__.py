"""How group elements act on images: turning, turning the hue, inverting contrast, zooming."""

from equiscope.transforms.colour import LUMA, chroma_of_hue, hue_matrix, invert_contrast, rotate_hue
from equiscope.transforms.rotation import crop_around, crop_size_px, rotate_image, rotate_patches
from equiscope.transforms.scale import zoom_crop_px, zoom_patches

__all__ = [
    "LUMA",
    "chroma_of_hue",
    "crop_around",
    "crop_size_px",
    "hue_matrix",
    "invert_contrast",
    "rotate_hue",
    "rotate_image",
    "rotate_patches",
    "zoom_crop_px",
    "zoom_patches",
]
