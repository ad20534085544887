"""Equivariant layers commute with their group, are tied as they say, and cost what they must."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import ortho_group
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from equiscope.construction.equivariant import (
    AvgPool2d,
    BatchNorm2d,
    Blur,
    BlurredReLU,
    Conv2d,
    Dropout2d,
    Fields,
    GroupPool,
    HueStem,
    InceptionBlock,
    MaxPool2d,
    ResidualBlock,
    normalisation,
)
from equiscope.construction.equivariant import basis as basis_module
from equiscope.construction.equivariant.basis import kernel_basis
from equiscope.construction.equivariant.convolution import PlainTo
from equiscope.foundations.errors import EquiscopeError
from equiscope.testing import assert_fields_equivariant
from equivariant_networks import GROUPS, body, network, noise, with_history

SHAPE = (13, 18)


def mixed(group: str, plain: int = 2) -> tuple[Fields, Fields]:
    return Fields(group, 2, 3, plain), Fields(group, 1, 2, plain)


# --- kernels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("size_px", [1, 5, 7])
def test_the_basis_is_independent_and_turns_as_the_group(group: str, size_px: int) -> None:
    basis, action = kernel_basis(group, size_px), Fields(group, 1).action
    every = basis.turned.flatten(1)[:, basis.place]
    upright = every[:, 0]
    assert torch.linalg.matrix_rank(upright) == basis.n_coefficients
    # How an element changes coefficients is read off the kernels; it must be a representation of the group.
    inverse = torch.linalg.pinv(upright)
    change = [every[:, g] @ inverse for g in range(action.order)]
    for g in range(action.order):
        torch.testing.assert_close(change[g] @ upright, every[:, g], rtol=0, atol=1e-9)
        for h in range(action.order):
            # Acting with h first multiplies its matrix from the left, coefficients being rows.
            product = change[h] @ change[g]
            torch.testing.assert_close(product, change[action.group.compose(g, h)], rtol=0, atol=1e-9)


@pytest.mark.parametrize("group", GROUPS)
def test_turned_kernels_are_array_turns_bit_for_bit(group: str) -> None:
    basis, action = kernel_basis(group, 5), Fields(group, 1).action
    kernels = (torch.randn(4, basis.n_coefficients) @ basis.turned.flatten(1).float())[:, basis.place]
    kernels = kernels.unflatten(-1, (5, 5))
    for g in range(action.order):
        for h in range(action.order):
            if action.is_exact(g):
                turned = action.turn(kernels[:, h], g)
                assert torch.equal(turned, kernels[:, action.group.compose(g, h)])
    fixed = basis.fixed.unflatten(-1, (5, 5))
    assert all(torch.equal(action.turn(fixed, g), fixed) for g in range(action.order) if action.is_exact(g))


def test_harmonics_that_sizes_carry() -> None:
    assert [kernel_basis("C8", size).n_coefficients for size in (1, 3, 5, 7)] == [1, 6, 15, 24]
    assert [kernel_basis("C8", size).n_fixed for size in (1, 3, 5, 7)] == [1, 2, 3, 4]
    assert [kernel_basis("C4", size).n_coefficients for size in (1, 3, 5, 7)] == [1, 9, 25, 49]
    assert [kernel_basis("D4", size).n_fixed for size in (1, 3, 5, 7)] == [1, 3, 6, 10]


@pytest.mark.parametrize(("group", "size_px"), [("C4", 5), ("C8", 3), ("C16", 5), ("C16", 7), ("D8", 5)])
def test_coefficients_mean_the_same_kernels_on_every_machine(
    group: str, size_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LAPACK may give eigenvectors with any phase, and singular vectors of equal values in any mixture."""
    expected = kernel_basis(group, size_px)
    rng, eigh, svd = np.random.default_rng(0), np.linalg.eigh, torch.linalg.svd
    n_asked = 0

    def other_phases(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = eigh(matrix)
        return values, vectors * np.exp(2j * np.pi * rng.uniform(size=len(values)))

    def other_mixture(matrix: Tensor, **more: bool) -> tuple[Tensor, Tensor, Tensor]:
        nonlocal n_asked
        n_asked += 1
        left, strength, directions = svd(matrix, **more)
        kept = strength > 1e-6 * strength.max()
        mixture = torch.from_numpy(ortho_group.rvs(int(kept.sum()), random_state=rng))
        directions[kept] = mixture @ directions[kept]
        return left, strength, directions

    monkeypatch.setattr(np.linalg, "eigh", other_phases)
    monkeypatch.setattr(torch.linalg, "svd", other_mixture)
    basis_module._harmonics.cache_clear()
    found = kernel_basis.__wrapped__(group, size_px)
    basis_module._harmonics.cache_clear()
    assert n_asked == 1
    torch.testing.assert_close(found.turned, expected.turned, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.fixed, expected.fixed, rtol=0, atol=1e-9)


def test_coefficients_keep_their_meaning() -> None:
    """Sums of the kernels of a basis; others would turn stored weights into those of another network."""
    basis = kernel_basis("C16", 7)
    assert basis.turned[:4, 0].sum(1).tolist() == pytest.approx([1, 2.53902, 0.83676, 5.40286], abs=1e-4)
    assert basis.fixed.sum(1).tolist() == pytest.approx([2.53902, 1, 0.83676, 5.40286], abs=1e-4)


@pytest.mark.parametrize("group", ["C4", "C8", "D8"])
@pytest.mark.parametrize("size_px", [3, 5])
def test_drawn_kernels_have_the_moments_of_independent_pixels(group: str, size_px: int) -> None:
    basis = kernel_basis(group, size_px)
    for is_fixed, rows in ((False, basis.turned[:, 0]), (True, basis.fixed)):
        kernels = basis.draw(40_000, is_fixed=is_fixed).double() @ rows
        assert kernels.square().sum(1).mean().item() == pytest.approx(size_px**2, rel=0.05)
        assert kernels.sum(1).square().mean().item() == pytest.approx(size_px**2, rel=0.05)


# --- exactness ----------------------------------------------------------------------------------------------


def layers(group: str) -> dict[str, nn.Module]:
    a, b = mixed(group)
    made: dict[str, nn.Module] = {
        "convolution": Conv2d(a, b, 5, padding="same"),
        "convolution without padding": Conv2d(a, b, 5),
        "fields alone": Conv2d(Fields(group, 2), Fields(group, 2), 5, padding=1, bias=False),
        "invariant alone": Conv2d(Fields(group, invariant=3), Fields(group, invariant=2), 5),
        "1 x 1": Conv2d(a, b, 1),
        "batch normalisation": BatchNorm2d(a),
        "dropout": Dropout2d(a),
        "maximum": MaxPool2d(a),
        "mean": AvgPool2d(a, 2),
        "mean of 3": AvgPool2d(a, 3, 1, padding=1),
        "blur by 3": AvgPool2d(a, 3),
        "maximum over elements": GroupPool(a),
        "mean over elements": GroupPool(a, "mean"),
        "inception": InceptionBlock(a, direct=b, reduced=[(b, b, 5), (b, a, 5)], pooled=b),
        "residual": ResidualBlock(a, b, 5),
        "residual, strided": ResidualBlock(a, a, 5, stride=2),
        "blurred ReLU": BlurredReLU(a),
        "inception, blurred": InceptionBlock(a, direct=b, reduced=[(b, b, 5)], pooled=b, blurred=True),
        "residual, blurred": ResidualBlock(a, b, 5, blurred=True),
        "body": body(group),
        "network": network(group),
    }
    if a.action.n_hues > 1:
        made["stem"] = HueStem(b, 5)
    else:
        made["lifting"] = Conv2d(Fields(group, invariant=3), b, 5)
    return made


@pytest.mark.parametrize("group", GROUPS)
def test_every_layer_is_exact_where_pixels_are(group: str, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    for name, layer in layers(group).items():
        space = getattr(layer, "in_fields", None)
        channels = 3 if space is None else space.n_channels
        # Neither square nor of even sides: both are what breaks strided grids.
        errors = assert_fields_equivariant(with_history(layer), noise(1, channels, *SHAPE))
        assert set(errors.exact) | set(errors.interpolated) != set(), name
    with caplog.at_level("INFO", logger="equiscope.testing.fields"):
        assert_fields_equivariant(layer, noise(2, 3, *SHAPE))
    assert "relative equivariance error" in caplog.text


@pytest.mark.parametrize("group", ["C8", "C16", "D8"])
def test_error_between_quarter_turns_is_small_on_smooth_input(group: str) -> None:
    torch.manual_seed(0)
    a, b = mixed(group)
    for layer in (Conv2d(a, b, 5, padding="same"), Conv2d(Fields(group, invariant=3), b, 5, padding="same")):
        for blur_px, largest in ((1.0, 0.04), (2.0, 0.02)):
            features = noise(2, layer.in_fields.n_channels, 44, 40, blur_px)
            errors = assert_fields_equivariant(
                layer, features, interpolated_tolerance=largest, margin_px=7
            ).interpolated
            assert len(errors) == Fields(group, 1).order - len(exact_elements(group))
            assert min(errors.values()) > 1e-4, "an interpolated angle cannot be exact"


def test_a_blurred_rectifier_is_a_rectifier_and_a_blur() -> None:
    features = noise(2, 5, 6, 7)
    taps = torch.tensor([1.0, 2.0, 1.0], dtype=features.dtype) / 4
    rectified = F.pad(features.clamp(min=0), (1, 1, 1, 1), mode="replicate")
    expected = F.conv2d(rectified, torch.outer(taps, taps).expand(5, 1, 3, 3), groups=5)
    torch.testing.assert_close(BlurredReLU(Fields("C8", invariant=5)).double()(features), expected)
    wide = Blur(5, 1, 2).double()(features)
    assert wide.shape == features.shape
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=features.dtype) / 16
    padded = F.pad(features, (2, 2, 2, 2), mode="replicate")
    torch.testing.assert_close(wide, F.conv2d(padded, torch.outer(taps, taps).expand(5, 1, 5, 5), groups=5))


def exact_elements(group: str) -> list[int]:
    action = Fields(group, 1).action
    return [g for g in range(action.order) if action.is_exact(g)]


def test_pooling_over_elements_is_what_it_says() -> None:
    fields = Fields("C4", 2, 1, 1)
    features = noise(1, 10, 2, 3)
    pooled = GroupPool(fields)(features)
    assert torch.equal(pooled[:, 1], features[:, 4:8].amax(1))
    assert torch.equal(pooled[:, 2:], features[:, 8:])
    assert torch.equal(GroupPool(fields, "mean")(features)[:, 0], features[:, :4].mean(1))
    alone = Fields("C4", 0, 2)
    assert torch.equal(GroupPool(alone)(features[:, :2]), features[:, :2])


# --- what must fail -----------------------------------------------------------------------------------------


class Off(nn.Module):
    """A convolution whose expanded kernel was tampered with."""

    def __init__(self, layer: Conv2d, tamper: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.tamper = layer, tamper
        self.in_fields, self.out_fields = layer.in_fields, layer.out_fields

    def forward(self, features: Tensor) -> Tensor:
        return F.conv2d(features, self.tamper(self.layer.expand_weight()), padding=2)


def scaled_channel(weight: Tensor) -> Tensor:
    return torch.cat([weight[:1] * 1.001, weight[1:]])


def exchanged_inputs(weight: Tensor) -> Tensor:
    return torch.cat([weight[:, 1:2], weight[:, :1], weight[:, 2:]], dim=1)


def one_pixel(weight: Tensor) -> Tensor:
    changed = weight.clone()
    # An invariant output's kernel from an invariant input.
    changed[9, 17, 0, 1] += 0.01
    return changed


@pytest.mark.parametrize("tamper", [scaled_channel, exchanged_inputs, one_pixel])
def test_a_kernel_that_is_not_tied_fails(tamper: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    layer = Conv2d(*mixed("C8"), 5)
    inputs = noise(1, 21, *SHAPE)
    assert_fields_equivariant(Off(layer, lambda weight: weight), inputs)
    with pytest.raises(AssertionError, match="above the tolerance"):
        assert_fields_equivariant(Off(layer, tamper), inputs)


def test_ordinary_layers_inside_a_network_fail() -> None:
    fields = Fields("C4", 2, 1)
    norm = with_history(nn.BatchNorm2d(fields.n_channels))
    with pytest.raises(AssertionError, match="above the tolerance"):
        assert_fields_equivariant(norm, noise(2, 9, *SHAPE), in_fields=fields, out_fields=fields)
    # Windows of two on an odd side, which torch cuts off at one end.
    pool = nn.MaxPool2d(2)
    assert_fields_equivariant(pool, noise(2, 9, 6, 8), in_fields=fields, out_fields=fields)
    with pytest.raises(AssertionError, match="above the tolerance"):
        assert_fields_equivariant(pool, noise(2, 9, 7, 8), in_fields=fields, out_fields=fields)


def test_a_network_with_another_head_fails() -> None:
    torch.manual_seed(0)
    heads = nn.Sequential(body("C4"), nn.Flatten(), nn.LazyLinear(5))
    with torch.no_grad():
        heads(torch.zeros(1, 3, 19, 19))
    with pytest.raises(AssertionError, match="90° of C4"):
        assert_fields_equivariant(heads, noise(1, 3, 19, 19))


def test_a_check_that_cannot_fail_is_refused() -> None:
    plain = Conv2d(Fields("C4", 1), Fields("C4", plain=2), 3)
    with pytest.raises(AssertionError, match="nothing can fail"):
        assert_fields_equivariant(plain, noise(1, 4, 7, 8))
    with pytest.raises(AssertionError, match="nothing can fail"):
        assert_fields_equivariant(BatchNorm2d(Fields("C4", 1)), torch.zeros(1, 4, 7, 8))
    with pytest.raises(EquiscopeError, match="no part with in_fields"):
        assert_fields_equivariant(nn.Conv2d(4, 4, 3), noise(1, 4, 7, 8))


def test_an_interpolated_error_can_be_judged() -> None:
    torch.manual_seed(0)
    layer = Conv2d(*mixed("C8"), 5)
    with pytest.raises(AssertionError, match=r"at 45° of C8 is above the tolerance 0\.04"):
        assert_fields_equivariant(layer, noise(1, 21, 24, 24), interpolated_tolerance=0.04)


# --- plain units --------------------------------------------------------------------------------------------


def test_plain_units_feed_plain_units_alone_by_default() -> None:
    torch.manual_seed(0)
    a, b = mixed("C8")
    layer = Conv2d(a, b, 5)
    weight = layer.expand_weight()
    assert not weight[: b.n_tied_channels, a.n_tied_channels :].any()
    assert weight[b.n_tied_channels :, a.n_tied_channels :].all()


def test_plain_units_that_feed_all_break_the_symmetry_by_a_measured_error() -> None:
    torch.manual_seed(0)
    a, b = mixed("C8")
    layer = Conv2d(a, b, 5, plain_to="all")
    features = noise(2, a.n_channels, *SHAPE)
    errors = assert_fields_equivariant(layer, features, tolerance=math.inf)
    assert 0.1 < errors.largest_exact < 2
    with torch.no_grad():
        layer.plain_to_tied.zero_()
    assert assert_fields_equivariant(layer, features).largest_exact < 1e-12


# --- free parameters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "plain_to", "size_px"),
    [
        *((group, "plain", 5) for group in GROUPS[:-1]),
        ("H4xC8", "plain", 3),
        ("C8", "all", 5),
        ("D4", "all", 3),
    ],
)
def test_every_free_parameter_is_free(group: str, plain_to: PlainTo, size_px: int) -> None:
    """Rank of the linear map from free parameters to the expanded kernel and bias, by brute force."""
    a, b = Fields(group, 1, 1, 1), Fields(group, 1, 2, 1)
    made: list[Conv2d | HueStem] = [Conv2d(a, b, size, plain_to=plain_to) for size in (1, size_px)]
    if a.action.n_hues > 1:
        made.append(HueStem(b, size_px))
    for layer in made:
        layer.double()
        parameters = list(layer.parameters())
        rows = []
        for parameter in parameters:
            for index in range(parameter.numel()):
                with torch.no_grad():
                    for other in parameters:
                        other.zero_()
                    parameter.view(-1)[index] = 1.0
                    weight, bias = layer.expand()
                assert bias is not None
                rows.append(torch.cat([weight.flatten(), bias]))
        columns = torch.stack(rows)
        strength = torch.linalg.eigvalsh(columns @ columns.T)
        rank = int((strength > 1e-9 * strength.max()).sum())
        assert rank == layer.n_free_parameters == sum(p.numel() for p in parameters)
        assert layer.n_expanded_parameters == columns.shape[1]


@pytest.mark.parametrize("group", ["C4", "D4", "H4"])
@pytest.mark.parametrize("size_px", [1, 3])
def test_nothing_that_commutes_is_left_out(group: str, size_px: int) -> None:
    """Dimension of all equivariant kernels: the trace of the average over the group, over all kernels there are."""
    a, b = Fields(group, 1, 1), Fields(group, 1, 1)
    action = a.action
    pixels = torch.eye(size_px**2, dtype=torch.float64).reshape(-1, size_px, size_px)
    trace = 0.0
    for g in range(action.order):
        # The trace of a product of permutations is the product of their numbers of fixed points.
        channels = torch.eye(a.n_channels, dtype=torch.float64)[:, :, None, None]
        n_units = a.transform(channels, g)[..., 0, 0].diagonal().sum().item()
        n_pixels = action.turn(pixels, g).flatten(1).diagonal().sum().item()
        trace += n_units * n_units * n_pixels
    layer = Conv2d(a, b, size_px, bias=False)
    assert layer.n_free_parameters == round(trace / action.order)


def test_counts_are_those_of_the_tying() -> None:
    a, b = Fields("C8", 3, 4, 5), Fields("C8", 2, 6, 7)
    layer = Conv2d(a, b, 5)
    n, n_fixed = 15, 3
    expected = 2 * 3 * 8 * n + 2 * 4 * n + 6 * 3 * n + 6 * 4 * n_fixed + 7 * (24 + 4 + 5) * 25 + 15
    assert layer.n_free_parameters == expected
    assert layer.n_expanded_parameters == (16 + 6 + 7) * (24 + 4 + 5) * 25 + 29
    assert Conv2d(a, b, 5, plain_to="all").n_free_parameters == expected + (16 + 6) * 5 * 25
    assert BatchNorm2d(a).n_free_parameters == 2 * (3 + 4 + 5)


# --- gradients, norms, dropout ------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["C8", "D4", "H4xC8"])
def test_gradients(group: str) -> None:
    a = Fields(group, 1, 1, 1)
    layer: Conv2d | HueStem = HueStem(a, 3) if a.action.n_hues > 1 else Conv2d(a, a, 3, plain_to="all")
    layer.double()
    names, parameters = zip(*layer.named_parameters(), strict=True)
    features = noise(1, layer.in_fields.n_channels, 3, 4)

    def run(*values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (features,))

    # The fast mode compares one random projection, which is enough for a linear map.
    assert torch.autograd.gradcheck(run, parameters, fast_mode=True)


def test_a_training_step_keeps_the_tying() -> None:
    torch.manual_seed(0)
    net = network("C8")
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    before = copy.deepcopy(net.state_dict())
    for _ in range(2):
        optimiser.zero_grad()
        F.cross_entropy(net.train()(torch.randn(4, 3, *SHAPE)), torch.tensor([0, 1, 2, 3])).backward()
        optimiser.step()
    after = net.state_dict()
    # The last block has no plain units, and no others take them.
    same = [
        name for name, value in before.items() if torch.equal(value, after[name]) and "to_plain" not in name
    ]
    assert same == []
    assert_fields_equivariant(net, noise(1, 3, *SHAPE))


def test_moments_of_a_batch_are_those_of_the_whole_field() -> None:
    torch.manual_seed(0)
    fields = Fields("C4", 2, 1, 1)
    features = torch.randn(5, 10, 6, 7) * torch.arange(1, 11)[:, None, None] + 3
    ours = BatchNorm2d(fields)
    normalised = ours.train()(features)
    for channels in (slice(0, 4), slice(4, 8), slice(8, 9), slice(9, 10)):
        assert normalised[:, channels].mean().item() == pytest.approx(0, abs=1e-5)
        assert normalised[:, channels].var(unbiased=False).item() == pytest.approx(1, rel=1e-3)
    # Running moments as torch's own normalisation keeps them: the unbiased variance, a tenth at a time.
    expected = 0.9 + 0.1 * features[:, 4:8].var()
    assert ours.running_var[1].item() == pytest.approx(expected.item(), rel=1e-4)
    assert ours.running_mean[1].item() == pytest.approx(0.1 * features[:, 4:8].mean().item(), rel=1e-4)
    assert ours.num_batches_tracked == 1
    plain = nn.BatchNorm2d(3)
    units = Fields("C4", 0, 3)
    torch.testing.assert_close(BatchNorm2d(units)(features[:, :3]), plain(features[:, :3]))


def test_a_batch_is_normalised_equivariantly_in_training() -> None:
    fields = Fields("C4", 2, 1)
    features = noise(2, 9, 5, 8)
    norm = BatchNorm2d(fields).double().train()
    torch.testing.assert_close(
        norm(fields.transform(features, 1)), fields.transform(norm(features), 1), rtol=0, atol=1e-10
    )


LAYOUTS = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}


@pytest.fixture(params=["few calls", "many calls"])
def n_calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either way of normalising, whatever the size."""
    least = 0 if request.param == "many calls" else 10**9
    monkeypatch.setattr(normalisation, "_WORTH_MANY_CALLS", least)
    return str(request.param)


def normalised_by_units(norm: BatchNorm2d, features: Tensor) -> Tensor:
    """Write batch normalisation out, unit by unit."""
    done = []
    for unit in range(norm.in_fields.n_units):
        part = features[:, norm.in_fields.unit_of_channel == unit]
        standard = (part - part.mean()) / (part.var(unbiased=False) + norm.eps).sqrt()
        done.append(standard if norm.weight is None else standard * norm.weight[unit] + norm.bias[unit])
    return torch.cat(done, dim=1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("counts", [(2, 0, 0), (2, 3, 0), (1, 2, 3)])
def test_normalisation_is_the_same_in_every_layout(
    n_calls: str, layout: str, affine: bool, counts: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    norm = BatchNorm2d(Fields("C4", *counts), affine=affine).double().train()
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.normal_()
    # Channels of one field with means far apart: most of its variance.
    features = (
        noise(3, norm.in_fields.n_channels, 4, 5)
        + 10 * torch.arange(norm.in_fields.n_channels)[:, None, None]
    )
    features = features.contiguous(memory_format=LAYOUTS[layout]).requires_grad_()
    weights = noise(3, norm.in_fields.n_channels, 4, 5)
    inputs = [features, *norm.parameters()]
    answers = norm(features)
    expected = normalised_by_units(norm, features)
    torch.testing.assert_close(answers, expected, rtol=0, atol=1e-10)
    for ours, theirs in zip(
        torch.autograd.grad((answers * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
    for unit in range(norm.in_fields.n_units):
        part = features[:, norm.in_fields.unit_of_channel == unit]
        assert norm.running_mean[unit].item() == pytest.approx(0.1 * part.mean().item())
        assert norm.running_var[unit].item() == pytest.approx(0.9 + 0.1 * part.var().item())
    assert answers.is_contiguous(memory_format=LAYOUTS[layout])


def test_constant_channels_hurt_no_unit(n_calls: str) -> None:
    torch.manual_seed(0)
    norm = BatchNorm2d(Fields("C4", 2, 3)).double().train()
    features = noise(3, 11, 4, 5)
    features[:, :4] = 0  # a field that never fires,
    features[:, 5] = 2.0  # a channel of another,
    features[:, 9] = 1.0  # and an invariant unit
    features.requires_grad_()
    weights = noise(3, 11, 4, 5)
    answers, expected = norm(features), normalised_by_units(norm, features)
    torch.testing.assert_close(answers, expected, rtol=0, atol=1e-10)
    ours, theirs = (torch.autograd.grad((one * weights).sum(), features)[0] for one in (answers, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
    assert norm.running_var[0].item() == pytest.approx(0.9)


@pytest.mark.parametrize("sides_px", [(4, 4), (4, 40), (40, 4), (40, 40)])
def test_passes_may_wait_for_their_gradients(sides_px: tuple[int, int]) -> None:
    norm = BatchNorm2d(Fields("C4", 2, 3)).double().train()  # sides of 40 px are worth many calls
    both = [noise(4, 11, side_px, side_px).requires_grad_() for side_px in sides_px]
    sum(norm(features).square().mul(features).sum() for features in both).backward()
    for features in both:
        expected = normalised_by_units(norm, features).square().mul(features).sum()
        (theirs,) = torch.autograd.grad(expected, features)
        torch.testing.assert_close(features.grad, theirs, rtol=1e-9, atol=1e-10)


def test_moments_are_not_rounded_to_half_precision(n_calls: str) -> None:
    torch.manual_seed(0)
    fields = Fields("C8", 2, 3)
    features = (torch.randn(2, 19, 9, 9) + 3).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    norm, exact = BatchNorm2d(fields).train(), BatchNorm2d(fields).double().train()
    features.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        answers = norm(features)
        answers.float().square().mean().backward()
    assert answers.dtype == features.grad.dtype == torch.bfloat16
    exact(features.detach().double())
    torch.testing.assert_close(norm.running_mean.double(), exact.running_mean, rtol=1e-5, atol=0)
    torch.testing.assert_close(norm.running_var.double(), exact.running_var, rtol=1e-5, atol=0)


@pytest.mark.parametrize("plain", [0, 2])
def test_blocks_keep_channels_last(plain: int, n_calls: str) -> None:
    """Torch's pooling is fifteen times slower on features that lost their layout."""
    torch.manual_seed(0)
    a, b = mixed("C8", plain)
    block = InceptionBlock(a, direct=b, reduced=[(b, b, 5)], pooled=b).train()
    features = (
        torch.randn(2, a.n_channels, 9, 10).contiguous(memory_format=torch.channels_last).requires_grad_()
    )
    layouts = []
    for part in block.modules():
        if isinstance(part, nn.ReLU):
            part.register_full_backward_hook(
                lambda _part, _of_inputs, of_outputs: layouts.append(of_outputs[0])
            )
    answers = block(features)
    answers.square().sum().backward()
    assert len(layouts) == 4
    for written in (answers, features.grad, *layouts):
        assert written.is_contiguous(memory_format=torch.channels_last)


class Calls(TorchDispatchMode):
    """Counts calls of operations that write something."""

    n = 0

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n += not func.is_view and func is not torch.ops.aten._unsafe_view.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("fields", "plain_to", "n"),
    [
        (Fields("C8", 2), "plain", 2),
        (Fields("C8", 2, 3), "plain", 8),
        (Fields("C8", 2, 3, 2), "plain", 8),
        (Fields("C8", 2, 3, 2), "all", 9),
    ],
)
def test_a_kernel_is_written_in_few_calls(fields: Fields, plain_to: PlainTo, n: int) -> None:
    """Each costs as much as a convolution of small features."""
    layer = Conv2d(fields, fields, 5, plain_to=plain_to)
    with Calls() as calls:
        layer.expand_weight()
    assert calls.n == n


