"""Small questions: how to project a map, what to call an average."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QDialog, QDialogButtonBox, QFormLayout, QLineEdit

from napari_gempick.widgets.fields import DoubleSpin

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


class ProjectDialog(QDialog):
    """Name, symmetry and angle step of the projections of a map."""

    def __init__(self, parent: QWidget, path: str) -> None:
        super().__init__(parent)
        self.setWindowTitle("Project a map")
        form = QFormLayout(self)
        self.name = QLineEdit(Path(path).name.split(".")[0].replace("=", "_"))
        self.symmetry = QLineEdit("C1")
        self.symmetry.setToolTip("Symmetry of the map: C1, C4, D2, D7, T, O, I, ...; only different views are made")
        self.step = DoubleSpin()
        self.step.setRange(2, 90)
        self.step.setValue(15)
        self.step.setSuffix("°")
        self.step.setToolTip("Mean distance of neighbouring views [degrees]")
        form.addRow("Name of the view", self.name)
        form.addRow("Symmetry", self.symmetry)
        form.addRow("Angle step", self.step)
        _finish(self, form)


class AverageDialog(QDialog):
    """Name of the view, diameter of the particle, and which picks to average."""

    def __init__(self, parent: QWidget, diameter: float, *, by_hand: int, seen: int) -> None:
        super().__init__(parent)
        self.setWindowTitle("Average picks")
        form = QFormLayout(self)
        self.name = QLineEdit("average")
        self.diameter = DoubleSpin()
        self.diameter.setRange(10, 5000)
        self.diameter.setDecimals(0)
        self.diameter.setSingleStep(10)
        self.diameter.setSuffix(" Å")
        self.diameter.setValue(diameter)
        self.diameter.setToolTip("Diameter of the particle; the box is 1.5 times as wide [Å]")
        self.only = QCheckBox(f"Only the {by_hand} added by hand, not all {seen} seen")
        self.only.setChecked(by_hand > 0)
        self.only.setEnabled(0 < by_hand < seen)
        form.addRow("Name of the view", self.name)
        form.addRow("Particle diameter", self.diameter)
        form.addRow(self.only)
        _finish(self, form)


def _finish(dialog: QDialog, form: QFormLayout) -> None:
    buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
    buttons.accepted.connect(dialog.accept)
    buttons.rejected.connect(dialog.reject)
    form.addRow(buttons)
