"""One MPI rank at work: micrograph by micrograph, or a share of the bank for each."""

from __future__ import annotations

import contextlib
import functools
import socket
import sys
import threading
import time
import traceback
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from napari_gempick.cluster.mpi import communication
from napari_gempick.cluster.mpi.communication import GO_ON, LEAVE, NO_MORE, STOP, Conductor
from napari_gempick.cluster.mpi.micrographs import Worker, unforeseen
from napari_gempick.cluster.mpi.node import (
    GPU_WEIGHT,
    devices_of_rank,
    kind_of_node,
    open_plan,
    own_cores,
    visible_gpus,
)
from napari_gempick.cluster.mpi.shared_search import SharedSearch
from napari_gempick.cluster.records import RankLog, last_attempt
from napari_gempick.device.discover import open_devices
from napari_gempick.device.locks import give_back
from napari_gempick.device.tiling import CPU_TILING
from napari_gempick.engine.matching.choice import FULL, Wanted, make_search
from napari_gempick.engine.matching.pipeline import search_all
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.model.errors import DeviceError, GempickError, InputError, SettingsError
from napari_gempick.results.thresholds import candidate_floor

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from filelock import FileLock

    from napari_gempick.cluster.folder import Job
    from napari_gempick.engine.matching.read_ahead import Source
    from napari_gempick.io.listing import MicrographFile

T = TypeVar("T")


class Unforeseen(GempickError):
    """What no reader or writer has turned into a sentence of its own; the job ends with exit status 1."""


def agree(
    comm: Any,
    conductor: Conductor,
    act: Callable[[], T],
    what: str,
    note: Callable[[BaseException], None] = lambda error: None,
) -> T:
    """Do something at every rank; when it fails at one, all end with its sentence.

    Parameters
    ----------
    act : callable
        What to do at this rank.
    what : str
        The beginning of the sentence about an unexpected error.
    note : callable
        Receives such an error.

    Raises
    ------
    GempickError
        Of this rank, or of the lowest one that failed.
    """
    mine = ""
    try:
        found = act()
    except GempickError as error:
        mine = f" {error.sentence}"
    except Exception as error:
        note(error)
        mine = f"!{unforeseen(error, what)}"
    sentence = conductor.finish(communication.first_sentence(comm, mine))
    if sentence:
        raise (Unforeseen if sentence[0] == "!" else InputError)(sentence[1:])
    return found


PLAN_SHAPES = 3
"""Micrographs that are tried, from the first on, to make the plan with."""


