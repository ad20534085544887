"""Controls that are none: whatever computes a kernel, its control answers otherwise, or is refused."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model, load_model
from equiscope.models.controls import random_weights, shuffled_kernels

CONTROLS = [shuffled_kernels, random_weights]


def old(norm: str) -> Callable[[nn.Module], nn.Module]:
    def apply(module: nn.Module) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(nn.utils, norm)(module)  # type: ignore[no-any-return]

    return apply


def pruned(module: nn.Module) -> nn.Module:
    return prune.l1_unstructured(module, "weight", amount=0.3)


def pruned_twice(module: nn.Module) -> nn.Module:
    return prune.random_unstructured(pruned(module), "weight", amount=0.2)


class Halved(nn.Module):
    """A parametrisation of one's own."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def own_parametrisation(module: nn.Module) -> nn.Module:
    return nn.utils.parametrize.register_parametrization(module, "weight", Halved())


def plain(module: nn.Module) -> nn.Module:
    return module


WRAPS = [
    plain, parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal,
    own_parametrisation, old("weight_norm"), old("spectral_norm"), pruned, pruned_twice,
]  # fmt: skip


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 20, 26, generator=torch.Generator().manual_seed(1))


def network(wrap: Callable[[nn.Module], nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        wrap(nn.Conv2d(3, 6, 3, bias=False)), nn.ReLU(), wrap(nn.Conv2d(6, 4, 5)), wrap(nn.Conv2d(4, 4, 1))
    )


def acting(part: nn.Module, images: Tensor) -> Tensor:
    """The kernel with which a convolution answers, shape (output, input · y · x)."""
    seen: list[Tensor] = []
    handle = part.register_forward_hook(lambda module, _inputs, _output: seen.append(module.weight))
    with torch.no_grad():
        part(torch.zeros(1, part.in_channels, 9, 9))
    handle.remove()
    return seen[0].detach()


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("wrap", WRAPS)
def test_parametrised_kernels_are_replaced_as_they_act(
    wrap: Callable[[nn.Module], nn.Module], control: Callable[[Model], Model], images: Tensor
) -> None:
    module = network(wrap)
    with torch.no_grad():
        module(images)
    module.eval()
    model = Model(module, "own")
    state = {name: value.clone() for name, value in module.state_dict().items()}
    answer = module(images)
    fresh = control(model)
    assert torch.equal(module(images), answer)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    for index in (0, 2, 3):
        was, now = acting(module[index], images), acting(fresh.module[index], images)
        if control is random_weights:
            assert not torch.allclose(was, now, atol=1e-3)
        elif index == 3:
            assert torch.equal(was, now)
        else:
            assert not torch.equal(was, now)
            torch.testing.assert_close(was.flatten(2).sort().values, now.flatten(2).sort().values)
    names = set(fresh.module.state_dict())
    assert names == set(network(plain).state_dict())
    before, after = (m.record(images, ["0", "2"]) for m in (model, fresh))
    assert all((before[layer] - after[layer]).abs().max() > 0.01 for layer in before)
    assert fresh.weights_sha256() == control(model).weights_sha256()


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_keeps_the_flags_of_the_original(control: Callable[[Model], Model]) -> None:
    module = network(parametrizations.weight_norm).train()
    module[2].eval()
    flags = [part.training for part in (module, module[0], module[2])]
    copied = control(Model(module)).module
    assert [part.training for part in (copied, copied[0], copied[2])] == flags
    assert [part.training for part in (module, module[0], module[2])] == flags


def test_shared_weights_are_shuffled_once() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3))
    module[1].weight = module[0].weight
    alone = shuffled_kernels(Model(nn.Sequential(module[0])))
    tied = shuffled_kernels(Model(module)).module
    assert tied[1].weight is tied[0].weight
    assert torch.equal(tied[0].weight, alone.module[0].weight)


