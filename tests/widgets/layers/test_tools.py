"""Picks corrected with the mouse, whichever layer is selected."""

import numpy as np
from qtpy.QtCore import Qt


def test_add_erase_and_lasso(hand, searched_once, tmp_path, planted, monkeypatch):
    hand.open_searched(searched_once, tmp_path / "session")
    controller, tools, bar, viewer = hand.controller, hand.dock.tools, hand.dock.tool_bar, hand.viewer
    viewer.reset_view()
    viewer.layers.selection.active = viewer.layers["Micrograph"]
    found = len(controller.choice)
    first, second, third = planted["one"]

    hand.click(bar.buttons["add"])
    assert viewer.layers["Micrograph"].cursor == "circle"
    hand.stroke((20.0, 190.0))
    (added,) = controller.edits().added
    assert np.hypot(added.x - 20, added.y - 190) < 2 and len(controller.choice) == found + 1
    hand.stroke((20.0, 120.0), (60.0, 120.0), (90.0, 140.0))
    assert len(controller.edits().added) == 1, "a drag moves the picture"
    viewer.reset_view()

    hand.qtbot.keyClick(hand.dock.tune.gallery, Qt.Key.Key_E)
    assert bar.buttons["erase"].isChecked() and not viewer.camera.mouse_pan
    centre = tuple(viewer.camera.center)
    hand.stroke(first, ((first[0] + second[0]) / 2, 65.0), second)
    assert len(controller.choice) == found - 1 and len(controller.edits().rejected) == 2
    assert tuple(viewer.camera.center) == centre
    controller.undo()
    assert len(controller.choice) == found + 1, "a stroke is one step"

    hand.click(bar.buttons["lasso"])
    x, y = third
    made, drawn, forget = [], [], tools.line.forget
    viewer.layers.events.inserted.connect(made.append)

    def seen():
        if tools.line.points:
            drawn.append((tools.line.parentWidget(), tools.line.isVisible(), len(tools.line.points)))
        forget()

    monkeypatch.setattr(tools.line, "forget", seen)
    hand.stroke((x - 40, y - 40), (x + 40, y - 40), (x + 40, y + 40), (x - 40, y + 40), (x - 40, y - 30))
    assert drawn == [(hand.canvas(), True, 5)] and not made, "a line, and no layer: napari takes its time for one"
    assert len(controller.choice) == found and not tools.line.isVisible()
    assert np.hypot(*np.subtract(controller.edits().rejected[0], third)) < 3

    viewer.layers.selection.active = viewer.layers["NCC"]
    assert not viewer.camera.mouse_pan
    hand.stroke((x - 80, y - 20), (x - 60, y - 20), (x - 60, y + 20), (x - 80, y + 20), (x - 80, y - 10))
    assert tuple(viewer.camera.center) == centre, "a second stroke does not pan either"

    hand.click(bar.buttons["pan"])
    hand.stroke((30.0, 30.0), (60.0, 60.0), (80.0, 80.0))
    assert len(controller.choice) == found and tuple(viewer.camera.center) != centre and viewer.camera.mouse_pan
    assert not viewer.layers["Micrograph"].editable and tools.tool == "pan"


def test_no_tool_acts_while_a_mask_is_drawn_or_another_layer_paints(hand, searched_once, tmp_path, planted):
    hand.open_searched(searched_once, tmp_path / "session")
    controller, tools, viewer = hand.controller, hand.dock.tools, hand.viewer
    viewer.reset_view()
    labels = viewer.add_labels(np.zeros((220, 240), np.uint8), scale=(2.0, 2.0), units=("angstrom", "angstrom"))
    hand.click(hand.dock.tool_bar.buttons["erase"])
    labels.mode = "paint"
    hand.stroke(planted["one"][0], planted["one"][1])
    assert not controller.edits().rejected and np.asarray(labels.data).any()
    row = hand.dock.templates.views["particle"]
    hand.until(lambda: getattr(row, "made", None) is not None)
    hand.dock.drawing.start("particle", row.made)
    assert tools.tool == "pan" and not viewer.camera.mouse_pan
    hand.dock.drawing.cancel()
    viewer.layers.remove(labels)
