"""What a person does with the window: real clicks and keys on the dock, and waiting for what follows."""

import contextlib
import shutil

from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_gempick.widgets.app.dock import open_dock
from napari_gempick.widgets.layers.layer_registry import camera_of


@contextlib.contextmanager
def docked(viewer):
    """A dock in an empty viewer; in the end it is shut down, and the viewer is as before."""
    viewer.layers.clear()
    visible = viewer.window._qt_window.isVisible()
    made = open_dock(viewer)
    QApplication.processEvents()
    yield made
    made.shut()
    viewer.window.remove_dock_widget(made)
    viewer.window._qt_window.setVisible(visible)
    QApplication.processEvents()


class Hand:
    """A dock in a viewer, used by hand."""

    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot = viewer, qtbot
        self._docked = docked(viewer)
        self.dock = self._docked.__enter__()
        self.controller = self.dock.controller
        self.notified = []
        self.controller.notified.connect(lambda sentence, kind: self.notified.append((kind, sentence)))

    def leave(self):
        self._docked.__exit__(None, None, None)

    def until(self, condition, seconds=30):
        self.qtbot.waitUntil(condition, timeout=1000 * seconds)

    def idle(self):
        """Wait until nothing is left to do."""
        for _ in range(3):  # what comes back may ask for more
            self.until(lambda: self.dock.searches.run is None and not self.dock.counter.busy)
            self.until(lambda: not self.controller.background.busy)
            QApplication.processEvents()

    def click(self, widget, at=None):
        """Scroll to a widget and click on it."""
        assert widget.isEnabled(), f"{widget} cannot be clicked"
        self.dock.scroll.ensureWidgetVisible(widget)
        QApplication.processEvents()
        assert widget.isVisible(), f"{widget} cannot be seen"
        if at is not None:
            self.qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=QPoint(*at))
        else:
            self.qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)

    def type(self, editor, text):
        """Replace what a field holds, and press Return."""
        line = getattr(editor, "lineEdit", lambda: editor)()
        self.click(editor)
        line.selectAll()
        self.qtbot.keyClicks(line, text)
        self.qtbot.keyClick(line, Qt.Key.Key_Return)

    def choose(self, menu, beginning):
        """Choose from a menu."""
        (action,) = [action for action in menu.actions() if action.text().startswith(beginning)]
        assert action.isEnabled()
        action.trigger()

    def pick_files(self, monkeypatch, *files):
        """Answer the next file dialogs."""
        names = [str(file) for file in files]
        monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: (names, ""))
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (names[0], ""))
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: names[0])

    def canvas(self):
        """Return the widget that the layers are drawn on."""
        return self.viewer.window._qt_viewer.canvas.native

    def on_canvas(self, x, y):
        """Return where a pixel (x, y) of the micrograph is on the canvas."""
        size, _ = self.dock.layers.scale
        cy, cx = camera_of(self.viewer).center[-2:]
        zoom, canvas = camera_of(self.viewer).zoom, self.canvas()
        return QPoint(
            round(canvas.width() / 2 + (x * size - cx) * zoom), round(canvas.height() / 2 + (y * size - cy) * zoom)
        )

    def stroke(self, *places):
        """Press the mouse at the first place (x, y), move over the others, and let go; one place is a click."""
        left, canvas, points = Qt.MouseButton.LeftButton, self.canvas(), [self.on_canvas(*place) for place in places]
        self.qtbot.mouseMove(canvas, points[0])
        self.qtbot.mousePress(canvas, left, pos=points[0])
        for point in points[1:]:
            self.qtbot.wait(15)  # vispy leaves out what comes within 10 ms
            event = QMouseEvent(
                QEvent.Type.MouseMove,
                QPointF(point),
                QPointF(canvas.mapToGlobal(point)),
                Qt.MouseButton.NoButton,
                left,
                Qt.KeyboardModifier.NoModifier,
            )
            QApplication.sendEvent(canvas, event)
        self.qtbot.mouseRelease(canvas, left, pos=points[-1])
        QApplication.processEvents()

    def open_searched(self, searched, folder):
        """Open a copy of the session that was searched."""
        shutil.copytree(searched, folder)
        self.dock.open([folder])
        self.until(lambda: self.controller.choice is not None)
        self.until(lambda: self.dock.layers.layer("Index") is not None)
        self.idle()
