"""Micrographs that arrive in a folder while the window is open: listed, and searched when that is wanted. No Qt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_gempick.io.arrivals import Arrivals
from napari_gempick.widgets.state.session import earlier_session
from napari_gempick.workflows.watch_settings import WatchSettings

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.io.arrivals import Look
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.background.search_runner import SearchRunner
    from napari_gempick.widgets.state.controller import Controller

ALL_FILES = 12
"""Polls between two looks at all files, whether they have changed."""


class FolderWatch:
    """Lists what arrives in a folder once it is complete; files that change are searched again.

    Parameters
    ----------
    watching : WatchSettings, optional
        How often the folder is listed, and after how long a file that does not change is complete.

    Attributes
    ----------
    folder : Path or None
        The folder that is watched.
    searching : bool
        What arrives is searched with the settings and templates of the moment.
    arrived, incomplete : int
        Micrographs that have come, and files that are not complete yet.
    """

    changed = Signal()

    def __init__(self, controller: Controller, searches: SearchRunner, watching: WatchSettings | None = None) -> None:
        self._controller, self._searches = controller, searches
        self._background = controller.own_thread()  # a slow file system keeps nothing else waiting
        self._watching = watching or WatchSettings()
        self.folder: Path | None = None
        self.searching = False
        self.arrived = self.incomplete = 0
        self._arrivals: Arrivals | None = None
        self._looks = 0
        self._came: dict[str, MicrographFile] = {}
        self._marks: dict[str, bool] = {}
        self._tried: object = None
        self._changing: set[str] = set()
        self._void: set[str] = set()
        self._session: object = None
        self._adding, self._was_cancelled = False, False
        self._given_up: object = None
        controller.state_changed.connect(self._state_changed)
        controller.results_changed.connect(self._heard_of)
        searches.changed.connect(self._searches_changed)

    def start(self, folder: Path) -> None:
        """Watch a folder with its subfolders, in place of the one before."""
        self.folder, self.arrived, self.incomplete, self._looks = folder, 0, 0, 0
        self._arrivals = Arrivals([folder], [], self._watching.seconds("settle"))
        self._came, self._marks, self._tried = {}, {}, None
        self._changing, self._void = set(), set()
        self._session = self._controller.history
        self.changed.emit()
        self._look(self._arrivals)

    def stop(self) -> None:
        """Stop watching; the micrographs that arrived stay in the list."""
        if self.folder is not None:
            self.folder = self._arrivals = None
            self.changed.emit()

    def set_searching(self, on: bool) -> None:
        """Search the micrographs that have arrived and those still to come, or only list them."""
        self.searching, self._tried = on, None
        self.changed.emit()
        self._search()

    def _look(self, arrivals: Arrivals) -> None:
        """Look at the folder on the thread, and again some seconds later."""
        if arrivals is not self._arrivals:
            return
        marks, self._marks = self._marks, {}
        everywhere, self._looks = self._looks % ALL_FILES == 0, self._looks + 1
        came, controller = self._came, self._controller
        own = None if controller.folder is None else controller.folder.path
        begins = not controller.state.files

        def work() -> tuple[Look, Path | None, float]:
            begun = time.monotonic()
            for path, failed in marks.items():
                if arrivals.holds(came[path]):
                    arrivals.mark(came[path], failed=failed)
            look = arrivals.look(begun, everywhere=everywhere)
            found = [file for file in look.complete if own is None or own not in file.path.parents]
            earlier = earlier_session(found, own) if begins and found else None
            look.complete = found
            return look, earlier, time.monotonic() - begun

        def take(found: tuple[Look, Path | None, float]) -> None:
            look, earlier, took = found
            if arrivals is self._arrivals:
                try:
                    self._take(look, earlier)
                finally:
                    self._background.later(self._watching.seconds("poll") + took, lambda: self._look(arrivals))

        poll = self._watching.seconds("poll")
        self._background.do(work, take, lambda: self._background.later(poll, lambda: self._look(arrivals)))

    def _take(self, look: Look, earlier: Path | None) -> None:
        """List complete files; a file that has changed, or is not a micrograph after all, loses its results."""
        controller, complete = self._controller, {str(file.path) for file in look.complete}
        listed = {str(file.path): number for number, file in enumerate(controller.state.files)}
        other = [number for path in look.left_out if (number := listed.get(path)) is not None and path in self._came]
        self._adding = True
        try:
            for file in look.gone:
                path = str(file.path)
                if path in listed and path not in complete:  # it has changed, and is complete later
                    stem = controller.state.files[listed[path]].output_stem
                    controller.drop_result(stem)
                    if self._is_searched(stem):
                        self._void.add(stem)  # its search is of the earlier file
            if look.complete or look.gone:
                self._tried = None
            self._changing = (self._changing | {str(file.path) for file in look.gone}) - complete
            self._came.update((str(file.path), file) for file in look.complete)
            self.arrived, self.incomplete = len(self._came), 0 if self._arrivals is None else self._arrivals.waiting
            if other:
                controller.withdrawn(other)
            if look.complete:
                controller.arrived(sorted(look.complete, key=lambda file: file.path), earlier)
            if controller.file is not None and str(controller.file.path) in complete & listed.keys():
                controller.reload()
        finally:
            self._adding, self._session = False, controller.history
        self.changed.emit()
        self._search()

    def _is_searched(self, stem: str) -> bool:
        run = self._searches.run
        return stem in self._searches.arriving or (run is not None and stem in run.places)

    def _heard_of(self, stem: str) -> None:
        """Look at a file that cannot be used at each poll: it may be written again. Drop results of an earlier one."""
        result = self._controller.results.get(stem)
        if self._arrivals is None:
            return
        self._tried = None
        if result is not None and stem in self._void:
            self._void.discard(stem)
            self._controller.drop_result(stem)
            return
        for file in self._controller.state.files:
            if file.output_stem == stem and str(file.path) in self._came and result is not None:
                self._marks[str(file.path)] = bool(result.error)

    def _search(self) -> None:
        """Search the new micrographs once no other search is running."""
        controller, searches = self._controller, self._searches
        state = controller.state
        wanted = self.folder is not None and self.searching and not self._adding
        if not wanted or searches.run is not None or not state.views or controller.folder is None:
            return
        found, ready = {*controller.results, *searches.arriving}, self._came.keys() - self._changing
        todo = [file for file in state.kept if str(file.path) in ready and file.output_stem not in found]
        if todo and self._tried != (trial := (state, todo, controller.folder.path)):
            self._tried = trial  # not again before something changes, also where it fails
            searches.start(todo, maps=None)

    def _state_changed(self, state: object, before: object) -> None:
        """Search with other settings or templates; stop where another session was opened."""
        if not self._adding and self._controller.history is not self._session:
            self.stop()
        self._search()

    def _searches_changed(self) -> None:
        """Go on when a search has ended; one that was cancelled is the last."""
        run, cancelling = self._searches.run, self._searches.cancelling
        if run is not None:
            if self._adding and cancelling and not self._was_cancelled:
                self._given_up = run  # it searches a file that is not a micrograph; the user did not cancel it
            self._was_cancelled = cancelling and run is not self._given_up
            return
        self._void &= self._searches.arriving
        if self._was_cancelled:
            self._was_cancelled = False
            if self.searching:
                self.set_searching(False)
        self._search()

    def close(self) -> None:
        """Stop, and wait for the look that is taken."""
        self.folder = self._arrivals = None
        self._background.close()
