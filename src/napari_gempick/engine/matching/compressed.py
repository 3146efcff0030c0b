"""A search that transforms a basis of the bank instead of the bank, and is exact where a local maximum can be.

Each tile is done in one go, with a few positions of its neighbours around it:

1. The basis is correlated with the tile. From it follow, for every position and both signs, an upper and a lower bound
   of the largest score over all rotated templates.
2. A position can be a local maximum only if its upper bound reaches the floor and the lower bounds of its neighbours.
   All that can be are scored exactly: the rotated templates that can be the best one there, as sums over the box.
3. Those that are still not below any neighbour, by exact scores and bounds, have their neighbours scored exactly too.

So the maps have the local maxima of the full search, with their scores and rotated templates, and the exact scores
beside them, from which positions are refined. Elsewhere they hold the middle of the bounds.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.device.tiling import CPU_TILING, cpu_cost
from napari_gempick.engine.matching.bounded_tile import STAGES, BoundedTile
from napari_gempick.engine.matching.search import Item, Search
from napari_gempick.engine.matching.tile_cache import Stopped
from napari_gempick.engine.matching.workers import score_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_gempick.device.base import BasisWorker
    from napari_gempick.device.tiling import Tiling
    from napari_gempick.engine.matching.compression import Compression
    from napari_gempick.engine.matching.search import ShapeChooser, Share
    from napari_gempick.engine.matching.tile_cache import TileCache
    from napari_gempick.engine.preprocess.prepare import Prepared
    from napari_gempick.engine.templates.bank import Bank

    Floats = NDArray[np.float32]

KEPT_BYTES = 2**26
"""Of the basis' correlations with a tile, which decides how large tiles are."""


class CompressedSearch(Search):
    """See Search; the maps are exact at and beside local maxima that reach `floor`.

    Parameters
    ----------
    parts : sequence of Compression
        All rotated templates of the other groups are correlated.
    floor : float
        The least score of a candidate.
    share : (start, stop, of), optional
        Of the tiles: the maxima over all shares are the whole maps, byte for byte.
    likely : bool
        Where the exact rotated template is not known, name a likely one instead of an arbitrary one.
    """

    halo = 2

    def __init__(
        self,
        prepared: Prepared,
        bank: Bank,
        parts: Sequence[Compression],
        floor: float,
        tile_shape: ShapeChooser | None = None,
        *,
        view: int | None = None,
        decoys: bool = False,
        share: Share | None = None,
        likely: bool = True,
    ) -> None:
        self.parts, self._floor, self._likely = tuple(parts), np.float32(floor), likely
        super().__init__(prepared, bank, tile_shape, tiling_of(max(p.rank for p in parts)), view=view, decoys=decoys)
        tiles = range(len(self.tiles))
        if share is not None:
            start, stop, of = share
            tiles = range(-(-len(tiles) * start // of), -(-len(tiles) * stop // of))
        covered = {part.group for part in self.parts}
        self._whole = [n for n, unit in enumerate(self.units) if not covered.issuperset(unit.groups)]
        self._waiting = {0: deque(tiles)} if tiles else {}
        self._tally = np.zeros(2 + len(self.tiles), np.int32)  # exact scores, tiles done, and the bound of each, 1e-6
        self._share = len(tiles)
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @property
    def bound(self) -> float:  # type: ignore[override]
        """See Search."""
        return float(self._tally[2:].max()) * 1e-6

    @property
    def exact(self) -> int:
        """How many scores were computed exactly."""
        return int(self._tally[0])

    def count_done(self, item: Item) -> None:
        """See Search."""
        with self._lock:
            self._done += self.total * len(self.tiles) // max(1, self._share)

    def give_back(self, items: Sequence[Item], counted: int) -> None:
        """See Search."""
        with self._lock:
            for item in items:
                self._waiting.setdefault(item.unit, deque()).append(item.tile)
            self._done -= counted * self.total * len(self.tiles) // max(1, self._share)

    def finish(self, items: Sequence[Item]) -> None:
        """See Search."""
        with self._lock:
            self._tally[1] += len(items)
        if self._share == len(self.tiles):
            self.complete(self._tally)

    def tally(self) -> NDArray[np.int32]:
        """See Search."""
        return self._tally

    def complete(self, tally: NDArray[np.int32]) -> None:
        """See Search."""
        self._tally = tally
        for unit in self.units:
            self.scored[list(unit.ks)] = tally[1] // len(self.tiles)

    def score_whole(self, item: Item, cache: TileCache, worker: BasisWorker, should_stop: Callable[[], bool]) -> None:
        """See engine.matching.workers.WholeTiles."""
        tile = item.tile
        base = worker.new_maps(self.tiles[tile].shape, self.pairs)
        for unit in self._whole:
            _unless(should_stop)
            score_unit(self, cache, worker, Item(unit, tile), base, contextlib.nullcontext())
        work = BoundedTile(self, cache, worker, tile, base, likely=self._likely)
        for number, part in enumerate(self.parts):
            _unless(should_stop)
            work.bound(number, part)
        _unless(should_stop)
        with work.timed("exact scores"):
            work.settle(self._floor)
        own, wide = self.own[tile], self.tiles[tile]
        inner = tuple(
            slice(a.start - b.start, a.stop - b.start) for a, b in ((own.rows, wide.rows), (own.columns, wide.columns))
        )
        for target, found in zip(self.maps(tile), work.maps(), strict=True):
            target[...] = found[inner]
        with self._lock:
            for name, seconds in work.seconds.items():
                self.seconds[name] += seconds
            self._tally[0] += work.evaluated
            self._tally[2 + tile] = math.ceil(work.widest * 1e6)


def _unless(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Stopped


def tiling_of(rank: int) -> Tiling:
    """Return what decides the tiles of a basis: a template's cost, and that all correlations of a tile are kept."""
    most = KEPT_BYTES // (4 * (rank + 1))

    def cost(height: int, width: int) -> float:
        return cpu_cost(height, width) * max(1.0, height * width / most) ** 2

    return replace(CPU_TILING, name=f"compressed {rank}", cost=cost)
