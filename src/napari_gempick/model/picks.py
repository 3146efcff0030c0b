"""Picks and candidates: positions with score, view, section and in-plane angle."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.model.values import LOCAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Picks:
    """Particles of one micrograph, in descending order of score; candidates for picks have the same fields.

    Attributes
    ----------
    x, y : (n,) float64
        Particle centre, unbinned pixels of the micrograph's file, 0-based, pixel centres, row 0 first; sub-pixel.
    map_x, map_y : (n,) int32
        Integer position on the score map (distances between picks are measured here).
    score : (n,) float32
        The score map's value at (map_y, map_x).
    k : (n,) int32
        Full-bank number of the rotated template, -1 where unknown.
    view : (n,) int32
        0-based number of the named view.
    section : (n,) int32
        0-based template, counted over all stacks.
    psi : (n,) float64
        In-plane angle, degrees, counter-clockwise on screen.
    local : (n, 3) float32, optional
        Local mean, local standard deviation and power (engine.picking.peaks); unknown for picks read from most files.
    refined_score : (n,) float32, optional
        Where position and psi were refined (engine.matching.pose): the NCC there, at least `score`. NaN elsewhere.
    ncc : (n,) float32, optional
        The score map's value where `score` is a learned one (engine.picking.learned).
    false : (n,) float32, optional
        The estimated probability that the pick is false (engine.picking.false_rate).
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    map_x: NDArray[np.int32]
    map_y: NDArray[np.int32]
    score: NDArray[np.float32]
    k: NDArray[np.int32]
    view: NDArray[np.int32]
    section: NDArray[np.int32]
    psi: NDArray[np.float64]
    local: NDArray[np.float32] | None = None
    refined_score: NDArray[np.float32] | None = None
    ncc: NDArray[np.float32] | None = None
    false: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, which: NDArray[Any] | slice) -> Picks:
        """Return the picks that an index array, a boolean array or a slice selects."""
        return Picks(**{name: column[which] for name, column in self._columns() if column is not None})

    def table(self) -> NDArray[Any]:
        """Return one row for each pick, a structured array (n,) whose fields are those that are known.

        Examples
        --------
        >>> import napari_gempick as gp
        >>> gp.Picks.empty().table().dtype.names
        ('x', 'y', 'map_x', 'map_y', 'score', 'k', 'view', 'section', 'psi')
        """
        columns = {name: column for name, column in self._columns() if column is not None}
        rows = np.empty(len(self), [(name, column.dtype, column.shape[1:]) for name, column in columns.items()])
        for name, column in columns.items():
            rows[name] = column
        return rows

    def to_dataframe(self, view_names: Sequence[str] = ()) -> Any:
        """Return the same as a pandas.DataFrame; with names, such as `scores.bank.view_names`, views are named.

        Raises
        ------
        ImportError
            pandas is not installed.

        Examples
        --------
        >>> import napari_gempick as gp
        >>> len(gp.Picks.empty().to_dataframe())
        0
        """
        import pandas  # not required otherwise

        columns = {name: column for name, column in self._columns() if column is not None and column.ndim == 1}
        if self.local is not None:
            columns |= dict(zip(LOCAL, self.local.T, strict=True))
        frame = pandas.DataFrame(columns)
        if view_names:
            frame["view"] = [view_names[number] if number >= 0 else "" for number in self.view.tolist()]
        return frame

    def _columns(self) -> Iterator[tuple[str, NDArray[Any] | None]]:
        return ((field.name, getattr(self, field.name)) for field in fields(self))

    @classmethod
    def empty(cls) -> Picks:
        """Return no picks at all."""
        types = (np.float64, np.float64, np.int32, np.int32, np.float32, np.int32, np.int32, np.int32, np.float64)
        none: Any = [np.zeros(0, dtype) for dtype in types]
        return cls(*none)


def best_first(picks: Picks) -> Picks:
    """Return picks in descending order of score; ties by y, then x, on the map."""
    return picks.take(np.lexsort((picks.map_x, picks.map_y, -picks.score)))


@dataclass(frozen=True, eq=False)
class Places:
    """What coordinates alone say: x, y (px), psi (degrees, NaN without) and section (from 0, -1 without); (n,) each."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    psi: NDArray[np.float64]
    section: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)
