"""The fields of the dock beyond the first look: each changes what it says, and nothing else."""

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QScrollBar,
    QTextEdit,
    QWidget,
)
from superqt import QLabeledDoubleRangeSlider, QLabeledDoubleSlider

from napari_gempick.cluster.settings import ClusterSettings
from napari_gempick.extraction.settings import ExtractSettings
from napari_gempick.model.declaration import groups
from napari_gempick.model.settings import PickSettings
from napari_gempick.widgets.forms.editors import Editor
from napari_gempick.widgets.layers.layers import MICROGRAPH, NCC
from napari_gempick.widgets.panels.cluster_dialog import ClusterDialog
from napari_gempick.widgets.state.look import contrast_limits, score_colours, smoothed


def type_in(qtbot, editor, text):
    line = getattr(editor, "lineEdit", lambda: editor)()
    editor.setFocus()
    line.selectAll()
    qtbot.keyClicks(line, text)
    qtbot.keyClick(line, Qt.Key.Key_Return)


VALUES = (QAbstractSpinBox, QAbstractSlider, QComboBox, QLineEdit, QCheckBox, QTextEdit, QPlainTextEdit)


def around(widget):
    """Yield a widget and those that it is a part of."""
    while widget is not None:
        yield widget
        widget = widget.parentWidget()


def editor_of(widget):
    """Return what magicgui made of which a Qt widget is a part, or None."""
    made = (getattr(one, "_magic_widget", None) for one in around(widget))
    return next((one for one in made if isinstance(one, Editor)), None)


def test_every_setting_has_an_editor_that_magicgui_made(dock, data, qtbot):
    """Sliders are superqt's, the script is only read; templates, masks and thresholds have a row for each view."""
    dock.controller.add_view("particle", [str(data.parent / "particle.mrc")])
    dialog = ClusterDialog(dock, dock.controller, dock.cluster)
    qtbot.addWidget(dialog)
    sliders = (QLabeledDoubleSlider, QLabeledDoubleRangeSlider)
    for child in (child for kind in VALUES for child in dock.findChildren(kind)):
        by_superqt = any(isinstance(one, sliders) for one in around(child))
        no_value = child is dialog.script or isinstance(child, QScrollBar)
        assert editor_of(child) is not None or by_superqt or no_value, child
    editors = {id(editor): editor for editor in map(editor_of, dock.findChildren(QWidget)) if editor is not None}
    names = sorted(editor.name for editor in editors.values() if editor.name)
    declared = {*PickSettings.model_fields, *ClusterSettings.model_fields, *groups(ExtractSettings)["Particles"]}
    assert names == sorted(declared - {"templates", "mask", "threshold"})
    assert {"particle"} == set(dock.tune.sliders) == set(dock.templates.views)
    assert not dock.search.advanced.body.isVisibleTo(dock.search)  # the first look is calm


def test_what_is_typed_is_set(dock, qtbot, tmp_path):
    controller, fields = dock.controller, dock.search.advanced.fields
    dock.search.advanced.set_open(True)
    type_in(qtbot, fields["averaging"].native, "4")
    type_in(qtbot, fields["hot_pixels"].native, "6.5")
    type_in(qtbot, fields["in_plane_symmetry"].native, "side=2, top=5")
    type_in(qtbot, fields["grid"].native, "9/4")
    fields["gradient"].native.setCurrentText("plane")
    fields["whiten"].native.click()
    fields["decoys"].native.click()
    fields["exclude"].take("auto")
    assert controller.state.values == {
        **{"averaging": 4, "hot_pixels": 6.5, "in_plane_symmetry": ["side=2", "top=5"], "grid": "9/4"},
        **{"gradient": "plane", "whiten": True, "decoys": False, "exclude": "auto"},
    }
    assert "averaging" in dock.search.advanced.heading.text()
    while controller.history.undoable:
        controller.undo()
    assert controller.state.values == {} and fields["decoys"].native.isChecked()
    assert fields["in_plane_symmetry"].native.text() == "" and fields["exclude"].line.text() == ""


