"""Write picks for RELION and other programs; the readers stand in `read_coordinates` and are named here too."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.atomic import write_text
from napari_gempick.io.candidates import Candidates, read_candidates, write_candidates
from napari_gempick.io.read_coordinates import CoordinateSet, read_autopick_index, read_coordinates
from napari_gempick.io.star import write_tables
from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_gempick.model.picks import Picks

__all__ = [
    "FORMATS",
    "Candidates",
    "CoordinateFormat",
    "CoordinateSet",
    "PicksInfo",
    "read_autopick_index",
    "read_candidates",
    "read_coordinates",
    "write_autopick",
    "write_autopick_index",
    "write_box",
    "write_candidates",
    "write_csv",
]

_HAND_PICKED = -999.0  # what RELION writes where a pick has no score or no angle


@dataclass(frozen=True)
class PicksInfo:
    """What a format may need besides the picks.

    Attributes
    ----------
    pixel_size : float
        Å, of the micrograph's file.
    box_size : int or None
        Pixels of the file.
    view_names : tuple of str
        `Picks.view` counts them from 0.
    """

    pixel_size: float
    box_size: int | None = None
    view_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class CoordinateFormat:
    """A format that picks can be written in.

    Attributes
    ----------
    name : str
        As in ``--format``.
    suffix : str
        What follows a micrograph's stem in the file name.
    help : str
        One line for the user.
    write : callable
        ``write(path, picks, info)``; errors as `write_autopick` and `write_box`.
    """

    name: str
    suffix: str
    help: str
    write: Callable[[Path | str, Picks, PicksInfo], None]


def write_autopick(path: Path | str, picks: Picks, *, box_size: int | None = None, pixel_size: float) -> None:
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
    pixel_size : float
        Å of the file, as rlnMicrographPixelSize.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    columns = {
        "rlnCoordinateX": _fixed(picks.x),
        "rlnCoordinateY": _fixed(picks.y),
        "rlnClassNumber": [str(section + 1) for section in picks.section.tolist()],
        "rlnAutopickFigureOfMerit": _exact(np.where(np.isnan(picks.score), np.float32(_HAND_PICKED), picks.score)),
        "rlnAnglePsi": _fixed(np.where(np.isnan(picks.psi), _HAND_PICKED, _turned(picks.psi))),
        "rlnMicrographPixelSize": [f"{pixel_size:.9g}"] * len(picks),
    }
    if box_size is not None:
        columns["rlnImageSize"] = [str(box_size)] * len(picks)
    write_tables(path, {"": columns})


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
    columns = {
        "rlnMicrographName": [micrograph for micrograph, _ in pairs],
        "rlnMicrographCoordinates": [coordinates for _, coordinates in pairs],
    }
    write_tables(path, {"coordinate_files": columns})


def write_csv(path: Path | str, picks: Picks, view_names: Sequence[str] = ()) -> None:
    """Write a table with a header, atomically: x, y, score, view, psi, template.

    x and y are pixels as in `Picks`, the view is its name, psi is in degrees, the template is the section counted
    from 1; what is unknown is left empty.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    views = [view_names[view] if 0 <= view < len(view_names) else "" for view in picks.view.tolist()]
    scores = ["" if text == "nan" else text for text in _exact(picks.score)]
    angles = ["" if text == "nan" else text for text in _fixed(_turned(picks.psi))]
    templates = [str(section + 1) if section >= 0 else "" for section in picks.section.tolist()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("x", "y", "score", "view", "psi", "template"))
    writer.writerows(zip(_fixed(picks.x), _fixed(picks.y), scores, views, angles, templates, strict=True))
    write_text(path, text.getvalue())


def write_box(path: Path | str, picks: Picks, box_size: int | None) -> None:
    """Write EMAN1 boxes, atomically: corner x, corner y, width, height.

    The numbers are whole, for that is what EMAN and RELION read, so a centre moves by up to half a pixel; the centre
    of a box of n pixels is its pixel n // 2.

    Raises
    ------
    SettingsError
        There is no box size.
    OutputError
        The file cannot be written.
    """
    if box_size is None:
        raise SettingsError("EMAN .box files need a box size; give --box in pixels or --diameter in Å.", path)
    corners_x = (np.floor(picks.x + 0.5).astype(np.int64) - box_size // 2).tolist()
    corners_y = (np.floor(picks.y + 0.5).astype(np.int64) - box_size // 2).tolist()
    rows = (f"{x}\t{y}\t{box_size}\t{box_size}\n" for x, y in zip(corners_x, corners_y, strict=True))
    write_text(path, "".join(rows))


FORMATS: dict[str, CoordinateFormat] = {
    made.name: made
    for made in (
        CoordinateFormat(
            "star",
            "_autopick.star",
            "RELION autopick STAR",
            lambda path, picks, info: write_autopick(path, picks, box_size=info.box_size, pixel_size=info.pixel_size),
        ),
        CoordinateFormat(
            "box",
            ".box",
            "EMAN1 boxes (corner and size in whole pixels)",
            lambda path, picks, info: write_box(path, picks, info.box_size),
        ),
        CoordinateFormat(
            "csv",
            ".csv",
            "table with x, y, score, view, psi, template",
            lambda path, picks, info: write_csv(path, picks, info.view_names),
        ),
    )
}
"""Formats by the name that ``--format`` takes."""


def _fixed(values: NDArray[np.float64]) -> list[str]:
    """Three decimals, and never a negative zero."""
    return [f"{value:.3f}" for value in (np.round(values, 3) + 0.0).tolist()]


def _turned(psi: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring angles to [0, 360) as they will be rounded."""
    return np.round(psi % 360.0, 3) % 360.0


def _exact(values: NDArray[np.float32]) -> list[str]:
    """Nine digits, from which single precision comes back to the last bit."""
    return [f"{value:.9g}" for value in values.tolist()]
