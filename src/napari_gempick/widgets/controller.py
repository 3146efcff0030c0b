"""The window's mind, without a window: state, history, the current micrograph, corrections. Knows no Qt, no napari.

The request cycle: an action of the person makes a new State (`do`), which everybody hears of (`state_changed`); what
must be read or searched is asked for on another thread with a generation number, and an answer with an old number is
dropped. Picks are chosen on the window's thread, from the candidates in memory, in milliseconds.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_gempick.io.candidates import read_candidates
from napari_gempick.io.listing import MicrographFile, find_micrographs
from napari_gempick.job.results import read_run
from napari_gempick.model.errors import GempickError, InputError, OutputError
from napari_gempick.widgets.background import Background, Mailbox
from napari_gempick.widgets.board import Board
from napari_gempick.widgets.loading import Boards, Loaded, Result, load, load_maps, results_of
from napari_gempick.widgets.look import VIEW_COLOURS
from napari_gempick.widgets.reopening import state_of_run
from napari_gempick.widgets.session import SessionFolder, free_folder, is_results, is_session, read_session
from napari_gempick.widgets.state import Added, Edits, History, State, Tune, ViewSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_gempick.widgets.background import Post
    from napari_gempick.widgets.board import Choice
    from napari_gempick.widgets.loading import MapPair


class Controller:
    """State of the plugin and what may be done to it.

    Parameters
    ----------
    post : callable, optional
        Makes a call on the window's thread; by default the calls wait in `mailbox`.
    """

    state_changed = Signal(State, State)
    current_changed = Signal()
    loaded_changed = Signal()
    maps_changed = Signal()
    choice_changed = Signal()
    results_changed = Signal(str)
    folder_changed = Signal()
    said = Signal(str, str)

    def __init__(self, post: Post | None = None) -> None:
        self.mailbox = Mailbox()
        self.background = Background(post or self.mailbox.post, lambda sentence: self.said.emit(sentence, "error"))
        self.history = History(State())
        self.results: dict[str, Result] = {}
        self.boards = Boards()
        self.current: int | None = None
        self.loaded: Loaded | None = None
        self.choice: Choice | None = None
        self.folder: SessionFolder | None = None
        self.only_current = False
        self._generation = 0
        self._saving = False

    # state and history

    @property
    def state(self) -> State:
        """What the person decided so far."""
        return self.history.state

    def do(self, what: str, state: State, gesture: str | None = None) -> None:
        """Take a new state as one step of history; `gesture` joins the changes of one drag."""
        before = self.state
        if self.history.do(what, state, gesture):
            self._took(before)

    def undo(self) -> str:
        """Take the last action back; returns what it was."""
        before = self.state
        what = self.history.undo()
        self._took(before)
        return what

    def redo(self) -> str:
        """Do again what was undone; returns what it was."""
        before = self.state
        what = self.history.redo()
        self._took(before)
        return what

    def _took(self, before: State) -> None:
        state = self.state
        if state is before:
            return
        if state.files != before.files:
            stem = before.files[self.current].output_stem if self.current is not None else None
            stems = [file.output_stem for file in state.files]
            self.current = stems.index(stem) if stem in stems else min(self.current or 0, len(stems) - 1)
            self.current = None if self.current < 0 else self.current
        self.state_changed.emit(state, before)
        moved = state.files != before.files and (self.loaded is None or self.stem != self.loaded.stem)
        if moved or state.values.get("pixel_size") != before.values.get("pixel_size"):
            self.reload()
        elif self.stem is not None and (
            state.tune_of(self.stem) != before.tune_of(self.stem)
            or state.edits.get(self.stem) != before.edits.get(self.stem)
        ):
            self.choose()
        self.save()

    # micrographs

    @property
    def file(self) -> MicrographFile | None:
        """The current micrograph."""
        return None if self.current is None else self.state.files[self.current]

    @property
    def stem(self) -> str | None:
        """What the names of the current micrograph's results begin with."""
        return None if self.file is None else self.file.output_stem

    def add_micrographs(self, inputs: Sequence[str | Path]) -> None:
        """Add files, folders, globs or STAR lists; what is listed already stays as it is."""
        skip = [self.folder.path] if self.folder is not None else []

        def search() -> list[MicrographFile]:
            return find_micrographs(list(inputs), skip=skip)

        self.background.do(search, self._add)

    def _add(self, found: list[MicrographFile]) -> None:
        known = {file.path for file in self.state.files}
        stems = {file.output_stem for file in self.state.files}
        added: list[MicrographFile] = []
        for file in found:
            if file.path in known:
                continue
            free = _with_free_stem(file, stems)
            stems.add(free.output_stem)
            added.append(free)
        if not added:
            self.said.emit("These micrographs are in the list already.", "info")
            return
        first = len(self.state.files)
        words = added[0].path.name if len(added) == 1 else f"{len(added)} micrographs"
        self.do(f"add {words}", replace(self.state, files=(*self.state.files, *added)))
        if self.folder is None:
            self.use_folder(free_folder(added[0].path.parent), quietly=True)
        if first:
            self.go(first)

    def remove_micrographs(self, numbers: Sequence[int]) -> None:
        """Take micrographs off the list; their files and results stay."""
        left = tuple(file for i, file in enumerate(self.state.files) if i not in set(numbers))
        if left != self.state.files:
            self.do("remove micrographs", replace(self.state, files=left))

    def go(self, number: int) -> None:
        """Show another micrograph of the list."""
        if not 0 <= number < len(self.state.files) or number == self.current:
            return
        self.current = number
        self.history.end_gesture()
        self.reload()
        self.save()

    def step(self, by: int) -> None:
        """Show the next (1) or the previous (-1) micrograph."""
        if self.current is not None:
            self.go(self.current + by)

    def reload(self) -> None:
        """Read the current micrograph and its results anew; it is shown when it is there."""
        self._generation += 1
        generation, file = self._generation, self.file
        self.current_changed.emit()
        if file is None:
            self._show(generation, None)
            return
        try:
            settings = self.state.settings()
        except GempickError:  # being typed; what is wrong is said when it is used
            settings = State().settings(pixel_size=self.state.values.get("pixel_size"))
        folder = None if self.folder is None else self.folder.path
        result = self.results.get(file.output_stem)
        boards = self.boards

        def show(made: Loaded) -> None:
            self._show(generation, made)
            if generation == self._generation:
                self.background.do(
                    lambda: load_maps(made, folder, result), lambda maps: self._add_maps(generation, maps)
                )

        self.background.do(lambda: load(file, settings, folder, result, boards), show)

    def show_preview(self, stem: str, path: Path, diameter: float) -> None:
        """Show what a quick look has found, in the place of the candidates of a search; nothing of it is kept."""
        generation = self._generation
        border = (self.state.values.get("diameter") or 0.0) / 2

        def take(board: Board) -> None:
            if generation == self._generation and stem == self.stem and self.loaded is not None:
                self.loaded = replace(self.loaded, board=board, bank=None, maps={})
                self.loaded_changed.emit()
                self.choose()

        self.background.do(lambda: Board(read_candidates(path), diameter, border=border), take)

    def _add_maps(self, generation: int, maps: dict[str, MapPair]) -> None:
        """Take the maps, which are read after the picks are shown."""
        if generation == self._generation and self.loaded is not None:
            self.loaded = replace(self.loaded, maps=maps)
            self.maps_changed.emit()

    def _show(self, generation: int, loaded: Loaded | None) -> None:
        if generation != self._generation:
            return
        self.loaded = loaded
        self.choice = None
        self.loaded_changed.emit()
        self.choose()

    # templates

    def add_view(self, name: str, files: Sequence[str]) -> None:
        """Add template files as a view, or to the view of that name."""
        views = list(self.state.views)
        same = [i for i, view in enumerate(views) if view.name == name]
        if same:
            view = views[same[0]]
            views[same[0]] = replace(view, files=(*view.files, *(file for file in files if file not in view.files)))
        else:
            used = {view.colour for view in views}
            colour = next((c for c in VIEW_COLOURS if c not in used), VIEW_COLOURS[len(views) % len(VIEW_COLOURS)])
            views.append(ViewSpec(name, tuple(files), colour=colour))
        self.do(f"add templates {name}", replace(self.state, views=tuple(views)))

    def change_view(self, name: str, **changes: Any) -> None:
        """Change the mask, the colour or the name of a view."""
        new = changes.get("name", name)
        if new != name and (not new or "=" in new or new in [view.name for view in self.state.views]):
            self.said.emit(f"A view cannot be called {new!r}; give a name that no other view has, without =.", "error")
            return
        views = tuple(replace(v, **changes) if v.name == name else v for v in self.state.views)
        state = replace(self.state, views=views)
        if new != name and name in state.tune.thresholds:
            thresholds = {new if view == name else view: x for view, x in state.tune.thresholds.items()}
            state = replace(state, tune=replace(state.tune, thresholds=thresholds))
        self.do(f"change templates {name}", state)

    def remove_view(self, name: str) -> None:
        """Remove a view from the search; its files stay."""
        views = tuple(view for view in self.state.views if view.name != name)
        self.do(f"remove templates {name}", replace(self.state, views=views))

    def view_names(self) -> tuple[str, ...]:
        """Return the views of what is shown: of its search, else of the templates."""
        if self.loaded is not None and self.loaded.board is not None:
            return self.loaded.board.candidates.view_names
        return tuple(view.name for view in self.state.views)

    def colour(self, view: str) -> str:
        """Return the colour of a view."""
        for spec in self.state.views:
            if spec.name == view:
                return spec.colour
        names = self.view_names()
        return VIEW_COLOURS[(names.index(view) if view in names else 0) % len(VIEW_COLOURS)]

    # settings of the search

    def set_value(self, name: str, value: Any) -> None:
        """Change a setting of the search; None takes its default."""
        values = {key: old for key, old in self.state.values.items() if key != name}
        if value is not None:
            values[name] = value
        self.do(f"change {name.replace('_', ' ')}", replace(self.state, values=values), gesture=f"value {name}")

    # picks

    @property
    def scope(self) -> str | None:
        """Whose thresholds are changed: the current micrograph's, or those of all (None)."""
        return self.stem if self.only_current else None

    def tune(self) -> Tune:
        """Return what holds for the current micrograph."""
        return self.state.tune_of(self.stem)

    def set_scope(self, only_current: bool) -> None:
        """Choose whose thresholds are changed; going back to all drops the current micrograph's own."""
        self.only_current = only_current
        if not only_current and self.stem in self.state.overrides:
            left = {stem: tune for stem, tune in self.state.overrides.items() if stem != self.stem}
            self.do("use the thresholds of all", replace(self.state, overrides=left))

    def set_threshold(self, view: str | None, value: float, gesture: str | None = None) -> None:
        """Change the threshold of a view, or of all views (None)."""
        names = self.view_names() if view is None else (view,)
        thresholds = {**self._base().thresholds, **dict.fromkeys(names, round(float(np.clip(value, -1, 1)), 4))}
        self.do("change the threshold", self.state.with_tune(self._scope(), thresholds=thresholds), gesture)

    def set_thresholds(self, values: Mapping[str, float]) -> None:
        """Change the thresholds of several views in one step."""
        thresholds = {**self._base().thresholds, **values}
        self.do("choose the thresholds", self.state.with_tune(self._scope(), thresholds=thresholds))

    def set_tune(self, gesture: str | None = None, **changes: Any) -> None:
        """Change minimum distance, border, upper threshold or number of picks."""
        what = " and ".join(name.replace("_", " ") for name in changes)
        self.do(f"change {what}", self.state.with_tune(self._scope(), **changes), gesture)

    def _scope(self) -> str | None:
        """Return the scope; a micrograph with thresholds of its own keeps them its own."""
        return self.stem if self.stem in self.state.overrides else self.scope

    def _base(self) -> Tune:
        return self.state.tune_of(self._scope())

    def choose(self) -> None:
        """Choose the picks of the current micrograph again."""
        board = None if self.loaded is None else self.loaded.board
        self.choice = None if board is None else board.choose(self.tune(), self.edits())
        self.choice_changed.emit()

    def edits(self) -> Edits:
        """Return the corrections of the current micrograph."""
        return self.state.edits.get(self.stem or "", Edits())

    def reject(self, positions: Sequence[tuple[float, float]]) -> None:
        """Reject the picks at these positions (x, y), pixels of the file; added ones are taken away."""
        if self.stem is None or not len(positions):
            return
        edits = self.edits()
        made = {(added.x, added.y) for added in edits.added}
        own = {(float(x), float(y)) for x, y in positions}
        edits = Edits((*edits.rejected, *sorted(own - made)), tuple(a for a in edits.added if (a.x, a.y) not in own))
        words = "a pick" if len(own) == 1 else f"{len(own)} picks"
        self.do(f"reject {words}", self.state.with_edits(self.stem, edits))

    def add_pick(self, x: float, y: float, view: str = "") -> None:
        """Add a pick at (x, y), pixels of the file; score, view and psi are what the maps say there."""
        if self.stem is None or self.loaded is None or self.loaded.image is None:
            return
        ny, nx = self.loaded.image.shape
        if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
            self.said.emit("A pick must lie on the micrograph.", "info")
            return
        edits = self.edits()
        edits = replace(edits, added=(*edits.added, self._described(float(x), float(y), view)))
        self.do("add a pick", self.state.with_edits(self.stem, edits))

    def move_pick(self, old: tuple[float, float], new: tuple[float, float]) -> None:
        """Move a pick: the old one is rejected, a new one added, in one step."""
        if self.stem is None:
            return
        edits = self.edits()
        kept = tuple(a for a in edits.added if (a.x, a.y) != old)
        rejected = edits.rejected if len(kept) < len(edits.added) else (*edits.rejected, old)
        moved = self._described(float(new[0]), float(new[1]), "")
        self.do("move a pick", self.state.with_edits(self.stem, Edits(rejected, (*kept, moved))))

    def _described(self, x: float, y: float, view: str) -> Added:
        loaded = self.loaded
        names = self.view_names()
        fallback = view or (names[0] if names else "")
        if loaded is None or not loaded.maps or loaded.bank is None:
            return Added(x, y, fallback)
        pair = loaded.maps.get(view) or loaded.maps[""]
        row = int(np.clip(round(y / pair.ratio), 0, pair.labels.shape[0] - 1))
        column = int(np.clip(round(x / pair.ratio), 0, pair.labels.shape[1] - 1))
        k = pair.labels[row : row + 1, column].astype(np.int32) - 1
        if k[0] < 0:
            return Added(x, y, fallback)
        name = loaded.bank.view_names[int(loaded.bank.view(k)[0])]
        return Added(
            x, y, name, float(pair.score[row, column]), float(loaded.bank.psi(k)[0]), int(loaded.bank.section(k)[0])
        )

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
            self.said.emit(error.sentence, "error")
            return False
        if self.folder is not None:
            self.folder.close()
        self.folder = folder
        self.folder_changed.emit()
        self.save()
        return True

    def open_folder(self, path: Path) -> bool:
        """Go on with a folder of results: of an earlier session, or of `gempick pick`, here or on a cluster."""
        try:
            folder = self.folder if self.folder and self.folder.path == path else SessionFolder(path)
        except OutputError as error:
            self.said.emit(error.sentence, "error")
            return False
        try:
            if is_session(path):
                state, results, current = read_session(path)
            else:
                run = read_run(path)
                results = results_of(run)
                state, current = state_of_run(run), None
        except GempickError as error:
            folder.close()
            self.said.emit(error.sentence, "error")
            return False
        if self.folder is not None and self.folder is not folder:
            self.save_now()
            self.folder.close()
        self.folder = folder
        before, self.history = self.state, History(state)
        self.results = results
        stems = [file.output_stem for file in state.files]
        self.current = stems.index(current) if current in stems else (0 if stems else None)
        self.folder_changed.emit()
        self.state_changed.emit(state, before)
        for stem in results:
            self.results_changed.emit(stem)
        self.reload()
        return True

    def set_result(self, stem: str, result: Result) -> None:
        """Take what a search found; the current micrograph is shown anew."""
        self.results[stem] = result
        self.results_changed.emit(stem)
        if stem == self.stem:
            self.reload()
        self.save()

    def save(self) -> None:
        """Save the session soon, off the window's thread."""
        if self._saving or self.folder is None or self.background.closed:
            return
        self._saving = True
        self.background.do(self._save_latest)

    def _save_latest(self) -> None:
        self._saving = False
        self.save_now()

    def save_now(self) -> None:
        """Save the session."""
        if self.folder is not None:
            self.folder.save(self.state, dict(self.results), self.stem)

    def close(self) -> None:
        """Save, end all threads, and give the folder back."""
        self.background.close()
        if self.folder is not None:
            try:
                self.save_now()
            except OutputError as error:
                self.said.emit(error.sentence, "error")
            self.folder.close()
            self.folder = None


def _with_free_stem(file: MicrographFile, taken: set[str]) -> MicrographFile:
    """Return the micrograph with a name for its results that no other has: its folders are put before it."""
    parents = [part for part in file.path.parent.parts if part not in ("/", "\\")]
    depth = len(file.relative.parts)
    while file.output_stem in taken and depth <= len(parents):
        file = replace(file, relative=type(file.relative)(*parents[-depth:], file.path.name))
        depth += 1
    if file.output_stem in taken:
        file = replace(file, whole_name=True)
    if file.output_stem in taken:
        raise InputError(f"{file.path} has the same name as another micrograph; rename it.", file.path)
    return file
