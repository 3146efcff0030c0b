"""A micrograph made ready for the search: offset and scale, filters, Fourier crop.

On a cropped grid the local squares are checked: what the Fourier crop leaves out of them is measured under real masks.
A squared image has twice the band of the image. A cropped grid holds the lower half of it, which is enough where the
mask has no more: its soft edge takes care of that, to a small share of the squares. Beside something very bright that
share is large compared with the noise: the local variance comes out wrong, even negative, and so do the scores.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
from scipy import ndimage

from napari_gempick.engine.preprocess.fourier_filters import (
    RINGING,
    crop_spectrum,
    cropped_transform,
    enlarge_spectrum,
    frequencies,
    pad_smoothly,
)
from napari_gempick.engine.preprocess.fourier_filters import transfer as radial
from napari_gempick.engine.preprocess.grey_levels import Standard, row_blocks, sampled
from napari_gempick.engine.tiles import FLOOR, ROUNDING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.engine.preprocess.fourier_filters import Transfer
    from napari_gempick.engine.templates.bank import Bank
    from napari_gempick.model.geometry import Grid

    Spectrum = NDArray[np.complexfloating[Any, Any]]

MIN_MARGIN = 96


@dataclass(frozen=True, eq=False)
class Prepared:
    """A micrograph on the searched grid.

    Attributes
    ----------
    image : (my + 2 margin, mx + 2 margin) float32
        Zero mean, unit standard deviation before filtering; the NCC does not depend on either.
    grid : Grid
        Where its pixels lie on the micrograph.
    square_correction : float32 of the image's shape, optional
        On a cropped grid: to be added to the squared image, so that sums of squares are the finest grid's.
    margin : int
        Pixels around the micrograph: on a cropped grid masks ring a little beyond their support.
    squares : Squares, optional
        On a cropped grid: tells whether the local variances are right.
    """

    image: NDArray[np.float32]
    grid: Grid
    square_correction: NDArray[np.float32] | None = None
    margin: int = 0
    squares: Squares | None = None


def _padded_length(n: int, multiple: int, margin: int) -> int:
    """Return a fast length that is a multiple of `multiple` (at most 24: fast enough) and holds n + margin."""
    return multiple * int(scipy.fft.next_fast_len(math.ceil((n + margin) / multiple), real=True))


@functools.lru_cache(maxsize=1)
def _radial(
    shape: tuple[int, int], pixel_size: float, lowpass: float | None, highpass: float | None
) -> NDArray[np.float32]:
    """Return the amplitudes of both filters on a half-spectrum: micrographs of one size share them."""
    return radial(frequencies(shape, pixel_size), lowpass, highpass)


def prepare(
    micrograph: NDArray[np.float32],
    grid: Grid,
    lowpass: float | None = None,
    highpass: float | None = None,
    transfer: Transfer | None = None,
) -> Prepared:
    """Normalise, filter and Fourier-crop a micrograph.

    Its edges are continued by mirror images (`fourier_filters.pad_smoothly`), to twice the high-pass and twelve times
    the low-pass at least. A slope would have kinks there, which a high-pass turns into bands along the edges: so it is
    preceded by `remove_gradient`, order 2, which takes away nothing but what the high-pass does.

    Parameters
    ----------
    micrograph : (ny, nx) float32
        Finite, not constant, without outliers beyond 1e3 standard deviations (engine.preprocess.defects).
    grid : Grid
        The searched grid. A ratio above 1 crops the spectrum: exact for everything below the new Nyquist frequency.
    lowpass, highpass : float, optional
        Å; see fourier_filters.transfer.
    transfer : Transfer, optional
        A further filter.

    Returns
    -------
    Prepared
        With no filter and ratio 1, the normalised pixels themselves.
    """
    ratio = grid.ratio
    image, standard = micrograph, None
    if ratio > 1 and highpass is None:
        few = sampled(image)  # scores do not depend on it
        standard = Standard.of(few if few.min() < few.max() else image)
    else:
        image = Standard.of(image).applied(image)
    if highpass is not None:
        image = remove_gradient(image, 2)
    if lowpass is None and highpass is None and transfer is None and ratio == 1:
        return Prepared(image, grid)
    margin = max(MIN_MARGIN, math.ceil(max(12 * (lowpass or 0), 2 * (highpass or 0)) / grid.pixel_size))
    if transfer is not None:
        margin += math.ceil(transfer.reach(lowpass or 2 * grid.map_pixel_size) / grid.pixel_size)
    ny, nx = (_padded_length(n, ratio.numerator, margin) for n in image.shape)
    my, mx = (int(n / ratio) for n in (ny, nx))
    if ratio == 1:
        spectrum = scipy.fft.rfft2(pad_smoothly(image, (ny, nx)), overwrite_x=True)
    else:
        spectrum = cropped_transform(image, (ny, nx), (my, mx), standard)
    del image
    spectrum *= _radial((my, mx), grid.map_pixel_size, lowpass, highpass)
    if transfer is not None:
        spectrum *= transfer((my, mx), grid.map_pixel_size)
    spectrum *= np.float32(my * mx / (ny * nx))
    squares = None if ratio == 1 else Squares.of(spectrum, (my, mx))
    filtered = scipy.fft.irfft2(spectrum, s=(my, mx))
    correction = None if squares is None else squares.correction()
    margin = 0 if ratio == 1 else RINGING
    window = np.ix_(*(np.arange(-margin, n + margin) % full for n, full in zip(grid.shape, (my, mx), strict=True)))
    return Prepared(filtered[window], grid, None if correction is None else correction[window], margin, squares)


def remove_hot_pixels(image: NDArray[np.float32], limit: float) -> tuple[NDArray[np.float32], int]:
    """Replace pixels that stand out from their neighbours by the neighbours' median; return how many they were.

    Parameters
    ----------
    image : (y, x) float32
    limit : float
        Largest difference from the median of the 5 x 5 neighbours, in robust standard deviations (1.4826 times the
        median absolute deviation) of that difference over the micrograph.
    """
    middle = ndimage.median_filter(image, 5, mode="reflect")
    difference = np.abs(image - middle)
    sigma = 1.4826 * float(np.median(difference))
    hot = difference > limit * sigma if sigma > 0 else np.zeros(image.shape, bool)
    return np.where(hot, middle, image), int(hot.sum())


def remove_gradient(image: NDArray[np.float32], order: int) -> NDArray[np.float32]:
    """Subtract the plane (order 1) or the paraboloid (order 2) that fits a micrograph best by least squares.

    It is fitted to means over blocks of about a 64th of the side, and its mean stays: only the slope goes.
    """
    size = max(1, min(image.shape) // 64)
    rows, columns = (n // size for n in image.shape)
    blocks = image[: rows * size, : columns * size].reshape(rows, size, columns, size).mean(axis=(1, 3), dtype=float)
    centres = [(np.arange(count) * size + (size - 1) / 2) for count in (rows, columns)]
    powers = [(i, j) for i in range(order + 1) for j in range(order + 1 - i) if i + j > 0]

    def of(at: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """Return the powers 0 to `order` of places along a side, from -1 to 1, (order + 1, len(at))."""
        found: NDArray[np.float64] = (2 * at / n - 1) ** np.arange(order + 1)[:, None]
        return found

    v, u = (of(at, n) for at, n in zip(centres, image.shape, strict=True))
    basis = np.array([np.outer(v[i], u[j]).ravel() for i, j in powers]).T
    basis -= basis.mean(axis=0)
    weights = np.linalg.lstsq(basis, blocks.ravel() - blocks.mean(), rcond=None)[0]
    v, u = (of(np.arange(n, dtype=float), n) for n in image.shape)
    for_each_row = np.zeros((order + 1, image.shape[0]))
    for weight, (i, j) in zip(weights, powers, strict=True):
        for_each_row[j] += weight * v[i]
        for_each_row[0] -= weight * v[i].mean() * u[j].mean()
    out = np.empty_like(image)
    for rows in row_blocks(*image.shape):
        slope = sum(row[rows, None] * power for row, power in zip(for_each_row, u, strict=True))
        np.subtract(image[rows], slope, out=out[rows], casting="same_kind")
    return out


MOST = 0.02
"""Share of a score by which a cropped grid may be off."""


@dataclass(frozen=True, eq=False)
class Squares:
    """The squares of an image on a cropped grid, with the half of their band that the grid cannot hold.

    Attributes
    ----------
    shape : (my, mx)
        Of the grid, with its padding.
    image : (my, mx // 2 + 1) complex64
        Half-spectrum of the image.
    squares : (2 my, mx + 1) complex64
        Half-spectrum of the squared image on a grid twice as fine.
    plain : (my, mx) float32
        The squared pixels of the image.
    """

    shape: tuple[int, int]
    image: Spectrum
    squares: Spectrum
    plain: NDArray[np.float32]

    @classmethod
    def of(cls, spectrum: Spectrum, shape: tuple[int, int]) -> Squares:
        """Square the image (my, mx) that has this half-spectrum."""
        my, mx = shape
        fine = scipy.fft.irfft2(enlarge_spectrum(spectrum, shape), s=(2 * my, 2 * mx), overwrite_x=True)
        fine *= 4
        plain = np.square(fine[::2, ::2])
        return cls(shape, spectrum, scipy.fft.rfft2(np.square(fine, out=fine), overwrite_x=True), plain)

    def correction(self) -> NDArray[np.float32]:
        """Return the squared image freed of what folds over on its grid, minus the plain square, (my, mx) float32.

        So sums of squares under a mask without high frequencies are those of the finest grid.
        """
        square: NDArray[np.float32] = scipy.fft.irfft2(self._low, s=self.shape)
        square *= np.float32(0.25)
        square -= self.plain
        return square

    @functools.cached_property
    def _low(self) -> Spectrum:
        return crop_spectrum(self.squares, 2 * self.shape[0], self.shape)

    def error(self, bank: Bank, grid: Grid) -> float:
        """Return the largest share of a score by which the cropped squares may make it wrong, infinite without bound.

        Looked at are the smallest and the largest mask of the bank, at the first angle.
        """
        first = {int(bank.group_of[k]) for k in range(0, len(bank.index), bank.index.n_rotations)}
        by_area = sorted(first, key=lambda group: bank.groups[group].area)
        return max(self._error(bank, group, grid) for group in {by_area[0], by_area[-1]})

    def _error(self, bank: Bank, group: int, grid: Grid) -> float:
        my, mx = self.shape
        inside = grid.scored(bank.groups[group].extent)
        if min(span.stop - span.start for span in inside) < 1:
            return 0.0
        if any(side > n for side, n in zip(bank.extent.box, self.shape, strict=True)):
            return math.inf
        conjugate = bank.twice_as_fine(group, self.shape)
        low = crop_spectrum(conjugate, 2 * my, (my, mx))
        mean = np.square(scipy.fft.irfft2(self.image * low, s=(my, mx))[inside])
        seen = scipy.fft.irfft2(self._low * low, s=(my, mx))[inside] / 4 - mean
        right = scipy.fft.irfft2(_folded(conjugate * self.squares, (my, mx)), s=(my, mx))[inside] - mean
        rounding = ROUNDING * float(np.linalg.norm(self.squares)) / (4 * my * mx)
        share = float(((np.abs(seen - right) + rounding) / np.maximum(right, FLOOR * FLOOR)).max())
        return share / 2 if share < 1 else math.inf


def _folded(spectrum: Spectrum, shape: tuple[int, int]) -> Spectrum:
    """Return the half-spectrum of every other pixel (my, mx) of the image (2 my, 2 mx) with this half-spectrum."""
    my, mx = shape
    rows = spectrum[:my] + spectrum[my:]
    columns = np.arange(mx // 2 + 1)
    mirrored = rows[-np.arange(my) % my][:, mx - columns]
    folded: Spectrum = (rows[:, columns] + np.conjugate(mirrored)) / 4
    return folded
