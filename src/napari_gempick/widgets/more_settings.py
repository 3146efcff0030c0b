"""Settings of the search that few people need: filters, CTF, exclusion, angles, masks, candidates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QGridLayout, QHBoxLayout, QLineEdit, QMenu, QWidget

from napari_gempick.model.settings import AUTO
from napari_gempick.widgets.fields import Field, label_of, tip_of
from napari_gempick.widgets.fold import Fold
from napari_gempick.widgets.parts import GAP, button, small

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUPS = (
    ("Filters of micrographs and templates", ("averaging", "gradient", "defects", "hot_pixels", "whiten")),
    ("CTF of each micrograph", ("ctf", "phase_flipped", "ctf_step")),
    ("No picks on", ("exclude",)),
    ("Angles and grid", ("angle_range", "in_plane_symmetry", "grid")),
    ("Masks", ("mask_edge", "mask_rotation")),
    ("Run", ("candidate_floor", "bad_pixels", "threads", "per_view_maps", "decoys")),
)
WIDE = ("ctf", "exclude")
"""Fields with a line of their own."""


class MoreSettings(Fold):
    """Editors of the settings in GROUPS; `edited` tells a change, `refused` why one cannot be made."""

    edited = Signal(str, object)
    refused = Signal(str, str)

    def __init__(self) -> None:
        super().__init__("More settings", "Filters, CTF, exclusion, symmetry, grid, masks, threads")
        self.fields: dict[str, Field | PathField] = {}
        for title, names in GROUPS:
            self.rows.addWidget(small(f"<b>{title}</b>"))
            grid = QGridLayout()
            grid.setSpacing(GAP)
            grid.setContentsMargins(0, 0, 0, 0)
            place = 0
            for name in names:
                field = PathField(name) if name in WIDE else Field(name)
                field.edited.connect(self.edited)
                field.refused.connect(self.refused)
                self.fields[name] = field
                place += place % 2 if name in WIDE else 0
                line, side = place // 2, 2 * (place % 2)
                if name in WIDE:
                    grid.addWidget(field.editor, line, 0, 1, 4)
                    place += 2
                    continue
                if field.label.text() == field.editor.property("text"):  # a check box says itself what it is
                    grid.addWidget(field.editor, line, side, 1, 2)
                else:
                    grid.addWidget(field.label, line, side)
                    grid.addWidget(field.editor, line, side + 1)
                place += 1
            for column in (1, 3):
                grid.setColumnStretch(column, 1)
            self.rows.addLayout(grid)

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Show the settings, and in the heading which of them are not the defaults."""
        for name, field in self.fields.items():
            field.set(values.get(name))
        with_ctf = bool(values.get("ctf"))
        for name in ("phase_flipped", "ctf_step"):
            self.fields[name].editor.setEnabled(with_ctf)
        changed = [label_of(name).lower() for name in self.fields if values.get(name) is not None]
        self.say(", ".join(changed).replace("ctf", "CTF").replace("nan", "NaN"))


class PathField(QWidget):
    """An editor of a setting that is a file (or a folder, or `auto`, for the exclusion masks)."""

    edited = Signal(str, object)
    refused = Signal(str, str)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._value: str | None = None
        self._masks = name == "exclude"
        self.line = QLineEdit()
        self.line.setPlaceholderText("nothing is left out" if self._masks else "none: no CTF")
        self.line.editingFinished.connect(lambda: self.take(self.line.text()))
        choose = button("Choose", "Choose a file, or none", lambda: None)
        choose.setAccessibleName(f"Choose {label_of(name)}")
        menu = QMenu(choose)
        if self._masks:
            menu.addAction("Ice, dirt, carbon and padded borders, found by themselves", lambda: self.take(AUTO))
            menu.addAction("Mask for every micrograph...", self._ask_file)
            menu.addAction("Folder with a mask for each...", self._ask_folder)
        else:
            menu.addAction("STAR file with the defocus of each micrograph...", self._ask_file)
            menu.addAction("Folder of CTFFIND's texts...", self._ask_folder)
        menu.addAction("None", lambda: self.take(""))
        choose.setMenu(menu)
        self.label = small(label_of(name))
        self.editor = QWidget()
        layout = QHBoxLayout(self.editor)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addWidget(self.line, 1)
        layout.addWidget(choose)
        for widget in (self.line, self.label):
            widget.setToolTip(tip_of(name))
        self.line.setAccessibleName(label_of(name))

    def take(self, text: str) -> None:
        """Take a path, if there is such a file."""
        text = text.strip()
        value = None
        if text == AUTO and self._masks:
            value = AUTO
        elif text:
            path = Path(text).expanduser().absolute()
            if not path.exists():
                self.set(self._value)
                kind = (
                    "a mask, a folder of masks, or auto"
                    if self._masks
                    else "a STAR file or a folder of CTFFIND's texts"
                )
                self.refused.emit(f"{path} does not exist; choose {kind}.", "error")
                return
            value = str(path)
        if value != self._value:
            self.edited.emit(self.name, value)

    def set(self, value: str | None) -> None:
        """Show a value."""
        self._value = value
        self.line.setText(value or "")

    def _ask_file(self) -> None:
        kinds = "Images (*.mrc *.mrc.gz *.tif *.tiff);;All files (*)" if self._masks else "STAR (*.star);;All files (*)"
        file, _ = QFileDialog.getOpenFileName(self, label_of(self.name), "", kinds)
        if file:
            self.take(file)

    def _ask_folder(self) -> None:
        what = "Folder with a mask for each micrograph" if self._masks else "Folder of CTFFIND's texts"
        folder = QFileDialog.getExistingDirectory(self, what)
        if folder:
            self.take(folder)
