"""The exact masked NCC of one micrograph with a bank: overlap-save tiles, shared local statistics, a running maximum.

For search image k with template T, mask M (N = sum M) and local standard deviation sS under the mask,

    NCC_k(v) = sum_u (T - mu) M (u) S(v + u - c) / (N sT sS(v))            (Roseman, Ultramicroscopy 2003, 94, 225)

The bank gives (T - mu) M / (N sT); one inverse transform per tile correlates it, and 1 / sS multiplies. The local mean
and mean square come from two more inverse transforms per distinct mask. Any number of workers take units of search
images, tile by tile, from one queue; the maximum, the smaller k in a tie, does not depend on who did what.

Run one search on all devices: a thread per core or GPU, one queue, a failed device's work goes to the others.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from napari_gempick.device.blas import one_thread
from napari_gempick.device.tiling import CPU_TILING
from napari_gempick.engine.tiles import FLOOR
from napari_gempick.model.errors import Cancelled, DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from napari_gempick.device.base import BasisWorker, Device, Images, TileWorker
    from napari_gempick.device.tiling import Tiling
    from napari_gempick.engine.matching.search import Item, Search
    from napari_gempick.engine.tiles import Precision
    from napari_gempick.model.score_maps import ScoreMap


SHARED_STATISTICS_BYTES = 2**29
UNITS_KEPT = 2
"""Units whose spectra are kept: the one in turn, and one before it that a slower worker may still need."""


class TileCache:
    """What the workers of one device share: spectra, and local statistics of masks that many templates use."""

    def __init__(self, search: Search, threads: int = 1, should_stop: Callable[[], bool] = lambda: False) -> None:
        self._search, self._threads = search, threads
        self._should_stop = should_stop
        self._lock = threading.Lock()
        self._locks = [threading.Lock() for _ in search.tiles]
        self._precisions: dict[int, Precision] = {}
        self._spectra: dict[tuple[int, str, bool], Any] = {}
        self._sigmas: dict[tuple[int, int], Any] = {}
        map_bytes = 4 * search.valid[0] * search.valid[1] * len(search.tiles)
        self._kept = max(2, SHARED_STATISTICS_BYTES // map_bytes)
        self._groups: list[int] = []
        self._others: dict[tuple[Hashable, str], _Spectra] = {}
        self._units: dict[int, dict[tuple[str, str], _Spectra]] = {}
        self._last = threading.local()
        self._images: tuple[Any, Any] | None = None

    def _block(self, worker: TileWorker, tile: int) -> Any:
        """Return a tile's centred input on the device; the last one is kept for each thread."""
        if self._images is None:
            self._images = self._search.images(worker.arrays)
        if getattr(self._last, "tile", None) != tile:
            self._last.block, self._last.tile = self._search.block(tile, self._images, worker.arrays), tile
        return self._last.block

    def precision(self, worker: TileWorker, tile: int) -> Precision:
        """Return the tile's precisions."""
        with self._locks[tile]:
            if tile not in self._precisions:
                self._precisions[tile] = worker.do(lambda: self._search.precision(tile, self._block(worker, tile)))
            return self._precisions[tile]

    def spectrum(self, worker: TileWorker, tile: int, precision: str, *, squares: bool = False) -> Any:
        """Return the half-spectrum of a tile's grey levels, or of their squares, over the number of its elements."""
        with self._locks[tile]:
            return self._spectrum(worker, tile, precision, squares)

    def _spectrum(self, worker: TileWorker, tile: int, precision: str, squares: bool) -> Any:
        def make() -> Any:
            block = self._block(worker, tile)
            assert self._images is not None
            if squares:
                block = self._search.squares(tile, block, self._images, worker.arrays)
            return worker.spectrum(block / block.size, precision)  # the inverse transform is not normalised

        key = (tile, precision, squares)
        if key not in self._spectra:
            self._spectra[key] = worker.do(make)
        return self._spectra[key]

    def sigma(self, worker: TileWorker, group: int, tile: int, precision: str, mask_spectrum: Callable[[], Any]) -> Any:
        """Return 1 / local standard deviation under a shared mask, computed once."""
        with self._locks[tile]:
            if (group, tile) not in self._sigmas:
                plain, squared = (self._spectrum(worker, tile, precision, squares) for squares in (False, True))
                rects = [self._search.rect(group, tile)]
                found = worker.reciprocal_sigma(
                    plain, squared, mask_spectrum(), rects, self._search.valid, FLOOR, precision
                )
                self._sigmas[group, tile] = found[0]
            return self._sigmas[group, tile]

    def plain_squares(self, worker: TileWorker, tile: int, precision: str) -> Any:
        """Return the half-spectrum of the squares of a tile's grey levels as they are, over the number of elements."""
        with self._locks[tile]:
            if not self._search.corrected:
                return self._spectrum(worker, tile, precision, True)
            block = self._block(worker, tile)
            return worker.do(lambda: worker.spectrum(block * block / block.size, precision))

    def image(self, worker: TileWorker, tile: int) -> Any:
        """Return a tile's centred input on the device, (fy, fx) float64."""
        return worker.do(lambda: self._block(worker, tile))

    def kept_spectra(self, worker: BasisWorker, what: Hashable, blocks: Images, numbers: range, precision: str) -> Any:
        """Return the conjugated half-spectra of some images, kept under a name until the search ends."""
        with self._lock:
            key = what, precision
            if key not in self._others:
                self._others[key] = _Spectra(len(numbers), min(len(numbers), self._threads))
            spectra = self._others[key]
        return spectra.get(
            lambda part: worker.image_spectra(blocks, _Walk(numbers[part], self._should_stop), precision)
        )

    def keep(self, groups: Sequence[int]) -> None:
        """Give up the statistics of masks that are no longer in turn, beyond what memory allows."""
        with self._lock:
            self._groups = [g for g in self._groups if g not in groups] + sorted(groups)
            for group in self._groups[: -self._kept]:
                for key in [key for key in list(self._sigmas) if key[0] == group]:
                    self._sigmas.pop(key, None)
            self._groups = self._groups[-self._kept :]

    def templates(self, worker: TileWorker, unit: int, precision: str) -> Any:
        """Return the conjugated half-spectra of a unit's templates."""
        bank, ks = self._search.bank, self._search.units[unit].ks
        return self._of_unit(
            unit, "templates", precision, ks, lambda some: worker.template_spectra(bank, some, precision)
        )

    def masks(self, worker: TileWorker, unit: int, precision: str) -> Any:
        """Return the conjugated half-spectra of a unit's masks, over the sums of their weights."""
        bank, groups = self._search.bank, self._search.units[unit].groups
        return self._of_unit(unit, "masks", precision, groups, lambda some: worker.mask_spectra(bank, some, precision))

    def _of_unit(
        self, unit: int, what: str, precision: str, numbers: Sequence[int], make: Callable[[Sequence[int]], Any]
    ) -> Any:
        with self._lock:
            if unit not in self._units:
                self._units[unit] = {}
                for old in list(self._units)[:-UNITS_KEPT]:
                    del self._units[old]
            if (what, precision) not in self._units[unit]:
                self._units[unit][what, precision] = _Spectra(len(numbers), min(len(numbers), self._threads))
            spectra = self._units[unit][what, precision]
        return spectra.get(lambda part: make(_Walk(numbers[part], self._should_stop)))


