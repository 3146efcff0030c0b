"""A heading that folds what stands below it: the dock's parts, and what not everybody needs."""

from __future__ import annotations

from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget
from superqt import QCollapsible

GAP = 4


class Foldable(QCollapsible):
    """Folded at first.

    Parameters
    ----------
    title, tip : str
    style : str
        Of the heading, in Qt's style sheet language.
    margins : (left, top, right, bottom)
        Around what is folded, pixels.
    """

    def __init__(self, title: str, tip: str, *, style: str, margins: tuple[int, int, int, int]) -> None:
        super().__init__(title, expandedIcon=QIcon(), collapsedIcon=QIcon())
        self._title = title
        self.setDuration(0)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.heading = self.toggleButton()
        self.heading.setToolTip(tip)
        self.heading.setStyleSheet(
            f"QPushButton {{ text-align: left; border: none; background: transparent; {style} }}"
            "QPushButton:focus { border: 1px solid palette(highlight); }"
        )
        self.body = QWidget()
        self.rows = QVBoxLayout(self.body)
        self.rows.setContentsMargins(*margins)
        self.rows.setSpacing(GAP + 1)
        self.top = QHBoxLayout()
        self.top.addWidget(self.heading, 1)
        self.content().hide()  # it is folded in place of the body, whose height must follow what it holds
        layout = self.layout()
        layout.insertLayout(0, self.top)
        layout.addWidget(self.body)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self.toggled.connect(self._folded)
        self._folded(False)

    def _folded(self, open_: bool) -> None:
        self.body.setVisible(open_)
        self._show_heading()

    def _show_heading(self) -> None:
        self.heading.setText(f"{'▾' if self.open else '▸'}  {self._title}")

    def set_open(self, open_: bool) -> None:
        """Fold or unfold."""
        if open_ != self.open:
            (self.expand if open_ else self.collapse)()

    @property
    def open(self) -> bool:
        """Whether it is unfolded."""
        return self.isExpanded()


class Fold(Foldable):
    """A small one, within a part.

    Parameters
    ----------
    title, tip : str
    """

    def __init__(self, title: str, tip: str) -> None:
        super().__init__(title, tip, style="padding: 3px 0px;", margins=(12, 0, 0, 2))
        self._what = title
        self.heading.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def say(self, what: str) -> None:
        """Show in the heading what of it is set."""
        self._title = f"{self._what}: {what}" if what else self._what
        self._show_heading()
