"""The layer of the picks, and what a person does to them with napari's own tools."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from superqt.utils import qdebounced

from napari_gempick.model.picks import Picks
from napari_gempick.widgets.layers.layer_registry import PICKS, move_to
from napari_gempick.widgets.state.look import ADDED_COLOUR, rgba, shades_of_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.layers import Points
    from numpy.typing import NDArray

    from napari_gempick.widgets.layers.layer_registry import LayerRegistry
    from napari_gempick.widgets.state.candidate_selection import CandidateSelection
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.state import Added


MARGIN = 0.03
"""Picks that reach their threshold by less than this are drawn paler."""
PALE = 0.45
_SETTLE_MS = 100


class PicksLayer:
    """Keeps the points as the controller has the picks."""

    def __init__(self, registry: LayerRegistry, controller: Controller) -> None:
        self._registry, self._controller = registry, controller
        self._rows = np.zeros(0, np.intp)
        self._added: tuple[Added, ...] = ()
        self._colour_by, self._crosses = "view", False
        self.false_of: Callable[[CandidateSelection, Any], Any] = lambda selection, rows: None
        self._selection: Any = None
        self._own_change = False
        self._tell_soon = qdebounced(self._tell, timeout=_SETTLE_MS)
        controller.choice_changed.connect(self._show)
        controller.state_changed.connect(self._state_changed)

    def _show(self) -> None:
        """Show the picks; the first time when the micrograph has been drawn."""
        if self._registry.layer(PICKS) is None:
            self._registry.turns.put(PICKS, self._fill_points)
        else:
            self._fill_points()

    def _fill_points(self) -> None:
        """Give the Points layer the picks of the current micrograph, and make it where it is missing.

        The layer holds the picks and nothing else: napari 0.9 draws points that are not `shown` all the same, and to
        replace the points of a micrograph takes some ten milliseconds.
        """
        controller = self._controller
        loaded, choice = controller.loaded, controller.choice
        if loaded is None or loaded.image is None:
            return
        selection = loaded.selection
        layer = self._registry.layer(PICKS)
        selected = self._selected(layer, selection)
        self._selection = selection
        self._rows = np.zeros(0, np.intp) if choice is None else np.flatnonzero(choice.shown)
        if choice is not None:
            self._added = choice.added  # also while the next micrograph is on its way
        else:
            self._added = controller.edits().added if controller.is_shown else ()
        data, features, colours = self._points()
        size = self._size_unsearched() if selection is None else selection.diameter / selection.candidates.pixel_size
        metadata = {"gempick": self._metadata(() if selection is None else selection.candidates.view_names, size)}
        if layer is None:
            layer = self._registry.viewer.add_points(
                data,
                name=PICKS,
                features=features,
                size=size,
                face_color="transparent",
                border_color=colours if len(data) else ADDED_COLOUR,
                border_width=0.06,
                metadata=metadata,
                **self._registry.place(),
            )
            layer.events.data.connect(self._edited)
            self._registry.keep(PICKS, layer)
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
        """Replace the points; sizes go first, because napari draws new ones with the size of the last slicing."""
        if layer.selected_data:
            layer.selected_data = set()
        move_to(layer, self._registry.place())
        if layer.current_size != size:
            layer.current_size = size
            layer.size = size
        if not len(data):
            layer.data = data
            layer.features = features
            return
        symbol = "cross" if self._crosses else "disc"
        if str(layer.current_symbol) != symbol:
            layer.current_symbol = symbol
            layer.symbol = symbol
        swap_points(layer, data, features, colours)
        self._tell_soon()

    def _tell(self) -> None:
        """Tell napari and other plugins that the points have changed, when the slider rests."""
        layer = self._registry.layer(PICKS)
        if layer is not None:
            self._own_change = True
            try:
                layer.refresh(data_displayed=False, highlight=False)
                numbers = tuple(range(len(layer.data)))
                layer.events.data(value=layer.data, action="changed", data_indices=numbers, vertex_indices=((),))
            finally:
                self._own_change = False

    def _selected(self, layer: Points | None, selection: Any) -> list[int]:
        """Return the candidates of the points that are selected, to select them again."""
        if layer is None or selection is not self._selection:
            return []
        return [int(self._rows[i]) for i in layer.selected_data if i < len(self._rows)]

    def _points(self) -> tuple[Any, Any, Any]:
        """Return positions (y, x), features and colours: picks first, then those made by hand."""
        loaded, choice = self._controller.loaded, self._controller.choice
        added = self._added
        selection = None if loaded is None or choice is None else loaded.selection
        picks = Picks.empty() if selection is None else selection.picks.take(self._rows)
        names = np.array(("",) if selection is None else selection.candidates.view_names, object)
        by_hand = np.array([(a.y, a.x) for a in added], float).reshape(-1, 2)
        templates = np.concatenate([picks.section, [a.section for a in added]]).astype(int) + 1
        features = {
            "score": np.concatenate([picks.score.astype(float), [a.score for a in added]]).round(4),
            "view": [*names[picks.view], *(a.view for a in added)],
            "psi": np.concatenate([picks.psi, [a.psi for a in added]]).round(2),
            # napari's status bar omits NaN
            "template": templates if templates.all() else np.where(templates, templates.astype(object), math.nan),
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
        """Return the colour of every point; white where made by hand.

        That of its view, paler near the threshold; or of its score; or of the estimated chance that it is false.
        """
        controller = self._controller
        loaded, choice = controller.loaded, controller.choice
        by_hand = np.tile(rgba(ADDED_COLOUR), (len(self._added), 1))
        if loaded is None or loaded.selection is None or choice is None:
            return by_hand
        selection = loaded.selection
        if self._colour_by == "score":
            return np.concatenate([shades_of_scores(selection.picks.score[self._rows]), by_hand])
        false = self.false_of(selection, self._rows) if self._colour_by == "false" else None
        if false is not None:
            return np.concatenate([shades_of_scores(1 - false, (0.0, 1.0)), by_hand])
        palette = np.stack([rgba(controller.colour(name)) for name in selection.candidates.view_names])
        colours = palette[selection.picks.view[self._rows]]
        colours[selection.near_threshold(choice, controller.tune(), MARGIN)[self._rows], 3] = PALE
        return np.concatenate([colours, by_hand])

    def show_as(self, *, colour_by: str | None = None, crosses: bool | None = None) -> None:
        """Colour the picks by view, score, or chance of being false (`false`), and draw circles or crosses."""
        self._colour_by = colour_by or self._colour_by
        self._crosses = self._crosses if crosses is None else crosses
        if self._registry.layer(PICKS) is not None:
            self._fill_points()

    def show_false(self) -> None:
        """Colour the picks anew when the chance of being false is estimated."""
        if self._colour_by == "false":
            self.show_as()

    def _state_changed(self, state: Any, before: Any) -> None:
        if state.views != before.views and self._selection is not None and self._registry.layer(PICKS) is not None:
            self._fill_points()

    def position(self, number: int) -> tuple[float, float]:
        """Return (x, y) of a point exactly as the controller knows it."""
        selection = self._selection
        if number < len(self._rows):
            k = self._rows[number]
            return float(selection.picks.x[k]), float(selection.picks.y[k])
        added = self._added[number - len(self._rows)]
        return added.x, added.y

    def _edited(self, event: Any) -> None:
        """Turn what the person does with napari's own tools into actions of ours."""
        action = str(getattr(event.action, "value", event.action))
        if self._own_change or action not in ("added", "removed", "changed"):
            return
        data = np.asarray(event.source.data)
        known = len(self._rows) + len(self._added)
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
        layer = self._registry.layer(PICKS)
        if layer is None or not len(layer.data):
            return None
        data = np.asarray(layer.data)
        apart = np.hypot(data[:, 0] - y, data[:, 1] - x)
        best = int(np.argmin(apart))
        return best if apart[best] <= float(np.asarray(layer.size).ravel()[0]) / 2 else None

    def reject_selected(self, cursor: tuple[float, float] | None) -> None:
        """Reject the selected picks, or the one under the cursor."""
        layer = self._registry.layer(PICKS)
        if layer is None:
            return
        chosen = sorted(layer.selected_data)
        under = None if chosen or cursor is None else self.nearest(*cursor)
        numbers = chosen or ([under] if under is not None else [])
        if numbers:
            self._controller.reject([self.position(i) for i in numbers])

    def close(self) -> None:
        """Let go of the layer; it stays in the viewer."""
        self._tell_soon.cancel()
        layer = self._registry.layer(PICKS)
        if layer is not None:
            layer.events.data.disconnect(self._edited)


