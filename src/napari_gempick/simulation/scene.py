"""The objects in the ice of a simulated micrograph: particles with their truth, ice crystals, fragments, a carbon edge.

Fields are (y, x) float32 on a canvas that is wider than the micrograph by a margin on every side, so that nothing wraps
around when the lens is applied. `phase` is the projected potential in V Å, `absorption` the optical depth.

A particle like keyhole limpet haemocyanin, as a sum of Gaussians: its map and projections are exact at any angle.

Positions are (x, y, z) in Å around the particle's centre: x along the columns of an image or map, y along its rows
(downwards on screen), z along its sections. The projection is the integral over z.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from scipy import ndimage

from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_gempick.simulation.settings import SimulateSettings

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


MARGIN = 420.0
"""Å; wider than a particle's half-diagonal and its fringes."""

MASK_CLEARANCE = 12.0
"""Å between the particle's outline and its mask."""

_ATTEMPTS = 2000
_OUTLINE = 0.12  # of the highest projected potential


@dataclass(frozen=True)
class Particle:
    """One row of the truth.

    Attributes
    ----------
    x, y : float
        Column and row of the centre, pixels of the micrograph, 0-based.
    view : str
        "side", "top", or "ignore": tilted between both, or cut by the edge of the micrograph.
    psi : float
        Degrees, counter-clockwise on screen: the rotation that takes the unrotated template to the particle.
    """

    x: float
    y: float
    view: str
    psi: float


@dataclass(frozen=True, eq=False)
class Canvas:
    """The fields of one micrograph before the lens.

    Attributes
    ----------
    phase, absorption : (y, x) float32
        V Å of everything but the particles; optical depth.
    protein : (y, x) float32
        V Å of the particles alone.
    occupied : (y, x) bool
        Where nothing more can be placed.
    margin : int
        Pixels on every side of the micrograph, at least.
    spacing : float
        Å per pixel.
    """

    phase: NDArray[np.float32]
    absorption: NDArray[np.float32]
    protein: NDArray[np.float32]
    occupied: NDArray[np.bool_]
    margin: int
    spacing: float

    @classmethod
    def empty(cls, settings: SimulateSettings) -> Canvas:
        """Return a canvas with nothing on it; its sides suit the FFT."""
        margin = math.ceil(MARGIN / settings.pixel_size)
        height, width = (scipy.fft.next_fast_len(n + 2 * margin, real=True) for n in settings.shape)
        phase, absorption, protein = np.zeros((3, height, width), np.float32)
        return cls(phase, absorption, protein, np.zeros((height, width), bool), margin, settings.pixel_size)

    def around(self, x: float, y: float, reach: int) -> tuple[slice, slice]:
        """Return the (2 * reach + 1)² pixels of the canvas around the pixel nearest to (x, y) of the micrograph."""
        row, column = round(y) + self.margin, round(x) + self.margin
        return slice(row - reach, row + reach + 1), slice(column - reach, column + reach + 1)


def mask_size(view: str) -> tuple[float, float]:
    """Return the extent in Å of a view's mask along x and y at psi 0: a rectangle (side) or a circle (top)."""
    along = LENGTH if view == "side" else DIAMETER
    return along + 2 * MASK_CLEARANCE, DIAMETER + 2 * MASK_CLEARANCE


def place_particles(canvas: Canvas, settings: SimulateSettings, rng: np.random.Generator) -> list[Particle]:
    """Draw the particles at random free places, none over another, and return their truth.

    Outlines do not overlap and centres keep the least distance; neighbours may touch.

    Raises
    ------
    SettingsError
        There is no room for all.
    """
    ignored = round(settings.ignore_fraction * settings.particles)
    top = round(settings.top_fraction * (settings.particles - ignored))
    views = ["side"] * (settings.particles - ignored - top) + ["top"] * top + ["ignore"] * ignored
    reach = settings.box(canvas.spacing) // 2
    placed: list[Particle] = []
    for view in views:
        psi = round(float(rng.uniform(0, 360)), 2) % 360
        rotation = _random_orientation(view, psi, settings.wobble, rng)
        place = _claim_place(canvas, _outline(klh(), rotation, reach, canvas.spacing), settings, rng, placed)
        if place is None:
            raise SettingsError(
                f"Only {len(placed)} of {settings.particles} particles find room on a micrograph of "
                f"{settings.shape[1]} x {settings.shape[0]} pixels of {settings.pixel_size:g} Å; "
                "lower --particles or raise --size."
            )
        _draw(canvas, klh(), rotation, place, reach)
        placed.append(Particle(*place, view if _complete(view, *place, psi, settings) else "ignore", psi))
    return placed


def _random_orientation(view: str, psi: float, wobble: float, rng: np.random.Generator) -> NDArray[np.float64]:
    spin, lean = float(rng.uniform(0, 360)), float(rng.normal(0, wobble))
    if view == "side":
        return orientation(spin, 90 + lean, psi)
    if view == "top":  # leans in a random direction without turning in the plane
        return orientation(-spin, lean, psi + spin)
    return orientation(spin, float(rng.uniform(25, 65)), psi)


def _complete(view: str, x: float, y: float, psi: float, settings: SimulateSettings) -> bool:
    """Return whether the mask of a particle lies inside the micrograph."""
    along, across = (0.5 * size / settings.pixel_size for size in mask_size(view))
    c, s = abs(math.cos(math.radians(psi))), abs(math.sin(math.radians(psi)))
    dx, dy = (along * c + across * s, along * s + across * c) if view == "side" else (along, across)
    height, width = settings.shape
    return dx <= x <= width - 1 - dx and dy <= y <= height - 1 - dy


