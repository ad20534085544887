r"""One training step of our layers beside those of e2cnn and escnn, each in an environment of its own.

    python benchmarks/equivariant_libraries.py --libraries e2cnn,escnn

For each library a virtual environment is made in a temporary folder; it sees this one's torch and gets the library with
what it asks for. escnn needs numpy below 2 and a Fortran compiler. The same network, four layers of 5 x 5 convolutions
between regular fields of C4, C8 and C16, batch normalisation and ReLU, 64 channels wide, is timed there: a training
step and an evaluation, CPU time. A library that cannot be installed is reported as such.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

# Run by the other environment's Python, which has no equiscope.
TIMING = r"""
import importlib, json, statistics, sys, time
import numpy
# e2cnn uses names that numpy 2 no longer has.
for name, kind in (("float", float), ("int", int), ("bool", bool), ("complex", complex)):
    if name not in numpy.__dict__:
        setattr(numpy, name, kind)
import torch
library, width, side, batch, repeats = sys.argv[1], *map(int, sys.argv[2:6])
package = importlib.import_module(library)
gspaces, e2nn = importlib.import_module(library + ".gspaces"), importlib.import_module(library + ".nn")
torch.manual_seed(0)
images = torch.randn(batch, 3, side, side)
for order in (4, 8, 16):
    space = gspaces.Rot2dOnR2(order) if library == "e2cnn" else gspaces.rot2dOnR2(order)
    rgb = e2nn.FieldType(space, 3 * [space.trivial_repr])
    fields = e2nn.FieldType(space, width // order * [space.regular_repr])
    layers, before = [], rgb
    started = time.perf_counter()
    for _ in range(4):
        layers += [
            e2nn.R2Conv(before, fields, kernel_size=5, padding=2, bias=False),
            e2nn.InnerBatchNorm(fields),
            e2nn.ReLU(fields),
        ]
        before = fields
    net = e2nn.SequentialModule(*layers)
    building = time.perf_counter() - started
    optimiser = torch.optim.SGD(net.parameters(), 1e-4)

    def step():
        optimiser.zero_grad()
        net(e2nn.GeometricTensor(images, rgb)).tensor.square().mean().backward()
        optimiser.step()

    def evaluate():
        with torch.no_grad():
            net(e2nn.GeometricTensor(images, rgb))

    def median(run):
        run()
        seconds = []
        for _ in range(repeats):
            started = time.process_time()
            run()
            seconds.append(time.process_time() - started)
        return round(1000 * statistics.median(seconds), 1)

    row = {"library": library, "group": f"C{order}", "building_ms": round(1000 * building)}
    row["parameters"] = sum(p.numel() for p in net.parameters())
    row["training_ms"] = median(step)
    net.eval()
    row["evaluation_ms"] = median(evaluate)
    print(json.dumps(row), flush=True)
"""
REQUIREMENTS = {"e2cnn": ["e2cnn"], "escnn": ["numpy<2", "scipy<1.14", "escnn"]}


def environment(library: str, folder: Path) -> Path:
    """Make a virtual environment that sees this one's packages behind its own; gives its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "behind.pth").write_text(str(Path(torch.__file__).parents[1]) + "\n", encoding="utf-8")
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS[library]], check=True)
    return python


def main() -> None:
    """Print one line for each library and group, ours first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--libraries", default="e2cnn,escnn")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    sizes = [str(part) for part in (options.width, options.side, options.batch, options.repeats)]
    ours = Path(__file__).with_name("equivariant.py")
    size = f"{options.width}x{options.side}x{options.batch}"
    arguments = ["--groups", "C4,C8,C16", "--sizes", size, "--repeats", str(options.repeats)]
    subprocess.run([sys.executable, str(ours), *arguments], check=True)
    for library in options.libraries.split(","):
        with tempfile.TemporaryDirectory() as folder:
            try:
                python = environment(library, Path(folder))
            except subprocess.CalledProcessError as error:
                print(json.dumps({"library": library, "cannot be installed": str(error)}), flush=True)
                continue
            subprocess.run([str(python), "-c", TIMING, library, *sizes], check=False)


if __name__ == "__main__":
    main()
