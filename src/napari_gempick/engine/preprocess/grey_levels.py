"""Statistics of grey levels, exact and by blocks of pixels that stay in the cache."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 2**17
"""Pixels that are worked on at a time, so that they stay in the cache."""
LARGE = 2**18
"""Pixels from which on a median is found between two quantiles of a sample."""
SAMPLE = 2**20
"""About this many pixels, from evenly spaced rows, give a level or the noise."""


def above(pixels: NDArray[np.float32], level: float, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Return pixels minus a level in single precision, however large the level; perhaps in `out`."""
    if abs(level) < 2**24:
        return np.subtract(pixels, np.float32(level), out=out)
    return np.subtract(
        pixels, level, out=np.empty_like(pixels) if out is None else out, dtype=np.float64, casting="same_kind"
    )


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


@dataclass(frozen=True)
class Standard:
    """What gives an image zero mean and unit standard deviation.

    Attributes
    ----------
    level : float
        About the median; taken off first, so that grey levels of 1e5 on unit noise lose nothing.
    mean, sigma : float
        Of the remaining pixels.
    """

    level: float
    mean: float
    sigma: float

    @classmethod
    def of(cls, image: NDArray[np.float32]) -> Standard:
        """Measure an image (ny, nx), which is not constant."""
        level = median(sampled(image))
        total = squares = 0.0
        for rows in row_blocks(*image.shape):
            shifted = above(image[rows], level).astype(np.float64)
            total += float(shifted.sum())
            squares += float(np.square(shifted, out=shifted).sum())
        mean = total / image.size
        return cls(level, mean, math.sqrt(squares / image.size - mean * mean))

    def applied(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the image (ny, nx) with zero mean and unit standard deviation."""
        out = np.empty_like(image)
        self.write(out, image)
        return out

    def write(self, out: NDArray[np.float32], image: NDArray[np.float32]) -> None:
        """Write the pixels (ny, nx) of the image, or of a part of it, into `out`."""
        mean, factor = np.float32(self.mean), np.float32(1 / self.sigma)
        for rows in row_blocks(*image.shape):
            into = above(image[rows], self.level, out[rows])
            into -= mean
            into *= factor


def sampled(image: NDArray[np.float32], usable: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """Return about SAMPLE pixels of an image (ny, nx), in whole rows, of those that are usable (ny,).

    The distance between the rows is odd: patterns of the detector often repeat after a power of two.
    """
    step = image.size // SAMPLE | 1
    return image[::step] if usable is None else image[np.flatnonzero(usable)[::step]]


def row_blocks(ny: int, nx: int) -> list[slice]:
    """Return blocks of rows of an image that stay in the cache."""
    step = max(1, BLOCK // nx)
    return [slice(start, min(start + step, ny)) for start in range(0, ny, step)]
