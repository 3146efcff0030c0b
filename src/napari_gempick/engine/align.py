"""Averages of particles cut from micrographs: aligned in rotation and shift against each other, split into classes.

Alignment maximises the NCC under a round mask (Roseman 2003) over all in-plane angles and the shifts allowed, on images
of at most 64 pixels a side; averages are made from the particles themselves, interpolated once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from scipy import ndimage

from napari_gempick.engine.filters import crop_spectrum
from napari_gempick.engine.masks import ShapeMask, outline
from napari_gempick.engine.sampling import ContinuousImage, rotation_matrix

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

COARSE_SIDE = 64
SEEDS = 16
"""Particles among which the first references are chosen."""
LEAVE_OUT_UP_TO = 30
"""In smaller classes a particle is aligned to the average of the others, so that it does not find its own noise."""
LONG = 1.05
"""An average that is longer than wide by this factor is turned until it lies along x."""


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
            Rounds of alignment, at most; it ends when nothing moves any more.
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
    coarse = _Coarse(_cropped(boxes, factor), box / factor, limit / factor)
    poses = coarse.first(start, classes)
    for round_ in range(iterations):
        before = poses
        poses = coarse.improve(poses, classes, None if progress is None else _share(progress, round_, iterations))
        if poses.settled_since(before):
            break
    order = np.argsort(-np.bincount(poses.label, minlength=classes), kind="stable")
    poses = replace(poses, label=np.argsort(order)[poses.label], shift=poses.shift * factor)
    averages = np.empty((classes, box, box), np.float32)
    for label in range(classes):
        mine = np.nonzero(poses.label == label)[0]
        for _ in range(2):
            averages[label] = _mean(boxes, poses, mine, box)
            if len(mine):
                poses = _centred(poses, mine, averages[label], limit, turn=start is None)
        averages[label] = _mean(boxes, poses, mine, box)
    return averages, poses


def _share(progress: Callable[[float], None], number: int, count: int) -> Callable[[float], None]:
    return lambda share: progress((number + share) / count)


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


def _mean(boxes: NDArray[np.float32], poses: Poses, chosen: NDArray[np.intp], side: int) -> NDArray[np.float32]:
    total = np.zeros((side, side), np.float64)
    for i in chosen:
        total += _sampled(boxes[i], poses.psi[i], poses.shift[i], side)
    return np.asarray(total / max(1, len(chosen)), np.float32)


def _centred(
    poses: Poses, chosen: NDArray[np.intp], average: NDArray[np.float32], limit: float, *, turn: bool
) -> Poses:
    """Move the centre of mass of an average to its centre pixel, and turn its longer axis along x."""
    rows, columns = np.nonzero(outline(average))
    rim = np.concatenate([average[0], average[-1], average[:, 0], average[:, -1]])
    density = np.abs(average - np.median(rim))[rows, columns]
    middle = np.average(np.stack([rows, columns]), axis=1, weights=density) - np.array(average.shape) // 2
    middle *= min(1.0, limit / max(float(np.hypot(*middle)), 1e-9))
    angle = 0.0
    if turn:
        values, vectors = np.linalg.eigh(np.cov(np.stack([rows, columns]), aweights=density**2))
        if values[1] > LONG**2 * values[0]:
            along = vectors[:, 1] * (-1 if vectors[1, 1] < 0 else 1)
            angle = math.degrees(math.atan2(-along[0], along[1]))
    psi, shift = poses.psi.copy(), poses.shift.copy()
    for i in chosen:
        shift[i] += rotation_matrix(-psi[i] % 360) @ middle
        psi[i] = (psi[i] + angle) % 360
    return replace(poses, psi=psi, shift=shift)


class _Coarse:
    """The particles on a coarse grid, and their alignment to references.

    Parameters
    ----------
    images : (n, side, side) float32
    box : float
        Side of the averages on that grid, px.
    limit : float
        Largest shift, px.
    """

    def __init__(self, images: NDArray[np.float32], box: float, limit: float) -> None:
        self.images, self.limit = images, limit
        self.side = 2 * math.ceil(box / 2)
        count = 4 * math.ceil(math.pi * self.side / 8)  # two pixels at the edge
        self.step = 360 / count
        self.angles = np.arange(count) * self.step
        mask, extent = ShapeMask("circle", (box - 2, box - 2)).sample(0, 1.0)
        self.reach, self._extent = extent.top, extent
        self.weights = mask.astype(np.float64)
        outer = images.shape[-1]
        self._shape = (scipy.fft.next_fast_len(outer, real=True),) * 2
        self._spectra = scipy.fft.rfft2(images, s=self._shape)
        window = scipy.fft.rfft2(self.weights, s=self._shape).conj()
        area = self.weights.sum()
        first = outer // 2 - self.reach
        shifts = math.floor(limit)
        self._shifts = slice(first - shifts, first + shifts + 1)
        mean = self._at_shifts(self._spectra * window) / area
        square = self._at_shifts(scipy.fft.rfft2(np.square(images), s=self._shape) * window) / area
        self._sigma = np.sqrt(np.maximum(square - mean**2, 1e-6))
        self._area = area

    def _at_shifts(self, spectra: NDArray[np.complexfloating]) -> NDArray[np.floating]:
        return scipy.fft.irfft2(spectra, s=self._shape)[..., self._shifts, self._shifts]  # type: ignore[no-any-return]

    def turned(self, reference: NDArray[np.float32]) -> NDArray[np.complexfloating]:
        """Return the conjugate spectra of a (side, side) reference at every angle, normalised under the mask."""
        continuous = ContinuousImage(reference, 1.0)
        stack = np.stack([continuous.sample(angle, 1.0, self._extent) for angle in self.angles])
        mean = (stack * self.weights).sum(axis=(1, 2), keepdims=True) / self._area
        stack = (stack - mean) * self.weights
        norm = np.sqrt(np.square(stack).sum(axis=(1, 2), keepdims=True) * self._area)
        return np.asarray(scipy.fft.rfft2(stack / np.maximum(norm, 1e-12), s=self._shape).conj())

    def best(self, number: int, spectra: NDArray[np.complexfloating]) -> tuple[float, float, float, float]:
        """Return score, psi and shift (y, x) of a particle against turned references, refined by parabolas."""
        score = self._at_shifts(self._spectra[number] * spectra) / self._sigma[number]
        a, y, x = np.unravel_index(int(np.argmax(score)), score.shape)
        psi = self.step * (a + _vertex(score[[a - 1, a, (a + 1) % len(score)], y, x]))
        middle = score.shape[1] // 2
        dy = y - middle + (_vertex(score[a, y - 1 : y + 2, x]) if 0 < y < score.shape[1] - 1 else 0.0)
        dx = x - middle + (_vertex(score[a, y, x - 1 : x + 2]) if 0 < x < score.shape[2] - 1 else 0.0)
        return float(score[a, y, x]), float(psi) % 360, float(dy), float(dx)

    def first(self, start: NDArray[np.float64] | None, classes: int) -> Poses:
        """Return poses against the first references: particles that many others resemble, far from each other."""
        n = len(self.images)
        if start is not None and classes == 1:
            return Poses(start % 360, np.zeros((n, 2)), np.zeros(n), np.zeros(n, np.intp))
        seeds = np.unique(np.linspace(0, n - 1, min(n, SEEDS)).astype(int))
        references = {seed: self.turned(_sampled(self.images[seed], 0.0, np.zeros(2), self.side)) for seed in seeds}
        alike = np.array([[self.best(i, references[seed])[0] for i in seeds] for seed in seeds])
        chosen = [int(np.argmax(alike.sum(axis=1)))]
        while len(chosen) < min(classes, len(seeds)):
            chosen.append(int(np.argmin(alike[chosen].max(axis=0))))
        return self._assign([references[seeds[c]] for c in chosen])

    def _assign(self, references: list[NDArray[np.complexfloating]]) -> Poses:
        found = np.array([[self.best(i, spectra) for spectra in references] for i in range(len(self.images))])
        label = np.argmax(found[:, :, 0], axis=1)
        best = found[np.arange(len(label)), label]
        return Poses(best[:, 1], best[:, 2:], best[:, 0], label)

    def improve(self, poses: Poses, classes: int, progress: Callable[[float], None] | None) -> Poses:
        """Return the poses against the averages that the present ones give."""
        n = len(self.images)
        aligned = np.stack([_sampled(self.images[i], poses.psi[i], poses.shift[i], self.side) for i in range(n)])
        counts = np.bincount(poses.label, minlength=classes)
        sums = [aligned[poses.label == label].sum(axis=0) for label in range(classes)]
        spectra = [self.turned(sums[label]) if counts[label] else None for label in range(classes)]
        rows = np.zeros((n, 5))
        for i in range(n):
            best = (-np.inf, 0.0, 0.0, 0.0, 0.0)
            for label, whole in enumerate(spectra):
                if whole is None:
                    continue
                own = poses.label[i] == label
                if own and 1 < counts[label] <= LEAVE_OUT_UP_TO:
                    whole = self.turned(sums[label] - aligned[i])
                best = max(best, (*self.best(i, whole), float(label)))
            rows[i] = best
            if progress is not None:
                progress((i + 1) / n)
        return Poses(rows[:, 1], rows[:, 2:4], rows[:, 0], rows[:, 4].astype(np.intp))


def _vertex(values: NDArray[np.floating]) -> float:
    """Return where the parabola through values at -1, 0 and 1 has its top, within half a step."""
    curvature = float(values[0] - 2 * values[1] + values[2])
    return 0.0 if curvature >= 0 else float(np.clip(0.5 * (values[0] - values[2]) / curvature, -0.5, 0.5))
