"""What is looked at, and how: low-pass of the micrograph, maps of a view alone, window of the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QMessageBox, QWidget

from napari_gempick.widgets.fields import Combo, DoubleSpin, narrow
from napari_gempick.widgets.parts import button, row, small
from napari_gempick.widgets.shelf import NCC

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_gempick.widgets.controller import Controller
    from napari_gempick.widgets.layers import Layers
    from napari_gempick.widgets.searches import Searches

SIGNED, POSITIVE = (-1.0, 1.0), (0.0, 1.0)


class Viewing(QWidget):
    """A line on the score map; `lowpass` is put elsewhere.

    Parameters
    ----------
    controller : Controller
    layers : Layers
    searches : Searches
    show_map : callable
        Brings a map into sight.
    """

    def __init__(
        self, controller: Controller, layers: Layers, searches: Searches, show_map: Callable[[], object]
    ) -> None:
        super().__init__()
        self._controller, self._layers, self._searches = controller, layers, searches
        self._show_map = show_map
        self.lowpass = _number(0.0, 999.0, 1.0, 0)
        self.lowpass.setSpecialValueText("Low-pass: off")
        self.lowpass.setPrefix("Low-pass: ")
        self.lowpass.setSuffix(" Å")
        self.lowpass.setSingleStep(5)
        narrow(self.lowpass)
        self.lowpass.setToolTip(
            "<p>Low-pass of the micrograph for the eye alone: the search does not change. Search has its own. [Å]</p>"
        )
        self.lowpass.setAccessibleName("Low-pass of the shown micrograph")
        self.lowpass.valueChanged.connect(lambda value: layers.set_lowpass(value or None))
        self.views = Combo()
        self.views.setToolTip(
            "<p>Score map and index map of all views together, or of one alone. Those of one alone are there after a "
            "search with <b>Maps per view</b>.</p>"
        )
        self.views.setAccessibleName("View of the maps")
        self.views.activated.connect(lambda place: self.choose(self.views.itemData(place)))
        self.low, self.high = _number(-1, 0.98, 0.1, 2), _number(-0.98, 1, 0.1, 2)
        for spin, word in ((self.low, "lowest"), (self.high, "highest")):
            spin.setToolTip(f"<p>The {word} score that has a colour of its own in the score map; 0 is black.</p>")
            spin.setAccessibleName(f"The {word} score shown")
            spin.valueChanged.connect(self._window_typed)
        self.positive = button("0 to 1", "Show the scores from 0 to 1, or from -1 to 1", self._toggle)
        self.label = small("Maps")
        self.label.setWordWrap(False)
        self.to = small("to")
        line = row(self.label, self.views, self.low, self.to, self.high, self.positive)
        line.setContentsMargins(8, 0, 12, 2)
        for spin in (self.low, self.high):
            spin.setStyleSheet("min-width: 36px; max-width: 36px;")  # napari's style asks for more
        line.setStretch(1, 1)
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
        names = () if loaded.board is None else loaded.board.candidates.view_names
        self.views.clear()
        self.views.addItem("all views", "")
        for name in names:
            self.views.addItem(name if name in loaded.map_views else f"{name} alone…", name)
        shown = self._controller.map_view if self._controller.map_view in loaded.maps else ""
        self.views.setCurrentIndex(self.views.findData(shown))
        self.views.setVisible(len(names) > 1)

    def choose(self, view: str) -> None:
        """Show the maps of a view alone ("": of all together); where they were not kept, offer to make them."""
        controller, loaded = self._controller, self._controller.loaded
        if loaded is None:
            return
        if view and view not in loaded.map_views:
            self._update()
            if self._searches.run is not None:
                controller.said.emit("Wait for the search to end, then choose the view again.", "info")
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
        answer = QMessageBox.question(
            self,
            "Maps of a view alone",
            f"The search kept no maps of {view} alone. Search this micrograph again, and keep its maps?",
        )
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _window_typed(self, _: Any) -> None:
        low, high = self.low.value(), self.high.value()
        if high - low < 0.02:
            moved_low = low != self._layers.maps.window[0]
            low, high = (low, min(1.0, low + 0.02)) if moved_low else (high - 0.02, high)
        self._layers.maps.set_window(low, high)

    def _toggle(self) -> None:
        self._layers.maps.set_window(*(SIGNED if self._layers.maps.window == POSITIVE else POSITIVE))

    def _show_window(self) -> None:
        for spin, value in zip((self.low, self.high), self._layers.maps.window, strict=True):
            blocked = spin.blockSignals(True)
            spin.setValue(value)
            spin.blockSignals(blocked)
        self.positive.setText("−1 to 1" if self._layers.maps.window == POSITIVE else "0 to 1")


def _number(low: float, high: float, step: float, decimals: int) -> DoubleSpin:
    made = DoubleSpin()
    made.setRange(low, high)
    made.setDecimals(decimals)
    made.setSingleStep(step)
    made.setKeyboardTracking(False)
    made.setButtonSymbols(DoubleSpin.ButtonSymbols.NoButtons)
    return made
