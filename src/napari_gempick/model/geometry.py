"""Pixels and Å: grids, rotations, extents around a centre, and the eight ways to lay a square grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.model.picks import Picks

    Floats = NDArray[np.float64]

MAX_RATIO_NUMERATOR = 24
"""Largest numerator of a grid ratio: the micrograph is padded to a multiple of it before the Fourier crop."""
BOX_OVER_DIAMETER = 1.5


def box_over_diameter(diameter: float, pixel_size: float) -> int:
    """Return the box size of a particle in pixels: 1.5 diameters (Å), even; `pixel_size` in Å."""
    return 2 * math.ceil(BOX_OVER_DIAMETER * diameter / pixel_size / 2)


@dataclass(frozen=True)
class Grid:
    """The grid that is searched: the file's own, or a coarser one that shares pixel (0, 0) with it.

    Attributes
    ----------
    file_shape : (ny, nx)
        Shape of the micrograph in its file, pixels.
    pixel_size : float
        Å per pixel of the file.
    ratio : Fraction
        Map pixel over file pixel, equal in y and x, at least 1.
    """

    file_shape: tuple[int, int]
    pixel_size: float
    ratio: Fraction = Fraction(1)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the score map: every map pixel whose centre lies on the micrograph."""
        ny, nx = (int((n - 1) / self.ratio) + 1 for n in self.file_shape)
        return ny, nx

    @property
    def oversampling(self) -> int:
        """How many times finer than the map templates and masks are multiplied: the file's grid for ratios up to 4."""
        return self.ratio.numerator if self.ratio.denominator == 1 and self.ratio.numerator <= 4 else 3

    def scored(self, extent: Extent) -> tuple[slice, slice]:
        """Return the rows and columns of the map at which a support lies inside the micrograph; they may be empty.

        `extent` is the support's on the grid on which templates and masks are multiplied. A map position is scored
        where the same position of that grid would be.
        """
        found, finer = [], self.oversampling
        above, below = self.ratio.numerator, self.ratio.denominator
        reaches = ((extent.top, extent.bottom), (extent.left, extent.right))
        for n, (before, after) in zip(self.file_shape, reaches, strict=True):
            start = -(-before // finer)
            stop = ((n - 1) * below * finer - after * above) // (above * finer) + 1
            found.append(slice(start, max(start, stop)))
        return found[0], found[1]

    @property
    def map_pixel_size(self) -> float:
        """Å per pixel of the map."""
        return self.pixel_size * float(self.ratio)


def coarsest_ratio(lowpass: float | None, pixel_size: float) -> Fraction:
    """Return the largest grid ratio whose Nyquist frequency is not below 1 / `lowpass` (Å); 1 without a low-pass.

    Numerators up to MAX_RATIO_NUMERATOR, or a whole number beyond it.
    """
    if lowpass is None:
        return Fraction(1)
    limit = lowpass / (2.0 * pixel_size) * (1 + 1e-9)
    best = Fraction(max(1, math.floor(limit)))
    for numerator in range(1, MAX_RATIO_NUMERATOR + 1):
        denominator = math.ceil(numerator / limit)
        candidate = Fraction(numerator, max(1, denominator))
        if best < candidate <= limit:
            best = candidate
    return best


def rotation_count(step: float, full: float) -> int:
    """Return how many in-plane angles k * step lie below `full` (degrees); 1 when there is no rotation."""
    if step <= 0 or full <= 0:
        return 1
    return max(1, math.ceil(full / step - 1e-9))


@dataclass(frozen=True)
class Extent:
    """How far a mask's support reaches from its centre pixel, in pixels, all at least 0 unless it misses the centre."""

    top: int
    left: int
    bottom: int
    right: int

    def union(self, other: Extent) -> Extent:
        """Return the smallest extent that holds both."""
        return Extent(
            max(self.top, other.top),
            max(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    @property
    def box(self) -> tuple[int, int]:
        """Height and width of the box that holds the support."""
        return self.top + self.bottom + 1, self.left + self.right + 1


Shape = tuple[int, int]
"""Rows and columns of a micrograph, px."""


@dataclass(frozen=True)
class Orientation:
    """A change of the grid that coordinates refer to: first scaled, then x and y exchanged, then flipped.

    A flip or an exchange mirrors the image, so the template becomes its mirror image too: psi afterwards is the
    angle of the template flipped in y (rows upside down). For a template that looks the same upside down, psi says
    where its x axis points, before and after. Two mirrors are a rotation, and the template stays.

    Attributes
    ----------
    scale : float
        Coordinates, box size and micrograph size are multiplied by it, the pixel size is divided. The grids share
        pixel (0, 0), so positions need no half-pixel shift.
    swap : bool
        Exchange x and y.
    flip_x, flip_y : bool
        x' = nx - 1 - x, y' = ny - 1 - y, on the grid after the exchange.
    """

    scale: float = 1.0
    swap: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def needs_shape(self) -> bool:
        """Whether the micrograph's size must be known."""
        return self.flip_x or self.flip_y

    def shape_after(self, shape: Shape) -> Shape:
        """Return (ny, nx) of the grid that the changed coordinates refer to, given the one before."""
        ny, nx = (max(1, round(n * self.scale)) for n in (reversed(shape) if self.swap else shape))
        return ny, nx

    def shape_before(self, shape: Shape) -> Shape:
        """Return (ny, nx) of the grid before the change, given the one after; binning drops incomplete pixels."""
        ny, nx = (max(1, int(n / self.scale + 1e-9)) for n in (reversed(shape) if self.swap else shape))
        return ny, nx

    def apply(self, picks: Picks, shape: Shape | None = None) -> Picks:
        """Return the picks on the changed grid, in the same order.

        Parameters
        ----------
        shape : (ny, nx), optional
            Of the grid after the change, px; flips need it.
        """
        x, y, psi = self.carry(picks.x, picks.y, picks.psi, shape)
        whole_x, whole_y = (np.rint(values).astype(np.int32) for values in (x, y))
        return replace(picks, x=x, y=y, psi=psi, map_x=whole_x, map_y=whole_y)

    def carry(self, x: Floats, y: Floats, psi: Floats, shape: Shape | None = None) -> tuple[Floats, Floats, Floats]:
        """Return x, y and psi on the changed grid; `shape` as in `apply`."""
        x, y = x * self.scale, y * self.scale
        ny, nx = shape or (0, 0)
        if self.swap:
            x, y, psi = y, x, -90.0 - psi
        if self.flip_x:
            x, psi = nx - 1 - x, 180.0 - psi
        if self.flip_y:
            y, psi = ny - 1 - y, -psi
        return x, y, psi % 360.0

    def then(self, other: Orientation) -> Orientation:
        """Return the change that does this one first and `other` after it."""
        flip_x, flip_y = (self.flip_y, self.flip_x) if other.swap else (self.flip_x, self.flip_y)
        return Orientation(
            self.scale * other.scale, self.swap != other.swap, flip_x != other.flip_x, flip_y != other.flip_y
        )

    @property
    def options(self) -> str:
        """The options of `gempick convert` that make this change."""
        scale = Fraction(self.scale).limit_denominator(64)
        flags = {"--swap-xy": self.swap, "--flip-x": self.flip_x, "--flip-y": self.flip_y}
        return " ".join([f"--bin {scale}"] * (scale != 1) + [flag for flag, is_set in flags.items() if is_set])
