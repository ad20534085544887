"""The list of views: a folder and a line make one, and what a later command finds reaches the page through it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import equiscope.reports.views as package
from equiscope.foundations.errors import EquiscopeError
from equiscope.reports import build_site, draw_figure, load_document, publish_site, show_evidence
from equiscope.reports.document.stored import read_document
from equiscope.reports.site.addresses import SITE, is_own
from equiscope.reports.site.building import read_index
from equiscope.reports.views import registry
from equiscope.reports.views.registry import all_evidence, all_views, evidence_of
from html_page import Page
from site_document import save_run, site_document

# A whole view, as its folder has it.
FILES = {
    "__init__.py": '"""Remarks on a run."""\n',
    "view.py": '''
"""Remarks that somebody left in the run's folder."""

from equiscope.reports.drawing.svg import Drawing, text_node
from equiscope.reports.views.evidence import Evidence
from equiscope.reports.views.templates import render_template
from equiscope.reports.views.view import Fragment, View


def _load(folder):
    return (folder / "remarks.txt").read_text().splitlines()


def _join(document, remarks):
    families = [own | {"id": own["id"], "layer": own["layer"], "remark": remarks[0]} for own in document["families"]]
    return document | {"families": families}


REMARKS = Evidence("remark", "remarks.txt", _load, _join)


def _render(context):
    for name, remark in enumerate(context.found(REMARKS) or ()):
        yield str(name) if name else "", Fragment(render_template(__name__, "remarks.html.jinja", remark=remark), {})


def _charts(context, name):
    return {"words": lambda: Drawing(100.0, 20.0, [text_node(0, 10, context.found(REMARKS)[0])], "a remark")}


VIEW = View("remarks", __name__, _render, title="Remarks", script="remarks.js", style="remarks.css",
            evidence=(REMARKS,), charts=_charts)
''',
    "remarks.html.jinja": '{% from "picture.html.jinja" import picture %}\n<h1>{{ remark }}</h1>\n',
    "remarks.css": ".view-remarks h1 { color: red }\n",
    "remarks.js": "equiscope.views.remarks = () => {};\n",
}


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A view more: its folder, and its line in the list."""
    folder = tmp_path / "more" / "remarks"
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_text(content)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder.parent)])
    monkeypatch.setattr(registry, "FOLDERS", [*registry.FOLDERS, "remarks"])
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.startswith(f"{package.__name__}.remarks")]:
        del sys.modules[name]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    save_run(folder, site_document(folder))
    return folder


@pytest.mark.usefixtures("added")
def test_a_folder_and_a_line_make_a_view(run: Path, tmp_path: Path) -> None:
    (run / "remarks.txt").write_text("first & best\nsecond\n")
    html = build_site(run).read_text("utf-8")
    page = Page(html)
    links = {attrs["data-kind"]: text for attrs, text in page.all("a") if attrs.get("data-kind")}
    assert links["remarks"] == "Remarks"
    assert list(links)[-1] == "remarks"
    assert f"{SITE}/app/remarks.css" in {attrs["href"] for attrs, _ in page.all("link")}
    assert f"{SITE}/app/remarks.js" in {attrs.get("src") for attrs, _ in page.all("script")}
    assert (run / SITE / "app" / "remarks.js").read_text() == FILES["remarks.js"]
    assert (run / SITE / "app" / "remarks.css").read_text() == FILES["remarks.css"]
    assert read_index(html)["remarks"] == {"": "remarks.js", "1": "1.js"}
    content = (run / SITE / "data" / "remarks" / "remarks.js").read_text()
    assert content.startswith('equiscope.receive("remarks/",')
    assert "<h1>first &amp; best</h1>" in content
    # A published copy has all of it, and is known for one.
    for _ in range(2):
        publish_site(run, tmp_path / "copy")
    assert (tmp_path / "copy" / SITE / "data" / "remarks" / "1.js").exists()
    # Its charts are figures.
    assert "first &amp; best" in draw_figure(run, "remarks")


@pytest.mark.usefixtures("added")
def test_what_its_command_finds_reaches_document_and_bar(run: Path) -> None:
    plain = load_document(run)
    assert plain is not None
    assert not show_evidence(run, "remark")
    assert 'data-kind="remarks"' not in build_site(run).read_text("utf-8")
    (run / "remarks.txt").write_text("seen\n")
    joined = load_document(run)
    assert joined is not None
    assert {own.get("remark") for own in joined["families"]} == {"seen"}
    assert read_document(run) == plain, "reading changes nothing"
    assert show_evidence(run, "remark")
    assert read_document(run) == joined
    assert 'data-kind="remarks"' in (run / "index.html").read_text("utf-8")


def test_a_view_that_is_gone_leaves_no_script_behind(
    run: Path, added: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_site(run)
    assert (run / SITE / "app" / "remarks.js").exists()
    monkeypatch.setattr(registry, "FOLDERS", registry.FOLDERS[:-1])
    build_site(run)
    assert not (run / SITE / "app" / "remarks.js").exists()


def test_every_view_is_in_the_list_once() -> None:
    place = Path(package.__file__).parent
    assert sorted(registry.FOLDERS) == sorted(path.parent.name for path in place.glob("*/view.py"))
    views = all_views()
    assert [view.kind for view in views] == registry.FOLDERS
    kinds = [kind for view in views for kind in view.renderers]
    assert len(set(kinds)) == len(kinds)


def test_every_file_of_a_view_is_its_own_and_there() -> None:
    names = [name for view in all_views() for name in (view.script, view.style) if name]
    assert len(set(names)) == len(names)
    assert all(is_own(f"{SITE}/app/{name}") for name in names)
    for view in all_views():
        place = Path(package.__file__).parent / view.kind
        beside = {path.name for path in place.iterdir() if path.suffix in (".js", ".css")}
        assert beside == {name for name in (view.script, view.style) if name}
        assert all(view.read(name) for name in beside)
        assert all(is_own(f"{SITE}/data/{kind}/x.js") for kind in view.renderers)


def test_what_commands_find_is_known_by_their_names() -> None:
    assert {evidence.command for evidence in all_evidence()} == {
        "verify",
        "circuits",
        "featurevis",
        "budget",
        "simplify",
        "compare",
    }
    with pytest.raises(EquiscopeError, match="unknown command whose findings the report shows 'circuit'"):
        evidence_of("circuit")
