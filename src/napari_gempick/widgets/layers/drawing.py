"""Masks drawn by hand: a template as an image layer, and a Labels layer (or any Shapes layer) over it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.stack import read_stack, write_mrc
from napari_gempick.model.errors import GempickError, InputError
from napari_gempick.widgets.state.look import contrast_limits

if TYPE_CHECKING:
    from pathlib import Path

    from napari.viewer import Viewer

    from napari_gempick.widgets.layers.layers import Layers
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.state import ViewSpec


class MaskDrawing:
    """Shows a template to draw on, and turns the drawing into a mask file in the results folder."""

    def __init__(self, viewer: Viewer, controller: Controller, layers: Layers) -> None:
        self._viewer, self._controller, self._layers = viewer, controller, layers
        self._hidden: dict[str, list[object]] = {}
        self._made: dict[str, tuple[object, object]] = {}

    def is_drawing(self, view: str) -> bool:
        """Return whether a mask of this view is being drawn."""
        return view in self._made and self._made[view][1] in self._viewer.layers

    def start(self, spec: ViewSpec) -> None:
        """Show the first template of a view with an empty Labels layer over it, ready to paint."""
        if self.is_drawing(spec.name):
            return
        try:
            stack = read_stack(spec.files[0], self._controller.state.values.get("template_pixel_size"))
        except GempickError as error:
            self._controller.said.emit(error.sentence, "error")
            return
        self._hidden[spec.name] = [layer for layer in self._viewer.layers if layer.visible]
        for layer in self._hidden[spec.name]:
            layer.visible = False
        image = stack.data[0]
        size = (stack.pixel_size or 10.0) / 10
        place = {"scale": (size, size), "units": ("nm", "nm")}
        template = self._viewer.add_image(
            image, name=f"Template {spec.name}", contrast_limits=contrast_limits(image), **place
        )
        labels = self._viewer.add_labels(
            np.zeros(image.shape, np.uint8), name=f"Mask {spec.name}", opacity=0.4, **place
        )
        labels.mode = "paint"
        labels.brush_size = max(4, min(image.shape) // 8)
        self._made[spec.name] = template, labels
        self._viewer.layers.selection.active = labels
        self._viewer.reset_view()
        self._controller.said.emit(
            "Paint the mask over the template (or draw it in a new Shapes layer), then press 'Use the drawing'.", "info"
        )

    def finish(self, spec: ViewSpec) -> Path:
        """Write the drawing as the mask of a view, remove the layers, and return the file.

        Raises
        ------
        InputError
            Nothing is drawn.
        """
        from napari.layers import Shapes

        template, labels = self._made[spec.name]
        shape = labels.data.shape
        mask = np.asarray(labels.data) > 0
        active = self._viewer.layers.selection.active
        if isinstance(active, Shapes) and len(active.data):
            inverse = [
                np.asarray(labels.world_to_data(active.data_to_world(vertex)))
                for polygon in active.data
                for vertex in polygon
            ]
            counts = np.cumsum([0, *(len(polygon) for polygon in active.data)])
            polygons = [np.array(inverse[a:b]) for a, b in itertools.pairwise(counts)]
            drawn = Shapes(polygons, shape_type=[kind for kind in active.shape_type])
            mask |= drawn.to_labels(labels_shape=shape) > 0
            self._viewer.layers.remove(active)
        if not mask.any():
            raise InputError("Nothing is drawn yet; paint over the particle first.")
        folder = self._controller.folder
        if folder is None:
            raise InputError("Add micrographs first: the mask is kept with the results.")
        stack = read_stack(spec.files[0], self._controller.state.values.get("template_pixel_size"))
        number = 1
        while (path := folder.path / "masks" / f"{spec.name}_{number}.mrc").exists():
            number += 1
        write_mrc(path, mask.astype(np.float32), stack.pixel_size)
        for layer in (template, labels):
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        del self._made[spec.name]
        for layer in self._hidden.pop(spec.name, []):
            layer.visible = True
        self._viewer.reset_view()
        return path
