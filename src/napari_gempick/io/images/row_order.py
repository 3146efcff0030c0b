"""Which row of a micrograph each program counts as the first: the one table of program x micrograph format.

Everything in this program counts rows from the first row of the file. An MRC file is read that way by every program
here. A TIFF file is not: programs that follow IMOD's convention turn it upside down while they read it, so a
coordinate file for such a program counts y from the last row of the TIFF, and psi changes its sign with the mirror.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from napari_gempick.model.errors import SettingsError
from napari_gempick.model.geometry import Orientation

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.model.geometry import Shape
    from napari_gempick.model.picks import Picks

_TIFF = re.compile(r"\.tiff?$", re.IGNORECASE)
FLIP = Orientation(flip_y=True)
"""From one row order to the other, and back."""


@dataclass(frozen=True)
class TiffRows:
    """How a program reads a TIFF micrograph.

    Attributes
    ----------
    from_bottom : bool
        Row 0 is the last row of the file.
    source : str
        Where this is known from.
    """

    from_bottom: bool
    source: str


_OURS = TiffRows(False, "this program: row 0 is the first row of the file")
_RELION = TiffRows(True, "RELION 5, src/rwTIFF.h; checked by running RELION 5.0.1: its boxes are of the flipped image")
_EMAN = TiffRows(True, "EMAN2, libEM/io/tifio.cpp: the image is flipped after reading")
TIFF_ROWS: dict[str, TiffRows] = {
    "star": _RELION,
    "particles": _RELION,
    "box": _EMAN,
    "eman2": _EMAN,
    "cbox": TiffRows(
        True, "crYOLO, imagereader.py and its rescaling of boxes: MRC rows are flipped, TIFF rows are not; y from below"
    ),
    "xmipp": TiffRows(False, "Xmipp, xmippCore/core/rwTIFF.cpp: scan lines in the order of the file"),
    "topaz": TiffRows(False, "Topaz, topaz/utils/data/loader.py: Pillow, rows in the order of the file"),
    "cs": TiffRows(
        False, "cryoSPARC's source is closed; users find its y of TIFF files flipped against RELION's (pyem issue 22)"
    ),
    "gautomatch": TiffRows(False, "unsettled: Gautomatch's source is closed, and it reads MRC only"),
    "gempicker": TiffRows(False, "unsettled: no statement is known"),
    "gempicker-box": TiffRows(False, "unsettled: no statement is known"),
    "csv": _OURS,
    "tsv": _OURS,
}
"""By the name of the coordinate format (`io.formats.FORMATS`)."""


def is_tiff(micrograph: str | Path) -> bool:
    """Return whether a micrograph's name is that of a TIFF file; programs go by the suffix."""
    return _TIFF.search(PurePath(micrograph).name) is not None


def from_bottom(format: str, micrograph: str | Path) -> bool:
    """Return whether coordinates of a format count y from the last row of a micrograph."""
    return is_tiff(micrograph) and TIFF_ROWS[format].from_bottom


def carried(picks: Picks, format: str, micrograph: str | Path, shape: Shape | None, path: str | Path) -> Picks:
    """Return picks of this program as a file of the format has them, or those of such a file as this program has them.

    Parameters
    ----------
    format : str
        Of `io.formats.FORMATS`.
    micrograph : str or Path
        Its name, with the suffix; "" where it is unknown, which is taken for MRC.
    shape : (ny, nx) or None
        Of the micrograph, px.
    path : str or Path
        The coordinate file, for messages.

    Raises
    ------
    SettingsError
        The rows are counted from the bottom, and the size of the micrograph is unknown.
    """
    if not from_bottom(format, micrograph) or not len(picks):
        return picks
    if shape is None:
        raise SettingsError(
            f"{path}: y counts from the last row of {micrograph}, as it is a TIFF file, but its size is unknown; "
            "give --shape NY,NX or --micrographs.",
            path,
        )
    return FLIP.apply(picks, shape)


def row_order_note(formats: list[str]) -> str:
    """Return the sentence for the user about files that count y from the bottom; `formats` names them."""
    return (
        f"TIFF micrographs: y counts from the last row in the {', '.join(formats)} files, because the programs "
        "that read them turn a TIFF upside down (psi changes its sign); run.json, candidates and CSV count from the "
        "first row."
    )
