"""How far a stage is: the numbers of stages, bars on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from torch import nn

import equiscope
from equiscope.cli import console
from equiscope.cli.console import show_progress
from equiscope.foundations import progress
from equiscope.foundations.progress import Stages, silent
from equiscope.transformations import standard_names


class Told:
    """A progress that keeps what it was told: each part, its steps, and those that were done."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, int]] = []
        self.done: list[int] = []
        self.plans: list[str] = []

    @contextlib.contextmanager
    def __call__(self, stage: str, total: int) -> Iterator[Callable[[int], None]]:
        self.parts.append((stage, total))
        self.done.append(0)

        def on_steps(steps: int) -> None:
            self.done[-1] += steps

        yield on_steps

    @property
    def numbers(self) -> list[tuple[int, int]]:
        found = [re.search(r" \[(\d+)/(\d+)\]$", stage) for stage, _ in self.parts]
        return [(int(match[1]), int(match[2])) for match in found if match is not None]


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def survey(out: Path, told: Told, layers: list[str], **options: object) -> equiscope.Run:
    rng = np.random.default_rng(0)
    np.savez(out.parent / "images.npz", images=rng.integers(0, 256, (6, 40, 48, 3), dtype=np.uint8))
    network = nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.Conv2d(6, 4, 3))
    for parameter in network.parameters():
        parameter.data = parameter.new_tensor(rng.standard_normal(parameter.shape))
    function: Callable[..., equiscope.Run] = equiscope.survey
    images = out.parent / "images.npz"
    return function(
        network, images, layers, out=out, angles=4, progress=told, on_plan=told.plans.append, **options
    )


def test_stages_are_numbered() -> None:
    told = Told()
    stages = Stages(told, 2)
    for names in (("a", "b"), ("c",)):
        stages.begin_next()
        for name in names:
            with stages(name, 1) as on_step:
                on_step(1)
    assert told.parts == [("a [1/2]", 1), ("b [1/2]", 1), ("c [2/2]", 1)]
    stages.begin_next()  # More to do than was thought.
    stages("d", 1).__enter__()
    assert told.parts[-1] == ("d [3/3]", 1)
    with Stages(silent, 1)("e", 1) as on_step:
        on_step(1)


