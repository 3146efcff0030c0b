"""The score that chooses picks: the NCC or the learned one, what it has learned, and the dialog that teaches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QDialog, QLabel, QVBoxLayout, QWidget

from napari_gempick.io.images.micrograph import read_micrograph
from napari_gempick.model.errors import InputError
from napari_gempick.model.settings import LEARNED, PickSettings
from napari_gempick.widgets.forms.editors import edit
from napari_gempick.widgets.forms.forms import Form
from napari_gempick.widgets.forms.parts import button, pixmap, row, small
from napari_gempick.widgets.layers.pictures import cut_out
from napari_gempick.widgets.state.asking import QUESTIONS, Question, questions
from napari_gempick.widgets.state.look import contrast_limits, counted, smoothed, written

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from qtpy.QtGui import QKeyEvent, QPixmap

    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.state import State

    Asked = list[tuple[Question, NDArray[Any]]]

SIDE = 300
"""Of a picture in the dialog, px."""
DIAMETERS = 2.5
"""Width of a picture, particle diameters."""
CIRCLE = "#ffd24a"
LOWPASSES = 6
"""Low-passes in a diameter, where the search has none: particles are seen better so."""
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
        selection = None if controller.loaded is None else controller.loaded.selection
        self.setEnabled(selection is None or selection.candidates.decoys is not None)
        self.ask.setEnabled(selection is not None and not controller.loaded.preview)
        learned = controller.selections.teacher.learned
        known = state.values.get("score") == LEARNED and selection is not None and selection.picks.ncc is not None
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


def ask_me(parent: QWidget, controller: Controller) -> None:
    """Let corrections teach, choose the candidates in the background, then ask about them."""
    folder = controller.folder
    if folder is None:
        return
    controller.set_teach(True)
    state, results, selections, path = controller.state, dict(controller.results), controller.selections, folder.path

    def choose() -> Asked:
        return with_pictures(questions(state, results, path, selections), state)

    def ask(asked: Asked) -> None:
        if controller.folder is not folder:
            return
        if asked:
            AskDialog(parent, controller, asked).open()
        else:
            controller.notified.emit(
                "There are no candidates left to ask about. Search more micrographs first.", "info"
            )

    controller.background.do(choose, ask)


def with_pictures(asked: list[Question], state: State) -> Asked:
    """Return questions with their pictures, (n, n, 3) uint8, those of a micrograph together."""
    made: Asked = []
    files = {file.output_stem: file for file in state.files}
    for stem in dict.fromkeys(one.stem for one in asked):
        file, settings = files[stem], state.settings()
        try:
            micrograph = read_micrograph(file.path, settings.pixel_size, listed=file.pixel_size)
        except InputError:  # the list says why; the others are asked about
            continue
        own = [one for one in asked if one.stem == stem]
        lowpass = settings.lowpass or own[0].diameter * micrograph.pixel_size / LOWPASSES
        image = smoothed(micrograph.data, micrograph.pixel_size, lowpass)
        limits = contrast_limits(image)
        for one in own:
            size = max(8, round(DIAMETERS * one.diameter))
            made.append((one, cut_out(image, one.pick.x, one.pick.y, size, SIDE, limits)))
    return made


class AskDialog(QDialog):
    """One candidate after the other.

    Parameters
    ----------
    asked : list of (Question, picture)
    """

    def __init__(self, parent: QWidget, controller: Controller, asked: Asked) -> None:
        super().__init__(parent)
        self.setWindowTitle("Ask me")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._controller, self._asked, self._folder = controller, asked, controller.folder
        self.number = -1
        self.picture = QLabel()
        self.words = small("")
        self.yes = button("Yes (Y)", "It is a particle", lambda: self.answer(True))
        self.no = button("No (N)", "It is not a particle", lambda: self.answer(False))
        self.skip = button("Skip (S)", "Skip this one", lambda: self.answer(None))
        for pressed in (self.yes, self.no, self.skip):
            pressed.setAutoDefault(False)
        rows = QVBoxLayout(self)
        rows.addWidget(QLabel("Is there a particle in the circle?"))
        rows.addWidget(self.picture, alignment=Qt.AlignmentFlag.AlignCenter)
        rows.addWidget(self.words)
        rows.addLayout(row(self.yes, self.no, self.skip))
        self._show_next()

    def _show_next(self) -> None:
        if self.number + 1 == len(self._asked):
            self.accept()
            return
        self.number += 1
        one, picture = self._asked[self.number]
        self.picture.setPixmap(with_circle(pixmap(picture, SIDE)))
        self.words.setText(
            f"{self.number + 1} of {len(self._asked)}: {one.stem}, {one.pick.view}, NCC {one.pick.score:.2f}, "
            f"probably false: {one.false:.0%}".replace("%", " %")
        )

    def keyPressEvent(self, event: QKeyEvent) -> None:
        answers = {Qt.Key.Key_Y: True, Qt.Key.Key_N: False, Qt.Key.Key_S: None}
        if event.key() in answers:
            self.answer(answers[event.key()])
        else:
            super().keyPressEvent(event)

    def answer(self, good: bool | None) -> None:
        """Label the candidate, or skip it (None), and show the next one; the last one closes the dialog."""
        if self._controller.folder is not self._folder:
            self.reject()  # they are candidates of other results
            return
        one, _ = self._asked[self.number]
        if good is not None:
            self._controller.judge(one.stem, one.pick, good)
        self._show_next()


def with_circle(made: QPixmap) -> QPixmap:
    """Return a picture with the circle of the particle's diameter in its middle."""
    painter = QPainter(made)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(CIRCLE), 1.5))
    side = made.width() / made.devicePixelRatio()
    painter.drawEllipse(QPointF(side / 2, side / 2), side / DIAMETERS / 2, side / DIAMETERS / 2)
    painter.end()
    return made
