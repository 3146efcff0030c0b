"""Peaks of a score map: candidates once, picks for any threshold from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import maximum_filter

from napari_gempick.model.errors import SettingsError
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_gempick.model.scores import ScoreMap


@dataclass(frozen=True)
class Selection:
    """What turns candidates into picks.

    Attributes
    ----------
    thresholds : sequence of float
        Lowest score, one for each view.
    min_distance : float
        Map pixels, between integer map positions.
    max_threshold : float, optional
        Picks above are dropped after they have suppressed their neighbours.
    border : float
        File pixels; picks closer to any edge of the micrograph are dropped.
    max_picks : int, optional
        Only so many of the best are kept.
    local_limits : sequence of (lowest, highest)
        Of local mean, local standard deviation and power (Picks.local); empty for none.
    """

    thresholds: Sequence[float]
    min_distance: float
    max_threshold: float | None = None
    border: float = 0.0
    max_picks: int | None = None
    local_limits: Sequence[tuple[float, float]] = ()


def find_candidates(scores: ScoreMap, floor: float) -> Picks:
    """Return every local maximum of the score map that reaches `floor`, in descending order of score.

    A local maximum is not below any of its eight neighbours. Ties are ordered by y, then x. Positions are refined by a
    quadratic through the three scores in y and the three in x (never by more than half a map pixel); the score stays
    the map's.
    """
    score = scores.score
    peak = (score == maximum_filter(score, size=3, mode="nearest")) & (score >= floor) & (scores.index >= 0)
    y, x = np.nonzero(peak)
    value = score[y, x]
    order = np.lexsort((x, y, -value))
    y, x, value = y[order], x[order], value[order]
    k = scores.index[y, x]
    ratio = float(scores.grid.ratio)
    return Picks(
        x=(x + _vertex(score, scores.index, y, x, 1)) * ratio,
        y=(y + _vertex(score, scores.index, y, x, 0)) * ratio,
        map_x=x.astype(np.int32),
        map_y=y.astype(np.int32),
        score=value,
        k=k.astype(np.int32),
        view=scores.bank.view(k),
        section=scores.bank.section(k),
        psi=scores.bank.psi(k),
    )


def _vertex(
    score: NDArray[np.float32], index: NDArray[np.int32], y: NDArray[np.intp], x: NDArray[np.intp], axis: int
) -> NDArray[np.float64]:
    """Return the offset of the vertex of the parabola through a peak and its two neighbours along an axis."""
    dy, dx = (1, 0) if axis == 0 else (0, 1)
    ny, nx = score.shape
    inside = (y - dy >= 0) & (y + dy < ny) & (x - dx >= 0) & (x + dx < nx)
    yb, xb = np.where(inside, y - dy, y), np.where(inside, x - dx, x)
    ya, xa = np.where(inside, y + dy, y), np.where(inside, x + dx, x)
    inside &= (index[yb, xb] >= 0) & (index[ya, xa] >= 0)
    before, centre, after = (score[p, q].astype(np.float64) for p, q in ((yb, xb), (y, x), (ya, xa)))
    curvature = before - 2 * centre + after
    use = inside & (curvature < 0)
    offset = 0.5 * (before - after) / np.where(use, curvature, 1.0)
    return np.where(use, np.clip(offset, -0.5, 0.5), 0.0)


def select(
    candidates: Picks, selection: Selection, file_shape: tuple[int, int], excluded: NDArray[np.bool_] | None = None
) -> Picks:
    """Return the picks among candidates, best first.

    In this order: the threshold of each candidate's own view, the distance to better ones, then the upper threshold,
    the limits of local mean, standard deviation and power, the border, the exclusion mask and the number.

    Parameters
    ----------
    candidates : Picks
        From find_candidates, or read back from a file.
    selection : Selection
    file_shape : (ny, nx)
        Of the micrograph's file.
    excluded : (ny, nx) bool, optional
        Pixels of the micrograph's file where no pick may lie.

    Raises
    ------
    SettingsError
        Local limits are asked for, and the candidates do not know what lies about them.
    """
    thresholds = np.asarray(selection.thresholds, np.float64)
    reaching = candidates.take(candidates.score >= thresholds[candidates.view].astype(np.float32))
    picks = reaching.take(suppress(reaching.map_y, reaching.map_x, selection.min_distance))
    ny, nx = file_shape
    keep = np.ones(len(picks), bool)
    if selection.max_threshold is not None:
        keep &= picks.score <= np.float32(selection.max_threshold)
    if selection.local_limits:
        if picks.local is None:
            raise SettingsError(
                "These candidates have no local mean, standard deviation and power; pick again, or leave out "
                "--local-mean, --local-sigma and --power."
            )
        for column, (lowest, highest) in zip(picks.local.T, selection.local_limits, strict=True):
            keep &= (column >= lowest) & (column <= highest)
    edge = selection.border
    keep &= (picks.x >= edge) & (picks.y >= edge) & (picks.x <= nx - 1 - edge) & (picks.y <= ny - 1 - edge)
    if excluded is not None:
        row = np.clip(np.rint(picks.y).astype(int), 0, ny - 1)
        column = np.clip(np.rint(picks.x).astype(int), 0, nx - 1)
        keep &= ~excluded[row, column]
    return picks.take(np.nonzero(keep)[0][: selection.max_picks])


def suppress(y: NDArray[np.int32], x: NDArray[np.int32], min_distance: float) -> NDArray[np.intp]:
    """Return the indices of the points kept when each must be at least `min_distance` from all kept before it.

    Points come in the order of preference. Neighbours are looked up in a grid of cells, so the time grows with their
    number, not its square.
    """
    if min_distance <= 1 or len(y) == 0:
        return np.arange(len(y))
    cell = float(min_distance)
    squared = min_distance * min_distance
    kept: list[int] = []
    cells: dict[tuple[int, int], list[tuple[int, int]]] = {}
    rows, columns = (y // cell).astype(int).tolist(), (x // cell).astype(int).tolist()
    ys, xs = y.tolist(), x.tolist()
    for i, (row, column, yi, xi) in enumerate(zip(rows, columns, ys, xs, strict=True)):
        clear = True
        for r in (row - 1, row, row + 1):
            for c in (column - 1, column, column + 1):
                for yk, xk in cells.get((r, c), ()):
                    if (yk - yi) ** 2 + (xk - xi) ** 2 < squared:
                        clear = False
                        break
                if not clear:
                    break
            if not clear:
                break
        if clear:
            cells.setdefault((row, column), []).append((yi, xi))
            kept.append(i)
    return np.array(kept, np.intp)
