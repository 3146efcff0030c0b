"""The layer of a comparison: points that both sets have, that only the picks have, that only the other set has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_gempick.widgets.layers.layers import PICKS
from napari_gempick.widgets.state.look import rgba

if TYPE_CHECKING:
    from napari.layers import Points
    from napari.viewer import Viewer

    from napari_gempick.evaluation.matching import Matching
    from napari_gempick.widgets.layers.layers import Layers
    from napari_gempick.widgets.state.comparing import Comparison

COMPARISON = "Comparison"
KINDS = {
    "matched": ("#4be38a", "disc", "●"),
    "only here": ("#ff4fa3", "x", "✖"),
    "only there": ("#ffe14d", "square", "■"),
}
"""Colour, napari's symbol and a letter for the legend: told apart by shape too."""
_SIZE = 0.3
"""Particle diameters: within the circle of a pick."""


class ComparisonLayer:
    """Keeps the layer as the comparison has it; to delete it is to draw it no longer.

    Parameters
    ----------
    viewer : napari.Viewer
    layers : Layers
    comparison : Comparison
    """

    def __init__(self, viewer: Viewer, layers: Layers, comparison: Comparison) -> None:
        self._viewer, self._layers, self._comparison = viewer, layers, comparison
        self._layer: Points | None = None
        self._own_change = False
        comparison.changed.connect(self.show)
        viewer.layers.events.removed.connect(self._removed)

    @property
    def layer(self) -> Points | None:
        """The layer; None where nothing is compared."""
        return self._layer

    def show(self) -> None:
        """Show what the comparison says of the current micrograph."""
        comparison = self._comparison
        if comparison.shown is None or not comparison.drawn:
            self._remove()
            return
        matching = comparison.matchings.get(comparison.shown)
        data, kinds, features = _points(matching)
        colours = np.stack([rgba(KINDS[kind][0]) for kind in kinds]) if len(kinds) else KINDS["matched"][0]
        symbols = [KINDS[kind][1] for kind in kinds]
        size = max(4.0, _SIZE * comparison.diameter_px())
        if self._layer is None:
            if matching is not None:
                self._make(data, features, colours, symbols, size)
            return
        layer, place = self._layer, self._layers.place()
        if tuple(layer.scale) != place["scale"]:
            layer.scale = place["scale"]
            layer.units = place["units"]
        layer.selected_data = set()
        layer.current_size = size
        layer.data = data
        layer.features = features
        if len(data):
            layer.size = size
            layer.face_color = colours
            layer.symbol = symbols

    def _make(self, data: Any, features: Any, colours: Any, symbols: Any, size: float) -> None:
        layer = self._viewer.add_points(
            data,
            name=COMPARISON,
            features=features,
            size=size,
            symbol=symbols or "disc",
            face_color=colours,
            border_color="black",
            border_width=0.08,
            **self._layers.place(),
        )
        layer.editable = False
        self._layer = layer
        self._layers.on_made(layer)
        points = self._layers.layer(PICKS)
        if points is not None:
            self._viewer.layers.selection.active = points

    def _remove(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _removed(self, event: Any) -> None:
        if self._layer is not None and event.value == self._layer:  # one may be a proxy of the other
            self._layer = None
            QTimer.singleShot(0, lambda: self._comparison.draw(False))  # when napari is done

    def close(self) -> None:
        """Let go of the layer; it stays in the viewer."""
        self._viewer.layers.events.removed.disconnect(self._removed)
        self._layer = None


def _points(matching: Matching | None) -> tuple[Any, list[str], dict[str, Any]]:
    """Return positions (y, x), the kind of each point, and features; marks and what lies at them do not count."""
    if matching is None:
        return np.zeros((0, 2)), [], {"kind": [], "view": [], "score": []}
    found = np.zeros(len(matching.truth), bool)
    found[matching.partner[matching.matched]] = True
    parts = (
        ("matched", matching.picks.take(matching.matched)),
        ("only here", matching.picks.take(matching.pick_counts & ~matching.matched)),
        ("only there", matching.truth.take(matching.truth_counts & ~found)),
    )
    kinds = [kind for kind, some in parts for _ in range(len(some))]
    data = np.concatenate([np.stack([some.y, some.x], axis=1) for _, some in parts])
    features = {
        "kind": kinds,
        "view": np.concatenate([some.view.astype(object) for _, some in parts]),
        "score": np.concatenate([some.score for _, some in parts]).round(4),
    }
    return data, kinds, features
