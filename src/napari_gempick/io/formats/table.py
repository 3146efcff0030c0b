"""Tables with a header, comma-, semicolon- or tab-separated: this program's own, those that people make, and Topaz's.

Topaz has a tab-separated table of a data set, with whole pixels and the micrographs' names without suffix.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.atomic import write_text
from napari_gempick.io.formats.base import Format, exact, fixed, lost, turned, view_of, whole
from napari_gempick.io.formats.coordinate_set import CoordinateSet, assemble, column, some_column, view_numbers
from napari_gempick.io.star import read_text
from napari_gempick.model.errors import InputError
from napari_gempick.model.values import LOCAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.io.star import Table
    from napari_gempick.model.picks import Picks

_LINE = re.compile(r"[^\n]*\n|[^\n]+$")
_COLUMNS = ("x", "y", "score", "view", "psi", "template", "box_size")
_AXIS = re.compile(r"axis-\d{1,2}")
_JUDGED = ("ncc", "probability_false")
_MICROGRAPH = "micrograph"
_OTHER_NAMES = (_MICROGRAPH, "micrograph_name", "image_name", "rlnmicrographname")


def write_table(path: Path | str, picks: Picks, info: PicksInfo, delimiter: str = ",") -> None:
    """Write one micrograph's picks with a header, atomically: x, y, score, view, psi, template, box_size.

    x and y are pixels as in `Picks`, the view is its name, psi is in degrees, the template is the section counted
    from 1; unknown values are left empty, and an unknown box_size is left out. Picks that have them get the
    columns local_mean, local_sigma and power too; with a learned score, ncc and probability_false follow.
    """
    labels, rows = _labels([info]), _rows(picks, info)
    if picks.local is not None:
        local = ([f"{value:.6g}" for value in row] for row in picks.local.tolist())
        rows = [(*row[: len(labels)], *more) for row, more in zip(rows, local, strict=True)]
        labels = (*labels, *LOCAL)
    if picks.ncc is not None:
        false = [""] * len(picks) if picks.false is None else [f"{value:.4g}" for value in picks.false.tolist()]
        judged = zip(exact(picks.ncc), false, strict=True)
        rows = [(*row[: len(labels)], *more) for row, more in zip(rows, judged, strict=True)]
        labels = (*labels, *_JUDGED)
    _write(path, labels, rows, delimiter)


def write_table_set(path: Path | str, sets: Sequence[tuple[Picks, PicksInfo]], delimiter: str = ",") -> None:
    """Write the picks of a data set as `write_table` does, after a column with the micrograph's name."""
    labels = _labels([info for _, info in sets])
    rows = ((info.micrograph, *row) for picks, info in sets for row in _rows(picks, info))
    _write(path, (_MICROGRAPH, *labels), rows, delimiter)


def read_table_file(path: Path | str) -> CoordinateSet:
    """Read a table with a header that has x and y, or the axes of a Points layer that napari saved (axis-0, axis-1).

    Optional are score, view (text), psi or inplane_deg (clockwise on screen), template (counted from 1), box_size and
    micrograph.
    """
    table = table_of(path)
    if "x" not in table and "y" not in table:
        axes = sorted((name for name in table if _AXIS.fullmatch(name)), key=lambda name: int(name[5:]))
        if len(axes) > 1:  # a Points layer that napari saved: rows and columns are the last two axes
            table |= {"y": table[axes[-2]], "x": table[axes[-1]]}
    if "x" not in table or "y" not in table:
        raise InputError(f"{path} has no header with the columns x and y; add one as its first line.", path)
    psi = some_column(path, table, "psi")
    if psi is None and "inplane_deg" in table:
        psi = -column(path, table, "inplane_deg")
    names, views = view_numbers(table.get("view", [""] * len(table["x"])))
    return assemble(
        path,
        table,
        x=column(path, table, "x"),
        y=column(path, table, "y"),
        view_names=names,
        view=views,
        score=some_column(path, table, "score"),
        psi=psi,
        template=some_column(path, table, "template"),
        micrographs=next((table[name] for name in _OTHER_NAMES if name in table), None),
        extra={"box_size": some_column(path, table, "box_size")},
    )


def table_of(path: Path | str) -> Table:
    """Return the columns of a table, by their labels in lower case, all as text; the header tells the delimiter.

    Raises
    ------
    InputError
        The file is missing or unreadable, or a row has not as many values as the header.
    """
    text = read_text(path, "CSV")
    header = next((line for line in text.splitlines() if line.strip()), "")
    return {label.lower(): values for label, values in columns_of(path, text, max(",;\t", key=header.count)).items()}


