"""What an empty angle step means for the templates of the window, worked out behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_gempick.model.errors import GempickError
from napari_gempick.model.settings import TEMPLATE_SETTINGS

if TYPE_CHECKING:
    from napari_gempick.widgets.controller import Controller
    from napari_gempick.widgets.editors import Number
    from napari_gempick.widgets.state import State


class AngleStep:
    """Shows the automatic angle step in its empty field.

    Parameters
    ----------
    controller : Controller
    field : Number
        The editor of the setting.
    """

    def __init__(self, controller: Controller, field: Number) -> None:
        self._controller, self._field = controller, field
        self._key: Any = None
        controller.state_changed.connect(lambda state, before: self._look(state))

    def _look(self, state: State) -> None:
        key = (state.views, *(state.values.get(name) for name in TEMPLATE_SETTINGS))
        if key == self._key:
            return
        self._key = key
        self._field.explain("auto")
        if not state.views:
            return

        def work() -> float | None:
            from napari_gempick.job.bank_maker import BankMaker
            from napari_gempick.job.inputs import read_views

            try:
                settings = state.settings(angle_step=None)
                return BankMaker(settings, read_views(settings)).index.angle_step
            except GempickError:  # said where the templates are drawn, and by the search
                return None

        self._controller.background.do(work, lambda step: self._show(key, step))

    def _show(self, key: Any, step: float | None) -> None:
        if key == self._key and step is not None:
            self._field.explain(f"auto: {step:.1f}°")
