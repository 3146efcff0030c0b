"""Tools that correct picks with the mouse, whichever layer is selected: add, erase, lasso."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.path import Path
from psygnal import Signal

from napari_gempick.widgets.layers.lasso_line import LassoLine
from napari_gempick.widgets.layers.layer_registry import PICKS, camera_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.layers import Layer
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_gempick.widgets.layers.layers import Layers
    from napari_gempick.widgets.state.controller import Controller

PAN, ADD, ERASE, LASSO = "pan", "add", "erase", "lasso"
STILL = 4
"""Screen pixels that the mouse may move in a click."""


class PickTools:
    """The tool in hand, and what the mouse does with it.

    Parameters
    ----------
    viewer : napari.Viewer
    controller : Controller
    layers : Layers
    dock : QWidget
        In the window of the viewer.

    Attributes
    ----------
    tool : str
        PAN, ADD, ERASE or LASSO.
    view : str
        The view of picks that are added; "" takes the one that fits best.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer, controller: Controller, layers: Layers, dock: QWidget) -> None:
        self._viewer, self._controller, self._layers = viewer, controller, layers
        self.tool, self.view = PAN, ""
        self._strokes = 0
        self.line = LassoLine(dock)
        viewer.mouse_drag_callbacks.append(self._drag)
        viewer.layers.selection.events.active.connect(self._show_circle, position="last")  # after napari's own
        controller.choice_changed.connect(self._show_circle)

    def take(self, tool: str) -> None:
        """Take a tool; the same one again puts it down."""
        self.tool = PAN if tool == self.tool else tool
        for layer in self._layers.all():
            if str(getattr(layer, "mode", "pan_zoom")) != "pan_zoom":
                layer.mode = "pan_zoom"
        camera_of(self._viewer).mouse_pan = self.tool not in (ERASE, LASSO)
        if self.tool != LASSO:
            self.line.forget()
        self._show_circle()
        self.changed.emit()

    def put_down(self) -> None:
        """Have no tool in hand."""
        if self.tool != PAN:
            self.take(PAN)

    def radius(self) -> float:
        """Return half the particle's diameter, pixels of the file."""
        points = self._layers.layer(PICKS)
        return 20.0 if points is None else float(points.current_size) / 2

    def _show_circle(self, event: Any = None) -> None:
        """Show a particle's circle at the cursor, on the layer that is selected now."""
        layer = self._viewer.layers.selection.active
        if layer is None or self._is_in_use(layer):
            return
        camera_of(self._viewer).mouse_pan = self.tool not in (ERASE, LASSO)  # napari lets every new layer pan
        circle = self.tool in (ADD, ERASE)
        size = max(1.0, 2 * self.radius() * self._layers.scale[0])
        if circle and layer.cursor_size != size:
            layer.cursor_size = size
        wanted = "circle" if circle else "cross" if self.tool == LASSO else "standard"
        if layer.cursor != wanted:
            layer.cursor = wanted

    def _is_in_use(self, layer: Layer | None) -> bool:
        """Return whether the mouse paints, draws or selects on a layer with a tool of napari."""
        return str(getattr(layer, "mode", "pan_zoom")) != "pan_zoom"

    def _place(self, event: Any) -> tuple[float, float]:
        """Return (x, y) of the mouse, pixels of the file."""
        size, _ = self._layers.scale
        return float(event.position[-1]) / size, float(event.position[-2]) / size

    def _drag(self, viewer: Any, event: Any) -> Iterator[None]:
        """Do what the tool does from the press of the button to its release."""
        if self.tool == PAN or event.button != 1 or not self._controller.is_shown:
            return
        if self._is_in_use(viewer.layers.selection.active):
            return
        yield from {ADD: self._add, ERASE: self._erase, LASSO: self._lasso}[self.tool](event)

    def _add(self, event: Any) -> Iterator[None]:
        """Add a pick by a click; a drag moves the picture."""
        place, screen = self._place(event), tuple(event.pos)
        moved = 0.0
        yield
        while event.type == "mouse_move":
            moved = max(moved, math.dist(screen, tuple(event.pos)))
            yield
        if max(moved, math.dist(screen, tuple(event.pos))) <= STILL:
            self._controller.add_pick(*place, self.view)

    def _erase(self, event: Any) -> Iterator[None]:
        """Reject the picks that the brush touches, all of a stroke in one step."""
        self._strokes += 1
        before = self._place(event)
        while True:
            here = self._place(event)
            self._reject_along(before, here, f"erase {self._strokes}")
            before = here
            if event.type == "mouse_release":
                break
            yield
        self._controller.history.end_gesture()

    def _reject_along(self, start: tuple[float, float], end: tuple[float, float], gesture: str) -> None:
        """Reject the picks within the brush of the way between two places (x, y), pixels of the file."""
        points = self._layers.layer(PICKS)
        if points is None or not len(points.data):
            return
        places, way = np.asarray(points.data)[:, ::-1] - start, np.subtract(end, start)
        share = np.clip(places @ way / max(float(way @ way), 1e-9), 0, 1)
        near = np.flatnonzero(np.linalg.norm(places - share[:, None] * way, axis=1) <= self.radius())
        if len(near):
            self._controller.reject([self._layers.picks.position(int(i)) for i in near], gesture)

    def _lasso(self, event: Any) -> Iterator[None]:
        """Reject the picks inside a line drawn around them."""
        corners, seen = [self._place(event)], [tuple(event.pos)]
        yield
        while event.type == "mouse_move":
            corners.append(self._place(event))
            seen.append(tuple(event.pos))
            self.line.draw(seen)
            yield
        self.line.forget()
        points = self._layers.layer(PICKS)
        if len(corners) < 3 or points is None or not len(points.data):
            return
        inside = Path(corners).contains_points(np.asarray(points.data)[:, ::-1])
        if inside.any():
            self._controller.reject([self._layers.picks.position(int(i)) for i in np.flatnonzero(inside)])

    def close(self) -> None:
        """Put the tool down and let go of the viewer."""
        self.put_down()
        with contextlib.suppress(RuntimeError):  # it may be gone with the canvas
            self.line.deleteLater()
        if self._drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._drag)
        self._viewer.layers.selection.events.active.disconnect(self._show_circle)
