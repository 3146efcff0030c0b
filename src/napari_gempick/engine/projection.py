"""Projections of a 3D map: central slices of its Fourier transform."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from scipy import ndimage

from napari_gempick.engine.orientations import euler_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

PADDING = 2.0
_BESIDE = 2  # columns of negative frequency that the spline reaches


class Projector:
    """Projects one map in any direction.

    The slice is interpolated by cubic B-splines in the transform of the map, padded twofold. Their transform is
    sinc⁴, by which the map is divided beforehand (gridding); what folds over from beyond the padding is below 1e-3 of
    the density half-way to the edge of the map. The mean of the map's faces counts as background and is removed.

    Parameters
    ----------
    volume : (z, y, x) float32
        The map; its centre is voxel n // 2 of each axis.
    pixel_size : float
        Å per voxel.
    """

    def __init__(self, volume: NDArray[np.float32], pixel_size: float) -> None:
        self.side, self.pixel_size = max(volume.shape), pixel_size
        n = 2 * math.ceil(scipy.fft.next_fast_len(math.ceil(PADDING * self.side), real=True) / 2)
        padded = np.zeros((n, n, n), np.float32)
        faces = np.concatenate([np.take(volume, (0, -1), axis).ravel() for axis in range(3)])
        places = [slice(n // 2 - m // 2, n // 2 - m // 2 + m) for m in volume.shape]
        inside = padded[places[0], places[1], places[2]]
        inside[:] = volume - faces.mean(dtype=np.float64)
        for axis, place in enumerate(places):
            window = np.sinc((np.arange(n)[place] - n // 2) / n) ** 4
            inside /= window.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        spectrum = scipy.fft.rfftn(scipy.fft.ifftshift(padded), overwrite_x=True)
        spectrum = scipy.fft.fftshift(spectrum, axes=(0, 1))
        opposite = -np.arange(n) % n
        negative = spectrum[:, :, _BESIDE:0:-1].conj()[opposite][:, opposite]
        self._n, self._spectrum = n, np.concatenate([negative, spectrum], axis=2)

    def __call__(self, rot: float, tilt: float, psi: float = 0.0) -> NDArray[np.float32]:
        """Return the projection at RELION's angles (degrees), (n, n) float32: the integral along the beam, in map x Å.

        n is the map's longest side; the map's centre falls on pixel n // 2.
        """
        n, half = self._n, self._n // 2
        x_axis, y_axis, _ = euler_matrix(rot, tilt, psi)
        rows, columns = scipy.fft.fftfreq(n, 1 / n)[:, None], np.arange(half + 1)[None, :]
        place = x_axis[:, None, None] * columns + y_axis[:, None, None] * rows
        mirrored = place[0] < 0
        place[:, mirrored] *= -1
        inside = rows**2 + columns**2 < (half - _BESIDE) ** 2
        places = np.stack([place[2] + half, place[1] + half, place[0] + _BESIDE])[:, inside]
        values = ndimage.map_coordinates(self._spectrum, places, order=3, prefilter=False)
        central = np.zeros((n, half + 1), np.complex64)
        central[inside] = np.where(mirrored[inside], values.conj(), values)
        image = scipy.fft.fftshift(scipy.fft.irfft2(central, s=(n, n)))
        first = half - self.side // 2
        cut = image[first : first + self.side, first : first + self.side] * self.pixel_size
        return np.ascontiguousarray(cut, np.float32)


def shrink(volume: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return a map with voxels `factor` times as large, by Fourier cropping; its centre stays voxel n // 2."""
    if factor == 1:
        return volume
    sides = [2 * factor * math.ceil(n / (2 * factor)) for n in volume.shape]
    before = [side // 2 - n // 2 for n, side in zip(volume.shape, sides, strict=True)]
    pads = [(b, side - n - b) for b, n, side in zip(before, volume.shape, sides, strict=True)]
    spectrum = scipy.fft.rfftn(np.pad(volume, pads, mode="edge"))
    small = [side // factor for side in sides]
    for axis in (0, 1):
        keep = scipy.fft.fftfreq(small[axis], 1 / small[axis]).astype(int)
        spectrum = np.take(spectrum, keep, axis=axis)
        edge: list[slice | int] = [slice(None)] * 3
        edge[axis] = small[axis] // 2
        spectrum[tuple(edge)] = 0
    spectrum = spectrum[:, :, : small[2] // 2 + 1]
    spectrum[:, :, -1] = 0
    return np.asarray(scipy.fft.irfftn(spectrum, s=small) / factor**3, np.float32)
