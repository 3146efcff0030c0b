"""Read particle coordinates: RELION STAR, CSV tables and EMAN1 boxes."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.star import parse_numbers, read_table, read_tables, read_text
from napari_gempick.model.errors import InputError
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_gempick.io.star import Table

_MICROGRAPH = "rlnMicrographName"
_UNKNOWN = -999.0  # RELION's value for a hand-picked particle's score and angle
_NO_VIEW = "particle"
_FARTHEST = 1e9


@dataclass(frozen=True, eq=False)
class CoordinateSet:
    """The particles of a coordinate file, in the file's order.

    Attributes
    ----------
    picks : Picks
        What the file does not say is NaN (score, psi), -1 (k, section) or 0 (view); the map position is x, y rounded.
    view_names : tuple of str
        `picks.view` counts them from 0; one name, "particle", where the file tells no views apart.
    columns : dict of list of str
        Every column of the file as text, by its label without underscore; rows as in `picks`.
    """

    picks: Picks
    view_names: tuple[str, ...]
    columns: dict[str, list[str]]

    def by_micrograph(self) -> dict[str, CoordinateSet]:
        """Split by rlnMicrographName, in order of first appearance; without that column all are under ""."""
        names = self.columns.get(_MICROGRAPH)
        if names is None:
            return {"": self}
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            rows.setdefault(name, []).append(row)
        return {name: self._take(which) for name, which in rows.items()}

    def _take(self, rows: list[int]) -> CoordinateSet:
        columns = {label: [values[row] for row in rows] for label, values in self.columns.items()}
        return CoordinateSet(self.picks.take(np.array(rows, dtype=np.intp)), self.view_names, columns)


def read_coordinates(path: Path | str) -> CoordinateSet:
    """Read particle centres; the suffix tells the format.

    ========  =======================================================================================================
    .star     the first table with rlnCoordinateX and rlnCoordinateY (RELION's per-micrograph and per-particle files,
              this program's candidates); rlnClassNumber - 1 is the section
    .csv      a header with x and y; optional are score, view (text), psi or inplane_deg (clockwise on screen),
              template; commas, semicolons or tabs (also .tsv, .txt)
    .box      EMAN1: corner x, corner y, width, height; the centre is corner + size // 2
    ========  =======================================================================================================

    Returns
    -------
    CoordinateSet
        A file that holds several micrographs gives all of them: see `CoordinateSet.by_micrograph`.

    Raises
    ------
    InputError
        The file is missing or unreadable, its format is unknown, or it lacks what is needed.
    """
    reader = _READERS.get(Path(path).suffix.lower())
    if reader is None:
        known = ", ".join(sorted(_READERS))
        raise InputError(f"{path} has no suffix of a coordinate format ({known}); rename or convert it.", path)
    return reader(path)


def read_autopick_index(path: Path | str) -> list[tuple[str, str]]:
    """Read RELION's list of (micrograph, coordinate file), as the file has them.

    Raises
    ------
    InputError
        The file is missing, unreadable, or no such list.
    """
    table = read_table(path, None, (_MICROGRAPH, "rlnMicrographCoordinates"))
    return list(zip(table[_MICROGRAPH], table["rlnMicrographCoordinates"], strict=True))


def _read_star(path: Path | str) -> CoordinateSet:
    tables = read_tables(path)
    needed = {"rlnCoordinateX", "rlnCoordinateY"}
    table = next((table for table in tables.values() if table.keys() >= needed), None)
    if table is None:
        remedy = "give a file with coordinates"
        if any("rlnMicrographCoordinates" in other for other in tables.values()):
            remedy = "it lists coordinate files, so give one of these or their folder"
        raise InputError(f"{path} has no table with _rlnCoordinateX and _rlnCoordinateY; {remedy}.", path)
    names = tuple(tables.get("views", {}).get("gempickViewName", ())) or (_NO_VIEW,)
    return _assemble(
        path,
        table,
        names,
        x=_some_numbers(path, table, "rlnCoordinateX"),
        y=_some_numbers(path, table, "rlnCoordinateY"),
        score=_numbers(path, table, "rlnAutopickFigureOfMerit"),
        psi=_numbers(path, table, "rlnAnglePsi"),
        template=_numbers(path, table, "rlnClassNumber"),
        view=_numbers(path, table, "gempickView"),
    )


def _read_csv(path: Path | str) -> CoordinateSet:
    text = read_text(path, "CSV")
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    try:
        lines = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path} is not a readable CSV file ({error}); write it again.", path) from error
    labels = [label.strip().lower() for label in lines[0]] if lines else []
    if "x" not in labels or "y" not in labels:
        raise InputError(f"{path} has no header with the columns x and y; add one as its first line.", path)
    for number, row in enumerate(lines[1:], 1):
        if len(row) != len(labels):
            raise InputError(
                f"{path}: row {number} has {len(row)} values, but the header has {len(labels)}; mend that row.", path
            )
    table = {label: [row[column].strip() for row in lines[1:]] for column, label in enumerate(labels)}
    psi = _numbers(path, table, "psi")
    if psi is None and "inplane_deg" in table:
        psi = -_some_numbers(path, table, "inplane_deg")
    views = [view or _NO_VIEW for view in table.get("view", [""] * len(table["x"]))]
    names = tuple(dict.fromkeys(views)) or (_NO_VIEW,)
    number_of = {name: number for number, name in enumerate(names)}
    return _assemble(
        path,
        table,
        names,
        x=_some_numbers(path, table, "x"),
        y=_some_numbers(path, table, "y"),
        score=_numbers(path, table, "score"),
        psi=psi,
        template=_numbers(path, table, "template"),
        view=np.array([number_of[view] for view in views], dtype=np.float64),
    )


def _read_box(path: Path | str) -> CoordinateSet:
    rows = [line.split() for line in read_text(path, "box").splitlines() if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) < 4:
            raise InputError(
                f"{path}: row {number} has {len(row)} values, but a box has four (corner x, corner y, width, height); "
                "mend that row.",
                path,
            )
    table = {label: [row[column] for row in rows] for column, label in enumerate(("x", "y", "width", "height"))}
    width, height = (_some_numbers(path, table, label) for label in ("width", "height"))
    return _assemble(
        path,
        table,
        (_NO_VIEW,),
        x=_some_numbers(path, table, "x") + width // 2,
        y=_some_numbers(path, table, "y") + height // 2,
    )


_READERS: dict[str, Callable[[Path | str], CoordinateSet]] = {
    ".star": _read_star,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".txt": _read_csv,
    ".box": _read_box,
}


def _numbers(path: Path | str, table: Table, label: str) -> NDArray[np.float64] | None:
    """Return a column as numbers, empty cells as NaN; None where there is no such column."""
    return _some_numbers(path, table, label) if label in table else None


def _some_numbers(path: Path | str, table: Table, label: str) -> NDArray[np.float64]:
    return parse_numbers([value or "nan" for value in table[label]], f"the column {label}", path)


def _assemble(
    path: Path | str,
    columns: Table,
    view_names: tuple[str, ...],
    *,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    score: NDArray[np.float64] | None = None,
    psi: NDArray[np.float64] | None = None,
    template: NDArray[np.float64] | None = None,
    view: NDArray[np.float64] | None = None,
) -> CoordinateSet:
    """Fill in what is unknown, and check that the positions can be positions."""
    good = np.maximum(np.abs(x), np.abs(y)) < _FARTHEST
    if not good.all():
        row = int(np.argmin(good)) + 1
        raise InputError(f"{path}: row {row} has no finite position; mend or remove that row.", path)
    n = len(x)
    sections = np.nan_to_num(_unknown_as_nan(template, n), nan=0.0) - 1
    views = np.zeros(n) if view is None else view
    picks = Picks(
        x=x,
        y=y,
        map_x=np.rint(x).astype(np.int32),
        map_y=np.rint(y).astype(np.int32),
        score=_unknown_as_nan(score, n).astype(np.float32),
        k=np.full(n, -1, dtype=np.int32),
        view=views.astype(np.int32),
        section=sections.astype(np.int32),
        psi=_unknown_as_nan(psi, n) % 360.0,
    )
    return CoordinateSet(picks, view_names, columns)


def _unknown_as_nan(values: NDArray[np.float64] | None, n: int) -> NDArray[np.float64]:
    if values is None:
        return np.full(n, np.nan)
    return np.where(values == _UNKNOWN, np.nan, values)
