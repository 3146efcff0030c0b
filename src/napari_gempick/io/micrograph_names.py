"""Which micrograph a name in a coordinate file means: by path, by stem, or by a table of names.

What a micrographs STAR file knows besides names: optics groups and the parameters of the contrast transfer.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from napari_gempick.io.coordinates import common_ending
from napari_gempick.io.formats.base import AMPLITUDE, CS, CTF, GROUP, GROUP_NAME, NAME, VOLTAGE, stem_of
from napari_gempick.io.formats.cryosparc import read_exposures
from napari_gempick.io.formats.eman import possible_names
from napari_gempick.io.formats.table import columns_of
from napari_gempick.io.images.micrograph import open_image, plausible
from napari_gempick.io.listing import find_micrographs
from napari_gempick.io.names import check_name
from napari_gempick.io.star import read_tables, read_text
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_gempick.io.formats.coordinate_set import Exposure
    from napari_gempick.model.geometry import Shape

USUAL_SUFFIX = ".mrc"
_UID = re.compile(r"^\d{18,21}_")  # what cryoSPARC puts before the names of micrographs


@dataclass(frozen=True)
class Known:
    """A micrograph and what is known about it.

    Attributes
    ----------
    name : str
        As a data set calls it: with folders and suffix.
    stem : str
        What the names of its results begin with: "grid1/mic".
    path : Path or None
        Its file, where that is at hand.
    shape : (ny, nx) or None
        px.
    pixel_size : float or None
        Å.
    uid, group : int or None
        cryoSPARC's numbers of the micrograph and its exposure group.
    guessed : bool
        The suffix of the name is a guess.
    """

    name: str
    stem: str
    path: Path | None = None
    shape: Shape | None = None
    pixel_size: float | None = None
    uid: int | None = None
    group: int | None = None
    guessed: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """The name's parts, the last one without suffix."""
        name = PurePosixPath(self.place)
        return (*name.parts[:-1], stem_of(name.name))

    @property
    def place(self) -> str:
        """The file's path, or the name where no file is at hand."""
        return self.name if self.path is None else self.path.as_posix()

    def size(self) -> Shape | None:
        """Return (ny, nx): as known, or from the header of the file.

        Raises
        ------
        InputError
            The file is missing or cannot be read.
        """
        if self.shape is not None or self.path is None:
            return self.shape
        ny, nx = open_image(self.path, single=True).data.shape[1:]
        return int(ny), int(nx)


class Micrographs:
    """The micrographs that coordinates shall belong to.

    Parameters
    ----------
    given : Path or str, or several
        A folder, a STAR file, a micrograph, a glob, or a .cs or .csg table of exposures.
    names : iterable of str, optional
        The names that `given` lists; then no file is looked for.

    Raises
    ------
    InputError
        There are none, or the file cannot be read.
    """

    def __init__(self, given: Path | str | Sequence[Path | str], names: Iterable[str] | None = None) -> None:
        self.exposures: list[Exposure] = []
        several = [given] if isinstance(given, (str, Path)) else list(given)
        self.given = " ".join(str(one) for one in several[:3]) + (" ..." if len(several) > 3 else "")
        if names is not None:
            self.all = [Known(name, stem_of(PurePosixPath(name).name)) for name in names]
        elif self.given.lower().endswith((".cs", ".csg")):
            self.exposures = read_exposures(Path(self.given))
            self.all = _known(Path(self.given), self.exposures)
        else:
            self.all = [
                Known(shown(file.path), file.output_stem, file.path, pixel_size=plausible(file.pixel_size))
                for file in find_micrographs(several)
            ]
        self._by_stem: dict[str, list[Known]] = defaultdict(list)
        self._by_info: dict[str, list[Known]] = defaultdict(list)
        for known in self.all:
            stem = known.parts[-1]
            for name in dict.fromkeys((stem, _UID.sub("", stem))):
                self._by_stem[name].append(known)
            for name in possible_names(known.parts) - {stem}:
                self._by_info[name].append(known)

    def find(self, parts: tuple[str, ...]) -> Known | None:
        """Return the micrograph of that stem with the most folders in common, None where there is no such stem.

        Parameters
        ----------
        parts : tuple of str
            The name's parts, the last one without suffix; cryoSPARC's number before a name does not count, and
            EMAN2's names of info files are understood.

        Raises
        ------
        InputError
            Several micrographs fit equally well.
        """
        stem = parts[-1]
        fits = self._by_stem.get(stem) or self._by_stem.get(_UID.sub("", stem)) or self._by_info.get(stem, [])
        if not fits:
            return None
        rated = sorted(fits, key=lambda known: common_ending(known.parts[:-1], parts[:-1]), reverse=True)
        ratings = [common_ending(known.parts[:-1], parts[:-1]) for known in rated[:2]]
        if len(rated) > 1 and ratings[0] == ratings[1]:
            raise InputError(
                f"{'/'.join(parts)} can mean {rated[0].name} as well as {rated[1].name}; keep the folders in its name, "
                "or say with --name-table which one.",
                self.given,
            )
        return rated[0]


