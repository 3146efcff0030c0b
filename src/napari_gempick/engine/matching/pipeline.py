"""Many micrographs: one producer thread reads and prepares them, the devices search them one after the other."""

from __future__ import annotations

import functools
import itertools
import queue
import threading
import time
from collections.abc import Sized
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.engine.matching.choice import FULL, make_search
from napari_gempick.engine.matching.pose import PoseRefiner
from napari_gempick.engine.matching.workers import PATIENCE, POLL_SECONDS, DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import Prepared, prepare
from napari_gempick.model.errors import Cancelled, GempickError, InputError
from napari_gempick.model.score_maps import ScoreMap

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from numpy.typing import NDArray

    from napari_gempick.engine.matching.choice import Wanted
    from napari_gempick.engine.matching.search import Search, ShapeChooser, Share
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
    lowpass, highpass : float, optional
        Å.
    notes : tuple of str
        Sentences for the user.
    transfer : Transfer, optional
        A further filter of the micrograph.
    bank : callable, optional
        Returns the bank of this micrograph; default the one of its grid.
    instead : callable, optional
        Returns what is searched instead where the prepared micrograph would have wrong scores on this grid, else None.
    replaced : (ny, nx) bool, optional
        Pixels that were defects.
    refine : bool
        Positions and angles of candidates are refined after the search.
    """

    image: NDArray[np.float32]
    grid: Grid
    lowpass: float | None = None
    highpass: float | None = None
    notes: tuple[str, ...] = ()
    transfer: Transfer | None = None
    bank: Callable[[], Bank] | None = None
    instead: Callable[[Prepared], Source | None] | None = None
    replaced: NDArray[np.bool_] | None = None
    refine: bool = False


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
        How often each search image was scored here.
    refine : PoseRefiner, optional
        Refines positions and angles of candidates, where the source asks for it.
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


_Item = tuple[int, Prepared | BaseException | None, Source | None]
"""A micrograph's number, what came of it (None after the last one), and where it came from."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: micrographs finished of all, and the share of the current one's search images."""

    finished: int
    total: int
    share: float


def search_all(
    loaders: Iterable[Callable[[], Source]],
    bank_of: Callable[[Grid], Bank],
    pool: DevicePool,
    *,
    tile_shape: ShapeChooser | None = None,
    per_view: bool = False,
    decoys: bool = False,
    wanted: Wanted = FULL,
    share: Share | None = None,
    combine: Callable[[Search], None] | None = None,
    failure: Callable[[Exception], GempickError | None] | None = None,
    cancel: threading.Event | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Generator[Outcome, None, None]:
    """Search micrographs in order and yield each outcome; an unusable one is an outcome with an error.

    Parameters
    ----------
    loaders : iterable of callable
        Each returns a Source; called on the producer thread, one ahead of the search. A GempickError is recorded.
        The iterable itself is advanced on that thread too, and may block until there is more to do.
    bank_of : callable
        Returns the bank for a grid; expected to keep the last ones.
    pool : DevicePool
    per_view : bool
        Search view by view and yield the maps of each.
    decoys : bool
        Yield the maps of the inverted contrast as well.
    wanted : Wanted
        Search in full or by a basis; maps of each view are always searched in full.
    share : (start, stop, of), optional
        Do this part of the search alone; see engine.matching.search.Search.
    combine : callable
        Called with each search that is done, before its maps are taken; an InputError of it is recorded.
    failure : callable
        Called with any other exception of one micrograph; returns the error to record, or None to have it raised.
    cancel, progress
        See engine.matching.workers.run_search; progress is called on the calling thread.

    Raises
    ------
    Cancelled, DeviceError
        From the search.
    """
    ready: queue.Queue[_Item] = queue.Queue(AHEAD)
    stop = threading.Event()
    total = len(loaders) if isinstance(loaders, Sized) else 0

    def produce() -> None:
        waiting = iter(loaders)
        for number in itertools.count():
            item: _Item = number, None, None
            try:
                load = next(waiting, None)
                if load is not None:
                    source = load()
                    if stop.is_set():
                        return
                    source, prepared = made_ready(source)
                    item = number, prepared, source
            except GempickError as error:
                item = number, error, None
            except MemoryError:
                item = number, InputError("The micrograph does not fit into memory; free some or bin it."), None
            except BaseException as error:  # a programming error: raised on the caller's thread
                recorded = failure(error) if failure is not None and isinstance(error, Exception) else None
                item = number, recorded or error, None
            while not stop.is_set():
                try:
                    ready.put(item, timeout=POLL_SECONDS)
                    break
                except queue.Full:
                    continue
            if stop.is_set() or item[1] is None:
                return

    def check() -> None:
        if cancel is not None and cancel.is_set():
            raise Cancelled("Stopped.")

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    try:
        for finished in itertools.count():
            number, prepared, source = _next(ready, cancel)
            if prepared is None:
                return
            if isinstance(prepared, GempickError):
                yield Outcome(number, error=prepared)
                continue
            if not isinstance(prepared, Prepared):
                raise prepared
            assert source is not None
            started = time.monotonic()

            def report(share: float, finished: int = finished) -> None:
                if progress is not None:
                    progress(Progress(finished, total, share))

            try:
                bank = bank_of(source.grid) if source.bank is None else source.bank()
                how = FULL if per_view else wanted
                search = functools.partial(
                    make_search, how, prepared, bank, pool, tile_shape, decoys=decoys, share=share, check=check
                )
                n_views = len(bank.index.view_names) if per_view else 1
                found = _search_one(search, pool, n_views, per_view, combine, cancel, report)
            except InputError as error:
                yield Outcome(number, error=error)
                continue
            except Cancelled:
                raise
            except Exception as error:
                recorded = failure(error) if failure is not None else None
                if recorded is None:
                    raise
                yield Outcome(number, error=recorded)
                continue
            notes = source.notes
            if prepared.outliers_replaced:
                notes = (*notes, f"Pixels far outside that were replaced by noise: {prepared.outliers_replaced}.")
            inside = slice(prepared.margin, -prepared.margin or None)
            image = prepared.image[inside, inside]
            refine = PoseRefiner(prepared, bank) if source.refine else None
            yield replace(
                found, number=number, image=image, notes=notes, seconds=time.monotonic() - started, refine=refine
            )
    finally:
        stop.set()
        producer.join(PATIENCE)  # what it reads may be slow; it then ends by itself


def _next(ready: queue.Queue[_Item], cancel: threading.Event | None) -> _Item:
    """Return the next micrograph; raises Cancelled where `cancel` is set before it comes."""
    while True:
        try:
            return ready.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if cancel is not None and cancel.is_set():
                raise Cancelled("Stopped.") from None


def made_ready(source: Source) -> tuple[Source, Prepared]:
    """Prepare a micrograph; on another grid where its own would give wrong scores."""
    prepared = prepare(source.image, source.grid, source.lowpass, source.highpass, source.transfer)
    other = None if source.instead is None else source.instead(prepared)
    if other is not None:
        source = other
        prepared = prepare(source.image, source.grid, source.lowpass, source.highpass, source.transfer)
    return source, replace(prepared, squares=None)


def _search_one(
    make_search: Callable[..., Search],
    pool: DevicePool,
    n_views: int,
    per_view: bool,
    combine: Callable[[Search], None] | None,
    cancel: threading.Event | None,
    report: Callable[[float], None],
) -> Outcome:
    """Return the maps over all views, one for each view where asked for, and the decoys'."""
    views: list[int | None] = list(range(n_views)) if n_views > 1 else [None]
    found, scored = [], []
    for part, view in enumerate(views):

        def share(done: int, total: int, part: int = part) -> None:
            report((part + done / max(total, 1)) / len(views))

        search = make_search(view=view)
        maps = run_search(search, pool, cancel=cancel, progress=share)
        if combine is not None:
            combine(search)
            maps = search.result()
        found.append(maps)
        scored.append(search.scored)
    merged = [functools.reduce(ScoreMap.merged, maps) for maps in zip(*found, strict=True)]
    return Outcome(
        0,
        merged[0],
        tuple(maps[0] for maps in found) if per_view else (),
        merged[1] if len(merged) > 1 else None,
        scored=np.sum(scored, axis=0, dtype=np.int32),
    )
