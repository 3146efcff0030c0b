"""A score that learns: the features of a candidate, and their weights, taught by decoys and by labels.

Candidates that stand clear of the decoys are taken for particles, and a logistic regression learns what tells them from
decoys; with its score, more candidates stand clear, and so on (as in proteomics: Käll et al., Nature Methods 2007, 4,
923). Each micrograph is scored by weights that others have taught.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.special import expit

from napari_gempick.device.thread_rules import one_thread
from napari_gempick.engine.picking.false_rate import false_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_gempick.model.picks import Picks

    Floats = NDArray[np.float64]

FEATURES = ("ncc", "local mean", "local sigma", "power", "neighbour")
"""What `features` returns, in this order."""
LEAST_POWER = 1e-6
NEIGHBOURS = 24
"""Number of nearest candidates that are searched for a better one."""
CLEAR, DOUBTFUL = 0.05, 0.4
"""Share of false ones among the candidates that teach; the second where fewer than LEAST pass the first."""
LEAST = 15
"""With fewer candidates, the score stays the NCC."""
SAME = 1e-6
"""A feature that differs by less among the decoys is left out."""
ROUNDS = 5
FOLDS = 5
RIDGE = 15.0
"""How strongly each weight is pulled to zero (precision), for features in units of their spread among decoys."""
MOST = 1000.0
"""The most that all examples count together, so that more examples do not weaken the pull."""
HALF = 60.0
"""With this many, labels count half as much as all that decoys teach."""


def features(picks: Picks, diameter: float, *, inverted: bool = False) -> Floats:
    """Return the features of candidates, (n, 5) float64, in the order of FEATURES.

    They are the NCC; mean and standard deviation of the micrograph around the candidate; the logarithm of its power,
    (NCC x local standard deviation)^2; and the distance to the nearest candidate of higher NCC in diameters, at most 1.

    Parameters
    ----------
    picks : Picks
        Candidates with their local statistics, all that the micrograph has.
    diameter : float
        The particle's, map pixels.
    inverted : bool
        They are decoys: their local mean is that of the inverted micrograph, so that nothing but particles tells them
        from candidates.
    """
    assert picks.local is not None
    mean, sigma, power = picks.local.astype(np.float64).T
    places = np.stack([picks.map_y, picks.map_x], axis=1).astype(np.float64)
    nearest = np.ones(len(picks))
    if len(picks) > 1:
        count = min(NEIGHBOURS, len(picks))
        apart, other = cKDTree(places).query(places, k=count, distance_upper_bound=diameter)
        known = np.append(picks.score.astype(np.float64), -np.inf)
        better = known[other] > known[:-1, None]
        nearest = np.minimum(1.0, np.where(better, apart, np.inf).min(axis=1) / diameter)
    power = np.log(np.maximum(power, LEAST_POWER))
    return np.stack([picks.score.astype(np.float64), -mean if inverted else mean, sigma, power, nearest], axis=1)


@dataclass(frozen=True, eq=False)
class Weights:
    """A linear score of features, on the scale of the NCC: decoys have the median and spread that their NCC has.

    Attributes
    ----------
    weights : (5,) float64
        Of the features over their spread among decoys.
    slopes : (5,) float64
        Of the features themselves.
    taught_by : int
        Candidates that were taken for particles in the last round; 0 where the score is the NCC.
    """

    weights: Floats
    slopes: Floats
    offset: float
    taught_by: int

    def score(self, rows: Floats) -> NDArray[np.float32]:
        """Return the scores of (n, 5) features, (n,) float32, -1 to 1."""
        return np.clip(rows @ self.slopes + self.offset, -1.0, 1.0).astype(np.float32)


NCC_ONLY = Weights(np.array([1.0, 0, 0, 0, 0]), np.array([1.0, 0, 0, 0, 0]), 0.0, 0)


@dataclass(frozen=True, eq=False)
class Lesson:
    """What one micrograph teaches.

    Attributes
    ----------
    candidates, decoys : (n, 5), (m, 5) float64
        Features of those that would be picked without a threshold.
    labelled : (k, 5) float64
        Features of candidates that a person has judged.
    good : (k,) bool
        What the person said.
    """

    candidates: Floats
    decoys: Floats
    labelled: Floats
    good: NDArray[np.bool_]


def teach(lessons: Sequence[Lesson]) -> Weights:
    """Return the weights that micrographs teach; the NCC's if there are too few particles and no labels of both kinds.

    Labels of one kind count where decoys teach too.

    Parameters
    ----------
    lessons : sequence of Lesson
        Their order decides the last digits.
    """
    if not lessons:
        return NCC_ONLY
    rows, decoys, labelled = (
        np.concatenate([getattr(one, name) for one in lessons]) for name in ("candidates", "decoys", "labelled")
    )
    good = np.concatenate([one.good for one in lessons])
    if len(decoys) < LEAST:
        return NCC_ONLY
    centre, spread = decoys.mean(axis=0), decoys.std(axis=0)
    spread[spread < SAME] = np.inf  # a feature that is the same for all decoys tells nothing
    if np.isinf(spread[0]):
        return NCC_ONLY
    rows, decoys, labelled = ((some - centre) / spread for some in (rows, decoys, labelled))
    weights, clear = NCC_ONLY.weights, 0
    with one_thread():  # products this small are slower on several, and sums must not depend on their number
        for _ in range(ROUNDS):
            order = np.argsort(-(rows @ weights), kind="stable")
            clear = _stand_clear((rows @ weights)[order], decoys @ weights)
            if clear < LEAST and len(set(good.tolist())) < 2:
                return NCC_ONLY
            weights = _logistic(rows[order[:clear]], decoys, labelled, good)
        of_decoys = decoys @ weights
    if not of_decoys.std() > 0:
        return NCC_ONLY
    scale = float(spread[0] / of_decoys.std())
    level = float(np.median(decoys[:, 0]) * spread[0] + centre[0] - scale * np.median(of_decoys))
    slopes = scale * weights / spread
    return Weights(weights, slopes, level - float(centre @ slopes), clear)


def _stand_clear(scores: Floats, decoys: Floats) -> int:
    """Return how many of the scores, descending, are taken for particles."""
    above = np.searchsorted(np.sort(-decoys), -scores, side="right")
    good = np.flatnonzero((above + 1) / np.arange(1, len(scores) + 1) <= CLEAR)
    if len(good) and good[-1] + 1 >= LEAST:
        return int(good[-1]) + 1
    doubtful = np.flatnonzero(false_rate(scores, decoys).rate <= DOUBTFUL)
    return int(doubtful[-1]) + 1 if len(doubtful) else 0


def _logistic(particles: Floats, decoys: Floats, labelled: Floats, good: NDArray[np.bool_]) -> Floats:
    """Return the weights of a logistic regression; both classes have the same total weight, whatever their sizes."""
    taught = min(2.0 * min(len(particles), len(decoys)), MOST)
    said = max(taught, MOST / 10) * len(good) / (len(good) + HALF)
    kinds = [(particles, 1.0, taught), (decoys, 0.0, taught), (labelled[good], 1.0, said), (labelled[~good], 0.0, said)]
    kinds = [kind for kind in kinds if len(kind[0])]
    rows = np.concatenate([some for some, _, _ in kinds])
    rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    wanted = np.concatenate([np.full(len(some), value) for some, value, _ in kinds])
    counts = np.concatenate([np.full(len(some), 0.5 * total / len(some)) for some, _, total in kinds])
    held = np.append(np.full(len(FEATURES), RIDGE), 0.0)

    def loss(point: Floats) -> tuple[float, Floats]:
        odds = rows @ point
        off = expit(odds) - wanted
        value = counts @ (np.logaddexp(0.0, odds) - wanted * odds) + 0.5 * (held * point) @ point
        return float(value), rows.T @ (counts * off) + held * point

    found = minimize(loss, np.zeros(len(held)), jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-12})
    return np.asarray(found.x[:-1], np.float64)