_ALIKE = ("_shown", "_size", "_border_width", "_symbol")
_COLOURS = ("_face", "_border")


def swap_points(
    layer: Points, data: NDArray[np.float64], features: Mapping[str, Any], colours: NDArray[np.float32]
) -> None:
    """Replace all points; the new ones look like those before, colours excepted. Drawn once, and nobody is told.

    `layer.data = ...` resizes sizes, symbols and both sorts of colours one by one, with the checks and redraws of each,
    and takes twice as long (napari 0.6 and 0.9). The layer ends as its setters leave it, which also do this where it
    has no points yet to copy the looks of, or other parts than are known.

    Parameters
    ----------
    data : (n, 2) float
        (y, x); n > 0.
    features : mapping of str to (n,) sequence
    colours : (n, 4) float
        Of the borders, RGBA.
    """
    whole = getattr(layer, "__wrapped__", layer)  # plugins get a proxy of it that keeps these parts back
    if not len(layer.data) or not all(hasattr(whole, name) for name in ("_data", *_ALIKE, *_COLOURS)):
        with layer.events.set_data.blocker(), layer.events.data.blocker():
            layer.data = data
            if not layer.visible:
                layer.set_view_slice()  # otherwise napari keeps the earlier numbers of points
        layer.features = features
        layer.border_color = colours
        return
    n, (face, border) = len(data), (getattr(whole, name) for name in _COLOURS)
    with whole.events.blocker_all(), face.events.blocker_all(), border.events.blocker_all():
        if n != len(whole.data):
            for name in _ALIKE:
                setattr(whole, name, np.resize(getattr(whole, name), n))
            face.colors = np.resize(face.colors, (n, 4))
        whole._data = np.asarray(data, float)  # noqa: SLF001
        border.colors = colours
        whole.features = features
    whole.set_view_slice()  # also while it is hidden
    whole.events.set_data()
