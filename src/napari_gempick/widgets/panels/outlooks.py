"""The estimate for a search, shown in part 3 before it starts."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from superqt.utils import qdebounced

from napari_gempick.model.errors import GempickError
from napari_gempick.model.settings import TEMPLATE_SETTINGS
from napari_gempick.widgets.state.look import counted
from napari_gempick.widgets.state.outlook import Outlook, measured_rate, outlook, rate_of

if TYPE_CHECKING:
    from qtpy.QtWidgets import QLabel

    from napari_gempick.widgets.background.search_runner import SearchRunner
    from napari_gempick.widgets.forms.editors import Number
    from napari_gempick.widgets.state.controller import Controller


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Outlooks:
    """Shows the estimate for a search and warnings, and the automatic angle step in its empty field.

    Parameters
    ----------
    field : Number
        The editor of the angle step.
    """

    def __init__(
        self, controller: Controller, searches: SearchRunner, field: Number, words: QLabel, warnings: QLabel
    ) -> None:
        self._controller, self._searches, self._field = controller, searches, field
        self._words, self._warnings = words, warnings
        self._key: Any = None
        self._rate: float | None = None
        self.known: Outlook | None = None
        self._look_soon = qdebounced(self._look, timeout=150)
        controller.state_changed.connect(lambda state, before: self._look_soon())
        controller.loaded_changed.connect(self._look_soon)
        controller.results_changed.connect(self._learn)
        searches.machine_known.connect(lambda machine: self._look_soon())

    def _learn(self, stem: str) -> None:
        """Take the cost of a search that has just been made with these settings."""
        result, known = self._controller.results.get(stem), self.known
        if known is not None and result is not None and result.digest == self._searches.digest() != "":
            self._rate = rate_of(result.row, known.work) or self._rate
            self._look_soon()

    def _look(self) -> None:
        controller = self._controller
        state, loaded, file = controller.state, controller.loaded, controller.file
        size = None if loaded is None or loaded.image is None else (loaded.image.shape, loaded.pixel_size)
        machine = self._searches.machine
        values = (state.values.get(name) for name in TEMPLATE_SETTINGS)
        key = (state.views, *values, file, size, self._rate, machine is None)
        if key == self._key or controller.background.closed:
            return
        self._key = key
        if not state.views:
            self._field.explain("auto")
            self._show(key, None)
            return
        rate, gpu = self._rate, machine is None or bool(machine["gpus"])

        def work() -> Outlook | str:
            try:
                return outlook(state, file, loaded, rate if rate or gpu else measured_rate())
            except GempickError as error:
                return error.sentence

        controller.background.do(work, lambda made: self._show(key, made))

    def _show(self, key: Any, made: Outlook | str | None) -> None:
        if key != self._key:
            return
        self.known = made if isinstance(made, Outlook) else None
        words, warnings = "", [made] if isinstance(made, str) else []
        if isinstance(made, Outlook):
            self._field.explain(f"auto: {made.step:.1f}°")
            words = f"{counted(made.images, 'rotated template')} for each micrograph"
            machine = self._searches.machine
            if made.seconds is not None:
                gpus = machine is None or machine["gpus"]
                where = "here" if machine is None or gpus else f"on {machine['cpu']['threads']} cores"
                words += f", about {duration(made.seconds)} {where}"
            if made.quick is not None:
                words += f", or {duration(made.quick[1])} with a low-pass of {made.quick[0]:g} Å"
            words += "."
            warnings = list(made.warnings)
        self._words.setText(words)
        self._words.setVisible(bool(words))
        self._warnings.setText("<br>".join(html.escape(sentence) for sentence in warnings))
        self._warnings.setVisible(bool(warnings))
