"""A battery of networks whose families are known, to measure how often what is called copies are copies.

Each kind of scene asks one question: are look-alikes of 5 % told apart, are mixtures of turned inputs taken for copies,
are two members found beside twelve? Each seed draws it anew. Even seeds are for choosing thresholds, odd ones for
reporting (`is_for_choosing`).
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from equiscope.foundations.errors import unknown_name
from equiscope.models.model import Model
from equiscope.stimuli import open_images
from equiscope.testing.battery.drawn import DRAWN, Drawing
from equiscope.testing.battery.features import likeness, sample
from equiscope.testing.battery.geometries import Threshold, set_thresholds, with_kernels
from equiscope.testing.battery.scene import ALIKE, COPIES, LayerScene, Scene, is_for_choosing
from equiscope.testing.battery.score import Score, copies_of, score_layer, score_scene
from equiscope.testing.battery.stacked import STACKED, Stack, kernels_of, late_likeness
from equiscope.testing.battery.trained import TRAINED, train_fields

__all__ = [
    "ALIKE",
    "COPIES",
    "KINDS",
    "LayerScene",
    "Scene",
    "Score",
    "battery_scene",
    "copies_of",
    "is_for_choosing",
    "score_layer",
    "score_scene",
]

KINDS = (*DRAWN, *STACKED, *TRAINED)
_N_IMAGES, _SIDE_PX = 12, 128


def battery_scene(kind: str, seed: int = 0) -> Scene:
    """Build a scene; the modules `drawn`, `stacked` and `trained` list the kinds.

    Parameters
    ----------
    kind
        One of `KINDS`.
    seed
        Draws features, poses, noise and the order of channels.

    Returns
    -------
    Scene
        The trained ones take some minutes.

    Raises
    ------
    EquiscopeError
        If the kind is unknown.

    Examples
    --------
    >>> scene = battery_scene("small")
    >>> layer = scene.layers["responses"]
    >>> sorted(layer.stabilisers), len(layer.features)
    (['aspect', 'frequency', 'radius', 'sharpness', 'star 3'], 30)
    """
    if kind in TRAINED:
        module, layers = train_fields(TRAINED[kind], seed)
        return Scene(
            kind, seed, "rotation", Model(module, f"battery-{kind}", default_layers=tuple(layers)), layers
        )
    # Kinds of one seed draw different numbers.
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    if kind in DRAWN:
        return _drawn_scene(kind, seed, rng)
    if kind in STACKED:
        return _stacked_scene(kind, seed, rng)
    raise unknown_name("kind of scene", kind, KINDS)


def _drawn_scene(kind: str, seed: int, rng: np.random.Generator) -> Scene:
    chosen = DRAWN[kind]
    drawing = Drawing(rng, chosen.transformation)
    chosen.draw(drawing)
    units = [drawing.units[i] for i in rng.permutation(len(drawing.units)).tolist()]
    features = [unit.feature for unit in units]
    generator = torch.Generator().manual_seed(seed)
    kernels = with_kernels(
        torch.stack([sample(own, drawing.side_px) for own in features]), chosen.geometry, generator
    )
    names = [unit.name for unit in units]
    module = nn.Sequential(OrderedDict(kernels=kernels, threshold=Threshold(len(units)), responses=nn.ReLU()))
    _set_thresholds(module, [("threshold", names)])
    truth = LayerScene(
        tuple(names),
        tuple(unit.pose for unit in units),
        likeness(features, chosen.transformation, drawing.side_px),
        drawing.stabilisers,
    )
    model = Model(module.eval(), f"battery-{kind}", default_layers=("responses",))
    return Scene(kind, seed, chosen.transformation, model, {"responses": truth})


def _stacked_scene(kind: str, seed: int, rng: np.random.Generator) -> Scene:
    chosen = STACKED[kind]
    stack = Stack(rng, chosen.outside)
    chosen.draw(stack)
    early = stack.early()
    early_order, late_order = rng.permutation(len(early)), rng.permutation(len(stack.late))
    stack.late = [stack.late[i] for i in late_order.tolist()]
    first = torch.stack([sample(early[i][2]) for i in early_order.tolist()])
    second = torch.stack([kernels_of(unit.coefficients) for unit in stack.late])[:, early_order]
    generator = torch.Generator().manual_seed(seed)
    names = [unit.name for unit in stack.late]
    early_names = [early[i][0] for i in early_order.tolist()]
    module = nn.Sequential(
        OrderedDict(
            kernels=with_kernels(first, "plain", generator),
            threshold=Threshold(len(early)),
            early=nn.ReLU(),
            late_kernels=with_kernels(second, chosen.geometry, generator),
            late_threshold=Threshold(len(names)),
            late=nn.ReLU(),
        )
    )
    _set_thresholds(module, [("threshold", early_names), ("late_threshold", names)])
    layers = {
        "early": LayerScene(
            tuple(early_names),
            tuple(early[i][1] for i in early_order.tolist()),
            likeness([early[i][2] for i in early_order.tolist()], "rotation"),
            {name: 1 for name, _ in stack.patterns},
        ),
        "late": LayerScene(
            tuple(names),
            tuple(unit.pose for unit in stack.late),
            late_likeness(stack),
            {name: 1 for name in names if name},
        ),
    }
    model = Model(module.eval(), f"battery-{kind}", default_layers=("early", "late"))
    return Scene(kind, seed, "rotation", model, layers)


def _set_thresholds(module: nn.Sequential, named: Sequence[tuple[str, list[str]]]) -> None:
    """Set the biases of a network's thresholds, in the order of the pass, on crops of the embedded photographs."""
    stages = dict(module.named_children())
    crops = _crops()
    for name, units in named:
        before = nn.Sequential(*list(stages.values())[: list(stages).index(name)])
        with torch.no_grad():
            set_thresholds(before(crops), units, module.get_parameter(f"{name}.bias"))


def _crops() -> Tensor:
    """Crops of the middles of some photographs, shape (image, 3, y, x)."""
    images = open_images()
    crops: list[Tensor] = []
    for index in range(len(images)):
        image = images.load(index)
        if image is not None and min(image.shape[1:]) >= _SIDE_PX and len(crops) < _N_IMAGES:
            y, x = ((side - _SIDE_PX) // 2 for side in image.shape[1:])
            crops.append(image[:, y : y + _SIDE_PX, x : x + _SIDE_PX])
    return torch.stack(crops)
