"""EMAN2: info/STEM_info.json with the list "boxes" of centre x, centre y and how the particle was boxed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.io.atomic import write_text
from napari_gempick.io.formats.base import Format, lost
from napari_gempick.io.formats.coordinate_set import CoordinateSet, assemble
from napari_gempick.io.star import read_text
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.model.picks import Picks

_BOXES = "boxes"
_MODE = "manual"  # EMAN2 replaces boxes of its automatic modes when it picks again


def write_eman2(path: Path | str, picks: Picks, _info: PicksInfo | None = None) -> None:
    """Write one micrograph's boxes, atomically; what else an info file holds already (CTF, quality) stays.

    Raises
    ------
    InputError
        The file exists and is no JSON object.
    OutputError
        The file cannot be written.
    """
    content = _content(path) if Path(path).exists() else {}
    positions = zip(np.round(picks.x, 3).tolist(), np.round(picks.y, 3).tolist(), strict=True)
    content[_BOXES] = [[x, y, _MODE] for x, y in positions]
    write_text(path, json.dumps(content, ensure_ascii=False) + "\n")


def read_eman2(path: Path | str) -> CoordinateSet:
    """Read one micrograph's boxes; an info file without boxes has no particles.

    Raises
    ------
    InputError
        The file is missing, unreadable, or no info file of EMAN2.
    """
    boxes = _content(path).get(_BOXES, [])
    try:
        x, y = (np.array([box[place] for box in boxes], dtype=np.float64) for place in (0, 1))
        modes = [str(box[2]) if len(box) > 2 else "" for box in boxes]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path} has a box without two numbers x and y; mend it.", path) from error
    return assemble(path, {"mode": modes}, x=x, y=y)


def _content(path: Path | str) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path, "JSON"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); write it again.", path) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no info file of EMAN2 (a JSON object with boxes); give another file.", path)
    return content


EMAN2 = Format(
    "eman2",
    "EMAN2 info JSON (box centres)",
    "_info.json",
    lambda path, _: read_eman2(path),
    write_eman2,
    loses=lost("EMAN2 JSON", "score", "class", "view", "psi", "box size"),
    suffixes=("_info.json", ".json"),
    aliases=("json",),
)
