"""How the micrograph and the maps are displayed: low-pass of the micrograph, maps of one view, window of the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget
from superqt import QLabeledDoubleRangeSlider
from superqt.utils import signals_blocked

from napari_gempick.widgets.forms.editors import edit
from napari_gempick.widgets.forms.parts import agreed, button, row, small
from napari_gempick.widgets.layers.layer_registry import NCC

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_gempick.widgets.background.search_runner import SearchRunner
    from napari_gempick.widgets.layers.layers import Layers
    from napari_gempick.widgets.state.controller import Controller

SIGNED, POSITIVE = (-1.0, 1.0), (0.0, 1.0)
NARROWEST = 0.02
"""Window of the scores."""


class Viewing(QWidget):
    """A line on the score map; `lowpass` is put elsewhere.

    Parameters
    ----------
    show_map : callable
        Brings a map into sight.
    """

    def __init__(
        self, controller: Controller, layers: Layers, searches: SearchRunner, show_map: Callable[[], object]
    ) -> None:
        super().__init__()
        self._controller, self._layers, self._searches = controller, layers, searches
        self._show_map = show_map
        self._choices: list[tuple[str, str]] = [("all views", "")]
        tip = "<p>Low-pass for display only. The search uses its own low-pass. [Å]</p>"
        self._lowpass = edit(
            float, 0.0, label="Low-pass of the shown micrograph", tip=tip, empty="Low-pass: off", prefix="Low-pass: ",
            suffix=" Å", max=999.0, step=5.0, digits=0,
        )  # fmt: skip
        self.lowpass = self._lowpass.native
        self._lowpass.changed.connect(lambda value: layers.set_lowpass(value or None))
        tip = (
            "<p>Score map and index map of all views together, or of one view. Those of one view are there after a "
            "search with <b>Maps per view</b>.</p>"
        )
        self._views = edit(str, label="View of the maps", tip=tip, choices=lambda _: self._choices)
        self.views = self._views.native
        self.views.activated.connect(lambda place: self.choose(self.views.itemData(place)))
        self.window = QLabeledDoubleRangeSlider(Qt.Orientation.Horizontal)
        self.window.setHandleLabelPosition(QLabeledDoubleRangeSlider.LabelPosition.NoLabel)
        self.window.setEdgeLabelMode(QLabeledDoubleRangeSlider.EdgeLabelMode.LabelIsValue)
        self.window.setRange(*SIGNED)
        self.window.setSingleStep(0.05)
        self.window.setToolTip(
            "<p>The lowest and the highest score that have colours of their own in the score map; 0 is black.</p>"
        )
        self.window.setAccessibleName("Scores shown, lowest and highest")
        self.window.valueChanged.connect(self._window_moved)
        self.positive = button("0 to 1", "Show the scores from 0 to 1, or from -1 to 1", self._toggle)
        self.label = small("Maps")
        self.label.setWordWrap(False)
        line = row(self.label, self.views, self.window, self.positive)
        line.setContentsMargins(8, 0, 12, 2)
        line.setStretch(1, 3)
        line.setStretch(2, 4)
        self.setLayout(line)
        controller.loaded_changed.connect(self._update)
        controller.maps_changed.connect(self._update)
        layers.maps.window_changed.connect(self._show_window)
        self._update()
        self._show_window()

    def _update(self) -> None:
        loaded = self._controller.loaded
        known = loaded is not None and loaded.image is not None and loaded.pixel_size is not None
        self.lowpass.setEnabled(known)
        if (loaded is None or not loaded.maps) and self._controller.reads_maps:
            return  # the line would only go and come again
        self.setVisible(loaded is not None and bool(loaded.maps))
        if loaded is None or not loaded.maps:
            return
        names = () if loaded.selection is None else loaded.selection.candidates.view_names
        words = [name if name in loaded.map_views else f"only {name}…" for name in names]
        self._choices = [("all views", ""), *zip(words, names, strict=True)]
        self._views.reset_choices()
        shown = self._controller.map_view if self._controller.map_view in loaded.maps else ""
        self._views.show_value(shown)
        self.views.setVisible(len(names) > 1)

    def choose(self, view: str) -> None:
        """Show the maps of one view ("": of all together); where they were not kept, offer to make them."""
        controller, loaded = self._controller, self._controller.loaded
        if loaded is None:
            return
        if view and view not in loaded.map_views:
            self._update()
            if self._searches.run is not None:
                controller.notified.emit("Wait for the search to end, then choose the view again.", "info")
                return
            if not self._agreed(view):
                return
            controller.set_value("per_view_maps", True)
            controller.show_map_of(view)
            self._searches.run_this()
            return
        controller.show_map_of(view)
        ncc = self._layers.layer(NCC)
        if ncc is not None:
            self._show_map()

    def _agreed(self, view: str) -> bool:
        text = f"The search kept no maps of the view {view}. Search this micrograph again, and keep them?"
        return agreed(self, "Maps of one view", text)

    def _window_moved(self, window: tuple[float, float]) -> None:
        low, high = (round(value, 2) for value in window)
        if high - low < NARROWEST:
            moved_low = low != self._layers.maps.window[0]
            low = min(low, SIGNED[1] - NARROWEST) if moved_low else high - NARROWEST
            high = low + NARROWEST
        self._layers.maps.set_window(low, high)

    def _toggle(self) -> None:
        self._layers.maps.set_window(*(SIGNED if self._layers.maps.window == POSITIVE else POSITIVE))

    def _show_window(self) -> None:
        with signals_blocked(self.window):
            self.window.setValue(self._layers.maps.window)
        self.positive.setText("−1 to 1" if self._layers.maps.window == POSITIVE else "0 to 1")
