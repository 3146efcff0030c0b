"""Pick micrographs as they arrive in folders, until nothing comes any more."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_gempick.io.arrivals import Arrivals
from napari_gempick.io.ctf import GrowingCtf
from napari_gempick.model.errors import Cancelled, GempickError, InputError, OutputError, SettingsError
from napari_gempick.results.log_file import logged, logged_in
from napari_gempick.results.run_file import micrograph_of, table_of
from napari_gempick.results.whole_run import alone_in, left_over, own_folders
from napari_gempick.workflows.pick import Picking
from napari_gempick.workflows.retune import retune
from napari_gempick.workflows.watch_record import SHARE, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_gempick.engine.matching.pipeline import Outcome, Progress
    from napari_gempick.engine.matching.read_ahead import Source
    from napari_gempick.io.arrivals import Look
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.settings import PickSettings
    from napari_gempick.workflows.watch_settings import WatchSettings

LOG = logging.getLogger(__name__)
LONGEST_REST = 60.0
"""The most seconds between two looks at the folders, unless more are requested; slow file systems take long."""
ALL_FILES = 12
"""Polls after which finished files are checked as well."""


def watch_folders(
    settings: PickSettings,
    folders: Sequence[str | Path],
    output: Path,
    watching: WatchSettings,
    *,
    overwrite: bool = False,
    pooled: bool = False,
    stop: threading.Event | None = None,
    tell: Callable[[str, dict[str, Any]], None] = lambda event, facts: None,
    notify: Callable[[str], None] = lambda sentence: None,
    status: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Pick micrographs into `output` as they arrive, and return what run.json says at the end.

    What an earlier call or `pick_files` has done in `output` with these settings is kept. In the end the files are
    those that `pick_files` writes for the same micrographs, whatever the order in which they arrived.

    Parameters
    ----------
    folders : sequence of str or Path
        Watched with their subfolders.
    output : Path
        Gets what `pick_files` writes. autopick.star and run.json are whole at any moment.
    overwrite : bool
        Remove the results of an earlier run first.
    pooled : bool
        At the end, choose one threshold for each view, see workflows.retune.
    stop : threading.Event, optional
        Set it to stop after the micrograph in hand.
    tell : callable
        Receives events, each a word and facts that JSON can hold: "watching", "found", "done" (with the line of
        run.json), "failed", "refreshed", "idle", "ended".
    notify : callable
        See pick_files.
    status : callable
        Receives the numbers of micrographs done and to be done, in a few words.

    Raises
    ------
    GempickError
        Nothing can be done: settings, templates, output folder, devices; or nothing arrived.
    Cancelled
        It was stopped.
    """
    notify = logged(notify, LOG)
    for folder in map(Path, folders):
        if folder.exists() and not folder.is_dir():
            raise SettingsError(f"{folder} is a file; name the folder in which micrographs arrive.", folder)
        if not folder.exists():
            notify(f"{folder} does not exist yet; it is watched from when it does.")
    watch = None
    try:
        with alone_in(output), logged_in(output, "watch"):
            watch = _Watch(settings, folders, output, watching, overwrite, stop, tell, notify, status)
            watch.pick()
        if pooled:
            watch.record.written = retune(output, {}, notify, pooled=True)
    finally:
        if watch is not None:
            rows = watch.record.written["micrographs"]
            good = [row for row in rows if "error" not in row]
            facts = {"done": len(good), "failed": len(rows) - len(good), "picks": sum(row["picks"] for row in good)}
            tell("ended", {"state": watch.record.written["state"], **facts})
    return watch.record.written


