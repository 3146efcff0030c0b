"""A fold of part 4: thresholds from a share of false picks, and limits on the grey levels around picks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from superqt.utils import qdebounced

from napari_gempick.model.declaration import names_with
from napari_gempick.model.settings import PickSettings
from napari_gempick.model.values import LOCAL
from napari_gempick.widgets.forms.editors import lower
from napari_gempick.widgets.forms.forms import Form
from napari_gempick.widgets.forms.parts import Fold, small

if TYPE_CHECKING:
    from napari_gempick.widgets.background.fdr_estimator import FdrEstimator
    from napari_gempick.widgets.state.controller import Controller


_RATE = (
    "<p>Keep the thresholds where about this share of the picks is false, as estimated from the inverted contrast, "
    "also when other limits change. To move a threshold by hand ends it. [%]</p>"
)


class Limits(Fold):
    """The share of false picks that thresholds are kept at, and ranges of the local statistics.

    Parameters
    ----------
    estimates : FdrEstimator
        Chooses the thresholds for a share.
    """

    def __init__(self, controller: Controller, estimates: FdrEstimator) -> None:
        super().__init__("More limits", "Thresholds from a share of false picks; limits on the surroundings of a pick")
        self._controller, self._estimates = controller, estimates
        self.form = Form(
            PickSettings,
            names_with(PickSettings, group="Limits"),
            self._edited,
            columns=1,
            options={"fdr": {"scale": 100, "max": 99.0, "step": 1.0, "suffix": " %"}},
        )
        self.fields = self.form.fields
        self.rate = self.fields["fdr"].native
        self.ranges = {name: self.fields[name] for name in LOCAL}
        self.rows.addWidget(self.form.native)
        self.seen = small("")
        self.rows.addWidget(self.seen)
        self.why = small("")
        self.rows.addWidget(self.why)
        self._show_soon = qdebounced(self._show_seen, timeout=200)
        self.toggled.connect(self._choice_changed)
        controller.choice_changed.connect(self._choice_changed)
        controller.state_changed.connect(lambda state, before: self.show_values())
        controller.loaded_changed.connect(self.show_values)
        self.show_values()

    def _edited(self, name: str, value: Any) -> None:
        if name == "fdr":
            self._estimates.set_rate(value)
        else:
            self._controller.set_tune(gesture=f"tune {name}", **{name: value})

    def _choice_changed(self) -> None:
        if self.open:
            self._show_soon()

    def show_values(self) -> None:
        """Show the values, and in the heading which are set."""
        tune = self._controller.tune()
        loaded = self._controller.loaded
        selection = None if loaded is None else loaded.selection
        values = {name: getattr(tune, name) for name in self.fields}
        self.form.show_values(values)
        changed = [] if tune.fdr is None else [f"{100 * tune.fdr:g} % false picks"]
        changed += [lower(field.label) for name, field in self.ranges.items() if values[name] is not None]
        self.say(", ".join(changed))
        decoys = selection is None or selection.candidates.decoys is not None
        known = selection is None or selection.picks.local is not None or not len(selection.picks)
        self.rate.setEnabled(decoys)
        self.rate.setToolTip(_RATE if decoys else "<p>The search kept no decoys; run it again.</p>")
        for field in self.ranges.values():
            field.enabled = known
        self.why.setText(
            "" if known else "These results are without local statistics; run the search again for limits."
        )
        self.why.setVisible(not known)

    def _show_seen(self) -> None:
        """Show below the ranges where the picks lie."""
        controller = self._controller
        selection = None if controller.loaded is None else controller.loaded.selection
        local = None if selection is None or controller.choice is None else selection.picks.local
        values = np.zeros((0, 3)) if local is None else local[: len(controller.choice.shown)][controller.choice.shown]
        texts = []
        if len(values):
            ends = zip(np.nanmin(values, axis=0), np.nanmax(values, axis=0), strict=True)
            texts = [
                f"{lower(field.label)} {low:.2f} to {high:.2f}".replace("-", "−")
                for field, (low, high) in zip(self.ranges.values(), ends, strict=True)
            ]
        self.seen.setText(f"These picks: {', '.join(texts)}" if texts else "")
