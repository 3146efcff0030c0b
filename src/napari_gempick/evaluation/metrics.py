"""Precision, recall, distances, views, angles and curves of matched picks, over micrographs pooled.

Precision, recall and false positives at every threshold on the score.

Look for another way to read the coordinates of picks: flipped, turned, binned, shifted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from napari_gempick.evaluation.matching import IGNORE, Floats, Particles, assign, positions
from napari_gempick.model.geometry import Orientation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_gempick.evaluation.matching import Matching


@dataclass(frozen=True)
class Summary:
    """Numbers of one micrograph, or of several pooled.

    `picks`, `truth` and `matched` are those that count; `recall_truth` of the truth and `recall_matched` of the matches
    are what recall is measured on. Rates are NaN where they have no meaning.
    """

    micrographs: int
    picks: int
    truth: int
    matched: int
    recall_truth: int
    recall_matched: int
    mean_distance: float
    rms_distance: float

    @property
    def precision(self) -> float:
        """Share of the picks that match."""
        return _ratio(self.matched, self.picks)

    @property
    def recall(self) -> float:
        """Share of the truth that is found."""
        return _ratio(self.recall_matched, self.recall_truth)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 when nothing is found, NaN when nothing was there to find."""
        return float(f_score(np.float64(self.precision), np.float64(self.recall)))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def f_score(precision: Floats | np.float64, recall: Floats | np.float64) -> Floats:
    """Return 2 P R / (P + R); 0 where only one of them is defined or both are 0, NaN where neither is."""
    p, r = np.nan_to_num(precision), np.nan_to_num(recall)
    score = 2 * p * r / np.where(p + r > 0, p + r, 1.0)
    return np.where(np.isnan(precision) & np.isnan(recall), np.nan, score)


def summarise(matchings: Sequence[Matching]) -> Summary:
    """Return the numbers of micrographs pooled."""
    far = np.concatenate([np.zeros(0), *(m.distance[m.matched] for m in matchings)])
    steps = sum((m.steps.sum(axis=0) for m in matchings), np.zeros(3, np.int64))
    return Summary(
        micrographs=len(matchings),
        picks=int(steps[0] + steps[1]),
        truth=sum(int(m.truth_counts.sum()) for m in matchings),
        matched=len(far),
        recall_truth=sum(int(m.for_recall.sum()) for m in matchings),
        recall_matched=int(steps[2]),
        mean_distance=float(far.mean()) if len(far) else float("nan"),
        rms_distance=float(np.sqrt(np.mean(far**2))) if len(far) else float("nan"),
    )


@dataclass(frozen=True)
class AngleError:
    """|psi of the pick - psi of the truth| modulo a period, at most half of it: number of pairs, degrees."""

    period: float
    pairs: int
    median: float
    percentile_90: float


@dataclass(frozen=True)
class ViewSummary:
    """Numbers of one named view, pooled.

    `picks` of the view that count and `picks_matched` of them, whatever they match; `truth` of the view that recall is
    measured on and `truth_matched` of it; `view_known` matches whose pick has a view and `view_right` where it is this
    one. `angles` are those of the matches, without known wrong views; one for each period asked for.
    """

    name: str
    picks: int
    picks_matched: int
    truth: int
    truth_matched: int
    view_known: int
    view_right: int
    angles: tuple[AngleError, ...] = ()

    @property
    def precision(self) -> float:
        """Share of the view's picks that match."""
        return _ratio(self.picks_matched, self.picks)

    @property
    def recall(self) -> float:
        """Share of the view's truth that is found."""
        return _ratio(self.truth_matched, self.truth)

    @property
    def right_view(self) -> float:
        """Share of the view's matches whose pick has the same view."""
        return _ratio(self.view_right, self.view_known)


def angle_difference(one: Floats, other: Floats, period: float = 360.0) -> Floats:
    """Return |one - other| modulo `period` degrees, in [0, period / 2]."""
    turned = np.mod(np.asarray(one) - np.asarray(other), period)
    return np.minimum(turned, period - turned)


