"""Searching, correcting, exporting, and coming back: without a window."""

import shlex
import threading
import time

import numpy as np
import pytest
from click.testing import CliRunner

from helpers import Blobs
from napari_gempick.cli import main
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.stack import write_mrc
from napari_gempick.results.run_file import read_run, run_notes
from napari_gempick.widgets.background.fdr_estimator import FdrEstimator
from napari_gempick.widgets.panels.search import command_line
from napari_gempick.widgets.panels.template_actions import average_picks, project
from napari_gempick.widgets.state import candidate_selection
from napari_gempick.widgets.state.exporting import chosen_picks, export_picks


def found(session):
    selection = session.controller.loaded.selection
    picks = selection.result(session.controller.choice)
    return picks


def test_finds_the_planted_particles(searched, planted):
    for name, centres in planted.items():
        searched.wait(lambda name=name: searched.controller.loaded.stem == name)
        picks = found(searched)
        assert sorted(zip(picks.x.round(-1), picks.y.round(-1), strict=True)) == sorted(
            (round(x, -1), round(y, -1)) for x, y in centres
        )
        assert searched.counter.counts[name] == len(centres)
        searched.controller.go(searched.controller.current + 1)
    assert not [sentence for kind, sentence in searched.notified if kind == "error"]


def test_thresholds_never_search_again(searched):
    controller, runs = searched.controller, searched.searches._number
    controller.set_threshold(None, 0.2)
    many = len(controller.choice)
    controller.set_threshold("particle", 0.99)
    assert many > len(controller.choice) == 0
    controller.undo()
    assert len(controller.choice) == many
    assert searched.searches._number == runs


def test_one_micrograph_has_thresholds_of_its_own(searched):
    controller = searched.controller
    controller.set_scope(True)
    controller.set_threshold("particle", 0.99)
    searched.idle()
    assert searched.counter.counts == {"one": 0, "two": 2}
    controller.set_scope(False)
    searched.idle()
    assert searched.counter.counts == {"one": 3, "two": 2}


def test_corrections_survive_sliders_and_another_search(searched):
    controller = searched.controller
    first = found(searched)
    controller.reject([(float(first.x[0]), float(first.y[0]))])
    controller.add_pick(20.0, 30.0)
    added = controller.edits().added[0]
    assert added.view == "particle" and -1 <= added.score <= 1 and added.psi % 30 == 0

    def check():
        now = found(searched)
        apart = np.hypot(now.x - first.x[0], now.y - first.y[0])
        assert apart.min() > controller.loaded.selection.same
        assert (20.0, 30.0) in set(zip(now.x.tolist(), now.y.tolist(), strict=True))

    for threshold in (0.1, 0.9, 0.4):
        controller.set_threshold(None, threshold)
        check()
    controller.set_value("angle_step", 45.0)
    assert searched.searches.state_of(controller.file)[0] == "changed"
    searched.searches.run_this()
    searched.idle()
    assert searched.searches.state_of(controller.file)[0] == "done"
    check()
    while controller.history.undoable:
        controller.undo()
    assert controller.edits().added == () and "angle_step" in controller.state.values
    while controller.history.redoable:
        controller.redo()
    searched.wait(lambda: controller.choice is not None)
    check()


def test_moving_a_pick_is_one_step(searched):
    controller = searched.controller
    first = found(searched)
    old = float(first.x[0]), float(first.y[0])
    controller.move_pick(old, (200.0, 200.0))
    now = set(zip(found(searched).x.tolist(), found(searched).y.tolist(), strict=True))
    assert (200.0, 200.0) in now and old not in now
    controller.undo()
    assert old in set(zip(found(searched).x.tolist(), found(searched).y.tolist(), strict=True))


def test_exported_is_what_is_seen(searched, tmp_path):
    controller = searched.controller
    first = found(searched)
    controller.reject([(float(first.x[1]), float(first.y[1]))])
    controller.add_pick(25.0, 35.0)
    seen = found(searched)
    state, folder = controller.state, controller.folder.path
    chosen, problems = chosen_picks(state, controller.results, folder, state.files, controller.selections)
    files = export_picks(tmp_path / "out", chosen, ["star", "csv"]).paths
    assert not problems and {file.name for file in files} >= {"one_autopick.star", "two_autopick.star", "autopick.star"}
    for name in ("one_autopick.star", "one.csv"):
        written = read_coordinates(tmp_path / "out" / name).picks
        np.testing.assert_allclose(written.x, seen.x, atol=1e-3)
        np.testing.assert_allclose(written.y, seen.y, atol=1e-3)
        np.testing.assert_allclose(written.score, seen.score, rtol=1e-4, equal_nan=True)


