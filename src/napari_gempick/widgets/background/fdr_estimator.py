"""The estimated share of false picks, and thresholds chosen by it; computed in the background."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from psygnal import Signal

from napari_gempick.engine.picking.run_evidence import RunEvidence, pool
from napari_gempick.model.errors import GempickError
from napari_gempick.results.thresholds import probability_false

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_gempick.engine.picking.false_rate import FalseRate
    from napari_gempick.engine.picking.run_evidence import Scores
    from napari_gempick.widgets.state.candidate_selection import CandidateSelection
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.state import State


class FdrEstimator:
    """Estimates how many of the picks of the current micrograph are false.

    Attributes
    ----------
    changed, estimated : Signal
        The share of false picks may be another one; the micrograph's scores have been estimated anew.
    """

    changed, estimated = Signal(), Signal()

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._key: object = None
        self._rates: list[FalseRate] | None = None
        self._last: tuple[CandidateSelection, list[FalseRate]] | None = None
        self._asked = 0
        self._followed: tuple[Any, ...] = ()
        self._kept: dict[str, tuple[Any, Scores | None]] = {}
        controller.choice_changed.connect(self._look)
        controller.state_changed.connect(lambda state, before: self._follow())
        controller.results_changed.connect(lambda stem: self._follow())

    def _look(self) -> None:
        """Estimate anew where something but the thresholds has changed."""
        controller = self._controller
        selection = None if controller.loaded is None else controller.loaded.selection
        if selection is None or selection.candidates.decoys is None:
            self._key, self._rates, self._last = None, None, None
            self.changed.emit()
            return
        tune = controller.tune()
        key = (selection, tune.limits())
        if key == self._key:
            self.changed.emit()
            return
        self._key, self._rates = key, None

        def work() -> list[FalseRate] | None:
            scores = selection.scores(tune)
            return None if scores is None else scores.rates()

        controller.background.do(work, lambda rates: self._take(selection, key, rates))
        self.changed.emit()

    def _take(self, selection: CandidateSelection, key: object, rates: list[FalseRate] | None) -> None:
        if key == self._key and rates is not None:
            self._rates = rates
            self._last = selection, rates
            self.changed.emit()
            self.estimated.emit()
            self._first_look(selection)

    def _first_look(self, selection: CandidateSelection) -> None:
        """Choose the thresholds when the first results of a search, or those of another score, are seen."""
        controller, learned = self._controller, selection.picks.ncc is not None
        look = controller.first_look
        if look is not None and learned == (controller.state.lesson is not None):
            controller.first_look = None
            if controller.state.tune.thresholds == look:
                self._choose(None, first=True)

    def false_share(self) -> float | None:
        """Return the estimated share of false picks among those found, 0 to 1; None where it is unknown."""
        controller = self._controller
        selection = None if controller.loaded is None else controller.loaded.selection
        if self._rates is None or selection is None or controller.choice is None:
            return None
        views = selection.picks.view[: len(controller.choice.shown)][controller.choice.shown]
        counts = np.bincount(views, minlength=len(self._rates))
        tune = controller.tune()
        thresholds = [tune.threshold(name) for name in selection.candidates.view_names]
        return share_of(self._rates, thresholds, counts.tolist())

    def false_of(self, selection: CandidateSelection, rows: NDArray[np.intp]) -> NDArray[np.float32] | None:
        """Return the estimated chance that each of these candidates is false, (n,) 0 to 1; None before an estimate.

        The estimate before stays until there is a new one.
        """
        if self._last is None or self._last[0] is not selection:
            return None
        return probability_false(selection.picks.take(rows), self._last[1])

    def choose_thresholds(self) -> None:
        """Set the thresholds that trade false picks against missed ones best, of this micrograph or of all together."""
        self._choose(None)

    def set_rate(self, rate: float | None) -> None:
        """Keep the thresholds where this share of the picks is false, 0 to 1; None leaves them to the hand."""
        if rate is None:
            self._asked += 1
            self._controller.set_tune(fdr=None)
        else:
            self._choose(rate)

    def _follow(self) -> None:
        """Choose the thresholds again if they follow a rate whose evidence has changed."""
        rate = self._controller.tune().fdr
        if rate is not None and self._followed != self._basis():
            self._choose(rate, follow=True)

    def _basis(self) -> tuple[Any, ...]:
        """Return what thresholds for a rate depend on."""
        controller, state = self._controller, self._controller.state
        alone = controller.stem if controller.only_current else None
        found = tuple((stem, id(result)) for stem, result in controller.results.items())
        tunes = tuple(state.tune_of(stem) for stem in controller.results)
        return (
            (alone, state.rejected),
            found,
            tuple(tune.limits() for tune in tunes),
            controller.tune().fdr,
            (state.values.get("exclude"), state.values.get("exclude_edited"), state.masks, state.lesson),
        )

    def _choose(self, rate: float | None, *, follow: bool = False, first: bool = False) -> None:
        controller = self._controller
        loaded = controller.loaded
        if loaded is None or loaded.selection is None:
            return
        self._asked += 1
        asked, basis, before = self._asked, self._basis(), controller.tune().thresholds
        state, folder, results = controller.state, controller.folder, dict(controller.results)
        alone, stem = controller.only_current and not first, controller.stem
        files = [file for file in state.kept if file.output_stem in results and not results[file.output_stem].error]
        names, here = loaded.selection.candidates.view_names, loaded.selection

        def work() -> list[float | None] | None:
            parts: dict[str, Scores] = {}
            for file in sorted(files, key=lambda file: file.output_stem):
                try:
                    selection = controller.selections.get(file, state, folder.path, results) if folder else here
                except GempickError:
                    continue  # reported when the micrograph is shown
                scores = None if selection is None else self.scores_of(file.output_stem, selection, state)
                if scores is not None and selection is not None and selection.candidates.view_names == names:
                    parts[file.output_stem] = scores
            if not parts or (alone and stem not in parts):
                return None
            every = list(parts.values())
            rates = RunEvidence(every).rates(list(parts).index(stem)) if alone else pool(every).rates()
            return [one.best_threshold() if rate is None else one.threshold_for(rate) for one in rates]

        def take(chosen: list[float | None] | None) -> None:
            moved = controller.tune().thresholds != before or controller.state.score != state.score
            if asked != self._asked or moved:
                return  # something else was wanted meanwhile
            if chosen is None:
                controller.notified.emit(
                    "The search kept no decoys, so no threshold can be chosen; run it again.", "info"
                )
                return
            nothing = [name for name, value in zip(names, chosen, strict=True) if value is None]
            found = {name: _down(value) for name, value in zip(names, chosen, strict=True) if value is not None}
            words = ", ".join(nothing)
            if rate is not None:
                if nothing and not follow:
                    controller.notified.emit(
                        f"No score of {words} is above what chance gives, so nothing is picked.", "info"
                    )
                self._followed = (*basis[:-2], rate, basis[-1])
                controller.set_thresholds({**found, **dict.fromkeys(nothing, 1.0)}, rate, follow=follow)
                return
            if nothing and not first:
                controller.notified.emit(
                    f"No score of {words} is above what chance gives; its threshold stays.", "info"
                )
            if found:
                (controller.set_first_thresholds if first else controller.set_thresholds)(found)

        controller.background.do(work, take)

    def scores_of(self, stem: str, selection: CandidateSelection, state: State) -> Scores | None:
        """Return the scores of a micrograph's candidates, from memory if they are there; on a thread."""
        tune = state.tune_of(stem)
        key = (weakref.ref(selection), tune.limits())  # keeps no candidates in memory
        known = self._kept.get(stem)
        if known is None or known[0] != key:
            known = self._kept[stem] = key, selection.scores(tune)
        return known[1]


class _Rate(Protocol):
    def at(self, threshold: float) -> float: ...


def share_of(rates: Sequence[_Rate], thresholds: Sequence[float], counts: Sequence[int]) -> float | None:
    """Return the estimated share of false picks, 0 to 1, over all views; None without picks.

    Parameters
    ----------
    rates, thresholds, counts : sequences
        Of each view; `counts` are numbers of picks.
    """
    total = sum(counts)
    false = sum(rate.at(lowest) * n for rate, lowest, n in zip(rates, thresholds, counts, strict=True) if n)
    return false / total if total else None


def _down(score: float) -> float:
    """Return a score as settings hold it, not above it."""
    return math.floor(score * 1e6) / 1e6
