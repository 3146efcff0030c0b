"""The contrast transfer function of the electron microscope."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.model.ctf import Ctf


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
    ctf : Ctf
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
    ctf : Ctf
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
