"""Which file gets the coordinates of which micrograph, and how files are written.

Read what shall be converted: coordinate files of any kind, as the picks of one micrograph after the other.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.io.atomic import refuse_existing, staged
from napari_gempick.io.candidates import read_candidates
from napari_gempick.io.coordinates import PICK_FILES, find_files
from napari_gempick.io.formats import SUFFIXES, format_of
from napari_gempick.io.formats.base import stem_of
from napari_gempick.io.formats.coordinate_set import NO_VIEW, ReadOptions
from napari_gempick.io.formats.relion import STAR, write_autopick_index
from napari_gempick.io.images.row_order import from_bottom
from napari_gempick.io.micrograph_names import Known, Micrographs, named, read_name_table, shown, stems_below
from napari_gempick.io.names import reduced
from napari_gempick.model.errors import GempickError, InputError, SettingsError
from napari_gempick.results.folder import INDEX_FILE
from napari_gempick.results.run_file import FROM_BOTTOM, RUN_FILE, read_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_gempick.io.coordinates import CoordinateFile
    from napari_gempick.io.formats import Format, PicksInfo
    from napari_gempick.io.formats.coordinate_set import CoordinateSet
    from napari_gempick.model.geometry import Orientation, Shape
    from napari_gempick.model.picks import Picks


@dataclass(frozen=True, eq=False)
class Part:
    """The picks of one micrograph, as they were read.

    Attributes
    ----------
    file : Path
        Where they come from.
    found : CoordinateSet
        Without the columns of text.
    known : Known
        The micrograph as the coordinates or the results call it; `shape` is of the grid they refer to.
    target : Known or None
        The micrograph among those that were given, None where it is not among them or none were given.
    """

    file: Path
    found: CoordinateSet
    known: Known
    target: Known | None


class PartReader:
    """Reads parts and finds out which micrograph each belongs to.

    `failed` collects the files that cannot be read, `notes` what there is to say about the others; `run_settings` are
    those of the first folder of results, if any.

    Parameters
    ----------
    source : Format or None
        Of all files; by default each file tells.
    shape : (ny, nx), optional
        Of all micrographs after the change of orientation, px.
    micrographs : Path or str, or several, optional
        The micrographs that the coordinates shall belong to.
    name_table : Path, optional
        CSV table of names.
    options : ReadOptions, optional
        How to read; the exposures come from `micrographs`.

    Raises
    ------
    InputError
        The micrographs or the table cannot be read.
    """

    def __init__(
        self,
        source: Format | None,
        orientation: Orientation,
        shape: Shape | None,
        micrographs: Path | str | Sequence[Path | str] | None,
        name_table: Path | None,
        options: ReadOptions | None = None,
    ) -> None:
        self._source, self._orientation, self._shape = source, orientation, shape
        self.micrographs = None if micrographs is None else Micrographs(micrographs)
        self._table = None if name_table is None else read_name_table(name_table)
        exposures = self.micrographs.exposures if self.micrographs is not None else []
        self._options = replace(options or ReadOptions(), exposures=tuple(exposures))
        self.failed: list[dict[str, str]] = []
        self.notes: list[str] = []
        self.run_settings: dict[str, Any] | None = None

    @property
    def maps_names(self) -> bool:
        """Whether names are looked up, so that one may be missing."""
        return self.micrographs is not None or self._table is not None

    def read(self, inputs: Sequence[Path]) -> Iterator[Part]:
        """Yield the parts in the order of the inputs; a file that cannot be read is noted in `failed`.

        Raises
        ------
        InputError
            An input does not exist, or a folder holds no coordinates.
        """
        folders = [path if path.is_dir() else path.parent for path in inputs]
        base = os.path.commonpath([os.path.abspath(folder) for folder in folders])
        for path in inputs:
            results = path.parent if path.name == INDEX_FILE and (path.parent / RUN_FILE).exists() else path
            run = _Run(results)
            self.run_settings = self.run_settings or run.settings
            patterns = PICK_FILES if self._source is None else [f"*{suffix}" for suffix in self._suffixes()]
            files, _ = find_files(results, patterns)
            listed = stems_below(file.micrograph for file in files if file.micrograph)
            for file in files:
                below = PurePath(os.path.relpath(file.place, base)) if not file.micrograph else file.name
                known = run.known(file) or _of_file(file, below, listed)
                try:
                    if file.is_missing:
                        raise InputError(f"{path} lists {file.path}, which does not exist; it was left out.", path)
                    yield from self._parts(file, known, run)
                except GempickError as error:
                    self.failed.append({"path": str(file.path), "error": error.sentence})

    def _suffixes(self) -> tuple[str, ...]:
        assert self._source is not None
        return self._source.suffixes or (self._source.suffix,)

    def _parts(self, file: CoordinateFile, known: Known, run: _Run) -> list[Part]:
        made = self._source or format_of(file.path)
        shape = self._shape_before(known) if made.needs_shape and made.holds == "micrograph" else None
        read = made.read(file.path, replace(self._options, shape=shape))
        self.notes += read.notes
        sets = replace(read, columns={}, notes=()).by_micrograph()
        from_first_row = run.from_first_row(file, made)
        stems = stems_below(name for name in sets if name)
        parts = []
        for name, found in sets.items():
            one = named(name, stems[name]) if name else known
            one = replace(one, shape=_shape(found.common("shape")) or one.shape)
            target = self._target(one)
            micrograph = "" if one.guessed and target is None else (target or one).place
            if not from_first_row and from_bottom(found.program, micrograph):
                found = found.on(micrograph, self._shape_before(one) or one.size(), file.path)
            parts.append(Part(file.path, _with_views(found, run.sections), one, target))
        return parts

    def _shape_before(self, known: Known) -> Shape | None:
        target = self._target(known)
        after = self._shape or (target.size() if target is not None else None)
        return known.shape if after is None else self._orientation.shape_before(after)

    def _target(self, known: Known) -> Known | None:
        """Return the micrograph that a name means: by the table, then among those that were given."""
        parts = known.parts
        if self._table is not None:
            name = self._table.get(known.name, self._table.get(known.stem, self._table.get(parts[-1])))
            if name is None:
                return None
            path = Path(name)
            if self.micrographs is None:
                stem = stem_of(path.name)
                return Known(name, stem, path if path.exists() else None)
            parts = (*path.parts[:-1], stem_of(path.name))
        return None if self.micrographs is None else self.micrographs.find(parts)


class _Run:
    """What the run.json of a folder of results says about its micrographs; nothing for other folders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        run: dict[str, Any] = read_run(folder) if (folder / RUN_FILE).is_file() else {}
        self.settings: dict[str, Any] | None = run.get("settings")
        self.sections = [view["name"] for view in run.get("views", []) for _ in range(view["sections"])]
        self._rows: dict[str, dict[str, Any]] = {row["name"]: row for row in run.get("micrographs", [])}

    def known(self, file: CoordinateFile) -> Known | None:
        name = _name(file)
        candidates = self._folder / "candidates" / f"{name}.star"
        row = self._rows.get(name, {})
        if "shape" in row:
            return Known(shown(Path(row["path"])), name, Path(row["path"]), _shape(row["shape"]), row.get("pixel_size"))
        if candidates.is_file():
            stored = read_candidates(candidates)
            path = Path(row["path"]) if "path" in row else None
            called = named(name, name) if path is None else Known(shown(path), name, path)
            return replace(called, shape=stored.file_shape, pixel_size=stored.pixel_size)
        return None

    def from_first_row(self, file: CoordinateFile, made: Format) -> bool:
        """Return whether these are results of this program in which y counts from the first row, TIFF or not."""
        row = self._rows.get(_name(file))
        return row is not None and made.name not in row.get(FROM_BOTTOM, [])


