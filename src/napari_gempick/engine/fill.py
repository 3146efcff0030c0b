"""Noise in place of bad pixels: with the mean and the spectrum of what is around them, and no structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_gempick.engine.filters import random_phases

if TYPE_CHECKING:
    from numpy.typing import NDArray

REACH = 3
"""Pixels around a bad one among which a good one is drawn."""
ENOUGH = 8
"""Good pixels that there must be."""
WINDOW = 13
"""Side of the smallest window of a local mean; noise that is put in place has no lower frequencies."""
SHARE = 0.3
"""Good pixels that a window must have."""
_CHUNK = 2**16


def filled(image: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a micrograph with noise at some pixels; the same at every call, all other pixels as they are.

    A pixel with enough good ones about it becomes one of them, drawn by lot. Deeper inside it is the mean of the good
    pixels of the smallest window that has enough, plus noise with the micrograph's power spectrum and random phases,
    without the low frequencies in which particles are.

    Parameters
    ----------
    image : (ny, nx) float32
    where : (ny, nx) bool
        Not everywhere.
    """
    out = image.copy()
    rng = np.random.default_rng(0)
    ys, xs = np.nonzero(where)
    shift = np.arange(-REACH, REACH + 1)
    deep = np.zeros(image.shape, bool)
    for first in range(0, len(ys), _CHUNK):
        y, x = (at[first : first + _CHUNK] for at in (ys, xs))
        v, u = y[:, None, None] + shift[:, None], x[:, None, None] + shift
        inside = (v >= 0) & (v < image.shape[0]) & (u >= 0) & (u < image.shape[1])
        v, u = (np.clip(at, 0, n - 1) for at, n in zip((v, u), image.shape, strict=True))
        good = (inside & ~where[v, u]).reshape(len(y), -1)
        number = good.sum(axis=1)
        drawn = np.floor(rng.random(len(y)) * number).astype(int)
        chosen = (np.cumsum(good, axis=1) == drawn[:, None] + 1).argmax(axis=1)
        dy, dx = np.unravel_index(chosen, (len(shift), len(shift)))
        enough = number >= ENOUGH
        out[y[enough], x[enough]] = image[(y + shift[dy])[enough], (x + shift[dx])[enough]]
        deep[y[~enough], x[~enough]] = True
    return _deeply_filled(out, where, deep) if deep.any() else out


def _deeply_filled(
    image: NDArray[np.float32], where: NDArray[np.bool_], deep: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Fill pixels far from good ones: local mean plus noise, window after window until all have enough good pixels."""
    good = ~where
    centre = np.float32(np.median(image[good]))
    start = np.where(good, image - centre, np.float32(0))
    mean = ndimage.uniform_filter(start, WINDOW)
    mean /= np.maximum(ndimage.uniform_filter(good.astype(np.float32), WINDOW), np.float32(1e-3))
    start -= mean
    start[where] = 0
    noise = random_phases(start, 0)
    noise *= np.median(np.abs(start[good])) / max(float(np.median(np.abs(noise))), 1e-30)
    out = image.copy()
    labels, _ = ndimage.label(deep)
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        left, size = labels[place] == number, WINDOW
        while left.any():
            wide = tuple(slice(max(0, at.start - size), at.stop + size) for at in place)
            inner = tuple(slice(at.start - w.start, at.stop - w.start) for at, w in zip(place, wide, strict=True))
            weights = good[wide].astype(np.float64)
            weight = ndimage.uniform_filter(weights, size, mode="constant")[inner]
            now = left & ((weight > SHARE) | (size > 2 * max(image.shape)))
            if now.any():
                mean = ndimage.uniform_filter(weights * (image[wide] - centre), size, mode="constant")[inner]
                out[place][now] = (mean / np.maximum(weight, 1e-9) + noise[place] + centre)[now]
            left, size = left & ~now, 2 * size + 1
    return out
