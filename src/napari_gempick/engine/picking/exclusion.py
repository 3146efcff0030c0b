"""Where no particle can be: padded borders, dead areas, ice, dirt and carbon, found by local mean and variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import (
    binary_closing,
    binary_fill_holes,
    binary_propagation,
    gaussian_filter,
    maximum_filter,
    minimum_filter,
)

from napari_gempick.engine.picking.areas import (
    cut_off,
    distance_to,
    level_areas,
    local_mean,
    neighbour_deviation,
    texture_areas,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELLS = 16
"""Binned pixels along a particle's diameter: the areas to be found are at least as large as a particle."""
SURE, LIKELY = 7.0, 4.0
"""Robust standard deviations of the local mean or variance: for a foreign area, and for its extension."""
DEEP, ROUGH = 1.1, 2.0
"""By how many usual deviations a mean must be off, and how many times as large a deviation must be: few clear particles
on a quiet background are not foreign."""
LEAST_AREAS = 60
"""Squares of a particle's diameter that a micrograph must have for foreign areas to be found in it."""
DEAD = 0.25
"""Local standard deviation below this share of the usual one is a dead area."""
RIM = 0.15
"""Diameters around a found area in which roughness does not count, because it comes from the edge."""
OUTLINE = 2.2
"""Deviations of the lightly smoothed grey level that the outline of a small object has."""
MARGIN = 0.125
"""Diameters; width of the margin around each found area that is left out too."""
REPEATED, USUAL = 0.4, 0.8
"""Change from one row (or column) to the next over the usual change: of copies, and from where on there are none."""
LINES = 1024
"""Pixels of a row (or column) that are compared with the next one, about."""
LEAST_REPEATED = 5
"""Rows or columns that make a padded border."""