def _outline(particle: Phantom, rotation: NDArray[np.float64], reach: int, spacing: float) -> NDArray[np.bool_]:
    image = particle.projection(rotation, (2 * reach + 1, 2 * reach + 1), spacing)
    return np.asarray(ndimage.binary_fill_holes(image > _OUTLINE * image.max()), bool)


def _claim_place(
    canvas: Canvas,
    outline: NDArray[np.bool_],
    settings: SimulateSettings,
    rng: np.random.Generator,
    apart_from: Sequence[Particle] = (),
) -> tuple[float, float] | None:
    """Return a random centre (x, y) where an outline is free, and occupy it; None where there is no room."""
    reach = outline.shape[0] // 2
    nearest = settings.min_distance / canvas.spacing
    for _ in range(_ATTEMPTS):
        x, y = (round(float(rng.uniform(0, side - 1)), 2) for side in settings.shape[::-1])
        if any(math.hypot(x - other.x, y - other.y) < nearest for other in apart_from):
            continue
        area = canvas.occupied[canvas.around(x, y, reach)]
        if not (area & outline).any():
            area |= outline
            return x, y
    return None


def _draw(
    canvas: Canvas, particle: Phantom, rotation: NDArray[np.float64], centre: tuple[float, float], reach: int
) -> None:
    """Add a projection with its centre at (x, y) of the micrograph to the protein."""
    side = 2 * reach + 1
    inside = (centre[0] - round(centre[0]) + reach, centre[1] - round(centre[1]) + reach)
    canvas.protein[canvas.around(*centre, reach)] += particle.projection(rotation, (side, side), canvas.spacing, inside)


def _texture(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return Gaussian noise of unit variance, smooth over `sigma` pixels."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
    return np.asarray(noise / max(float(noise.std()), 1e-12), np.float32)


def add_carbon(canvas: Canvas, settings: SimulateSettings, rng: np.random.Generator) -> NDArray[np.float32]:
    """Cover one side of the micrograph with the granular film around a hole of 1.2 µm diameter.

    Returns its share of the full thickness, 0..1, on the canvas.
    """
    angle, depth = rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 0.75)
    ux, uy = math.cos(angle), math.sin(angle)
    height, width = settings.shape
    radius = 6000.0
    edge = depth * 0.5 * (abs(ux) * width + abs(uy) * height) * canvas.spacing  # Å from the middle to the film
    y, x = np.ogrid[: canvas.phase.shape[0], : canvas.phase.shape[1]]
    y, x = ((y - canvas.margin - height / 2) * canvas.spacing, (x - canvas.margin - width / 2) * canvas.spacing)
    outside = np.hypot(x - (edge - radius) * ux, y - (edge - radius) * uy).astype(np.float32) - radius
    outside += 10 * _texture(canvas.phase.shape, 45 / canvas.spacing, rng)  # a ragged edge
    film = 1 / (1 + np.exp(-np.clip(outside / 8, -30, 30)))
    grain = 65 * _texture(canvas.phase.shape, 5 / canvas.spacing, rng)
    clumps = 25 * _texture(canvas.phase.shape, 30 / canvas.spacing, rng)
    canvas.phase[:] += film * (900 + grain + clumps)  # V Å: 100 Å of 9 V
    canvas.absorption[:] += film * 0.09
    canvas.occupied[:] |= outside > -40
    return np.asarray(film, np.float32)


def add_contaminants(canvas: Canvas, settings: SimulateSettings, rng: np.random.Generator) -> None:
    """Add ice crystals (dark, irregular), then fragments of particles (one of three), as far as there is room."""
    fragments = settings.contaminants // 3
    for _ in range(settings.contaminants - fragments):
        thickness = _crystal(rng.uniform(60, 150), canvas.spacing, rng)
        place = _claim_place(canvas, thickness > 0, settings, rng)
        if place is not None:
            area = canvas.around(*place, thickness.shape[0] // 2)
            canvas.phase[area] += 2.5 * thickness  # V above the particle's surroundings
            canvas.absorption[area] += thickness / 1000  # crystals scatter out of the aperture: they look dark inside
    for _ in range(fragments):
        fragment = klh().part(int(rng.integers(len(klh().positions))), int(rng.integers(30, 70)))
        rotation = orientation(*rng.uniform(0, 360, 3))
        reach = math.ceil(200 / canvas.spacing)
        place = _claim_place(canvas, _outline(fragment, rotation, reach, canvas.spacing), settings, rng)
        if place is not None:
            _draw(canvas, fragment, rotation, place, reach)


def _crystal(size: float, spacing: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the thickness in Å, (n, n) with n odd, of one to four grown-together grains of up to `size` Å radius."""
    reach = math.ceil(2.6 * size / spacing) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] * spacing
    height = np.zeros(y.shape)
    centre = np.zeros(2)
    for _ in range(int(rng.integers(1, 5))):
        radius = size * rng.uniform(0.5, 1)
        stretch, turn = rng.uniform(1, 1.4), rng.uniform(0, math.pi)
        u = (x - centre[0]) * math.cos(turn) + (y - centre[1]) * math.sin(turn)
        v = (y - centre[1]) * math.cos(turn) - (x - centre[0]) * math.sin(turn)
        height = np.maximum(height, radius**2 - (u / stretch) ** 2 - (v * stretch) ** 2)
        away = rng.uniform(0, 2 * math.pi)
        centre = size * rng.uniform(0.4, 0.9) * np.array([math.cos(away), math.sin(away)])
    shape = height.shape
    rough = 1 + 0.12 * _texture(shape, 20 / spacing, rng) + 0.08 * _texture(shape, 8 / spacing, rng)
    thickness = 1.2 * np.sqrt(height) * np.clip(rough, 0.1, None)
    return np.asarray(thickness, np.float32)
