"""Many micrographs: one producer thread reads and prepares them, the devices search them one after the other."""

from __future__ import annotations

import functools
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_gempick.engine.prepare import Prepared, prepare
from napari_gempick.engine.search import Search
from napari_gempick.model.errors import GempickError, InputError
from napari_gempick.model.scores import ScoreMap
from napari_gempick.run.search import DevicePool, run_search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_gempick.engine.bank import Bank
    from napari_gempick.engine.filters import Transfer
    from napari_gempick.engine.search import ShapeChooser
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
    """

    image: NDArray[np.float32]
    grid: Grid
    lowpass: float | None = None
    highpass: float | None = None
    notes: tuple[str, ...] = ()
    transfer: Transfer | None = None
    bank: Callable[[], Bank] | None = None


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
    error : GempickError, optional
        Why it failed.
    notes : tuple of str
        Sentences for the user.
    seconds : float
        Search time.
    """

    number: int
    scores: ScoreMap | None = None
    per_view: tuple[ScoreMap, ...] = ()
    decoys: ScoreMap | None = None
    error: GempickError | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Progress:
    """How far a run is: micrographs finished of all, and the share of the current one's search images."""

    finished: int
    total: int
    share: float


def search_all(
    loaders: Sequence[Callable[[], Source]],
    bank_of: Callable[[Grid], Bank],
    pool: DevicePool,
    *,
    tile_shape: ShapeChooser | None = None,
    per_view: bool = False,
    decoys: bool = False,
    cancel: threading.Event | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[Outcome]:
    """Search micrographs in order and yield each outcome; an unusable one is an outcome with an error.

    Parameters
    ----------
    loaders : sequence of callable
        Each returns a Source; called on the producer thread, one ahead of the search. A GempickError is recorded.
    bank_of : callable
        Returns the bank for a grid; expected to keep the last ones.
    pool : DevicePool
    per_view : bool
        Search view by view and yield the maps of each.
    decoys : bool
        Yield the maps of the inverted contrast as well.
    cancel, progress
        See run.search.run_search; progress is called on the calling thread.

    Raises
    ------
    Cancelled, DeviceError
        From the search.
    """
    ready: queue.Queue[tuple[int, Prepared | GempickError | BaseException, Source | None]] = queue.Queue(AHEAD)
    stop = threading.Event()

    def produce() -> None:
        for number, load in enumerate(loaders):
            item: tuple[int, Prepared | GempickError | BaseException, Source | None]
            try:
                source = load()
                filters = (source.lowpass, source.highpass, source.transfer)
                item = number, prepare(source.image, source.grid, *filters), source
            except GempickError as error:
                item = number, error, None
            except MemoryError:
                item = number, InputError("The micrograph does not fit into memory; free some or bin it."), None
            except BaseException as error:  # a programming error: raised on the caller's thread
                item = number, error, None
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if stop.is_set():
                return

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    try:
        for finished in range(len(loaders)):
            number, prepared, source = ready.get()
            if isinstance(prepared, GempickError):
                yield Outcome(number, error=prepared)
                continue
            if not isinstance(prepared, Prepared):
                raise prepared
            assert source is not None
            started = time.monotonic()

            def report(share: float, finished: int = finished) -> None:
                if progress is not None:
                    progress(Progress(finished, len(loaders), share))

            try:
                bank = bank_of(source.grid) if source.bank is None else source.bank()
                search = functools.partial(Search, prepared, bank, tile_shape, decoys=decoys)
                scores, maps, inverted = _search_one(search, pool, per_view, cancel, report)
            except InputError as error:
                yield Outcome(number, error=error)
                continue
            notes = source.notes
            if prepared.outliers_replaced:
                notes = (
                    *notes,
                    f"{prepared.outliers_replaced} outlier pixels were replaced by their neighbours' median.",
                )
            yield Outcome(number, scores, maps, inverted, notes=notes, seconds=time.monotonic() - started)
    finally:
        stop.set()
        producer.join()


def _search_one(
    make_search: Callable[..., Search],
    pool: DevicePool,
    per_view: bool,
    cancel: threading.Event | None,
    report: Callable[[float], None],
) -> tuple[ScoreMap, tuple[ScoreMap, ...], ScoreMap | None]:
    """Return the maps over all views, one for each view where asked for, and the decoys'."""
    searches = [make_search()]
    n_views = len(searches[0].bank.index.view_names)
    if per_view and n_views > 1:
        searches = [make_search(view=view) for view in range(n_views)]
    found = []
    for part, search in enumerate(searches):

        def share(done: int, total: int, part: int = part) -> None:
            report((part + done / total) / len(searches))

        found.append(run_search(search, pool, cancel=cancel, progress=share))
    merged = [functools.reduce(ScoreMap.merged, maps) for maps in zip(*found, strict=True)]
    return merged[0], tuple(maps[0] for maps in found) if per_view else (), merged[1] if len(merged) > 1 else None
