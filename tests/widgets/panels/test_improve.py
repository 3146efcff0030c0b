"""A template improved from its picks: the right picture, and back again."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication, QProgressDialog

from helpers import Blobs
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.errors import InputError
from napari_gempick.widgets.panels import improve as improve_panel
from napari_gempick.widgets.panels.improve import ImproveDialog
from napari_gempick.widgets.state import improving
from napari_gempick.widgets.state.improving import improve
from napari_gempick.widgets.state.threads import Background


@pytest.mark.parametrize("inverted", [False, True])
def test_the_average_is_the_particle(searched, tmp_path, inverted):
    """Five particles under noise average to the particle, at the angle and with the contrast of the template."""
    controller = searched.controller
    clean = Blobs.image((88, 88), 2.0, [(44, 44)])
    if inverted:
        write_mrc(tmp_path / "bright.mrc", -clean, 2.0)
        controller.change_view("particle", files=(str(tmp_path / "bright.mrc"),))
        controller.set_value("contrast", "opposite")
    known = controller.state, controller.results, controller.folder.path, controller.selections
    shares = []
    made = improve(*known, "particle", shares.append)
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1 and len(shares) > 6
    assert (made.particles, made.micrographs) == (5, 2) and made.after.shape == made.before.shape == (88, 88)
    y, x = np.mgrid[-44:44, -44:44]
    inside = np.hypot(y, x) < 30
    alike = np.corrcoef(clean[inside], made.after[inside])[0, 1]
    assert alike * (-1 if inverted else 1) > 0.93
    controller.set_threshold(None, 0.9)
    with pytest.raises(InputError, match="0 picks of particle, but a better template needs 5"):
        improve(controller.state, *known[1:], "particle")


def ask(hand):
    """Click on *Improve* of the only view; returns the dialog that appears."""
    hand.dock.templates.set_open(True)
    hand.click(hand.dock.templates.views["particle"].improve)
    hand.until(lambda: bool(hand.dock.window().findChildren(ImproveDialog)))
    (dialog,) = hand.dock.window().findChildren(ImproveDialog)
    assert dialog.isVisible()
    return dialog


def test_replaced_with_undo_and_searched_again(hand, searched_once, tmp_path, monkeypatch):
    """Two clicks from picks to new ones."""
    hand.open_searched(searched_once, tmp_path / "session")
    controller, searches = hand.controller, hand.dock.searches
    before = controller.state.views
    dialog = ask(hand)
    with monkeypatch.context() as patched:
        patched.setattr(searches._process, "ask", lambda **_: None)  # or else it may have ended before it is looked at
        searches.preview()
        assert not dialog.both.isEnabled() and "running" in dialog.both.toolTip()
        searches._heard({"event": "done", "run": searches.run.number})
    assert dialog.both.isEnabled()
    threads = []
    write = lambda *given: threads.append(threading.current_thread()) or write_mrc(*given)  # noqa: E731
    monkeypatch.setattr(improve_panel, "write_mrc", write)
    dialog.both.click()
    assert not dialog.both.isEnabled() and not dialog.replace.isEnabled()
    hand.until(lambda: searches.run is not None)
    assert threading.main_thread() not in threads, "a slow disk keeps nobody waiting"
    assert controller.state.views[0].files[0].endswith("particle_improved.mrc")
    assert "part 3 shows" in hand.notified[-1][1]
    assert controller.state.views[0].mask == before[0].mask and hand.dock.searches.run is not None
    hand.dock.searches.cancel()
    hand.idle()
    controller.undo()
    assert controller.state.views == before
    QApplication.processEvents()


def test_the_dialog_ends_with_the_dock(hand, searched_once, tmp_path):
    hand.open_searched(searched_once, tmp_path / "session")
    dialog = ask(hand)
    gone = []
    dialog.destroyed.connect(lambda: gone.append(True))
    hand.dock.shut()
    hand.until(lambda: bool(gone))


def test_an_average_that_comes_after_its_view_was_removed_is_not_shown(hand, searched_once, tmp_path):
    hand.open_searched(searched_once, tmp_path / "session")
    hand.dock.templates.set_open(True)
    row, window = hand.dock.templates.views["particle"], hand.dock.window()
    hand.click(row.improve)
    hand.controller.remove_view("particle")
    hand.idle()
    assert not window.findChildren(ImproveDialog)


def test_an_average_is_cancelled(hand, searched_once, tmp_path):
    hand.open_searched(searched_once, tmp_path / "session")
    hand.dock.templates.set_open(True)
    row, window = hand.dock.templates.views["particle"], hand.dock.window()
    hand.click(row.improve)
    (bar,) = window.findChildren(QProgressDialog)
    bar.canceled.emit()
    hand.idle()
    hand.until(lambda: not window.findChildren(QProgressDialog))
    assert not window.findChildren(ImproveDialog)
    hand.controller.set_value("ctf", str(tmp_path / "ctf.star"))
    assert not row.improve.isVisible(), "an average contains the CTF already"


def test_what_cannot_be_averaged_is_reported(searched, monkeypatch):
    """Micrographs of other pixel sizes, and one whose candidates are damaged."""
    controller = searched.controller
    known = controller.state, controller.results, controller.folder.path, controller.selections
    picks = list(improving.picks_by_micrograph(*known[:3], controller.state.files, controller.selections))
    with monkeypatch.context() as patched:
        mixed = [picks[0], replace(picks[1], pixel_size=2.5)]
        patched.setattr(improving, "picks_by_micrograph", lambda *_: mixed)
        with pytest.raises(InputError, match=r"pixel sizes from 2 to 2\.5 Å"):
            improve(*known, "particle")
        patched.setattr(improving, "picks_by_micrograph", lambda *_: [*picks, "three.h5 is damaged."])
        assert improve(*known, "particle").problems == ("three.h5 is damaged.",)
        patched.setattr(improving, "picks_by_micrograph", lambda *_: [picks[0], "two.h5 is damaged."])
        with pytest.raises(InputError, match=r"3 picks of particle.*two\.h5 is damaged"):
            improve(*known, "particle")


def test_work_with_progress_ends_when_the_window_closes():
    said, begun = [], threading.Event()
    background = Background(lambda call: call(), said.append)

    def work():
        begun.set()
        while True:
            background.stop_if_closed(0.5)

    background.do(work)
    assert begun.wait(10)
    background.close()
    assert not said and not background.busy
