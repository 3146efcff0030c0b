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
from scipy import sparse, special

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
        inner = slice(first, first + side)
        onto = _between(self._ky * size, self._kx * size, size, side // 2)
        self.samples = np.empty((len(images), *self._kx.shape), np.complex64)

        def transform(number: int) -> None:
            values = images[number, inner, inner].astype(np.float64)
            values = (values - (values * window).sum() / window.sum()) * weights
            spectrum = scipy.fft.fft2(values.astype(np.float32), s=(size, size))
            self.samples[number] = (onto @ spectrum.ravel()).reshape(self._kx.shape)

        list(threads.map(transform, range(len(images))))
        self.area = float(np.square(window).sum())
        self.power = np.square(np.abs(self.samples)).mean(axis=(0, 2), dtype=np.float64) / self.area
        self.spacing = 1 / (2 * reach)

    def __len__(self) -> int:
        return len(self.samples)

    def phases(self, shifts: NDArray[np.float64], rings: int) -> NDArray[np.complex64]:
        """Return what moves images back by shifts, (s, 2) as (y, x) in px: (ANGLES // 2, s, rings)."""
        turns = shifts[:, :1] * self._ky.T[:, None, :rings] + shifts[:, 1:] * self._kx.T[:, None, :rings]
        angle = (2 * np.pi * turns).astype(np.float32)
        found = np.empty(angle.shape, np.complex64)
        found.real, found.imag = np.cos(angle), np.sin(angle)
        return found

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


def _between(y: NDArray[np.float64], x: NDArray[np.float64], size: int, centre: int) -> sparse.csr_array:
    """Return what interpolates a transform by cubic B-splines, without their filter, at y and x (rings, angles) in px.

    The transform (size, size) is that of an image about pixel `centre`; the result has a row for each place.
    """
    places, along = [], []
    for at in (y.ravel(), x.ravel()):
        whole = np.floor(at)
        t = at - whole
        taps = (1 - t) ** 3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6, t**3 / 6
        place = whole[:, None].astype(int) + np.arange(-1, 3)
        places.append(place % size)
        along.append(np.stack(taps, axis=1) * np.exp(2j * np.pi * centre / size * place))
    columns = places[0][:, :, None] * size + places[1][:, None, :]
    values = (along[0][:, :, None] * along[1][:, None, :]).astype(np.complex64)
    rows = np.arange(0, values.size + 1, 16)
    return sparse.csr_array((values.ravel(), columns.ravel(), rows), shape=(len(rows) - 1, size * size))


def harmonics(values: NDArray[np.complexfloating], count: int) -> NDArray[np.complex64]:
    """Return the harmonics 0 to count - 1 of samples (ANGLES // 2, ...) of real images: (count, ...).

    Opposite angles are conjugates, so the even harmonics are those of the real part over half a circle, and the odd
    ones those of the imaginary part, at frequencies between: two short transforms for one over the whole circle.
    """
    quarter = ANGLES // 4
    found = np.empty((count, *values.shape[1:]), np.complex64)
    every = scipy.fft.rfft(values.real, axis=0, norm="forward")
    found[::4] = every[::2][: len(found[::4])]
    np.negative(every[1::2][: len(found[2::4])], out=found[2::4])
    folded = np.empty((quarter, *values.shape[1:]), np.complex64)
    folded.real = values.imag[:quarter]
    np.negative(values.imag[quarter:], out=folded.imag)
    turn = 0.5 * np.exp(-1j * np.pi * np.arange(quarter) / (2 * quarter)).astype(np.complex64)
    folded *= turn.reshape(-1, *[1] * (values.ndim - 1))
    every = scipy.fft.fft(folded, axis=0, norm="forward", overwrite_x=True)  # harmonics 1, 5, 9, ...
    np.negative(every[: len(found[1::4])], out=found[1::4])
    np.conjugate(every[::-1][: len(found[3::4])], out=found[3::4])  # and backwards those at -3, -7, ...
    return found


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
