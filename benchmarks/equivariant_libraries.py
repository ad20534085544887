r"""Our layers beside those of e2cnn and escnn, and a plain network: time, export and exactness, in one table.

    python benchmarks/equivariant_libraries.py --environments FOLDER

For e2cnn and escnn a virtual environment each is made in the folder, unless it is there. Both see this environment's
torch and onnx behind their own packages: ``e2cnn``; and for escnn ``numpy<2 scipy<1.14 escnn``, of which py3nj is
compiled and asks for a Fortran compiler (gfortran; Debian: ``apt install gfortran``). A library that cannot be
installed is reported as such.

The network has four layers of 5 x 5 convolutions from RGB to regular fields of C4, C8 and C16, 64 channels wide, batch
normalisation and ReLU; the plain one the same widths. For each group every library runs in a process of its own with
one thread, and all take turns call by call, so that what else runs on the machine slows down all. Times are CPU times
of these processes: the least of the repeats, and the median. Then, of the network in evaluation:

- whether ``torch.compile(fullgraph=True)``, ``torch.export`` and ONNX (in onnxruntime) give its answers, and the same
  of the library's own export to plain modules;
- the relative error at 90° and 45°: the norm over the elements of each field should turn with the picture, noise
  blurred by 2 px, for the first convolution alone and all four layers, away from the border. Medians of five networks
  at random weights.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
import torch
from torch import nn

REQUIREMENTS = {"e2cnn": ["e2cnn"], "escnn": ["numpy<2", "scipy<1.14", "escnn"]}
LIBRARIES = ("equiscope", "e2cnn", "escnn", "plain")
N_LAYERS, KERNEL_PX = 4, 5
# Networks of which the median error is taken.
N_DRAWN = 5
# Side of the pictures for the error, what of it is looked at, and the larger side that they are turned in, px.
SEEN_PX, CENTRE_PX, CANVAS_PX = 65, 31, 129
# One thread, and large buffers kept: what `keep_large_buffers` of equiscope.foundations.devices does in a process.
CONDITIONS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_TOP_PAD_": str(1 << 26),
}


# --- in the other environments, which have no equiscope -------------------------------------------------------


class Steerable(nn.Module):
    """A network of e2cnn or escnn as a map of tensors.

    Parameters
    ----------
    library
        Its name.
    order
        Rotations.
    width
        Channels.
    n_layers
        Of convolution, normalisation and ReLU; 0 for one convolution alone.
    """

    def __init__(self, library: str, order: int, width: int, n_layers: int) -> None:
        super().__init__()
        # e2cnn uses names that numpy 2 no longer has.
        for name, kind in (("float", float), ("int", int), ("bool", bool), ("complex", complex)):
            if name not in np.__dict__:
                setattr(np, name, kind)
        gspaces, e2nn = (importlib.import_module(f"{library}.{part}") for part in ("gspaces", "nn"))
        space = gspaces.Rot2dOnR2(order) if library == "e2cnn" else gspaces.rot2dOnR2(order)
        before = e2nn.FieldType(space, 3 * [space.trivial_repr])
        fields = e2nn.FieldType(space, width // order * [space.regular_repr])
        self.wrap: Callable[[torch.Tensor], Any] = lambda images: e2nn.GeometricTensor(images, self.images)
        self.images = before
        layers = []
        for _ in range(max(n_layers, 1)):
            layers.append(e2nn.R2Conv(before, fields, KERNEL_PX, padding=KERNEL_PX // 2, bias=False))
            layers += [e2nn.InnerBatchNorm(fields), e2nn.ReLU(fields)] if n_layers else []
            before = fields
        self.layers = e2nn.SequentialModule(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images, shape (image, 3, y, x)."""
        answer: torch.Tensor = self.layers(self.wrap(images)).tensor
        return answer


