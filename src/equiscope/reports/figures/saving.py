"""Charts of a run as figures for papers: SVG that needs nothing else, and PNG."""

from __future__ import annotations

from pathlib import Path

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.foundations.files import write_output
from equiscope.reports.document.pictures.sheets import lost_sheets
from equiscope.reports.document.pictures.sprites import Pictures
from equiscope.reports.drawing.svg import write_for_print
from equiscope.reports.figures.pixels import Cropper, rasterise
from equiscope.reports.site.files import open_document
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.registry import all_views
from equiscope.reports.views.view import Charts
from equiscope.runs.run import Run

__all__ = ["draw_figure", "figure_kinds", "save_figure"]


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

    Examples
    --------
    >>> svg = draw_figure("equiscope-runs/mini", "circuit", "conv2d0-hue-1>conv2d1-hue-1")
    >>> svg.startswith("<svg "), "Weights as they are" in svg, "data:image/png;base64," in svg
    (True, True, True)
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
    return write_for_print(drawing, Cropper(context.folder))


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

    Examples
    --------
    >>> path = save_figure("equiscope-runs/mini", "budget", "", "figures/hue.svg", kind="hue")
    >>> "Kernels saved by tying under hue" in path.read_text(encoding="utf-8")
    True
    """
    path = Path(path)
    form = path.suffix.lower()
    if form not in (".svg", ".png"):
        raise EquiscopeError(f"{path} has the ending {path.suffix!r}: expected .svg or .png")
    svg = draw_figure(run, subject, name, kind=kind)
    content = svg.encode() if form == ".svg" else rasterise(svg)
    write_output(path, lambda stream: stream.write(content))
    return path


def _context(run: Run | str | Path) -> SiteContext:
    folder = run.folder if isinstance(run, Run) else Path(run)
    if not (folder / "run.json").exists():
        raise EquiscopeError(
            f"{folder} is not the folder of a run: expected one that `equiscope survey --out` made"
        )
    document = open_document(folder)
    return SiteContext(document, Pictures(document, lost_sheets(folder, document)), folder)


def figure_kinds(context: SiteContext, subject: str, name: str) -> Charts:
    """Give the charts that there are of one thing, by name, the main one first.

    Raises
    ------
    EquiscopeError
        If there is no such thing.

    Examples
    --------
    >>> document = open_document(Path("equiscope-runs/mini"))
    >>> context = SiteContext(document, Pictures(document), Path("equiscope-runs/mini"))
    >>> list(figure_kinds(context, "circuit", "conv2d0-hue-1>conv2d1-hue-1"))
    ['matrices', 'raw', 'reordered', 'template']
    """
    charts = {view.kind: view.charts for view in all_views() if view.charts is not None}
    if subject not in charts:
        raise unknown_name("subject of a figure", subject, charts)
    return charts[subject](context, name)
