"""Read the defocus of micrographs: STAR files of RELION (from CTFFIND, Gctf, ...), and CTFFIND's own text.

CTFFIND writes its text beside the diagnostic image: comment lines, then a row for the micrograph. The columns are
number, defocus 1 and 2 (Å), azimuth of astigmatism (degrees), additional phase shift (radians), cross correlation,
resolution of the fit (Å), and from version 5 on tilt axis, tilt and thickness; voltage, Cs and amplitude contrast stand
in the comments (headers of versions 4.1 and 5.0). Both may come as micrographs do: a STAR file that grows, or a folder
that fills with texts.
"""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from napari_gempick.io.coordinates import common_ending
from napari_gempick.io.formats.base import stem_of
from napari_gempick.io.reading import parsing, readable
from napari_gempick.io.star import read_tables, read_text
from napari_gempick.model.ctf import Ctf
from napari_gempick.model.errors import GempickError, InputError
from napari_gempick.model.values import number_or_nan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NAME, _GROUP = "rlnMicrographName", "rlnOpticsGroup"
_OPTICS = {"voltage": "rlnVoltage", "cs": "rlnSphericalAberration", "amplitude_contrast": "rlnAmplitudeContrast"}
_DEFOCUS = {"defocus_u": "rlnDefocusU", "defocus_v": "rlnDefocusV", "angle": "rlnDefocusAngle"}
_PHASE = "rlnPhaseShift"
_ENDING = re.compile(r"[._](PSD?|ctf|ctffind\d?|diag|diagnostic|output)$", re.IGNORECASE)
"""What names of CTFFIND's files add to those of the micrographs."""
_MOST_DEFOCUS = 2e5
_Row = tuple[int, PurePath, Ctf | InputError]
"""How many endings the name lost, the file or micrograph that it is about, the parameters or why there are none."""


