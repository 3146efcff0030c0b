"""EMAN1 .box: corner x, corner y, width and height in whole pixels, a line for each particle.

The corner is the one with the lowest x and y, counted from pixel 0; the centre is corner + size // 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_gempick.io.atomic import write_text
from napari_gempick.io.formats.base import Format, box_of, lost, whole
from napari_gempick.io.formats.coordinate_set import CoordinateSet, assemble, column
from napari_gempick.io.star import read_text
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.model.picks import Picks


def write_boxes(path: Path | str, picks: Picks, info: PicksInfo, first: int = 0) -> None:
    """Write boxes, atomically: corner x, corner y, width, height.

    The numbers are whole, for that is what EMAN and RELION read, so a centre moves by up to half a pixel; the centre
    of a box of n pixels is its pixel n // 2.

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


def read_boxes(path: Path | str, first: int = 0) -> CoordinateSet:
    """Read boxes; more than four numbers in a line are fine.

    Raises
    ------
    InputError
        The file is missing, unreadable, or no box file.
    """
    rows = [line.split() for line in read_text(path, "box").splitlines() if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) < 4:
            raise InputError(
                f"{path}: row {number} has {len(row)} values, but a box has four (corner x, corner y, width, height); "
                "mend that row.",
                path,
            )
    table = {label: [row[place] for row in rows] for place, label in enumerate(("x", "y", "width", "height"))}
    width, height = (column(path, table, label) for label in ("width", "height"))
    return assemble(
        path,
        table,
        x=column(path, table, "x") + width // 2 - first,
        y=column(path, table, "y") + height // 2 - first,
        extra={"box_size": width},
    )


EMAN1 = Format(
    "box",
    "EMAN1 boxes (corner and size in whole pixels)",
    ".box",
    lambda path, _: read_boxes(path),
    write_boxes,
    loses=lost("EMAN1 .box", "position", "score", "class", "view", "psi"),
    suffixes=(".box",),
    aliases=("eman1",),
)
