"""The pixel size of micrographs, as the STAR file that lists them gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_gempick.io.star import Table

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
        return [_number(text) for text in table[_SIZE]]
    if old and _DETECTOR in table and _MAGNIFICATION in table:
        pairs = zip(table[_DETECTOR], table[_MAGNIFICATION], strict=True)
        return [_over(1e4 * _number(detector), _number(magnification)) for detector, magnification in pairs]
    return [None] * rows


def _over(length: float, magnification: float) -> float:
    return float(f"{length / magnification:.6g}") if magnification else float("nan")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
