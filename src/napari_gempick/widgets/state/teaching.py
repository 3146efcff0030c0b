"""The learned score of a session: learned once for the same candidates, limits and corrections. No Qt, no napari."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.results.folder import Results
from napari_gempick.results.learned_score import Labels, learn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from napari_gempick.io.candidates import Candidates
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.results.learned_score import LearnedScore
    from napari_gempick.widgets.state.result import Result
    from napari_gempick.widgets.state.state import Edits, State


class Teacher:
    """Learns the score of a session as `gempick retune --score learned` does; used on several threads.

    Attributes
    ----------
    learned : LearnedScore or None
        The score that it learned last.
    """

    def __init__(self) -> None:
        self.learned: LearnedScore | None = None
        self._key: tuple[Any, ...] = ()
        self._lock = threading.Lock()

    def teach(
        self,
        state: State,
        folder: Path,
        results: Mapping[str, Result],
        candidates_of: Callable[[MicrographFile], Candidates],
    ) -> LearnedScore:
        """Return the score that all searched micrographs teach, rejected ones too.

        Parameters
        ----------
        state : State
            With the limits and the corrections that count.
        results : mapping of str to Result
        candidates_of : callable
            Returns the candidates of a micrograph, with their NCC.

        Raises
        ------
        SettingsError
            A search has kept no decoys.
        """
        files = searched(state, results)
        key = folder, files, state.lesson, tuple(results[file.output_stem] for file in files)
        with self._lock:
            if self.learned is None or key != self._key:
                diameter = results[files[0].output_stem].diameter
                labels = labels_of(state.edits) if state.teach else None
                settings = state.settings(threshold=["0.4"])  # they count for nothing, and views may have new names
                self.learned = learn(Results(folder, settings, diameter), files, candidates_of, labels)
                self._key = key
            return self.learned


def searched(state: State, results: Mapping[str, Result]) -> list[MicrographFile]:
    """Return the micrographs with candidates, in the order of their names."""
    files = [file for file in state.files if (one := results.get(file.output_stem)) is not None and not one.error]
    return sorted(files, key=lambda file: file.output_stem)


def labels_of(edits: Mapping[str, Edits]) -> dict[str, Labels]:
    """Return corrections as labels, by micrograph: rejected picks are bad, added ones good."""
    found = {}
    for stem, one in sorted(edits.items()):
        places = np.array([*one.rejected, *((added.x, added.y) for added in one.added)], np.float64).reshape(-1, 2)
        good = np.arange(len(places)) >= len(one.rejected)
        if len(places):
            found[stem] = Labels(places[:, 0], places[:, 1], good)
    return found
