"""Evidence that the micrographs of a run share: one with few particles borrows from the others.

Each micrograph keeps its own decoys and its own count of particles. From the run it takes the slope of the decoys'
tail, the tail of all decoys, and the distribution of the particles' scores, each with a weight that its own evidence
outgrows. So a micrograph with many particles decides by itself, and one with only noise stays empty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.special import pdtrc

from napari_gempick.engine.picking.false_rate import (
    CHANCE,
    GRID,
    LEAST_TAIL,
    Excess,
    FalseRate,
    Mixture,
    Shape,
    Tail,
    false_rate,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONTRADICTION = 0.01
"""A micrograph keeps its own tail if the run's tail makes its own decoys less probable than this."""
MOST_WEIGHT = 30.0
"""The particles of the run count as much as this many of the micrograph's own, at most."""
NARROWEST = 0.02
"""The least standard deviation of the particles' scores."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of the picks of each view down to the candidates' floor, and of the decoys chosen by the same rules.

    Attributes
    ----------
    picks, decoys : tuple of (n,) float32 or float64
        One for each view.
    ncc : Scores, optional
        The same by the NCC, where these are learned scores: either can show that there are particles.
    """

    picks: tuple[NDArray[np.floating], ...]
    decoys: tuple[NDArray[np.floating], ...]
    ncc: Scores | None = None

    def rates(self) -> list[FalseRate]:
        """Return the estimated false discovery rate of each view, from this evidence alone."""
        return RunEvidence([self]).rates(0)

    def contrast_looks_wrong(self) -> bool:
        """Return whether the inverted contrast finds twice as many particles as the one that was searched."""
        picks, decoys = np.concatenate(self.picks), np.concatenate(self.decoys)
        if Tail(picks).smallest_chance(-np.sort(-decoys.astype(np.float64))) >= CHANCE:
            return False
        return false_rate(decoys, picks).particles > 2 * false_rate(picks, decoys).particles


def pool(parts: Sequence[Scores]) -> Scores:
    """Return the scores of several micrographs together, as those of one."""
    picks, decoys = (
        tuple(np.concatenate(view) for view in zip(*kind, strict=True))
        for kind in ([part.picks for part in parts], [part.decoys for part in parts])
    )
    by_ncc = _by_ncc(parts)
    return Scores(picks, decoys, pool(by_ncc) if by_ncc else None)


def _by_ncc(parts: Sequence[Scores]) -> list[Scores]:
    """Return the scores by the NCC; none unless all have them."""
    found = [part.ncc for part in parts if part.ncc is not None]
    return found if len(found) == len(parts) else []