def build(library: str, order: int, width: int, n_layers: int = N_LAYERS) -> nn.Module:
    """Make the network of a library."""
    if library in REQUIREMENTS:
        return Steerable(library, order, width, n_layers)
    layers: list[nn.Module] = []
    if library == "plain":
        for n_in in [3] + [width] * (max(n_layers, 1) - 1):
            layers.append(nn.Conv2d(n_in, width, KERNEL_PX, padding="same", bias=False))
            layers += [nn.BatchNorm2d(width), nn.ReLU()] if n_layers else []
        return nn.Sequential(*layers)
    own = importlib.import_module("equiscope.construction.equivariant")
    fields, before = own.Fields(f"C{order}", width // order), own.Fields(f"C{order}", invariant=3)
    for _ in range(max(n_layers, 1)):
        layers.append(own.Conv2d(before, fields, KERNEL_PX, padding="same", bias=False))
        layers += [own.BatchNorm2d(fields), nn.ReLU()] if n_layers else []
        before = fields
    return nn.Sequential(*layers)


def plain_export(library: str, network: nn.Module) -> nn.Module:
    """Write a network out as plain modules, as the library does it."""
    if isinstance(network, Steerable):
        exported: nn.Module = network.layers.export()
        return exported
    own = importlib.import_module("equiscope.construction.equivariant") if library == "equiscope" else None
    return network if own is None else own.export(network)


def outcome(run: Callable[[], Any], expected: torch.Tensor) -> str:
    """Whether something gives the expected answers: ``yes``, or what stands in the way."""
    try:
        answer = torch.as_tensor(run())
    except Exception as error:  # whatever a library raises
        return f"no ({type(error).__name__})"
    return "yes" if torch.allclose(answer, expected, rtol=1e-3, atol=1e-4) else "other answers"


def exports(network: nn.Module, images: torch.Tensor) -> dict[str, str]:
    """Try what takes a network out of Python."""

    def onnx() -> np.ndarray:
        runtime = importlib.import_module("onnxruntime")
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "net.onnx")
            torch.onnx.export(network, (images,), file, dynamo=True, verbose=False)
            session = runtime.InferenceSession(file)
            return np.asarray(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])

    with torch.no_grad():
        expected = network(images)
        return {
            "compile": outcome(
                lambda: torch.compile(network, fullgraph=True, backend="aot_eager")(images), expected
            ),
            "torch.export": outcome(
                lambda: torch.export.export(network, (images,)).module()(images), expected
            ),
            "onnx": outcome(onnx, expected),
        }


def centre(pictures: np.ndarray, side_px: int) -> np.ndarray:
    """Cut the middle out, shape (..., side, side)."""
    margin = (pictures.shape[-1] - side_px) // 2
    return np.asarray(pictures[..., margin : margin + side_px, margin : margin + side_px])


def turn(pictures: np.ndarray, angle_deg: float) -> np.ndarray:
    """Turn pictures about their middle."""
    if angle_deg % 90 == 0:
        return np.rot90(pictures, round(angle_deg / 90), (-2, -1)).copy()
    return np.asarray(scipy.ndimage.rotate(pictures, angle_deg, (-1, -2), reshape=False, order=3))


def error(network: nn.Module, order: int, angle_deg: float) -> float:
    """Relative error of the norm over a field's elements under a turn of the pictures."""
    rng = np.random.default_rng(0)
    noise = scipy.ndimage.gaussian_filter(rng.normal(size=(2, 3, CANVAS_PX, CANVAS_PX)), (0, 0, 2, 2))
    noise /= noise.std()

    def norms(pictures: np.ndarray) -> np.ndarray:
        seen = torch.from_numpy(centre(pictures, SEEN_PX).copy()).float()
        with torch.no_grad():
            features = network(seen).double()
        return np.asarray(features.unflatten(1, (-1, order)).norm(dim=2))

    expected = centre(turn(norms(noise), angle_deg), CENTRE_PX)
    difference = centre(norms(turn(noise, angle_deg)), CENTRE_PX) - expected
    return float(np.linalg.norm(difference) / np.linalg.norm(expected))


