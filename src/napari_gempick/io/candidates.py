"""Candidate files: every local maximum of a score map, from which picks are made again without correlating."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.names import check_name
from napari_gempick.io.star import formatted, numbers, parse_numbers, parse_tables, read_text, write_tables
from napari_gempick.model.errors import InputError
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_gempick.io.star import Columns, Table

_GENERAL, _VIEWS, _ROWS, _DECOYS = "candidates_general", "views", "candidates", "decoys"
_MOST = 1e7
_FIRST_CLASS = 1  # RELION counts classes from 1
_COLUMNS = {  # field of Picks: label, format; x, y and psi keep every digit, so that picks made again are the same
    "x": ("rlnCoordinateX", "%r"),
    "y": ("rlnCoordinateY", "%r"),
    "map_x": ("gempickMapX", "%d"),
    "map_y": ("gempickMapY", "%d"),
    "score": ("rlnAutopickFigureOfMerit", "%.9g"),
    "k": ("gempickSearchImage", "%d"),
    "view": ("gempickView", "%d"),
    "section": ("rlnClassNumber", "%d"),
    "psi": ("rlnAnglePsi", "%r"),
}


@dataclass(frozen=True)
class Candidates:
    """The local maxima of one micrograph's score map and what is needed to pick from them.

    Attributes
    ----------
    picks : Picks
        In the order in which they were written: descending score.
    view_names : tuple of str
        `picks.view` counts them from 0.
    file_shape : tuple of int
        (ny, nx) of the micrograph's file.
    map_shape : tuple of int
        (ny, nx) of the score map.
    pixel_size : float
        Å, of the file.
    map_pixel_size : float
        Å, of the score map.
    floor : float
        Local maxima below this score were left out.
    decoys : Picks, optional
        The local maxima of the inverted contrast's map, down to the same score.
    """

    picks: Picks
    view_names: tuple[str, ...]
    file_shape: tuple[int, int]
    map_shape: tuple[int, int]
    pixel_size: float
    map_pixel_size: float
    floor: float
    decoys: Picks | None = None


_REFINED = "gempickRefinedScore"
_LOCAL = ("gempickLocalMean", "gempickLocalSigma", "gempickPower")


def write_candidates(path: Path | str, candidates: Candidates) -> None:
    """Write candidates/STEM.star atomically; `read_candidates` returns the same values to the last bit.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    general = {
        "gempickFileSizeX": str(candidates.file_shape[1]),
        "gempickFileSizeY": str(candidates.file_shape[0]),
        "gempickMapSizeX": str(candidates.map_shape[1]),
        "gempickMapSizeY": str(candidates.map_shape[0]),
        "rlnMicrographPixelSize": repr(float(candidates.pixel_size)),
        "gempickMapPixelSize": repr(float(candidates.map_pixel_size)),
        "gempickGridRatio": repr(float(candidates.map_pixel_size) / float(candidates.pixel_size)),
        "gempickFloor": repr(float(candidates.floor)),
    }
    views = {
        "gempickView": [str(number) for number in range(len(candidates.view_names))],
        "gempickViewName": list(candidates.view_names),
    }
    tables: dict[str, Columns] = {_GENERAL: general, _VIEWS: views, _ROWS: _columns(candidates.picks)}
    if candidates.decoys is not None:
        tables[_DECOYS] = _columns(candidates.decoys)
    write_tables(path, tables)


def _columns(picks: Picks) -> dict[str, list[str]]:
    picks = replace(picks, section=picks.section + _FIRST_CLASS)
    rows = {label: formatted(form, getattr(picks, field)) for field, (label, form) in _COLUMNS.items()}
    if picks.local is not None:
        rows |= {label: formatted("%.6g", column) for label, column in zip(_LOCAL, picks.local.T.copy(), strict=True)}
    if picks.refined_score is not None:
        rows[_REFINED] = [text.replace("nan", "none") for text in formatted("%.9g", picks.refined_score)]
    return rows


