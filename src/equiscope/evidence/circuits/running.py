"""Forward passes that end at a layer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model
from equiscope.models.leaving import EverythingSeen, no_exit

__all__ = ["run_to"]


def run_to(model: Model, images: Tensor, target: str, hooks: dict[str, Callable[..., Any]]) -> Tensor:
    """Run images up to a layer, with hooks on others; give the layer's output.

    Raises
    ------
    EquiscopeError
        If the layer did not run.

    Examples
    --------
    The last layer would refuse eight channels, but is not reached.

    >>> import torch
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)))
    >>> tuple(run_to(model, torch.zeros(1, 3, 9, 9), "1", {}).shape)
    (1, 8, 7, 7)
    """
    modules = dict(model.module.named_modules())
    seen: list[Tensor] = []

    def stop(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        seen.append(output)
        raise EverythingSeen

    with ExitStack() as stack:
        stack.enter_context(model.evaluating())
        for name, hook in hooks.items():
            stack.callback(modules[name].register_forward_hook(hook).remove)
        stack.callback(modules[target].register_forward_hook(stop).remove)
        try:
            with no_exit(f"the forward pass of {model.name}"):
                model.module(model.preprocess(images.to(model.device).clone()))  # some normalise in place
        except EverythingSeen:
            pass
        except Exception:
            if not seen:  # a network that caught the signal may fail further on
                raise
    if seen:
        return seen[0]
    raise EquiscopeError(f"{model.name} did not run {target} in its forward pass: name another layer")
