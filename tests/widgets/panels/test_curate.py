"""Micrographs are told apart by their numbers, shown in a table and a plot, and rejected."""

import json

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QLineEdit

from napari_gempick.io.listing import find_micrographs
from napari_gempick.io.star import write_tables
from napari_gempick.widgets.panels.scatter import _ticks
from napari_gempick.widgets.panels.template_actions import average_dialog
from napari_gempick.widgets.state import loading
from napari_gempick.widgets.state.curating import read_ctf_values, spread
from napari_gempick.widgets.state.exporting import picks_by_micrograph


@pytest.mark.parametrize(
    ("values", "count", "expected"),
    [
        ({"a": 1.0, "b": 2.0}, 6, "ab"),
        ({"a": 3.0, "b": float("nan"), "c": 1.0}, 6, "ca"),
        ({name: float(n) for n, name in enumerate("abcdefghijk")}, 3, "afk"),
        ({"a": 0.0, "b": 0.1, "c": 0.2, "d": 9.0, "e": 10.0}, 3, "ade"),
        ({}, 3, ""),
    ],
)
def test_a_spread_takes_the_ends_and_what_lies_evenly_between(values, count, expected):
    assert "".join(spread(values, count)) == expected


@pytest.mark.parametrize("ends", [(0.8448, 0.8452), (0.0, 1.0), (767.0, 851.0), (-0.31, 0.01)])
def test_numbers_along_an_axis_differ(ends):
    values, words = zip(*_ticks(*ends), strict=True)
    assert len(set(words)) == 3 and (values[0], values[-1]) == ends and max(map(len, words)) <= 6


def star_of(files, path):
    rows = {
        "rlnMicrographName": [str(file) for file in files],
        "rlnDefocusU": ["21000.0", "9000.0"],
        "rlnDefocusV": ["19000.0", "11000.0"],
        "rlnCtfMaxResolution": ["3.5", "7.25"],
    }
    write_tables(path, {"micrographs": rows})
    return path


def test_defocus_and_fit_come_from_a_star_file(data, tmp_path):
    files = find_micrographs([data])
    found = read_ctf_values(star_of([data / "one.mrc", data / "two.mrc"], tmp_path / "ctf.star"), files)
    assert found == {"one": (2.0, 3.5), "two": (1.0, 7.25)}


def test_curate_opens_again_after_it_was_closed_by_its_x(hand):
    dock = hand.dock
    dock.curate.show()
    first = dock.curate.widget
    first.parentWidget().destroyOnClose()
    dock.curate.show()
    assert dock.curate.widget is first and first.parentWidget() is not None
    first.parentWidget().destroyOnClose()
    dock.shut()
    assert dock.controller.background.closed


def test_numbers_are_shown_when_they_are_seen(hand, searched_once, tmp_path, monkeypatch):
    """A hidden table costs nothing; defocus is read once for a file and a list, and the axis stays as it was chosen."""
    hand.open_searched(searched_once, tmp_path / "session")
    controller, dock, read = hand.controller, hand.dock, []
    star = star_of([file.path for file in controller.state.files], tmp_path / "ctf.star")
    monkeypatch.setattr(
        "napari_gempick.widgets.state.curating.read_ctf_values",
        lambda path, files: read.append(path) or read_ctf_values(path, files),
    )
    dock.curate.show()
    window = dock.curate.widget
    window.x.native.setCurrentIndex(window.x.native.findText("Best score"))
    controller.set_value("ctf", str(star))
    hand.until(lambda: window._items["one"].text(6) == "2.00")
    controller.set_threshold(None, 0.99)
    hand.idle()
    hand.until(lambda: window._items["one"].text(2) == "0")
    dock.ctf.read_star(star)
    hand.idle()
    assert read == [star, star] and window.x.value == "best"
    window.parentWidget().hide()
    before = dict(window._numbers)
    controller.set_threshold(None, 0.4)
    hand.idle()
    hand.qtbot.wait(200)
    assert window._numbers == before and dock.counter.counts["one"] == 3
    dock.curate.show()
    assert window._items["one"].text(2) == "3"