def columns_of(path: Path | str, text: str, delimiter: str) -> Table:
    """Return the columns of a table by its header, all as text; empty lines do not count.

    Raises
    ------
    InputError
        A row has not as many values as the header.
    """
    lines = (match[0] for match in _LINE.finditer(text))
    labels: list[str] = []
    columns: list[list[str]] = []
    last: list[str] = []
    try:
        for row in csv.reader(lines, delimiter=delimiter):
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not labels:
                labels, columns, last = cells, [[] for _ in cells], cells
                continue
            if len(cells) != len(labels):
                raise InputError(
                    f"{path}: row {len(columns[0]) + 1} has {len(cells)} values, but the header has {len(labels)}; "
                    "correct that row.",
                    path,
                )
            # equal neighbours are one object, for long tables repeat themselves
            last = [old if new == old else new for new, old in zip(cells, last, strict=True)]
            for values, cell in zip(columns, last, strict=True):
                values.append(cell)
    except csv.Error as error:
        raise InputError(f"{path} is not a readable CSV file ({error}); write it again.", path) from error
    return dict(zip(labels, columns, strict=True))


def _labels(infos: Sequence[PicksInfo]) -> tuple[str, ...]:
    return _COLUMNS if any(info.box_size is not None for info in infos) else _COLUMNS[:-1]


def _rows(picks: Picks, info: PicksInfo) -> Iterable[tuple[str, ...]]:
    columns = (
        fixed(picks.x),
        fixed(picks.y),
        ["" if text == "nan" else text for text in exact(picks.score)],
        view_of(picks, info),
        ["" if text == "nan" else text for text in fixed(turned(picks.psi))],
        [str(section + 1) if section >= 0 else "" for section in picks.section.tolist()],
        ["" if info.box_size is None else str(info.box_size)] * len(picks),
    )
    return zip(*columns, strict=True)


def _write(path: Path | str, labels: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", delimiter=delimiter)
    writer.writerow(labels)
    writer.writerows(row[: len(labels)] for row in rows)
    write_text(path, text.getvalue())


def _format(name: str, help: str, delimiter: str, suffixes: tuple[str, ...]) -> Format:
    return Format(
        name,
        help,
        "." + name,
        lambda path, _: read_table_file(path),
        lambda path, picks, info: write_table(path, picks, info, delimiter),
        lambda path, sets: write_table_set(path, sets, delimiter),
        "either",
        suffixes=suffixes,
    )


CSV = _format("csv", "table with x, y, score, view, psi, template, box_size", ",", (".csv", ".txt", ".tab"))
TSV = _format("tsv", "table like csv, separated by tabs", "\t", (".tsv",))


_NAME, _X, _Y, _SCORE = "image_name", "x_coord", "y_coord", "score"
_SUFFIX = re.compile(r"\.(mrcs?(\.gz|\.bz2)?|tiff?|eer)$", re.IGNORECASE)


def write_topaz(path: Path | str, sets: Sequence[tuple[Picks, PicksInfo]]) -> None:
    """Write the picks of a data set, atomically; the column score is left out where no pick has a score.

    The name is the micrograph's without folder and suffix; with its folder where two would be equal.
    """
    places = [PurePosixPath(_SUFFIX.sub("", info.micrograph)) for _, info in sets]
    counts = Counter(place.name for place in places)
    scored = any(np.isfinite(picks.score).any() for picks, _ in sets)
    lines = ["\t".join((_NAME, _X, _Y, _SCORE)[: 3 + scored])]
    for place, (picks, _) in zip(places, sets, strict=True):
        name = place.name if counts[place.name] == 1 else str(place)
        columns = (whole(picks.x).tolist(), whole(picks.y).tolist(), exact(picks.score))
        for x, y, score in zip(*columns, strict=True):
            end = f"\t{'' if score == 'nan' else score}" if scored else ""
            lines.append(f"{name}\t{x}\t{y}{end}")
    write_text(path, "\n".join(lines) + "\n")


def read_topaz(path: Path | str) -> CoordinateSet:
    """Read a table of Topaz."""
    table = columns_of(path, read_text(path, "Topaz"), "\t")
    missing = [label for label in (_NAME, _X, _Y) if label not in table]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}, so it is not a Topaz table; give another.", path)
    return assemble(
        path,
        table,
        x=column(path, table, _X),
        y=column(path, table, _Y),
        score=some_column(path, table, _SCORE),
        micrographs=table[_NAME],
    )


TOPAZ = Format(
    "topaz",
    "Topaz table, one text file for all micrographs (whole pixels)",
    "_topaz.txt",
    lambda path, _: read_topaz(path),
    lambda path, picks, info: write_topaz(path, [(picks, info)]),
    write_topaz,
    "data set",
    loses=lost("Topaz", "position", "class", "view", "psi", "box size", "folder"),
    suffixes=(".txt", ".tab", ".tsv"),
    first_line=re.compile(r"image_name\t"),
)
