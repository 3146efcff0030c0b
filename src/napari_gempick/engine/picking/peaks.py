"""Peaks of a score map: candidates once, picks for any threshold from them, in milliseconds.

A candidate also knows the grey levels around it, which tell ice and dirt from particles where the score does not.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.model.errors import SettingsError
from napari_gempick.model.picks import Picks
from napari_gempick.model.score_maps import highest_near, vertex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_gempick.engine.matching.pose import PoseRefiner
    from napari_gempick.model.score_maps import ScoreMap


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
        The number of best picks to keep.
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
    peak = (score == highest_near(score)) & (score >= floor) & (scores.index >= 0)
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
    three = (score[p, q].astype(np.float64) for p, q in ((yb, xb), (y, x), (ya, xa)))
    return np.where(inside, vertex(*three), 0.0)


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
    file_shape : (ny, nx)
        Of the micrograph's file.
    excluded : (ny, nx) bool, optional
        Pixels of the micrograph's file where no pick may lie.

    Raises
    ------
    SettingsError
        There are local limits, and the candidates have no local statistics.
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
                "These candidates have no local mean, standard deviation and power; pick again, or omit "
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

    Points come in the order of preference.
    """
    return np.flatnonzero(Thinner(y, x, min_distance).keep(np.ones(len(y), np.bool_)))


