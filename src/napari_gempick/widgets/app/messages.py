"""The line of messages, and how far a search is, in napari's activity dock too."""

from __future__ import annotations

import html
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from napari.utils import progress
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QDialog, QLabel, QTextBrowser, QVBoxLayout

if TYPE_CHECKING:
    from qtpy.QtGui import QMouseEvent

    from napari_gempick.widgets.background.search_runner import SearchRunner
    from napari_gempick.widgets.state.controller import Controller

KEPT = 200
LINES = 3
SECONDS = {"info": 10, "warning": 30, "error": 30}
"""How long a sentence of each kind stays before what to do next is shown again."""
_COLOURS = {"info": "", "warning": "#e08a00", "error": "#ff6b5a"}


def next_step(controller: Controller) -> str:
    """Return what a person who begins does next."""
    state = controller.state
    if not state.files:
        return "Start in part 1: add micrographs, or drop them on the list."
    if not state.views:
        return (
            "Next, part 2: add an image of each view of the particle. Or click ten particles with the tool Add, then "
            "choose Add view > Average of picks."
        )
    found = {stem for stem, result in controller.results.items() if not result.error}
    if found:
        left = sum(file.output_stem not in found for file in state.kept)
        more = f"Then search the other {left:,} with Run all in part 3. " if left > 1 else ""
        more = "Then search the other micrograph with Run all in part 3. " if left == 1 else more
        return f"Next, part 4: check the picks, and correct them with the tools above. {more}Part 5 exports them."
    if controller.loaded is not None and controller.loaded.preview:
        return "If the preview looks right, press Run this in part 3: only the picks of a search are kept."
    return "Next, part 3: Preview shows in seconds whether the templates and settings work. Then press Run this."


class Messages(QLabel):
    """Shows the last sentence in a place that never grows, and keeps those before it.

    Attributes
    ----------
    kept : deque of (time, kind, sentence)
    """

    def __init__(self) -> None:
        super().__init__("")
        self.kept: deque[tuple[str, str, str]] = deque(maxlen=KEPT)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)
        self.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self.setContentsMargins(10, 2, 12, 0)
        self.setAccessibleName("Messages")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setStyleSheet("font-size: 11px;")
        self.ensurePolished()  # the font is that of the style sheet
        margins = self.contentsMargins()
        line = self.fontMetrics().lineSpacing()
        self.setFixedHeight(LINES * line + line // 2 + margins.top() + margins.bottom())
        self._hint, self._hinting = "", True
        self._reading = QTimer(self)
        self._reading.setSingleShot(True)
        self._reading.timeout.connect(self._show_hint)

    def hint(self, words: str) -> None:
        """Show what to do next, once the last sentence has had time to be read."""
        self._hint = words
        if not self._reading.isActive():
            self._show_hint()

    def _show_hint(self) -> None:
        if self._hint or self._hinting:
            self._hinting = True
            self._show(self._hint, "info")
            self.setToolTip("")

    def _show(self, sentence: str, kind: str) -> None:
        colour = _COLOURS[kind]
        look = f"font-size: 11px; {f'color: {colour};' if colour else ''}"
        if self.styleSheet() != look:
            self.setStyleSheet(look)
        self.setText(self._fitting(sentence))

    def say(self, sentence: str, kind: str) -> None:
        """Show a sentence: info, warning or error."""
        self.kept.append((time.strftime("%H:%M:%S"), kind, sentence))
        self._hinting = False
        self._show(sentence, kind)
        self._reading.start(1000 * SECONDS[kind])
        self.setToolTip(f"<p>{html.escape(sentence)}</p><p>Click to read all messages.</p>")

    def _fitting(self, sentence: str) -> str:
        """Return as much of a sentence as fits."""
        room = self.contentsRect()
        flags = int(Qt.TextFlag.TextWordWrap)
        words = sentence.split(" ")
        for count in range(len(words), 0, -1):
            text = " ".join(words[:count]) + ("" if count == len(words) else " …")
            if (
                self.fontMetrics().boundingRect(0, 0, max(1, room.width()), 10_000, flags, text).height()
                <= room.height()
            ):
                return text
        return sentence

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self.show_all()

    def show_all(self) -> QDialog:
        """Show all sentences, the newest first."""
        dialog = QDialog(self)
        dialog.setWindowTitle("Messages")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        text = QTextBrowser()
        lines = (
            f"<p><small>{when}</small> <font color='{_COLOURS[kind]}'>{html.escape(said)}</font></p>"
            for when, kind, said in reversed(self.kept)
        )
        text.setHtml("".join(lines))
        layout = QVBoxLayout(dialog)
        layout.addWidget(text)
        dialog.resize(560, 360)
        dialog.open()
        return dialog


BAR_PARTS = 1000
BAR_AFTER, BAR_EVERY = 1000, 250
"""Milliseconds that a run lasts before it has a bar, and between two looks at it."""


class Activity:
    """Shows a run that lasts as a bar.

    Notes
    -----
    napari's bars handle every waiting event whenever they are made or moved. Inside a signal that would stop a click
    half-way, so the bar moves on a timer of its own.
    """

    def __init__(self, searches: SearchRunner) -> None:
        self._searches = searches
        self._bar: Any = None
        self._waits = False
        searches.changed.connect(self._follow)

    def _follow(self) -> None:
        if self._searches.run is None:
            self.close()
        elif self._bar is None and not self._waits:
            self._look_in(BAR_AFTER)

    def _look_in(self, milliseconds: int) -> None:
        self._waits = True
        QTimer.singleShot(milliseconds, self._look)

    def _look(self) -> None:
        run, bar = self._searches.run, self._bar
        if run is not None:
            bar = bar or progress(total=BAR_PARTS, desc="gempick search")
            done = round(BAR_PARTS * self._searches.progress)
            if done != bar.n:
                bar.update(done - bar.n)
        self._waits = False
        if run is not None and self._searches.run is run:
            self._bar = bar
            self._look_in(BAR_EVERY)
            return
        if bar is not None:  # the run has ended while napari handled events
            bar.close()
        self._follow()

    def close(self) -> None:
        """Take the bar away."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
