"""Averages of particles cut from micrographs: aligned in rotation and shift against each other, split into classes.

Particles are aligned by maximum likelihood on images of at most 64 pixels a side. An average is made
from the particles themselves, interpolated once at their best poses; what all their likely poses give instead, at these
64 pixels, is put in its place. The two are the same but for weak particles.

From particles to poses and classes: several starts at half the resolution, the best one refined at all of it.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from scipy import ndimage

from napari_gempick.device.cores import usable_cores
from napari_gempick.device.thread_rules import one_thread
from napari_gempick.engine.preprocess.fourier_filters import crop_spectrum
from napari_gempick.engine.templates.classes import SQUARE, Level, disc
from napari_gempick.engine.templates.masks import outline
from napari_gempick.engine.templates.polar import PolarImages
from napari_gempick.engine.templates.sampling import ContinuousImage, rotation_matrix
from napari_gempick.model.geometry import Extent

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_gempick.engine.templates.classes import Expected, References

COARSE_SIDE = 64
_AT_ONCE = 64
"""Particles that wait, turned, to be added."""
LONG = 1.05
"""An average that is longer than wide by this factor is turned until it lies along x."""


def average_classes(
    boxes: NDArray[np.float32],
    box: int,
    *,
    classes: int = 1,
    iterations: int = 8,
    max_shift: float | None = None,
    start: NDArray[np.float64] | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[NDArray[np.float32], Poses]:
    """Align particles and average them.

    Parameters
    ----------
    boxes : (n, side, side) float32
        Particles with their surroundings, `side` = `outer_side(box)`, about pixel side // 2.
    box : int
        Side of the averages, px, even.
    classes : int
        The largest comes first.
    iterations : int
        Rounds of alignment, at most; it ends when half of the particles hardly move any more.
    max_shift : float, optional
        Farthest that a centre may lie from the centre of its box, px; default an eighth of the box.
    start : (n,) float64, optional
        psi of the particles, degrees: the averages keep to them. Without it they lie with the longer axis along x.
    progress : callable, optional
        Called with the share that is done.

    Returns
    -------
    averages : (classes, box, box) float32
        Mean of the normalised particles, contrast as in the micrographs; the centre of mass, of
        density within the outline, is pixel box // 2.
    poses : Poses
    """
    factor = _factor(box)
    limit = box / 8 if max_shift is None else max_shift
    with one_thread(), ThreadPoolExecutor(usable_cores()) as threads:
        images = PolarImages(_cropped(boxes, factor), box / factor / 2, limit / factor, threads)
        alignment = Alignment(images, limit / factor, classes, start, threads)
        poses, means, single = alignment.run(iterations, progress or (lambda share: None))
        order = np.argsort(-np.bincount(poses.label, minlength=classes), kind="stable")
        poses = replace(poses, label=np.argsort(order)[poses.label], shift=poses.shift * factor)
        averages = np.empty((classes, box, box), np.float32)
        for label, former in enumerate(order.tolist()):
            mine = np.nonzero(poses.label == label)[0]
            middle, angle = _centre(images, means[:, :, former], box / factor, limit / factor, turn=start is None)
            poses = _moved(poses, mine, middle * factor, angle)
            better = images.moved(means[:, :, former] - single[:, :, former], middle, angle)
            averages[label] = _mean(boxes, poses, mine, box, threads) + _enlarged(images, better, box, factor)
    return averages, poses


def _factor(box: int) -> int:
    return max(1, math.ceil(box / COARSE_SIDE))


def outer_side(box: int) -> int:
    """Return the side of the boxes to cut, px: a box turned by 45 degrees and shifted by an eighth fits in."""
    step = 2 * _factor(box)
    return step * math.ceil(box * (math.sqrt(2) + 0.25) / step)


def cut_boxes(image: NDArray[np.float32], centres: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """Cut (n, side, side) boxes about the pixels nearest to `centres`, (n, 2) as (x, y), normalised one by one.

    Beyond the image its edge pixels are repeated.
    """
    offsets = np.arange(side) - side // 2
    rows, columns = (
        np.clip(np.rint(centres[:, axis, None]).astype(int) + offsets, 0, image.shape[1 - axis] - 1) for axis in (1, 0)
    )
    boxes = image[rows[:, :, None], columns[:, None, :]].astype(np.float32)
    boxes -= np.median(boxes, axis=(1, 2), keepdims=True)
    boxes /= np.maximum(boxes.std(axis=(1, 2), keepdims=True), 1e-12)
    return boxes


def _cropped(boxes: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return the boxes with pixels `factor` times as large; centres stay pixel n // 2."""
    if factor == 1:
        return boxes
    side = boxes.shape[-1] // factor
    small = [crop_spectrum(scipy.fft.rfft2(one), len(one), (side, side)) for one in boxes]
    return np.asarray(scipy.fft.irfft2(np.stack(small), s=(side, side)) / factor**2, np.float32)


