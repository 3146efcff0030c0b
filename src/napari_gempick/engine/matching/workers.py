"""The exact masked NCC of one micrograph with a bank: overlap-save tiles, shared local statistics, a running maximum.

For rotated template k with template T, mask M (N = sum M) and local standard deviation sS under the mask,

    NCC_k(v) = sum_u (T - mu) M (u) S(v + u - c) / (N sT sS(v))            (Roseman, Ultramicroscopy 2003, 94, 225)

The bank gives (T - mu) M / (N sT); one inverse transform per tile correlates it, and 1 / sS multiplies. The local mean
and mean square come from two more inverse transforms per distinct mask. Any number of workers take units of search
images, tile by tile, from one queue; the maximum, the smaller k in a tie, does not depend on who did what.

Run one search on all devices: a thread per core or GPU, one queue, a failed device's work goes to the others.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from napari_gempick.device.cores import usable_cores
from napari_gempick.device.thread_rules import one_thread
from napari_gempick.device.tiling import CPU_TILING
from napari_gempick.engine.matching.tile_cache import Stopped, TileCache
from napari_gempick.engine.tiles import FLOOR
from napari_gempick.model.errors import Cancelled, DeviceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_gempick.device.base import Device, TileWorker
    from napari_gempick.device.tiling import Tiling
    from napari_gempick.engine.matching.search import Item, Search
    from napari_gempick.model.score_maps import ScoreMap


@runtime_checkable
class WholeTiles(Protocol):
    """A search that scores all rotated templates on a tile in one go (engine.matching.compressed)."""

    def score_whole(self, item: Item, cache: TileCache, worker: Any, should_stop: Callable[[], bool]) -> None:
        """Score all rotated templates on the item's tile and put them into the maps; raises Stopped."""


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


LOG = logging.getLogger(__name__)
POLL_SECONDS = 0.05
MOST_READERS = 4
"""Each holds a micrograph in memory."""
PATIENCE = 5.0
"""Seconds to wait for threads that were told to stop; they stop after the template or the unit in hand."""
Task = Callable[[], None]


