"""A micrograph made ready for the search: outliers, offset and scale, filters, Fourier crop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from napari_gempick.engine.clean import remove_gradient
from napari_gempick.engine.defects import OUTLIER_SIGMA, replace_defects
from napari_gempick.engine.filters import RINGING, crop_spectrum, frequencies, pad_smoothly
from napari_gempick.engine.filters import transfer as radial
from napari_gempick.engine.squares import Squares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.engine.filters import Transfer
    from napari_gempick.model.geometry import Grid

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
        Pixels of defects beyond 1e3 robust standard deviations that were left until here.
    square_correction : float32 of the image's shape, optional
        On a cropped grid: to be added to the squared image, so that sums of squares are the finest grid's.
    margin : int
        Pixels around the micrograph: on a cropped grid masks ring a little beyond their support.
    squares : Squares, optional
        On a cropped grid: tells whether the local variances are right.
    """

    image: NDArray[np.float32]
    grid: Grid
    outliers_replaced: int
    square_correction: NDArray[np.float32] | None = None
    margin: int = 0
    squares: Squares | None = None


def normalise(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Return the image with zero mean and unit standard deviation, and how many outliers were replaced.

    Offsets are removed in double precision, so that grey levels of 1e5 on unit noise lose nothing. Outliers are defects
    (see engine.defects) further than 1e3 robust standard deviations from the median.
    """
    centre = float(np.median(image))
    flat = image - np.float32(centre) if abs(centre) < 2**24 else (image.astype(np.float64) - centre).astype(np.float32)
    sigma = 1.4826 * float(np.median(np.abs(flat)))
    far = None
    if sigma > 0 and np.abs(flat).max() > OUTLIER_SIGMA * sigma:
        flat, far = replace_defects(flat, OUTLIER_SIGMA)
    replaced = 0 if far is None else int(np.count_nonzero(far.where))
    wide = flat.astype(np.float64)
    wide -= wide.mean()
    wide /= wide.std()
    return wide.astype(np.float32), replaced


def _padded_length(n: int, multiple: int, margin: int) -> int:
    """Return a fast length that is a multiple of `multiple` (at most 24: fast enough) and holds n + margin."""
    return multiple * int(scipy.fft.next_fast_len(math.ceil((n + margin) / multiple), real=True))


def prepare(
    micrograph: NDArray[np.float32],
    grid: Grid,
    lowpass: float | None = None,
    highpass: float | None = None,
    transfer: Transfer | None = None,
) -> Prepared:
    """Normalise, filter and Fourier-crop a micrograph.

    Its edges are continued by mirror images (`filters.pad_smoothly`), to twice the high-pass and twelve times the
    low-pass at least. A slope would have kinks there, which a high-pass turns into bands along the edges: so it is
    preceded by `clean.remove_gradient`, order 2, which takes away nothing but what the high-pass does.

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
    if highpass is not None:
        image = remove_gradient(image, 2)
    spectrum = scipy.fft.rfft2(pad_smoothly(image, (ny, nx)), overwrite_x=True)
    if ratio != 1:
        spectrum = crop_spectrum(spectrum, ny, (my, mx))
    spectrum *= radial(frequencies((my, mx), grid.map_pixel_size), lowpass, highpass)
    if transfer is not None:
        spectrum *= transfer((my, mx), grid.map_pixel_size)
    spectrum *= np.float32(my * mx / (ny * nx))
    squares = None if ratio == 1 else Squares.of(spectrum, (my, mx))
    filtered = scipy.fft.irfft2(spectrum, s=(my, mx))
    correction = None if squares is None else squares.correction()
    margin = 0 if ratio == 1 else RINGING
    window = np.ix_(*(np.arange(-margin, n + margin) % full for n, full in zip(grid.shape, (my, mx), strict=True)))
    return Prepared(
        filtered[window], grid, replaced, None if correction is None else correction[window], margin, squares
    )
