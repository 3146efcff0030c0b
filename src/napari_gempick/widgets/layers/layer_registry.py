"""The plugin's layers by name, and where they lie in the viewer."""

from __future__ import annotations

import contextlib
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.widgets.layers.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components.camera import Camera
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_gempick.widgets.state.controller import Controller

UNIT = "angstrom"
"""Of all our layers."""
_NICE = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Lengths of the scale bar, Å; longer ones would be written in kÅ."""
_BAR = 150
"""Pixels of the canvas that the scale bar takes at most, about."""
MICROGRAPH, NCC, INDEX, PICKS = "Micrograph", "NCC", "Index", "Picks"


class LayerRegistry:
    """Knows which layers are ours.

    Attributes
    ----------
    turns : Turns
        Layers are made in them, one in each.
    """

    def __init__(self, viewer: Viewer, controller: Controller) -> None:
        self.viewer, self._controller = viewer, controller
        self._made: dict[str, Layer] = {}
        self.on_made: Any = lambda layer: None
        self.turns = Turns()

    def layer(self, name: str) -> Layer | None:
        """Return one of our layers; None where it was never made, or was deleted."""
        made = self._made.get(name)
        return made if made is not None and made in self.viewer.layers else None

    def all(self) -> Iterator[Layer]:
        """Yield our layers that exist."""
        for name in list(self._made):
            layer = self.layer(name)
            if layer is not None:
                yield layer

    @property
    def scale(self) -> tuple[float, str]:
        """World units per pixel of the file, and the unit: Å, or pixels while their size is not known."""
        loaded = self._controller.loaded
        if loaded is None or loaded.pixel_size is None:
            return 1.0, "pixel"
        return loaded.pixel_size, UNIT

    def place(self, ratio: float = 1.0) -> dict[str, Any]:
        """Return scale and units for a layer whose pixels are `ratio` of the file's; all share pixel (0, 0)."""
        size, unit = self.scale
        return {"scale": (size * ratio, size * ratio), "units": (unit, unit)}

    @contextlib.contextmanager
    def unselected(self) -> Iterator[None]:
        """Let layers be made without being selected, unless they are the first.

        Controls that change twice draw the canvas anew each time, the new layer too, in the turn that makes it.
        """
        selection = self.viewer.layers.selection
        active = selection.active
        if active is None:
            yield
            return
        with selection.events.blocker_all():
            try:
                yield
            finally:
                selection.active = active

    def keep(self, name: str, layer: Layer, below: str = "") -> None:
        """Take a new layer as ours, below another one of ours; the picks stay the layer that tools act on."""
        self._made[name] = layer
        above = self.layer(below) if below else None
        if above is not None:
            self.viewer.layers.move(self.viewer.layers.index(layer), self.viewer.layers.index(above))
        self.on_made(layer)
        points = self.layer(PICKS)
        if points is not None and points is not self.viewer.layers.selection.active:
            self.viewer.layers.selection.active = points


def move_to(layer: Layer, place: dict[str, Any]) -> None:
    """Give a layer the scale and units of `Shelf.place`, where they differ."""
    if tuple(layer.scale) != place["scale"]:
        layer.scale = place["scale"]
    if tuple(str(unit) for unit in layer.units) != place["units"]:
        layer.units = place["units"]


def camera_of(viewer: Viewer) -> Camera:
    """Return the camera, in old and new versions of napari."""
    scene = getattr(viewer, "scene", None)
    return viewer.camera if scene is None else scene.camera


def _overlay(viewer: Viewer, name: str) -> Any:
    """Return what napari draws over the canvas, in old and new versions of it."""
    canvas = getattr(viewer, "canvas", None)
    if canvas is not None:
        return canvas.overlays[name]
    return viewer.scale_bar if name == "scale_bar" else viewer.text_overlay


def show_scale_bar(viewer: Viewer, unit: str) -> None:
    """Show a scale bar in the unit of the layers."""
    overlay = _overlay(viewer, "scale_bar")
    overlay.visible, overlay.opacity = True, 1.0
    if not hasattr(viewer, "canvas"):
        overlay.unit = unit if unit == UNIT else None
    fit_scale_bar(viewer, unit)


def try_scale_bar(viewer: Viewer, on: bool) -> None:
    """Have a scale bar drawn that nobody sees, before somebody waits for the first one; `on` False ends this.

    Its program for the graphics card and the pictures of its letters take a third of a second.
    """
    overlay = _overlay(viewer, "scale_bar")
    if on and not overlay.visible:
        overlay.visible, overlay.opacity = True, 0.0
    elif not on and not overlay.opacity:
        overlay.visible, overlay.opacity = False, 1.0


def fit_scale_bar(viewer: Viewer, unit: str) -> None:
    """Give the scale bar a length that suits the zoom; napari would write 2000 Å as 2 kÅ and choose by that."""
    room = _BAR / max(camera_of(viewer).zoom, 1e-9)
    length = max((one for one in _NICE if one <= room), default=_NICE[0]) if unit == UNIT else None
    overlay = _overlay(viewer, "scale_bar")
    if overlay.length != length:
        overlay.length = length
        overlay.events.font_size()  # after this napari draws the bar anew, which it does not for a length


def say_on_canvas(viewer: Viewer, sentence: str) -> None:
    """Write a sentence on the canvas, or nothing."""
    overlay = _overlay(viewer, "text")
    overlay.text = "\n".join(textwrap.wrap(sentence, 60))
    overlay.position, overlay.font_size = "top_center", 12
    overlay.visible = bool(sentence)


def fit_view(viewer: Viewer, layer: Layer) -> None:
    """Bring a 2D layer to the middle of the canvas, as large as there is room."""
    viewer.reset_view()  # fits all layers; from there on it is known how large the canvas is
    (low, high), whole = (np.asarray(of.extent.world)[:, -2:] for of in (layer, viewer.layers))
    camera = camera_of(viewer)
    camera.center = tuple((low + high) / 2)
    camera.zoom *= float(np.max(np.ptp(whole, axis=0)) / max(np.max(high - low), 1e-9))
