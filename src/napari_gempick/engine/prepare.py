"""A micrograph made ready for the search: outliers, offset and scale, filters, Fourier crop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from napari_gempick.engine.filters import RINGING, crop_spectrum, enlarge_spectrum, frequencies
from napari_gempick.engine.filters import transfer as radial

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.engine.filters import Transfer
    from napari_gempick.model.geometry import Grid

OUTLIER_SIGMA = 1e3
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
    outliers_replaced : int
        Pixels beyond 1e3 robust standard deviations, replaced by the median of their neighbours.
    square_correction : float32 of the image's shape, optional
        On a cropped grid: to be added to the squared image, so that sums of squares are the finest grid's.
    margin : int
        Pixels around the micrograph: on a cropped grid masks ring a little beyond their support.
    """

    image: NDArray[np.float32]
    grid: Grid
    outliers_replaced: int
    square_correction: NDArray[np.float32] | None = None
    margin: int = 0


def normalise(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Return the image with zero mean and unit standard deviation, and how many outliers were replaced.

    Offsets are removed in double precision, so that grey levels of 1e5 on unit noise lose nothing. Outliers are pixels
    further than 1e3 robust standard deviations (1.4826 times the median absolute deviation) from the median.
    """
    centre = float(np.median(image))
    flat = image - np.float32(centre) if abs(centre) < 2**24 else (image.astype(np.float64) - centre).astype(np.float32)
    sigma = 1.4826 * float(np.median(np.abs(flat)))
    replaced = 0
    if sigma > 0:
        far = np.abs(flat) > OUTLIER_SIGMA * sigma
        replaced = int(far.sum())
        if replaced:
            neighbours = flat.copy()
            neighbours[far] = 0
            rows, columns = np.nonzero(far)
            for y, x in zip(rows, columns, strict=True):
                window = (slice(max(0, y - 2), y + 3), slice(max(0, x - 2), x + 3))
                good = flat[window][~far[window]]
                neighbours[y, x] = np.median(good) if good.size else 0
            flat = neighbours
    wide = flat.astype(np.float64)
    wide -= wide.mean()
    wide /= wide.std()
    return wide.astype(np.float32), replaced


def _padded_length(n: int, multiple: int, margin: int) -> int:
    """Return a fast length that is a multiple of `multiple` (at most 24: fast enough) and holds n + margin."""
    return multiple * int(scipy.fft.next_fast_len(math.ceil((n + margin) / multiple), real=True))


def pad_smoothly(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the (y, x) image at the origin of a larger array that is continuous across the periodic edges.

    A third of the new rows is the mirror image of the end and a third that of the beginning, so that what a filter
    finds near an edge does not depend on how many there are; one fades into the other between. Columns likewise.
    """
    for axis in (0, 1):
        n = image.shape[axis]
        extra = shape[axis] - n
        if extra == 0:
            continue
        mirrored = np.pad(image, [(extra, extra) if a == axis else (0, 0) for a in (0, 1)], mode="symmetric")
        before = np.take(mirrored, range(extra), axis=axis)
        after = np.take(mirrored, range(n + extra, n + 2 * extra), axis=axis)
        place = np.clip(3 * (np.arange(extra) + 1) / (extra + 1) - 1, 0, 1)
        weight = 0.5 * (1 - np.cos(np.pi * place))
        weight = weight.astype(image.dtype).reshape((-1, 1) if axis == 0 else (1, -1))
        image = np.concatenate([image, after * (1 - weight) + before * weight], axis=axis)
    return image


def prepare(
    micrograph: NDArray[np.float32],
    grid: Grid,
    lowpass: float | None = None,
    highpass: float | None = None,
    transfer: Transfer | None = None,
) -> Prepared:
    """Normalise, filter and Fourier-crop a micrograph.

    Parameters
    ----------
    micrograph : (ny, nx) float32
        Finite, not constant.
    grid : Grid
        The searched grid. A ratio above 1 crops the spectrum: exact for everything below the new Nyquist frequency.
    lowpass, highpass : float, optional
        Å; see filters.transfer.
    transfer : Transfer, optional
        A further filter.

    Returns
    -------
    Prepared
        With no filter and ratio 1, the normalised pixels themselves.
    """
    image, replaced = normalise(micrograph)
    ratio = grid.ratio
    if lowpass is None and highpass is None and transfer is None and ratio == 1:
        return Prepared(image, grid, replaced)
    margin = max(MIN_MARGIN, math.ceil(max(12 * (lowpass or 0), 2 * (highpass or 0)) / grid.pixel_size))
    if transfer is not None:
        margin += math.ceil(transfer.reach(lowpass or 2 * grid.map_pixel_size) / grid.pixel_size)
    ny, nx = (_padded_length(n, ratio.numerator, margin) for n in image.shape)
    my, mx = (int(n / ratio) for n in (ny, nx))
    spectrum = scipy.fft.rfft2(pad_smoothly(image, (ny, nx)), overwrite_x=True)
    if ratio != 1:
        spectrum = crop_spectrum(spectrum, ny, (my, mx))
    spectrum *= radial(frequencies((my, mx), grid.map_pixel_size), lowpass, highpass)
    if transfer is not None:
        spectrum *= transfer((my, mx), grid.map_pixel_size)
    spectrum *= np.float32(my * mx / (ny * nx))
    correction = None if ratio == 1 else _aliased_square(spectrum, (my, mx))
    filtered = scipy.fft.irfft2(spectrum, s=(my, mx), overwrite_x=True)
    margin = 0 if ratio == 1 else RINGING
    window = np.ix_(*(np.arange(-margin, n + margin) % full for n, full in zip(grid.shape, (my, mx), strict=True)))
    return Prepared(filtered[window], grid, replaced, None if correction is None else correction[window], margin)


def _aliased_square(spectrum: NDArray[np.complex64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return (my, mx): the squared image freed of what folds over on its grid, minus the plain square.

    A square has twice the image's band. It is taken on a grid twice as fine, where it fits, and cropped; so sums of
    squares under a mask without high frequencies are those of the finest grid.
    """
    my, mx = shape
    fine = scipy.fft.irfft2(enlarge_spectrum(spectrum, shape), s=(2 * my, 2 * mx), overwrite_x=True)
    fine *= 4
    plain = np.square(fine[::2, ::2])
    squares = scipy.fft.rfft2(np.square(fine, out=fine), overwrite_x=True)
    square: NDArray[np.float32] = scipy.fft.irfft2(crop_spectrum(squares, 2 * my, shape), s=shape, overwrite_x=True)
    square *= np.float32(0.25)
    square -= plain
    return square
