"""Weight files, the cache and downloads: nothing half-read, half-written or unchecked is ever used."""

from __future__ import annotations

import hashlib
import http.server
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.progress import Progress
from torch import nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.models import weights
from equiscope.models.caffe import read_caffemodel
from equiscope.models.weights import PublicFile, assign, obtain, read_tensors

# --- a writer of the wire format, independent of the reader ------------------------------------------------


def varint(value: int) -> bytes:
    digits = []
    while True:
        digits.append(value & 0x7F)
        value >>= 7
        if not value:
            return bytes([d | 0x80 for d in digits[:-1]] + digits[-1:])


def field(number: int, content: int | bytes) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def new_blob(array: np.ndarray) -> bytes:
    shape = field(1, b"".join(varint(n) for n in array.shape))
    return field(7, shape) + field(5, array.astype("<f4").tobytes())


def legacy_blob(array: np.ndarray, is_packed: bool = True) -> bytes:
    shape = (1,) * (4 - array.ndim) + array.shape
    sizes = b"".join(field(number, n) for number, n in enumerate(shape, start=1))
    if is_packed:
        return sizes + field(5, array.astype("<f4").tobytes())
    return sizes + b"".join(varint(5 << 3 | 5) + struct.pack("<f", v) for v in array.ravel())


def caffemodel(layers: dict[str, list[np.ndarray]], is_legacy: bool = False, is_packed: bool = True) -> bytes:
    written = field(1, b"net") + field(2 if is_legacy else 100, b"")
    for name, arrays in layers.items():
        if is_legacy:
            blobs = b"".join(field(6, legacy_blob(a, is_packed)) for a in arrays)
            written += field(2, field(4, name.encode()) + field(5, 4) + blobs)
        else:
            blobs = b"".join(field(7, new_blob(a)) for a in arrays)
            written += field(100, field(1, name.encode()) + field(2, b"Convolution") + blobs)
    return written


@pytest.fixture
def layers() -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        "conv1/7x7_s2": [rng.normal(size=(4, 3, 2, 5)), rng.normal(size=4)],
        "loss3/classifier": [rng.normal(size=(6, 300)), rng.normal(size=6)],
    }


# --- file formats ------------------------------------------------------------------------------------------


def test_reads_new_caffemodel(tmp_path: Path, layers: dict[str, list[np.ndarray]]) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(layers))
    found = read_tensors(path)
    assert set(found) == {f"{layer}/{kind}" for layer in layers for kind in ("weights", "biases")}
    for layer, (weight, bias) in layers.items():
        assert found[f"{layer}/weights"].shape == weight.shape
        np.testing.assert_array_equal(found[f"{layer}/weights"], weight.astype(np.float32))
        np.testing.assert_array_equal(found[f"{layer}/biases"], bias.astype(np.float32))


@pytest.mark.parametrize("is_packed", [True, False])
def test_reads_legacy_caffemodel(
    tmp_path: Path, layers: dict[str, list[np.ndarray]], is_packed: bool
) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(layers, is_legacy=True, is_packed=is_packed))
    found = read_caffemodel(path)
    assert found["loss3/classifier/weights"].shape == (1, 1, 6, 300)
    assert found["conv1/7x7_s2/biases"].shape == (1, 1, 1, 4)
    for layer, arrays in layers.items():
        for kind, array in zip(("weights", "biases"), arrays, strict=True):
            np.testing.assert_array_equal(found[f"{layer}/{kind}"].ravel(), array.astype(np.float32).ravel())


def test_every_cut_of_a_caffemodel_is_noticed(tmp_path: Path) -> None:
    """A cut either stops the reader or leaves a tensor out; no cut gives a tensor with other values."""
    whole = caffemodel({"a": [np.arange(6.0).reshape(2, 3)], "b": [np.arange(5.0)]})
    path = tmp_path / "net.caffemodel"
    path.write_bytes(whole)
    complete = read_caffemodel(path)
    n_read = 0
    for n_bytes in range(len(whole)):
        path.write_bytes(whole[:n_bytes])
        try:
            found = read_caffemodel(path)
        except EquiscopeError:
            continue
        n_read += 1
        assert set(found) < set(complete)
        for name, array in found.items():
            np.testing.assert_array_equal(array, complete[name])
    assert n_read == 1  # just between the two layers


