"""The dialog that shows a template and the average of its picks side by side, and replaces one by the other."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QLabel, QProgressDialog, QVBoxLayout, QWidget

from napari_gempick.io.names import free_path
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.errors import Cancelled
from napari_gempick.widgets.forms.parts import button, pixmap, primary, row, small
from napari_gempick.widgets.layers.pictures import grey
from napari_gempick.widgets.state.improving import improve
from napari_gempick.widgets.state.look import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_gempick.widgets.background.search_runner import SearchRunner
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.improving import Improved

SIDE = 220
SHORT_MS = 1000
"""An average that takes less time shows no bar."""
AGAIN = "Search the micrographs that have results again"


def ask_improved(parent: QWidget, controller: Controller, searches: SearchRunner, name: str) -> None:
    """Average the accepted picks of a view in the background, with a bar and Cancel, then show the dialog."""
    folder, background = controller.folder, controller.background
    if folder is None:
        return
    state, results, selections, path = controller.state, dict(controller.results), controller.selections, folder.path
    bar, stopped = QProgressDialog(f"Averaging the accepted picks of {name}...", "Cancel", 0, 100, parent), []
    bar.setWindowTitle("Improve a template")
    bar.setMinimumDuration(SHORT_MS)
    bar.setAutoClose(False)
    bar.setAutoReset(False)
    bar.canceled.connect(lambda: stopped.append(True))
    bar.setValue(0)

    def progress(share: float) -> None:
        background.stop_if_closed()
        if stopped:
            raise Cancelled("Stopped.")
        background.back(lambda: None if stopped else bar.setValue(round(100 * share)))

    def end() -> None:
        stopped.append(True)
        bar.reset()  # or else it is shown when its time has come
        bar.close()
        bar.deleteLater()

    def show(made: Improved) -> None:
        wanted = not stopped
        end()
        for problem in made.problems:
            controller.notified.emit(problem, "warning")
        if wanted and controller.folder is folder and name in [view.name for view in controller.state.views]:
            ImproveDialog(parent, controller, searches, made).open()

    background.do(lambda: improve(state, results, path, selections, name, progress), show, end)


class ImproveDialog(QDialog):
    """Before and after.

    Parameters
    ----------
    searches : SearchRunner
        Searches the micrographs with the new template.
    """

    def __init__(self, parent: QWidget, controller: Controller, searches: SearchRunner, made: Improved) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Improve the template of {made.view}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._controller, self._made, self._searches = controller, made, searches
        rows = QVBoxLayout(self)
        pictures = []
        for title, image in (("Current template", made.before), ("Average of the picks", made.after)):
            column = QWidget()
            lines = QVBoxLayout(column)
            picture = QLabel()
            picture.setPixmap(pixmap(grey(image, SIDE), SIDE))
            lines.addWidget(QLabel(title))
            lines.addWidget(picture)
            pictures.append(column)
        rows.addLayout(row(*pictures))
        rows.addWidget(
            small(
                f"{counted(made.particles, 'particle')} from {counted(made.micrographs, 'micrograph')}, aligned. "
                f"The correlation of each with the average of the others is {made.score:.2f} on average. The mask "
                "stays. Undo brings the old template back."
            )
        )
        self.both = primary("Replace and search again", AGAIN, self.replace_and_search)
        self.replace = button("Replace", "Use the average as the template of this view", self.take)
        self.keep = button("Keep the old one", "Change nothing", self.reject)
        rows.addLayout(row(self.both, self.replace, self.keep))
        self._is_open, self._writing = True, False
        searches.changed.connect(self._update)
        self.finished.connect(self._end)
        self._update()

    def _update(self) -> None:
        """Offer another search once none is running."""
        free = self._searches.run is None
        self.both.setEnabled(free and not self._writing)
        self.replace.setEnabled(not self._writing)
        self.both.setToolTip(AGAIN if free else "A search is running; cancel it, or wait for it")

    def take(self, then: Callable[[], object] = lambda: None) -> None:
        """Write the average, make it the template unless the dialog is closed meanwhile, and call `then`."""
        controller, made, folder = self._controller, self._made, self._controller.folder
        if folder is None or self._writing:
            return
        path = free_path(folder.path / "templates", f"{made.view}_improved", ".mrc")

        def take() -> None:
            if self._is_open and controller.folder is folder:
                controller.change_view(made.view, files=(str(path),))
                self.accept()
                then()

        self._set_writing(True)
        work = functools.partial(write_mrc, path, made.after, made.pixel_size)
        controller.background.do(work, lambda _: take(), lambda: self._set_writing(False))

    def _set_writing(self, on: bool) -> None:
        self._writing = on
        if self._is_open:
            self._update()

    def _end(self) -> None:
        self._is_open = False
        self._searches.changed.disconnect(self._update)

    def replace_and_search(self) -> None:
        """Replace it and search again."""
        self.take(self._search)

    def _search(self) -> None:
        self._searches.run_changed()
        if self._searches.run is not None:
            words = "Searching again with the improved template; part 3 shows how far that is, and Cancel."
            self._controller.notified.emit(words, "info")
