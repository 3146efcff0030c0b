"""The plugin's layers: micrograph, score map, index map, picks. The only module that writes to layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import Colormap, DirectLabelColormap
from qtpy.QtCore import QTimer

from napari_gempick.model.picks import Picks
from napari_gempick.widgets.look import ADDED_COLOUR, rgba, score_colours, shades

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.layers import Layer, Points
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_gempick.widgets.controller import Controller
    from napari_gempick.widgets.loading import Loaded, MapPair

MICROGRAPH, NCC, INDEX, PICKS = "Micrograph", "NCC", "Index", "Picks"
MARGIN = 0.03
"""Picks that reach their threshold by less than this are drawn paler."""
PALE = 0.45


class Layers:
    """Keeps the layers as the controller has it; a layer that the person deletes comes back with the next micrograph.

    Parameters
    ----------
    viewer : napari.Viewer
    controller : Controller
    """

    def __init__(self, viewer: Viewer, controller: Controller) -> None:
        self._viewer, self._controller = viewer, controller
        self._made: dict[str, Layer] = {}
        self._rows = np.zeros(0, np.intp)
        self._board: Any = None
        self._own_change = False
        self._shown_size: tuple[float, int, int] | None = None
        self.on_made: Any = lambda layer: None
        self.map_view = ""
        self._hidden: list[Layer] = []
        self._waiting: list[Any] = []
        self._next_map = QTimer()
        self._next_map.setSingleShot(True)
        self._next_map.setInterval(15)
        self._next_map.timeout.connect(self._show_next)
        controller.maps_changed.connect(self.show_maps)
        controller.loaded_changed.connect(self._show)
        controller.choice_changed.connect(self._choose)
        controller.state_changed.connect(self._state_changed)

    def layer(self, name: str) -> Layer | None:
        """Return one of our layers; None where it was never made, or was deleted."""
        made = self._made.get(name)
        return made if made is not None and made in self._viewer.layers else None

    def all(self) -> Iterator[Layer]:
        """Yield our layers that exist."""
        for name in list(self._made):
            layer = self.layer(name)
            if layer is not None:
                yield layer

    @property
    def scale(self) -> tuple[float, str]:
        """World units per pixel of the file, and the unit: nm, or pixels while their size is not known."""
        loaded = self._controller.loaded
        if loaded is None or loaded.pixel_size is None:
            return 1.0, "pixel"
        return loaded.pixel_size / 10, "nm"

    def place(self, ratio: float = 1.0) -> dict[str, Any]:
        """Return scale and units for a layer whose pixels are `ratio` of the file's; all share pixel (0, 0)."""
        size, unit = self.scale
        return {"scale": (size * ratio, size * ratio), "units": (unit, unit)}

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
            self._hide_maps()

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
            layer = self._viewer.add_image(
                loaded.image, name=MICROGRAPH, contrast_limits=loaded.contrast, metadata=metadata, **place
            )
            self._keep(MICROGRAPH, layer)
            self._viewer.layers.move(self._viewer.layers.index(layer), 0)
        else:
            layer.data = loaded.image
            _place(layer, place)
            layer.contrast_limits_range = _range(loaded.image)
            layer.contrast_limits = loaded.contrast
            layer.metadata = metadata
        size = (place["scale"][0], *loaded.image.shape)
        if size != self._shown_size:  # micrographs of one size keep the view that the person has chosen
            self._shown_size = size
            show_scale_bar(self._viewer, self.scale[1])
            self._viewer.reset_view()

    def _hide_maps(self) -> None:
        """Take maps of another micrograph away from sight; without maps the layers go."""
        loaded, result = self._controller.loaded, self._controller.results.get(self._controller.stem or "")
        if loaded is not None and loaded.board is not None and result is not None and result.maps:
            return  # they are being read
        for name in (NCC, INDEX):
            layer = self.layer(name)
            if layer is not None:
                self._viewer.layers.remove(layer)
        image = self.layer(MICROGRAPH)
        if image is not None:
            image.visible = True

    def show_maps(self) -> None:
        """Show the maps one after the other, so that the window answers in between."""
        loaded = self._controller.loaded
        if loaded is None or not loaded.maps:
            self._hide_maps()
            return
        pair = loaded.maps.get(self.map_view) or loaded.maps.get("")
        if pair is not None:
            self._waiting = [lambda: self._show_ncc(pair), lambda: self._show_index(loaded, pair)]
            self._next_map.start()

    def _show_next(self) -> None:
        if self._waiting:
            self._waiting.pop(0)()
        if self._waiting:
            self._next_map.start()

    def _show_ncc(self, pair: MapPair) -> None:
        layer, place = self.layer(NCC), self.place(pair.ratio)
        if layer is not None:
            layer.data = pair.score
            _place(layer, place)
            return
        colours, places = score_colours()
        layer = self._viewer.add_image(
            pair.score,
            name=NCC,
            colormap=Colormap(colours, controls=places, name="gempick NCC"),
            contrast_limits=(-1, 1),
            interpolation2d="nearest",
            visible=False,
            **place,
        )
        self._keep(NCC, layer, below=PICKS)

    def _show_index(self, loaded: Loaded, pair: MapPair) -> None:
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
        layer, place = self.layer(INDEX), self.place(pair.ratio)
        if layer is not None:
            layer.data = pair.labels
            layer.colormap = DirectLabelColormap(color_dict=table)
            layer.features = features
            _place(layer, place)
            return
        layer = self._viewer.add_labels(
            pair.labels,
            name=INDEX,
            colormap=DirectLabelColormap(color_dict=table),
            features=features,
            opacity=1.0,
            visible=False,
            **place,
        )
        layer.editable = False
        self._keep(INDEX, layer, below=PICKS)

    def _keep(self, name: str, layer: Layer, below: str = "") -> None:
        self._made[name] = layer
        above = self.layer(below) if below else None
        if above is not None:
            self._viewer.layers.move(self._viewer.layers.index(layer), self._viewer.layers.index(above))
        self.on_made(layer)
        points = self.layer(PICKS)
        if points is not None:
            self._viewer.layers.selection.active = points

    # picks

    def _choose(self) -> None:
        """Show what is chosen.

        The layer holds the picks and nothing else: napari 0.9 draws points that are not `shown` all the same, and to
        replace the points of a micrograph takes some ten milliseconds.
        """
        self._fill_points()

    def _fill_points(self) -> None:
        """Give the Points layer the picks of the current micrograph, and make it where it is missing."""
        controller = self._controller
        loaded, choice = controller.loaded, controller.choice
        if loaded is None or loaded.image is None:
            return
        board = loaded.board
        layer = self.layer(PICKS)
        selected = self._selected(layer, board)
        self._board = board
        self._rows = np.zeros(0, np.intp) if choice is None else np.flatnonzero(choice.shown)
        data, features, colours = self._points()
        size = self._size_unsearched() if board is None else board.diameter / board.candidates.pixel_size
        metadata = {"gempick": self._metadata(() if board is None else board.candidates.view_names, size)}
        if layer is None:
            layer = self._viewer.add_points(
                data,
                name=PICKS,
                features=features,
                size=size,
                face_color="transparent",
                border_color=colours if len(data) else ADDED_COLOUR,
                border_width=0.06,
                metadata=metadata,
                **self.place(),
            )
            layer.events.data.connect(self._edited)
            self._keep(PICKS, layer)
            return
        self._own_change = True
        try:
            self._refill(layer, data, features, colours, size)
            if layer.metadata != metadata:
                layer.metadata = metadata
            if selected:
                layer.selected_data = {int(i) for i in np.flatnonzero(np.isin(self._rows, selected))}
        finally:
            self._own_change = False

    def _size_unsearched(self) -> float:
        """Return the size of points before a search, pixels: the diameter that was typed, or a guess."""
        diameter, pixel_size = self._controller.state.values.get("diameter"), self._controller.loaded.pixel_size
        return diameter / pixel_size if diameter and pixel_size else 40.0

    def _refill(self, layer: Points, data: Any, features: Any, colours: Any, size: float) -> None:
        """Replace the points; sizes go first, for napari draws new ones with the size of the last slicing."""
        if layer.selected_data:
            layer.selected_data = set()
        _place(layer, self.place())
        if layer.current_size != size:
            layer.current_size = size
            layer.size = size
        if not len(data):
            layer.data = data
            layer.features = features
            return
        with layer.events.set_data.blocker():  # drawn once, when the colours are there too
            layer.data = data
        layer.features = features
        layer.border_color = colours

    def _selected(self, layer: Points | None, board: Any) -> list[int]:
        """Return the candidates of the points that are selected, to select them again."""
        if layer is None or board is not self._board:
            return []
        return [int(self._rows[i]) for i in layer.selected_data if i < len(self._rows)]

    def _points(self) -> tuple[Any, Any, Any]:
        """Return positions (y, x), features and colours: picks first, then those made by hand."""
        loaded, choice = self._controller.loaded, self._controller.choice
        added = self._controller.edits().added
        board = None if loaded is None or choice is None else loaded.board
        picks = Picks.empty() if board is None else board.picks.take(self._rows)
        names = np.array(("",) if board is None else board.candidates.view_names, object)
        by_hand = np.array([(a.y, a.x) for a in added], float).reshape(-1, 2)
        features = {
            "score": np.concatenate([picks.score.astype(float), [a.score for a in added]]).round(4),
            "view": [*names[picks.view], *(a.view for a in added)],
            "psi": np.concatenate([picks.psi, [a.psi for a in added]]).round(2),
            "template": np.concatenate([picks.section, [a.section for a in added]]).astype(int) + 1,
            "made": ["found"] * len(picks) + ["by hand"] * len(added),
        }
        return np.concatenate([np.stack([picks.y, picks.x], axis=1), by_hand]), features, self._colours()

    def _metadata(self, names: tuple[str, ...], size: float) -> dict[str, Any]:
        loaded, file = self._controller.loaded, self._controller.file
        assert loaded is not None and loaded.image is not None
        return {
            "view_names": names,
            "box_size": 2 * int(np.ceil(1.5 * size / 2)),
            "pixel_size": loaded.pixel_size,
            "micrograph": str(file.path) if file else "",
            "shape": tuple(int(n) for n in loaded.image.shape),
        }

    def _colours(self) -> NDArray[np.float32]:
        """Return the colour of every point: its view's, paler near the threshold, white where made by hand."""
        controller = self._controller
        loaded, choice = controller.loaded, controller.choice
        by_hand = np.tile(rgba(ADDED_COLOUR), (len(controller.edits().added), 1))
        if loaded is None or loaded.board is None or choice is None:
            return by_hand
        board = loaded.board
        palette = np.stack([rgba(controller.colour(name)) for name in board.candidates.view_names])
        colours = palette[board.picks.view[self._rows]]
        colours[board.near_threshold(choice, controller.tune(), MARGIN)[self._rows], 3] = PALE
        return np.concatenate([colours, by_hand])

    def _state_changed(self, state: Any, before: Any) -> None:
        if state.views != before.views and self._board is not None and self.layer(PICKS) is not None:
            self._fill_points()

    def position(self, number: int) -> tuple[float, float]:
        """Return (x, y) of a point exactly as the controller knows it."""
        board = self._board
        if number < len(self._rows):
            k = self._rows[number]
            return float(board.picks.x[k]), float(board.picks.y[k])
        added = self._controller.edits().added[number - len(self._rows)]
        return added.x, added.y

    def _edited(self, event: Any) -> None:
        """Turn what the person does with napari's own tools into actions of ours."""
        action = str(getattr(event.action, "value", event.action))
        if self._own_change or action not in ("added", "removed", "changed"):
            return
        data = np.asarray(event.source.data)
        known = len(self._rows) + len(self._controller.edits().added)
        numbers = [int(i) for i in np.ravel(np.asarray(event.data_indices))]
        controller = self._controller
        if action == "removed":
            gone = [self.position(i) for i in numbers if 0 <= i < known]
            self._later(lambda: controller.reject(gone))
        elif action == "added":
            new = [(float(x), float(y)) for y, x in data[known:]]
            self._later(lambda: [controller.add_pick(x, y) for x, y in new])
        else:
            moves = [(self.position(i), (float(data[i][1]), float(data[i][0]))) for i in numbers if i < known]
            self._later(lambda: [controller.move_pick(old, new) for old, new in moves if math.dist(old, new) > 1e-3])

    def _later(self, call: Any) -> None:
        """Act when napari is done with its own change."""
        QTimer.singleShot(0, lambda: self._act(call))

    def _act(self, call: Any) -> None:
        """Carry an edit out, then make the layer what the controller has (also where nothing has changed)."""
        if self._controller.background.closed:
            return
        call()
        self._fill_points()

    def nearest(self, x: float, y: float) -> int | None:
        """Return the shown point whose circle holds (x, y), pixels of the file; None where there is none."""
        layer = self.layer(PICKS)
        if layer is None or not len(layer.data):
            return None
        data = np.asarray(layer.data)
        apart = np.hypot(data[:, 0] - y, data[:, 1] - x)
        best = int(np.argmin(apart))
        return best if apart[best] <= float(np.asarray(layer.size).ravel()[0]) / 2 else None

    def reject_selected(self, cursor: tuple[float, float] | None) -> None:
        """Reject the selected picks, or the one under the cursor."""
        layer = self.layer(PICKS)
        if layer is None:
            return
        chosen = sorted(layer.selected_data)
        under = None if chosen or cursor is None else self.nearest(*cursor)
        numbers = chosen or ([under] if under is not None else [])
        if numbers:
            self._controller.reject([self.position(i) for i in numbers])

    def close(self) -> None:
        """Let go of the layers; they stay in the viewer."""
        self._next_map.stop()
        layer = self.layer(PICKS)
        if layer is not None:
            layer.events.data.disconnect(self._edited)


def _place(layer: Layer, place: dict[str, Any]) -> None:
    if tuple(layer.scale) != place["scale"]:
        layer.scale = place["scale"]
    if (
        tuple(str(unit) for unit in layer.units)
        != {"nm": ("nanometer",) * 2, "pixel": ("pixel",) * 2}[place["units"][0]]
    ):
        layer.units = place["units"]


def _range(image: NDArray[Any]) -> tuple[float, float]:
    low, high = float(np.nanmin(image)), float(np.nanmax(image))
    return (low, high) if high > low else (low, low + 1)


def show_scale_bar(viewer: Viewer, unit: str) -> None:
    """Show a scale bar in the unit of the layers, in old and new versions of napari."""
    canvas = getattr(viewer, "canvas", None)
    overlay = canvas.overlays.scale_bar if canvas is not None else viewer.scale_bar
    overlay.visible = True
    if canvas is None:
        overlay.unit = unit if unit == "nm" else None
