"""Small questions: how to project a map, what to call an average."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Dialog

from napari_gempick.widgets.editors import edit

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


def projection_dialog(parent: QWidget, path: str) -> Dialog:
    """Return the dialog that asks for name, symmetry and angle step of the projections of a map."""
    tip = "Symmetry of the map: C1, C4, D2, D7, T, O, I, ...; only different views are made"
    step = {"min": 2.0, "max": 90.0, "suffix": "°", "tip": "Mean distance of neighbouring views [degrees]"}
    return _dialog(
        parent,
        "Project a map",
        edit(str, Path(path).name.split(".")[0].replace("=", "_"), name="name", label="Name of the view"),
        edit(str, "C1", name="symmetry", label="Symmetry", tip=tip),
        edit(float, 15.0, name="step", label="Angle step", **step),
    )


def average_dialog(parent: QWidget, diameter: float, *, by_hand: int, seen: int) -> Dialog:
    """Return the dialog that asks for the name of a view, the diameter, and which picks to average."""
    tip = "Diameter of the particle; the box is 1.5 times as wide [Å]"
    size: dict[str, Any] = {"min": 10.0, "max": 5000.0, "step": 10.0, "digits": 0, "suffix": " Å", "tip": tip}
    only = edit(bool, by_hand > 0, name="only", label=f"Only the {by_hand} added by hand, not all {seen} seen")
    only.enabled = 0 < by_hand < seen
    return _dialog(
        parent,
        "Average picks",
        edit(str, "average", name="name", label="Name of the view"),
        edit(float, diameter, name="diameter", label="Particle diameter", **size),
        only,
    )


def _dialog(parent: QWidget, title: str, *editors: Any) -> Dialog:
    made = Dialog(widgets=editors, parent=parent)
    made.native.setWindowTitle(title)
    return made


def ask(dialog: Dialog) -> dict[str, Any] | None:
    """Show a dialog; return what was answered by the names of the editors, None where it was cancelled."""
    return dialog.asdict() if dialog.exec() else None
