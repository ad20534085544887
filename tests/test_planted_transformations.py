"""The planted families hold under their own transformation, and nothing else in these networks does."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch import Tensor

import equiscope
from equiscope.foundations.errors import EquiscopeError
from equiscope.models.geometry import find_geometry
from equiscope.models.model import Model
from equiscope.testing.planted_transformations import (
    PlantedOrbit,
    PlantedPose,
    PlantedTransformations,
    planted_transformation,
)
from equiscope.transformations.pixels.colour import LUMA, hue_matrix

ALL = ("hue", "hue-rotation", "reflection", "dihedral", "contrast", "scale")
# Largest difference of two responses that should be one, in standard deviations of the response. Rounding of
# float32; sampling of turned kernels; what least squares leaves of the stem's blur.
TOLERANCES = {
    "hue": 1e-5,
    "reflection": 1e-5,
    "contrast": 1e-5,
    "hue-rotation": 2e-3,
    "dihedral": 1e-3,
    "scale": 5e-3,
}
PATCH_PX = {"scale": 41}


@cache
def planted_by_name(transformation: str) -> PlantedTransformations:
    return planted_transformation(transformation, seed=1)


@cache
def in_double(transformation: str) -> Model:
    """Compute with the network's own weights in float64, so that sums do not add their rounding to the differences.

    Slow, for torch has no fast convolution of this type.
    """
    model = planted_by_name(transformation).model
    return replace(model, module=copy.deepcopy(model.module).double())


@dataclass(frozen=True)
class Scenes:
    """Sums of coloured plane waves, which can be turned, mirrored and enlarged without interpolation.

    A position is the complex number z = x - i y about the centre of the patch, so that multiplying by exp(i a) turns
    counter-clockwise on screen; a wave is cos(Re(conj(k) z) + phase).
    """

    k: Tensor  # (scene, wave), complex, radians per px
    phase: Tensor  # (scene, wave)
    colour: Tensor  # (scene, wave, 3)

    def render(self, side_px: int) -> Tensor:
        axis = torch.arange(side_px, dtype=torch.float64) - (side_px - 1) / 2
        y, x = axis[:, None], axis[None, :]
        k = self.k[..., None, None]
        # Re(conj(k) z) with z = x - i y.
        waves = torch.cos(k.real * x - k.imag * y + self.phase[..., None, None])
        return 0.5 + torch.einsum("nwyx,nwc->ncyx", waves, self.colour)


def draw_scenes(n_scenes: int, n_waves: int = 12, seed: int = 0) -> Scenes:
    """Spectra as photographs have: amplitudes of 1/f, more luma than chroma, nothing above 0.3 cycles per px."""
    generator = torch.Generator().manual_seed(seed)
    rand = torch.rand(4, n_scenes, n_waves, generator=generator, dtype=torch.float64)
    frequency = 0.02 * 15 ** rand[0]  # equally many in each octave, which is 1/f
    k = torch.polar(2 * math.pi * frequency, 2 * math.pi * rand[1])
    colour = torch.randn(n_scenes, n_waves, 3, generator=generator, dtype=torch.float64)
    grey = torch.randn(n_scenes, n_waves, 1, generator=generator, dtype=torch.float64)
    return Scenes(k, 2 * math.pi * rand[2], 0.03 * (colour + 1.5 * grey))


def act(element: PlantedPose, scenes: Scenes) -> Scenes:
    """Act by a group element: what does not apply is NaN or False in it."""
    k, colour = scenes.k, scenes.colour
    if element.is_mirrored:
        k = -k.conj()
    if not math.isnan(element.pose_deg):
        k = k * torch.polar(torch.tensor(1.0), torch.tensor(math.radians(element.pose_deg))).to(k)
    if not math.isnan(element.octaves):
        k = k / 2**element.octaves
    if not math.isnan(element.hue_deg):
        colour = colour @ hue_matrix(element.hue_deg).T
    if element.is_inverted:
        colour = colour - 2 * (colour @ torch.tensor(LUMA, dtype=colour.dtype))[..., None]
    return Scenes(k, scenes.phase, colour)


def respond(planted: PlantedTransformations, scenes: Scenes, transformation: str) -> dict[str, Tensor]:
    """For each layer responses at the centre of the scenes, shape (scene, channel), before the ReLU."""
    patches = scenes.render(PATCH_PX.get(transformation, 23))
    if TOLERANCES[transformation] <= 1e-5:
        recorded = in_double(transformation).record(patches, planted.model.default_layers)
    else:
        recorded = planted.model.record(patches.float(), planted.model.default_layers)
    return {
        layer: out[:, :, out.shape[2] // 2, out.shape[3] // 2].double() for layer, out in recorded.items()
    }


def difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / a.std()).item()


def nothing(transformation: str) -> PlantedPose:
    """Build the neutral element, with 0 for the axes that apply."""
    pose = planted_by_name(transformation).orbits[0].members[0]

    def zero(value: float) -> float:
        return value if math.isnan(value) else 0.0

    return PlantedPose("", -1, zero(pose.pose_deg), zero(pose.hue_deg), zero(pose.octaves))


def elements(transformation: str) -> list[PlantedPose]:
    """Sample the group, the neutral element first."""
    e = nothing(transformation)
    if transformation == "hue":
        return [replace(e, hue_deg=20.0 * step) for step in range(18)]
    if transformation == "hue-rotation":
        return [replace(e, hue_deg=30.0 * i, pose_deg=30.0 * j) for i in range(12) for j in range(12)]
    if transformation == "reflection":
        return [e, replace(e, is_mirrored=True)]
    if transformation == "dihedral":
        turns = [replace(e, pose_deg=15.0 * step) for step in range(24)]
        return turns + [replace(turn, is_mirrored=True) for turn in turns]
    if transformation == "contrast":
        return [e, replace(e, is_inverted=True)]
    return [replace(e, octaves=octaves) for octaves in (0.0, 0.25, 0.5, 1.0, 1.5)]


def miss(transformation: str, pose: PlantedPose) -> list[PlantedPose]:
    """Make poses that are slightly wrong along each axis that applies, or wrong by a flip."""
    wrong = {
        "hue": [replace(pose, hue_deg=pose.hue_deg + 3)],
        "hue-rotation": [replace(pose, hue_deg=pose.hue_deg + 3), replace(pose, pose_deg=pose.pose_deg + 3)],
        "reflection": [replace(pose, is_mirrored=not pose.is_mirrored)],
        "dihedral": [replace(pose, pose_deg=pose.pose_deg + 3)],
        "contrast": [replace(pose, is_inverted=not pose.is_inverted)],
        "scale": [replace(pose, octaves=pose.octaves + 0.05)],
    }
    return wrong[transformation]


@pytest.mark.parametrize("transformation", ALL)
def test_members_answer_alike_to_the_scenes_that_their_poses_make(transformation: str):
    """v(g·x) = u(x) for all members at once: each, shown the base's scenes acted upon by its own pose."""
    planted, scenes = planted_by_name(transformation), draw_scenes(60)
    for orbit in planted.orbits:
        assert orbit.transformation == transformation
        shown = {
            m: respond(planted, act(m, scenes), transformation)[m.layer][:, m.channel] for m in orbit.members
        }
        first = shown[orbit.members[0]]
        for member, response in shown.items():
            error = difference(first, response)
            assert error < TOLERANCES[transformation], (orbit.name, member, error)
        last = orbit.members[-1]
        for wrong in miss(transformation, last):
            response = respond(planted, act(wrong, scenes), transformation)[last.layer][:, last.channel]
            assert difference(first, response) > 5 * TOLERANCES[transformation], (orbit.name, wrong)


