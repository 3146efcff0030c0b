"""A plot of micrographs, one number against another; a click shows one, a drag selects several."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRect, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QToolTip, QWidget

from napari_gempick.model.values import figures

if TYPE_CHECKING:
    from qtpy.QtGui import QMouseEvent

LEFT, FOOT, EDGE, GRAB = 46, 30, 8, 8
KEPT, REJECTED, CHOSEN = "#35c46a", "#ff6b5a", "#ffd24a"


class Scatter(QWidget):
    """Points with axes.

    Attributes
    ----------
    clicked : Signal
        The name of a point.
    selected : Signal
        The names in a rectangle that was drawn.
    """

    clicked = Signal(str)
    selected = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumSize(260, 120)
        self.setMouseTracking(True)
        self.setAccessibleName("Plot of micrographs")
        self._points: list[tuple[str, float, float, bool]] = []
        self._titles = "", ""
        self._ranges = ((0.0, 1.0), (0.0, 1.0))
        self._chosen: set[str] = set()
        self._from: QPointF | None = None
        self._to: QPointF | None = None

    def show_points(self, points: list[tuple[str, float, float, bool]], x: str, y: str) -> None:
        """Show (name, x, y, kept) with the titles of the axes; those without a number are left out."""
        self._points = [point for point in points if math.isfinite(point[1]) and math.isfinite(point[2])]
        self._titles = x, y
        self._ranges = tuple(_range([point[axis] for point in self._points]) for axis in (1, 2))  # type: ignore[assignment]
        self.update()

    def choose(self, names: set[str]) -> None:
        """Mark points."""
        if names != self._chosen:
            self._chosen = names
            self.update()

    def place(self, x: float, y: float) -> QPointF:
        """Return where a point lies on the widget."""
        (x0, x1), (y0, y1) = self._ranges
        width, height = self.width() - LEFT - EDGE, self.height() - FOOT - EDGE
        return QPointF(LEFT + (x - x0) / (x1 - x0) * width, EDGE + (1 - (y - y0) / (y1 - y0)) * height)

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().windowText().color()
        painter.setPen(text)
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        ground = QColor(text)
        ground.setAlphaF(0.06)
        inner = QRectF(LEFT, EDGE, self.width() - LEFT - EDGE, self.height() - FOOT - EDGE)
        painter.fillRect(inner, ground)
        if not self._points:
            painter.drawText(inner, Qt.AlignmentFlag.AlignCenter, "No micrograph has both numbers yet")
            painter.end()
            return
        for (x, across), (y, up) in zip(*(_ticks(*of) for of in self._ranges), strict=True):
            at = self.place(x, y)
            below = QRectF(min(max(at.x() - 30, LEFT - 8), self.width() - 62), self.height() - FOOT + 1, 60, 14)
            painter.drawText(below, Qt.AlignmentFlag.AlignCenter, across)
            beside = QRectF(0, min(max(at.y() - 7, 0), self.height() - FOOT - 12), LEFT - 4, 14)
            painter.drawText(beside, Qt.AlignmentFlag.AlignRight, up)
        painter.drawText(
            QRectF(LEFT, self.height() - 15, inner.width(), 14),
            Qt.AlignmentFlag.AlignCenter,
            f"{self._titles[0]}   (up: {self._titles[1]})",
        )
        for name, x, y, kept in self._points:
            chosen = name in self._chosen
            painter.setPen(QPen(QColor(CHOSEN), 2) if chosen else Qt.PenStyle.NoPen)
            painter.setBrush(QColor(KEPT if kept else REJECTED))
            size = 5.0 if chosen else 3.5
            painter.drawEllipse(self.place(x, y), size, size)
        if self._from is not None and self._to is not None:
            painter.setPen(QPen(text, 1, Qt.PenStyle.DashLine))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(QRectF(self._from, self._to).normalized())
        painter.end()

    def _near(self, at: QPointF) -> tuple[str, float, float, bool] | None:
        best = min(self._points, key=lambda one: _apart(self.place(one[1], one[2]), at), default=None)
        return best if best is not None and _apart(self.place(best[1], best[2]), at) <= GRAB else None

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._from = self._to = event.position()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._from is not None:
            self._to = event.position()
            self.update()
            return
        near = self._near(event.position())
        words = "" if near is None else f"{near[0]}: {figures(near[1])}, {figures(near[2])}"
        QToolTip.showText(event.globalPosition().toPoint(), words, self, QRect())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        start, self._from, self._to = self._from, None, None
        self.update()
        if start is None:
            return
        if _apart(start, event.position()) > GRAB:
            box = QRectF(start, event.position()).normalized()
            self.selected.emit([one[0] for one in self._points if box.contains(self.place(one[1], one[2]))])
        elif (near := self._near(event.position())) is not None:
            self.clicked.emit(near[0])


def _apart(a: QPointF, b: QPointF) -> float:
    return math.hypot(a.x() - b.x(), a.y() - b.y())


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return the ends and the middle of an axis with texts that differ."""
    values = [low, (low + high) / 2, high]
    for count in range(3, 9):
        texts = [figures(value, count) for value in values]
        if len(set(texts)) == len(texts):
            break
    return list(zip(values, texts, strict=True))


def _range(values: list[float]) -> tuple[float, float]:
    """Return what an axis shows: all values with a margin, but nothing below 0 where no value is."""
    if not values:
        return 0.0, 1.0
    low, high = float(np.min(values)), float(np.max(values))
    margin = 0.05 * (high - low) or max(abs(low), 1.0) * 0.05
    return max(low - margin, 0.0) if low >= 0 else low - margin, high + margin
