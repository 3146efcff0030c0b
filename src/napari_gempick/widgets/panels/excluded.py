"""A line of part 4: the excluded area, shown and edited with a brush."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton, QWidget

from napari_gempick.widgets.forms.editors import edit
from napari_gempick.widgets.forms.parts import CHECKED, button, row
from napari_gempick.widgets.layers.excluded import ERASE, PAINT

if TYPE_CHECKING:
    from napari_gempick.widgets.layers.excluded import ExcludedArea

_TIP = "Show where no picks may lie on this micrograph: what was found there, and what you paint"
TOOLS = {
    PAINT: ("Brush", "Paint over what is to be left out; the picks there go at once"),
    ERASE: ("Eraser", "Take excluded area away; the picks there come back"),
}


class ExcludedLine(QWidget):
    """A tick for the overlay, a brush, and an eraser.

    Parameters
    ----------
    area : ExcludedArea
    """

    def __init__(self, area: ExcludedArea) -> None:
        super().__init__()
        self._area = area
        self.shown = edit(bool, False, label="Excluded area", tip=_TIP)
        self.shown.changed.connect(area.show)
        self.buttons: dict[str, QPushButton] = {}
        for tool, (name, tip) in TOOLS.items():
            made = self.buttons[tool] = button(name, tip, lambda tool=tool: area.take(tool))
            made.setCheckable(True)
            made.setStyleSheet(CHECKED)
        line = row(self.shown.native, *self.buttons.values(), wide=0)
        self.setLayout(line)
        area.changed.connect(self._show)

    def _show(self) -> None:
        self.shown.show_value(self._area.shown)
        for tool, made in self.buttons.items():
            made.setChecked(tool == self._area.tool)
