"""The line of the lasso, drawn over the canvas: a layer for it would stop the window for half a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLOUR = "#ffd24a"


class LassoLine(QWidget):
    """A line drawn on the canvas. It ignores the mouse, and is hidden while it has no points.

    Parameters
    ----------
    dock : QWidget
        In the window of the viewer.
    """

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._dock = dock
        self.hide()
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAttribute(Qt.WidgetAttribute.WA_NoSystemBackground)
        self.points: list[tuple[float, float]] = []

    def draw(self, points: Sequence[tuple[float, float]]) -> None:
        """Show a line through points (x, y) of the canvas, pixels of the screen."""
        canvas = _canvas_of(self._dock)
        if canvas is None:
            return
        self.points = list(points)
        if self.parentWidget() is not canvas:
            self.setParent(canvas)
        self.setGeometry(canvas.rect())
        self.show()
        self.update()

    def forget(self) -> None:
        """Show no line."""
        self.points = []
        self.hide()

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(_COLOUR), 2))
        painter.drawPolyline(QPolygonF([QPointF(*point) for point in self.points]))
        painter.end()


def _canvas_of(widget: QWidget) -> QWidget | None:
    """Return the widget on which napari draws in the window of a widget, which may be in a dock that floats."""
    while (above := widget.parentWidget()) is not None:
        widget = above
    found = (one for one in widget.findChildren(QWidget) if type(one).__name__.startswith("CanvasBackend"))
    return next(found, None)
