"""Templates as a person adds, renames and averages them."""

import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication
from scipy.ndimage import binary_fill_holes
from scipy.spatial import ConvexHull

from napari_gempick.engine.templates.masks import outline
from napari_gempick.io.stack import write_mrc
from napari_gempick.widgets.layers import map_layers
from napari_gempick.widgets.panels.template_actions import projection_dialog
from napari_gempick.widgets.state.look import shades


@pytest.fixture
def started(hand, data):
    """The dock with a micrograph in its list."""
    hand.controller.add_micrographs([data / "one.mrc"])
    hand.until(lambda: hand.controller.loaded is not None)
    return hand


def test_two_files_at_once_and_a_view_renamed(started, data, monkeypatch):
    """Rows stay with their views: a picture that comes late finds its row, or is dropped."""
    hand, panel = started, started.dock.templates
    files = []
    for name in ("side_view", "top_view", "third_3.54A"):
        files.append(data.parent / f"{name}.mrc")
        files[-1].write_bytes((data.parent / "particle.mrc").read_bytes())
    hand.pick_files(monkeypatch, *files)
    hand.choose(panel.add.menu(), "Images or stacks")
    hand.idle()
    assert list(panel.views) == ["side", "top", "third_3.54A"]
    assert all(row.picture.pixmap() and not row.picture.pixmap().isNull() for row in panel.views.values())
    row = panel.views["top"]
    hand.controller.set_threshold("top", 0.31)
    hand.type(row.name.native, "end on")
    hand.idle()
    assert [view.name for view in hand.controller.state.views] == ["side", "end on", "third_3.54A"]
    assert panel.views["end on"] is row and row.name.native.text() == "end on"
    assert hand.controller.state.tune.threshold("end on") == 0.31
    assert hand.controller.state.tune.threshold("top") == 0.31, "what was searched as top is picked as before"
    hand.controller.remove_view("side")
    hand.controller.remove_view("third_3.54A")
    hand.controller.undo()
    hand.idle()
    assert list(panel.views) == ["end on", "third_3.54A"]
    assert [panel._box.indexOf(row) for row in panel.views.values()] == [0, 1]
    assert not [sentence for kind, sentence in hand.notified if kind == "error"]


@pytest.mark.errors_are_said
def test_names_that_cannot_be_and_shapes(started, data):
    for name in ("side", "top"):
        started.controller.add_view(name, [str(data.parent / "particle.mrc")])
    line = started.dock.templates.views["side"]
    for number, wrong in enumerate(("top", "a=b", "a/b", ".."), 1):
        started.type(line.name.native, wrong)
        assert [view.name for view in started.controller.state.views] == ["side", "top"]
        assert line.name.native.text() == "side"
        assert [kind for kind, _ in started.notified].count("error") == number
    started.idle()
    started.controller.set_value("diameter", 120.0)
    line.mask.native.setCurrentIndex(line.mask.native.findText("circle"))
    assert started.controller.state.views[0].mask == "circle:120", "the diameter that was typed"
    mask = data.parent / "outline.mrc"
    write_mrc(mask, np.ones((88, 88), np.float32), 2.0)
    started.controller.change_view("side", name="a long name of a side view of KLH", mask=str(mask))
    assert line.mask.native.currentText() == "mask: outline.mrc" and line.name.native.cursorPosition() == 0
    long = data.parent / "outline_of_the_side_view_of_somebody.mrc"
    mask.rename(long)
    started.controller.change_view("a long name of a side view of KLH", mask=str(long))
    text = line.mask.native.currentText()
    assert text.startswith("mask: ") and text.endswith(".mrc") and len(text) < 30, "or the row is wider than the dock"
    started.controller.undo()
    started.controller.undo()
    assert line.mask.native.currentText() == "circle" and line.mask.native.findText("mask file...") >= 0


