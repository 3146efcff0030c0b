"""Find the micrographs that files, folders, globs and STAR lists name, and name their results."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from napari_gempick.io.images.micrograph import has_sections, sides_of
from napari_gempick.io.reading import parsing
from napari_gempick.io.star import read_tables
from napari_gempick.model.errors import InputError
from napari_gempick.model.values import number_or_nan

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from napari_gempick.io.star import Table

_SUFFIX = re.compile(r"\.(mrcs?(\.gz|\.bz2)?|tiff?)$", re.IGNORECASE)
BY_NAME = "name a file to pick it"
"""How a file that was left out is picked after all."""
_RESULTS = {"run.json", "session.json", "job.json"}
_BESIDE_RESULTS = ("maps", "excluded", "excluded_edited", "excluded_shared", "mask", "masks", "templates", "particles")
"""Folders beside one of these files hold images that are not micrographs."""
_GLOB = re.compile(r"[*?\[]")
_PLAIN_STEM = re.compile(r"_(PSD?|noDW|EVN|ODD|ctf|ctffind\d?|diag|diagnostic)$", re.IGNORECASE)
"""What RELION, MotionCor and CTFFIND add to a name: of power spectra, and sums of some frames or without weights."""


@dataclass(frozen=True)
class MicrographFile:
    """A micrograph's file and where its results go.

    Attributes
    ----------
    path : Path
        Absolute; symbolic links are kept as they are. The file need not exist.
    relative : PurePosixPath
        Below the output folder, with the file name: "grid1/mic_001.mrc".
    whole_name : bool
        Results keep the file's suffix in their names, because another micrograph has the same stem.
    pixel_size : float or None
        Å, of the STAR file that lists the micrograph; None where there is none, or where it says nothing.
    """

    path: Path
    relative: PurePosixPath
    whole_name: bool = False
    pixel_size: float | None = None

    @property
    def stem(self) -> str:
        """The file name without .mrc, .mrcs, .tif, .tiff, .mrc.gz or .mrc.bz2; with it where two would be equal."""
        return self.path.name if self.whole_name else _SUFFIX.sub("", self.path.name)

    @cached_property
    def output_stem(self) -> str:
        """What the names of its results begin with, below the output folder: "grid1/mic_001"; unique in a listing."""
        return str(self.relative.parent / self.stem)


def as_micrographs(given: str | Path | Sequence[str | Path] | Sequence[MicrographFile]) -> list[MicrographFile]:
    """Return micrographs as they are given, or, where paths are, as `find_micrographs` finds them."""
    items = [given] if isinstance(given, str | Path) else list(given)
    files = [one for one in items if isinstance(one, MicrographFile)]
    paths = [one.path if isinstance(one, MicrographFile) else one for one in items]
    return files if len(files) == len(items) else find_micrographs(paths)


def find_micrographs(
    inputs: str | Path | Sequence[str | Path],
    *,
    skip: Sequence[str | Path] = (),
    notify: Callable[[str], None] = lambda sentence: None,
) -> list[MicrographFile]:
    """List micrographs in the order given, sorted within a folder or a glob, each file once.

    Folders hold more than micrographs: MRC files with several sections (volumes, stacks, movies), small square images
    (up to 512 pixels a side) beside an image with sides four times as long (class averages, templates), and what
    RELION, MotionCor and CTFFIND write beside a micrograph (STEM_noDW, STEM_PS, STEM_EVN, ...) are left out of them.
    Such a file is a micrograph if it is named itself, and a companion also if the folder has no plain STEM.

    Parameters
    ----------
    inputs : str, Path or sequence of these
        Each is a file, a folder (searched with its subfolders; hidden ones are skipped), a glob pattern (``**`` too),
        or a .star file with the column rlnMicrographName, whose relative paths start at the current folder or else at
        the STAR file's folder or one of its parents.
    skip : sequence of str or Path
        Folders to leave out of the folders and globs that hold them, such as the output folder.
    notify : callable
        Receives a sentence for each folder in which files were left out.

    Returns
    -------
    list of MicrographFile
        A named file that does not exist is among them: reading it fails, and the others are read.
        `relative` keeps the folders below the common parent of all inputs.

    Raises
    ------
    InputError
        No input, a folder without micrographs, a glob without matches, or a STAR file that is unreadable or lists none.

    Examples
    --------
    >>> [file.stem for file in gp.find_micrographs(["micrograph_*.mrc"])]
    ['micrograph_001', 'micrograph_002']
    """
    if isinstance(inputs, str | Path):
        inputs = [inputs]
    if not inputs:
        raise InputError("no micrographs are given; name files, folders, globs or a STAR file.")
    skipped = tuple(os.path.abspath(folder) for folder in skip)
    roots: list[str] = []
    paths: dict[str, float | None] = {}
    for given in inputs:
        for root, path, size in _expand(given, skipped, notify):
            roots.append(root)
            paths[path] = paths.get(path) or size
    base = common_folder(roots)
    files = [MicrographFile(Path(path), relative_to(path, base), pixel_size=size) for path, size in paths.items()]
    return without_collisions(files)


def _expand(
    given: str | Path, skipped: tuple[str, ...], notify: Callable[[str], None]
) -> Iterator[tuple[str, str, float | None]]:
    """Yield (folder whose structure is kept, absolute path of a micrograph, listed pixel size) for one input."""
    text = os.fspath(given)
    if text.lower().endswith(".star") and not os.path.isdir(text):
        with parsing(text, "a STAR file"):
            listed = _listed(Path(text))
        for path, size in listed:
            yield os.path.dirname(path), path, size
        return
    for root, path in _unlisted(text, skipped, notify):
        yield root, path, None


def _unlisted(text: str, skipped: tuple[str, ...], notify: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    if os.path.isdir(text):
        yield from _in_folder(text, skipped, notify)
    elif _GLOB.search(text) and not os.path.lexists(text):
        yield from _matching(text, skipped)
    else:
        path = os.path.abspath(text)
        yield os.path.dirname(path), path


def _in_folder(folder: str, skipped: tuple[str, ...], notify: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    root = os.path.abspath(folder)
    found = walk(root, skipped)
    stems = {stem_of_path(path) for path in found}
    companions = {path for path in found if (plain := plain_stem(path)) and plain in stems}
    several = {path for path in found if path not in companions and has_sections(path)}
    particles = particle_images([path for path in found if path not in companions | several])
    for sentence in left_out(folder, companions, several, particles):
        notify(sentence)
    found = [path for path in found if path not in companions | several | particles]
    if not found:
        raise InputError(
            f"{folder} has no micrographs (.mrc, .tif, .mrc.gz, .mrc.bz2) in it; name another folder.", folder
        )
    for path in sorted(found, key=by_parts):
        yield root, path


def walk(root: str, skipped: Sequence[str]) -> list[str]:
    """Return the paths below an absolute folder that have the name of a micrograph; links are followed once.

    Maps, masks, templates and particles in a folder of results are left out.
    """
    skipped = _inside(root, skipped)
    found: list[str] = []
    seen: set[str] = set()
    for where, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(where)
        if real in seen or _is_below(where, skipped):
            folders.clear()
            continue
        seen.add(real)
        beside = _BESIDE_RESULTS if _RESULTS & set(names) else ()
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in beside)
        found += [os.path.join(where, name) for name in names if _is_micrograph(name)]
    return found


def plain_stem(path: str) -> str:
    """Return the path, without suffix, of the micrograph that a file may have been written beside; "" for others."""
    stem = stem_of_path(path)
    plain = _PLAIN_STEM.sub("", stem)
    return "" if plain == stem else plain


def left_out(
    folder: str, companions: Collection[str], several: Collection[str], particles: Collection[str]
) -> Iterator[str]:
    """Yield a sentence for each kind of files in a folder that are not taken for micrographs."""
    root = os.path.abspath(folder)
    kinds = (
        "files written beside a micrograph",
        "files with several sections",
        "small square images like class averages",
    )
    for paths, what in zip((companions, several, particles), kinds, strict=True):
        if paths:
            shown = ", ".join(os.path.relpath(path, root) for path in sorted(paths, key=by_parts)[:3])
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            yield f"{folder}: {what} are left out ({shown}{more}); {BY_NAME}."


def _matching(pattern: str, skipped: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    fixed = pattern[: _GLOB.search(pattern).start()]  # type: ignore[union-attr]
    root = os.path.abspath(os.path.dirname(fixed))
    skipped = _inside(root, skipped)
    matches = (os.path.abspath(match) for match in glob.glob(pattern, recursive=True))
    found = [path for path in matches if _is_micrograph(os.path.basename(path)) and not _is_below(path, skipped)]
    found = [path for path in found if not os.path.isdir(path)]
    if not found:
        raise InputError(
            f"the pattern {pattern} matches no micrograph (.mrc, .tif, .mrc.gz, .mrc.bz2); "
            "check it, and quote it so that the shell leaves it alone.",
            pattern,
        )
    for path in sorted(found, key=by_parts):
        yield root, path


def _listed(star: Path) -> list[tuple[str, float | None]]:
    """Return the absolute path and the pixel size of each micrograph that a STAR file lists."""
    tables = read_tables(star)
    preferred = [name for name in ("micrographs", "coordinate_files") if name in tables]
    for name in [*preferred, *tables]:
        names = tables[name].get("rlnMicrographName")
        if names:
            folders = [Path(), *star.absolute().parents]
            sizes = dict(zip(reversed(names), reversed(listed_sizes(tables, tables[name])), strict=True))
            return [(os.path.abspath(resolve(name, folders)), sizes[name]) for name in dict.fromkeys(names)]
    raise InputError(f"{star} lists no micrographs (_rlnMicrographName); give another STAR file.", star)


def resolve(name: str, folders: Sequence[Path]) -> Path:
    """Return the first of the folders' files of that name that exists, or else the one below the current folder."""
    return next((folder / name for folder in folders if (folder / name).exists()), Path(name))


