"""All ranks on the same micrograph: each searches its share of the bank, the maps meet at rank 0.

Every exchange below is one that all ranks take part in, in the same order, whatever happens to one of them. So a rank
that fails before an exchange takes part in it all the same and says what happened: that is the micrograph's failure, at
every rank. What goes wrong in the middle of an exchange ends the job, by `Rank.fail`.

Score and index maps are combined by a binomial tree, with the meaning of MPI.MAXLOC: the larger score wins, in a tie
the smaller rotated template. Rank r takes in the maps of r + 1, r + 2, r + 4, ... and sends its own to r minus its
lowest bit: ceil(log2 n) rounds at rank 0. The maps go in pieces that follow each other through the tree, so that all
levels work at the same time.
"""

from __future__ import annotations

import functools
import json
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.cluster.mpi import communication
from napari_gempick.cluster.mpi.communication import NO_MORE
from napari_gempick.engine.matching.pipeline import search_all
from napari_gempick.engine.matching.read_ahead import Source
from napari_gempick.inputs.bank_maker import with_full_grid
from napari_gempick.inputs.views import choose_grid
from napari_gempick.model.errors import Cancelled, GempickError, InputError

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_gempick.cluster.mpi.rank import Rank
    from napari_gempick.engine.matching.search import Search
    from napari_gempick.engine.preprocess.prepare import Prepared
    from napari_gempick.engine.templates.bank import Bank
    from napari_gempick.io.listing import MicrographFile

PAIR = np.dtype([("score", "<f4"), ("index", "<i4")])
"""MPI.FLOAT_INT."""
PIECE = 2**20 // PAIR.itemsize
IN_FLIGHT = 2


@dataclass(frozen=True)
class Counters:
    """What one rank did.

    Attributes
    ----------
    rounds : int
        Ranks that this one took maps from, one after the other.
    messages : int
        Pieces received.
    """

    rounds: int
    messages: int


def children_of(rank: int, size: int) -> list[int]:
    """Return the ranks that send to `rank`, in the order of the rounds."""
    found, bit = [], 1
    while bit < size and not rank & bit:
        if rank + bit < size:
            found.append(rank + bit)
        bit *= 2
    return found


def pack(score: NDArray[np.float32], index: NDArray[np.int32]) -> NDArray[Any]:
    """Return both maps as one flat array of pairs."""
    pairs = np.empty(score.size, PAIR)
    pairs["score"], pairs["index"] = score.ravel(), index.ravel()
    return pairs


def unpack(pairs: NDArray[Any], score: NDArray[np.float32], index: NDArray[np.int32]) -> None:
    """Write pairs into the maps."""
    score[...] = pairs["score"].reshape(score.shape)
    index[...] = pairs["index"].reshape(index.shape)


def tree(comm: Any, pairs: NDArray[Any]) -> Generator[bool, None, Counters]:
    """Combine `pairs` over all ranks; afterwards rank 0 holds the result (others an intermediate one).

    Parameters
    ----------
    pairs : (n,) PAIR
        Changed in place.
    """
    children = children_of(comm.rank, comm.size)
    parent = comm.rank & (comm.rank - 1)
    return (yield from combine(comm, pairs, children, parent if comm.rank else None))


def combine(comm: Any, pairs: NDArray[Any], children: list[int], parent: int | None) -> Generator[bool, None, Counters]:
    """Take in the maps of the ranks that are given, then send what results to `parent`, if any; as `tree`."""
    from mpi4py import MPI

    starts = range(0, len(pairs), PIECE)
    room = [np.empty(min(PIECE, len(pairs)), PAIR) for _ in range(IN_FLIGHT)]
    expected = [(start, child) for start in starts for child in children]
    received: list[Any] = []
    sent: list[Any] = []

    def receive(number: int) -> None:
        start, child = expected[number]
        target = room[number % IN_FLIGHT][: len(pairs) - start]
        received.append(comm.Irecv([target, MPI.FLOAT_INT], child))

    def send(start: int) -> None:
        if parent is not None:
            sent.append(comm.Isend([pairs[start : start + PIECE], MPI.FLOAT_INT], parent))

    for number in range(min(IN_FLIGHT, len(expected))):
        receive(number)
    for number, (start, child) in enumerate(expected):
        while not received[number].Test():
            yield False
        part = pairs[start : start + PIECE]
        MPI.MAXLOC.Reduce_local([room[number % IN_FLIGHT][: len(part)], MPI.FLOAT_INT], [part, MPI.FLOAT_INT])
        if number + IN_FLIGHT < len(expected):
            receive(number + IN_FLIGHT)
        if child == children[-1]:
            send(start)
        yield True
    if not children:
        for start in starts:
            send(start)
            yield True
    for request in sent:
        while not request.Test():
            yield False
    return Counters(len(children), len(expected))


