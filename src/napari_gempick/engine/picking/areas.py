"""Large areas that are unlike the rest of a micrograph, as carbon is: by grey level and by texture.

Everything here is on a binned grid. A map (of the grey level, or of the logarithm of the power in a band) is compared
with the plane that most of its pixels lie near, so an area may cover a large part of the micrograph; what noise and
particles do to the map is read from differences between neighbours, which an edge hardly changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Areas = NDArray[np.bool_]

CLEAR = 3.0
"""Deviations of the map by which a large area differs from the rest."""
LEAST_LEVEL, LEAST_POWER = 0.3, 0.4
"""The least difference: of the grey level, in usual local deviations; of the power, as a natural logarithm."""
SHARP = 0.8
"""Share of an area's difference that is reached right at its edge: ice that thickens slowly has none."""
LEAST_SIGN = 20.0
"""Squares of the diameter, far from edges, that it takes to see whether particles are lighter than ice."""
TAIL = 0.5
"""Skewness of the grey level from which on its lighter tail is clearly longer."""
MOST_LIGHT = 0.35
"""Share of the micrograph; a lighter area that is larger is the ice, and the rest is carbon."""
RADIUS = 0.75
"""Diameters; a large area holds a disc of this radius."""
LEAST_AREA, LEAST_SHARE = 3.0, 0.04
"""Squares of the diameter that a large area has at least; its share of the micrograph if only texture differs."""
GAP = 0.3
"""Diameters; an edge still cuts off the area behind it where its gaps are at most twice as wide as this."""
ALIKE = 9.0
"""Squares of the diameter; a larger area tells no more about a region that is cut off, because ice varies a little."""
MOST_CUT_OFF = 0.4
"""The region that is cut off is smaller than the rest by this factor."""
TRIALS, SAMPLES, REFINED = 400, 1500, 20
BAND = 4.0
"""Deviations around a plane that its pixels lie in, particles included: of two planes the one with more is the ice."""
NEAR = 1.0
"""Deviations around the plane within which pixels count: more would let a tilted plane between ice and carbon win."""


@dataclass(frozen=True, eq=False)
class Map:
    """One property of a micrograph, less the plane that holds most of it.

    Attributes
    ----------
    values : (ny, nx) float64
    plane : (ny, nx) float64
    sigma : float
        What noise and particles do to it.
    smoothing : float
        Standard deviation of the Gaussian behind the values, pixels.
    least : float
        The smallest difference that counts.
    power : bool
        The values are logarithms of the power.
    """

    values: Values
    plane: Values
    sigma: float
    smoothing: float
    least: float
    power: bool

    def middle(self, depth: float) -> float:
        """Return the value at the edge of an area of a depth: half of both sides, of the power if that is it."""
        return math.log((1 + math.exp(depth)) / 2) if self.power else depth / 2


def level_areas(binned: Values, size: float) -> tuple[Areas, Map]:
    """Find areas that are darker or lighter than the rest, have a sharp edge and are larger than a particle.

    Where the lighter side covers more than a third, it is the ice, and the darker one carbon that may cover more.

    Parameters
    ----------
    binned : (ny, nx) float64
    size : float
        The particle's diameter, pixels of the binned grid.

    Returns
    -------
    found : (ny, nx) bool
    level : Map
        The grey level.
    """
    smooth = gaussian_filter(binned, size / 4, mode="nearest")
    usual = math.sqrt(float(np.median(gaussian_filter(np.square(binned - smooth), size / 4, mode="nearest"))))
    level = _map(smooth, size, size / 4, LEAST_LEVEL * usual, power=False)
    sides = {sign: _areas(level, sign, size, holes=size / 2) for sign in (1, -1)}
    light = sides[-dense(smooth, sides[1] | sides[-1], level.sigma, size)]
    carbon = np.zeros_like(light)
    if light.any():
        other = _map(smooth, size, size / 4, LEAST_LEVEL * usual, power=False, inside=light)
        near = [float((np.abs(one.values) < BAND * one.sigma).mean()) for one in (level, other)]
        if light.mean() > MOST_LIGHT:
            level, carbon = other, ~light
        elif near[1] > near[0]:
            level = other
    return carbon | _areas(level, 1, size) | _areas(level, -1, size), level


