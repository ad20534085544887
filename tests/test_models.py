"""Networks under study: what each text gives, what the built-in ones compute, and that none is changed."""

from __future__ import annotations

import csv
import importlib.util
import io
import sys
import tarfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from equiscope.evidence.circuits.running import run_to
from equiscope.foundations.errors import EquiscopeError, MissingExtraError
from equiscope.models import BUILT_IN, Model, googlenet, load_model, squeezenet
from equiscope.models.caffe import LocalResponseNorm, caffe_input
from equiscope.models.controls import random_weights
from equiscope.models.googlenet import GoogLeNet
from equiscope.models.squeezenet import SqueezeNet


def caffe_tensors(model: Model) -> dict[str, np.ndarray]:
    """The weights of a network under the names that Caffe's files use, found without the package's table."""
    stem = {"conv2d0": "conv1/7x7_s2", "conv2d1": "conv2/3x3_reduce", "conv2d2": "conv2/3x3"}
    branches = {"pool_reduce": "pool_proj", "3x3_bottleneck": "3x3_reduce", "5x5_bottleneck": "5x5_reduce"}
    tensors = {}
    for name, value in model.module.state_dict().items():
        layer, kind = name.rsplit(".", 1)
        block, _, branch = layer.partition(".")
        if block.startswith("mixed"):
            caffe = f"inception_{block[5:]}/{branches.get(branch, branch)}"
        elif model.name == "squeezenet":
            caffe = layer.replace(".", "/")
        else:
            caffe = stem.get(layer, "loss3/classifier")
        tensors[f"{caffe}/{'weights' if kind == 'weight' else 'biases'}"] = value.numpy()
    return tensors


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 3, 90, 61, generator=torch.Generator().manual_seed(0))


# --- built-in networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "beta"), [(5, 0.75), (9, 0.5), (3, 0.6), (9, 0.75)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_local_response_norm_is_torchs(size: int, beta: float, memory_format: torch.memory_format) -> None:
    x = (torch.randn(2, 7, 5, 4, generator=torch.Generator().manual_seed(0)) * 100).contiguous(
        memory_format=memory_format
    )
    kept = x.clone()
    found = LocalResponseNorm(size, alpha=1e-2, beta=beta, k=1.5)(x)
    wanted = nn.functional.local_response_norm(x, size, 1e-2, beta, 1.5)
    assert (wanted - x).abs().max() > 1
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(x, kept)


def test_local_response_norm_has_torchs_gradient() -> None:
    x = (torch.randn(1, 6, 3, 2, dtype=torch.float64) * 10).requires_grad_()
    assert torch.autograd.gradcheck(LocalResponseNorm(5, alpha=1e-2), x)


@pytest.mark.parametrize("name", ["googlenet", "squeezenet"])
def test_weights_from_npz(tmp_path: Path, images: Tensor, name: str) -> None:
    module = GoogLeNet() if name == "googlenet" else SqueezeNet()
    random = Model(module, name)
    tensors = caffe_tensors(random)
    auxiliary = {f"loss{n}/{layer}": np.ones(2) for n in (1, 2) for layer in ("fc/weights", "conv/biases")}
    np.savez(tmp_path / "net.npz", **tensors, **(auxiliary if name == "googlenet" else {}))
    model = load_model(name, tmp_path / "net.npz")
    assert model.weights_sha256() == random.weights_sha256()
    assert not model.module.training

    one = next(iter(tensors))
    np.savez(tmp_path / "wrong.npz", **(tensors | {one: tensors[one][:-1]}))
    with pytest.raises(EquiscopeError, match=rf"{one}.*\(63, .*expected \(64, "):
        load_model(name, str(tmp_path / "wrong.npz"))


