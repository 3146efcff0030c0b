"""RELION: one STAR file for each micrograph and the list of them, or the particles of a data set; Gautomatch's STAR.

x and y are pixel centres of the unbinned micrograph, counted from 0, row 0 first; the class counts the templates from
1, Gautomatch's from 0; rlnAnglePsi is counter-clockwise on screen; -999 is an unknown score or angle.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.io.formats.base import ASSUMED, CTF, GROUP_NAME, Format, exact, fixed, lost, turned, unknown_as
from napari_gempick.io.formats.coordinate_set import NO_VIEW, UNKNOWN, CoordinateSet, assemble, column, some_column
from napari_gempick.io.images.row_order import FLIP, from_bottom
from napari_gempick.io.reading import readable
from napari_gempick.io.star import parse_tables, read_table, read_text, write_tables
from napari_gempick.model.errors import InputError
from napari_gempick.model.picks import Picks
from napari_gempick.model.values import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.io.formats.coordinate_set import ReadOptions
    from napari_gempick.io.star import Table

X, Y, CLASS, SCORE, PSI = (
    "rlnCoordinateX",
    "rlnCoordinateY",
    "rlnClassNumber",
    "rlnAutopickFigureOfMerit",
    "rlnAnglePsi",
)
NCC, FALSE = "gempickNCC", "gempickProbabilityFalse"
"""With a learned score: the NCC, and the estimated probability that the pick is false."""
_MICROGRAPH, COORDINATE_FILE = "rlnMicrographName", "rlnMicrographCoordinates"
_GROUP, _BOX, _PIXEL = "rlnOpticsGroup", "rlnImageSize", "rlnMicrographPixelSize"
_MICROGRAPH_PIXELS = (_PIXEL, "rlnMicrographOriginalPixelSize")
_IMAGE, _IMAGE_PIXEL = "rlnImageName", "rlnImagePixelSize"
SHIFTS, _OLD_SHIFTS = ("rlnOriginXAngst", "rlnOriginYAngst"), ("rlnOriginX", "rlnOriginY")
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
    """
    columns = autopick_columns(picks)
    if picks.ncc is not None:
        columns[NCC] = exact(picks.ncc)
    if picks.false is not None:
        columns[FALSE] = [f"{value:.4g}" for value in picks.false.tolist()]
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
    """
    pairs = [(Path(micrograph).as_posix(), Path(coordinates).as_posix()) for micrograph, coordinates in rows]
    columns = {_MICROGRAPH: [micrograph for micrograph, _ in pairs], COORDINATE_FILE: [file for _, file in pairs]}
    write_tables(path, {"coordinate_files": columns})


def read_autopick_index(path: Path | str) -> list[tuple[str, str]]:
    """Read RELION's list of (micrograph, coordinate file), as the file has them."""
    table = read_table(path, None, (_MICROGRAPH, COORDINATE_FILE))
    return list(zip(table[_MICROGRAPH], table[COORDINATE_FILE], strict=True))


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
        return f"_{COORDINATE_FILE}".encode() in stream.read(_BEGINNING)


def write_particles(path: Path | str, sets: Sequence[tuple[Picks, PicksInfo]]) -> None:
    """Write the picks of a data set as a RELION >= 3.1 particle list, atomically.

    The blocks are data_optics (a group for each kind of micrograph: pixel size, box size, and what `info.optics` says)
    and data_particles, with the CTF parameters that all micrographs have. RELION refuses a list without voltage and
    spherical aberration, so 300 kV, 2.7 mm and an amplitude contrast of 0.1 stand where nothing is known. No images
    belong to the list: it gives positions, to import or to extract by.
    """
    groups: dict[tuple[tuple[str, str], ...], int] = {}
    for _, info in sets:
        groups.setdefault(_optics_of(info), len(groups) + 1)
    made = [dict(group) for group in groups] or [{label: text for label, (text, _) in ASSUMED.items()}]
    numbers = [str(number) for number in range(1, len(made) + 1)]
    labels = [label for label in made[0] if label != GROUP_NAME and all(label in group for group in made)]
    optics = {
        GROUP_NAME: unique_names([group.get(GROUP_NAME, "") for group in made]),
        _GROUP: numbers,
        **{label: [group[label] for group in made] for label in labels},
    }
    ctf = [label for label in CTF if sets and all(label in info.ctf for _, info in sets)]

    def rows(picks: Picks, info: PicksInfo | None) -> dict[str, list[str]]:
        named = (info.micrograph, str(groups[_optics_of(info)])) if info else ("", "")
        known = [info.ctf[label] for label in ctf] if info else [""] * len(ctf)
        return {
            **autopick_columns(picks),
            **{label: [text] * len(picks) for label, text in zip((*_NAMED, *ctf), (*named, *known), strict=True)},
        }

    particles = itertools.chain([rows(Picks.empty(), None)], (rows(picks, info) for picks, info in sets))
    write_tables(path, {"optics": optics, "particles": particles})