def test_a_diameter_typed_after_the_search_moves_the_border_that_is_seen(searched):
    """What is shown and counted is what is exported."""
    controller = searched.controller
    controller.set_value("diameter", 250.0)  # a border of 62.5 px: one planted particle of five lies within
    searched.wait(lambda: controller.choice is not None)
    searched.idle()
    state = controller.state
    chosen, _ = chosen_picks(state, controller.results, controller.folder.path, state.files, controller.selections)
    counts = {one.file.output_stem: len(one.picks) for one in chosen}
    assert searched.counter.counts == counts == {"one": 0, "two": 1}
    assert len(controller.choice) == 0


def test_cancel_keeps_what_is_done(session, data):
    session.load(data, data.parent / "particle.mrc", angle_step=0.2)
    session.searches.run_all()
    session.wait(lambda: session.searches.progress > 0)
    session.searches.cancel()
    session.wait(lambda: session.searches.run is None, seconds=5)
    assert session.searches.state_of(session.controller.file)[0] == "new"
    session.controller.set_value("angle_step", 30.0)
    session.searches.run_this()
    session.idle()
    assert session.counter.counts == {"one": 3}


def test_neighbours_are_found_off_the_windows_thread(searched, monkeypatch):
    """When other candidates are shown: of another border, of another micrograph, with another score."""
    controller, threads = searched.controller, []

    class Noted(candidate_selection.Thinner):
        def __init__(self, *given):
            threads.append(threading.current_thread())
            super().__init__(*given)

    monkeypatch.setattr(candidate_selection, "Thinner", Noted)
    controller.set_value("diameter", 150.0)
    searched.idle()
    controller.go(1)
    searched.idle()
    controller.set_teach(True)
    searched.idle()
    assert len(threads) >= 3 and threading.main_thread() not in threads


def test_progress_is_told_a_few_times_a_second(session, data, monkeypatch):
    """To draw it takes longer than to search with a template."""
    session.load(data, data.parent / "particle.mrc", angle_step=0.2)
    searches, told, now = session.searches, [], [100.0]
    searches.run_all()
    searches.changed.connect(lambda: told.append((searches.finished, searches.share)))
    with monkeypatch.context() as clock:
        clock.setattr(time, "monotonic", lambda: now[0])
        for finished in (0, 1):
            for step in range(100):
                event = {"event": "progress", "run": searches.run.number, "finished": finished, "share": step / 100}
                searches._heard(event)
                now[0] += 0.01
    shares = [0.0, 0.25, 0.5, 0.75]
    assert [finished for finished, _ in told] == [0] * 4 + [1] * 4
    assert [share for _, share in told] == pytest.approx(2 * shares, abs=0.03)
    assert searches.progress == pytest.approx(0.995), "it is known at any moment"
    searches.cancel()
    session.wait(lambda: searches.run is None)


def test_wrong_settings_are_one_sentence(session, data):
    session.load(data, data.parent / "particle.mrc", lowpass=20.0, highpass=10.0)
    session.searches.run_this()
    assert session.searches.run is None
    assert [kind for kind, _ in session.notified] == ["error"]
    assert "highpass" in session.notified[0][1]


def test_an_error_of_the_engine_is_its_sentence(session, data):
    session.load(data, data.parent / "particle.mrc")
    session.controller.change_view("particle", mask="circle:9000")
    session.searches.run_this()
    session.wait(lambda: session.searches.run is None)
    assert [kind for kind, _ in session.notified] == ["error"]
    assert "larger than the template" in session.notified[0][1]


def test_command_line_repeats_the_search(session, data, tmp_path):
    """What the window exports is what the copied command writes, byte for byte, with everything set."""
    defocus = "20000 20000 0 1.5 0.1"
    rows = "\n".join(f"{stem}.mrc {defocus} 300 2.7" for stem in ("one", "two"))
    labels = "MicrographName DefocusU DefocusV DefocusAngle CtfBfactor AmplitudeContrast Voltage SphericalAberration"
    names = "\n".join(f"_rln{label}" for label in labels.split())
    (tmp_path / "ctf.star").write_text(f"data_\n\nloop_\n{names}\n{rows}\n", encoding="utf-8")
    more = {
        **{"averaging": 2, "highpass": 400.0, "hot_pixels": 8.0, "gradient": "plane", "whiten": True},
        **{"ctf": str(tmp_path / "ctf.star"), "ctf_step": 100.0, "phase_flipped": "bright", "candidate_floor": -0.1},
        **{"angle_range": 180.0, "in_plane_symmetry": ["particle=2"], "grid": "3/2", "lowpass": 9.0, "mask_edge": 8.0},
    }
    session.load(data, data.parent / "particle.mrc", **more)
    controller = session.controller
    session.searches.run_all()
    session.idle()
    controller.set_value("exclude", "auto")  # after the search: the window finds the masks itself
    controller.set_threshold(None, 0.05)
    controller.set_tune(min_distance=20.0, local_mean="-3,3", local_sigma=",9", power="0,8", max_picks=15, border=9.0)
    session.idle()
    state, folder = controller.state, controller.folder.path
    text = command_line(state.settings(), [file.path for file in state.files], tmp_path / "again")
    result = CliRunner().invoke(main, shlex.split(text)[1:])
    assert result.exit_code == 0, result.output
    chosen, problems = chosen_picks(state, controller.results, folder, state.files, controller.selections)
    export_picks(folder, chosen, ["star"], overwrite=True)
    assert not problems and not [sentence for kind, sentence in session.notified if kind == "error"]
    for stem, count in session.counter.counts.items():
        assert 0 < count <= 15
        for name in (f"candidates/{stem}.star", f"{stem}_autopick.star", f"excluded/{stem}.mrc.gz"):
            assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_no_threads_or_processes_are_left(data, make_session):
    before = set(threading.enumerate())
    session = make_session()
    session.load(data, data.parent / "particle.mrc", angle_step=1.0)
    session.searches.run_all()
    session.wait(lambda: session.searches.progress > 0)
    process = session.searches._process._process
    session.close()
    assert process.poll() is not None
    assert {t for t in threading.enumerate() if t.is_alive()} <= before


