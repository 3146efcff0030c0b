"""Are the local squares of a cropped grid right? What its Fourier crop leaves out of them, measured under real masks.

A squared image has twice the band of the image. A cropped grid holds the lower half of it, which is enough where the
mask has no more: its soft edge takes care of that, to a small share of the squares. Beside something very bright that
share is large compared with the noise: the local variance comes out wrong, even negative, and so do the scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft

from napari_gempick.engine.preprocess.fourier_filters import crop_spectrum, enlarge_spectrum
from napari_gempick.engine.tiles import FLOOR, ROUNDING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.engine.templates.bank import Bank
    from napari_gempick.model.geometry import Grid

    Spectrum = NDArray[np.complexfloating[Any, Any]]

MOST = 0.02
"""Share of a score by which a cropped grid may be off."""


@dataclass(frozen=True, eq=False)
class Squares:
    """The squares of an image on a cropped grid, with the half of their band that the grid cannot hold.

    Attributes
    ----------
    shape : (my, mx)
        Of the grid, with its padding.
    image : (my, mx // 2 + 1) complex64
        Half-spectrum of the image.
    squares : (2 my, mx + 1) complex64
        Half-spectrum of the squared image on a grid twice as fine.
    plain : (my, mx) float32
        The squared pixels of the image.
    """

    shape: tuple[int, int]
    image: Spectrum
    squares: Spectrum
    plain: NDArray[np.float32]

    @classmethod
    def of(cls, spectrum: Spectrum, shape: tuple[int, int]) -> Squares:
        """Square the image (my, mx) that has this half-spectrum."""
        my, mx = shape
        fine = scipy.fft.irfft2(enlarge_spectrum(spectrum, shape), s=(2 * my, 2 * mx), overwrite_x=True)
        fine *= 4
        plain = np.square(fine[::2, ::2])
        return cls(shape, spectrum, scipy.fft.rfft2(np.square(fine, out=fine), overwrite_x=True), plain)

    def correction(self) -> NDArray[np.float32]:
        """Return the squared image freed of what folds over on its grid, minus the plain square, (my, mx) float32.

        So sums of squares under a mask without high frequencies are those of the finest grid.
        """
        square: NDArray[np.float32] = scipy.fft.irfft2(self._low(), s=self.shape, overwrite_x=True)
        square *= np.float32(0.25)
        square -= self.plain
        return square

    def _low(self) -> Spectrum:
        return crop_spectrum(self.squares, 2 * self.shape[0], self.shape)

    def error(self, bank: Bank, grid: Grid) -> float:
        """Return the largest share of a score by which the cropped squares may make it wrong, infinite without bound.

        Looked at are the smallest and the largest mask of the bank, at the first angle.
        """
        first = {int(bank.group_of[k]) for k in range(0, len(bank.index), bank.index.n_rotations)}
        by_area = sorted(first, key=lambda group: bank.groups[group].area)
        return max(self._error(bank, group, grid) for group in {by_area[0], by_area[-1]})

    def _error(self, bank: Bank, group: int, grid: Grid) -> float:
        my, mx = self.shape
        inside = grid.scored(bank.groups[group].extent)
        if min(span.stop - span.start for span in inside) < 1:
            return 0.0
        weights = bank.twice_as_fine(group)
        height, width = weights.shape
        if height > 2 * my or width > 2 * mx:
            return math.inf
        columns = np.zeros((height, 2 * mx), np.float32)
        columns[:, np.arange(width) - 2 * bank.extent.left] = weights / weights.sum(dtype=np.float64)
        conjugate = np.zeros((2 * my, mx + 1), np.complex64)
        conjugate[np.arange(height) - 2 * bank.extent.top] = scipy.fft.rfft(columns)
        conjugate = scipy.fft.fft(conjugate, axis=0, overwrite_x=True)
        np.conjugate(conjugate, out=conjugate)
        low = crop_spectrum(conjugate, 2 * my, (my, mx))
        mean = np.square(scipy.fft.irfft2(self.image * low, s=(my, mx))[inside])
        seen = scipy.fft.irfft2(self._low() * low, s=(my, mx))[inside] / 4 - mean
        conjugate *= self.squares
        right = scipy.fft.irfft2(_folded(conjugate, (my, mx)), s=(my, mx))[inside] - mean
        rounding = ROUNDING * float(np.linalg.norm(self.squares)) / (4 * my * mx)
        share = float(((np.abs(seen - right) + rounding) / np.maximum(right, FLOOR * FLOOR)).max())
        return share / 2 if share < 1 else math.inf


def _folded(spectrum: Spectrum, shape: tuple[int, int]) -> Spectrum:
    """Return the half-spectrum of every other pixel (my, mx) of the image (2 my, 2 mx) with this half-spectrum."""
    my, mx = shape
    rows = spectrum[:my] + spectrum[my:]
    columns = np.arange(mx // 2 + 1)
    mirrored = rows[-np.arange(my) % my][:, mx - columns]
    folded: Spectrum = (rows[:, columns] + np.conjugate(mirrored)) / 4
    return folded