class Bare(nn.Module):
    """A convolution as a function, with its kernel and an embedding of positions as bare parameters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kernel = nn.Parameter(torch.randn(5, 3, 3, 3))
        self.places = nn.Parameter(torch.randn(1, 3, 64, 64))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x + self.places, self.kernel)


@pytest.mark.parametrize("control", CONTROLS)
def test_bare_kernels_are_replaced_and_embeddings_are_not(control: Callable[[Model], Model]) -> None:
    module = Bare()
    fresh = control(Model(module, input_size_px=64)).module
    assert torch.equal(fresh.places, module.places)
    assert not torch.equal(fresh.kernel, module.kernel)
    if control is shuffled_kernels:
        assert torch.equal(fresh.kernel.flatten(2).sort().values, module.kernel.flatten(2).sort().values)


class LowRank(nn.Module):
    """Computes its kernels from factors that no rule knows."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 4, 3)
        self.columns, self.rows = nn.Parameter(torch.randn(5, 4, 3)), nn.Parameter(torch.randn(5, 4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.plain(x), torch.einsum("oiy,oix->oiyx", self.columns, self.rows))


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_whose_kernels_act_as_before_is_refused(control: Callable[[Model], Model]) -> None:
    message = (
        r"own-(shuffled|random) would be no control: convolution 2 of its .*\(5, 4, 3, 3\)\) acts as in own"
    )
    model = Model(nn.Sequential(LowRank()), "own")
    with pytest.raises(EquiscopeError, match=message):
        control(model)
    # Frozen weights are weights.
    model.module.requires_grad_(False)
    with pytest.raises(EquiscopeError, match=message):
        control(model)
    assert not any(value.requires_grad for value in model.module.parameters())

    class Recomputed(nn.Conv2d):
        """Overwrites its kernel before each use, as normalisations of one's own do."""

        def __init__(self) -> None:
            super().__init__(3, 4, 3)
            self.source = nn.Parameter(torch.randn(4 * 27))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.source.reshape(4, 3, 3, 3))

    with pytest.raises(EquiscopeError, match="convolution 1 of its"):
        control(Model(nn.Sequential(Recomputed()), "own"))


class Blurring(nn.Module):
    """A fixed blur, from a buffer, and a kernel whose cells are alike, as before any training."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.flat = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        nn.init.constant_(self.flat.weight, 0.1)
        self.register_buffer("taps", torch.tensor([1.0, 2.0, 1.0]) / 4)

    def forward(self, x: Tensor) -> Tensor:
        blur = torch.outer(self.taps, self.taps).expand(4, 1, 3, 3)
        return self.flat(F.conv2d(self.first(x), blur, groups=4))


def test_fixed_and_flat_kernels_may_stay() -> None:
    assert shuffled_kernels(Model(Blurring())).name == "model-shuffled"
    assert random_weights(Model(Blurring())).name == "model-random"


def test_a_network_without_kernels_to_shuffle_is_refused() -> None:
    with pytest.raises(EquiscopeError, match=r"flat has no kernel above 1x1.*compare with flat-random"):
        shuffled_kernels(Model(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), "flat"))
    quantised = torch.ao.nn.quantized.Conv2d(3, 4, 3)
    with pytest.raises(EquiscopeError, match="before it was quantised"):
        shuffled_kernels(Model(nn.Sequential(quantised), "int8"))


def test_a_network_that_cannot_be_copied_is_refused() -> None:
    module = network(plain)
    module.lines = (line for line in "ab")  # type: ignore[assignment]
    with pytest.raises(
        EquiscopeError, match=r"own cannot be copied for a control \(TypeError: cannot pickle"
    ):
        shuffled_kernels(Model(module, "own"))


def test_attention_begins_anew() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MultiheadAttention(4, 2))
    fresh = random_weights(Model(module)).module
    assert not torch.equal(fresh[1].in_proj_weight, module[1].in_proj_weight)


def test_controls_of_mini_are_what_they_were() -> None:
    digests = {
        name: hashlib.sha256(load_model(name).weights_sha256().encode()).hexdigest()[:16]
        for name in ("mini-random", "mini-shuffled")
    }
    assert digests == {"mini-random": "e002da4c78299e1c", "mini-shuffled": "31a4ead1946eec0a"}
