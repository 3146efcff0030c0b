"""Which file gets the coordinates of which micrograph, and writing them without replacing anything unasked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_gempick.io.formats import SUFFIXES
from napari_gempick.io.formats.relion import STAR, write_autopick_index
from napari_gempick.io.micrograph_names import shown
from napari_gempick.io.names import reduced
from napari_gempick.io.staging import staged
from napari_gempick.job.results import INDEX_FILE
from napari_gempick.model.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_gempick.io.formats import Format, PicksInfo
    from napari_gempick.model.picks import Picks


Source = tuple[str, str, Path]


class OutputFiles:
    """The files of a format for some micrographs.

    A format that holds a data set goes into one file. The others go into one file where there is one micrograph and the
    output is called like a file; else into a folder that keeps the micrographs' folders, RELION's with their list.

    Parameters
    ----------
    output : Path
        File or folder.
    to : Format
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
        there = [file for file in files if file.exists()]
        if there and not overwrite:
            more = f" and {len(there) - 1} more exist" if len(there) > 1 else " exists"
            raise OutputError(f"{there[0]}{more} already; add --overwrite or choose another name.", there[0])
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