class TestTimeLeft:
    def told(self, seconds: list[float], costs: list[float], monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What is told of the stages of these costs, each of which takes so long."""
        clock, told = Clock(), Told()
        monkeypatch.setattr(progress, "time", clock)
        stages = Stages(told, len(seconds) + 1)
        stages.begin_next()
        stages("first", 1).__enter__()
        clock.now += 1e6  # What went before does not count.
        stages.expect(costs)
        for own in seconds:
            stages.begin_next()
            stages("s", 1).__enter__()
            clock.now += own
        return [stage for stage, _ in told.parts[1:]]

    def test_it_follows_from_what_was_done(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.told([60, 120, 600], [1, 2, 10], monkeypatch) == [
            "s [2/4]",
            "s [3/4]",  # Less than a tenth of 13 is done.
            "s [4/4, roughly 10 min left]",
        ]

    def test_a_short_rest_is_not_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.told([10, 10, 10], [1, 1, 1], monkeypatch) == ["s [2/4]", "s [3/4]", "s [4/4]"]

    def test_stages_without_a_cost_have_no_part_in_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.told([7200, 5, 5], [1], monkeypatch) == ["s [2/4]", "s [3/4]", "s [4/4]"]
        assert self.told([5, 5], [0, 0], monkeypatch) == ["s [2/3]", "s [3/3]"]


def test_costs_are_those_of_what_is_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected: list[list[float]] = []
    monkeypatch.setattr(Stages, "expect", lambda _self, costs: expected.append(list(costs)))
    survey(tmp_path / "run", Told(), ["0", "2"], n_null=1)
    (whole,) = expected
    n_within = len(standard_names()) - 1
    assert len(whole) == 2 * n_within + 1
    # Rotation of four angles and hue of sixteen; of so few units both show all stimuli.
    assert whole[1] / whole[0] == 4
    assert whole[-1] > whole[0]
    (tmp_path / "run" / "results" / "hue" / "2.json").unlink()
    survey(tmp_path / "run", Told(), ["0", "2"], n_null=1)
    assert expected[1] == [whole[n_within + 1]]


def test_a_survey_numbers_what_it_does_and_goes_on_with_what_is_left(tmp_path: Path) -> None:
    told = Told()
    survey(tmp_path / "run", told, ["0", "2"], n_null=2)
    n_stages = 2 * (len(standard_names()) - 1) + 1 + 5
    how_much, how_long = told.plans
    assert how_much == f"2 layers × {len(standard_names())} transformations: {n_stages} stages to do"
    assert re.match(r"about \d+ s: 6 images, then [\d,]+ patches of ", how_long)
    assert {total for _, total in told.numbers} == {n_stages}
    numbers = [number for number, _ in told.numbers]
    assert numbers == sorted(numbers)
    assert (numbers[0], numbers[-1]) == (1, n_stages)
    assert len(told.numbers) == len(told.parts)
    # Only what is missing is a stage of the next call.
    (tmp_path / "run" / "results" / "hue" / "2.json").unlink()
    again = Told()
    survey(tmp_path / "run", again, ["0", "2"], n_null=2)
    (how_much,) = again.plans  # Of what is half done it is not known how long it takes.
    assert how_much.endswith(": 6 stages to do")
    assert again.parts[2][0].endswith(" 2 [3/6]")
    assert again.numbers[-1] == (6, 6)


@pytest.mark.parametrize("n_null", [1, 6])
def test_parts_have_as_many_steps_as_they_say(n_null: int, tmp_path: Path) -> None:
    told = Told()
    survey(tmp_path / "run", told, ["0"], n_null=n_null)
    wrong = [
        (stage, total, done)
        for (stage, total), done in zip(told.parts, told.done, strict=True)
        if total != done and not stage.startswith("drawing the report")
    ]
    assert wrong == []


@pytest.mark.parametrize(("n_layers", "has_advice"), [(2, False), (12, True)])
def test_a_long_survey_says_how_it_gets_shorter(n_layers: int, has_advice: bool, tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    def stop(plan: str) -> None:
        plans.append(plan)
        raise Stop

    plans: list[str] = []
    network = nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(n_layers)))
    images = np.random.default_rng(0).integers(0, 256, (4, 30, 40, 3)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", images=images)
    with pytest.raises(Stop):
        equiscope.survey(network, tmp_path / "images.npz", out=tmp_path / "run", on_plan=stop)
    assert plans[0].startswith(f"{n_layers} layers × 7 transformations: ")
    assert ("--layers or --transformations" in plans[0]) == has_advice


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr(console, "time", own)
    return own


class TestLines:
    def test_a_short_stage_is_one_line(self, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        with show_progress("rotation: showing a", 4) as on_step:
            for _ in range(4):
                clock.now += 5
                on_step(1)
        assert capsys.readouterr() == ("", "rotation: showing a\n")

    def test_a_long_one_tells_every_half_minute(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with show_progress("training", 1000) as on_step:
            for _ in range(1000):
                clock.now += 1
                on_step(1)
        first, *lines = capsys.readouterr().err.splitlines()
        assert first == "training"
        assert lines[0] == "training: 30 of 1000, about 16 min left"
        assert len(lines) == 33
        assert lines[-1] == "training: 990 of 1000, about 10 s left"

    def test_what_was_done_before_does_not_count(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with show_progress("training", 1000) as on_step:
            on_step(900)
            clock.now += 60
            on_step(10)
        assert capsys.readouterr().err.splitlines()[1:] == ["training: 910 of 1000, about 9 min left"]

    def test_hours_are_told_as_hours(self, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        with show_progress("training", 1000) as on_step:
            on_step(0)
            clock.now += 60
            on_step(1)
        assert capsys.readouterr().err.splitlines()[1:] == ["training: 1 of 1000, about 16.6 h left"]


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "Console", lambda **_: Console(stderr=True, force_terminal=True, width=120))
    with show_progress("rotation: showing a [3/42]", 4) as on_step:
        on_step(4)
    said = capsys.readouterr().err
    assert "rotation: showing a [3/42]" in said
    assert "4/4" in said
