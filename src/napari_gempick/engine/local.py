"""Grey levels about a position: what tells ice and dirt from particles where the score does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

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
    mean, deviation = float(image.mean(dtype=np.float64)), float(image.std(dtype=np.float64)) or 1.0
    half = max(1, round(diameter * np.sqrt(np.pi) / 4))
    found = np.empty((len(picks), 3), np.float32)
    for row, (y, x) in enumerate(zip(picks.map_y.tolist(), picks.map_x.tolist(), strict=True)):
        window = image[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
        found[row, :2] = (window.mean() - mean) / deviation, window.std() / deviation
    found[:, 2] = (picks.score * found[:, 1]) ** 2
    return found
