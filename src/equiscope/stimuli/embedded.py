"""The photographs that scikit-image and scikit-learn ship, with their licences."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

from equiscope.foundations.errors import EquiscopeError
from equiscope.stimuli.sources import FileSource

__all__ = ["EmbeddedPhotos", "find_embedded"]

# Every photograph is larger than 256 px, so that no two sizes of it are equal; few are much larger than 512.
_SIDES_PX = (128, 256, 512)

_SKIMAGE, _SKLEARN = ("skimage", "data"), ("sklearn", "datasets/images")
_CC0 = "CC0 1.0"
_CC_BY = "CC BY 2.0 (https://creativecommons.org/licenses/by/2.0/)"

# Only photographs whose free licence the package that ships them states; docs/images.md names those left out.
_PHOTOS = {
    "astronaut.png": (_SKIMAGE, "public domain; NASA, https://flic.kr/p/r9qvLn"),
    "brick.png": (_SKIMAGE, f"{_CC0}; CC0Textures, Bricks25"),
    "camera.png": (_SKIMAGE, f"{_CC0}; Lav Varshney"),
    "chelsea.png": (_SKIMAGE, f"{_CC0}; Stefan van der Walt"),
    "china.jpg": (
        _SKLEARN,
        f"{_CC_BY}; danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035",
    ),
    "clock_motion.png": (_SKIMAGE, "public domain; Stefan van der Walt"),
    "coffee.png": (_SKIMAGE, f"{_CC0}; Rachel Michetti, courtesy of Pikolo Espresso Bar"),
    "coins.png": (
        _SKIMAGE,
        "no known copyright restrictions; Brooklyn Museum, "
        "https://www.brooklynmuseum.org/opencollection/archives/image/51611",
    ),
    "flower.jpg": (_SKLEARN, f"{_CC_BY}; vultilion, https://www.flickr.com/photos/vultilion/6056698931"),
    "grass.png": (
        _SKIMAGE,
        f"{_CC0}; linolafett, https://www.deviantart.com/linolafett/art/Grass-01-434853879",
    ),
    "gravel.png": (_SKIMAGE, f"{_CC0}; CC0Textures, Gravel04"),
    "hubble_deep_field.jpg": (_SKIMAGE, "public domain; NASA, HubbleSite release 2012-37"),
    "retina.jpg": (
        _SKIMAGE,
        f"{_CC0}; Mikael Häggström, "
        "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg",
    ),
}


@dataclass
class EmbeddedPhotos:
    """The embedded photographs that are on disk, one entry for each size of each.

    Attributes
    ----------
    names, paths, sides_px, groups
        In step: ``"chelsea.png@256"``, its absolute path, its longest side, the photograph's number.
    licences
        Name to licence and source.
    left_out
        Photograph to the reason why it is not there.
    """

    names: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    sides_px: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    licences: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def source(self) -> FileSource:
        """The files to read, one for each name."""
        return FileSource(self.names, Path(), self.paths)


def find_embedded(max_side_px: int) -> EmbeddedPhotos:
    """Find the photographs beside the installed packages, without importing these or downloading anything.

    Each is listed three times, with its longest side reduced to 512, 256 and 128 px, so that units with small receptive
    fields see whole scenes too; sizes above ``max_side_px`` are left out.

    Examples
    --------
    >>> sorted(set(find_embedded(512).sides_px)), set(find_embedded(64).sides_px)
    ([128, 256, 512], {64})
    """
    sides_px = [side_px for side_px in _SIDES_PX if side_px <= max_side_px] or [max_side_px]
    photos = EmbeddedPhotos()
    for group, (file, ((package, folder), licence)) in enumerate(_PHOTOS.items()):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            photos.left_out[file] = f"the package {package}, which ships it, is not installed"
            continue
        path = Path(spec.origin).parent / folder / file
        if not path.is_file():
            photos.left_out[file] = f"the installed {package} does not ship {folder}/{file}"
            continue
        for side_px in sides_px:
            name = f"{file}@{side_px}"
            photos.names.append(name)
            photos.paths.append(str(path))
            photos.sides_px.append(side_px)
            photos.groups.append(group)
            photos.licences[name] = f"{file}: {licence}"
    if not photos.names:
        reasons = "; ".join(photos.left_out.values())
        raise EquiscopeError(
            f"none of the {len(_PHOTOS)} embedded photographs is on disk ({reasons}). "
            "Expected them in scikit-image and scikit-learn; reinstall both, or give a folder of images."
        )
    return photos
