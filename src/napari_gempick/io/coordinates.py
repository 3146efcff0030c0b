"""Read coordinates: of a file, and of many micrographs, which come from a file, a folder or RELION's list.

This module decides which coordinates belong to which micrograph. The formats themselves are in `io.formats`.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

from napari_gempick.io.formats import SUFFIXES, format_named, format_of
from napari_gempick.io.formats.base import stem_of
from napari_gempick.io.formats.coordinate_set import CoordinateSet, ReadOptions
from napari_gempick.io.formats.eman import EMAN2, possible_names
from napari_gempick.io.formats.relion import COORDINATE_FILE, X, is_index, read_autopick_index
from napari_gempick.io.listing import resolve
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_gempick.model.geometry import Shape

_COMMON = (".txt", ".tab")
_BEGINNING = 1 << 16
"""Bytes of a file that hold its labels."""
PICK_FILES = tuple(f"*{suffix}" for suffix in (*(s for s in SUFFIXES if s not in (".json", *_COMMON)), *_COMMON))
"""What to look for in a folder, the first that is there; plain .json files of other kinds are too common."""
TRUTH_FILES = ("*_truth.csv", "*.csv", "*.star", "*.box")
REPORT = "evaluation.json"
"""A folder that holds this file holds tables of an evaluation, not coordinates."""


@dataclass(frozen=True)
class CoordinateFile:
    """A file of coordinates and what its name says about the micrograph.

    Attributes
    ----------
    path : Path
        The file.
    name : PurePath
        Below the folder that was given, or the micrograph's name in RELION's list.
    place : Path
        The same in full.
    micrograph : str
        As RELION's list has it; "" for other files.
    """

    path: Path
    name: PurePath
    place: Path
    micrograph: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether RELION's list names a file that does not exist."""
        return bool(self.micrograph) and not self.path.exists()


@dataclass(frozen=True, eq=False)
class Entry:
    """Coordinates of one micrograph.

    Attributes
    ----------
    name : str
        The micrograph's name below what was given, without suffix.
    parts : tuple of str
        The place that it has in full.
    path : Path
        The file of coordinates.
    found : CoordinateSet
        y as the file's program counts it, until `evaluation.evaluate.settled`.
    micrograph : str
        The micrograph's name with suffix, where a file says it.
    """

    name: str
    parts: tuple[str, ...]
    path: Path
    found: CoordinateSet
    micrograph: str = ""


class Entries(NamedTuple):
    """Coordinates of several micrographs.

    Attributes
    ----------
    whole : bool
        They are meant to be all of a data set, so that a micrograph that is not among them has no picks.
    notes : list of str
        What the user should know about the reading.
    missing : list of str
        Sentences about files that RELION's list names and that do not exist.
    """

    entries: list[Entry]
    whole: bool
    notes: list[str]
    missing: list[str]


def read_entries(path: Path, patterns: Sequence[str]) -> Entries:
    """Return the coordinates of every micrograph that a file or folder holds.

    Raises
    ------
    InputError
        There are none, or a file cannot be read.
    """
    files, whole_list = find_files(path, patterns)
    missing = [f"{path} lists {file.path}, which does not exist; it was left out." for file in files if file.is_missing]
    if missing and len(missing) == len(files):
        raise InputError(f"{path} lists {files[0].path}, which does not exist; run from RELION's project folder.", path)
    entries = [entry for file in files if not file.is_missing for entry in _entries(file)]
    notes = list(dict.fromkeys(note for entry in entries for note in entry.found.notes))
    return Entries(entries, whole_list or len(entries) != 1, notes, missing)


def find_files(path: Path, patterns: Sequence[str]) -> tuple[list[CoordinateFile], bool]:
    """Return the files of a folder, of RELION's list, or the one file given, and whether there may be several.

    Raises
    ------
    InputError
        A folder without such files.
    """
    if path.is_dir():
        files = _in_folder(path, patterns)
        return [CoordinateFile(file, file.relative_to(path), file.absolute()) for file in files], True
    if is_index(path):
        rows, folders = read_autopick_index(path), [Path(), *path.absolute().parents]
        return [
            CoordinateFile(resolve(file, folders), Path(mic), Path(mic).absolute(), mic) for mic, file in rows
        ], True
    return [CoordinateFile(path, Path(path.name), path.absolute())], False


def _in_folder(folder: Path, patterns: Sequence[str]) -> list[Path]:
    for pattern in patterns:
        files = [
            file
            for file in sorted(folder.rglob(pattern))
            if not {"candidates", "maps"} & set(file.relative_to(folder).parts[:-1])
            and not file.name.startswith(".")
            and file.name != "autopick.star"
            and not (file.parent / REPORT).exists()
            and not _is_other_list(file)
        ]
        if files:
            return files
    raise InputError(f"{folder} holds no coordinate files ({', '.join(patterns)}); give another folder.", folder)


