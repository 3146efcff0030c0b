"""Counts the picks and candidates of every micrograph in the background; only what changed, once the slider rests."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_gempick.model.errors import GempickError
from napari_gempick.widgets.state.curating import Details
from napari_gempick.widgets.state.state import SELECTION_SETTINGS, Edits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.state.candidate_selection import CandidateSelection, Choice
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.state import State

    _Histogram = dict[str, NDArray[np.intp]]

    _Count = tuple[int | None, _Histogram, Details]

BINS = np.linspace(-1, 1, 401)
REST = 0.2
"""Seconds without another change after which a moving slider rests."""
SLICE, MOST = 0.05, 100
"""Seconds and micrographs that are counted before the window gets the counts."""


class PickCounter:
    """Counts picks, a few micrographs at a time, where a new state or result may have changed them.

    While a slider moves, the counts of other micrographs wait: the one on the screen comes first.
    """

    counted = Signal(str)
    histogram_changed = Signal()

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.counts: dict[str, int] = {}
        self.details: dict[str, Details] = {}
        self._histograms: dict[str, _Histogram] = {}
        self._total: _Histogram = {}
        self._files: dict[str, MicrographFile] = {}
        self._waiting: dict[str, None] = {}
        self._in_order, self._left_out = True, ""
        self._moved = self._rests = 0.0
        self.busy = False
        controller.state_changed.connect(self._state_changed)
        controller.results_changed.connect(self._result_changed)
        controller.choice_changed.connect(self._choice_changed)
        controller.current_changed.connect(self._current_changed)

    def _state_changed(self, state: State, before: State) -> None:
        new: list[str] = []
        if state.files != before.files:
            known = self._files
            self._files = {file.output_stem: file for file in state.files}
            for stem in [stem for stem in {**self.counts, **self._histograms} if stem not in self._files]:
                self._forget(stem)
            new = [stem for stem, file in self._files.items() if known.get(stem) != file]
        other = any(state.values.get(name) != before.values.get(name) for name in SELECTION_SETTINGS)
        if state.lesson != before.lesson:
            self._histograms, self._total = {}, {}
            other = True
        if other or (new and state.lesson is not None):  # which all of them teach
            self.start()
            return
        if state.files != before.files:
            self._count_soon(new)
        if changed := self._counted_otherwise(state, before):
            self._wait_for_rest()
            self._count_soon(changed)

    def _counted_otherwise(self, state: State, before: State) -> list[str]:
        """Return the micrographs that may have other picks now; there can be thousands, at every move of a slider."""
        pairs = ((state.overrides, before.overrides), (state.edits, before.edits), (state.masks, before.masks))
        own = {stem for now, then in pairs if now is not then for stem in {**now, **then}}
        changed = [stem for stem in own if any(now.get(stem) != then.get(stem) for now, then in pairs)]
        if state.tune != before.tune:
            results = self._controller.results
            changed += [stem for stem in self._files if stem in results and stem not in state.overrides]
        return changed

    def _wait_for_rest(self) -> None:
        """Count later where one change follows another."""
        now = time.monotonic()
        if now - self._moved < REST:
            self._rests = now + REST
        self._moved = now

    def _result_changed(self, stem: str) -> None:
        self._keep(stem, {})
        taught = self._controller.state.lesson is not None  # by all of them
        self._count_soon(self._files if taught else [stem])

    def _current_changed(self) -> None:
        """Count the micrograph that was shown, if its last change has perhaps not been shown."""
        if self._left_out and self._left_out != self._controller.stem:
            stem, self._left_out = self._left_out, ""
            self._count_soon([stem])

    def _choice_changed(self) -> None:
        controller = self._controller
        selection = None if controller.loaded is None else controller.loaded.selection
        if controller.loaded is not None and controller.loaded.preview:
            return  # nothing of it is kept
        if (
            controller.choice is not None
            and controller.is_shown
            and controller.stem is not None
            and selection is not None
        ):
            self.details[controller.stem] = _details(selection, controller.choice)
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
        if views is self._histograms.get(stem):
            return
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
        self._waiting.update(dict.fromkeys(stems))
        self._in_order = False
        if not self.busy:
            self.busy = True
            self._next()

    def _next(self) -> None:
        """Count some micrographs on a thread, then the next ones."""
        controller, left = self._controller, self._rests - time.monotonic()
        if left > 0:
            controller.background.later(left, self._next)
            return
        todo = self._take_waiting()
        if not todo:
            self.busy = False
            self.histogram_changed.emit()
            return
        state, folder, results = controller.state, controller.folder, dict(controller.results)
        found: dict[str, _Count] = {}

        def count() -> None:
            ends = time.monotonic() + SLICE
            for file in todo:
                if time.monotonic() > ends:
                    return
                stem = file.output_stem
                found[stem] = None, {}, Details()
                try:
                    selection = None if folder is None else controller.selections.get(file, state, folder.path, results)
                except GempickError:  # reported when the micrograph is shown
                    continue
                if selection is not None:
                    choice = selection.choose(state.tune_of(stem), state.edits.get(stem, Edits()))
                    histogram = self._histograms.get(stem) or _histogram_of(selection)
                    found[stem] = len(choice), histogram, _details(selection, choice)

        def counted(result: object = None) -> None:
            later = [file.output_stem for file in reversed(todo) if file.output_stem not in found]
            for stem, (number, histogram, details) in found.items():
                if stem not in self._waiting and stem in self._files:
                    self._keep(stem, histogram)
                    self.details[stem] = details
                    self._count(stem, number)
            self._waiting.update(dict.fromkeys(later))
            self._next()

        controller.background.do(count, counted, counted)

    def _take_waiting(self) -> list[MicrographFile]:
        """Return micrographs to count, those first whose candidates are in memory: the others may displace them."""
        controller, todo = self._controller, []
        if not self._in_order:
            self._waiting = dict.fromkeys(sorted(self._waiting, key=lambda stem: stem in controller.selections))
            self._in_order = True
        current = controller.stem if controller.choice is not None else None
        while self._waiting and len(todo) < MOST:
            stem, _ = self._waiting.popitem()
            file, result = self._files.get(stem), controller.results.get(stem)
            if file is None or result is None or result.error or controller.folder is None:
                self._forget(stem)
            elif stem == current and stem in self._histograms:
                self._left_out = stem  # it is counted as it is shown
            else:
                todo.append(file)
        return todo

    def histogram(self) -> dict[str, NDArray[np.intp]]:
        """Return the candidates of all micrographs in BINS of score, for each view."""
        return {name: counts for name, counts in self._total.items() if counts.any()}


def _details(selection: CandidateSelection, choice: Choice) -> Details:
    n = len(choice.shown)
    scores = selection.picks.score[:n][choice.shown]
    views = np.bincount(selection.picks.view[:n][choice.shown], minlength=len(selection.candidates.view_names))
    mean = float(scores.mean()) if len(scores) else math.nan
    return Details(mean, selection.excluded_share, tuple(views.tolist()))


def _histogram_of(selection: CandidateSelection) -> _Histogram:
    picks, names = selection.picks, selection.candidates.view_names
    return {name: np.histogram(picks.score[picks.view == i], BINS)[0] for i, name in enumerate(names)}