def test_estimated_false_share_and_automatic_thresholds(searched):
    estimates = FdrEstimator(searched.controller)
    searched.controller.set_threshold(None, 0.1)
    searched.wait(lambda: estimates.false_share() is not None)
    low = estimates.false_share()
    searched.controller.set_threshold(None, 0.6)
    assert estimates.false_share() < low
    estimates.choose_thresholds()
    searched.wait(
        lambda: bool(searched.controller.tune().thresholds) and searched.controller.tune().threshold("particle") != 0.6
    )
    searched.idle()
    assert len(searched.controller.choice) == 3, "three particles stand clear of the noise"


def test_templates_from_a_map_and_from_picks(searched, tmp_path):
    controller = searched.controller
    z, y, x = np.mgrid[-16:16, -16:16, -16:16]
    write_mrc(tmp_path / "map.mrc", (np.hypot(np.hypot(x, 2 * y), z) < 10).astype(np.float32), 2.0)
    project(controller, tmp_path / "map.mrc", "ball", "C2", 60.0)
    searched.wait(lambda: len(controller.state.views) == 2)
    average_picks(controller, "mean", 120.0, only_by_hand=False)
    searched.wait(lambda: len(controller.state.views) == 3)
    assert [view.name for view in controller.state.views] == ["particle", "ball", "mean"]
    assert controller.state.views[1].mask.endswith("ball_mask.mrcs") and controller.state.views[2].mask == "circle:120"
    searched.searches.run_this()
    searched.idle()
    assert controller.view_names() == ("particle", "ball", "mean")


def test_maps_of_a_view_alone_are_read_on_demand(session, data):
    session.load(data / "one.mrc", data.parent / "particle.mrc", per_view_maps=True, angle_step=90.0)
    controller = session.controller
    write_mrc(data.parent / "small.mrc", Blobs.image((60, 60), 2.0, [(30, 30)]), 2.0)
    controller.add_view("small", [str(data.parent / "small.mrc")])
    session.searches.run_this()
    session.idle()
    assert set(controller.loaded.maps) == {""} and controller.loaded.map_views == ("particle", "small")
    scores, k = {}, {}
    for view in ("particle", "small"):
        controller.show_map_of(view)
        session.wait(lambda view=view: view in controller.loaded.maps)
        assert set(controller.loaded.maps) == {"", view}  # one at a time in memory
        scores[view], k[view] = controller.loaded.maps[view].score, controller.loaded.maps[view].labels
    both = controller.loaded.maps[""]
    np.testing.assert_array_equal(np.fmax(scores["particle"], scores["small"]), both.score)
    assert set(np.unique(k["small"])) <= {0, 5, 6, 7, 8}


def test_preview_finds_the_particles_and_leaves_no_results(session, data, planted):
    session.load(data, data.parent / "particle.mrc")
    session.searches.preview()
    session.idle()
    session.wait(lambda: session.controller.choice is not None)
    picks = found(session)
    assert {(round(x, -1), round(y, -1)) for x, y in zip(picks.x.tolist(), picks.y.tolist(), strict=True)} == {
        (round(x, -1), round(y, -1)) for x, y in planted["one"]
    }
    assert session.searches.state_of(session.controller.file)[0] == "preview"
    assert not (session.controller.folder.path / "run.json").exists()


def test_a_search_says_nothing_of_picks_that_nobody_sees(searched):
    """Its own files hold the picks at the thresholds of the moment; the window shows and exports others."""
    searched.controller.set_threshold(None, 0.11)
    searched.idle()
    searched.searches.start(searched.controller.state.files, maps=False)
    searched.idle()
    folder = searched.controller.folder.path
    assert run_notes(read_run(folder)), "that most of these picks are false"
    assert not [sentence for _, sentence in searched.notified if sentence in run_notes(read_run(folder))]
