"""Equivariant networks leave as ordinary ones: plain modules, compiled, ONNX; and the survey finds them out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import equiscope
from equiscope.construction.equivariant import (
    AvgPool2d,
    BatchNorm2d,
    BlurredReLU,
    Conv2d,
    Fields,
    HueStem,
    InceptionBlock,
    MaxPool2d,
    ResidualBlock,
    export,
)
from equiscope.foundations.errors import EquiscopeError
from equiscope.testing import assert_fields_equivariant, planted_fields, sample_crops
from equivariant_networks import GROUPS, network, noise, with_history

SHAPE = (19, 26)


@pytest.mark.parametrize("group", GROUPS)
def test_the_export_is_the_same_map_of_plain_modules(group: str) -> None:
    torch.manual_seed(0)
    net = with_history(network(group))
    images = torch.rand(2, 3, *SHAPE)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    plain = export(net, images)
    assert {type(part).__module__.split(".")[0] for part in plain.modules()} == {"torch"}
    with torch.no_grad():
        torch.testing.assert_close(plain(images), net(images), rtol=0, atol=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert torch.equal(plain[0].weight, net[0].expand()[0])
    assert torch.equal(plain[8].weight, net[8].expand()[0])
    assert torch.equal(plain[1].running_var, net[1].expand()["running_var"])
    # Another shape with sides of the same kinds.
    other = torch.rand(1, 3, 27, 34)
    with torch.no_grad():
        torch.testing.assert_close(plain(other), net(other), rtol=0, atol=1e-5)


def test_blurred_blocks_leave_as_plain_modules_without_an_example() -> None:
    torch.manual_seed(0)
    a, b = Fields("C8", 1, 1, 1), Fields("C8", 1, 2, 0)
    net = nn.Sequential(
        Conv2d(Fields("C8", invariant=3), a, 5, padding="same"),
        BlurredReLU(a),
        InceptionBlock(a, direct=b, reduced=[(b, b, 5)], pooled=b, blurred=True),
    )
    net.append(ResidualBlock(net[2].out_fields, b, 5, blurred=True))
    with_history(net)
    plain = export(net)
    assert {type(part).__module__.split(".")[0] for part in plain.modules()} == {"torch"}
    images = torch.rand(2, 3, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), net(images), rtol=0, atol=1e-5)


def test_the_export_shares_nothing_and_is_free() -> None:
    torch.manual_seed(0)
    net = with_history(network("C8"))
    images = torch.rand(2, 3, *SHAPE)
    plain = export(net.train(), images)
    assert plain.training
    assert all(part.training for part in plain.modules())
    own = {tensor.data_ptr() for tensor in net.state_dict().values() if tensor.numel()}
    assert not own & {tensor.data_ptr() for tensor in plain.state_dict().values() if tensor.numel()}
    trained = [parameter for parameter in plain.parameters() if parameter.requires_grad]
    plain(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in trained)
    with torch.no_grad():
        for parameter in trained:
            parameter.sub_(0.1 * parameter.grad)
    plain.eval()
    with pytest.raises(AssertionError, match="above the tolerance"):
        assert_fields_equivariant(
            plain, noise(1, 3, *SHAPE), in_fields=net[0].in_fields, out_fields=net[0].out_fields
        )


def test_the_export_of_plain_units_is_a_copy() -> None:
    layer = Conv2d(Fields("C8", plain=3), Fields("C8", plain=2), 3)
    weight = layer.to_plain.detach().clone()
    plain = export(layer)
    with torch.no_grad():
        plain.weight.zero_()
    assert torch.equal(layer.to_plain, weight)


class Own(nn.Module):
    """A network of one's own: a layer used twice, a layer under two names, a plain layer, and its own wiring."""

    def __init__(self) -> None:
        super().__init__()
        a = Fields("C8", 2, 1)
        self.lift = Conv2d(Fields("C8", invariant=3), a, 5, padding="same")
        self.twice = Conv2d(a, a, 5, padding="same")
        self.also = self.twice
        self.norm = BatchNorm2d(a)
        self.block = ResidualBlock(a, a, 5)
        self.pool = MaxPool2d(a, 2, antialiased=False)
        self.mean = AvgPool2d(a, 2, antialiased=False)
        self.frozen = nn.Dropout(0.5)
        self.nothing = None

    def forward(self, images: Tensor) -> Tensor:
        features = self.lift(images)
        features = features + self.also(self.twice(features)).relu()
        return self.frozen(self.mean(self.pool(self.block(self.norm(features)))))


