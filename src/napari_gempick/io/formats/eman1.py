"""EMAN1 .box: corner x, corner y, width and height in whole pixels, a line for each particle.

The corner is the one with the lowest x and y, counted from pixel 0; the centre is corner + size // 2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.atomic import write_text
from napari_gempick.io.formats.base import Format, box_of, lost, whole
from napari_gempick.io.formats.coordinate_set import CoordinateSet, along, assemble, column, tangents
from napari_gempick.io.star import read_text
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.model.picks import Picks

_BEGIN, _END = "-1", "-2"


def write_boxes(path: Path | str, picks: Picks, info: PicksInfo, first: int = 0) -> None:
    """Write boxes, atomically: corner x, corner y, width, height.

    The numbers are whole, because EMAN and RELION read whole numbers, so a centre moves by up to half a pixel; the
    centre of a box of n pixels is its pixel n // 2.

    Parameters
    ----------
    path, picks, info
        As in Format.write.
    first : int
        The number of the micrograph's first pixel.

    Raises
    ------
    SettingsError
        There is no box size.
    OutputError
        The file cannot be written.
    """
    size = box_of(info, "EMAN .box", path)
    corners_x, corners_y = ((whole(values) - size // 2 + first).tolist() for values in (picks.x, picks.y))
    rows = (f"{x}\t{y}\t{size}\t{size}\n" for x, y in zip(corners_x, corners_y, strict=True))
    write_text(path, "".join(rows))


def read_boxes(path: Path | str, spacing: float | None = None, first: int = 0) -> CoordinateSet:
    """Read boxes; more than four numbers in a line are fine.

    A fifth number of -1 begins a filament and -2 ends it (EMAN1's helixboxer, crYOLO). Files with lines
    ``#helix: (x, y),(x, y),width`` hold centres of segments (EMAN2's e2helixboxer, crYOLO), and psi then follows the
    axis.

    Parameters
    ----------
    path : Path or str
    spacing : float, optional
        Between points along a filament that is given by its ends, px.
    first : int
        The number of the micrograph's first pixel.

    Raises
    ------
    InputError
        The file is missing, unreadable, or not a box file.
    SettingsError
        The file holds the ends of filaments, but no spacing was given.
    """
    lines = [(number, line.split()) for number, line in enumerate(read_text(path, "box").splitlines(), 1)]
    if any(row and row[0].startswith("#helix") for _, row in lines):
        return _read_segments(path, lines, first)
    rows = [(number, row) for number, row in lines if row and not row[0].startswith("#")]
    for number, row in rows:
        if len(row) < 4:
            raise InputError(
                f"{path}: line {number} has {len(row)} values, but a box has four (corner x, corner y, width, height); "
                "fix that line.",
                path,
            )
    table = {label: [row[place] for _, row in rows] for place, label in enumerate(("x", "y", "width", "height"))}
    width, height = (column(path, table, label) for label in ("width", "height"))
    x = column(path, table, "x") + width // 2 - first
    y = column(path, table, "y") + height // 2 - first
    marks = [row[4] if len(row) > 4 else "" for _, row in rows]
    ends = np.array([mark if mark in (_BEGIN, _END) else "" for mark in marks])
    if not (ends != "").any():
        return assemble(path, table, x=x, y=y, extra={"box_size": width})
    axes = [np.stack([x[some], y[some]], axis=1) for some in _filaments(path, rows, ends)]
    x, y, psi = along(axes, spacing, path)
    return assemble(path, {}, x=x, y=y, psi=psi, extra={"box_size": np.full(len(x), width[0])})


def _filaments(path: Path | str, rows: Sequence[tuple[int, list[str]]], ends: NDArray[np.str_]) -> list[slice]:
    """Return which rows are the points of each filament."""
    found, begin = [], None
    for place, mark in enumerate(ends.tolist()):
        if (mark == _BEGIN) != (begin is None):
            raise InputError(
                f"{path}: line {rows[place][0]} is not where a filament can begin or end (a fifth number of -1 begins "
                "one, -2 ends it); fix that line.",
                path,
            )
        if mark == _BEGIN:
            begin = place
        elif mark == _END:
            found.append(slice(begin, place + 1))
            begin = None
    if begin is not None:
        raise InputError(
            f"{path}: the filament that begins in line {rows[begin][0]} has no end (a line with -2); add it.", path
        )
    return found


def _read_segments(path: Path | str, lines: Sequence[tuple[int, list[str]]], first: int) -> CoordinateSet:
    """Read the centres of filament segments, two numbers a line, grouped by lines that begin with #helix."""
    x, y, filament, width = [], [], [], []
    number, size = -1, np.nan
    for place, row in lines:
        if row and row[0].startswith("#helix"):
            number += 1
            size = _last_number(" ".join(row))
        elif row and not row[0].startswith("#"):
            if len(row) < 2:
                raise InputError(
                    f"{path}: line {place} has 1 value, but a segment has two (x and y); fix that line.", path
                )
            x.append(row[0])
            y.append(row[1])
            filament.append(number)
            width.append(size)
    table = {"x": x, "y": y}
    at_x, at_y = (column(path, table, label) - first for label in ("x", "y"))
    psi = tangents(at_x, at_y, np.array(filament, np.int64))
    box = np.array(width)
    return assemble(path, table, x=at_x, y=at_y, psi=psi, extra={"box_size": box if np.isfinite(box).all() else None})


def _last_number(text: str) -> float:
    found = re.findall(r"\d+(?:\.\d+)?", text)
    return float(found[-1]) if found else np.nan


EMAN1 = Format(
    "box",
    "EMAN1 boxes (corner and size in whole pixels)",
    ".box",
    lambda path, options: read_boxes(path, options.spacing),
    write_boxes,
    loses=lost("EMAN1 .box", "position", "score", "class", "view", "psi"),
    suffixes=(".box",),
    aliases=("eman1",),
)
