"""A micrograph made ready for the search: outliers, offset and scale, filters, Fourier crop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from napari_gempick.engine.filters import frequencies, transfer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.model.geometry import Grid

OUTLIER_SIGMA = 1e3
MIN_MARGIN = 64


@dataclass(frozen=True, eq=False)
class Prepared:
    """A micrograph on the searched grid.

    Attributes
    ----------
    image : (my, mx) float32
        Zero mean, unit standard deviation before filtering; the NCC does not depend on either.
    grid : Grid
        Where its pixels lie on the micrograph.
    outliers_replaced : int
        Pixels beyond 1e3 robust standard deviations, replaced by the median of their neighbours.
    """

    image: NDArray[np.float32]
    grid: Grid
    outliers_replaced: int


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
    """Return the smallest fast length that is a multiple of `multiple` and holds n + margin pixels."""
    count = math.ceil((n + margin) / multiple)
    while scipy.fft.next_fast_len(count * multiple, real=True) != count * multiple:
        count += 1
    return count * multiple


def pad_smoothly(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the (y, x) image at the origin of a larger array that is continuous across the periodic edges.

    The new rows fade from the mirror image of the end to the mirror image of the beginning; columns likewise.
    """
    for axis in (0, 1):
        n = image.shape[axis]
        extra = shape[axis] - n
        if extra == 0:
            continue
        mirrored = np.pad(image, [(extra, extra) if a == axis else (0, 0) for a in (0, 1)], mode="symmetric")
        before = np.take(mirrored, range(extra), axis=axis)
        after = np.take(mirrored, range(n + extra, n + 2 * extra), axis=axis)
        weight = 0.5 * (1 - np.cos(np.pi * (np.arange(extra) + 1) / (extra + 1)))
        weight = weight.astype(image.dtype).reshape((-1, 1) if axis == 0 else (1, -1))
        image = np.concatenate([image, after * (1 - weight) + before * weight], axis=axis)
    return image


def prepare(
    micrograph: NDArray[np.float32], grid: Grid, lowpass: float | None = None, highpass: float | None = None
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

    Returns
    -------
    Prepared
        With no filter and ratio 1, the normalised pixels themselves.
    """
    image, replaced = normalise(micrograph)
    ratio = grid.ratio
    if lowpass is None and highpass is None and ratio == 1:
        return Prepared(image, grid, replaced)
    margin = max(MIN_MARGIN, math.ceil(2 * (highpass or 0) / grid.pixel_size))
    ny, nx = (_padded_length(n, ratio.numerator, margin) for n in image.shape)
    my, mx = (int(n / ratio) for n in (ny, nx))
    spectrum = scipy.fft.rfft2(pad_smoothly(image, (ny, nx)), overwrite_x=True)
    half = my // 2
    keep_x = mx // 2 + 1
    if ratio != 1:
        cropped = np.empty((my, keep_x), spectrum.dtype)
        cropped[: my - half] = spectrum[: my - half, :keep_x]
        cropped[my - half :] = spectrum[ny - half :, :keep_x]
        spectrum = cropped
    spectrum *= transfer(frequencies((my, mx), grid.map_pixel_size), lowpass, highpass)
    if ratio != 1:  # what lies exactly at the new Nyquist frequency cannot be told apart from its mirror: drop it
        if my % 2 == 0:
            spectrum[my // 2] = 0
        if mx % 2 == 0:
            spectrum[:, mx // 2] = 0
    filtered = scipy.fft.irfft2(spectrum, s=(my, mx), overwrite_x=True)
    filtered *= np.float32(my * mx / (ny * nx))
    height, width = grid.shape
    return Prepared(np.ascontiguousarray(filtered[:height, :width]), grid, replaced)
