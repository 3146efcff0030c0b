"""The plugin's layers: the micrograph here, maps and picks in modules of their own. Nothing else writes to layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.widgets.look import contrast_limits, smoothed
from napari_gempick.widgets.map_layers import MapLayers
from napari_gempick.widgets.picks_layer import PicksLayer
from napari_gempick.widgets.shelf import INDEX, MICROGRAPH, NCC, PICKS, Shelf, move_to, show_scale_bar

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_gempick.widgets.controller import Controller
    from napari_gempick.widgets.loading import Loaded

__all__ = ["INDEX", "MICROGRAPH", "NCC", "PICKS", "Layers"]


class Layers(Shelf):
    """Keeps the layers as the controller has it; a layer that the person deletes comes back with the next micrograph.

    Parameters
    ----------
    viewer : napari.Viewer
    controller : Controller
    """

    def __init__(self, viewer: Viewer, controller: Controller) -> None:
        super().__init__(viewer, controller)
        self._shown_size: tuple[float, int, int] | None = None
        self._hidden: list[Layer] = []
        self.lowpass: float | None = None
        self.maps = MapLayers(self, controller)
        controller.loaded_changed.connect(self._show)
        self.picks = PicksLayer(self, controller)

    def _show(self) -> None:
        loaded = self._controller.loaded
        if loaded is None or loaded.image is None:
            self._hide_all()
            return
        for layer in self._hidden:
            layer.visible = True
        self._hidden = []
        self._show_image(loaded)
        if not loaded.maps:
            self.maps.hide()

    def _hide_all(self) -> None:
        """Hide our layers while there is nothing to show; to remove them and make them again takes a second."""
        for layer in self.all():
            if layer.visible:
                layer.visible = False
                self._hidden.append(layer)

    def _show_image(self, loaded: Loaded) -> None:
        layer = self.layer(MICROGRAPH)
        place = self.place()
        file = self._controller.file
        metadata = {"gempick": {"pixel_size": loaded.pixel_size, "path": str(file.path) if file else ""}}
        if layer is None:
            layer = self.viewer.add_image(
                loaded.image, name=MICROGRAPH, contrast_limits=loaded.contrast, metadata=metadata, **place
            )
            self.keep(MICROGRAPH, layer)
            self.viewer.layers.move(self.viewer.layers.index(layer), 0)
        else:
            self._fill(layer, loaded.image, loaded.contrast)
            move_to(layer, place)
            layer.metadata = metadata
        if self.lowpass:
            self._show_smoothed()
        size = (place["scale"][0], *loaded.image.shape)
        if size != self._shown_size:  # micrographs of one size keep the view that the person has chosen
            self._shown_size = size
            show_scale_bar(self.viewer, self.scale[1])
            self.viewer.reset_view()

    def set_lowpass(self, lowpass: float | None) -> None:
        """Show the micrograph through a low-pass in Å; the search and the pictures of picks go on without it."""
        self.lowpass = lowpass
        layer, loaded = self.layer(MICROGRAPH), self._controller.loaded
        if lowpass:
            self._show_smoothed()
        elif layer is not None and loaded is not None and loaded.image is not None:
            self._fill(layer, loaded.image, loaded.contrast)

    def _show_smoothed(self) -> None:
        loaded, lowpass = self._controller.loaded, self.lowpass
        if loaded is None or loaded.image is None or loaded.pixel_size is None or lowpass is None:
            return
        image, pixel_size = loaded.image, loaded.pixel_size

        def work() -> Any:
            made = smoothed(image, pixel_size, lowpass)
            return made, contrast_limits(made)

        def take(made: Any) -> None:
            now, layer = self._controller.loaded, self.layer(MICROGRAPH)
            if layer is not None and now is not None and now.image is image and self.lowpass == lowpass:
                self._fill(layer, *made)

        self._controller.background.do(work, take)

    def _fill(self, layer: Layer, image: NDArray[Any], contrast: tuple[float, float]) -> None:
        layer.data = image
        layer.contrast_limits_range = _range(image)
        layer.contrast_limits = contrast

    def close(self) -> None:
        """Let go of the layers; they stay in the viewer."""
        self.maps.close()
        self.picks.close()


def _range(image: NDArray[Any]) -> tuple[float, float]:
    low, high = float(np.nanmin(image)), float(np.nanmax(image))
    return (low, high) if high > low else (low, low + 1)
