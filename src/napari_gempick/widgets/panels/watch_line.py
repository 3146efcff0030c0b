"""The line of part 1 that watches a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_gempick.widgets.forms.editors import edit
from napari_gempick.widgets.forms.parts import CHECKED, button, row, small
from napari_gempick.widgets.state.look import counted

if TYPE_CHECKING:
    from napari_gempick.widgets.background.folder_watch import FolderWatch
    from napari_gempick.widgets.state.controller import Controller


class WatchLine(QWidget):
    """A button that begins and stops, whether to search what arrives, and what has come so far."""

    def __init__(self, controller: Controller, watch: FolderWatch) -> None:
        super().__init__()
        self._controller, self._watch = controller, watch
        self.button = button("Watch folder...", "", self._pressed)
        self.button.setStyleSheet(CHECKED)
        self.button.setCheckable(True)
        tip = "Search micrographs as they arrive, with the templates and settings of parts 2 and 3"
        self.search = edit(bool, False, label="search what arrives", tip=tip)
        self.search.changed.connect(watch.set_searching)
        self.words = small("")
        lines = QVBoxLayout(self)
        lines.setContentsMargins(0, 0, 0, 0)
        lines.addLayout(row(self.button, self.search.native, 1))
        lines.addWidget(self.words)
        watch.changed.connect(self._show)
        controller.state_changed.connect(lambda state, before: self._show())
        self._show()

    def _pressed(self) -> None:
        if self._watch.folder is not None:
            self._watch.stop()
            return
        folder = QFileDialog.getExistingDirectory(self, "Watch a folder for new micrographs")
        if folder:
            self._watch.start(Path(folder))
        self._show()

    def _show(self) -> None:
        watch = self._watch
        on = watch.folder is not None
        self.button.setChecked(on)
        self.button.setText("Stop watching" if on else "Watch folder...")
        add = "Add micrographs to the list as they arrive in a folder"
        self.button.setToolTip("Stop; what has arrived stays in the list" if on else add)
        self.search.show_value(watch.searching)
        words = ""
        if on and watch.folder is not None:
            words = f"Watching {watch.folder.name}: {counted(watch.arrived, 'micrograph')} so far"
            words += f", {counted(watch.incomplete, 'file')} incomplete" if watch.incomplete else ""
            words += (
                ". Add templates in part 2 to search them"
                if watch.searching and not self._controller.state.views
                else ""
            )
            self.words.setToolTip(str(watch.folder))
        self.words.setText(words + "." if words else "")
        self.words.setVisible(bool(words))
