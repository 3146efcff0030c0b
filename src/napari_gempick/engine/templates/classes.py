"""Classes and poses of particles by expectation maximisation in polar Fourier space (Sigworth 1998, J Struct Biol 122).

Every particle counts at every angle, shift and class, weighted by how likely it lies there: weak particles, whose best
pose is often a wrong one, still make a good average. References are cross-validated: the particles are dealt into
folds, and those of a fold are compared with averages of all others, so that no particle finds its own noise, and a
class draws none because it is large. Averages are weighted at each frequency by what their halves have in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from scipy.special import logsumexp, softmax

from napari_gempick.engine.templates.polar import ANGLES, harmonics
from napari_gempick.model.score_maps import vertex

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from numpy.typing import NDArray

    from napari_gempick.engine.templates.polar import PolarImages

FOLDS = 8
_BLOCK = 8
"""Particles of a fold that a thread takes at once."""
_KEPT = 256 * 2**20
"""Bytes of shifted harmonics that are kept."""
_LEAST_SHARED, _MOST_SHARED = 0.02, 0.999
"""Limits of the correlation between the halves of an average."""
_EMPTY = 0.5
"""A class with fewer particles has none."""
_NEVER = -1e9
"""Log-likelihood of an empty average."""
_LEAST_NOISE = 0.05
"""Share of the power at a frequency that is noise at least: interpolation alone makes particles differ."""
SQUARE = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], indexing="ij"), axis=-1).reshape(9, 2)
"""Steps of a pixel around the present centre; between them the best shift is interpolated."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What a round finds out about each particle.

    Attributes
    ----------
    evidence : (n, classes) float64
        Logarithm of the likelihood over all angles and shifts.
    psi : (n, classes) float64
        The most likely angle, degrees.
    step : (n, classes, 2) float64
        The most likely shift, (y, x) in px, from where the round looked.
    weights : list of (count, particles * steps, classes) complex64
        Harmonics over the angle of the likelihood within each class, for each block of particles.
    """

    evidence: NDArray[np.float64]
    psi: NDArray[np.float64]
    step: NDArray[np.float64]
    weights: list[NDArray[np.complex64]]

    def total(self) -> float:
        """Return the logarithm of the likelihood of all particles."""
        return float(logsumexp(self.evidence, axis=1).sum())

    def shares(self) -> NDArray[np.float64]:
        """Return how much of each particle belongs to each class, (n, classes)."""
        return np.asarray(softmax(self.evidence, axis=1))

    def balanced(self) -> NDArray[np.float64]:
        """Return such shares of classes of equal size, less certain than the likelihoods make them."""
        relative = self.evidence / max(1.0, 0.25 * float(np.median(np.ptp(self.evidence, axis=1))))
        bias = np.zeros(relative.shape[1])
        for _ in range(100):
            bias -= np.log(np.maximum(softmax(relative + bias, axis=1).mean(axis=0) * len(bias), 1e-6))
        return np.asarray(softmax(relative + bias, axis=1))


class Level:
    """Particles up to some frequency.

    Parameters
    ----------
    share : float
        Of the rings and harmonics that there are.
    """

    def __init__(self, images: PolarImages, share: float, threads: ThreadPoolExecutor) -> None:
        self.images, self._threads = images, threads
        self.folds = np.random.default_rng(len(images)).permutation(len(images)) % FOLDS  # kinds may come in turn
        self.rings = max(2, round(share * len(images.frequencies)))
        self.count = round(share * ANGLES / 2)
        self.area = 2 * np.pi * images.frequencies[: self.rings] * images.spacing
        self._power = np.maximum(images.power[: self.rings], 1e-3 * images.power[: self.rings].max())
        self._mask = images.within(images.radius, self.rings, self.count)
        self.twice = np.full((self.count, 1, 1), 2.0)
        self.twice[0] = 1  # the other harmonics stand for the negative ones as well
        self._kept: dict[bytes, NDArray[np.complex64]] = {}

    def masked(self, means: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
        """Return averages (..., count, rings, classes) within the round mask."""
        return np.asarray(self._mask @ means, np.complex64)

    def at(
        self, particles: NDArray[np.intp], shift: NDArray[np.float64], psi: NDArray[np.float64]
    ) -> NDArray[np.complex64]:
        """Return particles (n,) moved back by their shifts, (n, 2) as (y, x), and turned back: (count, n, rings)."""
        turn = np.exp(1j * np.arange(self.count)[:, None] * np.radians(psi))
        there = self._samples(particles) * self.images.phases(shift, self.rings)
        return np.asarray(harmonics(there, self.count) * turn[:, :, None], np.complex64)

    def _samples(self, particles: NDArray[np.intp]) -> NDArray[np.complex64]:
        """Return (ANGLES // 2, n, rings)."""
        return self.images.samples[particles, : self.rings].transpose(2, 0, 1)

    def _shifted(
        self, particles: NDArray[np.intp], table: NDArray[np.complex64], around: NDArray[np.float64] | None
    ) -> NDArray[np.complex64]:
        """Return particles at shifts, (count, n * steps, rings); kept, with `around` until the round is over."""
        key = particles.tobytes()
        found = self._kept.get(key)
        if found is None:
            values = self._samples(particles)
            if around is not None:
                values = values * self.images.phases(around, self.rings)
            found = harmonics(values[:, :, None] * table[:, None], self.count)
            found = found.reshape(self.count, -1, self.rings)
            if len(self._kept) * found.nbytes < _KEPT:
                self._kept[key] = found
        return found

    def _blocks(self, chosen: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Return which of the chosen particles are taken together; those of a block are of one fold."""
        of_folds = [np.nonzero(self.folds[chosen] == fold)[0] for fold in range(FOLDS)]
        return [mine[first : first + _BLOCK] for mine in of_folds for first in range(0, len(mine), _BLOCK)]

    def expect(
        self,
        chosen: NDArray[np.intp],
        around: NDArray[np.float64] | None,
        steps: NDArray[np.float64],
        references: References,
        angles: int,
    ) -> Expected:
        """Compare particles with the references of their folds.

        Parameters
        ----------
        chosen : (n,) int
            Which particles.
        around : (n, 2) float64 or None
            Where to look, (y, x) from the centres of the boxes, px; None: at the centres, always with the same steps.
        steps : (s, 2) float64
            Shifts from there.
        angles : int
            How many.
        """
        weight = (self.area / references.noise)[:, None]
        own = np.square(np.abs(references.values)) * self.twice * weight
        norm = own.sum(axis=(1, 2))
        offset = np.where(norm > 0, -0.5 * norm, _NEVER).astype(np.float32)  # an empty average matches nothing
        factors = np.asarray(references.values.conj() * weight, np.complex64)
        table = self.images.phases(steps, self.rings)
        square = steps is SQUARE
        shape = (angles, -1, len(steps), references.values.shape[-1])

        def some(numbers: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.complex64]]:
            shifted = self._shifted(chosen[numbers], table, None if around is None else around[numbers])
            fold = self.folds[chosen[numbers[0]]]
            score = scipy.fft.irfft(shifted @ factors[fold], n=angles, axis=0, norm="forward").reshape(shape)
            score += offset[fold]
            highest = score.max(axis=0)
            poses = _best(score, highest, steps, square)
            top = highest.max(axis=1)
            score -= top[:, None]
            np.exp(score, out=score)
            total = score.sum(axis=(0, 2), dtype=np.float64)
            score /= total[:, None].astype(np.float32)
            weights = scipy.fft.rfft(score.reshape(angles, -1, shape[-1]), axis=0)[: self.count].conj()
            return top + np.log(total), poses, np.asarray(weights, np.complex64)

        if around is not None:
            self._kept.clear()
        blocks = self._blocks(chosen)
        parts, poses, weights = zip(*self._threads.map(some, blocks), strict=True)
        back = np.argsort(np.concatenate(blocks))
        evidence, found = np.concatenate(parts)[back], np.concatenate(poses)[back]
        ratio = self._power / references.noise
        constant = 0.5 * float((self.area * self.images.area * (ratio - np.log(ratio))).sum())
        return Expected(evidence - constant, found[..., 0] * 360 / angles % 360, found[..., 1:], list(weights))

    def maximise(
        self,
        chosen: NDArray[np.intp],
        around: NDArray[np.float64] | None,
        steps: NDArray[np.float64],
        found: Expected,
        shares: NDArray[np.float64],
    ) -> Sums:
        """Return the sums of the particles at all their poses, weighted by likelihood and share of a class."""
        table = self.images.phases(steps, self.rings)
        blocks = self._blocks(chosen)

        def some(numbers: NDArray[np.intp], weights: NDArray[np.complex64]) -> NDArray[np.complex64]:
            shifted = self._shifted(chosen[numbers], table, None if around is None else around[numbers])
            share = np.repeat(shares[numbers].astype(np.float32), len(steps), axis=0)
            return np.asarray(shifted.transpose(0, 2, 1) @ (weights * share))

        total = np.zeros((FOLDS, self.count, self.rings, shares.shape[1]), np.complex128)
        for numbers, part in zip(blocks, self._threads.map(some, blocks, found.weights), strict=True):
            total[self.folds[chosen[numbers[0]]]] += part
        mass = np.zeros((FOLDS, shares.shape[1]))
        np.add.at(mass, self.folds[chosen], shares)
        return Sums(total, mass)

    def at_poses(
        self, psi: NDArray[np.float64], shift: NDArray[np.float64], label: NDArray[np.intp], classes: int
    ) -> tuple[Sums, NDArray[np.complex64]]:
        """Return the sums of all particles at one pose each, and the particles there, (count, rings, n)."""
        blocks = self._blocks(np.arange(len(psi)))
        aligned = np.empty((self.count, self.rings, len(psi)), np.complex64)
        total = np.zeros((FOLDS, self.count, self.rings, classes), np.complex128)
        mass = np.zeros((FOLDS, classes))
        np.add.at(mass, (self.folds, label), 1)
        parts = self._threads.map(lambda mine: self.at(mine, shift[mine], psi[mine]), blocks)
        for mine, part in zip(blocks, parts, strict=True):
            aligned[:, :, mine] = part.transpose(0, 2, 1)
            for one in np.unique(label[mine]).tolist():
                total[self.folds[mine[0]], :, :, one] += part[:, label[mine] == one].sum(axis=1)
        return Sums(total, mass), aligned

    def first(self, means: NDArray[np.complexfloating]) -> References:
        """Return averages (count, rings, classes) as references of all folds, with all power taken as noise."""
        return References(np.repeat(self.masked(means)[None], FOLDS, axis=0), self._power)

    def references(self, sums: Sums) -> References:
        """Return the averages of all other folds for each, masked, and weighted by what their halves share."""
        values, mass = sums.values.sum(axis=0) - sums.values, sums.mass.sum(axis=0) - sums.mass
        lonely = mass < _EMPTY  # nothing is left without the particle itself
        values = np.where(lonely[:, None, None], sums.values.sum(axis=0), values)
        mass = np.where(lonely, sums.mass.sum(axis=0), mass)
        values[np.broadcast_to((mass < _EMPTY)[:, None, None], values.shape)] = 0
        mass = np.maximum(mass, _EMPTY)
        even, odd = (
            self.masked(sums.values[k::2].sum(axis=0) / np.maximum(sums.mass[k::2].sum(axis=0), 1e-9)) for k in (0, 1)
        )
        both, first, second = (
            _smooth((np.real(a * b.conj()) * self.twice).sum(axis=0))
            for a, b in ((even, odd), (even, even), (odd, odd))
        )
        shared = np.clip(both / np.sqrt(first * second + 1e-30), _LEAST_SHARED, _MOST_SHARED)
        signal = (both * sums.mass.sum(axis=0)).sum(axis=1) / sums.mass.sum() / self.images.area
        noise = np.clip(self._power - signal, _LEAST_NOISE * self._power, self._power)
        return References(self.masked(values / mass[:, None, None] * (2 * shared / (1 + shared))), noise)


@dataclass(frozen=True, eq=False)
class References:
    """What particles are compared with.

    Attributes
    ----------
    values : (FOLDS, count, rings, classes) complex64
        Averages for the particles of each fold.
    noise : (rings,) float64
        Power of the noise for each pixel.
    """

    values: NDArray[np.complex64]
    noise: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums of particles, values (FOLDS, count, rings, classes), and how many there are, mass (FOLDS, classes)."""

    values: NDArray[np.complex128]
    mass: NDArray[np.float64]

    def means(self, otherwise: NDArray[np.complex128] | None = None) -> NDArray[np.complex128]:
        """Return the averages over all folds, (count, rings, classes); other ones where a class is empty."""
        mass = self.mass.sum(axis=0)
        means = self.values.sum(axis=0) / np.maximum(mass, _EMPTY)
        return np.asarray(means if otherwise is None else np.where(mass < _EMPTY, otherwise, means))


def _best(
    score: NDArray[np.float32], highest: NDArray[np.float32], steps: NDArray[np.float64], square: bool
) -> NDArray[np.float64]:
    """Return angle (in steps) and shift (y, x) of the best score of each particle and class, refined by parabolas.

    From the scores (angles, particles, steps, classes), and the highest at any angle, to (particles, classes, 3).
    """
    step = highest.argmax(axis=1)
    particle, label = np.indices(step.shape)
    at_step = score[:, particle, step, label]
    angle = at_step.argmax(axis=0)
    refined = angle + vertex(*(at_step[(angle + side) % len(score), particle, label] for side in (-1, 0, 1)))
    shift = steps[step]
    if square:
        for axis, three in enumerate(((1, 4, 7), (3, 4, 5))):
            beside = vertex(*(score[angle, particle, one, label] for one in three))
            shift[..., axis] += np.where(step == 4, beside, 0.0)
    return np.concatenate([refined[..., None], shift], axis=-1)


def _smooth(rings: NDArray[np.float64]) -> NDArray[np.float64]:
    wide = np.pad(rings, ((1, 1), (0, 0)), mode="edge")
    return np.asarray((wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4)


def disc(radius: float, step: float) -> NDArray[np.float64]:
    """Return the multiples of a step within a circle, (n, 2) as (y, x); (0, 0) is among them."""
    reach = int(radius / step + 1e-9)
    y, x = step * np.mgrid[-reach : reach + 1, -reach : reach + 1]
    keep = np.hypot(y, x) <= radius + 1e-9
    return np.asarray(np.stack([y[keep], x[keep]], axis=1))
