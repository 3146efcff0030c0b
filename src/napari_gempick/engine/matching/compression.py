"""A basis for the rotated templates under one mask, and what it leaves out.

The rotations of a section are transformed along psi: a rotation is then a factor exp(i m psi) of harmonic m. Of each
harmonic the sections together have few images that matter. So a basis is transformed instead of the rotated templates,
and the scores of all of them follow from it by two small products: from the basis to the harmonics of each section, and
from the harmonics to its angles. Harmonics that are odd change their sign after half a turn: one product serves both
halves of the circle.

Norms are weighted. With weights W > 0 at each pixel u of the box, a rotated template T and a patch S of the micrograph,

    |sum_u T(u) S(u)| = |sum_u (T / sqrt W) (S sqrt W)| <= |T / sqrt W| |S sqrt W|            (Cauchy and Schwarz)

With the mask over its sum as W, |T / sqrt W| = 1, and |S sqrt W| is the local standard deviation where the local mean
is 0; no rotated template sees the mean, because its own sum is 0. Any other positive weights give an equally sound
bound, so where a mask has zeros or rings, W is a little more than the mask.
"""

from __future__ import annotations

import functools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_gempick.engine.templates.bank import Bank

    Floats = NDArray[np.float32]
    Mixing = list[tuple[int, int, int, Floats]]

LEAST_WEIGHT = 0.01
"""Of the largest weight: what counts for pixels that the mask leaves out, where rotated templates may ring."""
RESIDUAL = 0.006
"""Root mean square of what the basis leaves out of the rotated templates, each of norm 1."""
BLOCK = 8
"""Angles that are scored exactly together."""
KEPT_BYTES = 2**28
"""Of rotated templates that are kept for exact sums."""


@dataclass(frozen=True, eq=False)
class Section:
    """The rotated templates of one section, and how far the basis is from them.

    Attributes
    ----------
    ks : (n,) int32
        Full-bank numbers, ascending.
    number : int
        Which section of the part it is.
    across, along : float
        Largest norm of what is wrong with its rotated templates, orthogonal to the span of the basis and within it.
    """

    ks: NDArray[np.int32]
    number: int
    across: float
    along: float


