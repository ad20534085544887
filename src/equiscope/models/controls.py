"""Controls: copies of a network whose weights were not learnt.

With ``-random`` at the end of its name a network gets fresh weights; with ``-shuffled`` the cells of each kernel stand
in random order, so that its values and their energy stay and its pattern goes. Whatever families a survey finds in a
control come from the architecture or from chance.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode

from equiscope.foundations.errors import EquiscopeError
from equiscope.models.borrowing import keeping_random_state
from equiscope.models.model import Model

__all__ = ["random_weights", "shuffled_kernels"]

_LOG = logging.getLogger(__name__)

# The base class of every convolution, which torch does not export under a public name.
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTION_CALLS = frozenset(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))
# Sides of the noise images on which a control is compared with its original, px, after the network's own.
_SIDES_PX = (224, 256, 64)


def shuffled_kernels(model: Model, seed: int = 0) -> Model:
    """Copy a model with the spatial positions of each kernel permuted.

    Every (output, input) slice of every convolution gets a permutation of its own, so it keeps its values
    and every unit its total weight from each input, while oriented structure is destroyed, within a slice
    and between the slices of a unit. Kernels that are parametrised (weight or spectral normalisation, pruning) are
    shuffled as they act; one that several modules share is shuffled once.

    Parameters
    ----------
    model
        Left as it is.
    seed
        Draws the permutations; the same on every device.

    Returns
    -------
    Model
        Same layers; 1x1 convolutions and all other parameters are unchanged.

    Raises
    ------
    EquiscopeError
        If a kernel acts as it did before, or there is none to shuffle.

    Examples
    --------
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 3)), name="small")
    >>> own, other = model.module[0].weight, shuffled_kernels(model).module[0].weight
    >>> torch.equal(own, other), torch.equal(own.flatten(2).sort()[0], other.flatten(2).sort()[0])
    (False, True)
    """
    generator = torch.Generator().manual_seed(seed)
    module = _plain_copy(model)
    n_shuffled = 0
    with torch.no_grad():
        for _, kernel in _kernels(module):
            if kernel[0, 0].numel() > 1:
                _shuffle(kernel, generator)
                n_shuffled += 1
    control = dataclasses.replace(model, module=module, name=f"{model.name}-shuffled")
    if not n_shuffled:
        raise EquiscopeError(
            f"{model.name} has no kernel above 1x1 whose cells could be shuffled, so {control.name} would be the same "
            f"network: compare with {model.name}-random, or give the network before it was quantised"
        )
    _require_other_kernels(model, control, lambda kernel: kernel[0, 0].numel() > 1)
    return control


def _shuffle(kernel: Tensor, generator: torch.Generator) -> None:
    """Permute the cells of each slice in place; of a kernel that could differ, until it does."""
    slices = kernel.detach().flatten(2).clone()
    is_flat = bool((slices == slices[..., :1]).all())
    while True:
        order = torch.rand(slices.shape, generator=generator).argsort(-1).to(slices.device)
        shuffled = slices.gather(-1, order)
        if is_flat or not torch.equal(shuffled, slices):
            kernel.copy_(shuffled.reshape(kernel.shape))
            return


def random_weights(model: Model, seed: int = 0) -> Model:
    """Copy a model with fresh weights, as before any training.

    Convolutions and linear layers get He's normal initialisation and zero biases; every other module that
    can reset itself does (normalisation layers to the identity). Parametrised weights (weight or spectral
    normalisation, pruning) are replaced as they act, so that nothing of them is left.

    Parameters
    ----------
    model
        Left as it is.
    seed
        Draws the weights; the same on every device.

    Returns
    -------
    Model
        Same layers. Parameters that no module can reset keep their values, and a warning names them.

    Raises
    ------
    EquiscopeError
        If a kernel acts as it did before.

    References
    ----------
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, equation 10.

    Examples
    --------
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 3)), name="small")
    >>> random_weights(model).name
    'small-random'
    """
    generator = torch.Generator().manual_seed(seed)
    module = _plain_copy(model)
    bare = {id(kernel) for part, kernel in _kernels(module) if not isinstance(part, _CONVOLUTIONS)}
    kept = []
    with torch.no_grad(), keeping_random_state():
        torch.manual_seed(seed)
        for name, part in module.named_modules():
            if isinstance(part, (*_CONVOLUTIONS, nn.Linear)):
                _draw(part.weight, generator)
                if part.bias is not None:
                    part.bias.zero_()
            elif reset := _reset_of(part):
                reset()
            else:
                for own, value in part.named_parameters(recurse=False):
                    if id(value) in bare:
                        _draw(value, generator)
                    else:
                        kept.append(f"{name}.{own}".lstrip("."))
    if kept:
        _LOG.warning("random weights of %s: no rule to reset %s", model.name, ", ".join(kept))
    control = dataclasses.replace(model, module=module, name=f"{model.name}-random")
    _require_other_kernels(model, control, lambda kernel: True)
    return control


def _draw(weight: Tensor, generator: torch.Generator) -> None:
    weight.copy_(math.sqrt(2 / weight[0].numel()) * torch.randn(weight.shape, generator=generator))


def _reset_of(part: nn.Module) -> Callable[[], object] | None:
    """Give the method by which a module begins anew; torch's attention has it under a private name."""
    for name in ("reset_parameters", "_reset_parameters"):
        reset = getattr(part, name, None)
        if callable(reset):
            return reset  # type: ignore[no-any-return]
    return None


