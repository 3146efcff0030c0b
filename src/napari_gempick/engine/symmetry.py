"""The in-plane symmetry of a template: how many turns of it look the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.engine.sampling import ContinuousImage
from napari_gempick.model.geometry import Extent

if TYPE_CHECKING:
    from numpy.typing import NDArray

HIGHEST = 12
ALIKE = 0.97
"""Correlation of a template with its turned self from which both count as the same."""


def in_plane_symmetry(image: NDArray[np.float32], weights: NDArray[np.float32]) -> tuple[int, float]:
    """Return the largest n up to 12 for which a turn by 360 / n degrees changes little, and the correlation there.

    Parameters
    ----------
    image : (h, w) float32
    weights : (h, w) float32
        The mask at psi 0; what a turn brings in from outside it does not count.

    Returns
    -------
    n : int
        1 without symmetry.
    correlation : float
        Of the image and the turned one under both masks; 1 for n = 1.
    """
    height, width = image.shape
    extent = Extent(height // 2, width // 2, height - 1 - height // 2, width - 1 - width // 2)
    whole = ContinuousImage(image, 1.0)
    mask = ContinuousImage(np.asarray(weights, np.float32), 1.0)
    for n in range(HIGHEST, 1, -1):
        turned, there = (np.asarray(what.sample(360 / n, 1.0, extent), np.float64) for what in (whole, mask))
        common = np.clip(there, 0, 1) * weights
        if common.sum() < 0.5 * weights.sum():
            continue
        a, b = (values - (values * common).sum() / common.sum() for values in (image.astype(np.float64), turned))
        norm = np.sqrt((a * a * common).sum() * (b * b * common).sum())
        correlation = float((a * b * common).sum() / norm) if norm > 0 else 0.0
        if correlation >= ALIKE:
            return n, correlation
    return 1, 1.0
