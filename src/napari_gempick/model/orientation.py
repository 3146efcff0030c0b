"""Binned, exchanged and flipped coordinates: the eight ways to lay a square grid, and a scale; psi follows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_gempick.model.picks import Picks

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
        x, y, psi = picks.x * self.scale, picks.y * self.scale, picks.psi
        ny, nx = shape or (0, 0)
        if self.swap:
            x, y, psi = y, x, -90.0 - psi
        if self.flip_x:
            x, psi = nx - 1 - x, 180.0 - psi
        if self.flip_y:
            y, psi = ny - 1 - y, -psi
        whole_x, whole_y = (np.rint(values).astype(np.int32) for values in (x, y))
        return replace(picks, x=x, y=y, psi=psi % 360.0, map_x=whole_x, map_y=whole_y)
