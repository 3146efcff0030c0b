"""A template improved from its picks: the right picture, and back again."""

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from helpers import Blobs
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.errors import InputError
from napari_gempick.widgets.panels.improve import ImproveDialog
from napari_gempick.widgets.state.improving import improve


@pytest.mark.parametrize("inverted", [False, True])
def test_the_average_is_the_particle(searched, tmp_path, inverted):
    """Five particles under noise average to the particle, at the angle and with the contrast of the template."""
    controller = searched.controller
    clean = Blobs.image((88, 88), 2.0, [(44, 44)])
    if inverted:
        write_mrc(tmp_path / "bright.mrc", -clean, 2.0)
        controller.change_view("particle", files=(str(tmp_path / "bright.mrc"),))
        controller.set_value("contrast", "opposite")
    known = controller.state, controller.results, controller.folder.path, controller.boards
    made = improve(*known, "particle")
    assert (made.particles, made.micrographs) == (5, 2) and made.after.shape == made.before.shape == (88, 88)
    y, x = np.mgrid[-44:44, -44:44]
    inside = np.hypot(y, x) < 30
    alike = np.corrcoef(clean[inside], made.after[inside])[0, 1]
    assert alike * (-1 if inverted else 1) > 0.93
    controller.set_threshold(None, 0.9)
    with pytest.raises(InputError, match="too few"):
        improve(controller.state, *known[1:], "particle")


def test_replaced_with_undo_and_searched_again(hand, searched_once, tmp_path):
    """Two clicks from picks to new ones."""
    hand.open_searched(searched_once, tmp_path / "session")
    controller = hand.controller
    hand.dock.templates.set_open(True)
    row = hand.dock.templates.views["particle"]
    before = controller.state.views
    hand.click(row.improve)
    hand.until(lambda: bool(row.window().findChildren(ImproveDialog)))
    (dialog,) = row.window().findChildren(ImproveDialog)
    assert dialog.isVisible()
    dialog.both.click()
    assert controller.state.views[0].files[0].endswith("particle_improved_1.mrc")
    assert controller.state.views[0].mask == before[0].mask and hand.dock.searches.run is not None
    hand.dock.searches.cancel()
    hand.idle()
    controller.undo()
    assert controller.state.views == before
    QApplication.processEvents()


def test_an_average_that_comes_after_its_view_was_removed_is_not_shown(hand, searched_once, tmp_path):
    hand.open_searched(searched_once, tmp_path / "session")
    hand.dock.templates.set_open(True)
    row, window = hand.dock.templates.views["particle"], hand.dock.window()
    hand.click(row.improve)
    hand.controller.remove_view("particle")
    hand.idle()
    assert not window.findChildren(ImproveDialog)
