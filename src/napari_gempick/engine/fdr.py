"""How many picks are false: estimated from decoys, the peaks that the same templates find in inverted contrast.

Noise that is symmetric about its mean gives as many peaks of a given height for a template as for its negative; the
particles give peaks for the template alone. So the number of decoys above a threshold estimates the number of false
picks above it, as reversed sequences do for database searches (Elias and Gygi, Nature Methods 2007, 4, 207).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import pdtrc

if TYPE_CHECKING:
    from numpy.typing import NDArray

TAIL = 20
LEAST_TAIL = 5
"""Highest decoys that give the slope of the tail: a quarter of all, within these limits. Decoys are counted below them,
and extrapolated among them and above."""
DOUBT = 1.5
"""Standard deviations of chance that are taken off the excess over the decoys before it counts as particles."""
WORST = 0.5
"""Largest estimated rate at which a threshold is ever chosen."""
CHANCE = 1e-3
"""Without a threshold whose number of picks chance explains less often than this, nothing is taken for a particle."""


@dataclass(frozen=True, eq=False)
class FalseRate:
    """The estimated false discovery rate of one view's picks at each threshold.

    Attributes
    ----------
    scores : (n,) float64
        The picks' scores, descending: the thresholds at which something changes.
    expected : (n,) float64
        Expected number of false picks among those that reach each score.
    """

    scores: NDArray[np.float64]
    expected: NDArray[np.float64]

    @property
    def rate(self) -> NDArray[np.float64]:
        """Estimated share of false picks among those that reach each score, 0 to 1."""
        return np.minimum(1.0, self.expected / np.arange(1, len(self.scores) + 1))

    def at(self, threshold: float) -> float:
        """Return the estimated rate of the picks that reach a threshold; 0 without picks."""
        n = int(np.searchsorted(-self.scores, -threshold, side="right"))
        return float(self.rate[n - 1]) if n else 0.0

    @property
    def found(self) -> bool:
        """Whether there are more high scores than chance explains."""
        count = np.arange(1, len(self.scores) + 1)
        most = self.expected + 2 * np.sqrt(self.expected)
        return bool((pdtrc(count - 1, most) < CHANCE).any())

    @property
    def particles(self) -> float:
        """A cautious estimate of how many true picks there are, over all thresholds; 0 when chance explains all."""
        return float(self._true.max(initial=0.0)) if self.found else 0.0

    @property
    def _true(self) -> NDArray[np.float64]:
        """Picks above each score that chance hardly explains: both counts of false picks are Poisson numbers."""
        count = np.arange(1, len(self.scores) + 1)
        sure = np.maximum(0.0, count - self.expected - DOUBT * np.sqrt(2 * self.expected))
        return np.where(self.rate <= WORST, sure, 0.0)

    def threshold_for(self, rate: float) -> float | None:
        """Return the lowest score at which the estimated rate is at most `rate`; None when there is none."""
        good = np.nonzero(self.rate <= rate)[0]
        return float(self.scores[good[-1]]) if len(good) and self.found else None

    def best_threshold(self) -> float | None:
        """Return the score with the best trade of false picks against missed particles; None without particles.

        The expected F1 = 2 true / (picks + particles) is largest there; the number of particles is taken as the largest
        number of true picks at any threshold.
        """
        if not self.particles:
            return None
        f1 = 2 * self._true / (np.arange(1, len(self.scores) + 1) + self.particles)
        return float(self.scores[int(np.argmax(f1))])


def false_rate(targets: NDArray[np.floating], decoys: NDArray[np.floating]) -> FalseRate:
    """Return the estimated rate from the scores of picks and of decoys, chosen by the same rules; (n,), (m,)."""
    scores = -np.sort(-np.asarray(targets, np.float64))
    false = -np.sort(-np.asarray(decoys, np.float64))
    expected = np.searchsorted(-false, -scores, side="right").astype(np.float64) + 1
    tail = false[: min(TAIL, max(LEAST_TAIL, len(false) // 4))]
    if len(tail) > 1 and tail[0] > tail[-1]:
        slope = float(np.mean(tail[:-1] - tail[-1]))  # of an exponential tail: its most likely value
        above = scores > tail[-1]
        steps = (scores[above] - tail[-1]) / slope
        expected[above] = (len(tail) + 1) * (1 + steps / len(tail)) ** -len(tail)
    return FalseRate(scores, expected)
