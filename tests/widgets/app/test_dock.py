"""The dock in a viewer: layers follow, napari's own tools correct, nothing is left behind."""

import threading

import numpy as np
import pytest
from napari._qt.layer_controls import qt_layer_controls_container
from napari.utils import progress
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QComboBox, QStyle, QStyleOptionComboBox, QWidget

from napari_gempick.io.stack import write_mrc
from napari_gempick.widgets.app import messages
from napari_gempick.widgets.app.lifecycle import Shutter, warm_up
from napari_gempick.widgets.app.messages import next_step
from napari_gempick.widgets.forms.parts import Foldable
from napari_gempick.widgets.layers.layers import INDEX, MICROGRAPH, NCC, PICKS
from napari_gempick.widgets.panels.histogram import marks_of


def places(layer):
    return {(round(float(x)), round(float(y))) for y, x in layer.data}


def test_search_shows_layers_that_fit(picked, planted):
    layers = picked.layers
    points, micrograph, index = layers.layer(PICKS), layers.layer(MICROGRAPH), layers.layer(INDEX)
    assert len(places(points)) == len(planted["one"])
    for x, y in planted["one"]:
        assert min(np.hypot(x - px, y - py) for px, py in places(points)) < 2
    assert set(points.features.columns) == {"score", "view", "psi", "template", "made"}
    assert layers.layer(NCC).contrast_limits == [-1, 1]
    for layer in (micrograph, index, points):
        np.testing.assert_allclose(layer.scale, 2.0)
    x, y = (int(n) for n in planted["one"][0])
    assert str(index.features["view"][int(index.data[y, x])]) == "particle"
    assert picked.viewer.layers.selection.active is not None


def test_controls_are_made_in_the_look_of_the_dock_before_they_are_needed(dock, qtbot, monkeypatch):
    """The first controls of each kind of layer take napari a fifth of a second, in another look once more."""
    real, made, polished = (
        qt_layer_controls_container.create_qt_layer_controls,
        [],
        Qt.WidgetAttribute.WA_WState_Polished,
    )

    def make(layer):
        controls = real(layer)

        def let_go():
            looks = all(one.testAttribute(polished) for one in (controls, *controls.findChildren(QWidget)))
            made.append((type(layer).__name__, controls.parent() is dock, looks, controls.isVisible()))
            QWidget.deleteLater(controls)

        controls.deleteLater = let_go
        return controls

    monkeypatch.setattr(qt_layer_controls_container, "create_qt_layer_controls", make)
    warm_up(dock.controller.background, dock.layers.turns, dock.viewer, dock)
    qtbot.waitUntil(lambda: len(made) == 3)
    assert sorted(made) == [(kind, True, True, False) for kind in ("Image", "Labels", "Points")]


def test_what_is_left_to_do_is_marked(picked):
    panel, controller = picked.search, picked.controller

    def marked():
        return [
            one.text() for one in (panel.preview, panel.run_this, panel.run_all) if "background" in one.styleSheet()
        ]

    assert marked() == [] and next_step(controller).endswith("with the tools above. Part 5 exports them.")
    controller.drop_result("two")
    assert marked() == ["Run all"] and "search the other micrograph with Run all" in next_step(controller)
    controller.go(1)
    assert marked() == ["Run this"]
    controller.go(0)
    controller.set_value("angle_step", 20.0)
    assert marked() == ["Run this"]


def test_status_bar_names_no_template_of_a_pick_made_by_hand(picked, qtbot):
    points = picked.layers.layer(PICKS)
    picked.controller.add_pick(20.0, 20.0)
    status = [points.get_status(points.data_to_world(at), world=True)["value"] for at in points.data]
    assert all("template: 1" in text for text in status[:-1])
    assert "made: by hand" in status[-1] and "template" not in status[-1]


def test_picks_made_by_hand_stay_while_the_next_micrograph_is_read(picked):
    picked.controller.add_pick(20.0, 20.0)
    points, count = picked.layers.layer(PICKS), len(picked.controller.choice)
    picked.controller.go(1)  # it is read on another thread, and shown by the next event
    picked.tune.crosses.native.click()
    assert picked.controller.loaded.stem == "one" and len(points.data) == len(picked.controller.choice) == count


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.05, 0.35, ["0.0", "0.1", "0.2", "0.3"]),
        (-0.31, 0.01, ["−0.2", "−0.1"]),
        (-1, 1, ["−0.8", "−0.6", "−0.4", "−0.2", "0.0", "0.2", "0.4", "0.6", "0.8"]),
    ],
)
def test_marks_of_the_histogram(low, high, words):
    assert [text for _, text in marks_of(low, high)] == words


