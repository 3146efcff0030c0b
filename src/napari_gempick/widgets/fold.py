"""A heading that folds what stands below it: the dock's parts, and what not everybody needs."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QToolButton, QVBoxLayout, QWidget

GAP = 4


class Foldable(QFrame):
    """Folded at first.

    Parameters
    ----------
    title, tip : str
    icon : int
        Side of the heading's arrow, pixels.
    style : str
        Of the heading, in Qt's style sheet language.
    margins : (left, top, right, bottom)
        Around what is folded, pixels.
    """

    unfolded = Signal(bool)

    def __init__(self, title: str, tip: str, *, icon: int, style: str, margins: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.heading = QToolButton()
        self.heading.setText(title)
        self.heading.setToolTip(tip)
        self.heading.setCheckable(True)
        self.heading.setAutoRaise(True)
        self.heading.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.heading.setIconSize(QSize(icon, icon))
        self.heading.setStyleSheet(
            f"QToolButton {{ text-align: left; border: none; {style} }}"
            "QToolButton:focus { border: 1px solid palette(highlight); }"
        )
        self.top = QHBoxLayout()
        self.top.setContentsMargins(0, 0, 0, 0)
        self.top.addWidget(self.heading, 1)
        self.body = QWidget()
        self.rows = QVBoxLayout(self.body)
        self.rows.setContentsMargins(*margins)
        self.rows.setSpacing(GAP + 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(self.top)
        layout.addWidget(self.body)
        self.heading.toggled.connect(self._fold)
        self._fold(False)

    def _fold(self, open_: bool) -> None:
        self.heading.setArrowType(Qt.ArrowType.DownArrow if open_ else Qt.ArrowType.RightArrow)
        self.body.setVisible(open_)
        self.unfolded.emit(open_)

    def set_open(self, open_: bool) -> None:
        """Fold or unfold."""
        self.heading.setChecked(open_)

    @property
    def open(self) -> bool:
        """Whether it is unfolded."""
        return self.heading.isChecked()


class Fold(Foldable):
    """A small one, within a part.

    Parameters
    ----------
    title, tip : str
    """

    def __init__(self, title: str, tip: str) -> None:
        super().__init__(title, tip, icon=8, style="padding: 3px 0px;", margins=(12, 0, 0, 2))
        self._title = title
        self.heading.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def say(self, what: str) -> None:
        """Show in the heading what of it is set."""
        self.heading.setText(f"{self._title}: {what}" if what else self._title)
