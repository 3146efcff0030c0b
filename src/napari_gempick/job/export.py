"""Write picks that a person has chosen: any formats, for every micrograph, with the list of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_gempick.io.formats import PicksInfo, format_named
from napari_gempick.io.micrograph_names import shown
from napari_gempick.job.convert_files import OutputFiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.orientation import Shape
    from napari_gempick.model.picks import Picks


@dataclass(frozen=True, eq=False)
class Chosen:
    """The picks of one micrograph.

    Attributes
    ----------
    file : MicrographFile
    picks : Picks
        Best first.
    view_names : tuple of str
    shape : (ny, nx)
        Of the micrograph, px.
    pixel_size : float
        Å.
    box_size : int
        px.
    """

    file: MicrographFile
    picks: Picks
    view_names: tuple[str, ...]
    shape: Shape
    pixel_size: float
    box_size: int


def planned(folder: Path, chosen: Sequence[Chosen], formats: Sequence[str]) -> list[Path]:
    """Return the files that `export_picks` would write."""
    return [path for name in formats for path in _files(folder, chosen, name).paths]


def export_picks(
    folder: Path, chosen: Sequence[Chosen], formats: Sequence[str], *, overwrite: bool = False
) -> list[Path]:
    """Write the picks of all micrographs in every format; return the files.

    Parameters
    ----------
    folder : Path
        Keeps the folder structure of the micrographs.
    chosen : sequence of Chosen
    formats : sequence of str
        Names of io.formats.FORMATS.
    overwrite : bool
        Replace files.

    Raises
    ------
    OutputError
        A file is there already, or cannot be written.
    """
    sets = [
        (c.picks, PicksInfo(c.pixel_size, c.box_size, c.view_names, shown(c.file.path), c.shape, number))
        for number, c in enumerate(chosen, 1)
    ]
    return [path for name in formats for path in _files(folder, chosen, name).write(sets, overwrite=overwrite)]


def _files(folder: Path, chosen: Sequence[Chosen], name: str) -> OutputFiles:
    sources = [(c.file.output_stem, c.file.path) for c in chosen]
    folder.mkdir(parents=True, exist_ok=True)  # so that a folder with a dot in its name is taken for one
    return OutputFiles(folder, format_named(name), sources, named=True)
