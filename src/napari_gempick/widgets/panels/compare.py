"""A fold of part 4: the picks against other sets of picks or a truth, and the layer of that comparison."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QFileDialog, QLabel
from superqt.utils import signals_blocked

from napari_gempick.evaluation.compare import counts
from napari_gempick.widgets.forms.editors import edit
from napari_gempick.widgets.forms.parts import Fold, button, row, small
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
    """Keeps the layer as the comparison has it; to delete it is to draw it no longer."""

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
        """Show the comparison on the current micrograph."""
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
    """Return positions (y, x), the kind of each point, and features; marks and the picks at them do not count."""
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


_FILTER = "Coordinates (*.star *.box *.cbox *.cs *.json *.pos *.csv *.tsv *.txt *.tab);;All files (*)"


class ComparePanel(Fold):
    """Load sets, choose the one that is drawn, say what matches."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__("Compare with other picks", "Compare the picks with a truth, or with picks of other programs")
        self._comparison = comparison
        self.rows.addWidget(small("Coordinates of any kind that gempick reads, by file or folder."))
        self.file = button("Add file...", "Compare with a file of coordinates", self._ask_file)
        self.folder = button("Add folder...", "Compare with the coordinate files of a folder", self._ask_folder)
        self.rows.addLayout(row(self.file, self.folder))
        self._sets = edit(
            str,
            label="Set that is compared with",
            tip="The set that is drawn and counted",
            choices=lambda _: list(comparison.sets),
        )
        self.sets = self._sets.native
        self._sets.changed.connect(lambda name: name is not None and comparison.show(name))
        self.remove = button("Remove", "Compare with this set no longer", self._remove)
        self.rows.addLayout(row("With", self.sets, self.remove, wide=1))
        tip = "Two picks of one particle lie no farther apart than this. Default: half the particle's diameter"
        self._tolerance = edit(
            float, None, label="Tolerance", tip=tip, max=9999.0, step=5.0, open=True, nullable=True, narrowest=86
        )
        self.tolerance = self._tolerance.native
        tip = "Unit of the tolerance; px are pixels of the micrograph"
        self._unit = edit(str, "Å", label="Unit of the tolerance", tip=tip, choices=("Å", "px"), shortest=2)
        self.unit = self._unit.native
        self._drawn = edit(bool, label="Points", tip="Show the points of the comparison over the micrograph")
        self._drawn.changed.connect(comparison.draw)
        self.drawn = self._drawn.native
        label = QLabel("Tolerance")
        label.setBuddy(self.tolerance)
        line = row(label, self.tolerance, self.unit, self.drawn)
        line.setStretch(1, 3)  # editors ask for no room of their own
        line.setStretch(2, 2)
        self.rows.addLayout(line)
        self.legend = small("")
        self.words = small("")
        self.everything = small("")
        for text in (self.legend, self.words, self.everything):
            text.setTextFormat(Qt.TextFormat.RichText)
            text.setWordWrap(False)
            self.rows.addWidget(text)
        for editor in (self._tolerance, self._unit):
            editor.changed.connect(self._changed)
        comparison.changed.connect(self._update)
        comparison.totals_changed.connect(self._show_totals)
        self._update()

    def _ask_file(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Compare with a file of coordinates", "", _FILTER)
        if file:
            self._comparison.load(Path(file))

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Compare with the coordinates of a folder")
        if folder:
            self._comparison.load(Path(folder))

    def _remove(self) -> None:
        if self._comparison.shown is not None:
            self._comparison.remove(self._comparison.shown)

    def _changed(self) -> None:
        self._comparison.set_tolerance(self._tolerance.value, self._unit.value)

    def _update(self) -> None:
        comparison = self._comparison
        names, shown = list(comparison.sets), comparison.shown
        if [self.sets.itemText(i) for i in range(self.sets.count())] != names:
            with signals_blocked(self.sets):
                self._sets.reset_choices()
            for place, name in enumerate(names):
                self.sets.setItemData(place, str(comparison.sets[name].path), Qt.ItemDataRole.ToolTipRole)
        with signals_blocked(self.sets):
            self.sets.setCurrentText(shown or "")
        for widget in (self.sets, self.remove, self.tolerance, self.unit, self.drawn, self.legend, self.words):
            widget.setEnabled(shown is not None)
        self._drawn.show_value(shown is not None and comparison.drawn)
        self._tolerance.explain(f"auto: {comparison.automatic_tolerance()}")
        self.legend.setText(_legend() if shown is not None else "")
        matching = comparison.matchings.get(shown or "")
        self.words.setText("" if matching is None else sentences(counts([matching])))
        self._show_totals()

    def _show_totals(self) -> None:
        found = self._comparison.totals.get(self._comparison.shown or "")
        many = found is not None and found["micrographs"] > 1
        self.everything.setText(
            f"<b>All {found['micrographs']} micrographs:</b><br>{sentences(found)}"
            if found is not None and many
            else ""
        )
        self.everything.setVisible(many)


def _legend() -> str:
    return " &nbsp; ".join(
        f"<span style='color: {colour}; font-size: 14px;'>{letter}</span>&nbsp;{kind}"
        for kind, (colour, _, letter) in KINDS.items()
    )


def sentences(found: dict[str, Any]) -> str:
    """Return the counts in words: all views, the rates, and each view, a line each."""
    lines = [
        f"matched {found['matched']}, only here {found['only_a']}, only there {found['only_b']}",
        f"recall {_share(found['recall'])}, precision {_share(found['precision'])}",
    ]
    if len(found["per_view"]) > 1:
        lines += [
            f"{html.escape(view['view'])}: matched {view['matched_a']}, only here {view['only_a']}, "
            f"only there {view['only_b']}"
            for view in found["per_view"]
        ]
    return "<br>".join(lines)


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