def test_napari_bar_comes_between_events_and_goes_with_the_run(picked, qtbot, monkeypatch):
    """To make or move a bar handles every waiting event, which must not happen inside a signal."""
    monkeypatch.setattr(messages, "BAR_AFTER", 50)
    handled = []
    picked.controller.set_value("angle_step", 2.0)
    QTimer.singleShot(0, lambda: handled.append("at the start"))
    picked.searches.run_this()
    assert not handled
    qtbot.waitUntil(lambda: bool(progress._all_instances), timeout=20_000)
    (bar,) = progress._all_instances
    qtbot.waitUntil(lambda: bar.n > 0, timeout=20_000)
    QTimer.singleShot(0, lambda: handled.append("later"))
    picked.searches.share = 0.9
    picked.searches.changed.emit()
    assert "later" not in handled
    picked.searches.cancel()
    qtbot.waitUntil(lambda: not progress._all_instances, timeout=20_000)


def test_coarse_maps_lie_on_the_micrograph(picked, qtbot, planted):
    controller = picked.controller
    controller.set_value("lowpass", 12.0)
    picked.searches.run_this()
    qtbot.waitUntil(lambda: picked.searches.run is None, timeout=60_000)
    qtbot.waitUntil(lambda: [pair.ratio for pair in controller.loaded.maps.values()] == [3], timeout=20_000)
    ncc = picked.layers.layer(NCC)
    qtbot.waitUntil(lambda: ncc.data is controller.loaded.maps[""].score)
    for x, y in planted["one"]:
        world = picked.layers.layer(MICROGRAPH).data_to_world((y, x))
        row, column = ncc.world_to_data(world)
        near = np.asarray(ncc.data)[round(row) - 2 : round(row) + 3, round(column) - 2 : round(column) + 3]
        top = np.unravel_index(np.nanargmax(near), near.shape)
        assert np.hypot(round(row) - 2 + top[0] - row, round(column) - 2 + top[1] - column) <= 1


def test_slider_and_keys_move_the_threshold(picked, qtbot):
    tune, controller = picked.tune, picked.controller
    points = picked.layers.layer(PICKS)
    tune.sliders["particle"].slider.setValue(0.99)
    assert len(points.data) == 0
    assert tune.count.text() == "0 picks  (-3)"
    tune.sliders["particle"].slider.setValue(0.1)
    assert len(points.data) == len(controller.choice) > 3
    before = controller.tune().threshold("particle")
    qtbot.keyClick(picked.tune.gallery, Qt.Key.Key_Period)
    assert controller.tune().threshold("particle") == pytest.approx(before + 0.01)


def test_napari_tools_correct(picked, qtbot):
    controller, points = picked.controller, picked.layers.layer(PICKS)
    all_places = places(points)
    points.selected_data = {0}
    gone = points.data[0]
    points.remove_selected()
    qtbot.waitUntil(lambda: len(controller.edits().rejected) == 1)
    assert places(points) == all_places - {(round(float(gone[1])), round(float(gone[0])))}
    points.add((30.0, 20.0))
    qtbot.waitUntil(lambda: len(controller.edits().added) == 1)
    assert (20, 30) in places(points)
    assert list(points.features["made"]) == ["found", "found", "by hand"]
    controller.undo()
    controller.undo()
    assert places(points) == all_places


def test_reject_by_cursor_keeps_the_selection(picked):
    points = picked.layers.layer(PICKS)
    y, x = points.data[1]
    picked.layers.picks.reject_selected((float(x) + 3, float(y)))
    assert len(points.data) == 2
    picked.controller.undo()
    points.selected_data = {0, 2}
    kept = places(points)
    picked.controller.set_threshold(None, 0.3)
    assert len(points.selected_data) == 2 and len(places(points)) >= len(kept)


def test_a_candidate_of_the_gallery_is_rejected_where_it_is_a_pick(picked, qtbot):
    controller, gallery, said = picked.controller, picked.tune.gallery, []
    controller.notified.connect(lambda sentence, kind: said.append(sentence))
    controller.set_threshold(None, max(picked.layers.layer(PICKS).features["score"]) - 0.001)
    qtbot.waitUntil(lambda: {tile.picked for tile in gallery.tiles} == {True, False})
    for is_pick in (False, True):
        number = next(n for n, tile in enumerate(gallery.tiles) if tile.picked == is_pick)
        qtbot.mouseClick(gallery, Qt.MouseButton.LeftButton, pos=gallery._place(number).center())
        qtbot.keyClick(gallery, Qt.Key.Key_X)
        assert len(controller.edits().rejected) == is_pick
        assert said == ["This candidate has a dotted frame: it is not a pick."]