def test_false_picks_follow_the_thresholds(hand, searched_once, tmp_path, monkeypatch):
    """The table says what the figure beside the slider says, of all micrographs, and reads no file for it."""
    hand.open_searched(searched_once, tmp_path / "session")
    controller, dock = hand.controller, hand.dock
    hand.click(dock.micrographs.curate)
    window, said, read = dock.curate.widget, [], []
    monkeypatch.setattr(loading, "read_candidates", lambda path: read.append(path))
    for text in ("0.4", "0.14", "1"):
        hand.type(dock.tune.sliders["particle"].slider.findChild(QLineEdit), text)
        hand.idle()
        said.append({})
        for number, stem in enumerate(("one", "two")):
            controller.go(number)
            hand.until(lambda: controller.is_shown and controller.choice is not None)
            hand.idle()
            share = dock.tune._estimates.false_share()
            said[-1][stem] = "" if share is None else f"{100 * share:.1f}"
            hand.until(lambda stem=stem: window._items[stem].text(5) == said[-1][stem])
            assert share is None or share < 0.01 or dock.tune.false.text() == f"about {100 * share:.0f} % false"
    assert said[2] == {"one": "", "two": ""} and all(float(share) > 5 for share in said[1].values())
    assert not read


def test_nothing_is_searched_or_written_while_all_are_rejected(hand, searched_once, tmp_path):
    hand.open_searched(searched_once, tmp_path / "session")
    hand.controller.reject_micrographs(["one", "two"], True)
    hand.dock.searches.run_all()
    assert "rejected" in hand.notified[-1][1] and hand.dock.searches.run is None
    assert "are rejected" in hand.dock.export.plan.text() and not hand.dock.export.all.isEnabled()


def test_a_micrograph_is_rejected_in_the_table_and_found_in_the_plot(hand, searched_once, tmp_path):
    hand.open_searched(searched_once, tmp_path / "session")
    controller = hand.controller
    hand.click(hand.dock.micrographs.curate)
    window = hand.dock.curate.widget
    assert window.isVisible()
    hand.idle()
    hand.until(lambda: window._items["two"].text(2) == "2")
    line = [window._items["one"].text(column) for column in range(2, 6)]
    scores = controller.loaded.selection.picks.score[: len(controller.choice.shown)][controller.choice.shown]
    assert line[:3] == ["3", f"{scores.mean():.2f}", f"{scores.max():.2f}"]
    files = [file.path for file in controller.state.files]
    hand.dock.ctf.read_star(star_of(files, tmp_path / "ctf.star"))
    hand.until(lambda: window._items["one"].text(6) == "2.00" and window._items["two"].text(7) == "7.2")
    x, y = window.plot.place(1.0, 2.0).x(), window.plot.place(1.0, 2.0).y()
    hand.qtbot.mouseClick(window.plot, Qt.MouseButton.LeftButton, pos=QPoint(round(x), round(y)))
    assert controller.stem == "two" and window._selected() == ["two"], "a click on a point goes there"
    hand.idle()
    hand.qtbot.mouseClick(window.drop, Qt.MouseButton.LeftButton)
    assert controller.state.rejected == {"two"}
    hand.idle()
    hand.until(lambda: window._items["two"].text(1) == "rejected")
    assert hand.dock.micrographs._items["two"].text(1) == "rejected"
    assert "3 picks of 1 micrograph" in hand.dock.export.plan.text() and "1 rejected" in hand.dock.export.plan.text()
    known = controller.results, controller.folder.path, controller.state.files, controller.selections
    assert [one.file.stem for one in picks_by_micrograph(controller.state, *known)] == ["one"]
    controller.save_now()
    saved = json.loads((tmp_path / "session" / "session.json").read_text())
    assert saved["state"]["rejected"] == ["two"]
    window.high.native.setValue(2.5)
    assert window.shown() == ["two"]
    controller.undo()
    assert not controller.state.rejected
    assert np.isnan(window._numbers["one"].values["excluded"]) or window._numbers["one"].values["excluded"] == 0


@pytest.mark.parametrize(("by_hand", "seen", "asked"), [(3, 3, False), (0, 5, False), (3, 5, True)])
def test_only_a_choice_is_asked_about(qapp, by_hand, seen, asked):
    assert ("only" in average_dialog(None, 100.0, by_hand=by_hand, seen=seen).asdict()) == asked