def summarise_views(matchings: Sequence[Matching], periods: Sequence[float] = (360.0,)) -> tuple[ViewSummary, ...]:
    """Return the numbers of every view that the truth or the picks name, sorted by name, without `IGNORE`.

    Where the two have no name in common, the views cannot be compared and none is known.
    """
    picks = Particles.joined([m.picks.take(m.pick_counts) for m in matchings])
    truth = Particles.joined([m.truth.take(m.for_recall) for m in matchings])
    partners = [m.partner[m.matched] for m in matchings]
    hit = Particles.joined([m.picks.take(m.matched) for m in matchings])
    target = Particles.joined([m.truth.take(rows) for m, rows in zip(matchings, partners, strict=True)])
    recalled = np.concatenate([[False], *(m.for_recall[rows] for m, rows in zip(matchings, partners, strict=True))])[1:]
    true_names = {str(name) for m in matchings for name in m.truth.view[m.truth_counts]} - {""}
    pick_names = {str(name) for name in picks.view} - {""}
    known = (hit.view != "") & (target.view != "") & bool(true_names & pick_names)
    right = known & (hit.view == target.view)
    measured = np.isfinite(hit.psi + target.psi) & (right | ~known)
    return tuple(
        ViewSummary(
            name=name,
            picks=_count(picks.view == name),
            picks_matched=_count(hit.view == name),
            truth=_count(truth.view == name),
            truth_matched=_count(recalled & (target.view == name)),
            view_known=_count(known & (target.view == name)),
            view_right=_count(right & (target.view == name)),
            angles=_angle_errors(hit.psi, target.psi, measured & (target.view == name), periods),
        )
        for name in sorted(true_names | pick_names)
    )


def _count(which: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(which))


def _angle_errors(
    psi: Floats, true: Floats, which: NDArray[np.bool_], periods: Sequence[float]
) -> tuple[AngleError, ...]:
    if not which.any():
        return ()
    errors = {period: angle_difference(psi[which], true[which], period) for period in periods}
    return tuple(
        AngleError(period, len(error), float(np.median(error)), float(np.percentile(error, 90)))
        for period, error in errors.items()
    )


def score_curve(matchings: Sequence[Matching]) -> Curve:
    """Return precision, recall and false positives at every threshold."""
    scores = np.concatenate([np.zeros(0), *(m.picks.score[m.order] for m in matchings)])
    scores = np.nan_to_num(scores, nan=-np.inf)
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    steps = np.concatenate([np.zeros((0, 3), np.int64), *(m.steps for m in matchings)])[order]
    last = np.nonzero(np.append(scores[1:] != scores[:-1], True))[0] if len(scores) else np.zeros(0, np.intp)
    matched, false, recalled = steps.cumsum(axis=0)[last].T
    total, picks = sum(_count(m.for_recall) for m in matchings), matched + false
    precision, recall = _ratios(matched, picks), _ratios(recalled, np.full(len(last), total))
    return Curve(
        threshold=scores[last],
        picks=picks,
        matched=matched,
        precision=precision,
        recall=recall,
        f1=f_score(precision, recall),
        false_per_micrograph=false / max(1, len(matchings)),
        false_positive_rate=_ratios(false, np.full(len(last), picks[-1] if len(last) else 0)),
    )


