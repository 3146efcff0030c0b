"""A particle like keyhole limpet haemocyanin, as a sum of Gaussians: its map and projections are exact at any angle.

Positions are (x, y, z) in Å around the particle's centre: x along the columns of an image or map, y along its rows
(downwards on screen), z along its sections. The projection is the integral over z.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIAMETER, LENGTH = 345.0, 385.0
"""Å; the cylinder's outer diameter and its length."""

_DOMAIN_POTENTIAL = 25e3 * 1.21 * 2.5
"""V Å³; potential of a 25 kDa domain above that of ice: 1.21 Å³ per dalton, 2.5 V."""


@dataclass(frozen=True, eq=False)
class Phantom:
    """Equal isotropic Gaussians.

    Attributes
    ----------
    positions : (k, 3) float64
        x, y, z in Å.
    sigma : float
        Å; standard deviation of each.
    weight : float
        V Å³; the integral of each.
    """

    positions: NDArray[np.float64]
    sigma: float
    weight: float

    def density(self, n: int, spacing: float) -> NDArray[np.float32]:
        """Return the potential in V, (z, y, x) with n voxels of `spacing` Å a side; the centre is voxel n // 2."""
        grid = (np.arange(n) - n // 2) * spacing
        gx, gy, gz = (self._profiles(grid, self.positions[:, axis]) for axis in range(3))
        volume = np.empty((n, n, n), np.float32)
        for section, heights in zip(volume, gz, strict=True):
            section[:] = self.weight * (gy * heights) @ gx.T
        return volume

    def projection(
        self,
        rotation: NDArray[np.float64],
        shape: tuple[int, int],
        spacing: float,
        centre: tuple[float, float] | None = None,
    ) -> NDArray[np.float32]:
        """Project the rotated particle along z.

        Parameters
        ----------
        rotation : (3, 3) float64
            Acts on (x, y, z) columns; see `orientation`.
        shape : (h, w)
            Of the image.
        spacing : float
            Å per pixel.
        centre : (x, y), optional
            Pixel position of the particle's centre, with fractions; default (w // 2, h // 2).

        Returns
        -------
        (h, w) float32
            Projected potential in V Å.
        """
        height, width = shape
        x, y = centre if centre is not None else (width // 2, height // 2)
        moved = self.positions @ rotation.T
        gx = self._profiles((np.arange(width) - x) * spacing, moved[:, 0])
        gy = self._profiles((np.arange(height) - y) * spacing, moved[:, 1])
        return (self.weight * gy @ gx.T).astype(np.float32)

    def part(self, near: int, count: int) -> Phantom:
        """Return the `count` Gaussians nearest to number `near`, moved to their own centre: a broken particle."""
        distance = np.linalg.norm(self.positions - self.positions[near], axis=1)
        chosen = self.positions[np.argsort(distance, kind="stable")[:count]]
        return Phantom(chosen - chosen.mean(axis=0), self.sigma, self.weight)

    def _profiles(self, grid: NDArray[np.floating], means: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the normalised Gaussians (1/Å) on a grid: (grid, k)."""
        distance = (grid[:, None] - means[None, :]) / self.sigma
        profile: NDArray[np.float64] = np.exp(-0.5 * distance**2) / (math.sqrt(2 * math.pi) * self.sigma)
        return profile


def _about_z(angle: float) -> NDArray[np.float64]:
    """Rotation in the image plane, counter-clockwise on screen (y points down)."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


def orientation(spin: float, tilt: float, psi: float) -> NDArray[np.float64]:
    """Return the rotation matrix, acting on (x, y, z), of a particle.

    Parameters
    ----------
    spin : float
        Degrees about the particle's own axis, first.
    tilt : float
        Degrees between the particle's axis and the beam, towards +x: 0 is the top view, 90 the side view with the
        cylinder's axis along x (horizontal on screen).
    psi : float
        Degrees in the image plane, counter-clockwise on screen (row 0 on top), last.
    """
    c, s = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    tilted = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    rotation: NDArray[np.float64] = _about_z(psi) @ tilted @ _about_z(spin)
    return rotation


@functools.cache
def klh() -> Phantom:
    """Return a didecamer like keyhole limpet haemocyanin, its axis along z, with D5 symmetry.

    Each half has a wall of three tiers of 20 functional units and, inside its outer end, a collar and an arch of ten
    each; a unit (50 kDa) is two Gaussians. The arrangement follows the published descriptions of molluscan
    haemocyanin (160 units, 8 MDa, a hollow cylinder of six tiers); the coordinates are made up.
    """
    units = []  # of one fifth of the upper half: radius, azimuth (degrees), z, slant (degrees) of a unit
    for z, slant, twist in ((32.0, 30.0, 0.0), (98.0, -62.0, 7.0), (163.0, 55.0, 2.0)):
        for azimuth in (-26.0, -9.0, 9.0, 26.0):
            lift = 3.0 if azimuth in (-9, 26) else -3.0
            units.append((147.0 + lift, azimuth + twist, z + lift, slant))
    units += [(100.0, azimuth, 146.0, 20.0) for azimuth in (-12.0, 12.0)]
    units += [(84.0, azimuth, 172.0, 0.0) for azimuth in (24.0, 48.0)]
    domains = []
    for radius, azimuth, z, slant in units:
        along, up = 15 * math.cos(math.radians(slant)), 15 * math.sin(math.radians(slant))
        for side in (-1, 1):
            unit = np.array([radius + 5 * side, side * along, z + side * up])
            domains += [_about_z(azimuth + 72 * fold) @ unit for fold in range(5)]
    half = np.array(domains)
    return Phantom(np.concatenate([half, half * [1, -1, -1]]), sigma=10.5, weight=_DOMAIN_POTENTIAL)