def test_the_empty_angle_step_says_what_it_means(dock, data, qtbot):
    """asin(low-pass / diameter), so that it divides 360; whole in its editor, whatever is typed meanwhile."""
    field = dock.search.fields["angle_step"].native
    assert field.text() == "auto"
    dock.controller.add_view("particle", [str(data.parent / "particle.mrc")])
    type_in(qtbot, dock.search.fields["diameter"].native, "130")
    for lowpass, step in (("20", 8.78), ("30", 13.33)):
        type_in(qtbot, dock.search.fields["lowpass"].native, lowpass)
        qtbot.waitUntil(lambda step=step: field.text() == f"auto: {step:.1f}°", timeout=20_000)
    type_in(qtbot, field, "6")
    assert field.text().startswith("6.0") and dock.controller.state.values["angle_step"] == 6.0
    assert field.fontMetrics().horizontalAdvance("auto: 13.3°") < field.lineEdit().width()


@pytest.mark.errors_are_said
def test_what_cannot_be_is_refused_in_a_sentence(dock, qtbot, tmp_path):
    fields = dock.search.advanced.fields
    notification_manager.records.clear()
    type_in(qtbot, fields["grid"].native, "fine")
    type_in(qtbot, fields["ctf"].line, str(tmp_path / "missing.star"))
    assert dock.controller.state.values == {}
    assert fields["grid"].native.text() == "" and fields["ctf"].line.text() == ""
    first, second = (record.message for record in notification_manager.records)
    assert "write auto, full or a ratio" in first and "does not exist" in second


def test_the_ctf_gives_the_contrast(dock, tmp_path):
    controller, contrast = dock.controller, dock.templates.contrast.native
    contrast.setCurrentText("opposite")
    assert controller.state.inverted
    (tmp_path / "ctf.star").touch()
    dock.search.advanced.fields["ctf"].take(str(tmp_path / "ctf.star"))
    assert not contrast.isEnabled() and contrast.placeholderText() == "from the CTF" and "CTF" in contrast.toolTip()
    assert controller.state.settings().contrast == "same"
    assert dock.search.advanced.fields["ctf_step"].native.isEnabled()
    dock.search.advanced.fields["ctf"].take("")
    assert contrast.isEnabled() and contrast.currentText() == "opposite"
    assert not dock.search.advanced.fields["ctf_step"].native.isEnabled()


def test_local_limits_choose_at_once(picked, qtbot):
    controller, limits = picked.controller, picked.tune.limits
    limits.set_open(True)
    controller.set_threshold(None, 0.1)
    selection = controller.loaded.selection
    before = controller.choice.shown
    mean = selection.picks.local[: len(before)][:, 0]
    cut = round(float(np.median(mean[before])), 2)
    type_in(qtbot, limits.ranges["local_mean"].low, f"{cut}")
    assert controller.tune().local_mean == f"{cut:g},"
    assert (mean[controller.choice.shown] >= cut).all() and 0 < len(controller.choice) < before.sum()
    assert "local mean" in limits.heading.text()
    type_in(qtbot, limits.ranges["local_mean"].high, f"{cut - 1}")  # the other end gives way
    assert controller.tune().local_mean == f"{cut - 1:g},{cut - 1:g}"
    controller.undo()
    assert controller.tune().local_mean is None and limits.ranges["local_mean"].low.text() == "from any"
    qtbot.waitUntil(lambda: f"local mean {mean[before].min():.2f} to".replace("-", "−") in limits.seen.text())
    assert "power" in limits.seen.text()


def test_a_rate_is_kept_until_a_slider_moves(picked, qtbot):
    type_in(qtbot, picked.tune.limits.rate, "5")
    qtbot.waitUntil(lambda: picked.controller.tune().fdr == 0.05)
    assert len(picked.controller.choice) == 3, "three particles stand clear of the noise"
    picked.tune.sliders["particle"].slider.setValue(0.4)
    assert picked.tune.limits.rate.text() == "by hand" and len(picked.controller.choice) == 3


