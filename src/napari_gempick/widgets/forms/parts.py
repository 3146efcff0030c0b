"""What the parts of the dock are made of: headings that fold, lines that explain, rows of small widgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible, QElidingLabel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from qtpy.QtGui import QKeyEvent, QMouseEvent


_NEXT = "QPushButton:enabled { background: #2a6fc9; color: white; } QPushButton:enabled:hover { background: #3b82e0; }"
FRAMED = "QPlainTextEdit, QTextEdit { border: 1px solid #7a7d85; border-radius: 2px; background: transparent; }"
CHECKED = "QPushButton:checked { background: #2a6fc9; color: white; }"
GAP = 4


class Foldable(QCollapsible):
    """Folded at first.

    Parameters
    ----------
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
            f"QPushButton {{ text-align: left; border: 1px solid transparent; background: transparent; {style} }}"
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
    """A small one, within a part."""

    def __init__(self, title: str, tip: str) -> None:
        super().__init__(title, tip, style="padding: 3px 0px;", margins=(12, 0, 0, 2))
        self._what = title
        self.heading.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def say(self, what: str) -> None:
        """Show in the heading what of it is set."""
        self._title = f"{self._what}: {what}" if what else self._what
        self._show_heading()


class Panel(Foldable):
    """A part of the dock that folds to its heading.

    Parameters
    ----------
    number : int
        Its place, shown in the heading.
    line : str
        What it is for.
    """

    def __init__(self, number: int, title: str, line: str) -> None:
        style = "font-weight: bold; padding: 5px 4px;"
        super().__init__(f"{number}   {title}", "Fold or unfold this part", style=style, margins=(8, 0, 6, 8))
        self.setObjectName(f"part{number}")
        self.heading.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.summary = QElidingLabel("")
        self.summary.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.summary.setStyleSheet("font-size: 11px;")
        self.summary.setEllipsesWidth(6)
        self.top.addWidget(self.summary, 1)
        self.top.setStretch(0, 0)
        self.rows.addWidget(small(line))
        self.set_open(True)


class Link(QElidingLabel):
    """A line that is pressed like a link, by mouse or with Return; its middle is left out when it is long."""

    def __init__(self, pressed: Callable[[], object]) -> None:
        super().__init__("")
        self._pressed = pressed
        self.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.setStyleSheet("font-size: 11px; text-decoration: underline;")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.position().toPoint()):
            self._pressed()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self._pressed()
        else:
            super().keyPressEvent(event)


def small(text: str) -> QLabel:
    """Return a line of small text that wraps."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setStyleSheet("font-size: 11px;")
    return label


def agreed(parent: QWidget, title: str, text: str, yes: str = "Yes", no: str = "No") -> bool:
    """Ask a question and return whether the answer was `yes`; False too where the window is closed meanwhile."""
    box = QMessageBox(QMessageBox.Icon.Question, title, text, parent=parent)
    wanted = box.addButton(yes, QMessageBox.ButtonRole.AcceptRole)
    box.addButton(no, QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(wanted)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    answers: list[bool] = []  # the box may be gone when it is asked
    box.buttonClicked.connect(lambda pressed: answers.append(pressed is wanted))
    box.exec()
    return any(answers)


def keep_room(widget: QWidget) -> None:
    """Let a widget keep its room while it is hidden, so that nothing moves under the mouse."""
    policy = widget.sizePolicy()
    policy.setRetainSizeWhenHidden(True)
    widget.setSizePolicy(policy)


def tab_through(first: QWidget, *parts: QWidget) -> None:
    """Let Tab go from a widget through parts that were made later than what follows it."""
    window = first.window()  # lists that fold out are windows of their own
    for part in parts:
        for widget in (part, *part.findChildren(QWidget)):
            reached = widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.focusProxy() is None
            if reached and widget.window() is window:
                QWidget.setTabOrder(first, widget)
                first = widget


def button(text: str, tip: str, pressed: Callable[[], object]) -> QPushButton:
    """Return a push button."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.clicked.connect(lambda: pressed())
    return made


def tool(text: str, tip: str, pressed: Callable[[], object]) -> QToolButton:
    """Return a flat button of one sign."""
    made = QToolButton()
    made.setText(text)
    made.setAutoRaise(True)
    made.setToolTip(tip)
    made.setAccessibleName(tip.split(" (")[0])
    made.clicked.connect(lambda: pressed())
    return made


def primary(text: str, tip: str, pressed: Callable[[], object]) -> QPushButton:
    """Return the push button that most people need next."""
    made = button(text, tip, pressed)
    mark_next(made, True)
    return made


def mark_next(button: QPushButton, on: bool) -> None:
    """Show whether most people need a button next."""
    look = _NEXT if on else ""
    if button.styleSheet() != look:  # it would be laid out anew
        button.setStyleSheet(look)


def row(*widgets: QWidget | str | int, wide: int | None = None) -> QHBoxLayout:
    """Return widgets side by side; a text becomes a label, a number a stretch. The widget at `wide` takes the room."""
    made = QHBoxLayout()
    made.setContentsMargins(0, 0, 0, 0)
    made.setSpacing(GAP)
    for widget in widgets:
        if isinstance(widget, int):
            made.addStretch(widget)
        else:
            made.addWidget(QLabel(widget) if isinstance(widget, str) else widget)
    if wide is not None:
        made.setStretch(wide, 1)
    return made


def url_of(path: Path) -> QUrl:
    """Return the address of a file or folder on this computer."""
    return QUrl.fromLocalFile(str(path))


def shorten(path: str, longest: int = 44) -> str:
    """Return a path with its middle left out when it is long."""
    if len(path) <= longest:
        return path
    return path[: longest // 3] + "…" + path[-(longest - longest // 3 - 1) :]


def pixmap(picture: NDArray[np.uint8], side: int) -> QPixmap:
    """Return an (n, n, 3) picture as a pixmap."""
    data = np.ascontiguousarray(picture)
    image = QImage(data.data, data.shape[1], data.shape[0], 3 * data.shape[1], QImage.Format.Format_RGB888)
    made = QPixmap.fromImage(image.copy())
    return made.scaled(side, side, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation)
