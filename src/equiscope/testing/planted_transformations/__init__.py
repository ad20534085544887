"""Networks whose families under hue, mirroring, contrast and scale are known by hand, to test a search for them.

A group element g acts on a unit by ``(g·u)(x) = u(g⁻¹·x)``. A pose is an element of the group of one transformation,
and a member of a family is the family's base unit acted upon by the member's pose. So the base unit of a family of
colour edges answers most to a red edge, and its member at a hue of 120° to a green one.

=================  ==================================================================================
module             what is in it
=================  ==================================================================================
``network``        `planted_transformation`
``truth``          `PlantedTransformations`: the network, its families, their members and poses
``hue``            the units of the network of each transformation: which families there are, which units
                   are invariant, and which only look alike; so ``hue_rotation``, ``reflection``,
                   ``dihedral``, ``contrast`` and ``scale``
``units``          what these units are made of
=================  ==================================================================================

Units fire on 1 to 8 % of the positions of the embedded photographs at 128 and 256 px, 14 of 26 without colour; on
those in colour, the units that read chroma on 2 to 15 %, depending on their hue. There responses of units of
different families, or of none, correlate by 0.92 or less at every sampled element. The nearest are an edge or spot
that also reads luma and its black-and-white or coloured counterpart. Hue tuning is as broad as a linear reading of
chroma makes it: 0.95 at 45° off.
"""

from equiscope.testing.planted_transformations.network import planted_transformation
from equiscope.testing.planted_transformations.truth import PlantedOrbit, PlantedPose, PlantedTransformations

__all__ = ["PlantedOrbit", "PlantedPose", "PlantedTransformations", "planted_transformation"]
