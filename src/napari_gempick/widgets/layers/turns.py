"""One thing after another, each in a turn of the event loop of its own, so that the window answers in between."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE_MS = 15


class Turns:
    """Calls that wait for their turn: napari takes a tenth of a second or more to make a layer."""

    def __init__(self) -> None:
        self._waiting: dict[str, Callable[[], None]] = {}
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self._next)

    def put(self, name: str, call: Callable[[], None]) -> None:
        """Make a call after those that wait; it takes the place of one of the same name."""
        self._waiting[name] = call
        if not self._timer.isActive():
            self._timer.start()

    def drop(self, *names: str) -> None:
        """Forget calls that wait."""
        for name in names:
            self._waiting.pop(name, None)

    def _next(self) -> None:
        if self._waiting:
            call = self._waiting.pop(next(iter(self._waiting)))
            if self._waiting:
                self._timer.start()
            call()

    def close(self) -> None:
        """Forget all of them."""
        self._waiting.clear()
        with contextlib.suppress(RuntimeError):  # Qt may be gone already
            self._timer.stop()
