"""The layers of the score map and of the index map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import Colormap, DirectLabelColormap
from psygnal import Signal

from napari_gempick.widgets.layers.layer_registry import INDEX, MICROGRAPH, NCC, PICKS, move_to
from napari_gempick.widgets.state.look import score_colours, shades

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_gempick.widgets.layers.layer_registry import LayerRegistry
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.loading import Loaded, MapPair

_COLOURED = "coloured index"


class MapLayers:
    """Keeps the maps as the controller has them."""

    window_changed = Signal()

    def __init__(self, shelf: LayerRegistry, controller: Controller) -> None:
        self._shelf, self._controller = shelf, controller
        self._window = (-1.0, 1.0)
        self._index: Labels | None = None
        controller.maps_changed.connect(self.show)

    def hide(self) -> None:
        """Take maps of another micrograph away from sight; without maps the layers go."""
        if self._controller.reads_maps:
            return
        self._shelf.turns.drop(NCC, INDEX, _COLOURED)
        made, self._index = self._index, None
        for layer in (self._shelf.layer(NCC), self._shelf.layer(INDEX), made):
            if layer is not None and layer in self._shelf.viewer.layers:
                self._shelf.viewer.layers.remove(layer)
        image, loaded = self._shelf.layer(MICROGRAPH), self._controller.loaded
        if image is not None and loaded is not None and loaded.image is not None and not image.visible:
            image.visible = True

    def show(self) -> None:
        """Show the maps one after the other, so that the window answers in between."""
        loaded = self._controller.loaded
        if loaded is None or not loaded.maps:
            self.hide()
            return
        pair = loaded.maps.get(self._controller.map_view) or loaded.maps.get("")
        if pair is not None:
            self._shelf.turns.put(NCC, lambda: self._show_ncc(pair))
            self._shelf.turns.put(INDEX, lambda: self._colour_index(loaded, pair))

    def _show_ncc(self, pair: MapPair) -> None:
        layer, place = self._shelf.layer(NCC), self._shelf.place(pair.ratio)
        if layer is not None:
            layer.data = pair.score
            move_to(layer, place)
            return
        with self._shelf.unselected():
            layer = self._shelf.viewer.add_image(
                pair.score,
                name=NCC,
                colormap=_colormap(*self._window),
                contrast_limits=self._window,
                interpolation2d="nearest",
                visible=False,
                **place,
            )
        layer.contrast_limits_range = (-1, 1)
        layer.events.contrast_limits.connect(self._window_moved)
        self._shelf.keep(NCC, layer, below=PICKS)

    def _colour_index(self, loaded: Loaded, pair: MapPair) -> None:
        """Make the colours of the index map, then show it in the next turn."""
        bank = loaded.bank
        assert bank is not None
        k = np.arange(len(bank), dtype=np.int32)
        view, psi = bank.view(k), bank.psi(k)
        colours = shades([self._controller.colour(name) for name in bank.view_names], view, psi)
        table: dict[int | None, Any] = {None: np.zeros(4, np.float32), 0: np.zeros(4, np.float32)}
        table.update(zip((k + 1).tolist(), colours, strict=True))
        names = np.array(bank.view_names)
        features = {
            "index": np.arange(len(bank) + 1),
            "view": ["", *names[view]],
            "psi": ["", *(f"{p:g}°" for p in psi)],
        }
        colormap = DirectLabelColormap(color_dict=table)
        if self._shelf.layer(INDEX) is None and self._index is None:
            self._shelf.turns.put(INDEX, self._make_index)
        self._shelf.turns.put(_COLOURED, lambda: self._fill_index(pair, colormap, features))

    def _make_index(self) -> None:
        """Make the layer of the index map, empty: to give it many colours takes as long."""
        with self._shelf.unselected():
            self._index = self._shelf.viewer.add_labels(
                np.zeros((1, 1), np.uint8), name=INDEX, opacity=1.0, visible=False, **self._shelf.place()
            )
        self._index.editable = False

    def _fill_index(self, pair: MapPair, colormap: DirectLabelColormap, features: dict[str, Any]) -> None:
        made, self._index = self._index, None
        layer = self._shelf.layer(INDEX) or made
        if layer is None or layer not in self._shelf.viewer.layers:
            return
        layer.data = pair.labels
        layer.colormap = colormap
        layer.features = features
        move_to(layer, self._shelf.place(pair.ratio))
        if layer is made:
            self._shelf.keep(INDEX, layer, below=PICKS)

    @property
    def window(self) -> tuple[float, float]:
        """Scores from black, or the brightest blue, to the brightest amber."""
        return self._window

    def set_window(self, low: float, high: float) -> None:
        """Show the scores from `low` to `high`."""
        layer = self._shelf.layer(NCC)
        if layer is not None:
            layer.contrast_limits = (low, high)
        else:
            self._take_window(low, high)

    def _window_moved(self, event: Any) -> None:
        """Keep 0 black when the window is moved, here or with napari's own slider."""
        low, high = (float(value) for value in event.source.contrast_limits)
        if (low, high) != self._window:
            event.source.colormap = _colormap(low, high)
            self._take_window(low, high)

    def _take_window(self, low: float, high: float) -> None:
        self._window = low, high
        self.window_changed.emit()

    def close(self) -> None:
        """Let go of the layers; they stay in the viewer."""
        layer = self._shelf.layer(NCC)
        if layer is not None:
            layer.events.contrast_limits.disconnect(self._window_moved)


def _colormap(low: float, high: float) -> Colormap:
    return Colormap(score_colours(low, high), name="gempick NCC")