def stem_of_path(path: str) -> str:
    """Return a path without the suffix of a micrograph."""
    return _SUFFIX.sub("", path)


def _is_micrograph(name: str) -> bool:
    return not name.startswith(".") and _SUFFIX.search(name) is not None


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(os.path.join(folder, "")) for folder in folders)


def _inside(root: str, skipped: Sequence[str]) -> tuple[str, ...]:
    """Return the folders below `root`; the root itself was asked for."""
    return tuple(folder for folder in skipped if not _is_below(root, (folder,)))


def by_parts(path: str) -> list[str]:
    """Return what paths are sorted by: folder by folder."""
    return path.split(os.sep)


def common_folder(folders: Sequence[str]) -> str:
    """Return the folder that all absolute ones lie in; "" where they lie on several drives."""
    try:
        return os.path.commonpath(folders)
    except ValueError:  # several drives
        return ""


def relative_to(path: str, base: str) -> PurePosixPath:
    """Return a path below `base`; the whole path where that is ""."""
    if not base:
        drive, rest = os.path.splitdrive(path)
        return PurePosixPath(drive.replace(":", "").strip("\\/") or ".", *Path(rest).parts[1:])
    return PurePosixPath(*Path(os.path.relpath(path, base)).parts)


def without_collisions(files: list[MicrographFile]) -> list[MicrographFile]:
    """Keep the suffix of files whose results would get the same names, until all names differ."""
    while True:
        counts = Counter(file.output_stem for file in files)
        if all(counts[file.output_stem] == 1 or file.whole_name for file in files):
            return files
        files = [replace(file, whole_name=file.whole_name or counts[file.output_stem] > 1) for file in files]


