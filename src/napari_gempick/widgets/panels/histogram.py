"""The histogram of peak scores: a curve for each view, and a threshold line for each that can be dragged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from qtpy.QtGui import QKeyEvent, QMouseEvent

_FOOT, _GRAB = 14, 8


class Histogram(QWidget):
    """Counts of candidates by score, on a logarithmic axis: a few particles beside thousands of noise peaks."""

    dragged = Signal(str, float)
    released = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(92)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Histogram of peak scores")
        self.setToolTip(
            "<p>How many peaks have which score, on a logarithmic axis. Filled: this micrograph; line: "
            "all that were searched. Drag a vertical line to move the threshold of its view.</p>"
        )
        self._edges = np.linspace(-1, 1, 401)
        self._counts: dict[str, NDArray[Any]] = {}
        self._totals: dict[str, NDArray[Any]] = {}
        self._colours: Mapping[str, str] = {}
        self.thresholds: dict[str, float] = {}
        self._range = (0.0, 1.0)
        self._grabbed: str | None = None

    def show_counts(
        self, edges: NDArray[Any], counts: dict[str, Any], totals: dict[str, Any], colours: Mapping[str, str]
    ) -> None:
        """Show counts in bins for each view: of this micrograph, and of all."""
        self._edges, self._counts, self._totals, self._colours = edges, counts, totals, colours
        used = sum((np.asarray(c) for c in (*counts.values(), *totals.values())), np.zeros(len(edges) - 1))
        filled = np.flatnonzero(used)
        low = edges[filled[0]] if len(filled) else 0.0
        high = edges[filled[-1] + 1] if len(filled) else 1.0
        low, high = min(low, *self.thresholds.values(), 1.0), max(high, *self.thresholds.values(), 0.0)
        self._range = (np.floor(low * 20 - 0.5) / 20, min(1.0, np.ceil(high * 20 + 0.5) / 20))
        self.update()

    def show_thresholds(self, thresholds: dict[str, float]) -> None:
        """Move the lines."""
        if thresholds != self.thresholds:
            self.thresholds = thresholds
            self.update()

    def _x(self, score: float) -> float:
        low, high = self._range
        return (score - low) / (high - low) * self.width()

    def _score(self, x: float) -> float:
        low, high = self._range
        return low + x / max(1, self.width()) * (high - low)

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().windowText().color()
        ground = QColor(text)
        ground.setAlphaF(0.06)
        floor = self.height() - _FOOT
        painter.fillRect(QRectF(0, 0, self.width(), floor), ground)
        self._axis(painter, text, floor)
        if not self._counts and not self._totals:
            painter.setPen(text)
            painter.setOpacity(0.6)
            painter.drawText(
                QRectF(0, 0, self.width(), floor), Qt.AlignmentFlag.AlignCenter, "Scores appear after a search"
            )
            painter.end()
            return
        for counts, filled in ((self._counts, True), (self._totals, False)):
            top = max((float(np.max(c)) for c in counts.values() if len(c)), default=1.0)
            for view, values in counts.items():
                self._curve(painter, values, top, floor, QColor(self._colours.get(view, "#808080")), filled)
        for view, threshold in self.thresholds.items():
            colour = QColor(self._colours.get(view, "#808080"))
            painter.setPen(QPen(colour, 2 if view != self._grabbed else 3))
            x = self._x(threshold)
            painter.drawLine(QPointF(x, 0), QPointF(x, floor))
            painter.setBrush(colour)
            painter.drawPolygon(QPolygonF([QPointF(x - 5, 0), QPointF(x + 5, 0), QPointF(x, 7)]))
        painter.end()

    def _axis(self, painter: QPainter, text: QColor, floor: float) -> None:
        font = painter.font()
        font.setPixelSize(10)
        painter.setFont(font)
        painter.setPen(text)
        painter.setOpacity(0.7)
        for mark, words in marks_of(*self._range):
            x = self._x(mark)
            painter.drawLine(QPointF(x, floor), QPointF(x, floor + 3))
            painter.drawText(QRectF(x - 20, floor + 1, 40, _FOOT), Qt.AlignmentFlag.AlignCenter, words)
        painter.setOpacity(1.0)

    def _curve(self, painter: QPainter, values: Any, top: float, floor: float, colour: QColor, filled: bool) -> None:
        heights = np.log1p(np.asarray(values, float)) / np.log1p(max(1.0, top)) * (floor - 10)
        used = np.flatnonzero(values)
        if not len(used):
            return
        first, last = used[0], used[-1]
        points = [QPointF(self._x(self._edges[first]), floor)]
        for i in range(first, last + 1):
            y = floor - heights[i]
            points += [QPointF(self._x(self._edges[i]), y), QPointF(self._x(self._edges[i + 1]), y)]
        points.append(QPointF(self._x(self._edges[last + 1]), floor))
        if filled:
            fill = QColor(colour)
            fill.setAlphaF(0.45)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(fill)
            painter.drawPolygon(QPolygonF(points))
        else:
            painter.setPen(QPen(colour, 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawPolyline(QPolygonF(points))

    def _near(self, x: float) -> str | None:
        apart = {view: abs(self._x(score) - x) for view, score in self.thresholds.items()}
        best = min(apart, key=apart.__getitem__, default=None)
        return best if best is not None and apart[best] <= _GRAB else None

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._grabbed = self._near(event.position().x())
            self.update()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        x = event.position().x()
        if self._grabbed is not None:
            self.dragged.emit(self._grabbed, round(float(np.clip(self._score(x), -1, 1)), 3))
        else:
            near = self._near(x) is not None
            self.setCursor(Qt.CursorShape.SplitHCursor if near else Qt.CursorShape.ArrowCursor)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._grabbed is not None:
            self._grabbed = None
            self.update()
            self.released.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        steps = {Qt.Key.Key_Left: -0.01, Qt.Key.Key_Right: 0.01}
        if event.key() in steps and self.thresholds:
            for view, score in dict(self.thresholds).items():
                self.dragged.emit(view, round(score + steps[event.key()], 3))
            self.released.emit()
        else:
            super().keyPressEvent(event)


def marks_of(low: float, high: float) -> list[tuple[float, str]]:
    """Return the scores below the axis, not too near to its ends, and what is written there."""
    step = 0.1 if high - low <= 1.0 else 0.2
    marks = np.arange(np.ceil(low / step + 0.3), np.floor(high / step - 0.3) + 1) * step + 0.0  # 0 has no sign
    return [(float(mark), f"{mark:.1f}".replace("-", "−")) for mark in marks]
