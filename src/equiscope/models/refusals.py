"""Errors that a borrowed network throws, worded as one sentence: what was tried, what it said, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.models.model import Model

__all__ = ["first_line", "no_size_taken", "refusals_told"]


def first_line(error: BaseException) -> str:
    r"""Give the first line of an error's message: PyTorch appends whole tables of operators to some.

    Examples
    --------
    >>> first_line(ValueError("too small\nfor this network"))
    'too small'
    """
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


@contextmanager
def refusals_told(model: Model, what: str, advice: str) -> Iterator[None]:
    """Turn whatever a network throws within the block into one sentence.

    Networks refuse with any type of exception: ``AssertionError`` for a side that is no multiple of their stride,
    ``ValueError`` or ``IndexError`` for images that are too small. Sentences that are there already pass.

    Parameters
    ----------
    model
        The network.
    what
        What it was shown, in words: ``"images of 30 x 40 px"``.
    advice
        What to do.

    Raises
    ------
    EquiscopeError
        If anything was thrown.

    Examples
    --------
    >>> from torch import nn
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 9)), name="small")
    >>> try:
    ...     with refusals_told(model, "images of 5 x 5 px", "give larger images"):
    ...         raise RuntimeError("kernel size cannot be greater than input")
    ... except EquiscopeError as error:
    ...     str(error)[:40]
    'small cannot run on images of 5 x 5 px ('
    """
    try:
        yield
    except EquiscopeError:
        raise
    except Exception as error:
        raise EquiscopeError(f"{model.name} cannot run on {what} ({first_line(error)}): {advice}") from error


def no_size_taken(model: Model, problem: Exception, tried: str, error: Exception) -> EquiscopeError:
    """Word the errors of a network that runs on no image, with what most probably would mend it.

    Parameters
    ----------
    model
        The network.
    problem
        What it threw first, when it was shown strips.
    tried, error
        Other sizes that it was shown, in words, and what it threw at the first of them.

    Examples
    --------
    >>> error = RuntimeError("expected input to have 1 channels, but got 3 channels instead")
    >>> print(str(no_size_taken(Model(nn.Conv2d(1, 4, 3), "grey"), error, "squares", error)).split(" (")[0])
    grey does not take images of 3 channels
    """
    kinds = {value.dtype for value in model.module.parameters() if value.is_floating_point()} - {
        torch.float32
    }
    first = next(((n, m) for n, m in model.module.named_modules() if isinstance(m, nn.Conv2d)), None)
    if kinds:
        kind = str(kinds.pop()).removeprefix("torch.")
        return EquiscopeError(
            f"{model.name} has parameters in {kind} and does not take images in float32 ({first_line(error)}): "
            "give it in float32, as module.float() makes it"
        )
    if first is not None and first[1].in_channels != 3 and "channels" in str(error):
        return EquiscopeError(
            f"{model.name} does not take images of 3 channels ({first_line(error)}): wrap it in an equiscope.Model "
            f"whose preprocess makes the {first[1].in_channels} of {first[0] or 'its convolution'} from RGB, for grey "
            "lambda images: images.mean(1, keepdim=True)"
        )
    return EquiscopeError(
        f"{model.name} takes neither 256 x 32 px strips ({first_line(problem)}) nor {tried} "
        f"({first_line(error)}): wrap it in an equiscope.Model with input_size_px set to the size it takes, or a "
        "preprocess that makes what it takes from RGB in [0, 1]"
    )
