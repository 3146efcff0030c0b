"""Particles in polar Fourier space, where a rotation is a phase: angular harmonics at shifts, and a round mask.

The transform X(r, theta) of an image about its centre has the harmonics X_m(r), its Fourier series over theta. A turn
by psi multiplies X_m by exp(-i m psi), a shift multiplies X by a phase. So the scores of an image and a reference at
all angles are one short transform over m for each shift, and the mean of turned images needs no interpolation.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from scipy import ndimage, special

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from numpy.typing import NDArray

HIGHEST = 0.47
"""Frequencies up to this are used, 1 / px; the corners beyond the Nyquist frequency know no angle."""
ANGLES = 128
_EDGE = 2.0
"""Width of the window's soft edge, px."""


class PolarImages:
    """Images in polar Fourier space.

    Parameters
    ----------
    images : (n, side, side) float32
        About pixel side // 2.
    radius : float
        Of the particles' mask, px.
    limit : float
        Largest shift, px.
    threads : ThreadPoolExecutor

    Attributes
    ----------
    samples : (n, rings, ANGLES // 2) complex64
        The transforms at `rings` frequencies and the angles of a half circle.
    frequencies : (rings,) float64
        1 / px.
    area : float
        Of the window, px.
    power : (rings,) float64
        Mean square of the transforms for each pixel of the window.
    """

    def __init__(self, images: NDArray[np.float32], radius: float, limit: float, threads: ThreadPoolExecutor) -> None:
        self.radius = radius
        reach = min(radius + limit + _EDGE, images.shape[-1] // 2 - 1.0)
        self.frequencies = (np.arange(math.floor(HIGHEST * 2 * reach)) + 0.5) / (2 * reach)
        angles = np.pi * (np.arange(ANGLES // 2) / (ANGLES // 2) - 0.5)
        along_x, along_y = np.cos(angles), -np.sin(angles)  # y points down, angles go counter-clockwise on screen
        self._kx = self.frequencies[:, None] * along_x
        self._ky = self.frequencies[:, None] * along_y
        side = 2 * math.ceil(reach)
        size = scipy.fft.next_fast_len(2 * side)
        steps = np.arange(side) - side // 2
        distance = np.hypot(steps[:, None], steps[None, :])
        window = 0.5 + 0.5 * np.cos(np.pi * np.clip((distance - reach + _EDGE) / _EDGE, 0, 1))
        spline = np.sinc(steps / size) ** 4  # what interpolation by B-splines without a filter multiplies the image by
        weights = window / (spline[:, None] * spline[None, :])
        first = images.shape[-1] // 2 - side // 2
        where = np.stack([self._ky, self._kx]) * size + size // 2
        self.samples = np.empty((len(images), *self._kx.shape), np.complex64)
        at = slice(size // 2 - side // 2, size // 2 - side // 2 + side)

        def transform(number: int) -> None:
            inner = images[number, first : first + side, first : first + side].astype(np.float64)
            padded = np.zeros((size, size), np.float32)
            padded[at, at] = (inner - (inner * window).sum() / window.sum()) * weights
            spectrum = scipy.fft.fftshift(scipy.fft.fft2(scipy.fft.ifftshift(padded)))
            self.samples[number] = ndimage.map_coordinates(spectrum, where, order=3, prefilter=False)

        list(threads.map(transform, range(len(images))))
        self.area = float(np.square(window).sum())
        self.power = np.square(np.abs(self.samples)).mean(axis=(0, 2), dtype=np.float64) / self.area
        self.spacing = 1 / (2 * reach)

    def __len__(self) -> int:
        return len(self.samples)

    def phases(self, shifts: NDArray[np.float64], rings: int) -> NDArray[np.complex64]:
        """Return what moves images back by shifts, (s, 2) as (y, x) in px: (ANGLES // 2, s, rings)."""
        turns = shifts[:, :1] * self._ky.T[:, None, :rings] + shifts[:, 1:] * self._kx.T[:, None, :rings]
        return np.asarray(np.exp(2j * np.pi * turns), np.complex64)

    def moved(
        self, means: NDArray[np.complexfloating], shift: NDArray[np.float64], psi: float
    ) -> NDArray[np.complex64]:
        """Return an average (count, rings) seen from another centre, `shift` (y, x) px away, then turned by -psi."""
        count, rings = means.shape
        there = harmonics(samples(means) * self.phases(shift[None], rings)[:, 0], count)
        return np.asarray(there * np.exp(1j * math.radians(psi) * np.arange(count))[:, None], np.complex64)

    def image(self, means: NDArray[np.complexfloating], side: int) -> NDArray[np.float32]:
        """Return an average (count, rings) as an image (side, side) about pixel side // 2; its mean is unknown."""
        rings = means.shape[1]
        steps = np.arange(side) - side // 2
        known = samples(means) * (self.frequencies[:rings] * self.spacing * 4 * np.pi / ANGLES)
        total = np.zeros((side, side))
        for ring in range(rings):
            rows = np.exp(2j * np.pi * steps[:, None] * self._ky[ring]) * known[:, ring]
            columns = np.exp(2j * np.pi * self._kx[ring][:, None] * steps)
            total += (rows @ columns).real
        return total.astype(np.float32)

    def within(self, radius: float, rings: int, count: int) -> NDArray[np.float64]:
        """Return the round mask as an operator on the rings of each harmonic, (count, rings, rings)."""
        step = 0.25
        distance = np.arange(step / 2, radius + _EDGE, step)
        inside = 0.5 + 0.5 * np.cos(np.pi * np.clip((distance - radius + _EDGE / 2) / _EDGE, 0, 1))
        frequency = self.frequencies[:rings]
        bessel = special.jv(np.arange(count)[:, None, None], 2 * np.pi * frequency[:, None] * distance)
        onto = frequency * self.spacing * (2 * np.pi) ** 2
        return np.asarray(np.einsum("mrd,mqd->mrq", bessel * (inside * distance * step), bessel) * onto)


def harmonics(values: NDArray[np.complexfloating], count: int) -> NDArray[np.complex64]:
    """Return the harmonics 0 to count - 1 of samples (ANGLES // 2, ...) of real images: (count, ...)."""
    found = scipy.fft.fft(np.concatenate([values, values.conj()]), axis=0, norm="forward", overwrite_x=True)[:count]
    return np.asarray(found * _first(count, values.ndim), np.complex64)


def samples(means: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
    """Return the samples (ANGLES // 2, ...) of harmonics (count, ...), count <= ANGLES // 2, of a real image."""
    count = len(means)
    whole = np.zeros((ANGLES, *means.shape[1:]), np.complex64)
    whole[:count] = means * _first(count, means.ndim).conj()
    whole[ANGLES - count + 1 :] = (means * _first(count, means.ndim))[:0:-1].conj()  # as opposite angles are conjugates
    return np.asarray(scipy.fft.ifft(whole, axis=0, norm="forward")[: ANGLES // 2])


def _first(count: int, axes: int) -> NDArray[np.complex64]:
    """Return the turn by the angle of the first sample, -90 degrees, for each harmonic, along the first axis."""
    powers = np.array([1, 1j, -1, -1j], np.complex64)
    return powers[np.arange(count) % 4].reshape(-1, *[1] * (axes - 1))