class SharedSearch:
    """The work of one rank on micrographs that all ranks search."""

    def __init__(self, rank: Rank) -> None:
        self._rank, self._call = rank, rank.conductor.call
        self._given = communication.InStep(rank.own(), rank.worker.todo())
        self._talk, self._maps = rank.own(), rank.own()
        names = rank.worker.makers.index.view_names
        self._views = len(names) if rank.job.settings.per_view_maps else 1
        self._begun = 0.0
        self._gone = self._told = False  # all ranks began with the micrograph in hand; all know that it failed
        self._combined = 0  # views of it whose maps have met
        self._exchanging = 0  # thread that is in the middle of an exchange

    def run(self) -> None:
        """Search a share of the bank for every micrograph."""
        rank = self._rank
        outcomes = search_all(
            rank.waiting(self._ask, self._read),
            rank.pool,
            share=rank.share(),
            combine=self._combine,
            failure=self._failure,
            **rank.search_settings(),
        )
        try:
            for outcome in outcomes:
                error = outcome.error
                if error is not None and not self._gone:
                    self._go()
                if error is not None and not self._told and self._combined < self._views:
                    error = InputError(self._agree(error.sentence))
                self._gone, self._told, self._combined = False, False, 0
                if rank.comm.rank == 0:
                    self._finish(replace(outcome, error=error))
                else:
                    rank.drop()
        except Cancelled:
            pass
        except BaseException as error:
            rank.fail(error)
            raise
        rank.stop.set()
        outcomes.close()
        rank.until_dismissed(self._ask)

    def _ask(self) -> int:
        stop = self._rank.stop
        mine = self._given.choose() if not stop.is_set() else NO_MORE
        return self._call(self._given.next_number(mine, stop.is_set()))

    def _read(self, micrograph: MicrographFile) -> Source:
        return self._in_step(self._read_on_node(micrograph))

    def _in_step(self, source: Source) -> Source:
        """Return a source whose search all ranks begin together, on whichever grid it is."""
        other = source.instead

        def instead(prepared: Prepared) -> Source | None:
            found = None if other is None else other(prepared)
            return None if found is None else self._in_step(found)

        def together() -> Bank:
            self._go()
            return source.bank()

        return replace(source, bank=together, instead=instead)

    def _go(self) -> None:
        """Begin with a micrograph at all ranks, unless one of them is to stop."""
        self._gone = True
        if self._call(communication.any_of(self._talk, self._rank.stop.is_set())):
            self._rank.stop.set()
            raise Cancelled("Stopped.")
        self._begun = time.monotonic()

    def _agree(self, sentence: str) -> str:
        """Return why the micrograph in hand has failed at any rank; empty where it has not."""
        found = self._call(communication.first_sentence(self._talk, sentence))
        self._told = bool(found)
        return found

    def _combine(self, search: Search) -> None:
        """Bring the maps of one view to rank 0."""
        self._rank.log.write("share", images=search.total, seconds=round(time.monotonic() - self._begun, 3))
        if sentence := self._agree(""):
            raise InputError(sentence)
        self._exchanging = threading.get_ident()
        for score, index in search.partial_maps():
            pairs = pack(score, index)
            self._call(tree(self._maps, pairs))
            if self._rank.comm.rank == 0:
                unpack(pairs, score, index)
        search.complete(self._call(communication.total_of(self._talk, search.tally())))
        self._exchanging = 0
        self._combined += 1

    def _failure(self, error: Exception) -> GempickError | None:
        """As Rank.failure; what the other ranks would wait for ends them all."""
        found = None if self._exchanging == threading.get_ident() else self._rank.failure(error)
        if found is None:
            self._rank.fail(error)
        return found

    def _finish(self, outcome: Any) -> None:
        """Write at rank 0; a disk that is full stops all ranks, but in step with them."""
        if self._rank.error is not None:
            return
        try:
            self._rank.finish(outcome)
        except Exception as error:
            self._rank.error = error
            self._rank.stop.set()

    def _read_on_node(self, micrograph: MicrographFile) -> Source:
        """Read a micrograph at the node's first rank, for all; at each rank where filters depend on it."""
        worker, node, settings = self._rank.worker, self._rank.node, self._rank.job.settings
        if worker.makers.preparation.has_filters:
            return worker.read(micrograph)
        source, facts = None, {}
        if node.rank == 0:
            try:
                source = worker.read(micrograph)
                facts = {"shape": source.image.shape, "pixel": source.grid.pixel_size, "notes": source.notes}
            except GempickError as error:
                facts = {"error": error.sentence}
        facts = json.loads(self._exchange(communication.text_of(node, json.dumps(facts))))
        if "error" in facts:
            raise InputError(facts["error"])
        shape = (int(facts["shape"][0]), int(facts["shape"][1]))
        pixels = None if source is None else source.image
        image = self._exchange(communication.array_of(node, pixels, shape))
        if source is not None:
            return source
        grid = choose_grid(settings, shape, facts["pixel"])
        makers, notes = worker.makers, tuple(facts["notes"])
        found = Source(image, grid, functools.partial(makers, grid), makers.lowpass(grid), settings.highpass, notes)
        return with_full_grid(found, makers)

    def _exchange(self, steps: Any) -> Any:
        """Wait for an exchange with the ranks of this node; what goes wrong in it ends the job."""
        try:
            return self._call(steps)
        except Exception as error:
            self._rank.fail(error)
            raise
