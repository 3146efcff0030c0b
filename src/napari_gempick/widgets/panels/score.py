"""The score that chooses picks: the NCC or the learned one, what teaches it, and what it has learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_gempick.model.settings import LEARNED, PickSettings
from napari_gempick.widgets.forms.editors import edit
from napari_gempick.widgets.forms.forms import Form
from napari_gempick.widgets.forms.parts import button, row
from napari_gempick.widgets.panels.ask import ask_me
from napari_gempick.widgets.state.asking import QUESTIONS
from napari_gempick.widgets.state.look import counted, written

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_gempick.widgets.state.controller import Controller

_TEACH = "Also learn from your corrections on all micrographs: rejected picks are bad, added picks are good"


class ScoreChoice(QWidget):
    """NCC or learned, a tick for corrections that teach, and the weights as bars."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self.form = Form(PickSettings, ["score"], controller.set_value)
        self.teach = edit(bool, False, label="Learn from my corrections", tip=_TEACH)
        self.teach.changed.connect(controller.set_teach)
        self.ask = button(
            "Ask me",
            f"Ask about the {QUESTIONS} candidates that teach most, from all micrographs",
            lambda: ask_me(self, controller),
        )
        self.bars = QLabel("")
        self.bars.setStyleSheet("font-size: 10px;")
        self.bars.setToolTip("<p>The share of each feature in the learned score. Red counts against a particle.</p>")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row(self.form.native, self.ask))
        layout.addWidget(self.teach.native)
        layout.addWidget(self.bars)
        controller.state_changed.connect(lambda state, before: self._show())
        controller.loaded_changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        controller = self._controller
        state = controller.state
        self.form.show_values(state.values)
        self.teach.show_value(state.teach and state.lesson is not None)
        board = None if controller.loaded is None else controller.loaded.board
        self.setEnabled(board is None or board.candidates.decoys is not None)
        self.ask.setEnabled(board is not None and not controller.loaded.preview)
        learned = controller.boards.teacher.learned
        known = state.values.get("score") == LEARNED and board is not None and board.picks.ncc is not None
        self.bars.setVisible(known and learned is not None)
        if known and learned is not None:
            said = learned.describe()
            self.bars.setText(bars_of(said["weights"], said["labels"]))


def bars_of(weights: Mapping[str, float], labels: int) -> str:
    """Return weights as a table of bars, and how many corrections taught them."""
    lines = [
        f"<tr><td>{written(name)}&nbsp;</td><td>"
        f"<span style='color: {'#5aa9e6' if value >= 0 else '#d9655b'}'>{'▇' * max(1, round(20 * abs(value)))}</span> "
        f"{value:.2f}</td></tr>".replace("-", "−")
        for name, value in weights.items()
    ]
    taught = f"<tr><td></td><td>with {counted(labels, 'correction')}</td></tr>" if labels else ""
    return f"<table cellspacing='0' cellpadding='0'>{''.join(lines)}{taught}</table>"
