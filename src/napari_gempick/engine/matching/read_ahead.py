"""Micrographs read and prepared ahead of the search, by one thread or several, and handed over in order."""

from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_gempick.engine.matching.workers import POLL_SECONDS
from napari_gempick.engine.preprocess.prepare import Prepared, prepare
from napari_gempick.model.errors import Cancelled, GempickError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from napari_gempick.engine.matching.stage_times import StageTimes
    from napari_gempick.engine.preprocess.fourier_filters import Transfer
    from napari_gempick.engine.templates.bank import Bank
    from napari_gempick.model.geometry import Grid

AHEAD = 1
"""Prepared micrographs that wait for the devices."""


@dataclass(frozen=True, eq=False)
class Source:
    """A micrograph's pixels and what its search needs; made by the caller's loader.

    Attributes
    ----------
    image : (ny, nx) float32
        Finite, not constant.
    grid : Grid
        The grid to search.
    bank : callable
        Returns the bank of this micrograph.
    lowpass, highpass : float, optional
        Å.
    notes : tuple of str
        Sentences for the user.
    transfer : Transfer, optional
        A further filter of the micrograph.
    instead : callable, optional
        Returns what is searched instead where the prepared micrograph would have wrong scores on this grid, else None.
    replaced : (ny, nx) bool, optional
        Pixels that were defects.
    refine : bool
        Positions and angles of candidates are refined after the search.
    raw : (ny, nx) array, optional
        The pixels as the file has them.
    """

    image: NDArray[np.float32]
    grid: Grid
    bank: Callable[[], Bank]
    lowpass: float | None = None
    highpass: float | None = None
    notes: tuple[str, ...] = ()
    transfer: Transfer | None = None
    instead: Callable[[Prepared], Source | None] | None = None
    replaced: NDArray[np.bool_] | None = None
    refine: bool = False
    raw: NDArray[Any] | None = None


Item = tuple[int, "Prepared | BaseException | None", "Source | None"]
"""A micrograph's number, what came of it (None after the last one), and where it came from."""


class ReadAhead:
    """Threads that read and prepare micrographs.

    Parameters
    ----------
    loaders : iterable of callable
        See engine.matching.pipeline.search_all.
    readers : int
        Number of threads.
    stop : threading.Event
        Set it to end them.
    times : StageTimes
    failure : callable, optional
        See engine.matching.pipeline.search_all.
    """

    def __init__(
        self,
        loaders: Iterable[Callable[[], Source]],
        readers: int,
        stop: threading.Event,
        times: StageTimes,
        failure: Callable[[Exception], GempickError | None] | None,
    ) -> None:
        self.ready: queue.Queue[Item] = queue.Queue(AHEAD)
        self._loaders, self._stop, self._times, self._failure = iter(loaders), stop, times, failure
        self._taking, self._turn = threading.Lock(), threading.Condition()
        self._taken = self._handed = 0
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(readers)]

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            if not self._hand_over(self._made(*taken)):
                return

    def _take(self) -> tuple[int, Callable[[], Source] | BaseException | None] | None:
        """Return the next number and what reads that micrograph, an error, or None after the last; None when stopped.

        One thread at a time advances the loaders, which may block until there is more to do.
        """
        while not self._taking.acquire(timeout=POLL_SECONDS):
            if self._stop.is_set():
                return None
        try:
            if self._stop.is_set():
                return None
            found: Callable[[], Source] | BaseException | None
            try:
                found = next(self._loaders, None)
            except BaseException as error:
                found = self._recorded(error)
            self._taken += 1
            return self._taken - 1, found
        finally:
            self._taking.release()

    def _made(self, number: int, load: Callable[[], Source] | BaseException | None) -> Item:
        if load is None or isinstance(load, BaseException):
            return number, load, None
        try:
            with self._times.of("read"):
                source = load()
            if self._stop.is_set():
                raise Cancelled("Stopped.")
            with self._times.of("prepare"):
                source, prepared = made_ready(source)
        except BaseException as error:
            return number, self._recorded(error), None
        return number, prepared, source

    def _recorded(self, error: BaseException) -> BaseException:
        """Return what is known of a micrograph that could not be read; a programming error goes to the caller."""
        if isinstance(error, GempickError):
            return error
        if isinstance(error, MemoryError):
            return InputError("The micrograph does not fit into memory; free some or bin it.")
        known = self._failure(error) if self._failure is not None and isinstance(error, Exception) else None
        return known or error

    def _hand_over(self, item: Item) -> bool:
        """Put something into the queue when it is its turn; False where `stop` is set before."""
        with self._turn:
            while self._handed != item[0]:
                if self._stop.is_set():
                    return False
                self._turn.wait(POLL_SECONDS)
        done = hand_over(self.ready, item, self._stop)
        with self._turn:
            self._handed += 1
            self._turn.notify_all()
        return done


def hand_over(line: queue.Queue[Any], what: Any, stop: threading.Event) -> bool:
    """Put something into a bounded queue; False where `stop` is set before there is room."""
    while not stop.is_set():
        with contextlib.suppress(queue.Full):
            line.put(what, timeout=POLL_SECONDS)
            return True
    return False


def made_ready(source: Source) -> tuple[Source, Prepared]:
    """Prepare a micrograph; on another grid where its own would give wrong scores."""
    prepared = prepare(source.image, source.grid, source.lowpass, source.highpass, source.transfer)
    other = None if source.instead is None else source.instead(prepared)
    if other is not None:
        source = other
        prepared = prepare(source.image, source.grid, source.lowpass, source.highpass, source.transfer)
    return source, replace(prepared, squares=None)
