"""The list of micrographs: files are added by hand or as they arrive, and removed. No Qt, no napari."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_gempick.io.listing import MicrographFile, find_micrographs
from napari_gempick.widgets.state.decisions import Decisions
from napari_gempick.widgets.state.look import counted
from napari_gempick.widgets.state.result import new_files
from napari_gempick.widgets.state.session import SessionFolder, earlier_session, free_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_gempick.widgets.state.state import State
    from napari_gempick.widgets.state.threads import Background


class MicrographFiles(Decisions, ABC):
    """Adds micrographs to the list and removes them; the first ones choose the folder of the results.

    Parameters
    ----------
    background : Background
        Reads folders.

    Attributes
    ----------
    folder : SessionFolder or None
        Of the results.
    continues : callable
        Asks whether to continue in the folder of an earlier session on the same micrographs.
    """

    def __init__(self, background: Background) -> None:
        super().__init__()
        self.background = background
        self.folder: SessionFolder | None = None
        self.continues: Callable[[Path], bool] = lambda folder: False
        self._left: dict[str, Path] = {}
        self._beside: Path | None = None

    @abstractmethod
    def go(self, number: int) -> None:
        """Show another micrograph of the list."""

    def go_to(self, stem: str) -> None:
        """Show the micrograph of that stem, if the list has it."""
        stems = [file.output_stem for file in self.state.files]
        if stem in stems:
            self.go(stems.index(stem))

    @abstractmethod
    def use_folder(self, path: Path, *, quietly: bool = False) -> bool:
        """Write results and the session to a folder from now on."""

    @abstractmethod
    def open_folder(self, path: Path) -> bool:
        """Continue in a folder of results."""

    def add_micrographs(self, inputs: Sequence[str | Path]) -> None:
        """Add files, folders, globs or STAR lists; those already in the list stay as they are."""
        skip = [self.folder.path] if self.folder is not None else []
        own = None if self.folder is None else self.folder.path
        begins = not self.state.files

        def search() -> tuple[list[MicrographFile], list[str], Path | None]:
            notes: list[str] = []
            found = find_micrographs(list(inputs), skip=skip, notify=notes.append)
            return found, notes, earlier_session(found, own) if begins else None

        self.background.do(search, lambda result: self._take_found(*result))

    def arrived(self, found: list[MicrographFile], earlier: Path | None) -> None:
        """Add micrographs that arrived in a watched folder; this is not a step of the person, and undo keeps them.

        Parameters
        ----------
        earlier : Path or None
            Of `earlier_session`, where the list is empty.
        """
        self._take_found(found, [], earlier, by_hand=False)

    def _take_found(
        self, found: list[MicrographFile], notes: list[str], earlier: Path | None, *, by_hand: bool = True
    ) -> None:
        goes_on = not self.state.files and earlier is not None and self.continues(earlier)
        if self.background.closed:  # while it was asked
            return
        if goes_on and earlier is not None and self.open_folder(earlier):
            known = {file.path for file in self.state.files}
            found = [file for file in found if file.path not in known]
        if found:
            self._add(found, by_hand)
        for note in notes:
            self.notified.emit(note, "info")

    def _add(self, found: list[MicrographFile], by_hand: bool) -> None:
        added = new_files(found, self.state.files, self._left)
        if not added:
            if by_hand:
                self.notified.emit("These micrographs are in the list already.", "info")
            return
        first, beside = len(self.state.files), added[0].path.parent
        words = added[0].path.name if len(added) == 1 else counted(len(added), "micrograph")
        elsewhere = not first and self._beside not in (None, beside)
        state = replace(self.state, files=(*self.state.files, *added))
        if elsewhere:  # micrographs of the same names are others
            self.use_folder(free_folder(beside), quietly=True)
            state = replace(state, masks={}, edits={}, overrides={}, rejected=frozenset())
        if by_hand or elsewhere:
            self.do(f"add {words}", state)
        else:
            before = self.state
            self.history.everywhere(lambda one: replace(one, files=(*one.files, *_missing(added, one))))
            self._on_state_changed(before)
        if begins := self.folder is None:
            self.use_folder(free_folder(beside), quietly=True)
        if begins or elsewhere:
            self._beside = beside  # a folder that the person chose stays
        if first:
            self.go(first)

    def remove_micrographs(self, numbers: Sequence[int]) -> None:
        """Remove micrographs from the list; their files and results stay."""
        if gone := self._leave_list(numbers):
            self.do("remove micrographs", _without(gone, self.state))

    def withdrawn(self, numbers: Sequence[int]) -> None:
        """Remove micrographs that have proved to be other files: it is not an action of the person either."""
        if gone := self._leave_list(numbers):
            before = self.state
            self.history.everywhere(lambda one: _without(gone, one))
            self._on_state_changed(before)

    def _leave_list(self, numbers: Sequence[int]) -> set[MicrographFile]:
        """Return the micrographs of these numbers, whose names are taken from now on."""
        gone = {file for i, file in enumerate(self.state.files) if i in set(numbers)}
        self._left |= {file.output_stem: file.path for file in gone}
        return gone


def _without(gone: set[MicrographFile], state: State) -> State:
    return replace(state, files=tuple(file for file in state.files if file not in gone))


def _missing(added: Sequence[MicrographFile], state: State) -> list[MicrographFile]:
    """Return the micrographs that a state does not list."""
    known = {file.path for file in state.files}
    return [file for file in added if file.path not in known]