_SIZE, _GROUP = "rlnMicrographPixelSize", "rlnOpticsGroup"
_DETECTOR, _MAGNIFICATION = "rlnDetectorPixelSize", "rlnMagnification"
_PARTICLES = ("rlnImageName", "rlnCoordinateX")


def listed_sizes(tables: Mapping[str, Table], table: Table) -> list[float | None]:
    """Return the pixel size in Å of each row of a table of micrographs.

    rlnMicrographPixelSize counts, in the row or of its optics group; then, as RELION wrote before version 3.1,
    rlnDetectorPixelSize (µm) over rlnMagnification. rlnMicrographOriginalPixelSize is that of the movie before binning.

    Parameters
    ----------
    tables : mapping
        All tables of the file.
    table : Table
        That with rlnMicrographName.

    Returns
    -------
    list of float or None
        None where the file says nothing; NaN where it says something that is not a number.
    """
    rows = len(table["rlnMicrographName"])
    optics = tables.get("optics", {})
    own = _columns(table, rows, old=not any(label in table for label in _PARTICLES))
    groups = _columns(optics, len(next(iter(optics.values()), ())), old=True)
    if _GROUP in optics and _GROUP in table:
        place = {group: number for number, group in enumerate(optics[_GROUP])}
        of_row = [groups[place[group]] if group in place else None for group in table[_GROUP]]
    else:
        of_row = [groups[0] if len(groups) == 1 else None] * rows
    return [mine if mine is not None else shared for mine, shared in zip(own, of_row, strict=True)]


