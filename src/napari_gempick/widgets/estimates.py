"""The estimated share of false picks, and thresholds chosen by it; computed behind the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_gempick.engine.peaks import Selection
from napari_gempick.job.thresholds import pool, scores_of
from napari_gempick.model.errors import GempickError

if TYPE_CHECKING:
    from napari_gempick.engine.fdr import FalseRate
    from napari_gempick.job.thresholds import Scores
    from napari_gempick.widgets.board import Board
    from napari_gempick.widgets.controller import Controller
    from napari_gempick.widgets.state import Tune


class Estimates:
    """Estimates how many of the picks of the current micrograph are false.

    Parameters
    ----------
    controller : Controller
    """

    changed = Signal()

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._key: object = None
        self._rates: list[FalseRate] | None = None
        controller.choice_changed.connect(self._look)

    def _look(self) -> None:
        """Estimate anew where something but the thresholds has changed."""
        controller = self._controller
        board = None if controller.loaded is None else controller.loaded.board
        if board is None or board.candidates.decoys is None:
            self._key, self._rates = None, None
            self.changed.emit()
            return
        tune = controller.tune()
        key = (id(board), tune.max_threshold, board.min_distance(tune), board.border(tune))
        if key == self._key:
            self.changed.emit()
            return
        self._key, self._rates = key, None
        controller.background.do(lambda: scores_of_board(board, tune), lambda scores: self._take(key, scores))
        self.changed.emit()

    def _take(self, key: object, scores: Scores | None) -> None:
        if key == self._key and scores is not None:
            self._rates = scores.rates()
            self.changed.emit()

    def false_share(self) -> float | None:
        """Return the estimated share of false picks among those found, 0 to 1; None where it cannot be said."""
        controller = self._controller
        board = None if controller.loaded is None else controller.loaded.board
        if self._rates is None or board is None or controller.choice is None:
            return None
        views = board.picks.view[: len(controller.choice.shown)][controller.choice.shown]
        counts = np.bincount(views, minlength=len(self._rates))
        if not counts.sum():
            return None
        tune = controller.tune()
        rates = [
            rate.at(tune.threshold(name)) for name, rate in zip(board.candidates.view_names, self._rates, strict=True)
        ]
        return float(np.average(rates, weights=counts))

    def choose_thresholds(self) -> None:
        """Set the thresholds that trade false picks against missed ones best, of this micrograph or of all together."""
        controller = self._controller
        loaded = controller.loaded
        if loaded is None or loaded.board is None:
            return
        state, folder, results, boards = (
            controller.state,
            controller.folder,
            dict(controller.results),
            controller.boards,
        )
        stem = controller.stem
        alone = controller.only_current
        files = [file for file in state.files if file.output_stem in results and not results[file.output_stem].error]
        names = loaded.board.candidates.view_names
        here = loaded.board

        def work() -> list[float | None] | None:
            parts = []
            settings = state.settings()
            for file in files:
                if alone and file.output_stem != stem:
                    continue
                try:
                    board = boards.get(file, settings, folder.path, results[file.output_stem]) if folder else here
                except GempickError:
                    continue  # said when the micrograph is shown
                scores = None if board is None else scores_of_board(board, state.tune_of(file.output_stem))
                if scores is not None and board is not None and board.candidates.view_names == names:
                    parts.append(scores)
            return [rate.best_threshold() for rate in pool(parts).rates()] if parts else None

        def take(chosen: list[float | None] | None) -> None:
            if chosen is None:
                controller.said.emit("The search kept no decoys, so no threshold can be chosen; run it again.", "info")
                return
            found = {name: round(value, 4) for name, value in zip(names, chosen, strict=True) if value is not None}
            nothing = [name for name, value in zip(names, chosen, strict=True) if value is None]
            if nothing:
                words = ", ".join(nothing)
                controller.said.emit(f"No score of {words} is above what chance gives; its threshold stays.", "info")
            if found:
                controller.set_thresholds(found)

        controller.background.do(work, take)


def scores_of_board(board: Board, tune: Tune) -> Scores | None:
    """Return the scores that a threshold is chosen from; None without decoys."""
    candidates = board.candidates
    if candidates.decoys is None:
        return None
    selection = Selection(
        thresholds=[candidates.floor] * len(candidates.view_names),
        min_distance=board.min_distance(tune) / candidates.map_pixel_size,
        max_threshold=tune.max_threshold,
        border=board.border(tune) / candidates.pixel_size,
        local_limits=board.local_limits,
    )
    return scores_of(
        candidates.picks, candidates.decoys, selection, candidates.floor, candidates.file_shape, board.excluded
    )
