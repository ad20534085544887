"""How a network is trained: the hyperparameters, the optimiser, the learning rate, the whitened stem.

A stem may be learned in partly *whitened* coordinates, in the space of the strongest principal components of image
patches: its free numbers are ``v @ diag(variance^-power) @ components`` and weight decay acts on ``v``. Gradient
descent in pixel coordinates sees almost only the lowest spatial frequencies of natural images and ends in blobs; with
all components whitened it ends in single dots and pixel noise (both were tried, see LOG.md). A tied kernel is whitened
in the coordinates of its own basis. The product is an ordinary kernel: nothing of this is left in the exported network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from equiscope.construction.equivariant import Conv2d
from equiscope.construction.training.batches import uniform
from equiscope.construction.training.datasets import Split
from equiscope.construction.training.network import DesignedNetwork
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.limits import SIDE_PX, Count, Number
from equiscope.models.trained import standardise

__all__ = ["MINI_RECIPE", "Recipe", "make_optimiser", "whiten_like", "whiten_stem"]

# Batch-norm makes the scale irrelevant to the output but not to the gradient, which grows as the kernel shrinks: from a
# small start, what is learned soon outweighs the noise it started from.
_STEM_START = 0.002
_PATCH_STRIDE_PX = 5
_N_PATCH_IMAGES = 2000
# Upper limits are far above what trains; they keep infinity out.
_LIMITS: dict[str, Count | Number] = {
    "epochs": Count(1, 10_000, "13 is usual"),
    "batch": Count(2, 10**6, "128 is usual"),
    "learning_rate": Number(0, 100, "0.15 is usual"),
    "warmup_epochs": Number(0, 10_000, "2 is usual"),
    "momentum": Number(0, 1, "0.9 is usual"),
    "weight_decay": Number(0, 100, "0.0005 is usual"),
    "stem_weight_decay": Number(0, 100, "0.005 is usual"),
    "label_smoothing": Number(0, 1, "0.1 is usual"),
    "components": Count(0, 10_000, "42 is usual, 0 takes an ordinary stem"),
    "whitening_power": Number(0, 1, "0.25 is usual"),
    "crop_px": Count(8, SIDE_PX.most, "56 is usual"),
}


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training. The defaults are those of the embedded network, ``mini``.

    Parameters
    ----------
    epochs
        Passes over the training images.
    batch
        Images a step, over all processes.
    learning_rate
        At its highest: it rises linearly over ``warmup_epochs`` and falls as half a cosine to 0.
    warmup_epochs
        Epochs of the rise.
    momentum
        Nesterov's.
    weight_decay
        Of all weights but a whitened stem's, norms' and biases'.
    stem_weight_decay
        Of the stem's whitened coordinates.
    label_smoothing
        Share of the target that is spread over all classes.
    components
        Principal components of patches in which the stem is learned; 0 for an ordinary stem.
    whitening_power
        0 leaves the components' variances as they are, 0.5 makes them equal.
    crop_px
        Side of the crops, px. An antialiased network takes the next side on which its grids lie symmetrically.
    crop_schedule
        (share of the epochs, share of ``crop_px``) pairs: until when crops are how large. Small crops first cost a
        half, and the features are local.
    side_px
        Images are resized so that their shorter side is this long, px; None for 8/7 of ``crop_px``.
    mean, sd
        Of the channels, RGB in [0, 1]; None for both to measure them on training images.

    Raises
    ------
    EquiscopeError
        If a value is out of its range.
    """

    epochs: int = 13
    batch: int = 128
    learning_rate: float = 0.15
    warmup_epochs: float = 2.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    stem_weight_decay: float = 5e-3
    label_smoothing: float = 0.1
    components: int = 42
    whitening_power: float = 0.25
    crop_px: int = 56
    crop_schedule: tuple[tuple[float, float], ...] = ((0.4, 40 / 56), (0.73, 48 / 56), (1.0, 1.0))
    side_px: int | None = None
    mean: tuple[float, float, float] | None = None
    sd: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        for name, limit in _LIMITS.items():
            limit.check(f"{name} of the recipe", getattr(self, name))
        if self.side_px is not None:
            SIDE_PX.check("side_px of the recipe", self.side_px)
        if (self.mean is None) != (self.sd is None) or not all(sd > 0 for sd in self.sd or ()):
            raise EquiscopeError(
                f"mean and sd of the recipe are {self.mean} and {self.sd}, expected three numbers each, the latter "
                "above 0: give both, or neither to have them measured"
            )
        ends = [until for until, _ in self.crop_schedule]
        if (
            not ends
            or ends != sorted(ends)
            or ends[-1] < 1
            or not all(0 < s <= 1 for _, s in self.crop_schedule)
        ):
            raise EquiscopeError(
                f"crop_schedule of the recipe is {self.crop_schedule}, expected (share of epochs, share of crop_px) "
                "pairs in rising order, the last one up to 1"
            )

    def crop_in_epoch(self, epoch: int) -> int:
        """Give the side of the crops in an epoch, px, before a network's grids are thought of."""
        share = next(size for until, size in self.crop_schedule if epoch < until * self.epochs or until >= 1)
        return round(share * self.crop_px)

    def learning_rate_at(self, step: int, n_steps_per_epoch: int) -> float:
        """Learning rate of a step, counted over all epochs."""
        total = n_steps_per_epoch * self.epochs
        warm = max(1.0, self.warmup_epochs * n_steps_per_epoch)
        rise = min(1.0, (step + 1) / warm)
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))


