"""Averages of particles cut from micrographs: aligned in rotation and shift against each other, split into classes.

Particles are aligned by maximum likelihood (engine.alignment) on images of at most 64 pixels a side. An average is made
from the particles themselves, interpolated once at their best poses; what all their likely poses give instead, at these
64 pixels, is put in its place. The two are the same but for weak particles.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from scipy import ndimage

from napari_gempick.device.cores import usable_cores
from napari_gempick.engine.alignment import Alignment, Poses
from napari_gempick.engine.filters import crop_spectrum
from napari_gempick.engine.masks import outline
from napari_gempick.engine.polar import PolarImages
from napari_gempick.engine.sampling import ContinuousImage, rotation_matrix
from napari_gempick.model.geometry import Extent

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

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
    with ThreadPoolExecutor(usable_cores()) as threads:
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
