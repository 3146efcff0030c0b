"""The list of part 1: sorts, takes dropped files, and shows what to do while it is empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem

if TYPE_CHECKING:
    from qtpy.QtGui import QDragEnterEvent, QDragMoveEvent, QDropEvent, QKeyEvent

    from napari_gempick.widgets.state.controller import Controller

STATES = {
    "new": ("not searched", None),
    "waiting": ("waiting", None),
    "running": ("running", "#2f9bff"),
    "preview": ("preview", "#2f9bff"),
    "done": ("done", "#35c46a"),
    "changed": ("settings changed", "#d9a400"),
    "failed": ("failed", "#ff6b5a"),
}
"""Words and colour of each state of a micrograph."""


class MicrographItem(QTreeWidgetItem):
    """A micrograph in the list.

    Parameters
    ----------
    place : int
        In the order in which micrographs were added.
    """

    def __init__(self, place: int, texts: list[str]) -> None:
        super().__init__(texts)
        self.place = place

    def show(self, column: int, text: str) -> None:
        """Show a text, and draw it only where it is another one."""
        if self.text(column) != text:
            self.setText(column, text)

    def __lt__(self, other: QTreeWidgetItem) -> bool:
        column = self.treeWidget().sorted_by
        if column is None or not isinstance(other, MicrographItem):
            return self.place < other.place
        mine, theirs = self.text(column), other.text(column)
        if column > 1:
            return float(mine or -1) < float(theirs or -1)
        return (mine, self.place) < (theirs, other.place)


class MicrographList(QTreeWidget):
    """The list; it takes dropped files, and shows what to do while it is empty.

    A click on a heading sorts by it, a second one the other way round, a third one as the micrographs were added; rows
    stay where they are when their numbers change.
    """

    deleted = Signal()

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self.setAccessibleName("Micrographs")
        self.setHeaderLabels(["Micrograph", "State", "Picks", "Best"])
        self.headerItem().setToolTip(3, "Highest score on the micrograph")
        self.headerItem().setToolTip(2, "Picks at the current thresholds")
        for column in (2, 3):
            self.headerItem().setTextAlignment(column, Qt.AlignmentFlag.AlignRight)
        self.setRootIsDecorated(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setUniformRowHeights(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setAcceptDrops(True)
        self.fit()
        header = self.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(38)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.sorted_by: int | None = None
        self._descending = False
        header.setSectionsClickable(True)
        header.sectionClicked.connect(self.sort_by)
        self._set_widths()

    def changeEvent(self, event: Any) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._set_widths()
            self.fit()

    def _set_widths(self) -> None:
        """Give columns the width of their longest text; to measure every text takes a second for 300 micrographs."""
        measure = self.fontMetrics().horizontalAdvance
        for column, texts in (
            (1, [words for words, _ in STATES.values()]),
            (2, ["00000", "Picks "]),
            (3, ["0.00", "Best "]),
        ):
            self.setColumnWidth(column, max(measure(text) for text in texts) + 14)

    def sort_by(self, column: int) -> None:
        """Sort by a column, the other way round, or not any more."""
        if self.sorted_by != column:
            self.sorted_by, self._descending = column, column > 1
        elif self._descending == (column > 1):
            self._descending = not self._descending
        else:
            self.sorted_by, self._descending = None, False
        self.sort()

    def sort(self) -> None:
        """Bring the rows into their order."""
        order = Qt.SortOrder.DescendingOrder if self._descending else Qt.SortOrder.AscendingOrder
        self.sortItems(0, order)  # moves the arrow to the first column
        self.header().setSortIndicatorShown(self.sorted_by is not None)
        if self.sorted_by is not None:
            self.header().setSortIndicator(self.sorted_by, order)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.deleted.emit()
        else:
            super().keyPressEvent(event)

    def fit(self) -> None:
        """Be as high as the list is long, within limits."""
        rows = min(max(self.topLevelItemCount(), 3), 7)
        line = self.fontMetrics().height() + 3
        self.setFixedHeight(line + 10 + line * rows)

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