def work(library: str, order: int, size: str) -> None:
    """Answer the lines of standard input, each with a line of JSON: seconds of a call, or what was found."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    width, side, batch = (int(part) for part in size.split("x"))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    network = build(library, order, width)
    images = torch.randn(batch, 3, side, side)
    optimiser = torch.optim.SGD(network.parameters(), 1e-4)

    def train() -> None:
        optimiser.zero_grad()
        network(images).square().mean().backward()
        optimiser.step()

    def evaluate() -> None:
        with torch.no_grad():
            network(images)

    for line in sys.stdin:
        task = line.strip()
        answer: object
        if task in ("train", "evaluate"):
            run = train if task == "train" else evaluate
            if network.training != (task == "train"):  # changing the mode makes layers forget what they keep
                network.train(task == "train")
            started = time.process_time()
            run()
            answer = time.process_time() - started
        else:
            fresh = build(library, order, width).eval()
            networks = [
                [build(library, order, width, n).eval() for n in (0, N_LAYERS)] for _ in range(N_DRAWN)
            ]
            small = images[:2, :, :16, :16]
            answer = {
                "parameters": sum(p.numel() for p in network.parameters()),
                "network": exports(fresh, small),
                "plain export": exports(plain_export(library, fresh), small),
                "errors": [
                    statistics.median(error(pair[depth], order, angle) for pair in networks)
                    for angle in (90, 45)
                    for depth in range(2)
                ],
            }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


# --- here ---------------------------------------------------------------------------------------------------


def environment(library: str, folder: Path) -> str:
    """Make a virtual environment that sees this one's packages behind its own, if it is not there; its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        (own,) = folder.glob("lib/python*/site-packages")
        behind = str(Path(torch.__file__).parents[1])
        (own / "behind.pth").write_text(behind + "\n", encoding="utf-8")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS[library]], check=True)
    return str(python)


class Worker:
    """A process of one library that answers line by line."""

    def __init__(self, python: str, library: str, order: int, size: str) -> None:
        command = [python, __file__, "--work", library, str(order), size]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **CONDITIONS},
        )

    def ask(self, task: str) -> Any:
        """Give a task, wait for its answer."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("a worker has no pipes")
        self.process.stdin.write(task + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def measure(
    pythons: dict[str, str], order: int, size: str, repeats: int, *, is_timed_only: bool
) -> list[str]:
    """Compare the libraries at one group and size; lines of a table."""
    workers = {library: Worker(python, library, order, size) for library, python in pythons.items()}
    seconds: dict[tuple[str, str], list[float]] = {}
    for task in ("train", "evaluate"):
        for repeat in range(-2, repeats):
            for library, worker in workers.items():
                elapsed = worker.ask(task)
                if repeat >= 0:
                    seconds.setdefault((library, task), []).append(elapsed)
    lines = []
    for library, worker in workers.items():
        cells = [f"C{order}", size, library]
        for task in ("train", "evaluate"):
            times = seconds[library, task]
            cells.append(f"{1000 * min(times):.1f} ({1000 * statistics.median(times):.1f})")
        if not is_timed_only:
            found = worker.ask("describe")
            cells += [f"{found['parameters']:,}"]
            for kind in ("network", "plain export"):
                cells += [found[kind][way] for way in ("compile", "torch.export", "onnx")]
            cells += [f"{e:.1e}" if e < 1e-4 else f"{e:.3f}" for e in found["errors"]]
        lines.append("| " + " | ".join(cells) + " |")
        if worker.process.stdin is not None:
            worker.process.stdin.close()
        worker.process.wait()
    return lines


def main() -> None:
    """Print a table of times, exports and errors, and one of times at the other sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--environments", type=Path, help="folder for the environments; a temporary one by default"
    )
    parser.add_argument("--libraries", default=",".join(LIBRARIES))
    parser.add_argument("--groups", default="C4,C8,C16")
    parser.add_argument(
        "--sizes", default="64x32x16,64x8x4", help="channels x side x images; the first in full"
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work[0], int(options.work[1]), options.work[2])
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.environments or Path(temporary)
        pythons = {}
        for library in options.libraries.split(","):
            try:
                is_other = library in REQUIREMENTS
                pythons[library] = environment(library, folder / library) if is_other else sys.executable
            except subprocess.CalledProcessError as error:
                print(f"{library} cannot be installed: {error}", flush=True)
        print(f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f} before")
        for place, size in enumerate(options.sizes.split(",")):
            heads = ["group", "size", "library", "step ms, least (median)", "evaluation ms"]
            if not place:
                heads += [
                    "parameters",
                    "compile",
                    "torch.export",
                    "ONNX",
                    "exported: compile",
                    "torch.export",
                    "ONNX",
                ]
                heads += [f"{angle}°, {n} layer{'s' * (n > 1)}" for angle in (90, 45) for n in (1, N_LAYERS)]
            print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
            for group in options.groups.split(","):
                for line in measure(
                    pythons, int(group[1:]), size, options.repeats, is_timed_only=bool(place)
                ):
                    print(line, flush=True)
        print(f"\nload {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