@pytest.mark.parametrize("transformation", ALL)
def test_stabilisers_are_what_the_truth_says(transformation: str):
    planted, scenes = planted_by_name(transformation), draw_scenes(40, seed=1)

    def is_stabiliser(orbit: PlantedOrbit, g: PlantedPose, base: PlantedPose) -> bool:
        if g == nothing(transformation):
            return True
        if orbit.stabiliser == "{(0°, 0°), (180°, 180°)}":
            return (g.hue_deg, g.pose_deg) == (180, 180)
        if orbit.stabiliser == "{(0°, plain), (0°, mirrored)}":
            # Of a member at pose r: r m r⁻¹, which is first the mirror and then a turn by twice the pose.
            return g.is_mirrored and (g.pose_deg - 2 * base.pose_deg) % 360 == 0
        assert orbit.stabiliser in ("{0°}", "{(0°, 0°)}", "{plain}", "{(0°, plain)}", "{0 octaves}")
        return False

    group = elements(transformation)
    if transformation == "dihedral":
        twice_deg = [2.0 * m.pose_deg % 360 for m in planted.orbits[1].members]
        group = group + [replace(nothing("dihedral"), pose_deg=a, is_mirrored=True) for a in twice_deg]
    n_stabilisers = 0
    responses = [respond(planted, act(g, scenes), transformation) for g in group]
    for orbit in planted.orbits:
        member = orbit.members[0]
        for g, response in zip(group, responses, strict=True):
            answers = [r[member.layer][:, member.channel] for r in (responses[0], response)]
            error = difference(*answers)
            if is_stabiliser(orbit, g, member):
                n_stabilisers += g != nothing(transformation)
                assert error < TOLERANCES[transformation], (orbit.name, g, error)
            else:
                assert error > 0.3, (orbit.name, g, error)
    assert (n_stabilisers > 0) is (transformation in ("hue-rotation", "dihedral"))


