"""The folder of a session: left and opened again, of one window, made by the command line or by others."""

import json
import shlex

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QMessageBox

from napari_gempick.cli import main
from napari_gempick.io.stack import write_mrc
from napari_gempick.io.star import write_tables
from napari_gempick.widgets.app.dock import open_dock
from napari_gempick.widgets.panels.search import command_line, inputs_of
from napari_gempick.workflows.retune import retune


def test_close_and_reopen_restores_everything(searched, make_session):
    controller = searched.controller
    controller.go(controller.current + 1)
    searched.idle()
    controller.set_threshold(None, 0.35)
    controller.add_pick(33.0, 44.0)
    searched.idle()
    state, folder, counts = controller.state, controller.folder.path, dict(searched.counter.counts)
    searched.close()
    again = make_session()
    try:
        assert again.controller.open_folder(folder)
        again.wait(lambda: again.controller.choice is not None)
        again.idle()
        assert again.controller.state == state
        assert again.controller.stem == "two"
        assert again.counter.counts == counts
        assert again.searches.state_of(again.controller.file)[0] == "done"
    finally:
        again.close()


def test_a_folder_belongs_to_one_window(searched, make_session):
    other = make_session()
    try:
        assert not other.controller.open_folder(searched.controller.folder.path)
        assert "open in another window" in other.notified[-1][1]
    finally:
        other.close()


def test_results_of_others_are_never_written_to(session, data, tmp_path):
    (data / "gempick").mkdir()
    (data / "gempick" / "session.json").write_text("mine")
    session.controller.add_micrographs([data / "one.mrc"])
    session.wait(lambda: session.controller.loaded is not None)
    assert session.controller.folder.path == data / "gempick_2"
    assert not session.controller.use_folder(data / "gempick")
    session.controller.open_folder(data / "gempick")
    assert "cannot be read" in session.notified[-1][1]
    assert (data / "gempick" / "session.json").read_text() == "mine"


def test_the_folder_is_one_of_results(searched):
    """What the command line makes of the session's folder is what the window shows."""
    controller = searched.controller
    controller.set_threshold(None, 0.3)
    searched.idle()
    run = retune(controller.folder.path, {"threshold": ["0.3"]})
    assert {row["name"]: row["picks"] for row in run["micrographs"]} == searched.counter.counts


def test_results_of_the_command_line_open(session, data, gempick_run):
    folder = gempick_run(data)
    assert session.controller.open_folder(folder)
    session.wait(lambda: session.controller.choice is not None)
    session.idle()
    run = json.loads((folder / "run.json").read_text())
    assert session.counter.counts == {row["name"]: row["picks"] for row in run["micrographs"]}
    assert session.searches.state_of(session.controller.file)[0] == "done"


@pytest.fixture
def gempick_run(tmp_path):
    def run(folder):
        command = ["pick", str(folder), "--templates", f"particle={tmp_path / 'particle.mrc'}", "--angle-step", "30"]
        result = CliRunner().invoke(main, [*command, "-o", str(tmp_path / "results")])
        assert result.exit_code == 0, result.output
        return tmp_path / "results"

    return run


def test_the_pixel_size_of_a_list_counts_in_the_window_too(session, data, tmp_path, make_session):
    image = np.asarray(mrcfile.read(data / "one.mrc"))
    write_mrc(tmp_path / "lists/mics/one.mrc", image, 1.0)
    write_mrc(tmp_path / "lists/mics/one_noDW.mrc", image, 1.0)
    rows = {"rlnMicrographName": ["mics/one.mrc"], "rlnMicrographPixelSize": ["2.0"]}
    write_tables(tmp_path / "lists/m.star", {"micrographs": rows})
    session.load(tmp_path / "lists/m.star", data.parent / "particle.mrc")
    controller = session.controller
    assert (controller.loaded.pixel_size, controller.loaded.pixel_size_source) == (2.0, "the STAR file")
    note = "gives a pixel size of 1 Å, but the STAR file gives 2 Å"
    session.wait(lambda: any(note in sentence for _, sentence in session.notified))
    session.searches.run_all()
    session.idle()
    row = controller.results["one"].row
    assert (row["pixel_size"], row["picks"]) == (2.0, 3) and note in row["notes"][0]
    text = command_line(
        controller.state.settings(), inputs_of(controller.state.files, controller.folder.path), tmp_path / "again"
    )
    assert CliRunner().invoke(main, shlex.split(text)[1:]).exit_code == 0
    again = json.loads((tmp_path / "again/run.json").read_text())["micrographs"][0]
    assert (again["pixel_size"], again["picks"]) == (2.0, 3)
    session.close()
    reopened = make_session()
    reopened.controller.open_folder(session.folder)
    reopened.wait(lambda: reopened.controller.loaded is not None)
    assert reopened.controller.loaded.pixel_size == 2.0
    reopened.controller.add_micrographs([tmp_path / "lists/mics"])
    reopened.wait(lambda: any("one_noDW.mrc" in sentence for _, sentence in reopened.notified))
    assert [file.output_stem for file in reopened.controller.state.files] == ["one"]
    reopened.close()


