"""The score map and the index map of one micrograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.model.bank import BankIndex
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
    """

    score: NDArray[np.float32]
    index: NDArray[np.int32]
    grid: Grid
    bank: BankIndex

    def merged(self, other: ScoreMap) -> ScoreMap:
        """Return the maximum of both maps, the smaller k in a tie; unscored positions count as nothing."""
        better = (self.index < 0) | (other.score > self.score)
        better |= (other.score == self.score) & (other.index < self.index)
        better &= other.index >= 0
        return ScoreMap(
            np.where(better, other.score, self.score), np.where(better, other.index, self.index), self.grid, self.bank
        )
