"""Read the defocus of micrographs from STAR files of RELION (from CTFFIND, Gctf, ...)."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from napari_gempick.io.coordinate_sets import common_ending, stem_of
from napari_gempick.io.star import numbers, read_tables
from napari_gempick.model.ctf import Ctf
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_NAME, _GROUP = "rlnMicrographName", "rlnOpticsGroup"
_OPTICS = {"voltage": "rlnVoltage", "cs": "rlnSphericalAberration", "amplitude_contrast": "rlnAmplitudeContrast"}
_DEFOCUS = {"defocus_u": "rlnDefocusU", "defocus_v": "rlnDefocusV", "angle": "rlnDefocusAngle"}
_PHASE = "rlnPhaseShift"


class CtfTable:
    """The CTF parameters of the micrographs that a STAR file lists.

    Both layouts are read: voltage, Cs and amplitude contrast in a table of optics groups (RELION 3.1 and later), or in
    each row (before). rlnPhaseShift is optional. Of particles, a micrograph's first row counts.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    InputError
        It cannot be read, lacks a column, or has an impossible value.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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
        self._rows: dict[str, list[tuple[PurePath, Ctf]]] = {}
        seen: set[str] = set()
        for number, name in enumerate(rows[_NAME]):
            if name in seen:
                continue
            seen.add(name)
            ctf = Ctf(**{key: float(column[number]) for key, column in values.items()})
            self._check(name, ctf)
            where = PurePath(name)
            self._rows.setdefault(stem_of(where.name), []).append((where, ctf))

    def _check(self, name: str, ctf: Ctf) -> None:
        sound = 20 <= ctf.voltage <= 3000 and 0 <= ctf.amplitude_contrast <= 1 and 0 <= ctf.cs <= 100
        if not sound or not all(abs(defocus) <= 2e5 for defocus in (ctf.defocus_u, ctf.defocus_v)):
            raise InputError(
                f"{self._path}: the values for {name} cannot be right ({ctf.defocus_u:g} and {ctf.defocus_v:g} Å, "
                f"{ctf.voltage:g} kV, Cs {ctf.cs:g} mm, amplitude contrast {ctf.amplitude_contrast:g}); mend that row.",
                self._path,
            )

    def has(self, micrograph: Path) -> bool:
        """Return whether a row is about a micrograph of this stem."""
        return stem_of(micrograph.name) in self._rows

    def of(self, micrograph: Path) -> Ctf:
        """Return the parameters of a micrograph: of equal stems the row that shares most folders with it.

        Raises
        ------
        InputError
            There is none.
        """
        fitting = self._rows.get(stem_of(micrograph.name), [])
        if not fitting:
            raise InputError(
                f"{self._path} has no row for {micrograph.name}; add it, or leave out that micrograph or --ctf.",
                micrograph,
            )
        own = micrograph.parts[:-1]
        return max(fitting, key=lambda row: common_ending(row[0].parts[:-1], own))[1]
