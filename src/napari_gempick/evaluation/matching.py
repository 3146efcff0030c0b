"""Match picks with a truth, one to one.

Positions are pixels of the micrograph's file, x = column, y = row, 0-based pixel centres; angles are degrees.

The rule
--------
1. Truth whose view is `IGNORE` is a mark, not a particle. It is never matched.
2. Every pick may match every particle of the truth, inside excluded zones too: of all ways
   to pair them one to one, at most `tolerance` apart, the one with the most pairs counts, and of those the one with the
   smallest sum of distances. Where that leaves a choice, the pick of the lower score stays without a partner.
3. The excluded zones are the places nearer than `edge` to the outermost pixel centres of the micrograph, and those at
   most `ignore_radius` from a mark.
4. Truth in an excluded zone does not count. A pair goes by its truth: with truth that counts it is a match, even where
   the pick lies within a zone; otherwise neither counts, so finding an excluded particle is not a false positive.
5. A pick without a partner is a false positive, unless it lies in an excluded zone; then it does not count.

So how much truth counts never depends on the picks.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Sequence

IGNORE = "ignore"
"""View of truth that marks a place where nothing counts."""

_UNIT = 2**40
"""Costs for each tolerance of distance."""
_ALONE = 2**80
"""The cost of a pick without a partner."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Particles:
    """Picks or truth of one micrograph.

    Attributes
    ----------
    x, y : (n,) float64
        Centres, px.
    score : (n,) float64
        NaN where there is none.
    view : (n,) str
        Name of the view, "" where it is unknown.
    psi : (n,) float64
        Degrees, counter-clockwise on screen; NaN where it is unknown.
    """

    x: Floats
    y: Floats
    score: Floats
    view: NDArray[np.str_]
    psi: Floats

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def at(
        cls,
        x: ArrayLike,
        y: ArrayLike,
        *,
        score: ArrayLike | None = None,
        view: ArrayLike | None = None,
        psi: ArrayLike | None = None,
    ) -> Particles:
        """Return particles at positions; all other values are unknown."""
        x = np.asarray(x, np.float64)
        nothing = np.full(len(x), np.nan)
        return cls(
            x,
            np.asarray(y, np.float64),
            nothing if score is None else np.asarray(score, np.float64),
            np.full(len(x), "") if view is None else np.asarray(view, np.str_),
            nothing if psi is None else np.asarray(psi, np.float64),
        )

    def take(self, which: NDArray[Any]) -> Particles:
        """Return the particles that an index array or a boolean array selects."""
        return Particles(*(getattr(self, column.name)[which] for column in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Particles]) -> Particles:
        """Return the particles of all parts, in their order."""
        parts = (cls.at([], []), *parts)
        return cls(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)))


@dataclass(frozen=True)
class Rules:
    """What counts as found, and where; lengths in px, see the module's text."""

    tolerance: float
    edge: float = 0.0
    ignore_radius: float = 0.0


@dataclass(frozen=True, eq=False)
class Matching:
    """Picks of one micrograph matched with its truth.

    Attributes
    ----------
    partner : (picks,) int32
        Number of the truth that a pick matches, -1 without one.
    distance : (picks,) float64
        To the partner, px; NaN without one.
    pick_counts : (picks,) bool
        Matches and false positives.
    truth_counts : (truth,) bool
    for_recall : (truth,) bool
        Truth that counts and that recall is measured on.
    order : (picks,) intp
        Picks in descending score.
    steps : (picks, 3) int64
        What the pick order[i] adds to the matches, the false positives and the matches for recall when the picks
        are matched from the best on; sums of it are the numbers at a threshold.
    """

    picks: Particles
    truth: Particles
    partner: NDArray[np.int32]
    distance: Floats
    pick_counts: NDArray[np.bool_]
    truth_counts: NDArray[np.bool_]
    for_recall: NDArray[np.bool_]
    order: NDArray[np.intp]
    steps: NDArray[np.int64]

    @property
    def matched(self) -> NDArray[np.bool_]:
        """Which picks are matches, (picks,) bool."""
        return self.pick_counts & (self.partner >= 0)


def match(
    picks: Particles,
    truth: Particles,
    rules: Rules,
    *,
    shape: tuple[int, int] | None = None,
    for_recall: NDArray[np.bool_] | None = None,
) -> Matching:
    """Match the picks of a micrograph with its truth by the rule above.

    Parameters
    ----------
    shape : (ny, nx), optional
        Of the micrograph, px; needed where `rules.edge` is not 0.
    for_recall : (truth,) bool, optional
        Truth that recall is measured on; by default all.

    Notes
    -----
    Picks come in from the best score on, and each by the shortest augmenting path (Jonker & Volgenant 1987, Computing
    38, 325), so the pairs are the best ones for the picks above every threshold.
    """
    marks = truth.view == IGNORE
    zone = [_excluded(some, truth, marks, rules, shape) for some in (picks, truth)]
    truth_counts = ~zone[1] & ~marks
    recall = truth_counts if for_recall is None else truth_counts & for_recall
    order, partner, distance, news = assign(picks, truth, ~marks, rules.tolerance)
    steps = np.zeros((len(picks), 3), np.int64)
    for row, (found, number) in enumerate(news):
        steps[row] = (truth_counts[number], 0, recall[number]) if found else (0, not zone[0][number], 0)
    pick_counts = np.where(partner >= 0, np.append(truth_counts, False)[partner], ~zone[0])
    return Matching(picks, truth, partner, distance, pick_counts, truth_counts, recall, order, steps)