def test_dropout_drops_whole_units() -> None:
    torch.manual_seed(0)
    fields = Fields("C4", 3, 2, 1)
    dropout = Dropout2d(fields, 0.5).train()
    kept = dropout(torch.ones(400, 15, 3, 2))
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    by_channel = kept.flatten(2)
    assert torch.equal(by_channel, by_channel[..., :1].expand_as(by_channel))
    units = by_channel[..., 0]
    assert all(torch.equal(units[:, 4 * f], units[:, 4 * f + e]) for f in range(3) for e in range(4))
    assert abs(torch.corrcoef(units[:, [0, 4, 12, 14]].T)[0, 1:]).max() < 0.2
    assert units.mean().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(dropout.eval()(kept), kept)


@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0), (0.5, 0.25)])
@pytest.mark.parametrize("input_kind", ["noise", "smooth"])
def test_variance_stays_over_depth(shares: tuple[float, float], input_kind: str) -> None:
    """Ten layers with ReLU: independent coefficients would multiply the variance by a million."""
    changes = []
    for seed in range(4):
        torch.manual_seed(seed)
        fields = Fields.from_width("C8", 64, equivariant=shares[0], invariant=shares[1])
        features = noise(2, 3, 24, 24, 0 if input_kind == "noise" else 1.5).float()
        features /= features.std()
        before, first = Fields("C8", invariant=3), torch.tensor(math.nan)
        with torch.no_grad():
            for depth in range(10):
                features = Conv2d(before, fields, 5, padding="same")(features)
                before, first = fields, features.var() if depth == 0 else first
                features = features.relu()
        changes.append((features.square().mean() / first).log().item() / 10)
    assert abs(sum(changes) / len(changes)) < 0.35


