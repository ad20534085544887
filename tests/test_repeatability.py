"""A network that answers one image differently is refused, and told from one that only rounds differently."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope import survey
from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model, load_model, repeatability
from equiscope.models.repeatability import require_repeatable


class Between(nn.Module):
    """A function between two convolutions."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3)
        self.norm = nn.BatchNorm2d(6)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.function(self.first(x)))


def drops_paths(x: Tensor) -> Tensor:
    return x * (torch.rand(len(x), 1, 1, 1) > 0.2)


def jitters(x: Tensor) -> Tensor:
    return x + 0.01 * torch.randn_like(x)


RANDOM = [
    lambda x: F.dropout(x, 0.1, training=True),
    lambda x: F.rrelu(x, training=True),
    lambda x: x * random.uniform(0.9, 1.1),  # noqa: S311
    lambda x: x * float(np.random.uniform(0.9, 1.1)),  # noqa: NPY002
    drops_paths,
    jitters,
]


@pytest.mark.parametrize("function", RANDOM)
def test_networks_that_draw_are_refused(function: Callable[[Tensor], Tensor]) -> None:
    model = Model(Between(function), "drawing")
    state = torch.get_rng_state(), random.getstate()
    with pytest.raises(
        EquiscopeError, match=r"drawing answers one image differently.*'second' by .*random numbers"
    ):
        require_repeatable(model, ["first", "second"])
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    require_repeatable(model, ["first"])


def test_networks_that_remember_are_refused() -> None:
    shown: list[float] = []

    def adapts(x: Tensor) -> Tensor:
        shown.append(float(x.std()))
        return x / sum(shown)

    with pytest.raises(EquiscopeError, match=r"one image differently each time.*remembers what it was shown"):
        require_repeatable(Model(Between(adapts)), ["second"])
    own = torch.Generator().manual_seed(0)
    with pytest.raises(EquiscopeError, match="a generator of its own"):
        require_repeatable(Model(Between(lambda x: x + torch.rand(x.shape, generator=own))), ["second"])


BATCHED = [
    lambda x: F.batch_norm(x, None, None, training=True),
    lambda x: x - x.mean(0, keepdim=True),
    lambda x: x / x.amax(),
    nn.BatchNorm2d(6, track_running_stats=False).eval(),
]


@pytest.mark.parametrize("function", BATCHED)
def test_networks_that_compute_over_the_batch_are_refused(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(
        EquiscopeError, match=r"differently beside others than alone: layer 'second' by .*running"
    ):
        require_repeatable(Model(Between(function), "batched"), ["first", "second"])


STEADY = [
    F.relu,
    lambda x: x / x.std((1, 2, 3), keepdim=True),
    lambda x: x * torch.rand(6, 1, 1, generator=torch.Generator().manual_seed(0)),
    lambda x: x * torch.nan,
    lambda x: 0 * x,
    nn.Dropout(0.5),
]


@pytest.mark.parametrize("function", STEADY)
def test_networks_that_answer_alike_pass(function: Callable[[Tensor], Tensor]) -> None:
    require_repeatable(Model(Between(function).train()), ["first", "second"])


def test_built_in_networks_pass_and_so_do_those_that_take_few_sizes() -> None:
    mini = load_model("mini")
    require_repeatable(mini, mini.resolve_layers())

    class Choosy(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] not in self.sides:
                raise ValueError(f"side {x.shape[-1]}")
            return super().forward(F.dropout(x, training=True))

    for sides in ({224}, {256}, {64}, {75}):
        module = Choosy(3, 4, 3)
        module.sides = sides
        with pytest.raises(EquiscopeError, match="random numbers"):
            require_repeatable(Model(nn.Sequential(module), input_size_px=75), ["0"])
    # What it takes is found, or told, by the measurement.
    module.sides = {32}
    require_repeatable(Model(nn.Sequential(module)), ["0"])


def test_a_survey_refuses_them_before_it_makes_a_folder(tmp_path: Path) -> None:
    for function in (RANDOM[0], BATCHED[0]):
        with pytest.raises(EquiscopeError, match="differently"):
            survey(Between(function), None, ["second"], out=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_wide_layer_is_asked_in_few_images_and_few_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """All values of eight images of 224 px and 256 channels, as they are and in float64, would take 2.5 GB."""
    together, compared = [], []

    class Wide(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            together.append(len(x))
            return super().forward(x)

    difference = repeatability._difference

    def watched(first: Tensor, second: Tensor) -> float:
        compared.append(first[0].numel())
        return difference(first, second)

    monkeypatch.setattr(repeatability, "_difference", watched)
    require_repeatable(Model(nn.Sequential(Wide(3, 256, 1))), ["0"])
    assert max(together) == 2
    assert together.count(2) == 8
    assert 1 << 19 < max(compared) <= 1 << 20