def _excluded(
    some: Particles, truth: Particles, marks: NDArray[np.bool_], rules: Rules, shape: tuple[int, int] | None
) -> NDArray[np.bool_]:
    out = np.zeros(len(some), np.bool_)
    if rules.edge > 0:
        if shape is None:
            raise ValueError("an edge needs the micrograph's shape")
        ny, nx = shape
        out |= np.minimum(np.minimum(some.x, nx - 1 - some.x), np.minimum(some.y, ny - 1 - some.y)) < rules.edge
    if marks.any() and len(some):
        nearest, _ = cKDTree(positions(truth)[marks]).query(positions(some))
        out |= nearest <= rules.ignore_radius
    return out


def positions(some: Particles) -> Floats:
    """Return x, y as (n, 2) float64."""
    return np.stack((some.x, some.y), axis=1)


def assign(
    picks: Particles, truth: Particles, usable: NDArray[np.bool_], tolerance: float
) -> tuple[NDArray[np.intp], NDArray[np.int32], Floats, list[tuple[bool, int]]]:
    """Return order, partner and distance of a Matching, and for each pick in order what its coming changed.

    That is (True, a particle found for the first time) or (False, the pick that is left without a partner).
    """
    order = np.argsort(-np.nan_to_num(picks.score, nan=-np.inf), kind="stable")
    numbers = np.nonzero(usable)[0]
    near: list[list[int]] = [[] for _ in range(len(picks))]
    if len(picks) and len(numbers):
        tree = cKDTree(positions(truth)[usable])
        near = tree.query_ball_point(positions(picks)[order], tolerance * (1 + 1e-9)).tolist()
    matching = _Growing()
    partner, distances = np.full(len(picks), -1, np.int32), np.full(len(picks), np.nan)
    news = []
    for pick, found in zip(order.tolist(), near, strict=True):
        there = numbers[np.asarray(sorted(found), np.intp)]
        far = np.hypot(truth.x[there] - picks.x[pick], truth.y[there] - picks.y[pick])
        share = far / tolerance if tolerance > 0 else far
        costs = {t: round(d * _UNIT) for t, d in zip(there.tolist(), share.tolist(), strict=True) if d <= 1}
        column = matching.insert(costs)
        news.append((True, column) if column >= 0 else (False, int(order[-1 - column])))
    for number, rank in matching.holder.items():
        if number >= 0:
            pick = order[rank]
            partner[pick] = number
            distances[pick] = np.hypot(truth.x[number] - picks.x[pick], truth.y[number] - picks.y[pick])
    return order, partner, distances, news


class _Growing:
    """The best matching of picks that come one by one: the most pairs, then the smallest sum of costs.

    Picks are numbered as they come. A particle of the truth is a column t >= 0; column -1 - p leaves the pick p without
    a partner, at a cost above that of any other change. Costs are integers, so that ties are exact.
    """

    def __init__(self) -> None:
        self.holder: dict[int, int] = {}
        self._costs: list[dict[int, int]] = []
        self._of_pick: list[int] = []  # dual variables
        self._of_column: dict[int, int] = {}

    def insert(self, costs: dict[int, int]) -> int:
        """Add a pick with its costs; return the column that is taken from now on: a particle, or a pick left out."""
        new = len(self._costs)
        self._costs.append({-1 - new: _ALONE, **costs})
        self._of_pick.append(0)
        best: dict[int, int] = {}
        before: dict[int, int] = {}
        done: dict[int, int] = {}
        heap: list[tuple[int, int]] = []
        row, base = new, 0
        while True:
            for column, cost in self._costs[row].items():
                length = base + cost - self._of_pick[row] - self._of_column.get(column, 0)
                if column not in done and (column not in best or length < best[column]):
                    best[column], before[column] = length, row
                    heappush(heap, (length, column))
            base, end = heappop(heap)
            if end in done:
                continue
            if end not in self.holder:
                break
            done[end] = base
            row = self.holder[end]
        for column, length in done.items():
            self._of_column[column] = self._of_column.get(column, 0) + length - base
            self._of_pick[self.holder[column]] += base - length
        self._of_pick[new] += base
        held = {self.holder[column]: column for column in done}
        column = end
        while True:
            pick = before[column]
            self.holder[column] = pick
            if pick == new:
                return end
            column = held[pick]