# Moments of the training images of ``mini``, to two digits, which `equiscope.models.mini` holds.
MINI_RECIPE = Recipe(mean=(0.48, 0.45, 0.40), sd=(0.27, 0.26, 0.28))


def make_optimiser(network: DesignedNetwork, recipe: Recipe) -> torch.optim.SGD:
    """Make the optimiser, with weight decay on kernels and none on norms and biases.

    Examples
    --------
    >>> from equiscope.construction.training.architectures import describe_network
    >>> optimiser = make_optimiser(DesignedNetwork(describe_network("plain"), 10), Recipe())
    >>> [group["weight_decay"] for group in optimiser.param_groups]
    [0.0005, 0.0]
    """
    groups: dict[str, list[nn.Parameter]] = {"kernels": [], "stem": [], "norms": []}
    for name, parameter in network.named_parameters():
        if parameter.ndim <= 1:
            groups["norms"].append(parameter)
        elif ".parametrizations." in name:  # whitened coordinates
            groups["stem"].append(parameter)
        else:
            groups["kernels"].append(parameter)
    decay = {"kernels": recipe.weight_decay, "stem": recipe.stem_weight_decay, "norms": 0.0}
    return torch.optim.SGD(
        [{"params": groups[kind], "weight_decay": decay[kind]} for kind in groups if groups[kind]],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        # One kernel for all parameters instead of one for each.
        fused=all(p.is_cuda for p in network.parameters()),
    )


class _Whitened(nn.Module):
    """Parametrisation of a stem's free numbers by their whitened coordinates."""

    whitening: Tensor

    def __init__(self, whitening: Tensor, shape: torch.Size) -> None:
        super().__init__()
        self.register_buffer("whitening", whitening)
        self.shape = shape[1:]

    def forward(self, v: Tensor) -> Tensor:
        return (v @ self.whitening).view(len(v), *self.shape)


