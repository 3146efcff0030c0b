"""How far a search is, in napari's activity dock too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils import progress
from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from napari_gempick.widgets.background.search_runner import SearchRunner

PARTS = 1000
AFTER, EVERY = 1000, 250
"""Milliseconds that a run lasts before it has a bar, and between two looks at it."""


class Activity:
    """Shows a run that lasts as a bar.

    Parameters
    ----------
    searches : SearchRunner

    Notes
    -----
    napari's bars handle every waiting event whenever they are made or moved. Inside a signal that would stop a click
    half-way, so the bar moves on a timer of its own.
    """

    def __init__(self, searches: SearchRunner) -> None:
        self._searches = searches
        self._bar: Any = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._look)
        searches.changed.connect(self._follow)

    def _follow(self) -> None:
        if self._searches.run is None:
            self.close()
        elif self._bar is None and not self._timer.isActive():
            self._timer.start(AFTER)

    def _look(self) -> None:
        run = self._searches.run
        if run is None:
            return
        bar, done = self._bar or progress(total=PARTS, desc="gempick search"), round(PARTS * self._searches.progress)
        if done != bar.n:
            bar.update(done - bar.n)
        if self._searches.run is run:
            self._bar = bar
            self._timer.start(EVERY)
        else:  # it has ended while napari handled events
            bar.close()

    def close(self) -> None:
        """Take the bar away."""
        self._timer.stop()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
