"""Cut particles out of a micrograph, and bring them to the size, the grey levels and the sign that are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
from scipy.ndimage import map_coordinates

from napari_gempick.engine.filters import crop_spectrum
from napari_gempick.engine.sampling import rotation_matrix

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from napari_gempick.model.extraction import ExtractSettings

    Floats: TypeAlias = NDArray[np.float32]

BACKGROUND_RADIUS = 0.375
"""Of the side of the box: outside this circle is background."""
_DUST_NEIGHBOURS = 5


def centre_pixels(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the pixel whose centre is nearest, halves up; the slice of a particle is centred on it."""
    return np.floor(np.asarray(x) + 0.5).astype(np.int64)


def fits(x: NDArray[np.float64], y: NDArray[np.float64], box: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which boxes lie inside a micrograph of `shape` (ny, nx), (n,) bool."""
    inside = np.ones(len(x), np.bool_)
    for values, n in ((x, shape[1]), (y, shape[0])):
        start = centre_pixels(values) - box // 2
        inside &= (start >= 0) & (start + box <= n)
    return inside


def touches(x: NDArray[np.float64], y: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which centres lie on the micrograph, (n,) bool."""
    column, row = centre_pixels(x), centre_pixels(y)
    return (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])


def cut(image: NDArray[Any], x: NDArray[np.float64], y: NDArray[np.float64], box: int) -> Floats:
    """Return boxes of a micrograph whose pixel (box // 2, box // 2) is the one nearest to x, y.

    Parameters
    ----------
    image : (ny, nx) array
        Any real dtype.
    x, y : (n,) float64
        Centres, px.
    box : int

    Returns
    -------
    (n, box, box) float32
        Slices of the micrograph; what lies outside repeats its nearest pixel.
    """
    ny, nx = image.shape
    out = np.empty((len(x), box, box), np.float32)
    tops, lefts = (centre_pixels(values) - box // 2 for values in (y, x))
    steps = np.arange(box)
    for number, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True)):
        if top >= 0 and left >= 0 and top + box <= ny and left + box <= nx:
            out[number] = image[top : top + box, left : left + box]
        else:
            rows, columns = np.clip(top + steps, 0, ny - 1), np.clip(left + steps, 0, nx - 1)
            out[number] = image[np.ix_(rows, columns)]
    return out


def shrunk(image: NDArray[Any], factor: int) -> Floats:
    """Return a micrograph averaged over factor x factor pixels, float32; blocks with NaN or infinity get the mean.

    Pixel i of the result lies at factor * i + (factor - 1) / 2.
    """
    ny, nx = (n // factor for n in image.shape)
    means = np.zeros((ny, nx), np.float32)
    for row in range(factor):
        for column in range(factor):
            means += image[row : ny * factor : factor, column : nx * factor : factor]
    means /= factor**2
    good = np.isfinite(means)
    if not good.all():
        means[~good] = means[good].mean(dtype=np.float64) if good.any() else 0.0
    return means


def sample_turned(
    small: Floats,
    factor: int,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    psi: NDArray[np.float64],
    steps: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return pixels around particles, turned back by psi: as the templates show them.

    Parameters
    ----------
    small : (my, mx) float32
        Micrograph from `shrunk`, by `factor`.
    x, y, psi : (n,) float64
        Centres (px of the whole micrograph) and angles (degrees).
    steps : (2, p) float64
        Where to look, y and x about the centre, pixels of `small`.

    Returns
    -------
    (n, p) float64
        Linearly interpolated; beyond the edge the nearest pixel.
    """
    middle = (np.stack((y, x)) - (factor - 1) / 2) / factor
    turns = np.stack([rotation_matrix(angle).T for angle in psi.tolist()])
    where = np.einsum("nij,jp->inp", turns, steps) + middle[:, :, None]
    return np.asarray(map_coordinates(small, where, order=1, mode="nearest", output=np.float64))


def fourier_crop(particle: Floats, side: int, shift: tuple[float, float]) -> Floats:
    """Return a particle on a grid of side x side pixels that spans the same square.

    Parameters
    ----------
    particle : (n, n) float32
    side : int
        At most n.
    shift : (y, x)
        From the pixel n // 2 to the particle's centre, px; the result has the centre at its pixel side // 2.

    Returns
    -------
    (side, side) float32
        With the same mean. The square is taken as periodic, as ever in Fourier space.
    """
    n = particle.shape[0]
    spectrum = scipy.fft.rfft2(particle)
    frequency = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :]
    moved = [n // 2 + by - (side // 2) * n / side for by in shift]
    spectrum *= np.exp(2j * np.pi * (frequency[0] * moved[0] + frequency[1] * moved[1])).astype(np.complex64)
    cropped = crop_spectrum(spectrum, n, (side, side)) if side < n else spectrum
    return np.asarray(scipy.fft.irfft2(cropped, s=(side, side)) * (side / n) ** 2, np.float32)


def without_dust(particle: Floats, deviations: float) -> tuple[Floats, int]:
    """Return a particle without far outliers, and how many there were.

    Mean and standard deviation are those of the box. An outlier becomes the median of the good pixels of the 5 x 5
    around it, the mean of the good ones where there are none.
    """
    mean, deviation = float(particle.mean(dtype=np.float64)), float(particle.std(dtype=np.float64))
    bad = np.abs(particle - mean) > deviations * deviation
    count = int(np.count_nonzero(bad))
    if not count:
        return particle, 0
    good = np.where(bad, np.nan, particle)
    out = particle.copy()
    reach = _DUST_NEIGHBOURS // 2
    for row, column in np.argwhere(bad).tolist():
        around = good[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        kept = around[np.isfinite(around)]
        out[row, column] = np.median(kept) if kept.size else np.nanmean(good)
    return out, count


def background(side: int, radius: float | None) -> NDArray[np.bool_]:
    """Return which pixels of a particle lie outside the circle of `radius` px about pixel side // 2."""
    steps = np.arange(side) - side // 2
    return np.hypot(steps[:, None], steps[None, :]) > (radius or BACKGROUND_RADIUS * side)


def finish(
    boxes: Floats, x: NDArray[np.float64], y: NDArray[np.float64], settings: ExtractSettings
) -> tuple[Floats, int]:
    """Do what the settings ask for to boxes from `cut`: dust, size, background, sign, in this order.

    Returns
    -------
    particles : (n, side, side) float32
    dust : int
        Pixels that were replaced.
    """
    if not settings.changes_pixels:
        return boxes, 0
    out = np.empty((len(boxes), settings.side, settings.side), np.float32)
    outside = background(settings.side, settings.background_radius)
    shifts = zip((y - centre_pixels(y)).tolist(), (x - centre_pixels(x)).tolist(), strict=True)
    replaced = 0
    for number, (particle, shift) in enumerate(zip(boxes, shifts, strict=True)):
        if settings.dust is not None:
            particle, count = without_dust(particle, settings.dust)
            replaced += count
        if settings.rescale is not None:
            particle = fourier_crop(particle, settings.side, shift)
        if settings.normalize:
            mean, deviation = particle[outside].mean(dtype=np.float64), particle[outside].std(dtype=np.float64)
            particle = (particle - np.float32(mean)) / np.float32(deviation or 1.0)
        out[number] = -particle if settings.invert else particle
    return out, replaced
