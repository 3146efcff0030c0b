"""Classes and poses of particles by expectation maximisation in polar Fourier space (Sigworth 1998, J Struct Biol 122).

Every particle counts at every angle, shift and class, weighted by how likely it lies there: weak particles, whose best
pose is often a wrong one, still make a good average. References are cross-validated: the particles are dealt into
folds, and those of a fold are compared with averages of all others, so that no particle finds its own noise, and a
class draws none because it is large. Averages are weighted at each frequency by what their halves have in common.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from scipy.special import logsumexp, softmax

from napari_gempick.engine.templates.polar import ANGLES, harmonics

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from numpy.typing import NDArray

    from napari_gempick.engine.templates.polar import PolarImages

FOLDS = 8
_CHUNK = 8
"""Particles that a thread takes at once."""
_SUMMED = 32
"""Particles that one thread adds up; the order of additions depends on it."""
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
    weights : list of (count, steps, classes) complex64
        Harmonics over the angle of the likelihood within each class.
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
    images : PolarImages
    share : float
        Of the rings and harmonics that there are.
    threads : ThreadPoolExecutor
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
        self._kept: dict[int, NDArray[np.complex64]] = {}

    def masked(self, means: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
        """Return averages (..., count, rings, classes) within the round mask."""
        return np.asarray(np.einsum("mrq,...mqc->...mrc", self._mask, means), np.complex64)

    def at(self, particle: int, shift: NDArray[np.float64], psi: float = 0.0) -> NDArray[np.complex64]:
        """Return a particle moved back by a shift (y, x) and turned back by psi, (count, rings)."""
        moved = self._moved(particle, self.images.phases(shift[None], self.rings))[:, 0]
        return np.asarray(moved * np.exp(1j * math.radians(psi) * np.arange(self.count))[:, None], np.complex64)

    def _moved(self, particle: int, phases: NDArray[np.complex64]) -> NDArray[np.complex64]:
        return harmonics(self.images.samples[particle, : self.rings].T[:, None] * phases, self.count)

    def _shifted(
        self, particle: int, table: NDArray[np.complex64], around: NDArray[np.float64] | None
    ) -> NDArray[np.complex64]:
        """Return a particle at shifts, (count, steps, rings); they are kept, with `around` until the round is over."""
        found = self._kept.get(particle)
        if found is None:
            moving = table if around is None else table * self.images.phases(around[None], self.rings)
            found = self._moved(particle, moving)
            if len(self._kept) * found.nbytes < _KEPT:
                self._kept[particle] = found
        return found

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
        references : References
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

        def one(number: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.complex64]]:
            particle = int(chosen[number])
            shifted = self._shifted(particle, table, None if around is None else around[number])
            fold = self.folds[particle]
            score = scipy.fft.irfft(shifted @ factors[fold], n=angles, axis=0, norm="forward")
            score += offset[fold]
            poses = np.array([_best(score[:, :, label], steps, square) for label in range(score.shape[2])])
            top = score.max(axis=(0, 1))
            np.exp(score - top, out=score)
            total = score.sum(axis=(0, 1), dtype=np.float64)
            score /= total.astype(np.float32)
            weights = scipy.fft.rfft(score, axis=0)[: self.count].conj()
            return top + np.log(total), poses, np.asarray(weights, np.complex64)

        if around is not None:
            self._kept.clear()
        n = len(chosen)
        chunks = [range(start, min(n, start + _CHUNK)) for start in range(0, n, _CHUNK)]
        parts = self._threads.map(lambda chunk: [one(number) for number in chunk], chunks)
        evidence, poses, weights = zip(*(row for rows in parts for row in rows), strict=True)
        found = np.array(poses)
        ratio = self._power / references.noise
        constant = 0.5 * float((self.area * self.images.area * (ratio - np.log(ratio))).sum())
        psi = found[..., 0] * 360 / angles % 360
        return Expected(np.array(evidence) - constant, psi, found[..., 1:], list(weights))

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
        shape = (FOLDS, self.count, self.rings, shares.shape[1])

        def some(numbers: range) -> NDArray[np.complex64]:
            sums = np.zeros(shape, np.complex64)
            for number in numbers:
                particle = int(chosen[number])
                shifted = self._shifted(particle, table, None if around is None else around[number])
                weights = found.weights[number] * shares[number].astype(np.float32)
                sums[self.folds[particle]] += shifted.transpose(0, 2, 1) @ weights
            return sums

        total = np.zeros(shape, np.complex128)
        n = len(chosen)
        for part in self._threads.map(some, [range(a, min(n, a + _SUMMED)) for a in range(0, n, _SUMMED)]):
            total += part
        mass = np.zeros((FOLDS, shares.shape[1]))
        np.add.at(mass, self.folds[chosen], shares)
        return Sums(total, mass)

    def at_poses(
        self, psi: NDArray[np.float64], shift: NDArray[np.float64], label: NDArray[np.intp], classes: int
    ) -> tuple[Sums, NDArray[np.complex64]]:
        """Return the sums of all particles at one pose each, and the particles there, (n, count, rings)."""
        aligned = np.stack(list(self._threads.map(self.at, range(len(psi)), shift, psi.tolist())))
        total = np.zeros((FOLDS, *aligned.shape[1:], classes), np.complex128)
        mass = np.zeros((FOLDS, classes))
        for number, particle in enumerate(aligned):
            total[self.folds[number], :, :, label[number]] += particle
            mass[self.folds[number], label[number]] += 1
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


def _best(score: NDArray[np.float32], steps: NDArray[np.float64], square: bool) -> tuple[float, float, float]:
    """Return the angle (in steps) and shift (y, x) of the best score, (angles, steps), refined by parabolas."""
    angle, step = divmod(int(score.argmax()), score.shape[1])
    count = len(score)
    refined = angle + vertex(score[[angle - 1, angle, (angle + 1) % count], step])
    y, x = steps[step].tolist()
    if square and step == 4:
        y, x = y + vertex(score[angle, 1:8:3]), x + vertex(score[angle, 3:6])
    return refined, y, x


def vertex(values: NDArray[np.floating]) -> float:
    """Return where the parabola through values at -1, 0 and 1 has its top, within half a step."""
    curvature = float(values[0] - 2 * values[1] + values[2])
    return 0.0 if curvature >= 0 else float(np.clip(0.5 * (values[0] - values[2]) / curvature, -0.5, 0.5))


def _smooth(rings: NDArray[np.float64]) -> NDArray[np.float64]:
    wide = np.pad(rings, ((1, 1), (0, 0)), mode="edge")
    return np.asarray((wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4)


def disc(radius: float, step: float) -> NDArray[np.float64]:
    """Return the multiples of a step within a circle, (n, 2) as (y, x); (0, 0) is among them."""
    reach = int(radius / step + 1e-9)
    y, x = step * np.mgrid[-reach : reach + 1, -reach : reach + 1]
    keep = np.hypot(y, x) <= radius + 1e-9
    return np.asarray(np.stack([y[keep], x[keep]], axis=1))
