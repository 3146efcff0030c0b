"""Radial filters in Fourier space, the same for micrographs and templates, on any grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOWPASS_START = 0.8
HIGHPASS_START, HIGHPASS_END = 0.8, 1.2
RINGING = 8
"""Pixels of a cropped grid around a mask's support, and around the micrograph, that its ringing may reach."""


class Transfer(Protocol):
    """A filter in the frame of the micrograph, with whatever symmetry: real amplitudes that may be negative.

    It is hashable: equal ones make equal banks.
    """

    def __call__(self, shape: tuple[int, int], pixel_size: float) -> NDArray[np.float32]:
        """Return the amplitude on the half-spectrum of an image of `shape` (y, x) with pixels of so many Å."""

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
    spectrum : (height, nx // 2 + 1) complex
        Half-spectrum of an image of `height` rows.
    shape : (my, mx)
        Of the coarser grid. What lies exactly at its Nyquist frequency is dropped, for it has no sign there.

    Returns
    -------
    (my, mx // 2 + 1) complex
        Its inverse transform is the image times (number of pixels before) / (after).
    """
    my, mx = shape
    half = my // 2
    cropped = np.empty_like(spectrum, shape=(my, mx // 2 + 1))
    cropped[: my - half] = spectrum[: my - half, : mx // 2 + 1]
    cropped[my - half :] = spectrum[height - half :, : mx // 2 + 1]
    if my % 2 == 0:
        cropped[half] = 0
    if mx % 2 == 0:
        cropped[:, mx // 2] = 0
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
