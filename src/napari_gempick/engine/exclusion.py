"""Where no particle can be: padded borders, dead areas, ice, dirt and carbon, found by local mean and variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_dilation, binary_propagation, gaussian_filter, maximum_filter, minimum_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELLS = 16
"""Binned pixels along a particle's diameter: what is looked for is as large as a particle or larger."""
SURE, LIKELY = 7.0, 4.0
"""Robust standard deviations of the local mean or variance: of something foreign, and of what is joined to it."""
DEEP, ROUGH = 1.1, 2.0
"""By how many usual deviations a mean must be off, and how many times as large a deviation must be: few clear particles
on a quiet background are not foreign."""
LEAST_AREAS = 60
"""Squares of a particle's diameter that a micrograph must have, to tell what is foreign in it."""
DEAD = 0.25
"""Local standard deviation below this share of the usual one is a dead area."""
STEPS = 12
REPEATED, USUAL = 0.4, 0.8
"""Change from one row (or column) to the next over the usual change: of copies, and from where on there are none."""
LEAST_REPEATED = 5
"""Rows or columns that make a padded border."""


def find_exclusion(
    image: NDArray[np.float32], diameter: float, replaced: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Return where a micrograph holds no particles worth picking, (ny, nx) bool.

    A large area of carbon is found by its edge and its grey level, unless it covers so much of the micrograph that its
    level is the usual one.

    Parameters
    ----------
    image : (ny, nx) float32
        Finite.
    diameter : float
        The particle's, pixels.
    replaced : (ny, nx) bool, optional
        Pixels that were defects: of these, what is wider than a few pixels is left out as well.
    """
    top, bottom, left, right = padded_borders(image)
    inner = image[top : image.shape[0] - bottom, left : image.shape[1] - right]
    excluded = np.ones(image.shape, bool)
    enough = inner.size >= LEAST_AREAS * diameter**2
    here = _foreign(inner, diameter) if enough else False  # what is usual cannot be told from a few particles
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
    for axis in (0, 1):
        change = np.abs(np.diff(image, axis=axis)).mean(axis=1 - axis)
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
    binned = image[: height * n, : width * n].reshape(height, n, width, n).mean((1, 3), dtype=np.float64)
    level = binned - _plane(binned)
    scale = diameter / n / 4
    mean = gaussian_filter(level, scale, mode="nearest")
    deviation = np.sqrt(np.maximum(gaussian_filter(level * level, scale, mode="nearest") - mean * mean, 0))
    usual = float(np.median(deviation))
    if usual == 0:
        return np.zeros(image.shape, bool)
    far = np.where(np.abs(mean) >= DEEP * usual, np.abs(_robust(mean)), 0)
    rough = np.where(deviation >= ROUGH * usual, _robust(np.log(np.maximum(deviation, 1e-6 * usual))), 0)
    strange = np.maximum(far, rough)
    seeds = strange > SURE
    found = binary_propagation(seeds, mask=strange > LIKELY) | (deviation < DEAD * usual)
    radius = round(scale)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    found = binary_dilation(found, np.hypot(y, x) <= radius + 0.5)
    full = np.repeat(np.repeat(found, n, axis=0), n, axis=1)
    whole: NDArray[np.bool_] = np.pad(full, [(0, image.shape[0] - height * n), (0, image.shape[1] - width * n)], "edge")
    return whole


def _plane(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the plane through the usual grey levels: what stands out hardly counts."""
    y, x = np.indices(image.shape)
    base = np.stack([x.ravel(), y.ravel(), np.ones(image.size)], axis=1)
    values, weights = image.ravel(), np.ones(image.size)
    plane = np.zeros(image.size)
    for _ in range(STEPS):  # least absolute deviations, by reweighted least squares
        weighted = base * weights[:, None]
        plane = base @ np.linalg.solve(weighted.T @ base, weighted.T @ values)
        rest = np.abs(values - plane)
        weights = 1 / np.maximum(rest, 0.01 * np.median(rest) + 1e-12)
    return plane.reshape(image.shape)


def _robust(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances from the median in robust standard deviations."""
    away = values - np.median(values)
    spread = 1.4826 * float(np.median(np.abs(away)))
    robust: NDArray[np.float64] = away / spread if spread > 0 else np.zeros_like(away)
    return robust
