"""Filaments in coordinate files: points along an axis, each with psi along it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.model.errors import InputError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

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
