"""Templates as continuous images: filtered and oversampled in Fourier space, then sampled at any angle and spacing.

Rotation and change of pixel size are one step, about the template's centre pixel n // 2: a cubic spline (scipy.ndimage,
order 3) through the twofold Fourier-oversampled template. The oversampling keeps the spline accurate up to the
template's own Nyquist frequency, and the common centre leaves no shift for odd, even or non-integer ratios.

Simple templates: Gaussian blob, disc, ring, rectangle.
"""

from __future__ import annotations

import math
import re
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
from scipy.ndimage import spline_filter

from napari_gempick.device.base import HOST
from napari_gempick.engine.preprocess.fourier_filters import frequencies, transfer
from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.device.base import Arrays
    from napari_gempick.model.geometry import Extent

OVERSAMPLING = 2


def rotation_matrix(psi: float) -> NDArray[np.float64]:
    """Return the (2, 2) matrix, acting on (y, x), that takes a position on the rotated image to the unrotated one.

    psi in degrees, counter-clockwise as seen on screen (row 0 on top).
    """
    quarter, rest = divmod(psi, 90.0)
    cosine, sine = math.cos(math.radians(rest)), math.sin(math.radians(rest))
    for _ in range(int(quarter) % 4):
        cosine, sine = -sine, cosine
    return np.array([[cosine, sine], [-sine, cosine]])


