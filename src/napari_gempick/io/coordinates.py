"""Coordinate files in one place: the registry of formats, RELION's lists, and this program's candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_gempick.io.candidates import Candidates, read_candidates, write_candidates
from napari_gempick.io.formats import FORMATS, Format, PicksInfo
from napari_gempick.io.formats.coordinate_set import CoordinateSet
from napari_gempick.io.formats.eman1 import write_boxes
from napari_gempick.io.formats.relion import read_autopick_index, write_autopick, write_autopick_index
from napari_gempick.io.formats.table import write_table
from napari_gempick.io.read_coordinates import read_coordinates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_gempick.model.picks import Picks

__all__ = [
    "FORMATS",
    "Candidates",
    "CoordinateSet",
    "Format",
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


def write_csv(path: Path | str, picks: Picks, view_names: Sequence[str] = ()) -> None:
    """Write a table of picks without a box size; see formats.table.write_table."""
    write_table(path, picks, PicksInfo(view_names=tuple(view_names)))


def write_box(path: Path | str, picks: Picks, box_size: int | None) -> None:
    """Write EMAN1 boxes; see formats.eman1.write_boxes."""
    write_boxes(path, picks, PicksInfo(box_size=box_size))
