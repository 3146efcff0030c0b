"""Settings of the search that few people need: filters, CTF, exclusion, angles, masks, candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal

from napari_gempick.model.declaration import groups, names_with
from napari_gempick.model.settings import PickSettings
from napari_gempick.widgets.editors import lower
from napari_gempick.widgets.fold import Fold
from napari_gempick.widgets.forms import Form
from napari_gempick.widgets.parts import small

if TYPE_CHECKING:
    from collections.abc import Mapping

ELSEWHERE = {
    *names_with(PickSettings, group=("Micrographs", "Templates", "Search", "Tune", "Limits")),
    *("templates", "mask", "threshold", "format"),
}
"""Settings that have their place in a part of the dock."""


class MoreSettings(Fold):
    """Editors of the other settings under their headings; `edited` tells a change, `refused` why it cannot be made."""

    edited = Signal(str, object)
    refused = Signal(str, str)

    def __init__(self) -> None:
        super().__init__("More settings", "Filters, CTF, exclusion, symmetry, grid, masks, threads")
        self.forms = []
        for heading, declared in groups(PickSettings).items():
            names = [name for name in declared if name not in ELSEWHERE]
            if names:
                self.rows.addWidget(small(f"<b>{heading}</b>"))
                self.forms.append(Form(PickSettings, names, self.edited.emit, self.refused.emit))
                self.rows.addWidget(self.forms[-1].native)
        self.fields = {name: field for form in self.forms for name, field in form.fields.items()}

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Show the settings, and in the heading which of them are not the defaults."""
        for form in self.forms:
            form.show_values(values)
        for name in ("phase_flipped", "ctf_step"):
            self.fields[name].enabled = bool(values.get("ctf"))
        changed = [lower(field.label) for name, field in self.fields.items() if values.get(name) is not None]
        self.say(", ".join(changed))
