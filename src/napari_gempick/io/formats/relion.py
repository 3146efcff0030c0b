"""RELION: one STAR file for each micrograph and the list of them, or the particles of a data set.

x and y are pixel centres of the unbinned micrograph, counted from 0, row 0 first; the class counts the templates from
1; rlnAnglePsi is counter-clockwise on screen; -999 is an unknown score or angle.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.io.formats.base import Format, exact, fixed, lost, turned, unknown_as
from napari_gempick.io.formats.coordinate_set import NO_VIEW, UNKNOWN, CoordinateSet, assemble, column, some_column
from napari_gempick.io.frames import FLIP, from_bottom
from napari_gempick.io.reading import readable
from napari_gempick.io.star import parse_tables, read_table, read_text, write_tables
from napari_gempick.model.errors import InputError
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.io.star import Table
    from napari_gempick.model.orientation import Shape

X, Y, CLASS, SCORE, PSI = (
    "rlnCoordinateX",
    "rlnCoordinateY",
    "rlnClassNumber",
    "rlnAutopickFigureOfMerit",
    "rlnAnglePsi",
)
_MICROGRAPH, _FILE = "rlnMicrographName", "rlnMicrographCoordinates"
_GROUP, _BOX, _PIXEL = "rlnOpticsGroup", "rlnImageSize", "rlnMicrographPixelSize"
_MICROGRAPH_PIXELS = (_PIXEL, "rlnMicrographOriginalPixelSize")
_NAMED = (_MICROGRAPH, _GROUP)
_BEGINNING = 1 << 16
_FROM_BOTTOM = "napari-gempick: y counts from the last of {} rows, because RELION turns a TIFF upside down"
"""The comment at the top of a TIFF micrograph's file."""
_ROWS = re.compile(re.escape(f"# {_FROM_BOTTOM}").replace(r"\{\}", r"(\d{1,9})"))


def autopick_columns(picks: Picks, first_class: int = 1) -> dict[str, list[str]]:
    """Return the columns of RELION's autopick files as text: x, y, class, score, psi."""
    return {
        X: fixed(picks.x),
        Y: fixed(picks.y),
        CLASS: [str(section + first_class) for section in picks.section.tolist()],
        SCORE: exact(unknown_as(UNKNOWN, picks.score)),
        PSI: fixed(np.where(np.isnan(picks.psi), UNKNOWN, turned(picks.psi))),
    }


def write_autopick(
    path: Path | str,
    picks: Picks,
    *,
    box_size: int | None = None,
    pixel_size: float | None = None,
    rows: int | None = None,
) -> None:
    """Write one micrograph's picks as a RELION autopick STAR file, atomically.

    Coordinates are unbinned pixels, 0-based pixel centres, to 0.001; the class is the section counted from 1 (0 where
    it is unknown); psi lies in [0, 360). No picks make a loop without rows, which RELION reads as no particles.

    Parameters
    ----------
    path : Path or str
        STEM_autopick.star; its folder is made when missing.
    picks : Picks
        In the order in which they shall stand.
    box_size : int, optional
        Pixels of the file, as rlnImageSize; left out by default.
    pixel_size : float, optional
        Å of the file, as rlnMicrographPixelSize; left out by default.
    rows : int, optional
        Of a TIFF micrograph whose last row is y = 0 in `picks`, as RELION reads it. A comment in the file says so, and
        `read_star` turns the picks back.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    columns = autopick_columns(picks)
    if pixel_size is not None:
        columns[_PIXEL] = [f"{pixel_size:.9g}"] * len(picks)
    if box_size is not None:
        columns[_BOX] = [str(box_size)] * len(picks)
    write_tables(path, {"": columns}, "" if rows is None else _FROM_BOTTOM.format(rows))


def write_autopick_index(path: Path | str, rows: Iterable[tuple[Path | str, Path | str]]) -> None:
    """Write RELION's list (version 4 and later) of micrographs and their coordinate files, atomically.

    Parameters
    ----------
    path : Path or str
        autopick.star.
    rows : iterable of (micrograph, coordinate file)
        As RELION shall find them: relative to its project folder, or absolute.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    pairs = [(Path(micrograph).as_posix(), Path(coordinates).as_posix()) for micrograph, coordinates in rows]
    columns = {_MICROGRAPH: [micrograph for micrograph, _ in pairs], _FILE: [file for _, file in pairs]}
    write_tables(path, {"coordinate_files": columns})


def read_autopick_index(path: Path | str) -> list[tuple[str, str]]:
    """Read RELION's list of (micrograph, coordinate file), as the file has them.

    Raises
    ------
    InputError
        The file is missing, unreadable, or no such list.
    """
    table = read_table(path, None, (_MICROGRAPH, _FILE))
    return list(zip(table[_MICROGRAPH], table[_FILE], strict=True))


def is_index(path: Path) -> bool:
    """Return whether a file is RELION's list of coordinate files, by the labels at its beginning.

    Raises
    ------
    InputError
        A STAR file is missing or cannot be read.
    """
    if path.suffix.lower() != ".star":
        return False
    with readable(path), path.open("rb") as stream:
        return f"_{_FILE}".encode() in stream.read(_BEGINNING)


