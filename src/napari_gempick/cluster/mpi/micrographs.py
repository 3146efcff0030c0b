"""What a rank does with micrographs: which are done, reading, writing results, record and log."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_gempick.cluster.folder import files_of
from napari_gempick.device.locks import locked
from napari_gempick.inputs.bank_maker import BankMaker, loader
from napari_gempick.inputs.preparation import with_exclusion
from napari_gempick.inputs.views import read_views
from napari_gempick.io.candidates import read_candidates
from napari_gempick.model.errors import GempickError, InputError, OutputError, SettingsError
from napari_gempick.model.values import AUTO
from napari_gempick.results.folder import Results
from napari_gempick.verification.prove import Prover
from napari_gempick.workflows.pick import finish_micrograph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_gempick.cluster.folder import Job
    from napari_gempick.cluster.records import RankLog
    from napari_gempick.engine.matching.pipeline import Outcome
    from napari_gempick.engine.matching.read_ahead import Source
    from napari_gempick.io.listing import MicrographFile

TURN = 0.02
"""Seconds in which a rank of the node notices that it may read."""
READING = 120.0
"""Seconds to wait for a rank that reads; its file system may never answer."""


class Worker:
    """The files of a job as one rank sees them.

    Parameters
    ----------
    alone : bool
        No other rank on this node; otherwise one reads at a time.
    """

    def __init__(self, job: Job, log: RankLog, *, alone: bool) -> None:
        self.job, self.log = job, log
        self.makers = BankMaker(job.settings, read_views(job.settings))
        expected = job.content.get("search_images")
        if expected is not None and len(self.makers.index) != expected:
            raise SettingsError(
                f"{job.folder} was exported for {expected} rotated templates, and here its templates make "
                f"{len(self.makers.index)}; export it again with a number for --angle-step."
            )
        self._results = Results(job.results, job.settings, self.makers.diameter)
        name = hashlib.blake2b(str(job.folder).encode(), digest_size=8).hexdigest()
        lock = Path(tempfile.gettempdir()) / f"gempick-{os.getuid() if hasattr(os, 'getuid') else 0}-{name}.lock"
        self._reading = None if alone else lock

    def close(self) -> None:
        """Remove the node's lock, which the ranks that still read make again."""
        if self._reading is not None:
            with contextlib.suppress(OSError):
                self._reading.unlink()

    @functools.cached_property
    def _prover(self) -> Prover:
        return Prover(self.job.settings, self.makers.views)

    def read(self, micrograph: MicrographFile) -> Source:
        """Read a micrograph.

        Raises
        ------
        InputError
            It cannot be used, for whatever reason.
        """
        try:
            return self._read(micrograph)
        except InputError:
            raise
        except Exception as error:
            raise InputError(unforeseen(error, f"{micrograph.path} cannot be read"), micrograph.path) from error

    def _read(self, micrograph: MicrographFile) -> Source:
        settings = self.job.settings
        load: Callable[[], Source] = functools.partial(loader, micrograph, settings, self.makers)
        if settings.exclude == AUTO:
            load = with_exclusion(load, self._results.folder, micrograph, self.makers.diameter, keep=True)
        if self._reading is None:
            return load()
        try:
            with locked(self._reading, READING, TURN / 4):  # without a lock the ranks read at the same time
                return load()
        finally:
            time.sleep(TURN)  # the lock is not fair: let another rank have it

    def is_done(self, micrograph: MicrographFile) -> bool:
        """Return whether a micrograph is finished and its files are as they were written.

        Results whose record is incomplete, because the rank was killed, get it now: no correlation.
        """
        try:
            return self._is_done(micrograph)
        except Exception:  # a file that cannot be read is written again
            return False

    def _is_done(self, micrograph: MicrographFile) -> bool:
        record = self.job.read_record(micrograph)
        if "coverage" not in record or not self._results.is_done(micrograph):
            return False
        if "row" not in record:
            row = self._results.write_picks(micrograph, read_candidates(self._results.candidates(micrograph)))
            self._record(micrograph, record["coverage"], row)
            return True
        return "error" not in record["row"] and record.get("files") == files_of(
            self._results, micrograph, self.makers.index.view_names
        )

    def _record(self, micrograph: MicrographFile, coverage: dict[str, int], row: dict[str, Any]) -> None:
        files = {} if "error" in row else files_of(self._results, micrograph, self.makers.index.view_names)
        self.job.write_record(micrograph, {"coverage": coverage, "row": row, "files": files})

    def finish(self, micrograph: MicrographFile, outcome: Outcome) -> dict[str, Any]:
        """Write one micrograph's results, record and line in the log; return its line of run.json.

        The coverage is written first, then the results, then the complete record. When the results cannot be made, that
        is recorded as the micrograph's failure.

        Raises
        ------
        OutputError
            The disk is full, or the folder cannot be written any more.
        """
        try:
            return self._finish(micrograph, outcome)
        except GempickError:
            raise
        except Exception as error:
            failed = InputError(unforeseen(error, f"The results of {micrograph.path} cannot be made"), micrograph.path)
            return self._finish(micrograph, replace(outcome, scores=None, error=failed))

    def _finish(self, micrograph: MicrographFile, outcome: Outcome) -> dict[str, Any]:
        wanted = self.makers.index.searched()
        coverage = {"search_images": int(wanted.sum()), "pairs": 0, "least": 0, "most": 0}
        if outcome.error is None and outcome.scored is not None:
            scored = outcome.scored[wanted]
            coverage |= {"pairs": int(scored.sum()), "least": int(scored.min()), "most": int(scored.max())}
            self.job.write_record(micrograph, {"coverage": coverage})
        row = finish_micrograph(self._results, micrograph, outcome, self._prover)
        self._record(micrograph, coverage, row)
        state = "failed" if "error" in row else "done"
        self.log.write("micrograph", name=micrograph.output_stem, state=state, seconds=round(outcome.seconds, 3))
        return row

    def todo(self) -> Iterator[int]:
        """Yield the numbers of micrographs that are not done; those that are done go into the log."""
        for number, micrograph in enumerate(self.job.micrographs):
            if self.is_done(micrograph):
                self.keep(micrograph)
            else:
                yield number

    def keep(self, micrograph: MicrographFile) -> None:
        """Note that a micrograph was done already."""
        with contextlib.suppress(OutputError):  # a line in the log is not worth the job
            self.log.write("micrograph", name=micrograph.output_stem, state="kept", seconds=0.0)


def unforeseen(error: BaseException, what: str) -> str:
    """Return a sentence about an exception that no reader or writer has turned into one."""
    if isinstance(error, MemoryError):
        return f"{what}: there is not enough memory; request more, or use fewer ranks per node."
    text = " ".join(str(error).split()) or "no reason given"
    return f"{what} ({type(error).__name__}: {text}); submit the job again, and report it if that does not help."
