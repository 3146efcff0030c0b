"""How many picks are false: estimated from decoys, the peaks that the same templates find in inverted contrast.

Noise that is symmetric about its mean gives as many peaks of a given height for a template as for its negative; the
particles give peaks for the template alone. So the number of decoys above a threshold estimates the number of false
picks above it, as reversed sequences do for database searches (Elias and Gygi, Nature Methods 2007, 4, 207).

The probability that a pick of some score is false is another question: picks are a mixture of particles and of noise
that the decoys show. Where a particle lies, noise cannot be picked, but decoys are still found there, and in the rings
that a contrast transfer function draws about particles. So on a crowded micrograph decoys overstate the number of false
picks, and what share of them counts has to be found as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import betainc, ndtr

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

START = 0.7
"""Quantile of the decoys above which picks are explained: below, noise fills the gaps between particles."""
BELOW, BINS = 10, 30
"""Bins of scores below and above it."""
TAKEN = np.linspace(0.0, 1.0, 21)[:-1]
"""Shares of the places that hold a particle; the prior is (1 - share)^1.5, because picks may lie closer."""
SPARED = np.array([1.0, 0.8, 0.6, 0.4, 0.25, 0.12, 0.05])
"""Shares of the decoys in what is left that noise picks there match; the prior is the share itself."""
CENTRES = 20
WIDTHS = np.array([0.4, 0.6, 0.9, 1.3])
"""Standard deviations of the particles' scores over that of the decoys."""
KNOWN, MOST_KNOWN = 2.0, 20.0
"""Decoys that the spread of a bin counts for, at least and at most: decoys are not quite like noise picks."""
LEAST_WEIGHT = 1e-9
"""Less probable explanations count for nothing."""
FLAT = 0.02
"""Share of a micrograph's prior that the other micrographs do not decide."""


class Mixture:
    """Picks of one view as a mixture, the probability of being false at each score.

    The picks of each bin of scores are explained as M particles, whose scores are normally distributed, and noise:

        picks(s) = M N(s; centre, width) + (1 - M / K) g decoys(s)

    with K the number of decoys or picks that the field holds, whichever is larger. 1 - M / K is what the particles
    leave free, g the share of the decoys there that noise picks match. All values of M / K, g, centre and width are
    tried, and their posterior distribution gives the probabilities. Storey's estimate (J. R. Stat. Soc. B 2002, 64,
    479), the ratio of picks to decoys at low scores, does not work here: there, noise fills the gaps between particles,
    so that the ratio is near 1 however many particles there are.

    Parameters
    ----------
    picks, decoys : (n,), (m,) array
        Scores, in any order; of all micrographs of a run, each over its noise.
    noise : callable
        Returns the number of decoys expected above each score, the same shape.
    """

    def __init__(self, picks: ArrayLike, decoys: ArrayLike, noise: Callable[[Floats], Floats]) -> None:
        picks, decoys = np.asarray(picks, np.float64), np.asarray(decoys, np.float64)
        both = np.concatenate([picks, decoys, [0.0]])
        start = float(np.quantile(decoys, START)) if len(decoys) else 0.0
        lowest, highest = min(float(both.min()), start) - 1e-6, max(float(both.max()), start) + 1e-6
        self._edges = np.concatenate(
            [np.linspace(lowest, start, BELOW + 1)[:-1], np.linspace(start, highest, BINS + 1)]
        )
        spread = max(float(decoys.std()) if len(decoys) else 0.0, (highest - start) / BINS, 1e-6)
        centres = np.linspace(np.median(decoys) if len(decoys) else start, highest, CENTRES)
        steps = (self._edges - centres[:, None, None]) / (spread * WIDTHS[None, :, None])
        self._shapes = np.diff(ndtr(steps), axis=-1).reshape(-1, BELOW + BINS)
        self._prior: Any = 0.0
        posterior, self.false = self._solve(picks, noise, len(decoys))
        self._prior = np.log(posterior.sum(axis=(0, 1)) * (1 - FLAT) + FLAT / len(self._shapes))

    def of(self, picks: ArrayLike, noise: Callable[[Floats], Floats], places: int) -> Floats:
        """Return `false` of one micrograph of the run, whose particles score as those of the run do.

        Parameters
        ----------
        picks : (n,) array
        places : int
            The number of its decoys.
        """
        return self._solve(np.asarray(picks, np.float64), noise, places)[1]

    def at(self, scores: ArrayLike, false: Floats | None = None) -> Floats:
        """Return the probability that a pick of each score is false, the same shape, by interpolation between bins."""
        middles = (self._edges[1:] + self._edges[:-1]) / 2
        return np.interp(np.asarray(scores, np.float64), middles, self.false if false is None else false)

    def _solve(self, picks: Floats, noise: Callable[[Floats], Floats], decoys: int) -> tuple[Floats, Floats]:
        """Return the weights of taken share, spared share and shape, of sum 1, and the probability in each bin."""
        from scipy.optimize import isotonic_regression  # slow to import: here, so that the search need not wait for it

        found = np.histogram(picks, self._edges)[0].astype(np.float64)
        expected = np.maximum(-np.diff(noise(self._edges)), 1e-6)
        size = 1 / (1 / (expected + KNOWN) + 1 / MOST_KNOWN)
        places = max(len(picks), decoys)
        log = np.empty((len(TAKEN), len(SPARED), len(self._shapes)))
        above = slice(BELOW, None)
        for number, taken in enumerate(TAKEN):
            all_of = taken * places * self._shapes[None] + (1 - taken) * SPARED[:, None, None] * expected
            all_of = all_of[..., above] + 1e-9
            shared = np.log(size[above] + all_of)
            log[number] = (found[above] * np.log(all_of) - (found + size)[above] * shared).sum(axis=-1)
        log += np.log(SPARED)[:, None] + 1.5 * np.log(1 - TAKEN)[:, None, None] + self._prior
        posterior = np.exp(log - log.max())
        posterior /= posterior.sum()
        taken_by, spared_by, shape = np.nonzero(posterior > LEAST_WEIGHT)
        weight = posterior[taken_by, spared_by, shape, None]
        weight /= weight.sum()
        particles = TAKEN[taken_by, None] * places * self._shapes[shape]
        noise_picks = ((1 - TAKEN[taken_by]) * SPARED[spared_by])[:, None] * expected
        true = (weight * particles).sum(axis=0)
        false = (weight * noise_picks / (particles + noise_picks + 1e-12)).sum(axis=0)
        below = slice(0, BELOW)
        false[below] = np.maximum(false[below], 1 - true[below] / np.maximum(found[below], 1e-9))
        rising = isotonic_regression(false, weights=found + 0.01, increasing=False)
        return posterior, np.clip(rising.x, 0.0, 1.0)


