"""The processes that train together: one, or those that torchrun started.

Of n processes each takes every n-th image of a batch. Gradients are averaged, and so are the running moments of
normalisations, so that all hold the same network after every step.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from equiscope.foundations.devices import choose_device

__all__ = ["Processes", "join_processes"]


@dataclass(frozen=True)
class Processes:
    """One process among all.

    Attributes
    ----------
    rank
        Its number, from 0. The first writes the files.
    n
        How many there are.
    device
        Where this one's network is.
    is_group
        Whether torchrun started them, so that they speak through `torch.distributed`, even one with itself.
    """

    rank: int
    n: int
    device: torch.device
    is_group: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this one writes the files."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """Let gradients be averaged over all processes after every backward pass."""
        if not self.is_group:
            return network
        ids = [self.device.index] if self.device.type == "cuda" else None
        with warnings.catch_warnings():
            # torch 2.13 calls this argument by another name, which torch 2.6 does not know.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            return DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False)

    def total(self, values: Tensor) -> Tensor:
        """Sum over all processes."""
        if self.is_group:
            dist.all_reduce(values)
        return values

    def average_moments(self, network: nn.Module) -> None:
        """Give normalisations the mean of all processes' running moments, so that these do not drift apart."""
        if not self.is_group:
            return
        moments = [m for name, m in network.named_buffers() if name.endswith(("running_mean", "running_var"))]
        joined = self.total(torch.cat([moment.flatten() for moment in moments])) / self.n
        sizes = [moment.numel() for moment in moments]
        for moment, mean in zip(moments, torch.split(joined, sizes), strict=True):
            moment.copy_(mean.view_as(moment))

    def join(self, own: dict[str, str]) -> dict[str, str]:
        """Collect entries of all processes."""
        if not self.is_group:
            return dict(own)
        parts: list[dict[str, str]] = [{} for _ in range(self.n)]
        dist.all_gather_object(parts, own)
        return {key: value for part in parts for key, value in part.items()}

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.is_group:
            dist.barrier()


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, for the time of the block; alone without it.

    Parameters
    ----------
    device
        ``auto``, ``cpu`` or ``cuda``; of several processes each takes the GPU of its local rank.

    Raises
    ------
    EquiscopeError
        If torch has no such device here.

    Examples
    --------
    >>> with join_processes("cpu") as processes:
    ...     processes.n, processes.is_first
    (1, True)
    """
    chosen = choose_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 and not dist.is_torchelastic_launched():
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), chosen, is_group=True)
    finally:
        dist.destroy_process_group()
