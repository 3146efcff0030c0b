"""Overlap-save tiles: their shape by a device's cost model, their places, and the precision each one needs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.device.base import HOST
from napari_gempick.device.tiling import CPU_TILING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.device.base import Arrays
    from napari_gempick.device.tiling import Tiling
    from napari_gempick.model.geometry import Extent

FLOOR = 1e-4
"""A local standard deviation below this (in units of the micrograph's) counts as none: the score is 0."""

ROUNDING = 5e-7
"""Largest error of a single-precision FFT correlation relative to its root mean square (measured: less)."""

TOLERANCE = 4e-5
"""Largest error of a score that single precision may cause; tiles where the bound is larger run in double precision."""

CORE_WEIGHT = 0.5
"""Mask weight that counts as inside where the local variance is bounded from below."""


@dataclass(frozen=True)
class Tile:
    """One tile.

    Attributes
    ----------
    rows, columns : slice
        The positions of the score map that it computes.
    top, left : int
        Image pixel at the tile's element (0, 0); negative where the tile hangs over the edge.
    """

    rows: slice
    columns: slice
    top: int
    left: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the positions."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def wider(self, by: int, rows: slice, columns: slice) -> Tile:
        """Return the tile with `by` positions added on each side, within these rows and columns."""
        top, left = max(rows.start, self.rows.start - by), max(columns.start, self.columns.start - by)
        bottom, right = min(rows.stop, self.rows.stop + by), min(columns.stop, self.columns.stop + by)
        moved = self.top + top - self.rows.start, self.left + left - self.columns.start
        return Tile(slice(top, bottom), slice(left, right), *moved)

    def block(
        self,
        image: NDArray[np.float32],
        fft_shape: tuple[int, int],
        *,
        margin: int = 0,
        centre: bool = True,
        on: Arrays = HOST,
    ) -> NDArray[np.float64]:
        """Return the (fy, fx) float64 input, centred on its mean over the image, 0 outside the image.

        The image has `margin` pixels more on each side than the map. It lies where `on` says, and so does the block.

        The NCC does not depend on the offset; without it the sums of squares keep more digits.
        """
        top, left = self.top + margin, self.left + margin
        y0, x0 = max(0, top), max(0, left)
        y1, x1 = min(image.shape[0], top + fft_shape[0]), min(image.shape[1], left + fft_shape[1])
        inside = image[y0:y1, x0:x1].astype(np.float64)
        if centre:
            inside -= inside.mean()
        block: NDArray[np.float64] = on.xp.zeros(fft_shape)
        block[y0 - top : y1 - top, x0 - left : x1 - left] = inside
        return block


def choose_fft_shape(positions: tuple[int, int], box: tuple[int, int], tiling: Tiling = CPU_TILING) -> tuple[int, int]:
    """Return the tile's transform lengths (fy, fx) that cost least for a map of `positions` under a mask `box`.

    A transform of length f gives f - box + 1 positions that the wrap-around does not reach; more need more tiles.
    """

    def candidates(length: int, margin: int) -> dict[int, int]:
        counts: dict[int, int] = {}
        for fast in tiling.lengths:
            if fast <= margin:
                continue
            count = math.ceil(length / (fast - margin))
            counts[fast] = count
            if count == 1:
                break
        if not counts:
            counts[2 ** math.ceil(math.log2(length + margin))] = 1
        return counts

    rows, columns = (candidates(max(1, n), b - 1) for n, b in zip(positions, box, strict=True))
    best = min(
        (
            (ny * nx * tiling.cost(fy, fx) + tiling.spectrum_cost(fy, fx), fy, fx)
            for fy, ny in rows.items()
            for fx, nx in columns.items()
        )
    )
    return best[1], best[2]


def layout(rows: slice, columns: slice, extent: Extent, fft_shape: tuple[int, int]) -> list[Tile]:
    """Cut the positions `rows` x `columns` of a map into tiles, row by row, nearly equal in size.

    `extent` is the bank's box around each position.
    """
    box = extent.box

    def pieces(span: slice, size: int) -> list[slice]:
        length = span.stop - span.start
        count = math.ceil(length / size)
        edges = [span.start + round(i * length / count) for i in range(count + 1)] if count else []
        return [slice(a, b) for a, b in itertools.pairwise(edges)]

    return [
        Tile(row, column, row.start - extent.top, column.start - extent.left)
        for row in pieces(rows, fft_shape[0] - box[0] + 1)
        for column in pieces(columns, fft_shape[1] - box[1] + 1)
    ]


@dataclass(frozen=True)
class Precision:
    """Which parts of a tile's work need double precision.

    Attributes
    ----------
    scores, statistics : str
        "single" or "double".
    rounding : float
        Largest error of a score that the rounding of a transform causes.
    """

    scores: str
    statistics: str
    rounding: float = TOLERANCE


class PrecisionRule:
    """Decides each tile's precision from its own grey levels, by a bound on the error of the score.

    The image is cut into cells so small that every mask, wherever it lies, holds a whole cell under weights of at
    least CORE_WEIGHT. A cell of n pixels with variance v_c has CORE_WEIGHT n v_c <= N v for the local variance v under
    a mask of area N around it, so the least v_c of a tile bounds its local standard deviations s from below. By Young's
    inequality the correlations' root mean squares are at most those of S and S^2 over the tile, so single precision
    errs by at most ROUNDING rms(S) / s in the numerator and ROUNDING rms(S^2) / (2 s^2) through s.

    Parameters
    ----------
    image : (my, mx) float32
        The micrograph on the searched grid.
    core : (h, w) float32
        The smallest weight of any mask at each pixel of the bank's box.
    largest : float
        The largest area N of the bank's masks.
    """

    def __init__(self, image: NDArray[np.float32], core: NDArray[np.float32], largest: float) -> None:
        rectangle = largest_rectangle(core >= CORE_WEIGHT)
        self._cell = tuple((n + 1) // 2 for n in rectangle[2:]) if rectangle else (1, 1)
        ny, nx = (max(0, n // c) for n, c in zip(image.shape, self._cell, strict=True))
        cy, cx = self._cell
        cells = image[: ny * cy, : nx * cx].reshape(ny, cy, nx, cx)
        mean = cells.mean(axis=(1, 3), dtype=np.float64, keepdims=True)
        variance = np.square(cells - mean.astype(np.float32)).mean(axis=(1, 3), dtype=np.float64)
        self._lowest = variance * (CORE_WEIGHT * cy * cx / largest)

    def __call__(self, block: NDArray[np.float64], tile: Tile) -> Precision:
        """Return the precisions for a tile's centred block (fy, fx)."""
        span = tuple(
            slice(max(0, start) // cell, (start + length) // cell + 1)
            for start, length, cell in zip((tile.top, tile.left), block.shape, self._cell, strict=True)
        )
        lowest = float(self._lowest[span].min(initial=np.inf))
        if not FLOOR * FLOOR < lowest < np.inf:
            return Precision("double", "double")
        squares = block * block
        numerator = ROUNDING * math.sqrt(float(squares.mean()) / lowest)
        sigma = ROUNDING * math.sqrt(float(np.vdot(squares, squares)) / squares.size) / (2 * lowest)
        scores, statistics = ("double" if error > TOLERANCE else "single" for error in (numerator, sigma))
        return Precision(scores, statistics, numerator if scores == "single" else min(TOLERANCE, numerator * 1e-8))


def largest_rectangle(inside: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Return (y, x, height, width) of a large axis-parallel rectangle of True, None where there is none.

    Grown from the True pixel nearest to the middle, one side at a time: not always the largest, always inside.
    """
    rows, columns = np.nonzero(inside)
    if not rows.size:
        return None
    middle = np.hypot(rows - inside.shape[0] // 2, columns - inside.shape[1] // 2).argmin()
    y0 = y1 = int(rows[middle])
    x0 = x1 = int(columns[middle])
    grown = True
    while grown:
        grown = False
        if y0 > 0 and inside[y0 - 1, x0 : x1 + 1].all():
            y0, grown = y0 - 1, True
        if y1 + 1 < inside.shape[0] and inside[y1 + 1, x0 : x1 + 1].all():
            y1, grown = y1 + 1, True
        if x0 > 0 and inside[y0 : y1 + 1, x0 - 1].all():
            x0, grown = x0 - 1, True
        if x1 + 1 < inside.shape[1] and inside[y0 : y1 + 1, x1 + 1].all():
            x1, grown = x1 + 1, True
    return y0, x0, y1 - y0 + 1, x1 - x0 + 1
