"""The effective receptive field: where the gradient of a response lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from equiscope.evidence.effective_fields import (
    EffectiveField,
    measure_effective_fields,
    side_that_holds,
)
from equiscope.foundations.errors import DamagedFileError
from equiscope.measurement.examples import collect_examples, empty_examples, split_halves
from equiscope.models import Model
from equiscope.models.geometry import find_geometry
from equiscope.runs.writing import write_json
from equiscope.stimuli import open_images
from equiscope.surveys import shown
from equiscope.surveys.shown import effective_document, read_effective, read_first_kernels
from equiscope.testing import planted_circuits


def ringed(n_units: int = 4, side: int = 21, inner: int = 9) -> nn.Conv2d:
    """Kernels with almost all of their energy within a square, evenly, and a little everywhere else."""
    conv = nn.Conv2d(3, n_units, side)
    with torch.no_grad():
        conv.weight.fill_(0.05)
        rim = (side - inner) // 2
        conv.weight[:, :, rim : side - rim, rim : side - rim] = 1.0
    return conv


@pytest.fixture(scope="module")
def images() -> Any:
    return open_images(max_side_px=96)


def fields_of(module: nn.Module, layer: str, images: Any) -> dict[str, EffectiveField]:
    model = Model(module)
    geometries = find_geometry(model, [layer])
    examples = collect_examples(model, images, geometries, split_halves(images.groups, 0), 2)
    return measure_effective_fields(model, images, geometries, examples)


def test_the_side_is_the_smallest_that_holds_the_share() -> None:
    energy = np.zeros((11, 11))
    energy[5, 5], energy[5, 7], energy[0, 0] = 80.0, 15.0, 5.0
    assert [side_that_holds(energy, share) for share in (0.5, 0.8, 0.81, 0.95, 0.96, 1.0)] == [
        1,
        1,
        5,
        5,
        11,
        11,
    ]
    assert side_that_holds(np.ones((8, 8)), 0.25) == 4
    assert side_that_holds(np.zeros((8, 8))) == 8


def test_a_kernels_field_is_where_its_energy_is(images: Any) -> None:
    found = fields_of(nn.Sequential(ringed()), "0", images)["0"]
    # 49 of 81 cells lie within 7 x 7. The rest of the field holds 1 % of the energy, but 18 % of the weights.
    assert (found.side_px, found.low_px, found.high_px, found.n_units) == (9, 9.0, 9.0, 4)


def test_nine_of_ten_units_are_shown_whole(images: Any) -> None:
    conv = ringed(12)
    with torch.no_grad():
        # Two see less than most, one sees much more.
        conv.weight[:2, :, :7], conv.weight[:2, :, 14:] = 0.0, 0.0
        conv.weight[:2, :, :, :7], conv.weight[:2, :, :, 14:] = 0.0, 0.0
        conv.weight[2] = 1.0
    found = fields_of(nn.Sequential(conv), "0", images)["0"]
    assert found.side_px == 9
    assert (found.low_px, found.high_px) != (9.0, 9.0)


def test_what_lies_behind_a_rectifier_counts_where_it_passes(images: Any) -> None:
    # The second layer's wide kernel sees nothing: what it reads is off.
    first, second = nn.Conv2d(3, 2, 3), nn.Conv2d(2, 1, 15)
    with torch.no_grad():
        first.weight.fill_(1.0)
        first.bias.copy_(torch.tensor([0.0, -100.0]))
        second.weight.fill_(1.0)
        second.weight[:, 0] = 0.0
        second.weight[0, 0, 5:10, 5:10] = 1.0
    found = fields_of(nn.Sequential(first, nn.ReLU(), second), "2", images)["2"]
    assert found.side_px == 7


def test_odd_stays_odd_and_even_even(images: Any) -> None:
    for side in (20, 21):
        found = fields_of(nn.Sequential(ringed(2, side, side - 12)), "0", images)["0"]
        assert found.side_px % 2 == side % 2


def test_what_cannot_be_measured_has_no_field(images: Any) -> None:
    class Cut(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach() * 1.0

    assert fields_of(nn.Sequential(ringed(), Cut()), "1", images) == {}
    model = Model(nn.Sequential(ringed()))
    geometries = find_geometry(model, ["0"])
    silent = {"0": empty_examples("0", 4, 2)}
    assert measure_effective_fields(model, images, geometries, silent) == {}
    whole = {"0": replace(geometries["0"], is_global=True)}
    examples = collect_examples(model, images, geometries, split_halves(images.groups, 0), 2)
    assert measure_effective_fields(model, images, whole, examples) == {}


def test_the_network_stays_as_it_was(images: Any) -> None:
    module = nn.Sequential(ringed(), nn.BatchNorm2d(4)).train()
    before = {name: own.clone() for name, own in module.state_dict().items()}
    fields_of(module, "0", images)
    assert module.training
    assert all(torch.equal(own, before[name]) for name, own in module.state_dict().items())
    assert all(own.grad is None for own in module.parameters())


def test_fields_are_kept_and_read_back(tmp_path: Path) -> None:
    fields = {"conv1": EffectiveField(17, 16.0, 19.0, 64), "conv2": EffectiveField(9, n_units=1)}
    write_json(tmp_path / "effective.json", effective_document(fields))
    found = read_effective(tmp_path / "effective.json")
    assert found["conv1"] == fields["conv1"]
    assert np.isnan(found["conv2"].low_px)
    document = effective_document(fields)
    document["effective"][0]["side_px"] = "17"
    write_json(tmp_path / "effective.json", document)
    with pytest.raises(DamagedFileError, match="side_px is '17', expected an integer"):
        read_effective(tmp_path / "effective.json")


def test_only_first_layers_have_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    model = planted_circuits().model
    kernels = read_first_kernels(model, find_geometry(model, ["early", "late"]))
    assert list(kernels) == ["early"]
    # A survey of a later layer alone has none, whatever the layer behind it is.
    assert read_first_kernels(model, find_geometry(model, ["late"])) == {}
    # What lies behind a layer without kernels is not asked at all: it would cost a pass for every unit.
    asked: list[str] = []
    monkeypatch.setattr(shown, "read_image_kernels", lambda _model, own: asked.append(own.layer))
    assert read_first_kernels(model, find_geometry(model, ["early", "late"])) == {}
    assert asked == ["early"]
