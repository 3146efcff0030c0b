"""crYOLO and its box manager: .cbox, a STAR file whose block cryolo has corners, sizes and confidences.

The corner has the lowest x and y and may have decimals; the centre is corner + size / 2, as crYOLO itself counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.formats.base import Format, box_of, exact, fixed, lost
from napari_gempick.io.formats.coordinate_set import CoordinateSet, assemble, column, some_column, tangents
from napari_gempick.io.star import read_table, write_tables

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.model.picks import Picks

_BLOCK = "cryolo"
_X, _Y, _WIDTH, _HEIGHT, _CONFIDENCE = "CoordinateX", "CoordinateY", "Width", "Height", "Confidence"
_FILAMENT = "filamentid"
_NOTHING = "<NA>"  # what crYOLO writes where there is no value


def write_cbox(path: Path | str, picks: Picks, info: PicksInfo) -> None:
    """Write one micrograph's boxes, atomically: the blocks global, cryolo and cryolo_include."""
    size = box_of(info, "crYOLO .cbox", path)
    sizes, nothing = [str(size)] * len(picks), [_NOTHING] * len(picks)
    columns = {
        _X: fixed(picks.x - size / 2),
        _Y: fixed(picks.y - size / 2),
        "CoordinateZ": nothing,
        _WIDTH: sizes,
        _HEIGHT: sizes,
        "Depth": nothing,
        "EstWidth": nothing,
        "EstHeight": nothing,
        _CONFIDENCE: [_NOTHING if text == "nan" else text for text in exact(picks.score)],
        "NumBoxes": nothing,
        "Angle": nothing,
    }
    write_tables(
        path, {"global": {"cbox_format_version": "1.0"}, _BLOCK: columns, "cryolo_include": {"slice_index": []}}
    )


def read_cbox(path: Path | str) -> CoordinateSet:
    """Read one micrograph's boxes; boxes along a filament (_filamentid) get psi along it."""
    table = read_table(path, _BLOCK, (_X, _Y, _WIDTH, _HEIGHT))
    width, height = (column(path, table, label) for label in (_WIDTH, _HEIGHT))
    confidence = [("" if value == _NOTHING else value) for value in table.get(_CONFIDENCE, ())]
    x, y = column(path, table, _X) + width / 2, column(path, table, _Y) + height / 2
    known = [filament for filament in table.get(_FILAMENT, ()) if filament != _NOTHING]
    numbers = {filament: number for number, filament in enumerate(dict.fromkeys(known))}
    filament = np.array([numbers.get(name, -1) for name in table.get(_FILAMENT, [""] * len(x))], np.int64)
    return assemble(
        path,
        table,
        x=x,
        y=y,
        psi=tangents(x, y, filament) if known else None,
        score=some_column(path, {_CONFIDENCE: confidence} if _CONFIDENCE in table else {}, _CONFIDENCE),
        extra={"box_size": width},
    )


CBOX = Format(
    "cbox",
    "crYOLO / box manager .cbox (corner, size, confidence)",
    ".cbox",
    lambda path, _: read_cbox(path),
    write_cbox,
    loses=lost("crYOLO .cbox", "class", "view", "psi"),
    suffixes=(".cbox",),
    aliases=("cryolo", "boxmanager"),
)
