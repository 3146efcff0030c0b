"""What the five parts of the dock are made of: a heading that folds, a line that explains, rows of small widgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QToolButton, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

GAP = 4


class Part(QFrame):
    """A part of the dock that folds to its heading.

    Parameters
    ----------
    number : int
        Its place, shown in the heading.
    title : str
    line : str
        What it is for.
    """

    unfolded = Signal(bool)

    def __init__(self, number: int, title: str, line: str) -> None:
        super().__init__()
        self.setObjectName(f"part{number}")
        self.heading = QToolButton()
        self.heading.setText(f" {number}   {title}")
        self.heading.setCheckable(True)
        self.heading.setChecked(True)
        self.heading.setAutoRaise(True)
        self.heading.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.heading.setIconSize(QSize(10, 10))
        self.heading.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.heading.setStyleSheet(
            "QToolButton { font-weight: bold; text-align: left; border: none; padding: 5px 4px; }"
            "QToolButton:focus { border: 1px solid palette(highlight); }"
        )
        self.heading.setToolTip("Fold or unfold this part")
        self.summary = QLabel("")
        self.summary.setStyleSheet("font-size: 11px; padding-right: 6px;")
        top = QHBoxLayout()
        top.setContentsMargins(0, 0, 0, 0)
        top.addWidget(self.heading, 1)
        top.addWidget(self.summary)
        self.body = QWidget()
        self.rows = QVBoxLayout(self.body)
        self.rows.setContentsMargins(8, 0, 6, 8)
        self.rows.setSpacing(GAP + 1)
        self.rows.addWidget(small(line))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(top)
        layout.addWidget(self.body)
        self.heading.toggled.connect(self._fold)
        self._fold(True)

    def _fold(self, open_: bool) -> None:
        self.heading.setArrowType(Qt.ArrowType.DownArrow if open_ else Qt.ArrowType.RightArrow)
        self.body.setVisible(open_)
        self.unfolded.emit(open_)

    def set_open(self, open_: bool) -> None:
        """Fold or unfold."""
        self.heading.setChecked(open_)

    @property
    def open(self) -> bool:
        """Whether the part is unfolded."""
        return self.heading.isChecked()


def small(text: str) -> QLabel:
    """Return a line of small text that wraps."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setStyleSheet("font-size: 11px;")
    return label


def button(text: str, tip: str, pressed: Callable[[], object]) -> QPushButton:
    """Return a push button."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.clicked.connect(lambda: pressed())
    return made


def primary(text: str, tip: str, pressed: Callable[[], object]) -> QPushButton:
    """Return the push button that most people need next."""
    made = button(text, tip, pressed)
    made.setStyleSheet(
        "QPushButton:enabled { background: #2a6fc9; color: white; } QPushButton:enabled:hover { background: #3b82e0; }"
    )
    return made


def row(*widgets: QWidget | str | int) -> QHBoxLayout:
    """Return widgets side by side; a text becomes a label, a number a stretch."""
    made = QHBoxLayout()
    made.setContentsMargins(0, 0, 0, 0)
    made.setSpacing(GAP)
    for widget in widgets:
        if isinstance(widget, int):
            made.addStretch(widget)
        else:
            made.addWidget(QLabel(widget) if isinstance(widget, str) else widget)
    return made


def shorten(path: str, longest: int = 44) -> str:
    """Return a path with its middle left out when it is long."""
    if len(path) <= longest:
        return path
    return path[: longest // 3] + "…" + path[-(longest - longest // 3 - 1) :]
