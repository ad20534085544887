"""What a simplification is asked for: which weights are tied, in what order, and how finely that is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equiscope.construction.simplify.result import METHODS, TRANSFORMATIONS
from equiscope.foundations import limits
from equiscope.foundations.errors import unknown_name
from equiscope.foundations.limits import list_names
from equiscope.transformations.rotation import Rotation

__all__ = ["BY_ERROR", "ONLY_CIRCUITS", "Curve"]

BY_ERROR = "error"
_ORDERS = (BY_ERROR, "layers")
ONLY_CIRCUITS = "circuits"
_CHOICES = ("all", ONLY_CIRCUITS)


@dataclass(frozen=True)
class Curve:
    """Accuracy against removed parameters, as it is asked for, checked.

    Parameters
    ----------
    transformation
        ``rotation`` or ``hue``.
    blocks
        ``all`` blocks between families, or families and invariant units; or the symmetric ``circuits`` among them.
    order
        ``error``: blocks of least error per saved parameter first. ``layers``: layer by layer from the image on.
    methods
        Some of ``METHODS``, of which ``tied`` is always one; none takes all.
    n_points
        By ``error``, each point removes as many parameters. By ``layers`` there is a point a layer instead.
    n_images
        Images that are evaluated, by default all.
    n_calibration
        Other images, on which moments are measured.

    Raises
    ------
    EquiscopeError
        If a name is none of those, or a number is outside its limit.

    Examples
    --------
    >>> Curve(methods="tied").methods
    ('tied',)
    >>> Curve(order="eror")
    Traceback (most recent call last):
    ...
    equiscope.foundations.errors.EquiscopeError: unknown order of blocks 'eror': did you mean 'error'?
    """

    transformation: str = Rotation.name
    blocks: str = "all"
    order: str = BY_ERROR
    methods: Sequence[str] = METHODS
    n_points: int = 6
    n_images: int | None = None
    n_calibration: int = 128

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", tuple(list_names(self.methods) or METHODS))
        for kind, name, known in (
            ("transformation to tie", self.transformation, TRANSFORMATIONS),
            ("choice of blocks", self.blocks, _CHOICES),
            ("order of blocks", self.order, _ORDERS),
            *(("method", method, METHODS) for method in self.methods),
        ):
            if name not in known:
                raise unknown_name(kind, name, known)
        limits.POINTS.check("n_points", self.n_points)
        limits.CALIBRATION.check("n_calibration", self.n_calibration)
        if self.n_images is not None:
            limits.EVALUATED.check("n_images", self.n_images)