def _ratios(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


@dataclass(frozen=True, eq=False)
class Curve:
    """What a threshold on the score would give, pooled over micrographs; one entry for each score, the highest first.

    At each threshold the picks that reach it are matched anew. Picking has no true negatives, so the
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


_SCALES = (2.0, 3.0, 4.0, 8.0, 1 / 2, 1 / 3, 1 / 4, 1 / 8)
_LONGEST_SHIFT = 400.0  # px; half of the largest boxes in use
_MUCH_BETTER, _AND_MORE = 1.5, 5

Reading = tuple[Particles, Particles, tuple[int, int] | None]
"""Picks, truth and, where it is known, the shape (ny, nx) of one micrograph."""


def better_reading(micrographs: Sequence[Reading], tolerance: float) -> tuple[str, int, int] | None:
    """Look for another reading of the picks' coordinates that fits the truth much better.

    Tried are flips, turns and the exchange of x and y (those that need the shape where it is known for every
    micrograph), a whole-number binning, and a shift that is equal in x and y, as half a box makes it. Much better means
    more than 1.5 times as many matches plus 5, over all micrographs.

    Returns
    -------
    (how the coordinates seem to be written, matches read like that, matches as they are) or None.
    """
    written = sum(_pairs(picks, truth, tolerance) for picks, truth, _ in micrographs)
    possible = sum(min(len(picks), int(np.count_nonzero(truth.view != IGNORE))) for picks, truth, _ in micrographs)
    if possible <= _MUCH_BETTER * written + _AND_MORE:
        return None
    best = ("", written)
    for name, read in _readings(micrographs, tolerance).items():
        matches = sum(_pairs(read(one), one[1], tolerance) for one in micrographs)
        if matches > best[1]:
            best = (name, matches)
    return (*best, written) if best[1] > _MUCH_BETTER * written + _AND_MORE else None


def _pairs(picks: Particles, truth: Particles, tolerance: float) -> int:
    return sum(found for found, _ in assign(picks, truth, truth.view != IGNORE, tolerance)[3])


def _readings(micrographs: Sequence[Reading], tolerance: float) -> dict[str, Callable[[Reading], Particles]]:
    """Return, by name, how to get the true positions of picks that are written in another way."""

    def changed(change: Orientation) -> Callable[[Reading], Particles]:
        def read(one: Reading) -> Particles:
            picks, _, shape = one
            x, y, psi = change.carry(picks.x, picks.y, picks.psi, shape)
            return replace(picks, x=x, y=y, psi=psi)

        return read

    readings = {"with x and y exchanged": changed(Orientation(swap=True))}
    if all(shape is not None for _, _, shape in micrographs):
        readings |= {
            "flipped in y (y counted from the bottom)": changed(Orientation(flip_y=True)),
            "flipped in x (x counted from the right)": changed(Orientation(flip_x=True)),
            "turned by 180 degrees": changed(Orientation(flip_x=True, flip_y=True)),
            "turned by 90 degrees counter-clockwise": changed(Orientation(swap=True, flip_x=True)),
            "turned by 90 degrees clockwise": changed(Orientation(swap=True, flip_y=True)),
            "with x and y exchanged, both counted from the far end": changed(Orientation(1, True, True, True)),
        }
    for scale in _SCALES:
        how = f"on a grid {scale:g} times as coarse" if scale > 1 else f"on a grid {1 / scale:g} times as fine"
        readings[how] = changed(Orientation(scale))
    shift = _diagonal_shift(micrographs, tolerance)
    how = f"shifted by {-shift:.0f} px in x and y (half a box: corners instead of centres?)"
    return {**readings, how: lambda one: replace(one[0], x=one[0].x + shift, y=one[0].y + shift)}


def _diagonal_shift(micrographs: Sequence[Reading], tolerance: float) -> float:
    """Return the most frequent shift, equal in x and y, from picks to particles near them, px."""
    found = [np.zeros(0)]
    for picks, truth, _ in micrographs:
        here = positions(truth)[truth.view != IGNORE]
        near = cKDTree(positions(picks)).query_ball_point(here, _LONGEST_SHIFT * np.sqrt(2)) if len(picks) else []
        for at, rows in zip(here, near, strict=False):
            shift = at - positions(picks)[rows]
            found.append(shift.mean(axis=1)[np.ptp(shift, axis=1) < tolerance])
    shifts = np.sort(np.concatenate(found))
    if not len(shifts):
        return 0.0
    ends = np.searchsorted(shifts, shifts + tolerance / 2, side="right")
    start = int(np.argmax(ends - np.arange(len(shifts))))
    return float(np.median(shifts[start : ends[start]]))