def whiten_stem(network: DesignedNetwork, split: Split, recipe: Recipe, seed: int) -> None:
    """Let the stem be learned in whitened coordinates, in place.

    Parameters
    ----------
    network
        The network, freshly made.
    split
        Training images, of which 2,000 are looked at.
    recipe
        Number of components, power, and moments of the images.
    seed
        Of the choice of images and of the coordinates' start.

    Notes
    -----
    Of every free tensor of the stem, which maps three colours to kernels of ``n`` numbers, the ``components`` strongest
    directions are kept; where it has fewer, all. A stem that turns hue is left as it is.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.construction.training.architectures import describe_network
    >>> from equiscope.stimuli.sources.arrays import read_npz
    >>> np.savez("images.npz", images=np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8))
    >>> split = Split(read_npz(Path("images.npz"), None), range(8), np.zeros(8, np.int64), 32)
    >>> network = DesignedNetwork(describe_network("plain"), 10)
    >>> whiten_stem(network, split, Recipe(components=4, mean=(0.5,) * 3, sd=(0.3,) * 3), seed=0)
    >>> [tuple(value.shape) for name, value in network.named_parameters() if ".parametrizations." in name]
    [(48, 4)]
    """
    if not recipe.components:
        return
    stem = network.layers[network.description.stem.name].get_submodule("convolution")
    if not isinstance(stem, Conv2d):
        return
    basis = stem.basis
    pixels = torch.eye(stem.kernel_size**2, dtype=torch.float64)
    rows = {
        "invariant_to_fields": basis.turned[:, 0],
        "invariant_to_invariant": basis.fixed,
        "to_plain": pixels,
    }
    blur = dict(network.layers[network.description.stem.name].named_children()).get("blur")
    covariance = _patch_covariance(split, stem.kernel_size, recipe, seed, blur)
    generator = torch.Generator().manual_seed(seed)
    for name, row in rows.items():
        parameter = getattr(stem, name)
        if parameter is None:
            continue
        # Numbers of a kernel see the patches through its basis, each colour by itself.
        seen = torch.kron(torch.eye(3, dtype=row.dtype), row)
        values, vectors = torch.linalg.eigh(seen @ covariance @ seen.T)
        kept = torch.argsort(values, descending=True)[: recipe.components]
        kept = kept[values[kept] > 1e-9 * values.max()]
        whitening = (vectors[:, kept] * values[kept] ** -recipe.whitening_power).T.float().contiguous()
        # Registered on a tensor of the components' shape, which then is the parameter that is learned.
        start = _STEM_START * torch.randn(len(parameter), len(kept), generator=generator)
        _parametrize(stem, name, start, whitening)


def _parametrize(stem: nn.Module, name: str, start: Tensor, whitening: Tensor) -> None:
    shape = getattr(stem, name).shape
    setattr(stem, name, nn.Parameter(start))
    parametrize.register_parametrization(stem, name, _Whitened(whitening, shape), unsafe=True)


def whiten_like(network: DesignedNetwork, weights: Mapping[str, Tensor]) -> None:
    """Give a network the whitened coordinates that the weights of a checkpoint have, in place.

    Examples
    --------
    >>> from equiscope.construction.training.architectures import describe_network
    >>> network = DesignedNetwork(describe_network("plain"), 10)
    >>> place = f"layers.{network.description.stem.name}.convolution.parametrizations.to_plain"
    >>> whiten_like(network, {f"{place}.0.whitening": torch.ones(4, 147), f"{place}.original": torch.zeros(48, 4)})
    >>> network.get_parameter(f"{place}.original").shape
    torch.Size([48, 4])
    """
    stem_name = network.description.stem.name
    stem = network.layers[stem_name].get_submodule("convolution")
    prefix = f"layers.{stem_name}.convolution.parametrizations."
    for key, whitening in weights.items():
        if key.startswith(prefix) and key.endswith(".0.whitening"):
            name = key.removeprefix(prefix).removesuffix(".0.whitening")
            _parametrize(stem, name, weights[f"{prefix}{name}.original"].clone(), whitening.clone())


def _patch_covariance(
    split: Split, size_px: int, recipe: Recipe, seed: int, blur: nn.Module | None
) -> Tensor:
    """Covariance of standardised patches as the stem sees them, shape (3 · pixel, 3 · pixel), float64."""
    if recipe.mean is None or recipe.sd is None:
        raise TypeError("the recipe's moments were not filled in")
    every = np.arange(len(split))
    chosen = np.argsort(uniform(seed, 0, every, 1)[:, 0], kind="stable")[:_N_PATCH_IMAGES]
    prepare = standardise(recipe.mean, recipe.sd)
    n_pixels = 3 * size_px**2
    total, product, n = torch.zeros(n_pixels).double(), torch.zeros(n_pixels, n_pixels).double(), 0
    for index in chosen.tolist():
        image = split.load(index)
        if image is None:
            continue
        picture = prepare(torch.from_numpy(image.astype(np.float32) / 255)[None])
        picture = picture if blur is None else blur(picture)
        patches = F.unfold(picture, size_px, stride=_PATCH_STRIDE_PX)[0].T
        total += patches.double().sum(0)
        product += (patches.T @ patches).double()
        n += len(patches)
    mean = total / max(n, 1)
    return product / max(n, 1) - torch.outer(mean, mean)
