"""Topaz: a tab-separated table of a data set, with whole pixels and the micrographs' names without suffix."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.atomic import write_text
from napari_gempick.io.formats.base import Format, exact, lost, whole
from napari_gempick.io.formats.coordinate_set import CoordinateSet, assemble, column, some_column
from napari_gempick.io.formats.table import columns_of
from napari_gempick.io.star import read_text
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.model.picks import Picks

_NAME, _X, _Y, _SCORE = "image_name", "x_coord", "y_coord", "score"
_SUFFIX = re.compile(r"\.(mrcs?(\.gz|\.bz2)?|tiff?|eer)$", re.IGNORECASE)


def write_topaz(path: Path | str, sets: Sequence[tuple[Picks, PicksInfo]]) -> None:
    """Write the picks of a data set, atomically; the column score is left out where no pick has a score.

    The name is the micrograph's without folder and suffix; with its folder where two would be equal.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    places = [PurePosixPath(_SUFFIX.sub("", info.micrograph)) for _, info in sets]
    counts = Counter(place.name for place in places)
    scored = any(np.isfinite(picks.score).any() for picks, _ in sets)
    lines = ["\t".join((_NAME, _X, _Y, _SCORE)[: 3 + scored])]
    for place, (picks, _) in zip(places, sets, strict=True):
        name = place.name if counts[place.name] == 1 else str(place)
        columns = (whole(picks.x).tolist(), whole(picks.y).tolist(), exact(picks.score))
        for x, y, score in zip(*columns, strict=True):
            end = f"\t{'' if score == 'nan' else score}" if scored else ""
            lines.append(f"{name}\t{x}\t{y}{end}")
    write_text(path, "\n".join(lines) + "\n")


def read_topaz(path: Path | str) -> CoordinateSet:
    """Read a table of Topaz.

    Raises
    ------
    InputError
        The file is missing, unreadable, or not such a table.
    """
    table = columns_of(path, read_text(path, "Topaz"), "\t")
    missing = [label for label in (_NAME, _X, _Y) if label not in table]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}, so it is not a Topaz table; give another.", path)
    return assemble(
        path,
        table,
        x=column(path, table, _X),
        y=column(path, table, _Y),
        score=some_column(path, table, _SCORE),
        micrographs=table[_NAME],
    )


TOPAZ = Format(
    "topaz",
    "Topaz table, one text file for all micrographs (whole pixels)",
    "_topaz.txt",
    lambda path, _: read_topaz(path),
    lambda path, picks, info: write_topaz(path, [(picks, info)]),
    write_topaz,
    "data set",
    loses=lost("Topaz", "position", "class", "view", "psi", "box size", "folder"),
    suffixes=(".txt", ".tab", ".tsv"),
    first_line=re.compile(r"image_name\t"),
)
