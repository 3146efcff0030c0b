"""The plugin's layers: the micrograph, and those of `pick_layer` and `map_layers`. Nothing else writes to layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_gempick.widgets.layers.layer_registry import (
    INDEX,
    MICROGRAPH,
    NCC,
    PICKS,
    LayerRegistry,
    camera_of,
    fit_scale_bar,
    move_to,
    say_on_canvas,
    show_scale_bar,
)
from napari_gempick.widgets.layers.map_layers import MapLayers
from napari_gempick.widgets.layers.pick_layer import PicksLayer
from napari_gempick.widgets.state.look import contrast_limits, extremes, smoothed

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.loading import Loaded


__all__ = ["INDEX", "MICROGRAPH", "NCC", "PICKS", "Layers"]


class Layers(LayerRegistry):
    """Keeps the layers as the controller has it; one that the person deletes comes back with the next micrograph."""

    seen_changed = Signal()

    def __init__(self, viewer: Viewer, controller: Controller) -> None:
        super().__init__(viewer, controller)
        self._shown_size: tuple[float, int, int] | None = None
        self._hidden: list[Layer] = []
        self._smoothed: tuple[Any, Any, tuple[float, float]] | None = None
        self._image: Any = None
        self.lowpass: float | None = None
        self.maps = MapLayers(self, controller)
        controller.loaded_changed.connect(self._show)
        camera_of(viewer).events.zoom.connect(self._zoomed)
        self.picks = PicksLayer(self, controller)

    def _show(self) -> None:
        loaded = self._controller.loaded
        say_on_canvas(self.viewer, "" if loaded is None or loaded.image is not None else loaded.error)
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
            self._image = None
            layer = self.viewer.add_image(
                loaded.image,
                name=MICROGRAPH,
                contrast_limits=loaded.contrast,
                metadata=metadata,
                visible=False,
                **place,
            )
            self.turns.put("first image", self._reveal)  # or it is drawn in the turn that makes it
            layer.editable = False  # it is not moved by accident
            self.keep(MICROGRAPH, layer)
            self.viewer.layers.move(self.viewer.layers.index(layer), 0)
        else:
            if loaded.image is not self._image:  # other candidates of the same micrograph leave it as it is seen
                self._fill(layer, loaded.image, loaded.contrast, loaded.extremes)
            move_to(layer, place)
            layer.metadata = metadata
        other, self._image = loaded.image is not self._image, loaded.image
        if self.lowpass and other:
            self._show_smoothed()
        size = (place["scale"][0], *loaded.image.shape)
        if size != self._shown_size:  # micrographs of one size keep the view that the person has chosen
            self._shown_size = size
            self.turns.put("scale bar", lambda: show_scale_bar(self.viewer, self.scale[1]))
            self.viewer.reset_view()

    def _reveal(self) -> None:
        """Show the micrograph's layer once napari has made it."""
        layer, loaded = self.layer(MICROGRAPH), self._controller.loaded
        if layer is None:
            return
        if loaded is None or loaded.image is None:
            self._hidden.append(layer)
        else:
            layer.visible = True

    def _zoomed(self, event: Any = None) -> None:
        if self.layer(MICROGRAPH) is not None:
            fit_scale_bar(self.viewer, self.scale[1])

    def set_lowpass(self, lowpass: float | None) -> None:
        """Show the micrograph through a low-pass in Å; the search and the pictures of picks do not use it."""
        self.lowpass = lowpass
        layer, loaded = self.layer(MICROGRAPH), self._controller.loaded
        if lowpass:
            self._show_smoothed()
        elif layer is not None and loaded is not None and loaded.image is not None:
            self._fill(layer, loaded.image, loaded.contrast, loaded.extremes)
        self.seen_changed.emit()

    @property
    def seen(self) -> tuple[NDArray[Any], tuple[float, float]] | None:
        """The micrograph as it is displayed, (ny, nx), and its contrast: through the low-pass where one is set."""
        loaded = self._controller.loaded
        if loaded is None or loaded.image is None:
            return None
        if self.lowpass and self._smoothed is not None and self._smoothed[0] is loaded.image:
            return self._smoothed[1:]
        return loaded.image, loaded.contrast

    def _show_smoothed(self) -> None:
        loaded, lowpass = self._controller.loaded, self.lowpass
        if loaded is None or loaded.image is None or loaded.pixel_size is None or lowpass is None:
            return
        image, pixel_size = loaded.image, loaded.pixel_size

        def work() -> Any:
            made = smoothed(image, pixel_size, lowpass)
            return made, contrast_limits(made), extremes(made)

        def take(made: Any) -> None:
            now, layer = self._controller.loaded, self.layer(MICROGRAPH)
            if layer is not None and now is not None and now.image is image and self.lowpass == lowpass:
                self._smoothed = image, made[0], made[1]
                self._fill(layer, *made)
                self.seen_changed.emit()

        self._controller.background.do(work, take)

    def _fill(
        self, layer: Layer, image: NDArray[Any], contrast: tuple[float, float], all_of_it: tuple[float, float]
    ) -> None:
        layer.data = image
        layer.contrast_limits_range = all_of_it
        layer.contrast_limits = contrast

    def close(self) -> None:
        """Let go of the layers; they stay in the viewer."""
        self.turns.close()
        say_on_canvas(self.viewer, "")
        camera_of(self.viewer).events.zoom.disconnect(self._zoomed)
        self.maps.close()
        self.picks.close()
