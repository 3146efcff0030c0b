"""The candidates of a searched micrograph: local maxima, what lies about them, and their refined poses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.engine.local import with_local
from napari_gempick.engine.peaks import find_candidates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.engine.pose import PoseRefiner
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.scores import ScoreMap

CHANCE = 0.75
"""The share of decoys below which a candidate is hardly worth a threshold, and its pose stays as it was searched."""
LEAST = 5
"""Decoys of a view that tell this; with fewer, those of all views do."""


def find_peaks(
    scores: ScoreMap,
    decoys: ScoreMap | None,
    floor: float,
    *,
    image: NDArray[np.float32] | None = None,
    size: float = 0.0,
    refine: PoseRefiner | None = None,
) -> tuple[Picks, Picks | None]:
    """Return the candidates of the score map and of the decoys', best first.

    Parameters
    ----------
    scores, decoys : ScoreMap
    floor : float
        Score down to which local maxima are kept.
    image : (my, mx) float32, optional
        The micrograph as it was searched: candidates then have their local statistics.
    size : float
        The particle's diameter, map pixels.
    refine : PoseRefiner, optional
        Refines position and psi of the candidates that score higher than most decoys, and of all where there are
        none. No threshold decides this, because another one may be chosen later. Scores, which thresholds are compared
        with, are the map's, of candidates as of decoys.
    """
    found, other = (
        None if maps is None else with_local(find_candidates(maps, floor), image, size) for maps in (scores, decoys)
    )
    assert found is not None
    if refine is not None:
        lowest = np.array([_lowest(other, view) for view in range(len(scores.bank.view_names))])
        found = refine(found, found.score >= lowest[found.view], scores)
    return found, other


def _lowest(decoys: Picks | None, view: int) -> float:
    """Return the score down to which poses of a view are refined."""
    if decoys is None or not len(decoys):
        return -1.0
    own = decoys.score[decoys.view == view]
    return float(np.quantile(own if len(own) >= LEAST else decoys.score, CHANCE))
