"""The window's mind, without a window: what is read, shown, searched and saved. Knows no Qt, no napari.

The request cycle: an action of the person makes a new State (`do`), which everybody hears of (`state_changed`); what
must be read or searched is asked for on another thread with a generation number, and an answer with an old number is
dropped. Picks are chosen on the window's thread, from the candidates in memory, in milliseconds.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_gempick.io.candidates import read_candidates
from napari_gempick.model.errors import Cancelled, GempickError, OutputError
from napari_gempick.widgets.state.candidate_selection import CandidateSelection
from napari_gempick.widgets.state.loading import CandidateCache, Loaded, load, load_maps
from napari_gempick.widgets.state.masks import MaskFiles
from napari_gempick.widgets.state.micrograph_files import MicrographFiles
from napari_gempick.widgets.state.session import (
    Saver,
    SessionFolder,
    Snapshot,
    free_folder,
    is_results,
    is_session,
    read_folder,
)
from napari_gempick.widgets.state.state import SELECTION_SETTINGS, History, State
from napari_gempick.widgets.state.threads import Background, Mailbox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.state.result import Result
    from napari_gempick.widgets.state.threads import Post


_READ_WITH = ("pixel_size", *SELECTION_SETTINGS)
"""Settings that a micrograph and its candidates are read with."""


class Controller(MicrographFiles):
    """The person's decisions, and what follows from them.

    Parameters
    ----------
    post : callable, optional
        Makes a call on the window's thread; by default the calls wait in `mailbox`.

    Attributes
    ----------
    unreadable : dict of str to str
        Why micrographs could not be read, by stem.
    first_look : mapping of str to float, or None
        There are results for the first time, or of another score: thresholds are to be chosen from the scores, unless
        these have been moved.
    """

    current_changed = Signal()
    loaded_changed = Signal()
    maps_changed = Signal()
    results_changed = Signal(str)
    folder_changed = Signal()

    def __init__(self, post: Post | None = None) -> None:
        self.mailbox = Mailbox()
        self._ways = post or self.mailbox.post, (lambda sentence: self.notified.emit(sentence, "error"))
        super().__init__(Background(*self._ways))
        self.masks = MaskFiles()
        self._saver = Saver(self.own_thread(), self.masks.write)
        self.results: dict[str, Result] = {}
        self.selections = CandidateCache(self.masks)
        self.unreadable: dict[str, str] = {}
        self.first_look: Mapping[str, float] | None = None
        self.map_view = ""
        self._generation = 0
        self._next: MicrographFile | None = None
        self._ahead: Loaded | None = None
        self._noted: set[str] = set()

    def own_thread(self) -> Background:
        """Return a thread for work that keeps nothing else waiting; who asks for it closes it."""
        return Background(*self._ways, threads=1)

    def _on_state_changed(self, before: State) -> None:
        state = self.state
        if state is before:
            return
        if state.files != before.files:
            stem = before.files[self.current].output_stem if self.current is not None else None
            stems = [file.output_stem for file in state.files]
            self.current = stems.index(stem) if stem in stems else min(self.current or 0, len(stems) - 1)
            self.current = None if self.current < 0 else self.current
            self.unreadable = {stem: why for stem, why in self.unreadable.items() if stem in stems}
        if state.score != before.score:
            known = state.score in before.aside or state.tune.fdr is not None
            self.first_look = None if known else state.tune.thresholds
        self._want_masks()
        self.state_changed.emit(state, before)
        moved = state.files != before.files and (self.loaded is None or self.stem != self.loaded.stem)
        other = self._chosen_by(state) != self._chosen_by(before)
        other |= state.lesson is not None and state.files != before.files  # taught by the candidates of all of them
        if moved or any(state.values.get(name) != before.values.get(name) for name in _READ_WITH):
            self.reload()
            other = False
        elif self.stem is not None and (
            state.tune_of(self.stem) != before.tune_of(self.stem)
            or state.edits.get(self.stem) != before.edits.get(self.stem)
        ):
            self.choose()
        if other:
            self._rescore()
        self.save()

    def _want_masks(self) -> None:
        if self.state.files:  # an emptied list leaves the files as they are
            self.masks.want(None if self.folder is None else self.folder.path, self.state.masks)

    # micrographs

    def go(self, number: int, then: int | None = None) -> None:
        """Show another micrograph of the list; the image of the one that is expected after it is read ahead."""
        if not 0 <= number < len(self.state.files) or number == self.current:
            return
        self.current = number
        self._next = None if then is None else self.state.files[then]
        self.history.end_gesture()
        self.reload()
        self.save()

    def reload(self) -> None:
        """Read the current micrograph and its results anew; it is shown when it is there."""
        self._generation += 1
        generation, file = self._generation, self.file
        self.current_changed.emit()
        if file is None:
            self._show(generation, None)
            return
        state, results, selections = self.state, dict(self.results), self.selections
        chosen_by = self._chosen_by(state)
        try:
            state.settings()
        except GempickError:  # being typed; what is wrong is reported when it is used
            state = State(values={"pixel_size": state.values.get("pixel_size")})
        folder, known = None if self.folder is None else self.folder.path, (self.loaded, self._ahead)

        def read() -> Loaded:
            self._stop_unless(generation)
            return load(file, state, folder, results, selections, known)

        def show(made: Loaded) -> None:
            self._show(generation, made)
            if generation == self._generation:
                self._read_maps()
                self._read_ahead(state)
                if self._chosen_by(self.state) != chosen_by:  # it has changed meanwhile
                    self._rescore()

        self.background.do(read, show)

    def _stop_unless(self, generation: int) -> None:
        """End work for a micrograph that is not wanted any more: who holds a key down waits for the last one only."""
        if generation != self._generation:
            raise Cancelled("Another micrograph is wanted.")

    def _read_ahead(self, state: State) -> None:
        """Read the image of the micrograph that is expected next."""
        generation, (file, self._next) = self._generation, (self._next, None)
        if file is None:
            return

        def read() -> Loaded:
            self._stop_unless(generation)
            return load(file, state, None, {}, self.selections)

        def take(made: Loaded) -> None:
            self._ahead = made

        self.background.do(read, take)

    def relearn(self) -> None:
        """Show the current micrograph with what all results teach, where the score is learned."""
        if self.state.lesson is not None:
            self._rescore()

    def _chosen_by(self, state: State) -> tuple[Any, ...]:
        """Return what chooses the picks of the current micrograph beside thresholds and corrections."""
        return state.lesson, state.masks.get(self.stem or "")

    def _rescore(self) -> None:
        """Show the current micrograph with the score and the mask that choose now, once they are there."""
        generation, state, file, results = self._generation, self.state, self.file, dict(self.results)
        if file is None or self.folder is None or file.output_stem not in results:
            return
        if not self.is_shown:
            self.reload()
            return
        folder, selections = self.folder.path, self.selections

        def read() -> CandidateSelection | None:
            if self._chosen_by(self.state) != self._chosen_by(state):
                return None  # something else is wanted meanwhile
            return selections.ready(file, state, folder, results)

        def take(selection: CandidateSelection | None) -> None:
            loaded = self.loaded
            if selection is None or generation != self._generation:
                return
            if self._chosen_by(self.state) != self._chosen_by(state):
                return
            if loaded is not None and not loaded.preview:
                self.loaded = replace(loaded, selection=selection)
                self.loaded_changed.emit()
                self.choose()

        self.background.do(read, take)

    def show_preview(self, stem: str, path: Path, diameter: float) -> None:
        """Show what a quick look has found, instead of the candidates of a search; nothing of it is kept."""
        generation = self._generation
        border = (self.state.values.get("diameter") or 0.0) / 2

        def take(selection: CandidateSelection) -> None:
            if generation == self._generation and stem == self.stem and self.loaded is not None:
                self.loaded = replace(self.loaded, selection=selection, bank=None, maps={}, map_views=(), preview=True)
                self.loaded_changed.emit()
                self.choose()

        self.background.do(lambda: CandidateSelection(read_candidates(path), diameter, border=border), take)

    @property
    def reads_maps(self) -> bool:
        """Whether the maps of the current micrograph are there to be read."""
        result = self.results.get(self.stem or "")
        return self.loaded is not None and self.loaded.selection is not None and result is not None and result.maps

    def show_map_of(self, view: str) -> None:
        """Show the maps of one view, of those that were kept, or of all views together ("")."""
        if view != self.map_view:
            self.map_view = view
            self._read_maps()

    def _read_maps(self) -> None:
        """Read the maps, after the picks are shown."""
        generation, loaded, view = self._generation, self.loaded, self.map_view
        if loaded is None:
            return
        folder = None if self.folder is None else self.folder.path
        result = self.results.get(loaded.stem)

        def take(read: Any) -> None:
            if generation == self._generation and self.loaded is not None and view == self.map_view:
                maps, views = read
                self.loaded = replace(self.loaded, maps=maps, map_views=views)
                self.maps_changed.emit()

        def read() -> Any:
            self._stop_unless(generation)
            return load_maps(loaded, folder, result, view)

        self.background.do(read, take)

    def _show(self, generation: int, loaded: Loaded | None) -> None:
        if generation != self._generation:
            return
        self.loaded = loaded
        if loaded is not None:
            known = self.unreadable.pop(loaded.stem, "")
            if loaded.image is None:
                self.unreadable[loaded.stem] = loaded.error
            if known != self.unreadable.get(loaded.stem, ""):
                self.results_changed.emit(loaded.stem)
        self.choice = None
        self.loaded_changed.emit()
        self.choose()
        for note in () if loaded is None else loaded.notes:
            if note not in self._noted:
                self._noted.add(note)
                self.notified.emit(note, "info")

    # folder and session

    def use_folder(self, path: Path, *, quietly: bool = False) -> bool:
        """Write results and the session to a folder from now on; one with results of others is refused."""
        try:
            if is_session(path) or is_results(path):
                raise OutputError(f"{path} holds results already; open them, or choose another folder.", path)
            folder = SessionFolder(path)
        except OutputError as error:
            if quietly:
                return self.use_folder(free_folder(Path.home() / "gempick_results"))
            self.notified.emit(error.sentence, "error")
            return False
        before = None if self.folder is None else self.folder.path
        self._leave(folder)
        if before is not None and not quietly:  # the micrographs stay the same
            for sentence in self.masks.carry(before, path, [file.output_stem for file in self.state.files]):
                self.notified.emit(sentence, "error")
        self._want_masks()
        left, self.results, self._beside, self.first_look = self.results, {}, None, None
        self.folder_changed.emit()
        for stem in left:
            self.results_changed.emit(stem)
        if self.loaded is not None and self.loaded.selection is not None:
            self.reload()
        self.save()
        return True

    def _leave(self, folder: SessionFolder) -> None:
        """Save in the current folder, give it back, and take another one."""
        if self.folder is not None and self.folder is not folder:
            self.save_now()
            self.folder.close()
        self.folder, self._left = folder, {}

    def open_folder(self, path: Path) -> bool:
        """Continue in a folder of results: of an earlier session, or of `gempick pick`, here or on a cluster."""
        try:
            folder = self.folder if self.folder and self.folder.path == path else SessionFolder(path)
        except OutputError as error:
            self.notified.emit(error.sentence, "error")
            return False
        if folder is self.folder:
            self.save_now()  # what is read is what is seen
        try:
            state, results, current = read_folder(path)
        except GempickError as error:
            if folder is not self.folder:
                folder.close()
            self.notified.emit(error.sentence, "error")
            return False
        self._leave(folder)
        self.masks.forget()
        before, self.history, self.unreadable = self.state, History(state), {}
        self._want_masks()
        self._beside = state.files[0].path.parent if state.files else None
        changed = dict.fromkeys([*self.results, *results])
        self.results, self.first_look = results, None
        stems = [file.output_stem for file in state.files]
        self.current = stems.index(current) if current in stems else (0 if stems else None)
        self.folder_changed.emit()
        self.state_changed.emit(state, before)
        for stem in changed:
            self.results_changed.emit(stem)
        self.reload()
        return True

    def set_result(self, stem: str, result: Result) -> None:
        """Take what a search found; the current micrograph is shown anew."""
        self.results[stem] = result
        if self.first_look is None and not (result.error or self.state.tune.thresholds or self.state.tune.fdr):
            self.first_look = {}
        self.results_changed.emit(stem)
        if stem == self.stem:
            self.reload()
        self.save()

    def drop_result(self, stem: str) -> None:
        """Forget what a search found, because the micrograph's file has become another one."""
        if self.results.pop(stem, None) is not None:
            self.results_changed.emit(stem)
            if stem == self.stem:
                self.reload()
            self.save()

    def save(self) -> None:
        """Save the session soon, off the window's thread."""
        if self.folder is not None:
            self._saver.put(Snapshot(self.folder, self.state, dict(self.results), self.stem))

    def save_now(self) -> None:
        """Save the session, and wait for it; a folder that cannot be written is reported."""
        if self.folder is None:
            return
        try:
            self._saver.put_now(Snapshot(self.folder, self.state, dict(self.results), self.stem))
        except OutputError as error:
            self.notified.emit(error.sentence, "error")

    def close(self) -> None:
        """Save, end all threads, and give the folder back."""
        self.background.close()
        self._saver.close()
        self.save_now()
        if self.folder is not None:
            self.folder.close()
            self.folder = None