def test_picks_coloured_by_their_chance_of_being_false(picked, planted, qtbot):
    """Of all candidates the planted ones are yellow and the others violet, on the next micrograph too."""
    controller, tune, points = picked.controller, picked.tune, picked.layers.layer(PICKS)
    controller.set_threshold(None, -1.0)
    tune.colours.native.setCurrentText("chance it is false")
    yellow, violet = np.array([0xFD, 0xE7, 0x25]) / 255, np.array([0x7B, 0x3F, 0xC4]) / 255
    for stem in ("one", "two"):
        qtbot.waitUntil(lambda stem=stem: controller.loaded.stem == stem and controller.choice is not None)

        def coloured(stem=stem):
            apart = np.asarray(points.data)[:, None, ::-1] - np.array(planted[stem])
            true = np.hypot(apart[..., 0], apart[..., 1]).min(axis=1) < 3
            wanted = np.where(true[:, None], yellow, violet)
            return true.sum() == len(planted[stem]) < len(true) and np.allclose(
                np.asarray(points.border_color)[:, :3], wanted, atol=0.07
            )

        qtbot.waitUntil(coloured, timeout=20_000)
        controller.go(1)
    tune.colours.native.setCurrentText("view")
    assert len({tuple(colour[:3]) for colour in np.asarray(points.border_color)}) == 1


def test_deleted_layers_come_back(picked, qtbot):
    viewer, controller = picked.viewer, picked.controller
    picked.searches.run_this()
    viewer.layers.clear()
    qtbot.waitUntil(lambda: picked.searches.run is None, timeout=60_000)
    qtbot.waitUntil(lambda: picked.layers.layer(PICKS) is not None and picked.layers.layer(NCC) is not None)
    assert len(picked.layers.layer(PICKS).data) == len(controller.choice)


def test_going_on_and_back(picked, qtbot):
    """Maps that nobody sees are filled when the window rests, and at once where they are looked at."""
    controller, layers = picked.controller, picked.layers
    ncc, index, coloured = layers.layer(NCC), layers.layer(INDEX), []
    qtbot.waitUntil(lambda: index.data.shape == (220, 240))
    index.events.colormap.connect(lambda event: coloured.append(event))
    layers.maps._fill_soon.setTimeout(600_000)
    for key, stem, number, seen in (
        (Qt.Key.Key_BracketRight, "two", 2, ncc),
        (Qt.Key.Key_BracketLeft, "one", 3, index),
    ):
        qtbot.keyClick(picked.tune.gallery, key)
        qtbot.waitUntil(lambda stem=stem: controller.loaded.stem == stem and bool(controller.loaded.maps))
        assert len(layers.layer(PICKS).data) == number
        pair = controller.loaded.maps[""]
        qtbot.wait(60)
        assert ncc.data is not pair.score and index.data is not pair.labels
        seen.visible = True  # by the eye in napari's list
        qtbot.waitUntil(lambda pair=pair: ncc.data is pair.score and index.data is pair.labels)
        seen.visible = False
    assert not coloured, "to make many colours takes napari long"
    layers.maps._fill_soon.setTimeout(1)
    qtbot.keyClick(picked.tune.gallery, Qt.Key.Key_BracketRight)
    qtbot.waitUntil(lambda: controller.loaded.stem == "two" and bool(controller.loaded.maps))
    qtbot.waitUntil(lambda: ncc.data is controller.loaded.maps[""].score)


def test_cycle_and_stacks(picked, qtbot):
    picked.cycle()
    assert picked.layers.layer(NCC).visible and not picked.layers.layer(MICROGRAPH).visible
    picked.cycle()
    assert picked.layers.layer(INDEX).visible and picked.look.text() == "Showing: index map"
    picked.cycle()
    assert picked.layers.layer(MICROGRAPH).visible
    picked.templates.stacks.click()
    qtbot.waitUntil(lambda: "particle templates" in picked.viewer.layers)
    assert picked.viewer.layers["particle templates"].data.shape[0] == 12
    assert picked.viewer.layers["particle templates"].scale[0] == 30


@pytest.mark.errors_are_said
def test_errors_are_one_notification(dock, qtbot, tmp_path):
    notification_manager.records.clear()
    dock.controller.add_micrographs([tmp_path / "no such folder" / "*.mrc"])
    qtbot.waitUntil(lambda: bool(notification_manager.records))
    (record,) = notification_manager.records
    assert "matches no micrograph" in record.message


def test_closing_while_running(picked):
    picked.controller.set_value("angle_step", 0.5)
    picked.searches.run_this()
    picked.shut()
    assert picked.searches._process._process is None
    assert (picked.controller.folder is None) and picked.controller.background.closed


