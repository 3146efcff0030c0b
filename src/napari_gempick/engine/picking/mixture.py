"""The probability that a pick is false: picks are a mixture of particles and of noise that the decoys show.

Where a particle lies, noise cannot be picked, but decoys are still found there, and in the rings that a contrast
transfer function draws about particles. So on a crowded micrograph decoys overstate the number of false picks, and what
share of them counts has to be found as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

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
