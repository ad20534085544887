"""The list of views: a folder and a line make one, and what a later command finds reaches the page through it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import equiscope.reports.views as package
from equiscope.cli.figure import Subject
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
    "__init__.py": '"""Notes on a run."""\n',
    "view.py": '''
"""Notes that somebody left in the run's folder."""

from equiscope.reports.drawing.svg import Drawing, text_node
from equiscope.reports.views.evidence import Evidence
from equiscope.reports.views.templates import render_template
from equiscope.reports.views.view import Fragment, View


def _load(folder):
    return (folder / "notes.txt").read_text().splitlines()


def _join(document, notes):
    families = [own | {"note": notes[0]} for own in document["families"]]
    return document | {"families": families}


NOTES = Evidence("note", "notes.txt", _load, _join)


def _render(context):
    for name, note in enumerate(context.found(NOTES) or ()):
        yield str(name) if name else "", Fragment(render_template(__name__, "notes.html.jinja", note=note), {})


def _charts(context, name):
    return {"words": lambda: Drawing(100.0, 20.0, [text_node(0, 10, context.found(NOTES)[0])], "a note")}


VIEW = View("notes", __name__, _render, title="Notes", script="notes.js", style="notes.css",
            evidence=(NOTES,), charts=_charts)
''',
    "notes.html.jinja": '{% from "picture.html.jinja" import picture %}\n<h1>{{ note }}</h1>\n',
    "notes.css": ".view-notes h1 { color: red }\n",
    "notes.js": "equiscope.views.notes = () => {};\n",
}


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A view more: its folder, and its line in the list."""
    folder = tmp_path / "more" / "notes"
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_text(content)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder.parent)])
    monkeypatch.setattr(registry, "FOLDERS", [*registry.FOLDERS, "notes"])
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.startswith(f"{package.__name__}.notes")]:
        del sys.modules[name]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    save_run(folder, site_document(folder))
    return folder


@pytest.mark.usefixtures("added")
def test_a_folder_and_a_line_make_a_view(run: Path, tmp_path: Path) -> None:
    (run / "notes.txt").write_text("first & best\nsecond\n")
    html = build_site(run).read_text("utf-8")
    page = Page(html)
    links = {attrs["data-kind"]: text for attrs, text in page.all("a") if attrs.get("data-kind")}
    assert links["notes"] == "Notes"
    assert list(links)[-1] == "notes"
    assert f"{SITE}/app/notes.css" in {attrs["href"] for attrs, _ in page.all("link")}
    assert f"{SITE}/app/notes.js" in {attrs.get("src") for attrs, _ in page.all("script")}
    assert (run / SITE / "app" / "notes.js").read_text() == FILES["notes.js"]
    assert (run / SITE / "app" / "notes.css").read_text() == FILES["notes.css"]
    assert read_index(html)["notes"] == {"": "notes.js", "1": "1.js"}
    content = (run / SITE / "data" / "notes" / "notes.js").read_text()
    assert content.startswith('equiscope.receive("notes/",')
    assert "<h1>first &amp; best</h1>" in content
    # A published copy has all of it, and is known for one.
    for _ in range(2):
        publish_site(run, tmp_path / "copy")
    assert (tmp_path / "copy" / SITE / "data" / "notes" / "1.js").exists()
    # Its charts are figures.
    assert "first &amp; best" in draw_figure(run, "notes")


@pytest.mark.usefixtures("added")
def test_what_its_command_finds_reaches_document_and_bar(run: Path) -> None:
    plain = load_document(run)
    assert plain is not None
    assert not show_evidence(run, "note")
    assert 'data-kind="notes"' not in build_site(run).read_text("utf-8")
    (run / "notes.txt").write_text("seen\n")
    joined = load_document(run)
    assert joined is not None
    assert {own.get("note") for own in joined["families"]} == {"seen"}
    assert read_document(run) == plain, "reading changes nothing"
    assert show_evidence(run, "note")
    assert read_document(run) == joined
    assert 'data-kind="notes"' in (run / "index.html").read_text("utf-8")


def test_a_view_that_is_gone_leaves_no_script_behind(
    run: Path, added: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_site(run)
    assert (run / SITE / "app" / "notes.js").exists()
    monkeypatch.setattr(registry, "FOLDERS", registry.FOLDERS[:-1])
    build_site(run)
    assert not (run / SITE / "app" / "notes.js").exists()


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
    assert {evidence.command for evidence in all_evidence()} >= {
        "verify",
        "circuits",
        "featurevis",
        "budget",
        "simplify",
        "compare",
    }
    with pytest.raises(EquiscopeError, match="unknown command whose findings the report shows 'circuit'"):
        evidence_of("circuit")


def test_the_command_line_knows_what_has_charts() -> None:
    assert {subject.value for subject in Subject} == {
        view.kind for view in all_views() if view.charts is not None
    }
