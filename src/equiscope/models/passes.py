"""How many images run together: what a pass takes in memory depends on the network, not on the number of images alone.

    memory of a pass  =  about 4 x (largest output of a module for one image) x (images run together)

A convolution's input and output exist at the same time, and a normalisation, a rectifier or a sum beside it makes one
more. A first layer of 128 channels that keeps all pixels of 224 x 224 gives 26 MB for one image: 16 of them together
would take 1.6 GB, where 4 take 0.4 GB and the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from equiscope.models.model import Model

__all__ = ["MAX_OUTPUT_BYTES", "BoundedPasses", "largest_output_bytes"]

# Of the largest output in one pass. GoogLeNet on 16 images of 224 px has 51 MB, VGG-16 on 10 of them 128 MB.
MAX_OUTPUT_BYTES = 128_000_000


class BoundedPasses:
    """Passes of one network in bounded memory: a batch whose outputs would be too large runs in pieces.

    The first image of the first batch is run once more to see how large outputs are; those for other sizes of image
    are taken as proportional to their pixels.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._bytes_per_px: dict[tuple[str, ...], float] = {}

    def record(
        self, images: Tensor, layers: Sequence[str], read: Callable[[str, Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """Run images forward and keep what `read` takes of some layers, as `Model.record` does.

        What is kept has the image as its first dimension; it is the same however many images run together, up to
        rounding.
        """
        parts = [self.model.record(piece, layers, read) for piece in self.pieces(images, layers)]
        return parts[0] if len(parts) == 1 else {n: torch.cat([part[n] for part in parts]) for n in layers}

    def pieces(self, images: Tensor, layers: Sequence[str]) -> tuple[Tensor, ...]:
        """Divide a batch into what runs together."""
        return torch.split(images, self._together(images, layers))

    def _together(self, images: Tensor, layers: Sequence[str]) -> int:
        """Images of a batch that run together; at least one."""
        n_px = images.shape[-2] * images.shape[-1]
        key = tuple(layers)
        if key not in self._bytes_per_px:
            self._bytes_per_px[key] = largest_output_bytes(self.model, images[:1], layers) / n_px
        return max(1, int(MAX_OUTPUT_BYTES / max(1.0, self._bytes_per_px[key] * n_px)))


def largest_output_bytes(model: Model, images: Tensor, layers: Sequence[str]) -> int:
    """Bytes of the largest tensor that any module gives in a pass over some images up to the last of some layers.

    Examples
    --------
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2)))
    >>> largest_output_bytes(model, torch.zeros(1, 3, 8, 10), ["1"])
    1280
    """
    largest = 0

    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel() * output.element_size())

    handles = [module.register_forward_hook(note) for module in model.module.modules()]
    try:
        model.record(images, layers, lambda _layer, output: output[:1, :1, :1, :1])
    finally:
        for handle in handles:
            handle.remove()
    return largest
