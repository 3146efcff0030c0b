"""Precision, recall, distances, views, angles and curves of matched picks, over micrographs pooled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.engine.evaluate import Floats, Particles
from napari_gempick.model.curve import Curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_gempick.engine.evaluate import Matching


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
