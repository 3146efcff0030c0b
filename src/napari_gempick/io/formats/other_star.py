"""STAR files of other programs than RELION: crYOLO's .cbox, and the .pos of Xmipp and Scipion.

In a .cbox the block cryolo has corners, sizes and confidences. The corner has the lowest x and y and may have decimals;
the centre is corner + size / 2, as crYOLO itself counts. A .pos has the centres in whole pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.atomic import write_text
from napari_gempick.io.formats.base import Format, box_of, exact, fixed, lost, unknown_as, whole
from napari_gempick.io.formats.coordinate_set import CoordinateSet, assemble, column, some_column, tangents
from napari_gempick.io.star import read_table, read_tables, write_tables
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.model.picks import Picks

_BLOCK = "cryolo"
_X, _Y, _WIDTH, _HEIGHT, _CONFIDENCE = "CoordinateX", "CoordinateY", "Width", "Height", "Confidence"
_FILAMENT = "filamentid"
_NOTHING = "<NA>"  # crYOLO writes this for a missing value


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


_HEADER = """# XMIPP_STAR_1 *
#
data_header
loop_
 _pickingMicrographState
Manual
data_particles
loop_
 _itemId
 _enabled
 _xcoor
 _ycoor
 _cost
 _micrographId
"""
_BLOCKS = ("particles", "particles_auto")
_DISABLED = -1


def write_pos(path: Path | str, picks: Picks, info: PicksInfo) -> None:
    """Write one micrograph's picks atomically, in whole pixels as Xmipp does; a pick without a score has cost 0."""
    columns = (whole(picks.x).tolist(), whole(picks.y).tolist(), exact(unknown_as(0.0, picks.score)))
    rows = (
        f" {row:06d}   1   {x}  {y}  {cost}   {info.number:06d}\n"
        for row, (x, y, cost) in enumerate(zip(*columns, strict=True), 1)
    )
    write_text(path, _HEADER + "".join(rows))


def read_pos(path: Path | str) -> CoordinateSet:
    """Read one micrograph's picks, by hand and automatic ones; those that are not enabled are left out.

    Where every cost is 0 there are no scores.
    """
    tables = read_tables(path)
    blocks = [tables[name] for name in _BLOCKS if {"xcoor", "ycoor"} <= tables.get(name, {}).keys()]
    if not blocks:
        raise InputError(f"{path} has no block data_particles with _xcoor and _ycoor; give a .pos file of Xmipp.", path)
    kept = []
    for table in blocks:
        enabled = table.get("enabled", ["1"] * len(table["xcoor"]))
        rows = [row for row, value in enumerate(enabled) if value != str(_DISABLED)]
        costs = table.get("cost", ["nan"] * len(enabled))
        kept.append([[values[row] for row in rows] for values in (table["xcoor"], table["ycoor"], costs)])
    labels = ("xcoor", "ycoor", "cost")
    joined = {label: [value for block in kept for value in block[place]] for place, label in enumerate(labels)}
    x, y, cost = (np.asarray(column(path, joined, label)) for label in labels)
    return assemble(path, joined, x=x, y=y, score=cost if cost.any() else None)


XMIPP = Format(
    "xmipp",
    "Xmipp / Scipion .pos (centres in whole pixels)",
    ".pos",
    lambda path, _: read_pos(path),
    write_pos,
    loses=lost("Xmipp .pos", "position", "class", "view", "psi", "box size"),
    suffixes=(".pos",),
    aliases=("pos", "scipion"),
)
