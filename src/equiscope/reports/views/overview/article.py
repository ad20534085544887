"""What the article that started this says in numbers, to stand beside what a run measured."""

from __future__ import annotations

import re
from dataclasses import dataclass

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


def article_claim(model: str, layer: str, transformation: str) -> ArticleClaim | None:
    """Give what the article says of a layer of InceptionV1 under a transformation, or None where it says nothing.

    Notes
    -----
    The article gives no figures a layer. Its estimate for "early vision" is set beside the first five layers, which the
    same authors' "An Overview of Early Vision in InceptionV1" is about.
    """
    if not _NETWORKS.fullmatch(model) or layer not in _LAYERS:
        return None
    depth = _LAYERS.index(layer)
    match transformation:
        case "rotation" if depth < _N_EARLY:
            return ArticleClaim(
                "≈ 80 %",
                "“rotational equivariance (and rotational invariance, which can also be included) is quite common in "
                "early vision. Perhaps 80% of features in early vision fall into these categories.”",
            )
        case "rotation":
            return ArticleClaim(
                "rare", "“most neurons are in late vision, where rotational equivariance is rare”"
            )
        case "hue" if depth < _N_HUE:
            return ArticleClaim(
                "found",
                "Colour center-surround in different hues: “Units can be found doing this up until the seventh or even "
                "eighth layer of InceptionV1.”",
            )
        case "reflection" if depth >= _N_EARLY:
            return ArticleClaim(
                "prevalent",
                "“As we move into the mid layers of the network, rotated variations become less prominent, but "
                "horizontally flipped pairs become quite prevalent.”",
            )
        case _:
            return None