def _by_cells(points: NDArray[np.int64], min_distance: float) -> list[int]:
    """Do the work of `suppress` for points (n, 2) of any number.

    Neighbours are looked up in a grid of cells, so the time grows with their number, not its square.
    """
    squared = min_distance * min_distance
    kept: list[int] = []
    cells: dict[tuple[int, int], list[tuple[int, int]]] = {}
    of = (points // min_distance).astype(int).tolist()
    for i, ((row, column), (yi, xi)) in enumerate(zip(of, points.tolist(), strict=True)):
        near = (cells.get((r, c), ()) for r in (row - 1, row, row + 1) for c in (column - 1, column, column + 1))
        if all((yk - yi) ** 2 + (xk - xi) ** 2 >= squared for cell in near for yk, xk in cell):
            cells.setdefault((row, column), []).append((yi, xi))
            kept.append(i)
    return kept


MOST_PAIRS = 400_000
"""Beyond that many neighbours they are looked up in a grid of cells instead."""


class Thinner:
    """Keeps those of any subset of points that `suppress` would keep.

    Parameters
    ----------
    y, x : (n,) int32
        Map positions, in the order of preference (descending score).
    min_distance : float
        Map pixels.
    """

    def __init__(self, y: NDArray[np.int32], x: NDArray[np.int32], min_distance: float) -> None:
        self._n = len(y)
        self._min_distance, self._squared = min_distance, min_distance * min_distance
        self._points = np.stack([y, x], axis=1).astype(np.int64) if self._n else np.zeros((0, 2), np.int64)
        self._alone = min_distance <= 0 or self._n < 2
        self._starts: list[int] | None = None
        if not self._alone:
            self._find_neighbours(min_distance)

    def _find_neighbours(self, min_distance: float) -> None:
        """Store for each point the less preferred ones that are too near to it, unless there are too many."""
        extent = np.maximum(np.ptp(self._points, axis=0), 1)
        expected = 0.5 * self._n**2 * min(1.0, np.pi * self._squared / float(extent[0] * extent[1]))
        if expected > MOST_PAIRS:
            return
        from scipy.spatial import cKDTree  # slow to import: here, so that the search need not wait for it

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
        starts, chosen = self._starts, np.flatnonzero(active)
        if starts is None:
            left = np.zeros(self._n, np.bool_)
            left[chosen[_by_cells(self._points[chosen], self._min_distance)]] = True
            return left
        flags = bytearray(active.tobytes())
        left = np.frombuffer(flags, np.bool_)
        for i in chosen.tolist():
            if flags[i] and starts[i] != starts[i + 1]:
                left[self._worse[starts[i] : starts[i + 1]]] = False
        return left.copy()


def with_local(image: NDArray[np.float32], diameter: float, *sets: Picks) -> list[Picks]:
    """Return sets of picks with their local mean, local standard deviation and power.

    Mean and standard deviation are taken in a square of the area of the particle's disc, cut at the micrograph's edge;
    they are distances from the mean of the image, and shares of the standard deviation of the image. The power is the
    variance that the template explains, (score x local standard deviation)^2.

    Parameters
    ----------
    image : (my, mx) float32
        The micrograph on the searched grid, filtered as it was searched.
    diameter : float
        The particle's, map pixels.
    *sets : Picks
        With positions on that grid.
    """
    centre, deviation = float(image.mean(dtype=np.float64)), float(image.std(dtype=np.float64)) or 1.0
    half = max(1, round(diameter * np.sqrt(np.pi) / 4))
    values = (image - centre) / deviation
    sums = [_sums_from_corner(values), _sums_from_corner(np.square(values, out=values))]
    found = []
    for picks in sets:
        (top, bottom), (left, right) = (
            (np.maximum(0, at - half), np.minimum(size, at + half + 1))
            for at, size in zip((picks.map_y, picks.map_x), image.shape, strict=True)
        )
        count = (bottom - top) * (right - left)
        mean, square = ((s[bottom, right] - s[top, right] - s[bottom, left] + s[top, left]) / count for s in sums)
        sigma = np.sqrt(np.maximum(square - mean * mean, 0))
        local = np.stack([mean, sigma, (picks.score * sigma) ** 2], axis=1).astype(np.float32)
        found.append(replace(picks, local=local))
    return found


def _sums_from_corner(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the sums over all rectangles that start at the first pixel, with a row and a column of zeros before."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    sums[1:, 1:] = values
    for above, row in itertools.pairwise(sums):  # numpy.cumsum takes four times as long along this axis
        row += above
    return np.cumsum(sums, axis=1, out=sums)


BEST_DECOYS, BEST_SHARE = 20, 0.25
"""A candidate is refined if it scores at least as high as its view's decoy of this rank. Where decoys are few, the rank
is this share of their number."""
MOST_FALSE = 0.9
"""Lower candidates are refined too while the decoys number at most this share of the candidates."""
APART = 0.25
"""Candidates closer than this to a better one, in diameters, are not refined: picks do not lie that close together."""
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
    usual_floor: float = -1.0,
) -> tuple[Picks, Picks | None]:
    """Return the candidates of the score map and of the decoys', best first.

    Parameters
    ----------
    floor : float
        Score down to which local maxima are kept.
    image : (my, mx) float32, optional
        The micrograph as it was searched: candidates then have their local statistics.
    size : float
        The particle's diameter, map pixels.
    refine : PoseRefiner, optional
        Refines position and psi of the candidates that are worth it (see BEST_DECOYS), and of all where there are no
        decoys. No threshold decides this, because another one may be chosen later. Scores, which thresholds are
        compared with, are the map's, of candidates as of decoys.
    usual_floor : float
        Decoys that score lower do not count in this: `floor` is lower only because a threshold is.
    """
    sets = [find_candidates(maps, floor) for maps in (scores, decoys) if maps is not None]
    sets = sets if image is None else with_local(image, size, *sets)
    found, other = sets[0], sets[1] if len(sets) > 1 else None
    if refine is not None:
        counted = None if other is None else other.take(other.score >= usual_floor)
        lowest = np.array([_lowest(found, counted, view) for view in range(len(scores.bank.view_names))])
        high = np.flatnonzero(found.score >= lowest[found.view])
        wanted = np.zeros(len(found), bool)
        wanted[high[suppress(found.map_y[high], found.map_x[high], APART * size)]] = True
        found = refine(found, wanted, scores)
    return found, other


def _lowest(found: Picks, decoys: Picks | None, view: int) -> float:
    """Return the score down to which poses of a view are refined."""
    if decoys is None or not len(decoys):
        return -1.0
    alone = np.count_nonzero(decoys.view == view) >= LEAST
    own, others = (np.sort(one.score[one.view == view] if alone else one.score)[::-1] for one in (found, decoys))
    number = np.arange(1, len(others) + 1)
    best = number <= max(1.0, min(BEST_DECOYS, BEST_SHARE * len(others)))
    better = np.searchsorted(-own, -others, side="right")
    return float(others[np.flatnonzero(best | (number <= MOST_FALSE * better))[-1]])
