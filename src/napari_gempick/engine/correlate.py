"""The exact masked NCC of one micrograph with a bank: overlap-save tiles, shared local statistics, a running maximum.

For search image k with template T, mask M (N = sum M) and local standard deviation sS under the mask,

    NCC_k(v) = sum_u (T - mu) M (u) S(v + u - c) / (N sT sS(v))            (Roseman, Ultramicroscopy 2003, 94, 225)

The bank gives (T - mu) M / (N sT); one inverse transform per tile correlates it, and 1 / sS multiplies. The local mean
and mean square come from two more inverse transforms per distinct mask. Any number of workers take search images from
one queue; the maximum of their maps, the smaller k in a tie, does not depend on who did what.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.device.cpu import raise_maps
from napari_gempick.device.fft import PRECISIONS
from napari_gempick.engine.tiles import FLOOR

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_gempick.device.base import Device, TileWorker
    from napari_gempick.engine.search import Search
    from napari_gempick.engine.tiles import Precision

SHARED_STATISTICS_BYTES = 2**29


class TileCache:
    """What the workers of one device share: tile spectra, and local statistics of masks that many templates use."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._locks = [threading.Lock() for _ in search.tiles]
        self._precisions: dict[int, Precision] = {}
        self._spectra: dict[tuple[int, str, bool], Any] = {}
        self._sigmas: dict[tuple[int, int], Any] = {}
        map_bytes = 4 * search.valid[0] * search.valid[1] * len(search.tiles)
        self._kept = max(2, SHARED_STATISTICS_BYTES // map_bytes)
        self._groups: list[int] = []
        self._last = threading.local()

    def _block(self, tile: int) -> NDArray[np.float64]:
        """Return a tile's centred input; the last one is kept for each thread."""
        if getattr(self._last, "tile", None) != tile:
            self._last.block, self._last.tile = self._search.block(tile), tile
        block: NDArray[np.float64] = self._last.block
        return block

    def precision(self, tile: int) -> Precision:
        """Return the tile's precisions."""
        with self._locks[tile]:
            if tile not in self._precisions:
                self._precisions[tile] = self._search.precision(tile, self._block(tile))
            return self._precisions[tile]

    def spectrum(self, worker: TileWorker, tile: int, precision: str, *, squares: bool = False) -> Any:
        """Return the half-spectrum of a tile's grey levels, or of their squares, over the number of its elements."""
        with self._locks[tile]:
            return self._spectrum(worker, tile, precision, squares)

    def _spectrum(self, worker: TileWorker, tile: int, precision: str, squares: bool) -> Any:
        key = (tile, precision, squares)
        if key not in self._spectra:
            block = self._block(tile)
            block = self._search.squares(tile, block) if squares else block
            block = block / block.size  # the inverse transform is not normalised
            self._spectra[key] = worker.spectrum(block, precision)
        return self._spectra[key]

    def sigma(self, worker: TileWorker, group: int, tile: int, precision: str, mask_spectrum: Callable[[], Any]) -> Any:
        """Return 1 / local standard deviation under a shared mask, computed once."""
        with self._locks[tile]:
            if (group, tile) not in self._sigmas:
                plain, squared = (self._spectrum(worker, tile, precision, squares) for squares in (False, True))
                found = worker.reciprocal_sigma(plain, squared, mask_spectrum(), self._search.valid, FLOOR, precision)
                self._sigmas[group, tile] = found[0]
            return self._sigmas[group, tile]

    def keep(self, groups: set[int]) -> None:
        """Give up the statistics of masks that are no longer in turn, beyond what memory allows."""
        with self._locks[0]:
            self._groups = [g for g in self._groups if g not in groups] + sorted(groups)
            for group in self._groups[: -self._kept]:
                for key in [key for key in list(self._sigmas) if key[0] == group]:
                    self._sigmas.pop(key, None)
            self._groups = self._groups[-self._kept :]


class Stopped(Exception):
    """A worker noticed that it should stop."""


def consume(
    search: Search,
    device: Device,
    cache: TileCache,
    worker: TileWorker,
    *,
    workers: int,
    first_tile: int,
    should_stop: Callable[[], bool],
) -> None:
    """Take search images from the queue until it is empty; one call per host thread, one of `workers`.

    Work that an error interrupts is given back before the error goes on. Workers begin at different tiles
    (`first_tile`), so that they do not wait for each other's shared statistics.
    """
    held: list[int] = []
    maps: dict[int, tuple[Any, ...]] = {}
    try:
        while not should_stop() and (ks := search.take(workers, device.most)):
            held += ks
            _process(search, device, cache, worker, ks, first_tile, maps, should_stop)
            search.count_done(len(ks))
            if not device.keeps_maps:
                held.clear()
                search.finish(ks)
        for tile, found in maps.items():
            with search.guard(tile):
                held_maps, on_host = search.maps(tile), [worker.to_host(array) for array in found]
                for pair in range(0, len(on_host), 2):
                    raise_maps(*held_maps[pair : pair + 2], *on_host[pair : pair + 2])
        if held and not should_stop():
            search.finish(held)
            held.clear()
    except Stopped:
        pass
    finally:
        if held:
            search.give_back(held)


def _process(
    search: Search,
    device: Device,
    cache: TileCache,
    worker: TileWorker,
    ks: Sequence[int],
    first_tile: int,
    maps: dict[int, tuple[Any, ...]],
    should_stop: Callable[[], bool],
) -> None:
    """Score some search images on every tile."""
    bank = search.bank
    groups = sorted({int(bank.group_of[k]) for k in ks})
    shared = search.shared_groups.intersection(groups)
    cache.keep(set(shared))
    own = tuple(g for g in groups if g not in shared)

    @functools.cache
    def template_spectra(precision: str) -> Any:
        return worker.template_spectra([bank.template(k) for k in ks], precision)

    @functools.cache
    def mask_spectra(which: tuple[int, ...], precision: str) -> Any:
        blocks = [bank.mask(g).astype(np.float64) / bank.groups[g].area for g in which]
        return worker.template_spectra(blocks, precision)

    count = len(search.tiles)
    for step in range(count):
        if should_stop():
            raise Stopped
        tile = (first_tile + step) % count
        precision = cache.precision(tile)
        how = precision.statistics
        sigmas = {g: cache.sigma(worker, g, tile, how, functools.partial(mask_spectra, (g,), how)) for g in shared}
        if own:
            plain, squared = (cache.spectrum(worker, tile, how, squares=squares) for squares in (False, True))
            computed = worker.reciprocal_sigma(plain, squared, mask_spectra(own, how), search.valid, FLOOR, how)
            sigmas.update(zip(own, computed, strict=True))
        real = PRECISIONS[precision.scores][0]
        scales: list[Any] | None = [sigmas[int(bank.group_of[k])] for k in ks]
        guard: Any = search.guard(tile)
        if device.keeps_maps:
            if tile not in maps:
                maps[tile] = worker.new_maps(search.tiles[tile].shape, search.pairs)
            target, guard = maps[tile], contextlib.nullcontext()
        elif shared:
            (group,) = shared
            target, scales = search.raw(ks[0], tile, sigmas[group], real), None
        else:
            target = search.maps(tile)
        worker.score(
            cache.spectrum(worker, tile, precision.scores),
            template_spectra(precision.scores),
            ks,
            scales,
            [search.rect(k, tile) for k in ks],
            target,
            guard,
            precision.scores,
        )