def _sampled(image: NDArray[np.float32], psi: float, shift: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """Return the (side, side) image of a particle turned back by psi and moved to the centre."""
    matrix = rotation_matrix(-psi % 360)
    offset = np.array(image.shape) // 2 + shift - matrix @ [side // 2, side // 2]
    found = ndimage.affine_transform(image, matrix, offset, (side, side), order=3, mode="nearest")
    return np.asarray(found, np.float32)


def _mean(
    boxes: NDArray[np.float32], poses: Poses, chosen: NDArray[np.intp], side: int, threads: ThreadPoolExecutor
) -> NDArray[np.float32]:
    total = np.zeros((side, side), np.float64)
    numbers = chosen.tolist()
    for start in range(0, len(numbers), _AT_ONCE):
        some = numbers[start : start + _AT_ONCE]
        for one in threads.map(lambda i: _sampled(boxes[i], float(poses.psi[i]), poses.shift[i], side), some):
            total += one
    return np.asarray(total / max(1, len(numbers)), np.float32)


def _enlarged(images: PolarImages, means: NDArray[np.complexfloating], box: int, factor: int) -> NDArray[np.float32]:
    """Return an average in polar Fourier space as a (box, box) image, with pixels a `factor`-th as large."""
    side = 2 * math.ceil(box / factor / 2)
    small = images.image(means, side)
    if factor == 1:
        return small
    extent = Extent(top=box // 2, bottom=box - box // 2 - 1, left=box // 2, right=box - box // 2 - 1)
    return ContinuousImage(small, float(factor)).sample(0.0, 1.0, extent)


def _centre(
    images: PolarImages, means: NDArray[np.complexfloating], side: float, limit: float, *, turn: bool
) -> tuple[NDArray[np.float64], float]:
    """Return the centre of mass of an average, (y, x) in px from its centre, and the angle of its longer axis."""
    size = 2 * math.ceil(side / 2)
    middle, angle = np.zeros(2), 0.0
    for _ in range(2):
        image = images.image(images.moved(means, middle, angle), size)
        rows, columns = np.nonzero(outline(image))
        rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        density = np.abs(image - np.median(rim))[rows, columns]
        beside = np.average(np.stack([rows, columns]), axis=1, weights=density) - size // 2
        beside *= min(1.0, limit / max(float(np.hypot(*beside)), 1e-9))
        middle = middle + rotation_matrix(-angle % 360) @ beside
        if turn:
            values, vectors = np.linalg.eigh(np.cov(np.stack([rows, columns]), aweights=density**2))
            if values[1] > LONG**2 * values[0]:
                along = vectors[:, 1] * (-1 if vectors[1, 1] < 0 else 1)
                angle += math.degrees(math.atan2(-along[0], along[1]))
    return middle, angle


def _moved(poses: Poses, chosen: NDArray[np.intp], middle: NDArray[np.float64], angle: float) -> Poses:
    """Return the poses that go with an average seen from another centre, and turned."""
    psi, shift = poses.psi.copy(), poses.shift.copy()
    for i in chosen:
        shift[i] += rotation_matrix(-psi[i] % 360) @ middle
        psi[i] = (psi[i] + angle) % 360
    return replace(poses, psi=psi, shift=shift)


STARTS = 4
_ROUNDS = (5, 5, 5)
"""Rounds at half the resolution with all starts, with half of them, with the best one."""
_FEW, _FEW_EACH = 160, 20
"""The starts use at least this many particles, in all and for each class."""
_STEP, _MOST_STEPS = 2.0, 100
"""Step of the shifts at half the resolution, px; coarser if there were more shifts than this."""
_ANGLES = (64, 256)
_SETTLED = 1.0, 0.2
"""Degrees and pixels; more rounds then make no average better."""
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
        """Return whether no particle changed its class, and half of them turned and moved by next to nothing."""
        turned = np.abs((self.psi - before.psi + 180) % 360 - 180)
        moved = np.hypot(*(self.shift - before.shift).T)
        same = np.array_equal(self.label, before.label)
        return same and bool(np.median(turned) < _SETTLED[0] and np.median(moved) < _SETTLED[1])


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
    limit : float
        Largest shift, px.
    start : (n,) float64 or None
        Angles that the averages keep to, degrees.
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
            self._coarse.at(mine, np.zeros((len(mine), 2)), psi[mine]).mean(axis=1)
            for mine in (lot[k :: self._classes][:each] for k in range(self._classes))
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
            again = self._coarse.at(np.array([particle]), np.zeros((1, 2)), np.zeros(1)) / (1 + _NOISE_OVER_SIGNAL)
            start.references.values[:, :, :, label] = self._coarse.first(again.transpose(0, 2, 1)).values[..., 0]

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
        particles = level.masked(aligned)
        others = level.masked(sums)[:, :, label] - particles

        def inner(a: NDArray[np.complexfloating], b: NDArray[np.complexfloating]) -> NDArray[np.float64]:
            return np.asarray((np.real(a * b.conj()) * level.twice * level.area[:, None]).sum(axis=(0, 1)))

        norm = np.sqrt(inner(particles, particles) * inner(others, others))
        return np.where(sizes[label] > 1, inner(particles, others) / np.maximum(norm, 1e-12), 1.0)