def test_same_names_in_two_folders(session, data, tmp_path):
    write_mrc(tmp_path / "other" / "one.mrc", np.random.default_rng(0).random((64, 64)).astype(np.float32), 2.0)
    session.controller.add_micrographs([data / "one.mrc"])
    session.wait(lambda: session.controller.loaded is not None)
    session.controller.add_micrographs([tmp_path / "other" / "one.mrc", data / "one.mrc"])
    session.wait(lambda: len(session.controller.state.files) == 2)
    assert [file.output_stem for file in session.controller.state.files] == ["one", "other/one"]


def test_an_earlier_session_is_asked_for_once(session, make_session, data):
    """Opening the same micrographs again continues the work on them, if the person wants that."""
    session.load(data, data.parent / "particle.mrc")
    session.controller.add_pick(30.0, 40.0)
    session.idle()
    state = session.controller.state
    session.close()
    assert session.folder == data / "gempick"
    asked = []
    for answer in (True, False):
        again = make_session()
        again.controller.continues = lambda folder, answer=answer: asked.append(folder) or answer
        again.controller.add_micrographs([data])
        again.wait(lambda again=again: again.controller.loaded is not None)
        again.idle()
        assert again.controller.folder.path == data / ("gempick" if answer else "gempick_2")
        found = again.controller.state
        assert (found.files, found.views) == (state.files, state.views if answer else ())
        assert len(again.controller.edits().added) == answer
        again.close()
    assert asked == [data / "gempick"] * 2


def test_the_window_may_be_closed_while_it_asks_for_an_earlier_session(viewer, qtbot, session, data):
    """Nothing goes wrong, and no folder is made for a window that is gone."""
    session.load(data, data.parent / "particle.mrc")
    session.idle()
    session.close()
    dock = open_dock(viewer)

    def close():
        boxes = [] if asked else [one for one in dock.findChildren(QMessageBox) if one.isVisible()]
        if not boxes:
            return
        asked.append(boxes[0].text())
        dock.shut()
        viewer.window.remove_dock_widget(dock)
        dock.deleteLater()

    asked = []
    timer = QTimer()
    timer.timeout.connect(close)
    timer.start(50)
    dock.open([data / "one.mrc"])
    qtbot.waitUntil(lambda: bool(asked), timeout=20_000)
    qtbot.wait(50)
    assert "earlier session" in asked[0] and not (data / "gempick_2").exists()


def test_micrographs_of_another_folder_begin_beside_themselves(searched, tmp_path):
    """After the list is emptied, results go beside the new micrographs, and those of before stay where they are."""
    controller = searched.controller
    image = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    write_mrc(tmp_path / "other" / "new.mrc", image, 2.0)
    before = controller.folder.path
    controller.remove_micrographs([0, 1])
    searched.idle()
    assert controller.loaded is None and controller.choice is None
    controller.add_micrographs([tmp_path / "other"])
    searched.wait(lambda: controller.loaded is not None)
    searched.idle()
    assert controller.folder.path == tmp_path / "other" / "gempick" and not controller.results
    assert (before / "candidates/one.star").exists()
    controller.undo()
    controller.undo()
    searched.wait(lambda: controller.stem == "one" and controller.loaded is not None)
    assert searched.searches.state_of(controller.file)[0] == "new"
