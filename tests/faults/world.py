"""Run jobs one after the other on the ranks of one MPI world, each with an exception at one point of one rank.

`mpiexec -n RANKS python -m mpi4py world.py STEPS.json FOLDER`; see campaign.py. Each rank writes STEP-RANK.json with
the status of each step, what it printed to STEP-RANK.txt, and STEP-RANK.fired when it met its exception.
"""

import fcntl
import importlib
import inspect
import json
import signal
import sys
import threading
from pathlib import Path

from mpi4py import MPI

from napari_gempick.cluster.mpi import program
from napari_gempick.cluster.mpi.rank import Rank

SENTENCE = "injected here"


class Fault:
    """Puts an exception in the place of a function, once."""

    def __init__(self, point, working, exception, fired):
        point, _, call = point.partition("@")
        self.before = int(call or 1) - 1  # calls that go well
        module, _, names = point.partition(":")
        self.owner = importlib.import_module(module)
        *parents, self.name = names.split(".")
        for parent in parents:
            self.owner = getattr(self.owner, parent)
        self.error = {
            "MemoryError": MemoryError,
            "OSError": OSError,
            "ValueError": ValueError,
            "RuntimeError": RuntimeError,
        }
        self.error = self.error[exception](SENTENCE)
        self.real, self.armed, self.fired, self.lock = (
            getattr(self.owner, self.name),
            not working,
            fired,
            threading.Lock(),
        )
        self.run = Rank.run

    def _raise(self):
        with self.lock:
            if not self.armed:
                return
            self.before -= 1
            if self.before >= 0:
                return
            self.armed = False
        self.fired.write_text("")
        raise self.error

    def __enter__(self):
        def call(*args, **kwargs):
            self._raise()
            return self.real(*args, **kwargs)

        def generate(*args, **kwargs):
            self._raise()
            return (yield from self.real(*args, **kwargs))

        def run(rank):
            self.armed = True
            return self.run(rank)

        if not self.armed:
            Rank.run = run
        setattr(self.owner, self.name, generate if inspect.isgeneratorfunction(self.real) else call)

    def __exit__(self, *_):
        Rank.run = self.run
        setattr(self.owner, self.name, self.real)


def main():
    steps, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    comm, real = MPI.COMM_WORLD, sys.stderr
    alive = (folder / "alive").open("w")
    fcntl.flock(alive, fcntl.LOCK_SH)
    for step in steps:
        name = folder / f"{step['step']}-{comm.rank}"
        fault = None
        if step["fault"] and step["fault"]["rank"] == comm.rank:
            values = step["fault"]
            fault = Fault(values["point"], values["working"], values["exception"], name.with_suffix(".fired"))
        comm.Barrier()
        with name.with_suffix(".txt").open("w", buffering=1) as sys.stderr:
            if fault:
                with fault:
                    status = program.main([step["job"], "--ranks", str(comm.size)])
            else:
                status = program.main([step["job"], "--ranks", str(comm.size)])
        sys.stderr = real
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        name.with_suffix(".json").write_text(json.dumps(status))


if __name__ == "__main__":
    main()
