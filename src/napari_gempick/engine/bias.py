"""Template bias: what an average of picks from pure noise looks like (Henderson 2013, PNAS 110, 18037)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from scipy import ndimage

from napari_gempick.engine.filters import random_phases
from napari_gempick.engine.prepare import normalise
from napari_gempick.engine.sampling import rotation_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.engine.ctf import CtfTransfer
    from napari_gempick.model.picks import Picks


def noise_like(image: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """Return noise of the same size and power spectrum as a micrograph, (y, x) float32: its phases are random."""
    return random_phases(normalise(image)[0], seed)


def average_of_picks(
    image: NDArray[np.float32], picks: Picks, side: tuple[int, int], scale: float
) -> NDArray[np.float32]:
    """Return the mean of the picks, each turned back by its psi, on the template's grid, (h, w) float32.

    Parameters
    ----------
    image : (y, x) float32
    picks : Picks
        Positions in pixels of the image.
    side : (h, w)
        Of the template.
    scale : float
        Pixel size of the template over that of the image.
    """
    smooth = ndimage.gaussian_filter(image, 0.5 * scale) if scale > 1 else image
    coefficients = ndimage.spline_filter(smooth, order=3, output=np.float32, mode="mirror")
    middle = np.array(side) // 2
    total = np.zeros(side, np.float64)
    for x, y, psi in zip(picks.x, picks.y, picks.psi, strict=True):
        matrix = rotation_matrix(-psi % 360) * scale
        total += ndimage.affine_transform(
            coefficients, matrix, np.array([y, x]) - matrix @ middle, side, order=3, mode="nearest", prefilter=False
        )
    return np.asarray(total / max(1, len(picks)), np.float32)


def through_lens(
    template: NDArray[np.float32], pixel_size: float, lens: CtfTransfer, psis: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return what the average of particles looks like that lay at `psis` (degrees) under a lens, turned back; (h, w).

    The lens stays with the micrograph, so turning the particle back by psi turns the astigmatism about it.
    """
    margin = math.ceil(lens.reach(2 * pixel_size) / pixel_size)
    rim = np.concatenate([template[0], template[-1], template[:, 0], template[:, -1]])
    wide = np.pad(template.astype(np.float64) - rim.mean(), margin, mode="linear_ramp")
    angles, counts = np.unique(np.round(psis), return_counts=True) if len(psis) else (np.zeros(1), np.ones(1))
    if lens.ctf.defocus_u == lens.ctf.defocus_v:
        angles, counts = np.zeros(1), np.ones(1)
    amplitude = np.zeros(1)
    for psi, count in zip(angles.tolist(), (counts / counts.sum()).tolist(), strict=True):
        turned = replace(lens, ctf=replace(lens.ctf, angle=lens.ctf.angle + psi))
        amplitude = amplitude + count * turned(wide.shape, pixel_size)
    seen = scipy.fft.irfft2(scipy.fft.rfft2(wide) * amplitude, s=wide.shape)
    return np.asarray(seen[tuple(slice(margin, margin + n) for n in template.shape)], np.float32)


def likeness(image: NDArray[np.float32], template: NDArray[np.float32], weights: NDArray[np.float32]) -> float:
    """Return the correlation of two images under weights (h, w): 1 for equal up to gain and offset."""
    a, b = (one - np.average(one, weights=weights) for one in (image.astype(np.float64), template.astype(np.float64)))
    norm = np.sqrt((a * a * weights).sum() * (b * b * weights).sum())
    return float((a * b * weights).sum() / norm) if norm > 0 else 0.0