def test_settings_travel_as_json_and_command(picked, tmp_path, qtbot):
    from qtpy.QtWidgets import QApplication

    picked.search.save_settings(tmp_path / "settings.json")
    before = picked.controller.state
    picked.controller.set_value("angle_step", 90.0)
    picked.search.load_settings(tmp_path / "settings.json")
    assert picked.controller.state.settings() == before.settings()
    picked.search.copy_command()
    assert QApplication.clipboard().text().startswith("gempick pick ")


def test_export_writes_what_is_seen(picked, qtbot):
    from napari_gempick.io.coordinates import read_coordinates

    picked.controller.add_pick(20.0, 30.0)
    picked.export.export(all_=True)
    path = picked.controller.folder.path / "one_autopick.star"
    qtbot.waitUntil(lambda: path.exists() and len(read_coordinates(path).picks) == 4)
    written = read_coordinates(path).picks
    assert places(picked.layers.layer(PICKS)) == {
        (round(x), round(y)) for x, y in zip(written.x.tolist(), written.y.tolist(), strict=True)
    }


def test_micrograph_without_a_pixel_size(dock, tmp_path, qtbot):
    write_mrc(tmp_path / "bare.mrc", np.random.default_rng(0).random((64, 64)).astype(np.float32), None)
    dock.controller.add_micrographs([tmp_path / "bare.mrc"])
    qtbot.waitUntil(lambda: dock.layers.layer(MICROGRAPH) is not None, timeout=20_000)
    assert dock.micrographs.pixel_size.native.text() == "unknown: type it"
    dock.micrographs.pixel_size.native.setValue(1.5)
    qtbot.waitUntil(lambda: dock.controller.loaded.pixel_size == 1.5)
    np.testing.assert_allclose(dock.layers.layer(MICROGRAPH).scale, 1.5)


def test_what_cannot_be_closed_does_not_keep_the_others_open(hidden_viewer):
    class Part:
        def __init__(self, fails=False):
            self.fails, self.closed = fails, False

        def close(self):
            self.closed = True
            if self.fails:
                raise RuntimeError("gone already")

    parts = Part(), Part(fails=True), Part()
    shutter = Shutter(hidden_viewer, None, *parts)
    with pytest.raises(RuntimeError, match="gone already"):
        shutter.shut()
    shutter.shut()
    assert all(part.closed for part in parts)


def test_closing_ends_every_thread(picked, qtbot):
    """Those that search, extract, export, read and save, in the middle of their work."""
    picked.controller.set_value("angle_step", 0.5)
    picked.searches.run_this()
    picked.extraction.start(lambda result: None, measure={"gpu": False}, settings={}, micrographs=[])
    picked.cluster.start(lambda result: None, measure={"gpu": False}, settings={}, micrographs=["x" * 2**20])
    picked.controller.set_value("lowpass", 15.0)
    mine = {thread for thread in threading.enumerate() if thread.name.startswith("gempick")}
    assert {"gempick requests", "gempick events", "gempick log"} <= {thread.name for thread in mine}
    picked.shut()
    assert not [thread.name for thread in mine if thread.is_alive()]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("gempick")]


def test_nothing_is_cut_off(dock, data):
    """Texts of choices and numbers fit, and no editor covers its neighbour, in a window of 1280 x 800 pixels."""
    controller = dock.controller
    controller.add_micrographs([data / "one.mrc"])
    for name in ("side", "top"):
        controller.add_view(name, [str(data.parent / "particle.mrc")])
    controller.change_view("side", mask="rectangle:170x160")
    dock.viewer.window.resize(1280, 800)
    dock.viewer.window.show()
    QApplication.processEvents()
    for part in dock.findChildren(Foldable):
        part.set_open(True)
    dock.tune.colours.native.setCurrentText("chance it is false")
    QApplication.processEvents()
    shown = [child for kind in (QAbstractSpinBox, QComboBox) for child in dock.findChildren(kind)]
    shown = [child for child in shown if child.isVisible()]
    assert len(shown) > 40 and dock.compare.unit in shown and dock.width() < 400
    for one in shown:
        if isinstance(one, QComboBox):
            option = QStyleOptionComboBox()
            one.initStyleOption(option)
            part = QStyle.SubControl.SC_ComboBoxEditField
            room = one.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, part, one).width()
            text = one.currentText() or one.placeholderText()
        else:
            room, text = one.lineEdit().width(), one.text()
        assert one.fontMetrics().tightBoundingRect(text).width() <= room, (one.accessibleName(), text)
        others = [other for other in shown if other is not one and other.parent() is one.parent()]
        assert not any(one.geometry().intersects(other.geometry()) for other in others), one.accessibleName()