def _is_other_list(file: Path) -> bool:
    """Return whether a file is a list of RELION without coordinates, such as one of micrographs or class averages."""
    if file.suffix.lower() != ".star":
        return False
    try:
        with file.open("rb") as stream:
            text = stream.read(_BEGINNING)
    except OSError:  # whoever reads it says why
        return False
    return b"_rln" in text and not any(f"_{label}".encode() in text for label in (X, COORDINATE_FILE))


def _entries(file: CoordinateFile) -> Iterator[Entry]:
    for micrograph, found in read_coordinates(file.path).by_micrograph().items():
        name, whole = (PurePath(micrograph),) * 2 if micrograph else (file.name, file.place)
        stem = stem_of(name.name)
        parts = (*whole.parts[:-1], stem)
        yield Entry(name.with_name(stem).as_posix(), parts, file.path, found, micrograph or file.micrograph)


def common_ending(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many of the last parts of two paths are equal."""
    ends = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], ends))


def pair(picks: Sequence[Entry], truths: Sequence[Entry]) -> dict[int, int]:
    """Return truth number -> picks number: of equal stems those of equal relative path, else of most common folders."""
    by_stem: dict[str, list[int]] = defaultdict(list)
    by_info: dict[str, list[int]] = defaultdict(list)
    for number, truth in enumerate(truths):
        by_stem[truth.parts[-1]].append(number)
        for name in possible_names(truth.parts):
            by_info[name].append(number)

    def closeness(pick: int, truth: int) -> tuple[bool, int]:
        return picks[pick].name == truths[truth].name, common_ending(picks[pick].parts, truths[truth].parts)

    claims: dict[int, list[int]] = defaultdict(list)
    for pick, entry in enumerate(picks):
        fits = by_stem[entry.parts[-1]]
        if not fits and entry.found.program == EMAN2.name:
            fits = by_info[entry.parts[-1]]
        rated = sorted(fits, key=lambda truth: closeness(pick, truth), reverse=True)
        _refuse_tie(entry, [truths[i] for i in rated], [closeness(pick, i) for i in rated])
        if rated:
            claims[rated[0]].append(pick)
    pairs = {}
    for number, those in claims.items():
        rated = sorted(those, key=lambda pick: closeness(pick, number), reverse=True)
        _refuse_tie(truths[number], [picks[i] for i in rated], [closeness(i, number) for i in rated])
        pairs[number] = rated[0]
    return pairs


def _refuse_tie(entry: Entry, others: Sequence[Entry], closeness: Sequence[tuple[bool, int]]) -> None:
    if len(others) > 1 and closeness[0] == closeness[1]:
        raise InputError(
            f"{entry.path} fits {others[0].path} ({others[0].name}) as well as {others[1].path} ({others[1].name}); "
            "give picks and truth the same folders.",
            entry.path,
        )


def read_coordinates(
    path: Path | str,
    format: str | None = None,
    shape: Shape | None = None,
    *,
    shifts: bool = True,
    spacing: float | None = None,
) -> CoordinateSet:
    """Read particle centres.

    Parameters
    ----------
    path : Path or str
        The file.
    format : str, optional
        A name of `io.formats.FORMATS`; by default the suffix and, for text tables, the first line tell the format.
    shape : (ny, nx), optional
        Of the micrograph, px; only gEMpicker's tables need it.
    shifts : bool
        Subtract the refined shifts of RELION's particles from their coordinates.
    spacing : float, optional
        Between points along filaments, px, where a file gives filaments by their ends.

    Returns
    -------
    CoordinateSet
        A file that holds several micrographs gives all of them: see `CoordinateSet.by_micrograph`. For TIFF
        micrographs, `CoordinateSet.on` puts y into the frame of the file.

    Raises
    ------
    InputError
        The file is missing or unreadable, its format is unknown, or something that is needed is missing.
    SettingsError
        The format is unknown, or it needs the shape or the spacing.

    Examples
    --------
    >>> truth = gp.read_coordinates("micrograph_001_truth.csv")
    >>> sorted(truth.view_names)
    ['ignore', 'side', 'top']
    >>> truth.picks.x.dtype, len(truth.picks) > 30
    (dtype('float64'), True)
    """
    made = format_of(path) if format is None else format_named(format)
    return made.read(path, ReadOptions(shape, shifts, spacing))
