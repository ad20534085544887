"""Networks and weights from somebody else: names that lead elsewhere and sizes that nothing has are refused."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_safetensors

from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.received import folder_name
from equiscope.models import Model, inception5h, load_model
from equiscope.models.caffe import read_caffemodel
from equiscope.models.trained import Blueprint, PlainNetwork, serialise
from equiscope.models.weights import read_tensors

LAYERS = (
    {"name": "conv2d0", "n_channels": 6, "kernel_px": 3, "stride": 2},
    {"pool_taps": 4},
    {"name": "mixed1", "direct": 2, "reduced": [[3, 4, 3]], "pooled": 2},
)
BLUEPRINT = Blueprint("tiny", LAYERS, ("cat", "dog"), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), 32, True)


def written(path: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """A trained network's file, with a change in its description."""
    network = PlainNetwork(BLUEPRINT)
    header = json.loads(json.dumps({"version": 1, **asdict(BLUEPRINT)}))
    change(header)
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    path.write_bytes(to_safetensors(tensors, metadata={"equiscope": json.dumps(header)}))
    return str(path)


def test_a_trained_network_is_read_as_it_was_written(tmp_path: Path) -> None:
    network = PlainNetwork(BLUEPRINT).eval()
    (tmp_path / "model.safetensors").write_bytes(serialise(network, BLUEPRINT))
    model = load_model(str(tmp_path / "model.safetensors"))
    assert model.weights_sha256() == Model(network).weights_sha256()
    wanted = [value.requires_grad for value in network.parameters()]
    assert [value.requires_grad for value in model.module.parameters()] == wanted
    assert not all(wanted)
    assert (model.name, model.input_size_px) == ("tiny", 32)
    images = torch.rand(2, 3, 32, 36)
    with torch.no_grad():
        assert torch.equal(model.module(images), network(images))


def set_layer(index: int, **changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda header: header["layers"][index].update(changes)


@pytest.fixture(autouse=True, scope="module")
def everything_is_imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Build a network once: what torch imports when it first does so has 65 MB."""
    load_model(written(tmp_path_factory.mktemp("first") / "model.safetensors", lambda header: None))


@contextmanager
def allocating_little() -> Iterator[None]:
    """Refuse a block that has more than 50 MB at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda header: header.update(name="\x1b[2Jtiny"), "its name is"),
        (lambda header: header.update(name=7), "its name is 7"),
        (lambda header: header.update(name="a" * 10_000), "its name is 'aaa"),
        (set_layer(0, name="conv\x00"), "its name is"),
        (set_layer(0, name="a.b"), "a.b"),
        (set_layer(0, name="forward"), "forward"),
        (set_layer(0, n_channels=1 << 40), "its n_channels is 1099511627776"),
        (set_layer(0, n_channels=60_000), "size mismatch"),
        (set_layer(0, n_channels=-1), "its n_channels is -1"),
        (set_layer(0, n_channels=True), "its n_channels is True"),
        (set_layer(0, stride=10_000_000), "its stride is 10000000"),
        (set_layer(0, kernel_px=3.0), r"its kernel_px is 3\.0"),
        (set_layer(1, pool_taps=1_000_000_000), "its pool_taps is"),
        (set_layer(2, reduced=[[1 << 50, 4, 3]]), "its reduced is"),
        (set_layer(2, reduced=[[3, 4]]), "not enough values"),
        (lambda header: header.update(layers=header["layers"] * 1000), "its number of layers is 3000"),
        (lambda header: header.update(layers=["conv"]), "its number of layers"),
        (lambda header: header.update(layers=5), "not iterable"),
        (lambda header: header.update(mean=[0.5, float("nan"), 0.5]), "its mean or sd"),
        (lambda header: header.update(sd=[0.2, 0.0, 0.2]), "its sd is"),
        (lambda header: header.update(sd=["a", "b", "c"]), "TypeError|must be real|str"),
        (lambda header: header.update(input_size_px=10**9), "its size is 1000000000"),
        (lambda header: header.update(classes=["cat"] * 5), "size mismatch"),
        (lambda header: header.update(classes=[["cat"], 1]), "its list of classes"),
        (lambda header: header.update(surprise=1), "surprise"),
        (lambda header: header.pop("mean"), "mean"),
    ],
)
def test_a_description_that_is_none_is_refused_before_anything_is_allocated(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], why: str
) -> None:
    spec = written(tmp_path / "model.safetensors", change)
    with (
        allocating_little(),
        pytest.raises(EquiscopeError, match=f"do not fit their own description: .*({why})"),
    ):
        load_model(spec)


