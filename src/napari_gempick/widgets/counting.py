"""Counts the picks of every micrograph behind the window, and their candidates for histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_gempick.model.errors import GempickError
from napari_gempick.widgets.state import Edits

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.board import Board
    from napari_gempick.widgets.controller import Controller
    from napari_gempick.widgets.loading import Result
    from napari_gempick.widgets.state import State

BINS = np.linspace(-1, 1, 401)


class Counter:
    """Counts picks, a micrograph at a time; a new state makes it start again.

    Parameters
    ----------
    controller : Controller
    """

    counted = Signal(str)
    histogram_changed = Signal()

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.counts: dict[str, int] = {}
        self._histograms: dict[str, dict[str, NDArray[np.intp]]] = {}
        self._generation = 0
        self.busy = False
        controller.state_changed.connect(self._state_changed)
        controller.results_changed.connect(self._result_changed)
        controller.choice_changed.connect(self._choice_changed)

    def _state_changed(self, state: State, before: State) -> None:
        if _counted_with(state) != _counted_with(before):
            self.start()

    def _result_changed(self, stem: str) -> None:
        self._histograms.pop(stem, None)
        self.start()

    def _choice_changed(self) -> None:
        controller = self._controller
        if controller.choice is not None and controller.stem is not None:
            self._count(controller.stem, len(controller.choice))

    def _count(self, stem: str, count: int | None) -> None:
        if count is None:
            self.counts.pop(stem, None)
        elif self.counts.get(stem) == count:
            return
        else:
            self.counts[stem] = count
        self.counted.emit(stem)

    def start(self) -> None:
        """Count all micrographs anew; the counts come one by one."""
        self._generation += 1
        if not self.busy:
            self.busy = True
            self._next(self._generation, 0)

    def _next(self, generation: int, number: int) -> None:
        """Count one micrograph on a thread, then the next; begin again when something has changed meanwhile."""
        controller = self._controller
        if generation != self._generation:
            generation, number = self._generation, 0
        files = controller.state.files
        while number < len(files):
            file = files[number]
            result = controller.results.get(file.output_stem)
            shown = file.output_stem == controller.stem and controller.choice is not None
            searched = result is not None and not result.error and controller.folder is not None
            if searched and not (shown and file.output_stem in self._histograms):
                break
            if result is None or result.error:
                self._count(file.output_stem, None)
            number += 1
        else:
            self.busy = False
            self.histogram_changed.emit()
            return
        stem, state, folder = file.output_stem, controller.state, controller.folder.path

        def count() -> int | None:
            board = self._board(stem, state, folder, result, file)
            if board is None:
                return None
            return len(board.choose(state.tune_of(stem), state.edits.get(stem, Edits())))

        def counted(found: int | None) -> None:
            if generation == self._generation:
                self._count(stem, found)
            self._next(generation, number + 1)

        controller.background.do(count, counted)

    def _board(self, stem: str, state: State, folder: Path, result: Result, file: MicrographFile) -> Board | None:
        """Return a micrograph's candidates, from memory if they are there; on a thread."""
        try:
            board = self._controller.boards.get(file, state.settings(), folder, result)
        except GempickError:
            return None  # said when the micrograph is shown
        if board is not None and stem not in self._histograms:
            names = board.candidates.view_names
            self._histograms[stem] = {
                name: np.histogram(board.picks.score[board.picks.view == i], BINS)[0] for i, name in enumerate(names)
            }
        return board

    def histogram(self) -> dict[str, NDArray[np.intp]]:
        """Return the candidates of all micrographs in BINS of score, for each view."""
        total: dict[str, NDArray[np.intp]] = {}
        for views in list(self._histograms.values()):
            for name, counts in views.items():
                total[name] = total[name] + counts if name in total else counts
        return total


def _counted_with(state: State) -> tuple[Any, ...]:
    return state.tune, state.overrides, state.edits, state.files, state.values.get("exclude")
