"""Charts of a run as figures for papers: SVG that needs nothing else, and PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from equiscope.evidence.circuits import load_circuits
from equiscope.foundations.errors import EquiscopeError, MissingExtraError, packages_of, unknown_name
from equiscope.foundations.files import write_output
from equiscope.foundations.received import is_sheet, quoted
from equiscope.foundations.records import leave_out_damaged
from equiscope.reports.budget_drawings import draw_saving, draw_savings, drawn_transformations
from equiscope.reports.circuit_drawings import Matrices, arrange, draw_board, draw_template
from equiscope.reports.circuit_ends import Ends
from equiscope.reports.circuit_weights import StoredWeights
from equiscope.reports.context import SiteContext
from equiscope.reports.earlier import partial_document
from equiscope.reports.family_view import synthetic_drawings
from equiscope.reports.files import load_document
from equiscope.reports.pose_drawings import draw_poses, poses_kind
from equiscope.reports.poses import members_in_order
from equiscope.reports.schema import FamilyEntry
from equiscope.reports.share_drawings import draw_layer_shares, draw_shares
from equiscope.reports.sheets import lost_sheets
from equiscope.reports.simplify_drawings import draw_curve, draw_curves
from equiscope.reports.sprites import Pictures
from equiscope.reports.svg import Drawing, Node, below, beside, write_for_print
from equiscope.reports.tuning_drawings import draw_joint_tuning, draw_tuning
from equiscope.reports.turned import draw_turned
from equiscope.runs.store import Run, read_manifest, say_changes

__all__ = ["SUBJECTS", "draw_figure", "figure_kinds", "save_figure"]

SUBJECTS = ("family", "circuit", "layer", "overview", "budget", "simplify")
# A page of a journal is some 900 units of a drawing wide: 3 pixels a unit are 400 dots an inch there.
_PIXELS_A_UNIT = 3.0

_Kinds = Mapping[str, Callable[[], Drawing | None]]


def draw_figure(run: Run | str | Path, subject: str, name: str = "", *, kind: str | None = None) -> str:
    """Draw one chart of a run as an SVG file that needs nothing else.

    Parameters
    ----------
    run
        The run, or its folder.
    subject
        ``family``, ``circuit``, ``layer``, ``overview``, ``budget`` or ``simplify``.
    name
        Id of the family or circuit, name of the layer; otherwise nothing.
    kind
        Which chart; by default the first that there is. Families: ``dial``, ``chart`` or ``pair`` (members at their
        poses), ``strip`` (one stimulus turned, over the members' answers), ``tuning``, ``joint`` (hue and
        orientation), ``synthetic`` (poses on drawings). Circuits: ``matrices`` (both), ``raw``, ``reordered``,
        ``template``. Layers and the overview: ``shares``. The budget: ``savings``, or one transformation.
        The simplified network: ``curves`` (both), ``plain``, ``recalibrated``.

    Returns
    -------
    str
        White ground, fixed colours, generic fonts, pictures embedded as PNG.

    Raises
    ------
    EquiscopeError
        If there is no such subject, name or chart in the run.
    """
    context = _context(run)
    kinds = figure_kinds(context, subject, name)
    what = f"{subject} {name}".strip()
    if not kinds:
        raise EquiscopeError(f"nothing of {what} was measured that could be drawn")
    chosen = kind if kind is not None else next(iter(kinds))
    if chosen not in kinds:
        raise unknown_name(f"chart of {what}", chosen, kinds)
    drawing = kinds[chosen]()
    if drawing is None:
        raise EquiscopeError(
            f"{what} has no chart {chosen!r}: nothing was measured; it has {', '.join(kinds)}"
        )
    return write_for_print(drawing, _Cropper(context.folder))


def save_figure(
    run: Run | str | Path, subject: str, name: str, path: str | Path, *, kind: str | None = None
) -> Path:
    """Write one chart of a run into a file.

    Parameters
    ----------
    run, subject, name, kind
        As for `draw_figure`.
    path
        Ends with ``.svg`` or ``.png``; PNG needs the extra ``figures``.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    EquiscopeError
        If the chart or its format does not exist.
    MissingExtraError
        If PNG is asked for without the extra ``figures``.
    """
    path = Path(path)
    form = path.suffix.lower()
    if form not in (".svg", ".png"):
        raise EquiscopeError(f"{path} has the ending {path.suffix!r}: expected .svg or .png")
    svg = draw_figure(run, subject, name, kind=kind)
    content = svg.encode() if form == ".svg" else _rasterise(svg)
    write_output(path, lambda stream: stream.write(content))
    return path


def _context(run: Run | str | Path) -> SiteContext:
    folder = run.folder if isinstance(run, Run) else Path(run)
    if not (folder / "run.json").exists():
        raise EquiscopeError(
            f"{folder} is not the folder of a run: expected one that `equiscope survey --out` made"
        )
    read_manifest(folder)
    say_changes(folder)
    document = leave_out_damaged(partial(load_document, folder))
    if document is None:
        document = partial_document(folder)
    circuits = leave_out_damaged(partial(load_circuits, folder))
    return SiteContext(document, Pictures(document, lost_sheets(folder, document)), folder, circuits)


def figure_kinds(context: SiteContext, subject: str, name: str) -> _Kinds:
    """Give the charts that there are of one thing, by name, the main one first.

    Raises
    ------
    EquiscopeError
        If there is no such thing.
    """
    match subject:
        case "family":
            if name not in context.families:
                raise unknown_name("family", name, context.families)
            return _family_kinds(context, context.families[name])
        case "circuit":
            return _circuit_kinds(context, name)
        case "layer":
            if name not in context.layers:
                raise unknown_name("layer", name, context.layers)
            return {"shares": lambda: draw_layer_shares(context.layers[name])}
        case "overview":
            return {"shares": lambda: draw_shares(context.document["layers"])}
        case "budget":
            return _budget_kinds(context)
        case "simplify":
            return _simplify_kinds(context)
        case _:
            raise unknown_name("subject of a figure", subject, SUBJECTS)


def _family_kinds(context: SiteContext, family: FamilyEntry) -> _Kinds:
    shown = members_in_order(family, list(context.layers))
    strips = draw_turned(context, family, shown)
    drawn: dict[str, Drawing | None] = {
        poses_kind(family["transformation"]): draw_poses(family, shown, context.pictures),
        "strip": below(strips, 18.0, strips[0].label) if strips else None,
        "tuning": draw_tuning(family, shown),
        "joint": draw_joint_tuning(family, shown),
    }
    synthetic = synthetic_drawings(family, shown)
    if synthetic:
        drawn["synthetic"] = below(synthetic, 18.0, synthetic[0].label)
    return {key: (lambda own=own: own) for key, own in drawn.items() if own is not None}  # type: ignore[misc]


def _circuit_kinds(context: SiteContext, name: str) -> _Kinds:
    if context.circuits is None:
        raise EquiscopeError(
            f"{context.folder} has no circuits yet: run `equiscope circuits {quoted(context.folder)}` first"
        )
    stored = StoredWeights(context.folder, context.circuits)
    circuit = next((c for c in context.circuits.circuits if c.id == name), None)
    weights = stored.read(name)
    if circuit is None or weights is None:
        raise unknown_name("circuit whose weights were kept", name, stored.ids)
    matrices = arrange(circuit, weights, Ends(context.document["families"], context.pictures))
    raw, reordered = (draw_board(matrices, part, for_print=True).drawing for part in ("raw", "reordered"))
    return {
        "matrices": lambda: beside([raw, reordered], 30.0, reordered.label),
        "raw": lambda: raw,
        "reordered": lambda: reordered,
        "template": lambda: _template(matrices),
    }


def _budget_kinds(context: SiteContext) -> _Kinds:
    budget = context.budget
    if budget is None:
        raise EquiscopeError(
            f"{context.folder} has no budget yet: run `equiscope budget {quoted(context.folder)}` first"
        )
    names = drawn_transformations(budget)
    if not names:
        return {}
    return {
        "savings": lambda: draw_savings(budget),
        **{name: (lambda name=name: draw_saving(budget, name)) for name in names},  # type: ignore[misc]
    }


def _simplify_kinds(context: SiteContext) -> _Kinds:
    found = context.simplification
    if found is None:
        raise EquiscopeError(
            f"{context.folder} was not simplified yet: run `equiscope simplify {quoted(context.folder)}` with labelled "
            "images first"
        )
    return {
        "curves": lambda: draw_curves(found),
        "plain": lambda: draw_curve(found, is_recalibrated=False),
        "recalibrated": lambda: draw_curve(found, is_recalibrated=True),
    }


def _template(matrices: Matrices) -> Drawing:
    return draw_template(matrices, for_print=True)


class _Cropper:
    """Cuts what an image of a drawing shows out of its sheet, as a PNG: print programs do not all read WebP."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._sheets: dict[str, Image.Image | None] = {}

    def __call__(self, image: Node) -> str | None:
        address = image.attributes["href"]
        if self._folder is None or not is_sheet(self._folder, address):
            return None
        if address not in self._sheets:
            self._sheets[address] = _read_sheet(self._folder / address)
        own = self._sheets[address]
        column, row, n_columns, n_rows = (
            abs(int(float(image.attributes[key]))) for key in ("x", "y", "width", "height")
        )
        if own is None or n_columns > own.width or n_rows > own.height:
            return None
        width, height = own.width // n_columns, own.height // n_rows
        tile = own.crop((column * width, row * height, (column + 1) * width, (row + 1) * height))
        stream = io.BytesIO()
        tile.save(stream, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _read_sheet(path: Path) -> Image.Image | None:
    """Read a sheet of pictures, as WebP and nothing else; None where it is damaged, or larger than any sheet is."""
    try:
        with Image.open(path, formats=("WEBP",)) as sheet:
            return sheet.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _rasterise(svg: str) -> bytes:
    """Draw an SVG in pixels.

    Raises
    ------
    MissingExtraError
        If the extra ``figures`` is not installed.
    EquiscopeError
        If the machine has no fonts, so that the words would be missing.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise MissingExtraError(
            f"a PNG needs resvg_py, which cannot be imported ({error}): "
            f"pip install {packages_of('figures')}, or write an .svg"
        ) from error
    options: dict[str, Any] = {"zoom": _PIXELS_A_UNIT, "background": "white"}
    letter = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><text y="15">A</text></svg>'
    with Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=letter, background="white")))) as drawn:
        low, _ = drawn.convert("L").getextrema()
    if low == 255:
        raise EquiscopeError(
            "this machine has no fonts, so a PNG would have no words: install some, or write an .svg"
        )
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, **options))