class _Watch:
    """One run of `watch_folders`; everything but the loading of micrographs happens on one thread."""

    def __init__(
        self,
        settings: PickSettings,
        folders: Sequence[str | Path],
        output: Path,
        watching: WatchSettings,
        overwrite: bool,
        stop: threading.Event | None,
        tell: Callable[[str, dict[str, Any]], None],
        notify: Callable[[str], None],
        status: Callable[[str], None],
    ) -> None:
        self._settings, self._folders, self._output, self._watching = settings, folders, output, watching
        self._stop, self._tell, self._notify, self._status = stop or threading.Event(), tell, notify, status
        self._ctf = None
        if settings.ctf is not None:
            self._ctf = GrowingCtf(
                Path(settings.ctf), watching.seconds("settle"), functools.partial(table_of, settings)
            )
        self._work = Picking(settings, output, overwrite=overwrite, resume=True, notify=notify, ctf=self._ctf)
        self._results, self._names = self._work.results, self._work.makers.index.view_names
        if overwrite:
            for path in left_over(output, ()):
                path.unlink(missing_ok=True)
        self._arrivals = Arrivals(folders, own_folders(output), watching.seconds("settle"), watching.pattern)
        self._queue: deque[MicrographFile] = deque()
        self._queued: set[str] = set()
        self._without_ctf: dict[str, tuple[MicrographFile, float]] = {}
        self._ctf_of: dict[str, int] = {}
        self._poll_at = self._all_at = self._ctf_at = -math.inf
        self._active, self._idle = time.monotonic(), False
        refresh = watching.seconds("refresh")
        self.record = Record(self._work, self._arrivals, refresh, self._stop, tell, notify)
        self._earlier = {row["path"]: name for name, row in self.record.rows.items()}
        self._look_for_ctf(always=True)

    def pick(self) -> None:
        """Pick micrographs as they arrive; `written` is run.json afterwards, even after an error.

        Raises
        ------
        Cancelled, InputError
            It was stopped; nothing has arrived.
        """
        facts = {"folders": [str(folder) for folder in self._folders], "output": str(self._output)}
        self._tell("watching", {**facts, "done": len(self.record.rows)})
        state, searched = "stopped", False
        try:
            while not self._stop.is_set() and not self._has_ended():
                self._look()
                if self._queue:
                    self._work.rested = self._work.rested or searched
                    self._search()
                    searched = True
                else:
                    self._in_between()
                    self._stop.wait(max(0.01, self._poll_at - time.monotonic()))
            self.record.choose(final=True)
            state = "complete"
        except Cancelled:
            own = f"Stopped. The same command again, or gempick retune {self._output}, chooses the thresholds of the "
            own += "last micrographs by the whole run."
            raise Cancelled(own if self.record.automatic and self.record.new else "Stopped.") from None
        finally:
            self.record.save(state)
        if not self.record.written["micrographs"]:
            where = ", ".join(map(str, self._folders))
            raise InputError(f"No micrograph arrived in {where} within {self._watching.until_idle}; check the folder.")
        for note in self._work.notes:
            self._notify(note)
        self._work.conclude(self.record.written)

    def _look(self) -> None:
        """Look for new files, if it is time."""
        now = time.monotonic()
        if now < self._poll_at:
            return
        everywhere = now >= self._all_at
        look = self._arrivals.look(now, everywhere=everywhere)
        took, poll = time.monotonic() - now, self._watching.seconds("poll")
        self._poll_at = now + took + max(poll, min(look.seconds * SHARE, LONGEST_REST))
        if everywhere:
            self._all_at = now + took + max(ALL_FILES * poll, took * SHARE)
        self._take(look)
        self._look_for_ctf()
        failed = self.record.failed
        parts = [f"{len(self.record.rows) - failed} picked", f"{len(self._queue)} to do"]
        parts += [f"{failed} failed"] if failed else []
        parts += [f"{self._arrivals.waiting} arriving"] if self._arrivals.waiting else []
        parts += [f"{len(self._without_ctf)} without CTF"] if self._without_ctf else []
        self._status(", ".join(parts))

    def _take(self, look: Look) -> None:
        """Remove micrographs that are no longer valid, and queue complete ones, those with the same CTF together."""
        for micrograph in look.gone:
            self._void(micrograph)
        for path in look.left_out:
            self._void_earlier(path, "")
        group, place = self._work.makers.preparation.group, self._arrivals.place
        for micrograph in sorted(look.complete, key=lambda one: (group(one.path), place(str(one.path)))):
            if self._arrivals.holds(micrograph):
                self._enter(micrograph)

    def _enter(self, micrograph: MicrographFile) -> None:
        """Take up a micrograph that is complete."""
        self._active, self._idle = time.monotonic(), False
        name, path = micrograph.output_stem, str(micrograph.path)
        self._void_earlier(path, name)
        row = self._work.refused(micrograph)
        if row is not None:
            self._fail(micrograph, row)
            return
        before = self.record.rows.get(name)
        other = before is not None and before["path"] != path
        if before is not None and other and not self._has_moved(before, micrograph):
            self._void(micrograph)
        elif before is not None or self._ctf is None or self._ctf.has(micrograph.path):
            row = self._kept(micrograph)
        if row is not None:
            self.record.put(name, {**row, "path": path})
            return
        if before is not None:  # of an older file
            self._void(micrograph)
        if self._ctf is not None and not self._ctf.has(micrograph.path):
            self._without_ctf[path] = micrograph, time.monotonic()
            return
        if path not in self._queued:
            self._queued.add(path)
            self._queue.append(micrograph)
        self._tell("found", {"micrograph": path})

    def _void_earlier(self, path: str, name: str) -> None:
        """Remove what an earlier run made of a file under another name than it has now."""
        earlier = self._earlier.pop(path, name)
        if earlier != name and self.record.rows.get(earlier, {}).get("path") == path:
            self._void(micrograph_of(self.record.rows[earlier]))

    @staticmethod
    def _has_moved(row: dict[str, Any], micrograph: MicrographFile) -> bool:
        """Return whether a line may be about a micrograph in spite of its path: the whole data set was moved."""
        path = Path(row["path"])
        return path.name == micrograph.path.name and not path.exists()

    def _kept(self, micrograph: MicrographFile) -> dict[str, Any] | None:
        """Return the line of a micrograph that is done already."""
        try:
            return self._work.kept(micrograph, read=False)
        except OutputError:
            raise
        except GempickError:  # the file that is there cannot be used
            return None

    def _void(self, micrograph: MicrographFile) -> None:
        """Remove the results of a micrograph."""
        name = micrograph.output_stem
        self._without_ctf.pop(str(micrograph.path), None)
        self._ctf_of.pop(name, None)
        self.record.drop(name)
        for path in self._results.everything(micrograph, self._names):
            path.unlink(missing_ok=True)

    def _fail(self, micrograph: MicrographFile, row: dict[str, Any]) -> None:
        """Note a micrograph that cannot be picked as it is now."""
        self.record.put(micrograph.output_stem, row)
        self._arrivals.mark(micrograph, failed=True)
        self._tell("failed", {"micrograph": str(micrograph.path), "error": row["error"]})

    def _look_for_ctf(self, *, always: bool = False) -> None:
        """Read the CTF's file again where micrographs wait for it, and search again where it has changed."""
        now = time.monotonic()
        if self._ctf is None or not (always or (self._without_ctf and now >= self._ctf_at)):
            return
        if self._ctf.update(now):
            self._results.table = self._ctf.also
            for path, (micrograph, _) in [*self._without_ctf.items()]:
                if self._ctf.has(micrograph.path):
                    del self._without_ctf[path]
                    self.record.rows.pop(micrograph.output_stem, None)
                    self._enter(micrograph)
            for name, row in [*self.record.rows.items()]:
                if self._has_other_ctf(name, Path(row["path"])):
                    self._take(self._arrivals.forget(micrograph_of(row)))
        limit = self._watching.seconds("ctf_wait")
        for path, (micrograph, since) in self._without_ctf.items():
            if now - since > limit and micrograph.output_stem not in self.record.rows:
                why = f" ({self._ctf.problem})" if self._ctf.problem else ""
                file, after = self._settings.ctf, self._watching.ctf_wait
                error = f"{path}: {file} has no row for it after {after}{why}; add one, and it is picked."
                self._notify(error)
                self._fail(micrograph, {"name": micrograph.output_stem, "path": path, "error": error})
        self._ctf_at = now + SHARE * (time.monotonic() - now)

    def _has_other_ctf(self, name: str, path: Path) -> bool:
        """Return whether a micrograph was read with another CTF than it has now; no CTF now changes nothing."""
        group = self._work.makers.preparation.group(path) if name in self._ctf_of else ""
        return bool(group) and hash(group) != self._ctf_of[name]

    def _search(self) -> None:
        """Search the micrographs in the queue, and those that arrive meanwhile."""
        taken: dict[int, MicrographFile] = {}

        def loaders() -> Iterator[Callable[[], Source]]:  # advanced on another thread
            for number in itertools.count():
                micrograph = None
                while micrograph is None or not self._arrivals.holds(micrograph):
                    if self._stop.is_set() or not self._queue:
                        return
                    micrograph = self._queue.popleft()
                    self._queued.discard(str(micrograph.path))
                taken[number] = micrograph
                if self._ctf is not None:
                    self._ctf_of[micrograph.output_stem] = hash(self._work.makers.preparation.group(micrograph.path))
                yield self._work.loader(micrograph, keep=True)

        def show(progress: Progress) -> None:
            self._look()

        searches = self._work.search(loaders(), show)
        with contextlib.closing(searches):
            for outcome in searches:
                self._finish(taken.pop(outcome.number), outcome)
                self._look()
                self._in_between()
                if self._stop.is_set():
                    return

    def _finish(self, micrograph: MicrographFile, outcome: Outcome) -> None:
        """Write the results of one micrograph, unless its file has become another one while it was searched."""
        self._active, self._idle = time.monotonic(), False
        if not self._arrivals.holds(micrograph):
            return
        vanished = outcome.error is not None and not os.path.lexists(micrograph.path)
        changed = not self._arrivals.holds(micrograph, unchanged=True)
        if vanished or changed or self._has_other_ctf(micrograph.output_stem, micrograph.path):
            self._take(self._arrivals.forget(micrograph))
            return
        row = self._work.finish(micrograph, outcome)
        if "error" in row:
            self._fail(micrograph, row)
            return
        self._arrivals.mark(micrograph, failed=False)
        self.record.put(micrograph.output_stem, row, new=True)
        self._tell("done", {"micrograph": str(micrograph.path), "row": row})

    def _in_between(self) -> None:
        """Choose by the whole run and write run.json, if it is time."""
        if self.record.is_due(busy=bool(self._queue)):
            self._look_for_ctf(always=True)
            with contextlib.suppress(Cancelled):
                self.record.choose()
        self.record.save()

    def _has_ended(self) -> bool:
        """Return whether nothing has come for so long that it is time to end."""
        pending = any(micrograph.output_stem not in self.record.rows for micrograph, _ in self._without_ctf.values())
        if self._queue or self._arrivals.waiting or pending:
            return False
        if not self._idle and self._poll_at > -math.inf:
            self._idle = True
            self._tell("idle", {"done": len(self.record.rows)})
        until = self._watching.until_idle
        if until is None or time.monotonic() - self._active < self._watching.seconds("until_idle"):
            return False
        self._poll_at = self._all_at = -math.inf
        self._look()
        self._look_for_ctf(always=True)
        return not (self._queue or self._arrivals.waiting)