def _name(file: CoordinateFile) -> str:
    """Return the name of a micrograph in run.json that a file of the results has."""
    return file.name.with_name(stem_of(file.name.name)).as_posix()


def _of_file(file: CoordinateFile, below: PurePath, listed: dict[str, str]) -> Known:
    """Return the micrograph that the name of a file, or the list that it stands in, means."""
    if file.micrograph:
        path = Path(file.micrograph)
        return replace(named(file.micrograph, listed[file.micrograph]), path=path if path.exists() else None)
    stem = below.with_name(stem_of(below.name)).as_posix()
    return named(stem, stem)


def _with_views(found: CoordinateSet, sections: Sequence[str]) -> CoordinateSet:
    """Name the views by the templates, where the file names none."""
    picks = found.picks
    if found.view_names != (NO_VIEW,) or not sections or (picks.section >= len(sections)).any():
        return found
    if not len(picks) or picks.section.min() < 0:
        return found
    names = tuple(dict.fromkeys(sections))
    number = np.array([names.index(name) for name in sections], dtype=np.int32)
    return replace(found, picks=replace(picks, view=number[picks.section]), view_names=names)


def _shape(values: Any) -> Shape | None:
    return None if values is None else (int(values[0]), int(values[1]))


Source = tuple[str, str, Path]


