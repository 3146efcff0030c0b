"""Read particle coordinates of any format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_gempick.io.formats import format_named, format_of
from napari_gempick.io.formats.coordinate_set import CoordinateSet, ReadOptions

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.model.orientation import Shape

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
        The file is missing or unreadable, its format is unknown, or it lacks what is needed.
    SettingsError
        There is no such format, or the shape or the spacing is needed.
    """
    made = format_of(path) if format is None else format_named(format)
    return made.read(path, ReadOptions(shape, shifts, spacing))
