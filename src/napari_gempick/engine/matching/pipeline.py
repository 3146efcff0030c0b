"""Many micrographs in a pipeline: read and prepared, searched, and handed to the caller, who writes them.

One thread, or more where there are cores for it, reads and prepares micrographs, another gives them to the devices,
and the caller's own waits for the end of each. The devices get the next micrograph as soon as they have begun the last
piece of work on the one before, so they wait only for a stage that is slower than they are. Each thread that reads has
one micrograph in memory, and there are four more: one that waits, two at the devices, and the caller's.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import queue
import threading
import time
from collections.abc import Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.device.thread_rules import short_turns
from napari_gempick.engine.matching.choice import FULL, make_search
from napari_gempick.engine.matching.pose import PoseRefiner
from napari_gempick.engine.matching.read_ahead import Item, ReadAhead, Source, hand_over
from napari_gempick.engine.matching.stage_times import StageTimes
from napari_gempick.engine.matching.workers import PATIENCE, POLL_SECONDS, Running
from napari_gempick.engine.preprocess.prepare import Prepared
from napari_gempick.model.errors import Cancelled, GempickError, InputError
from napari_gempick.model.score_maps import ScoreMap

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from numpy.typing import NDArray

    from napari_gempick.engine.matching.choice import Wanted
    from napari_gempick.engine.matching.search import Search, ShapeChooser, Share
    from napari_gempick.engine.matching.workers import DevicePool
    from napari_gempick.engine.templates.bank import Bank

TURN_SECONDS = 0.002
"""How often it is asked whether the devices have begun with the last work of a micrograph."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one micrograph.

    Attributes
    ----------
    number : int
        Its place in the list.
    scores : ScoreMap, optional
        None when it failed.
    per_view : tuple of ScoreMap
        One for each view where asked for.
    decoys : ScoreMap, optional
        Of the inverted contrast where asked for: the largest negated score at each position.
    image : (my, mx) float32, optional
        The micrograph as it was searched: on the grid of the maps, filtered.
    error : GempickError, optional
        Why it failed.
    notes : tuple of str
        Sentences for the user.
    seconds : float
        Search time.
    scored : (n_bank,) int32, optional
        How often each rotated template was scored here.
    refine : PoseRefiner, optional
        Refines positions and angles of candidates, where the source asks for it.
    raw : (ny, nx) array, optional
        See Source.
    """

    number: int
    scores: ScoreMap | None = None
    per_view: tuple[ScoreMap, ...] = ()
    decoys: ScoreMap | None = None
    image: NDArray[np.float32] | None = None
    error: GempickError | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    scored: NDArray[np.int32] | None = None
    refine: PoseRefiner | None = None
    raw: NDArray[Any] | None = None


@dataclass(eq=False)
class _Flight:
    """A micrograph whose searches were given to the devices, one after the other."""

    number: int
    prepared: Prepared | None = None
    source: Source | None = None
    bank: Bank | None = None
    searches: list[Running] = field(default_factory=list)
    error: BaseException | None = None

    def stop(self) -> None:
        """Have the devices leave it as it is."""
        for running in self.searches:
            running.stop()


@dataclass(frozen=True)
class Progress:
    """How far a run is: micrographs finished of all, and the share of the current one's rotated templates."""

    finished: int
    total: int
    share: float