@pytest.mark.parametrize(
    "content",
    [b"<!DOCTYPE html><html>not found</html>", b"", b"\x00" * 50, b"\xff" * 50, b"version https://git-lfs"],
)
def test_refuses_what_is_no_caffemodel(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    with pytest.raises(EquiscopeError, match=r"caffemodel"):
        read_caffemodel(path)


def test_refuses_blob_whose_shape_and_values_disagree(tmp_path: Path) -> None:
    blob = field(7, field(1, varint(2) + varint(3))) + field(5, np.zeros(5, "<f4").tobytes())
    path = tmp_path / "net.caffemodel"
    path.write_bytes(field(100, field(1, b"conv9") + field(7, blob)))
    with pytest.raises(EquiscopeError, match=r"'conv9'.*\(2, 3\) has 5 values"):
        read_caffemodel(path)


def test_npz_in_half_precision_is_widened(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    np.savez_compressed(path, **{"conv/weights": np.array([[0.1, 2.0]], np.float16)})
    found = read_tensors(path)["conv/weights"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([[0.1, 2.0]], np.float16).astype(np.float32))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_refuses_truncated_npz(tmp_path: Path, share: float) -> None:
    path = tmp_path / "net.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).normal(size=1000), b=np.zeros(3))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(EquiscopeError, match=r"net\.npz is cut short"):
        read_tensors(path)


def test_refuses_other_files(tmp_path: Path) -> None:
    with pytest.raises(EquiscopeError, match="no such file"):
        read_tensors(tmp_path / "absent.npz")
    with pytest.raises(EquiscopeError, match="no such file"):
        read_tensors(tmp_path)
    (tmp_path / "net.pth").write_bytes(b"x")
    with pytest.raises(EquiscopeError, match=r"\.npz or \.caffemodel"):
        read_tensors(tmp_path / "net.pth")
    np.savez(tmp_path / "ints.npz", labels=np.arange(3))
    with pytest.raises(EquiscopeError, match="'labels' has type int64, expected floats"):
        read_tensors(tmp_path / "ints.npz")


# --- into the network --------------------------------------------------------------------------------------

NAMES = {"weight": "conv/weights", "bias": "conv/biases"}


def conv_tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "conv/weights": rng.normal(size=(4, 3, 2, 5)).astype(np.float32),
        "conv/biases": rng.normal(size=4).astype(np.float32),
    }


def test_assign_copies_values_and_drops_legacy_axes() -> None:
    conv, tensors = nn.Conv2d(3, 4, (2, 5)), conv_tensors()
    assign(conv, NAMES, tensors | {"conv/biases": tensors["conv/biases"].reshape(1, 1, 1, 4)}, "file")
    assert torch.equal(conv.weight, torch.from_numpy(tensors["conv/weights"]))
    assert torch.equal(conv.bias, torch.from_numpy(tensors["conv/biases"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv/biases": None}, r"no tensor 'conv/biases', expected shape \(4,\)"),
        ({"conv/biases": np.zeros(5)}, r"'conv/biases' has shape \(5,\), expected \(4,\)"),
        ({"conv/weights": np.zeros((4, 3, 5, 2))}, r"has shape \(4, 3, 5, 2\), expected \(4, 3, 2, 5\)"),
        ({"conv/biases": np.zeros((4, 1))}, r"has shape \(4, 1\), expected \(4,\)"),
        ({"fc/weights": np.zeros((2, 7))}, r"tensor 'fc/weights' of shape \(2, 7\).*1 such"),
        ({"conv/biases": np.array([0, 0, np.nan, 0])}, r"'conv/biases' holds infinities or NaN"),
    ],
)
def test_assign_names_the_wrong_tensor_and_copies_nothing(
    change: dict[str, np.ndarray | None], message: str
) -> None:
    conv = nn.Conv2d(3, 4, (2, 5))
    before = {name: value.clone() for name, value in conv.state_dict().items()}
    changed = {name: array for name, array in (conv_tensors() | change).items() if array is not None}
    with pytest.raises(EquiscopeError, match=message):
        assign(conv, NAMES, changed, "file")
    assert all(torch.equal(value, before[name]) for name, value in conv.state_dict().items())


# --- cache and download ------------------------------------------------------------------------------------

CONTENT = np.random.default_rng(2).bytes(300_000)
SHA1 = hashlib.sha1(CONTENT).hexdigest()  # noqa: S324 - what the publishers give


class _Handler(http.server.BaseHTTPRequestHandler):
    requested: list[str]

    def do_GET(self) -> None:
        type(self).requested.append(self.path)
        if self.path == "/absent":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.path in ("/whole", "/unsized") else CONTENT[:100_000])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Callable[[str], str]]:
    _Handler.requested = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield lambda path: f"http://127.0.0.1:{running.server_port}{path}"
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "new" / "cache"
    monkeypatch.setenv("EQUISCOPE_CACHE", str(folder))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.mark.parametrize("path", ["/whole", "/unsized"])
