"""Plain parsers of the documented conventions, for proving what was written; nothing is shared with `io.formats`.

Each knows one format as docs/interoperability.md states it, needs the file to be well formed, and gives positions as
here: pixel centres counted from 0, row 0 first, psi in degrees counter-clockwise on screen.
"""

from __future__ import annotations

import ast
import csv
import json
import math
import re
import shlex
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.model.errors import InputError
from napari_gempick.model.picks import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


Shape = tuple[int, int]
_Row = tuple[str, float, float, float, int]
"""Micrograph's name or "", x, y, psi or NaN, section from 0 or -1."""
_NAN = math.nan


def read_plainly(path: Path, name: str, shape: Shape) -> dict[str, Places]:
    """Return the positions in a file of the format `name`, by micrograph; "" where the file names none.

    Parameters
    ----------
    name : str
        Of `io.formats.FORMATS`.
    shape : (ny, nx)
        Of the micrograph, px; gEMpicker's tables need it.

    Raises
    ------
    InputError
        The file is not as the documentation of its format says.
    """
    rows: dict[str, list[tuple[float, float, float, int]]] = defaultdict(list)
    try:
        for micrograph, *numbers in _PARSERS[name](path, shape):
            rows[micrograph].append(tuple(numbers))  # type: ignore[arg-type]
    except (ValueError, KeyError, IndexError, TypeError, SyntaxError, OSError) as error:
        raise InputError(
            f"{path} is not what a plain parser of {name} expects ({error}); look at it in a text editor.", path
        ) from error
    out = {}
    for micrograph, listed in rows.items():
        x, y, psi, section = np.array(listed, np.float64).T
        out[micrograph] = Places(x, y, psi % 360.0, section.astype(np.int64))
    return out


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _loops(path: Path) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield (block, labels, rows) of every loop of a STAR file."""
    block, heading = "", False
    labels: list[str] = []
    rows: list[list[str]] = []
    for line in [*_text(path).splitlines(), "data_"]:
        line = line.strip()
        if line.startswith("data_") or line == "loop_":
            if labels:
                yield block, labels, rows
            block, labels, rows = (line[5:] if line.startswith("data_") else block), [], []
            heading = line == "loop_"
        elif heading and line.startswith("_"):
            labels.append(line.split()[0][1:])
        elif line and not line.startswith("#") and labels:
            heading = False
            rows.append(shlex.split(line) if re.search("['\"]", line) else line.split())


def _star_table(path: Path, *wanted: str) -> Iterator[dict[str, str]]:
    """Yield the rows of the loops that have the labels wanted."""
    for _, labels, rows in _loops(path):
        if set(wanted) <= set(labels):
            yield from (dict(zip(labels, row, strict=True)) for row in rows)


def _relion(first_class: int) -> Callable[[Path, Shape], Iterator[_Row]]:
    def parse(path: Path, _: Shape) -> Iterator[_Row]:
        for row in _star_table(path, "rlnCoordinateX", "rlnCoordinateY"):
            psi = float(row["rlnAnglePsi"])
            section = int(row["rlnClassNumber"]) - first_class
            x, y = float(row["rlnCoordinateX"]), float(row["rlnCoordinateY"])
            yield row.get("rlnMicrographName", ""), x, y, _NAN if psi == -999 else psi, max(section, -1)

    return parse


def _boxes(first_pixel: int) -> Callable[[Path, Shape], Iterator[_Row]]:
    def parse(path: Path, _: Shape) -> Iterator[_Row]:
        for line in _text(path).splitlines():
            left, top, width, height = (int(number) for number in line.split()[:4])
            yield "", left - first_pixel + width // 2, top - first_pixel + height // 2, _NAN, -1

    return parse


def _eman2(path: Path, _: Shape) -> Iterator[_Row]:
    for x, y, *_rest in json.loads(_text(path))["boxes"]:
        yield "", x, y, _NAN, -1


def _cbox(path: Path, _: Shape) -> Iterator[_Row]:
    for row in _star_table(path, "CoordinateX", "CoordinateY", "Width", "Height"):
        left, top, width, height = (float(row[k]) for k in ("CoordinateX", "CoordinateY", "Width", "Height"))
        yield "", left + width / 2, top + height / 2, _NAN, -1


def _xmipp(path: Path, _: Shape) -> Iterator[_Row]:
    for row in _star_table(path, "xcoor", "ycoor"):
        yield "", float(row["xcoor"]), float(row["ycoor"]), _NAN, -1


def _gempicker(path: Path, shape: Shape) -> Iterator[_Row]:
    for line in _text(path).splitlines()[1:]:
        _, _, x, y, _, section, angle, *_rest = line.split()
        yield "", shape[1] - 1 - float(y), float(x), -float(angle), int(section) - 1


def _delimited(delimiter: str, x: str, y: str, *names: str) -> Callable[[Path, Shape], Iterator[_Row]]:
    def parse(path: Path, _: Shape) -> Iterator[_Row]:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            for row in csv.DictReader(stream, delimiter=delimiter):
                name = next((row[label] for label in names if label in row), "")
                psi, template = row.get("psi") or "nan", row.get("template") or "0"
                yield name, float(row[x]), float(row[y]), float(psi), int(template) - 1

    return parse


def _cryosparc(path: Path, _: Shape) -> Iterator[_Row]:
    """Read the NumPy file by its own description: magic, version, length of the header, header, rows."""
    raw = path.read_bytes()
    long = raw[6] > 1
    start = 12 if long else 10
    length = int.from_bytes(raw[8:start], "little")
    header = ast.literal_eval(raw[start : start + length].decode("latin-1"))
    fields: Any = [tuple(field) for field in header["descr"]]
    rows = np.frombuffer(raw, np.dtype(fields), header["shape"][0], start + length)
    labels = rows.dtype.names or ()
    for row in rows:
        ny, nx = row["location/micrograph_shape"]
        x, y = float(row["location/center_x_frac"]) * nx, float(row["location/center_y_frac"]) * ny
        psi = math.degrees(row["pick_stats/angle_rad"]) if "pick_stats/angle_rad" in labels else _NAN
        section = int(row["pick_stats/template_idx"]) if "pick_stats/template_idx" in labels else -1
        yield row["location/micrograph_path"].decode("utf-8", "surrogateescape"), x, y, psi, section


_PARSERS: dict[str, Callable[[Path, Shape], Iterable[_Row]]] = {
    "star": _relion(1),
    "particles": _relion(1),
    "gautomatch": _relion(0),
    "box": _boxes(0),
    "gempicker-box": _boxes(1),
    "eman2": _eman2,
    "cbox": _cbox,
    "cs": _cryosparc,
    "xmipp": _xmipp,
    "gempicker": _gempicker,
    "topaz": _delimited("\t", "x_coord", "y_coord", "image_name"),
    "csv": _delimited(",", "x", "y", "micrograph"),
    "tsv": _delimited("\t", "x", "y", "micrograph"),
}
