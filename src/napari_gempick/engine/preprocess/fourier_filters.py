"""Radial filters in Fourier space, the same for micrographs and templates, on any grid.

Filters of micrograph and templates alike, in the micrograph's frame: averaging, whitening, and their product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import scipy.fft

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.engine.preprocess.grey_levels import Standard
    from napari_gempick.model.ctf import Ctf

LOWPASS_START = 0.8
HIGHPASS_START, HIGHPASS_END = 0.8, 1.2
ROWS = 32
"""Rows of a micrograph that are transformed at a time."""
RINGING = 8
"""Pixels of a cropped grid around a mask's support, and around the micrograph, that its ringing may reach."""


class Transfer(Protocol):
    """A filter in the frame of the micrograph, with whatever symmetry: real amplitudes that may be negative.

    It is hashable: equal ones make equal banks.
    """

    def __call__(self, shape: tuple[int, int], pixel_size: float) -> NDArray[np.float32]:
        """Return the amplitude on the half-spectrum of an image of `shape` (y, x) with pixels of `pixel_size` Å."""

    def reach(self, resolution: float) -> float:
        """Return how far in Å it spreads detail of `resolution` Å."""


def frequencies(shape: tuple[int, int], pixel_size: float) -> NDArray[np.float32]:
    """Return the spatial frequency in 1/Å of every element of the half-spectrum of an image of `shape` (y, x)."""
    fy = np.fft.fftfreq(shape[0], pixel_size)
    fx = np.fft.rfftfreq(shape[1], pixel_size)
    radius: NDArray[np.float32] = np.hypot(fy[:, None], fx[None, :]).astype(np.float32)
    return radius


