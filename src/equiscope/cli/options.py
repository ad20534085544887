"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AnglesOption",
    "DeviceOption",
    "ExamplesPerUnitOption",
    "FalseDiscoveryRateOption",
    "ImagesOption",
    "LayersOption",
    "ModelArgument",
    "PrecisionOption",
    "QuickOption",
    "RunArgument",
    "ShownPrecisionOption",
    "SurveySeedOption",
    "SurveyedModelArgument",
    "TransformationsOption",
    "VerdictOption",
    "WeightsOption",
    "split_names",
]

RunArgument = Annotated[Path, typer.Argument(help="Folder of a run.")]
ModelArgument = Annotated[
    str,
    typer.Argument(
        help="Network: mini, googlenet, inception5h, squeezenet, package.module:factory, file.py:factory, "
        "timm:NAME, torchvision:NAME, a file.onnx or a trained model.safetensors. With -random at its end, the same "
        "with fresh weights; with -shuffled, with shuffled kernels."
    ),
]
SurveyedModelArgument = Annotated[
    str | None,
    typer.Argument(
        help="The network that was surveyed; default: the run's own name for it, if that is of a built-in network."
    ),
]
WeightsOption = Annotated[Path | None, typer.Option(help="Weight file for a built-in network.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
VerdictOption = Annotated[
    str,
    typer.Option(
        help="Families that are used: copies by their weights, cores of others among them; alike: also those only "
        "alike in pose; any: all, the untested too."
    ),
]
FalseDiscoveryRateOption = Annotated[float, typer.Option(help="Largest accepted q-value.")]

# What a survey is asked for, which a plan is asked for as well.
ImagesOption = Annotated[
    str | None, typer.Option(help="Folder, .tar or .npz of images; default: embedded photographs.")
]
LayersOption = Annotated[
    str | None, typer.Option(help="Module names or patterns such as 'layer1.*', separated by commas.")
]
TransformationsOption = Annotated[
    str | None,
    typer.Option(
        help="Some of rotation, hue, reflection, contrast, dihedral, hue-rotation, scale, separated by commas; "
        "default: all of these. Also up-down, brightness, saturation and stretch."
    ),
]
AnglesOption = Annotated[int | None, typer.Option(help="Number of rotations; default: 16, of a look 8.")]
ExamplesPerUnitOption = Annotated[
    int | None,
    typer.Option(help="Strongest stimuli a unit; half find, half verify; default: 8, of a look 4."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
ShownPrecisionOption = Annotated[
    str, typer.Option(help="auto, float32 or bfloat16, for the passes that show transformed stimuli.")
]
SurveySeedOption = Annotated[int, typer.Option(help="Seed of halves, null and bootstrap.", min=0)]
QuickOption = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="A look in a few minutes, not a survey: rotation, hue and reflection, fewer angles, stimuli and layers, "
        "at most 300 images. Options that are given win.",
    ),
]


def split_names(text: str | None) -> list[str] | None:
    """Split names that are separated by commas; None without any.

    Examples
    --------
    >>> split_names("conv1, conv2"), split_names(None)
    (['conv1', 'conv2'], None)
    """
    return [name.strip() for name in text.split(",") if name.strip()] if text else None
