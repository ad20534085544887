"""What the article that started this says in numbers, to stand beside what a run measured."""

from __future__ import annotations

import re
from dataclasses import dataclass

from equiscope.transformations import alone
from equiscope.transformations.hue import HUE
from equiscope.transformations.reflection import MIRRORED
from equiscope.transformations.rotation import ANGLE

__all__ = ["SOURCE", "ArticleClaim", "article_claim"]

SOURCE = "Olah, Cammarata, Voss, Schubert and Goh, “Naturally Occurring Equivariance in Neural Networks”, Distill 2020"

# InceptionV1 under its names here; its layers are counted as the article counts them.
_NETWORKS = re.compile(r"googlenet|inception(v1|5h)?", re.IGNORECASE)
_LAYERS = (
    "conv2d0",
    "conv2d1",
    "conv2d2",
    "mixed3a",
    "mixed3b",
    "mixed4a",
    "mixed4b",
    "mixed4c",
    "mixed4d",
    "mixed4e",
)
_N_EARLY = 5
_N_HUE = 8


@dataclass(frozen=True)
class ArticleClaim:
    """One statement of the article: a few words for a table, and the sentence that they come from."""

    short: str
    sentence: str


# What it says of features that move along these axes alone, from one depth to another.
_CLAIMS = {
    alone(ANGLE): (
        (
            0,
            _N_EARLY,
            ArticleClaim(
                "≈ 80 %",
                "“rotational equivariance (and rotational invariance, which can also be included) is quite common in "
                "early vision. Perhaps 80% of features in early vision fall into these categories.”",
            ),
        ),
        (
            _N_EARLY,
            len(_LAYERS),
            ArticleClaim("rare", "“most neurons are in late vision, where rotational equivariance is rare”"),
        ),
    ),
    alone(HUE): (
        (
            0,
            _N_HUE,
            ArticleClaim(
                "found",
                "Colour center-surround in different hues: “Units can be found doing this up until the seventh or even "
                "eighth layer of InceptionV1.”",
            ),
        ),
    ),
    alone(MIRRORED): (
        (
            _N_EARLY,
            len(_LAYERS),
            ArticleClaim(
                "prevalent",
                "“As we move into the mid layers of the network, rotated variations become less prominent, but "
                "horizontally flipped pairs become quite prevalent.”",
            ),
        ),
    ),
}


def article_claim(model: str, layer: str, transformation: str) -> ArticleClaim | None:
    """Give what the article says of a layer of InceptionV1 under a transformation, or None where it says nothing.

    Notes
    -----
    The article gives no figures a layer. Its estimate for "early vision" is set beside the first five layers, which the
    same authors' "An Overview of Early Vision in InceptionV1" is about.

    Examples
    --------
    >>> article_claim("googlenet", "conv2d1", "rotation").short
    '≈ 80 %'
    >>> article_claim("googlenet", "mixed4c", "rotation").short
    'rare'
    """
    if not _NETWORKS.fullmatch(model) or layer not in _LAYERS:
        return None
    depth = _LAYERS.index(layer)
    said = (claim for first, last, claim in _CLAIMS.get(transformation, ()) if first <= depth < last)
    return next(said, None)