class ContinuousImage:
    """A template that can be sampled anywhere.

    Parameters
    ----------
    image : (h, w) float32
        The template; its centre is pixel (h // 2, w // 2).
    pixel_size : float
        Å.
    lowpass, highpass : float, optional
        Å; the filters of the micrograph, applied before masking.
    finest : float
        Å; the spacing that it will be sampled at. Frequencies beyond that grid's Nyquist frequency are removed.
    surrounded : bool
        Beyond its edge the image fades into the mean of its rim; otherwise nothing is known there.
    """

    def __init__(
        self,
        image: NDArray[np.float32],
        pixel_size: float,
        *,
        lowpass: float | None = None,
        highpass: float | None = None,
        finest: float | None = None,
        surrounded: bool = False,
    ) -> None:
        self.shape = image.shape
        self.pixel_size = pixel_size
        self._image = np.ascontiguousarray(image, dtype=np.float32)
        too_fine = finest is not None and finest > pixel_size * (1 + 1e-6)
        self._filtered = lowpass is not None or highpass is not None or too_fine or surrounded
        self._surrounded, self._beyond = surrounded, 0.0
        self._filter = (lowpass, highpass, finest if too_fine else None)
        self._coefficients: NDArray[np.float64] | None = None
        self._copies: weakref.WeakKeyDictionary[Arrays, Any] = weakref.WeakKeyDictionary()

    def _oversampled(self) -> tuple[NDArray[np.float64], tuple[int, int]]:
        """Return spline coefficients on the oversampled grid and the padding (template pixels) before the image."""
        lowpass, highpass, finest = self._filter
        margin = max(8, max(self.shape) // 8, math.ceil((highpass or 0) / self.pixel_size))
        image = self._image.astype(np.float64)
        mean = float(np.mean(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])))
        before = tuple(margin for _ in self.shape)
        after = tuple(scipy.fft.next_fast_len(n + 2 * margin, real=True) - n - margin for n in self.shape)
        padded = np.pad(image - mean, list(zip(before, after, strict=True)), mode="linear_ramp", end_values=0)
        spectrum = scipy.fft.rfft2(padded)
        frequency = frequencies(padded.shape, self.pixel_size)
        spectrum *= transfer(frequency, lowpass, highpass)
        if finest is not None and lowpass is None:
            spectrum *= transfer(frequency, 2 * finest, None)
        height, width = padded.shape
        large = np.zeros((OVERSAMPLING * height, OVERSAMPLING * width // 2 + 1), complex)
        positive = (height + 1) // 2
        large[:positive, : spectrum.shape[1]] = spectrum[:positive]
        large[large.shape[0] - (height - positive) :, : spectrum.shape[1]] = spectrum[positive:]
        if height % 2 == 0:  # share the Nyquist row between both ends, so that the image stays real
            large[height // 2, : spectrum.shape[1]] = 0.5 * spectrum[height // 2]
            large[large.shape[0] - height // 2, : spectrum.shape[1]] *= 0.5
        if width % 2 == 0:
            large[:, width // 2] *= 0.5
        fine = scipy.fft.irfft2(large, s=(OVERSAMPLING * height, OVERSAMPLING * width)) * OVERSAMPLING**2
        if highpass is None:
            fine += mean
            self._beyond = mean
        return spline_filter(fine, order=3, output=np.float64, mode="mirror"), (margin, margin)

    def sample(self, psi: float, spacing: float, extent: Extent, on: Arrays = HOST) -> NDArray[np.float32]:
        """Return the template rotated by psi (degrees) on a grid of `spacing` Å: a box of `extent` around its centre.

        Unfiltered, unrotated and at its own pixel size it is the template itself, to the bit. The array, (h, w)
        float32, lives where `on` says.
        """
        cy, cx = (n // 2 for n in self.shape)
        height, width = extent.box
        if not self._filtered and psi % 360 == 0 and math.isclose(spacing, self.pixel_size, rel_tol=1e-6):
            rows = np.clip(np.arange(cy - extent.top, cy + extent.bottom + 1), 0, self.shape[0] - 1)
            columns = np.clip(np.arange(cx - extent.left, cx + extent.right + 1), 0, self.shape[1] - 1)
            exact: NDArray[np.float32] = on.xp.asarray(self._image[np.ix_(rows, columns)])
            return exact
        if self._coefficients is None:
            coefficients, self._before = self._oversampled()
            self._coefficients = coefficients  # last: another thread may look
        scale = OVERSAMPLING * spacing / self.pixel_size
        matrix = rotation_matrix(psi) * scale
        centre = np.array([OVERSAMPLING * (cy + self._before[0]), OVERSAMPLING * (cx + self._before[1])], float)
        offset = centre - matrix @ np.array([extent.top, extent.left], float)
        if on not in self._copies:
            self._copies[on] = on.xp.asarray(self._coefficients)
        sampled: NDArray[np.float32] = on.affine_transform(
            self._copies[on],
            on.xp.asarray(matrix),
            offset,
            output_shape=(height, width),
            output=np.float32,
            order=3,
            mode="constant" if self._surrounded else "mirror",
            cval=self._beyond,
            prefilter=False,
        )
        return sampled


_FORM = re.compile(r"(gaussian|disc):([\d.]+)|(ring|rectangle):([\d.]+)x([\d.]+)", re.IGNORECASE)
BOX_OVER_SIZE = 1.5
FINER = 4
"""Samples along each side of a pixel, which is their mean."""


def parse(text: str) -> tuple[str, tuple[float, float]]:
    """Read gaussian:FWHM, disc:D, ring:OUTERxINNER or rectangle:AxB, sizes in Å.

    Raises
    ------
    SettingsError
        It is written differently, or a size is 0 or not smaller than the one before where it must be.
    """
    match = _FORM.fullmatch(text.strip())
    try:
        kind = (match[1] or match[3]).lower() if match else ""
        sizes = [float(size) for size in match.groups()[1:] if size and size[0] in "0123456789."] if match else []
    except ValueError:
        kind, sizes = "", []
    if not kind or min(sizes) <= 0 or (kind == "ring" and sizes[1] >= sizes[0]):
        raise SettingsError(
            f"{text!r} is not a shape; write gaussian:FWHM, disc:D, ring:OUTERxINNER or rectangle:AxB, in Å."
        )
    return kind, (sizes[0], sizes[-1])


def draw(kind: str, size: tuple[float, float], n: int, pixel_size: float) -> NDArray[np.float32]:
    """Return a shape of height 1 on 0, (n, n) float32, about pixel n // 2.

    Parameters
    ----------
    kind : {"gaussian", "disc", "ring", "rectangle"}
    size : (float, float)
        Å: full width at half maximum; diameter; outer and inner diameter; sides along x and y.
    n : int
        px.
    pixel_size : float
        Å.
    """
    grid = ((np.arange(n * FINER) + 0.5) / FINER - 0.5 - n // 2) * pixel_size
    y, x = grid[:, None], grid[None, :]
    radius = np.hypot(y, x)
    if kind == "gaussian":
        fine = np.exp(-4 * math.log(2) * (radius / size[0]) ** 2)
    elif kind == "rectangle":
        fine = ((np.abs(x) <= size[0] / 2) & (np.abs(y) <= size[1] / 2)).astype(float)
    else:
        fine = ((radius <= size[0] / 2) & ((radius >= size[1] / 2) | (kind == "disc"))).astype(float)
    return np.asarray(fine.reshape(n, FINER, n, FINER).mean(axis=(1, 3)), np.float32)


def box_of(sizes: list[tuple[str, tuple[float, float]]], pixel_size: float) -> int:
    """Return the even side in px of a box that holds all shapes with background: 1.5 times the largest extent."""
    largest = max(2 * size[0] if kind == "gaussian" else max(size) for kind, size in sizes)
    return 2 * math.ceil(BOX_OVER_SIZE * largest / pixel_size / 2)