# --- the kept kernel ----------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> tuple[Conv2d, list[int]]:
    torch.manual_seed(0)
    layer, calls = Conv2d(*mixed("C8"), 5).eval(), []
    own = layer.expand_weight

    def expand() -> Tensor:
        calls.append(1)
        return own()

    monkeypatch.setattr(layer, "expand_weight", expand)
    return layer, calls


def fresh(layer: Conv2d, features: Tensor) -> Tensor:
    """What the layer must answer, computed without anything kept."""
    weight, bias = layer.expand()
    return F.conv2d(features, weight, bias)


def load_other(layer: Conv2d) -> None:
    layer.load_state_dict(Conv2d(layer.in_fields, layer.out_fields, 5).state_dict())


def replace(layer: Conv2d) -> None:
    layer.to_plain = nn.Parameter(torch.randn_like(layer.to_plain))


def step(layer: Conv2d) -> None:
    with torch.no_grad():
        layer.fields_to_fields.mul_(1.5)


def move(layer: Conv2d) -> None:
    layer.double().float()
    step(layer)


def write_data(layer: Conv2d) -> None:
    layer.bias.data.add_(1)
    layer.train(False)


@pytest.mark.parametrize("change", [load_other, replace, step, move, write_data])
def test_a_kept_kernel_is_renewed_when_something_changes(
    change: Callable[[Conv2d], None], counted: tuple[Conv2d, list[int]]
) -> None:
    layer, calls = counted
    features = torch.randn(1, 21, 6, 7)
    with torch.no_grad():
        first = layer(features)
        assert torch.equal(layer(features), first)
        assert len(calls) == 1, "evaluation expands once"
        change(layer)
        assert torch.equal(layer(features), fresh(layer, features))
        assert not torch.equal(layer(features), first)