def read_name_table(path: Path) -> dict[str, str]:
    """Read a CSV table with the columns name (as in the coordinates) and micrograph (its path).

    Returns
    -------
    dict
        Micrograph by name, and by the name's stem where no other name has it.

    Raises
    ------
    InputError
        The file is missing or unreadable, or a column is missing.
    """
    table = columns_of(path, read_text(path, "CSV"), ",")
    if "name" not in table or "micrograph" not in table:
        raise InputError(f"{path} has no columns name and micrograph; add a first line name,micrograph.", path)
    named = dict(zip(table["name"], table["micrograph"], strict=True))
    for name in (*named, *named.values()):
        check_name(name, f"{path}: the name")
    stems: dict[str, set[str]] = defaultdict(set)
    for name, micrograph in named.items():
        stems[stem_of(PurePosixPath(name).name)].add(micrograph)
    return {**{stem: next(iter(found)) for stem, found in stems.items() if len(found) == 1}, **named}


def named(name: str, stem: str) -> Known:
    """Return the micrograph of that name; a name without suffix gets the usual one."""
    if stem_of(PurePosixPath(name).name) != PurePosixPath(name).name:
        return Known(name, stem)
    return Known(name + USUAL_SUFFIX, stem, guessed=True)


def stems_below(names: Iterable[str]) -> dict[str, str]:
    """Return each name's stem below the folder that all names have in common: "a/b/mic.mrc" gives "b/mic"."""
    paths = {name: PurePosixPath(name) for name in names}
    if len({path.is_absolute() for path in paths.values()}) > 1:
        paths = {name: path.relative_to(path.anchor) for name, path in paths.items()}
    base = os.path.commonpath([path.parent for path in paths.values()]) if paths else ""
    return {
        name: path.with_name(stem_of(path.name)).relative_to(base or PurePosixPath()).as_posix()
        for name, path in paths.items()
    }


def shown(path: Path) -> str:
    """Return a path relative to the current folder when it lies below it, else absolute."""
    path = Path(os.path.abspath(path))
    return (path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path).as_posix()


def _known(path: Path, listed: Sequence[Exposure]) -> list[Known]:
    """Return the micrographs of a cryoSPARC table; their files lie below its project folder, above the table."""
    if not listed:
        raise InputError(f"{path} lists no micrographs; give another table.", path)
    stems = stems_below(dict.fromkeys(one.path for one in listed))
    places = [Path(), *path.absolute().parents]
    known = []
    for one in {one.path: one for one in listed}.values():
        file = next((folder / one.path for folder in places if (folder / one.path).is_file()), None)
        known.append(Known(one.path, stems[one.path], file, one.shape, one.pixel_size, one.uid, one.group))
    return known


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
            raise InputError(
                f"{self.path} has micrographs of the optics group {group}, which data_optics does not have."
            )
        optics = dict(self._optics.get(group or "", {}))
        optics |= {label: self._table[label][row] for label in _OPTICS if label in self._table and label not in optics}
        return {label: self._table[label][row] for label in self.ctf_labels}, optics
