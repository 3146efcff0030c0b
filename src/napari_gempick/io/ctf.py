"""Read the defocus of micrographs: STAR files of RELION (from CTFFIND, Gctf, ...), and CTFFIND's own text."""

from __future__ import annotations

import math
import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from napari_gempick.io.coordinate_sets import common_ending
from napari_gempick.io.ctffind import find_ctffind, is_ctffind, read_ctffind
from napari_gempick.io.formats.stems import stem_of
from napari_gempick.io.star import numbers, read_tables
from napari_gempick.model.ctf import Ctf
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_NAME, _GROUP = "rlnMicrographName", "rlnOpticsGroup"
_OPTICS = {"voltage": "rlnVoltage", "cs": "rlnSphericalAberration", "amplitude_contrast": "rlnAmplitudeContrast"}
_DEFOCUS = {"defocus_u": "rlnDefocusU", "defocus_v": "rlnDefocusV", "angle": "rlnDefocusAngle"}
_PHASE = "rlnPhaseShift"
_ENDING = re.compile(r"[._](PSD?|ctf|ctffind\d?|diag|diagnostic|output)$", re.IGNORECASE)
"""What names of CTFFIND's files add to those of the micrographs."""
_Row = tuple[int, PurePath, Ctf]
"""How many endings the name lost, the file or micrograph that it is about, the parameters."""


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

    Raises
    ------
    InputError
        It cannot be read, lacks a column, or has an impossible value.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, list[_Row]] = {}
        self._inputs: dict[str, list[_Row]] = {}
        if path.is_dir() or is_ctffind(path):
            self._read_texts(find_ctffind(path) if path.is_dir() else [path])
        else:
            self._read_star(path)

    def _read_texts(self, files: Sequence[Path]) -> None:
        """Read CTFFIND's files."""
        for file in files:
            image, ctf = read_ctffind(file)
            self._check(file, file.stem, ctf)
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
        values = {key: numbers(rows, label, path) for key, label in _DEFOCUS.items()}
        for key, label in _OPTICS.items():
            if label in rows:
                values[key] = numbers(rows, label, path)
            elif label in optics and _GROUP in optics and _GROUP in rows:
                of_group = dict(zip(optics[_GROUP], numbers(optics, label, path), strict=True))
                missing = set(rows[_GROUP]) - of_group.keys()
                if missing:
                    raise InputError(f"{path} has no optics group {min(missing)}; mend its first table.", path)
                values[key] = [of_group[group] for group in rows[_GROUP]]  # type: ignore[assignment]
            else:
                raise InputError(f"{path} has no {label}, neither in its rows nor for optics groups; add it.", path)
        if _PHASE in rows:
            values["phase_shift"] = numbers(rows, _PHASE, path)
        seen: set[str] = set()
        for number, name in enumerate(rows[_NAME]):
            if name in seen:
                continue
            seen.add(name)
            ctf = Ctf(**{key: float(column[number]) for key, column in values.items()})
            self._check(path, name, ctf)
            where = PurePath(name)
            self._rows.setdefault(stem_of(where.name), []).append((0, where, ctf))

    @staticmethod
    def _check(path: Path, name: str, ctf: Ctf) -> None:
        sound = 20 <= ctf.voltage <= 3000 and 0 <= ctf.amplitude_contrast <= 1 and 0 <= ctf.cs <= 100
        sound = sound and math.isfinite(ctf.angle) and math.isfinite(ctf.phase_shift)
        if not sound or not all(abs(defocus) <= 2e5 for defocus in (ctf.defocus_u, ctf.defocus_v)):
            raise InputError(
                f"{path}: the values for {name} cannot be right ({ctf.defocus_u:g} and {ctf.defocus_v:g} Å, "
                f"{ctf.voltage:g} kV, Cs {ctf.cs:g} mm, amplitude contrast {ctf.amplitude_contrast:g}); mend that row.",
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
            There is none.
        """
        fitting = self._fitting(micrograph)
        if not fitting:
            raise InputError(
                f"{self._path} has no row for {micrograph.name}; add one, or leave out that micrograph or --ctf.",
                micrograph,
            )
        own = micrograph.parts[:-1]
        return max(fitting, key=lambda row: (common_ending(row[1].parts[:-1], own), -row[0]))[2]