def test_googlenet_layers_are_the_articles(images: Tensor) -> None:
    model = Model(GoogLeNet(), "googlenet", caffe_input, googlenet.LAYERS)
    recorded = model.record(images, googlenet.LAYERS)
    n_channels = [64, 64, 192, 256, 480, 512, 512, 512, 528, 832, 832, 1024]
    assert [value.shape[1] for value in recorded.values()] == n_channels
    # Caffe rounds the size after a pool up: 90 x 61 -> 45 x 31 -> 22 x 15 -> 11 x 7 -> 5 x 3 -> 2 x 1.
    sizes = {layer: tuple(value.shape[2:]) for layer, value in recorded.items()}
    assert sizes["conv2d0"] == (45, 31)
    assert sizes["conv2d2"] == (22, 15)
    assert sizes["mixed3b"] == (11, 7)
    assert sizes["mixed4e"] == (5, 3)
    assert sizes["mixed5b"] == (2, 1)
    for value in recorded.values():
        assert value.min() < 0 < value.max()


def test_mixed_block_joins_its_branches_before_relu(images: Tensor) -> None:
    model = Model(GoogLeNet(), "googlenet", caffe_input)
    branches = [f"mixed3b.{name}" for name in ("1x1", "3x3", "5x5", "pool_reduce")]
    recorded = model.record(images, ["mixed3b", *branches])
    assert torch.equal(recorded["mixed3b"], torch.cat([recorded[name] for name in branches], 1))


def test_squeezenet_layers(images: Tensor) -> None:
    model = Model(SqueezeNet(), "squeezenet", caffe_input, squeezenet.LAYERS)
    expansions = ["fire7.expand1x1", "fire7.expand3x3"]
    recorded = model.record(images, [*squeezenet.LAYERS, *expansions])
    joined = torch.cat([recorded.pop(name) for name in expansions], 1)
    assert torch.equal(recorded["fire7"], joined)
    assert [value.shape[1] for value in recorded.values()] == [64, 128, 128, 256, 256, 384, 384, 512, 512]
    sides = {"conv1": (44, 30), "fire2": (22, 15), "fire3": (22, 15), "fire4": (11, 7), "fire5": (11, 7)}
    assert {layer: tuple(value.shape[2:]) for layer, value in recorded.items()} == {
        layer: sides.get(layer, (5, 3)) for layer in squeezenet.LAYERS
    }
    for value in recorded.values():
        assert value.min() < 0 < value.max()


def test_caffe_input_is_blue_first_and_centred() -> None:
    red = torch.zeros(1, 3, 2, 4)
    red[:, 0] = 1
    prepared = caffe_input(red)
    assert prepared[0, :, 0, 0].tolist() == [-104.0, -117.0, 255.0 - 123.0]
    assert prepared.shape == red.shape


@pytest.mark.parametrize(
    ("name", "file", "floor"),
    [("googlenet", "bvlc_googlenet_fp16.npz", 0.7), ("squeezenet", "squeezenet1_1_fp16.npz", 0.55)],
)
def test_names_photographs(shared: Path, name: str, file: str, floor: float) -> None:
    with (shared / "data" / "photos_index.csv").open(newline="") as table:
        rows = [row for _, row in zip(range(1000), csv.DictReader(table), strict=False)]
    synsets = sorted(row["synset"] for row in rows)
    assert len(set(synsets)) == 1000
    model = load_model(name, shared / "weights" / file)
    before = model.weights_sha256()
    n_right = 0
    with tarfile.open(shared / "data" / "photos.tar") as archive, torch.no_grad():
        for start in range(0, 1000, 200):
            batch = rows[start : start + 200 : 10]
            photos = []
            for row in batch:
                file_in_tar = archive.extractfile(f"photos/{row['file']}")
                assert file_in_tar is not None
                photo = np.array(Image.open(io.BytesIO(file_in_tar.read())).convert("RGB"))
                photos.append(torch.from_numpy(photo).permute(2, 0, 1) / 255)
            prepared = model.preprocess(torch.stack(photos)).contiguous(memory_format=torch.channels_last)
            labels = torch.tensor([synsets.index(row["synset"]) for row in batch])
            n_right += int((model.module(prepared).argmax(1) == labels).sum())
    assert n_right / 100 >= floor
    assert model.weights_sha256() == before


