"""The dialog that shows a template and the average of its picks side by side, and replaces one by the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QLabel, QVBoxLayout, QWidget

from napari_gempick.io.stack import write_mrc
from napari_gempick.model.errors import GempickError
from napari_gempick.widgets.forms.parts import button, pixmap, primary, row, small
from napari_gempick.widgets.layers.pictures import grey
from napari_gempick.widgets.state.improving import improve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.improving import Improved

SIDE = 220


def ask_improved(parent: QWidget, controller: Controller, name: str, search_again: Callable[[], object]) -> None:
    """Average the accepted picks of a view behind the window, then show the dialog."""
    folder = controller.folder
    if folder is None:
        return
    state, results, boards, path = controller.state, dict(controller.results), controller.boards, folder.path
    controller.said.emit(f"Averaging the accepted picks of {name} on all searched micrographs.", "info")

    def show(made: Improved) -> None:
        if controller.folder is folder and name in [view.name for view in controller.state.views]:
            ImproveDialog(parent, controller, made, search_again).open()

    controller.background.do(lambda: improve(state, results, path, boards, name), show)


class ImproveDialog(QDialog):
    """Before and after.

    Parameters
    ----------
    parent : QWidget
    controller : Controller
    made : Improved
    search_again : callable
        Searches the micrographs with the new template.
    """

    def __init__(
        self, parent: QWidget, controller: Controller, made: Improved, search_again: Callable[[], object]
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Improve the template of {made.view}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._controller, self._made, self._search_again = controller, made, search_again
        rows = QVBoxLayout(self)
        pictures = []
        for title, image in (("Now", made.before), ("Average of the picks", made.after)):
            column = QWidget()
            lines = QVBoxLayout(column)
            picture = QLabel()
            picture.setPixmap(pixmap(grey(image, SIDE), SIDE))
            lines.addWidget(QLabel(title))
            lines.addWidget(picture)
            pictures.append(column)
        rows.addLayout(row(*pictures))
        many = "micrograph" if made.micrographs == 1 else "micrographs"
        rows.addWidget(
            small(
                f"{made.particles} particles of {made.micrographs} {many}, aligned; each correlates with the average "
                f"of the others to {made.score:.2f} on average. The mask stays. Undo brings the old template back."
            )
        )
        self.both = primary("Replace and search again", "Search all micrographs with it", self.replace_and_search)
        self.replace = button("Replace", "Take the average as the template of this view", self.take)
        self.keep = button("Keep the old one", "Change nothing", self.reject)
        rows.addLayout(row(self.both, self.replace, self.keep))

    def take(self) -> bool:
        """Write the average and make it the template; returns whether that went well."""
        controller, made = self._controller, self._made
        if controller.folder is None:
            return False
        path = _free(controller.folder.path / "templates", made.view)
        try:
            write_mrc(path, made.after, made.pixel_size)
        except GempickError as error:
            controller.said.emit(error.sentence, "error")
            return False
        controller.change_view(made.view, files=(str(path),))
        self.accept()
        return True

    def replace_and_search(self) -> None:
        """Replace it and search again."""
        if self.take():
            self._search_again()


def _free(folder: Path, view: str) -> Path:
    number = 1
    while (path := folder / f"{view}_improved_{number}.mrc").exists():
        number += 1
    return path
