"""Pixels and Å: the searched grid of a micrograph, the rotations of a view, extents around a centre."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

MAX_RATIO_NUMERATOR = 24
"""Largest numerator of a grid ratio: the micrograph is padded to a multiple of it before the Fourier crop."""


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
        return self.ratio.numerator if self.ratio.denominator == 1 and self.ratio <= 4 else 3

    def scored(self, extent: Extent) -> tuple[slice, slice]:
        """Return the rows and columns of the map at which a support lies inside the micrograph; they may be empty.

        `extent` is the support's on the grid on which templates and masks are multiplied. A map position is scored
        where the same position of that grid would be.
        """
        found = []
        reaches = ((extent.top, extent.bottom), (extent.left, extent.right))
        for n, (before, after) in zip(self.file_shape, reaches, strict=True):
            start = math.ceil(Fraction(before, self.oversampling))
            stop = math.floor((n - 1) / self.ratio - Fraction(after, self.oversampling)) + 1
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
