"""Statistics of grey levels, exact and by blocks of pixels that stay in the cache."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 2**17
"""Pixels that are worked on at a time, so that they stay in the cache."""
LARGE = 2**18
"""Pixels from which on a median is found between two quantiles of a sample."""


def above(pixels: NDArray[np.float32], level: float, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Return pixels minus a level in single precision, however large the level; perhaps in `out`."""
    if abs(level) < 2**24:
        return np.subtract(pixels, np.float32(level), out=out)
    return (pixels.astype(np.float64) - level).astype(np.float32)


def median(values: NDArray[np.float32], level: float | None = None) -> float:
    """Return the median of finite pixels, or of their distances from a level; all are compared, but few sorted."""
    flat = values.ravel()
    buffer = np.empty(BLOCK, np.float32)

    def of(part: NDArray[np.float32], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        if level is None:
            return part
        part = above(part, level, out)
        return np.abs(part, out=part)

    if flat.size >= LARGE:
        low, high = np.quantile(of(flat[:: max(1, flat.size // 2**16)]), (0.49, 0.51), method="nearest")
        first, between = (flat.size - 1) // 2, []
        for start in range(0, flat.size, BLOCK):
            part = flat[start : start + BLOCK]
            part = of(part, buffer[: part.size])
            inside = part >= low
            first -= part.size - int(np.count_nonzero(inside))
            inside &= part <= high
            between.append(part[inside])
        few = np.concatenate(between)
        last = first + 1 - flat.size % 2
        if first >= 0 and last < few.size:
            return float(np.mean(np.partition(few, (first, last))[[first, last]]))
    return float(np.median(of(flat)))


def mostly_beyond(values: NDArray[np.float32], level: float, distance: float) -> bool:
    """Return whether more than half of the pixels are at least as far from a level; then their median distance is."""
    flat, buffer, count = values.ravel(), np.empty(BLOCK, np.float32), 0
    for start in range(0, flat.size, BLOCK):
        part = above(flat[start : start + BLOCK], level, buffer[: flat.size - start])
        count += int(np.count_nonzero(np.abs(part, out=part) >= distance))
    return 2 * count > flat.size


def standardised(image: NDArray[np.float32], level: float) -> NDArray[np.float32]:
    """Return an image, less a level, with zero mean and unit standard deviation.

    That is done in double precision, by blocks that stay in the cache.
    """
    step = max(1, BLOCK // image.shape[1])
    blocks = [image[start : start + step] for start in range(0, len(image), step)]
    single, double = (np.empty((step, image.shape[1]), kind) for kind in (np.float32, np.float64))

    def at(block: NDArray[np.float32]) -> NDArray[np.float32]:
        return above(block, level, single[: len(block)])

    def from_mean(block: NDArray[np.float32]) -> NDArray[np.float64]:
        away: NDArray[np.float64] = np.subtract(at(block), mean, out=double[: len(block)], dtype=np.float64)
        return away

    mean = sum(float(at(block).sum(dtype=np.float64)) for block in blocks) / image.size
    squares = 0.0
    for block in blocks:
        away = from_mean(block)
        squares += float(np.square(away, out=away).sum())
    sigma = math.sqrt(squares / image.size)
    out = np.empty(image.shape, np.float32)
    for number, block in enumerate(blocks):
        np.divide(from_mean(block), sigma, out=out[number * step : (number + 1) * step], casting="same_kind")
    return out
