"""What the dock needs from the start of the window to its end: early layers, side windows, the end of all work."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Points
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.transforms import Affine
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QWidget

from napari_gempick.widgets.layers.layer_registry import UNIT, try_scale_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from napari_gempick.widgets.layers.turns import Turns
    from napari_gempick.widgets.state.threads import Background

_PLACE: dict[str, Any] = {"scale": (1.0, 1.0), "units": (UNIT, UNIT)}
_CLEAR, _WHITE = np.zeros(4, np.float32), np.ones(4, np.float32)
_KINDS: dict[str, Callable[[], Any]] = {
    "image": lambda: Image(np.zeros((8, 8), np.float32), contrast_limits=(0, 1), **_PLACE),
    "points": lambda: Points(np.zeros((1, 2)), features={"view": [""]}, border_color="white", **_PLACE),
    "labels": lambda: Labels(
        np.zeros((8, 8), np.uint8),
        colormap=DirectLabelColormap(color_dict={None: _CLEAR, 0: _CLEAR, 1: _WHITE}),
        **_PLACE,
    ),
}


def warm_up(background: Background, turns: Turns, viewer: Viewer, dock: QWidget) -> None:
    """Make what napari makes with the first layer of a kind before somebody waits for it.

    Modules and tables are loaded on a thread; a layer of each kind and its controls are made, which nobody sees.
    """
    Affine(ndim=2, units=(UNIT, UNIT))  # reads the table of units, for a second

    def put(*kinds: str) -> None:
        for kind in kinds:
            turns.put(f"first {kind}", lambda kind=kind: _make_controls(_KINDS[kind](), dock))  # type: ignore[misc]

    background.do(_load, lambda _: put("points", "labels"))  # which wait for pandas
    put("image")
    turns.put("first scale bar", lambda: try_scale_bar(viewer, True))
    turns.put("no scale bar", lambda: try_scale_bar(viewer, False))


def _load() -> None:
    import_module("pandas")  # which the first points wait for, a second
    try:
        import_module("vispy.visuals.line.dash_atlas").DashAtlas()  # patterns of lines, which the first labels wait for
    except (ImportError, AttributeError):  # of another vispy
        return


def _make_controls(layer: Any, dock: QWidget) -> None:
    """Make the controls of a layer in the look of the dock's window, and let them go."""
    try:
        container = import_module("napari._qt.layer_controls.qt_layer_controls_container")
        made = container.create_qt_layer_controls(layer)
    except (ImportError, AttributeError):  # of another napari
        return
    made.hide()
    made.setParent(dock)
    for widget in (made, *made.findChildren(QWidget)):
        widget.ensurePolished()
    made.deleteLater()


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


class SideWindow:
    """Docks a widget below the canvas: made when it is first wanted, closed and opened again whole.

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


class Bridge(QObject):
    """The one way from other threads to the window's: makes calls on the thread that it was made on."""

    _called = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._called.connect(self._call, Qt.ConnectionType.QueuedConnection)

    def post(self, call: Callable[[], None]) -> None:
        """Make a call soon, on the window's thread; from any thread."""
        try:
            self._called.emit(call)
        except RuntimeError:  # the window is gone, and this object with it
            return

    def _call(self, call: Callable[[], None]) -> None:
        call()
