r"""Cost of equivariant layers against plain convolutions of the same widths.

    python benchmarks/equivariant.py
    python benchmarks/equivariant.py --device cuda

For each group, size and precision, in one process and in turn: a training step (forward, backward, SGD) and an
evaluation of a network of four layers whose channels are all equivariant, or half equivariant, a quarter invariant and
a quarter plain, and the same of its plain twin. Prints medians and their ratios, one JSON object a line.

On a CPU times are CPU time of single calls; give OMP_NUM_THREADS=1, so that threads that wait do not count. On CUDA
they are wall time of blocks of calls between two synchronisations, and the kernels that a step launches are counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from equiscope.construction.equivariant import BatchNorm2d, Conv2d, Fields, export
from equiscope.foundations.devices import keep_large_buffers

# Shares of the channels in fields and invariant units; the rest is plain.
SHARES = ((1.0, 0.0), (0.5, 0.25))
# Channels, side in px and images of each size.
SIZES = {"cpu": "64x32x16,64x8x4", "cuda": "64x32x64,64x8x4,256x16x64"}
PRECISIONS = {"cpu": "float32", "cuda": "float32,bfloat16"}
# On CUDA a block of calls lasts about this long; one call is too short to time.
BLOCK_S = 0.02

Call = Callable[[], None]


def network(fields: Fields, kernel_size: int, n_layers: int) -> nn.Sequential:
    """Convolution, normalisation and ReLU, some times over."""
    layers: list[nn.Module] = []
    before = Fields(fields.group, invariant=3)
    for _ in range(n_layers):
        layers += [
            Conv2d(before, fields, kernel_size, padding="same", bias=False),
            BatchNorm2d(fields),
            nn.ReLU(),
        ]
        before = fields
    return nn.Sequential(*layers)


def training_step(module: nn.Module, inputs: torch.Tensor, precision: torch.dtype) -> Call:
    """Forward, backward and an update."""
    optimiser = torch.optim.SGD(module.parameters(), 1e-4)

    def step() -> None:
        module.train()
        optimiser.zero_grad()
        with torch.autocast(inputs.device.type, precision, enabled=precision != torch.float32):
            answers = module(inputs)
        answers.float().square().mean().backward()
        optimiser.step()

    return step


def evaluation(module: nn.Module, inputs: torch.Tensor, precision: torch.dtype) -> Call:
    """Forward without gradients, in the mode that the module is in."""

    def run() -> None:
        with (
            torch.no_grad(),
            torch.autocast(inputs.device.type, precision, enabled=precision != torch.float32),
        ):
            module(inputs)

    return run


def seconds(run: Call, n_calls: int, device: torch.device) -> float:
    """Seconds of one call: CPU time, which other processes do not add to, or time on the GPU and before it."""
    if device.type == "cpu":
        started = time.process_time()
        run()
        return time.process_time() - started
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    for _ in range(n_calls):
        run()
    torch.cuda.synchronize(device)
    return (time.perf_counter() - started) / n_calls


def compare(ours: Call, plain: Call, repeats: int, device: torch.device) -> tuple[float, float]:
    """Medians of both, run in turn, after two warm-ups each."""
    for run in (ours, plain, ours):
        seconds(run, 1, device)
    n_calls = max(1, round(BLOCK_S / seconds(plain, 1, device)))
    pairs = [(seconds(ours, n_calls, device), seconds(plain, n_calls, device)) for _ in range(repeats)]
    first, second = zip(*pairs, strict=True)
    return statistics.median(first), statistics.median(second)


def n_kernels(run: Call) -> int:
    """Kernels that one call launches on CUDA."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        run()
        torch.cuda.synchronize()
    return sum("LaunchKernel" in event.name for event in profile.events())


def measure(
    fields: Fields, inputs: torch.Tensor, precision: torch.dtype, options: argparse.Namespace
) -> dict[str, object]:
    """Time one network beside its plain twin."""
    device = inputs.device
    ours = network(fields, options.kernel, options.layers).to(device)
    plain = export(ours)
    steps = training_step(ours, inputs, precision), training_step(plain, inputs, precision)
    train = compare(*steps, options.repeats, device)
    row: dict[str, object] = {
        "free_parameters": sum(p.numel() for p in ours.parameters()),
        "plain_parameters": sum(p.numel() for p in plain.parameters()),
        "training_ms": round(1000 * train[0], 2),
        "plain_training_ms": round(1000 * train[1], 2),
        "training_ratio": round(train[0] / train[1], 3),
    }
    if device.type == "cuda":
        row["kernels"], row["plain_kernels"] = (n_kernels(step) for step in steps)
    ours.eval()
    plain.eval()
    calls = evaluation(ours, inputs, precision), evaluation(plain, inputs, precision)
    evaluate = compare(*calls, options.repeats, device)
    row["evaluation_ms"] = round(1000 * evaluate[0], 2)
    row["evaluation_ratio"] = round(evaluate[0] / evaluate[1], 3)
    return row


def main() -> None:
    """Print one line for each size, precision, group and division of the channels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=sorted(SIZES))
    parser.add_argument("--groups", default="C4,C8,C16")
    parser.add_argument("--sizes", help=f"channels x side x images, by default {SIZES}")
    parser.add_argument("--precisions", help=f"by default {PRECISIONS}")
    parser.add_argument("--layout", default="channels_last", choices=["channels_last", "contiguous_format"])
    parser.add_argument("--kernel", type=int, default=5)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    keep_large_buffers()
    device = torch.device(options.device)
    torch.backends.cudnn.benchmark = True
    if device.type == "cuda":
        print(json.dumps({"device": torch.cuda.get_device_name(), "torch": torch.__version__}), flush=True)
    for size in (options.sizes or SIZES[device.type]).split(","):
        width, side, batch = (int(part) for part in size.split("x"))
        for precision in (options.precisions or PRECISIONS[device.type]).split(","):
            for group in options.groups.split(","):
                for equivariant, invariant in SHARES:
                    torch.manual_seed(0)
                    inputs = torch.randn(batch, 3, side, side, device=device)
                    inputs = inputs.contiguous(memory_format=getattr(torch, options.layout))
                    fields = Fields.from_width(group, width, equivariant=equivariant, invariant=invariant)
                    case = {
                        "size": size,
                        "precision": precision,
                        "group": group,
                        "equivariant": equivariant,
                        "invariant": invariant,
                    }
                    row = measure(fields, inputs, getattr(torch, precision), options)
                    print(json.dumps(case | row), flush=True)


if __name__ == "__main__":
    main()
