"""Layers in which some units are equivariant, some invariant and some plain, and their export as ordinary ones."""

from equiscope.construction.equivariant.blocks import InceptionBlock, ResidualBlock
from equiscope.construction.equivariant.convolution import Conv2d
from equiscope.construction.equivariant.export import export
from equiscope.construction.equivariant.fields import Action, Colours, Fields
from equiscope.construction.equivariant.hue_stem import HueStem
from equiscope.construction.equivariant.normalisation import BatchNorm2d, Dropout2d
from equiscope.construction.equivariant.pooling import AvgPool2d, Blur, BlurredReLU, GroupPool, MaxPool2d

__all__ = [
    "Action",
    "AvgPool2d",
    "BatchNorm2d",
    "Blur",
    "BlurredReLU",
    "Colours",
    "Conv2d",
    "Dropout2d",
    "Fields",
    "GroupPool",
    "HueStem",
    "InceptionBlock",
    "MaxPool2d",
    "ResidualBlock",
    "export",
]
