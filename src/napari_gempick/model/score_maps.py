"""The score map and the index map of one micrograph.

Numbers of the rotated templates: which view, section and in-plane angle each k stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.model.geometry import rotation_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.model.geometry import Grid


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """NCC and index maps on the searched grid.

    Attributes
    ----------
    score : (my, mx) float32
        max over k of NCC_k, in [-1, 1]; -1 where nothing was scored.
    index : (my, mx) int32
        The smallest k that reaches it; -1 where nothing was scored.
    grid : Grid
        Where the map's pixels lie on the micrograph.
    bank : BankIndex
        What each k means.
    bound : float
        By how much the scores that are neither a candidate's nor beside one may be wrong; 0 after a full search.
    """

    score: NDArray[np.float32]
    index: NDArray[np.int32]
    grid: Grid
    bank: BankIndex
    bound: float = 0.0

    def merged(self, other: ScoreMap) -> ScoreMap:
        """Return the maximum of both maps, the smaller k in a tie; unscored positions count as nothing."""
        better = (self.index < 0) | (other.score > self.score)
        better |= (other.score == self.score) & (other.index < self.index)
        better &= other.index >= 0
        score, index = (
            np.where(better, theirs, ours) for theirs, ours in ((other.score, self.score), (other.index, self.index))
        )
        return ScoreMap(score, index, self.grid, self.bank, max(self.bound, other.bound))


@dataclass(frozen=True)
class BankIndex:
    """Full-bank numbering: k = section * n_rotations + rotation, sections counted over all views in order.

    Attributes
    ----------
    view_names : tuple of str
        Named views, in order.
    sections_per_view : tuple of int
        How many templates (stack sections) each view has.
    angle_step, angle_range : float
        Degrees; psi = rotation * angle_step.
    folds : tuple of int
        In-plane symmetry of each view; none means 1. With n only psi below 360 / n is searched: k keeps its number, and
        those that are skipped never appear.
    """

    view_names: tuple[str, ...]
    sections_per_view: tuple[int, ...]
    angle_step: float
    angle_range: float
    folds: tuple[int, ...] = ()

    @property
    def n_rotations(self) -> int:
        """In-plane angles per section."""
        return rotation_count(self.angle_step, self.angle_range)

    @property
    def n_sections(self) -> int:
        """Templates over all views."""
        return sum(self.sections_per_view)

    def __len__(self) -> int:
        return self.n_sections * self.n_rotations

    def section(self, k: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the 0-based section of each k, counted over all views; -1 for k = -1."""
        k = np.asarray(k)
        return np.where(k < 0, -1, k // self.n_rotations).astype(np.int32)

    def view(self, k: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the 0-based view of each k; -1 for k = -1."""
        ends = np.cumsum(self.sections_per_view)
        section = self.section(k)
        return np.where(section < 0, -1, np.searchsorted(ends, section, side="right")).astype(np.int32)

    def searched(self) -> NDArray[np.bool_]:
        """Return whether each k is searched, (n,) bool; the others repeat one of these."""
        k = np.arange(len(self), dtype=np.int32)
        if not self.folds:
            return np.ones(len(k), bool)
        most = 360.0 / np.array(self.folds)[self.view(k)]
        found: NDArray[np.bool_] = self.psi(k) < most - 1e-6
        return found

    def psi(self, k: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return psi in degrees of each k; 0 for k = -1."""
        k = np.asarray(k)
        return np.where(k < 0, 0.0, (k % self.n_rotations) * float(self.angle_step))


def highest_near(score: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the highest of each score and its eight neighbours, (ny, nx)."""
    highest = score
    for _ in range(2):
        along, highest = highest, highest.copy(order="K")
        np.maximum(highest[1:], along[:-1], out=highest[1:])
        np.maximum(highest[:-1], along[1:], out=highest[:-1])
        highest = highest.T
    return highest


def vertex(
    before: NDArray[np.floating], middle: NDArray[np.floating], after: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return where parabolas through values at -1, 0 and 1 have their tops, within half a step."""
    curvature = np.asarray(before - 2 * middle + after, np.float64)
    peak = curvature < 0
    place = 0.5 * (before - after) / np.where(peak, curvature, -1.0)
    return np.where(peak, np.clip(place, -0.5, 0.5), 0.0)