def test_download_address_and_checksum_of_built_in_networks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EQUISCOPE_CACHE", str(tmp_path))
    with pytest.raises(EquiscopeError, match=r"no checksum.*squeezenet_v1\.1\.caffemodel.*--weights FILE"):
        load_model("squeezenet")
    (tmp_path / "bvlc_googlenet.caffemodel").write_bytes(b"half")
    with pytest.raises(EquiscopeError, match="expected 405fc5acd08a3bb12de8ee5e23a96bec22f08204"):
        load_model("googlenet")
    (tmp_path / "tensorflow_inception_graph.pb").write_bytes(b"half")
    with pytest.raises(EquiscopeError, match="expected c8a5a000ee8d8dd75886f152a50a9c5b53d726a5"):
        load_model("inception5h")


# --- a borrowed network ------------------------------------------------------------------------------------


class InPlace(nn.Module):
    """Applies its ReLU in place, as most published networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.unused = nn.Conv2d(3, 4, 1)
        self.after = nn.Dropout(1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.act(self.norm(self.conv(x))))


def test_recording_leaves_no_trace(images: Tensor) -> None:
    module = InPlace()
    module.norm.eval()
    flags = {name: m.training for name, m in module.named_modules()}
    model = Model(module)
    before = model.weights_sha256()
    recorded = model.record(images, ["norm", "after"])
    assert recorded["norm"].min() < 0
    assert torch.equal(recorded["after"], recorded["norm"].relu())
    assert {name: m.training for name, m in module.named_modules()} == flags
    assert model.weights_sha256() == before
    assert not any(m._forward_hooks for m in module.modules())
    with pytest.raises(EquiscopeError, match="did not run unused"):
        model.record(images, ["conv", "unused"])
    with pytest.raises(EquiscopeError, match="'conv'"):
        model.record(images, ["cnov"])
    assert not any(m._forward_hooks for m in module.modules())
    assert {name: m.training for name, m in module.named_modules()} == flags


class Residual(nn.Module):
    """Two normalised convolutions in another order than they run, one that is not, and an unused head."""

    def __init__(self) -> None:
        super().__init__()
        self.bn2 = nn.BatchNorm2d(4)
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.plain = nn.Conv2d(4, 5, 1)
        self.before = nn.BatchNorm2d(5)
        self.head = nn.Conv2d(4, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        return self.before(self.plain(x + self.bn2(self.conv2(x))).relu())


def test_default_layers_are_the_convolutions_that_run_or_what_normalises_them() -> None:
    assert Model(InPlace()).resolve_layers() == ["norm"]
    module = Residual().train()
    assert Model(module).resolve_layers() == ["bn1", "bn2", "plain"]
    assert module.bn1.num_batches_tracked == 0
    assert module.training
    assert not any(m._forward_hooks for m in module.modules())
    # A network that refuses an empty image: the measurement says what is wrong with it, and names the layers as given.
    assert Model(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3))).resolve_layers() == ["0", "1"]
    with pytest.raises(EquiscopeError, match="did you mean 'conv'"):
        Model(InPlace(), "net").resolve_layers(["convv"])


@pytest.mark.parametrize(
    "wrap", [torch.compile, nn.DataParallel, lambda m: nn.DataParallel(cast("nn.Module", torch.compile(m)))]
)
def test_wrapped_networks_are_taken_out_of_their_wrappers(wrap: Callable[[nn.Module], nn.Module]) -> None:
    module = InPlace()
    model = Model(wrap(module))
    assert model.module is module
    assert model.resolve_layers() == ["norm"]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_network_that_normalises_in_place_leaves_the_images(
    images: Tensor, memory_format: torch.memory_format
) -> None:
    class Normalising(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.sub_(0.5).div_(0.25))

    held = images.contiguous(memory_format=memory_format)
    before = held.clone()
    outside = Model(nn.Sequential(nn.Conv2d(3, 4, 3)), preprocess=lambda x: x.sub_(0.5).div_(0.25))
    for model in (Model(Normalising(nn.Conv2d(3, 4, 3))), outside):
        model.record(held, ["0"])
        run_to(model, held, "0", {})
        assert torch.equal(held, before)


def test_a_network_that_flattens_by_view_runs(images: Tensor) -> None:
    class Flattening(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(len(x), -1)

    module = nn.Sequential(nn.Conv2d(3, 4, 3), Flattening())
    assert torch.allclose(Model(module).run(images), module(images), atol=1e-5)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Model(nn.Sequential(module, nn.Linear(3, 2))).run(images)


def test_networks_that_cannot_be_studied_are_refused_at_once() -> None:
    with torch.device("meta"):
        hollow = nn.Conv2d(3, 4, 3)
    with pytest.raises(
        EquiscopeError, match=r"ghost has no weights yet \(weight is on the meta device\): load them"
    ):
        Model(hollow, "ghost")
    with pytest.raises(EquiscopeError, match=r"frozen is a TorchScript module.*was made from"):
        Model(torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)), "frozen")


# --- what each text gives ----------------------------------------------------------------------------------

FACTORIES = """
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from neighbour import N_CHANNELS
from equiscope.models import Model