TAIL = 60
LEAST_TAIL = 5
"""The highest decoys give the slope of the tail: a quarter of all, within these limits. Among them and above, the
number is extrapolated; below, decoys are counted."""
BORROWED = 15
"""The slope of a larger set counts as much as this many decoys."""
DOUBT = 2.0
"""Standard deviations of chance that are taken off the excess over the decoys before it counts as particles."""
CHANCE = 2e-4
"""Nothing counts as a particle if, at every threshold, noise gives as many high scores with a larger probability."""
THRESHOLDS = 5
"""Factor on that probability below the highest decoy, where many thresholds are tried."""
GRID = np.linspace(1, -1, 2001)
"""Scores at which a threshold may lie, descending."""


class Excess(NamedTuple):
    """By how much the squares of the decoys of a tail exceed the square at which it begins: their sum and number."""

    total: float
    number: int

    def plus(self, other: Excess) -> Excess:
        """Return that of both sets."""
        return Excess(self.total + other.total, self.number + other.number)


class Tail:
    """Expected number of peaks of noise above a score.

    In a Gaussian field the number of local maxima above a score s falls as exp(-s^2 / 2 sigma^2). So above the decoys
    that are counted it is extrapolated as an exponential in the signed square of s. A few decoys leave its slope
    uncertain, which makes the tail heavier: this is the predictive distribution of an exponential whose mean is
    estimated.

    Parameters
    ----------
    decoys : (n,) array
        Scores, in any order.
    scale : float
        The decoys and all scores are divided by it first.
    wider : Excess, optional
        Excess of a larger set, whose slope counts for up to BORROWED decoys.
    extra : int
        Added to the number of decoys: 1 where only they decide, 0 for a share of many.
    """

    def __init__(self, decoys: ArrayLike, scale: float = 1.0, wider: Excess | None = None, extra: int = 1) -> None:
        self.scale, self._extra = scale, extra
        self.decoys = -np.sort(-np.asarray(decoys, np.float64)) / scale
        self.length = min(len(self.decoys), TAIL, max(LEAST_TAIL, len(self.decoys) // 4))
        highest = self.decoys[: self.length]
        self._start = float(highest[-1]) if self.length else 1.0
        self.excess = Excess(float(np.sum(_square(highest) - _square(self._start))), max(0, self.length - 1))
        self._slope = self.excess
        if wider is not None and wider.number:
            weight = min(BORROWED, wider.number)
            self._slope = self.excess.plus(Excess(weight * wider.total / wider.number, weight))

    @property
    def highest(self) -> float:
        """The highest decoy, before scaling; -1 without decoys."""
        return float(self.decoys[0]) * self.scale if self.length else -1.0

    def count(self, scores: ArrayLike) -> NDArray[np.intp]:
        """Return the number of decoys that reach each score."""
        return np.searchsorted(-self.decoys, -np.asarray(scores, np.float64) / self.scale, side="right")

    def at(self, scores: ArrayLike) -> Floats:
        """Return the expected number of peaks of noise that reach each score, the same shape."""
        scores = np.asarray(scores, np.float64) / self.scale
        expected = np.searchsorted(-self.decoys, -scores, side="right").astype(np.float64) + self._extra
        if self._slope.total > 0:
            above = scores > self._start
            steps = self._steps(scores[above])
            expected[above] = (self.length + self._extra) * (1 + steps / self._slope.number) ** -self._slope.number
        return expected

    def _steps(self, scores: Floats) -> Floats:
        """Return how many mean excesses a (scaled) score lies above the start of the tail; 0 below it."""
        if self._slope.total <= 0:
            return np.zeros(len(scores))
        mean = self._slope.total / self._slope.number
        steps: Floats = np.maximum(0.0, _square(scores) - _square(self._start)) / mean
        return steps

    def chance(self, scores: Floats, share: float = 1.0) -> Floats:
        """Return the probability that `share` of the noise gives as many scores as are listed, (n,), descending.

        The rate of the noise is known only from the decoys, so its number of scores is negative binomial. Its relative
        variance comes from the number of decoys counted and, in the tail, from the slope.
        """
        expected = np.maximum(share * self.at(scores), 1e-300)
        steps = self._steps(scores / self.scale)
        counted = np.maximum(self.count(scores), self.length) + 1.0
        known = 1 / (1 / counted + steps**2 / max(1, self._slope.number))
        found: Floats = betainc(np.arange(1, len(scores) + 1), known, expected / (known + expected))
        return found

    def smallest_chance(self, scores: Floats) -> float:
        """Return the smallest probability, over all thresholds, that noise alone gives as many of the scores."""
        chance = self.chance(scores)
        chance[scores <= self.highest] *= THRESHOLDS
        return float(chance.min(initial=1.0))


def _square(scores: ArrayLike) -> Floats:
    return np.asarray(scores) * np.abs(scores)


@dataclass(frozen=True, eq=False)
class Shape:
    """The distribution of the particles' scores in the whole run.

    Attributes
    ----------
    reaching : (len(GRID),) float64
        Share of the particles that reach each score of GRID, 0 to 1.
    weight : float
        Particles of one micrograph that this counts for; 0 where the micrographs of a run differ much.
    """

    reaching: Floats
    weight: float


@dataclass(frozen=True, eq=False)
class FalseRate:
    """The estimated false discovery rate of the picks of one view of a micrograph at each threshold.

    Attributes
    ----------
    scores : (n,) float64
        The picks' scores, descending.
    tail : Tail
        Of the decoys.
    chance : float
        The smallest probability, over all thresholds, that noise gives as many scores.
    false : (n,) float64
        The probability that each pick is false (`Mixture`).
    shape : Shape, optional
        The distribution of the particles' scores in the run.
    """

    scores: Floats
    tail: Tail
    chance: float
    false: Floats
    shape: Shape | None = None

    @cached_property
    def expected(self) -> Floats:
        """Expected number of false picks among those that reach each score, (n,)."""
        return self._blend(self.tail.at(self.scores), np.cumsum(self.false))

    def _blend(self, counted: Floats, modelled: Floats) -> Floats:
        """Return the weighted mean of an estimate from the decoys and one from the mixture."""
        return self._clear * counted + (1 - self._clear) * modelled

    @cached_property
    def _sure(self) -> Floats:
        """A cautious estimate of the number of true picks that reach each score, from the number of decoys; (n,).

        Both counts of false picks, of the picks and of the decoys, are Poisson numbers; DOUBT standard deviations of
        their difference are taken off.
        """
        counted = self.tail.at(self.scores)
        sure = np.arange(1, len(self.scores) + 1) - counted - DOUBT * np.sqrt(2 * counted)
        return np.maximum.accumulate(np.maximum(0.0, sure))

    @cached_property
    def _clear(self) -> float:
        """How clear of the decoys the particles of the mixture stand, 0 to 1: the best F1 by the number of decoys."""
        if not len(self.scores):
            return 1.0
        particles = max(self._sure[-1], float(np.sum(1 - self.false)), 1e-9)
        return float((2 * self._sure / (self._sure + self.tail.at(self.scores) + particles)).max())

    @property
    def rate(self) -> Floats:
        """Estimated share of false picks among those that reach each score, 0 to 1."""
        return np.minimum(1.0, self.expected / np.arange(1, len(self.scores) + 1))

    def probability(self, scores: ArrayLike) -> Floats:
        """Return the estimated probability that picks of these scores are false, the same shape."""
        if not len(self.scores):
            return np.ones(np.shape(scores))
        return np.interp(np.asarray(scores, np.float64), self.scores[::-1], self.false[::-1])

    def count(self, threshold: float) -> int:
        """Return the number of picks that reach a threshold."""
        return int(np.searchsorted(-self.scores, -threshold, side="right"))

    def at(self, threshold: float) -> float:
        """Return the estimated share of false picks, as `shares`, of those that reach a threshold; 0 without picks."""
        n = self.count(threshold)
        return float(self.shares[n - 1]) if n else 0.0

    @cached_property
    def shares(self) -> Floats:
        """As `rate`, but picks that are true at a higher threshold, by a standard deviation, are true at a lower one.

        Decoys can outnumber all false picks, on a crowded micrograph; `rate` then says that all picks are false.
        """
        numbers, false = np.arange(1, len(self.scores) + 1), self.expected
        surely = np.maximum.accumulate(np.maximum(0.0, numbers - false - np.sqrt(2 * false)))
        return np.minimum(self.rate, 1 - surely / numbers)

    @property
    def found(self) -> bool:
        """Whether there are more high scores than chance explains."""
        return self.chance < CHANCE

    @property
    def particles(self) -> float:
        """A cautious estimate of how many true picks there are, over all thresholds; 0 when chance explains all."""
        return float(self.reaching[-1])

    @cached_property
    def reaching(self) -> Floats:
        """A cautious estimate of the number of true picks that reach each score of GRID, rising along it."""
        if not self.found:
            return np.zeros(len(GRID))
        return self._on_grid(self._blend(self._sure, np.cumsum(1 - self.false)))

    def _on_grid(self, numbers: Floats) -> Floats:
        """Return for each score of GRID the number of the last pick that reaches it."""
        return np.concatenate([[0.0], numbers])[np.searchsorted(-self.scores, -GRID, side="right")]

    def threshold_for(self, rate: float) -> float | None:
        """Return the lowest score at which the estimated rate is at most `rate`; None when there is none."""
        good = np.nonzero(self.rate <= rate)[0]
        return float(self.scores[good[-1]]) if len(good) and self.found else None

    def best_threshold(self) -> float | None:
        """Return the score of GRID with the best trade of false picks against missed particles; None without particles.

        The expected F1 = 2 true / (true + false + particles) is largest there; the number of particles is taken as the
        largest number of true picks at any threshold. What share of them reaches a threshold is this micrograph's own
        count, to which the run's adds as many particles as `shape` says.
        """
        particles = self.particles
        if not particles:
            return None
        reaching, weight = self.reaching, 0.0
        if self.shape is not None:
            weight = self.shape.weight
            reaching = reaching + weight * self.shape.reaching
        true = particles * reaching / (particles + weight)
        false = self._blend(self.tail.at(GRID), self._on_grid(np.cumsum(self.false)))
        f1 = 2 * true / (true + false + particles)
        threshold = float(GRID[int(np.argmax(f1))])
        return threshold if self.count(threshold) else None


def false_rate(targets: ArrayLike, decoys: ArrayLike) -> FalseRate:
    """Return the estimated rate from the scores of picks and of decoys, chosen by the same rules; (n,), (m,)."""
    scores, tail = -np.sort(-np.asarray(targets, np.float64)), Tail(decoys)
    mixture = Mixture(scores, decoys, tail.at)
    return FalseRate(scores, tail, tail.smallest_chance(scores), mixture.at(scores))