@pytest.mark.parametrize("transformation", ALL)
def test_invariant_units_are_left_as_they_are_and_no_others(transformation: str):
    planted, scenes = planted_by_name(transformation), draw_scenes(40, seed=2)
    before = respond(planted, scenes, transformation)
    after = [respond(planted, act(g, scenes), transformation) for g in elements(transformation)[1:]]
    for layer, answers in before.items():
        for channel, kind in enumerate(planted.kinds[layer]):
            error = max(difference(answers[:, channel], a[layer][:, channel]) for a in after)
            if channel in planted.invariant[layer]:
                assert error < TOLERANCES[transformation], (kind, error)
            else:
                assert error > 0.3, (kind, error)


@pytest.mark.parametrize("transformation", ALL)
def test_no_other_units_are_transformed_copies(transformation: str):
    """Correlate the responses of any two units that are no family, at every sampled element."""
    planted, scenes = planted_by_name(transformation), draw_scenes(150, seed=3)
    channels = [
        (layer, c) for layer in planted.model.default_layers for c in range(len(planted.kinds[layer]))
    ]
    kinds = [planted.kinds[layer][channel] for layer, channel in channels]
    family = {(m.layer, m.channel): orbit.name for orbit in planted.orbits for m in orbit.members}

    def read(element: PlantedPose) -> Tensor:
        answers = respond(planted, act(element, scenes), transformation)
        z = torch.cat([answers[layer] for layer in planted.model.default_layers], dim=1)
        z = z - z.mean(0)
        return z / z.norm(dim=0)

    upright = read(nothing(transformation))
    height = torch.stack([read(g).T @ upright for g in elements(transformation)]).amax(0)
    height = torch.maximum(height, height.T)
    n_checked = 0
    for i, u in enumerate(channels):
        for j, v in enumerate(channels[:i]):
            if u in family and family.get(u) == family.get(v):
                continue
            # Copies of each other under one factor of the group alone; with a stabiliser of infinite order they
            # are no family of the product, and the next test says what they are.
            if transformation == "hue-rotation" and kinds[i].split(",")[0] == kinds[j].split(",")[0]:
                continue
            n_checked += 1
            assert height[i, j] < 0.95, (kinds[i], kinds[j], height[i, j].item())
    assert n_checked > 90


def test_units_with_one_factor_of_the_product_are_known():
    planted = planted_by_name("hue-rotation")
    scenes, e = draw_scenes(40, seed=4), nothing("hue-rotation")
    before, hue, turned = (
        respond(planted, act(g, scenes), "hue-rotation")["planted"]
        for g in (e, replace(e, hue_deg=75.0), replace(e, pose_deg=75.0))
    )
    kinds = planted.kinds["planted"]
    spots = [c for c, kind in enumerate(kinds) if "hue-equivariant, rotation-invariant" in kind]
    edges = [c for c, kind in enumerate(kinds) if "hue-invariant, rotation-equivariant" in kind]
    assert len(spots) == len(edges) == 3
    assert {*spots, *edges} <= set(planted.other["planted"]) - set(planted.invariant["planted"])
    for channel in spots:
        assert difference(before[:, channel], turned[:, channel]) < 1e-2
        assert difference(before[:, channel], hue[:, channel]) > 0.5
    for channel in edges:
        assert difference(before[:, channel], hue[:, channel]) < 1e-4
        assert difference(before[:, channel], turned[:, channel]) > 0.5