class Stopped(Exception):
    """The search was stopped while a template was made."""


class _Walk(list[int]):
    """Numbers that raise Stopped while one walks through them, once the search is stopped."""

    def __init__(self, numbers: Iterable[int], should_stop: Callable[[], bool]) -> None:
        super().__init__(numbers)
        self._should_stop = should_stop

    def __iter__(self) -> Iterator[int]:
        for number in super().__iter__():
            if self._should_stop():
                raise Stopped
            yield number


class _Spectra:
    """Spectra that several workers need, made in parts by those that come first."""

    def __init__(self, count: int, parts: int) -> None:
        self._parts = [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)]
        self._locks = [threading.Lock() for _ in self._parts]
        self._made: list[Any] = [None] * parts

    def get(self, make: Callable[[slice], Any]) -> Any:
        """Make what nobody else makes, wait for the others' parts, and return all."""
        for wait in (False, True):
            for number, part in enumerate(self._parts):
                if self._made[number] is None and self._locks[number].acquire(blocking=wait):
                    try:
                        if self._made[number] is None:
                            self._made[number] = make(part)
                    finally:
                        self._locks[number].release()
        return self._made[0] if len(self._made) == 1 else [one for part in self._made for one in part]


@runtime_checkable
class WholeTiles(Protocol):
    """A search that scores all search images on a tile in one go (engine.matching.compressed)."""

    def score_whole(self, item: Item, cache: TileCache, worker: Any, should_stop: Callable[[], bool]) -> None:
        """Score all search images on the item's tile and put them into the maps; raises Stopped."""


