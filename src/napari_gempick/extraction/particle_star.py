"""The STAR file of extracted particles: rows, and the optics groups that they belong to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.extraction.cut import box_centres
from napari_gempick.io.formats.base import AMPLITUDE, ASSUMED, CS, GROUP, GROUP_NAME, NAME, VOLTAGE
from napari_gempick.io.formats.relion import PSI, SHIFTS, autopick_columns, unique_names
from napari_gempick.model.errors import InputError
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_gempick.extraction.settings import ExtractSettings
    from napari_gempick.io.micrograph_names import MicrographTable

_PRIOR, _IMAGE, _NO_PRIOR = "rlnAnglePsiPrior", "rlnImageName", "999.000"
_GIVEN = {VOLTAGE: "voltage", CS: "cs", AMPLITUDE: "amplitude_contrast"}
"""The setting that gives a label."""


class ParticleRows:
    """Makes the rows of particles and collects their optics groups.

    Parameters
    ----------
    table : MicrographTable or None
        CTF and optics of the micrographs.
    stack : str
        The stack's name in rlnImageName.
    """

    def __init__(self, settings: ExtractSettings, table: MicrographTable | None, stack: str) -> None:
        self._settings, self._table, self._stack = settings, table, stack
        self._groups: dict[tuple[tuple[str, str], ...], int] = {}
        ctf = table.ctf_labels if table is not None else ()
        self.labels = (*autopick_columns(Picks.empty()), *SHIFTS, _PRIOR, _IMAGE, NAME, GROUP, *ctf)

    @property
    def pixel_size(self) -> float:
        """Å, of the first group's particles."""
        return float(dict(next(iter(self._groups)))["rlnImagePixelSize"])

    @property
    def groups(self) -> int:
        """How many optics groups there are."""
        return len(self._groups)

    def optics_of(self, parts: tuple[str, ...], pixel_size: float) -> dict[str, str]:
        """Return what data_optics says about a micrograph, all but the group's number.

        Raises
        ------
        InputError
            The table of micrographs does not list it.
        """
        found = self._row(parts)
        if self._table is not None and found is None:
            raise InputError(f"{'/'.join(parts)} is not listed in {self._table.path}; add it there.", self._table.path)
        optics = dict(found[1]) if found else {}
        for label, name in _GIVEN.items():
            given = getattr(self._settings, name)
            optics[label] = f"{given:.9g}" if given is not None else optics.get(label, ASSUMED[label][0])
        side = self._settings.side
        optics.setdefault("rlnMicrographOriginalPixelSize", f"{pixel_size:.9g}")
        return {
            **optics,
            "rlnMicrographPixelSize": f"{pixel_size:.9g}",
            "rlnImagePixelSize": f"{pixel_size * self._settings.box / side:.9g}",
            "rlnImageSize": str(side),
            "rlnImageDimensionality": "2",
            "rlnCtfDataAreCtfPremultiplied": "0",
        }

    def group(self, optics: dict[str, str]) -> int:
        """Return the number of an optics group, from 1."""
        return self._groups.setdefault(tuple(optics.items()), len(self._groups) + 1)

    def columns(
        self, picks: Picks, name: str, parts: tuple[str, ...], optics: dict[str, str], start: int
    ) -> dict[str, list[str]]:
        """Return the rows of particles of one micrograph, by label; `start` particles stand before them.

        Coordinates are those of the boxes' centre pixels. The rest of the way to the pick is the shift, in Å, that
        takes the particle to the centre of its box: coordinate - shift / pixel size is the pick.
        """
        n, pixel_size = len(picks), float(optics["rlnMicrographPixelSize"])
        x, y = box_centres(picks.x).astype(np.float64), box_centres(picks.y).astype(np.float64)
        columns = autopick_columns(replace(picks, x=x, y=y))
        for label, rest in zip(SHIFTS, (x - picks.x, y - picks.y), strict=True):
            columns[label] = [f"{shift:.6f}" for shift in (rest * pixel_size + 0.0).tolist()]
        known = np.isfinite(picks.psi).tolist()
        columns[_PRIOR] = [psi if is_known else _NO_PRIOR for psi, is_known in zip(columns[PSI], known, strict=True)]
        columns[_IMAGE] = [f"{number:06d}@{self._stack}" for number in range(start + 1, start + n + 1)]
        columns[NAME] = [name] * n
        columns[GROUP] = [str(self.group(optics))] * n
        row = self._row(parts)
        return columns | {label: [text] * n for label, text in (row[0] if row else {}).items()}

    def data_optics(self) -> dict[str, list[str]]:
        """Return the table of optics groups; what only some groups have is left out."""
        groups = [dict(group) for group in self._groups]
        names = unique_names([group.get(GROUP_NAME, "") for group in groups])
        labels = [label for label in groups[0] if label != GROUP_NAME and all(label in group for group in groups)]
        numbers = [str(number) for number in range(1, len(groups) + 1)]
        return {GROUP_NAME: names, GROUP: numbers, **{label: [group[label] for group in groups] for label in labels}}

    def notes(self) -> list[str]:
        """Return sentences about assumed and missing values."""
        notes, table = [], self._table
        assumed = [
            ASSUMED[label][1]
            for label, name in _GIVEN.items()
            if getattr(self._settings, name) is None and not (table is not None and table.has(label))
        ]
        if assumed:
            notes.append(
                f"Assumed: {', '.join(assumed)}; give --voltage, --cs and --amplitude-contrast if they differ."
            )
        if table is None or "rlnDefocusU" not in table.ctf_labels:
            notes.append(
                "The particles have no CTF parameters; give --ctf with a micrographs STAR file that has them, or tell "
                "RELION not to correct for the CTF."
            )
        return notes

    def _row(self, parts: Iterable[str]) -> tuple[dict[str, str], dict[str, str]] | None:
        return None if self._table is None else self._table.find(tuple(parts))
