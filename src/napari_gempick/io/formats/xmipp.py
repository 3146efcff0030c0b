"""Xmipp and Scipion: .pos, a STAR-like file with the centres in whole pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.atomic import write_text
from napari_gempick.io.formats.base import Format, exact, lost, unknown_as, whole
from napari_gempick.io.formats.coordinate_set import CoordinateSet, assemble, column
from napari_gempick.io.star import read_tables
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.model.picks import Picks

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
    """Write one micrograph's picks, atomically; Xmipp has whole pixels, and cost 0 where there is no score."""
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