def texture_areas(binned: Values, within: Values | None, found: Areas, size: float) -> tuple[Areas, list[Map]]:
    """Find areas that are rougher than the rest, have a sharp edge and are larger than a particle.

    Parameters
    ----------
    binned : (ny, nx) float64
    within : (ny, nx) float64, optional
        The variance within each bin.
    found : (ny, nx) bool
        Areas already found; their edges have a power of their own.
    size : float
        The particle's diameter, pixels of the binned grid.

    Returns
    -------
    rough : (ny, nx) bool
        Areas that lie mostly outside those already found.
    maps : list of Map
        The power in bands, the finest first.
    """
    inner = np.maximum(distance_to(found), distance_to(~found)) > 0.4 * size
    finer = [gaussian_filter(binned, width, mode="nearest") for width in (size / 16, size / 8)]
    bands = [np.square(binned - finer[0]), np.square(finer[0] - finer[1])]
    rough, maps = np.zeros_like(found), []
    for band in bands if within is None else [within, *bands]:
        mean = np.nan_to_num(local_mean(band, inner, size / 2), nan=float(np.median(band)))
        if mean.min() > 0:
            maps.append(_map(np.log(mean), size, size / 2, LEAST_POWER, power=True))
            rough |= _apart(_areas(maps[-1], 1, size), found)
    return rough, maps


def _apart(areas: Areas, found: Areas) -> Areas:
    """Return the areas that lie mostly outside those already found; where they overlap, the first outline is better."""
    parts, count = label(areas)
    inside = np.bincount(parts[found], minlength=count + 1)
    whole = np.bincount(parts.ravel(), minlength=count + 1)
    return np.asarray(areas & (inside < 0.5 * whole)[parts])


def local_mean(values: Values, where: Areas, width: float) -> Values:
    """Return the mean of the pixels that count under a Gaussian; NaN far from all of them."""
    weight = gaussian_filter(where.astype(np.float64), width, mode="nearest")
    mean = gaussian_filter(values * where, width, mode="nearest")
    return np.asarray(np.divide(mean, weight, out=np.full_like(mean, np.nan), where=weight > 0.05))


def _map(
    values: Values, size: float, smoothing: float, least: float, *, power: bool, inside: Areas | None = None
) -> Map:
    sigma = neighbour_deviation(values, round(size if not power else 2 * size))
    plane = mode_plane(values, sigma, size, inside)
    return Map(values - plane, plane, sigma, smoothing, least, power)


def neighbour_deviation(values: Values, apart: int) -> float:
    """Return the standard deviation of a map from differences between pixels so far `apart`: steps hardly count."""
    differences = [values[apart:] - values[:-apart], values[:, apart:] - values[:, :-apart]]
    away = np.concatenate([np.abs(d - np.median(d)).ravel() for d in differences if d.size] or [np.zeros(1)])
    return 1.4826 * float(np.median(away)) / math.sqrt(2)