def _columns(table: Table, rows: int, *, old: bool) -> list[float | None]:
    """Return what the columns of one table give; magnifications of particles are those of their boxes."""
    if _SIZE in table:
        return [number_or_nan(text) for text in table[_SIZE]]
    if old and _DETECTOR in table and _MAGNIFICATION in table:
        pairs = zip(table[_DETECTOR], table[_MAGNIFICATION], strict=True)
        return [_over(1e4 * number_or_nan(detector), number_or_nan(magnification)) for detector, magnification in pairs]
    return [None] * rows


def _over(length: float, magnification: float) -> float:
    return float(f"{length / magnification:.6g}") if magnification else float("nan")


def with_free_stem(file: MicrographFile, taken: set[str]) -> MicrographFile:
    """Return the micrograph with a name for its results that no other has: its folders are put before it."""
    parents = [part for part in file.path.parent.parts if part not in ("/", "\\")]
    depth = len(file.relative.parts)
    while file.output_stem in taken and depth <= len(parents):
        file = replace(file, relative=type(file.relative)(*parents[-depth:], file.path.name))
        depth += 1
    if file.output_stem in taken:
        file = replace(file, whole_name=True)
    if file.output_stem in taken:
        raise InputError(f"{file.path} has the same name as another micrograph; rename it.", file.path)
    return file


LARGEST, SMALLER = 512, 4
"""A square of up to this many pixels a side is an image of a particle beside an image whose sides are this many times
as long."""
_BYTES = 2 * 4 * LARGEST**2
"""More than a file of such an image takes, with its header."""


def may_be_particle(sides: tuple[int, int]) -> bool:
    """Return whether an image of (ny, nx) pixels can be one of a particle."""
    return sides[0] == sides[1] <= LARGEST


def is_particle(sides: tuple[int, int], largest: int) -> bool:
    """Return whether an image is one of a particle, beside an image whose shorter side has `largest` pixels."""
    return may_be_particle(sides) and SMALLER * sides[0] <= largest


def particle_images(paths: Collection[str]) -> set[str]:
    """Return which images of a folder are those of particles: small squares beside an image that is far larger.

    Only headers of small files are read, and that of the largest file.
    """
    sizes = {path: os.path.getsize(path) for path in paths if os.path.exists(path)}
    small = [path for path, size in sizes.items() if size <= _BYTES]
    if not small:
        return set()
    looked_at = {*small, max(sizes, key=lambda path: sizes[path])}
    sides = {path: found for path in looked_at if (found := sides_of(path)) is not None}
    largest = max((min(one) for one in sides.values()), default=0)
    return {path for path in small if path in sides and is_particle(sides[path], largest)}
