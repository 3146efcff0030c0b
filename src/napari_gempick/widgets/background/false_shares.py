"""The estimated share of false picks of every micrograph, in the background while the table is visible."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_gempick.model.errors import GempickError
from napari_gempick.widgets.background.fdr_estimator import share_of
from napari_gempick.widgets.background.pick_counter import SLICE
from napari_gempick.widgets.state.state import SELECTION_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.engine.picking.false_rate import FalseRate
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.background.fdr_estimator import FdrEstimator
    from napari_gempick.widgets.background.pick_counter import PickCounter
    from napari_gempick.widgets.state.candidate_selection import CandidateSelection
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.result import Result
    from napari_gempick.widgets.state.state import State


@dataclass(frozen=True, eq=False)
class _Curve:
    """The estimated share of false picks of one view at each threshold, in a few bytes: there are thousands."""

    negative: NDArray[np.float32]
    share: NDArray[np.float32]

    @classmethod
    def of(cls, rate: FalseRate) -> _Curve:
        return cls(-rate.scores.astype(np.float32), rate.shares.astype(np.float32))

    def at(self, threshold: float) -> float:
        """Return the share of false ones among the picks that reach a threshold; 0 without picks."""
        n = int(np.searchsorted(self.negative, -np.float32(threshold), side="right"))
        return float(self.share[n - 1]) if n else 0.0


@dataclass(eq=False)
class _KnownShare:
    """The estimate for a micrograph at every threshold, and the values that it depends on."""

    key: tuple[Any, ...]
    views: tuple[str, ...]
    curves: list[_Curve]


class FalseShares:
    """Estimates which share of the picks of each micrograph is false, at the thresholds that hold now.

    The scores are estimated once; another threshold then takes microseconds and reads no file.

    Parameters
    ----------
    counter : PickCounter
        Says how many picks each view has.

    Attributes
    ----------
    shares : dict of str to float
        By stem, 0 to 1; without micrographs that have no picks or no decoys.
    """

    changed = Signal()

    def __init__(self, controller: Controller, counter: PickCounter, estimates: FdrEstimator) -> None:
        self._controller, self._counter, self._estimates = controller, counter, estimates
        self.shares: dict[str, float] = {}
        self._kept: dict[str, _KnownShare] = {}
        self._left: list[str] = []
        self._runs = False

    def want(self, stems: Sequence[str]) -> None:
        """Estimate again where something has changed, in the order of stems; `changed` follows for each new share."""
        if self._counter.busy:  # who is told of its end asks again
            return
        self._left = list(stems)
        if not self._runs:
            self._next()

    def _next(self) -> None:
        """Look through some micrographs on a thread, then through the next ones: files to show come in between."""
        controller, wanted = self._controller, self._left
        self._runs = bool(wanted)
        if not wanted:
            return
        state, folder, results = controller.state, controller.folder, dict(controller.results)
        files = {file.output_stem: file for file in state.files}
        details = dict(self._counter.details)
        common = folder, state.lesson, tuple(state.values.get(name) for name in SELECTION_SETTINGS)
        found: dict[str, float] = {}

        def work() -> None:
            ends = time.monotonic() + SLICE
            for stem in wanted:
                found[stem] = math.nan
                file, result = files.get(stem), results.get(stem)
                if file is None or result is None or result.error or folder is None or stem not in details:
                    continue
                key = result, state.tune_of(stem).limits(), state.masks.get(stem), *common
                kept = self._kept.get(stem)
                if kept is None or kept.key != key:
                    selection = self._selection_of(file, state, folder.path, results)
                    kept = self._kept[stem] = _KnownShare(key, *self._curves(stem, selection, state))
                thresholds = [state.tune_of(stem).threshold(name) for name in kept.views]
                share = share_of(kept.curves, thresholds, details[stem].by_view) if kept.curves else None
                found[stem] = math.nan if share is None else share
                if time.monotonic() > ends:
                    return

        def take(result: object = None) -> None:
            before = dict(self.shares)
            for stem, share in found.items():
                if math.isnan(share):
                    self.shares.pop(stem, None)
                else:
                    self.shares[stem] = share
            if wanted is self._left:
                self._left = wanted[len(found) :]
            if self.shares != before:
                self.changed.emit()
            self._next()

        controller.background.do(work, take, take)

    def _selection_of(
        self, file: MicrographFile, state: State, folder: Path, results: dict[str, Result]
    ) -> CandidateSelection | None:
        try:
            return self._controller.selections.get(file, state, folder, results)
        except GempickError:  # reported when the micrograph is shown
            return None

    def _curves(
        self, stem: str, selection: CandidateSelection | None, state: State
    ) -> tuple[tuple[str, ...], list[_Curve]]:
        scores = None if selection is None else self._estimates.scores_of(stem, selection, state)
        if selection is None or scores is None:
            return (), []
        return selection.candidates.view_names, [_Curve.of(rate) for rate in scores.rates()]