class RunEvidence:
    """The scores of all micrographs of a run.

    Parameters
    ----------
    parts : sequence of Scores
        One for each micrograph, of the same views. Their order decides the last digits of sums, so it must not depend
        on when they were searched.
    """

    def __init__(self, parts: Sequence[Scores]) -> None:
        self._parts = parts
        self._scales = _noise_scales([np.concatenate(part.decoys) for part in parts])
        self._views = range(len(parts[0].picks)) if parts else range(0)
        self._tails = [
            [Tail(part.decoys[view], scale) for view in self._views]
            for part, scale in zip(parts, self._scales, strict=True)
        ]
        self._excess = [reduce(Excess.plus, (tails[view].excess for tails in self._tails)) for view in self._views]
        picks, decoys = (
            [
                np.concatenate([kind[view] / scale for kind, scale in zip(kinds, self._scales, strict=True)])
                for view in self._views
            ]
            for kinds in ([part.picks for part in parts], [part.decoys for part in parts])
        )
        self._all = [Tail(of_view, extra=0) for of_view in decoys]
        self._mixtures = [
            Mixture(one, other, tail.at) for one, other, tail in zip(picks, decoys, self._all, strict=True)
        ]
        self._sizes = np.array([sum(map(len, part.decoys)) for part in parts], np.float64)
        own = [self._own_rates(number) for number in range(len(parts))]
        self._shapes = [_shape([rates[view] for rates in own]) for view in self._views]
        if by_ncc := _by_ncc(parts):
            others = RunEvidence(by_ncc)
            own = [
                [replace(one, chance=min(one.chance, other.chance)) for one, other in zip(rates, more, strict=True)]
                for rates, more in zip(own, others._own, strict=True)
            ]
        self._own: list[list[FalseRate]] = own

    def rates(self, number: int) -> list[FalseRate]:
        """Return the estimated false discovery rate of each view of a micrograph."""
        return [replace(rate, shape=shape) for rate, shape in zip(self._own[number], self._shapes, strict=True)]

    def _own_rates(self, number: int) -> list[FalseRate]:
        part, scale = self._parts[number], float(self._scales[number])
        every = Tail(np.concatenate(part.decoys), scale)
        found = []
        for view in self._views:
            wider = max(self._excess[view], every.excess, key=lambda excess: excess.number)
            few = len(part.decoys[view]) < LEAST_TAIL  # then those of all views, which are more
            tail = Tail(np.concatenate(part.decoys) if few else part.decoys[view], scale, wider)
            scores = -np.sort(-np.asarray(part.picks[view], np.float64))
            chance = tail.smallest_chance(scores)
            if len(self._parts) > 1:
                chance = min(chance, self._chance_in_run(number, view, scores))
            mixture, own, noise = self._mixtures[view], scores / scale, Tail(tail.decoys, wider=wider)
            false = mixture.of(own, noise.at, len(part.decoys[view])) if len(self._parts) > 1 else None
            found.append(FalseRate(scores, tail, chance, mixture.at(own, false)))
        return found

    def _chance_in_run(self, number: int, view: int, scores: Floats) -> float:
        """Return the probability that the noise of the run gives the scores above all decoys of a micrograph.

        It is 1 if there are no such scores. The decoys of all micrographs reach higher than those of one, so their tail
        has to be extrapolated less.
        """
        own, everyone, scale = self._tails[number][view], self._all[view], float(self._scales[number])
        share = float(self._sizes[number] / self._sizes.sum())
        highest = own.decoys[: own.length]
        odds = pdtrc(np.arange(own.length), share * everyone.at(highest))
        clear = scores[scores > own.highest]
        if not len(clear) or odds.min(initial=1.0) < CONTRADICTION:
            return 1.0
        return float(everyone.chance(clear / scale, share).min())


def _noise_scales(decoys: Sequence[NDArray[np.floating]]) -> Floats:
    """Return the factor by which the noise of each micrograph scores higher than the run's, (n,).

    It is the mean of the upper half of its decoys, drawn towards the average by as much as such means scatter by
    chance.
    """
    if len(decoys) < 2:
        return np.ones(len(decoys))
    halves = [-np.sort(-np.asarray(one, np.float64))[: max(1, len(one) // 2)] for one in decoys]
    usable = np.array([len(half) > 1 for half in halves])
    if usable.sum() < 2:
        return np.ones(len(decoys))
    mean = np.array([half.mean() if ok else 0.0 for half, ok in zip(halves, usable, strict=True)])
    doubt = np.array([half.var() / len(half) if ok else 1.0 for half, ok in zip(halves, usable, strict=True)])
    average = float(mean[usable].mean())
    if average <= 0:
        return np.ones(len(decoys))
    spread = max(0.0, float(mean[usable].var(ddof=1) - doubt[usable].mean()))
    drawn = average + (mean - average) * spread / (spread + doubt + 1e-12)
    return np.where(usable, drawn, average) / average


def _shape(rates: Sequence[FalseRate]) -> Shape | None:
    """Return the distribution of the particles' scores of one view; None if no micrograph has particles.

    Its weight is that of credibility theory (Bühlmann, ASTIN Bulletin 1967, 4, 199): the variance of scores within a
    micrograph over the variance of their means between micrographs.
    """
    there = [rate.reaching for rate in rates if rate.particles]
    if not there:
        return None
    numbers = np.array([one[-1] for one in there])
    total = numbers.sum()
    steps = [np.diff(one, prepend=0.0) for one in there]
    means = np.array([(step @ GRID) / step.sum() for step in steps])
    within = sum(float(step @ (GRID - mean) ** 2) for step, mean in zip(steps, means, strict=True)) / total
    within = max(within, NARROWEST**2)
    weight = MOST_WEIGHT
    if len(there) > 1:
        about = (numbers @ means) / total
        scatter = numbers @ (means - about) ** 2 - (len(there) - 1) * within
        between = scatter / (total - (numbers @ numbers) / total)
        weight = min(MOST_WEIGHT, within / between) if between > 0 else MOST_WEIGHT
    width = np.sqrt(within) * total**-0.2  # about Silverman's rule
    reaching = gaussian_filter1d(np.sum(there, axis=0) / total, width / (GRID[0] - GRID[1]), mode="nearest")
    return Shape(reaching, float(weight))
