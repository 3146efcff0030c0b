"""The layers of the score map and of the index map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import Colormap, DirectLabelColormap
from psygnal import Signal
from superqt.utils import qdebounced

from napari_gempick.widgets.layers.layer_registry import INDEX, MICROGRAPH, NCC, PICKS, move_to
from napari_gempick.widgets.state.look import score_colours, shades

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_gempick.widgets.layers.layer_registry import LayerRegistry
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.loading import Loaded, MapPair

_COLOURED = "coloured index"
_REST_MS = 250
"""Of the window, before maps that nobody sees are filled: who goes on and on need not wait for them."""


class MapLayers:
    """Keeps the maps as the controller has them."""

    window_changed = Signal()

    def __init__(self, registry: LayerRegistry, controller: Controller) -> None:
        self._registry, self._controller = registry, controller
        self._window = (-1.0, 1.0)
        self._index: Labels | None = None
        self._coloured: tuple[Any, ...] = ()
        self._waiting: tuple[Loaded, MapPair] | None = None
        self._fill_soon = qdebounced(self._fill, timeout=_REST_MS)
        controller.maps_changed.connect(self.show)

    def hide(self) -> None:
        """Take maps of another micrograph away from sight; without maps the layers go."""
        if self._controller.reads_maps:
            return
        self._registry.turns.drop(NCC, INDEX, _COLOURED)
        self._waiting = None
        made, self._index = self._index, None
        for layer in (self._registry.layer(NCC), self._registry.layer(INDEX), made):
            if layer is not None and layer in self._registry.viewer.layers:
                self._registry.viewer.layers.remove(layer)
        image, loaded = self._registry.layer(MICROGRAPH), self._controller.loaded
        if image is not None and loaded is not None and loaded.image is not None and not image.visible:
            image.visible = True

    def show(self) -> None:
        """Show the maps one after the other, so that the window answers in between."""
        loaded = self._controller.loaded
        if loaded is None or not loaded.maps:
            self.hide()
            return
        pair = loaded.maps.get(self._controller.map_view) or loaded.maps.get("")
        if pair is None:
            return
        self._waiting = loaded, pair
        layers = [self._registry.layer(name) for name in (NCC, INDEX)]
        if all(layer is not None and not layer.visible for layer in layers):
            self._fill_soon()
        else:
            self._fill()

    def _fill(self) -> None:
        """Fill the layers with what waits, one in each turn."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            loaded, pair = waiting
            self._registry.turns.put(NCC, lambda: self._show_ncc(pair))
            self._registry.turns.put(INDEX, lambda: self._colour_index(loaded, pair))

    def _show_ncc(self, pair: MapPair) -> None:
        layer, place = self._registry.layer(NCC), self._registry.place(pair.ratio)
        if layer is not None:
            layer.data = pair.score
            move_to(layer, place)
            return
        with self._registry.unselected():
            layer = self._registry.viewer.add_image(
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
        layer.events.visible.connect(self._fill)
        self._registry.keep(NCC, layer, below=PICKS)

    def _colour_index(self, loaded: Loaded, pair: MapPair) -> None:
        """Make the colours of the index map, then show it in the next turn; the same colours are left as they are."""
        bank = loaded.bank
        assert bank is not None
        views = [self._controller.colour(name) for name in bank.view_names]
        wanted, layer = (bank, *views), self._registry.layer(INDEX)
        made: tuple[Any, Any] | None = None
        if layer is None or wanted != self._coloured:
            k = np.arange(len(bank), dtype=np.int32)
            view, psi = bank.view(k), bank.psi(k)
            table: dict[int | None, Any] = {None: np.zeros(4, np.float32), 0: np.zeros(4, np.float32)}
            table.update(zip((k + 1).tolist(), shades(views, view, psi), strict=True))
            names = np.array(bank.view_names)
            features = {
                "index": np.arange(len(bank) + 1),
                "view": ["", *names[view]],
                "psi": ["", *(f"{p:g}°" for p in psi)],
            }
            made = DirectLabelColormap(color_dict=table), features
        if layer is None and self._index is None:
            self._registry.turns.put(INDEX, self._make_index)
        self._registry.turns.put(_COLOURED, lambda: self._fill_index(pair, wanted, made))

    def _make_index(self) -> None:
        """Make the layer of the index map, empty: to give it many colours takes as long."""
        with self._registry.unselected():
            self._index = self._registry.viewer.add_labels(
                np.zeros((1, 1), np.uint8), name=INDEX, opacity=1.0, visible=False, **self._registry.place()
            )
        self._index.editable = False
        self._index.events.visible.connect(self._fill)

    def _fill_index(self, pair: MapPair, wanted: tuple[Any, ...], colours: tuple[Any, Any] | None) -> None:
        made, self._index = self._index, None
        layer = self._registry.layer(INDEX) or made
        if layer is None or layer not in self._registry.viewer.layers:
            return
        layer.data = pair.labels
        if colours is not None:
            layer.colormap, layer.features = colours
            self._coloured = wanted
        move_to(layer, self._registry.place(pair.ratio))
        if layer is made:
            self._registry.keep(INDEX, layer, below=PICKS)

    @property
    def window(self) -> tuple[float, float]:
        """Scores from black, or the brightest blue, to the brightest amber."""
        return self._window

    def set_window(self, low: float, high: float) -> None:
        """Show the scores from `low` to `high`."""
        layer = self._registry.layer(NCC)
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
        self._fill_soon.cancel()
        ncc, index = self._registry.layer(NCC), self._registry.layer(INDEX)
        if ncc is not None:
            ncc.events.contrast_limits.disconnect(self._window_moved)
        for layer in (ncc, index):
            if layer is not None:
                layer.events.visible.disconnect(self._fill)


def _colormap(low: float, high: float) -> Colormap:
    return Colormap(score_colours(low, high), name="gempick NCC")
