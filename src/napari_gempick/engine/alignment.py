"""From particles to poses and classes: several starts at half the resolution, the best one refined at all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.engine.classes import SQUARE, Level, disc

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

    from numpy.typing import NDArray

    from napari_gempick.engine.classes import Expected, References
    from napari_gempick.engine.polar import PolarImages

STARTS = 4
_ROUNDS = (5, 5, 5)
"""Rounds at half the resolution with all starts, with half of them, with the best one."""
_FEW, _FEW_EACH = 160, 20
"""The starts use at least this many particles, in all and for each class."""
_STEP, _MOST_STEPS = 2.0, 100
"""Step of the shifts at half the resolution, px; coarser if there were more shifts than this."""
_ANGLES = (64, 256)
_NOISE_OVER_SIGNAL = 4.0
"""Assumed for a single particle at the start."""


@dataclass(frozen=True, eq=False)
class Poses:
    """Where the particles lie in their boxes.

    Attributes
    ----------
    psi : (n,) float64
        Degrees, counter-clockwise on screen: takes the average to the particle.
    shift : (n, 2) float64
        (y, x) of the particle's centre from the centre of its box, px.
    score : (n,) float64
        NCC with the average that it was aligned to.
    label : (n,) int
        Class.
    """

    psi: NDArray[np.float64]
    shift: NDArray[np.float64]
    score: NDArray[np.float64]
    label: NDArray[np.intp]

    def settled_since(self, before: Poses) -> bool:
        """Return whether no particle changed its class, turned by a degree or moved by a tenth of a pixel."""
        turned = np.abs((self.psi - before.psi + 180) % 360 - 180)
        same = np.array_equal(self.label, before.label)
        return same and bool(turned.max() < 1 and np.abs(self.shift - before.shift).max() < 0.1)


@dataclass(eq=False)
class _Start:
    """One of several ways to begin, and how far it has come."""

    number: int
    references: References
    likelihood: float = -np.inf


class Alignment:
    """The alignment and classification of particles.

    Parameters
    ----------
    images : PolarImages
    limit : float
        Largest shift, px.
    classes : int
    start : (n,) float64 or None
        Angles that the averages keep to, degrees.
    threads : ThreadPoolExecutor
    """

    def __init__(
        self,
        images: PolarImages,
        limit: float,
        classes: int,
        start: NDArray[np.float64] | None,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._limit, self._classes, self._given = limit, classes, start
        self._coarse, self._fine = Level(images, 0.5, threads), Level(images, 1.0, threads)
        self._count = len(images)
        step = max(_STEP, limit * np.sqrt(np.pi / _MOST_STEPS))
        self._steps = disc(limit, step)

    def run(
        self, rounds: int, progress: Callable[[float], None]
    ) -> tuple[Poses, NDArray[np.complexfloating], NDArray[np.complexfloating]]:
        """Return the poses, the averages over all likely poses and those at the best ones, (count, rings, classes)."""
        references = self._best_start(lambda share: progress(0.4 * share))
        all_ = np.arange(self._count)
        found = self._coarse.expect(all_, None, self._steps, references, _ANGLES[0])
        poses = self._poses(found, np.zeros((self._count, 2)))
        sums, _ = self._fine.at_poses(poses.psi, poses.shift, poses.label, self._classes)
        for number in range(rounds):
            before = poses
            steps = SQUARE if number else disc(2.9, 1.0)
            found = self._fine.expect(all_, before.shift, steps, self._fine.references(sums), _ANGLES[1])
            poses = self._poses(found, before.shift)
            sums = self._fine.maximise(all_, before.shift, steps, found, found.shares())
            progress(0.4 + 0.5 * (number + 1) / rounds)
            if poses.settled_since(before):
                break
        single, aligned = self._fine.at_poses(poses.psi, poses.shift, poses.label, self._classes)
        score = self._scores(aligned, single.values.sum(axis=0), poses.label)
        progress(1.0)
        return Poses(poses.psi, poses.shift, score, poses.label), sums.means(single.means()), single.means()

    def _best_start(self, progress: Callable[[float], None]) -> References:
        """Return the references of the start that explains the particles best."""
        few = max(_FEW, _FEW_EACH * self._classes)
        chosen = np.unique(np.linspace(0, self._count - 1, min(self._count, few)).astype(int))
        only = self._given is not None and self._classes == 1
        starts = [self._begin(number, chosen) for number in range(1 if only else STARTS)]
        for phase, rounds in enumerate(_ROUNDS):
            for start in starts:
                for _ in range(rounds):
                    self._round(start, chosen, balanced=phase < len(_ROUNDS) - 1 and start.number % 2 == 0)
            starts.sort(key=lambda start: -start.likelihood)
            starts = starts[: max(1, len(starts) // 2)]
            progress((phase + 1) / len(_ROUNDS))
        return starts[0].references

    def _begin(self, number: int, chosen: NDArray[np.intp]) -> _Start:
        """Return a start from random particles: one for each class, or many if their angles are known."""
        lot = np.random.default_rng([self._classes, number]).permutation(chosen)
        each = 1 if self._given is None else max(1, len(lot) // self._classes)
        psi = np.zeros(self._count) if self._given is None else self._given
        means = [
            np.mean([self._coarse.at(i, np.zeros(2), psi[i]) for i in lot[k :: self._classes][:each].tolist()], axis=0)
            for k in range(self._classes)
        ]
        return _Start(
            number, self._coarse.first(np.stack(means, axis=-1) * np.complex64(each / (each + _NOISE_OVER_SIGNAL)))
        )

    def _round(self, start: _Start, chosen: NDArray[np.intp], *, balanced: bool) -> None:
        found = self._coarse.expect(chosen, None, self._steps, start.references, _ANGLES[0])
        shares = found.balanced() if balanced else found.shares()
        sums = self._coarse.maximise(chosen, None, self._steps, found, shares)
        start.references = self._coarse.references(sums)
        start.likelihood = found.total()
        worst = np.argsort(found.evidence.max(axis=1), kind="stable")
        for place, label in enumerate(np.nonzero(sums.mass.sum(axis=0) < 1)[0].tolist()):  # begin this class again
            particle = int(chosen[worst[place % len(worst)]])
            again = self._coarse.at(particle, np.zeros(2))[:, :, None] / (1 + _NOISE_OVER_SIGNAL)
            start.references.values[:, :, :, label] = self._coarse.first(again).values[..., 0]

    def _poses(self, found: Expected, around: NDArray[np.float64]) -> Poses:
        """Return the most likely poses, none farther off than allowed, and no class without a particle."""
        best = found.evidence.argmax(axis=1)
        own = np.arange(self._count), best
        label = best.copy()
        for empty in np.setdiff1d(np.arange(self._classes), label).tolist():  # it gets the particle that fits worst
            spare = np.bincount(label, minlength=self._classes)[label] > 1
            label[int(np.argmax(np.where(spare, -found.evidence[own], -np.inf)))] = empty
        shift = around + found.step[own]
        far = np.hypot(*shift.T)
        shift *= np.minimum(1.0, self._limit / np.maximum(far, 1e-9))[:, None]
        return Poses(found.psi[own], shift, np.zeros(self._count), label)

    def _scores(
        self, aligned: NDArray[np.complex64], sums: NDArray[np.complexfloating], label: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Return the NCC of each particle with the average of the others of its class, within the round mask."""
        level = self._fine
        sizes = np.bincount(label, minlength=self._classes)
        whole = level.masked(sums)

        def inner(a: NDArray[np.complexfloating], b: NDArray[np.complexfloating]) -> float:
            return float((np.real(a * b.conj()) * level.twice[:, 0] * level.area).sum())

        scores = np.ones(len(label))
        for number, own in enumerate(label.tolist()):
            if sizes[own] > 1:
                particle = level.masked(aligned[number][:, :, None])[..., 0]
                others = whole[:, :, own] - particle
                norm = np.sqrt(inner(particle, particle) * inner(others, others))
                scores[number] = inner(particle, others) / max(norm, 1e-12)
        return scores
