"""Binned, exchanged and flipped coordinates: the eight ways to lay a square grid, and a scale; psi follows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.model.picks import Picks

    Floats = NDArray[np.float64]

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
        pixel (0, 0), so there is no half-pixel term.
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
        picks : Picks
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