def _optics_of(info: PicksInfo) -> tuple[tuple[str, str], ...]:
    """Return the labels and values of a micrograph's optics group."""
    optics = {label: text for label, (text, _) in ASSUMED.items()} | dict(info.optics)
    for label, value in ((_PIXEL, info.pixel_size), (_BOX, info.box_size)):
        if value is not None:
            optics[label] = f"{value:.9g}"
    return tuple(optics.items())


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names of optics groups, made up where they are empty and numbered where they are equal."""
    out: list[str] = []
    for number, name in enumerate(names, 1):
        name = name or f"opticsGroup{number}"
        out.append(name if name not in out else f"{name}_{number}")
    return out


def says_from_bottom(path: Path | str) -> bool:
    """Return whether a STAR file says that its y counts from the last row of a TIFF micrograph."""
    with readable(path), Path(path).open("rb") as stream:
        return _ROWS.match(stream.read(len(_FROM_BOTTOM) + 16).decode("latin-1")) is not None


def read_star(path: Path | str, first_class: int = 1, *, shifts: bool = True) -> CoordinateSet:
    """Read the tables with rlnCoordinateX and rlnCoordinateY of a STAR file.

    RELION's per-micrograph and per-particle files (with the optics table of version 3.1 and later) and this program's
    candidates are of this kind. Particles without rlnMicrographName belong to the micrograph that their stack
    (rlnImageName) is called after; several blocks without either belong to the micrographs that they are called after.
    An empty file, which RELION writes for micrographs without picks, has no picks.

    Parameters
    ----------
    path : Path or str
        The file.
    first_class : int
        The number of the first class.
    shifts : bool
        Subtract the refined shifts rlnOriginXAngst and rlnOriginYAngst (older: rlnOriginX and rlnOriginY, in pixels of
        the particles), as RELION does when it extracts again.
    """
    text = read_text(path, "STAR")
    tables = parse_tables(text, path)
    if not any(tables.values()):
        return CoordinateSet(Picks.empty(), (NO_VIEW,), {})
    table = _joined(path, {name: table for name, table in tables.items() if table.keys() >= {X, Y}})
    if table is None:
        remedy = "give a file with coordinates"
        if any(COORDINATE_FILE in other for other in tables.values()):
            remedy = "it lists coordinate files, so give one of these or their folder"
        raise InputError(f"{path} has no table with _rlnCoordinateX and _rlnCoordinateY; {remedy}.", path)
    of_group = _OfGroup(path, table, tables.get("optics", {}))
    x, y = column(path, table, X), column(path, table, Y)
    notes: tuple[str, ...] = ()
    if shifts:
        x, y, notes = _shifted(path, table, of_group, x, y)
    found = assemble(
        path,
        table,
        view_names=tuple(tables.get("views", {}).get("gempickViewName", ())) or (NO_VIEW,),
        x=x,
        y=y,
        score=some_column(path, table, SCORE),
        psi=some_column(path, table, PSI),
        template=some_column(path, table, CLASS),
        first_template=first_class,
        view=some_column(path, table, "gempickView"),
        micrographs=table[_MICROGRAPH] if _MICROGRAPH in table else _of_stacks(table),
        extra=_sizes(of_group),
    )
    turned_over = _ROWS.match(text)
    if turned_over is not None:
        found = replace(found, picks=FLIP.apply(found.picks, (int(turned_over[1]), 0)))
    return replace(found, settled=turned_over is not None or "gempickView" in table, notes=notes)


def _joined(path: Path | str, tables: dict[str, Table]) -> Table | None:
    """Return the tables of several blocks as one with the columns that all have; this program's own is the first."""
    if len(tables) < 2 or any("gempickView" in table for table in tables.values()):
        return next(iter(tables.values()), None)
    for label in (_MICROGRAPH, _IMAGE):
        if any(label in table for table in tables.values()):
            break
    else:
        tables = {name: {**table, _MICROGRAPH: [name] * len(table[X])} for name, table in tables.items()}
    if not all(label in table or _MICROGRAPH in table for table in tables.values()):
        raise InputError(
            f"{path} has several blocks with coordinates ({', '.join(tables)}), and only some name the micrograph "
            f"(_{_MICROGRAPH}); add it to all.",
            path,
        )
    first, *others = tables.values()
    labels = [name for name in first if all(name in other for other in others)]
    return {name: [value for table in tables.values() for value in table[name]] for name in labels}


