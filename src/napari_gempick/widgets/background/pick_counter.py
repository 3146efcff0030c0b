"""Counts the picks and candidates of every micrograph in the background; only what changed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_gempick.model.errors import GempickError
from napari_gempick.widgets.state.loading import BOARD_SETTINGS
from napari_gempick.widgets.state.state import Edits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.state.candidate_selection import CandidateSelection, Choice
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.masks import Mask
    from napari_gempick.widgets.state.state import State, Tune

    _Histogram = dict[str, NDArray[np.intp]]

BINS = np.linspace(-1, 1, 401)


class PickCounter:
    """Counts picks, a micrograph at a time, where a new state or result may have changed them.

    Parameters
    ----------
    controller : Controller
    """

    counted = Signal(str)
    histogram_changed = Signal()

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.counts: dict[str, int] = {}
        self.details: dict[str, tuple[float, float]] = {}
        self._histograms: dict[str, _Histogram] = {}
        self._total: _Histogram = {}
        self._files: dict[str, MicrographFile] = {}
        self._waiting: dict[str, None] = {}
        self.busy = False
        controller.state_changed.connect(self._state_changed)
        controller.results_changed.connect(self._result_changed)
        controller.choice_changed.connect(self._choice_changed)

    def _state_changed(self, state: State, before: State) -> None:
        if state.files != before.files:
            self._files = {file.output_stem: file for file in state.files}
            for stem in [stem for stem in {**self.counts, **self._histograms} if stem not in self._files]:
                self._forget(stem)
        other = any(state.values.get(name) != before.values.get(name) for name in BOARD_SETTINGS)
        if state.lesson != before.lesson:
            self._histograms, self._total = {}, {}
            other = True
        if state.files != before.files or other:
            self.start()
        elif _counting(state) != _counting(before):
            self._count_soon(stem for stem in self._files if _counted_with(state, stem) != _counted_with(before, stem))

    def _result_changed(self, stem: str) -> None:
        self._keep(stem, {})
        taught = self._controller.state.lesson is not None  # by all of them
        self._count_soon(self._files if taught else [stem])

    def _choice_changed(self) -> None:
        controller = self._controller
        board = None if controller.loaded is None else controller.loaded.board
        if controller.loaded is not None and controller.loaded.preview:
            return  # nothing of it is kept
        if controller.choice is not None and controller.is_shown and controller.stem is not None and board is not None:
            self.details[controller.stem] = _details(board, controller.choice)
            self._count(controller.stem, len(controller.choice))

    def _count(self, stem: str, count: int | None) -> None:
        if self.counts.get(stem) == count:
            return
        if count is None:
            del self.counts[stem]
        else:
            self.counts[stem] = count
        self.counted.emit(stem)

    def _forget(self, stem: str) -> None:
        self._keep(stem, {})
        self.details.pop(stem, None)
        self._count(stem, None)

    def _keep(self, stem: str, views: _Histogram) -> None:
        """Put a micrograph's candidates into the sum instead of its earlier ones."""
        earlier = self._histograms.pop(stem, {})
        if views:
            self._histograms[stem] = views
        for name in {**earlier, **views}:
            total = self._total.get(name, 0) - earlier.get(name, 0) + views.get(name, 0)
            self._total[name] = np.asarray(total)

    def start(self) -> None:
        """Count all micrographs anew; the counts come one by one."""
        self._count_soon(self._files)

    def _count_soon(self, stems: Iterable[str]) -> None:
        """Count micrographs, those first whose candidates are in memory: reading the others may displace them."""
        boards = self._controller.boards
        order = sorted({**self._waiting, **dict.fromkeys(stems)}, key=lambda stem: stem in boards)
        self._waiting = dict.fromkeys(order)  # taken from its end
        self._begin()

    def _begin(self) -> None:
        if not self.busy:
            self.busy = True
            self._next()

    def _next(self) -> None:
        """Count one micrograph on a thread, then the next."""
        controller = self._controller
        while self._waiting:
            stem, _ = self._waiting.popitem()
            file, result = self._files.get(stem), controller.results.get(stem)
            if file is None or result is None or result.error or controller.folder is None:
                self._forget(stem)
                continue
            if stem == controller.stem and controller.choice is not None and stem in self._histograms:
                continue  # counted as it is shown
            break
        else:
            self.busy = False
            self.histogram_changed.emit()
            return
        state, folder, results = controller.state, controller.folder.path, dict(controller.results)

        def count() -> tuple[int | None, _Histogram, tuple[float, float]]:
            try:
                board = controller.boards.get(file, state, folder, results)
            except GempickError:  # reported when the micrograph is shown
                board = None
            if board is None:
                return None, {}, (math.nan, math.nan)
            choice = board.choose(state.tune_of(stem), state.edits.get(stem, Edits()))
            return len(choice), self._histograms.get(stem) or _histogram_of(board), _details(board, choice)

        def counted(found: tuple[int | None, _Histogram, tuple[float, float]]) -> None:
            if stem not in self._waiting and stem in self._files:
                self._keep(stem, found[1])
                self.details[stem] = found[2]
                self._count(stem, found[0])
            self._next()

        controller.background.do(count, counted, self._next)

    def histogram(self) -> dict[str, NDArray[np.intp]]:
        """Return the candidates of all micrographs in BINS of score, for each view."""
        return {name: counts for name, counts in self._total.items() if counts.any()}


def _counting(state: State) -> tuple[Any, ...]:
    """Return what choose picks, of all micrographs."""
    return state.tune, state.overrides, state.edits, state.masks


def _counted_with(state: State, stem: str) -> tuple[Tune, Edits | None, Mask | None]:
    return state.tune_of(stem), state.edits.get(stem), state.masks.get(stem)


def _details(board: CandidateSelection, choice: Choice) -> tuple[float, float]:
    """Return the mean score of the picks that were found, and the share of the area where none may lie."""
    scores = board.picks.score[: len(choice.shown)][choice.shown]
    return float(scores.mean()) if len(scores) else math.nan, board.excluded_share


def _histogram_of(board: CandidateSelection) -> _Histogram:
    picks, names = board.picks, board.candidates.view_names
    return {name: np.histogram(picks.score[picks.view == i], BINS)[0] for i, name in enumerate(names)}
