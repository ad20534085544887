"""Weights between layers are expanded, turned and tied as a slow reading of the definitions says."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from equiscope.evidence.circuits.circuit import Circuit, class_text
from equiscope.evidence.circuits.ends import End, characters
from equiscope.evidence.circuits.find import find_circuits
from equiscope.evidence.circuits.harmonics import KernelBasis, fitted_basis, rotating_basis
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.linearised import measure_gains
from equiscope.evidence.circuits.paths import ExpandedWeights, expanded_weights
from equiscope.evidence.circuits.ties import _PENALTIES, permutations, predict, tie_equivariant, tie_invariant
from equiscope.families.circle import equal_turns
from equiscope.families.family import Family, Symmetry, Unit
from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model
from equiscope.models.caffe import LocalResponseNorm
from equiscope.models.geometry import LayerGeometry, find_geometry
from equiscope.testing import PlantedCircuits, equivariant_network, planted_circuits
from equiscope.transformations import Pose
from hand_made import a_family, a_member

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]


# Paths --------------------------------------------------------------------------------------------------------------


class Branches(nn.Module):
    """Bottlenecks and a pool side by side, concatenated: an inception block."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.plain = nn.Conv2d(n_in, 2, 1)
        self.small = nn.Sequential(nn.Conv2d(n_in, 3, 1), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1))
        self.large = nn.Sequential(nn.Conv2d(n_in, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 5, padding=2))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(n_in, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.plain(x), self.small(x), self.large(x), self.pooled(x)], dim=1)


class Residual(nn.Module):
    """Two convolutions added to what went in; a wider stride needs a convolution on the way past, too."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)
        )
        self.second = nn.Sequential(nn.Conv2d(n_out, n_out, 3, padding=1), nn.BatchNorm2d(n_out))
        self.past = nn.Identity() if stride == 1 else nn.Conv2d(n_in, n_out, 1, stride)
        self.bend = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.bend(self.second(self.first(x)) + self.past(x))


class Function(nn.Module):
    """Any function, as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def layered(*stages: nn.Module) -> Model:
    """A network with settled, uneven batch-norms, all of it in training mode but for the first stage."""
    module = nn.Sequential(*stages)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.normal_(generator=generator)
    module.train()
    module[0].eval()
    return Model(module, name="layered")


def slow_jacobian(model: Model, source: LayerGeometry, target: LayerGeometry) -> Floats:
    """Derivative of the target's central position by the source, in a copy without rectifiers and maxima."""
    module = copy.deepcopy(model.module).double().eval()
    for part in list(module.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.ReLU):
                setattr(part, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                setattr(
                    part, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
                )
    first, last = int(source.layer), int(target.layer)
    row, column = target.position_in_patch()
    patch = torch.rand(1, 3, target.patch_px, target.patch_px, dtype=torch.float64)
    begun = module[: first + 1](patch)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: module[first + 1 : last + 1](x)[0, :, row, column], begun
    )[:, 0]
    return np.asarray(jacobian)


def expand(model: Model, source: str, target: str, images: Tensor | None = None) -> ExpandedWeights:
    geometry = find_geometry(model, [source, target])
    gains = None if images is None else measure_gains(model, images, target)
    return expanded_weights(model, geometry[source], geometry[target], gains)


def cropped(kernels: Floats) -> Floats:
    used = (kernels != 0).any((0, 1))
    rows, columns = np.flatnonzero(used.any(1)), np.flatnonzero(used.any(0))
    return kernels[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


NETWORKS: Mapping[str, tuple[Callable[[], tuple[nn.Module, ...]], str, str, tuple[str, ...]]] = {
    "one convolution": (lambda: (nn.Conv2d(3, 4, 5), nn.Conv2d(4, 70, 3)), "0", "1", ()),
    "chain": (
        lambda: (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, (3, 5), padding=(1, 2)),
            nn.LeakyReLU(0.1),
            nn.Conv2d(6, 5, 3, stride=2),
        ),
        "0",
        "5",
        ("relu: passed on", "leaky_relu: passed on"),
    ),
    "strides": (
        lambda: (
            nn.Conv2d(3, 4, 7, stride=2, padding=3),
            nn.ReLU(),
            nn.Conv2d(4, 5, 3, stride=2, padding=1, groups=1),
            nn.Conv2d(5, 5, 3, padding=2, dilation=2, groups=5),
        ),
        "0",
        "3",
        ("relu: passed on",),
    ),
    "inception": (
        lambda: (nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), Branches(5)),
        "0",
        "3",
        ("relu: passed on", "max_pool2d: mean of its window"),
    ),
    "inside inception": (lambda: (nn.Conv2d(3, 5, 1), Branches(5), nn.ReLU(), Branches(11)), "1", "3", ()),
    "residual": (
        lambda: (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), Residual(4, 4, 1), Residual(4, 6, 2)),
        "0",
        "4",
        ("relu: passed on",),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_expanded_weights_are_the_jacobian_without_rectifiers(name: str) -> None:
    build, source, target, linearised = NETWORKS[name]
    model = layered(*build())
    for part in model.module.modules():
        if isinstance(part, nn.LeakyReLU):
            # Passed on like any rectifier, which the copy's slope of 1 is.
            part.negative_slope = 1.0
    geometry = find_geometry(model, [source, target])
    found = expanded_weights(model, geometry[source], geometry[target])
    expected = slow_jacobian(model, geometry[source], geometry[target])
    scale = np.abs(expected).max()
    assert scale > 0.1
    assert found.weights.shape == cropped(expected).shape
    assert np.abs(found.weights - cropped(expected)).max() < 1e-5 * scale
    assert (found.source, found.target) == (source, target)
    if linearised:
        assert found.linearised == linearised


@pytest.mark.parametrize(
    ("stages", "y_px", "x_px", "stride_px"),
    [
        ((nn.Conv2d(3, 2, 3), nn.Conv2d(2, 2, (3, 5))), [-1, 0, 1], [-2, -1, 0, 1, 2], 1),
        ((nn.Conv2d(3, 2, 3, stride=2), nn.Conv2d(2, 2, 3)), [-2, 0, 2], [-2, 0, 2], 2),
        (
            (nn.Conv2d(3, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 2, (1, 3))),
            [-0.5, 0.5],
            [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5],
            1,
        ),
    ],
)
def test_cells_lie_where_they_are_seen(
    stages: tuple[nn.Module, ...], y_px: list[float], x_px: list[float], stride_px: float
) -> None:
    found = expand(layered(*stages), "0", str(len(stages) - 1))
    assert found.y_px.tolist() == y_px
    assert found.x_px.tolist() == x_px
    assert found.stride_px == stride_px
    cells = found.cells()
    # Row by row from the top left: y grows upwards, the unit is a source position.
    assert cells.shape == (len(y_px) * len(x_px), 2)
    assert cells[0].tolist() == [x_px[0] / stride_px, -y_px[0] / stride_px]
    assert cells[-1].tolist() == [x_px[-1] / stride_px, -y_px[-1] / stride_px]
    assert cells[1, 1] == cells[0, 1]