def _of_stacks(table: Table) -> list[str] | None:
    """Return the micrograph that the stack of each particle is called after: 000001@Extract/a.mrcs gives Extract/a."""
    if _IMAGE not in table:
        return None
    names = [name.partition("@")[2] or name for name in table[_IMAGE]]
    return [name.removesuffix(".mrcs").removesuffix(".mrc") for name in names]


class _OfGroup:
    """Finds a number for each row of a table: in its own column, or in that of its optics group."""

    def __init__(self, path: Path | str, table: Table, optics: Table) -> None:
        self._path, self._table, self._optics = path, table, optics
        self._rows = np.zeros(len(table[X]), dtype=np.intp)
        if optics and _GROUP in optics and _GROUP in table:
            place = {name: row for row, name in enumerate(optics[_GROUP])}
            if not place.keys() >= set(table[_GROUP]):
                raise InputError(f"{path} has particles of an optics group that is not in data_optics; add it.", path)
            self._rows = np.array([place[name] for name in table[_GROUP]], dtype=np.intp)

    def __call__(self, *labels: str) -> NDArray[np.float64] | None:
        """Return the values (n,) of the first of these labels that the file has."""
        for label in labels:
            if label in self._table:
                return column(self._path, self._table, label)
            if label in self._optics:
                values = column(self._path, self._optics, label)
                return values[self._rows] if len(values) else None
        return None


def _sizes(of_group: _OfGroup) -> dict[str, NDArray[Any] | None]:
    """Return pixel size and box size of each row, in pixels of the micrograph."""
    pixel, box, image_pixel = of_group(*_MICROGRAPH_PIXELS), of_group(_BOX), of_group(_IMAGE_PIXEL)
    if box is not None and pixel is not None and image_pixel is not None:
        box = box * image_pixel / pixel
    return {"pixel_size": pixel, "box_size": box}


def _shifted(
    path: Path | str, table: Table, of_group: _OfGroup, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Return the positions less the refined shifts, and what to say about it; shifts of 0 are not worth a word."""
    labels = next((pair for pair in (SHIFTS, _OLD_SHIFTS) if pair[0] in table and pair[1] in table), None)
    if labels is None:
        return x, y, ()
    by_x, by_y = (np.nan_to_num(column(path, table, label)) for label in labels)
    moved = int(np.count_nonzero((by_x != 0) | (by_y != 0)))
    if not moved:
        return x, y, ()
    pixel, image_pixel = of_group(*_MICROGRAPH_PIXELS), of_group(_IMAGE_PIXEL)
    assumed = ""
    scale = np.ones(len(x))
    if labels == _OLD_SHIFTS and pixel is not None and image_pixel is not None:
        scale = image_pixel / pixel
    elif labels == _OLD_SHIFTS:
        assumed = ", as if the particles had the pixel size of the micrographs, which the file does not give"
    elif pixel is not None:
        scale = 1 / pixel
    elif image_pixel is not None:
        scale = 1 / image_pixel
        assumed = ", with the pixel size of the particles, because the file gives none of the micrographs"
    else:
        raise InputError(
            f"{path} has refined shifts in Å ({', '.join('_' + label for label in labels)}) but no pixel size of the "
            "micrographs; add _rlnMicrographOriginalPixelSize to data_optics, or leave the shifts with --no-shifts.",
            path,
        )
    note = f"{path}: the refined shifts ({labels[0]}, {labels[1]}) were subtracted from the coordinates of "
    note += f"{counted(moved, 'particle')}{assumed}; --no-shifts leaves them."
    return x - by_x * scale, y - by_y * scale, (note,)


def _write_one(path: Path | str, picks: Picks, info: PicksInfo) -> None:
    turned_over = info.shape is not None and from_bottom(STAR.name, info.micrograph)
    rows = info.shape[0] if info.shape is not None and turned_over else None
    write_autopick(path, picks, box_size=info.box_size, pixel_size=info.pixel_size, rows=rows)


def _read(path: Path | str, options: ReadOptions) -> CoordinateSet:
    return read_star(path, shifts=options.shifts)


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


_FIRST_CLASS = 0


def write_gautomatch(path: Path | str, picks: Picks, _info: PicksInfo | None = None) -> None:
    """Write one micrograph's picks as Gautomatch does, atomically; an unknown class is -1."""
    write_tables(path, {"": autopick_columns(picks, _FIRST_CLASS)})


GAUTOMATCH = Format(
    "gautomatch",
    "Gautomatch STAR (RELION's columns, classes from 0)",
    "_automatch.star",
    lambda path, options: read_star(path, _FIRST_CLASS, shifts=options.shifts),
    write_gautomatch,
    loses=lost("Gautomatch STAR", "view", "box size"),
    suffixes=("_automatch.star",),
)