def test_modules_of_ones_own_keep_their_wiring() -> None:
    torch.manual_seed(0)
    own = with_history(Own())
    own.norm.train()
    plain = export(own)
    assert type(plain) is Own
    assert plain.also is plain.twice
    assert isinstance(plain.twice, nn.Conv2d)
    assert plain.norm.training
    assert not plain.block.training
    own.norm.eval()
    plain.norm.eval()
    images = torch.rand(1, 3, 16, 20)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), own(images), rtol=0, atol=1e-5)


def test_antialiased_pooling_needs_to_know_its_sides() -> None:
    a = Fields("C8", 1)
    pool = MaxPool2d(a)
    with pytest.raises(EquiscopeError, match=r"blur is antialiased.*export\(module, example\)"):
        export(pool)
    with pytest.raises(EquiscopeError, match="need different taps"):
        export(nn.Sequential(pool, pool), torch.zeros(1, 8, 10, 10))

    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = pool

        def forward(self, features: Tensor) -> Tensor:
            return features

    with pytest.raises(EquiscopeError, match="took no part when the example was run"):
        export(Unused(), torch.zeros(1, 8, 10, 10))


@pytest.mark.parametrize("training", [True, False])
def test_compiles_in_one_graph(training: bool) -> None:
    torch.manual_seed(0)
    net = with_history(network("C8")).train(training)
    net[5].p = 0.0  # dropout would draw differently
    images = torch.rand(2, 3, *SHAPE)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    gradients = []
    for module in (compiled, net):
        net.zero_grad()
        answer = module(images)
        answer.square().sum().backward()
        gradients.append([answer.detach(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)])
    assert len(gradients[0]) > 20
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile's own backend needs a C++ compiler")
def test_compiles_with_the_default_backend() -> None:
    torch.manual_seed(0)
    layer = HueStem(Fields("H4xC8", 1, 1, 1), 3).eval()
    images = torch.rand(2, 3, 9, 8)
    with torch.no_grad():
        compiled = torch.compile(layer, fullgraph=True)
        torch.testing.assert_close(compiled(images), layer(images))


def test_torch_export_and_onnx_compute_the_same(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    net = with_history(network("C8"))
    images = torch.rand(2, 3, *SHAPE)
    with torch.no_grad():
        expected = net(images)
    batch = ({0: torch.export.Dim("batch", min=1, max=64)},)
    for module in (net, export(net, images)):
        program = torch.export.export(module, (images,), dynamic_shapes=batch)
        more = torch.cat([images, images])[:3]
        with torch.no_grad():
            torch.testing.assert_close(program.module()(more), net(more), rtol=0, atol=1e-5)
        file = tmp_path / "net.onnx"
        torch.onnx.export(program, (), str(file), dynamo=True, verbose=False)
        session = runtime.InferenceSession(str(file))
        (answer,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        np.testing.assert_allclose(answer, expected.numpy(), rtol=0, atol=1e-5)


# --- the survey ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 10])  # 10: halves of a field up to 0.12 apart
def test_the_survey_finds_designed_families(seed: int, tmp_path: Path) -> None:
    """Fields become families, the invariant and plain units stay alone; nothing in the exported network shows them."""
    crops = sample_crops()
    planted = planted_fields(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255, seed)
    np.savez(tmp_path / "crops.npz", images=crops)
    run = equiscope.survey(
        planted.model,
        tmp_path / "crops.npz",
        list(planted.truth),
        transformations=["rotation"],
        precision="float32",
        out=tmp_path / "run",
    )
    for layer, truth in planted.truth.items():
        found = {frozenset(f.channels.tolist()): f for f in run.families if f.layer == layer}
        assert set(found) == {frozenset(family.channels) for family in truth.families}, layer
        for family in truth.families:
            poses = dict(zip(family.channels, family.poses_deg, strict=True))
            ours = found[frozenset(family.channels)]
            errors = ours.poses_deg - np.array([poses[c] for c in ours.channels.tolist()])
            assert np.abs((errors - errors[0] + 180) % 360 - 180).max() < 3
    kinds = {u.channel: u.under("rotation").kind for u in run.units if u.layer == "1"}
    assert {kinds[c] for c in planted.truth["1"].invariant} == {"invariant"}