def find_exclusion(
    image: NDArray[np.float32], diameter: float, replaced: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Return where a micrograph holds no particles worth picking, (ny, nx) bool.

    A large area of carbon is found by its edge and its grey level or texture, and may cover more than the ice does.

    Parameters
    ----------
    image : (ny, nx) float32
        Finite.
    diameter : float
        The particle's, pixels.
    replaced : (ny, nx) bool, optional
        Pixels that were defects; those wider than a few pixels are left out as well.
    """
    top, bottom, left, right = padded_borders(image)
    inner = image[top : image.shape[0] - bottom, left : image.shape[1] - right]
    excluded = np.ones(image.shape, bool)
    enough = inner.size >= LEAST_AREAS * diameter**2
    here = _foreign(inner, diameter) if enough else False  # a few particles do not show what is usual
    excluded[top : image.shape[0] - bottom, left : image.shape[1] - right] = here
    if replaced is not None:
        wide = minimum_filter(replaced, LEAST_REPEATED, mode="nearest")
        excluded |= maximum_filter(wide, LEAST_REPEATED)
    return excluded


def padded_borders(image: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Return how many rows at the top and bottom, and columns left and right, repeat their neighbours.

    Programs that align frames fill the borders with copies of the last row or column, which look like streaks.
    """
    found = []
    for across in (image, image.T):
        change = np.abs(np.diff(across[:, :: max(1, across.shape[1] // LINES)], axis=0)).mean(axis=1)
        usual = np.median(change)
        found += [_repeated(side / usual) if usual > 0 else 0 for side in (change, change[::-1])]
    return found[0], found[1], found[2], found[3]


def _repeated(change: NDArray[np.floating]) -> int:
    """Return how many rows from an edge on repeat each other; there may be a few others at the very edge."""
    near = change[: len(change) // 4]
    dead = np.nonzero(near < REPEATED)[0]
    if len(dead) < LEAST_REPEATED:
        return 0
    last = int(dead[-1])
    alive = np.nonzero(near[last:] >= USUAL)[0]
    return last + 1 + (int(alive[0]) if len(alive) else 0)


def _foreign(image: NDArray[np.float32], diameter: float) -> NDArray[np.bool_]:
    n = max(1, round(diameter / CELLS))
    height, width = (size // n for size in image.shape)
    binned, within = _binned(image, n)
    size = diameter / n
    large, smooth = level_areas(binned, size)
    level = binned - smooth.plane
    deviation = _deviation(level, np.ones(level.shape, bool), size / 4)
    usual = float(np.median(deviation))
    if usual == 0:
        return np.zeros(image.shape, bool)
    small, around = _objects(level, ~large, smooth.sigma, usual, size)
    texture, powers = texture_areas(binned, within if n > 1 else None, large | around, size)
    large |= texture
    rest = distance_to(small | large) > RIM * size
    rough = _rough(_deviation(level, rest, size / 4), rest, usual)
    dead = deviation < DEAD * usual
    dead = distance_to(dead) <= size / 4  # the window of the deviation
    found = small | rough | large | dead
    found |= cut_off([smooth, *powers], found | around, size)
    found = distance_to(found) <= MARGIN * size
    full = np.repeat(np.repeat(found, n, axis=0), n, axis=1)
    whole: NDArray[np.bool_] = np.pad(full, [(0, image.shape[0] - height * n), (0, image.shape[1] - width * n)], "edge")
    return whole


def _binned(image: NDArray[np.float32], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means and the variances of blocks of n x n pixels, (ny // n, nx // n) float64."""
    height, width = (size // n for size in image.shape)
    mean, square = np.empty((2, height, width))
    for row in range(height):
        strip = image[row * n : (row + 1) * n, : width * n].astype(np.float64)
        level = strip.mean()
        strip -= level
        mean[row] = strip.sum(axis=0).reshape(width, n).sum(axis=1) / n**2
        square[row] = np.square(strip, out=strip).sum(axis=0).reshape(width, n).sum(axis=1) / n**2 - mean[row] ** 2
        mean[row] += level
    return mean, np.maximum(square, 0)


def _deviation(level: NDArray[np.float64], where: NDArray[np.bool_], width: float) -> NDArray[np.float64]:
    """Return the local standard deviation of the pixels that count; NaN far from all of them."""
    square = local_mean(level * level, where, width) - np.square(local_mean(level, where, width))
    return np.sqrt(np.maximum(square, 0))


def _objects(
    level: NDArray[np.float64], where: NDArray[np.bool_], sigma: float, usual: float, size: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return ice, dirt and beads by their grey level, with the outlines that a light smoothing shows, and without."""
    smooth = np.where(where, np.nan_to_num(local_mean(level, where, size / 4)), 0)
    spread = 1.4826 * float(np.median(np.abs(smooth[where]))) if where.any() else 0.0  # ice that thickens slowly counts
    strange = np.where(np.abs(smooth) >= DEEP * usual, np.abs(smooth), 0) / max(sigma, spread, 1e-12)
    light = gaussian_filter(level, size / 16, mode="nearest")
    clear = light * np.sign(smooth) > OUTLINE * neighbour_deviation(light, round(size))
    found = binary_propagation((strange > SURE) & clear, mask=(strange > LIKELY) & clear)
    closed = binary_closing(np.pad(found, 3, "edge"), iterations=2)[3:-3, 3:-3]
    return binary_fill_holes(closed), binary_propagation(strange > SURE, mask=strange > LIKELY)


def _rough(deviation: NDArray[np.float64], rest: NDArray[np.bool_], usual: float) -> NDArray[np.bool_]:
    there = rest & (deviation > 0)
    if not there.any():
        return there
    logarithm = np.log(np.where(there, deviation, usual))
    away = logarithm - np.median(logarithm[there])
    spread = 1.4826 * float(np.median(np.abs(away[there])))
    strange = np.where(there & (deviation >= ROUGH * usual), away, 0) / max(spread, 1e-12)
    found: NDArray[np.bool_] = binary_propagation(strange > SURE, mask=strange > LIKELY)
    return found