@dataclass
class Options:
    n: int = N_CHANNELS

def plain():
    return nn.Conv2d(3, Options().n, 3)

def wrapped():
    return Model(plain(), "mine", lambda x: 2 * x, ["0"])

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(plain())

ready = plain()

def broken():
    raise RuntimeError("no such checkpoint")

def needs_arguments(n):
    return plain()

def wrong():
    return {"state_dict": 1}

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "neighbour.py").write_text("N_CHANNELS = 5\n")
    (tmp_path / "nets.py").write_text(FACTORIES)
    package = tmp_path / "planted_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "zoo.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("neighbour", "planted_package", "planted_package.zoo", "deep", "sinking", "naming"):
        sys.modules.pop(name, None)


def test_a_control_is_named_by_the_end_of_its_name(folder: Path, images: Tensor) -> None:
    trained, fresh = load_model("mini"), load_model("mini-random")
    assert (fresh.name, fresh.default_layers) == ("mini-random", trained.default_layers)
    wanted = random_weights(trained).module.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in fresh.module.state_dict().items())
    shuffled = load_model("mini-shuffled")
    before, after = (model.module.state_dict()["conv2d0.weight"] for model in (trained, shuffled))
    assert not torch.equal(before, after)
    assert torch.equal(before.flatten(2).sort().values, after.flatten(2).sort().values)
    own = load_model("nets.py:plain-random")
    assert (own.name, own.module(images).shape) == ("plain-random", (2, 5, 88, 59))
    with pytest.raises(EquiscopeError, match="did you mean 'mini'"):
        load_model("mnii-random")


@pytest.mark.parametrize("place", ["nets.py", "planted_package.zoo"])
def test_factories(folder: Path, images: Tensor, place: str) -> None:
    path_before = list(sys.path)
    plain = load_model(f"{place}:plain")
    assert plain.name == "plain"
    assert plain.module(images).shape == (2, 5, 88, 59)
    assert torch.equal(plain.preprocess(images), images)
    wrapped = load_model(f"{place}:wrapped")
    assert wrapped.name == "mine"
    assert torch.equal(wrapped.preprocess(images), 2 * images)
    assert load_model(f"{place}:Net").resolve_layers() == ["0"]
    assert isinstance(load_model(f"{place}:ready").module, nn.Conv2d)
    assert sys.path == path_before


