"""The one way from other threads to the window's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal

if TYPE_CHECKING:
    from collections.abc import Callable


class Bridge(QObject):
    """Makes calls on the thread that it was made on; `post` may be called from any thread."""

    _called = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._called.connect(self._call, Qt.ConnectionType.QueuedConnection)

    def post(self, call: Callable[[], None]) -> None:
        """Make a call soon, on the window's thread."""
        try:
            self._called.emit(call)
        except RuntimeError:  # the window is gone, and this object with it
            return

    def _call(self, call: Callable[[], None]) -> None:
        call()
