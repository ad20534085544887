"""One contract that every transformation must pass: from a planted network through everything that asks it.

As scikit-learn's ``check_estimator`` takes an estimator through all that may be done with one, `check_transformation`
takes a transformation through a survey of a network whose families are known, the page, the drawings, the weights, the
optimised images, the tables and a comparison. What a stage needs and the object lacks is found here, not by a reader.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from equiscope.commands.circuits import circuits
from equiscope.commands.compare import compare
from equiscope.commands.export import export
from equiscope.commands.featurevis import featurevis
from equiscope.commands.survey import survey
from equiscope.commands.verify import verify
from equiscope.families.asked import ANY
from equiscope.families.family import Family
from equiscope.foundations.files import file_name
from equiscope.foundations.statistics import circular_difference_deg
from equiscope.runs.run import Run
from equiscope.testing.planted_transformations import PlantedTransformations, planted_transformation
from equiscope.transformations import ALL, Pose, Transformation, find, registered
from equiscope.transformations.axes import Axis, Step, Switch, Turn
from equiscope.transformations.spaces import HandedCircle, Pair

__all__ = ["check_transformation"]

# Planted copies are exact but for their sampling on pixels.
_LEAST_SCORE = 0.97


def check_transformation(
    transformation: Transformation,
    planted: PlantedTransformations | None = None,
    *,
    run: Run | None = None,
) -> None:
    """Take a transformation through a planted network.

    Parameters
    ----------
    transformation
        One of `equiscope.transformations.ALL`, or one of your own, which is in that list while the check runs.
    planted
        A network whose families under it are known; by default that of `planted_transformation`.
    run
        A survey of that network under it; by default it is surveyed, into a folder that is removed.

    Raises
    ------
    AssertionError
        If a stage says something that is not so. The message says which stage, and what was expected.
    EquiscopeError
        If the transformation lacks what a stage asks for.

    Notes
    -----
    Half a minute for each transformation on one core.

    Examples
    --------
    >>> check_transformation(find("up-down"))  # passes: nothing is said
    >>> from equiscope.runs.run import load_run
    >>> try:
    ...     check_transformation(find("up-down"), run=load_run("equiscope-runs/mini"))
    ... except AssertionError as error:
    ...     str(error)
    'survey: random pattern 0 was planted and not found'
    """
    with ExitStack() as stack:
        if all(own is not transformation for own in ALL):
            stack.enter_context(registered(transformation))
        truth = planted or planted_transformation(transformation.name)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if run is None:
            run = survey(
                truth.model, transformations=[transformation.name], precision="float32", out=folder / "run"
            )
        else:
            shutil.copytree(run.folder, folder / "run")
            run = replace(run, folder=folder / "run")
        own = [family for family in run.families if family.transformation == transformation.name]
        _check_families(transformation, truth, own)
        _check_page(transformation, run, own)
        _check_drawings(transformation, truth, run, own)
        _check_weights(truth, run)
        _check_templates(truth, run, own)
        _check_table(transformation, run, own)
        _check_comparison(transformation, truth, run, own)


def _claim(stage: str, is_so: bool, said: str) -> None:
    if not is_so:
        raise AssertionError(f"{stage}: {said}")


def _units_of(members: Any) -> frozenset[tuple[str, int]]:
    return frozenset((member.layer, member.channel) for member in members)


# Survey -------------------------------------------------------------------------------------------------------------


def _check_families(
    transformation: Transformation, truth: PlantedTransformations, families: list[Family]
) -> None:
    """Check that the planted families are found, at their poses."""
    found = {_units_of(family.members): family for family in families}
    # An orbit may say that it is too nearly invariant to be one.
    for orbit in truth.orbits:
        family = found.pop(_units_of(orbit.members), None)
        if family is None:
            _claim("survey", orbit.is_faint, f"{orbit.name} was planted and not found")
            continue
        _claim("survey", family.score > _LEAST_SCORE, f"{family.id} scores {family.score:.2f} only")
        poses = {(m.layer, m.channel): m.pose for m in orbit.members}
        own = [(member.pose, poses[member.layer, member.channel]) for member in family.members]
        for pose, true in own:
            _claim(
                "survey",
                any(
                    _agree(transformation, pose, own[0][0], moved, own[0][1])
                    for moved in _moved(family, true)
                ),
                f"{family.id} has a unit at {transformation.pose_text(pose)}, planted at "
                f"{transformation.pose_text(true)}",
            )
    _claim("survey", not found, f"{[family.id for family in found.values()]} were found and not planted")


def _moved(family: Family, true: Pose) -> Iterator[Pose]:
    """Equal poses of a unit: its own, moved by each element of the stabiliser that is no mirror."""
    switches = [axis.name for axis in find(family.transformation).axes if isinstance(axis, Switch)]
    for element in family.stabiliser or (Pose(),):
        if not any(element.get(name, False) for name in switches):
            yield Pose(
                {
                    name: value if name in switches else value + element.get(name, 0.0)
                    for name, value in true.items()
                }
            )


def _agree(transformation: Transformation, pose: Pose, first: Pose, true: Pose, true_first: Pose) -> bool:
    """Whether a pose lies to the first unit's as the planted one to the first planted one."""
    space = transformation.space
    sign = 1.0
    if isinstance(space, HandedCircle) and bool(true[space.hand.name]) != bool(true_first[space.hand.name]):
        # g = g_member g_first⁻¹, where mirroring turns the sign of the first one's angle.
        sign = -1.0
    return all(_agree_along(axis, pose, first, true, true_first, sign) for axis in transformation.axes)


