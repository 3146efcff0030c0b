"""Picks corrected with the mouse, whichever layer is selected."""

import numpy as np
from qtpy.QtCore import Qt


def test_add_erase_and_lasso(hand, searched_once, tmp_path, planted):
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
    hand.stroke((x - 40, y - 40), (x + 40, y - 40), (x + 40, y + 40), (x - 40, y + 40), (x - 40, y - 30))
    assert len(controller.choice) == found and "Lasso" not in viewer.layers
    assert np.hypot(*np.subtract(controller.edits().rejected[0], third)) < 3

    hand.click(bar.buttons["pan"])
    hand.stroke((30.0, 30.0), (60.0, 60.0), (80.0, 80.0))
    assert len(controller.choice) == found and tuple(viewer.camera.center) != centre and viewer.camera.mouse_pan
    assert not viewer.layers["Micrograph"].editable and tools.tool == "pan"