def test_factory_file_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert isinstance(load_model(f"{folder / 'nets.py'}:plain").module, nn.Conv2d)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nets.py:broken", "'nets.py:broken' raised RuntimeError: no such checkpoint"),
        ("nets.py:needs_arguments", "'nets.py:needs_arguments' raised TypeError: .*without arguments"),
        ("nets.py:wrong", "'nets.py:wrong' returned a dict, expected a torch.nn.Module or"),
        ("nets.py:number", "'nets.py:number' is a int, expected a function"),
        ("nets.py:plian", "factory in nets.py 'plian': did you mean 'plain'"),
        ("nets.py", "'nets.py' names a file and no factory: give nets.py:FACTORY"),
        ("nets.py:", "factory in nets.py ''"),
        ("absent.py:plain", "no file absent.py"),
        ("planted_package.zu:plain", "importing planted_package.zu .*failed: ModuleNotFoundError"),
        ("empty:plain", "SyntaxError"),
        (":plain", "failed"),
        ("googlnet", "'googlenet'.*path/file.py:factory.*timm:NAME.*onnx"),
        ("", "unknown model ''"),
        ("absent.onnx", "no file absent.onnx"),
    ],
)
def test_refused_texts(folder: Path, spec: str, message: str) -> None:
    (folder / "empty.py").write_text("def (")
    with pytest.raises(EquiscopeError, match=message):
        load_model(spec)


def test_failing_code_is_told_with_its_place(folder: Path) -> None:
    (folder / "deep.py").write_text(
        "import json\n"
        "def read(text):\n"
        "    return json.loads(text)\n"
        "def checkpoint():\n"
        "    return read('{')\n"
        "def inner():\n"
        "    return checkpoint(1)\n"
        "def outer(n):\n"
        "    pass\n"
    )
    (folder / "sinking.py").write_text("import deep\nNET = deep.checkpoint()\n")
    with pytest.raises(
        EquiscopeError,
        match=r"JSONDecodeError: .*deep\.py, line 3, in read: return json\.loads\(text\)\); mend",
    ):
        load_model("deep.py:checkpoint")
    with pytest.raises(
        EquiscopeError, match=r"importing sinking.* failed: JSONDecodeError: .*deep\.py, line 3, in read"
    ):
        load_model("sinking:NET")
    # The factory works without arguments; something in it does not.
    with pytest.raises(EquiscopeError, match=r"TypeError: .*deep\.py, line 7, in inner: .*\); mend it there"):
        load_model("deep.py:inner")
    with pytest.raises(
        EquiscopeError, match=r"TypeError: outer\(\) missing .*'n'; it must work without arguments"
    ):
        load_model("deep.py:outer")


@pytest.mark.parametrize(
    "line", ["import sys; sys.exit()", "raise SystemExit(0)", "raise GeneratorExit", "exit(3)"]
)
def test_code_that_ends_the_program_is_an_error(folder: Path, line: str) -> None:
    (folder / "ending.py").write_text(f"def net():\n    {line}\n")
    (folder / "ending_at_once.py").write_text(f"{line}\n")
    with pytest.raises(
        EquiscopeError, match=r"the factory 'ending.py:net' ends the program \((SystemExit|GeneratorExit)"
    ):
        load_model("ending.py:net")
    with pytest.raises(
        EquiscopeError, match=r"importing ending_at_once.* ends the program \((SystemExit|GeneratorExit)"
    ):
        load_model("ending_at_once:net")
    (folder / "interrupted.py").write_text("def net():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_model("interrupted.py:net")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("model.pth", "'model.pth' holds weights and not the network.*path/file.py:FACTORY"),
        ("runs/last.ckpt", "'runs/last.ckpt' holds weights"),
        ("NET.PT", "'NET.PT' holds weights"),
        ("pytorch_model.bin-random", "'pytorch_model.bin' holds weights"),
        ("keras.h5", "'keras.h5' is a file of another framework: export the network to ONNX"),
        ("phone.tflite", "'phone.tflite' is a file of another framework"),
        ("graph.pb", "'graph.pb' is a file of weights: give the name of the network first, as inception5h"),
        ("planted_package", "'planted_package' is a folder: give a file in it"),
        ("weights/net.zip", "the file 'weights/net.zip' is not there. Or give package.module:factory"),
        ("notes.txt", "the file 'notes.txt' is no network that is known by its ending"),
    ],
)
def test_files_that_are_no_network_are_told_apart(folder: Path, spec: str, message: str) -> None:
    (folder / "notes.txt").write_text("")
    with pytest.raises(EquiscopeError, match=message):
        load_model(spec)


