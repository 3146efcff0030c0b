"""Compare sets of picks with one another, or with a truth: what both have, what only one has, and files of it.

Compare the picks of a window, micrograph by micrograph, with a set of picks or a truth that was read from files.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.evaluation.evaluate import entry_particles, entry_size, forget_runs, settled
from napari_gempick.evaluation.matching import IGNORE, Particles, Rules, match
from napari_gempick.evaluation.metrics import summarise
from napari_gempick.io.coordinates import PICK_FILES, Entry, pair, read_entries
from napari_gempick.io.formats import PicksInfo
from napari_gempick.io.formats.base import stem_of
from napari_gempick.io.formats.coordinate_set import NO_VIEW, CoordinateSet
from napari_gempick.io.micrograph_names import named
from napari_gempick.model.errors import InputError
from napari_gempick.model.picks import Picks
from napari_gempick.results.coordinate_files import OutputFiles, Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.evaluation.matching import Matching
    from napari_gempick.io.formats import Format
    from napari_gempick.io.listing import MicrographFile

CONSENSUS = "consensus"


@dataclass(eq=False)
class Compared:
    """One micrograph in several sets.

    Attributes
    ----------
    entries : list of Entry or None
        For each set its picks, None where it has none of this micrograph.
    particles : list of Particles
        The same with the names of their views.
    found : dict of (set, set) to (n,) bool
        Which picks of the first set have a partner in the second one.
    distances : dict of (set, set) to (m,) float64
        Between partners, px.
    """

    name: str
    entries: list[Entry | None]
    particles: list[Particles]
    found: dict[tuple[int, int], NDArray[np.bool_]] = field(default_factory=dict)
    distances: dict[tuple[int, int], NDArray[np.float64]] = field(default_factory=dict)

    def in_all(self) -> NDArray[np.bool_]:
        """Return which picks of the first set have a partner in every other one."""
        others = [self.found[0, other] for other in range(1, len(self.entries))]
        partnered: NDArray[np.bool_] = np.logical_and.reduce(others, axis=0)
        return partnered

    def alone(self, number: int) -> NDArray[np.bool_]:
        """Return which picks of a set have no partner in any other one."""
        others = [self.found[number, other] for other in range(len(self.entries)) if other != number]
        partnered: NDArray[np.bool_] = np.logical_or.reduce(others, axis=0)
        return ~partnered


def compare_sets(sets: Mapping[str, tuple[Path, Sequence[str]]], tolerance: float) -> list[Compared]:
    """Match every two sets one to one: the most pairs, and of those the nearest.

    Parameters
    ----------
    sets : mapping of name to (path, file patterns)
        At least two; marks whose view is `ignore` are left out.
    tolerance : float
        px.

    Raises
    ------
    InputError
        A set cannot be read, or names do not tell which micrographs belong together.
    """
    listed = [[settled(entry) for entry in read_entries(path, patterns).entries] for path, patterns in sets.values()]
    rows: list[list[Entry | None]] = [[entry, *[None] * (len(listed) - 1)] for entry in listed[0]]
    for number, entries in enumerate(listed[1:], 1):
        known = [next(entry for entry in row if entry is not None) for row in rows]
        partner = {pick: truth for truth, pick in pair(entries, known).items()}
        for place, entry in enumerate(entries):
            if place in partner:
                rows[partner[place]][number] = entry
            else:
                rows.append([entry if column == number else None for column in range(len(listed))])
    if all(sum(entry is not None for entry in row) < 2 for row in rows):
        raise InputError(f"{' and '.join(sets)} have no micrograph in common; check the names of the files.")
    return [_compared(row, tolerance) for row in rows]


def _compared(row: list[Entry | None], tolerance: float) -> Compared:
    particles = [Particles.at([], []) if entry is None else entry_particles(entry) for entry in row]
    for number, some in enumerate(particles):
        if (some.view == IGNORE).any():
            entry = row[number]
            assert entry is not None
            kept = some.view != IGNORE
            particles[number] = some.take(kept)
            row[number] = replace(entry, found=entry.found.take(np.nonzero(kept)[0]))
    name = next(entry.name for entry in row if entry is not None)
    out = Compared(name, row, particles)
    for one, other in itertools.combinations(range(len(row)), 2):
        matching = match(particles[one], particles[other], Rules(tolerance))
        hit = matching.partner >= 0
        back = np.zeros(len(particles[other]), np.bool_)
        back[matching.partner[hit]] = True
        out.found[one, other], out.found[other, one] = hit, back
        out.distances[one, other] = matching.distance[hit]
    return out


def comparison(names: Sequence[str], micrographs: Sequence[Compared]) -> dict[str, Any]:
    """Return the numbers: for every two sets, and for all of them together.

    Returns
    -------
    dict
        micrographs; picks by set; pairs with a, b, matched, only_a, only_b, mean_distance, same_view (share of the
        pairs whose views are known and have a name in common) and per_view; in_all; alone by set.
    """
    pairs = []
    for one, other in itertools.combinations(range(len(names)), 2):
        far = np.concatenate([np.zeros(0), *(m.distances[one, other] for m in micrographs)])
        a = Particles.joined([m.particles[one] for m in micrographs])
        b = Particles.joined([m.particles[other] for m in micrographs])
        hit = np.concatenate([m.found[one, other] for m in micrographs])
        back = np.concatenate([m.found[other, one] for m in micrographs])
        views = sorted({*a.view.tolist(), *b.view.tolist()} - {"", NO_VIEW})
        pairs.append(
            {
                "a": names[one],
                "b": names[other],
                "matched": int(hit.sum()),
                "only_a": int((~hit).sum()),
                "only_b": int((~back).sum()),
                "mean_distance": float(far.mean()) if len(far) else None,
                "per_view": [
                    {
                        "view": view,
                        "matched_a": int((hit & (a.view == view)).sum()),
                        "matched_b": int((back & (b.view == view)).sum()),
                        "only_a": int((~hit & (a.view == view)).sum()),
                        "only_b": int((~back & (b.view == view)).sum()),
                    }
                    for view in views
                ],
            }
        )
    return {
        "micrographs": len(micrographs),
        "picks": {name: sum(len(m.particles[i]) for m in micrographs) for i, name in enumerate(names)},
        "pairs": pairs,
        "in_all": int(sum(m.in_all().sum() for m in micrographs)),
        "alone": {name: int(sum(m.alone(i).sum() for m in micrographs)) for i, name in enumerate(names)},
    }


def export_sets(
    folder: Path, names: Sequence[str], micrographs: Sequence[Compared], to: Format, *, overwrite: bool = False
) -> list[str]:
    """Write what all sets have (the picks of the first one) and what each has alone; return the places.

    They are `consensus` and `only_NAME` below the folder: a file for each micrograph, or one for all, as the format is.

    Raises
    ------
    OutputError
        A file is there already, or cannot be written.
    SettingsError
        The format needs a box size or the size of micrographs.
    """
    wanted = {CONSENSUS: 0, **{f"only_{name}": number for number, name in enumerate(names)}}
    for where, number in wanted.items():
        rows: list[tuple[Picks, PicksInfo]] = []
        sources: list[Source] = []
        for micrograph in micrographs:
            entry = micrograph.entries[number]
            if entry is None:
                continue
            kept = micrograph.in_all() if where == CONSENSUS else micrograph.alone(number)
            found, views = entry.found, micrograph.particles[number].view[kept].tolist()
            view_names = tuple(dict.fromkeys(view or NO_VIEW for view in views)) or (NO_VIEW,)
            picks = found.picks.take(kept)
            numbers = np.array([view_names.index(view or NO_VIEW) for view in views], np.int32)
            info = PicksInfo(
                found.common("pixel_size"),
                found.common("box_size") and round(found.common("box_size")),
                view_names,
                entry.micrograph or named(entry.name, entry.name).name,
                entry_size(entry),
                len(rows) + 1,
            )
            rows.append((replace(picks, view=numbers), info))
            sources.append((entry.name, info.micrograph, entry.path))
        OutputFiles(folder / where, to, sources, named=True).write(rows, overwrite=overwrite)
    return [str(folder / where) for where in wanted]


FILES = ("*_truth.csv", *PICK_FILES)
"""What to look for in a folder, the first that is there."""


@dataclass(frozen=True, eq=False)
class PickSet:
    """A set of picks or a truth, read.

    Attributes
    ----------
    entries : tuple of Entry
        For each micrograph.
    """

    path: Path
    entries: tuple[Entry, ...]

    def by_micrograph(self, files: Sequence[MicrographFile], otherwise: str | None = None) -> dict[str, Particles]:
        """Return the particles of each micrograph by the name of its results; empty where none fits.

        Parameters
        ----------
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
    """Match the shown picks with those of a set; picks within that distance of a mark `ignore` do not count.

    Parameters
    ----------
    tolerance : float
        px.
    """
    return match(seen, there, Rules(tolerance, ignore_radius=tolerance))


def counts(matchings: Sequence[Matching]) -> dict[str, Any]:
    """Return the numbers of micrographs pooled, as `evaluation.compare.comparison` does for a pair, with the rates.

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
