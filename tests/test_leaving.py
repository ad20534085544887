"""A forward pass is left early and rightly whatever the network catches, and never ends the program."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope.evidence.circuits.running import run_to
from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model


def catches_errors(net: Catching, x: Tensor) -> Tensor:
    try:
        return net.conv(x)
    except Exception:
        return net.conv(torch.zeros_like(x))


def catches_all(net: Catching, x: Tensor) -> Tensor:
    try:
        return net.conv(x)
    except BaseException:
        return net.conv(torch.zeros_like(x))


def catches_bare_and_fails(net: Catching, x: Tensor) -> Tensor:
    try:
        return net.conv(x)
    except:  # noqa: E722
        raise ValueError("the fallback failed") from None


def catches_and_exits(net: Catching, x: Tensor) -> Tensor:
    try:
        return net.conv(x)
    except BaseException:
        sys.exit(0)


class Catching(nn.Module):
    """Runs its convolution in one of these ways, then another one."""

    def __init__(self, way: Callable[[Catching, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.way(self, x))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 11, 14, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("way", [catches_errors, catches_all, catches_bare_and_fails, catches_and_exits])
def test_what_was_recorded_is_right_whatever_the_network_catches(
    way: Callable[[Catching, Tensor], Tensor], images: Tensor
) -> None:
    module = Catching(way)
    model = Model(module, "catching")
    wanted = F.conv2d(images, module.conv.weight, module.conv.bias)
    assert torch.allclose(model.record(images, ["conv"])["conv"], wanted, atol=1e-6)
    assert torch.allclose(run_to(model, images, "conv", {}), wanted, atol=1e-6)
    assert not any(part._forward_hooks for part in module.modules())


def test_the_pass_stops_where_only_errors_are_caught(images: Tensor) -> None:
    runs: list[str] = []
    module = Catching(catches_errors)
    module.last.register_forward_hook(lambda *_: runs.append("last"))
    module.conv.register_forward_hook(lambda *_: runs.append("conv"))
    Model(module).record(images, ["conv"])
    run_to(Model(module), images, "conv", {})
    assert runs == ["conv", "conv"]


@pytest.mark.parametrize("way", [catches_errors, catches_all, catches_bare_and_fails])
def test_a_refusal_reaches_the_user_through_what_the_network_catches(
    way: Callable[[Catching, Tensor], Tensor], images: Tensor
) -> None:
    module = Catching(way)
    module.conv = nn.Sequential(nn.Flatten(), nn.Linear(3 * 11 * 14, 4))
    with pytest.raises(
        EquiscopeError, match=r"'conv' of catching gives \(2, 4\), expected \(image, channel, y, x\)"
    ):
        Model(module, "catching").record(images, ["conv"])

    def refuse(_layer: str, _output: Tensor) -> Tensor:
        raise EquiscopeError("its channels stand last")

    with pytest.raises(EquiscopeError, match="its channels stand last"):
        Model(Catching(way)).record(images, ["conv"], refuse)


def test_an_error_before_all_layers_have_answered_is_told(images: Tensor) -> None:
    with pytest.raises(ValueError, match="the fallback failed"):
        Model(Failing()).record(images, ["conv", "last"])
    with pytest.raises(ValueError, match="the fallback failed"):
        run_to(Model(Failing()), images, "last", {})


class Failing(Catching):
    """Refuses between its two convolutions."""

    def __init__(self) -> None:
        super().__init__(catches_errors)

    def forward(self, x: Tensor) -> Tensor:
        self.conv(x)
        raise ValueError("the fallback failed")


class OfItsOwn(BaseException):
    """What a library may derive from BaseException, as trio and pytest do."""


@pytest.mark.parametrize("ending", [SystemExit(0), SystemExit("bye"), GeneratorExit(), OfItsOwn("done")])
def test_a_network_that_ends_the_program_is_an_error(ending: BaseException, images: Tensor) -> None:
    class Ending(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ending

    model = Model(nn.Sequential(nn.Conv2d(3, 4, 3), Ending()), "ending")
    said = type(ending).__name__ + (f": {ending}" if str(ending) else "")
    for use in (
        lambda: model.run(images),
        lambda: model.record(images, ["0", "1"]),
        lambda: run_to(model, images, "1", {}),
    ):
        with pytest.raises(
            EquiscopeError, match=rf"the forward pass of ending ends the program \({said}\).*take that out"
        ):
            use()
    assert model.record(images, ["0"])["0"].shape == (2, 4, 9, 12)


def test_a_preprocess_that_ends_the_program_is_an_error(images: Tensor) -> None:
    with pytest.raises(EquiscopeError, match=r"ends the program \(SystemExit: 3\)"):
        Model(nn.Conv2d(3, 4, 3), preprocess=lambda _images: sys.exit(3)).run(images)


def test_ctrl_c_stays_ctrl_c(images: Tensor) -> None:
    class Interrupted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Model(nn.Sequential(Interrupted(), nn.Conv2d(3, 4, 3))).record(images, ["1"])
