"""What a person judged: tables of labels, sessions of the window, and corrected picks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.io.coordinates import PICK_FILES, read_entries
from napari_gempick.io.formats.base import stem_of
from napari_gempick.io.formats.coordinate_set import column
from napari_gempick.io.formats.table import CSV, TSV, table_of
from napari_gempick.io.micrograph_names import Micrographs
from napari_gempick.io.reading import readable
from napari_gempick.model.errors import InputError
from napari_gempick.results.learned_score import Labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.io.star import Table
    from napari_gempick.model.geometry import Shape

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
        them, are corrected picks: what they hold is good, and what the run picked beside them is bad.
    micrographs : sequence of MicrographFile
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
