"""What the canvas shows of micrographs and masks, as a person goes through them."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QApplication, QPushButton

from napari_gempick.io.stack import read_stack, write_mrc
from napari_gempick.widgets.panels import export


def canvas_text(viewer):
    overlay = viewer.canvas.overlays["text"] if hasattr(viewer, "canvas") else viewer.text_overlay
    return overlay.text if overlay.visible else ""


def overlays(viewer):
    """What napari draws over the canvas, in old and new versions of it."""
    canvas = viewer.window._qt_viewer.canvas
    name = "_viewer_overlay_to_visual" if hasattr(canvas, "_viewer_overlay_to_visual") else "_overlay_to_visual"
    for made in getattr(canvas, name).values():
        yield from made


@pytest.fixture
def listed(hand, data, monkeypatch):
    """Two micrographs, one that is not an image, and a volume named itself; the folder has a class average too."""
    (data / "broken.mrc").write_bytes(b"not an image")
    write_mrc(data / "volume.mrc", np.zeros((4, 20, 20), np.float32), 2.0)
    write_mrc(data / "average.mrc", np.zeros((48, 48), np.float32), 2.0)
    hand.pick_files(monkeypatch, data)
    buttons = hand.dock.micrographs.findChildren(QPushButton)
    hand.click(next(button for button in buttons if button.text() == "Add folder..."))
    hand.until(lambda: len(hand.controller.state.files) == 3)
    said = " ".join(sentence for _, _, sentence in hand.dock.messages.kept)
    assert "like class averages are left out (average.mrc); use Add files to add them." in said
    hand.controller.add_micrographs([data / "volume.mrc"])
    hand.until(lambda: len(hand.controller.state.files) == 4 and hand.controller.loaded is not None)
    hand.idle()
    return hand


def test_what_cannot_be_read_is_not_the_image_before(listed, monkeypatch):
    hand, panel, viewer = listed, listed.dock.micrographs, listed.viewer
    names = [panel.list.topLevelItem(n).text(0) for n in range(4)]
    for name, words in (("one", ""), ("broken", "broken.mrc"), ("two", ""), ("volume", "4 sections")):
        item = panel.list.topLevelItem(names.index(name))
        hand.qtbot.mouseClick(
            panel.list.viewport(), Qt.MouseButton.LeftButton, pos=panel.list.visualItemRect(item).center()
        )
        hand.until(lambda name=name: hand.controller.loaded is not None and hand.controller.loaded.stem == name)
        shown = [layer for layer in viewer.layers if layer.visible]
        text = canvas_text(viewer).replace("\n", " ")
        assert bool(shown) == (not words) and (words in text if words else not text)
        assert item.text(1) == ("failed" if words else "not searched")
        assert words in item.toolTip(1)
    opened, folder = [], str(hand.controller.folder.path)
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    hand.dock.search.set_open(True)
    hand.click(hand.dock.search.folder)
    hand.qtbot.keyClick(hand.dock.search.folder, Qt.Key.Key_Enter)
    hand.qtbot.mouseClick(hand.dock.search.folder, Qt.MouseButton.RightButton)
    assert opened == [folder, folder]
    hand.dock.shut()
    assert not canvas_text(viewer), "nothing of ours is left"


def test_a_mask_is_drawn_and_given_up(listed, data):
    hand, controller, viewer = listed, listed.controller, listed.viewer
    controller.go(2)
    hand.until(lambda: controller.loaded is not None and controller.loaded.image is not None)
    controller.add_view("particle", [str(data.parent / "particle.mrc")])
    hand.idle()
    row, drawing = hand.dock.templates.views["particle"], hand.dock.drawing
    points = viewer.layers["Picks"]
    viewer.layers.selection.active, points.mode = points, "add"
    before = [layer for layer in viewer.layers if layer.visible], tuple(viewer.camera.center), viewer.camera.zoom

    def begin():
        row.mask.native.setCurrentIndex(row.mask.native.findText("draw a mask..."))
        assert drawing.view == "particle" and row.use.isVisible() and row.give_up.isVisible()
        return viewer.layers["Mask particle"]

    labels = begin()
    assert 100 < labels.data.sum() < 0.9 * labels.data.size, "the current mask is there to begin with"
    size = np.asarray(labels.extent.world)[1] - np.asarray(labels.extent.world)[0]
    canvas = viewer.canvas.size if hasattr(viewer, "canvas") else viewer._canvas_size
    assert 0.5 < float(np.max(size * viewer.camera.zoom / np.asarray(canvas))) < 1, "the template fills the canvas"

    def as_before():
        visible = [layer for layer in viewer.layers if layer.visible]
        assert (visible, tuple(viewer.camera.center), viewer.camera.zoom) == before
        assert viewer.layers.selection.active is points and points.mode == "add" and not row.use.isVisible()

    hand.click(row.give_up)
    as_before()
    assert controller.state.views[0].mask == "auto"
    viewer.layers.remove(begin())
    as_before()
    begin().data[40:44, 40:44] = 0
    hand.click(row.use)
    as_before()
    path = controller.state.views[0].mask
    assert path.endswith("particle.mrc") and not read_stack(path).data[0][40:44, 40:44].any()
    assert any("holes" in sentence for kind, sentence in hand.notified if kind == "warning")
    hand.idle()


@pytest.mark.errors_are_said
def test_a_drawing_stays_when_it_cannot_be_written(listed, data):
    hand, controller, viewer = listed, listed.controller, listed.viewer
    controller.add_view("particle", [str(data.parent / "particle.mrc")])
    hand.idle()
    row = hand.dock.templates.views["particle"]
    row.mask.native.setCurrentIndex(row.mask.native.findText("draw a mask..."))
    viewer.layers["Mask particle"].data = np.zeros((88, 88), np.uint8)
    shapes = viewer.add_shapes(
        [[20, 20], [20, 60], [60, 60], [60, 20]], scale=(2.0, 2.0), units=("angstrom", "angstrom")
    )
    viewer.layers.selection.active = shapes
    masks = controller.folder.path / "masks"
    masks.write_text("in the way")
    hand.click(row.use)
    assert "masks" in hand.notified[-1][1] and shapes in viewer.layers and hand.dock.drawing.view == "particle"
    masks.unlink()
    viewer.layers.selection.active = shapes
    hand.click(row.use)
    mask = read_stack(controller.state.views[0].mask).data[0]
    assert shapes not in viewer.layers and abs(mask.sum() - 41**2) < 90 and mask[30, 30]
    hand.idle()


def test_nothing_explains_itself(hand, searched_once, tmp_path, monkeypatch):
    """Without picks, averages and files say so, and no file is replaced unasked."""
    hand.open_searched(searched_once, tmp_path / "session")
    controller, part = hand.controller, hand.dock.export
    controller.set_threshold(None, 0.99)
    hand.until(lambda: "0 picks of 2" in part.plan.text())
    assert "Lower the thresholds" in part.plan.text()
    path = tmp_path / "session" / "one_autopick.star"
    before = path.read_bytes()
    asked = []
    monkeypatch.setattr(export, "agreed", lambda *words: bool(asked.append(words[2])))
    hand.click(part.all)
    hand.until(lambda: bool(asked))
    hand.idle()
    assert "no picks" in asked[0] and path.read_bytes() == before
    hand.choose(hand.dock.templates.add.menu(), "Average of picks")
    assert "no picks to average" in hand.notified[-1][1]


def test_the_scale_bar_is_in_angstroms_at_every_zoom(hand, data):
    """A length that a person reads at once, never in kÅ, and not longer than the room it has."""
    hand.controller.add_micrographs([data])
    hand.until(lambda: hand.controller.loaded is not None and "Micrograph" in hand.viewer.layers)
    QApplication.processEvents()
    camera = hand.viewer.scene.camera if hasattr(hand.viewer, "scene") else hand.viewer.camera
    bar = hand.viewer.canvas.overlays["scale_bar"] if hasattr(hand.viewer, "canvas") else hand.viewer.scale_bar
    seen = []
    for zoom, length in ((0.01, 500), (0.29, 500), (0.31, 200), (1.0, 100), (7.0, 20), (80.0, 1)):
        camera.zoom = zoom
        assert bar.length == length and bar.visible, zoom
        (node,) = (one.node for one in overlays(hand.viewer) if type(one).__name__ == "VispyScaleBarOverlay")
        seen.append(node.text.text)
    assert [text if isinstance(text, str) else text[0] for text in seen] == [
        "500 Å", "500 Å", "200 Å", "100 Å", "20 Å", "1 Å"
    ]  # fmt: skip
