"""How far a search is, in napari's activity dock too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils import progress

if TYPE_CHECKING:
    from napari_gempick.widgets.background.search_runner import SearchRunner

PARTS = 1000


class Activity:
    """Shows the current run as a bar.

    Parameters
    ----------
    searches : SearchRunner
    """

    def __init__(self, searches: SearchRunner) -> None:
        self._searches = searches
        self._bar: Any = None
        searches.changed.connect(self._update)

    def _update(self) -> None:
        run = self._searches.run
        if run is None:
            self.close()
            return
        if self._bar is None:
            self._bar = progress(total=PARTS, desc="gempick search")
        self._bar.update(round(PARTS * self._searches.progress) - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
