"""Grey levels about a position: what tells ice and dirt from particles where the score does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.model.picks import Picks


def with_local(picks: Picks, image: NDArray[np.float32] | None, diameter: float) -> Picks:
    """Return the picks with their local statistics, or as they are without an image; see local_statistics."""
    return picks if image is None else replace(picks, local=local_statistics(image, picks, diameter))


def local_statistics(image: NDArray[np.float32], picks: Picks, diameter: float) -> NDArray[np.float32]:
    """Return local mean, local standard deviation and power of each pick, (n, 3) float32.

    Mean and standard deviation are taken in a square of the area of the particle's disc, cut at the micrograph's edge;
    they are distances from the mean of the image, and shares of the standard deviation of the image. The power is the
    variance that the template explains, (score x local standard deviation)^2.

    Parameters
    ----------
    image : (my, mx) float32
        The micrograph on the searched grid, filtered as it was searched.
    picks : Picks
        With positions on that grid.
    diameter : float
        The particle's, map pixels.
    """
    centre, deviation = float(image.mean(dtype=np.float64)), float(image.std(dtype=np.float64)) or 1.0
    half = max(1, round(diameter * np.sqrt(np.pi) / 4))
    sides = [
        (np.maximum(0, at - half), np.minimum(size, at + half + 1))
        for at, size in zip((picks.map_y, picks.map_x), image.shape, strict=True)
    ]
    count = np.prod([stop - start for start, stop in sides], axis=0)
    values = (image - centre) / deviation
    mean, square = (_window_sums(power, *sides) / count for power in (values, values * values))
    sigma = np.sqrt(np.maximum(square - mean * mean, 0))
    return np.stack([mean, sigma, (picks.score * sigma) ** 2], axis=1).astype(np.float32)


def _window_sums(values: NDArray[np.floating], rows: tuple[Any, Any], columns: tuple[Any, Any]) -> NDArray[np.float64]:
    """Return the sums over many windows, from the sums over all rectangles that start at the first pixel."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(np.cumsum(values, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    (top, bottom), (left, right) = rows, columns
    found: NDArray[np.float64] = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return found
