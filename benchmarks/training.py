"""How many images a second forward and backward passes take of the networks that ``equiscope train`` knows by name.

    python benchmarks/training.py

Random images of 40 px (antialiased networks: the next side that fits), batches of 64, one thread, the best of five.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F

from equiscope.allocator import keep_large_buffers
from equiscope.training import DesignedNetwork, count, describe_network

BATCH, SIDE_PX, N_CLASSES = 64, 40, 100


def main() -> None:
    """Time the networks and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", default="plain,half,twin:half")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    keep_large_buffers()
    torch.set_num_threads(options.threads)
    labels = torch.randint(0, N_CLASSES, (BATCH,))
    for name in options.networks.split(","):
        description = describe_network(name)
        counts = count(description, SIDE_PX, N_CLASSES)
        network = DesignedNetwork(description, N_CLASSES).train()
        images = torch.randn(BATCH, 3, counts.side_px, counts.side_px)
        images = images.contiguous(memory_format=torch.channels_last)
        for dtype in (torch.bfloat16, torch.float32):
            seconds = []
            for _ in range(5):
                started = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                    logits = network(images)
                F.cross_entropy(logits.float(), labels).backward()
                seconds.append(time.perf_counter() - started)
            rate = BATCH / min(seconds)
            print(
                f"{name:<12} {str(dtype).removeprefix('torch.'):<9} {counts.side_px} px "
                f"{counts.multiply_adds / 1e6:6.1f} M multiply-adds {rate:6.0f} images/s"
            )


if __name__ == "__main__":
    main()
