"""The threshold of each view: the number that was asked for, or the one that the decoys make best."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.engine.fdr import FalseRate, false_rate
from napari_gempick.engine.peaks import select
from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_gempick.engine.peaks import Selection
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.settings import PickSettings

NOTHING = math.inf
"""The threshold of a view in which no score is above chance."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of the picks of each view down to the candidates' floor, and of the decoys chosen by the same rules.

    Attributes
    ----------
    picks, decoys : tuple of (n,) float64
        One for each view.
    """

    picks: tuple[NDArray[np.float64], ...]
    decoys: tuple[NDArray[np.float64], ...]

    def rates(self) -> list[FalseRate]:
        """Return the estimated false discovery rate of each view."""
        return [false_rate(picks, decoys) for picks, decoys in zip(self.picks, self.decoys, strict=True)]

    def contrast_looks_wrong(self) -> bool:
        """Return whether the inverted contrast finds twice as many particles as the one that was searched."""
        here, there = (
            false_rate(np.concatenate(one), np.concatenate(other)).particles
            for one, other in ((self.picks, self.decoys), (self.decoys, self.picks))
        )
        return there > 2 * here


def pool(parts: Sequence[Scores]) -> Scores:
    """Return the scores of several micrographs together."""
    kinds = ([part.picks for part in parts], [part.decoys for part in parts])
    return Scores(*(tuple(np.concatenate(view) for view in zip(*kind, strict=True)) for kind in kinds))


def scores_of(
    candidates: Picks,
    decoys: Picks,
    selection: Selection,
    floor: float,
    file_shape: tuple[int, int],
    excluded: NDArray[np.bool_] | None = None,
) -> Scores:
    """Return the scores that a threshold is chosen from: distance, border and exclusion applied, no threshold."""
    everything = replace(selection, thresholds=[floor] * len(selection.thresholds), max_picks=None)
    found = []
    for peaks in (candidates, decoys):
        chosen = select(peaks, everything, file_shape, excluded)
        views = range(len(selection.thresholds))
        found.append(tuple(chosen.score[chosen.view == view].astype(np.float64) for view in views))
    return Scores(*found)


def decide(settings: PickSettings, view_names: tuple[str, ...], scores: Scores | None) -> list[float]:
    """Return the threshold of each view; NOTHING where `auto` finds no score above chance.

    Raises
    ------
    SettingsError
        A threshold is automatic and there are no decoys.
    """
    wanted = settings.threshold_of(view_names)
    if None not in wanted:
        return [value for value in wanted if value is not None]
    if scores is None:
        raise SettingsError("--threshold auto needs the decoys; pick again without --no-decoys.")
    chosen = []
    for value, rate in zip(wanted, scores.rates(), strict=True):
        if value is None:
            value = rate.best_threshold() if settings.fdr is None else rate.threshold_for(settings.fdr)
        chosen.append(NOTHING if value is None else value)
    return chosen


def remarks(
    settings: PickSettings, view_names: tuple[str, ...], thresholds: Sequence[float], scores: Scores | None
) -> list[str]:
    """Return sentences for the user about a micrograph's thresholds and contrast."""
    found = []
    for name, value in zip(view_names, thresholds, strict=True):
        if value == NOTHING:
            which = f" of view {name!r}" if len(view_names) > 1 else ""
            found.append(f"No score{which} is above what chance gives, so nothing is picked.")
    if scores is not None and scores.contrast_looks_wrong():
        other = "same" if settings.contrast == "opposite" else "opposite"
        check = f"check --contrast {other}"
        if settings.ctf is not None:
            check = "with --ctf, templates must be bright where the protein is, and --phase-flipped say what was done"
        found.append(f"The opposite contrast finds more particles than this one; {check}.")
    return found
