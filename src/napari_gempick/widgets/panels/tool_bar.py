"""The tools that correct picks, always in sight below the parts of the dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton, QWidget

from napari_gempick.widgets.forms.editors import edit
from napari_gempick.widgets.forms.parts import CHECKED, button, row
from napari_gempick.widgets.layers.tools import ADD, ERASE, LASSO, PAN

if TYPE_CHECKING:
    from typing import Any

    from napari_gempick.widgets.layers.excluded import ExcludedArea
    from napari_gempick.widgets.layers.tools import PickTools
    from napari_gempick.widgets.state.controller import Controller

TOOLS = {
    PAN: ("Pan", "P", "Move and zoom the picture"),
    ADD: ("Add", "A", "Click on particles to add picks; drag to move the picture"),
    ERASE: ("Erase", "E", "Brush over picks to reject them"),
    LASSO: ("Lasso", "L", "Draw a line around picks to reject them"),
}
"""Name, key and meaning."""


class ToolBar(QWidget):
    """A button for each tool, and the view of picks that are added.

    Parameters
    ----------
    excluded : ExcludedArea
        Whose brush is a tool of its own.
    """

    def __init__(self, controller: Controller, tools: PickTools, excluded: ExcludedArea) -> None:
        super().__init__()
        self._controller, self._tools, self._excluded = controller, tools, excluded
        self.buttons: dict[str, QPushButton] = {}
        for tool, (name, key, tip) in TOOLS.items():
            made = self.buttons[tool] = button(name, f"{tip}  ( {key} )", lambda tool=tool: self._take(tool))
            made.setCheckable(True)
            made.setStyleSheet(CHECKED)
        self._choices: list[tuple[str, str]] = [("best view", "")]
        self._views = edit(str, label="View of added picks", tip="The view given to added picks", choices=self._listed)
        self._views.changed.connect(self._view_chosen)
        self.views = self._views.native
        line = row(*self.buttons.values(), self.views, wide=len(self.buttons))
        line.setContentsMargins(10, 2, 12, 0)
        self.setLayout(line)
        for one in (tools, excluded):
            one.changed.connect(self._show)
        controller.state_changed.connect(lambda state, before: self._show_views())
        controller.loaded_changed.connect(self._show_views)
        self._show()
        self._show_views()

    def _listed(self, _: Any) -> list[tuple[str, str]]:
        return self._choices

    def _take(self, tool: str) -> None:
        if tool != self._tools.tool or tool == PAN:  # which puts down the brush of a layer, too
            self._tools.take(tool)
        self._show()

    def _view_chosen(self, view: str) -> None:
        self._tools.view = view

    def _show(self) -> None:
        for tool, made in self.buttons.items():
            made.setChecked(tool == self._tools.tool and not self._excluded.tool)
        self.views.setEnabled(self._tools.tool == ADD)

    def _show_views(self) -> None:
        choices = [("best view", ""), *((name, name) for name in self._controller.view_names())]
        if choices != self._choices:
            self._choices = choices
            self._views.reset_choices()
            if self._tools.view not in dict(choices).values():
                self._tools.view = ""
            self._views.show_value(self._tools.view)
        self.views.setVisible(len(choices) > 2)