def test_what_follows_the_source_may_change_it_in_place() -> None:
    model = layered(nn.Conv2d(3, 4, 3), Function(lambda x: x.mul_(2).add_(1)), nn.Conv2d(4, 5, 3))
    found = expand(model, "0", "2")
    assert np.allclose(found.weights, 2 * model.module[2].weight.detach().numpy(), atol=1e-6)


def test_a_branch_that_goes_past_the_source_needs_no_weights() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 3, 1)
            self.source = nn.Conv2d(3, 2, 3, padding=1)
            self.target = nn.Conv2d(5, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.target(torch.cat([x, self.source(x).relu()], 1))

    model = Model(Dense())
    found = expand(model, "source", "target")
    assert np.allclose(found.weights, model.module.target.weight[:, 3:].detach(), atol=1e-7)
    # By way of the source, too.
    both = expand(model, "stem", "target")
    assert both.weights.shape == (4, 3, 5, 5)
    direct = np.pad(model.module.target.weight[:, :3].detach().numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    by_source = F.conv_transpose2d(
        model.module.target.weight[:, 3:].detach(), model.module.source.weight.detach()
    )
    assert np.allclose(both.weights, direct + by_source.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("norm", "name"),
    [
        (nn.LocalResponseNorm(3, alpha=2.0, beta=0.75, k=1.0), "local_response_norm"),
        (LocalResponseNorm(3, alpha=2.0, beta=0.75, k=1.0), "LocalResponseNorm"),
    ],
)
def test_a_normalisation_becomes_one_measured_factor_a_channel(norm: nn.Module, name: str) -> None:
    model = layered(nn.Conv2d(3, 4, 3), nn.ReLU(), norm, nn.Conv2d(4, 5, 3))
    images = torch.rand(6, 3, 11, 14, generator=torch.Generator().manual_seed(1)) - 0.5
    found = expand(model, "0", "3", images)
    before = model.module[:2](images).detach().double()
    after = norm(before.float()).double()
    slopes = [np.polyfit(before[:, c].ravel(), after[:, c].ravel(), 1)[0] for c in range(4)]
    assert max(slopes) < 0.95 * 1.0
    assert np.ptp(slopes) > 0.01
    expected = model.module[3].weight.detach().numpy() * np.array(slopes)[:, None, None]
    assert np.abs(found.weights - expected).max() < 1e-5
    assert found.linearised == ("relu: passed on", f"{name}: one factor a channel, measured on images")


def state_of(module: nn.Module) -> list[object]:
    hooks = [
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in module.modules()
    ]
    grads = [p.grad is None and p.requires_grad for p in module.parameters()]
    return [Model(module).weights_sha256(), [m.training for m in module.modules()], hooks, grads]


def test_the_network_is_handed_back_as_it_was() -> None:
    model = layered(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        LocalResponseNorm(3, 1.0),
        nn.Conv2d(4, 5, 3),
    )
    before = state_of(model.module)
    assert len(set(before[1])) == 2  # type: ignore[call-overload]
    found = expand(model, "0", "4", torch.rand(4, 3, 11, 14))
    assert found.weights.any()
    assert state_of(model.module) == before
    # Also when it refuses, and while gradients are off.
    geometry = find_geometry(model, ["0", "4"])
    with torch.no_grad(), pytest.raises(EquiscopeError, match="not linear"):
        expanded_weights(model, geometry["0"], geometry["4"])
    assert state_of(model.module) == before


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return x * x

    @staticmethod
    def backward(ctx: object, slope: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * ctx.saved_tensors[0] * slope  # type: ignore[attr-defined]


def attend(x: Tensor) -> Tensor:
    tokens = x.permute(0, 2, 3, 1).unflatten(-1, (2, 2))
    return F.scaled_dot_product_attention(tokens, tokens, tokens).flatten(-2).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x * x.softmax(1), "not linear .*Softmax"),
        (attend, "not linear .*Softmax"),
        (lambda x: x * x.flip(1), "not linear .*a product of activations"),
        (lambda x: Square.apply(x), "not linear .*Square"),
        (lambda x: x.abs().sqrt(), "not linear .*(Sqrt|Abs)"),
        (lambda x: x * 0, "no path leads from 0 to 2: no weight joins their units"),
    ],
)
def test_what_is_not_linear_is_named(function: Callable[[Tensor], Tensor], message: str) -> None:
    model = layered(nn.Conv2d(3, 4, 3), Function(function), nn.Conv2d(4, 5, 3))
    with pytest.raises(EquiscopeError, match=message):
        expand(model, "0", "2")


def test_without_a_path_there_are_no_weights() -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.left(x), self.right(x)], 1)

    with pytest.raises(EquiscopeError, match="no path leads from left to right"):
        expand(Model(Forked()), "left", "right")
    with pytest.raises(EquiscopeError, match="no path leads from right to left: left is computed before it"):
        expand(Model(Forked()), "right", "left")
    for padding in (1, 2):
        model = layered(nn.Conv2d(3, 4, 3, padding=padding), nn.Conv2d(4, 5, 3, padding=padding))
        with pytest.raises(EquiscopeError, match="no path leads from 1 to 0: 0 is computed before it"):
            expand(model, "1", "0")


def test_without_padding_an_earlier_target_has_no_path_either() -> None:
    with pytest.raises(EquiscopeError, match="no path leads from 1 to 0: 0 is computed before it"):
        expand(layered(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)), "1", "0")


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (Function(lambda x: x.detach()), "no gradient leads from 2 back to 0"),
        (nn.LocalResponseNorm(3), "measure_gains"),
    ],
)
def test_what_cannot_be_expanded_is_said(stage: nn.Module, message: str) -> None:
    with pytest.raises(EquiscopeError, match=message):
        expand(layered(nn.Conv2d(3, 4, 3), stage, nn.Conv2d(4, 5, 3)), "0", "2")


def test_a_normalisation_over_the_last_axis_becomes_one_factor_a_channel() -> None:
    class ChannelsLast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    model = layered(nn.Conv2d(3, 4, 3), ChannelsLast(), nn.Conv2d(4, 5, 3))
    images = torch.rand(6, 3, 11, 14, generator=torch.Generator().manual_seed(1))
    found = expand(model, "0", "2", images)
    before, after = (model.module[:n](images).detach().double() for n in (1, 2))
    slopes = [np.polyfit(before[:, c].ravel(), after[:, c].ravel(), 1)[0] for c in range(4)]
    expected = model.module[2].weight.detach().numpy() * np.array(slopes)[:, None, None]
    assert np.abs(found.weights - expected).max() < 1e-4 * np.abs(expected).max()


