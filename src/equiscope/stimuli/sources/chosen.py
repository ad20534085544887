"""Some of the images of another source."""

from __future__ import annotations

from collections.abc import Sequence

from equiscope.stimuli.sources.listing import Source

__all__ = ["Chosen"]


class Chosen:
    """A source that holds some images of another, in an order of its own.

    Parameters
    ----------
    source
        The other source.
    indices
        Places of the images in it.
    """

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self.names = [source.names[index] for index in indices]
        self.pixel_shape = source.pixel_shape
        self._source, self._indices = source, list(indices)

    def n_bytes(self, index: int) -> int:
        """Size of one image as it is stored."""
        return self._source.n_bytes(self._indices[index])

    def read(self, index: int, start: int, stop: int) -> bytes:
        """Bytes of one image from `start` up to `stop`, or up to its end."""
        return self._source.read(self._indices[index], start, stop)
