"""The learned score of a run: taught by its candidates, decoys and labels, and put in the place of the NCC.

Labels are what a person judged: tables of labels, sessions of the window, and corrected picks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.engine.picking.learned import FEATURES, FOLDS, Lesson, Weights, features, teach
from napari_gempick.io.coordinates import PICK_FILES, read_entries
from napari_gempick.io.formats.base import stem_of
from napari_gempick.io.formats.coordinate_set import column
from napari_gempick.io.formats.table import CSV, TSV, table_of
from napari_gempick.io.micrograph_names import Micrographs
from napari_gempick.io.reading import readable
from napari_gempick.model.errors import GempickError, InputError, SettingsError
from napari_gempick.model.picks import best_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.io.candidates import Candidates
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.io.star import Table
    from napari_gempick.model.geometry import Shape
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


SESSION_FILE = "session.json"
KINDS = {"good": True, "bad": False}
TABLES = (*CSV.suffixes, *TSV.suffixes)
COLUMNS = ("micrograph", "x", "y", "label")


class _Collected:
    """Labels as they are read, by the name of the micrograph's results."""

    def __init__(self, micrographs: Sequence[MicrographFile]) -> None:
        self._stems = {str(micrograph.path): micrograph.output_stem for micrograph in micrographs}
        self._names = Micrographs("the run", self._stems)
        self._rows: dict[str, list[tuple[float, float, bool]]] = {}

    def stem_of(self, name: str) -> str | None:
        """Return the name of the results of the micrograph that a name means; None for one that is not of the run."""
        parts = tuple(part for part in name.replace("\\", "/").split("/") if part)
        known = self._names.find((*parts[:-1], stem_of(parts[-1]))) if parts else None
        return None if known is None else self._stems[known.name]

    def add(self, stem: str, rows: Iterable[tuple[float, float, bool]]) -> None:
        """Add labels of a micrograph: x, y and whether there is a particle."""
        self._rows.setdefault(stem, []).extend(rows)

    def labels(self) -> dict[str, Labels]:
        """Return them by micrograph, in the order of the names."""
        return {
            stem: Labels(
                *(
                    np.array(values, kind)
                    for values, kind in zip(zip(*rows, strict=True), (float, float, bool), strict=True)
                )
            )
            for stem, rows in sorted(self._rows.items())
            if rows
        }


def read_labels(
    paths: Sequence[Path],
    micrographs: Sequence[MicrographFile],
    earlier: Callable[[MicrographFile], Path],
    shapes: Mapping[str, Shape],
    distance: Mapping[str, float],
) -> dict[str, Labels]:
    """Return what a person judged on the micrographs of a run.

    Parameters
    ----------
    paths : sequence of Path
        CSV with the columns micrograph, x, y (file pixels, row 0 first) and label (good or bad); a session.json of the
        window, or a folder with one: rejected picks are bad, added ones good; other coordinate files, or folders of
        them, are corrected picks: those in the file are good, and all other picks of the run are bad.
    earlier : callable
        Returns the path of the picks that the run wrote for a micrograph.
    shapes : mapping of str to (ny, nx)
        Of each micrograph that is done, by the name of its results.
    distance : mapping of str to float
        File pixels within which an earlier pick and a corrected one are the same particle.

    Raises
    ------
    InputError
        A file cannot be read, or it names none of the micrographs.
    """
    collected = _Collected(micrographs)
    by_stem = {micrograph.output_stem: micrograph for micrograph in micrographs}
    for path in paths:
        session = path / SESSION_FILE if path.is_dir() else path
        if session.name == SESSION_FILE and session.exists():
            used = _from_session(session, collected, by_stem)
        elif path.suffix.lower() in TABLES and "label" in (table := table_of(path)):
            used = _from_table(path, table, collected)
        else:
            used = _from_corrected(path, collected, by_stem, earlier, shapes, distance)
        if not used:
            raise InputError(f"{path} has no labels of the micrographs of this run; check the names in it.", path)
    return collected.labels()


def _from_table(path: Path, table: Table, collected: _Collected) -> bool:
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise InputError(f"{path} has no column {missing[0]}; labels have micrograph, x, y and label.", path)
    wrong = next((value for value in table["label"] if value.lower() not in KINDS), None)
    if wrong is not None:
        raise InputError(f"{path} has the label {wrong!r}; write good or bad.", path)
    x, y = column(path, table, "x"), column(path, table, "y")
    if not (np.isfinite(x) & np.isfinite(y)).all():
        raise InputError(f"{path} has a label without x or y; fill it in, or remove the row.", path)
    used = False
    for name, *place, label in zip(table["micrograph"], x.tolist(), y.tolist(), table["label"], strict=True):
        stem = collected.stem_of(name)
        if stem is not None:
            collected.add(stem, [(*place, KINDS[label.lower()])])
            used = True
    return used


def _from_session(path: Path, collected: _Collected, by_stem: dict[str, MicrographFile]) -> bool:
    with readable(path):
        text = path.read_bytes()
    try:
        edits: dict[str, Any] = json.loads(text)["state"]["edits"]
        used = False
        for stem, one in edits.items():
            rows = [(float(x), float(y), False) for x, y in one["rejected"]]
            rows += [(float(added["x"]), float(added["y"]), True) for added in one["added"]]
            if stem in by_stem and rows:
                collected.add(stem, rows)
                used = True
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a session of the window; save it again there.", path) from error
    return used


def _from_corrected(
    path: Path,
    collected: _Collected,
    by_stem: dict[str, MicrographFile],
    earlier: Callable[[MicrographFile], Path],
    shapes: Mapping[str, Shape],
    distance: Mapping[str, float],
) -> bool:
    used = False
    for entry in read_entries(path, PICK_FILES).entries:
        stem = collected.stem_of("/".join(entry.parts))
        if stem is None or stem not in shapes:
            continue
        used = True
        micrograph = by_stem[stem]
        (old,) = read_entries(earlier(micrograph), PICK_FILES).entries
        kept, before = (one.found.on(micrograph.path, shapes[stem], one.path).picks for one in (entry, old))
        collected.add(stem, zip(kept.x.tolist(), kept.y.tolist(), [True] * len(kept), strict=True))
        apart = np.hypot(before.x[:, None] - kept.x, before.y[:, None] - kept.y).min(axis=1, initial=np.inf)
        gone = apart > distance[stem]
        collected.add(
            stem, zip(before.x[gone].tolist(), before.y[gone].tolist(), [False] * int(gone.sum()), strict=True)
        )
    return used
