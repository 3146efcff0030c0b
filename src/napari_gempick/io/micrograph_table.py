"""What a micrographs STAR file knows besides names: optics groups and the parameters of the contrast transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_gempick.io.formats.optics import AMPLITUDE, CS, CTF, GROUP, GROUP_NAME, NAME, VOLTAGE
from napari_gempick.io.micrograph_names import Micrographs
from napari_gempick.io.star import read_tables
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_OPTICS = ("rlnMtfFileName", "rlnMicrographOriginalPixelSize", VOLTAGE, CS, AMPLITUDE, "rlnBeamTiltX", "rlnBeamTiltY")


class MicrographTable:
    """The rows of a micrographs STAR file, found by the micrograph's name.

    Parameters
    ----------
    path : Path
        As RELION's CTF jobs and CTFFIND wrappers write: rlnMicrographName and any of CTF, with data_optics since
        version 3.1, with voltage and aberration in each row before.

    Raises
    ------
    InputError
        The file cannot be read or has no table of micrographs.
    """

    def __init__(self, path: Path) -> None:
        tables = read_tables(path)
        candidates = [tables[name] for name in ("micrographs", *tables) if NAME in tables.get(name, {})]
        if not candidates:
            raise InputError(f"{path} lists no micrographs (_{NAME}); give a micrographs STAR file.", path)
        self.path, self._table = path, candidates[0]
        self._row = {name: row for row, name in enumerate(self._table[NAME])}
        self._names = Micrographs(path, self._row)
        optics = tables.get("optics", {})
        self._optics = {
            group: {label: optics[label][row] for label in (GROUP_NAME, *_OPTICS) if label in optics}
            for row, group in enumerate(optics.get(GROUP, ()))
        }
        self._labels = {*optics, *self._table}
        self.ctf_labels = tuple(label for label in CTF if label in self._table)

    def has(self, label: str) -> bool:
        """Whether the file has a column of this label, in data_optics or among the micrographs."""
        return label in self._labels

    def find(self, parts: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]] | None:
        """Return (CTF, optics) by label of the micrograph with these parts of a name, None where it is not listed.

        Raises
        ------
        InputError
            Several micrographs fit, or the optics group is not in data_optics.
        """
        known = self._names.find(parts)
        if known is None:
            return None
        row = self._row[known.name]
        group = self._table[GROUP][row] if GROUP in self._table else None
        if group is not None and self._optics and group not in self._optics:
            raise InputError(f"{self.path} has micrographs of the optics group {group}, which data_optics lacks.")
        optics = dict(self._optics.get(group or "", {}))
        optics |= {label: self._table[label][row] for label in _OPTICS if label in self._table and label not in optics}
        return {label: self._table[label][row] for label in self.ctf_labels}, optics
