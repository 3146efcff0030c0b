"""The minimum distance for sliders: neighbours are found once, then picks follow any threshold in milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_PAIRS = 400_000
"""Beyond that many neighbours the few that are kept are compared with all others instead."""


class Thinner:
    """Keeps those of any subset of points that `engine.peaks.suppress` would keep.

    Parameters
    ----------
    y, x : (n,) int32
        Map positions, in the order of preference (descending score).
    min_distance : float
        Map pixels.
    """

    def __init__(self, y: NDArray[np.int32], x: NDArray[np.int32], min_distance: float) -> None:
        self._n = len(y)
        self._squared = min_distance * min_distance
        self._points = np.stack([y, x], axis=1).astype(np.int64) if self._n else np.zeros((0, 2), np.int64)
        self._alone = min_distance <= 1 or self._n < 2
        self._starts: list[int] | None = None
        if not self._alone:
            self._find_neighbours(min_distance)

    def _find_neighbours(self, min_distance: float) -> None:
        """Store for each point the less preferred ones that are too near to it, unless there are too many."""
        extent = np.maximum(np.ptp(self._points, axis=0), 1)
        expected = 0.5 * self._n**2 * min(1.0, np.pi * self._squared / float(extent[0] * extent[1]))
        if expected > MOST_PAIRS:
            return
        pairs = cKDTree(self._points).query_pairs(min_distance, output_type="ndarray")
        apart = self._points[pairs[:, 0]] - self._points[pairs[:, 1]]
        pairs = pairs[(apart * apart).sum(axis=1) < self._squared]
        order = np.argsort(pairs[:, 0], kind="stable")
        self._worse = pairs[order, 1]
        counts = np.bincount(pairs[:, 0], minlength=self._n)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).tolist()

    def keep(self, active: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which of the active points are kept, (n,) bool; inactive ones suppress nothing."""
        if self._alone:
            return active.copy()
        flags = bytearray(active.tobytes())
        left = np.frombuffer(flags, np.bool_)
        starts = self._starts
        for i in np.flatnonzero(active).tolist():
            if not flags[i]:
                continue
            if starts is None:
                apart = self._points[i + 1 :] - self._points[i]
                left[i + 1 :] &= (apart * apart).sum(axis=1) >= self._squared
            elif starts[i] != starts[i + 1]:
                left[self._worse[starts[i] : starts[i + 1]]] = False
        return left.copy()