@pytest.mark.parametrize("name", ["../../home/me/.config", "/etc/cron.d", "..", ".ssh", "a/b\\c", "x" * 200])
def test_a_name_leads_to_no_other_folder(tmp_path: Path, name: str) -> None:
    spec = written(tmp_path / "model.safetensors", lambda header: header.update(name=name))
    folder = tmp_path / folder_name(load_model(spec).name)
    assert folder.resolve().parent == tmp_path.resolve()
    assert not folder.name.startswith(".")


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


HOSTILE = {
    "huge": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}"),
    "negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3)}"),
    "overflowing": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 99999999999999999999999)}"),
    "code": npy("{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os').system('true')}"),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", pickle.dumps([1])),
    "no header": b"\x93NUMPY\x09\x09",
    "unknown type": npy("{'descr': 'f99', 'fortran_order': False, 'shape': (1,)}"),
    "text": b"<html>",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_arrays_are_refused(tmp_path: Path, kind: str) -> None:
    path = npz(tmp_path / "net.npz", **{"conv1/weights.npy": HOSTILE[kind]})
    with pytest.raises(
        EquiscopeError, match=r"net\.npz is (cut short or )?not an \.npz of arrays: .*Fetch the file again"
    ) as caught:
        read_tensors(path)
    assert "pickle" not in str(caught.value)


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        zeros = bytes(1 << 24)
        for _ in range(65):
            member.write(zeros)
    assert path.stat().st_size < 2e6
    with (
        allocating_little(),
        pytest.raises(EquiscopeError, match=r"unpacked it would have 1\.1 GB, the largest network has 0\.1"),
    ):
        read_tensors(path)


def field(number: int, content: bytes | int) -> bytes:
    """One field of the protobuf wire format."""

    def varint(value: int) -> bytes:
        out = b""
        while value > 0x7F:
            out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
        return out + bytes([value])

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(shape: list[int], *extra: bytes) -> bytes:
    sizes = b"".join(field(1, size) for size in shape)
    return field(100, field(1, b"conv1") + field(7, field(7, sizes) + b"".join(extra)))


@pytest.mark.parametrize(
    "content",
    [
        blob([1 << 62, 1 << 62]),
        blob([0, 1 << 63]),
        blob([1] * 100, field(5, struct.pack("<f", 1.0))),
        blob([(1 << 64) - 1], field(5, b"")),
        field(100, field(1, b"conv1") + field(7, field(1, b""))),
        field(100, field(1, b"conv1") + field(7, field(5, b"abc"))),
        b"\x80" * 20,
    ],
)
def test_hostile_blobs_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    with pytest.raises(EquiscopeError, match=r"is cut short or not a .caffemodel: .*Fetch the file again"):
        read_caffemodel(path)


def constant(*fields: bytes) -> bytes:
    value = field(5, field(1, b"value") + field(2, field(8, b"".join(fields))))
    return field(1, field(1, b"conv2d0_w") + field(2, b"Const") + value)


def dimension(size: int) -> bytes:
    return field(2, field(2, field(1, size)))


@pytest.mark.parametrize(
    "content",
    [
        constant(field(1, b"")),
        constant(field(1, 1), dimension(1 << 62), field(5, struct.pack("<f", 1.0))),
        constant(field(1, 1), *[dimension(1)] * 100, field(5, struct.pack("<f", 1.0))),
        constant(field(1, 19), dimension(2), dimension(1 << 40), field(13, 1 << 20)),
        constant(field(1, 1), dimension(0), dimension(1 << 63), field(4, b"")),
        field(
            1, field(1, b"n") + field(2, b"LRN") + field(5, field(1, b"alpha") + field(2, field(4, b"abc")))
        ),
    ],
)
def test_hostile_graphs_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.pb"
    path.write_bytes(content)
    with pytest.raises(EquiscopeError, match="is cut short or not a TensorFlow graph"):
        inception5h.read_graph(path)


def test_damaged_files_of_weights_give_a_sentence(tmp_path: Path) -> None:
    """Each byte of a small file is changed in turn: it is read, or refused in a sentence."""
    buffer = io.BytesIO()
    np.savez(buffer, **{"conv1/weights": np.ones((2, 3), np.float32)})
    caffe = blob([2], field(5, struct.pack("<ff", 1, 2)))
    graph = constant(field(1, 1), dimension(2), field(5, struct.pack("<ff", 1, 2)))
    n_refused = 0
    for name, whole, read in (
        ("net.npz", buffer.getvalue(), read_tensors),
        ("net.caffemodel", caffe, read_tensors),
        ("net.pb", graph, inception5h.read_graph),
    ):
        path = tmp_path / name
        for at in range(len(whole)):
            for value in (0x00, 0xFF, whole[at] ^ 0x08):
                path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
                try:
                    read(path)
                except EquiscopeError:
                    n_refused += 1
    assert n_refused > 300
