"""How many images a second forward and backward passes take of the networks that ``equiscope train`` knows by name.

    python benchmarks/training.py
    python benchmarks/training.py --device cuda

Random images (antialiased networks: of the next side that fits); networks take turns, and the best of nine counts. On a
CPU it is CPU time of one thread, which other processes do not add to. On CUDA it is wall time of ten passes between two
synchronisations, launched one by one and recorded as CUDA graphs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from equiscope.construction.training import DesignedNetwork, count, describe_network
from equiscope.construction.training.graphs import RecordedPasses
from equiscope.foundations.devices import keep_large_buffers

N_CLASSES = 100
# Images of a batch, and their side in px.
SIZES = {"cpu": (64, 40), "cuda": (128, 56)}
N_PASSES_ON_GPU = 10


def passes(
    run: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, precision: torch.dtype
) -> Callable[[], None]:
    """Make a function of a forward and a backward pass."""

    def step() -> None:
        with torch.autocast(images.device.type, precision, enabled=precision != torch.float32):
            logits = run(images)
        loss: Tensor = F.cross_entropy(logits.float(), labels)
        torch.autograd.backward(loss)

    return step


def seconds(step: Callable[[], None], device: torch.device) -> float:
    """Seconds of a step."""
    if device.type == "cpu":
        started = time.process_time()
        step()
        return time.process_time() - started
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    for _ in range(N_PASSES_ON_GPU):
        step()
    torch.cuda.synchronize(device)
    return (time.perf_counter() - started) / N_PASSES_ON_GPU


def main() -> None:
    """Time the networks and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", default="plain,half,twin:half,equivariant")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cpu", choices=sorted(SIZES))
    parser.add_argument("--precisions", default="bfloat16,float32")
    options = parser.parse_args()
    keep_large_buffers()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    batch, side_px = SIZES[device.type]
    if device.type == "cuda":
        print(torch.cuda.get_device_name(), torch.__version__)
    labels = torch.randint(0, N_CLASSES, (batch,), device=device)
    for word in options.precisions.split(","):
        precision = getattr(torch, word)
        counts, steps = {}, {}
        for name in options.networks.split(","):
            description = describe_network(name)
            counts[name] = count(description, side_px, N_CLASSES)
            drawn = torch.randn(batch, 3, counts[name].side_px, counts[name].side_px, device=device)
            images = drawn.contiguous(memory_format=torch.channels_last)
            for how in ("",) if device.type == "cpu" else ("", "recorded"):
                network = DesignedNetwork(description, N_CLASSES).train().to(device)
                run = RecordedPasses(network, precision) if how else network
                steps[name, how] = passes(run, images, labels, precision)
        best = dict.fromkeys(steps, float("inf"))
        for repeat in range(options.repeats + 1):
            for key, step in steps.items():
                taken = seconds(step, device)
                if repeat:  # the first is a warm-up
                    best[key] = min(best[key], taken)
        for (name, how), taken in best.items():
            print(
                f"{name:<22} {how:<9} {word:<9} {counts[name].side_px} px "
                f"{counts[name].multiply_adds / 1e6:6.1f} M multiply-adds {batch / taken:7.0f} images/s",
                flush=True,
            )


if __name__ == "__main__":
    main()
