"""Read the text that CTFFIND writes beside its diagnostic image: comment lines, then a row for the micrograph.

The columns are number, defocus 1 and 2 (Å), azimuth of astigmatism (degrees), additional phase shift (radians), cross
correlation, resolution of the fit (Å), and from version 5 on tilt axis, tilt and thickness; voltage, Cs and amplitude
contrast stand in the comments (headers of versions 4.1 and 5.0).
"""

from __future__ import annotations

import math
import re
from pathlib import Path, PurePath

from napari_gempick.io.reading import readable
from napari_gempick.io.star import read_text
from napari_gempick.model.ctf import Ctf
from napari_gempick.model.errors import InputError

_HEAD = re.compile(rb"\s*# Output from CTFFind\b", re.IGNORECASE)
_INPUT = re.compile(r"Input file:\s*(.+?)\s*;\s*Number of micrographs:\s*(\d+)")
_LENS = {
    "voltage": re.compile(r"acceleration voltage:\s*([-+.\deE]+)\s*keV"),
    "cs": re.compile(r"spherical aberration:\s*([-+.\deE]+)\s*mm"),
    "amplitude_contrast": re.compile(r"amplitude contrast:\s*([-+.\deE]+)"),
}
_AVERAGE = "_avrot"


def is_ctffind(path: Path) -> bool:
    """Return whether a file begins as CTFFIND's text does."""
    with readable(path), path.open("rb") as stream:
        return _HEAD.match(stream.read(64)) is not None


def find_ctffind(folder: Path) -> list[Path]:
    """Return CTFFIND's files in a folder and below, without rotational averages, sorted.

    Raises
    ------
    InputError
        There are none.
    """
    texts = (path for path in sorted(folder.rglob("*.txt")) if path.is_file() and not path.stem.endswith(_AVERAGE))
    found = [path for path in texts if is_ctffind(path)]
    if not found:
        raise InputError(f"{folder} holds no text files of CTFFIND; give their folder, or a STAR file.", folder)
    return found


def read_ctffind(path: Path) -> tuple[PurePath, Ctf]:
    """Return the image that CTFFIND read, by its comment, and the parameters that it found.

    Raises
    ------
    InputError
        The file cannot be read, is of several images, or lacks a value.
    """
    text = read_text(path, "CTFFIND")
    comments = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    image = _INPUT.search(comments)
    if path.stem.endswith(_AVERAGE):
        raise InputError(f"{path} holds CTFFIND's rotational averages; give the file without {_AVERAGE}.", path)
    if image is None or len(rows) != 1 or int(image[2]) != 1:
        raise InputError(
            f"{path} has {len(rows)} rows of CTFFIND where one is expected; run it on each micrograph alone.", path
        )
    lens = {name: pattern.search(comments) for name, pattern in _LENS.items()}
    try:
        values = {name: float(found[1]) for name, found in lens.items() if found is not None}
        u, v, angle, shift = (float(word) for word in rows[0][1:5])
    except ValueError as error:
        raise InputError(f"{path} has a value that is no number; run CTFFIND again.", path) from error
    missing = [name.replace("_", " ") for name in lens if name not in values]
    if missing:
        raise InputError(f"{path} does not say the {missing[0]}; run CTFFIND again, or give a STAR file.", path)
    return PurePath(image[1]), Ctf(u, v, angle, phase_shift=math.degrees(shift), **values)
