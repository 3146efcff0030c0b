"""The exact NCC in small windows: what a coarse search found, on the grid and at the angles of the real one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.engine.tiles import FLOOR, Tile
from napari_gempick.model.score_maps import vertex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_gempick.engine.preprocess.prepare import Prepared
    from napari_gempick.engine.templates.bank import Bank


SPAN = 30
"""Standard deviations from the mean up to which a window's grey levels are ordinary."""


@dataclass(frozen=True)
class Refined:
    """The best score in a window: position on the score map, sub-pixel position there, score and rotated template."""

    map_y: int
    map_x: int
    y: float
    x: float
    score: float
    k: int


def refine(prepared: Prepared, bank: Bank, centre: tuple[int, int], reach: int, ks: Sequence[int]) -> Refined | None:
    """Return the best of some rotated templates within `reach` map pixels of a position; None where none is scored.

    The scores are those of the definition (see engine.matching.workers), as sums over each
    window instead of by transforms.

    Parameters
    ----------
    prepared : Prepared
        The micrograph on the searched grid.
    bank : Bank
        Of the same grid.
    centre : (y, x)
        Position on the score map.
    ks : ascending
        Full-bank numbers.
    """
    found = _window(prepared, bank, centre, reach, ks, 1)
    if found is None:
        return None
    scores, (row, column) = found
    best = scores.max(axis=2)
    y, x = np.unravel_index(int(np.argmax(best)), best.shape)
    score = float(best[y, x])
    if score <= -2:
        return None
    k = int(ks[int(np.argmax(scores[y, x]))])
    row, column = row + int(y), column + int(x)
    return Refined(
        row, column, row + _vertex(best[:, x], int(y)), column + _vertex(best[y], int(x)), min(1.0, score), k
    )


def leaders(
    prepared: Prepared, bank: Bank, centre: tuple[int, int], reach: int, ks: Sequence[int]
) -> list[tuple[float, int, int, int]]:
    """Return score, map row, map column and k of each rotated template where it scores best, the best one first.

    Every other row and column within `reach` of the centre is evaluated, on a cropped grid all of them; parameters as
    `refine`.
    """
    step = 2 if prepared.grid.ratio == 1 else 1
    found = _window(prepared, bank, centre, reach, ks, step)
    if found is None:
        return []
    scores, (row, column) = found
    flat = scores.reshape(-1, len(ks))
    places, across = flat.argmax(axis=0).tolist(), scores.shape[1]
    rows = [
        (float(flat[place, i]), row + step * (place // across), column + step * (place % across), k)
        for i, (place, k) in enumerate(zip(places, ks, strict=True))
    ]
    return sorted((one for one in rows if one[0] > -2), key=lambda one: (-one[0], one[3]))


def _window(
    prepared: Prepared, bank: Bank, centre: tuple[int, int], reach: int, ks: Sequence[int], step: int
) -> tuple[NDArray[np.float32], tuple[int, int]] | None:
    """Return scores (y, x, k) of every `step`-th row and column of a window, -2 where not scored, and its corner."""
    box, extent = bank.extent.box, bank.extent
    sides = zip(centre, prepared.grid.shape, strict=True)
    rows, columns = (slice(max(0, at - reach), min(size, at + reach + 1)) for at, size in sides)
    span = rows.stop - rows.start, columns.stop - columns.start
    if min(span) < 1:
        return None
    tile = Tile(rows, columns, rows.start - extent.top, columns.start - extent.left)
    size = span[0] + box[0] - 1, span[1] + box[1] - 1
    block = tile.block(prepared.image, size, margin=prepared.margin)
    squares = block * block
    if prepared.square_correction is not None:
        squares += tile.block(prepared.square_correction, size, margin=prepared.margin, centre=False)

    single = np.abs(block).max() <= SPAN * block.std()  # single precision holds what ordinary grey levels span
    real = np.float32 if single else np.float64

    def windows(array: NDArray[np.float64]) -> NDArray[Any]:
        every = np.lib.stride_tricks.sliding_window_view(array.astype(real), box)[::step, ::step]
        return every.reshape(-1, box[0] * box[1])

    shape = -(-span[0] // step), -(-span[1] // step)
    groups = sorted({int(bank.group_of[k]) for k in ks})
    plain, squared = windows(block), windows(squares)
    weights = np.stack([bank.mask(g).ravel() / np.float32(bank.groups[g].area) for g in groups], axis=1)
    mean = plain @ weights
    variance = squared @ weights - mean * mean
    scale = np.where(variance > FLOOR * FLOOR, 1 / np.sqrt(np.maximum(variance, FLOOR * FLOOR)), 0)
    products = plain @ np.stack([bank.template(k).ravel() for k in ks], axis=1)
    scores = np.empty((*shape, len(ks)), np.float32)
    for i, k in enumerate(ks):
        group = int(bank.group_of[k])
        scored = prepared.grid.scored(bank.groups[group].extent)
        down, across = (
            (np.arange(place.start, place.stop, step) >= s.start) & (np.arange(place.start, place.stop, step) < s.stop)
            for s, place in zip(scored, (rows, columns), strict=True)
        )
        found = (products[:, i] * scale[:, groups.index(group)]).reshape(shape)
        scores[..., i] = np.where(down[:, None] & across[None], found, -2)
    return scores, (rows.start, columns.start)


def _vertex(line: NDArray[np.float32], at: int) -> float:
    """Return the offset of the vertex of the parabola through a maximum and its neighbours; 0 at the window's edge."""
    if not 0 < at < len(line) - 1 or min(line[at - 1], line[at + 1]) <= -2:
        return 0.0
    return float(vertex(*line[at - 1 : at + 2].astype(np.float64)))
