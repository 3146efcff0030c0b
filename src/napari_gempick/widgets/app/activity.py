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

    Notes
    -----
    napari's bars handle every waiting event whenever they are made or moved. Inside a signal that would stop a click
    half-way, so the bar moves on a timer of its own.
    """

    def __init__(self, searches: SearchRunner) -> None:
        self._searches = searches
        self._bar: Any = None
        self._waits = False
        searches.changed.connect(self._follow)

    def _follow(self) -> None:
        if self._searches.run is None:
            self.close()
        elif self._bar is None and not self._waits:
            self._look_in(AFTER)

    def _look_in(self, milliseconds: int) -> None:
        self._waits = True
        QTimer.singleShot(milliseconds, self._look)

    def _look(self) -> None:
        run, bar = self._searches.run, self._bar
        if run is not None:
            bar = bar or progress(total=PARTS, desc="gempick search")
            done = round(PARTS * self._searches.progress)
            if done != bar.n:
                bar.update(done - bar.n)
        self._waits = False
        if run is not None and self._searches.run is run:
            self._bar = bar
            self._look_in(EVERY)
            return
        if bar is not None:  # the run has ended while napari handled events
            bar.close()
        self._follow()

    def close(self) -> None:
        """Take the bar away."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
