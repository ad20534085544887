"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "FalseDiscoveryRateOption",
    "ModelArgument",
    "PrecisionOption",
    "RunArgument",
    "SurveyedModelArgument",
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


def split_names(text: str | None) -> list[str] | None:
    """Split names that are separated by commas; None without any.

    Examples
    --------
    >>> split_names("conv1, conv2"), split_names(None)
    (['conv1', 'conv2'], None)
    """
    return [name.strip() for name in text.split(",") if name.strip()] if text else None