def test_training_and_gradients_use_no_kept_kernel(counted: tuple[Conv2d, list[int]]) -> None:
    layer, calls = counted
    features = torch.randn(1, 21, 6, 7)
    with torch.no_grad():
        layer(features)
    layer(features).sum().backward()
    assert layer.fields_to_fields.grad.any()
    layer.train()(features)
    assert len(calls) == 3
    frozen = layer.eval().requires_grad_(False)
    with torch.inference_mode():
        frozen(features)
    needs = features.clone().requires_grad_()
    frozen(needs).sum().backward()
    assert needs.grad.any()
    assert len(calls) == 4, "a frozen layer keeps its kernel with gradients on"


def test_copies_and_files_hold_no_kept_kernel() -> None:
    layer = Conv2d(*mixed("C8"), 5).eval()
    features = torch.randn(1, 21, 6, 7)
    empty = io.BytesIO()
    torch.save(layer, empty)
    with torch.no_grad():
        expected = layer(features)
    file = io.BytesIO()
    torch.save(layer, file)
    assert file.tell() == empty.tell()
    file.seek(0)
    twin, loaded = copy.deepcopy(layer), torch.load(file, weights_only=False)
    with torch.no_grad():
        twin.bias.add_(1)
        torch.testing.assert_close(twin(features), expected + 1)
        assert torch.equal(loaded(features), expected)
        assert torch.equal(layer(features), expected)


