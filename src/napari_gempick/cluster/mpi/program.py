"""The MPI program: `mpiexec -n RANKS python -m mpi4py -m napari_gempick.cluster.mpi JOBDIR`.

Each rank computes on threads of its own while its main thread talks to the others (see communication). A rank that dies
ends the job; what is finished stays, and the next submission continues from there.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from napari_gempick.cluster.folder import open_job
from napari_gempick.cluster.mpi.communication import Conductor, wait
from napari_gempick.cluster.mpi.micrographs import unforeseen
from napari_gempick.cluster.mpi.node import check_world, devices_of_rank, own_cores, visible_gpus
from napari_gempick.cluster.mpi.rank import Rank, Unforeseen, agree
from napari_gempick.device.plan import library_versions
from napari_gempick.model.errors import DeviceError, GempickError
from napari_gempick.model.values import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

GOOD, SOME_FAILED, NOTHING_DONE = 0, 1, 2
AGAIN = 1.0
"""A second SIGTERM or SIGINT counts only after this many seconds: a launcher may pass the first one on twice."""
SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGXCPU")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job; return the exit status: 0 all done, 1 some failed or are left, 2 nothing could be done."""
    from mpi4py import MPI

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the work begins every signal ends the rank, and so the job
    parser = argparse.ArgumentParser(
        prog="python -m mpi4py -m napari_gempick.cluster.mpi",
        description="Pick the micrographs of a job folder on MPI ranks.",
    )
    parser.add_argument("folder", metavar="JOBDIR")
    parser.add_argument("--ranks", type=int, help="ranks that were asked for; another number is refused")
    parser.add_argument("--root", help="where the micrographs' root lies here")
    parser.add_argument("--check", action="store_true", help="say what each rank would work with, and end")
    options = parser.parse_args(arguments)
    pickle: Any = MPI.pickle  # JSON in its place: nothing is ever unpickled
    pickle.__init__(lambda value: json.dumps(value).encode(), lambda data: json.loads(bytes(data)))
    comm = MPI.COMM_WORLD
    try:
        return _run(comm, options)
    except GempickError as error:
        if comm.rank == 0:
            print(f"Error: {error.sentence}", file=sys.stderr, flush=True)
        return SOME_FAILED if isinstance(error, Unforeseen) else NOTHING_DONE
    except Exception as error:  # the others do not know of it and would wait for this rank
        with contextlib.suppress(OSError):
            print(f"Error: {unforeseen(error, f'Rank {comm.rank} has failed')}", file=sys.stderr, flush=True)
        comm.Abort(SOME_FAILED)
        raise


def _run(comm: Any, options: argparse.Namespace) -> int:
    """Open the job at every rank and work; return the exit status, the same at each."""
    check_world(comm.size, options.ranks)
    failure = f"Rank {comm.rank} cannot open {options.folder}"
    rank = Rank(comm, agree(comm, Conductor(), lambda: open_job(options.folder, options.root), failure))
    try:
        if options.check:
            return _check(rank)
        rank.open()
        rank.prepare_communicators()
        rank.exchange_weights()
        for name in SIGNALS:
            signal.signal(getattr(signal, name), functools.partial(_on_signal, rank))
        return _finish_job(rank)
    finally:
        rank.release()


def _on_signal(rank: Rank, number: int, frame: Any) -> None:
    """End after the current micrograph; a second signal ends at once."""
    now = time.monotonic()
    if number in (signal.SIGTERM, signal.SIGINT):
        if rank.told_to_end and now - rank.told_to_end > AGAIN:
            rank.say(f"Ended at once by a second {signal.Signals(number).name}; submit again to continue.")
            rank.comm.Abort(SOME_FAILED)
        rank.told_to_end = rank.told_to_end or now
    rank.stop_for(signal.Signals(number).name)


def _check(rank: Rank) -> int:
    """Print what each rank has, in order; compute nothing."""
    from mpi4py import MPI

    around = rank.node.allgather(rank.agree(lambda: (visible_gpus(), own_cores())))
    spec, threads = rank.agree(lambda: devices_of_rank(rank.job, rank.node.rank, around))
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
    status = GOOD
    try:
        rank.run()
    except Exception as error:
        rank.note(error)
        if isinstance(error, GempickError):
            status, sentence = SOME_FAILED if isinstance(error, DeviceError) else NOTHING_DONE, error.sentence
        else:
            status, sentence = SOME_FAILED, unforeseen(error, rank.what("has failed"))
        rank.say(f"Error: {sentence}")
        if rank.fatal:
            rank.comm.Abort(status)
    comm, conductor = rank.comm, rank.conductor
    conductor.finish(wait(comm.Ibarrier()))
    facts = comm.allgather([rank.counts["done"], rank.counts["failed"], status, rank.reason])
    done, failed = sum(fact[0] for fact in facts), sum(fact[1] for fact in facts)
    broken = {int(fact[2]) for fact in facts} - {GOOD}
    reason = next((fact[3] for fact in facts if fact[3]), "")
    with contextlib.suppress(Exception):
        rank.log.write("end", reason="error" if broken else reason or "complete")
    comm.Barrier()
    job, left = rank.job, 0
    if comm.rank == 0:
        left = sum("row" not in job.read_record(m) for m in job.micrographs) if reason or broken else 0
        stopped = f"Stopped by {reason}: " if reason else ""
        more = f", {left} left; submit again to continue" if left else ""
        rank.say(f"{stopped}{counted(done, 'micrograph')} picked, {failed} failed{more}.")
    left = comm.bcast(left)
    if broken:
        return min(broken)
    return SOME_FAILED if failed or left else GOOD
