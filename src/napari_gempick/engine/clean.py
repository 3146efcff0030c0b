"""Micrographs before any filter: hot pixels and gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray


def remove_hot_pixels(image: NDArray[np.float32], limit: float) -> tuple[NDArray[np.float32], int]:
    """Replace pixels that stand out from their neighbours by the neighbours' median; return how many they were.

    Parameters
    ----------
    image : (y, x) float32
    limit : float
        Largest difference from the median of the 5 x 5 neighbours, in robust standard deviations (1.4826 times the
        median absolute deviation) of that difference over the micrograph.
    """
    middle = ndimage.median_filter(image, 5, mode="reflect")
    difference = np.abs(image - middle)
    sigma = 1.4826 * float(np.median(difference))
    hot = difference > limit * sigma if sigma > 0 else np.zeros(image.shape, bool)
    return np.where(hot, middle, image), int(hot.sum())


def remove_gradient(image: NDArray[np.float32], order: int) -> NDArray[np.float32]:
    """Subtract the plane (order 1) or the paraboloid (order 2) that fits a micrograph best by least squares.

    It is fitted to means over blocks of about a 64th of the side, and its mean stays: only the slope goes.
    """
    size = max(1, min(image.shape) // 64)
    rows, columns = (n // size for n in image.shape)
    blocks = image[: rows * size, : columns * size].reshape(rows, size, columns, size).mean(axis=(1, 3), dtype=float)
    centres = [(np.arange(count) * size + (size - 1) / 2) for count in (rows, columns)]
    powers = [(i, j) for i in range(order + 1) for j in range(order + 1 - i) if i + j > 0]

    def terms(y: NDArray[np.float64], x: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        v, u = (2 * y / image.shape[0] - 1)[:, None], (2 * x / image.shape[1] - 1)[None, :]
        return [v**i * u**j for i, j in powers]

    basis = [np.broadcast_to(term, blocks.shape).ravel() for term in terms(*centres)]
    means = np.array([term.mean() for term in basis])
    weights = np.linalg.lstsq(np.stack(basis, axis=1) - means, blocks.ravel() - blocks.mean(), rcond=None)[0]
    slope = np.zeros(image.shape, np.float64)
    full = terms(np.arange(image.shape[0], dtype=float), np.arange(image.shape[1], dtype=float))
    for weight, term in zip(weights, full, strict=True):
        slope += weight * (term - term.mean())
    return np.asarray(image - slope, np.float32)
