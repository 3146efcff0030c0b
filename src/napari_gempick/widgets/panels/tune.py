"""Part 4: from candidates to picks, by thresholds, a share of false picks, or limits on the grey levels around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QLabel, QLineEdit, QPushButton, QRadioButton, QWidget
from superqt import QDoubleSlider, QLabeledDoubleSlider
from superqt.utils import qdebounced, signals_blocked

from napari_gempick.model.declaration import declarations, names_with
from napari_gempick.model.settings import PickSettings
from napari_gempick.widgets.background.pick_counter import BINS
from napari_gempick.widgets.forms.editors import WheelGuard, edit
from napari_gempick.widgets.forms.forms import Form, tip_of
from napari_gempick.widgets.forms.parts import CHECKED, GAP, Panel, button, mark_next, row, small, tab_through, tool
from napari_gempick.widgets.layers.excluded import ERASE, PAINT
from napari_gempick.widgets.panels.gallery import Gallery
from napari_gempick.widgets.panels.histogram import Histogram
from napari_gempick.widgets.panels.limits import Limits
from napari_gempick.widgets.panels.score import ScoreChoice
from napari_gempick.widgets.state.look import counted

if TYPE_CHECKING:
    from napari_gempick.widgets.background.fdr_estimator import FdrEstimator
    from napari_gempick.widgets.background.pick_counter import PickCounter
    from napari_gempick.widgets.layers.excluded import ExcludedArea
    from napari_gempick.widgets.layers.hover import Hover
    from napari_gempick.widgets.layers.layers import Layers
    from napari_gempick.widgets.state.controller import Controller


_TIP = "Show where no picks may lie on this micrograph: what was found there, and what you paint"
BRUSHES = {
    PAINT: ("Brush", "Paint over what is to be left out; the picks there go at once"),
    ERASE: ("Eraser", "Take excluded area away; the picks there come back"),
}


class ExcludedLine(QWidget):
    """A tick for the overlay, a brush, and an eraser."""

    def __init__(self, area: ExcludedArea) -> None:
        super().__init__()
        self._area = area
        self.shown = edit(bool, False, label="Excluded area", tip=_TIP)
        self.shown.changed.connect(area.show)
        self.buttons: dict[str, QPushButton] = {}
        for kind, (name, tip) in BRUSHES.items():
            made = self.buttons[kind] = button(name, tip, lambda kind=kind: area.take(kind))
            made.setCheckable(True)
            made.setStyleSheet(CHECKED)
        line = row(self.shown.native, *self.buttons.values(), wide=0)
        self.setLayout(line)
        area.changed.connect(self._show)

    def _show(self) -> None:
        self.shown.show_value(self._area.shown)
        for kind, made in self.buttons.items():
            made.setChecked(kind == self._area.tool)


_COLOURS = [("view", "view"), ("score", "score"), ("chance it is false", "false")]
_COLOURS_TIP = (
    "<p>What the colour of a pick shows. Scores go from violet, the lowest, to yellow; the estimated chance of being "
    "false goes from yellow, 0 %, to violet, 100 %.</p>"
)
_THRESHOLD = declarations(PickSettings)["threshold"]


class TunePanel(Panel):
    """Thresholds for each view, distances, the histogram, and the candidates about the threshold."""

    def __init__(
        self,
        controller: Controller,
        counter: PickCounter,
        estimates: FdrEstimator,
        layers: Layers,
        excluded: ExcludedArea,
        hover: Hover,
        go_to: Any,
        show_wall: Any,
    ) -> None:
        super().__init__(4, "Tune", "Move the thresholds: the picks follow at once.")
        self._controller, self._counter, self._estimates = controller, counter, estimates
        self._before: int | None = None
        self.count = QLabel("no picks yet")
        self.count.setStyleSheet("font-size: 15px; font-weight: bold;")
        self.undo = tool("↶", "Undo (Ctrl+Z)", controller.undo)
        self.redo = tool("↷", "Redo (Ctrl+Shift+Z)", controller.redo)
        for sign in (self.undo, self.redo):
            sign.setStyleSheet("font-size: 16px;")
        self.false = QLabel("")
        self.false.setStyleSheet("font-size: 11px;")
        self.false.setToolTip(
            "<p>The share of these picks that are probably false, estimated from the peaks that the same templates "
            "find in inverted contrast.</p>"
        )
        self.rows.addLayout(row(self.count, self.false, self.undo, self.redo, wide=1))
        self.all, self.this = QRadioButton("all"), QRadioButton("this one only")
        self.this.setToolTip("The micrograph that is shown gets thresholds of its own")
        self.all.setToolTip("One set of thresholds for all micrographs")
        group = QButtonGroup(self)
        for choice in (self.all, self.this):
            group.addButton(choice)
        self.all.setChecked(True)
        self.this.clicked.connect(lambda: controller.set_scope(True))
        self.all.clicked.connect(lambda: controller.set_scope(False))
        self.automatic = button(
            "Automatic",
            "Choose the thresholds that trade false picks against missed ones best, as estimated from the inverted "
            "contrast",
            estimates.choose_thresholds,
        )
        self.rows.addLayout(row("For", self.all, self.this, 1, self.automatic))
        self.score = ScoreChoice(controller)
        self.rows.addWidget(self.score)
        self._sliders_box = QGridLayout()
        self._sliders_box.setSpacing(GAP)
        self._sliders_box.setColumnStretch(1, 1)
        self.rows.addLayout(self._sliders_box)
        self.sliders: dict[str, _Slider] = {}
        self.histogram = Histogram()
        self.histogram.dragged.connect(self._moved)
        self.histogram.released.connect(self._released)
        self.rows.addWidget(self.histogram)
        self.wall = button(
            "Threshold wall", "See six micrographs side by side while you move the thresholds", show_wall
        )
        self.rows.addLayout(row(self.wall, 1))
        self.excluded = ExcludedLine(excluded)
        self.rows.addWidget(self.excluded)
        self.nothing = small("")
        self.nothing.hide()
        self.rows.addWidget(self.nothing)  # below what is dragged when it appears
        self.form = Form(
            PickSettings,
            names_with(PickSettings, group="Tune"),
            lambda key, value: controller.set_tune(gesture=f"tune {key}", **{key: value}),
        )
        self.fields = self.form.fields
        self.rows.addWidget(self.form.native)
        self.limits = Limits(controller, estimates)
        self.rows.addWidget(self.limits)
        self.colours = edit(str, "view", label="Colour of picks", tip=_COLOURS_TIP, choices=_COLOURS)
        layers.picks.false_of = estimates.false_of
        estimates.estimated.connect(layers.picks.show_false)
        self.colours.changed.connect(lambda by: layers.picks.show_as(colour_by=by))
        self.crosses = edit(bool, False, label="crosses", tip="Crosses instead of circles")
        self.crosses.changed.connect(lambda on: layers.picks.show_as(crosses=on))
        self.rows.addLayout(row("Colour by", self.colours.native, self.crosses.native, wide=1))
        self.rows.addWidget(small("Near the threshold: solid frames are picks; X rejects."))
        self.gallery = Gallery(controller, layers, go_to)
        self.rows.addWidget(self.gallery)
        self.rows.addWidget(hover)
        self._histogram_soon = qdebounced(self._show_histogram, timeout=150)
        self._forget_soon = qdebounced(self._forget_before, timeout=1500)
        controller.loaded_changed.connect(self._loaded)
        controller.choice_changed.connect(self._count_changed)
        controller.state_changed.connect(self._state_changed)
        counter.histogram_changed.connect(lambda *_: self._histogram_soon())
        estimates.changed.connect(self._show_estimate)
        self._names: tuple[str, ...] = ()
        self._selection: Any = None
        self._loaded()

    def _loaded(self) -> None:
        self._make_sliders()
        self._before = None
        self._show_values()
        self._histogram_soon()
        own = self._controller.stem in self._controller.state.overrides
        self._controller.only_current = own
        (self.this if own else self.all).setChecked(True)

    def _make_sliders(self) -> None:
        names = self._controller.view_names()
        if names == self._names:
            return
        self._names = names
        for slider in self.sliders.values():
            slider.remove()
        self.sliders = {}
        rows = [("all views", "")] if len(names) != 1 else []
        for place, (label, view) in enumerate([*rows, *((name, name) for name in names)]):
            made = self.sliders[view] = _Slider(label, view, self._moved, self._released)
            self._sliders_box.addWidget(made.label, place, 0)
            self._sliders_box.addWidget(made.slider, place, 1)
        tab_through(self.score.teach.native, *(slider.slider for slider in self.sliders.values()))

    def _moved(self, view: str, value: float) -> None:
        if self._before is None and self._controller.choice is not None:
            self._before = len(self._controller.choice)
        self._controller.set_threshold(view or None, value, gesture=f"threshold {view}")

    def _released(self) -> None:
        self._controller.history.end_gesture()
        self._forget_soon()

    def _forget_before(self) -> None:
        self._before = None

    def _state_changed(self, state: Any, before: Any) -> None:
        if state.views != before.views:
            self._make_sliders()
            self._histogram_soon()
        self._show_values()

    def _show_values(self) -> None:
        controller = self._controller
        tune, names = controller.tune(), self._names
        values = {name: tune.threshold(name) for name in names}
        selection = None if controller.loaded is None else controller.loaded.selection
        floor = 0.0 if selection is None else max(-1.0, selection.floor)
        for view, slider in self.sliders.items():
            value = values[view] if view else min(values.values(), default=tune.threshold(""))
            slider.show(value, floor, controller.colour(view) if view else "")
        self.histogram.show_thresholds(values)
        self.form.show_values({name: getattr(tune, name) for name in self.fields})
        if selection is not None:
            distance, border = selection.min_distance(tune), selection.border(tune)
            self.fields["min_distance"].explain(f"auto: {distance:.0f} Å")
            self.fields["border"].explain(f"auto: {border:.0f} Å")
        history = controller.history
        self.undo.setEnabled(bool(history.undoable))
        self.redo.setEnabled(bool(history.redoable))
        self.undo.setToolTip(f"Undo: {history.undoable} (Ctrl+Z)" if history.undoable else "Nothing to undo")
        self.redo.setToolTip(f"Redo: {history.redoable} (Ctrl+Shift+Z)" if history.redoable else "Nothing to redo")

    def _count_changed(self) -> None:
        controller = self._controller
        choice = controller.choice
        if choice is None:
            self.count.setText("no picks yet")
            self.summary.setText("")
            self._explain_nothing("")
            return
        number = len(choice)
        change = "" if self._before in (None, number) else f"  ({number - self._before:+d})"
        preview = " (preview)" if controller.loaded is not None and controller.loaded.preview else ""
        self.count.setText(f"{counted(number, 'pick')}{preview}{change}")
        self._explain_nothing("" if number or controller.loaded is None else _why_none(controller))
        edits = controller.edits()
        words = [
            f"{len(edits.added)} added" if edits.added else "",
            f"{len(edits.rejected)} rejected" if edits.rejected else "",
        ]
        self.summary.setText(", ".join(word for word in words if word))

    def _explain_nothing(self, why: str) -> None:
        """Say why there are no picks, and mark the button that helps."""
        self.nothing.setText(why)
        self.nothing.setVisible(bool(why))
        mark_next(self.automatic, bool(why))

    def _show_estimate(self) -> None:
        share = self._estimates.false_share()
        words = "" if share is None else "under 1 % false" if share < 0.01 else f"about {100 * share:.0f} % false"
        self.false.setText(words)
        loaded = self._controller.loaded
        selection = None if loaded is None else loaded.selection
        self.automatic.setVisible(selection is not None and selection.candidates.decoys is not None)

    def _show_histogram(self) -> None:
        controller = self._controller
        selection = None if controller.loaded is None else controller.loaded.selection
        counts: dict[str, Any] = {}
        if selection is not None and len(selection.picks):
            picks = selection.picks
            counts = {
                name: np.histogram(picks.score[picks.view == i], BINS[::4])[0]
                for i, name in enumerate(selection.candidates.view_names)
            }
        totals = {name: values.reshape(-1, 4).sum(axis=1) for name, values in self._counter.histogram().items()}
        if sum(1 for result in controller.results.values() if not result.error) < 2:
            totals = {}
        colours = {name: controller.colour(name) for name in {*counts, *totals}}
        self.histogram.show_counts(BINS[::4], counts, totals, colours)


def _why_none(controller: Controller) -> str:
    """Return why the current micrograph has no picks although it was searched."""
    selection = None if controller.loaded is None else controller.loaded.selection
    if selection is None:
        return ""
    if not len(selection.picks):
        return f"No score is above {selection.candidates.floor:g}. Are these the right templates?"
    tune, names = controller.tune(), selection.candidates.view_names
    best = {name: selection.picks.score[selection.picks.view == i].max(initial=-1) for i, name in enumerate(names)}
    name = max(names, key=lambda name: best[name] - tune.threshold(name))
    of = f" of {name}" if len(names) > 1 else ""
    if best[name] < tune.threshold(name):
        return (
            f"The best score{of}, {best[name]:.2f}, is below the threshold {tune.threshold(name):.2f}. "
            "Press Automatic to choose it from the scores."
        )
    return "Distance, border, limits or excluded areas remove all picks."


class _Slider:
    """A row of the thresholds: colour, name, slider with its number.

    Parameters
    ----------
    moved : callable
        Takes the view and its threshold.
    """

    def __init__(self, label: str, view: str, moved: Any, released: Any) -> None:
        self.label = QLabel(label)
        self.slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.slider.setDecimals(_THRESHOLD.digits)
        self.slider.setSingleStep(_THRESHOLD.step)
        self.slider.setPageStep(5 * _THRESHOLD.step)
        self.slider.setRange(_THRESHOLD.low, _THRESHOLD.high)
        number, handle = self.slider.findChild(QLineEdit), self.slider.findChild(QDoubleSlider)
        self.slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # its handle has it
        number.setStyleSheet("border: 1px solid #7a7d85; border-radius: 2px; padding: 1px;")
        WheelGuard(handle)
        for widget in (self.label, self.slider, number, handle):
            widget.setToolTip(tip_of(_THRESHOLD))
            widget.setAccessibleName(f"Threshold of {label}")
        self.slider.valueChanged.connect(lambda value: moved(view, round(value, _THRESHOLD.digits)))
        self.slider.sliderReleased.connect(released)

    def show(self, value: float, floor: float, colour: str) -> None:
        with signals_blocked(self.slider):
            self.slider.setRange(min(floor, value), _THRESHOLD.high)
            self.slider.setValue(value)
        look = f"border-left: 4px solid {colour}; padding-left: 4px;" if colour else "padding-left: 8px;"
        if self.label.styleSheet() != look:
            self.label.setStyleSheet(look)

    def remove(self) -> None:
        for widget in (self.label, self.slider):
            widget.hide()
            widget.deleteLater()