class _Lane(threading.Thread):
    """A thread of a device that lasts from micrograph to micrograph, and its plans and caches with it."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        while (task := self.tasks.get()) is not None:
            task()
            del task


@dataclass
class DevicePool:
    """Devices of a run, their threads and workers (kept between micrographs of one tile shape) and those that failed.

    A thread begins with the first task and ends by `close`.

    Attributes
    ----------
    devices : sequence of Device
        All that were asked for.
    failed : dict of str to str
        Device name and reason; such a device gets no more work.
    busy : float
        Seconds that all threads of the devices have worked, together.
    span : (first, last)
        When the first of this work began and the last ended (time.monotonic).
    """

    devices: Sequence[Device]
    failed: dict[str, str] = field(default_factory=dict)
    busy: float = 0.0
    span: tuple[float, float] = (math.inf, -math.inf)
    _workers: dict[tuple[int, int, tuple[int, int]], TileWorker] = field(default_factory=dict)
    _lanes: dict[tuple[int, int], _Lane] = field(default_factory=dict)
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

    def do(self, number: int, thread: int, task: Task) -> None:
        """Have a device's thread do a task after those that it was given before."""
        with self._lock:
            if (number, thread) not in self._lanes:
                self._lanes[number, thread] = _Lane(f"{self.devices[number].name} {thread}")
            self._lanes[number, thread].tasks.put(task)

    def close(self) -> None:
        """End the threads after what they have in hand; new tasks start new ones."""
        with self._lock:
            lanes, self._lanes = list(self._lanes.values()), {}
        for lane in lanes:
            lane.tasks.put(None)
        end = time.monotonic() + PATIENCE
        for lane in lanes:
            lane.join(max(0.0, end - time.monotonic()))

    def worked(self, begun: float, ended: float) -> None:
        """Count the time that a device's thread has worked."""
        with self._lock:
            self.busy += ended - begun
            self.span = min(self.span[0], begun), max(self.span[1], ended)

    @property
    def busy_share(self) -> float:
        """Share of the time from the first to the last work that the threads of the devices have worked."""
        threads = sum(device.threads for device in self.devices)
        return self.busy / (threads * (self.span[1] - self.span[0])) if self.busy else 0.0

    def readers(self, threads: int) -> int:
        """Return how many threads may read micrographs, of `threads` in all (0: all cores).

        They are those that the devices leave, or one for every four: many cores search a micrograph faster than one
        thread prepares the next one.
        """
        threads = threads or usable_cores()
        left = threads - sum(device.cores for device in self.devices)
        return max(1, min(MOST_READERS, max(left, threads // 4)))

    @property
    def tiling(self) -> Tiling:
        """What decides the tiles of a search on these devices: a GPU where there is one."""
        return next((device.tiling for device in self.devices if device.tiling is not CPU_TILING), CPU_TILING)

    def alive(self) -> list[int]:
        """Return the numbers of the devices that have not failed."""
        return [i for i, device in enumerate(self.devices) if device.name not in self.failed]


class Running:
    """A search at work on the devices of a pool. Several may be: the devices finish one after the other.

    Parameters
    ----------
    search : Search
    pool : DevicePool
    cancel : threading.Event, optional
        Set it to stop; noticed after the template that is made, or the unit on a tile that is scored.

    Attributes
    ----------
    begun, ended : float
        When work on it began and ended (time.monotonic); 0 before.

    Raises
    ------
    DeviceError
        No device is left.
    """

    def __init__(self, search: Search, pool: DevicePool, cancel: threading.Event | None = None) -> None:
        self.search, self._pool, self._cancel = search, pool, cancel
        self._stop, self._idle = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._crashes: list[BaseException] = []
        self._left = 0
        self.begun = self.ended = 0.0
        self._start()

    def _start(self) -> None:
        """Give every device its part of the work that is left."""
        pool, alive = self._pool, self._pool.alive()
        if not alive:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in pool.failed.items())
            raise DeviceError(f"No device is left ({reasons}); free memory or choose other devices with --devices.")
        self._idle.clear()
        self._left = sum(pool.devices[i].threads for i in alive)
        for i in alive:
            cache = TileCache(self.search, pool.devices[i].threads, self._should_stop)
            for thread in range(pool.devices[i].threads):
                pool.do(i, thread, functools.partial(self._work, i, thread, cache))

    def _should_stop(self) -> bool:
        return self._stop.is_set() or (self._cancel is not None and self._cancel.is_set())

    def _work(self, number: int, thread: int, cache: TileCache) -> None:
        pool, search = self._pool, self.search
        device, started = pool.devices[number], time.monotonic()
        self.begun = self.begun or started
        try:
            if not self._should_stop() and search.remaining and device.name not in pool.failed:
                worker = pool.worker(number, thread, search.fft_shape)
                with one_thread() if isinstance(search, WholeTiles) else contextlib.nullcontext():
                    consume(search, device, cache, worker, lambda: self._should_stop() or device.name in pool.failed)
        except (DeviceError, MemoryError) as error:
            LOG.warning("device %s has failed", device.name, exc_info=error)
            pool.failed.setdefault(device.name, str(error) or "out of memory")
        except BaseException as error:
            self._crashes.append(error)
            self._stop.set()
        finally:
            pool.worked(started, time.monotonic())
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    self.ended = time.monotonic()
                    self._idle.set()

    def stop(self) -> None:
        """Have the devices leave it as it is, and wait for that."""
        self._stop.set()
        self._idle.wait(PATIENCE)

    def wait(self, progress: Callable[[int, int], None] | None = None) -> tuple[ScoreMap, ...]:
        """Wait for the end and return `search.result()`.

        Parameters
        ----------
        progress : callable, optional
            `progress(done, total)` in rotated templates, on the calling thread. Whatever it raises ends the search.

        Raises
        ------
        Cancelled
            `cancel` was set.
        DeviceError
            No device is left.
        """
        try:
            while True:
                while not self._idle.wait(POLL_SECONDS):
                    if progress is not None:
                        progress(self.search.done, self.search.total)
                if self._crashes:
                    raise self._crashes[0]
                if self._cancel is not None and self._cancel.is_set():
                    raise Cancelled("Stopped.")
                if not self.search.remaining:
                    break
                self._start()  # a device has failed; the others do its work
            if progress is not None:
                progress(self.search.done, self.search.total)
        except BaseException:  # an interrupt, or whatever `progress` raises: no core stays busy
            self.stop()
            raise
        return self.search.result()


def run_search(
    search: Search,
    pool: DevicePool,
    *,
    cancel: threading.Event | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ScoreMap, ...]:
    """Score every rotated template of `search` on the pool's devices; blocks until done; returns `search.result()`.

    Parameters and errors as Running and its `wait`.
    """
    try:
        return Running(search, pool, cancel).wait(progress)
    finally:
        pool.close()