def test_download_is_kept_and_not_repeated(server: Callable[[str], str], cache: Path, path: str) -> None:
    public = PublicFile("net.bin", server(path), SHA1)
    assert obtain(public).read_bytes() == CONTENT
    assert obtain(public) == cache / "net.bin"
    assert _Handler.requested == [path]
    assert [p.name for p in cache.iterdir()] == ["net.bin"]


@pytest.mark.parametrize(
    ("path", "sha1", "message"),
    [
        ("/whole", "0" * 40, f"has sha1 {SHA1}, expected {'0' * 40}"),
        ("/truncated", SHA1, "(ended after 100000 of 300000 bytes|IncompleteRead)"),
        ("/absent", SHA1, "could not download.*404.*--weights"),
    ],
)
def test_failed_download_leaves_nothing(
    server: Callable[[str], str], cache: Path, path: str, sha1: str, message: str
) -> None:
    with pytest.raises(EquiscopeError, match=message):
        obtain(PublicFile("net.bin", server(path), sha1))
    assert list(cache.iterdir()) == []


def test_interrupted_download_leaves_nothing(
    server: Callable[[str], str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            obtain(PublicFile("net.bin", server("/whole"), SHA1))
    assert list(cache.iterdir()) == []


def test_left_over_part_of_a_killed_download_is_not_taken(server: Callable[[str], str], cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / ".net.bin.abc.part").write_bytes(CONTENT[:10])
    assert obtain(PublicFile("net.bin", server("/whole"), SHA1)).read_bytes() == CONTENT


def test_no_server_and_no_folder(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(EquiscopeError, match="could not download"):
        obtain(PublicFile("net.bin", "http://127.0.0.1:9/net.bin", SHA1))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EQUISCOPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(EquiscopeError, match="could not download"):
        obtain(PublicFile("net.bin", "http://127.0.0.1:9/net.bin", SHA1))


def test_damaged_file_in_the_cache_is_refused(server: Callable[[str], str], cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "net.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(EquiscopeError, match=f"net.bin has sha1 .*, expected {SHA1}"):
        obtain(PublicFile("net.bin", server("/whole"), SHA1))
    assert _Handler.requested == []


def test_nothing_is_downloaded_without_a_checksum(server: Callable[[str], str], cache: Path) -> None:
    public = PublicFile("net.bin", server("/whole"), None)
    with pytest.raises(EquiscopeError, match=r"no checksum.*--weights FILE"):
        obtain(public)
    assert _Handler.requested == []
    cache.mkdir(parents=True)
    (cache / "net.bin").write_bytes(b"the user's own")
    assert obtain(public) == cache / "net.bin"


def test_default_cache_is_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EQUISCOPE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights.cache_folder() == tmp_path / ".cache" / "equiscope"
