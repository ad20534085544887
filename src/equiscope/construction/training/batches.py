"""Batches of augmented images that depend on nothing but the seed, the epoch and the image.

No random state is kept anywhere: the order of an epoch follows from (seed, epoch), and what happens to an image from
(seed, epoch, image). So a training can go on from any step, with any number of workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.construction.training.datasets import Split

__all__ = ["Batch", "Schedule", "centre_batch", "draw_batch", "epoch_order", "iterate_batches", "uniform"]

# Strength of the random contrast and brightness: factors in 1 ± 0.2, shifts in ± 0.1 standard deviations.
_CONTRAST, _SHIFT = 0.4, 0.2
_MASK = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Batch:
    """Cropped images, not yet standardised, so that this can be done where the network is.

    Attributes
    ----------
    pixels
        uint8, shape (image, 3, y, x).
    labels
        int64, shape (image,).
    contrast, shift
        float32, shape (image,): standardised images are multiplied by the one, and the other is added.
    n_failed
        Images that belong here and could not be decoded.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    contrast: NDArray[np.float32]
    shift: NDArray[np.float32]
    n_failed: int


def uniform(seed: int, epoch: int, images: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Draw numbers in [0, 1) for each of several images, shape (image, n), from a hash of all arguments.

    References
    ----------
    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014: the output function of SplitMix64.

    Examples
    --------
    >>> uniform(0, 3, np.array([5, 9]), 2).shape
    (2, 2)
    """
    with np.errstate(over="ignore"):
        state = _mixed(np.full(1, seed & int(_MASK), np.uint64))
        state = _mixed(state ^ np.uint64(epoch))
        state = _mixed(state ^ images.astype(np.uint64))
        counters = _mixed(state[:, None] ^ np.arange(1, n + 1, dtype=np.uint64))
    return (counters >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def epoch_order(seed: int, epoch: int, n_images: int) -> NDArray[np.int64]:
    """Order in which an epoch shows the images, shape (image,).

    Examples
    --------
    >>> sorted(epoch_order(seed=0, epoch=1, n_images=4).tolist())
    [0, 1, 2, 3]
    """
    return np.random.default_rng([seed, epoch]).permutation(n_images)


def draw_batch(split: Split, images: NDArray[np.int64], crop_px: int, seed: int, epoch: int) -> Batch:
    """Crop and mirror images at random, and draw a contrast and a brightness for each.

    Parameters
    ----------
    split
        The images.
    images
        Which of them, shape (image,). Those that cannot be decoded are left out.
    crop_px
        Side of the crops, px.
    seed, epoch
        What they are drawn from, with the image's own number.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.stimuli.sources.arrays import read_npz
    >>> np.savez("images.npz", images=np.zeros((4, 10, 12, 3), np.uint8))
    >>> split = Split(read_npz(Path("images.npz"), None), range(4), np.array([0, 0, 1, 1]), side_px=10)
    >>> batch = draw_batch(split, np.array([0, 3]), crop_px=8, seed=0, epoch=1)
    >>> batch.pixels.shape, batch.contrast.shape
    ((2, 3, 8, 8), (2,))
    """
    draws = uniform(seed, epoch, images, 5)
    crops, kept = [], []
    for row, index in enumerate(images.tolist()):
        image = split.load(index)
        if image is None:
            continue
        top, left = (
            int(share * (side - crop_px + 1))
            for share, side in zip(draws[row], image.shape[1:], strict=False)
        )
        crop = image[:, top : top + crop_px, left : left + crop_px]
        crops.append(crop[:, :, ::-1] if draws[row, 2] < 0.5 else crop)
        kept.append(row)
    return Batch(
        _stack(crops, crop_px),
        split.labels[images[kept]],
        (1 + _CONTRAST * (draws[kept, 3] - 0.5)).astype(np.float32),
        (_SHIFT * (draws[kept, 4] - 0.5)).astype(np.float32),
        len(images) - len(kept),
    )


def centre_batch(split: Split, images: NDArray[np.int64], crop_px: int) -> Batch:
    """Crop images about their centres, as they are.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.stimuli.sources.arrays import read_npz
    >>> np.savez("images.npz", images=np.zeros((4, 10, 12, 3), np.uint8))
    >>> split = Split(read_npz(Path("images.npz"), None), range(4), np.array([0, 0, 1, 1]), side_px=10)
    >>> batch = centre_batch(split, np.array([0, 3]), crop_px=8)
    >>> batch.pixels.shape, batch.labels.tolist()
    ((2, 3, 8, 8), [0, 1])
    """
    crops, kept = [], []
    for row, index in enumerate(images.tolist()):
        image = split.load(index)
        if image is None:
            continue
        top, left = ((side - crop_px) // 2 for side in image.shape[1:])
        crops.append(image[:, top : top + crop_px, left : left + crop_px])
        kept.append(row)
    ones, n = np.ones(len(kept), np.float32), len(images)
    return Batch(_stack(crops, crop_px), split.labels[images[kept]], ones, 0 * ones, n - len(kept))


def _stack(crops: Sequence[NDArray[np.uint8]], crop_px: int) -> NDArray[np.uint8]:
    return np.stack(crops) if crops else np.empty((0, 3, crop_px, crop_px), np.uint8)


@dataclass(frozen=True)
class Schedule:
    """Which images each step shows, and how large.

    Attributes
    ----------
    n_steps_per_epoch
        Steps of an epoch.
    batch
        Images of a step over all processes.
    crops_px
        Side of the crops in each epoch, px.
    seed
        Of order and augmentation.
    """

    n_steps_per_epoch: int
    batch: int
    crops_px: Sequence[int]
    seed: int


def iterate_batches(
    split: Split,
    schedule: Schedule,
    steps: range,
    *,
    rank: int = 0,
    n_ranks: int = 1,
    n_workers: int = 1,
) -> Iterator[Batch]:
    """Give the batches of some steps in order, made ahead by threads.

    Parameters
    ----------
    split
        The training images.
    schedule
        Which of them each step shows, and how large.
    steps
        Numbers of the steps, counted over all epochs.
    rank, n_ranks
        This process, which gets every ``n_ranks``-th image, and how many there are.
    n_workers
        Threads.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.stimuli.sources.arrays import read_npz
    >>> np.savez("images.npz", images=np.zeros((4, 10, 12, 3), np.uint8))
    >>> split = Split(read_npz(Path("images.npz"), None), range(4), np.array([0, 0, 1, 1]), side_px=10)
    >>> schedule = Schedule(n_steps_per_epoch=2, batch=2, crops_px=[6, 8], seed=0)
    >>> [batch.pixels.shape for batch in iterate_batches(split, schedule, range(1, 3))]
    [(2, 3, 6, 6), (2, 3, 8, 8)]
    """
    orders: dict[int, NDArray[np.int64]] = {}

    def make(step: int, order: NDArray[np.int64]) -> Batch:
        epoch, place = divmod(step, schedule.n_steps_per_epoch)
        chosen = order[place * schedule.batch : (place + 1) * schedule.batch][rank::n_ranks]
        return draw_batch(split, chosen, schedule.crops_px[epoch], schedule.seed, epoch)

    pool = ThreadPoolExecutor(max_workers=n_workers, thread_name_prefix="equiscope-batches")
    waiting: deque[Future[Batch]] = deque()
    try:
        for step in steps:
            epoch = step // schedule.n_steps_per_epoch
            if epoch not in orders:
                orders = {epoch: epoch_order(schedule.seed, epoch, len(split))}
            waiting.append(pool.submit(make, step, orders[epoch]))
            if len(waiting) > 2 * n_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
