"""What a survey is asked for, checked and filled in: the numbers, the layers, and the device.

A **look** (``quick``) asks for less than a survey: fewer angles and stimuli, three transformations, five layers, and
300 images. What is given wins over what a look would take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equiscope.families.linkage import MIN_SCORE
from equiscope.foundations import limits
from equiscope.foundations.devices import choose_device, choose_precision
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.limits import list_names
from equiscope.foundations.options import Options
from equiscope.foundations.progress import silent
from equiscope.measurement.examples import empty_examples
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry, find_geometry
from equiscope.models.operations import count_multiplications
from equiscope.models.repeatability import require_repeatable
from equiscope.stimuli import ImageSet
from equiscope.surveys.stages import Stage
from equiscope.transformations import find, standard_names, surveyed_names, with_needed

__all__ = ["Asked", "ask_survey", "bare_stage"]

_ANGLES, _EXAMPLES_PER_UNIT = 16, 8
# Of a look. Eight angles are the fewest that tell stabilisers; of four stimuli two find and two verify.
_FEW_ANGLES, _FEW_EXAMPLES = 8, 4
_FEW_TRANSFORMATIONS = ("rotation", "hue", "reflection")
_FEW_LAYERS, _FEW_IMAGES = 5, 300
# Of all patches that a look shows: about a minute of one core, which makes some 4e10 in a second.
_MOST_MULTIPLICATIONS = 2.4e12
# Side of the images of a network of which none is known, px.
_USUAL_PX = 224


@dataclass(frozen=True)
class Asked:
    """What a survey is asked for.

    Attributes
    ----------
    images
        Those that are shown.
    settings
        Numbers, layers and transformations, as the manifest keeps them.
    device, precision
        Where the network runs, and what it computes in while it is shown transformed stimuli.
    look
        What a look leaves out, and how it becomes a survey; empty for a survey.
    """

    images: ImageSet
    settings: dict[str, Any]
    device: torch.device
    precision: torch.dtype
    look: str = ""


def ask_survey(
    model: Model,
    images: ImageSet,
    layers: Sequence[str] | None,
    transformations: Sequence[str] | None,
    angles: int | None,
    examples_per_unit: int | None,
    options: Options,
) -> Asked:
    """Check what a survey is asked for, and fill in what it is not.

    Raises
    ------
    EquiscopeError
        If there are too few images, a name is unknown, a number is outside its limit, the device cannot be used, or the
        network answers one image in several ways.

    Examples
    --------
    >>> from equiscope.foundations.options import Options
    >>> from equiscope.models import load_model
    >>> from equiscope.stimuli import open_images
    >>> model, images = load_model("mini"), open_images()
    >>> asked = ask_survey(model, images, ["conv2d0"], None, None, 6, Options(quick=True))
    >>> asked.settings["angles"], asked.settings["examples_per_unit"], asked.settings["transformations"]
    (8, 6, ['rotation', 'hue', 'reflection'])
    """
    shown = images.spread(_FEW_IMAGES) if options.quick else images
    _require_photographs(shown)
    usual = (_FEW_ANGLES, _FEW_EXAMPLES) if options.quick else (_ANGLES, _EXAMPLES_PER_UNIT)
    given = [
        own if value is None else value for value, own in zip((angles, examples_per_unit), usual, strict=True)
    ]
    few = list(_FEW_TRANSFORMATIONS) if options.quick else None
    numbers = {
        "angles": limits.ANGLES.check("angles", given[0]),
        "examples_per_unit": limits.EXAMPLES_PER_UNIT.check("examples_per_unit", given[1]),
        "false_discovery_rate": options.false_discovery_rate,
        "min_score": MIN_SCORE if options.min_score is None else options.min_score,
        "n_null": options.n_null,
        "seed": options.seed,
    }
    chosen, wanted = (
        model.resolve_layers(list_names(layers)),
        _resolve(few if transformations is None else list_names(transformations)),
    )
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    every = chosen
    if options.quick and not layers:
        chosen = _spread(model, shown, chosen, {"transformations": wanted, **numbers})
    require_repeatable(model, chosen)
    settings = {
        "layers": chosen,
        "transformations": wanted,
        "precision": str(precision).removeprefix("torch."),
        **numbers,
    }
    look = _word_look(settings, len(every), len(shown), len(images)) if options.quick else ""
    return Asked(shown, settings, device, precision, look)


def _require_photographs(images: ImageSet) -> None:
    n_photographs = len(set(images.groups))
    if n_photographs < 2:
        copies = f" ({images.n_copies} of its {len(images)} images are copies)" if images.n_copies else ""
        raise EquiscopeError(
            f"{images.name} holds {n_photographs} photograph(s){copies}: one half of the images finds families and the "
            "other verifies them, so at least 2 are needed, and some hundreds for results worth trusting"
        )


def _resolve(transformations: Sequence[str] | None) -> list[str]:
    """Put the transformations asked for into their order, with those that they need."""
    asked = standard_names() if transformations is None else list(transformations)
    if not asked:
        raise EquiscopeError(f"no transformation was asked for: name some of {', '.join(surveyed_names())}")
    return with_needed(asked)


def bare_stage(
    model: Model,
    images: ImageSet,
    geometries: dict[str, LayerGeometry],
    settings: dict[str, Any],
    *,
    whole_px: int = _USUAL_PX,
    precision: torch.dtype = torch.float32,
) -> Stage:
    """Give the stages of a survey as they are before its pass over the images: what they will show can be counted.

    Examples
    --------
    >>> from equiscope.models import load_model
    >>> from equiscope.stimuli import open_images
    >>> model, settings = load_model("mini"), {"angles": 16, "examples_per_unit": 8}
    >>> stage = bare_stage(model, open_images(), find_geometry(model, ["conv2d0"]), settings)
    >>> stage.count_stimuli("rotation", "conv2d0"), stage.patch_px("conv2d0")
    (384, 9)
    """
    n_kept = -(-int(settings["examples_per_unit"]) // 2)
    return Stage(
        model=model,
        images=images,
        geometries=geometries,
        examples={name: empty_examples(name, own.n_channels, n_kept) for name, own in geometries.items()},
        photographs=np.asarray(images.groups, dtype=np.int64),
        folder=Path(),
        settings=settings,
        whole_px=whole_px,
        precision=precision,
        progress=silent,
    )


def _spread(model: Model, images: ImageSet, layers: list[str], settings: dict[str, Any]) -> list[str]:
    """Choose some layers evenly over the depth, down to where a look would take more than its time.

    By multiplications and not by seconds, so that every machine chooses the same.
    """
    side_px = model.input_size_px or _USUAL_PX
    for_image = count_multiplications(model, layers, side_px)
    costs: list[float] = []
    # A few at a time, because the fields of deep layers, which cost too much anyway, take longest to find.
    for start in range(0, len(layers), _FEW_LAYERS):
        some = layers[start : start + _FEW_LAYERS]
        stage = bare_stage(
            model, images, find_geometry(model, some, side_px=side_px), settings, whole_px=side_px
        )
        costs += [for_image[layer] * _count_pixels(stage, layer) / side_px**2 for layer in some]
        if min(costs[start:]) > _MOST_MULTIPLICATIONS:
            break
    layers = layers[: len(costs)]
    for n in range(len(layers), 1, -1):
        places = np.unique(np.linspace(0, n - 1, min(n, _FEW_LAYERS)).round().astype(int)).tolist()
        if sum(costs[place] for place in places) <= _MOST_MULTIPLICATIONS:
            return [layers[place] for place in places]
    return layers[:1]


def _count_pixels(stage: Stage, layer: str) -> float:
    """Count the pixels of all patches that a layer is shown."""
    names = stage.settings["transformations"]
    n_patches = sum(stage.count_stimuli(name, layer) * stage.group(find(name), layer).order for name in names)
    return float(n_patches * stage.patch_px(layer) ** 2)


def _word_look(settings: dict[str, Any], n_layers: int, n_shown: int, n_images: int) -> str:
    """Say what a look had less than a survey would, and how it becomes one."""
    had = (
        f"{len(settings['layers'])} of {n_layers} layers, {', '.join(settings['transformations'])}, "
        f"{settings['angles']} angles, {settings['examples_per_unit']} stimuli a unit, {n_shown:,} of {n_images:,} "
        "images"
    )
    return (
        f"This is a look, not a survey: {had}. Small and deep families may be missing, and intervals are wide. The "
        "same command without --quick, in another folder, makes the survey; equiscope plan says how long it takes."
    )