class CtfTable:
    """The CTF parameters of the micrographs that a file or folder is about.

    Of STAR files both layouts are read: voltage, Cs and amplitude contrast in a table of optics groups (RELION 3.1 and
    later), or in each row (before). rlnPhaseShift is optional. Of particles, a micrograph's first row counts.
    CTFFIND's text belongs to the micrograph of its own name (STEM.txt, STEM_diag.txt and the like), or else to that
    which its comments name as the input.

    Parameters
    ----------
    path : Path
        A STAR file, a text file of CTFFIND, or a folder of them.
    texts : sequence of Path, optional
        Those of the folder that count; default all.

    Values that cannot be right (NaN, no defocus, ...) count only against their own micrograph.

    Raises
    ------
    InputError
        It cannot be read, has too few columns, or has no values that can be right.
    """

    def __init__(self, path: Path, texts: Sequence[Path] | None = None) -> None:
        self._path = path
        self._rows: dict[str, list[_Row]] = {}
        self._inputs: dict[str, list[_Row]] = {}
        if texts is not None or path.is_dir() or is_ctffind(path):
            self._read_texts(texts if texts is not None else find_ctffind(path) if path.is_dir() else [path])
        else:
            with parsing(path, "a STAR file"):
                self._read_star(path)
        known = [row[2] for rows in (*self._rows.values(), *self._inputs.values()) for row in rows]
        if known and all(isinstance(ctf, InputError) for ctf in known):
            raise next(ctf for ctf in known if isinstance(ctf, InputError))

    def _read_texts(self, files: Sequence[Path]) -> None:
        """Read CTFFIND's files."""
        for file in files:
            image: PurePath = file
            ctf: Ctf | InputError
            try:
                with parsing(file, "a text of CTFFIND"):
                    image, found = read_ctffind(file)
                ctf = self._checked(file, file.stem, found)
            except InputError as error:
                ctf = error
            for name, rows, where in ((file.name, self._rows, file), (image.name, self._inputs, image)):
                stem, stripped = stem_of(name), 0
                rows.setdefault(stem, []).append((stripped, where, ctf))
                while (shorter := _ENDING.sub("", stem)) not in ("", stem):
                    stem, stripped = shorter, stripped + 1
                    rows.setdefault(stem, []).append((stripped, where, ctf))

    def _read_star(self, path: Path) -> None:
        tables = read_tables(path)
        needed = {_NAME, *_DEFOCUS.values()}
        rows = next((table for table in tables.values() if needed <= table.keys()), None)
        if rows is None:
            raise InputError(f"{path} has no table with {', '.join(sorted(needed))}; give micrographs_ctf.star.", path)
        optics = tables.get("optics", {})
        values = {key: [number_or_nan(text) for text in rows[label]] for key, label in _DEFOCUS.items()}
        for key, label in _OPTICS.items():
            if label in rows:
                values[key] = [number_or_nan(text) for text in rows[label]]
            elif label in optics and _GROUP in optics and _GROUP in rows:
                of_group = dict(zip(optics[_GROUP], (number_or_nan(text) for text in optics[label]), strict=True))
                missing = set(rows[_GROUP]) - of_group.keys()
                if missing:
                    raise InputError(f"{path} has no optics group {min(missing)}; correct its first table.", path)
                values[key] = [of_group[group] for group in rows[_GROUP]]
            else:
                raise InputError(f"{path} has no {label}, neither in its rows nor for optics groups; add it.", path)
        if _PHASE in rows:
            values["phase_shift"] = [number_or_nan(text) for text in rows[_PHASE]]
        seen: set[str] = set()
        for number, name in enumerate(rows[_NAME]):
            if name in seen:
                continue
            seen.add(name)
            ctf = Ctf(**{key: column[number] for key, column in values.items()})
            where = PurePath(name)
            self._rows.setdefault(stem_of(where.name), []).append((0, where, self._checked(path, name, ctf)))

    @staticmethod
    def _checked(path: Path, name: str, ctf: Ctf) -> Ctf | InputError:
        """Return the parameters, or a sentence about what is wrong.

        Micrographs are taken out of focus, towards underfocus; with a phase plate also near focus. A defocus of 0 is
        what programs write that found none.
        """
        defoci = (ctf.defocus_u, ctf.defocus_v)
        sound = 20 <= ctf.voltage <= 3000 and 0 <= ctf.amplitude_contrast <= 1 and 0 <= ctf.cs <= 100
        sound = sound and abs(ctf.angle) <= 360 and abs(ctf.phase_shift) <= 360
        sound = sound and all(0 < abs(defocus) <= _MOST_DEFOCUS for defocus in defoci)
        if sound and (min(defoci) > 0 or ctf.phase_shift):
            return ctf
        return InputError(
            f"{path}: the values for {name} cannot be right ({ctf.defocus_u:g} and {ctf.defocus_v:g} Å at "
            f"{ctf.angle:g} degrees, phase shift {ctf.phase_shift:g} degrees, {ctf.voltage:g} kV, Cs {ctf.cs:g} mm, "
            f"amplitude contrast {ctf.amplitude_contrast:g}); correct that row, or omit that micrograph.",
            path,
        )

    def has(self, micrograph: Path) -> bool:
        """Return whether a row or file is about a micrograph of this stem."""
        return bool(self._fitting(micrograph))

    def _fitting(self, micrograph: Path) -> list[_Row]:
        stem = stem_of(micrograph.name)
        return self._rows.get(stem) or self._inputs.get(stem, [])

    def of(self, micrograph: Path) -> Ctf:
        """Return the parameters of a micrograph: of equal stems the row or file that shares most folders with it.

        Of several files there, the one whose name adds least.

        Raises
        ------
        InputError
            There is none, or its values cannot be right.
        """
        fitting = self._fitting(micrograph)
        if not fitting:
            raise InputError(
                f"{self._path} has no row for {micrograph.name}; add one, or omit that micrograph or --ctf.", micrograph
            )
        own = micrograph.parts[:-1]
        found = max(fitting, key=lambda row: (common_ending(row[1].parts[:-1], own), -row[0]))[2]
        if isinstance(found, InputError):
            raise InputError(found.sentence, micrograph)
        return found


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
        The file cannot be read, is of several images, or a value is missing.
    """
    text = read_text(path, "CTFFIND")
    comments = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    image = _INPUT.search(comments)
    if path.stem.endswith(_AVERAGE):
        raise InputError(f"{path} holds CTFFIND's rotational averages; give the file without {_AVERAGE}.", path)
    if image is None or len(rows) != 1 or int(image[2]) != 1:
        raise InputError(
            f"{path} has {len(rows)} rows of CTFFIND where one is expected; run CTFFIND on each micrograph separately.",
            path,
        )
    lens = {name: pattern.search(comments) for name, pattern in _LENS.items()}
    try:
        values = {name: float(found[1]) for name, found in lens.items() if found is not None}
        u, v, angle, shift = (float(word) for word in rows[0][1:5])
    except ValueError as error:
        raise InputError(f"{path} has a value that is not a number; run CTFFIND again.", path) from error
    missing = [name.replace("_", " ") for name in lens if name not in values]
    if missing:
        raise InputError(f"{path} does not say the {missing[0]}; run CTFFIND again, or give a STAR file.", path)
    return PurePath(image[1]), Ctf(u, v, angle, phase_shift=math.degrees(shift), **values)


_Stamp = tuple[int, int, int]
"""Size, time of the last change, and number of a file."""


class GrowingCtf:
    """The CTF parameters of micrographs, as far as they are known by now.

    The file or folder need not exist yet. Files are not used while they are being written: a STAR file that changes
    while it is read; one that ends within a line, and texts of CTFFIND, before they have settled.

    Parameters
    ----------
    path : Path
        As for CtfTable.
    settle : float
        Seconds without a change after which a file is not being written.
    beside : callable, optional
        Reads further values from the file; `also` is its result.
    """

    def __init__(self, path: Path, settle: float, beside: Callable[[], Any] = lambda: None) -> None:
        self._path, self._settle, self._beside = path, settle, beside
        self.also: Any = None
        self._table: CtfTable | None = None
        self._seen: dict[Path, tuple[_Stamp, float]] = {}
        self._read: dict[Path, _Stamp] = {}
        self.problem = f"{path} does not exist yet"

    def update(self, time: float) -> bool:
        """Read changed files again; return whether there were any.

        Parameters
        ----------
        time : float
            Seconds on a clock that only goes forward.
        """
        try:
            folder = self._path.is_dir()
            now = {path: _stamp(path) for path in (find_ctffind(self._path) if folder else [self._path])}
            before, self._seen = self._seen, {}
            for path, one in now.items():
                known = before.get(path)
                self._seen[path] = known if known is not None and known[0] == one else (one, time)
            if folder or not _ends_with_a_line(self._path):
                now = {path: one for path, one in now.items() if time - self._seen[path][1] >= self._settle}
            if now == self._read or not now:
                return False
            texts = list(now) if folder else None
            table, also = CtfTable(self._path, texts), self._beside()
            if now != {path: _stamp(path) for path in now}:
                return False
        except (GempickError, OSError) as error:
            if not isinstance(error, FileNotFoundError):
                self.problem = str(error)
            return False
        self._table, self.also, self._read, self.problem = table, also, now, ""
        return True

    def has(self, micrograph: Path) -> bool:
        """Return whether a row or file is about a micrograph of this stem by now."""
        return self._table is not None and self._table.has(micrograph)

    def of(self, micrograph: Path) -> Ctf:
        """Return the parameters of a micrograph, see CtfTable.

        Raises
        ------
        InputError
            There are none by now, or they cannot be right.
        """
        if self._table is None:
            raise InputError(f"{self._path} has no row for {micrograph.name} yet.", micrograph)
        return self._table.of(micrograph)


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _ends_with_a_line(path: Path) -> bool:
    """Return whether a file ends with a line feed; else its last number may be cut."""
    with contextlib.suppress(OSError), path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read() == b"\n"
    return False
