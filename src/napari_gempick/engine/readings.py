"""Look for another way to read the coordinates of picks: flipped, turned, binned, shifted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from napari_gempick.engine.evaluate import IGNORE, Particles, assign, positions
from napari_gempick.model.orientation import Orientation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SCALES = (2.0, 3.0, 4.0, 8.0, 1 / 2, 1 / 3, 1 / 4, 1 / 8)
_LONGEST_SHIFT = 400.0  # px; half of the largest boxes in use
_MUCH_BETTER, _AND_MORE = 1.5, 5

Reading = tuple[Particles, Particles, tuple[int, int] | None]
"""Picks, truth and, where it is known, the shape (ny, nx) of one micrograph."""


def better_reading(micrographs: Sequence[Reading], tolerance: float) -> tuple[str, int, int] | None:
    """Look for another reading of the picks' coordinates that fits the truth much better.

    Tried are flips, turns and the exchange of x and y (those that need the shape where it is known for every
    micrograph), a whole-number binning, and a shift that is equal in x and y, as half a box makes it. Much better means
    more than 1.5 times as many matches plus 5, over all micrographs.

    Returns
    -------
    (how the coordinates seem to be written, matches read like that, matches as they are) or None.
    """
    written = sum(_pairs(picks, truth, tolerance) for picks, truth, _ in micrographs)
    possible = sum(min(len(picks), int(np.count_nonzero(truth.view != IGNORE))) for picks, truth, _ in micrographs)
    if possible <= _MUCH_BETTER * written + _AND_MORE:
        return None
    best = ("", written)
    for name, read in _readings(micrographs, tolerance).items():
        matches = sum(_pairs(read(one), one[1], tolerance) for one in micrographs)
        if matches > best[1]:
            best = (name, matches)
    return (*best, written) if best[1] > _MUCH_BETTER * written + _AND_MORE else None


def _pairs(picks: Particles, truth: Particles, tolerance: float) -> int:
    return sum(found for found, _ in assign(picks, truth, truth.view != IGNORE, tolerance)[3])


def _readings(micrographs: Sequence[Reading], tolerance: float) -> dict[str, Callable[[Reading], Particles]]:
    """Return, by name, how to get the true positions of picks that are written in another way."""

    def changed(change: Orientation) -> Callable[[Reading], Particles]:
        def read(one: Reading) -> Particles:
            picks, _, shape = one
            x, y, psi = change.carry(picks.x, picks.y, picks.psi, shape)
            return replace(picks, x=x, y=y, psi=psi)

        return read

    readings = {"with x and y exchanged": changed(Orientation(swap=True))}
    if all(shape is not None for _, _, shape in micrographs):
        readings |= {
            "flipped in y (y counted from the bottom)": changed(Orientation(flip_y=True)),
            "flipped in x (x counted from the right)": changed(Orientation(flip_x=True)),
            "turned by 180 degrees": changed(Orientation(flip_x=True, flip_y=True)),
            "turned by 90 degrees counter-clockwise": changed(Orientation(swap=True, flip_x=True)),
            "turned by 90 degrees clockwise": changed(Orientation(swap=True, flip_y=True)),
            "with x and y exchanged, both counted from the far end": changed(Orientation(1, True, True, True)),
        }
    for scale in _SCALES:
        how = f"on a grid {scale:g} times as coarse" if scale > 1 else f"on a grid {1 / scale:g} times as fine"
        readings[how] = changed(Orientation(scale))
    shift = _diagonal_shift(micrographs, tolerance)
    how = f"shifted by {-shift:.0f} px in x and y (as by half a box: corners in place of centres?)"
    return {**readings, how: lambda one: replace(one[0], x=one[0].x + shift, y=one[0].y + shift)}


def _diagonal_shift(micrographs: Sequence[Reading], tolerance: float) -> float:
    """Return the most frequent shift, equal in x and y, from picks to particles near them, px."""
    found = [np.zeros(0)]
    for picks, truth, _ in micrographs:
        here = positions(truth)[truth.view != IGNORE]
        near = cKDTree(positions(picks)).query_ball_point(here, _LONGEST_SHIFT * np.sqrt(2)) if len(picks) else []
        for at, rows in zip(here, near, strict=False):
            shift = at - positions(picks)[rows]
            found.append(shift.mean(axis=1)[np.ptp(shift, axis=1) < tolerance])
    shifts = np.sort(np.concatenate(found))
    if not len(shifts):
        return 0.0
    ends = np.searchsorted(shifts, shifts + tolerance / 2, side="right")
    start = int(np.argmax(ends - np.arange(len(shifts))))
    return float(np.median(shifts[start : ends[start]]))
