"""Gautomatch: RELION's columns, but the class counts the templates from 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_gempick.io.formats.base import Format, lost
from napari_gempick.io.formats.relion import autopick_columns, read_star
from napari_gempick.io.star import write_tables

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.model.picks import Picks

_FIRST_CLASS = 0


def write_gautomatch(path: Path | str, picks: Picks, _info: PicksInfo | None = None) -> None:
    """Write one micrograph's picks as Gautomatch does, atomically; an unknown class is -1."""
    write_tables(path, {"": autopick_columns(picks, _FIRST_CLASS)})


GAUTOMATCH = Format(
    "gautomatch",
    "Gautomatch STAR (RELION's columns, classes from 0)",
    "_automatch.star",
    lambda path, options: read_star(path, _FIRST_CLASS, shifts=options.shifts),
    write_gautomatch,
    loses=lost("Gautomatch STAR", "view", "box size"),
    suffixes=("_automatch.star",),
)