def _picks(rows: Table, path: Path | str, limits: Mapping[str, tuple[float, float]]) -> Picks:
    """Return the picks of a table; `limits` are the least and the largest value that a field can have."""
    empty = Picks.empty()
    columns = {field: numbers(rows, label, path) for field, (label, _) in _COLUMNS.items()}
    for field, values in columns.items():
        low, high = limits.get(field, (-_MOST, _MOST))
        wrong = np.flatnonzero(~((values >= low) & (values <= high)))
        if len(wrong):
            label, row = _COLUMNS[field][0], int(wrong[0])
            raise InputError(
                f"{path}: _{label} in row {row + 1} is {values[row]:g}, which is impossible ({len(wrong)} such rows); "
                "pick that micrograph again.",
                path,
            )
    picks = Picks(**{field: values.astype(getattr(empty, field).dtype) for field, values in columns.items()})
    local = None
    if all(label in rows for label in _LOCAL):
        local = np.stack([numbers(rows, label, path) for label in _LOCAL], axis=1).astype(np.float32)
    refined = None
    if _REFINED in rows:
        known = ["nan" if text == "none" else text for text in rows[_REFINED]]
        refined = parse_numbers(known, f"_{_REFINED}", path).astype(np.float32)
        if (np.abs(refined) > limits["score"][1]).any():
            raise InputError(
                f"{path}: _{_REFINED} holds a score beyond 1, which is impossible; pick that micrograph again.", path
            )
    return replace(picks, section=picks.section - _FIRST_CLASS, local=local, refined_score=refined)


def read_candidates(path: Path | str, *, decoys: bool = True) -> Candidates:
    """Read candidates/STEM.star; without its decoys, if these are not wanted, in half the time.

    Raises
    ------
    InputError
        The file is missing, damaged, or not a candidate file.
    """
    text = read_text(path, "STAR")
    tables = parse_tables(text if decoys else text.partition(f"\ndata_{_DECOYS}\n")[0], path)
    try:
        general = tables[_GENERAL]
        file_shape = _whole(general, "gempickFileSizeY", path), _whole(general, "gempickFileSizeX", path)
        map_shape = _whole(general, "gempickMapSizeY", path), _whole(general, "gempickMapSizeX", path)
        view_names = tuple(tables[_VIEWS]["gempickViewName"])
        for name in view_names:
            check_name(name, f"{path}: the view's name")
        pixel_size, map_pixel_size = (
            _size(general, label, path) for label in ("rlnMicrographPixelSize", "gempickMapPixelSize")
        )
        step = max(1.0, map_pixel_size / pixel_size)  # a peak between pixels of the map
        limits = {
            "x": (-step, file_shape[1] + step),
            "y": (-step, file_shape[0] + step),
            "map_x": (0, map_shape[1] - 1),
            "map_y": (0, map_shape[0] - 1),
            "score": (-1.001, 1.001),
            "k": (-1, _MOST),
            "view": (0, len(view_names) - 1),
            "section": (0, _MOST),
            "psi": (-360.0, 360.0),
        }
        return Candidates(
            picks=_picks(tables[_ROWS], path, limits),
            view_names=view_names,
            file_shape=file_shape,
            map_shape=map_shape,
            pixel_size=pixel_size,
            map_pixel_size=map_pixel_size,
            floor=_value(general, "gempickFloor", path),
            decoys=_picks(tables[_DECOYS], path, limits) if _DECOYS in tables else None,
        )
    except KeyError as error:
        raise InputError(
            f"{path} is not a candidate file of this program ({error.args[0]} is missing); "
            "give a file of the candidates folder, or pick again.",
            path,
        ) from error


def _value(table: Table, label: str, path: Path | str) -> float:
    value = float(numbers(table, label, path)[0])
    if not math.isfinite(value):
        raise InputError(f"{path}: _{label} is {value:g}, which is impossible; pick that micrograph again.", path)
    return value


def _size(table: Table, label: str, path: Path | str) -> float:
    value = _value(table, label, path)
    if not 0 < value < _MOST:
        raise InputError(f"{path}: _{label} is {value:g}, which is impossible; pick that micrograph again.", path)
    return value


def _whole(table: Table, label: str, path: Path | str) -> int:
    return int(np.rint(_size(table, label, path)))
