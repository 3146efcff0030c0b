"""EMAN2: info/NAME_info.json with the list "boxes" of centre x, centre y and how the particle was boxed.

EMAN2 makes NAME from the micrograph's path (its base_name and info_name): what stands before the first ``__`` of the
stem, after the folder and a dash unless the folder is one of its own, such as micrographs.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.atomic import write_text
from napari_gempick.io.formats.base import Format, lost, stem_of
from napari_gempick.io.formats.coordinate_set import CoordinateSet, assemble
from napari_gempick.io.reading import read_object
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.model.picks import Picks

_BOXES, _OWN = "boxes", "gempick_micrograph"
_FOLDERS = ("sets", "particles", "micrographs", "movies", "movieparticles", "ddd", "raw", "info")
"""Folders that EMAN2 leaves out of the names of info files."""
_MODE = "manual"  # EMAN2 replaces boxes of its automatic modes when it picks again


def info_name(micrograph: str) -> str:
    """Return the path of a micrograph's info file below EMAN2's project folder."""
    *folders, name = PurePosixPath(micrograph).parts or ("",)
    base = _base(stem_of(name))
    own = not folders or folders[-1] in (*_FOLDERS, "/")
    return f"info/{base if own else f'{folders[-1]}-{base}'}_info.json"


def possible_names(parts: Sequence[str]) -> set[str]:
    """Return what may stand before _info.json for a micrograph whose path has these parts, the last without suffix."""
    base = _base(parts[-1])
    return {base, *(f"{folder}-{base}" for folder in parts[-2:-1])}


def _base(stem: str) -> str:
    return stem.split("__")[0].replace("_ptcls", "").replace("_info", "")


def write_eman2(path: Path | str, picks: Picks, info: PicksInfo | None = None) -> None:
    """Write one micrograph's boxes, atomically; what else an info file holds already (CTF, quality) stays.

    The micrograph's name goes with them, because the name of the file does not tell it.

    Raises
    ------
    InputError
        The file exists and is not a JSON object.
    OutputError
        The file cannot be written.
    """
    content = read_object(path) if Path(path).exists() else {}
    positions = zip(np.round(picks.x, 3).tolist(), np.round(picks.y, 3).tolist(), strict=True)
    content[_BOXES] = [[x, y, _MODE] for x, y in positions]
    if info is not None and info.micrograph:
        content[_OWN] = info.micrograph
    write_text(path, json.dumps(content, ensure_ascii=False) + "\n")


def read_eman2(path: Path | str) -> CoordinateSet:
    """Read one micrograph's boxes; an info file without boxes has no particles.

    Raises
    ------
    InputError
        The file is missing, unreadable, or no info file of EMAN2.
    """
    content = read_object(path)
    boxes = content.get(_BOXES, [])
    try:
        x, y = (np.array([box[place] for box in boxes], dtype=np.float64) for place in (0, 1))
        modes = [str(box[2]) if len(box) > 2 else "" for box in boxes]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path} has a box without x and y values; fix the file.", path) from error
    name = content.get(_OWN)
    return assemble(
        path, {"mode": modes}, x=x, y=y, micrographs=[name] * len(modes) if isinstance(name, str) and name else None
    )


EMAN2 = Format(
    "eman2",
    "EMAN2 info JSON (box centres)",
    "_info.json",
    lambda path, _: read_eman2(path),
    write_eman2,
    place=info_name,
    loses=lost("EMAN2 JSON", "score", "class", "view", "psi", "box size"),
    suffixes=("_info.json", ".json"),
    aliases=("json",),
)