def write_particles(path: Path | str, sets: Sequence[tuple[Picks, PicksInfo]]) -> None:
    """Write the picks of a data set as a RELION >= 3.1 particle list, atomically.

    The blocks are data_optics (a group for each pixel size and box size, as far as they are known) and data_particles.
    No images belong to it: it gives positions, to import or to extract by.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    groups: dict[tuple[float | None, int | None], int] = {}
    for _, info in sets:
        groups.setdefault((info.pixel_size, info.box_size), len(groups) + 1)
    listed = [str(number) for number in groups.values()] or ["1"]
    optics = {"rlnOpticsGroupName": [f"opticsGroup{number}" for number in listed], _GROUP: listed}
    for label, values in ((_PIXEL, [pixel for pixel, _ in groups]), (_BOX, [box for _, box in groups])):
        if values and None not in values:
            optics[label] = [f"{value:.9g}" for value in values]

    def rows(picks: Picks, info: PicksInfo | None) -> dict[str, list[str]]:
        named = (info.micrograph, str(groups[info.pixel_size, info.box_size])) if info else ("", "")
        return {
            **autopick_columns(picks),
            **{label: [text] * len(picks) for label, text in zip(_NAMED, named, strict=True)},
        }

    particles = itertools.chain([rows(Picks.empty(), None)], (rows(picks, info) for picks, info in sets))
    write_tables(path, {"optics": optics, "particles": particles})


def read_star(path: Path | str, first_class: int = 1) -> CoordinateSet:
    """Read the first table with rlnCoordinateX and rlnCoordinateY of a STAR file.

    RELION's per-micrograph and per-particle files (with the optics table of version 3.1 and later) and this program's
    candidates are of this kind. Refined shifts (rlnOriginXAngst) are not added.

    Parameters
    ----------
    path : Path or str
        The file.
    first_class : int
        The number of the first class.

    Raises
    ------
    InputError
        The file is missing, unreadable, or has no such table.
    """
    text = read_text(path, "STAR")
    tables = parse_tables(text, path)
    table = next((table for table in tables.values() if table.keys() >= {X, Y}), None)
    if table is None:
        remedy = "give a file with coordinates"
        if any(_FILE in other for other in tables.values()):
            remedy = "it lists coordinate files, so give one of these or their folder"
        raise InputError(f"{path} has no table with _rlnCoordinateX and _rlnCoordinateY; {remedy}.", path)
    found = assemble(
        path,
        table,
        view_names=tuple(tables.get("views", {}).get("gempickViewName", ())) or (NO_VIEW,),
        x=column(path, table, X),
        y=column(path, table, Y),
        score=some_column(path, table, SCORE),
        psi=some_column(path, table, PSI),
        template=some_column(path, table, CLASS),
        first_template=first_class,
        view=some_column(path, table, "gempickView"),
        micrographs=table.get(_MICROGRAPH),
        extra=_optics(path, table, tables.get("optics", {})),
    )
    turned_over = _ROWS.match(text)
    if turned_over is not None:
        return replace(found, picks=FLIP.apply(found.picks, (int(turned_over[1]), 0)), settled=True)
    return replace(found, settled="gempickView" in table)


def _optics(path: Path | str, table: Table, optics: Table) -> dict[str, NDArray[Any] | None]:
    """Return pixel size and box size of each row, in pixels of the micrograph; from the row or its optics group."""
    n = len(table[X])
    rows = np.zeros(n, dtype=np.intp)
    if optics and _GROUP in optics and _GROUP in table:
        place = {name: row for row, name in enumerate(optics[_GROUP])}
        if not place.keys() >= set(table[_GROUP]):
            raise InputError(f"{path} has particles of an optics group that data_optics lacks; add it there.", path)
        rows = np.array([place[name] for name in table[_GROUP]], dtype=np.intp)

    def known(*labels: str) -> NDArray[np.float64] | None:
        for label in labels:
            if label in table:
                return column(path, table, label)
            if label in optics:
                values = column(path, optics, label)
                return values[rows] if len(values) else None
        return None

    pixel, box, image_pixel = known(*_MICROGRAPH_PIXELS), known(_BOX), known("rlnImagePixelSize")
    if box is not None and pixel is not None and image_pixel is not None:
        box = box * image_pixel / pixel
    return {"pixel_size": pixel, "box_size": box}


def _write_one(path: Path | str, picks: Picks, info: PicksInfo) -> None:
    turned_over = info.shape is not None and from_bottom(STAR.name, info.micrograph)
    rows = info.shape[0] if info.shape is not None and turned_over else None
    write_autopick(path, picks, box_size=info.box_size, pixel_size=info.pixel_size, rows=rows)


def _read(path: Path | str, _shape: Shape | None) -> CoordinateSet:
    return read_star(path)


STAR = Format(
    "star",
    "RELION autopick STAR, one for each micrograph, and their list autopick.star",
    "_autopick.star",
    _read,
    _write_one,
    loses=lost("RELION STAR", "view"),
    suffixes=("_autopick.star", ".star"),
    aliases=("relion",),
)
PARTICLES = Format(
    "particles",
    "RELION >= 3.1 particle list with optics groups, one STAR file for all micrographs",
    "_particles.star",
    _read,
    lambda path, picks, info: write_particles(path, [(picks, info)]),
    write_particles,
    "data set",
    loses=STAR.loses,
)