def mode_plane(values: Values, sigma: float, size: float, inside: Areas | None = None) -> Values:
    """Return the plane that the most pixels of a map, or of an area in it, lie near.

    RANSAC: Fischler & Bolles 1981, Communications of the ACM 24, 381.
    """
    step = max(1, round(size / 4), math.ceil(math.sqrt(values.size / SAMPLES)))
    some = np.zeros(values.shape, bool)
    some[step // 2 :: step, step // 2 :: step] = True
    y, x = np.nonzero(some if inside is None else some & inside)
    base = np.stack([x / values.shape[1], y / values.shape[0], np.ones(x.size)], axis=1)
    seen = values[y, x]
    width = max(NEAR * sigma, 1e-12)
    triples = np.random.default_rng(0).integers(0, x.size, (TRIALS, 3))
    spread = np.abs(np.linalg.det(base[triples])) > 0.02
    planes = np.linalg.solve(base[triples[spread]], seen[triples[spread]][..., None])[..., 0]
    planes = np.concatenate([[[0, 0, float(np.median(seen))]], planes])
    counts = [float(_nearness(seen - base @ plane, width).sum()) for plane in planes]
    best, most = planes[0], -1.0
    for plane in planes[np.argsort(counts)[::-1][:REFINED]]:
        for _ in range(10):  # to the middle of the pixels near it
            weighted = base * _nearness(seen - base @ plane, width)[:, None]
            if np.linalg.matrix_rank(weighted.T @ base) < 3:
                break
            plane = np.linalg.solve(weighted.T @ base, weighted.T @ seen)
        count = float(_nearness(seen - base @ plane, width).sum())
        if count > most:
            best, most = plane, count
    rows, columns = np.indices(values.shape)
    return np.asarray(best[0] * columns / values.shape[1] + best[1] * rows / values.shape[0] + best[2])


def _nearness(rest: Values, width: float) -> Values:
    return np.asarray(np.maximum(1 - np.square(rest / width), 0))


def dense(smooth: Values, areas: Areas, sigma: float, size: float) -> int:
    """Return the sign that objects denser than ice have in a map of the grey level: 1 only if small ones are lighter.

    Particles, crystals and beads are dense, as carbon is: nearly always that is dark. The edges of large areas, which
    are small things too, do not count.
    """
    local = (smooth - gaussian_filter(smooth, size, mode="nearest")) / max(sigma, 1e-12)
    counts = (np.maximum(distance_to(areas), distance_to(~areas)) > 3 * size) & (np.abs(local) < 8)
    if counts.sum() < LEAST_SIGN * size**2:
        return -1
    away = local[counts] - np.median(local[counts])
    return 1 if float(np.mean(away**3)) > TAIL * float(np.mean(away**2)) ** 1.5 else -1


def cut_off(maps: list[Map], found: Areas, size: float) -> Areas:
    """Return what an edge that was found, or is likely, cuts off from most of the micrograph, and that differs from it.

    The inside of a carbon film may have the grey level of the ice, in a micrograph behind a high-pass; its texture has
    not.
    """
    out = np.zeros_like(found)
    parts, count = label(distance_to(found) > GAP * size)
    if count < 2:
        return out
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    most = int(np.argmax(areas)) + 1
    for number in range(1, count + 1):
        part = parts == number
        if number == most or areas[number - 1] > MOST_CUT_OFF * areas[most - 1]:
            continue
        n = max(1.0, areas[number - 1] / size**2)
        differ = [abs(float(np.median(m.values[part]) - np.median(m.values[parts == most]))) / m.sigma for m in maps]
        if n < LEAST_AREA or max(differ) * math.sqrt(min(n, ALIKE)) > CLEAR:
            out |= (distance_to(part) <= GAP * size + 1) & ~found
    return out


def _areas(one: Map, sign: int, size: float, holes: float = 0.0) -> Areas:
    """Return the areas of a sign; `holes` is the radius of particles that they may hold."""
    values, radius = sign * one.values, RADIUS * size
    least = max(LEAST_AREA * size**2, LEAST_SHARE * values.size if one.power else 0)
    found = np.zeros(values.shape, bool)
    parts, count = label(opened(closed(values > max(CLEAR * one.sigma, one.least), holes), radius))
    for number in range(1, count + 1):
        part = parts == number
        if part.sum() < least / 3 or found[part].all():
            continue
        depth = float(np.median(values[part]))
        whole, _ = label(opened(closed(values > sign * one.middle(sign * depth), holes), radius))
        touched = np.unique(whole[part])
        area = np.isin(whole, touched[touched > 0])
        if area.sum() >= least and _edge_step(values, area, one.smoothing) >= SHARP * depth:
            found |= area
    return found


def _edge_step(values: Values, area: Areas, width: float) -> float:
    """Return by how much a map differs right inside the edge of an area from right outside it."""
    inside, outside = distance_to(~area), distance_to(area)
    near = [(away > width) & (away <= 3 * width) for away in (inside, outside)]
    if not near[0].any():
        near[0] = area
    if not near[1].any():
        return 0.0
    return float(np.median(values[near[0]]) - np.median(values[near[1]]))


def distance_to(where: Areas) -> Values:
    """Return each pixel's distance from the nearest of an area; infinite without any."""
    return np.asarray(distance_transform_edt(~where)) if where.any() else np.full(where.shape, np.inf)


def closed(where: Areas, radius: float) -> Areas:
    """Return an area in which gaps narrower than a disc of this radius are filled."""
    return ~opened(~where, radius) if radius > 0 else where


def opened(where: Areas, radius: float) -> Areas:
    """Return the union of all discs of a radius that fit; beyond its border the micrograph continues."""
    if not where.any() or where.all():
        return where
    pad = math.ceil(radius) + 1
    wide = np.pad(where, pad, mode="edge")
    core = distance_to(~wide) > radius
    opening: Areas = (distance_to(core) <= radius)[pad:-pad, pad:-pad]
    return opening
