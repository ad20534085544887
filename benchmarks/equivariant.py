r"""Cost of equivariant layers against plain convolutions of the same widths.

    python benchmarks/equivariant.py --groups C4,C8,C16 --width 64 --side 32 --batch 16

For each group, in one process and in turn: a training step (forward, backward, SGD) and an evaluation of a network of
four layers whose channels are half equivariant, a quarter invariant and a quarter plain, or all equivariant, and the
same of its plain twin. Prints medians of the repeats' CPU time, their ratios, and what writing one kernel out takes.
Give OMP_NUM_THREADS=1, so that threads that wait do not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from equiscope.allocator import keep_large_buffers
from equiscope.equivariant import BatchNorm2d, Conv2d, Fields, export


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


def seconds(run: Callable[[], None]) -> float:
    """CPU time of one call: what other processes do meanwhile does not count."""
    started = time.process_time()
    run()
    return time.process_time() - started


def training_step(module: nn.Module, inputs: torch.Tensor) -> Callable[[], None]:
    """Forward, backward and an update."""
    optimiser = torch.optim.SGD(module.parameters(), 1e-4)
    module.train()

    def step() -> None:
        optimiser.zero_grad()
        module(inputs).square().mean().backward()
        optimiser.step()

    return step


def evaluation(module: nn.Module, inputs: torch.Tensor) -> Callable[[], None]:
    """Forward without gradients."""

    def run() -> None:
        with torch.no_grad():
            module(inputs)

    return run


def compare(ours: Callable[[], None], plain: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Medians of both, run in turn, after one warm-up each."""
    ours()
    plain()
    pairs = [(seconds(ours), seconds(plain)) for _ in range(repeats)]
    first, second = zip(*pairs, strict=True)
    return statistics.median(first), statistics.median(second)


def main() -> None:
    """Print one line for each group and division of the channels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--groups", default="C4,C8,C16,D4,D8")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--kernel", type=int, default=5)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    keep_large_buffers()
    torch.manual_seed(0)
    inputs = torch.randn(options.batch, 3, options.side, options.side)
    for group in options.groups.split(","):
        for equivariant, invariant in ((1.0, 0.0), (0.5, 0.25)):
            fields = Fields.from_width(group, options.width, equivariant=equivariant, invariant=invariant)
            ours = network(fields, options.kernel, options.layers)
            plain = export(ours)
            train = compare(training_step(ours, inputs), training_step(plain, inputs), options.repeats)
            ours.eval()
            plain.eval()
            evaluate = compare(evaluation(ours, inputs), evaluation(plain, inputs), options.repeats)
            writing = statistics.median(seconds(ours[3].expand) for _ in range(options.repeats))
            row = {
                "group": group,
                "equivariant": equivariant,
                "invariant": invariant,
                "width": options.width,
                "free_parameters": sum(p.numel() for p in ours.parameters()),
                "plain_parameters": sum(p.numel() for p in plain.parameters()),
                "training_ms": round(1000 * train[0], 1),
                "plain_training_ms": round(1000 * train[1], 1),
                "training_ratio": round(train[0] / train[1], 3),
                "evaluation_ms": round(1000 * evaluate[0], 1),
                "evaluation_ratio": round(evaluate[0] / evaluate[1], 3),
                "writing_a_kernel_ms": round(1000 * writing, 2),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