def consume(
    search: Search, device: Device, cache: TileCache, worker: TileWorker, should_stop: Callable[[], bool]
) -> None:
    """Take pieces of work from the queue until it is empty; one call per host thread.

    Work that an error interrupts is given back before the error is raised.
    """
    whole = search if isinstance(search, WholeTiles) else None
    held: list[Item] = []
    counted = 0  # of those that are held
    maps: dict[int, tuple[Any, ...]] = {}
    try:
        while not should_stop() and (item := search.take(device.name)) is not None:
            held.append(item)
            if whole is not None:
                whole.score_whole(item, cache, worker, should_stop)
                search.finish(held)
                held.clear()
            elif device.keeps_maps:
                if item.tile not in maps:
                    maps[item.tile] = worker.new_maps(search.tiles[item.tile].shape, search.pairs)
                score_unit(search, cache, worker, item, maps[item.tile], contextlib.nullcontext())
            else:
                score_unit(search, cache, worker, item, search.maps(item.tile), search.guard(item.tile))
                search.finish(held)
                held.clear()
            search.count_done(item)
            counted = len(held)
        for tile, found in maps.items():
            search.merge(tile, tuple(worker.to_host(array) for array in found))
        search.finish(held)
        held.clear()
    except Stopped:
        pass
    finally:
        search.give_back(held, counted)


def score_unit(
    search: Search, cache: TileCache, worker: TileWorker, item: Item, maps: Sequence[Any], guard: Any
) -> None:
    """Score a unit on a tile."""
    bank, unit, tile = search.bank, search.units[item.unit], item.tile
    precision = cache.precision(worker, tile)
    how = precision.statistics
    rects = {group: search.rect(group, tile) for group in unit.groups}
    if unit.shared:
        cache.keep(unit.groups)
        sigmas = [cache.sigma(worker, unit.groups[0], tile, how, lambda: cache.masks(worker, item.unit, how))]
    else:
        plain, squared = (cache.spectrum(worker, tile, how, squares=squares) for squares in (False, True))
        masks = cache.masks(worker, item.unit, how)
        computed = worker.reciprocal_sigma(plain, squared, masks, list(rects.values()), search.valid, FLOOR, how)
        of_group = dict(zip(unit.groups, computed, strict=True))
        sigmas = [of_group[int(bank.group_of[k])] for k in unit.ks]
    worker.score(
        cache.spectrum(worker, tile, precision.scores),
        cache.templates(worker, item.unit, precision.scores),
        unit.ks,
        sigmas,
        [rects[group] for group in bank.group_of[list(unit.ks)].tolist()],
        maps,
        guard,
        precision.scores,
    )


