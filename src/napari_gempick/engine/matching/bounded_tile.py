"""One tile of a search by a basis: bounds of the largest scores, and exact scores where local maxima can be.

See engine.matching.compressed for the steps, and docs/ncc.md for the proof.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import binary_dilation, generate_binary_structure

from napari_gempick.engine.tiles import TOLERANCE
from napari_gempick.model.score_maps import highest_near

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_gempick.device.base import BasisWorker, Rect
    from napari_gempick.engine.matching.compression import Compression
    from napari_gempick.engine.matching.search import Search
    from napari_gempick.engine.matching.tile_cache import TileCache

    Floats = NDArray[np.float32]

SLACK = np.float32(2 * TOLERANCE)
"""Rounding may swap the order of scores that differ by less."""
POSITIONS = 4096
"""That go through the products together."""
PATCHES = 2**25
"""Bytes of the parts of a tile that are held for exact sums."""
AT_ONCE = 64
"""Parts of a tile that are copied together, so that they stay in the cache."""
LIKELY = 15
"""Angles of half a circle that are tried for the rotated template where it does not matter."""
STAGES = "transforms", "products", "exact scores"
CROSS, BOX = generate_binary_structure(2, 1), generate_binary_structure(2, 2)


@dataclass
class _Bounded:
    """One part on one tile.

    Attributes
    ----------
    rect : (rows, columns)
        Where its rotated templates are scored.
    values : (rank, n) float32
        Correlations of the basis over the local standard deviation, at the positions of `rect`.
    scale : (n,) float32
        1 / local standard deviation.
    wrong : (sections, n) float32
        Largest error of the scores that follow from them.
    close : (pairs, sections, n) bool
        Whether a section can have the best score of the part.
    """

    part: Compression
    rect: Rect
    values: Floats
    scale: Floats
    wrong: Floats
    close: NDArray[np.bool_]


class BoundedTile:
    """Bounds and exact scores on one tile.

    Parameters
    ----------
    search : Search
    cache, worker
        See engine.matching.workers.
    tile : int
    base : tuple of (height, width) arrays
        Score and index maps of the rotated templates that no part has, of both signs; changed in place.
    likely : bool
        Where the exact rotated template is not known, name a likely one instead of an arbitrary one.
    """

    def __init__(
        self, search: Search, cache: TileCache, worker: BasisWorker, tile: int, base: tuple[Any, ...], *, likely: bool
    ) -> None:
        self._search, self._cache, self._worker, self._number = search, cache, worker, tile
        self._likely = likely
        self._shape = search.tiles[tile].shape
        self._score, self._index = list(base[::2]), list(base[1::2])
        self._upper = [score.copy() for score in self._score]
        self._lower = [score.copy() for score in self._score]
        self._guess = [index.copy() for index in self._index]
        self._known = [np.zeros(self._shape, bool) for _ in self._score]
        self._bounded: list[_Bounded] = []
        self._block: Floats = np.zeros((0, 0), np.float32)
        self.evaluated, self.widest = 0, 0.0
        self.seconds = dict.fromkeys(STAGES, 0.0)

    def bound(self, number: int, part: Compression) -> None:
        """Bound the largest scores of a part, of both signs."""
        search, cache, worker, tile = self._search, self._cache, self._worker, self._number
        rect = search.rect(part.group, tile)
        shape = rect[0].stop - rect[0].start, rect[1].stop - rect[1].start
        if min(shape) < 1:
            return
        precision = cache.precision(worker, tile)
        exact, how = precision.scores, precision.statistics
        started = time.perf_counter()
        unit = next(n for n, unit in enumerate(search.units) if unit.groups == (part.group,))
        cache.keep((part.group,))
        sigma = cache.sigma(worker, part.group, tile, how, lambda: cache.masks(worker, unit, how))
        spectra = cache.kept_spectra(worker, number, part, range(part.rank), exact)
        values = np.empty((part.rank, *shape), np.float32)
        worker.correlations(cache.spectrum(worker, tile, exact), spectra, rect, values, exact)
        weights = cache.kept_spectra(worker, (number, "weights"), part, range(part.rank, part.rank + 2), how)
        mean, square = np.empty((1, *shape)), np.empty((1, *shape))
        worker.correlations(cache.spectrum(worker, tile, how), weights[:1], rect, mean, how)
        worker.correlations(cache.plain_squares(worker, tile, how), weights[1:], rect, square, how)
        scale = np.ascontiguousarray(sigma[rect]).ravel()
        self.seconds["transforms"] += time.perf_counter() - started
        values = values.reshape(part.rank, -1)
        values *= scale
        local = (np.maximum(square - mean * mean, 0).ravel() * scale * scale).astype(np.float32)
        error = math.sqrt(part.rank + 1) * precision.rounding  # of all transforms together
        length = np.maximum(np.sqrt(np.einsum("ij,ij->j", values, values)) - error, 0)
        local += 4 * TOLERANCE  # of the mean, the mean square and the local standard deviation
        rest, held = np.sqrt(np.maximum(local - length * length / part.overlap, 0)), np.sqrt(local)
        rounding = error + TOLERANCE  # and of the products
        wrong = np.stack([s.across * rest + s.along * held + rounding for s in part.sections]).astype(np.float32)
        wrong[:, scale == 0] = 0
        close = np.empty((len(self._score), *wrong.shape), bool)
        found = _Bounded(part, rect, values, scale, wrong, close)
        self._bounded.append(found)
        with self.timed("products"):
            upper, lower, index = self._extremes(found)
        for pair in range(len(self._score)):
            up, low, guess = (maps[pair][rect] for maps in (self._upper, self._lower, self._guess))
            middle = (up + low) / 2
            better = (upper[pair] + lower[pair]).reshape(shape) / 2 > middle
            np.copyto(guess, index[pair].reshape(shape), where=better)
            np.maximum(up, upper[pair].reshape(shape), out=up)
            np.maximum(low, lower[pair].reshape(shape), out=low)

    def _extremes(self, found: _Bounded) -> tuple[Floats, Floats, NDArray[np.int32]]:
        """Return upper and lower bounds and the likely rotated template, (pairs, n) each; fill `found.close`."""
        part, values = found.part, found.values
        pairs, n = len(self._score), values.shape[1]
        upper, lower = np.empty((pairs, n), np.float32), np.empty((pairs, n), np.float32)
        index = np.full((pairs, n), part.sections[0].ks[0], np.int32)
        evens, n_sections, rows = part.even.shape[1], len(part.sections), len(part.even)
        room = np.empty((3, rows * POSITIONS), np.float32)
        for first in range(0, n, POSITIONS):
            some = slice(first, min(first + POSITIONS, n))
            width = some.stop - first
            channels = part.harmonics(values[:, some])
            best = np.empty((pairs, n_sections, width), np.float32)
            one, other, third = (array[: rows * width].reshape(rows, width) for array in room)
            for section in range(n_sections):
                np.matmul(part.even, channels[:evens, section], out=one)
                lowest = one
                if part.odd is not None:
                    np.matmul(part.odd, channels[evens:, section], out=other)
                    np.abs(other, out=other)
                    lowest = np.subtract(one, other, out=third)
                if pairs > 1:
                    lowest.min(axis=0, out=best[1, section])
                if part.odd is not None:
                    one += other
                one.max(axis=0, out=best[0, section])
            np.negative(best[1:], out=best[1:])
            wrong = found.wrong[:, some]
            (best - wrong).max(axis=1, out=lower[:, some])
            high = best + wrong
            high.max(axis=1, out=upper[:, some])
            np.greater_equal(high, lower[:, None, some], out=found.close[:, :, some])
            for pair in range(pairs if self._likely else 0):
                index[pair, some] = _likely(part, channels, best[pair], 1 - 2 * pair)
        return upper, lower, index

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a stage."""
        started = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - started

    def settle(self, floor: np.float32) -> None:
        """Score exactly what can be a local maximum, then the neighbours of those that still can."""
        image = self._cache.image(self._worker, self._number)
        single = self._cache.precision(self._worker, self._number).scores == "single"
        self._block = image.astype(np.float32) if single else image
        own, wide = self._search.own[self._number], self._search.tiles[self._number]
        near = np.zeros(
            self._shape, bool
        )  # a local maximum one position beyond its own part needs exact neighbours within
        rows, columns = (
            slice(max(0, a.start - 1 - b.start), a.stop + 1 - b.start)
            for a, b in ((own.rows, wide.rows), (own.columns, wide.columns))
        )
        near[rows, columns] = True
        wanted = []
        for upper, lower in zip(self._upper, self._lower, strict=True):
            around = highest_near(lower)
            wanted.append(near & (upper >= np.maximum(around, floor)) & (upper > -2))
        self._evaluate(wanted)
        beside = []
        for pair, (there, known) in enumerate(zip(wanted, self._known, strict=True)):
            least = np.where(known, self._score[pair], self._lower[pair])
            peaks = there & (self._score[pair] + SLACK >= highest_near(least))
            peaks &= self._score[pair] + SLACK >= floor
            lowest = -highest_near(np.where(peaks, -self._score[pair], np.float32(-np.inf)))
            needed = self._upper[pair] + SLACK >= lowest  # may be higher than a peak
            needed |= binary_dilation(peaks, CROSS if pair else BOX)  # positions and angles are refined by these
            beside.append(needed & ~known & (self._upper[pair] > -2))
        self._evaluate(beside)

    def _evaluate(self, wanted: Sequence[NDArray[np.bool_]]) -> None:
        """Score positions (y, x) of each sign exactly: the rotated templates that can be the best ones there."""
        for found in self._bounded:
            shape = found.rect[0].stop - found.rect[0].start, found.rect[1].stop - found.rect[1].start
            inside = [mask[found.rect].ravel() for mask in wanted]
            positions = np.flatnonzero(np.logical_or.reduce(inside))
            lower = [low[found.rect].ravel() for low in self._lower]
            box = self._search.bank.extent.box
            size = max(64, PATCHES // (4 * box[0] * box[1]))
            for first in range(0, len(positions), size):
                some = positions[first : first + size]
                least = [
                    np.where(mask[some], low[some], np.float32(np.inf)) for mask, low in zip(inside, lower, strict=True)
                ]
                self._exact(found, some, shape, least)
        for pair, mask in enumerate(wanted):
            self._known[pair] |= mask
            self.evaluated += int(mask.sum())

    def _exact(self, found: _Bounded, some: NDArray[np.intp], shape: tuple[int, int], least: list[Floats]) -> None:
        """Raise the exact scores at some positions of a part by its rotated templates that can reach `least` there."""
        part, bank = found.part, self._search.bank
        y, x = np.divmod(some, shape[1])
        y, x = y + found.rect[0].start, x + found.rect[1].start
        patches = _patches(self._block, y, x, bank.extent.box)
        scale = found.scale[some]
        score = [maps[y, x] for maps in self._score]
        index = [maps[y, x] for maps in self._index]
        asked = np.stack([np.isfinite(low) for low in least])
        close = found.close[:, :, some]
        close &= asked[:, None] & (scale > 0)
        for pair in range(len(score)):  # a flat area: all scores are 0
            _raise(score[pair], index[pair], np.flatnonzero(scale == 0), np.float32(0), part.smallest)
        channels = part.harmonics(np.take(found.values, some, axis=1))
        for section in part.sections:
            mine = np.flatnonzero(close[:, section.number].any(axis=0))
            if not len(mine):
                continue
            wrong = found.wrong[section.number, some[mine]]
            blocks = part.blocks(channels[:, section.number, mine])
            needed = blocks.max(axis=1) + wrong >= least[0][mine]
            if len(least) > 1:
                needed |= blocks.min(axis=1) - wrong <= -least[1][mine]
            for block in np.flatnonzero(needed.any(axis=1)).tolist():
                at = mine[needed[block]]
                ks, templates = part.search_images(bank, section, block)
                exact = patches[at] @ templates.T
                exact *= scale[at, None]
                for pair in range(len(score)):
                    place = exact.argmin(axis=1) if pair else exact.argmax(axis=1)
                    best = exact[np.arange(len(at)), place]
                    _raise(score[pair], index[pair], at, -best if pair else best, ks[place])
        for pair, which in enumerate(asked):
            self._score[pair][y[which], x[which]] = score[pair][which]
            self._index[pair][y[which], x[which]] = index[pair][which]

    def maps(self) -> list[Any]:
        """Return the maps: exact where known, else the middle of the bounds and the likely rotated template."""
        found: list[Any] = []
        for pair, known in enumerate(self._known):
            if self._bounded:
                upper, lower = self._upper[pair], self._lower[pair]
                self.widest = max(self.widest, float((upper - lower).max(initial=0, where=~known)) / 2)
                score = np.where(known, self._score[pair], (upper + lower) / 2)
                found += [score, np.where(known, self._index[pair], self._guess[pair])]
            else:
                found += [self._score[pair], self._index[pair]]
        return found


def _patches(block: NDArray[Any], y: NDArray[np.intp], x: NDArray[np.intp], box: tuple[int, int]) -> Floats:
    """Return the boxes of a tile with their corners at (y, x), (n, pixels); without their means in double precision."""
    windows = np.lib.stride_tricks.sliding_window_view(block, box)
    patches = np.empty((len(y), box[0] * box[1]), np.float32)
    for first in range(0, len(y), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        few = windows[y[some], x[some]].reshape(-1, patches.shape[1])
        if few.dtype != np.float32:
            few -= few.mean(axis=1, keepdims=True)
        patches[some] = few
    return patches


def _raise(score: Floats, index: NDArray[np.int32], at: NDArray[np.intp], best: Any, k: Any) -> None:
    """Raise scores (n,) at some places; the smaller rotated template wins in a tie."""
    held, holder = score[at], index[at]
    better = (best > held) | ((best == held) & (k < holder))
    score[at] = np.where(better, best, held)
    index[at] = np.where(better, k, holder)


def _likely(part: Compression, channels: Floats, best: Floats, sign: int) -> NDArray[np.int32]:
    """Return the rotated template that is best by the basis, (n,), given what is best of each section (sections, n).

    Not all angles are tried, because this is only shown where no exact score is known.
    """
    which = best.argmax(axis=0)
    some = channels[:, which, np.arange(len(which))].T
    ks = np.stack([section.ks for section in part.sections])
    step = max(1, len(part.even) // LIKELY)
    evens = part.even.shape[1]
    one = some[:, :evens] @ part.even[::step].T
    if part.odd is not None:
        other = some[:, evens:] @ part.odd[::step].T
        one = np.concatenate([one + other, one - other], axis=1)
        ks = np.concatenate([ks[:, : len(part.even) : step], ks[:, len(part.even) :: step]], axis=1)
    else:
        ks = ks[:, ::step]
    found: NDArray[np.int32] = ks[which, one.argmax(axis=1) if sign > 0 else one.argmin(axis=1)]
    return found
