"""The MPI program: `mpiexec -n RANKS python -m mpi4py -m napari_gempick.job JOBDIR`.

Each rank computes on threads of its own while its main thread talks to the others (see conductor). A rank that dies
ends the job; what is finished stays, and the next submission goes on from there.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import signal
import sys
from typing import TYPE_CHECKING, Any

from napari_gempick.device.plan import library_versions
from napari_gempick.job.cluster import hand_out
from napari_gempick.job.cluster.conductor import Conductor, wait
from napari_gempick.job.cluster.folder import open_job
from napari_gempick.job.cluster.node import check_world, devices_of_rank, visible_gpus
from napari_gempick.job.cluster.rank import Rank
from napari_gempick.model.errors import GempickError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_gempick.job.cluster.folder import Job

GOOD, SOME_FAILED, NOTHING_DONE = 0, 1, 2
SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGXCPU")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job; return the exit status: 0 all done, 1 some failed or are left, 2 nothing could be done."""
    from mpi4py import MPI

    parser = argparse.ArgumentParser(
        prog="python -m mpi4py -m napari_gempick.job", description="Pick the micrographs of a job folder on MPI ranks."
    )
    parser.add_argument("folder", metavar="JOBDIR")
    parser.add_argument("--ranks", type=int, help="ranks that were asked for; another number is refused")
    parser.add_argument("--root", help="where the micrographs' root lies here")
    parser.add_argument("--check", action="store_true", help="say what each rank would work with, and end")
    options = parser.parse_args(arguments)
    pickle: Any = MPI.pickle  # JSON in its place: nothing is ever unpickled
    pickle.__init__(lambda value: json.dumps(value).encode(), lambda data: json.loads(bytes(data)))
    comm = MPI.COMM_WORLD
    rank: Rank | None = None
    try:
        check_world(comm.size, options.ranks)
        rank = Rank(comm, _open_everywhere(comm, options.folder, options.root))
        if options.check:
            return _check(rank)
        for name in SIGNALS:
            signal.signal(getattr(signal, name), functools.partial(_on_signal, rank))
        rank.open()
        rank.prepare_communicators()
        rank.exchange_weights()
    except GempickError as error:
        if comm.rank == 0:
            print(f"Error: {error.sentence}", file=sys.stderr, flush=True)
        return NOTHING_DONE
    return _finish_job(rank)


def _open_everywhere(comm: Any, folder: str, root: str | None) -> Job:
    """Read the job folder at every rank; when one cannot, none goes on."""
    job, sentence = None, ""
    try:
        job = open_job(folder, root)
    except GempickError as error:
        sentence = error.sentence
    sentence = Conductor().finish(hand_out.first_sentence(comm, sentence))
    if job is None or sentence:
        raise InputError(sentence)
    return job


def _on_signal(rank: Rank, number: int, frame: Any) -> None:
    rank.stop_for(signal.Signals(number).name)


def _check(rank: Rank) -> int:
    """Print what each rank has, in order; compute nothing."""
    from mpi4py import MPI

    spec, threads = rank.agree(lambda: devices_of_rank(rank.job, rank.node))
    rank.agree(rank.job.check_files)
    fact = {
        "rank": rank.comm.rank,
        "host": MPI.Get_processor_name(),
        "node_rank": rank.node.rank,
        "devices": spec,
        "gpus": list(visible_gpus()),
        "threads": threads,
        **library_versions(),
    }
    facts = rank.comm.gather(fact)
    for row in facts or []:
        print(json.dumps(row), flush=True)
    return GOOD


def _finish_job(rank: Rank) -> int:
    """Run, then end all ranks with the same status; a sentence says how far the job got."""
    error: GempickError | None = None
    try:
        rank.run()
    except GempickError as caught:
        error = caught
        rank.say(f"Error: {error.sentence}")
        if rank.fatal:
            rank.comm.Abort(NOTHING_DONE)
    comm, conductor = rank.comm, rank.conductor
    conductor.finish(wait(comm.Ibarrier()))
    facts = comm.allgather([rank.counts["done"], rank.counts["failed"], error is not None, rank.reason])
    done, failed = sum(fact[0] for fact in facts), sum(fact[1] for fact in facts)
    broken = any(fact[2] for fact in facts)
    reason = next((fact[3] for fact in facts if fact[3]), "")
    with contextlib.suppress(GempickError):
        rank.log.write("end", reason="error" if broken else reason or "complete")
    comm.Barrier()
    job, left = rank.job, 0
    if comm.rank == 0:
        left = sum("row" not in job.read_record(m) for m in job.micrographs) if reason or broken else 0
        stopped = f"Stopped by {reason}: " if reason else ""
        more = f", {left} left; submit again to go on" if left else ""
        rank.say(f"{stopped}{done} micrographs picked, {failed} failed{more}.")
    left = comm.bcast(left)
    if broken:
        return NOTHING_DONE
    return SOME_FAILED if failed or left else GOOD