@pytest.mark.parametrize(
    ("factory", "name"),
    [
        ("factory", "Efficient"),
        ("build_model", "Efficient"),
        ("get_net", "Efficient"),
        ("make", "naming"),
        ("resnet9", "resnet9"),
        ("build_resnet9", "build_resnet9"),
        ("model", "Efficient"),
        ("Efficient", "Efficient"),
    ],
)
def test_a_network_has_a_telling_name(folder: Path, factory: str, name: str) -> None:
    (folder / "naming.py").write_text(
        "from torch import nn\n"
        "class Efficient(nn.Conv2d):\n"
        "    def __init__(self):\n"
        "        super().__init__(3, 4, 3)\n"
        "factory = build_model = get_net = resnet9 = build_resnet9 = Efficient\n"
        "model = Efficient()\n"
        "def make():\n"
        "    return nn.Sequential(Efficient())\n"
    )
    assert load_model(f"naming.py:{factory}").name == name
    assert load_model(f"naming:{factory}").name == name


def test_failing_factory_keeps_its_cause(folder: Path) -> None:
    with pytest.raises(EquiscopeError) as caught:
        load_model("nets.py:broken")
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("spec", ["nets.py:plain", "timm:resnet18", "net.onnx", "torchvision:resnet18"])
def test_weights_for_a_network_that_brings_its_own(folder: Path, spec: str) -> None:
    with pytest.raises(EquiscopeError, match=rf"--weights w\.npz cannot be used with '{spec}'"):
        load_model(spec, "w.npz")


@pytest.mark.parametrize("name", BUILT_IN)
def test_missing_weights_file_of_built_in_networks(tmp_path: Path, name: str) -> None:
    with pytest.raises(EquiscopeError, match=r"absent\.npz"):
        load_model(name, tmp_path / "absent.npz")


# --- optional libraries ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "module", "extra"),
    [
        ("timm:resnet18", "timm", "timm"),
        ("torchvision:resnet18", "torchvision.models", "torchvision"),
        ("net.onnx", "onnx2torch", "onnx"),
    ],
)
def test_missing_extra_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, module: str, extra: str
) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingExtraError, match=rf"cannot be imported .*: pip install .*{module.partition('.')[0]}"
    ):
        load_model(spec)
    assert "torchvision" not in sys.modules or sys.modules["torchvision"].__spec__ is not None


def test_extra_that_breaks_on_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EquiscopeError, match=r"timm is installed but fails to import.*matches torch"):
        load_model("timm:resnet18")


def test_timm_network_has_its_own_mean(monkeypatch: pytest.MonkeyPatch, images: Tensor) -> None:
    conv = nn.Conv2d(3, 4, 3)
    conv.pretrained_cfg = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.25, 0.125), "input_size": (3, 160, 192)}

    fetched: list[str] = []

    def create_model(name: str, pretrained: bool) -> nn.Module:
        if pretrained:
            fetched.append(name)
        if name == "offline" and pretrained:
            raise OSError("no route")
        conv.reset_parameters()
        return conv

    fake = types.SimpleNamespace(
        is_model=lambda name: name in ("tinynet", "offline", "bare"),
        is_model_pretrained=lambda name: name != "bare",
        list_models=lambda: ["tinynet", "offline", "bare"],
        create_model=create_model,
    )
    monkeypatch.setitem(sys.modules, "timm", fake)
    model = load_model("timm:tinynet")
    wanted = (images - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.25, 0.125]).view(
        3, 1, 1
    )
    torch.testing.assert_close(model.preprocess(images), wanted)
    assert (model.name, model.input_size_px) == ("tinynet", 192)
    with pytest.raises(EquiscopeError, match="'tinyent': did you mean 'tinynet'"):
        load_model("timm:tinyent")
    with pytest.raises(EquiscopeError, match="no pretrained weights for 'bare'"):
        load_model("timm:bare")
    with pytest.raises(EquiscopeError, match="with its weights: OSError: no route"):
        load_model("timm:offline")
    # A control of fresh weights fetches none, and has the right preprocessing, also where there are none to fetch.
    fetched.clear()
    state = torch.get_rng_state()
    for name in ("tinynet", "offline", "bare"):
        fresh = load_model(f"timm:{name}-random")
        assert (fresh.name, fresh.input_size_px) == (f"{name}-random", 192)
        torch.testing.assert_close(fresh.preprocess(images), wanted)
        assert fresh.weights_sha256() == load_model("timm:tinynet-random").weights_sha256()
    assert not fetched
    assert torch.equal(torch.get_rng_state(), state)
    load_model("timm:tinynet-shuffled")
    assert fetched == ["tinynet"]
    del conv.pretrained_cfg["mean"]
    with pytest.raises(EquiscopeError, match="timm could not build 'tinynet': KeyError: 'mean'"):
        load_model("timm:tinynet-random")


