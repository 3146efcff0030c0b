"""Ends what the dock has started, also when the window is gone already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.viewer import Viewer


class Shutter:
    """Ends what the dock has started; not a QObject, because it is called when the window is gone already."""

    def __init__(self, viewer: Viewer, moved: Any, *others: Any) -> None:
        self._viewer, self._moved, self._others = viewer, moved, others
        self._done = False

    def shut(self, _: object = None) -> None:
        """End searches and threads, and save; once. What cannot be ended does not keep the others from it."""
        if self._done:
            return
        self._done = True
        if self._moved in self._viewer.mouse_move_callbacks:
            self._viewer.mouse_move_callbacks.remove(self._moved)
        errors = []
        for other in self._others:
            try:
                other.close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]
