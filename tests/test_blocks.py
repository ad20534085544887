"""Which layers are surveyed by default: outputs of blocks, and the convolutions outside of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import equiscope
from block_networks import (
    Attention,
    BasicBlock,
    DenseBlock,
    EfficientNet,
    Inception,
    Last,
    LongWay,
    Outer,
    ResNet,
    plain,
    resnet18,
)
from equiscope import Model
from equiscope.cli import app
from equiscope.models.layers import explain_layers, left_out


def default_of(module: nn.Module) -> list[str]:
    return Model(module.eval(), "net", input_size_px=64).resolve_layers()


def stack(*parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), *parts)


@pytest.mark.parametrize(
    ("module", "layers"),
    [
        (ResNet(), ["bn1", "layer1.0", "layer1.1", "layer2.0", "layer2.1"]),
        # The first block of a stage has no way past it, and is a block all the same.
        (EfficientNet(), ["bn1", *(f"blocks.{i}.{j}" for i in (0, 1) for j in (0, 1)), "bn2"]),
        (stack(DenseBlock(8), nn.Conv2d(20, 8, 1), DenseBlock(8)), ["0", "1", "2", "3"]),
        # Layers that only collect what came in have no branch of their own.
        (stack(DenseBlock(8)), ["0", "1"]),
        (stack(Inception(8), nn.ReLU(), Inception(8)), ["0", "1", "3"]),
        (stack(Inception(8), nn.Conv2d(8, 4, 3)), ["0", "1", "2"]),
        # Of blocks in each other the outermost that repeats.
        (stack(Outer(8), Outer(8)), ["0", "1", "2"]),
        (stack(Outer(8)), ["0", "1.first", "1.second"]),
        # One way past the whole network makes it no block.
        (nn.Sequential(LongWay(nn.Conv2d(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 3, 1, 1))), ["0.body.0", "0.body.1"]),
        (stack(LongWay(nn.Conv2d(8, 8, 1), BasicBlock(8, 8))), ["0", "1.body.0", "1.body.1"]),
        # Nor has a network blocks whose own forward joins, or one that has no convolution in them.
        (LongWay(nn.Conv2d(3, 3, 3, 1, 1)), ["body.0"]),
        (stack(Last(), Attention(8), Attention(8)), ["0"]),
        (plain(), ["0", "3"]),
    ],
    ids=[
        "resnet", "efficientnet", "densenet", "one-dense-block", "inception", "one-inception", "nested",
        "one-nested", "long-way", "long-way-around-a-block", "flat", "transformer", "plain",
    ],
)  # fmt: skip
def test_blocks_and_convolutions_outside_are_the_default(module: nn.Module, layers: list[str]) -> None:
    assert default_of(module) == layers


def test_a_network_of_its_own_choice_keeps_it() -> None:
    model = Model(ResNet().eval(), default_layers=["layer1.0.conv1"])
    assert model.resolve_layers() == ["layer1.0.conv1"]
    choices = explain_layers(model)
    assert [name for name, own in choices.items() if own.is_default] == ["layer1.0.conv1"]
    assert choices["layer1.0"].why == "not among the network's own choice"


@pytest.mark.parametrize(
    "shift", [1.0, nn.Parameter(torch.zeros(1, 8, 1, 1)), torch.zeros(62, 1), torch.zeros(1, 8, 62, 1)]
)
def test_what_is_added_to_all_positions_alike_is_no_branch(shift: float | Tensor) -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) + shift

    assert default_of(stack(Shifted(), Shifted())) == ["0", "1.conv", "2.conv"]


def test_what_is_left_out_is_said() -> None:
    model = Model(EfficientNet().eval(), "net", input_size_px=64)
    held, gates = left_out(model, model.resolve_layers())
    assert held.startswith(
        "12 convolution(s) inside of blocks, such as blocks.0.0.conv_pw, are left out: the outputs of the 4"
    )
    assert gates.startswith("8 convolution(s) that have a single position, such as blocks.0.0.reduce")


def test_every_layer_has_a_reason() -> None:
    said = {
        name: (own.is_default, own.why) for name, own in explain_layers(Model(EfficientNet().eval())).items()
    }
    assert said["bn1"] == (True, "normalisation of the convolution conv_stem")
    assert said["conv_stem"] == (False, "represented by the normalisation bn1")
    assert said["blocks"] == (False, "holds 4 of the default layers, the last of them blocks.1.1")
    assert said["blocks.0.0"] == (True, "output of a block, where branches meet")
    assert said["blocks.0.0.conv_dw"] == (False, "inside the block blocks.0.0")
    assert said["blocks.0.0.reduce"] == (False, "has a single position: a gate or a classifier")
    chain = explain_layers(Model(plain(), input_size_px=64))
    assert (chain["0"].is_default, chain["0"].why) == (True, "convolution outside of blocks")
    assert chain["2"].why == "computed from other layers without a convolution"


def test_a_network_that_refuses_an_empty_image_has_every_convolution() -> None:
    (name, choice), *others = explain_layers(Model(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))).items()
    assert (name, choice.is_default, others) == ("0", True, [])
    assert "takes no empty image" in choice.why


def test_looking_leaves_the_network_as_it_was() -> None:
    module = ResNet().eval()
    before = Model(module).weights_sha256()
    default_of(module)
    assert Model(module).weights_sha256() == before
    assert not any(own._forward_hooks or own._forward_pre_hooks for own in module.modules())


def test_the_command_marks_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    (tmp_path / "net.py").write_text(
        "from block_networks import ResNet\ndef net():\n    return ResNet().eval()\n"
    )
    result = CliRunner().invoke(app, ["layers", f"{tmp_path / 'net.py'}:net"])
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split()[1] for line in result.stdout.splitlines()[1:]}
    assert {name for name, mark in rows.items() if mark == "yes"} == {
        "bn1",
        *(f"layer{i}.{j}" for i in (1, 2) for j in (0, 1)),
    }
    assert "inside the block layer1.0" in result.stdout
    named = equiscope.layers(ResNet().eval(), ["layer1.*"])
    assert named.by_default == ["layer1.0", "layer1.1"]
    assert list(named.geometries) == list(named.choices)


def test_resnet18_is_its_stem_and_six_blocks(shared: Path) -> None:
    model = resnet18(shared / "weights" / "resnet18.npz")
    assert model.resolve_layers() == ["conv1", *(f"layer{i}.{j}" for i in (1, 2, 3) for j in (0, 1))]
