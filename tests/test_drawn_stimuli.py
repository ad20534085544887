"""Synthetic stimuli: drawn where, as and in the colours that their parameters say, at every angle."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import ndimage
from torch import Tensor

from equiscope.foundations.errors import EquiscopeError
from equiscope.stimuli.drawn import MAX_CHROMA_STRENGTH, SyntheticStimulus, catalogue, kinds, render
from equiscope.transformations.pixels.colour import LUMA

# One stimulus a kind, of sizes that a picture of 41 px shows whole.
PARAMETERS: dict[str, dict[str, float]] = {
    "grating": {"wavelength_px": 9, "phase_deg": 0, "contrast": 0.8},
    "gabor": {"wavelength_px": 9, "envelope_px": 5, "phase_deg": 90, "contrast": 0.8},
    "line": {"width_px": 3, "length_px": 21, "polarity": 1, "contrast": 0.8},
    "edge": {"softness_px": 0.5, "contrast": 0.8},
    "curve": {"radius_px": 9, "width_px": 2.5, "arc_length_px": 18, "polarity": 1, "contrast": 0.8},
    "corner": {"angle_between_deg": 45, "polarity": 1, "contrast": 0.8},
    "bent_line": {"angle_between_deg": 45, "width_px": 3, "polarity": 1, "contrast": 0.8},
    "circle": {"radius_px": 9, "width_px": 3, "polarity": -1, "contrast": 0.8},
    "disc": {"radius_px": 7, "polarity": 1, "contrast": 0.8},
    "spiral": {
        "spacing_px": 7,
        "width_px": 3.5,
        "outer_radius_px": 16,
        "handedness": 1,
        "polarity": 1,
        "contrast": 0.8,
    },
    "cross": {"width_px": 3, "length_px": 21, "polarity": 1, "contrast": 0.8},
    "t_junction": {"width_px": 3, "polarity": 1, "contrast": 0.8},
    "high_low_frequency": {
        "wavelength_px": 4,
        "low_wavelength_px": 12,
        "softness_px": 2,
        "seed": 1,
        "contrast": 1,
    },
    "hair": {"wavelength_px": 5, "seed": 0, "contrast": 1},
    "diverging_lines": {"wavelength_px": 6, "origin_distance_px": 20, "polarity": 1, "contrast": 0.8},
    "brightness_gradient": {"extent_px": 31, "contrast": 0.8},
    "colour_contrast": {"hue_deg": 45, "softness_px": 0.5, "chroma_strength": 0.4},
    "colour_centre_surround": {"hue_deg": 45, "radius_px": 7, "chroma_strength": 0.4},
    "black_white_centre": {"hue_deg": 200, "radius_px": 7, "polarity": 1, "chroma_strength": 0.4},
}
PERIODS_DEG = {
    **dict.fromkeys(PARAMETERS, 360.0),
    **dict.fromkeys(("grating", "line", "hair"), 180.0),
    "cross": 90.0,
    **dict.fromkeys(("circle", "disc", "colour_centre_surround", "black_white_centre"), 0.0),
}
TURNING = [kind for kind, period_deg in PERIODS_DEG.items() if period_deg > 0]
COLOURED = [kind for kind, parameters in PARAMETERS.items() if "hue_deg" in parameters]
FIELDS_PX = (7, 15, 51, 91, 171)
SIZE_PX = 41


def make(kind: str, **changed: float) -> SyntheticStimulus:
    return SyntheticStimulus(kind, tuple({**PARAMETERS[kind], **changed}.items()))


def draw(kind: str, angle_deg: float = 0.0, size_px: int = SIZE_PX, **changed: float) -> Tensor:
    return render(make(kind, **changed), size_px, [angle_deg])[0]


def luma(picture: Tensor) -> Tensor:
    return torch.einsum("c,...cyx->...yx", torch.tensor(LUMA, dtype=torch.float64), picture.double())


def places(size_px: int = SIZE_PX) -> tuple[Tensor, Tensor]:
    """x to the right and y upwards from the centre, px."""
    steps = torch.arange(size_px, dtype=torch.float64) - (size_px - 1) / 2
    y, x = torch.meshgrid(-steps, steps, indexing="ij")
    return x, y


def direction_of_light_deg(picture: Tensor) -> float:
    """Direction from the centre to the centre of what is lighter than the top left corner would have it."""
    x, y = places(picture.shape[-1])
    weights = luma(picture) - luma(picture).min()
    # Within a circle, or the corners of the square would draw the centre of mass towards themselves.
    weights = weights * (torch.hypot(x, y) < picture.shape[-1] / 2)
    return math.degrees(math.atan2((weights * y).sum().item(), (weights * x).sum().item())) % 360


# --- at every angle ----------------------------------------------------------------------------------------


def test_every_kind_is_here() -> None:
    assert tuple(PARAMETERS) == kinds()


@pytest.mark.parametrize("kind", PARAMETERS)
@pytest.mark.parametrize("size_px", [1, 40, 41])
def test_pictures_are_rgb_in_range(kind: str, size_px: int) -> None:
    pictures = render(make(kind), size_px, [0.0, 33.0, -400.0])
    assert pictures.shape == (3, 3, size_px, size_px)
    assert pictures.dtype == torch.float32
    assert 0 <= pictures.min() <= pictures.max() <= 1


def test_no_angles_give_no_pictures() -> None:
    assert render(make("line"), 5, []).shape == (0, 3, 5, 5)


@pytest.mark.parametrize("kind", PARAMETERS)
@pytest.mark.parametrize("size_px", [40, 41])
def test_quarter_turns_are_rot90_bit_for_bit(kind: str, size_px: int) -> None:
    for start_deg in (0.0, 22.5):
        upright, *turned = render(make(kind), size_px, [start_deg + 90.0 * k for k in (0, 1, 2, 3, -1, 4)])
        for k, picture in zip((1, 2, 3, -1, 4), turned, strict=True):
            assert torch.equal(picture, torch.rot90(upright, k, (1, 2))), (start_deg, k)


@pytest.mark.parametrize("kind", TURNING)
def test_turns_rigidly_and_counter_clockwise(kind: str) -> None:
    """Against scipy, which turns pixels: smooth pictures and the middle alone, where interpolation is good."""
    angle_deg = 20.0

    def smooth(picture: Tensor) -> Tensor:
        return torch.from_numpy(ndimage.gaussian_filter(picture.double().numpy(), (0, 1, 1)))

    upright = smooth(draw(kind, size_px=61))
    # scipy's own direction is counter-clockwise too, as its quarter turn shows.
    quarter = torch.from_numpy(ndimage.rotate(upright.numpy(), 90.0, axes=(1, 2), reshape=False))
    assert torch.allclose(quarter, torch.rot90(upright, 1, (1, 2)), rtol=0, atol=1e-9)
    expected = torch.from_numpy(
        ndimage.rotate(upright.numpy(), angle_deg, axes=(1, 2), reshape=False, order=5)
    )
    middle = (slice(None), slice(15, -15), slice(15, -15))
    right = (smooth(draw(kind, angle_deg, 61)) - expected)[middle].abs().max()
    wrong = (smooth(draw(kind, -angle_deg, 61)) - expected)[middle].abs().max()
    assert right < 0.005
    assert wrong > 0.1


@pytest.mark.parametrize("kind", PARAMETERS)
def test_period_is_the_smallest_rotation_that_repeats(kind: str) -> None:
    stimulus = make(kind)
    period_deg = stimulus.period_deg
    assert period_deg == PERIODS_DEG[kind]
    upright = draw(kind, 10.0)
    if period_deg == 0:
        for angle_deg in (23.0, 90.0, 171.0):
            assert torch.allclose(draw(kind, angle_deg), upright, rtol=0, atol=1e-6)
        return
    for n_periods in (1, -2):
        assert torch.allclose(draw(kind, 10.0 + n_periods * period_deg), upright, rtol=0, atol=1e-6)
    for part in (2, 3, 4, 5, 6, 8):
        assert (draw(kind, 10.0 + period_deg / part) - upright).abs().max() > 0.1, part


@pytest.mark.parametrize("kind", ["grating", "gabor"])
@pytest.mark.parametrize(
    ("phase_deg", "period_deg"), [(0, 180), (90, 360), (180, 180), (270, 360), (30, 360)]
)
def test_period_of_waves_depends_on_their_phase(kind: str, phase_deg: float, period_deg: float) -> None:
    assert make(kind, phase_deg=phase_deg).period_deg == period_deg
    difference = draw(kind, 180.0, phase_deg=phase_deg) - draw(kind, phase_deg=phase_deg)
    assert (difference.abs().max() < 1e-6) == (period_deg == 180)


@pytest.mark.parametrize("angle_deg", [0.0, 37.0, 90.0, 200.0])
@pytest.mark.parametrize("kind", ["edge", "curve", "corner", "bent_line", "brightness_gradient"])
def test_light_lies_above_and_turns_counter_clockwise(kind: str, angle_deg: float) -> None:
    found_deg = direction_of_light_deg(draw(kind, angle_deg))
    assert (found_deg - (90 + angle_deg) + 180) % 360 - 180 == pytest.approx(0, abs=0.5)


def test_poses_at_0_degrees() -> None:
    half = SIZE_PX // 2
    # Horizontal: the row of the centre is light, its column dark but for the line itself.
    line = luma(draw("line"))
    assert line[half, half + 9] > 0.8
    assert line[half + 9, half] < 0.2
    # The arc lies on its circle, whose centre is above.
    curve = luma(draw("curve"))
    assert curve[half, half] > 0.8
    assert curve[half - 9, half] < 0.2
    assert curve[half - 3, half + 7] > 0.6
    # The junction's stroke leads downwards.
    junction = luma(draw("t_junction"))
    assert junction[half + 15, half] > 0.8
    assert junction[half - 15, half] < 0.2
    # The fine texture is above: it changes more from row to row.
    texture = luma(draw("high_low_frequency"))
    assert texture[:half].diff(dim=0).std() > 2 * texture[half + 1 :].diff(dim=0).std()
    # Lines are closest together at their origin, below.
    lines = luma(draw("diverging_lines")) > 0.5
    changes = (lines[:, 1:] != lines[:, :-1]).sum(1)
    assert changes[3] < changes[half] < changes[half + 8]
    # Light above the centre at phase 90°.
    assert luma(draw("gabor"))[half - 2, half] > 0.7


@pytest.mark.parametrize("handedness", [1, -1])
def test_spirals_wind_as_they_say(handedness: int) -> None:
    x, y = places()
    share = (luma(draw("spiral", handedness=handedness)) - 0.1) / 0.8
    along = torch.remainder(handedness * torch.atan2(y, x), 2 * math.pi)
    # First turn, from half a spacing at 180° on: after a quarter turn more, 3/4 of a spacing.
    for turned, radius_px in ((1.5 * math.pi, 0.75 * 7), (1.9 * math.pi, 0.95 * 7)):
        is_near = (along - turned).abs() < 0.15
        on_stroke = is_near & ((torch.hypot(x, y) - radius_px).abs() < 0.8)
        between = is_near & ((torch.hypot(x, y) - radius_px - 3.5).abs() < 0.5)
        assert share[on_stroke].min() > 0.8
        assert share[between].max() < 0.2
    assert torch.allclose(
        draw("spiral", handedness=-1), draw("spiral", handedness=1).flip(1), rtol=0, atol=1e-6
    )


# --- sizes, luma and edges ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "area_px"),
    [
        ("line", 3 * 21),
        ("curve", 2.5 * 18),
        ("circle", 2 * math.pi * 9 * 3),
        ("disc", math.pi * 7**2),
        ("cross", 2 * 3 * 21 - 3**2),
        ("t_junction", 3 * 41 + 3 * 19),
        ("corner", 20.5**2 * math.tan(math.radians(22.5))),
        ("bent_line", 3 * 2 * (20.5 / math.cos(math.radians(22.5)))),
        ("spiral", 3.5 * (16**2 - 3.5**2) / 2 / (7 / 2 / math.pi)),
    ],
)
def test_figures_have_the_area_that_they_say(kind: str, area_px: float) -> None:
    """The mean luma of figures, as documented."""
    for polarity in (1, -1):
        for contrast in (0.8, 0.3):
            mean = luma(draw(kind, polarity=polarity, contrast=contrast)).mean().item()
            share = (mean - 0.5) / (polarity * contrast) + 0.5
            # The strokes of a bent line leave at the border askew, and a spiral's tips are cut across the stroke.
            tolerance = 0.01 if kind in ("bent_line", "spiral") else 0.002
            assert share * SIZE_PX**2 == pytest.approx(area_px, rel=tolerance)


@pytest.mark.parametrize("angle_deg", [0.0, 28.0])
def test_mean_luma_is_half_where_half_a_turn_inverts(angle_deg: float) -> None:
    for kind in ("edge", "brightness_gradient", *COLOURED):
        assert luma(draw(kind, angle_deg)).mean().item() == pytest.approx(0.5, abs=1e-6)
    for kind in ("grating", "gabor"):
        for phase_deg in (90, 270):
            mean = luma(draw(kind, angle_deg, phase_deg=phase_deg)).mean().item()
            assert mean == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("kind", [k for k in PARAMETERS if "polarity" in PARAMETERS[k] and k not in COLOURED])
def test_polarity_mirrors_luma(kind: str) -> None:
    light, dark = (draw(kind, 12.0, polarity=sign) for sign in (1, -1))
    assert torch.allclose(light + dark, torch.ones(()), rtol=0, atol=1e-6)
    assert (light - dark).abs().max() > 0.5


@pytest.mark.parametrize("contrast", [0.2, 1.0])
def test_contrast_is_the_range_of_luma(contrast: float) -> None:
    for kind in ("disc", "edge", "line", "cross", "corner"):
        picture = luma(draw(kind, contrast=contrast))
        assert picture.min().item() == pytest.approx((1 - contrast) / 2, abs=0.004)
        assert picture.max().item() == pytest.approx((1 + contrast) / 2, abs=0.004)


@pytest.mark.parametrize(
    ("kind", "changed", "bound"),
    [
        ("line", {}, 0.0005),
        ("corner", {}, 0.0005),
        ("corner", {"angle_between_deg": 135}, 0.0005),
        ("bent_line", {}, 0.0005),
        ("bent_line", {"angle_between_deg": 90, "width_px": 1}, 0.0005),
        ("cross", {}, 0.0005),
        ("t_junction", {"width_px": 1.5}, 0.0005),
        ("brightness_gradient", {"extent_px": 9}, 0.0005),
        ("disc", {"radius_px": 1}, 0.0005),
        ("disc", {"radius_px": 9}, 0.0005),
        ("circle", {"radius_px": 2, "width_px": 1}, 0.0005),
        ("circle", {}, 0.0005),
        ("curve", {"radius_px": 2, "width_px": 1, "arc_length_px": 4.2}, 0.02),
        ("curve", {}, 0.02),
        ("spiral", {}, 0.04),
        ("spiral", {"spacing_px": 5, "width_px": 2.5, "outer_radius_px": 12}, 0.04),
    ],
)
def test_edges_are_what_a_gaussian_aperture_sees(kind: str, changed: dict[str, float], bound: float) -> None:
    """Against a picture drawn 15 times as large, blurred by the aperture and sampled."""
    n_samples, size_px, angle_deg = 15, 31, 23.0
    stimulus = make(kind, **changed, contrast=1)
    enlarged = SyntheticStimulus(
        kind,
        tuple(
            (name, value * (n_samples if name.endswith("_px") else 1)) for name, value in stimulus.parameters
        ),
    )
    fine = render(enlarged, size_px * n_samples, [angle_deg])[0, 0].double().numpy()
    # The large picture has an aperture of half a sample already.
    blurred = ndimage.gaussian_filter(fine, math.sqrt((n_samples * 0.5) ** 2 - 0.5**2), truncate=5)
    sampled = torch.from_numpy(blurred[n_samples // 2 :: n_samples, n_samples // 2 :: n_samples])
    error = (render(stimulus, size_px, [angle_deg])[0, 0] - sampled)[3:-3, 3:-3].abs().max()
    assert error < bound


# --- colours -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", COLOURED)
@pytest.mark.parametrize("hue_deg", range(0, 360, 15))
def test_coloured_pictures_have_one_luma(kind: str, hue_deg: int) -> None:
    picture = draw(kind, 30.0, hue_deg=hue_deg, chroma_strength=MAX_CHROMA_STRENGTH)
    assert 0 <= picture.min() <= picture.max() <= 1
    assert (luma(picture) - 0.5).abs().max() < 1e-6
    assert (picture.amax(0) - picture.amin(0)).max() > 0.3


def test_largest_chroma_is_the_largest() -> None:
    """Some hue reaches the end of its range, within a quarter of a degree."""
    extremes = [
        draw("colour_contrast", size_px=9, hue_deg=hue / 2, chroma_strength=MAX_CHROMA_STRENGTH).max().item()
        for hue in range(720)
    ]
    assert max(extremes) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("kind", COLOURED)
def test_hue_shift_turns_the_hue(kind: str) -> None:
    stimulus = make(kind)
    shifted = {
        shift: render(stimulus, 31, [17.0], hue_shift_deg=shift) for shift in (0.0, 360.0, -720.0, 40.0)
    }
    assert torch.equal(shifted[0.0], shifted[360.0])
    assert torch.equal(shifted[0.0], shifted[-720.0])
    expected = render(make(kind, hue_deg=stimulus.hue_deg + 40), 31, [17.0])
    assert torch.allclose(shifted[40.0], expected, rtol=0, atol=1e-6)
    assert (shifted[40.0] - shifted[0.0]).abs().max() > 0.1


def test_hue_shift_leaves_grey_as_it_is() -> None:
    stimulus = make("curve")
    assert math.isnan(stimulus.hue_deg)
    assert torch.equal(render(stimulus, 9, [5.0], hue_shift_deg=77.0), render(stimulus, 9, [5.0]))


def test_opposite_hue_is_half_a_turn_of_colour_contrast() -> None:
    stimulus = make("colour_contrast")
    opposite = render(stimulus, 40, [25.0], hue_shift_deg=180.0)
    assert torch.allclose(opposite, render(stimulus, 40, [205.0]), rtol=0, atol=1e-6)
    assert (opposite - render(stimulus, 40, [25.0])).abs().max() > 0.3


def test_hues_are_where_they_are_said_to_be() -> None:
    half = SIZE_PX // 2
    for hue_deg, channel in ((0, 0), (120, 1), (240, 2)):
        above = draw("colour_contrast", hue_deg=hue_deg)[:, 2, half]
        below = draw("colour_contrast", hue_deg=hue_deg)[:, -3, half]
        centre = draw("colour_centre_surround", hue_deg=hue_deg)[:, half, half]
        assert above.argmax() == centre.argmax() == below.argmin() == channel
        grey_inside = draw("black_white_centre", hue_deg=hue_deg)
        grey_outside = draw("black_white_centre", hue_deg=hue_deg, polarity=-1)
        assert torch.allclose(grey_inside[:, half, half], torch.tensor(0.5), rtol=0, atol=1e-6)
        assert torch.allclose(grey_outside[:, 0, 0], torch.tensor(0.5), rtol=0, atol=1e-6)
        assert grey_inside[:, 0, 0].argmax() == grey_outside[:, half, half].argmax() == channel


# --- the catalogue -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("field_px", FIELDS_PX)
def test_catalogue_has_no_near_duplicates(field_px: int) -> None:
    stimuli = catalogue(field_px)
    assert len(stimuli) <= 260
    assert len(stimuli) >= (80 if field_px < 15 else 120)
    assert len({stimulus.label for stimulus in stimuli}) == len(stimuli) == len(set(stimuli))
    if field_px >= 51:
        assert {stimulus.kind for stimulus in stimuli} == set(kinds())
    # Larger pictures than 91 px would take long and show nothing new: sizes scale.
    pictures = torch.stack([render(stimulus, min(field_px, 91), [0.0])[0] for stimulus in stimuli]).flatten(1)
    assert 0 <= pictures.min() <= pictures.max() <= 1
    apart = torch.cdist(pictures, pictures, p=math.inf).fill_diagonal_(1.0)
    nearest = int(apart.argmin())
    pair = [stimuli[index].label for index in divmod(nearest, len(stimuli))]
    assert apart.min() > 0.1, pair


@pytest.mark.parametrize("field_px", FIELDS_PX)
def test_sizes_suit_the_receptive_field(field_px: int) -> None:
    # A little more than the limits, because sizes are rounded to three digits.
    for stimulus in catalogue(field_px):
        for name, value in stimulus.parameters:
            if name in ("width_px", "radius_px"):
                assert 1 <= value <= 0.81 * field_px, stimulus.label
            if name == "wavelength_px":
                assert 3 <= value <= 0.71 * field_px, stimulus.label
            if name == "outer_radius_px":
                assert value <= field_px / 2


def test_small_fields_get_what_can_be_resolved() -> None:
    sizes = [len(catalogue(field_px)) for field_px in (3, 7, 15, 51)]
    assert sizes == sorted(sizes)
    assert "spiral" not in {stimulus.kind for stimulus in catalogue(7)}


def test_catalogue_takes_hues() -> None:
    hues = {stimulus.hue_deg for stimulus in catalogue(51) if stimulus.kind in COLOURED}
    assert hues == {45.0 * k for k in range(8)}
    stimuli = catalogue(51, hues_deg=[10, 370, -30])
    assert {stimulus.hue_deg for stimulus in stimuli if stimulus.kind in COLOURED} == {10.0, 330.0}
    assert len(stimuli) == len(set(stimuli))


def test_labels_read_well() -> None:
    assert make("curve", radius_px=12).label == (
        "curve, radius 12 px, width 2.5 px, arc length 18 px, light on dark"
    )
    assert make("corner", polarity=-1).label == "corner, angle between 45°, dark on light"
    assert make("black_white_centre").label == "black white centre, hue 200°, radius 7 px, grey in colour"
    assert "clockwise outwards" in make("spiral", handedness=-1).label


def test_order_of_parameters_does_not_matter() -> None:
    turned_round = SyntheticStimulus("line", tuple(reversed(PARAMETERS["line"].items())))
    assert turned_round == make("line")
    assert hash(turned_round) == hash(make("line"))
    assert make("line") != make("line", width_px=4)


# --- what cannot be used -----------------------------------------------------------------------------------


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(
        EquiscopeError, match="unknown kind of synthetic stimulus 'curv': did you mean 'curve'"
    ):
        SyntheticStimulus("curv", ())


def test_wrong_parameters() -> None:
    with pytest.raises(
        EquiscopeError, match="was given nothing: expected each of softness_px, contrast once"
    ):
        SyntheticStimulus("edge", ())
    with pytest.raises(EquiscopeError, match="expected each of"):
        make("edge", width_px=3)
    with pytest.raises(EquiscopeError, match="expected each of"):
        SyntheticStimulus("edge", (("contrast", 0.8), ("softness_px", 1.0), ("contrast", 0.5)))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("line", "width_px", 0.0),
        ("line", "width_px", math.nan),
        ("line", "length_px", math.inf),
        ("line", "polarity", 0.5),
        ("line", "contrast", 1.01),
        ("edge", "softness_px", 0.4),
        ("grating", "wavelength_px", 2.9),
        ("grating", "phase_deg", math.nan),
        ("corner", "angle_between_deg", 180.0),
        ("spiral", "handedness", 2.0),
        ("hair", "seed", 0.5),
        ("colour_contrast", "chroma_strength", 0.43),
        ("colour_contrast", "hue_deg", math.inf),
    ],
)
def test_values_out_of_range(kind: str, name: str, value: float) -> None:
    with pytest.raises(EquiscopeError, match=f"{name} of a synthetic {kind} is {value}, expected "):
        make(kind, **{name: value})


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("curve", {"width_px": 10}),
        ("curve", {"arc_length_px": 30}),
        ("circle", {"width_px": 10}),
        ("spiral", {"width_px": 7}),
        ("spiral", {"outer_radius_px": 7}),
        ("cross", {"width_px": 21}),
    ],
)
def test_parameters_that_contradict_each_other(kind: str, changed: dict[str, float]) -> None:
    with pytest.raises(EquiscopeError, match=f"a synthetic {kind} cannot be drawn with .*: expected an? "):
        make(kind, **changed)


def test_unusable_requests() -> None:
    with pytest.raises(EquiscopeError, match="size_px is 0, expected at least 1"):
        render(make("line"), 0, [0.0])
    for angle_deg in (math.nan, math.inf):
        with pytest.raises(EquiscopeError, match=f"is {angle_deg}, expected a finite number"):
            render(make("line"), 9, [0.0, angle_deg])
        with pytest.raises(EquiscopeError, match=f"is {angle_deg}, expected a finite number"):
            render(make("disc"), 9, [0.0], hue_shift_deg=angle_deg)
        with pytest.raises(EquiscopeError, match=f"is {angle_deg}, expected a finite number"):
            catalogue(51, hues_deg=[angle_deg])
    for field_px in (2.9, math.nan, math.inf):
        with pytest.raises(EquiscopeError, match=f"receptive_field_px is {field_px}, expected at least 3"):
            catalogue(field_px)
