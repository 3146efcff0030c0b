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
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.device.cpu import raise_maps
from napari_gempick.engine.tiles import FLOOR, PrecisionRule, choose_fft_shape, layout
from napari_gempick.model.errors import InputError
from napari_gempick.model.scores import ScoreMap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_gempick.device.base import Device, TileWorker
    from napari_gempick.engine.bank import Bank
    from napari_gempick.engine.prepare import Prepared
    from napari_gempick.engine.tiles import Precision

    ShapeChooser = Callable[[str, Callable[[], tuple[int, int]]], tuple[int, int]]

UNSCORED = np.float32(-2)
SHARED_FROM = 12
"""Masks that this many search images share have their local statistics kept, the others computed with each unit."""
SHARED_STATISTICS_BYTES = 2**29


class Search:
    """One micrograph against one bank; holds what the workers share.

    Parameters
    ----------
    prepared : Prepared
        The micrograph on the searched grid.
    bank : Bank
        Search images on the same grid.
    tile_shape : callable, optional
        `tile_shape(key, choose)` returns the stored transform lengths of this problem (see device.plan.PlanStore).
    view : int, optional
        Search this view alone.
    unit : int
        Search images that are worked on together.

    Raises
    ------
    InputError
        No position of the micrograph holds the whole support of any mask.
    """

    def __init__(
        self,
        prepared: Prepared,
        bank: Bank,
        tile_shape: ShapeChooser | None = None,
        *,
        view: int | None = None,
        unit: int = 8,
    ) -> None:
        self.bank, self._prepared, self._image = bank, prepared, prepared.image
        smallest = bank.groups[0].extent
        for group in bank.groups[1:]:
            smallest = smallest.intersection(group.extent)
        rows, columns = smallest.scored(self._image.shape)
        positions = (rows.stop - rows.start, columns.stop - columns.start)
        box = bank.extent.box
        if min(positions) < 1:
            spacing = prepared.grid.map_pixel_size
            raise InputError(
                f"The masked template ({box[1] * spacing:.0f} x {box[0] * spacing:.0f} Å) is larger than the "
                f"micrograph ({self._image.shape[1] * spacing:.0f} x {self._image.shape[0] * spacing:.0f} Å); "
                "check both pixel sizes or give a smaller mask."
            )
        key = f"{positions[0]}x{positions[1]}+{box[0]}x{box[1]}"
        choose = functools.partial(choose_fft_shape, positions, box)
        self.fft_shape = choose() if tile_shape is None else tile_shape(key, choose)
        self.valid = (self.fft_shape[0] - box[0] + 1, self.fft_shape[1] - box[1] + 1)
        self.tiles = layout(self._image.shape, smallest, bank.extent, self.fft_shape)
        self._scored = [group.extent.scored(self._image.shape) for group in bank.groups]
        self._rule = PrecisionRule(self._image, bank.core, max(group.area for group in bank.groups))
        self.shared_groups = frozenset(g for g, group in enumerate(bank.groups) if len(group.ks) >= SHARED_FROM)
        self._score = np.full(self._image.shape, UNSCORED, np.float32)
        self._index = np.full(self._image.shape, -1, np.int32)
        self._locks = [threading.Lock() for _ in self.tiles]
        self._queue_lock = threading.Lock()
        self._queue = deque(self._units(view, unit))
        self.total, self.done = sum(len(unit) for unit in self._queue), 0

    def block(self, tile: int) -> NDArray[np.float64]:
        """Return the centred input of a tile, (fy, fx) float64."""
        return self.tiles[tile].block(self._image, self.fft_shape)

    def precision(self, tile: int, block: NDArray[np.float64]) -> Precision:
        """Return the precisions that a tile needs."""
        return self._rule(block, self.tiles[tile])

    def _units(self, view: int | None, unit: int) -> Iterator[tuple[int, ...]]:
        """Cut the bank into units of work, ascending inside; always the same ones, whoever does them.

        The templates of a unit share one mask whose statistics are kept, or all compute their masks' with the unit.
        """
        bank = self.bank
        views = bank.index.view(np.arange(len(bank.index), dtype=np.int32))

        def pieces(ks: list[int]) -> Iterator[tuple[int, ...]]:
            while ks:
                size = unit if len(ks) >= 8 * unit else max(1, unit // 2)  # smaller towards the end, to end together
                yield tuple(sorted(ks[:size]))
                ks = ks[size:]

        single: list[int] = []
        for number, group in enumerate(bank.groups):
            ks = [int(k) for k in group.ks if view is None or views[k] == view]
            if number in self.shared_groups:
                yield from pieces(ks)
            else:
                single += ks
        yield from pieces(single)

    def take(self) -> tuple[int, ...] | None:
        """Return the next unit, None when the queue is empty."""
        with self._queue_lock:
            return self._queue.popleft() if self._queue else None

    def give_back(self, units: Sequence[tuple[int, ...]]) -> None:
        """Return units that a worker could not finish."""
        with self._queue_lock:
            self._queue.extendleft(reversed(units))
            self.done = min(self.done, self.total - sum(len(unit) for unit in self._queue))

    @property
    def remaining(self) -> bool:
        """Whether search images wait in the queue."""
        return bool(self._queue)

    def count_done(self, count: int) -> None:
        """Count finished search images."""
        with self._queue_lock:
            self.done += count

    def rect(self, k: int, tile: int) -> tuple[slice, slice]:
        """Return the part of a tile's positions at which the support of k's mask lies inside the image."""
        place = self.tiles[tile]

        def clip(scored: slice, span: slice) -> slice:
            start = max(scored.start, span.start) - span.start
            return slice(start, max(start, min(scored.stop, span.stop) - span.start))

        rows, columns = self._scored[self.bank.group_of[k]]
        return clip(rows, place.rows), clip(columns, place.columns)

    def maps(self, tile: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Return a tile's part of the score and index maps; hold `guard` to touch them."""
        place = self.tiles[tile]
        return self._score[place.rows, place.columns], self._index[place.rows, place.columns]

    def guard(self, tile: int) -> threading.Lock:
        """Return the lock of a tile's part of the maps."""
        return self._locks[tile]

    def result(self) -> ScoreMap:
        """Return the maps; complete once all search images are done."""
        score = np.clip(self._score, -1, 1)
        score[self._index < 0] = -1
        return ScoreMap(score, self._index, self._prepared.grid, self.bank.index)


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
            block = block * (block if squares else 1.0) / block.size  # the inverse transform is not normalised
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
    first_tile: int,
    should_stop: Callable[[], bool],
) -> None:
    """Take search images from the queue until it is empty; one call per host thread.

    Work that an error interrupts is given back before the error goes on. Workers begin at different tiles
    (`first_tile`), so that they do not wait for each other's shared statistics.
    """
    held: list[tuple[int, ...]] = []
    maps: dict[int, tuple[Any, Any]] = {}
    try:
        while not should_stop() and (unit := search.take()):
            held.append(unit)
            _process(search, device, cache, worker, unit, first_tile, maps, should_stop)
            search.count_done(len(unit))
            if not device.keeps_maps:
                held.clear()
        for tile, (score, index) in maps.items():
            with search.guard(tile):
                raise_maps(*search.maps(tile), worker.to_host(score), worker.to_host(index))
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
    maps: dict[int, tuple[Any, Any]],
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
        if device.keeps_maps and tile not in maps:
            maps[tile] = worker.new_maps(search.tiles[tile].shape)
        worker.score(
            cache.spectrum(worker, tile, precision.scores),
            template_spectra(precision.scores),
            ks,
            [sigmas[int(bank.group_of[k])] for k in ks],
            [search.rect(k, tile) for k in ks],
            maps[tile] if device.keeps_maps else search.maps(tile),
            contextlib.nullcontext() if device.keeps_maps else search.guard(tile),
            precision.scores,
        )
