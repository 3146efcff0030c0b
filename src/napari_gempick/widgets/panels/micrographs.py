"""Part 1: the list of micrographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QDesktopServices
from qtpy.QtWidgets import (
    QFileDialog,
    QLabel,
    QMenu,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_gempick.model.declaration import names_with
from napari_gempick.model.settings import PickSettings
from napari_gempick.widgets.forms.editors import edit
from napari_gempick.widgets.forms.forms import Form
from napari_gempick.widgets.forms.parts import CHECKED, Panel, button, mark_next, row, small, url_of
from napari_gempick.widgets.panels.micrograph_list import STATES, MicrographItem, MicrographList
from napari_gempick.widgets.state.look import counted

if TYPE_CHECKING:
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.background.folder_watch import FolderWatch
    from napari_gempick.widgets.background.pick_counter import PickCounter
    from napari_gempick.widgets.background.search_runner import SearchRunner
    from napari_gempick.widgets.state.controller import Controller

_TIPS = {
    "changed": "Searched with other settings. Run searches it again.",
    "new": "Run searches it.",
    "preview": "A quick look that is not kept. Run searches it.",
}
_FILTER = "Micrographs (*.mrc *.mrcs *.mrc.gz *.mrc.bz2 *.tif *.tiff);;STAR lists (*.star);;All files (*)"


class MicrographsPanel(Panel):
    """Add, list, and go through micrographs."""

    def __init__(
        self,
        controller: Controller,
        searches: SearchRunner,
        counter: PickCounter,
        watch: FolderWatch,
        sample: Any,
        curate: Any,
    ) -> None:
        super().__init__(1, "Micrographs", "Which images to pick from.")
        self._controller, self._searches, self._counter = controller, searches, counter
        self.list = MicrographList(controller)
        more = button("More", "Lists, sample data, earlier work", lambda: None)
        menu = QMenu(more)
        menu.addAction("Add a STAR list...", self._ask_star)
        menu.addAction("Add simulated micrographs to try things on", sample)
        menu.addSeparator()
        menu.addAction("Open earlier results...", self._ask_results)
        menu.addSeparator()
        menu.addAction("Remove selected from the list  (Delete)", self.remove_selected)
        more.setMenu(menu)
        self.list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.list.customContextMenuRequested.connect(
            lambda at: self.menu_of_selected().popup(self.list.mapToGlobal(at))
        )
        self.list.deleted.connect(self.remove_selected)
        self.add = button("Add files...", "Add micrographs: MRC, TIFF, compressed MRC", self._ask_files)
        self.curate = button("Curate...", "Table and plot of all micrographs; reject some; tune on a spread", curate)
        self.rows.addLayout(
            row(
                self.add,
                button("Add folder...", "Add a folder and its subfolders", self._ask_folder),
                self.curate,
                more,
            )
        )
        self.watch = WatchLine(controller, watch)
        self.rows.addWidget(self.watch)
        self.rows.addWidget(self.list)
        self.previous = button("‹", "The micrograph before this one  ( [ )", lambda: self.step(-1))
        self.next = button("›", "The micrograph after this one  ( ] )", lambda: self.step(1))
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
        self.list.currentItemChanged.connect(lambda item, _: self._go(item))
        self.list.header().sectionClicked.connect(lambda _: self._current_changed())
        searches.changed.connect(self._update)
        counter.counted.connect(self._show_count)
        self._shown: Any = None
        self._previewed = ""
        self._finished = 0
        self._items: dict[str, MicrographItem] = {}
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
        stems = {item.text(0) for item in self.list.selectedItems()}
        self._controller.remove_micrographs([i for i, stem in enumerate(self._files) if stem in stems])

    def step(self, by: int) -> None:
        """Show the next (1) or the previous (-1) micrograph, in the order in which they are listed."""
        item = self._items.get(self._controller.stem or "")
        if item is not None:
            place = self.list.indexOfTopLevelItem(item)
            self._go(self.list.topLevelItem(place + by), self.list.topLevelItem(place + 2 * by))

    def _go(self, item: QTreeWidgetItem | None, then: QTreeWidgetItem | None = None) -> None:
        if item is not None and item.text(0) in self._files:
            stems = list(self._files)
            self._controller.go(stems.index(item.text(0)), None if then is None else stems.index(then.text(0)))

    def menu_of_selected(self) -> QMenu:
        """Return the menu for the selected micrographs."""
        menu, controller, searches = QMenu(self), self._controller, self._searches
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        chosen = [self._files[item.text(0)] for item in self.list.selectedItems()]
        ready = bool(chosen) and searches.run is None and bool(controller.state.views)
        menu.addAction("Search", lambda: searches.start(chosen, maps=None)).setEnabled(ready)
        folders = sorted({file.path.parent for file in chosen})
        show = menu.addAction("Show the folder", lambda: [QDesktopServices.openUrl(url_of(one)) for one in folders[:1]])
        show.setEnabled(bool(folders))
        menu.addSeparator()
        menu.addAction("Remove from the list", self.remove_selected).setEnabled(bool(chosen))
        return menu

    def _state_changed(self, state: Any, before: Any) -> None:
        if state.files != before.files:
            self._fill()
        self.form.show_values(state.values)
        self._update()

    def _fill(self) -> None:
        with signals_blocked(self.list):
            self._fill_list()
        self._current_changed()

    def _fill_list(self) -> None:
        """Take off the list what has gone and add what has come; the other rows stay as they are, and selected."""
        files = {file.output_stem: file for file in self._controller.state.files}
        gone = [stem for stem, file in self._files.items() if files.get(stem) != file]
        if len(gone) == len(self._items):
            self.list.clear()
            self._items, self._done = {}, set()
        for stem in gone if self._items else ():
            self.list.takeTopLevelItem(self.list.indexOfTopLevelItem(self._items.pop(stem)))
            self._done.discard(stem)
        self._files = files
        new = []
        for place, (stem, file) in enumerate(files.items()):
            if stem in self._items:
                self._items[stem].place = place
                continue
            item = MicrographItem(place, [stem, "", "", ""])
            item.setToolTip(0, str(file.path))
            for column in (2, 3):
                item.setTextAlignment(column, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self._items[stem] = item
            new.append(item)
            self._update_item(stem)  # while no list must draw it
        self._say_how_many()
        self.list.addTopLevelItems(new)
        self.list.sort()
        self.list.fit()

    def _current_changed(self) -> None:
        controller = self._controller
        total = len(controller.state.files)
        item = self._items.get(controller.stem or "")
        number = -1 if item is None else self.list.indexOfTopLevelItem(item)
        self.place.setText(f"{number + 1} of {total}" if number >= 0 else "")
        for arrow, leads in ((self.previous, number > 0), (self.next, 0 <= number < total - 1)):
            if self.window().focusWidget() is arrow and not leads:
                self.list.setFocus()  # or the next field has it, and takes the keys that are pressed now
            arrow.setEnabled(leads)
        if item is not None and self.list.currentItem() is not item:
            with signals_blocked(self.list):
                self.list.setCurrentItem(item)

    def _update(self) -> None:
        """Show what changed: all when a run begins or ends or the settings change, else where the run has come to."""
        searches, run = self._searches, self._searches.run
        shown = self._key()
        if shown != self._shown:
            self._shown = shown
            for stem in self._files:
                self._update_item(stem)
            self._say_how_many()
        elif run is not None:
            for file in run.files[self._finished : searches.finished + 1]:
                self._update_item(file.output_stem)
        self._finished = searches.finished

    def _key(self) -> tuple[int | None, str, frozenset[str]]:
        run = self._searches.run
        return None if run is None else run.number, self._searches.digest(), self._controller.state.rejected

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
        words, colour = STATES[state]
        if stem in self._controller.state.rejected:
            words, colour = "rejected", "#ff6b5a"
        if item.text(1) != words:
            item.setText(1, words)
            item.setData(1, Qt.ItemDataRole.ForegroundRole, QColor(colour) if colour else None)
        item.setToolTip(1, reason or _TIPS.get(state, ""))
        self._show_count(stem)
        result = self._controller.results.get(stem)
        if result is None or result.error:
            self._done.discard(stem)
        else:
            self._done.add(stem)
        best = None if result is None else result.row.get("best_score")
        item.show(3, "" if best is None else f"{best:.2f}")

    def _show_count(self, stem: str) -> None:
        item, count = self._items.get(stem), self._counter.counts.get(stem)
        if item is not None:
            item.show(2, "" if count is None else str(count))

    def _loaded(self) -> None:
        """Show the pixel size and its source where a number may be typed."""
        loaded = self._controller.loaded
        for stem in {self._previewed, "" if loaded is None else loaded.stem}:
            self._update_item(stem)
        self._previewed = "" if loaded is None or not loaded.preview else loaded.stem
        known = None if loaded is None else loaded.pixel_size
        if known is not None and loaded is not None and loaded.pixel_size_source != "given":
            words = f"{known:g} Å (file)"
            self.pixel_size.tooltip = f"{self._tip}<p>Now: from the {loaded.pixel_size_source}.</p>"
        else:
            words = "unknown: type it" if loaded is not None and known is None else "from file"
        self.pixel_size.explain(words)


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
