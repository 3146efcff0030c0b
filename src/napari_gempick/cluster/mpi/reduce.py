"""Combine score and index maps over ranks: a binomial tree, in pieces, with the meaning of MPI.MAXLOC.

The larger score wins, in a tie the smaller rotated template. Rank r takes in the maps of r + 1, r + 2, r + 4, ... and
sends its own to r minus its lowest bit: ceil(log2 n) rounds at rank 0. The maps go in pieces that follow each other
through the tree, so that all levels work at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

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
    comm : MPI.Comm
    pairs : (n,) PAIR
        Changed in place.
    """
    children = children_of(comm.rank, comm.size)
    parent = comm.rank & (comm.rank - 1)
    return (yield from _combine(comm, pairs, children, parent if comm.rank else None))


def gather(comm: Any, pairs: NDArray[Any]) -> Generator[bool, None, Counters]:
    """Combine as `tree`, but rank 0 takes the maps of every other rank: for comparison."""
    children = list(range(1, comm.size)) if comm.rank == 0 else []
    return (yield from _combine(comm, pairs, children, 0 if comm.rank else None))


def _combine(
    comm: Any, pairs: NDArray[Any], children: list[int], parent: int | None
) -> Generator[bool, None, Counters]:
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
