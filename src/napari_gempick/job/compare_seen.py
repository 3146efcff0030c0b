"""Compare the picks of a window, micrograph by micrograph, with a set of picks or a truth that was read from files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.engine.evaluate import Rules, match
from napari_gempick.engine.rates import summarise
from napari_gempick.io.coordinate_sets import PICK_FILES, Entry, pair, read_entries
from napari_gempick.io.formats.coordinate_set import NO_VIEW, CoordinateSet
from napari_gempick.io.formats.stems import stem_of
from napari_gempick.job.compare import Compared, comparison
from napari_gempick.job.evaluate import entry_particles, forget_runs, settled
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_gempick.engine.evaluate import Matching, Particles
    from napari_gempick.io.listing import MicrographFile

FILES = ("*_truth.csv", *PICK_FILES)
"""What to look for in a folder, the first that is there."""


@dataclass(frozen=True, eq=False)
class PickSet:
    """A set of picks or a truth, read.

    Attributes
    ----------
    path : Path
    entries : tuple of Entry
        For each micrograph.
    """

    path: Path
    entries: tuple[Entry, ...]

    def by_micrograph(self, files: Sequence[MicrographFile], otherwise: str | None = None) -> dict[str, Particles]:
        """Return the particles of each micrograph by the name of its results; empty where none fits.

        Parameters
        ----------
        files : sequence of MicrographFile
        otherwise : str, optional
            The micrograph that a single file whose name fits none belongs to.

        Raises
        ------
        InputError
            A name fits several micrographs equally well, or a TIFF micrograph cannot be read.
        """
        nothing = CoordinateSet(Picks.empty(), (NO_VIEW,), {})
        known = [Entry(f.output_stem, (*f.path.parent.parts, stem_of(f.path.name)), f.path, nothing) for f in files]
        pairs = pair(self.entries, known)
        paths = {file.output_stem: file.path for file in files}
        chosen = {files[number].output_stem: self.entries[place] for number, place in pairs.items()}
        if not pairs and len(self.entries) == 1 and otherwise is not None:
            chosen = {otherwise: self.entries[0]}
        return {name: entry_particles(settled(entry, paths.get(name))) for name, entry in chosen.items()}


def read_set(path: Path) -> PickSet:
    """Read a file or a folder of coordinates of any format.

    Raises
    ------
    InputError
        It cannot be read.
    """
    forget_runs()
    entries = read_entries(path, FILES).entries
    return PickSet(path, tuple(entries))


def compare_seen(seen: Particles, there: Particles, tolerance: float) -> Matching:
    """Match what is seen with what a set has; picks as near as that to a mark `ignore` do not count.

    Parameters
    ----------
    seen, there : Particles
    tolerance : float
        px.
    """
    return match(seen, there, Rules(tolerance, ignore_radius=tolerance))


def counts(matchings: Sequence[Matching]) -> dict[str, Any]:
    """Return the numbers of micrographs pooled, as `job.compare.comparison` does for a pair, with the rates.

    Returns
    -------
    dict
        matched, only_a (here), only_b (there), per_view, mean_distance, precision, recall (NaN without meaning).
    """
    numbers = summarise(matchings)
    (found,) = comparison(("here", "there"), [_compared_seen(matching) for matching in matchings])["pairs"]
    return {**found, "precision": numbers.precision, "recall": numbers.recall}


def _compared_seen(matching: Matching) -> Compared:
    """Return what counts of a matching."""
    here, there = matching.pick_counts, matching.truth_counts
    hit = matching.matched
    back = np.zeros(len(there), np.bool_)
    back[matching.partner[hit]] = True
    particles = [matching.picks.take(here), matching.truth.take(there)]
    found = {(0, 1): hit[here], (1, 0): back[there]}
    return Compared("", [None, None], particles, found, {(0, 1): matching.distance[hit]})
