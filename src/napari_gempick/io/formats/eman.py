"""EMAN1 .box files, and EMAN2's info/NAME_info.json.

EMAN1: corner x, corner y, width and height in whole pixels, a line for each particle. The corner is the one with the
lowest x and y, counted from pixel 0; the centre is corner + size // 2.

EMAN2: the list "boxes" of centre x, centre y and how the particle was boxed. NAME comes from the micrograph's path (its
base_name and info_name): what stands before the first ``__`` of the stem, after the folder and a dash unless the folder
is one of its own, such as micrographs.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.atomic import write_text
from napari_gempick.io.formats.base import Format, box_of, lost, stem_of, whole
from napari_gempick.io.formats.coordinate_set import CoordinateSet, along, assemble, column, tangents
from napari_gempick.io.reading import read_object
from napari_gempick.io.star import read_text
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    spacing : float, optional
        Between points along a filament that is given by its ends, px.
    first : int
        The number of the micrograph's first pixel.

    Raises
    ------
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


_BOXES, _OWN = "boxes", "gempick_micrograph"
_FOLDERS = ("sets", "particles", "micrographs", "movies", "movieparticles", "ddd", "raw", "info")
"""Folders that EMAN2 leaves out of the names of info files."""
_MODE = "manual"  # EMAN2 replaces boxes of its automatic modes when it picks again


def info_name(micrograph: str) -> str:
    """Return the path of a micrograph's info file below EMAN2's project folder."""
    *folders, name = PurePosixPath(micrograph).parts or ("",)
    base = _base(stem_of(name))
    own = not folders or folders[-1] in (*_FOLDERS, "/")
    return f"info/{base if own else f'{folders[-1]}-{base}'}_info.json"


def possible_names(parts: Sequence[str]) -> set[str]:
    """Return what may stand before _info.json for a micrograph whose path has these parts, the last without suffix."""
    base = _base(parts[-1])
    return {base, *(f"{folder}-{base}" for folder in parts[-2:-1])}


def _base(stem: str) -> str:
    return stem.split("__")[0].replace("_ptcls", "").replace("_info", "")


def write_eman2(path: Path | str, picks: Picks, info: PicksInfo | None = None) -> None:
    """Write one micrograph's boxes, atomically; what else an info file holds already (CTF, quality) stays.

    The micrograph's name goes with them, because the name of the file does not tell it.

    Raises
    ------
    InputError
        The file exists and is not a JSON object.
    """
    content = read_object(path) if Path(path).exists() else {}
    positions = zip(np.round(picks.x, 3).tolist(), np.round(picks.y, 3).tolist(), strict=True)
    content[_BOXES] = [[x, y, _MODE] for x, y in positions]
    if info is not None and info.micrograph:
        content[_OWN] = info.micrograph
    write_text(path, json.dumps(content, ensure_ascii=False) + "\n")


def read_eman2(path: Path | str) -> CoordinateSet:
    """Read one micrograph's boxes; an info file without boxes has no particles."""
    content = read_object(path)
    boxes = content.get(_BOXES, [])
    try:
        x, y = (np.array([box[place] for box in boxes], dtype=np.float64) for place in (0, 1))
        modes = [str(box[2]) if len(box) > 2 else "" for box in boxes]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path} has a box without x and y values; fix the file.", path) from error
    name = content.get(_OWN)
    return assemble(
        path, {"mode": modes}, x=x, y=y, micrographs=[name] * len(modes) if isinstance(name, str) and name else None
    )


EMAN2 = Format(
    "eman2",
    "EMAN2 info JSON (box centres)",
    "_info.json",
    lambda path, _: read_eman2(path),
    write_eman2,
    place=info_name,
    loses=lost("EMAN2 JSON", "score", "class", "view", "psi", "box size"),
    suffixes=("_info.json", ".json"),
    aliases=("json",),
)
