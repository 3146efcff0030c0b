"""A share of false picks instead of thresholds, and limits on what lies about a pick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QGridLayout, QLabel

from napari_gempick.widgets.fields import DoubleSpin, narrow, tip_of
from napari_gempick.widgets.fold import Fold
from napari_gempick.widgets.parts import GAP, small

if TYPE_CHECKING:
    from qtpy.QtWidgets import QAbstractSpinBox

    from napari_gempick.widgets.controller import Controller
    from napari_gempick.widgets.estimates import Estimates

LOCAL = {"local_mean": "Local mean", "local_sigma": "Local sigma", "power": "Power"}
"""Settings by name, in the order of the columns of Picks.local."""
_FURTHEST = {"local_mean": -100.0, "local_sigma": -0.1, "power": -0.1}


class Limits(Fold):
    """The share of false picks that thresholds are kept at, and ranges of the local statistics.

    Parameters
    ----------
    controller : Controller
    estimates : Estimates
        Chooses the thresholds for a share.
    """

    def __init__(self, controller: Controller, estimates: Estimates) -> None:
        super().__init__("More limits", "Thresholds from a share of false picks; limits on what lies about a pick")
        self._controller, self._estimates = controller, estimates
        self._shown: tuple[Any, ...] | None = None
        self.rate = DoubleSpin()
        self.rate.setRange(0, 99)
        self.rate.setDecimals(1)
        self.rate.setSuffix(" %")
        self.rate.setSpecialValueText("by hand")
        self.rate.setKeyboardTracking(False)
        self.rate.setButtonSymbols(DoubleSpin.ButtonSymbols.NoButtons)
        self.rate.setAccessibleName("Share of false picks")
        self._rate_tip = (
            "<p>Keep the thresholds where about this share of the picks is false, as estimated from the inverted "
            "contrast, also when other limits change. To move a threshold by hand ends it. [%]</p>"
        )
        narrow(self.rate)
        self.rate.valueChanged.connect(self._rate_typed)
        self.ranges = {name: Range(name) for name in LOCAL}
        grid = QGridLayout()
        grid.setSpacing(GAP)
        grid.addWidget(_label("False picks", self.rate), 0, 0)
        grid.addWidget(self.rate, 0, 1)
        self.lie = small("")
        grid.addWidget(self.lie, 0, 3)
        for line, (name, field) in enumerate(self.ranges.items(), 1):
            grid.addWidget(_label(LOCAL[name], field.low), line, 0)
            grid.addWidget(field.low, line, 1)
            grid.addWidget(field.high, line, 2)
            grid.addWidget(field.seen, line, 3)
            field.edited.append(lambda key, text: controller.set_tune(gesture=f"tune {key}", **{key: text}))
        for column in (1, 2):
            grid.setColumnStretch(column, 1)
        self.rows.addLayout(grid)
        self.why = small("")
        self.rows.addWidget(self.why)
        self._slow = QTimer(self)
        self._slow.setSingleShot(True)
        self._slow.setInterval(200)
        self._slow.timeout.connect(self._show_seen)
        self.heading.toggled.connect(lambda on: self._slow.start())
        controller.choice_changed.connect(self._choice_changed)
        controller.state_changed.connect(lambda state, before: self.show_values())
        controller.loaded_changed.connect(self.show_values)
        self.show_values()

    def _rate_typed(self, value: float) -> None:
        self._shown = None
        self._estimates.set_rate(round(value / 100, 4) or None)

    def _choice_changed(self) -> None:
        if self.body.isVisible():
            self._slow.start()

    def show_values(self) -> None:
        """Show what is set, and in the heading too."""
        tune = self._controller.tune()
        loaded = self._controller.loaded
        board = None if loaded is None else loaded.board
        now = (board, tune.fdr, *(getattr(tune, name) for name in LOCAL))
        if now == self._shown:
            return
        self._shown = now
        blocked = self.rate.blockSignals(True)
        self.rate.setValue(100 * (tune.fdr or 0))
        self.rate.blockSignals(blocked)
        for name, field in self.ranges.items():
            field.set(getattr(tune, name))
        changed = [] if tune.fdr is None else [f"{100 * tune.fdr:g} % false picks"]
        changed += [label.lower() for name, label in LOCAL.items() if getattr(tune, name) is not None]
        self.say(", ".join(changed))
        decoys = board is None or board.candidates.decoys is not None
        known = board is None or board.picks.local is not None or not len(board.picks)
        self.rate.setEnabled(decoys)
        self.rate.setToolTip(self._rate_tip if decoys else "<p>The search kept no decoys; run it again.</p>")
        for field in self.ranges.values():
            field.setEnabled(known)
        self.why.setText(
            "" if known else "These results are without local statistics; run the search again for limits."
        )
        self.why.setVisible(not known)

    def _show_seen(self) -> None:
        """Show beside each range where the picks lie."""
        controller = self._controller
        board = None if controller.loaded is None else controller.loaded.board
        local = None if board is None or controller.choice is None else board.picks.local
        for column, field in enumerate(self.ranges.values()):
            values = np.zeros(0) if local is None else local[: len(controller.choice.shown)][controller.choice.shown]
            field.seen.setText("")
            if len(values):
                low, high = np.nanmin(values[:, column]), np.nanmax(values[:, column])
                field.seen.setText(f"{low:.2f} … {high:.2f}".replace("-", "−"))
        self.lie.setText("these picks:" if any(field.seen.text() for field in self.ranges.values()) else "")


class Range:
    """Two numbers, of which either may be missing, for a setting LOWEST,HIGHEST."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.edited: list[Any] = []
        self.low, self.high = (_Open(_FURTHEST[name]) for _ in range(2))
        for spin, which, word in ((self.low, "Lowest", "from any"), (self.high, "Highest", "to any")):
            spin.setSpecialValueText(word)
            spin.setPrefix(f"{word.split()[0]} ")
            spin.setToolTip(tip_of(name))
            spin.setAccessibleName(f"{which} {LOCAL[name].lower()}")
        self.low.valueChanged.connect(lambda value: self._changed(self.low, self.high))
        self.high.valueChanged.connect(lambda value: self._changed(self.high, self.low))
        self.seen = small("")
        self.seen.setWordWrap(False)

    def _changed(self, moved: _Open, other: _Open) -> None:
        if moved.given and other.given and self.low.value() > self.high.value():
            _quietly(other, moved.value())
        texts = [f"{round(spin.value(), 4):g}" if spin.given else "" for spin in (self.low, self.high)]
        for call in self.edited:
            call(self.name, ",".join(texts) if any(texts) else None)

    def set(self, text: str | None) -> None:
        """Show a setting."""
        for spin, part in zip((self.low, self.high), (text or ",").split(","), strict=True):
            _quietly(spin, float(part) if part.strip() else spin.minimum())

    def setEnabled(self, on: bool) -> None:
        """Let it be edited, or not."""
        for spin in (self.low, self.high):
            spin.setEnabled(on)


class _Open(DoubleSpin):
    """A number that may be missing; the arrow keys begin at 0."""

    def __init__(self, missing: float) -> None:
        super().__init__()
        self.setRange(missing, 999.0)
        self.setDecimals(2)
        self.setSingleStep(0.1)
        self.setKeyboardTracking(False)
        self.setButtonSymbols(DoubleSpin.ButtonSymbols.NoButtons)
        self.setValue(missing)
        narrow(self)

    @property
    def given(self) -> bool:
        """Whether there is a number."""
        return self.value() > self.minimum()

    def stepBy(self, steps: int) -> None:
        if self.given:
            super().stepBy(steps)
        else:
            self.setValue(0.0)


def _label(text: str, buddy: QAbstractSpinBox) -> QLabel:
    label = QLabel(text)
    label.setStyleSheet("font-size: 11px;")
    label.setToolTip(buddy.toolTip())
    label.setBuddy(buddy)
    return label


def _quietly(spin: _Open, value: float) -> None:
    if spin.hasFocus() and spin.value() == value:
        return
    blocked = spin.blockSignals(True)
    spin.setValue(value)
    spin.blockSignals(blocked)
