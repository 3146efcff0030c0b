"""gEMpicker: a text table of picks on an image turned by 90 degrees, and boxes whose pixels are counted from 1.

X = y and Y = nx - 1 - x. This turns the image and the templates alike, so it adds nothing to the angle; but angle2D is
clockwise on screen: psi = -angle2D (so its authors' colleagues carried picks over to RELION). iSch counts from 1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_gempick.io.atomic import write_text
from napari_gempick.io.formats.base import Format, exact, fixed, shape_of, turned, view_of
from napari_gempick.io.formats.coordinate_set import CoordinateSet, assemble, column, view_numbers
from napari_gempick.io.formats.eman import EMAN1, read_boxes, write_boxes
from napari_gempick.io.star import read_text
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.model.geometry import Shape
    from napari_gempick.model.picks import Picks

_LABELS = ("iPik", "corrVal", "X", "Y", "boxSize", "iSch", "angle2D", "refName", "maskName")
_NOTHING = "-"
_PROGRAM = "gEMpicker .txt"
_FIRST_PIXEL_OF_BOXES = 1


def write_gempicker(path: Path | str, picks: Picks, info: PicksInfo) -> None:
    """Write one micrograph's picks, atomically; blanks in the names of views become underscores.

    An unknown box size is 0, an unknown class 0, an unknown score or angle nan.

    Raises
    ------
    SettingsError
        The size of the micrograph is not known.
    """
    _, nx = shape_of(info.shape, _PROGRAM, path)
    n = len(picks)
    columns = (
        [str(number) for number in range(1, n + 1)],
        exact(picks.score),
        fixed(picks.y),
        fixed(nx - 1 - picks.x),
        [str(info.box_size or 0)] * n,
        [str(section + 1) for section in picks.section.tolist()],
        fixed(turned(-picks.psi)),
        [re.sub(r"\s+", "_", name) or _NOTHING for name in view_of(picks, info)],
        [_NOTHING] * n,
    )
    rows = ("\t".join(row) + "\n" for row in (_LABELS, *zip(*columns, strict=True)))
    write_text(path, "".join(rows))


def read_gempicker(path: Path | str, shape: Shape | None) -> CoordinateSet:
    """Read one micrograph's picks.

    Parameters
    ----------
    path : Path or str
        The .txt file.
    shape : (ny, nx) or None
        Of the micrograph that was picked, px; a binned one counts as it is.

    Raises
    ------
    SettingsError
        The shape is missing.
    """
    _, nx = shape_of(shape, _PROGRAM, path)
    rows = [line.split() for line in read_text(path, "gEMpicker").splitlines() if line.strip()]
    rows = rows[1:] if rows and rows[0][0] == _LABELS[0] else rows
    for number, row in enumerate(rows, 1):
        if len(row) < len(_LABELS) - 1:
            raise InputError(
                f"{path}: row {number} has {len(row)} values, but gEMpicker writes {len(_LABELS)}; correct that row.",
                path,
            )
    table = {label: [row[place] for row in rows] for place, label in enumerate(_LABELS[:-1])}
    names, views = view_numbers(["" if name == _NOTHING else name for name in table["refName"]])
    box = column(path, table, "boxSize")
    return assemble(
        path,
        table,
        x=nx - 1 - column(path, table, "Y"),
        y=column(path, table, "X"),
        view_names=names,
        view=views,
        score=column(path, table, "corrVal"),
        psi=-column(path, table, "angle2D"),
        template=column(path, table, "iSch"),
        extra={"box_size": box} if (box > 0).all() else None,
    )


GEMPICKER = Format(
    "gempicker",
    "gEMpicker .txt (X = y, Y = nx - 1 - x)",
    ".txt",
    lambda path, options: read_gempicker(path, options.shape),
    write_gempicker,
    suffixes=(".txt",),
    first_line=re.compile(r"\s*iPik\s"),
    needs_shape=True,
)
GEMPICKER_BOX = Format(
    "gempicker-box",
    "gEMpicker .box (as EMAN1, but pixels are counted from 1)",
    ".box",
    lambda path, options: read_boxes(path, options.spacing, _FIRST_PIXEL_OF_BOXES),
    lambda path, picks, info: write_boxes(path, picks, info, _FIRST_PIXEL_OF_BOXES),
    loses=EMAN1.loses,
)
