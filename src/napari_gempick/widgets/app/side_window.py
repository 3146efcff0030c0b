"""A window of its own below the canvas: made when it is first wanted, closed and opened again whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget


class SideWindow:
    """Docks a widget below the canvas.

    Parameters
    ----------
    make : callable
        Returns the widget.

    Attributes
    ----------
    widget : QWidget or None
        None until it is wanted.
    """

    def __init__(self, viewer: Viewer, title: str, make: Callable[[], QWidget]) -> None:
        self._viewer, self._title, self._make = viewer, title, make
        self.widget: QWidget | None = None

    def show(self) -> None:
        """Show it, also after it was closed by its x."""
        if self.widget is None:
            self.widget = self._make()
        if self.widget.parentWidget() is None:
            add = self._viewer.window.add_dock_widget
            add(self.widget, name=self._title, area="bottom", tabify=True)  # side by side, neither has room
        frame = self.widget.parentWidget()
        assert frame is not None
        frame.show()
        frame.raise_()

    def close(self) -> None:
        """Take it away for good."""
        made, self.widget = self.widget, None
        if made is not None and made.parentWidget() is not None:
            self._viewer.window.remove_dock_widget(made)
