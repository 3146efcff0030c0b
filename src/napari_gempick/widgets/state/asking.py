"""The candidates whose labels teach the learned score most: those that may as well be false as true. No Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.model.errors import InputError
from napari_gempick.widgets.state.exporting import Judge
from napari_gempick.widgets.state.state import Added, Edits
from napari_gempick.widgets.state.teaching import searched

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_gempick.widgets.state.loading import CandidateCache
    from napari_gempick.widgets.state.result import Result
    from napari_gempick.widgets.state.state import State

QUESTIONS = 20


@dataclass(frozen=True)
class Question:
    """A candidate to be judged.

    Attributes
    ----------
    stem : str
        Of its micrograph.
    pick : Added
        The pick that it would be: pixels of the file, and its NCC.
    false : float
        The estimated probability that it is not, 0 to 1.
    diameter : float
        The particle's, pixels of the file.
    """

    stem: str
    pick: Added
    false: float
    diameter: float


def questions(
    state: State, results: Mapping[str, Result], folder: Path, selections: CandidateCache, count: int = QUESTIONS
) -> list[Question]:
    """Return up to `count` candidates that are not judged yet, those nearest to a probability of one half.

    They come from as many micrographs as possible; rejected micrographs are left out.
    """
    judge = Judge(state, results, folder, selections)
    found: list[tuple[int, float, Question]] = []
    for file in searched(state, results):
        stem = file.output_stem
        try:
            selection = selections.get(file, state, folder, results)
        except InputError:  # the list says why; the others are asked about
            continue
        if selection is None or stem in state.rejected:
            continue
        names = selection.candidates.view_names
        tune = replace(state.tune_of(stem), thresholds=dict.fromkeys(names, selection.floor), max_picks=None)
        picks = selection.picks.take(np.flatnonzero(selection.choose(tune, state.edits.get(stem, Edits())).shown))
        false = judge.of(stem, picks)
        ncc = picks.score if picks.ncc is None else picks.ncc
        doubt = np.abs(false - 0.5)
        for rank, k in enumerate(np.argsort(doubt, kind="stable")[:count].tolist()):
            pick = Added(
                float(picks.x[k]),
                float(picks.y[k]),
                names[picks.view[k]],
                float(ncc[k]),
                float(picks.psi[k]),
                int(picks.section[k]),
            )
            asked = Question(stem, pick, float(false[k]), selection.diameter / selection.candidates.pixel_size)
            found.append((rank, float(doubt[k]), asked))
    found.sort(key=lambda one: one[:2])
    return [asked for _, _, asked in found[:count]]
