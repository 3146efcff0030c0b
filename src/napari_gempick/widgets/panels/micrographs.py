"""Part 1: the list of micrographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHeaderView,
    QLabel,
    QMenu,
    QTreeWidget,
    QTreeWidgetItem,
)
from superqt.utils import signals_blocked

from napari_gempick.model.declaration import names_with
from napari_gempick.model.settings import PickSettings
from napari_gempick.widgets.forms.forms import Form
from napari_gempick.widgets.forms.parts import Panel, button, mark_next, row

if TYPE_CHECKING:
    from qtpy.QtGui import QDragEnterEvent, QDragMoveEvent, QDropEvent

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.background.pick_counter import PickCounter
    from napari_gempick.widgets.background.search_runner import SearchRunner
    from napari_gempick.widgets.state.controller import Controller

_STATES = {
    "new": ("not searched", None),
    "waiting": ("waiting", None),
    "running": ("running", "#2f9bff"),
    "done": ("done", "#35c46a"),
    "changed": ("settings changed", "#d9a400"),
    "failed": ("failed", "#ff6b5a"),
}
_TIPS = {
    "changed": "Searched with other settings than those of now; Run searches it again.",
    "new": "Run searches it.",
}
_FILTER = "Micrographs (*.mrc *.mrcs *.mrc.gz *.mrc.bz2 *.tif *.tiff);;STAR lists (*.star);;All files (*)"


class MicrographsPanel(Panel):
    """Add, list, and go through micrographs."""

    def __init__(self, controller: Controller, searches: SearchRunner, counter: PickCounter, sample: Any) -> None:
        super().__init__(1, "Micrographs", "Which images to pick from.")
        self._controller, self._searches, self._counter = controller, searches, counter
        self.list = _List(controller)
        more = button("More", "Lists, sample data, earlier work", lambda: None)
        menu = QMenu(more)
        menu.addAction("Add a STAR list...", self._ask_star)
        menu.addAction("Add simulated micrographs to try things on", sample)
        menu.addSeparator()
        menu.addAction("Open earlier results...", self._ask_results)
        menu.addSeparator()
        menu.addAction("Remove the selected from the list", self.remove_selected)
        more.setMenu(menu)
        self.add = button("Add files...", "Add micrographs: MRC, TIFF, compressed MRC", self._ask_files)
        self.rows.addLayout(
            row(self.add, button("Add folder...", "Add a folder with all below it", self._ask_folder), more)
        )
        self.rows.addWidget(self.list)
        self.previous = button("‹", "The micrograph before this one  ( [ )", lambda: controller.step(-1))
        self.next = button("›", "The micrograph after this one  ( ] )", lambda: controller.step(1))
        for arrow, name in ((self.previous, "Previous micrograph"), (self.next, "Next micrograph")):
            arrow.setFixedWidth(30)
            arrow.setAccessibleName(name)
        self.place = QLabel("")
        self.place.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.place.setMinimumWidth(60)
        width = {"pixel_size": {"narrowest": 100}}
        self.form = Form(
            PickSettings, names_with(PickSettings, group="Micrographs"), controller.set_value, columns=1, options=width
        )
        self.pixel_size = self.form.fields["pixel_size"]
        self._tip = self.pixel_size.tooltip
        self.rows.addLayout(row(self.previous, self.place, self.next, 1, self.form.native))
        controller.state_changed.connect(self._state_changed)
        controller.current_changed.connect(self._current_changed)
        controller.loaded_changed.connect(self._loaded)
        controller.results_changed.connect(self._update_stem)
        searches.changed.connect(self._update)
        counter.counted.connect(self._update_stem)
        self._shown: Any = None
        self._finished = 0
        self._items: dict[str, QTreeWidgetItem] = {}
        self._files: dict[str, MicrographFile] = {}
        self._done: set[str] = set()
        self._update()
        self._current_changed()
        self._loaded()

    def _ask_files(self) -> None:
        files, _ = QFileDialog.getOpenFileNames(self, "Add micrographs", "", _FILTER)
        if files:
            self._controller.add_micrographs(files)

    def _ask_star(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Add a STAR list", "", "STAR lists (*.star)")
        if file:
            self._controller.add_micrographs([file])

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Add all micrographs of a folder")
        if folder:
            self._controller.add_micrographs([folder])

    def _ask_results(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Open the results of an earlier session or run")
        if folder:
            self._controller.open_folder(Path(folder))

    def remove_selected(self) -> None:
        """Take the selected micrographs off the list."""
        self._controller.remove_micrographs([self.list.indexOfTopLevelItem(item) for item in self.list.selectedItems()])

    def _state_changed(self, state: Any, before: Any) -> None:
        if state.files != before.files:
            self._fill()
        self.form.show_values(state.values)
        self._update()

    def _fill(self) -> None:
        with signals_blocked(self.list):
            self._fill_list()
        self._shown = None
        self._current_changed()

    def _fill_list(self) -> None:
        self.list.clear()
        self._items, self._done = {}, set()
        self._files = {file.output_stem: file for file in self._controller.state.files}
        for file in self._files.values():
            item = QTreeWidgetItem([file.output_stem, "", "", ""])
            item.setToolTip(0, str(file.path))
            for column in (2, 3):
                item.setTextAlignment(column, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self._items[file.output_stem] = item
        self.list.addTopLevelItems(list(self._items.values()))
        self.list.fit()

    def _current_changed(self) -> None:
        controller = self._controller
        total = len(controller.state.files)
        number = controller.current
        self.place.setText(f"{number + 1} of {total}" if number is not None else "")
        self.previous.setEnabled(bool(number))
        self.next.setEnabled(number is not None and number + 1 < total)
        item = self._items.get(controller.stem or "")
        if item is not None and self.list.currentItem() is not item:
            with signals_blocked(self.list):
                self.list.setCurrentItem(item)

    def _update(self) -> None:
        """Show what changed: all when a run begins or ends or the settings change, else where the run has come to."""
        searches, run = self._searches, self._searches.run
        shown = None if run is None else run.number, searches.digest()
        if shown != self._shown:
            self._shown = shown
            for stem in self._files:
                self._update_item(stem)
            self._say_how_many()
        elif run is not None:
            for file in run.files[self._finished : searches.finished + 1]:
                self._update_item(file.output_stem)
        self._finished = searches.finished

    def _update_stem(self, stem: str) -> None:
        self._update_item(stem)
        self._say_how_many()

    def _say_how_many(self) -> None:
        self.summary.setText(f"{len(self._done)} of {len(self._files)} searched" if self._files else "")
        mark_next(self.add, not self._files)

    def _update_item(self, stem: str) -> None:
        item, file = self._items.get(stem), self._files.get(stem)
        if item is None or file is None:
            return
        state, reason = self._searches.state_of(file)
        words, colour = _STATES[state]
        item.setText(1, words)
        item.setToolTip(1, reason or _TIPS.get(state, ""))
        item.setData(1, Qt.ItemDataRole.ForegroundRole, QColor(colour) if colour else None)
        count = self._counter.counts.get(stem)
        item.setText(2, "" if count is None else str(count))
        result = self._controller.results.get(stem)
        if result is None or result.error:
            self._done.discard(stem)
        else:
            self._done.add(stem)
        best = None if result is None else result.row.get("best_score")
        item.setText(3, "" if best is None else f"{best:.2f}")

    def _loaded(self) -> None:
        """Say the pixel size and where it is from, in the place of the number that may be typed."""
        loaded = self._controller.loaded
        known = None if loaded is None else loaded.pixel_size
        if known is not None and loaded is not None and loaded.pixel_size_source != "given":
            words = f"{known:g} Å (file)"
            self.pixel_size.tooltip = f"{self._tip}<p>Now: from the {loaded.pixel_size_source}.</p>"
        else:
            words = "unknown: type it" if loaded is not None and known is None else "from file"
        self.pixel_size.explain(words)


class _List(QTreeWidget):
    """The list; it takes dropped files, and says what to do while it is empty."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self.setAccessibleName("Micrographs")
        self.setHeaderLabels(["Micrograph", "State", "Picks", "Best"])
        self.headerItem().setToolTip(3, "Highest score on the micrograph")
        self.headerItem().setToolTip(2, "Picks with the thresholds of now")
        for column in (2, 3):
            self.headerItem().setTextAlignment(column, Qt.AlignmentFlag.AlignRight)
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setAcceptDrops(True)
        self.fit()
        header = self.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(38)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2, 3):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.currentItemChanged.connect(
            lambda item, _: item is not None and controller.go(self.indexOfTopLevelItem(item))
        )

    def fit(self) -> None:
        """Be as high as the list is long, within limits."""
        rows = min(max(self.topLevelItemCount(), 3), 7)
        self.setFixedHeight(26 + 18 * rows)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            event.acceptProposedAction()
            self._controller.add_micrographs(paths)

    def paintEvent(self, event: Any) -> None:
        super().paintEvent(event)
        if self.topLevelItemCount() == 0:
            from qtpy.QtGui import QPainter

            painter = QPainter(self.viewport())
            painter.setPen(self.palette().windowText().color())
            painter.setOpacity(0.6)
            painter.drawText(
                self.viewport().rect(), Qt.AlignmentFlag.AlignCenter, "Drop files, folders or a STAR list here"
            )
            painter.end()