def test_tab_goes_down_the_dock(hand, searched_once, tmp_path):
    """Rows of views and sliders, which are made later than what follows them, too."""
    hand.open_searched(searched_once, tmp_path / "session")
    dock, inside = hand.dock, hand.dock.scroll.widget()
    hand.controller.add_view("other", [hand.controller.state.views[0].files[0]])
    for part in dock.parts:
        part.set_open(True)
    hand.idle()
    stops, widget = [], inside.nextInFocusChain()
    while widget is not inside:
        reached = widget.isVisible() and widget.focusProxy() is None
        if reached and widget.focusPolicy() & Qt.FocusPolicy.TabFocus and inside.isAncestorOf(widget):
            stops.append(widget)
        widget = widget.nextInFocusChain()
    names = [stop.accessibleName() for stop in stops]
    assert names.count("Name of the view") == 2 and names.count("Threshold of particle") == 1
    middles = [stop.mapTo(inside, stop.rect().center()).y() for stop in stops]
    above = [(a, b) for a, b, y, below in zip(names[1:], names, middles[1:], middles, strict=False) if y < below - 12]
    assert len(stops) > 40 and not above


def test_a_mask_is_not_drawn_on_a_template_that_is_not_there_yet(started, data):
    started.controller.add_view("particle", [str(data.parent / "particle.mrc")])
    mask = started.dock.templates.views["particle"].mask.native
    mask.setCurrentIndex(mask.findText("draw a mask..."))
    assert "cannot be shown yet" in started.notified[-1][1] and mask.currentText() == "automatic mask"
    started.idle()


def test_an_average_has_the_circle_of_its_diameter(started, data, monkeypatch):
    hand = started
    for x, y in ((60.0, 70.0), (170.0, 60.0), (120.0, 160.0)):
        hand.controller.add_pick(x, y)
    monkeypatch.setattr(
        "napari_gempick.widgets.panels.templates.ask",
        lambda dialog: {"name": "clicked", "diameter": 100.0, "only": True},
    )
    hand.choose(hand.dock.templates.add.menu(), "Average of picks")
    hand.until(lambda: bool(hand.controller.state.views))
    (view,) = hand.controller.state.views
    assert (view.name, view.mask) == ("clicked", "circle:100")
    hand.controller.undo()
    assert not hand.controller.state.views, "one step"


def test_the_name_of_a_view_can_be_read_where_it_is_asked_for(started):
    dialog = projection_dialog(started.dock.templates, "/data/betagal_map_of_somebody_3.54A.mrc")
    started.qtbot.addWidget(dialog.native)
    dialog.native.show()
    QApplication.processEvents()
    line = dialog["name"].native
    assert line.width() > line.fontMetrics().horizontalAdvance("betagal_map_3.54A") + 10


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_automatic_masks_of_noisy_averages_have_no_notches(sigma):
    """A disc under noise: its mask is convex and without holes, and where noise drowns it, two thirds of the box."""
    y, x = np.mgrid[-48:48, -48:48]
    disc = (np.hypot(y, x) < 30).astype(np.float32)
    for seed in range(4):
        noise = np.random.default_rng(seed).standard_normal(disc.shape).astype(np.float32)
        mask = outline(disc + sigma * noise) > 0
        hull = ConvexHull(np.argwhere(mask)).volume
        assert mask[48, 48] and abs(2 * np.sqrt(mask.sum() / np.pi) - 64) < 12
        assert (binary_fill_holes(mask) == mask).all() and mask.sum() > 0.9 * hull


def test_layers_come_one_in_each_turn_of_the_event_loop(hand, searched_once, tmp_path, monkeypatch):
    """To make one takes napari a tenth of a second and more, and the window answers in between."""
    turn, made, colours, clock = [0], [], [], QTimer()
    clock.timeout.connect(lambda: turn.__setitem__(0, turn[0] + 1))
    inserted = hand.viewer.layers.events.inserted

    def note_layer(event):
        made.append((event.value.name, turn[0]))
        if event.value.name == "Index":
            event.value.events.colormap.connect(lambda _: colours.append(turn[0]))

    note = inserted.connect(note_layer)
    monkeypatch.setattr(map_layers, "shades", lambda *given: colours.append(turn[0]) or shades(*given))
    clock.start(0)
    hand.open_searched(searched_once, tmp_path / "session")
    hand.dock.templates.set_open(True)
    hand.click(hand.dock.templates.stacks)
    hand.until(lambda: len(made) == 6)
    inserted.disconnect(note)
    assert [name for name, _ in made] == [
        *("Micrograph", "Picks", "NCC", "Index", "particle masks", "particle templates")
    ]
    assert len({turn for _, turn in made}) == len(made)
    (calculated, shown), of = colours, dict(made)
    assert of["NCC"] < calculated < of["Index"] < shown, "colours are made and shown in turns of their own"
