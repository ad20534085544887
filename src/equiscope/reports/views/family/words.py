"""What the view of a family says of each transformation."""

from __future__ import annotations

__all__ = ["CAPTIONS", "STEPS", "TURNED_BACK", "UNTUNED"]

# Below the drawing of the members at their poses.
CAPTIONS = {
    "rotation": "Each member stands at the angle by which its feature is turned. Curves are responses as the family’s "
    "stimuli turn, the rim holds the marks of the poses.",
    "hue": "The angle is a turn of hue, from red over green to blue; the rim shows what it makes of red.",
    "dihedral": "Each member stands at the angle by which its feature is turned; dashed curves are of mirrored "
    "members, each shown in its own hand.",
    "hue-rotation": "Each member stands at the orientation and the hue of its feature, a dot where its picture had to "
    "move aside.",
    "scale": "Each member stands at the size of its feature, above the responses by size.",
    "rotation-scale": "Each member stands at the orientation and the size of its feature.",
    "reflection": "How strongly each member responds to the feature as it is and mirrored, of its own maximum.",
    "contrast": "How strongly each member responds to the feature as it is and inverted, of its own maximum.",
}
# Where the joint tuning was not measured.
UNTUNED = {
    "rotation-scale": "How members respond as stimuli turn and grow together was not measured; the rotation families "
    "that are joined have their own checks.",
    "reflection": "",
    "contrast": "",
}
# How the one photograph above the members' answers is shown.
STEPS = {
    "rotation": "turned",
    "hue": "with its hue turned",
    "dihedral": "turned, as it is and mirrored; members stand below the hand that is theirs",
    "hue-rotation": "turned, at its own hue",
    "scale": "at growing size, in octaves",
    "reflection": "as it is and mirrored",
    "contrast": "as it is and inverted",
}
# How two members are compared.
TURNED_BACK = {
    "rotation": "turned back by its pose",
    "hue": "recoloured back by its pose",
    "dihedral": "turned and mirrored back",
    "hue-rotation": "turned and recoloured back",
    "reflection": "mirrored back",
    "contrast": "inverted back",
    "scale": "brought back to one size",
    "rotation-scale": "turned and scaled back",
}