class Rank:
    """One rank at work."""

    def __init__(self, comm: Any, job: Job) -> None:
        from mpi4py import MPI

        self.comm, self.job = comm, job
        self.node = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
        self.stop, self.reason, self.told_to_end = threading.Event(), "", 0.0
        self.error: BaseException | None = None
        self.counts = {"done": 0, "failed": 0}
        self.conductor = Conductor()
        self._dismissed = self._leaving = self.fatal = False
        self.weight = 0
        self.alike = self._one_kind = True
        self._lock: FileLock | None = None
        self._held: deque[MicrographFile] = deque()
        self._issued = self._finished = 0
        self._ahead = 1

    def say(self, sentence: str) -> None:
        """Print a sentence for whoever reads the job's output."""
        with contextlib.suppress(OSError, ValueError):
            print(sentence, file=sys.stderr, flush=True)

    def agree(self, act: Callable[[], Any]) -> Any:
        """Do something at every rank, see `agree`."""
        return agree(self.comm, self.conductor, act, self.what("cannot begin"), self.note)

    def what(self, happened: str) -> str:
        """Return the beginning of a sentence about this rank."""
        return f"Rank {self.comm.rank} on {socket.gethostname()} {happened}"

    def note(self, error: BaseException) -> None:
        """Keep an error's origin in this rank's log."""
        with contextlib.suppress(Exception):
            self.log.write("error", text="".join(traceback.format_exception(error)))

    def fail(self, error: BaseException) -> None:
        """End all ranks now, whatever they wait for; called on any thread."""
        if not self.fatal:
            self.fatal, self.error = True, self.error or error
            self.conductor.start(_raise(error))

    def open(self) -> None:
        """Open the folder, the devices and the plan; errors as `agree`."""
        first = self.comm.rank == 0
        self.agree(self._check_folder if first else lambda: None)
        attempt = self.comm.bcast(self.agree(lambda: last_attempt(self.job.progress) + 1 if first else 0))
        self.log = RankLog(self.job.progress, attempt, self.comm.rank)
        around = self.node.allgather(self.agree(lambda: (visible_gpus(), own_cores())))
        self.spec, self.threads = self.agree(lambda: devices_of_rank(self.job, self.node.rank, around))
        self.worker: Worker = self.agree(lambda: Worker(self.job, self.log, alone=self.node.size == 1 or self.in_step))
        kind = self.comm.Split(int(self.agree(kind_of_node), 16) % 2**31, self.comm.rank)
        self._one_kind = kind.size == self.comm.size
        if kind.rank == 0:
            self.agree(self._plan_first)
            self.agree(lambda: None)
        else:  # waits, and reads what the first one wrote
            self.agree(lambda: None)
            self.agree(self._open_devices)
        self.agree(self._begin_log)

    def _begin_log(self) -> None:
        self.log.start(
            ranks=self.comm.size,
            distribution=self.job.content["distribution"],
            node=self.node.rank,
            devices=[device.describe() for device in self.pool.devices],
            plan=self.plans.record,
        )
        self.weight = sum(GPU_WEIGHT if device.keeps_maps else device.threads for device in self.pool.devices)

    def _check_folder(self) -> None:
        self.job.check_files()
        self.job.check_writable()
        self._lock = self.job.claim()
        if self._lock is None:
            self.say("The file system has no locks: make sure that no other run of this job is in progress.")
        self.job.sweep()

    @property
    def in_step(self) -> bool:
        """Whether all ranks work on the same micrograph."""
        return bool(self.job.content["distribution"] == "templates" and self.comm.size > 1)

    def _open_devices(self) -> None:
        self.plans = open_plan(self.job)
        self.pool = DevicePool(open_devices(self.spec, self.threads, self.plans))

    def _plan_first(self) -> None:
        self._open_devices()
        self._make_plan()

    def _make_plan(self) -> None:
        """Search one image of the first micrograph that can be read, which makes and stores its plan."""
        makers = self.worker.makers
        for micrograph in self.job.micrographs[:PLAN_SHAPES]:
            with contextlib.suppress(Exception):  # the error is reported when its turn comes
                source = self.worker.read(micrograph)
                prepared = prepare(source.image, source.grid, source.lowpass, source.highpass, source.transfer)
                share = (0, 1, len(makers.index))
                wanted, decoys = self._wanted, self.job.settings.decoys
                common = prepared, source.bank(), self.pool, self.plans.tile_shape
                for kind in (FULL, wanted):
                    run_search(make_search(kind, *common, decoys=decoys, share=share), self.pool)
                return

    def run(self) -> None:
        """Work until nothing is left; raises what ended this rank's work, when something did."""
        work = SharedSearch(self).run if self.in_step else self._one_by_one
        thread = threading.Thread(target=self._guarded, args=(work,), daemon=True)
        thread.start()
        try:
            self.conductor.run(lambda: not thread.is_alive())
        except BaseException:
            self.fatal = True  # the others wait for this rank: only an abort ends them
            raise
        self.worker.close()
        if self.error is not None:
            raise self.error

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # raised on the main thread
            self.error = self.error or error

    def release(self) -> None:
        """Let another run of the job begin."""
        give_back(self._lock)

    def stop_for(self, reason: str) -> None:
        """End after the micrograph in hand."""
        self.reason = self.reason or reason
        self.stop.set()

    @property
    def _wanted(self) -> Wanted:
        settings = self.job.settings
        if self.in_step and not self.alike and settings.search == "auto":
            return FULL  # the ranks' tiles may differ, and shares of tiles with them
        floor = candidate_floor(settings, self.worker.makers.index.view_names)
        return Wanted(settings.search, floor, settings.save_maps)

    def search_settings(self) -> dict[str, Any]:
        """Return what both distributions tell `search_all`."""
        settings = self.job.settings
        return {
            "tile_shape": self.plans.tile_shape,
            "per_view": settings.per_view_maps,
            "decoys": settings.decoys,
            "wanted": self._wanted,
        }

    def _wait_turn(self) -> None:
        """Wait until few micrographs are unfinished: those that are read ahead, and one in hand."""
        while self._finished < self._issued - self._ahead and not self.stop.is_set():
            time.sleep(0.005)

    def waiting(
        self,
        ask: Callable[[], int],
        read: Callable[[MicrographFile], Source],
        is_kept: Callable[[MicrographFile], bool] = lambda micrograph: False,
    ) -> Iterator[Callable[[], Source]]:
        """Yield what reads the micrographs that `ask` names, without those that are kept as they are."""
        try:
            while True:
                self._wait_turn()
                number = ask()
                self._dismissed |= number == NO_MORE
                if number == NO_MORE:
                    return
                micrograph = self.job.micrographs[number]
                if not is_kept(micrograph):
                    self._held.append(micrograph)
                    self._issued += 1
                    yield functools.partial(read, micrograph)
        except Exception as error:
            self.fail(error)
            raise

    def until_dismissed(self, ask: Callable[[], int]) -> None:
        """Ask until every rank knows that this one takes no more."""
        while not self._dismissed:
            self._dismissed |= ask() == NO_MORE

    def failure(self, error: Exception) -> GempickError | None:
        """Return the failure of one micrograph that an exception becomes; None where it ends this rank."""
        if self.fatal or isinstance(error, GempickError):
            return None
        self.note(error)
        return InputError(unforeseen(error, "The micrograph cannot be searched"))

    def drop(self) -> MicrographFile:
        """Take the micrograph in hand off the list, so that the next one is read."""
        self._finished += 1
        return self._held.popleft()

    def finish(self, outcome: Any) -> None:
        """Write the results of the micrograph in hand."""
        micrograph = self.drop()
        row = self.worker.finish(micrograph, outcome)
        for sentence in ([row["error"]] if "error" in row else []) + row.get("notes", []) + row.get("remarks", []):
            self.say(sentence)
        self.counts["failed" if "error" in row else "done"] += 1

    # micrograph by micrograph

    def _one_by_one(self) -> None:
        """Take micrographs from rank 0 until there are no more."""
        given = communication.HandOut(self.own(), len(self.job.micrographs))
        if self.comm.rank == 0:
            self.conductor.start(given.serve())

        def ask() -> int:
            what = LEAVE if self._leaving else STOP if self.stop.is_set() else GO_ON
            return self.conductor.call(given.next_number(what))

        def is_kept(micrograph: MicrographFile) -> bool:
            done = self.worker.is_done(micrograph)
            if done:
                self.worker.keep(micrograph)
            return done

        self._ahead = self.pool.readers(self.threads)
        outcomes = search_all(
            self.waiting(ask, self.worker.read, is_kept),
            self.pool,
            readers=self._ahead,
            failure=self.failure,
            **self.search_settings(),
        )
        try:
            for outcome in outcomes:
                images = 0 if outcome.scored is None else int(outcome.scored.sum())
                self.finish(outcome)
                self.log.write("share", images=images, seconds=round(outcome.seconds, 3))
                if self.stop.is_set():
                    break
        except DeviceError:
            self._leaving = True  # the others continue
            raise
        finally:
            self.stop.set()  # the thread that reads no longer waits for its turn
            outcomes.close()
            self.until_dismissed(ask)

    def own(self) -> Any:
        """Return a communicator that nothing else uses."""
        return self._comms.popleft()

    def prepare_communicators(self) -> None:
        """Make a communicator for each purpose, on the main thread: their messages never mix."""
        self._comms = deque(self.comm.Dup() for _ in range(3))

    def share(self) -> tuple[int, int, int]:
        """Return this rank's part of the bank, by the cores and GPUs that each rank has."""
        ends = [0]
        for weight in self.weights:
            ends.append(ends[-1] + weight)
        return ends[self.comm.rank], ends[self.comm.rank + 1], ends[-1]

    def exchange_weights(self) -> None:
        """Tell each other how fast the ranks are, and whether they would choose the same search and tiles.

        Raises
        ------
        SettingsError
            They would not, and a compressed search by all ranks together is asked for.
        """
        mine = self._one_kind and self.pool.tiling is CPU_TILING and bool(self.plans.record["stored"])
        told = self.comm.allgather((self.weight, mine))
        self.weights = [weight for weight, _ in told]
        self.alike = all(alike for _, alike in told)
        if self.in_step and not self.alike and self.job.settings.search == "compressed":
            raise SettingsError(
                "A compressed search by all ranks together needs CPUs of one kind and a stored plan; "
                "give --search auto, or --distribution micrographs."
            )


def _raise(error: BaseException) -> Generator[bool, None, None]:
    yield True
    raise error
