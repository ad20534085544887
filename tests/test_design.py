"""Designs: shares and groups of a survey become those of a network, and that network can be trained."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from equiscope import EquiscopeError
from equiscope.cli import app
from equiscope.construction.design import design_network
from equiscope.construction.equivariant import Fields
from equiscope.construction.training import (
    DesignedNetwork,
    describe_network,
    load_description,
    match_budget,
    plain_twin,
)
from equiscope.families.circle import equal_turns
from equiscope.families.family import Family, Symmetry, Unit
from equiscope.runs.findings import families_document, units_document
from equiscope.runs.run import Run
from equiscope.runs.writing import write_json
from equiscope.testing import assert_fields_equivariant
from equiscope.transformations import find
from hand_made import a_family, a_member

WIDTHS = {"conv2d0": 48, "conv2d1": 96, "mixed3a": 128, "mixed3b": 192}
# Sizes of the families of each layer and the period of their poses.
FAMILIES: dict[str, list[tuple[int, float]]] = {
    "conv2d0": [(8, 360), (8, 360)],
    "conv2d1": [(8, 180), (8, 180), (16, 360)],
    "mixed3a": [(4, 360)] * 8,
    "mixed3b": [(4, 360)] * 4,
}
INVARIANT = {"conv2d0": 16, "conv2d1": 24, "mixed3a": 16, "mixed3b": 8}


def blank(kind: type, **known: Any) -> Any:
    fields = {part.name: math.nan for part in dataclasses.fields(kind) if part.default is dataclasses.MISSING}
    return kind(**fields | known)


def made_family(
    name: str, layer: str, channels: range, period_deg: float, transformation: str = "rotation"
) -> Family:
    n = len(channels)
    (axis,) = find(transformation).axes
    return a_family(
        transformation,
        [
            a_member(layer, channel, **{axis.name: period_deg * index / n})
            for index, channel in enumerate(channels)
        ],
        name=name,
        stabiliser=equal_turns(axis.name, round(360 / period_deg)),
    )


def made_run(
    folder: Path,
    families: dict[str, list[tuple[int, float]]] = FAMILIES,
    invariant: dict[str, int] = INVARIANT,
    transformation: str = "rotation",
    model: str = "mini",
) -> Run:
    """A run of the layers of ``mini`` with families of some sizes and periods, and invariant units."""
    units, found = [], []
    for layer, sizes in families.items():
        kinds: list[tuple[str, str | None]] = []
        for index, (size, period_deg) in enumerate(sizes):
            name = f"{layer}-{transformation}-{index}"
            channels = range(len(kinds), len(kinds) + size)
            found.append(made_family(name, layer, channels, period_deg, transformation))
            kinds += [("equivariant", name)] * size
        kinds += [("invariant", None)] * invariant[layer]
        kinds += [("neither", None)] * (WIDTHS[layer] - len(kinds))
        units += [
            Unit(layer, channel, 0.0, 1.0, (Symmetry(transformation, kind, family),))
            for channel, (kind, family) in enumerate(kinds)
        ]
    settings = {"layers": list(families), "transformations": [transformation, "scale"]}
    return Run(folder, {"model": {"name": model}, "settings": settings}, tuple(units), tuple(found))


def test_shares_and_steps_become_fields_and_groups(tmp_path: Path) -> None:
    design = design_network(made_run(tmp_path))
    assert design.transformation == "rotation"
    first, second, third, fourth, last = design.layers
    # Eight members over 360° are 45° apart, over 180° 22.5° apart, four over 360° 90°: C8, C16, C4 by themselves. C16
    # may not follow C8, and the later layer has more equivariant units, so the first gets the finer group as well.
    assert [layer.step_deg for layer in design.layers[:4]] == pytest.approx([45, 22.5, 90, 90])
    assert [layer.group for layer in design.layers] == ["C16", "C16", "C4", "C4", "C4"]
    # Rotations finer than quarter turns hold only where every ReLU is blurred.
    assert design.description.is_blurred
    assert (first.fields, first.invariant, first.plain) == (1, 16, 16)
    assert (second.fields, second.invariant, second.plain) == (2, 24, 40)
    assert (third.fields, third.invariant, third.plain) == (8, 16, 80)
    assert (fourth.fields, fourth.invariant, fourth.plain) == (4, 8, 168)
    assert (last.is_surveyed, last.fields, last.invariant, last.plain) == (False, 0, 0, 256)
    assert first.equivariant_low < 16 / 48 < first.equivariant_high
    assert math.isnan(last.equivariant_low)
    assert math.isnan(last.step_deg)
    # 16 rotations need more than 3 px, quarter turns do not.
    sides = {layer.name: getattr(layer, "kernel_px", None) for layer in design.description.units}
    assert (sides["conv2d0"], sides["conv2d1"]) == (7, 5)
    assert [side for _, _, side in design.description.layers[4].reduced] == [3, 5]  # type: ignore[union-attr]


def test_a_group_is_that_of_most_equivariant_units(tmp_path: Path) -> None:
    few = FAMILIES | {"conv2d0": [(8, 360)] * 5, "conv2d1": [(8, 180)]}
    groups = [layer.group for layer in design_network(made_run(tmp_path, few)).layers]
    assert groups == ["C8", "C8", "C4", "C4", "C4"]


@pytest.mark.parametrize("plain_to", ["plain", "all"])
def test_a_design_can_be_trained_and_keeps_its_promise(tmp_path: Path, plain_to: str) -> None:
    design = design_network(made_run(tmp_path), plain_to=plain_to)
    description = load_description(tmp_path / "design.json")
    assert description == design.description
    network = DesignedNetwork(description, 100)
    assert sum(p.numel() for p in network.parameters()) == design.free_parameters
    twin = DesignedNetwork(plain_twin(description), 100)
    assert sum(p.numel() for p in twin.parameters()) == design.twin_free_parameters
    assert design.free_parameters < design.twin_free_parameters
    if plain_to == "plain":
        tied = torch.nn.Sequential(*list(network.layers.values())[:6])
        images = torch.randn(1, 3, 57, 57)
        space = description.units[3].fields
        block_spaces = network.layers["mixed3b"].get_submodule("block").out_fields
        assert space.n_channels == block_spaces.n_channels
        assert_fields_equivariant(tied, images, in_fields=Fields("C4", invariant=3), out_fields=block_spaces)
    # At half the width bottlenecks are too narrow for a field each, and still everything is reached.
    for reference in ("half", "plain"):
        narrow = match_budget(description, describe_network(reference), "parameters", 56, 100)
        DesignedNetwork(narrow, 100)


def test_hue_has_turns_of_hue(tmp_path: Path) -> None:
    families = {"conv2d0": [(6, 360)], "conv2d1": [(3, 360)]}
    run = made_run(tmp_path, families, {"conv2d0": 24, "conv2d1": 60}, "hue")
    design = design_network(run)
    assert [layer.group for layer in design.layers[:2]] == ["H6", "H3"]
    assert [layer.fields for layer in design.layers[:2]] == [1, 1]
    DesignedNetwork(design.description, 10)


def test_without_families_all_is_plain(tmp_path: Path) -> None:
    none: dict[str, list[tuple[int, float]]] = {layer: [] for layer in FAMILIES}
    design = design_network(made_run(tmp_path, none, dict.fromkeys(FAMILIES, 0)))
    assert design.free_parameters == design.twin_free_parameters
    assert not design.description.is_antialiased
    DesignedNetwork(design.description, 10)


def test_a_layer_behind_plain_ones_stays_plain(tmp_path: Path) -> None:
    run = made_run(tmp_path, FAMILIES | {"conv2d1": []}, INVARIANT | {"conv2d1": 0})
    design = design_network(run)
    assert [layer.fields for layer in design.layers] == [2, 0, 0, 0, 0]
    free = design_network(run, plain_to="all", out=tmp_path / "all.json")
    assert [layer.fields for layer in free.layers][2:] == [8, 4, 0]
    DesignedNetwork(free.description, 10)


def test_a_block_without_larger_kernels_gets_no_fields_of_invariant_units(tmp_path: Path) -> None:
    """Kernels of 1 px cannot make them, and others it has none."""
    layers = [
        {"name": "conv2d0", "kernel_px": 7, "plain": 48},
        {"name": "mixed3a", "direct": {"plain": 64}, "reduced": [], "pooled": {"plain": 64}},
    ]
    (tmp_path / "own.json").write_text(json.dumps({"name": "own", "layers": layers}))
    run = made_run(tmp_path, FAMILIES | {"conv2d0": []}, INVARIANT | {"conv2d0": 48})
    _, block = design_network(run, like=tmp_path / "own.json").description.units
    assert block.fields.equivariant == 0
    assert block.fields.invariant == 16
    DesignedNetwork(design_network(run, like=tmp_path / "own.json").description, 10)


def test_the_transformation_that_ties_most_is_taken(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    hue = made_run(tmp_path, {"conv2d0": [(3, 360)]}, {"conv2d0": 0}, "hue")
    symmetries = {(unit.layer, unit.channel): unit.symmetries for unit in hue.units}
    units = tuple(
        dataclasses.replace(unit, symmetries=unit.symmetries + symmetries.get((unit.layer, unit.channel), ()))
        for unit in run.units
    )
    settings = run.manifest["settings"] | {"transformations": ["hue", "rotation"]}
    both = Run(tmp_path, run.manifest | {"settings": settings}, units, run.families + hue.families)
    design = design_network(both)
    shares = design.free_share_by_transformation
    assert design.transformation == "rotation"
    assert shares["rotation"] < shares["hue"] < 1
    assert design_network(both, transformation="hue").transformation == "hue"


def test_bad_input_is_told(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    with pytest.raises(EquiscopeError, match="unknown transformation to design for 'rotatoin'"):
        design_network(run, transformation="rotatoin")
    with pytest.raises(EquiscopeError, match="no families of hue: survey with --transformations"):
        design_network(run, transformation="hue")
    with pytest.raises(EquiscopeError, match="architecture of 'resnet18' is not known"):
        design_network(made_run(tmp_path, model="resnet18"))
    with pytest.raises(EquiscopeError, match="unknown value of plain_to"):
        design_network(run, plain_to="nothing")
    (tmp_path / "own.toml").write_text('[[layers]]\nname = "first"\nkernel_px = 3\nplain = 8\n')
    with pytest.raises(EquiscopeError, match=r"no layer of 'own-twin' \(first\) was surveyed"):
        design_network(run, like=tmp_path / "own.toml")


def test_the_command_writes_what_train_takes(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    write_json(tmp_path / "run.json", {"schema_version": 2, "is_complete": True, **run.manifest})
    write_json(tmp_path / "units.json", units_document(run.units))
    write_json(tmp_path / "families.json", families_document(run.families))
    result = CliRunner().invoke(app, ["design", str(tmp_path)])
    assert result.exit_code == 0, result.output
    # Its families were made before there were verdicts: all are taken, and that is said.
    assert "was made before there were verdicts: all of its 17 families are used" in result.stderr
    lines = result.stdout.splitlines()
    assert lines[1].split() == "conv2d0 48 33% 0%-58% 33% 2 45° C16 1 16 16 33% 33%".split()
    assert lines[5].startswith("mixed4a  not surveyed")
    document = json.loads((tmp_path / "design.json").read_text())
    assert document["layers"][4]["step_deg"] is None
    assert document["verdict"] == "any"
    assert design_network(dataclasses.replace(run, verdict="copies")).verdict == "copies"
    assert describe_network(str(tmp_path / "design.json")).units[0].fields == Fields("C16", 1, 16, 16)
