"""One MPI rank at work: micrograph by micrograph, or a share of the bank for each."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_gempick.device.discover import open_devices
from napari_gempick.engine.prepare import prepare
from napari_gempick.engine.search import Search
from napari_gempick.job.cluster import hand_out, reduce
from napari_gempick.job.cluster.conductor import Conductor
from napari_gempick.job.cluster.hand_out import GO_ON, LEAVE, NO_MORE, STOP
from napari_gempick.job.cluster.log import RankLog, last_attempt
from napari_gempick.job.cluster.node import GPU_WEIGHT, devices_of_rank, kind_of_node, open_plan
from napari_gempick.job.cluster.worker import Worker, as_input_error
from napari_gempick.job.full_grid import with_full_grid
from napari_gempick.job.inputs import choose_grid
from napari_gempick.model.errors import Cancelled, DeviceError, GempickError, InputError
from napari_gempick.run.pipeline import Source, search_all
from napari_gempick.run.search import DevicePool, run_search

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari_gempick.engine.bank import Bank
    from napari_gempick.engine.prepare import Prepared
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.job.cluster.folder import Job

PLAN_SHAPES = 3
"""Micrographs that are tried, from the first on, to make the plan with."""


class Rank:
    """One rank at work.

    Parameters
    ----------
    comm : MPI.Comm
    job : Job
    """

    def __init__(self, comm: Any, job: Job) -> None:
        from mpi4py import MPI

        self.comm, self.job = comm, job
        self.node = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
        self.stop, self.reason = threading.Event(), ""
        self.error: BaseException | None = None
        self.counts = {"done": 0, "failed": 0}
        self.conductor = Conductor()
        self._dismissed = self._leaving = self.fatal = False
        self._held: deque[MicrographFile] = deque()
        self._issued = self._finished = 0

    def say(self, sentence: str) -> None:
        """Print a sentence for whoever reads the job's output."""
        print(sentence, file=sys.stderr, flush=True)

    def agree(self, act: Callable[[], Any]) -> Any:
        """Do something at every rank; when it fails at one, all end with its sentence.

        Raises
        ------
        GempickError
            Of this rank, or of the lowest one that failed.
        """
        found, error = None, None
        try:
            found = act()
        except GempickError as caught:
            error = caught
        mine = error.sentence if error is not None else ""
        sentence = self.conductor.finish(hand_out.first_sentence(self.comm, mine))
        if sentence:
            raise InputError(sentence)
        return found

    def open(self) -> None:
        """Open the folder, the devices and the plan; errors as `agree`."""
        first = self.comm.rank == 0
        self.agree(self._check_folder if first else lambda: None)
        attempt = self.comm.bcast(last_attempt(self.job.progress) + 1 if first else None)
        self.log = RankLog(self.job.progress, attempt, self.comm.rank)
        self.spec, self.threads = self.agree(lambda: devices_of_rank(self.job, self.node))
        self.worker: Worker = self.agree(lambda: Worker(self.job, self.log, alone=self.node.size == 1 or self.in_step))
        kind = self.comm.Split(int(kind_of_node(), 16) % 2**31, self.comm.rank)
        if kind.rank == 0:
            self.agree(self._plan_first)
            self.agree(lambda: None)
        else:  # waits, and reads what the first one wrote
            self.agree(lambda: None)
            self.agree(self._open_devices)
        self.log.start(
            ranks=self.comm.size,
            distribution=self.job.content["distribution"],
            node=self.node.rank,
            devices=[device.describe() for device in self.pool.devices],
            plan=self.plans.record,
        )

    def _check_folder(self) -> None:
        self.job.check_files()
        self.job.check_writable()
        self._lock = self.job.claim()
        if self._lock is None:
            self.say("The file system has no locks: make sure that no other run of this job is at work.")
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
            with contextlib.suppress(GempickError):
                source = self.worker.read(micrograph)
                prepared = prepare(source.image, source.grid, source.lowpass, source.highpass, source.transfer)
                share = (0, 1, len(makers.index))
                bank = makers(source.grid) if source.bank is None else source.bank()
                run_search(Search(prepared, bank, self.plans.tile_shape, share=share), self.pool)
                return

    def run(self) -> None:
        """Work until nothing is left; raises what ended this rank's work, when something did."""
        work = self._in_step if self.in_step else self._one_by_one
        thread = threading.Thread(target=self._guarded, args=(work,), daemon=True)
        thread.start()
        self.conductor.run(lambda: not thread.is_alive())
        self.worker.close()
        if self.error is not None:
            raise self.error

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # raised on the main thread
            self.error = error
            if self.fatal:
                self.conductor.start(_raise(error))

    def stop_for(self, reason: str) -> None:
        """End after the micrograph in hand."""
        self.reason = self.reason or reason
        self.stop.set()

    def _settings(self) -> dict[str, Any]:
        settings = self.job.settings
        return {
            "tile_shape": self.plans.tile_shape,
            "per_view": settings.per_view_maps,
            "decoys": settings.decoys,
        }

    def _wait_turn(self) -> None:
        """Wait until the devices have begun with the micrograph before; one is read ahead."""
        while self._finished < self._issued - 1 and not self.stop.is_set():
            time.sleep(0.005)

    def _waiting(
        self,
        ask: Callable[[], int],
        read: Callable[[MicrographFile], Source],
        is_kept: Callable[[MicrographFile], bool] = lambda micrograph: False,
    ) -> Iterator[Callable[[], Source]]:
        """Yield what reads the micrographs that `ask` names, without those that are kept as they are."""
        while True:
            self._wait_turn()
            number = ask()
            if number == NO_MORE:
                return
            micrograph = self.job.micrographs[number]
            if not is_kept(micrograph):
                self._held.append(micrograph)
                self._issued += 1
                yield functools.partial(read, micrograph)

    def _finish(self, outcome: Any) -> None:
        """Write the results of the micrograph in hand."""
        micrograph = self._held.popleft()
        self._finished += 1
        row = self.worker.finish(micrograph, outcome)
        for sentence in ([row["error"]] if "error" in row else []) + row.get("notes", []) + row.get("remarks", []):
            self.say(sentence)
        self.counts["failed" if "error" in row else "done"] += 1

    # micrograph by micrograph

    def _one_by_one(self) -> None:
        """Take micrographs from rank 0 until there are no more."""
        given = hand_out.HandOut(self._own(), len(self.job.micrographs))
        if self.comm.rank == 0:
            self.conductor.start(given.serve())

        def ask() -> int:
            what = LEAVE if self._leaving else STOP if self.stop.is_set() else GO_ON
            number = self.conductor.call(given.next_number(what))
            self._dismissed |= number == NO_MORE
            return number

        def is_kept(micrograph: MicrographFile) -> bool:
            done = self.worker.is_done(micrograph)
            if done:
                self.worker.keep(micrograph)
            return done

        outcomes = search_all(
            self._waiting(ask, self.worker.read, is_kept), self.worker.makers, self.pool, **self._settings()
        )
        try:
            for outcome in outcomes:
                images = 0 if outcome.scored is None else int(outcome.scored.sum())
                self._finish(outcome)
                self.log.write("share", images=images, seconds=round(outcome.seconds, 3))
                if self.stop.is_set():
                    break
        except DeviceError:
            self._leaving = True  # the others go on
            raise
        finally:
            self.stop.set()  # the thread that reads no longer waits for its turn
            outcomes.close()
            while not self._dismissed:
                ask()

    def _own(self) -> Any:
        return self._comms.popleft()

    def prepare_communicators(self) -> None:
        """Make a communicator for each purpose, on the main thread: their messages never mix."""
        self._comms = deque(self.comm.Dup() for _ in range(3))

    # template by template

    def _in_step(self) -> None:
        """Search a share of the bank for every micrograph; the maps meet at rank 0."""
        given = hand_out.InStep(self._own(), self.worker.todo())
        talk, maps = self._own(), self._own()
        call, first = self.conductor.call, self.comm.rank == 0
        state = {"gone": False, "agreed": False}
        begun = 0.0

        def ask() -> int:
            mine = given.choose() if not self.stop.is_set() else NO_MORE
            number = call(given.next_number(mine, self.stop.is_set()))
            self._dismissed |= number == NO_MORE
            return number

        def read(micrograph: MicrographFile) -> Source:
            return in_step(self._read_on_node(micrograph))

        def in_step(source: Source) -> Source:
            bank = source.bank or functools.partial(self.worker.makers, source.grid)
            other = source.instead

            def instead(prepared: Prepared) -> Source | None:
                found = None if other is None else other(prepared)
                return None if found is None else in_step(found)

            def together() -> Bank:
                go()
                return bank()

            return replace(source, bank=together, instead=instead)

        def go() -> None:
            nonlocal begun
            state["gone"] = True
            if call(hand_out.any_of(talk, self.stop.is_set())):
                self.stop.set()
                raise Cancelled("Stopped.")
            begun = time.monotonic()

        def agreed(sentence: str) -> str:
            state["agreed"] = True
            return call(hand_out.first_sentence(talk, sentence))

        def combine(search: Search) -> None:
            self.log.write("share", images=search.total, seconds=round(time.monotonic() - begun, 3))
            if not state["agreed"] and (sentence := agreed("")):
                raise as_input_error(sentence)
            for score, index in search.raised():
                pairs = reduce.pack(score, index)
                call(reduce.tree(maps, pairs))
                if first:
                    reduce.unpack(pairs, score, index)
            search.scored[:] = call(hand_out.total_of(talk, search.scored))

        outcomes = search_all(
            self._waiting(ask, read),
            self.worker.makers,
            self.pool,
            share=self._share(),
            combine=combine,
            **self._settings(),
        )
        try:
            for outcome in outcomes:
                error = outcome.error
                if error is not None:
                    if not state["gone"]:
                        go()
                    if not state["agreed"]:
                        error = as_input_error(agreed(error.sentence))
                state["gone"] = state["agreed"] = False
                if first:
                    self._finish_first(replace(outcome, error=error))
                else:
                    self._held.popleft()
                    self._finished += 1
        except Cancelled:
            pass
        except BaseException:
            self.fatal = True  # the others wait for this rank: only an abort ends them
            raise
        self.stop.set()
        outcomes.close()
        while not self._dismissed:
            ask()

    def _finish_first(self, outcome: Any) -> None:
        """Write at rank 0; a disk that is full stops all ranks, but in step with them."""
        if self.error is not None:
            return
        try:
            self._finish(outcome)
        except GempickError as error:
            self.error = error
            self.stop.set()

    def _share(self) -> tuple[int, int, int]:
        """Return this rank's part of the bank, by the cores and GPUs that each rank has."""
        ends = [0]
        for weight in self.weights:
            ends.append(ends[-1] + weight)
        return ends[self.comm.rank], ends[self.comm.rank + 1], ends[-1]

    def exchange_weights(self) -> None:
        """Tell each other how fast the ranks are."""
        weight = sum(GPU_WEIGHT if device.keeps_maps else device.threads for device in self.pool.devices)
        self.weights = list(self.comm.allgather(weight))

    def _read_on_node(self, micrograph: MicrographFile) -> Source:
        """Read a micrograph at the node's first rank, for all; each rank alone where filters hang on it."""
        settings = self.job.settings
        if settings.ctf is not None or settings.whiten or settings.averaging:
            return self.worker.read(micrograph)
        source, facts = None, {}
        if self.node.rank == 0:
            try:
                source = self.worker.read(micrograph)
                facts = {"shape": source.image.shape, "pixel": source.grid.pixel_size, "notes": source.notes}
            except GempickError as error:
                facts = {"error": error.sentence}
        call = self.conductor.call
        facts = json.loads(call(hand_out.text_of(self.node, json.dumps(facts))))
        if "error" in facts:
            raise as_input_error(facts["error"])
        shape = (int(facts["shape"][0]), int(facts["shape"][1]))
        image = call(hand_out.array_of(self.node, None if source is None else source.image, shape, "float32"))
        if source is not None:
            return source
        grid = choose_grid(self.job.settings, shape, facts["pixel"])
        settings, makers = self.job.settings, self.worker.makers
        source = Source(image, grid, makers.lowpass(grid), settings.highpass, tuple(facts["notes"]))
        return with_full_grid(source, makers)


def _raise(error: BaseException) -> Generator[bool, None, None]:
    yield True
    raise error
