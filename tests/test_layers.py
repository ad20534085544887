"""Which layers are studied: names, patterns, and the default choice, with a word on what it leaves out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from equiscope import survey
from equiscope.cli import app
from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model
from equiscope.models.layers import left_out


class Gate(nn.Module):
    """Squeeze-excitation: a factor for each channel from the mean of all positions."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(n_channels, 2, 1), nn.Conv2d(2, n_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.expand(self.reduce(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Efficient(nn.Module):
    """A convolution with its normalisation, a gate, and a classifier of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6)
        self.se = Gate(6)
        self.project = nn.Conv2d(6, 4, 3)
        self.head = nn.Conv2d(4, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.project(self.se(self.norm(self.stem(x)))).mean((2, 3), keepdim=True))


class Transformer(nn.Module):
    """Patches become tokens, as in ViT."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 16, 16)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)) for _ in range(2))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean(1))


class Plain(nn.Module):
    """Two stages of the same modules, a vector behind them, and one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        stage = {"conv": nn.Conv2d(3, 3, 3), "norm": nn.BatchNorm2d(3), "flat": nn.Flatten()}
        self.layer1, self.layer2 = nn.ModuleDict(stage), nn.ModuleDict(stage)
        self.spare = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        for stage in (self.layer1, self.layer2):
            x = stage["norm"](stage["conv"](x))
        return self.layer2["flat"](x)


def test_gates_and_classifiers_on_one_position_are_no_default_layers() -> None:
    model = Model(Efficient(), "efficient")
    assert model.resolve_layers() == ["norm", "project"]
    assert model.resolve_layers(["se.expand"]) == ["se.expand"]
    (note,) = left_out(model, ["norm", "project"])
    assert note.startswith("3 convolution(s) that have a single position, such as se.reduce, are left out")
    assert left_out(model, ["norm"]) == []
    # Where nothing else is there, they are better than nothing.
    assert Model(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1))).resolve_layers() == ["1"]
    # One position behind a kernel as large as its map is no gate.
    small = Model(nn.Sequential(nn.Conv2d(3, 4, 5), nn.Conv2d(4, 4, 60)), input_size_px=64)
    assert small.resolve_layers() == ["0", "1"]


def test_tokens_of_a_transformer_are_left_out_with_a_word() -> None:
    model = Model(Transformer(), "vit", input_size_px=64)
    assert model.resolve_layers() == ["embed"]
    (note,) = left_out(model, ["embed"])
    assert note.startswith("6 module(s) that give (image, token, channel), such as blocks.0.1, are left out")
    assert "docs/networks.md" in note
    assert left_out(Model(Plain()), ["layer1.norm"]) == []


def test_default_layers_are_found_at_a_size_that_the_network_takes() -> None:
    class Choosy(Efficient):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[-1] == 64, "only 64 px"
            return super().forward(x)

    assert Model(Choosy()).resolve_layers() == ["norm", "project"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["layer1.*"], ["layer1.conv", "layer1.norm"]),
        (["*.conv", "spare"], ["layer1.conv", "layer2.conv", "spare"]),
        (["layer?.norm", "layer1.norm"], ["layer1.norm", "layer2.norm"]),
        (["layer[13].conv"], ["layer1.conv"]),
        (["layer2.flat"], ["layer2.flat"]),
    ],
)
def test_patterns_mean_the_modules_that_run_and_have_positions(asked: list[str], found: list[str]) -> None:
    class Apart(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.layer2 = nn.ModuleDict(
                {"conv": nn.Conv2d(3, 3, 3), "norm": nn.BatchNorm2d(3), "flat": nn.Flatten()}
            )

    assert Model(Apart(), input_size_px=32).resolve_layers(asked) == found


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("layr1.*", r"unknown layer of plain 'layr1\.\*': did you mean 'layer1'"),
        ("conv", "unknown layer of plain 'conv': did you mean"),
        ("*flat", r"the pattern '\*flat' means 1 module\(s\) of plain, such as layer1.flat, and none"),
        ("spa*", r"the pattern 'spa\*' means 1 module\(s\) of plain, such as spare, and none of them\s+runs"),
    ],
)
def test_patterns_that_mean_nothing(pattern: str, message: str) -> None:
    with pytest.raises(EquiscopeError, match=message):
        Model(Plain(), "plain", input_size_px=32).resolve_layers([pattern])


def test_a_pattern_of_a_network_that_refuses_an_empty_image_means_all_names() -> None:
    grey = Model(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))
    assert grey.resolve_layers(["*"]) == ["0", "1"]


def test_the_grid_of_the_documents_makes_tokens_a_layer() -> None:
    page = (Path(__file__).parents[1] / "docs" / "networks.md").read_text(encoding="utf-8")
    (code,) = (
        block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Grid" in block
    )
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102

    class WithClass(nn.Module):
        def __init__(self, blocks: nn.Module) -> None:
            super().__init__()
            self.embed, self.first, self.blocks = (
                nn.Conv2d(3, 8, 16, 16),
                nn.Parameter(torch.zeros(1, 1, 8)),
                blocks,
            )

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.embed(x).flatten(2).transpose(1, 2)
            return self.blocks(torch.cat([self.first.expand(len(x), -1, -1), tokens], 1))

    plain = WithClass(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)))
    wrapped = WithClass(nn.Sequential(*map(names["WithGrid"], plain.blocks)))
    wrapped.load_state_dict(
        {
            k.replace("s.0.", "s.0.block.").replace("s.1.", "s.1.block."): v
            for k, v in plain.state_dict().items()
        }
    )
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(wrapped(images), plain(images))
    model = Model(wrapped)
    assert model.resolve_layers(["blocks.*.grid"]) == ["blocks.0.grid", "blocks.1.grid"]
    grid = model.record(images, ["blocks.1.grid"])["blocks.1.grid"]
    assert torch.allclose(grid[1, :, 2, 3], plain(images)[1, 1 + 2 * 4 + 3], atol=1e-6)


def test_a_run_notes_what_is_left_out_and_the_network_stays_as_it_is(tmp_path: Path) -> None:
    class Counting(Efficient):
        """Keeps the least of what it saw, and counts its passes behind the counter of versions."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("least", torch.tensor(float("inf")))
            self.register_buffer("n_passes", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.least.copy_(torch.minimum(self.least, x.amin()))
            self.n_passes.data.add_(1)
            torch.rand(1)
            return super().forward(x)

    torch.manual_seed(0)
    model = Model(Counting(), "counting", input_size_px=64)
    before, state = model.weights_sha256(), torch.get_rng_state()
    run = survey(model, transformations=["reflection"], out=tmp_path / "run", examples_per_unit=2, n_null=1)
    assert model.weights_sha256() == before
    assert torch.equal(torch.get_rng_state(), state)
    first = run.manifest["layers"][0]
    assert first["layer"] == "norm"
    assert any("such as se.reduce, are left out" in note for note in first["notes"])


def test_the_command_says_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "gated.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Gate(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.own = nn.Conv2d(4, 4, 1)\n"
        "    def forward(self, x):\n"
        "        return x * self.own(x.mean((2, 3), keepdim=True))\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), Gate())\n"
    )
    result = CliRunner().invoke(app, ["layers", f"{tmp_path / 'gated.py'}:net"])
    assert result.exit_code == 0, result.output
    assert re.search(
        r"^1.own +– .* has a single position: a gate or a classifier *$", result.stdout, re.MULTILINE
    )
    assert "1 convolution(s) that have a single position, such as 1.own" in result.stderr
    assert torch.is_grad_enabled()