@cache
def photographs() -> list[Tensor]:
    """Parts of the embedded photographs, (3, y, x), RGB in [0, 1], none of them square, most in colour."""
    images = equiscope.open_images()
    names = [
        f"{name}@256" for name in ("astronaut.png", "chelsea.png", "coffee.png", "china.jpg", "flower.jpg")
    ]
    names += ["camera.png@256", "grass.png@256"]
    loaded = [images.load(images.names.index(name)) for name in names]
    assert all(image is not None for image in loaded)
    parts = [image[:, 10:150, 20:236] for image in loaded]
    return [part.float() / 255 if part.dtype == torch.uint8 else part for part in parts]


def exact_cases() -> dict[str, Callable[[PlantedPose, PlantedPose], tuple[Callable, Callable] | None]]:
    """For each transformation how a pair changes an image and a map of responses; None if not by moving pixels."""

    def same(x: Tensor) -> Tensor:
        return x

    def hue(u: PlantedPose, v: PlantedPose):
        matrix = hue_matrix(v.hue_deg - u.hue_deg)
        return (lambda x: torch.einsum("ij,jyx->iyx", matrix, x)), same

    def quarter(angle_deg: float):
        return (lambda x: torch.rot90(x, round(angle_deg / 90), (-2, -1))) if angle_deg % 90 == 0 else None

    def hue_rotation(u: PlantedPose, v: PlantedPose):
        turn = quarter(v.pose_deg - u.pose_deg)
        recolour, _ = hue(u, v)
        return turn and ((lambda x: turn(recolour(x))), turn)

    def reflection(u: PlantedPose, v: PlantedPose):
        flip = same if u.is_mirrored == v.is_mirrored else (lambda x: x.flip(-1))
        return flip, flip

    def dihedral(u: PlantedPose, v: PlantedPose):
        # r_v m^b (r_u m^a)⁻¹, where m r_u⁻¹ = r_u m.
        turn = quarter(v.pose_deg - u.pose_deg if u.is_mirrored == v.is_mirrored else v.pose_deg + u.pose_deg)
        flip, _ = reflection(u, v)
        return turn and ((lambda x: turn(flip(x))), (lambda x: turn(flip(x))))

    def contrast(u: PlantedPose, v: PlantedPose):
        def invert(x: Tensor) -> Tensor:
            return x + (1 - 2 * sum(weight * x[i] for i, weight in enumerate(LUMA)))

        return (same if u.is_inverted == v.is_inverted else invert), same

    return {
        "hue": hue,
        "hue-rotation": hue_rotation,
        "reflection": reflection,
        "dihedral": dihedral,
        "contrast": contrast,
    }


@pytest.mark.parametrize(
    ("transformation", "n_pairs"),
    [("hue", 74), ("hue-rotation", 12), ("reflection", 10), ("dihedral", 12), ("contrast", 14)],
)
def test_pairs_are_exact_on_photographs(transformation: str, n_pairs: int):
    """Pixels of a photograph that is not square are moved or recoloured, and the map of responses moves along."""
    planted, model = planted_by_name(transformation), in_double(transformation)
    image = photographs()[2][:, :40, :53].double()
    n_seen = 0

    def respond_to(x: Tensor, channel: int) -> Tensor:
        return model.record(x[None], ["planted"])["planted"][0, channel]

    maps = model.record(image[None], ["planted"])["planted"][0]
    for orbit in planted.orbits:
        for u in orbit.members:
            for v in orbit.members:
                case = None if u == v else exact_cases()[transformation](u, v)
                if case is None:
                    continue
                change_image, change_map = case
                error = difference(change_map(maps[u.channel]), respond_to(change_image(image), v.channel))
                assert error < 1e-5, (orbit.name, u, v, error)
                n_seen += 1
    assert n_seen == n_pairs


@pytest.mark.parametrize("transformation", ALL)
def test_units_are_selective_on_photographs(transformation: str):
    planted = planted_by_name(transformation)
    for layer in planted.model.default_layers:
        shares = torch.stack(
            [
                (planted.model.record(image[None], [layer])[layer] > 0).double().mean((0, 2, 3))
                for image in photographs()
            ]
        ).mean(0)
        for kind, share in zip(planted.kinds[layer], shares.tolist(), strict=True):
            assert 0.01 < share < 0.15, (kind, share)


