"""Masks drawn by hand: a template as an image layer, and a Labels layer (or any Shapes layer) over it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from scipy.ndimage import binary_fill_holes

from napari_gempick.io.names import free_path
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.errors import InputError
from napari_gempick.widgets.layers.layer_registry import UNIT, camera_of, fit_view
from napari_gempick.widgets.state.look import contrast_limits, counted

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Layer
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_gempick.widgets.layers.pictures import ViewPictures
    from napari_gempick.widgets.state.controller import Controller


@dataclass
class _Before:
    """What the person saw and held before a mask was drawn."""

    visible: list[Layer]
    active: Layer | None
    mode: Any
    camera: tuple[Any, float]


class MaskDrawing:
    """Shows a template to draw on, and turns the drawing into a mask file in the results folder.

    Attributes
    ----------
    view : str
        The view whose mask is being drawn; empty where none is.
    """

    begins, changed = Signal(), Signal()

    def __init__(self, viewer: Viewer, controller: Controller) -> None:
        self._viewer, self._controller = viewer, controller
        self.view = ""
        self._layers: tuple[Any, Any] | None = None
        self._pixel_size: float | None = None
        self._before: _Before | None = None
        viewer.layers.events.removed.connect(self._removed)

    def start(self, view: str, made: ViewPictures) -> None:
        """Show the first template of a view, with its current mask in a Labels layer over it, ready to paint."""
        if self.view == view:
            return
        self.cancel()
        self.begins.emit()
        viewer, active = self._viewer, self._viewer.layers.selection.active
        camera = tuple(camera_of(viewer).center), float(camera_of(viewer).zoom)
        self._before = _Before(
            [layer for layer in viewer.layers if layer.visible], active, getattr(active, "mode", None), camera
        )
        for layer in self._before.visible:
            layer.visible = False
        image, self._pixel_size = made.view.templates[0], made.view.pixel_size
        place = {"scale": (self._pixel_size, self._pixel_size), "units": (UNIT, UNIT)}
        template = viewer.add_image(image, name=f"Template {view}", contrast_limits=contrast_limits(image), **place)
        drawn = (made.mask >= 0.5).astype(np.uint8)
        labels = viewer.add_labels(drawn, name=f"Mask {view}", opacity=0.4, **place)
        labels.mode = "paint"
        labels.brush_size = max(4, min(image.shape) // 8)
        self._layers, self.view = (template, labels), view
        viewer.layers.selection.active = labels
        fit_view(viewer, template)
        self.changed.emit()
        self._controller.notified.emit(
            "Paint the mask (1), erase (2), or draw it in a new Shapes layer. Then press Use the drawing.", "info"
        )

    def finish(self) -> Path:
        """Write the drawing as the mask of the view, bring back what was seen, and return the file.

        Raises
        ------
        InputError
            The mask is empty, or the results folder is missing.
        OutputError
            The file cannot be written; the drawing stays.
        """
        folder = self._controller.folder
        if folder is None:
            raise InputError("Add micrographs first: the mask is kept with the results.")
        mask, shapes = self._drawn()
        if not mask.any():
            raise InputError("No mask drawn yet. Paint over the particle first.")
        holes = int(binary_fill_holes(mask).sum() - mask.sum())
        if holes:
            self._controller.notified.emit(
                f"The mask of {self.view} has holes ({counted(holes, 'pixel')}): nothing there counts for the score. "
                "Draw it again if they are not meant.",
                "warning",
            )
        path = free_path(folder.path / "masks", self.view, ".mrc")
        write_mrc(path, mask.astype(np.float32), self._pixel_size)
        if shapes is not None:
            self._viewer.layers.remove(shapes)
        self.cancel()
        return path

    def _drawn(self) -> tuple[NDArray[np.bool_], Layer | None]:
        """Return what is painted and what the active Shapes layer holds, and that layer."""
        from napari.layers import Shapes

        assert self._layers is not None
        labels = self._layers[1]
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
            shapes = Shapes(polygons, shape_type=[kind for kind in active.shape_type])
            return mask | (shapes.to_labels(labels_shape=mask.shape) > 0), active
        return mask, None

    def cancel(self) -> None:
        """Remove the drawing, and bring back layers, tool and view as they were."""
        layers, before = self._layers, self._before
        self._layers, self._before, self.view = None, None, ""
        viewer = self._viewer
        for layer in layers or ():
            if layer in viewer.layers:
                viewer.layers.remove(layer)
        if before is None:
            return
        for layer in before.visible:
            layer.visible = True
        if before.active in viewer.layers:
            viewer.layers.selection.active = before.active
            if before.mode is not None:
                before.active.mode = before.mode
        camera_of(viewer).center, camera_of(viewer).zoom = before.camera
        self.changed.emit()

    def _removed(self, event: Any) -> None:
        """Give the drawing up when its layer is deleted."""
        if self._layers is not None and self._layers[1] not in self._viewer.layers:
            self.cancel()
            self._controller.notified.emit("The drawing was deleted; the mask is unchanged.", "info")

    def close(self) -> None:
        """Let go of the viewer."""
        self.cancel()
        self._viewer.layers.events.removed.disconnect(self._removed)