def test_lowpass_is_for_the_eye_alone(picked, qtbot):
    layer, loaded = picked.layers.layer(MICROGRAPH), picked.controller.loaded
    settings = picked.controller.state.settings()
    type_in(qtbot, picked.viewing.lowpass, "30")
    qtbot.waitUntil(lambda: layer.data is not loaded.image)
    np.testing.assert_array_equal(layer.data, smoothed(loaded.image, 2.0, 30.0))
    np.testing.assert_allclose(layer.contrast_limits, contrast_limits(layer.data), rtol=1e-5)
    assert picked.controller.loaded is loaded and picked.controller.state.settings() == settings
    picked.controller.go(picked.controller.current + 1)
    qtbot.waitUntil(lambda: picked.controller.loaded.stem == "two")
    qtbot.waitUntil(lambda: layer.data is not picked.controller.loaded.image)
    type_in(qtbot, picked.viewing.lowpass, "0")
    assert layer.data is picked.controller.loaded.image and picked.viewing.lowpass.text() == "Low-pass: off"


def test_smoothing_passes_waves_that_are_longer():
    x = np.arange(240) * 2.0
    long, short = (np.cos(2 * np.pi * x / period) * np.ones((180, 1)) for period in (60.0, 20.0))
    np.testing.assert_allclose(smoothed(3 + long + short, 2.0, 40.0), 3 + long, atol=1e-4)


def test_window_of_the_scores(picked):
    ncc = picked.layers.layer(NCC)
    picked.viewing.positive.click()
    assert ncc.contrast_limits == [0, 1] and picked.viewing.positive.text() == "−1 to 1"
    np.testing.assert_allclose(ncc.colormap.map(np.array([0.0]))[0], (0, 0, 0, 1), atol=0.01)
    ncc.contrast_limits = (-0.5, 1.0)  # with napari's own slider
    assert picked.viewing.window.value() == pytest.approx((-0.5, 1.0))
    np.testing.assert_allclose(ncc.colormap.map(np.array([1 / 3]))[0], (0, 0, 0, 1), atol=0.02)
    picked.viewing.window.setValue((0.5, 0.5))
    assert ncc.contrast_limits == pytest.approx([0.5, 0.52])
    picked.viewing.window.setValue((0.5, 0.5))
    assert ncc.contrast_limits == pytest.approx([0.48, 0.5])


@pytest.mark.parametrize("window", [(-1, 1), (-0.3, 1), (0, 1), (0.2, 0.6), (-1, -0.1)])
def test_colours_of_scores(window):
    colours = score_colours(*window)
    score = np.linspace(*window, len(colours))
    black = min(max(0.0, window[0]), window[1])
    assert score[np.argmin(colours[:, :3].sum(axis=1))] == pytest.approx(black, abs=(window[1] - window[0]) / 256)
    above, below = colours[score > black + 0.05], colours[score < black - 0.05]
    assert (above[:, 0] > above[:, 2]).all() and (below[:, 2] > below[:, 0]).all()


def test_maps_of_a_view_are_made_when_they_are_wanted(picked, qtbot, monkeypatch, data):
    controller, viewing = picked.controller, picked.viewing
    controller.add_view("other", [str(data.parent / "particle.mrc")])
    picked.searches.run_this()
    qtbot.waitUntil(lambda: picked.searches.run is None, timeout=60_000)
    qtbot.waitUntil(lambda: viewing.views.count() == 3, timeout=20_000)
    assert viewing.views.itemText(2) == "only other…"
    monkeypatch.setattr(viewing, "_agreed", lambda view: False)
    viewing.choose("other")
    assert picked.searches.run is None and viewing.views.currentText() == "all views"
    monkeypatch.setattr(viewing, "_agreed", lambda view: True)
    viewing.choose("other")
    qtbot.waitUntil(lambda: "other" in controller.loaded.maps, timeout=60_000)
    qtbot.waitUntil(lambda: picked.layers.layer(NCC).data is controller.loaded.maps["other"].score)
    assert viewing.views.currentText() == "other" and controller.state.values["per_view_maps"]
    viewing.choose("particle")
    qtbot.waitUntil(lambda: "particle" in controller.loaded.maps)
    qtbot.waitUntil(lambda: picked.layers.layer(NCC).data is controller.loaded.maps["particle"].score)
    assert picked.layers.layer(NCC).visible