def _agree_along(axis: Axis, pose: Pose, first: Pose, true: Pose, true_first: Pose, sign: float) -> bool:
    name = axis.name
    if isinstance(axis, Switch):
        return (bool(pose[name]) ^ bool(first[name])) == (bool(true[name]) ^ bool(true_first[name]))
    away = (pose[name] - first[name]) - (true[name] - sign * true_first[name])
    if isinstance(axis, Turn):
        return bool(abs(circular_difference_deg(away, 0.0)) < axis.resolution)
    return isinstance(axis, Step) and bool(abs(away) < axis.resolution)


# Page ---------------------------------------------------------------------------------------------------------------


def _check_page(transformation: Transformation, run: Run, families: list[Family]) -> None:
    """Check that the page of each family speaks of its transformation, and of no other."""
    for family in families:
        path = run.folder / "site" / "data" / "family" / file_name(family.id, ending=".js")
        html = _html_of(path.read_text(encoding="utf-8"))
        words = transformation.words
        for said in (words.poses, words.steps, transformation.title(family.size)):
            _claim("report", said.lower() in html.lower(), f"the page of {family.id} does not say {said!r}")
        for member in family.members:
            said = transformation.pose_text(member.pose, _period(transformation, family))
            _claim("report", said in html, f"the page of {family.id} has no {said!r}")
        for other in ALL:
            is_part = set(other.axes) & set(transformation.axes)
            if not is_part:
                _claim(
                    "report",
                    other.words.poses not in html and f" {other.words.back}" not in html,
                    f"the page of {family.id} speaks as of {other.name}",
                )
        _claim("report", "<svg" in html, f"the page of {family.id} has no drawing")


def _html_of(script: str) -> str:
    """Give the page that a data file of the site hands over."""
    _, _, text = script.partition(",")
    return str(json.loads(text.rsplit(");", 1)[0])["html"])


def _period(transformation: Transformation, family: Family) -> float:
    return 360.0 / family.stabiliser_order if isinstance(transformation.axes[0], Turn) else 360.0


# Evidence -----------------------------------------------------------------------------------------------------------


def _check_drawings(
    transformation: Transformation, truth: PlantedTransformations, run: Run, families: list[Family]
) -> None:
    """Every family is shown drawings, along each of its axes."""
    found = {(entry.family, entry.axis) for entry in verify(run, truth.model, precision="float32")}
    is_pair = isinstance(transformation.space, Pair)
    keys = {axis.key for axis in transformation.axes if is_pair or not isinstance(axis, Switch)}
    for family in families:
        for key in keys:
            _claim("verify", (family.id, key) in found, f"{family.id} was shown no drawings along {key}")


def _check_weights(truth: PlantedTransformations, run: Run) -> None:
    """Circuits between layers can be looked for; a network of one layer has none."""
    if len(truth.model.default_layers) > 1:
        found = circuits(run, truth.model, n_draws=20, verdict=ANY)
        names = {family.transformation for family in run.families}
        unknown = {circuit.transformation for circuit in found.circuits} - names
        _claim("circuits", not unknown, f"circuits under {unknown}, of which there is no family")


def _check_templates(truth: PlantedTransformations, run: Run, families: list[Family]) -> None:
    """Every family gets an image that is shown to each member at its pose."""
    found = featurevis(run, truth.model, steps=2).families
    for family in families:
        _claim("featurevis", family.id in found, f"{family.id} has no template, others have: {list(found)}")


def _check_table(transformation: Transformation, run: Run, families: list[Family]) -> None:
    """Check that the exported table has a column for each axis, with the members' coordinates."""
    rows = export(run, "families").rows
    for family in families:
        for member in family.members:
            own = next(
                row
                for row in rows
                if (row["family"], row["layer"], row["channel"]) == (family.id, member.layer, member.channel)
            )
            _claim("export", _has_pose(own, transformation, member.pose), f"{family.id} has other poses")


def _has_pose(row: Mapping[str, Any], transformation: Transformation, pose: Pose) -> bool:
    return all(row.get(axis.name) == pose[axis.name] for axis in transformation.axes)


def _check_comparison(
    transformation: Transformation, truth: PlantedTransformations, run: Run, families: list[Family]
) -> None:
    """Check that families find themselves in another run of their network, where one offset compares poses."""
    if not transformation.space.has_one_offset:
        return
    other = run.folder.with_name("other")
    shutil.copytree(run.folder, other)
    found = compare(
        run, other, truth.model, truth.model, transformations=[transformation.name], n_draws=50, verdict=ANY
    )
    partners = {match.a: match for match in found.matches}
    _claim("compare", bool(partners), "no family found itself in another run of the same network")
    for family in families:
        match = partners.get(family.id)
        # Of few families not each need stand out.
        if match is None:
            continue
        _claim("compare", match.b == family.id, f"{family.id} found {match.b} and not itself")
        if isinstance(transformation.axes[0], Turn):
            away = np.abs(circular_difference_deg(match.offset, 0.0, _period(transformation, family)))
            _claim("compare", bool(away < 1.0), f"{family.id} found itself {float(away):.1f}° away")