# --- types, places, files -----------------------------------------------------------------------------------


def test_a_state_dict_holds_free_parameters_and_moments_alone() -> None:
    torch.manual_seed(0)
    net, other = with_history(network("H4xC8")), network("H4xC8").eval()
    state = net.state_dict()
    moments = sum(v.numel() for k, v in state.items() if "running" in k or "batches" in k)
    assert sum(v.numel() for v in state.values()) - moments == sum(p.numel() for p in net.parameters())
    other.load_state_dict(state)
    images = torch.rand(1, 3, *SHAPE)
    assert torch.equal(net(images), other(images))


def test_type_and_place_follow_the_module() -> None:
    net = with_history(network("C8"))
    images = torch.rand(2, 3, *SHAPE)
    exact = copy.deepcopy(net).double()(images.double())
    there_and_back = copy.deepcopy(net).half().double()
    constants = dict(copy.deepcopy(net).double().named_buffers())
    for name, buffer in there_and_back.named_buffers():
        if "running" not in name:
            assert torch.equal(buffer, constants[name]), name
    assert exact.dtype == torch.float64
    torch.testing.assert_close(net(images).double(), exact, rtol=1e-4, atol=1e-5)
    elsewhere = copy.deepcopy(net).to("meta")
    assert elsewhere(images.to("meta")).device.type == "meta"
    empty = elsewhere.to_empty(device="cpu")
    empty.load_state_dict(net.state_dict())
    assert torch.equal(empty(images), net(images))
    with torch.device("meta"):
        made = Conv2d(*mixed("C4"), 9)
    assert made.bias.is_meta
    assert Conv2d(*mixed("C4"), 9).expand_weight().isfinite().all(), (
        "what is shared between layers is not on meta"
    )


