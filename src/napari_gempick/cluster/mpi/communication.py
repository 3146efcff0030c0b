"""Communication on the main thread while other threads compute, and what the ranks say to each other.

MPI is called by one thread alone (MPI_THREAD_FUNNELED is enough), and never in a call that blocks: whatever waits is a
generator that yields, and the conductor takes turns between them. So a rank answers within milliseconds while it
computes, no core spins in a receive, and a signal is noticed at once.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    Steps = Generator[bool, None, Any]
    from collections.abc import Generator, Iterator

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


ASK, ANSWER = 1, 2
NO_MORE = -1
GO_ON, STOP, LEAVE = 0, 1, 2
"""What a rank says when it asks: another one, all are to end, only this rank ends."""


class HandOut:
    """Gives each rank the next micrograph when it asks; rank 0 serves, on its main thread.

    Parameters
    ----------
    comm : MPI.Comm
        Of this purpose alone.
    count : int
        Micrographs.
    """

    def __init__(self, comm: Any, count: int) -> None:
        self._comm, self._numbers, self._lock = comm, iter(range(count)), threading.Lock()
        self._stopped = False

    def next_number(self, what: int) -> Generator[bool, None, int]:
        """Return the next micrograph's number; NO_MORE at the end, after any rank's STOP, to a rank that says LEAVE."""
        if self._comm.rank == 0:
            return self._take(what)
        answer, question = np.empty(1, np.int32), np.array([what], np.int32)
        yield from wait(self._comm.Isend(question, 0, ASK), self._comm.Irecv(answer, 0, ANSWER))
        return int(answer[0])

    def _take(self, what: int) -> int:
        with self._lock:
            self._stopped |= what == STOP
            return NO_MORE if self._stopped or what == LEAVE else next(self._numbers, NO_MORE)

    def serve(self) -> Generator[bool, None, None]:
        """On rank 0: answer the other ranks until each knows that no work is left."""
        from mpi4py import MPI

        status, question = MPI.Status(), np.empty(1, np.int32)
        answers: list[tuple[Any, Any]] = []
        left = self._comm.size - 1
        while left:
            if not self._comm.Iprobe(MPI.ANY_SOURCE, ASK, status):
                yield False
                continue
            self._comm.Recv(question, status.source, ASK)  # it is there already
            answer = np.array([self._take(int(question[0]))], np.int32)
            left -= int(answer[0] == NO_MORE)
            answers = [pair for pair in answers if not pair[0].Test()]
            answers.append((self._comm.Isend(answer, status.source, ANSWER), answer))
            yield True
        yield from wait(*(request for request, _ in answers))


class InStep:
    """Every rank gets the same micrographs in the same order; rank 0 says which.

    Parameters
    ----------
    comm : MPI.Comm
        Of this purpose alone.
    todo : iterator of int
        The numbers, at rank 0; advanced on the thread that reads.
    """

    def __init__(self, comm: Any, todo: Iterator[int]) -> None:
        self._comm, self._todo = comm, todo

    def choose(self) -> int:
        """Return rank 0's next number; anything at other ranks. It may take time: not on the main thread."""
        return next(self._todo, NO_MORE) if self._comm.rank == 0 else 0

    def next_number(self, mine: int, stop: bool) -> Generator[bool, None, int]:
        """Return the number that rank 0 chose, the same at every rank; NO_MORE after any rank's `stop`."""
        asked = yield from any_of(self._comm, stop)
        number = np.array([NO_MORE if asked else mine], np.int32)
        yield from wait(self._comm.Ibcast(number, 0))
        return int(number[0])


def any_of(comm: Any, flag: bool) -> Generator[bool, None, bool]:
    """Return whether any rank's flag is set."""
    from mpi4py import MPI

    mine, found = np.array([flag], np.int32), np.empty(1, np.int32)
    yield from wait(comm.Iallreduce(mine, found, MPI.MAX))
    return bool(found[0])


def first_sentence(comm: Any, sentence: str) -> Generator[bool, None, str]:
    """Return the sentence of the lowest rank that has one, "" where none has; the same at every rank."""
    from mpi4py import MPI

    mine, lowest = np.array([comm.rank if sentence else comm.size], np.int32), np.empty(1, np.int32)
    yield from wait(comm.Iallreduce(mine, lowest, MPI.MIN))
    if lowest[0] == comm.size:
        return ""
    return (yield from text_of(comm, sentence, int(lowest[0])))


def text_of(comm: Any, text: str, root: int = 0) -> Generator[bool, None, str]:
    """Return the text of one rank at every rank."""
    encoded = np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8).copy()
    length = np.array([len(encoded)], np.int64)
    yield from wait(comm.Ibcast(length, root))
    data = encoded if comm.rank == root else np.empty(int(length[0]), np.uint8)
    yield from wait(comm.Ibcast(data, root))
    return data.tobytes().decode("utf-8", "surrogateescape")


def array_of(comm: Any, array: Any, shape: tuple[int, ...]) -> Generator[bool, None, Any]:
    """Return the float32 array of rank 0 at every rank; only rank 0 uses `array`."""
    data = np.ascontiguousarray(array, np.float32) if comm.rank == 0 else np.empty(shape, np.float32)
    yield from wait(comm.Ibcast(data, 0))
    return data


def total_of(comm: Any, counts: Any) -> Generator[bool, None, Any]:
    """Return the sums of integer counts over all ranks, at rank 0."""
    from mpi4py import MPI

    found = np.zeros_like(counts)
    yield from wait(comm.Ireduce(counts, found, MPI.SUM, 0))
    return found