@dataclass(frozen=True, eq=False)
class Compression:
    """The basis of rotated templates under one mask with equally many rotations. Serves as `Images`.

    Attributes
    ----------
    group : int
        The mask.
    images : (rank + 2, h, w) float32
        The basis, of norm 1 under the weights; then two that give the local mean and mean square under these.
    rank : int
    mixing : list of (first channel, channels x sections, first image, matrix)
        From the basis to the harmonics of each section; empty where nothing turns, and the channels are the basis.
    channels : int
        Of each section: cosine and sine of each harmonic, the even ones first.
    even : (n or n / 2, ce) float32
        From the even harmonics to the angles (of the first half of the circle).
    odd : (n / 2, co) float32, optional
        The same of the odd ones, which count negative in the second half; None where all are in `even`.
    sections : tuple of Section
    overlap : float
        Largest eigenvalue of the products of the basis with itself: 1 where it is orthogonal.
    """

    group: int
    images: Floats
    rank: int
    mixing: Mixing
    channels: int
    even: Floats
    odd: Floats | None
    sections: tuple[Section, ...]
    overlap: float
    _made: dict[tuple[int, int], tuple[NDArray[np.int32], Floats]] = field(default_factory=dict)

    def harmonics(self, values: Floats) -> Floats:
        """Return the harmonics of every section (channels, sections, m) from the basis' values (rank, m)."""
        if not self.mixing:
            return values[:, None]
        n_sections, width = len(self.sections), values.shape[1]
        found = np.empty((self.channels, n_sections, width), np.float32)
        for channel, rows, first, matrix in self.mixing:
            out = found[channel : channel + rows // n_sections].reshape(rows, width)
            np.matmul(matrix, values[first : first + matrix.shape[1]], out=out)
        return found

    def blocks(self, channels: Floats) -> Floats:
        """Return a section's scores from those of its harmonics (channels, m), in blocks: (blocks, angles of each, m).

        The last angles may be repeated.
        """
        even, odd = self._padded
        found = angles_of(channels, even, odd)
        blocks: Floats = found.reshape(-1, BLOCK, channels.shape[1])
        return blocks

    @functools.cached_property
    def _padded(self) -> tuple[Floats, Floats | None]:
        """Both matrices with the last row repeated, so that blocks are full."""
        rows = self._rows(len(self.even))
        return self.even[rows], None if self.odd is None else self.odd[rows]

    @staticmethod
    def _rows(n: int) -> NDArray[np.intp]:
        return np.minimum(np.arange(-(-n // BLOCK) * BLOCK), n - 1)

    def search_images(self, bank: Bank, section: Section, block: int) -> tuple[NDArray[np.int32], Floats]:
        """Return the numbers of a block's rotated templates (BLOCK,), ascending, and their pixels (BLOCK, pixels)."""
        key = section.number, block
        if key not in self._made:
            rows = self._rows(len(self.even))
            if self.odd is not None:
                rows = np.concatenate([rows, rows + len(self.even)])
            ks = section.ks[rows[block * BLOCK : (block + 1) * BLOCK]]
            pixels = np.stack([bank.template(int(k)).ravel() for k in ks])
            if len(self._made) * pixels.nbytes > KEPT_BYTES:
                return ks, pixels
            self._made[key] = ks, pixels
        return self._made[key]

    def template(self, k: int) -> Floats:
        """Return an image, (h, w) float32; see device.base.Images."""
        image: Floats = self.images[k]
        return image

    @functools.cached_property
    def smallest(self) -> int:
        """The smallest number of its rotated templates."""
        return min(int(section.ks[0]) for section in self.sections)


@dataclass(frozen=True, eq=False)
class Harmonics:
    """Rotated templates under one mask with equally many rotations, transformed along psi.

    Attributes
    ----------
    group : int
    ks : (sections, rotations) int32
    root : (pixels,) float64
        Roots of the weights.
    images : (sections, rotations, pixels) float32
        The rotated templates over these roots: each has norm 1.
    waves : (harmonics, sections, pixels) complex64
        Their transforms.
    values : list of (sections,) float64
        Of each harmonic, ascending: what each basis image takes from the sum of squares of the rotated templates.
    vectors : list of (sections, sections) complex128
        How the basis images are made of the sections' harmonics.
    """

    group: int
    ks: NDArray[np.int32]
    root: NDArray[np.float64]
    images: Floats
    waves: NDArray[np.complex64]
    values: list[NDArray[np.float64]]
    vectors: list[NDArray[np.complex128]]

    @property
    def rotations(self) -> int:
        """How many there are of each section."""
        return int(self.ks.shape[1])

    def counts(self, residual: float) -> dict[int, int]:
        """Return how many basis images of each harmonic leave a root mean square of at most `residual`."""
        n = self.rotations
        strengths = [(float(v), m, i) for m, values in enumerate(self.values) for i, v in enumerate(values)]
        strengths.sort(key=lambda one: (-one[0], one[1], -one[2]))
        left = sum((1 if _single(m, n) else 2) * v for v, m, _ in strengths)
        counts: dict[int, int] = {}
        for value, m, _ in strengths:
            if left <= residual * residual * len(self.ks) and counts:
                break
            counts[m] = counts.get(m, 0) + 1
            left -= (1 if _single(m, n) else 2) * value
        return counts

    def size(self, counts: dict[int, int]) -> tuple[int, int]:
        """Return the number of real images that these are, and of cosines and sines of each section."""
        each = {m: 1 if _single(m, self.rotations) else 2 for m in counts}
        return sum(each[m] * count for m, count in counts.items()), sum(each.values())


def harmonics_of(
    bank: Bank, group: int, ks: NDArray[np.int32], threads: int, check: Callable[[], None] = lambda: None
) -> Harmonics:
    """Transform rotated templates (sections, rotations) under one mask along psi; templates are made by some threads.

    `check` is called often; what it raises ends the work.
    """
    mask = np.abs(bank.mask(group).astype(np.float64))
    weights = np.maximum(mask, LEAST_WEIGHT * mask.max()).ravel() / bank.groups[group].area
    root = np.sqrt(weights)
    images = np.empty((ks.size, weights.size), np.float32)
    divisor = root.astype(np.float32)

    def make(some: range) -> None:
        check()
        for i in some:
            np.divide(bank.template(int(ks.flat[i])).ravel(), divisor, out=images[i])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(make, [range(first, min(first + 16, ks.size)) for first in range(0, ks.size, 16)]))
    images = images.reshape(*ks.shape, -1)
    waves = scipy.fft.rfft(images, axis=1, norm="forward").transpose(1, 0, 2)
    values, vectors = [], []
    for m, wave in enumerate(waves):
        check()
        some = wave.real if _single(m, ks.shape[1]) else wave
        found = np.linalg.eigh((some @ some.conj().T).astype(np.complex128))
        values.append(np.maximum(found[0], 0))
        vectors.append(found[1])
    return Harmonics(group, ks, root, images, waves, values, vectors)


def by_rotations(bank: Bank, ks: Sequence[int]) -> list[NDArray[np.int32]]:
    """Return rotated templates as (sections, rotations), one array for each number of rotations."""
    numbers = np.asarray(ks, np.int32)
    section = numbers // bank.index.n_rotations
    by_count: dict[int, list[NDArray[np.int32]]] = {}
    for one in np.unique(section):
        mine = numbers[section == one]
        by_count.setdefault(len(mine), []).append(mine)
    return [np.stack(some) for some in by_count.values()]


def compress(
    bank: Bank, found: Harmonics, counts: dict[int, int], check: Callable[[], None] = lambda: None
) -> Compression:
    """Return the compression with this number of basis images of each harmonic; `check` as in `harmonics_of`."""
    n_sections, n = found.ks.shape
    kept = {}
    for m, count in counts.items():
        check()
        left, images = found.vectors[m][:, ::-1][:, :count], found.waves[m]
        vectors = left.conj().T.astype(np.complex64) @ images
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
        kept[m] = vectors, images @ vectors.conj().T
    basis: list[NDArray[np.float32]] = []
    mixing, waves, first, channel, evens = [], [], 0, 0, 0
    ks, stack, halves = found.ks, found.images, n % 2 == 0
    turns = 2 * np.pi * np.arange(n // 2 if halves else n) / n
    if n == 1:  # nothing turns: one product, of all sections as if they were the angles of one
        vectors, parts = kept.pop(0)
        basis, evens, channel, waves = [*vectors.real], len(vectors), len(vectors), [*parts.real.T]
        ks, stack = ks.T, stack.reshape(1, n_sections, -1)
    for m in sorted(kept, key=lambda m: (halves and m % 2, m)):
        vectors, parts = kept[m]
        if _single(m, n):
            matrix, basis = parts.real, [*basis, *vectors.real]
            waves.append(np.cos(m * turns))
        else:
            basis += [*(math.sqrt(2) * vectors.real), *(math.sqrt(2) * vectors.imag)]
            a, b = math.sqrt(2) * parts.real, math.sqrt(2) * parts.imag
            matrix = np.concatenate([np.hstack([a, -b]), -np.hstack([b, a])])
            waves += [np.cos(m * turns), np.sin(m * turns)]
        count = 1 if _single(m, n) else 2
        mixing.append((channel, count * n_sections, first, np.ascontiguousarray(matrix, np.float32)))
        first, channel = first + matrix.shape[1], channel + count
        evens += 0 if halves and m % 2 else count
    angles = np.stack(waves, axis=1)
    even = np.ascontiguousarray(angles[:, :evens], np.float32)
    odd = np.ascontiguousarray(angles[:, evens:], np.float32) if halves else None
    images = np.stack(basis).astype(np.float64)
    norms = _norms(stack, images, mixing, even, odd, check)
    sections = tuple(Section(ks[i], i, across, along) for i, (across, along) in enumerate(norms))
    largest = float(np.linalg.eigvalsh(images @ images.T)[-1]) * (1 + 1e-6)
    weights = found.root**2
    means = np.stack([weights / math.sqrt(weights.sum()), weights])
    whole = np.concatenate([images * found.root, means]).astype(np.float32).reshape(-1, *bank.extent.box)
    return Compression(found.group, whole, len(images), mixing, channel, even, odd, sections, max(1.0, largest))


def _single(m: int, n: int) -> bool:
    """Return whether a harmonic of n angles is real."""
    return m == 0 or 2 * m == n


def _norms(
    stack: Floats,
    images: NDArray[np.float64],
    mixing: Mixing,
    even: Floats,
    odd: Floats | None,
    check: Callable[[], None],
) -> list[tuple[float, float]]:
    """Return each section's largest errors of its images, across the span of the basis and along it."""
    n_sections, pixels = len(stack), images.shape[1]
    span = np.linalg.qr(images.T)[0]
    count = even.shape[1] + (0 if odd is None else odd.shape[1])
    channels = np.empty((count, n_sections, pixels)) if mixing else images[:, None].copy()
    for channel, rows, first, matrix in mixing:
        part = matrix.astype(np.float64) @ images[first : first + matrix.shape[1]]
        channels[channel : channel + rows // n_sections] = part.reshape(-1, n_sections, pixels)
    norms = []
    for number, wanted in enumerate(stack):
        check()
        rest = wanted - angles_of(channels[:, number], even, odd)
        along = np.square(rest @ span).sum(axis=1)
        across = np.maximum(np.square(rest).sum(axis=1) - along, 0)
        norms.append((math.sqrt(float(across.max())), math.sqrt(float(along.max()))))
    return norms


def angles_of(channels: NDArray[Any], even: Floats, odd: Floats | None) -> NDArray[Any]:
    """Return the values at all angles of a section (n, m) from those of its harmonics (channels, m)."""
    first: NDArray[Any] = even @ channels[: even.shape[1]]
    if odd is None:
        return first
    second = odd @ channels[even.shape[1] :]
    return np.concatenate([first + second, first - second])
