"""The candidates of one micrograph, and which of them are picks: fast enough to follow a slider."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from napari_gempick.engine.picking.peaks import Selection, Thinner
from napari_gempick.model.picks import Picks
from napari_gempick.results.thresholds import scores_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.engine.picking.run_evidence import Scores
    from napari_gempick.io.candidates import Candidates
    from napari_gempick.widgets.state.state import Added, Edits, Tune

POOL = 10_000
"""How many of the best candidates are considered; more when the thresholds reach further down."""
SAME_PARTICLE = 0.25
"""Particle diameters: a correction by hand speaks of whatever lies nearer to it than this."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The picks under some settings.

    Attributes
    ----------
    shown : (n,) bool
        Which of the first n candidates are picks.
    added : tuple of Added
        Picks made by hand.
    """

    shown: NDArray[np.bool_]
    added: tuple[Added, ...]

    def __len__(self) -> int:
        return int(np.count_nonzero(self.shown)) + len(self.added)


class CandidateSelection:
    """Chooses picks among the candidates of one micrograph.

    Parameters
    ----------
    diameter : float
        The particle's, Å; the default of the minimum distance is half of it.
    border : float
        Å, where the settings say none.
    excluded : (ny, nx) bool, optional
        Where no pick may lie.
    """

    def __init__(
        self,
        candidates: Candidates,
        diameter: float,
        *,
        border: float = 0.0,
        excluded: NDArray[np.bool_] | None = None,
    ) -> None:
        self.candidates, self.diameter = candidates, diameter
        self._border = border
        self._excluded = None if excluded is None else np.packbits(excluded, axis=1)
        self.excluded_share = 0.0 if excluded is None else float(excluded.mean())
        self.picks = candidates.picks
        self._score = self.picks.score.astype(np.float64)
        self._pool = min(len(self.picks), POOL)
        self._thinner: tuple[tuple[int, float], Thinner] | None = None
        self._marked: tuple[tuple[int, Edits, float], NDArray[np.bool_]] | None = None
        self._inside: tuple[Any, NDArray[np.bool_]] | None = None
        self._lock = threading.Lock()
        self.same = SAME_PARTICLE * diameter / candidates.pixel_size

    def with_candidates(self, candidates: Candidates) -> CandidateSelection:
        """Return a selection among other candidates of the same micrograph."""
        return CandidateSelection(candidates, self.diameter, border=self._border, excluded=self.excluded)

    @property
    def floor(self) -> float:
        """The lowest score that candidates can have."""
        return self.candidates.floor if self.picks.ncc is None else -1.0

    def scores(self, tune: Tune) -> Scores | None:
        """Return the scores that a threshold is chosen from; None without decoys."""
        candidates = self.candidates
        if candidates.decoys is None:
            return None
        selection = Selection(
            thresholds=[self.floor] * len(candidates.view_names),
            min_distance=self.min_distance(tune) / candidates.map_pixel_size,
            max_threshold=tune.max_threshold,
            border=self.border(tune) / candidates.pixel_size,
            local_limits=tune.local_limits(),
        )
        return scores_of(
            candidates.picks, candidates.decoys, selection, self.floor, candidates.file_shape, self.excluded
        )

    @property
    def excluded(self) -> NDArray[np.bool_] | None:
        """Where no pick may lie, (ny, nx) bool."""
        if self._excluded is None:
            return None
        return np.unpackbits(self._excluded, axis=1, count=self.candidates.file_shape[1]).view(np.bool_)

    def packed_excluded(self) -> NDArray[np.uint8]:
        """Return a copy of `excluded`, its rows as bits: (ny, nx / 8 rounded up)."""
        ny, nx = self.candidates.file_shape
        return np.zeros((ny, -(-nx // 8)), np.uint8) if self._excluded is None else self._excluded.copy()

    @cached_property
    def nbytes(self) -> int:
        """Bytes that it takes in memory, roughly: derived values take twice as much as the candidates."""
        sets = [made for made in (self.picks, self.candidates.decoys) if made is not None]
        columns = [getattr(made, name) for made in sets for name in Picks.__dataclass_fields__]
        mask = 0 if self._excluded is None else self._excluded.nbytes
        return 3 * sum(column.nbytes for column in columns if column is not None) + mask

    def choose(self, tune: Tune, edits: Edits) -> Choice:
        """Return the picks: those of `engine.picking.peaks.select`, less the rejected ones, and the added ones."""
        with self._lock:  # picks are counted on another thread
            return self._choose(tune, edits)

    def _choose(self, tune: Tune, edits: Edits) -> Choice:
        names = self.candidates.view_names
        # scores are single precision and so is the comparison of engine.picking.peaks.select
        thresholds = np.array([tune.threshold(name) for name in names], np.float32)
        self._grow(int(np.searchsorted(-self.picks.score, -thresholds.min(), side="right")))
        n = self._pool
        score = self.picks.score[:n]
        shown = self._thin(tune).keep(score >= thresholds[self.picks.view[:n]])
        if tune.max_threshold is not None:
            shown &= score <= np.float32(tune.max_threshold)
        shown &= self._allowed(tune)
        shown &= ~self._near_edits(edits, self.min_distance(tune) / self.candidates.pixel_size)
        if tune.max_picks is not None:
            shown[np.flatnonzero(shown)[tune.max_picks :]] = False
        return Choice(shown, edits.added)

    def _grow(self, needed: int) -> None:
        while self._pool < needed:
            self._pool = min(len(self.picks), max(needed, 2 * self._pool))

    def min_distance(self, tune: Tune) -> float:
        """Return the minimum distance in Å."""
        return self.diameter / 2 if tune.min_distance is None else tune.min_distance

    def border(self, tune: Tune) -> float:
        """Return the border in Å."""
        return self._border if tune.border is None else tune.border

    def _thin(self, tune: Tune) -> Thinner:
        n, distance = self._pool, self.min_distance(tune) / self.candidates.map_pixel_size
        if self._thinner is None or self._thinner[0] != (n, distance):
            made = Thinner(self.picks.map_y[:n], self.picks.map_x[:n], distance)
            self._thinner = (n, distance), made
        return self._thinner[1]

    def _allowed(self, tune: Tune) -> NDArray[np.bool_]:
        """Return which candidates are within the local limits, and neither in the border nor where no pick may lie."""
        n, edge = self._pool, self.border(tune) / self.candidates.pixel_size
        key = (n, edge, tune.local_mean, tune.local_sigma, tune.power)
        if self._inside is None or self._inside[0] != key:
            x, y = self.picks.x[:n], self.picks.y[:n]
            ny, nx = self.candidates.file_shape
            inside = (x >= edge) & (y >= edge) & (x <= nx - 1 - edge) & (y <= ny - 1 - edge)
            limits = tune.local_limits()
            if limits and self.picks.local is not None:
                for column, (lowest, highest) in zip(self.picks.local[:n].T, limits, strict=True):
                    inside &= (column >= lowest) & (column <= highest)
            if self._excluded is not None:  # unpacking all of it takes some ten milliseconds
                row = np.clip(np.rint(y).astype(int), 0, ny - 1)
                column = np.clip(np.rint(x).astype(int), 0, nx - 1)
                inside &= (self._excluded[row, column // 8] >> (7 - column % 8) & 1) == 0
            self._inside = key, inside
        return self._inside[1]

    def _near_edits(self, edits: Edits, apart: float) -> NDArray[np.bool_]:
        """Return which candidates were decided by hand: beside rejected picks, or nearer than `apart` to added ones.

        Distances are in pixels of the file.
        """
        n = self._pool
        if self._marked is None or self._marked[0] != (n, edits, apart):
            marked = np.zeros(n, bool)
            points = np.stack([self.picks.x[:n], self.picks.y[:n]], axis=1)
            added = [(one.x, one.y) for one in edits.added]
            for places, reach in ((edits.rejected, self.same), (added, max(self.same, apart))):
                if places and n:
                    distance, _ = cKDTree(np.array(places)).query(points, distance_upper_bound=reach)
                    marked |= np.isfinite(distance)
            self._marked = (n, edits, apart), marked
        return self._marked[1]

    def nearest(self, x: float, y: float, within: float) -> int | None:
        """Return the candidate nearest to (x, y), not farther than `within`, pixels of the file; None without one."""
        if not len(self.picks):
            return None
        apart = np.hypot(self.picks.x - x, self.picks.y - y)
        best = int(np.argmin(apart))
        return best if apart[best] <= within else None

    def near_threshold(self, choice: Choice, tune: Tune, margin: float) -> NDArray[np.bool_]:
        """Return which of the shown candidates reach the threshold of their view by less than `margin`."""
        thresholds = np.array([tune.threshold(name) for name in self.candidates.view_names], np.float32)
        n = len(choice.shown)
        return choice.shown & (self.picks.score[:n] < thresholds[self.picks.view[:n]] + np.float32(margin))

    def around_threshold(self, choice: Choice, tune: Tune, count: int) -> NDArray[np.intp]:
        """Return up to `count` candidates about the threshold of their view, descending by the distance to it.

        Half of them are picks; the others would be the next ones, if the thresholds were lower.
        """
        names = self.candidates.view_names
        thresholds = np.array([tune.threshold(name) for name in names], np.float32)
        above = self.picks.score - thresholds[self.picks.view]
        n = len(choice.shown)
        next_ones = self._thin(tune).keep(self.picks.score[:n] >= (thresholds - 0.1)[self.picks.view[:n]])
        next_ones &= ~choice.shown & (above[:n] < 0) & self._allowed(tune)
        inside = np.flatnonzero(choice.shown)
        outside = np.flatnonzero(next_ones)
        inside = inside[np.argsort(above[inside], kind="stable")][: count // 2]
        outside = outside[np.argsort(-above[outside], kind="stable")][: count - len(inside)]
        both = np.concatenate([inside, outside])
        return both[np.argsort(-above[both], kind="stable")]

    def result(self, choice: Choice) -> Picks:
        """Return the picks to write, best first; those added by hand without a score come last."""
        chosen = self.picks.take(np.flatnonzero(choice.shown))
        made = picks_of(choice.added, self.candidates.view_names, self.candidates)
        if chosen.ncc is not None:
            made = replace(made, ncc=made.score, score=self._score_at(made))
        if chosen.local is not None:
            made = replace(made, local=np.full((len(made), chosen.local.shape[1]), np.nan, np.float32))
        if chosen.refined_score is not None:
            made = replace(made, refined_score=np.full(len(made), np.nan, np.float32))
        both = Picks(
            **{
                name: np.concatenate([column, getattr(made, name)]).astype(column.dtype)
                for name in Picks.__dataclass_fields__
                if (column := getattr(chosen, name)) is not None
            }
        )
        return both.take(np.argsort(-np.nan_to_num(both.score, nan=-2.0), kind="stable"))

    def _score_at(self, made: Picks) -> NDArray[np.float32]:
        """Return the score of the candidate that lies at each pick made by hand; NaN without one."""
        at = [self.nearest(x, y, self.same) for x, y in zip(made.x.tolist(), made.y.tolist(), strict=True)]
        return np.array([math.nan if k is None else self.picks.score[k] for k in at], np.float32)


def picks_of(added: tuple[Added, ...], names: tuple[str, ...], where: Candidates | None = None) -> Picks:
    """Return picks made by hand as Picks; a view that is not among `names` counts as the first."""
    ratio = 1.0 if where is None else where.map_pixel_size / where.pixel_size
    x, y = np.array([a.x for a in added], np.float64), np.array([a.y for a in added], np.float64)
    return Picks(
        x=x,
        y=y,
        map_x=np.rint(x / ratio).astype(np.int32),
        map_y=np.rint(y / ratio).astype(np.int32),
        score=np.array([a.score for a in added], np.float32),
        k=np.full(len(added), -1, np.int32),
        view=np.array([names.index(a.view) if a.view in names else 0 for a in added], np.int32),
        section=np.array([a.section for a in added], np.int32),
        psi=np.array([a.psi for a in added], np.float64),
    )
