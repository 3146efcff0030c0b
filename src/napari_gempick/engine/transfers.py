"""Filters of micrograph and templates alike, in the micrograph's frame: averaging, whitening, and their product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from napari_gempick.engine.filters import frequencies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.engine.filters import Transfer

BINS = 64
"""Rings from 0 to the Nyquist frequency on which the spectrum is known; a filter so smooth spreads little."""
FLOOR = 1e-4
"""Rings with less than this share of the strongest ring's power are raised no further."""
_TILE = 256


@dataclass(frozen=True)
class Averaging:
    """The mean over n x n pixels of the micrograph, without the shift by half a pixel that an even n would bring.

    The amplitude is sin(pi n f p) / (n sin(pi f p)) along x times the same along y, p the micrograph's pixel size.

    Attributes
    ----------
    n : int
        Pixels along each side.
    pixel_size : float
        Å; of the micrograph's file.
    """

    n: int
    pixel_size: float

    def __call__(self, shape: tuple[int, int], pixel_size: float) -> NDArray[np.float32]:
        """See filters.Transfer."""
        fy, fx = np.fft.fftfreq(shape[0], pixel_size), np.fft.rfftfreq(shape[1], pixel_size)
        return np.outer(self._along(fy), self._along(fx)).astype(np.float32)

    def _along(self, frequency: NDArray[np.floating]) -> NDArray[np.floating]:
        phase = np.pi * frequency * self.pixel_size
        below = self.n * np.sin(phase)
        whole = np.where(np.cos(phase) > 0, 1.0, (-1.0) ** (self.n - 1))  # at multiples of the sampling frequency
        return np.asarray(np.divide(np.sin(self.n * phase), below, out=whole, where=np.abs(below) > 1e-9))

    def reach(self, resolution: float) -> float:
        """See filters.Transfer."""
        return max(self.n * self.pixel_size, 4 * resolution)


@dataclass(frozen=True)
class Whitening:
    """Divides by the square root of a micrograph's own power spectrum, averaged over rings.

    Attributes
    ----------
    spacing : float
        1/Å between rings, the first at half of it.
    amplitudes : tuple of float
        At each ring, at most 1; linear in between, constant beyond.
    """

    spacing: float
    amplitudes: tuple[float, ...]

    @classmethod
    def of(cls, image: NDArray[np.float32], pixel_size: float, lowpass: float | None = None) -> Whitening:
        """Measure the spectrum of a micrograph: Hann-windowed tiles, half overlapping (Welch 1967).

        Rings beyond `lowpass` (Å) count as the last one within, for nothing is left there to be whitened.
        """
        side = min(_TILE, *image.shape)
        window = np.hanning(side)
        step = max(1, side // 2)
        total = np.zeros((side, side // 2 + 1))
        for y in range(0, image.shape[0] - side + 1, step):
            for x in range(0, image.shape[1] - side + 1, step):
                tile = image[y : y + side, x : x + side].astype(np.float64)
                spectrum = scipy.fft.rfft2((tile - tile.mean()) * window[:, None] * window[None, :])
                total += np.square(spectrum.real) + np.square(spectrum.imag)
        spacing = 0.5 / pixel_size / BINS
        ring = (frequencies((side, side), pixel_size) / spacing).astype(int)
        inside = ring < BINS
        count = np.bincount(ring[inside], minlength=BINS)
        power = np.bincount(ring[inside], total[inside], minlength=BINS) / np.maximum(count, 1)
        known = np.nonzero(count)[0]
        power = np.interp(np.arange(BINS), known, power[known])
        if lowpass is not None:
            last = max(0, min(BINS - 1, int(1 / lowpass / spacing)))
            power[last:] = power[last]
        amplitude = 1 / np.sqrt(np.maximum(power, FLOOR * power.max()))
        return cls(spacing, tuple((amplitude / amplitude.max()).tolist()))

    def __call__(self, shape: tuple[int, int], pixel_size: float) -> NDArray[np.float32]:
        """See filters.Transfer."""
        rings = (np.arange(len(self.amplitudes)) + 0.5) * self.spacing
        return np.interp(frequencies(shape, pixel_size), rings, self.amplitudes).astype(np.float32)

    def reach(self, resolution: float) -> float:
        """See filters.Transfer."""
        return max(0.5 / self.spacing, 4 * resolution)


@dataclass(frozen=True)
class Product:
    """Several filters after one another."""

    parts: tuple[Transfer, ...]

    def __call__(self, shape: tuple[int, int], pixel_size: float) -> NDArray[np.float32]:
        """See filters.Transfer."""
        amplitude = self.parts[0](shape, pixel_size)
        for part in self.parts[1:]:
            amplitude = amplitude * part(shape, pixel_size)
        return amplitude

    def reach(self, resolution: float) -> float:
        """See filters.Transfer."""
        return sum(part.reach(resolution) for part in self.parts)


def product(*parts: Transfer | None) -> Transfer | None:
    """Return the filters that there are, as one; None without any."""
    given = tuple(part for part in parts if part is not None)
    return Product(given) if len(given) > 1 else given[0] if given else None