def test_half_precision_is_not_spent_on_the_symmetry() -> None:
    layer = Conv2d(*mixed("C8"), 5)
    with torch.autocast("cpu", torch.bfloat16):
        weight, _ = layer.expand()
        assert layer(torch.randn(1, 21, 7, 7)).dtype == torch.bfloat16
    assert torch.equal(weight, layer.expand_weight())


def test_parts_describe_themselves() -> None:
    shown = repr(network("C8"))
    assert "21 channels (2 fields of C8, 3 invariant, 2 plain)" in shown
    assert "kernel_size=5" in shown
    assert "antialiased=True" in shown


# --- what is refused ----------------------------------------------------------------------------------------

C8, C16 = Fields("C8", 1, 1, 1), Fields("C16", 1)
REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: Conv2d(C8, C16, 5), "fields of C8 to fields of C16"),
    (
        lambda: Conv2d(C16, C16, 3),
        r"3 px is too small for C16.*frequencies up to 2.*5 dimensions.*5 px or more",
    ),
    (lambda: Conv2d(C8, C8, 4), "kernel_size is 4, expected an odd number"),
    (lambda: Conv2d(C8, C8, 5, stride=0), "stride is 0, expected"),
    (lambda: Conv2d(C8, C8, 5, padding=-1), "padding is -1, expected"),
    (lambda: Conv2d(C8, C8, 5, plain_to="some"), "unknown value of plain_to 'some'"),  # type: ignore[arg-type]
    (lambda: Conv2d(Fields("C8", plain=3), C8, 5), "nothing reaches the fields"),
    (lambda: Conv2d(Fields("C8", invariant=3), C8, 1), "one picture in every channel"),
    (lambda: Conv2d(Fields("H6", invariant=3), Fields("H6", 1), 5), "hue with a HueStem"),
    (lambda: HueStem(C8, 5), "C8 does not turn hue"),
    (lambda: Conv2d(C8, C8, 5)(torch.zeros(1, 9, 8, 8)), r"\(1, 9, 8, 8\).*expected \(image, 10, y, x\)"),
    (
        lambda: Conv2d(C8, C8, 5, stride=2, padding=2)(torch.zeros(1, 10, 9, 8)),
        "8 px leaves 1 px over.*7 px or 9 px",
    ),
    (lambda: MaxPool2d(C8, 2, antialiased=False)(torch.zeros(1, 10, 8, 9)), "9 px leaves 1 px over"),
    (lambda: AvgPool2d(C8, 2, antialiased=False)(torch.zeros(1, 10, 9, 8)), "9 px leaves 1 px over"),
    (lambda: MaxPool2d(C8, 2), "expected an odd window"),
    (lambda: MaxPool2d(C8, 3, 0), "stride is 0, expected"),
    (lambda: GroupPool(C8, "sum"), "unknown pooling 'sum'"),  # type: ignore[arg-type]
    # As many channels again would else be taken for larger pictures of the same fields.
    (lambda: BatchNorm2d(C16)(torch.zeros(1, 32, 4, 4)), r"\(1, 32, 4, 4\) are not of 16 channels"),
    (lambda: BatchNorm2d(C16).eval()(torch.zeros(1, 32, 4, 4)), "are not of 16 channels"),
    # One channel would else become as many as there are units.
    (lambda: Dropout2d(C8)(torch.zeros(1, 1, 4, 4)), "are not of 10 channels"),
    (lambda: Dropout2d(C8, 1.0), "p is 1.0, expected a probability"),
    (lambda: InceptionBlock(C8), "without a branch"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_what_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(EquiscopeError, match=message):
        make()


def test_strided_convolutions_are_exact_on_sides_that_fit() -> None:
    layer = Conv2d(C8, C8, 5, stride=2, padding=2)
    assert_fields_equivariant(layer, noise(1, 10, 9, 13))
    # Nothing is promised to plain outputs, so any grid will do.
    Conv2d(C8, Fields("C8", plain=2), 5, stride=2, padding=2)(torch.zeros(1, 10, 8, 8))
