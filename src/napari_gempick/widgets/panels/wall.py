"""The threshold wall: a few micrographs side by side, whose picks follow the thresholds; a click opens one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPen
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget
from superqt.utils import qthrottled

from napari_gempick.widgets.forms.parts import button, row
from napari_gempick.widgets.state.curating import SPREAD, numbers_of, spread_of
from napari_gempick.widgets.state.look import counted
from napari_gempick.widgets.state.walling import marks_of, thumbnail

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent, QMouseEvent

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.background.pick_counter import PickCounter
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.curating import CtfValues
    from napari_gempick.widgets.state.walling import Marks, MicrographPicture

GAP, LINE, LEAST, BEST = 6, 18, 120, 260
"""Pixels: between tiles, of the line above each, the smallest side of a tile, and the one that is asked for."""
_MOVE_MS = 40
_OPEN = "#ffd24a"
"""Frame of the micrograph that is in the canvas."""
_STEPS = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}


class Wall(QWidget):
    """Micrographs that span the defocus or the picks, and what the thresholds do to each.

    Attributes
    ----------
    stems : list of str
        The micrographs that are shown.
    marks : dict of str to Marks
    """

    def __init__(self, controller: Controller, counter: PickCounter, ctf: CtfValues) -> None:
        super().__init__()
        self._controller, self._counter, self._ctf = controller, counter, ctf
        self.stems: list[str] = []
        self.marks: dict[str, Marks] = {}
        self.pictures: dict[str, tuple[Any, MicrographPicture | None]] = {}
        self._reading = ""
        self._choosing, self._again = False, False
        self.words = QLabel("")
        self.other = button("Choose again", "Choose the micrographs again, by what is known of them now", self.choose)
        self.tiles = Tiles(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(row(self.words, self.other, wide=0))
        layout.addWidget(self.tiles, 1)
        self._mark_soon = qthrottled(self._mark, timeout=_MOVE_MS)
        self._look_soon = qthrottled(self._look, timeout=150, leading=False)
        controller.state_changed.connect(self._state_changed)
        controller.results_changed.connect(lambda stem: self._look_soon())
        controller.current_changed.connect(lambda: self.tiles.update())
        counter.histogram_changed.connect(self._look_soon)
        ctf.changed.connect(self.choose)

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self._look()

    @property
    def current(self) -> str | None:
        """The micrograph in the canvas."""
        return self._controller.stem

    def files(self) -> dict[str, MicrographFile]:
        """Return the micrographs with results that are not rejected, by stem."""
        results = self._controller.results
        kept = {file.output_stem: file for file in self._controller.state.kept}
        return {stem: file for stem, file in kept.items() if stem in results and not results[stem].error}

    def choose(self) -> None:
        """Choose which micrographs are shown: a spread, filled up with others where few numbers are known."""
        if not self.isVisible():
            self.stems = []
            return
        files = self.files()
        self._ctf.read()
        found = numbers_of(self._controller, self._counter.counts, self._counter.details, self._ctf.values)
        chosen = spread_of({stem: found[stem] for stem in files})
        self.stems = [*chosen, *(stem for stem in files if stem not in chosen)][:SPREAD]
        self.marks = {stem: marks for stem, marks in self.marks.items() if stem in self.stems}
        some = counted(len(files), "searched micrograph")
        some = some if len(self.stems) == len(files) else f"{len(self.stems)} of {some}"
        self.words.setText(some if files else "Search some micrographs first.")
        self._read_next()
        self._mark_soon()

    def _look(self) -> None:
        """Choose again if fewer micrographs are shown than there are; draw those with new results."""
        files = self.files()
        wanted = min(SPREAD, len(files))
        if not self.isVisible():
            return
        if len(self.stems) != wanted or not set(self.stems) <= files.keys():
            self.choose()
        else:
            self._read_next()
            self._mark_soon()

    def _state_changed(self, state: Any, before: Any) -> None:
        if (state.files, state.rejected, state.values.get("ctf")) != (
            before.files,
            before.rejected,
            before.values.get("ctf"),
        ):
            self._ctf.read()
            self._look_soon()
        self._mark_soon()

    def _key(self, file: MicrographFile) -> Any:
        return file, self._controller.state.values.get("pixel_size")

    def _read_next(self) -> None:
        """Make the pictures that are missing, one after the other."""
        if self._reading:
            return
        files = self.files()
        for stem in self.stems:
            if stem not in files:
                continue
            file, key = files[stem], self._key(files[stem])
            if self.pictures.get(stem, (None,))[0] != key:
                break
        else:
            self.pictures = {stem: self.pictures[stem] for stem in self.stems if stem in self.pictures}
            return
        self._reading = stem

        def take(made: MicrographPicture | None) -> None:
            self._reading = ""
            self.pictures[stem] = key, made
            self.tiles.forget(stem)
            self._read_next()

        def give_up() -> None:
            take(None)

        self._controller.background.do(lambda: thumbnail(file, key[1]), take, give_up)

    def _mark(self) -> None:
        """Choose the picks of all that are shown, on a thread; of moves in the meantime only the last one counts."""
        controller = self._controller
        if not self.isVisible() or controller.folder is None:
            return
        if self._choosing:
            self._again = True
            return
        state, folder, results = controller.state, controller.folder.path, dict(controller.results)
        files = self.files()
        shown = [files[stem] for stem in self.stems if stem in files]
        colours = {view.name: view.colour for view in state.views}

        def colour(view: str) -> str:
            return colours.get(view) or controller.colour(view)

        def work() -> dict[str, Marks]:
            return {
                file.output_stem: marks_of(file, state, folder, results, controller.selections, colour)
                for file in shown
            }

        def done() -> None:
            self._choosing = False
            if self._again:
                self._again = False
                self._mark()

        def take(made: dict[str, Marks]) -> None:
            self.marks = made
            self.tiles.update()
            done()

        self._choosing = True
        controller.background.do(work, take, done)

    def open(self, stem: str) -> None:
        """Show a micrograph in the canvas."""
        self._controller.go_to(stem)


class Tiles(QWidget):
    """Draws the micrographs of a wall in as many columns as make them largest."""

    def __init__(self, wall: Wall) -> None:
        super().__init__()
        self._wall = wall
        self._images: dict[str, QImage] = {}
        self.current = 0
        self.setMinimumSize(2 * LEAST, LEAST + LINE)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Micrographs of the threshold wall")
        self.setToolTip("Click a micrograph to open it; with the keyboard: arrows and Return")
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def sizeHint(self) -> QSize:
        return QSize(SPREAD * BEST, BEST + LINE)

    def forget(self, stem: str) -> None:
        """Draw another picture of a micrograph."""
        self._images.pop(stem, None)
        self.update()

    def place(self, number: int) -> QRectF:
        """Return where a micrograph and its line are drawn."""
        count = max(1, len(self._wall.stems))

        def side(columns: int) -> float:
            rows = -(-count // columns)
            return min(self.width() / columns - GAP, self.height() / rows - GAP - LINE)

        columns = max(range(1, count + 1), key=side)
        line, column = divmod(number, columns)
        most = side(columns)
        return QRectF(column * (most + GAP), line * (most + LINE + GAP), most, most + LINE)

    def paintEvent(self, event: Any) -> None:
        wall, painter = self._wall, QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        for number, stem in enumerate(wall.stems):
            self._paint(painter, number, stem)
        painter.end()

    def _paint(self, painter: QPainter, number: int, stem: str) -> None:
        wall, place = self._wall, self.place(number)
        text = self.palette().windowText().color()
        marks, picture = wall.marks.get(stem), wall.pictures.get(stem, (None, None))[1]
        painter.setPen(text)
        words = "" if marks is None else counted(len(marks), "pick")
        line = QRectF(place.left(), place.top(), place.width(), LINE)
        metrics = painter.fontMetrics()
        painter.drawText(line, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, words)
        room = int(place.width()) - metrics.horizontalAdvance(words) - 8
        name = metrics.elidedText(stem, Qt.TextElideMode.ElideMiddle, max(0, room))
        painter.drawText(line, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, name)
        box = place.adjusted(0, LINE, 0, 0)
        if picture is None or (marks is not None and marks.error):
            why = "reading..." if stem not in wall.pictures else "This micrograph cannot be read."
            flags = int(Qt.AlignmentFlag.AlignCenter) | int(Qt.TextFlag.TextWordWrap)
            painter.drawText(box, flags, (marks.error if marks is not None else "") or why)
        else:
            image = self._images.setdefault(stem, _image(picture.grey))
            scale = min(box.width() / image.width(), box.height() / image.height())
            box = QRectF(box.left(), box.top(), image.width() * scale, image.height() * scale)
            painter.drawImage(box, image)
            if marks is not None:
                _draw(painter, marks, box, scale / picture.ratio)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if stem == wall.current:
            painter.setPen(QPen(QColor(_OPEN), 3))
            painter.drawRect(box.adjusted(1, 1, -1, -1))
        if self.hasFocus() and number == self.current:
            painter.setPen(QPen(text, 1, Qt.PenStyle.DotLine))
            painter.drawRect(box.adjusted(3, 3, -3, -3))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        for number, stem in enumerate(self._wall.stems):
            if event.button() == Qt.MouseButton.LeftButton and self.place(number).contains(event.position()):
                self.current = number
                self._wall.open(stem)
                break
        self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        stems = self._wall.stems
        if event.key() in _STEPS and stems:
            self.current = int(np.clip(self.current + _STEPS[event.key()], 0, len(stems) - 1))
            self.update()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space) and self.current < len(stems):
            self._wall.open(stems[self.current])
        else:
            super().keyPressEvent(event)


def _image(grey: Any) -> QImage:
    data = np.ascontiguousarray(grey)
    height, width = data.shape
    return QImage(data.data, width, height, width, QImage.Format.Format_Grayscale8).copy()


def _draw(painter: QPainter, marks: Marks, box: QRectF, scale: float) -> None:
    """Draw the picks as circles in the colour of their view; `scale` is screen pixels per pixel of the file."""
    radius = max(2.0, marks.diameter * scale / 2)
    for number, colour in enumerate(marks.colours):
        mine = marks.view == number
        painter.setPen(QPen(QColor(colour), 1.4))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for x, y in zip(
            ((marks.x[mine] + 0.5) * scale).tolist(), ((marks.y[mine] + 0.5) * scale).tolist(), strict=True
        ):
            painter.drawEllipse(QPointF(box.left() + x, box.top() + y), radius, radius)
