"""The particles that a coordinate file holds, and how a reader puts them together.

Filaments in coordinate files: points along an axis, each with psi along it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.io.images.row_order import carried
from napari_gempick.io.names import check_name
from napari_gempick.io.star import parse_numbers
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.io.star import Table
    from napari_gempick.model.geometry import Shape

NO_VIEW = "particle"
"""The view of particles whose file does not name views."""
UNKNOWN = -999.0
"""RELION's value for a hand-picked particle's score and angle."""
_FARTHEST, _MOST = 1e9, 1e7
_FLOAT32 = 3e38
"""Scores beyond become infinite in single precision."""
_SIZES = {"box_size": "box size", "pixel_size": "pixel size"}


@dataclass(frozen=True)
class ReadOptions:
    """How to read a coordinate file.

    Attributes
    ----------
    shape : (ny, nx) or None
        Of the micrograph, px; some formats need it.
    shifts : bool
        Add refined shifts (rlnOriginXAngst and the like) to the positions.
    spacing : float or None
        Between points along filaments that a file gives by their ends, px.
    exposures : sequence of Exposure
        cryoSPARC's micrographs, for files of picks without their names or sizes.
    """

    shape: Shape | None = None
    shifts: bool = True
    spacing: float | None = None
    exposures: Sequence[Exposure] = ()


@dataclass(frozen=True)
class Exposure:
    """A micrograph that a cryoSPARC table lists.

    Attributes
    ----------
    path : str
        As cryoSPARC has it: below its project folder.
    shape : (ny, nx)
        px.
    pixel_size : float or None
        Å.
    uid : int
        cryoSPARC's number, by which picks are keyed.
    group : int
        Its exposure group.
    """

    path: str
    shape: Shape
    pixel_size: float | None
    uid: int
    group: int


@dataclass(frozen=True, eq=False)
class CoordinateSet:
    """The particles of a coordinate file, in the file's order.

    Attributes
    ----------
    picks : Picks
        What the file does not say is NaN (score, psi), -1 (k, section) or 0 (view); the map position is x, y rounded.
    view_names : tuple of str
        `picks.view` counts them from 0; one name, "particle", where the file tells no views apart.
    columns : dict of list of str
        Every column of a text file, by its label without underscore; rows as in `picks`.
    micrographs : sequence of str or None
        The micrograph's name in each row, where the file says it.
    extra : dict of (n, ...) array
        What else is known of each row: box_size (px), pixel_size (Å), shape (ny, nx), uid, micrograph_uid,
        exposure_group (cryoSPARC's numbers).
    program : str
        Name of the format that the file has (io.formats.FORMATS).
    settled : bool
        y counts from the first row of the micrograph's file for certain; otherwise as the program counts, see `on`.
    notes : tuple of str
        What the user should know about the reading.
    """

    picks: Picks
    view_names: tuple[str, ...]
    columns: dict[str, list[str]]
    micrographs: Sequence[str] | None = None
    extra: dict[str, NDArray[Any]] = field(default_factory=dict)
    program: str = ""
    settled: bool = False
    notes: tuple[str, ...] = ()

    def on(self, micrograph: str | Path, shape: Shape | None, path: str | Path) -> CoordinateSet:
        """Return the particles of a micrograph with y counted from the first row of its file.

        Parameters
        ----------
        micrograph : str or Path
            Its name with the suffix, which tells whether the program turns it upside down (io.images.row_order).
        shape : (ny, nx) or None
            Of the grid that the coordinates refer to, px.
        path : str or Path
            The coordinate file, for messages.

        Raises
        ------
        SettingsError
            The rows are counted from the bottom, and the size is unknown.
        """
        if self.settled or not self.program:
            return self
        return replace(self, picks=carried(self.picks, self.program, micrograph, shape, path), settled=True)

    def by_micrograph(self) -> dict[str, CoordinateSet]:
        """Split by micrograph, in order of first appearance; without names, or without picks, all are under ""."""
        if self.micrographs is None or not len(self.micrographs):
            return {"": self}
        numbers: dict[str, int] = {}
        number = np.array([numbers.setdefault(name, len(numbers)) for name in self.micrographs])
        order = np.argsort(number, kind="stable")
        ends = np.searchsorted(number[order], np.arange(len(numbers) + 1))
        return {name: self.take(order[ends[i] : ends[i + 1]]) for name, i in numbers.items()}

    def take(self, rows: NDArray[np.intp]) -> CoordinateSet:
        """Return the rows that an index array selects."""
        listed = rows.tolist()
        return replace(
            self,
            picks=self.picks.take(rows),
            columns={label: [values[row] for row in listed] for label, values in self.columns.items()},
            micrographs=None if self.micrographs is None else [self.micrographs[row] for row in listed],
            extra={name: values[rows] for name, values in self.extra.items()},
        )

    def common(self, name: str) -> Any:
        """Return the most frequent finite value of something extra, None where there is none."""
        values = self.extra.get(name)
        if values is None or not len(values):
            return None
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
            if not len(values):
                return None
        found, counts = np.unique(values, axis=0, return_counts=True)
        return found[np.argmax(counts)].tolist()


def column(path: Path | str, table: Table, label: str) -> NDArray[np.float64]:
    """Return a column as numbers, empty cells as NaN.

    Raises
    ------
    InputError
        A value is not a number.
    """
    return parse_numbers([value or "nan" for value in table[label]], f"the column {label}", path)


def some_column(path: Path | str, table: Table, label: str) -> NDArray[np.float64] | None:
    """Return a column as `column` does; None where there is no such column."""
    return column(path, table, label) if label in table else None


def view_numbers(views: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the names of the views in order of appearance, and the number of each row's view."""
    named = [view or NO_VIEW for view in views]
    names = tuple(dict.fromkeys(named)) or (NO_VIEW,)
    number_of = {name: number for number, name in enumerate(names)}
    return names, np.array([number_of[view] for view in named], dtype=np.float64)


def assemble(
    path: Path | str,
    columns: Table,
    *,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    view_names: tuple[str, ...] = (NO_VIEW,),
    score: NDArray[np.float64] | None = None,
    psi: NDArray[np.float64] | None = None,
    template: NDArray[np.float64] | None = None,
    first_template: int = 1,
    view: NDArray[np.float64] | None = None,
    micrographs: Sequence[str] | None = None,
    extra: Mapping[str, NDArray[Any] | None] | None = None,
) -> CoordinateSet:
    """Fill in unknown values, and check that the positions are possible.

    Parameters
    ----------
    path : Path or str
        For messages.
    columns : dict of list of str
        Every column as text.
    x, y : (n,) float64
        Centres, px, first pixel 0.
    view_names, score, psi, template, view, micrographs, extra
        As in CoordinateSet and Picks; psi in degrees, counter-clockwise on screen; -999 and NaN are unknown.
    first_template : int
        The number of the first template.

    Raises
    ------
    InputError
        A value is impossible: a position or a size that is not finite or too large, a score or an angle that is
        infinite, a class or a view that is not a small whole number, a micrograph's name that cannot be written down.
    """
    n = len(x)
    known = {name: values for name, values in (extra or {}).items() if values is not None}
    known_score, known_psi, known_class = (_unknown_as_nan(values, n) for values in (score, psi, template))
    for values, what, good in (
        (x, "position", np.abs(x) < _FARTHEST),
        (y, "position", np.abs(y) < _FARTHEST),
        (known_score, "score", np.isnan(known_score) | (np.abs(known_score) < _FLOAT32)),
        (known_psi, "angle", ~np.isinf(known_psi)),
        (known_class, "class", _small_or_unknown(known_class)),
        *((view, "view", _small_or_unknown(view) & (view < len(view_names))) for view in (view,) if view is not None),
        *((known[name], text, _size_or_unknown(known[name])) for name, text in _SIZES.items() if name in known),
    ):
        if not good.all():
            row = int(np.argmin(good))
            wrong = int(np.count_nonzero(~good))
            more = f" (and {wrong - 1} more)" if wrong > 1 else ""
            raise InputError(
                f"{path}: row {row + 1} has an impossible {what} ({values[row]:g}){more}; fix or remove that row.", path
            )
    for names, whose in ((micrographs or (), "micrograph"), (view_names, "view")):
        for name in dict.fromkeys(names):
            check_name(name, f"{path}: the {whose}'s name")
    picks = Picks(
        x=x,
        y=y,
        map_x=np.rint(x).astype(np.int32),
        map_y=np.rint(y).astype(np.int32),
        score=known_score.astype(np.float32),
        k=np.full(n, -1, dtype=np.int32),
        view=(np.zeros(n) if view is None else view).astype(np.int32),
        section=(np.nan_to_num(known_class, nan=first_template - 1.0) - first_template).astype(np.int32),
        psi=known_psi % 360.0,
    )
    own = {label: values for label, values in columns.items() if len(values) == n}  # others are of another loop
    return CoordinateSet(picks, view_names, own, micrographs, known)


def _small_or_unknown(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    good: NDArray[np.bool_] = np.isnan(numbers) | ((np.abs(numbers) < _MOST) & (numbers == np.floor(numbers)))
    return good


def _size_or_unknown(sizes: NDArray[Any]) -> NDArray[np.bool_]:
    good: NDArray[np.bool_] = np.isnan(sizes) | ((sizes > 0) & (sizes < _MOST))
    return good


def _unknown_as_nan(values: NDArray[np.float64] | None, n: int) -> NDArray[np.float64]:
    if values is None:
        return np.full(n, np.nan)
    return np.where(values == UNKNOWN, np.nan, values)


OPTION = "--filament-spacing"
_MOST_POINTS = 100_000


def along(
    axes: Sequence[NDArray[np.float64]], spacing: float | None, path: Path | str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return x, y and psi of points along filaments, (n,) each.

    Parameters
    ----------
    axes : sequence of (m, 2) float64
        The points (x, y) that each filament's axis runs through, px; at least two.
    spacing : float or None
        Between neighbours along the axis, px; the first point stands at the beginning.
    path : Path or str
        The file, for messages.

    Raises
    ------
    SettingsError
        No spacing was given; the ends of a filament are not particles.
    InputError
        A filament is too long to be one.
    """
    if spacing is None:
        number = f"{len(axes)} filaments" if len(axes) > 1 else "a filament"
        raise SettingsError(
            f"{path} holds {number} by the ends of the axis, not particles; give {OPTION} PX to get points along it.",
            path,
        )
    columns: list[NDArray[np.float64]] = [np.zeros((3, 0))]
    total = 0.0
    for axis in axes:
        steps = np.hypot(*np.diff(axis, axis=0).T)
        place = np.concatenate([[0.0], np.cumsum(steps)])
        total += place[-1] / spacing
        if not total < _MOST_POINTS:
            raise InputError(
                f"{path} has over {_MOST_POINTS} points along filaments with {OPTION} {spacing:g}; fix their ends.",
                path,
            )
        wanted = np.arange(0.0, place[-1] + 1e-9, spacing)
        x, y = (np.interp(wanted, place, axis[:, i]) for i in (0, 1))
        piece = np.clip(np.searchsorted(place, wanted, side="right") - 1, 0, len(steps) - 1)
        columns.append(np.stack([x, y, _psi(np.diff(axis, axis=0))[piece]]))
    x, y, psi = np.concatenate(columns, axis=1)
    return x, y, psi


def tangents(x: NDArray[np.float64], y: NDArray[np.float64], filament: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return psi (n,) along the filament at points in their order on it; NaN where a filament has one point.

    Parameters
    ----------
    x, y : (n,) float64
        px.
    filament : (n,) int
        The filament that each point belongs to; below 0 it belongs to none.
    """
    psi = np.full(len(x), np.nan)
    for number in np.unique(filament[filament >= 0]):
        here = np.flatnonzero(filament == number)
        if len(here) > 1:
            points = np.stack([x[here], y[here]], axis=1)
            ends = np.clip(np.arange(len(here))[:, None] + [-1, 1], 0, len(here) - 1)
            psi[here] = _psi(points[ends[:, 1]] - points[ends[:, 0]])
    return psi


def _psi(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angle of directions (n, 2), degrees, counter-clockwise on screen (rows count downwards)."""
    return np.degrees(np.arctan2(-direction[:, 1], direction[:, 0])) % 360.0
