"""The candidates of a searched micrograph: local maxima, what lies about them, and their refined poses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.engine.local import with_local
from napari_gempick.engine.peaks import find_candidates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_gempick.engine.pose import PoseRefiner
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.scores import ScoreMap

BELOW = 0.1
"""How far below its threshold a candidate may lie whose pose is refined."""
CHANCE = 0.75
"""The share of decoys below which no threshold lies."""


def find_peaks(
    scores: ScoreMap,
    decoys: ScoreMap | None,
    floor: float,
    thresholds: Sequence[float | None],
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
    thresholds : sequence of float or None
        Of each view; None where it is still to be chosen.
    image : (my, mx) float32, optional
        The micrograph as it was searched: candidates then have their local statistics.
    size : float
        The particle's diameter, map pixels.
    refine : PoseRefiner, optional
        Refines position and psi of the candidates that a threshold may accept. Scores, which thresholds are compared
        with, are the map's, of candidates as of decoys.
    """
    found, other = (
        None if maps is None else with_local(find_candidates(maps, floor), image, size) for maps in (scores, decoys)
    )
    assert found is not None
    if refine is not None:
        lowest = np.array([_reach(floor, value, view, other) for view, value in enumerate(thresholds)])
        found = refine(found, found.score >= lowest[found.view], scores)
    return found, other


def _reach(floor: float, threshold: float | None, view: int, decoys: Picks | None) -> float:
    """Return the score down to which poses of a view are refined: as far as a threshold may reasonably go."""
    chance = np.empty(0) if decoys is None else decoys.score[decoys.view == view]
    least = floor if threshold is None else max(floor, threshold - BELOW)
    if len(chance):
        least = max(least, float(np.quantile(chance, CHANCE)))
    return least if threshold is None else min(least, float(np.float32(threshold)))
