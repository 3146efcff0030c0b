"""How long each stage of a run works, and so which of them limits it."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_gempick.engine.matching.workers import DevicePool

BUSY = 0.9
"""Share of the time from which on the devices are what limits a run."""
LIMITS = {"read": "reading", "prepare": "preparing", "write": "writing"}


class StageTimes:
    """Seconds of work of each stage, added up by several threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.bytes_read = 0
        self.readers = 1
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage, also where it fails."""
        started = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started

    def count_bytes(self, read: int) -> None:
        """Add the size of a file that is read."""
        with self._lock:
            self.bytes_read += read

    def describe(self, pool: DevicePool) -> dict[str, Any]:
        """Return what run.json says: seconds of each stage, the share of time that the devices worked, what limits."""
        seconds = {stage: round(took, 3) for stage, took in sorted(self.seconds.items())}
        busy = pool.busy_share
        if not seconds or not busy:
            return {"seconds": seconds, "devices_busy": None, "limited_by": ""}
        limit = f"devices busy {100 * busy:.0f} %"
        if busy < BUSY:
            ahead = (self.seconds.get("read", 0.0) + self.seconds.get("prepare", 0.0)) / self.readers
            stage = (
                "write"
                if self.seconds.get("write", 0.0) > ahead
                else max(("read", "prepare"), key=lambda name: self.seconds.get(name, 0.0))
            )
            limit += f"; {LIMITS[stage]} limits"
            if self.seconds.get("read") and stage == "read":
                limit += f": {self.readers * self.bytes_read / self.seconds['read'] / 1e6:.0f} MB/s"
        return {"seconds": seconds, "devices_busy": round(busy, 3), "limited_by": limit}
