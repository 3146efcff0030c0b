"""Communication on the main thread while other threads compute.

MPI is called by one thread alone (MPI_THREAD_FUNNELED is enough), and never in a call that blocks: whatever waits is a
generator that yields, and the conductor takes turns between them. So a rank answers within milliseconds while it
computes, no core spins in a receive, and a signal is noticed at once.
"""

from __future__ import annotations

import queue
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    Steps = Generator[bool, None, Any]

T = TypeVar("T")
SPINS = 50
LONGEST_SLEEP = 0.005


class Conductor:
    """Runs generators in turn; each yields whether it made progress."""

    def __init__(self) -> None:
        self._new: queue.SimpleQueue[tuple[Steps, Future[Any]]] = queue.SimpleQueue()
        self._running: list[tuple[Steps, Future[Any]]] = []

    def start(self, steps: Steps) -> Future[Any]:
        """Take on a generator; may be called from any thread."""
        future: Future[Any] = Future()
        self._new.put((steps, future))
        return future

    def call(self, steps: Generator[bool, None, T]) -> T:
        """Wait for a generator's result, on a thread that is not the conductor's."""
        result: T = self.start(steps).result()
        return result

    def run(self, finished: Callable[[], bool]) -> None:
        """Take turns until nothing is left and `finished`; on the thread that may call MPI.

        Raises
        ------
        Exception
            Whatever a generator raises; its caller gets it too.
        """
        idle = 0
        while True:
            while not self._new.empty():
                self._running.append(self._new.get())
            if not self._running and finished() and self._new.empty():
                return
            got_on = False
            for item in list(self._running):
                steps, future = item
                try:
                    got_on |= next(steps)
                except StopIteration as end:
                    self._running.remove(item)
                    future.set_result(end.value)
                    got_on = True
                except BaseException as error:
                    future.set_exception(error)
                    raise
            idle = 0 if got_on else idle + 1
            if idle > SPINS:
                time.sleep(min(LONGEST_SLEEP, 1e-4 * (idle - SPINS)))

    def finish(self, steps: Generator[bool, None, T]) -> T:
        """Run a generator to its end, on the conductor's own thread."""
        future = self.start(steps)
        self.run(future.done)
        result: T = future.result()
        return result


def wait(*requests: Any) -> Steps:
    """Wait for MPI requests."""
    for request in requests:
        while not request.Test():
            yield False
