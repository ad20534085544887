"""Forward and backward passes recorded as CUDA graphs.

A graph is a row of kernels that a GPU runs at one command. A small network is done with a kernel sooner than the
processor can launch the next; recorded, its passes take several times less.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["RecordedPasses"]


class RecordedPasses:
    """A network whose passes in training are recorded once for each shape of images and replayed from then on.

    Parameters
    ----------
    network
        On a CUDA device, in training mode. It stays as it is, and may be evaluated in between.
    dtype
        Of the forward pass, under autocast; float32 without.

    References
    ----------
    PyTorch, `torch.cuda.make_graphed_callables`.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        self._network, self._dtype = network, dtype
        self._shape: torch.Size | None = None
        self._recorded = network.forward

    def __call__(self, images: Tensor) -> Tensor:
        """Map images, shape (image, 3, y, x), to logits, shape (image, class), differentiable in the parameters."""
        if images.shape != self._shape:
            self._record(images)
        with self._autocast():
            logits: Tensor = self._recorded(images)
        return logits

    def _autocast(self) -> torch.autocast:
        # Casts that were kept between calls would be those of the recording.
        return torch.autocast("cuda", self._dtype, enabled=self._dtype != torch.float32, cache_enabled=False)

    def _record(self, images: Tensor) -> None:
        """Record both passes for images of this shape; crops grow as training goes on, so one shape is kept."""
        network = self._network
        kept = [buffer.clone() for buffer in network.buffers()]
        with self._autocast():
            torch.cuda.make_graphed_callables(network, (images.clone(),))
        # The recording is put in place of the module's forward, which evaluation and the next recording need.
        self._recorded, self._shape = network.forward, images.shape
        del network.forward
        # Recording runs the network a few times, which moves the moments of normalisations.
        with torch.no_grad():
            for buffer, before in zip(network.buffers(), kept, strict=True):
                buffer.copy_(before)