POLL_SECONDS = 0.05
PATIENCE = 5.0
"""Seconds to wait for threads that were told to stop; they stop after the template or the unit in hand."""


@dataclass
class DevicePool:
    """Devices of a run, their workers (kept between micrographs of one tile shape) and those that failed.

    Attributes
    ----------
    devices : sequence of Device
        All that were asked for.
    failed : dict of str to str
        Device name and reason; such a device gets no more work.
    """

    devices: Sequence[Device]
    failed: dict[str, str] = field(default_factory=dict)
    _workers: dict[tuple[int, int, tuple[int, int]], TileWorker] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def worker(self, number: int, thread: int, fft_shape: tuple[int, int]) -> TileWorker:
        """Return the worker of a device's thread for a tile shape; called on that thread."""
        key = (number, thread, fft_shape)
        with self._lock:
            found = self._workers.get(key)
        if found is None:
            found = self.devices[number].worker(fft_shape)
            with self._lock:
                for old in [old for old in self._workers if old[:2] == key[:2]]:
                    del self._workers[old]
                self._workers[key] = found
        return found

    @property
    def tiling(self) -> Tiling:
        """What decides the tiles of a search on these devices: a GPU where there is one."""
        return next((device.tiling for device in self.devices if device.tiling is not CPU_TILING), CPU_TILING)

    def alive(self) -> list[int]:
        """Return the numbers of the devices that have not failed."""
        return [i for i, device in enumerate(self.devices) if device.name not in self.failed]


def run_search(
    search: Search,
    pool: DevicePool,
    *,
    cancel: threading.Event | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ScoreMap, ...]:
    """Score every search image of `search` on the pool's devices; blocks until done; returns `search.result()`.

    Parameters
    ----------
    cancel : threading.Event, optional
        Set it to stop; noticed after the template that is made, or the unit on a tile that is scored.
    progress : callable, optional
        `progress(done, total)` in search images, on the calling thread. Whatever it raises ends the search.

    Raises
    ------
    Cancelled
        `cancel` was set.
    DeviceError
        No device is left.
    """
    stop = threading.Event()
    crashes: list[BaseException] = []

    def should_stop() -> bool:
        return stop.is_set() or (cancel is not None and cancel.is_set())

    def work(number: int, thread: int, cache: TileCache) -> None:
        device = pool.devices[number]
        try:
            worker = pool.worker(number, thread, search.fft_shape)
            with one_thread() if isinstance(search, WholeTiles) else contextlib.nullcontext():
                consume(search, device, cache, worker, lambda: should_stop() or device.name in pool.failed)
        except (DeviceError, MemoryError) as error:
            pool.failed.setdefault(device.name, str(error) or "out of memory")
        except BaseException as error:
            crashes.append(error)
            stop.set()

    while search.remaining:
        alive = pool.alive()
        if not alive:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in pool.failed.items())
            raise DeviceError(f"No device is left ({reasons}); free memory or choose other devices with --devices.")
        threads: list[threading.Thread] = []
        for i in alive:
            cache = TileCache(search, pool.devices[i].threads, should_stop)
            threads += [
                threading.Thread(target=work, args=(i, thread, cache), daemon=True)
                for thread in range(pool.devices[i].threads)
            ]
        begun: list[threading.Thread] = []
        try:
            for thread in threads:
                thread.start()
                begun.append(thread)
            for thread in begun:
                while thread.is_alive():
                    thread.join(POLL_SECONDS)
                    if progress is not None:
                        progress(search.done, search.total)
        except BaseException:  # an interrupt, or whatever `progress` raises: no core stays busy
            stop.set()
            end = time.monotonic() + PATIENCE
            for thread in begun:
                thread.join(max(0.0, end - time.monotonic()))
            raise
        if crashes:
            raise crashes[0]
        if cancel is not None and cancel.is_set():
            raise Cancelled("Stopped.")
    return search.result()
