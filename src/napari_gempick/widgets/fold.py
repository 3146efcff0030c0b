"""A small heading that folds what stands below it, for what not everybody needs."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QSizePolicy, QToolButton, QVBoxLayout, QWidget

from napari_gempick.widgets.parts import GAP


class Fold(QWidget):
    """Folded at first.

    Parameters
    ----------
    title, tip : str
    """

    unfolded = Signal(bool)

    def __init__(self, title: str, tip: str) -> None:
        super().__init__()
        self._title = title
        self.heading = QToolButton()
        self.heading.setText(title)
        self.heading.setToolTip(tip)
        self.heading.setCheckable(True)
        self.heading.setAutoRaise(True)
        self.heading.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.heading.setIconSize(QSize(8, 8))
        self.heading.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.heading.setStyleSheet(
            "QToolButton { text-align: left; border: none; padding: 3px 0px; }"
            "QToolButton:focus { border: 1px solid palette(highlight); }"
        )
        self.body = QWidget()
        self.rows = QVBoxLayout(self.body)
        self.rows.setContentsMargins(12, 0, 0, 2)
        self.rows.setSpacing(GAP + 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.heading)
        layout.addWidget(self.body)
        self.heading.toggled.connect(self._fold)
        self._fold(False)

    def _fold(self, open_: bool) -> None:
        self.heading.setArrowType(Qt.ArrowType.DownArrow if open_ else Qt.ArrowType.RightArrow)
        self.body.setVisible(open_)
        self.unfolded.emit(open_)

    def say(self, what: str) -> None:
        """Show in the heading what of it is set."""
        self.heading.setText(f"{self._title}: {what}" if what else self._title)

    def set_open(self, open_: bool) -> None:
        """Fold or unfold."""
        self.heading.setChecked(open_)
