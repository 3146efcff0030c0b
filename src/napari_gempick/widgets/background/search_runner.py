"""Searches that run in the background: which micrographs, how far, what came out, and how to stop."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_gempick.model.declaration import names_with
from napari_gempick.model.errors import GempickError
from napari_gempick.model.settings import PickSettings
from napari_gempick.results.run_file import read_run, row_of
from napari_gempick.widgets.background.worker_process import SearchProcess
from napari_gempick.widgets.state.exporting import shared_settings
from napari_gempick.widgets.state.result import Result, bank_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.state import State

SEARCHED_WITH = names_with(PickSettings, role=("template", "search"))
"""Settings that the score maps and their peaks depend on."""
MOST_MAPS = 4 * 2**30
"""Bytes of score and index maps that a run over several micrographs may keep."""
TOLD_EVERY = 0.25
"""Seconds between two words on the progress of a micrograph: each draws the window anew."""

ALL_REJECTED = "All micrographs are rejected. Keep some in Curate first."


@dataclass(frozen=True)
class Run:
    """A search of some micrographs.

    Attributes
    ----------
    digest : str
        Of the settings.
    maps : bool
        Score and index maps are kept.
    folder : Path
        Of the results.
    preview : bool
        A quick look, of which nothing is kept.
    """

    number: int
    files: tuple[MicrographFile, ...]
    digest: str
    maps: bool
    folder: Path
    preview: bool = False

    @cached_property
    def places(self) -> dict[str, int]:
        """Place of each micrograph in `files`, by the name of its results."""
        return {file.output_stem: place for place, file in enumerate(self.files)}


class SearchRunner:
    """Runs searches in the search process, one after the other.

    Parameters
    ----------
    controller : Controller
        Gets the results.
    """

    changed = Signal()
    machine_known = Signal(dict)

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        back = controller.background.back
        self._process = SearchProcess(lambda event: back(lambda: self._heard(event)))
        self._number = 0
        self.run: Run | None = None
        self.finished, self.share, self.stage = 0, 0.0, ""
        self._begun: tuple[float, float] | None = None
        self._told = 0.0
        self.cancelling = False
        self.arriving: set[str] = set()
        """Micrographs whose results are being read."""
        self.machine: dict[str, Any] | None = None
        self._digest: tuple[State, str] | None = None
        controller.results_changed.connect(lambda stem: self.changed.emit())
        controller.state_changed.connect(self._state_changed)
        controller.folder_changed.connect(self._folder_changed)

    def _state_changed(self, state: State, before: State) -> None:
        """Stop a run when none of the micrographs that are still to be searched is listed any more."""
        if self.run is not None and state.files != before.files:
            left = {file.output_stem for file in self.run.files[self.finished :]}
            if left and not left & {file.output_stem for file in state.files}:
                self.cancel()

    def _folder_changed(self) -> None:
        """Stop a run that writes to a folder which was left."""
        folder = self._controller.folder
        if self.run is not None and (folder is None or folder.path != self.run.folder):
            self.cancel()

    def look_at_machine(self) -> None:
        """Ask for the devices; `machine_known` follows. Starts the search process, so that a run begins at once."""
        self._process.ask(machine=True)

    def state_of(self, file: MicrographFile) -> tuple[str, str]:
        """Return new, waiting, running, preview, done, changed or failed, and why it failed."""
        run, stem = self.run, file.output_stem
        place = -1 if run is None else run.places.get(stem, -1)
        if place >= 0 and place >= self.finished:
            return ("running" if place == self.finished else "waiting"), ""
        loaded = self._controller.loaded
        if loaded is not None and loaded.preview and loaded.stem == stem:
            return "preview", ""
        result = self._controller.results.get(stem)
        unreadable = self._controller.unreadable.get(stem, "")
        if unreadable and (result is None or result.error):
            return "failed", unreadable
        if result is None:
            return "new", ""
        if result.error:
            return "failed", result.error
        digest = self.digest()
        return ("done" if digest in ("", result.digest) or not result.digest else "changed"), ""

    def digest(self) -> str:
        """Return what tells settings of a search apart; empty while they cannot be used."""
        state = self._controller.state
        if self._digest is None or self._digest[0] is not state:
            self._digest = state, _digest_of_state(state)
        return self._digest[1]

    def run_this(self, **settings: Any) -> None:
        """Search the current micrograph."""
        file = self._controller.file
        if file is None:
            self._controller.notified.emit("Add a micrograph first.", "info")
            return
        self.start([file], maps=True, **settings)

    def run_all(self) -> None:
        """Search every micrograph that has no results with these settings."""
        todo = [file for file in self._controller.state.kept if self.state_of(file)[0] != "done"]
        if not todo:
            state = self._controller.state
            words = "All micrographs are searched with these settings already." if state.kept else ALL_REJECTED
            self._controller.notified.emit(words if state.files else "Add micrographs first.", "info")
            return
        self.start(todo, maps=None)

    def run_changed(self) -> None:
        """Search every micrograph again that was searched with other settings."""
        todo = [file for file in self._controller.state.kept if self.state_of(file)[0] == "changed"]
        if todo:
            self.start(todo, maps=None)

    def preview(self) -> None:
        """Take a quick look at the current micrograph: most of the picks, in seconds."""
        if self._controller.file is not None:
            self.start([self._controller.file], maps=False, preview=True)

    def start(self, files: Sequence[MicrographFile], *, maps: bool | None, preview: bool = False, **more: Any) -> bool:
        """Search some micrographs; `maps` None keeps maps while they are not too large. Returns whether it begins."""
        controller = self._controller
        if self.run is not None:
            return False
        if controller.folder is None:
            controller.notified.emit("Choose a folder for the results first.", "error")
            return False
        try:
            if not controller.state.views:
                controller.notified.emit("Add templates first: a search needs at least one.", "info")
                return False
            settings = shared_settings(controller, **more) if preview else controller.state.settings(**more)
        except GempickError as error:
            controller.notified.emit(error.sentence, "error")
            return False
        if maps is None:
            maps = len(files) * _map_bytes(controller) <= MOST_MAPS
        settings = settings.model_copy(update={"save_maps": maps})
        self._number += 1
        self.run = Run(self._number, tuple(files), digest_of(settings), maps, controller.folder.path, preview)
        self.finished, self.share, self.stage, self.cancelling = 0, 0.0, "", False
        self._begun = None
        self._process.ask(
            run=self._number,
            settings=settings.model_dump(mode="json"),
            micrographs=[row_of(file) for file in files],
            folder=str(controller.folder.path),
            preview=preview,
        )
        self.changed.emit()
        return True

    def cancel(self) -> None:
        """Stop; finished micrographs keep their results."""
        if self.run is not None and not self.cancelling:
            self.cancelling = True
            self._process.cancel(self.run.number)
            self.changed.emit()

    @property
    def progress(self) -> float:
        """How much of the run is done, 0 to 1."""
        return 0.0 if self.run is None else min(1.0, (self.finished + self.share) / len(self.run.files))

    def seconds_left(self) -> float | None:
        """Return how long the run will take; None while that is unknown."""
        if self.run is None or self._begun is None:
            return None
        begun, before = self._begun
        gone = self.progress - before
        if gone <= 0 or time.monotonic() - begun < 2:
            return None
        return (time.monotonic() - begun) * (1 - self.progress) / gone

    def _heard(self, event: dict[str, Any]) -> None:
        kind, run = event["event"], self.run
        if kind == "machine":
            self.machine = event["machine"]
            self.machine_known.emit(self.machine)
        elif kind == "ended":
            if run is not None:
                why = (
                    "" if self.cancelling else f"The search process ended unexpectedly ({event['reason']}); try again."
                )
                self._end(why)
        elif run is None or event["run"] != run.number:
            return  # of a run that was given up
        elif kind == "progress":
            another, now = event["finished"] != self.finished, time.monotonic()
            self.finished, self.share = event["finished"], event["share"]
            if self._begun is None and self.share:
                self._begun = now, self.progress
            if another or now >= self._told + TOLD_EVERY:
                self._told = now
                self.changed.emit()
        elif kind == "stage":
            self.stage = event["text"]
            self.changed.emit()
        elif kind == "micrograph":
            self._take(run, event["row"])
        elif kind == "preview":
            self._controller.show_preview(event["name"], Path(event["file"]), float(event["diameter"]))
        elif kind == "said":
            self._controller.notified.emit(event["sentence"], "warning")
        elif kind == "failed":
            self._end(event["sentence"])
        elif kind == "done":
            self._end("")

    def _take(self, run: Run, row: dict[str, Any]) -> None:
        """Read the views of this run from run.json, then hand the result on."""
        controller = self._controller
        self.finished, self.share = self.finished + 1, 0.0
        path, name = run.folder, str(row["name"])
        self.arriving.add(name)

        def read() -> Result:
            written = read_run(path)
            return Result(row, bank_of(written), float(written["diameter"]), run.digest, run.maps)

        def take(result: Result) -> None:
            if controller.folder is not None and controller.folder.path == path:
                controller.set_result(name, result)
                if self.run is not run or self.finished == len(run.files):
                    controller.relearn()
            self.arriving.discard(name)

        controller.background.do(read, take, lambda: self.arriving.discard(name))

    def _end(self, sentence: str) -> None:
        self.run, self.cancelling = None, False
        if sentence:
            self._controller.notified.emit(sentence, "error")
        self._controller.relearn()
        self.changed.emit()

    def close(self) -> None:
        """Stop everything."""
        self.run = None
        self._process.close()


def digest_of(settings: PickSettings) -> str:
    """Return what tells two searches apart: all settings that change the score map."""
    searched = settings.model_dump(mode="json", include=set(SEARCHED_WITH))
    return hashlib.blake2b(json.dumps(searched, sort_keys=True).encode(), digest_size=8).hexdigest()


def _digest_of_state(state: State) -> str:
    try:
        settings = state.settings()
    except GempickError:
        return ""
    return digest_of(settings) if settings.templates else ""


def _map_bytes(controller: Controller) -> int:
    loaded = controller.loaded
    pixels = 4096 * 4096 if loaded is None or loaded.image is None else loaded.image.size
    return 8 * int(pixels)
