"""What watching folders has on disk beside the files of each micrograph: the index and run.json, always whole.

Both, and thresholds that the whole run chooses, cost the more the more micrographs there are: they follow in intervals.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from napari_gempick.model.errors import Cancelled
from napari_gempick.model.values import LEARNED
from napari_gempick.results.run_file import micrograph_of
from napari_gempick.results.thresholds import is_automatic
from napari_gempick.results.whole_run import choose_by_run

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from napari_gempick.io.arrivals import Arrivals
    from napari_gempick.workflows.pick import Picking

SHARE = 20
"""What takes longer the more micrographs there are rests this many times as long: it gets a twentieth of the time."""
GROWN = 0.1
"""Share of new micrographs from which on the whole run chooses again while others wait."""


class Record:
    """The lines of run.json of a run in progress.

    Parameters
    ----------
    arrivals : Arrivals
        Gives the order of the lines.
    refresh : float
        The shortest time between two choices by the whole run, s.
    stop : threading.Event
        Ends a choice.
    tell : callable
        Receives the event "refreshed".
    notify : callable
        Receives sentences for the user.

    Attributes
    ----------
    rows : dict
        By the name of the results, as the search of each micrograph has left them.
    new : int
        Micrographs since the last choice by the whole run.
    written : dict
        What run.json says.
    """

    def __init__(
        self,
        work: Picking,
        arrivals: Arrivals,
        refresh: float,
        stop: threading.Event,
        tell: Callable[[str, dict[str, Any]], None],
        notify: Callable[[str], None],
    ) -> None:
        self._work, self._arrivals, self._refresh = work, arrivals, refresh
        self._stop, self._tell, self._notify = stop, tell, notify
        self._names = work.makers.index.view_names
        self.automatic = work.settings.score == LEARNED or is_automatic(work.settings, self._names)
        self.rows = {name: row for name, row in work.earlier.items() if "error" not in row}
        self._chosen: dict[str, dict[str, Any]] = {}  # lines that a choice by the whole run has changed
        self.new, self._unsaved = 0, False
        self._save_at = self._refresh_at = -math.inf
        self.save("running")

    def put(self, name: str, row: dict[str, Any], *, new: bool = False) -> None:
        """Add a line, or replace the one of the name."""
        self.rows[name] = row
        self._chosen.pop(name, None)
        self.new, self._unsaved = self.new + new, True

    def drop(self, name: str) -> None:
        """Remove a line, so that the index does not name files that are no longer valid."""
        self._work.earlier.pop(name, None)
        self._chosen.pop(name, None)
        if self.rows.pop(name, None) is not None:
            self._unsaved, self._save_at = True, -math.inf

    @property
    def failed(self) -> int:
        """How many micrographs have failed."""
        return sum("error" in row for row in self.rows.values())

    def is_due(self, *, busy: bool) -> bool:
        """Return whether it is time for a choice by the whole run; `busy` while other micrographs wait."""
        enough = self.new > GROWN * len(self.rows) or (self.new > 0 and not busy)
        return self.automatic and enough and time.monotonic() >= self._refresh_at

    def choose(self, *, final: bool = False) -> None:
        """Choose thresholds by the whole run, each time from what the searches have left, so that the last one counts.

        Raises
        ------
        Cancelled
            It was stopped.
        """

        def check() -> None:
            if self._stop.is_set():
                raise Cancelled("Stopped.")

        check()
        work, begun, rows = self._work, time.monotonic(), dict(self.rows)
        micrographs = [micrograph_of(row) for row in rows.values()]
        notify = self._notify if final else lambda sentence: None
        prove = work.proof if final else None
        kept = self._chosen  # of the choice before, where this one is interrupted
        try:
            choose_by_run(work.results, work.settings, self._names, micrographs, rows, notify, prove, check=check)
            self.new, kept = 0, {}
        finally:
            self._chosen = {**kept, **{name: row for name, row in rows.items() if row is not self.rows[name]}}
            self._unsaved, took = True, time.monotonic() - begun
            self._refresh_at = begun + took + max(self._refresh, took * SHARE)
        facts = {"micrographs": len(rows), "changed": len(self._chosen), "seconds": round(took, 3)}
        if self.automatic:
            self._tell("refreshed", facts)

    def save(self, state: str = "") -> None:
        """Write the index and run.json, in the order of a listing of the folders; without `state` if it is time."""
        begun = time.monotonic()
        if not state and not (self._unsaved and begun >= self._save_at):
            return
        rows = [self._chosen.get(name, row) for name, row in self.rows.items()]
        rows.sort(key=lambda row: self._arrivals.place(row["path"]))
        self._work.results.write_index([micrograph_of(row) for row in rows])
        self._work.notes = self._arrivals.notes()
        self.written = self._work.write_run(state or "running", rows)
        self._unsaved, took = False, time.monotonic() - begun
        self._save_at = begun + took + took * SHARE
