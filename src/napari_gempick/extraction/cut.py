"""Cut particles out of a micrograph, and bring them to the size, the grey levels and the sign that are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
from scipy.ndimage import map_coordinates

from napari_gempick.engine.templates.sampling import rotation_matrix

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from napari_gempick.extraction.settings import ExtractSettings

    Floats: TypeAlias = NDArray[np.float32]

BACKGROUND_RADIUS = 0.375
"""Radius over the side of the box: the background lies outside this circle."""
_DUST_NEIGHBOURS = 5


def box_centres(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the pixels that boxes are centred on, px: the digits after the point are dropped, as RELION drops them.

    A position within 1e-6 px of a whole number counts as that number.
    """
    return np.trunc(np.round(np.asarray(x, np.float64), 6)).astype(np.int64)


def fits(x: NDArray[np.float64], y: NDArray[np.float64], box: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which boxes lie inside a micrograph of `shape` (ny, nx), (n,) bool."""
    inside = np.ones(len(x), np.bool_)
    for values, n in ((x, shape[1]), (y, shape[0])):
        start = box_centres(values) - box // 2
        inside &= (start >= 0) & (start + box <= n)
    return inside


def touches(x: NDArray[np.float64], y: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which centres lie on a pixel of the micrograph, (n,) bool."""
    column, row = (np.floor(np.asarray(values) + 0.5) for values in (x, y))
    return (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])


def cut(image: NDArray[Any], x: NDArray[np.float64], y: NDArray[np.float64], box: int) -> Floats:
    """Return boxes of a micrograph whose pixel (box // 2, box // 2) is the one that `box_centres` gives.

    Parameters
    ----------
    image : (ny, nx) array
        Any real dtype.
    x, y : (n,) float64
        Centres, px.

    Returns
    -------
    (n, box, box) float32
        Slices of the micrograph; pixels outside repeat the nearest one inside, as in RELION.
    """
    ny, nx = image.shape
    out = np.empty((len(x), box, box), np.float32)
    tops, lefts = (box_centres(values) - box // 2 for values in (y, x))
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


def fourier_crop(particle: Floats, side: int) -> Floats:
    """Return a particle on a grid of side x side pixels that spans the same square.

    Parameters
    ----------
    particle : (n, n) float32
    side : int
        At most n.

    Returns
    -------
    (side, side) float32
        With the same mean; what was at pixel n // 2 is at pixel side // 2. The square is taken as periodic, as ever in
        Fourier space. Of an even side's Nyquist frequency, which is there once instead of twice, the positive one is
        kept, as RELION does.
    """
    n = particle.shape[0]
    if side == n:
        return particle
    spectrum = scipy.fft.rfft2(particle)
    moved = n // 2 - (side // 2) * n / side
    if moved:
        frequency = np.fft.fftfreq(n)[:, None] + np.fft.rfftfreq(n)[None, :]
        spectrum *= np.exp(2j * np.pi * moved * frequency).astype(np.complex64)
    rows = np.r_[: side // 2 + 1, n - (side - 1) // 2 : n]
    cropped = np.ascontiguousarray(spectrum[rows, : side // 2 + 1])
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
    """Return which pixels of a particle lie outside the circle of `radius` px about pixel side // 2.

    By default the radius is 0.375 of the side without the digits after the point, as in RELION.
    """
    steps = np.arange(side) - side // 2
    return np.hypot(steps[:, None], steps[None, :]) > (radius or int(BACKGROUND_RADIUS * side))


def normalized(particle: Floats, outside: NDArray[np.bool_], *, ramp: bool) -> Floats:
    """Return a particle whose background has mean 0 and standard deviation 1.

    Parameters
    ----------
    particle : (n, n) float32
    outside : (n, n) bool
        The background.
    ramp : bool
        Subtract the plane that fits the background best, by least squares, and not only its mean.

    Returns
    -------
    (n, n) float32
        A background without any deviation is only subtracted.
    """
    values = particle.astype(np.float64)
    if ramp:
        steps = np.arange(len(particle)) - len(particle) // 2
        plane = np.stack([np.ones(particle.shape), *np.meshgrid(steps, steps, indexing="ij")], axis=-1)
        values -= plane @ np.linalg.lstsq(plane[outside], values[outside], rcond=None)[0]
    values -= values[outside].mean()
    deviation = float(values[outside].std())
    tiny = 1e-6 * max(1e-6, float(np.abs(particle).max()))  # what rounding leaves of a constant or a plane
    return np.asarray(values / deviation if deviation > tiny else values, np.float32)


def finish(boxes: Floats, settings: ExtractSettings) -> tuple[Floats, int]:
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
    replaced = 0
    for number, particle in enumerate(boxes):
        if settings.dust is not None:
            particle, count = without_dust(particle, settings.dust)
            replaced += count
        particle = fourier_crop(particle, settings.side)
        if settings.normalize:
            particle = normalized(particle, outside, ramp=settings.ramp)
        out[number] = -particle if settings.invert else particle
    return out, replaced
