"""The gallery: candidates on both sides of the threshold; a click goes there, X rejects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QRect, Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QToolTip, QWidget
from superqt.utils import qdebounced

from napari_gempick.widgets.forms.parts import pixmap
from napari_gempick.widgets.layers.pictures import cut_out

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qtpy.QtGui import QKeyEvent, QMouseEvent

    from napari_gempick.widgets.layers.layers import Layers
    from napari_gempick.widgets.state.controller import Controller

SIDE, GAP, ROWS = 50, 4, 2
_SETTLE_MS = 200


@dataclass(frozen=True, eq=False)
class CandidatePicture:
    """A candidate in the gallery."""

    number: int
    x: float
    y: float
    score: float
    view: str
    picked: bool
    picture: NDArray[Any]


class Gallery(QWidget):
    """Shows candidates about the thresholds, the best first.

    Parameters
    ----------
    layers : Layers
        Says through which low-pass the micrograph is seen.
    go_to : callable
        `go_to(x, y)` shows a position, pixels of the file.
    """

    def __init__(self, controller: Controller, layers: Layers, go_to: Any) -> None:
        super().__init__()
        self._controller, self._layers, self._go_to = controller, layers, go_to
        self.tiles: list[CandidatePicture] = []
        self._pixmaps: list[Any] = []
        self.current = -1
        self._generation = 0
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setAccessibleName("Candidates about the threshold")
        self.setFixedHeight(ROWS * (SIDE + GAP))
        self._refresh_soon = qdebounced(self.refresh, timeout=_SETTLE_MS)
        controller.choice_changed.connect(lambda *_: self._refresh_soon())
        layers.seen_changed.connect(self._refresh_soon)
        self._empty = "Candidates about the threshold appear here"

    @property
    def columns(self) -> int:
        """How many fit side by side."""
        return max(1, (self.width() + GAP) // (SIDE + GAP))

    def refresh(self) -> None:
        """Choose and draw the candidates anew, on a thread."""
        controller = self._controller
        loaded, choice, seen = controller.loaded, controller.choice, self._layers.seen
        if loaded is None or seen is None or choice is None or loaded.selection is None:
            self._set([])
            return
        self._generation += 1
        generation, tune, count = self._generation, controller.tune(), ROWS * self.columns
        selection, (image, contrast) = loaded.selection, seen
        size = max(8, round(1.4 * selection.diameter / selection.candidates.pixel_size))
        numbers = selection.around_threshold(choice, tune, count).tolist()
        picks, names = selection.picks, selection.candidates.view_names

        def draw() -> list[CandidatePicture]:
            made = []
            for k in numbers:
                x, y = float(picks.x[k]), float(picks.y[k])
                picture = cut_out(image, x, y, size, 2 * SIDE, contrast)
                picked = k < len(choice.shown) and bool(choice.shown[k])
                made.append(CandidatePicture(k, x, y, float(picks.score[k]), names[picks.view[k]], picked, picture))
            return made

        controller.background.do(draw, lambda made: generation == self._generation and self._set(made))

    def _set(self, tiles: list[CandidatePicture]) -> None:
        self.tiles = tiles
        self._pixmaps = [pixmap(tile.picture, SIDE) for tile in tiles]
        self.current = min(self.current, len(tiles) - 1)
        self.update()

    def _place(self, number: int) -> QRect:
        row, column = divmod(number, self.columns)
        return QRect(column * (SIDE + GAP), row * (SIDE + GAP), SIDE, SIDE)

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        text = self.palette().windowText().color()
        if not self.tiles:
            painter.setPen(text)
            painter.setOpacity(0.6)
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self._empty)
            painter.end()
            return
        font = painter.font()
        font.setPixelSize(10)
        painter.setFont(font)
        for number, (tile, picture) in enumerate(zip(self.tiles, self._pixmaps, strict=True)):
            place = self._place(number)
            painter.setOpacity(1.0 if tile.picked else 0.55)
            painter.drawPixmap(place, picture)
            colour = QColor(self._controller.colour(tile.view))
            style = Qt.PenStyle.SolidLine if tile.picked else Qt.PenStyle.DotLine
            painter.setPen(QPen(colour, 2, style))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(place.adjusted(1, 1, -1, -1))
            painter.setOpacity(1.0)
            badge = QRect(place.left() + 2, place.bottom() - 13, 28, 12)
            painter.fillRect(badge, QColor(0, 0, 0, 170))
            painter.setPen(QColor("#ffffff"))
            painter.drawText(badge, Qt.AlignmentFlag.AlignCenter, f"{tile.score:.2f}")
            if number == self.current and self.hasFocus():
                painter.setPen(QPen(text, 1))
                painter.drawRect(place.adjusted(-1, -1, 1, 1))
        painter.end()

    def _at(self, event: QMouseEvent) -> int:
        x, y = event.position().x(), event.position().y()
        return next((n for n in range(len(self.tiles)) if self._place(n).contains(int(x), int(y))), -1)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.setFocus()
        self._choose(self._at(event))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        number = self._at(event)
        if number >= 0:
            tile = self.tiles[number]
            what = "picked; X rejects it" if tile.picked else "not picked: below the threshold"
            QToolTip.showText(event.globalPosition().toPoint(), f"{tile.view}, score {tile.score:.3f}, {what}", self)

    def _choose(self, number: int) -> None:
        if 0 <= number < len(self.tiles):
            self.current = number
            self._go_to(self.tiles[number].x, self.tiles[number].y)
            self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        steps = {
            Qt.Key.Key_Left: -1,
            Qt.Key.Key_Right: 1,
            Qt.Key.Key_Up: -self.columns,
            Qt.Key.Key_Down: self.columns,
        }
        if event.key() in steps:
            self._choose(self.current + steps[event.key()])
        elif event.key() == Qt.Key.Key_X:
            self.reject_current()
        else:
            super().keyPressEvent(event)

    def reject_current(self) -> bool:
        """Reject the chosen candidate; returns whether it was a pick."""
        tile = self.tiles[self.current] if 0 <= self.current < len(self.tiles) else None
        if tile is not None and tile.picked:
            self._controller.reject([(tile.x, tile.y)])
        elif tile is not None:
            self._controller.notified.emit("This candidate has a dotted frame: it is not a pick.", "info")
        return tile is not None and tile.picked
