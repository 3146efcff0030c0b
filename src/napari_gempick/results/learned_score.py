"""The learned score of a run: taught by its candidates, decoys and labels, and put in the place of the NCC."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.engine.picking.learned import FEATURES, FOLDS, Lesson, Weights, features, teach
from napari_gempick.model.errors import GempickError, SettingsError
from napari_gempick.model.picks import best_first

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_gempick.io.candidates import Candidates
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.picks import Picks
    from napari_gempick.results.folder import Results

LABEL_REACH = 0.25
"""A label belongs to a candidate within the smallest distance of picks, or within this share of a diameter."""
MOST_LESSONS = 200
"""Micrographs that teach, evenly spread over the names of the run; more would teach no more."""


@dataclass(frozen=True, eq=False)
class Labels:
    """What a person said about places of one micrograph.

    Attributes
    ----------
    x, y : (n,) float64
        File pixels, 0-based.
    good : (n,) bool
        There is a particle.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    good: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LearnedScore:
    """Puts the learned score in the place of the NCC.

    Attributes
    ----------
    folds : tuple of Weights
        A micrograph is scored by weights that micrographs of other folds have taught.
    fold_of : mapping of str to int
        By the name of the micrograph's results.
    labels : int
        How many places a person judged.
    """

    folds: tuple[Weights, ...]
    fold_of: Mapping[str, int]
    labels: int

    def apply(self, micrograph: MicrographFile, candidates: Candidates, diameter: float) -> Candidates:
        """Return the candidates with the learned score, best first; `Picks.ncc` keeps the NCC.

        Parameters
        ----------
        micrograph : MicrographFile
        candidates : Candidates
            With local statistics.
        diameter : float
            The particle's, Å.

        Raises
        ------
        SettingsError
            The candidates have no local statistics.
        """
        if candidates.picks.local is None:
            raise _unusable(micrograph)
        weights = self.folds[self.fold_of[micrograph.output_stem]]
        size = diameter / candidates.map_pixel_size
        decoys = candidates.decoys
        return replace(
            candidates,
            picks=_scored(candidates.picks, weights, size, inverted=False),
            decoys=None if decoys is None else _scored(decoys, weights, size, inverted=True),
        )

    def describe(self) -> dict[str, Any]:
        """Return what run.json says: the mean weights of the features, and what taught them."""
        mean = np.mean([one.weights / np.abs(one.weights).sum() for one in self.folds], axis=0)
        return {
            "weights": {name: round(float(value), 4) for name, value in zip(FEATURES, mean, strict=True)},
            "particles": [one.taught_by for one in self.folds],
            "labels": self.labels,
        }


def learn(
    results: Results,
    micrographs: Sequence[MicrographFile],
    candidates_of: Callable[[MicrographFile], Candidates],
    labels: Mapping[str, Labels] | None = None,
) -> LearnedScore:
    """Return the score that the micrographs of a run teach.

    Parameters
    ----------
    results : Results
        Of the run.
    micrographs : sequence of MicrographFile
        In the order of their names; those that cannot be read teach nothing.
    candidates_of : callable
        Returns the candidates of a micrograph.
    labels : mapping of str to Labels, optional
        By the name of the micrograph's results.

    Raises
    ------
    SettingsError
        The candidates have no decoys or no local statistics.
    """
    folds = max(1, min(FOLDS, len(micrographs)))
    fold_of = {micrograph.output_stem: number % folds for number, micrograph in enumerate(micrographs)}
    spread = np.unique(np.linspace(0, len(micrographs) - 1, min(MOST_LESSONS, len(micrographs))).astype(int))
    labels = labels or {}
    judged = [number for number, micrograph in enumerate(micrographs) if micrograph.output_stem in labels]
    lessons: dict[int, Lesson] = {}
    for number in sorted({*spread.tolist(), *judged}):
        micrograph = micrographs[number]
        try:
            lessons[number] = _lesson(
                results, micrograph, candidates_of(micrograph), labels.get(micrograph.output_stem)
            )
        except SettingsError:
            raise
        except GempickError:  # reported when its picks are written
            continue
    weights = []
    for fold in range(folds):
        others = [one for number, one in lessons.items() if folds == 1 or number % folds != fold]
        own = [
            replace(one, candidates=one.candidates[:0], decoys=one.decoys[:0])
            for number, one in lessons.items()
            if folds > 1 and number % folds == fold
        ]  # labels hold for every micrograph
        weights.append(teach([*others, *own]))
    return LearnedScore(tuple(weights), fold_of, sum(len(one.good) for one in lessons.values()))


def _unusable(micrograph: MicrographFile) -> SettingsError:
    return SettingsError(
        f"The candidates of {micrograph.path} have no decoys or local statistics, which --score learned needs; "
        "pick again without --no-decoys.",
        micrograph.path,
    )


def _lesson(results: Results, micrograph: MicrographFile, candidates: Candidates, labels: Labels | None) -> Lesson:
    """Return what a micrograph teaches."""
    if candidates.decoys is None or candidates.picks.local is None:
        raise _unusable(micrograph)
    size = results.diameter / candidates.map_pixel_size
    chosen, decoys = results.free_of_thresholds(micrograph, candidates)
    rows = features(candidates.picks, size)
    reach = max(results.distance(candidates), LABEL_REACH * results.diameter / candidates.pixel_size)
    at = np.zeros(0, np.intp) if labels is None else nearest(candidates, labels, reach)
    found = at >= 0
    good = np.zeros(0, bool) if labels is None else labels.good[found]
    return Lesson(rows[chosen], features(candidates.decoys, size, inverted=True)[decoys], rows[at[found]], good)


def nearest(candidates: Candidates, labels: Labels, distance: float) -> NDArray[np.intp]:
    """Return for each label the number of the best candidate within `distance` file pixels, -1 without one; (n,)."""
    picks = candidates.picks
    found = np.full(len(labels.x), -1, np.intp)
    for number, (x, y) in enumerate(zip(labels.x, labels.y, strict=True)):
        near = np.flatnonzero(np.hypot(picks.x - x, picks.y - y) <= distance)
        if len(near):
            found[number] = near[0]  # candidates come best first
    return found


def _scored(picks: Picks, weights: Weights, diameter: float, *, inverted: bool) -> Picks:
    score = weights.score(features(picks, diameter, inverted=inverted))
    return best_first(replace(picks, score=score, ncc=picks.score))
