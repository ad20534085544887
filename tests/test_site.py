"""The site of a run as files: what is in it, what it needs, how it is built again and published."""

from __future__ import annotations

import copy
import http.client
import json
import math
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from equiscope.cli import app
from equiscope.evidence.verify.verification import FamilyVerification
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.statistics import share_interval
from equiscope.reports import (
    ReportDocument,
    build_site,
    load_document,
    open_site,
    publish_site,
    save_report,
    serve_site,
    show_evidence,
)
from equiscope.reports.site.building import read_index
from equiscope.reports.views.overview.article import article_claim
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.writing import write_json
from html_page import Page
from report_document import complete_document, make_verification, save_verification
from site_document import KINDS, save_run, site_document

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def document(folder: Path) -> ReportDocument:
    return site_document(folder)


def views_of(folder: Path) -> dict[str, dict[str, Any]]:
    """All views that the data files hold, by their keys."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((folder / "site" / "data").rglob("*.js")):
        for line in path.read_text(encoding="utf-8").splitlines():
            call = re.fullmatch(r"equiscope\.receive\((.*)\);", line)
            assert call, line[:80]
            key, content = json.loads(f"[{call[1]}]")
            assert key not in found
            found[key] = content
    return found


def view_page(view: dict[str, Any]) -> Page:
    return Page(f"<main>{view['html']}</main>")


def page_of(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def test_every_layer_family_and_unit_has_a_view_where_the_index_says(
    folder: Path, document: ReportDocument
) -> None:
    save_run(folder, document)
    views, index = views_of(folder), read_index(page_of(folder))
    names = {
        "layer": [layer["name"] for layer in document["layers"]],
        "family": [family["id"] for family in document["families"]],
        "unit": [f"{unit['layer']}-{unit['channel']}" for unit in document["units"]],
    }
    for kind, expected in names.items():
        assert sorted(key for key in views if key.startswith(f"{kind}/")) == sorted(
            f"{kind}/{n}" for n in expected
        )
    for kind in ("layer", "family"):
        for name, file in index[kind].items():
            text = (folder / "site" / "data" / kind / file).read_text(encoding="utf-8")
            assert f'equiscope.receive("{kind}/{name}",' in text
    for layer, ranges in index["unit"].items():
        channels = [c for first, last, _ in ranges for c in range(first, last + 1)]
        assert channels == [unit["channel"] for unit in document["units"] if unit["layer"] == layer]
        for first, last, file in ranges:
            text = (folder / "site" / "data" / "unit" / file).read_text(encoding="utf-8")
            assert all(f'"unit/{layer}-{channel}"' in text for channel in range(first, last + 1))


def test_the_page_needs_nothing_from_elsewhere(folder: Path, document: ReportDocument) -> None:
    save_run(folder, document)
    page = page_of(folder)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'self' file:;")
    assert "connect-src" not in policy[1]
    assert "unsafe-eval" not in policy[1]
    addresses = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert addresses
    for address in addresses:
        assert (
            address == "data:," or (folder / address).exists() or address in ("families.json", "units.json")
        )
    # No script stands in the page itself but the index, which is no program.
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)
    assert all('type="application/json"' in attributes or not text.strip() for attributes, text in scripts)
    for path in (folder / "site" / "app").iterdir():
        assert not re.search(
            r"\b(fetch|XMLHttpRequest|WebSocket|import)\(|https?://(?!www\.w3\.org)", path.read_text()
        )


def test_the_overview_has_counts_shares_and_intervals_of_every_layer(
    folder: Path, document: ReportDocument
) -> None:
    save_run(folder, document)
    page = Page(page_of(folder))
    cells = [text for _, text in page.all("a", class_="cell")]
    expected = []
    for transformation in ("rotation", "hue", "reflection"):
        for layer in document["layers"]:
            counts = next(k["counts"] for k in layer["kinds"] if k["transformation"] == transformation)
            n = counts["equivariant"] + counts["invariant"]
            low, high = share_interval(n, layer["n_units"])
            expected.append(f"{100 * n / layer['n_units']:.0f} % {100 * low:.0f} to {100 * high:.0f}")
    assert [" ".join(text.split()) for text in cells] == expected
    assert "12 families of transformed copies" in page.text
    assert "Circuits were not recovered yet" in page.text
    assert "No drawn stimuli were shown yet" in page.text


def test_a_layer_says_what_was_searched_and_what_chance_gives(folder: Path, document: ReportDocument) -> None:
    document["layers"][1]["notes"] = ["Its images were small."]
    document["results"][3]["null"] = {"families_expected": 0.21, "score_95": 0.612}
    document["results"][4]["null"] = None
    document["results"][5]["null"] = {"families_expected": None, "score_95": 0.3}
    save_run(folder, document)
    view = views_of(folder)["layer/mixed3a"]
    text = view_page(view).text
    assert "40 units · receptive field 15 px · stride 2 px" in text
    assert "Its images were small." in text
    assert (
        "gave 0.21 families on average that pass the same test; 95 % of its families score below 0.61" in text
    )
    assert "No null was measured here" in text
    assert "95 % of its families have gains below 0.30." in text
    assert "3 candidates did not pass." in text


def test_a_layers_data_has_every_unit_in_columns(folder: Path, document: ReportDocument) -> None:
    save_run(folder, document)
    data = views_of(folder)["layer/mixed3b"]["data"]
    own = [unit for unit in document["units"] if unit["layer"] == "mixed3b"]
    assert data["channels"] == [unit["channel"] for unit in own]
    rotation = data["transformations"][0]
    assert [KINDS[int(letter)] for letter in rotation["kinds"]] == [u["symmetries"][0]["kind"] for u in own]
    assert rotation["invariance"][-1] is None
    assert data["tiles"][-1] is None
    members = {
        (m["channel"], f["id"]) for f in document["families"] for m in f["members"] if m["layer"] == "mixed3b"
    }
    assert {(data["channels"][i], data["families"][f][0]) for i, f, _ in rotation["members"]} == members


def test_a_unit_shows_both_halves_its_tuning_and_its_families(folder: Path, document: ReportDocument) -> None:
    save_run(folder, document)
    views = views_of(folder)
    page = view_page(views["unit/mixed3a-3"])
    assert "From the half of the images that finds families" in page.text
    assert "From the half that verifies them" in page.text
    labels = [a["aria-label"] for a, _ in page.all("i", role="img")]
    assert labels == [f"mixed3a:3, stimulus {i}" for i in (1, 2, 3, 4)] * 2
    assert [a["aria-label"] for a, _ in page.all("svg", role="img")] == [
        "Response under rotation, mean of 8 stimuli",
        "Response under reflection, mean of 8 stimuli",
    ]
    family = next(
        f
        for f in document["families"]
        if any(m["channel"] == 3 for m in f["members"]) and f["layers"] == ["mixed3a"]
    )
    links = [a["href"] for a, _ in page.all("a") if "href" in a]
    assert f"#/family/{family['id']}" in links
    assert "#/unit/mixed3a-2" in links
    assert "#/unit/mixed3a-4" in links
    silent = view_page(views["unit/mixed3a-39"]).text
    assert "There is no picture of it" in silent
    assert "It is in no accepted family." in silent


def test_what_was_not_measured_is_a_dash_and_never_a_number(folder: Path, document: ReportDocument) -> None:
    nan = math.nan
    for unit in document["units"]:
        unit["mean"] = nan
        for line in unit["symmetries"]:
            line["invariance"] = line["score"] = nan
    for family in document["families"]:
        family["score"] = family["q_value"] = nan
        for member in family["members"]:
            member["score"] = nan
    for layer in document["layers"]:
        for kinds in layer["kinds"]:
            kinds["counts"] = dict.fromkeys(KINDS, 0) | {"inactive": layer["n_units"]}  # type: ignore[typeddict-item]
    save_run(folder, document)
    views = views_of(folder)
    texts = [Page(page_of(folder)).text, *(view_page(view).text for view in views.values())]
    assert not any("nan" in text.lower().split() for text in texts)
    assert "response – ± 1.10" in view_page(views["unit/mixed3a-3"]).text
    assert "score –" in view_page(views["unit/mixed3a-3"]).text
    page = Page(page_of(folder))
    assert {text.split()[0] for _, text in page.all("a", class_="cell")} == {"–"}
    assert all(
        row[4] is None and row[5] is None for row in read_index(page_of(folder))["overview"]["families"]
    )


def test_names_are_escaped_in_every_file(folder: Path) -> None:
    name = HOSTILE + "</script><script>alert(2)</script>\"'&"
    document = site_document(folder, layers=((name, 12), ("mixed3a", 12)), n_families=2)
    for key in ("title", "command", "created", "equiscope_version"):
        document[key] = name  # type: ignore[literal-required]
    document["model"]["name"] = document["images"]["name"] = name
    document["images"]["licences"] = {name: name}
    document["missing"] = [name]
    document["layers"][0]["notes"] = [name]
    document["results"][0]["notes"] = [name]
    save_run(folder, document)
    page = page_of(folder)
    assert "<img src" not in page
    assert page.count("<script") == page.count("</script")
    for view in views_of(folder).values():
        assert "<img src=x" not in view["html"]
        assert "<script" not in view["html"]
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in (folder / "site").rglob("*.*"))


def test_names_that_differ_in_case_or_hardly_at_all_have_their_own_files(folder: Path) -> None:
    layers = (("conv/1", 3), ("conv:1", 3), ("CONV/1", 3), ("x" * 300, 3))
    save_run(folder, site_document(folder, layers=layers, n_families=0))
    files = read_index(page_of(folder))["layer"]
    assert set(files) == {name for name, _ in layers}
    assert len({file.lower() for file in files.values()}) == 4


def test_a_file_name_that_is_not_unicode_can_be_written(folder: Path, document: ReportDocument) -> None:
    document["images"]["name"] = "photo\udce9s"
    document["layers"][0]["notes"] = ["photo\udce9s"]
    save_run(folder, document)
    assert "photo?s: 1,880 images" in Page(page_of(folder)).text


def test_a_run_without_families_or_layers_says_so(folder: Path) -> None:
    document = site_document(folder, n_families=0)
    save_run(folder, document)
    text = Page(page_of(folder)).text
    assert "No family was found. That is a result" in text
    assert "found no family of transformed copies in 3 layers" in text
    document["layers"], document["units"], document["results"] = [], [], []
    save_run(folder, document)
    assert "This run has no layer." in Page(page_of(folder)).text


def test_by_depth_breaks_where_a_layer_was_not_measured(folder: Path, document: ReportDocument) -> None:
    counts = dict.fromkeys(KINDS, 0)
    document["layers"][1]["kinds"][0]["counts"] = counts | {"not measurable": 40}  # type: ignore[typeddict-item]
    save_run(folder, document)
    trends = [a["d"] for a, _ in Page(page_of(folder)).all("path", class_="trend")]
    assert [trend.count("M") for trend in trends] == [2, 1, 1]
    assert [trend.count("L") for trend in trends] == [0, 2, 2]


def test_it_is_built_again_from_its_folder_alone(folder: Path, document: ReportDocument) -> None:
    save_run(folder, document)
    before = {
        p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix in (".html", ".js", ".css")
    }
    shutil.rmtree(folder / "site" / "data")
    shutil.rmtree(folder / "site" / "app")
    (folder / "index.html").unlink()
    (folder / "site" / "data" / "layer").mkdir(parents=True)
    (folder / "site" / "data" / "layer" / "of-an-earlier-report.js").write_text("")
    (folder / "circuits.html").write_text("the page of an earlier version")
    assert build_site(folder) == folder / "index.html"
    after = {
        p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix in (".html", ".js", ".css")
    }
    assert after == before


def test_pictures_that_are_gone_are_said_and_the_rest_shown(folder: Path, document: ReportDocument) -> None:
    save_run(folder, document)
    shutil.rmtree(folder / "site")
    build_site(folder)
    n = len(document["sheets"])
    assert f"{n} of {n} sheets of pictures are no longer there" in Page(page_of(folder)).text
    assert "There is no picture of it" in view_page(views_of(folder)["unit/mixed3a-3"]).text


def test_a_document_of_an_earlier_version_is_shown_and_kept(folder: Path) -> None:
    folder.mkdir()
    earlier = complete_document()
    write_json(folder / "run.json", {"schema_version": SCHEMA_VERSION, "is_complete": True})
    write_json(folder / "report.json", {"schema_version": SCHEMA_VERSION, **earlier})
    stored = (folder / "report.json").read_bytes()
    build_site(folder)
    assert (folder / "report.json").read_bytes() == stored
    assert "An earlier version of equiscope made this run" in Page(page_of(folder)).text
    loaded = load_document(folder)
    assert loaded is not None
    assert "pictures" not in loaded
    assert len(loaded["units"]) == sum(layer["n_units"] for layer in earlier["layers"])
    drawn = {(p["layer"], p["channel"]): p["n_stimuli"] for p in earlier["pictures"]}
    placed = {(u["layer"], u["channel"]): u["pictures"]["n"] for u in loaded["units"] if u["pictures"]}
    known = {(u["layer"], u["channel"]) for u in loaded["units"]}
    assert placed == {key: [n] for key, n in drawn.items() if key in known}
    layer, channel = next(iter(placed))
    text = view_page(views_of(folder)[f"unit/{layer}-{channel}"]).text
    assert "From all images" in text


def test_a_picture_that_would_be_fetched_is_refused(folder: Path) -> None:
    folder.mkdir()
    earlier = complete_document()
    earlier["pictures"][0]["stimuli"] = "https://example.org/x.png"
    write_json(folder / "run.json", {"schema_version": SCHEMA_VERSION})
    write_json(folder / "report.json", {"schema_version": SCHEMA_VERSION, **earlier})
    with pytest.raises(EquiscopeError, match="base64 data:image"):
        build_site(folder)


def test_what_was_verified_is_shown_again(folder: Path, document: ReportDocument) -> None:
    save_run(folder, document)
    family = document["families"][0]["id"]
    entry: dict[str, Any] = {"family": family, "transformation": "rotation", "members": (), "invariant": ()}
    fields = set(FamilyVerification.__dataclass_fields__)
    figures = {**make_verification("rotation"), **entry}
    save_verification(folder, FamilyVerification(**{k: v for k, v in figures.items() if k in fields}))
    assert show_evidence(folder, "verify")
    loaded = load_document(folder)
    assert loaded is not None
    assert loaded["families"][0]["verification"][0]["median_error"] == 3.42
    assert "No drawn stimuli were shown yet" not in Page(page_of(folder)).text
    (folder / "report.json").unlink()
    assert not show_evidence(folder, "verify")


def test_the_article_is_quoted_beside_inceptionv1_only() -> None:
    claim = article_claim("googlenet", "mixed3a", "rotation")
    assert claim is not None
    assert claim.short == "≈ 80 %"
    assert "Perhaps 80% of features in early vision" in claim.sentence
    assert article_claim("mini", "mixed3a", "rotation") is None
    assert article_claim("googlenet", "layer3", "rotation") is None
    assert article_claim("googlenet", "mixed3a", "contrast") is None
    deep = article_claim("inception5h", "mixed4a", "reflection")
    assert deep is not None
    assert "horizontally flipped pairs" in deep.sentence


def test_the_articles_words_stand_beside_ours(folder: Path, document: ReportDocument) -> None:
    document["model"]["name"] = "googlenet"
    save_run(folder, document)
    assert "article: ≈ 80 %" in Page(page_of(folder)).text
    assert "Naturally Occurring Equivariance in Neural Networks" in Page(page_of(folder)).text
    assert "Perhaps 80%" in view_page(views_of(folder)["layer/mixed3a"]).text


def test_a_copy_holds_the_site_and_nothing_else(
    folder: Path, tmp_path: Path, document: ReportDocument
) -> None:
    save_run(folder, document)
    (folder / "responses").mkdir()
    target = tmp_path / "www"
    assert publish_site(folder, target) == target / "index.html"
    assert {path.name for path in target.iterdir()} == {"index.html", "site", "report.json"}
    assert views_of(target) == views_of(folder)
    stale = target / "site" / "data" / "layer" / "stale.js"
    stale.write_text("")
    publish_site(folder, target)
    assert not stale.exists()
    with pytest.raises(EquiscopeError, match="is a published copy of a report"):
        build_site(target)


@pytest.mark.parametrize("held", ["index.html", "thesis.tex", ".git"])
def test_a_copy_replaces_nothing_but_a_copy(
    folder: Path, tmp_path: Path, document: ReportDocument, held: str
) -> None:
    save_run(folder, document)
    target = tmp_path / "mine"
    target.mkdir()
    (target / held).write_text("precious")
    with pytest.raises(EquiscopeError, match=rf"holds '{re.escape(held)}': expected a new or empty folder"):
        publish_site(folder, target)
    assert [path.name for path in target.iterdir()] == [held]
    with pytest.raises(EquiscopeError, match="expected a new or empty folder"):
        publish_site(folder, target / held)


@pytest.mark.parametrize("n_files", [0, 1, 5])
def test_a_copy_that_was_killed_half_way_is_gone_on_with(
    folder: Path, tmp_path: Path, document: ReportDocument, n_files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_run(folder, document)
    target, copied = tmp_path / "www", []

    def killed(source: Path, destination: Path) -> None:
        if len(copied) == n_files:
            raise KeyboardInterrupt
        copied.append(destination)
        destination.write_bytes(source.read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", killed)
        with pytest.raises(KeyboardInterrupt):
            publish_site(folder, target)
    assert not (target / "index.html").exists()
    publish_site(folder, target)
    assert views_of(target) == views_of(folder)
    assert {path.name for path in target.iterdir()} == {"index.html", "site", "report.json"}


def test_a_page_beside_an_empty_folder_is_no_copy(
    folder: Path, tmp_path: Path, document: ReportDocument
) -> None:
    save_run(folder, document)
    target = tmp_path / "mine"
    (target / "site").mkdir(parents=True)
    publish_site(folder, target)  # a copy may have been killed as early as this
    shutil.rmtree(target / "site")
    (target / "site").mkdir()
    with pytest.raises(EquiscopeError, match=r"holds 'index\.html'|holds 'report\.json'|holds 'site'"):
        publish_site(folder, target)
    assert (target / "index.html").exists()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EquiscopeError, match="is no folder: expected the folder of a run"):
        build_site(tmp_path / "nowhere")
    with pytest.raises(EquiscopeError, match=r"holds no run\.json"):
        build_site(tmp_path)
    write_json(tmp_path / "run.json", {"schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(EquiscopeError, match="update equiscope"):
        build_site(tmp_path)
    assert not (tmp_path / "index.html").exists()


def test_families_and_layers_must_agree(folder: Path, document: ReportDocument) -> None:
    twice = copy.deepcopy(document)
    twice["families"].append(twice["families"][0])
    with pytest.raises(EquiscopeError, match="the document has 13 families with 12 different ids"):
        save_run(folder, twice)
    document["families"][0]["members"][0]["layer"] = "conv2d00"
    with pytest.raises(EquiscopeError, match=r"unknown layer 'conv2d00': did you mean 'conv2d0'\?"):
        save_run(folder, document)


def test_a_run_that_is_not_finished_shows_what_it_has(folder: Path) -> None:
    folder.mkdir()
    settings = {
        "layers": ["a", "b"], "transformations": ["rotation", "hue"], "angles": 16, "examples_per_unit": 8,
        "false_discovery_rate": 0.05, "min_score": 0.35, "seed": 0,
    }  # fmt: skip
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "is_complete": False,
        "command": "equiscope survey net.py:factory",
        "model": {"name": "net", "weights_sha256": None},
        "images": {"name": "photos", "n_images": 9},
        "settings": settings,
    }
    write_json(folder / "run.json", manifest)
    build_site(folder)
    page = Page(page_of(folder))
    assert "This run is not finished: 0 of about 4 searches are there" in page.text
    assert "equiscope survey net.py:factory" in page.text
    assert "Circuits were not recovered yet" not in page.text
    line = {"transformation": "hue", "kind": "neither", "family": None, "score": None, "invariance": 0.25}
    null = {"n_draws": 20, "families_expected": 0.5, "score_95": 0.4, "loss": None}
    result = {
        "schema_version": SCHEMA_VERSION, "layers": ["a"], "transformation": "hue", "null": null, "n_refused": 2,
        "notes": [], "families": [], "symmetries": [line | {"stabiliser_order": 1}] * 3, "tuning": {},
    }  # fmt: skip
    write_json(folder / "results" / "hue" / "a.json", result)
    build_site(folder)
    assert "1 of about 4 searches are there" in Page(page_of(folder)).text
    views = views_of(folder)
    assert "3 units" in view_page(views["layer/a"]).text
    assert "Nothing is known of its single units yet." in view_page(views["layer/b"]).text
    assert "0.25" in view_page(views["unit/a-2"]).text


def answer(port: int, path: str, host: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    return response.status, response.headers.get("Content-Type", "")


def test_the_server_gives_out_the_site_to_this_machine_alone(folder: Path, document: ReportDocument) -> None:
    save_run(folder, document)
    with serve_site(folder) as server:
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        sheet = "/" + document["sheets"][0]["address"]
        for path, kind in (
            ("/", "text/html"),
            ("/site/app/core.js", "text/javascript"),
            (sheet, "image/webp"),
        ):
            assert answer(port, path) == (200, kind)
        for path in (
            "/run.json",
            "/site/",
            "/site/data/",
            "/site/../run.json",
            "/site/%2e%2e/run.json",
            "/nope",
        ):
            assert answer(port, path)[0] == 404
        assert answer(port, "/", host="evil.example:80")[0] == 403
        with (
            pytest.raises(EquiscopeError, match=f"port {port} on 127.0.0.1 cannot be used"),
            serve_site(folder, port),
        ):
            pass
        server.shutdown()


def test_open_builds_what_is_missing_and_ends_with_ctrl_c(
    folder: Path, document: ReportDocument, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_run(folder, document)
    (folder / "index.html").unlink()
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", interrupt)
    told: list[str] = []
    open_site(folder, on_address=told.append)
    assert told == opened
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", told[0])
    open_site(folder, in_browser=False)
    assert len(opened) == 1
    assert (folder / "index.html").exists()
    result = CliRunner().invoke(app, ["open", str(folder), "--no-browser"])
    assert result.exit_code == 0
    assert re.search(r"report: http://127\.0\.0\.1:\d+/ \(Ctrl-C ends it\)", result.output)


def test_ctrl_c_in_a_browser_of_the_terminal_ends_it_too(
    folder: Path, document: ReportDocument, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_run(folder, document)
    served: list[object] = []

    def interrupt(_address: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("webbrowser.open", interrupt)
    monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", lambda *_, **__: served.append(1))
    open_site(folder)
    assert served == []


def test_report_builds_and_publishes(folder: Path, tmp_path: Path, document: ReportDocument) -> None:
    save_run(folder, document)
    result = CliRunner().invoke(app, ["report", str(folder)])
    assert result.output.strip() == f"report: {folder / 'index.html'}"
    result = CliRunner().invoke(app, ["report", str(folder), "--publish", str(tmp_path / "www")])
    assert result.output.strip() == f"report: {tmp_path / 'www' / 'index.html'}"


def test_a_document_is_as_it_was_after_it_was_shown(folder: Path, document: ReportDocument) -> None:
    before = copy.deepcopy(document)
    folder.mkdir(exist_ok=True)
    save_report(folder, document)
    assert document == before
