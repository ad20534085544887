"""How many images a second forward and backward passes take of the networks that ``equiscope train`` knows by name.

    python benchmarks/training.py

Random images of 40 px (antialiased networks: the next side that fits), batches of 64. CPU time of one thread, which
other processes do not add to: the best of nine, for which the networks take turns.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope.allocator import keep_large_buffers
from equiscope.training import DesignedNetwork, count, describe_network

BATCH, SIDE_PX, N_CLASSES = 64, 40, 100


def step(network: nn.Module, images: Tensor, labels: Tensor, precision: torch.dtype) -> float:
    """Seconds of CPU time of a forward and a backward pass."""
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        logits = network(images)
    loss: Tensor = F.cross_entropy(logits.float(), labels)
    torch.autograd.backward(loss)
    return time.process_time() - started


def main() -> None:
    """Time the networks and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", default="plain,half,twin:half,equivariant")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    keep_large_buffers()
    torch.set_num_threads(1)
    labels = torch.randint(0, N_CLASSES, (BATCH,))
    counts, networks, images = {}, {}, {}
    for name in options.networks.split(","):
        description = describe_network(name)
        counts[name] = count(description, SIDE_PX, N_CLASSES)
        networks[name] = DesignedNetwork(description, N_CLASSES).train()
        drawn = torch.randn(BATCH, 3, counts[name].side_px, counts[name].side_px)
        images[name] = drawn.contiguous(memory_format=torch.channels_last)
    for precision in (torch.bfloat16, torch.float32):
        best = dict.fromkeys(networks, float("inf"))
        for _ in range(options.repeats):
            for name, network in networks.items():
                best[name] = min(best[name], step(network, images[name], labels, precision))
        for name, seconds in best.items():
            print(
                f"{name:<12} {str(precision).removeprefix('torch.'):<9} {counts[name].side_px} px "
                f"{counts[name].multiply_adds / 1e6:6.1f} M multiply-adds {BATCH / seconds:6.0f} images/s",
                flush=True,
            )


if __name__ == "__main__":
    main()