def test_layers_that_see_everything_have_no_weights() -> None:
    whole = Function(lambda x: x + x.mean((2, 3), keepdim=True))
    model = layered(nn.Conv2d(3, 4, 3), whole, nn.Conv2d(4, 5, 3), nn.Conv2d(5, 5, 3))
    with pytest.raises(EquiscopeError, match="layer '2' sees the whole image"):
        expand(model, "0", "2")
    with pytest.raises(EquiscopeError, match="layer '2' sees the whole image"):
        expand(model, "2", "3")


# Harmonics ----------------------------------------------------------------------------------------------------------


def grid(n_y: int, n_x: int) -> Floats:
    y, x = np.meshgrid((n_y - 1) / 2 - np.arange(n_y), np.arange(n_x) - (n_x - 1) / 2, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


def turned(basis: KernelBasis, kernels: Floats, angle_deg: float) -> Floats:
    """Kernels, shape (..., cell), turned counter-clockwise."""
    turn = np.exp(-1j * basis.orders * math.radians(angle_deg))
    return basis.kernels(basis.coefficients(kernels) * turn)


Pattern = Callable[[Floats, Floats], Floats]


def bumps(seed: int, width: float, reach: float) -> Pattern:
    """A smooth pattern of three Gaussians off the centre; x to the right, y upwards."""
    rng = np.random.default_rng(seed)
    places, heights = rng.uniform(-reach, reach, (3, 2)), rng.normal(size=3)

    def pattern(x: Floats, y: Floats) -> Floats:
        squared = (x[..., None] - places[:, 0]) ** 2 + (y[..., None] - places[:, 1]) ** 2
        return np.asarray((np.exp(-squared / 2 / width**2) * heights).sum(-1))

    return pattern


def sampled(pattern: Pattern, cells: Floats, angle_deg: float) -> Floats:
    """The pattern turned counter-clockwise, by its formula."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    x, y = cells.T
    return pattern(cos * x + sin * y, cos * y - sin * x)


@pytest.mark.parametrize("side", [1, 2, 3, 5, 6, 7, 9])
def test_quarter_turns_are_exact(side: int) -> None:
    basis = rotating_basis(grid(side, side))
    kernels = np.random.default_rng(0).normal(size=(4, side * side))
    held = basis.kernels(basis.coefficients(kernels)).reshape(4, side, side)
    for n_quarters in (1, 2, 3):
        found = turned(basis, kernels, 90 * n_quarters).reshape(held.shape)
        # Of the raw kernel, too: a turn of what is held is what is held of the turned kernel.
        assert np.allclose(found, np.rot90(held, n_quarters, (1, 2)), atol=1e-9)
        rotated = np.ascontiguousarray(np.rot90(kernels.reshape(held.shape), n_quarters, (1, 2)))
        again = basis.kernels(basis.coefficients(rotated.reshape(kernels.shape))).reshape(held.shape)
        assert np.allclose(again, found, atol=1e-9)


def test_turning_is_counter_clockwise_on_screen() -> None:
    cells = grid(7, 7)
    basis = rotating_basis(cells)

    def peak(angle_deg: float) -> tuple[int, int]:
        to_the_right = np.exp(-((cells[:, 0] - 2) ** 2 + cells[:, 1] ** 2) / 2)
        row, column = divmod(int(turned(basis, to_the_right, angle_deg).argmax()), 7)
        return row, column

    assert [peak(a) for a in (0, 90, 180, 270)] == [(3, 5), (1, 3), (3, 1), (5, 3)]
    assert peak(45) == (2, 4)


# Patterns within a kernel of 9 x 9, none finer than the grid resolves.
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), angle_deg=st.floats(-360, 360))
def test_other_turns_are_those_of_the_formula(seed: int, angle_deg: float) -> None:
    cells = grid(9, 9)
    basis = rotating_basis(cells)
    pattern = bumps(seed, width=1.2, reach=1.2)
    upright = sampled(pattern, cells, 0)
    error = turned(basis, upright, angle_deg) - sampled(pattern, cells, angle_deg)
    assert np.linalg.norm(error) < 0.05 * np.linalg.norm(upright)


def test_an_eighth_turn_of_smooth_kernels() -> None:
    cells = grid(9, 9)
    patterns = [bumps(seed, width=1.2, reach=1.2) for seed in range(50)]
    upright, expected = (np.stack([sampled(p, cells, a) for p in patterns]) for a in (0, 45))
    found = turned(rotating_basis(cells), upright, 45)
    size = np.linalg.norm(upright, axis=1)
    errors = np.linalg.norm(found - expected, axis=1) / size
    # Nearly all of it is that the stiffness, 0.03, makes everything smaller by that much.
    assert errors.max() < 0.031
    errors = np.linalg.norm(1.03 * found - expected, axis=1) / size
    assert errors.max() < 0.006


@pytest.mark.parametrize("side", [5, 7, 9])
def test_kernels_come_back(side: int) -> None:
    cells = grid(side, side)
    basis = rotating_basis(cells)
    # The functions themselves, to what the stiffness costs.
    for function in (basis.synthesise.real, basis.synthesise.imag):
        smooth = function[:, basis.orders < side / 2].T
        kept = smooth[np.linalg.norm(smooth, axis=1) > 0.7]
        away = basis.kernels(basis.coefficients(kept)) - kept
        assert np.linalg.norm(away) < 0.08 * np.linalg.norm(kept)
    patterns = np.stack([sampled(bumps(s, width=side / 7, reach=side / 8), cells, 0) for s in range(20)])
    away = basis.kernels(basis.coefficients(patterns)) - patterns
    assert np.linalg.norm(away) < 0.05 * np.linalg.norm(patterns)


def test_the_fitted_basis_is_the_smallest_that_holds_the_kernels() -> None:
    cells = grid(9, 9)
    kernels = np.stack([sampled(bumps(s, width=1.2, reach=1.7), cells, 0) for s in range(60)])
    energy = (kernels**2).sum()
    bases = {missed: fitted_basis(cells, kernels, missed) for missed in (0.1, 0.02, 0.005)}
    sizes = [len(basis.orders) for basis in bases.values()]
    assert sizes == sorted(sizes)
    assert sizes[-1] < len(rotating_basis(cells).orders)
    for missed, basis in bases.items():
        assert ((basis.kernels(basis.coefficients(kernels)) - kernels) ** 2).sum() <= missed * energy
        if (order := int(basis.orders.max())) > 3:
            smaller = rotating_basis(cells, order - 1)
            assert ((smaller.kernels(smaller.coefficients(kernels)) - kernels) ** 2).sum() > missed * energy
    assert int(bases[0.005].orders.max()) > 3
    # White noise takes all there is.
    noise = np.random.default_rng(0).normal(size=(60, 81))
    for most, order in ((9, 9), (30, int(rotating_basis(cells).orders.max()))):
        assert fitted_basis(cells, noise, 0.001, most).orders.max() == order


# Ties ---------------------------------------------------------------------------------------------------------------


def complex_normal(rng: np.random.Generator, *shape: int) -> Complex:
    return np.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape))


def sum_up_slowly(residual: Floats, energy: Floats) -> tuple[Floats, float]:
    """Choose a member's penalty by the other members; residual has the shape (penalty, member)."""
    n = residual.shape[1]
    chosen = np.empty(n)
    for v in range(n):
        others = [sum(residual[p, w] for w in range(n) if w != v) for p in range(len(residual))]
        chosen[v] = residual[int(np.argmin(others)), v]
    return chosen, 1 - chosen.sum() / energy.sum()


def tie_equivariant_slowly(
    weights: Complex, phases: Complex, inputs: Complex, outputs: Complex, is_allowed: NDArray[np.bool_]
) -> tuple[Floats, float]:
    n_out, n_in, n_functions = weights.shape
    residual = np.zeros((len(_PENALTIES), n_out))
    for p, penalty in enumerate(_PENALTIES):
        for left_out in range(n_out):
            kept = [v for v in range(n_out) if v != left_out]
            for k in range(n_functions):
                used = np.flatnonzero(is_allowed[k])
                rows = [inputs[u, used] * outputs[v, used].conj() for v in kept for u in range(n_in)]
                values = [phases[v, k] * weights[v, u, k] for v in kept for u in range(n_in)]
                design, target = np.array(rows).reshape(len(rows), len(used)), np.array(values)
                gram = design.conj().T @ design + penalty * n_in * np.eye(len(used))
                template = np.linalg.solve(gram, design.conj().T @ target) if len(used) else np.zeros(0)
                for u in range(n_in):
                    told = (inputs[u, used] * outputs[left_out, used].conj()) @ template
                    residual[p, left_out] += abs(phases[left_out, k] * weights[left_out, u, k] - told) ** 2
    return sum_up_slowly(residual, (np.abs(weights) ** 2).sum((1, 2)))


# Of few members the same orders are drawn again and again.
@pytest.mark.parametrize(("n_out", "n_draws"), [(6, 4), (4, 30)])
def test_ties_between_families_are_those_of_a_slow_loop(n_out: int, n_draws: int) -> None:
    rng = np.random.default_rng(0)
    a, b, orders = rng.uniform(0, 2 * np.pi, 5), rng.uniform(0, 2 * np.pi, n_out), np.array([0, 1, 1, 2, 3])
    chosen = np.arange(-2, 3)
    phases = np.exp(1j * np.outer(b, orders))
    inputs, outputs = np.exp(1j * np.outer(a, chosen)), np.exp(1j * np.outer(b, chosen))
    # Tied in part, so that neither all nor nothing is explained.
    template = complex_normal(rng, len(chosen), len(orders))
    tied = np.einsum("vuc,ck->vuk", inputs[None] * outputs.conj()[:, None], template) * phases.conj()[:, None]
    weights = tied + 2 * complex_normal(rng, *tied.shape)
    is_allowed = rng.random((len(orders), len(chosen))) < 0.6
    is_allowed[2] = False
    is_allowed[3] = True
    draws = permutations(b, n_draws, rng)
    for allowed in (is_allowed, np.ones_like(is_allowed)):
        given_allowed = None if allowed.all() else allowed
        tie = tie_equivariant(weights, phases, inputs, outputs, draws, given_allowed)
        residual, r2 = tie_equivariant_slowly(weights, phases, inputs, outputs, allowed)
        assert 0.05 < r2 < 0.9
        # Single precision.
        assert np.allclose(tie.residual[:, 0], residual, rtol=1e-4)
        assert tie.r2[0] == pytest.approx(r2, abs=1e-5)
        (low,), (high,) = tie.interval()
        assert low < r2 < high
        assert tie.null.shape == (n_draws, 1)
        for draw, null in zip(draws, tie.null[:, 0], strict=True):
            slow = tie_equivariant_slowly(weights, phases[draw], inputs, outputs[draw], allowed)[1]
            assert null == pytest.approx(slow, abs=1e-5)


def test_ties_with_single_units_are_those_of_a_slow_loop() -> None:
    rng = np.random.default_rng(1)
    n, n_blocks, orders = 6, 3, np.array([0, 1, 1, 2])
    phases = np.exp(1j * np.outer(rng.uniform(0, 2 * np.pi, n), orders))
    template = complex_normal(rng, n_blocks, len(orders))
    weights = template * phases.conj()[:, None] + complex_normal(rng, n, n_blocks, len(orders))
    draws = permutations(golden(n), 5, rng)

    def slowly(phases: Complex, block: int, allowed: NDArray[np.bool_]) -> tuple[Floats, float]:
        residual = np.zeros((len(_PENALTIES), n))
        for p, penalty in enumerate(_PENALTIES):
            for left_out in range(n):
                others = sum(phases[v] * weights[v, block] for v in range(n) if v != left_out)
                told = np.where(allowed, others / (n - 1 + penalty), 0)
                residual[p, left_out] = (
                    np.abs(phases[left_out] * weights[left_out, block] - told) ** 2
                ).sum()
        return sum_up_slowly(residual, (np.abs(weights[:, block]) ** 2).sum(1))

    for allowed in (np.array([True, False, True, True]), np.ones(4, bool), np.zeros(4, bool)):
        tie = tie_invariant(weights, phases, draws, None if allowed.all() else allowed)
        for block in range(n_blocks):
            residual, r2 = slowly(phases, block, allowed)
            assert np.allclose(tie.residual[:, block], residual)
            assert tie.r2[block] == pytest.approx(r2)
            if allowed.any():
                nulls = [slowly(phases[draw], block, allowed)[1] for draw in draws]
                assert np.allclose(tie.null[:, block], nulls)
            else:
                assert tie.r2[block] == 0


def test_a_family_and_one_unit_are_tied_alike_by_both() -> None:
    rng = np.random.default_rng(2)
    phases = np.exp(1j * np.outer(rng.uniform(0, 2 * np.pi, 7), np.arange(4)))
    weights = complex_normal(rng, 7, 1, 4) + phases.conj()[:, None] * complex_normal(rng, 1, 1, 4)
    draws = permutations(golden(7), 20, rng)
    one = tie_equivariant(weights, phases, np.ones((1, 1), complex), np.ones((7, 1), complex), draws)
    other = tie_invariant(weights, phases, draws)
    assert np.allclose(one.residual, other.residual, rtol=1e-4)
    assert np.allclose(one.null, other.null, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    n_in=st.integers(4, 9),
    n_out=st.integers(5, 9),
    shift_in=st.floats(-7, 7),
    shift_out=st.floats(-7, 7),
)
def test_exact_ties_are_found_whatever_the_zero_of_poses(
    seed: int, n_in: int, n_out: int, shift_in: float, shift_out: float
) -> None:
    rng = np.random.default_rng(seed)
    # Irregular, with gaps enough that the template is determined.
    a, b = (2 * np.pi * (np.arange(n) + rng.uniform(0, 0.4, n)) / n for n in (n_in, n_out))
    orders, chosen = np.array([0, 1, 2, 2]), np.array([-1, 0, 1])
    template = complex_normal(rng, 3, 4)
    design = np.exp(1j * (a - b[:, None])[..., None] * chosen)
    weights = np.einsum("vuc,ck->vuk", design, template) * np.exp(-1j * np.outer(b, orders))[:, None]

    def r2(a: Floats, b: Floats, scale: complex = 1.0) -> float:
        tie = tie_equivariant(
            scale * weights,
            np.exp(1j * np.outer(b, orders)),
            np.exp(1j * np.outer(a, chosen)),
            np.exp(1j * np.outer(b, chosen)),
            permutations(golden(n_out), 0, rng),
        )
        return float(tie.r2[0])

    found = r2(a, b)
    assert found > 0.9999
    assert r2(a + shift_in, b + shift_out) == pytest.approx(found, abs=1e-6)
    assert r2(a, b, 3.5) == pytest.approx(found, abs=1e-6)
    # Clockwise poses are those of another family.
    assert r2(-a, -b) < found - 0.01


def golden(n: int) -> Floats:
    return np.asarray(2.399963 * np.arange(n), np.float64)


@settings(deadline=None, max_examples=50)
@given(n=st.integers(2, 12), n_draws=st.integers(0, 30), seed=st.integers(0, 1000))
def test_permutations_never_leave_everything_in_place(n: int, n_draws: int, seed: int) -> None:
    drawn = permutations(golden(n), n_draws, np.random.default_rng(seed))
    assert drawn.shape == (n_draws, n)
    assert (np.sort(drawn, axis=1) == np.arange(n)).all()
    assert not (drawn == np.arange(n)).all(1).any()


def test_no_permutation_turns_all_poses_by_the_same() -> None:
    poses = np.arange(4) * np.pi / 2
    drawn = permutations(poses, 500, np.random.default_rng(0))
    moves = np.unique((drawn - np.arange(4)) % 4, axis=0)
    assert len(moves) == 20  # of 24, four are turns
    assert (np.ptp(moves, axis=1) > 0).all()


def test_noise_is_not_explained() -> None:
    rng = np.random.default_rng(3)
    orders, chosen = np.arange(6), np.arange(-3, 4)
    found, p_values = [], []
    for _ in range(40):
        a, b = rng.uniform(0, 2 * np.pi, 7), rng.uniform(0, 2 * np.pi, 8)
        tie = tie_equivariant(
            complex_normal(rng, 8, 7, 6),
            np.exp(1j * np.outer(b, orders)),
            np.exp(1j * np.outer(a, chosen)),
            np.exp(1j * np.outer(b, chosen)),
            permutations(golden(8), 99, rng),
        )
        found.append(tie.r2[0])
        p_values.append((1 + (tie.null[:, 0] >= tie.r2[0]).sum()) / 100)
    assert np.abs(found).max() < 0.16
    assert np.mean(found) < 0
    # Uniform p-values: two of forty at 0.05.
    assert np.mean(np.array(p_values) <= 0.05) <= 0.125
    assert 0.35 < np.mean(p_values) < 0.65


def test_prediction_is_the_template_that_was_planted() -> None:
    rng = np.random.default_rng(4)
    orders, chosen = np.array([0, 1, 2]), np.array([-1, 0, 1, 2])
    a, b = rng.uniform(0, 2 * np.pi, 9), rng.uniform(0, 2 * np.pi, 8)
    is_allowed = np.array([[True, False, True, True], [True, True, True, True], [False, False, False, True]])
    template = complex_normal(rng, 4, 3) * is_allowed.T
    phases = np.exp(1j * np.outer(b, orders))
    inputs, outputs = np.exp(1j * np.outer(a, chosen)), np.exp(1j * np.outer(b, chosen))
    weights = np.einsum("uc,vc,ck->vuk", inputs, outputs.conj(), template) * phases.conj()[:, None]
    found, tied = predict(weights, phases, inputs, outputs, is_allowed, penalty=1e-9)
    assert np.allclose(found, template, atol=1e-6)
    assert np.allclose(tied, weights, atol=1e-6)
    # What is not allowed stays out even where the weights hold it.
    found, tied = predict(weights + 1, phases, inputs, outputs, is_allowed)
    assert not found[~is_allowed.T].any()


# Circuits -----------------------------------------------------------------------------------------------------------


def family(
    layer: str,
    channels: range,
    poses_deg: Floats,
    *,
    order: int = 1,
    hues_deg: Floats | None = None,
    transformation: str = "rotation",
    stabiliser: tuple[Pose, ...] = (),
) -> Family:
    of_axis = {"angle_deg": poses_deg} if hues_deg is None else {"angle_deg": poses_deg, "hue_deg": hues_deg}
    members = [
        a_member(layer, c, **{axis: float(values[i]) for axis, values in of_axis.items()})
        for i, c in enumerate(channels)
    ]
    return a_family(
        transformation,
        members,
        name=f"{layer}-{transformation}-{channels.start}",
        stabiliser=stabiliser or equal_turns("angle_deg", order),
    )


def weights_of(kernels: Floats) -> ExpandedWeights:
    """Kernels, shape (target, source, y, x), as the weights between layers ``a`` and ``b``."""
    n_y, n_x = kernels.shape[2:]
    y_px, x_px = (np.arange(n, dtype=float) - (n - 1) / 2 for n in (n_y, n_x))
    return ExpandedWeights("a", "b", kernels.astype(np.float32), y_px, x_px, 1.0, ())


IRREGULAR = np.array([3.0, 44.0, 71.0, 128.0, 166.0, 221.0, 268.0, 329.0])
OTHERS = np.array([17.0, 59.0, 111.0, 149.0, 205.0, 244.0, 301.0])


def smooth_template(
    seed: int, harmonics: tuple[int, ...] = (-3, -2, -1, 0, 1, 2, 3)
) -> Callable[..., Floats]:
    """A smooth pattern for each relative pose, radians, which depends on it by the given harmonics."""
    patterns = [bumps(100 * seed + i, width=1.15, reach=1.7) for i in range(2 * len(harmonics))]

    def psi(relative: float, turn: float) -> Floats:
        cells = grid(9, 9)
        total = np.zeros(len(cells))
        for i, harmonic in enumerate(harmonics):
            for j, value in enumerate((math.cos(harmonic * relative), math.sin(harmonic * relative))):
                total += value * sampled(patterns[2 * i + j], cells, math.degrees(turn))
        return total

    return psi


def tied_kernels(
    sources_deg: Floats, targets_deg: Floats, source_order: int = 1, target_order: int = 1, seed: int = 0
) -> Floats:
    """Kernels from poses to poses of families whose members return after a full turn's parts, by the definition."""
    psi = smooth_template(
        seed, (-2, -1, 0, 1, 2) if target_order < 3 and source_order < 3 else tuple(range(-3, 4))
    )
    a, b = np.radians(sources_deg), np.radians(targets_deg)
    kernels = np.zeros((len(b), len(a), 81))
    for v in range(len(b)):
        for u in range(len(a)):
            for i in range(source_order):
                for j in range(target_order):
                    own_a, own_b = a[u] + 2 * np.pi * i / source_order, b[v] + 2 * np.pi * j / target_order
                    kernels[v, u] += psi(own_a - own_b, own_b)
    return kernels.reshape(len(b), len(a), 9, 9)


@pytest.mark.parametrize(
    ("source_order", "target_order"),
    [
        (1, 1),
        (2, 1),
        (1, 2),
        (2, 2),
        (3, 1),
        (3, 3),
        (1, 3),
        (1, 4),
    ],
)
def test_ties_respect_the_stabilisers_of_both_ends(source_order: int, target_order: int) -> None:
    sources_deg, targets_deg = IRREGULAR / source_order, OTHERS / target_order
    kernels = tied_kernels(sources_deg, targets_deg, source_order, target_order)
    # Nothing changes when members are named by another of their poses.
    again = tied_kernels(
        sources_deg + 360 / source_order, targets_deg - 360 / target_order, source_order, target_order
    )
    assert np.allclose(kernels, again)
    families = [
        family("a", range(8), sources_deg, order=source_order),
        family("b", range(7), targets_deg, order=target_order),
    ]
    (found,) = find_circuits(LayerPair(weights_of(kernels), families, []), n_draws=50)
    assert found.r2 > 0.998
    assert found.circuit_class == "equivariant→equivariant"


def test_stabilisers_leave_out_harmonics() -> None:
    def end(order: int) -> End:
        turns = tuple((0.0, 2 * np.pi * k / order) for k in range(order))
        return End(None, "", np.arange(5), np.arange(5.0), None, turns, "equivariant", "")

    still = End(None, "", np.arange(1), None, None, rotation="invariant")
    orders = np.arange(4)
    chosen, is_allowed = characters(end(1), end(1), orders)
    assert sorted(chosen[:, 0]) == [-3, -2, -1, 0, 1, 2, 3]
    assert is_allowed.all()
    chosen, is_allowed = characters(end(2), end(1), orders)
    assert sorted(chosen[:, 0]) == [-4, -2, 0, 2, 4]
    assert is_allowed.all()
    chosen, is_allowed = characters(end(1), end(2), orders)
    assert (is_allowed == ((orders[:, None] + chosen[:, 0]) % 2 == 0)).all()
    for source, target in ((still, end(2)), (end(2), still)):
        chosen, is_allowed = characters(source, target, orders)
        assert chosen.tolist() == [[0, 0]]
        assert is_allowed[:, 0].tolist() == [True, False, True, False]


def pair_of(planted: PlantedCircuits) -> LayerPair:
    geometry = find_geometry(planted.model, ["early", "late"])
    weights = expanded_weights(planted.model, geometry["early"], geometry["late"])
    return LayerPair(weights, planted.families, planted.units)


@cache
def found_in(seed: int, noise: float = 0.0, is_tied: bool = True) -> Mapping[tuple[str, str], Circuit]:
    circuits = find_circuits(pair_of(planted_circuits(seed, noise=noise, is_tied=is_tied)))
    assert len({(c.source, c.target) for c in circuits}) == len(circuits)
    return MappingProxyType({(c.source, c.target): c for c in circuits})


def symmetric(circuits: Mapping[tuple[str, str], Circuit]) -> dict[tuple[str, str], str]:
    return {ends: c.circuit_class for ends, c in circuits.items() if c.is_symmetric}


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_all_planted_circuits_are_found(seed: int) -> None:
    found = found_in(seed)
    classes = planted_circuits(seed).classes
    assert sorted(set(classes.values())) == sorted(f"{a}→{b}" for a, b in [
        ("equivariant", "equivariant"), ("invariant", "equivariant"), ("equivariant", "invariant")
    ])  # fmt: skip
    assert symmetric(found) == classes
    assert min(c.r2 for c in found.values()) > 0.999
    for circuit in found.values():
        assert circuit.transformation == "rotation"
        assert circuit.r2_low <= circuit.r2 <= circuit.r2_high <= 1
        assert circuit.r2_null_95 < circuit.r2
        assert circuit.q_value <= 0.05


def test_energy_shares_sum_up_over_the_layer() -> None:
    planted = planted_circuits(0)
    weight = planted.model.module.late.weight.detach().numpy().astype(float)
    for (source, target), circuit in found_in(0).items():
        channels = {f.id: f.channels for f in planted.families}
        u = channels.get(source, [int(source.split(":")[-1]) if ":" in source else -1])
        v = channels.get(target, [int(target.split(":")[-1]) if ":" in target else -1])
        block, into = weight[np.ix_(v, u)], weight[v]
        assert circuit.energy_share == pytest.approx((block**2).sum() / (into**2).sum(), rel=1e-5)
        assert circuit.strength == pytest.approx(
            math.sqrt((block**2).sum((2, 3)).mean() / (weight**2).sum((2, 3)).mean()), rel=1e-5
        )
        assert (circuit.n_source, circuit.n_target) == (len(u), len(v))


def share_held(noise: float) -> Mapping[tuple[str, str], tuple[float, float]]:
    """Share of each block's coefficients' energy that is not noise, and template coefficients a kernel that is seen."""
    noisy, clean = pair_of(planted_circuits(0, noise=noise)), pair_of(planted_circuits(0))
    channels = {f.id: f.channels for f in planted_circuits(0).families}
    shares = {}
    # Harmonics of the relative pose that stabilisers leave, seven at most.
    n_harmonics = {("0", "0"): 7.0, ("1", "0"): 3.0, ("0", "1"): 3.5, ("1", "1"): 1.5}
    for source in ("early-rotation-0", "early-rotation-1"):
        for target in ("late-rotation-0", "late-rotation-1"):
            u, v = channels[source], channels[target]
            total = noisy.coefficients(v, u)
            tied = noisy.basis.coefficients(clean.kernels[np.ix_(v, u)].astype(float)) * math.sqrt(1 - noise)
            share = float((np.abs(tied) ** 2).sum() / (np.abs(total) ** 2).sum())
            shares[source, target] = share, n_harmonics[source[-1], target[-1]] / (len(u) * (len(v) - 1))
    return shares


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_noise_is_what_ties_do_not_explain(noise: float) -> None:
    found = found_in(0, noise)
    assert symmetric(found) == planted_circuits(0).classes
    for ends, (share, cost) in share_held(noise).items():
        # The template is told from noisy members, too.
        assert found[ends].r2 == pytest.approx(share - (1 - share) * cost, abs=0.02)
    means = [np.mean([c.r2 for c in found_in(0, n).values()]) for n in (0.0, 0.1, 0.3)]
    assert means[0] > means[1] + 0.05 > means[2] + 0.1


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_r2_is_the_share_of_the_weights_energy(noise: float) -> None:
    assert np.mean([c.r2 for c in found_in(0, noise).values()]) == pytest.approx(1 - noise, abs=0.03)


def test_nothing_is_found_in_noise() -> None:
    assert not planted_circuits(0, noise=1.0).classes
    found = found_in(0, 1.0)
    assert symmetric(found) == {}
    # Blocks between families are listed all the same, and say what they are.
    assert len(found) == 4
    assert {c.circuit_class for c in found.values()} == {"not symmetric"}
    assert max(abs(c.r2) for c in found.values()) < 0.1


def test_few_circuits_survive_without_ties() -> None:
    n_seeds = 8
    for seed in range(n_seeds):
        assert not planted_circuits(seed, is_tied=False).classes
    survivors = [c for seed in range(n_seeds) for c in found_in(seed, 0.0, False).values() if c.is_symmetric]
    # Three groups of hypotheses a network, each of which may err in one of twenty.
    assert len(survivors) <= 3 * 0.05 * n_seeds
    assert all(c.r2 < 0.1 for c in survivors)
    between = [
        c for seed in range(n_seeds) for c in found_in(seed, 0.0, False).values() if "rotation" in c.target
    ]
    assert np.median([c.r2 for c in between]) < 0.02


def network_circuits(order: int, source: str, target: str) -> tuple[Circuit, ...]:
    planted = equivariant_network(order, seed=1)
    geometry = find_geometry(planted.model, [source, target])
    families = []
    for layer in (source, target):
        for own in planted.truth[layer].families:
            poses = dict(zip(own.channels, own.poses_deg, strict=True))
            members = tuple(a_member(layer, c, angle_deg=poses[c]) for c in sorted(poses))
            name = f"{layer}-rotation-{own.name[-1]}"
            families.append(replace(family(layer, range(1), np.zeros(1)), id=name, members=members))
    weights = expanded_weights(planted.model, geometry[source], geometry[target])
    return find_circuits(LayerPair(weights, families, []), n_draws=100)


@pytest.mark.parametrize("order", [6, 7, 8, 12])
@pytest.mark.parametrize(("source", "target"), [("lifting", "group1"), ("group1", "group2")])
def test_all_weights_of_a_designed_network_are_tied(order: int, source: str, target: str) -> None:
    found = network_circuits(order, source, target)
    assert len(found) == 16
    assert {c.circuit_class for c in found} == {"equivariant→equivariant"}
    assert min(c.r2 for c in found) > 0.99


def test_a_pose_that_makes_no_difference_is_left_out() -> None:
    psi = smooth_template(5)
    a, b = np.radians(IRREGULAR), np.radians(OTHERS)
    rng = np.random.default_rng(0)
    blind = np.stack([np.tile(psi(0.3, turn), (len(a), 1)) for turn in b]).reshape(7, 8, 9, 9)
    alike = np.stack([psi(0.3, turn) for turn in a])[None].repeat(7, 0).reshape(7, 8, 9, 9)
    families = [family("a", range(8), IRREGULAR), family("b", range(7), OTHERS)]
    for kernels, expected in ((blind, "invariant→equivariant"), (alike, "equivariant→invariant")):
        kernels = kernels + 0.05 * np.abs(kernels).max() * rng.normal(size=kernels.shape)
        (found,) = find_circuits(LayerPair(weights_of(kernels), families, []))
        assert found.circuit_class == expected
        assert found.r2 > 0.6
        assert {class_text(kinds): r2 for kinds, r2 in found.alternatives}[expected] == pytest.approx(
            found.r2
        )


def test_colour_contrasts_are_tied_in_hue_and_in_the_plane() -> None:
    # Half a turn of hue and of the plane together leave the target as it is.
    rng = np.random.default_rng(0)
    hues_a, hues_b = np.radians(rng.permutation(IRREGULAR)), np.radians(rng.permutation(OTHERS))
    a, b = np.radians(IRREGULAR), np.radians(OTHERS)
    psi = [smooth_template(seed, (-1, 0, 1)) for seed in (1, 2, 3)]
    kernels = np.zeros((7, 8, 81))
    for v in range(7):
        for u in range(8):
            for half in (0.0, np.pi):
                hue, turn = hues_a[u] - hues_b[v] - half, b[v] + half
                for value, part in zip((1.0, math.cos(hue), math.sin(hue)), psi, strict=True):
                    kernels[v, u] += value * part(a[u] - turn, turn)
    families = [
        family("a", range(8), np.degrees(a), hues_deg=np.degrees(hues_a), transformation="hue-rotation"),
        family(
            "b", range(7), np.degrees(b), hues_deg=np.degrees(hues_b), transformation="hue-rotation",
            stabiliser=tuple(Pose(angle_deg=half, hue_deg=half) for half in (0.0, 180.0)),
        ),
    ]  # fmt: skip
    (found,) = find_circuits(LayerPair(weights_of(kernels.reshape(7, 8, 9, 9)), families, []))
    assert found.transformation == "hue-rotation"
    assert (found.rotation_class, found.hue_class) == ("equivariant→equivariant",) * 2
    assert found.r2 > 0.99
    # Other hues are not tied.
    wrong = [
        replace(
            f, members=tuple(replace(m, pose=Pose(m.pose, hue_deg=(7 * m.hue_deg) % 360)) for m in f.members)
        )
        for f in families
    ]
    (lost,) = find_circuits(LayerPair(weights_of(kernels.reshape(7, 8, 9, 9)), wrong, []))
    assert lost.r2 < found.r2 - 0.2


def test_mirrored_pairs_are_tied() -> None:
    rng = np.random.default_rng(0)
    # Channels 2i and 2i + 1 are each other's mirror images, channel 8 is its own, in both layers.
    kernels = rng.normal(size=(9, 9, 5, 5))
    partner = np.array([1, 0, 3, 2, 5, 4, 7, 6, 8])
    kernels = kernels + kernels[np.ix_(partner, partner)][..., ::-1]
    pairs = [
        family(layer, range(2 * i, 2 * i + 2), np.zeros(2), transformation="reflection")
        for layer in "ab"
        for i in range(4)
    ]
    units = [
        Unit(layer, c, 0.0, 1.0, (Symmetry("reflection", "invariant" if c == 8 else "equivariant"),))
        for layer in "ab"
        for c in range(9)
    ]
    found = find_circuits(LayerPair(weights_of(kernels), pairs, units), false_discovery_rate=1.0)
    assert {c.transformation for c in found} == {"reflection"}
    assert min(c.r2 for c in found) > 0.9999
    ends = {(c.source, c.target): c.pair_class for c in found}
    for (source, target), kind in ends.items():
        assert kind == "→".join("invariant" if ":" in end else "equivariant" for end in (source, target))
    assert len(ends) >= 8


def test_planted_circuits_hold_what_they_say() -> None:
    planted = planted_circuits(3)
    state = torch.get_rng_state()
    assert planted_circuits(3).model.weights_sha256() == planted.model.weights_sha256()
    assert torch.equal(torch.get_rng_state(), state)
    assert planted_circuits(4).model.weights_sha256() != planted.model.weights_sha256()
    assert {type(m) for m in planted.model.module.children()} == {nn.Conv2d, nn.ReLU}
    assert [f.id for f in planted.families] == [
        f"{layer}-rotation-{i}" for layer in ("early", "late") for i in (0, 1)
    ]
    assert [f.stabiliser_order for f in planted.families] == [1, 2, 1, 2]
    for own in planted.families:
        assert own.channels.tolist() == sorted(own.channels)
        assert (own.poses_deg < 360 / own.stabiliser_order).all()
        kinds = {
            u.under("rotation").family
            for u in planted.units
            if u.layer == own.layer and u.channel in own.channels
        }
        assert kinds == {own.id}
    assert planted.families[0].duplicates
    assert planted.families[0].holes_deg == ((141.0, 229.0),)
    for layer, n in (("early", 23), ("late", 21)):
        assert [u.channel for u in planted.units if u.layer == layer] == list(range(n))
    # Lines are lines: half a turn leaves their weights as they are.
    weight = planted.model.module.late.weight.detach()
    lines, source_lines = planted.families[3].channels, planted.families[1].channels
    block = weight[np.ix_(lines, source_lines)]
    assert torch.allclose(block, block.flip(2, 3), atol=1e-6)
    assert planted_circuits(0, is_tied=False).families == planted_circuits(0).families
    energies = [
        planted_circuits(0, noise=n).model.module.late.weight.square().sum().item() for n in (0, 0.5, 1)
    ]
    assert energies == pytest.approx([42.0] * 3)
    with pytest.raises(EquiscopeError, match=r"noise 1\.5: it is a share"):
        planted_circuits(noise=1.5)


def between_still_units(kernels: np.ndarray, n_still: tuple[int, int]) -> list[Circuit]:
    """Find the circuits of two layers without families, the first units of which rotation leaves as they are."""
    size = int(np.sqrt(kernels.shape[2]))
    units = [
        Unit(
            layer,
            c,
            0.0,
            1.0,
            (Symmetry("rotation", "invariant" if c < still else "neither", invariance=0.9),),
        )
        for layer, n, still in zip(("early", "late"), kernels.shape[1::-1], n_still, strict=True)
        for c in range(n)
    ]
    places = np.arange(float(size)) - size // 2
    weights = kernels.reshape(*kernels.shape[:2], size, size).astype(np.float32)
    pair = LayerPair(ExpandedWeights("early", "late", weights, places, places, 1.0, ()), [], units)
    return [*find_circuits(pair, n_draws=100)]


def test_weights_between_units_that_do_not_turn_are_the_same_in_all_directions() -> None:
    cells = grid(7, 7)
    radius = np.hypot(*cells.T)
    rng = np.random.default_rng(0)
    kernels = np.zeros((12, 12, 49))
    for v, u in itertools.product(range(12), range(12)):
        # Lobes everywhere ...
        aside = rng.normal(size=2)
        kernels[v, u] = np.exp(-((cells - 2 * aside / np.hypot(*aside)) ** 2).sum(1) / 2)
        # ... but rings onto units 0 to 2 of the target from those that do not turn.
        if v < 3 and u < 5:
            kernels[v, u] = np.exp(-((radius - 0.5 * u) ** 2) / 2)
        kernels[v, u] *= rng.uniform(0.8, 1.2) / np.linalg.norm(kernels[v, u])
    # The last of those is wired by single cells.
    kernels[:4, 4] = 0
    kernels[:4, 4, 24] = 2.0
    found = between_still_units(kernels, (5, 4))
    assert {c.circuit_class for c in found} == {"invariant→invariant"}
    assert {c.target for c in found} == {"late:0", "late:1", "late:2"}
    assert {c.source for c in found} <= {f"early:{u}" for u in range(4)}
    assert all(c.r2 > max(0.9, c.r2_null_99) and np.isnan(c.r2_low) for c in found)


def test_weights_that_are_round_between_all_units_say_nothing_of_those_that_do_not_turn() -> None:
    # What comes through pools, or through several layers, is a blob, whatever units it joins.
    cells = grid(7, 7)
    rng = np.random.default_rng(0)
    middle = rng.normal(scale=0.4, size=(12, 12, 1, 2))
    kernels = rng.uniform(0.8, 1, (12, 12, 1)) * np.exp(-((cells - middle) ** 2).sum(3) / 4)
    assert between_still_units(kernels, (5, 4)) == []


def test_without_other_units_nothing_tells_how_round_weights_are_anyway() -> None:
    radius = np.hypot(*grid(7, 7).T)
    assert between_still_units(np.tile(np.exp(-(radius**2) / 4), (4, 5, 1)), (5, 4)) == []
