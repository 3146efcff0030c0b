"""The threshold wall: micrographs side by side, whose picks follow the thresholds."""

import numpy as np
from qtpy.QtCore import Qt

from napari_gempick.io.listing import find_micrographs
from napari_gempick.io.stack import write_mrc
from napari_gempick.widgets.state.walling import thumbnail


def test_a_small_picture_is_binned_and_keeps_its_place(data, tmp_path):
    """A bright corner of 2 x 2 bins is where it was; a NaN spoils nothing."""
    image = np.random.default_rng(0).normal(0, 0.1, (1030, 2060)).astype(np.float32)
    image[:200, 1800:] += 5
    image[500, 500] = np.nan
    write_mrc(tmp_path / "wide.mrc", image, 1.5)
    (file,) = find_micrographs([tmp_path / "wide.mrc"])
    made = thumbnail(file, None)
    assert made.ratio == 4 and made.grey.shape == (257, 515)
    assert made.grey[10:40, 460:].min() > 200 > 60 > made.grey[80:, :400].mean()


def test_the_wall_follows_the_slider_and_a_click_opens_a_micrograph(hand, searched_once, tmp_path, monkeypatch):
    hand.open_searched(searched_once, tmp_path / "session")
    controller, dock = hand.controller, hand.dock
    hand.click(dock.tune.wall)
    wall = dock.wall.widget
    hand.until(lambda: sorted(wall.pictures) == ["one", "two"] and len(wall.marks) == 2)
    assert {stem: len(marks) for stem, marks in wall.marks.items()} == {"one": 3, "two": 2}
    assert wall.words.text() == "2 searched micrographs", "fewer than six are all of them"
    for name in ("read_candidates", "read_micrograph"):
        monkeypatch.setattr(f"napari_gempick.widgets.state.loading.{name}", None)
    monkeypatch.setattr("napari_gempick.widgets.state.walling.read_micrograph", None)
    dock.tune.sliders["particle"].slider.setValue(0.99)
    hand.until(lambda: [len(marks) for marks in wall.marks.values()] == [0, 0])
    controller.undo()
    hand.until(lambda: len(wall.marks["one"]) == 3)
    x, y = controller.loaded.selection.picks.x[0], controller.loaded.selection.picks.y[0]
    controller.reject([(float(x), float(y))])
    hand.until(lambda: len(wall.marks["one"]) == 2)
    assert np.hypot(wall.marks["one"].x - x, wall.marks["one"].y - y).min() > 10
    monkeypatch.undo()
    place = wall.tiles.place(wall.stems.index("two"))
    hand.qtbot.mouseClick(wall.tiles, Qt.MouseButton.LeftButton, pos=place.center().toPoint())
    assert controller.stem == "two"
    hand.idle()
    wall.tiles.setFocus()
    hand.qtbot.keyClick(wall.tiles, Qt.Key.Key_Left)
    hand.qtbot.keyClick(wall.tiles, Qt.Key.Key_Right)
    wall.tiles.current = wall.stems.index("one")
    hand.qtbot.keyClick(wall.tiles, Qt.Key.Key_Return)
    assert controller.stem == "one"
    hand.idle()
    circle = wall.tiles.grab().toImage()
    colours = {circle.pixelColor(a, b).name() for a in range(circle.width()) for b in range(circle.height())}
    assert controller.colour("particle") in colours, "circles are drawn"
    controller.set_value("score", "learned")
    hand.idle()
    hand.until(lambda: len(wall.marks["one"]) == len(controller.choice))
    controller.set_value("score", None)
    hand.idle()

    wall.parentWidget().destroyOnClose()  # its x
    controller.set_threshold(None, 0.99)
    hand.idle()
    hand.click(dock.tune.wall)
    assert dock.wall.widget is wall
    hand.until(lambda: len(wall.marks["one"]) == 0)
    controller.reject_micrographs(["two"], True)
    hand.until(lambda: wall.stems == ["one"])


def test_wall_and_curate_share_their_place_and_keep_their_room(hand, searched_once, tmp_path):
    """Open together they are tabs: names stay whole, and the hidden one is up to date when it is seen again."""
    hand.open_searched(searched_once, tmp_path / "session")
    dock = hand.dock
    hand.click(dock.tune.wall)
    wall = dock.wall.widget
    hand.until(lambda: len(wall.marks) == 2)
    dock.micrographs.set_open(True)
    hand.click(dock.micrographs.curate)
    curate = dock.curate.widget
    hand.until(lambda: curate.table.topLevelItemCount() == 2 and wall.visibleRegion().isEmpty())
    assert not curate.visibleRegion().isEmpty()
    header, names = curate.table.header(), curate.table.fontMetrics().horizontalAdvance("a_name_of_a_micrograph")
    assert header.sectionSize(0) > names
    hand.controller.set_threshold(None, 0.99)
    hand.click(dock.tune.wall)
    hand.until(lambda: not wall.visibleRegion().isEmpty() and [len(marks) for marks in wall.marks.values()] == [0, 0])
    hand.idle()
