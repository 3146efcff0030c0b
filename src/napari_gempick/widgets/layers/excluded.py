"""The excluded area as an overlay, which is edited with the brush and the eraser of napari."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_gempick.widgets.layers.layer_registry import PICKS, move_to
from napari_gempick.widgets.state.look import rgba
from napari_gempick.widgets.state.masks import Mask

if TYPE_CHECKING:
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_gempick.widgets.layers.layers import Layers
    from napari_gempick.widgets.state.controller import Controller

EXCLUDED = "Excluded"
PAINT, ERASE = "paint", "erase"
FINEST = 1024
"""Pixels of the longer side of the overlay, at most twice as many: a large micrograph is painted in small squares."""
_COLOUR, _BRUSH = "#ff4d4d", "brush"


class ExcludedArea:
    """Shows where no pick may lie, and takes what is painted."""

    changed = Signal()
    begins = Signal()
    """A brush is about to be taken."""

    def __init__(self, layers: Layers, controller: Controller) -> None:
        self._layers, self._controller = layers, controller
        self._selection: Any = None
        self._packed, self._coarse = np.zeros((0, 0), np.uint8), np.zeros((0, 0), bool)
        self._painted_last: Mask | None = None
        self._squares, self._wanted = 1, False
        controller.loaded_changed.connect(self._fill)
        layers.viewer.layers.events.removed.connect(self._removed)

    @property
    def layer(self) -> Labels | None:
        """The overlay, where it was made."""
        return self._layers.layer(EXCLUDED)

    @property
    def shown(self) -> bool:
        """Whether the overlay is seen."""
        return self.layer is not None and self.layer.visible

    @property
    def tool(self) -> str:
        """PAINT, ERASE, or empty."""
        mode = "" if self.layer is None else str(self.layer.mode)
        return mode if mode in (PAINT, ERASE) else ""

    def show(self, on: bool) -> None:
        """Show or hide the overlay."""
        selection, self._wanted = self._searched(), on
        if on and selection is None:
            self._controller.notified.emit(
                "Search this micrograph first: the excluded area is where its picks may not lie.", "info"
            )
        elif on and self.layer is None:
            self._layers.turns.put(EXCLUDED, self._show_first)  # after the click has been drawn
            return
        elif on:
            self._make()
        else:
            self._layers.turns.drop(EXCLUDED, _BRUSH)
            if self.layer is not None:
                self.put_down()
                self.layer.visible = False
        self.changed.emit()

    def _show_first(self) -> None:
        if self._wanted and self._searched() is not None:
            self._make()
        self.changed.emit()

    def take(self, tool: str) -> None:
        """Take the brush or the eraser; the same one again puts it down."""
        if tool == self.tool:
            self.put_down()
            return
        if not self.shown:
            self.show(True)
        if self.layer is None:
            self._layers.turns.put(_BRUSH, lambda: self._take_up(tool))
        else:
            self._take_up(tool)

    def _take_up(self, tool: str) -> None:
        layer = self.layer
        if layer is not None and self.shown:
            self.begins.emit()
            self._layers.viewer.layers.selection.active = layer
            layer.mode = tool
        self.changed.emit()

    def put_down(self) -> None:
        """Have neither brush nor eraser in hand; the picks are what tools act on again."""
        if self.tool and self.layer is not None:
            self.layer.mode = "pan_zoom"
            points = self._layers.layer(PICKS)
            if points is not None:
                self._layers.viewer.layers.selection.active = points

    def _searched(self) -> Any:
        """Return the candidates of a search of the micrograph that is shown; None without one."""
        loaded = self._controller.loaded
        return None if loaded is None or loaded.preview else loaded.selection

    def _make(self) -> None:
        if self.layer is None:
            with self._layers.unselected():
                layer = self._layers.viewer.add_labels(
                    np.zeros((1, 1), np.uint8),
                    name=EXCLUDED,
                    opacity=0.35,
                    colormap=DirectLabelColormap(color_dict={None: rgba(_COLOUR), 0: np.zeros(4), 1: rgba(_COLOUR)}),
                    **self._layers.place(),
                )
            layer.events.paint.connect(self._painted)
            layer.events.mode.connect(lambda: self.changed.emit())
            layer.events.visible.connect(self._visible_changed)
            self._layers.keep(EXCLUDED, layer, below=PICKS)
            self._selection = None
        assert self.layer is not None
        self.layer.visible = True
        self._fill()

    def _fill(self) -> None:
        """Show the mask of the candidates that are shown."""
        layer, selection = self.layer, self._searched()
        if layer is None or not self._wanted:
            return
        if selection is None:
            self.put_down()
        if layer.visible != (selection is not None):  # napari takes up the last tool where it is set again
            layer.visible = selection is not None
        if selection is None:
            return
        n = max(1, max(selection.candidates.file_shape) // FINEST)
        move_to(layer, self._layers.place(n))
        size, _ = self._layers.scale
        corner = ((n - 1) / 2 * size,) * 2
        if tuple(layer.translate) != corner:
            layer.translate = corner
        if selection is self._selection:
            return
        known = self._painted_last is not None and self._mask() is self._painted_last
        self._selection, self._squares = selection, n
        if known:
            return  # it was painted here
        self._painted_last, self._packed = None, selection.packed_excluded()
        shape = selection.candidates.file_shape
        rows, columns = (np.minimum(np.arange(-(-side // n)) * n + n // 2, side - 1) for side in shape)
        self._coarse = np.unpackbits(self._packed[rows], axis=1, count=shape[1])[:, columns].view(np.bool_)
        layer.data = self._coarse.astype(np.uint8)
        layer.selected_label = 1
        layer.brush_size = max(4, round(selection.diameter / selection.candidates.pixel_size / n))

    def _visible_changed(self) -> None:
        """Take the person's word from napari's list of layers."""
        if self.layer is not None and self._searched() is not None and self.layer.visible != self._wanted:
            self._wanted = self.layer.visible
            self._fill()
        self.changed.emit()

    def _removed(self, event: Any) -> None:
        """Hear that the person has deleted the overlay."""
        if getattr(event, "value", None) is not None and event.value.name == EXCLUDED:
            self.changed.emit()

    def _painted(self, event: Any) -> None:
        QTimer.singleShot(0, self._take)  # when napari is done with the stroke

    def _take(self) -> None:
        """Make what was painted the mask of the micrograph."""
        layer, selection = self.layer, self._searched()
        if layer is None or selection is not self._selection or selection is None or self._controller.background.closed:
            return
        painted: NDArray[np.bool_] = np.asarray(layer.data) > 0
        changed = painted != self._coarse
        if not changed.any():
            return
        self._paint(changed, painted, selection.candidates.file_shape)
        self._coarse = painted
        shape, pixel_size = selection.candidates.file_shape, selection.candidates.pixel_size
        self._painted_last = Mask.of_packed(shape, self._packed, pixel_size)
        self._controller.exclude(self._painted_last)

    def _paint(self, changed: NDArray[np.bool_], painted: NDArray[np.bool_], shape: tuple[int, int]) -> None:
        """Carry what was painted on squares over to the pixels of the file; only rows that have changed are touched."""
        n, (ny, nx) = self._squares, shape
        rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        here = np.s_[rows[0] * n : min((rows[-1] + 1) * n, ny)]
        pixels = np.unpackbits(self._packed[here], axis=1, count=nx).view(np.bool_)
        part = pixels[:, columns[0] * n : (columns[-1] + 1) * n]

        def fine(squares: NDArray[np.bool_]) -> NDArray[np.bool_]:
            return squares[box].repeat(n, axis=0).repeat(n, axis=1)[: part.shape[0], : part.shape[1]]

        np.copyto(part, fine(painted), where=fine(changed))
        self._packed[here] = np.packbits(pixels, axis=1)

    def _mask(self) -> Mask | None:
        """Return the mask of the micrograph that is shown, where it was edited."""
        return self._controller.state.masks.get(self._controller.stem or "")

    def close(self) -> None:
        """Let go of the layer; it stays in the viewer."""
        self._layers.viewer.layers.events.removed.disconnect(self._removed)
        layer = self.layer
        if layer is not None:
            self.put_down()
            layer.events.paint.disconnect(self._painted)
