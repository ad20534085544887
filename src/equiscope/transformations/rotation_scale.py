"""Rotation × scale: rotation families of different sizes or layers that are one family at several scales.

It is not surveyed: such families are rotation families that scale pairs join (`equiscope.families.rotation_scale`).
"""

from __future__ import annotations

from equiscope.foundations.errors import EquiscopeError
from equiscope.transformations.base import Transformation, Words
from equiscope.transformations.groups import Group
from equiscope.transformations.rotation import ANGLE
from equiscope.transformations.scale import OCTAVES
from equiscope.transformations.spaces import Cylinder

__all__ = ["RotationScale"]


class RotationScale(Transformation):
    """Features that turn and grow.

    Examples
    --------
    >>> RotationScale().pose_text({"angle_deg": 90.0, "octaves": 0.5})
    '90°, +0.50 oct.'
    """

    name = "rotation-scale"
    space = Cylinder(ANGLE, OCTAVES)
    words = Words(
        steps="turned and at growing size",
        back="turned and scaled back",
        poses="Each member stands at the orientation and the size of its feature.",
        untuned="How members respond as stimuli turn and grow together was not measured; the rotation families "
        "that are joined have their own checks.",
        follow="turn with its poses",
    )
    simplicity = 70
    needs = ("rotation", "scale")
    is_surveyed = False
    is_standard = False

    def group(self, n_angles: int, patch_px: int | None = None) -> Group:
        """Nothing is shown under it.

        Raises
        ------
        EquiscopeError
            Always.
        """
        raise EquiscopeError(f"{self.name} is not surveyed itself: survey {' and '.join(self.needs)}")
