"""Precision, recall and false positives at every threshold on the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Curve:
    """What a threshold on the score would give, pooled over micrographs; one entry for each score, the highest first.

    At a threshold the picks that reach it are matched anew. There is no number of true negatives in picking, so the
    false positive rate is relative to all picks that count at the lowest threshold, and `false_per_micrograph` is the
    axis of a free-response ROC curve (FROC). Picks without a score stand at the threshold -inf.

    Attributes
    ----------
    threshold, precision, recall, f1, false_per_micrograph, false_positive_rate : (n,) float64
    picks, matched : (n,) int64
        Picks that count, and the matches among them.
    """

    threshold: NDArray[np.float64]
    picks: NDArray[np.int64]
    matched: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    false_per_micrograph: NDArray[np.float64]
    false_positive_rate: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.threshold)

    @property
    def best(self) -> int | None:
        """Entry of the largest F1, the highest threshold of equal ones; None where there is none."""
        return int(np.nanargmax(self.f1)) if np.isfinite(self.f1).any() else None