class OutputFiles:
    """The files of a format for some micrographs.

    A format that holds a data set goes into one file. The others go into one file where there is one micrograph and the
    output is called like a file; else into a folder that keeps the micrographs' folders, RELION's with their list.

    Parameters
    ----------
    output : Path
        File or folder.
    sources : sequence of (stem, micrograph, file)
        For each micrograph, what the name of its file begins with, its own name, and where its picks come from.
    named : bool
        The micrographs' names are known, so that a table of one micrograph shall have its name.

    Raises
    ------
    SettingsError
        Several micrographs for one file, or two with the same name.
    """

    def __init__(self, output: Path, to: Format, sources: Sequence[Source], *, named: bool) -> None:
        self._to = to
        suffixes = tuple({Path(suffix).suffix or suffix for suffix in (*SUFFIXES, to.suffix)})
        is_file = not output.is_dir() and output.name.lower().endswith(suffixes)
        several = len(sources) > 1
        self._whole = to.holds == "data set" or (to.holds == "either" and is_file and (several or named))
        if self._whole:
            self._files = [output if is_file else output / f"picks{to.suffix}"]
        elif is_file and several:
            raise SettingsError(
                f"{output} can hold one micrograph in the format {to.name}, and there are {len(sources)}; "
                "name a folder.",
                output,
            )
        else:
            self._files = [output] if is_file else _in_folder(output, to, sources)
        self._index = output / INDEX_FILE if to is STAR and not is_file else None

    @property
    def paths(self) -> list[Path]:
        """Every file that is written, the list of them last."""
        return self._files if self._index is None else [*self._files, self._index]

    def write(
        self,
        sets: Sequence[tuple[Picks, PicksInfo]],
        *,
        overwrite: bool = False,
        check: Callable[[Sequence[Path]], None] = lambda files: None,
    ) -> list[Path]:
        """Write every file under a temporary name, let `check` look at them, and rename them; return their paths.

        There is one file for everything or one for each set. The list of files comes last.

        Raises
        ------
        OutputError
            A file is there already and may not be replaced, or cannot be written.
        SettingsError
            The format needs a box size or the size of the micrograph.
        """
        files = self.paths
        refuse_existing(files, overwrite)
        with staged(self._files) as waiting:
            if self._whole:
                self._to.write_set(waiting[0], sets)
            else:
                for file, (picks, info) in zip(waiting, sets, strict=True):
                    self._to.write(file, picks, info)
            check(waiting)
        if self._index is not None:
            rows = [(info.micrograph, shown(file)) for file, (_, info) in zip(self._files, sets, strict=True)]
            write_autopick_index(self._index, rows)
        return files


def _in_folder(output: Path, to: Format, sources: Sequence[Source]) -> list[Path]:
    files: dict[Path, Path] = {}
    for stem, micrograph, source in sources:
        file = output / to.file_of(reduced(stem), micrograph)
        if file in files:
            raise SettingsError(
                f"{files[file]} and {source} both have picks for {file}; convert them one by one, or keep the folders "
                "in the names.",
                source,
            )
        files[file] = source
    return list(files)