def crop_spectrum(
    spectrum: NDArray[np.complexfloating[Any, Any]], height: int, shape: tuple[int, int]
) -> NDArray[np.complexfloating[Any, Any]]:
    """Return the half-spectrum of the same image on a coarser grid that shares pixel (0, 0).

    Parameters
    ----------
    spectrum : (..., height, nx // 2 + 1) complex
        Half-spectra of images of `height` rows.
    shape : (my, mx)
        Of the coarser grid. Components exactly at its Nyquist frequency are dropped, because they have no sign there.

    Returns
    -------
    (..., my, mx // 2 + 1) complex
        Its inverse transform is the image times (number of pixels before) / (after).
    """
    my, mx = shape
    half = my // 2
    cropped = np.empty_like(spectrum, shape=(*spectrum.shape[:-2], my, mx // 2 + 1))
    cropped[..., : my - half, :] = spectrum[..., : my - half, : mx // 2 + 1]
    cropped[..., my - half :, :] = spectrum[..., height - half :, : mx // 2 + 1]
    if my % 2 == 0:
        cropped[..., half, :] = 0
    if mx % 2 == 0:
        cropped[..., mx // 2] = 0
    return cropped


def enlarge_spectrum(
    spectrum: NDArray[np.complexfloating[Any, Any]], shape: tuple[int, int]
) -> NDArray[np.complexfloating[Any, Any]]:
    """Return the half-spectrum on a grid of twice as many pixels per side; the counterpart of `crop_spectrum`.

    `shape` is (my, mx) of the image; its Nyquist frequency must be empty.
    """
    my, mx = shape
    half = my // 2
    large = np.zeros((2 * my, mx + 1), spectrum.dtype)
    large[: my - half, : mx // 2 + 1] = spectrum[: my - half]
    large[2 * my - half :, : mx // 2 + 1] = spectrum[my - half :]
    return large


def _falling(frequency: NDArray[np.float32], start: float, end: float) -> NDArray[np.float32]:
    """Return a raised cosine: 1 up to `start`, 0 from `end` on."""
    position = np.clip((frequency - start) / (end - start), 0, 1)
    amplitude: NDArray[np.float32] = (0.5 * (1 + np.cos(np.pi * position))).astype(np.float32)
    return amplitude


def transfer(frequency: NDArray[np.float32], lowpass: float | None, highpass: float | None) -> NDArray[np.float32]:
    """Return the filter's amplitude at each frequency (1/Å).

    The low-pass is a raised cosine from 0.8 / `lowpass` to 1 / `lowpass`, where it is zero: a grid with its Nyquist
    frequency there loses nothing. The high-pass is one from 0.8 / `highpass` to 1.2 / `highpass`, half in the middle.
    """
    amplitude = np.ones_like(frequency)
    if lowpass is not None:
        amplitude *= _falling(frequency, LOWPASS_START / lowpass, 1 / lowpass)
    if highpass is not None:
        amplitude *= 1 - _falling(frequency, HIGHPASS_START / highpass, HIGHPASS_END / highpass)
    return amplitude


class _Continuation(NamedTuple):
    """How rows go on beyond the last one: mirrored ones of the end that fade into mirrored ones of the beginning."""

    after: NDArray[np.intp]
    before: NDArray[np.intp]
    weight: NDArray[np.float32]

    @classmethod
    def of(cls, n: int, extra: int) -> _Continuation:
        """Return that of n rows by `extra` more."""
        place = np.clip(3 * (np.arange(extra) + 1) / (extra + 1) - 1, 0, 1)
        weight = (0.5 * (1 - np.cos(np.pi * place))).astype(np.float32)[:, None]
        mirrored = np.pad(np.arange(n), extra, mode="symmetric")
        return cls(mirrored[n + extra :], mirrored[:extra], weight)

    def between(self, after: NDArray[np.float32], before: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the new rows, from the mirrored ones of the end and of the beginning."""
        rows: NDArray[np.float32] = after * (1 - self.weight) + before * self.weight
        return rows


def pad_smoothly(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the (y, x) image at the origin of a larger array that is continuous across the periodic edges.

    A third of the new rows is the mirror image of the end and a third that of the beginning, so that what a filter
    finds near an edge does not depend on how many there are; one fades into the other between. Columns likewise.
    """
    padded = np.empty(shape, image.dtype)
    padded[: image.shape[0], : image.shape[1]] = image
    for along, n in ((padded[:, : image.shape[1]], image.shape[0]), (padded.T, image.shape[1])):
        if extra := len(along) - n:
            more = _Continuation.of(n, extra)
            along[n:] = more.between(along[more.after], along[more.before])
    return padded


def cropped_transform(
    image: NDArray[np.float32], padded: tuple[int, int], shape: tuple[int, int], standard: Standard | None = None
) -> NDArray[np.complexfloating[Any, Any]]:
    """Return `crop_spectrum` of the half-spectrum of an image that is padded smoothly.

    Rows are transformed some at a time, which stay in the cache, and only the columns that are kept.

    Parameters
    ----------
    image : (ny, nx) float32
    padded : (py, px)
        See pad_smoothly.
    shape : (my, mx)
        Of the coarser grid.
    standard : Standard, optional
        Gives the image zero mean and unit standard deviation.
    """
    write = np.copyto if standard is None else standard.write
    (ny, nx), (py, px), columns = image.shape, padded, shape[1] // 2 + 1
    along_x = np.empty((py, columns), np.complex64)
    space = np.empty((ROWS, px), np.float32)
    below, beside = _Continuation.of(ny, py - ny), _Continuation.of(nx, px - nx)
    end = [np.empty((py - ny, nx), np.float32) for _ in range(2)]
    for rows, which in zip(end, (below.after, below.before), strict=True):
        write(rows, image[which])
    more = below.between(*end)
    for start in [*range(0, ny, ROWS), *range(ny, py, ROWS)]:
        stop = min(start + ROWS, ny if start < ny else py)
        block = space[: stop - start]
        if start < ny:
            write(block[:, :nx], image[start:stop])
        else:
            block[:, :nx] = more[start - ny : stop - ny]
        if px > nx:
            block.T[nx:] = beside.between(block.T[beside.after], block.T[beside.before])
        along_x[start:stop] = scipy.fft.rfft(block, axis=1)[:, :columns]
    return crop_spectrum(scipy.fft.fft(along_x, axis=0, overwrite_x=True), py, shape)


def random_phases(image: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Return noise of the same size and power spectrum as an image of mean zero, (y, x) float32: its phases are random.

    The image is made continuous across its edges first, so that these leave no cross in the spectrum.
    """
    height, width = (scipy.fft.next_fast_len(n + max(96, n // 8), real=True) for n in image.shape)
    spectrum = np.abs(scipy.fft.rfft2(pad_smoothly(image, (height, width))))
    white = scipy.fft.rfft2(np.random.default_rng(seed).standard_normal((height, width), dtype=np.float32))
    white *= spectrum / np.maximum(np.abs(white), 1e-12)
    noise: NDArray[np.float32] = scipy.fft.irfft2(white, s=(height, width))
    return noise[: image.shape[0], : image.shape[1]]


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

        Rings beyond `lowpass` (Å) count as the last one within, because nothing is left there to be whitened.
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


def wavelength(voltage: float) -> float:
    """Return the relativistic wavelength in Å of electrons accelerated by `voltage` kV."""
    volts = 1e3 * voltage
    return 12.2642597 / math.sqrt(volts * (1 + 0.978475598e-6 * volts))


def contrast_transfer(fy: NDArray[np.floating], fx: NDArray[np.floating], ctf: Ctf) -> NDArray[np.float32]:
    """Return the contrast transfer function, negative at low frequencies: underfocused protein is dark.

    -sin(chi(s, a)) with chi = pi lambda s² (dz(a) - Cs lambda² s² / 2) + phase shift + asin(amplitude contrast) and
    dz(a) = ((U + V) + (U - V) cos(2 (a - angle))) / 2, a = atan2(fy, fx) (Rohou & Grigorieff 2015, J Struct Biol 192,
    216, equations 2 to 5, where the amplitude contrast stands as atan(w / sqrt(1 - w²)), which is asin(w)).

    Parameters
    ----------
    fy, fx : array
        Spatial frequency along rows (downwards) and columns, 1/Å; broadcast against each other.
    """
    y, x = np.broadcast_arrays(np.asarray(fy, np.float64), np.asarray(fx, np.float64))
    squared = y * y + x * x
    length = wavelength(ctf.voltage)
    defocus: NDArray[np.float64] | float = 0.5 * (ctf.defocus_u + ctf.defocus_v)
    if ctf.defocus_u != ctf.defocus_v:
        difference = 0.5 * (ctf.defocus_u - ctf.defocus_v)
        defocus = defocus + difference * np.cos(2 * (np.arctan2(y, x) - math.radians(ctf.angle)))
    chi = math.pi * length * squared * (defocus - 0.5 * 1e7 * ctf.cs * length**2 * squared)
    return np.asarray(-np.sin(chi + math.radians(ctf.phase_shift) + math.asin(ctf.amplitude_contrast)), np.float32)


@dataclass(frozen=True)
class CtfTransfer:
    """Multiplies a template, protein-bright and turned to its in-plane angle, by a micrograph's CTF.

    Attributes
    ----------
    flipped : {"no", "dark", "bright"}
        Whether the micrograph's phases were flipped: the modulus is taken, and particles are dark or bright.
    """

    ctf: Ctf
    flipped: Literal["no", "dark", "bright"] = "no"

    def __call__(self, shape: tuple[int, int], pixel_size: float) -> NDArray[np.float32]:
        """Return the amplitude on the half-spectrum of an image of `shape` (y, x)."""
        fy = np.fft.fftfreq(shape[0], pixel_size)[:, None]
        values = contrast_transfer(fy, np.fft.rfftfreq(shape[1], pixel_size)[None, :], self.ctf)
        if self.flipped == "no":
            return values
        return np.abs(values) if self.flipped == "bright" else -np.abs(values)

    def reach(self, resolution: float) -> float:
        """Return how far in Å detail of `resolution` Å is carried from its place: the slope of chi over 2 pi."""
        length, highest = wavelength(self.ctf.voltage), 1 / resolution
        defocus = max(abs(self.ctf.defocus_u), abs(self.ctf.defocus_v))
        return length * highest * (defocus + 1e7 * self.ctf.cs * (length * highest) ** 2)
