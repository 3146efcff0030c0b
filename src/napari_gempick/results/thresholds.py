"""The threshold of each view: the number that was asked for, or the one that the decoys make best."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.engine.picking.peaks import Selection, select
from napari_gempick.engine.picking.run_evidence import Scores
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.picks import best_first

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_gempick.engine.picking.false_rate import FalseRate
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.settings import PickSettings

NOTHING = math.inf
"""The threshold of a view in which no score is above chance."""
NO_DECOYS = "--threshold auto needs the decoys; pick again without --no-decoys."
DOUBTFUL = 0.3
"""Estimated share of false picks of a run above which a sentence says so."""
FEW = 10
"""Picks of a view from which on an estimated rate of false picks says something."""


def scores_of(
    candidates: Picks,
    decoys: Picks,
    selection: Selection,
    floor: float,
    file_shape: tuple[int, int],
    excluded: NDArray[np.bool_] | None = None,
) -> Scores:
    """Return the scores that a threshold is chosen from: distance, border and exclusion applied, no threshold.

    Where they are learned scores, those by the NCC come along.
    """
    everything = without_thresholds(selection, floor)
    found = []
    for peaks in (candidates, decoys):
        chosen = select(peaks, everything, file_shape, excluded)
        views = range(len(selection.thresholds))
        found.append(tuple(chosen.score[chosen.view == view] for view in views))
    by_ncc = None
    if candidates.ncc is not None and decoys.ncc is not None:
        one, other = replace(candidates, score=candidates.ncc, ncc=None), replace(decoys, score=decoys.ncc, ncc=None)
        by_ncc = scores_of(best_first(one), best_first(other), selection, floor, file_shape, excluded)
    return Scores(found[0], found[1], by_ncc)


def without_thresholds(selection: Selection, floor: float) -> Selection:
    """Return a selection that takes every candidate down to `floor`, and as many as there are."""
    return replace(selection, thresholds=[floor] * len(selection.thresholds), max_picks=None)


def probability_false(picks: Picks, rates: Sequence[FalseRate]) -> NDArray[np.float32]:
    """Return the estimated probability of being false of each pick, by the rates of the views, (n,) float32."""
    found = np.zeros(len(picks), np.float32)
    for view, rate in enumerate(rates):
        own = picks.view == view
        found[own] = rate.probability(picks.score[own])
    return found


def decide(settings: PickSettings, view_names: tuple[str, ...], rates: Sequence[FalseRate] | None) -> list[float]:
    """Return the threshold of each view; NOTHING where `auto` finds no score above chance.

    Raises
    ------
    SettingsError
        A threshold is automatic and there are no decoys.
    """
    wanted = settings.thresholds.of(view_names)
    if None not in wanted:
        return [value for value in wanted if value is not None]
    if rates is None:
        raise SettingsError(NO_DECOYS)
    chosen = []
    for value, rate in zip(wanted, rates, strict=True):
        if value is None:
            value = rate.best_threshold() if settings.fdr is None else rate.threshold_for(settings.fdr)
        chosen.append(NOTHING if value is None else value)
    return chosen


def is_automatic(settings: PickSettings, view_names: tuple[str, ...]) -> bool:
    """Return whether a threshold of any view is to be chosen from the scores."""
    return None in settings.thresholds.of(view_names)


def refuse_pooling(settings: PickSettings) -> None:
    """Raise SettingsError unless there is an automatic threshold, which `--pool` would choose."""
    if None not in settings.thresholds.all:
        raise SettingsError("--pool chooses automatic thresholds; give --threshold auto, or leave it out.")


def nothing_found(view_names: tuple[str, ...], thresholds: Sequence[float]) -> list[str]:
    """Return a sentence for each view of a micrograph in which nothing is picked."""
    which = [f" of view {name!r}" if len(view_names) > 1 else "" for name in view_names]
    return [
        f"No score{text} is above what chance gives, so nothing is picked."
        for text, value in zip(which, thresholds, strict=True)
        if value == NOTHING
    ]


def few_found(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a sentence for each view of which a whole run has too few picks for a rate; `rows` are run.json's."""
    found: Counter[str] = Counter()
    for row in rows:
        found.update(row.get("picks_per_view", {}))
    sentences = []
    for name, count in found.items():
        if 0 < count < FEW:
            candidates = f"{count} candidate{'s' * (count > 1)}" + (f" of view {name!r}" if len(found) > 1 else "")
            stand = "stand" if count > 1 else "stands"
            sentences.append(f"{candidates} {stand} clear of the noise: too few to estimate a rate of false picks.")
    return sentences


def doubtful(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a sentence for each view with many picks that are estimated to be false; `rows` are run.json's."""
    found: Counter[str] = Counter()
    false: Counter[str] = Counter()
    for row in rows:
        for name, rate in row.get("estimated_fdr", {}).items():
            found[name] += row["picks_per_view"][name]
            false[name] += rate * row["picks_per_view"][name]
    return [
        f"About {100 * false[name] / count:.0f} % of the {count} picks{f' of view {name!r}' if len(found) > 1 else ''} "
        "are estimated to be false; raise --threshold, or give --fdr 0.1, to keep the better ones."
        for name, count in found.items()
        if count >= FEW and false[name] > DOUBTFUL * count
    ]


def contrast_remarks(settings: PickSettings, scores: Scores | None) -> list[str]:
    """Return a sentence for the user where a micrograph's contrast looks wrong."""
    found = []
    if scores is not None and scores.contrast_looks_wrong():
        other = "same" if settings.contrast == "opposite" else "opposite"
        check = f"check --contrast {other}"
        if settings.ctf is not None:
            check = "with --ctf, templates must be bright where the protein is, and --phase-flipped say what was done"
        found.append(f"The opposite contrast finds more particles than this one; {check}.")
    return found


def candidate_floor(settings: PickSettings, view_names: tuple[str, ...]) -> float:
    """Return the score down to which candidates are kept: the setting, or the lowest threshold where that is lower."""
    return min([settings.candidate_floor, *(t for t in settings.thresholds.of(view_names) if t is not None)])


def selection_for(
    settings: PickSettings, view_names: tuple[str, ...], diameter: float, pixel_size: float, map_pixel_size: float
) -> Selection:
    """Return how picks are chosen; `diameter` and the pixel sizes of file and map in Å.

    Thresholds that are still to be chosen are NOTHING.
    """
    distance = diameter / 2 if settings.min_distance is None else settings.min_distance
    border = settings.border if settings.border is not None else (settings.diameter or 0.0) / 2
    return Selection(
        thresholds=[NOTHING if t is None else t for t in settings.thresholds.of(view_names)],
        min_distance=distance / map_pixel_size,
        max_threshold=settings.max_threshold,
        border=border / pixel_size,
        max_picks=settings.max_picks,
        local_limits=settings.local_limits(),
    )