def search_all(
    loaders: Iterable[Callable[[], Source]],
    pool: DevicePool,
    *,
    tile_shape: ShapeChooser | None = None,
    per_view: bool = False,
    decoys: bool = False,
    wanted: Wanted = FULL,
    readers: int = 1,
    share: Share | None = None,
    combine: Callable[[Search], None] | None = None,
    failure: Callable[[Exception], GempickError | None] | None = None,
    cancel: threading.Event | None = None,
    progress: Callable[[Progress], None] | None = None,
    times: StageTimes | None = None,
) -> Generator[Outcome, None, None]:
    """Search micrographs in order and yield each outcome; an unusable one is an outcome with an error.

    Parameters
    ----------
    loaders : iterable of callable
        Each returns a Source; called on a thread that reads, a few ahead of the outcome. A GempickError is recorded.
        The iterable itself is advanced on these threads too, one at a time, and may block until there is more to do.
    pool : DevicePool
        Its threads end with the run.
    per_view : bool
        Search view by view and yield the maps of each.
    decoys : bool
        Yield the maps of the inverted contrast as well.
    wanted : Wanted
        Search in full or by a basis; maps of each view are always searched in full.
    readers : int
        Threads that read and prepare.
    share : (start, stop, of), optional
        Do only this part of the search; see engine.matching.search.Search.
    combine : callable
        Called with each search that is done, before its maps are taken; an InputError of it is recorded. A micrograph
        is begun only after the caller has asked for the next outcome.
    failure : callable
        Called with any other exception of one micrograph; returns the error to record, or None to have it raised.
    cancel, progress
        See engine.matching.workers.run_search; progress is called on the calling thread.
    times : StageTimes, optional
        Adds the time of each stage.

    Raises
    ------
    Cancelled, DeviceError
        From the search.
    """
    stop = threading.Event()
    total = len(loaders) if isinstance(loaders, Sized) else 0
    times = times or StageTimes()
    times.readers = readers
    ahead = ReadAhead(loaders, readers, stop, times, failure)

    waiting: queue.Queue[_Flight | None] = queue.Queue(1)
    taken = threading.Semaphore(0)

    def check() -> None:
        if stop.is_set() or (cancel is not None and cancel.is_set()):
            raise Cancelled("Stopped.")

    def search() -> None:
        """Give each micrograph to the devices as soon as they have begun with all work of the one before."""
        last: Running | None = None
        while True:
            try:
                item: Item = _next(ahead.ready, stop)
            except Cancelled:
                return
            if item[1] is None:
                hand_over(waiting, None, stop)
                return
            flight = _Flight(item[0])
            try:
                if not isinstance(item[1], Prepared):
                    raise item[1]
                flight.prepared, flight.source = item[1], item[2]
                last = _take_off(flight, last)
            except BaseException as error:
                flight.error = error
            if not hand_over(waiting, flight, stop):
                flight.stop()
                pool.close()
                return
            while combine is not None and not taken.acquire(timeout=POLL_SECONDS):  # exchanges keep their order
                if stop.is_set():
                    return

    def _take_off(flight: _Flight, last: Running | None) -> Running | None:
        prepared, source = flight.prepared, flight.source
        assert prepared is not None and source is not None
        flight.bank = bank = source.bank()
        for view in range(len(bank.index.view_names)) if per_view and len(bank.index.view_names) > 1 else [None]:
            how = FULL if per_view else wanted
            one = make_search(how, prepared, bank, pool, tile_shape, view=view, decoys=decoys, share=share, check=check)
            while last is not None and last.search.remaining and not last.ended:
                check()
                time.sleep(TURN_SECONDS)
            check()
            last = Running(one, pool, cancel)
            flight.searches.append(last)
        return last

    threads = [*ahead.threads, threading.Thread(target=search, daemon=True)]
    for thread in threads:
        thread.start()
    flight: _Flight | None = None
    turns = contextlib.ExitStack()
    try:
        turns.enter_context(short_turns())
        for finished in itertools.count():
            flight = _next(waiting, cancel)
            if flight is None:
                return

            def report(share: float, finished: int = finished) -> None:
                if progress is not None:
                    progress(Progress(finished, total, share))

            try:
                outcome = _landed(flight, per_view, combine, report)
            except Cancelled:
                raise
            except InputError as error:
                outcome = Outcome(flight.number, error=error)
            except Exception as error:
                if flight.prepared is None:  # where it was read it was decided what becomes of it
                    recorded = error if isinstance(error, GempickError) else None
                else:
                    recorded = failure(error) if failure is not None else None
                if recorded is None:
                    raise
                outcome = Outcome(flight.number, error=recorded)
            flight = None
            yield outcome
            del outcome
            taken.release()
    finally:
        stop.set()
        if flight is not None:
            flight.stop()
        for thread in reversed(threads):
            thread.join(PATIENCE)  # what is read may be slow; the thread then ends by itself
        with contextlib.suppress(queue.Empty):
            while left := waiting.get_nowait():
                left.stop()
        pool.close()
        turns.close()


def _next(line: queue.Queue[Any], stop: threading.Event | None) -> Any:
    """Return what comes next; raises Cancelled where `stop` is set before it comes."""
    while True:
        with contextlib.suppress(queue.Empty):
            return line.get(timeout=POLL_SECONDS)
        if stop is not None and stop.is_set():
            raise Cancelled("Stopped.")


def _landed(
    flight: _Flight, per_view: bool, combine: Callable[[Search], None] | None, report: Callable[[float], None]
) -> Outcome:
    """Wait for a micrograph's searches; return the maps over all views, of each where asked for, and the decoys'."""
    found, scored, count = [], [], max(1, len(flight.searches))
    for part, running in enumerate(flight.searches):

        def share(done: int, total: int, part: int = part) -> None:
            report((part + done / max(total, 1)) / count)

        maps = running.wait(share)
        if combine is not None:
            combine(running.search)
            maps = running.search.result()
        found.append(maps)
        scored.append(running.search.scored)
    if flight.error is not None:
        raise flight.error
    prepared, source, bank = flight.prepared, flight.source, flight.bank
    assert prepared is not None and source is not None and bank is not None
    merged = [functools.reduce(ScoreMap.merged, maps) for maps in zip(*found, strict=True)]
    inside = slice(prepared.margin, -prepared.margin or None)
    return Outcome(
        flight.number,
        merged[0],
        tuple(maps[0] for maps in found) if per_view else (),
        merged[1] if len(merged) > 1 else None,
        prepared.image[inside, inside],
        notes=source.notes,
        seconds=sum(running.ended - running.begun for running in flight.searches),
        scored=np.sum(scored, axis=0, dtype=np.int32),
        refine=PoseRefiner(prepared, bank) if source.refine else None,
        raw=source.raw,
    )