# --- plain kernels -----------------------------------------------------------------------------------------


def _kernels(module: nn.Module) -> Iterator[tuple[nn.Module, Tensor]]:
    """Yield every kernel once, with a module that has it: of convolutions, then parameters of four axes elsewhere.

    A bare parameter of one output is rather an embedding of positions than a kernel, and stays.
    """
    seen: set[int] = set()
    convolutions = [part for part in module.modules() if isinstance(part, _CONVOLUTIONS)]
    owned = [(part, part.weight) for part in convolutions]
    bare = [
        (part, value)
        for part in module.modules()
        if not isinstance(part, _CONVOLUTIONS)
        for value in part.parameters(recurse=False)
        if value.ndim == 4 and len(value) > 1
    ]
    for part, kernel in (*owned, *bare):
        if isinstance(kernel, Tensor) and id(kernel) not in seen:
            seen.add(id(kernel))
            yield part, kernel


def _plain_copy(model: Model) -> nn.Module:
    """Copy a network with each parametrised weight replaced by the weight that acts.

    Raises
    ------
    EquiscopeError
        If the network cannot be copied.
    """
    # Weights that a hook computes anew before each pass hang on a graph, which deepcopy does not follow.
    memo: dict[int, Any] = {
        id(value): value.detach().clone()
        for part in model.module.modules()
        for value in part.__dict__.values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        with model.evaluating(), torch.no_grad():
            module = copy.deepcopy(model.module, memo)
            for part in list(module.modules()):
                _bake(part)
    except Exception as error:
        raise EquiscopeError(
            f"{model.name} cannot be copied for a control ({type(error).__name__}: {error}): give it without what "
            "cannot be copied, or its control as a factory of its own"
        ) from error
    copies = dict(module.named_modules())
    for name, part in model.module.named_modules():
        if name in copies:  # a parametrisation that was baked has none
            copies[name].training = part.training
    return module


def _bake(part: nn.Module) -> None:
    """Replace the parametrised weights of one module by what acts."""
    if parametrize.is_parametrized(part):
        # The copy shares with its original the class that holds the parametrised names; here they are taken away.
        kind = type(part)
        own = {key: value for key, value in vars(kind).items() if key not in ("__dict__", "__weakref__")}
        part.__class__ = type(kind.__name__, kind.__bases__, own)
        for name in list(part.parametrizations):  # type: ignore[arg-type]
            parametrize.remove_parametrizations(part, name, leave_parametrized=True)
    for hook in list(part._forward_pre_hooks.values()):
        if isinstance(hook, prune.BasePruningMethod):
            prune.remove(part, hook._tensor_name)  # type: ignore[no-untyped-call]
        elif isinstance(hook, WeightNorm):
            nn.utils.remove_weight_norm(part, hook.name)
        elif isinstance(hook, SpectralNorm):
            nn.utils.remove_spectral_norm(part, hook.name)


# --- a control is compared with the original ---------------------------------------------------------------


class _KernelsInUse(TorchFunctionMode):
    """Notes the kernel of every convolution that a pass computes, and whether it depends on a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[Tensor, bool]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _CONVOLUTION_CALLS:
            kernel = kwargs["weight"] if "weight" in kwargs else args[1]
            self.found.append((kernel.detach(), kernel.requires_grad))
        return func(*args, **kwargs)


def _kernels_in_use(model: Model, side_px: int) -> list[tuple[Tensor, bool]]:
    """Run noise through a network with all gradients on, and give its kernels in the order of their use."""
    noise = torch.rand(1, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))
    used = _KernelsInUse()
    with model.evaluating(), torch.enable_grad(), used:
        for parameter in model.module.parameters():
            if parameter.is_floating_point():
                parameter.requires_grad_(True)
        model.run(noise)
    return used.found


def _require_other_kernels(model: Model, control: Model, is_meant: Callable[[Tensor], bool]) -> None:
    """Refuse a control in whose pass a kernel acts as it did in the original's.

    Kernels that depend on no parameter, such as a fixed blur, and those all of whose cells are alike, stay as they are.
    Of a network that does not run on noise nothing is said here: the measurement says it.
    """
    for side_px in dict.fromkeys((model.input_size_px or _SIDES_PX[0], *_SIDES_PX)):
        try:
            before, after = _kernels_in_use(model, side_px), _kernels_in_use(control, side_px)
        except Exception:  # noqa: S112 - networks refuse a size with any type, and another may do
            continue
        for index, ((was, _), (now, is_learnt)) in enumerate(zip(before, after, strict=False)):
            is_flat = bool((now.flatten(2) == now.flatten(2)[..., :1]).all()) and now[0, 0].numel() > 1
            if is_learnt and is_meant(now) and not is_flat and torch.equal(was, now):
                raise EquiscopeError(
                    f"{control.name} would be no control: convolution {index + 1} of its forward pass (kernel "
                    f"{tuple(now.shape)}) acts as in {model.name}, for its weights are computed from parameters that "
                    "no rule replaces. Give the control as a factory of its own"
                )
        return
