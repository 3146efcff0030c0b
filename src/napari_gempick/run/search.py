"""Run one search on all devices: a thread per core or GPU, one queue, a failed device's work goes to the others."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_gempick.device.tiling import CPU_TILING
from napari_gempick.engine.correlate import TileCache, consume
from napari_gempick.model.errors import Cancelled, DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_gempick.device.base import Device, TileWorker
    from napari_gempick.device.tiling import Tiling
    from napari_gempick.engine.search import Search
    from napari_gempick.model.scores import ScoreMap

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