@pytest.mark.parametrize("transformation", ALL)
def test_grey_gives_nothing_but_the_bias(transformation: str):
    model = planted_by_name(transformation).model
    for layer in model.default_layers:
        bias = model.module.get_submodule(layer).bias
        for level in (0.0, 0.8):
            out = model.record(torch.full((1, 3, 41, 43), level), [layer])[layer]
            assert (out - bias[:, None, None]).abs().max() < 1e-5
        assert (bias < 0).all()


@pytest.mark.parametrize("transformation", ALL)
def test_channels_are_a_partition_shuffled_by_the_seed(transformation: str):
    one, two = planted_by_name(transformation), planted_transformation(transformation, seed=2)
    for planted in (one, two):
        for layer in planted.model.default_layers:
            n_channels = planted.model.module.get_submodule(layer).out_channels
            placed = [m.channel for orbit in planted.orbits for m in orbit.members if m.layer == layer]
            assert sorted([*placed, *planted.other[layer]]) == list(range(n_channels))
            assert set(planted.invariant[layer]) <= set(planted.other[layer])
            assert len(planted.kinds[layer]) == n_channels
            for orbit in planted.orbits:
                biases = {
                    planted.model.module.get_submodule(m.layer).bias[m.channel].item() for m in orbit.members
                }
                assert len(biases) == 1
    assert one.orbits != two.orbits
    assert [sorted(kinds) for kinds in one.kinds.values()] == [sorted(kinds) for kinds in two.kinds.values()]
    state = torch.get_rng_state()
    again = planted_transformation(transformation, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert (again.orbits, again.other, again.invariant, again.kinds) == (
        one.orbits,
        one.other,
        one.invariant,
        one.kinds,
    )
    assert again.model.weights_sha256() == one.model.weights_sha256() != two.model.weights_sha256()


def test_poses_are_irregular():
    small, large, edges = planted_by_name("hue").orbits
    hues = sorted(m.hue_deg for m in small.members)
    gaps = [b - a for a, b in zip(hues, [*hues[1:], hues[0] + 360], strict=True)]
    assert (len(hues), min(gaps), max(gaps)) == (7, 0, 115)
    assert (len(large.members), len(edges.members)) == (5, 4)
    product, curves = planted_by_name("hue-rotation").orbits
    assert (len(product.members), len(curves.members)) == (10, 7)
    half_turned = {((m.hue_deg + 180) % 360, (m.pose_deg + 180) % 360) for m in product.members}
    assert sum((m.hue_deg, m.pose_deg) in half_turned for m in product.members) == 2
    spirals, curves = planted_by_name("dihedral").orbits
    assert sorted(m.is_mirrored for m in spirals.members) == [False] * 5 + [True] * 4
    assert not any(m.is_mirrored for m in curves.members)
    assert all(
        len(orbit.members) == 2
        for name in ("reflection", "contrast")
        for orbit in planted_by_name(name).orbits
    )


def test_odd_kernels_inverted_are_turned_by_half_a_circle():
    planted = planted_by_name("contrast")
    weight = planted.model.module.planted.weight
    for orbit in planted.orbits:
        plain, inverted = (weight[m.channel] for m in orbit.members)
        torch.testing.assert_close(plain, -inverted)
        is_turned = torch.allclose(torch.rot90(plain, 2, (-2, -1)), inverted, atol=1e-6)
        assert is_turned is ("odd:" in orbit.name)


def test_both_layers_of_scale_look_at_the_same_pixel():
    planted = planted_by_name("scale")
    geometry = find_geometry(planted.model, ["early", "late"])
    early, late = geometry["early"], geometry["late"]
    assert (early.stride_px, early.receptive_field_px, early.centre_px) == ((1, 1), (19, 19), (9, 9))
    assert (late.stride_px, late.receptive_field_px, late.centre_px) == ((2, 2), (41, 41), (20, 20))
    assert late.patch_px == 41
    assert {m.layer for m in planted.orbits[0].members} == {"early", "late"}
    assert [m.octaves for m in planted.orbits[0].members] == [0.0, 0.5, 1.0, 1.5]
    for member in (m for orbit in planted.orbits for m in orbit.members):
        assert (member.octaves >= 1) is (member.layer == "late")


def test_an_unknown_transformation_is_named():
    with pytest.raises(EquiscopeError, match="did you mean 'reflection'"):
        planted_transformation("reflexion")