def test_torchvision_network_has_its_weights_mean(monkeypatch: pytest.MonkeyPatch, images: Tensor) -> None:
    transforms = types.SimpleNamespace(mean=[0.1, 0.2, 0.3], std=[0.5, 0.5, 0.25], crop_size=[176])
    weights = types.SimpleNamespace(transforms=lambda: transforms)
    fake: Any = types.ModuleType("torchvision.models")
    fake.list_models = lambda module: ["resnet18"]
    fake.get_model_weights = lambda name: types.SimpleNamespace(DEFAULT=weights)
    fetched: list[object] = []

    def get_model(name: str, weights: object) -> nn.Module:
        fetched.append(weights)
        return nn.Conv2d(3, 4, 3)

    fake.get_model = get_model
    monkeypatch.setitem(sys.modules, "torchvision.models", fake)
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    model = load_model("torchvision:resnet18")
    assert model.preprocess(images)[0, 2, 0, 0] == pytest.approx(
        (float(images[0, 2, 0, 0]) - 0.3) / 0.25, abs=1e-5
    )
    assert model.input_size_px == 176
    assert fetched == [weights]
    fresh = load_model("torchvision:resnet18-random")
    assert fetched == [weights, None]
    assert (fresh.name, fresh.input_size_px) == ("resnet18-random", 176)
    assert torch.equal(fresh.preprocess(images), model.preprocess(images))
    assert fresh.weights_sha256() == load_model("torchvision:resnet18-random").weights_sha256()
    transforms.mean = None
    with pytest.raises(
        EquiscopeError, match="torchvision could not build 'resnet18' with its weights: TypeError"
    ):
        load_model("torchvision:resnet18")
    with pytest.raises(EquiscopeError, match="'resnet81': did you mean 'resnet18'"):
        load_model("torchvision:resnet81")


@pytest.mark.skipif(importlib.util.find_spec("onnx2torch") is None, reason="needs onnx2torch (extra: onnx)")
def test_onnx_file(tmp_path: Path, images: Tensor) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    conv = nn.Conv2d(3, 4, (3, 5), stride=2)
    node = helper.make_node("Conv", ["images", "w", "b"], ["c"], name="first", strides=[2, 2])
    graph = helper.make_graph(
        [node, helper.make_node("Relu", ["c"], ["r"], name="act")],
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "y", "x"])],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, ["n", 4, "v", "u"])],
        [
            numpy_helper.from_array(conv.weight.detach().numpy(), "w"),
            numpy_helper.from_array(conv.bias.detach().numpy(), "b"),
        ],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    model = load_model(str(path))
    assert (model.name, model.resolve_layers()) == ("net", ["first"])
    with torch.no_grad():
        torch.testing.assert_close(model.record(images, ["first"])["first"], conv(images))
    assert "torchvision" not in sys.modules or sys.modules["torchvision"].__spec__ is not None

    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(EquiscopeError, match=r"(?s)could not convert .*net\.onnx.*opset_version=17"):
        load_model(str(path))
