"""The learned score in the window: the same picks as the command's, at once on all micrographs, and back."""

import contextlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cluster_jobs import values_for, write_data
from helpers import Blobs
from napari_gempick.engine.picking.learned import FEATURES
from napari_gempick.io.formats.table import columns_of
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.listing import find_micrographs
from napari_gempick.io.star import read_table
from napari_gempick.model.errors import Cancelled
from napari_gempick.model.settings import make_settings
from napari_gempick.widgets.background.search_runner import Run
from napari_gempick.widgets.state.asking import questions
from napari_gempick.widgets.state.exporting import chosen_picks, export_picks
from napari_gempick.widgets.state.state import Edits
from napari_gempick.workflows.pick import pick_files
from napari_gempick.workflows.retune import retune

SIZE = (300, 330)
STAR = ("rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit", "gempickNCC", "gempickProbabilityFalse")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three micrographs with particles, picked by the NCC."""
    folder = tmp_path_factory.mktemp("run")
    write_data(folder, SIZE, count=0)
    rng = np.random.default_rng(0)
    spots = [(x, y) for y in range(40, 280, 44) for x in range(40, 300, 44)]
    for number, count in enumerate((len(spots), 20, 25)):
        image = -Blobs.image(SIZE, 4.0, spots[:count], list(rng.uniform(0, 360, count)))
        noisy = (image + 0.8 * rng.standard_normal(SIZE)).astype(np.float32)
        write_mrc(folder / "mics" / f"mic{number}.mrc", noisy, 4.0)
    settings = make_settings(values_for(folder, threshold=("0.3",), save_maps=False, per_view_maps=False))
    pick_files(settings, find_micrographs([folder / "mics"]), folder / "picks")
    return folder / "picks"


@pytest.fixture
def opened(run, session, tmp_path):
    session.controller.open_folder(shutil.copytree(run, tmp_path / "picks"))
    session.wait(lambda: session.controller.choice is not None)
    session.idle()
    return session


def selections(session):
    controller = session.controller
    folder, results, state = controller.folder.path, controller.results, controller.state
    return {file.output_stem: controller.selections.get(file, state, folder, results) for file in state.files}


def assert_same(mine, theirs):
    """Two readers at once may make the candidates of one micrograph twice, so these are equal, not one object."""
    for name in ("x", "y", "score", "ncc"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name), err_msg=name)


def correct(session, count=8):
    """Reject the last picks of the micrograph that is shown, and add some candidates below the threshold."""
    controller = session.controller
    selection, choice = controller.loaded.selection, controller.choice
    shown = np.flatnonzero(choice.shown)
    left = np.flatnonzero(~choice.shown)[: count // 2]
    controller.reject([(float(selection.picks.x[i]), float(selection.picks.y[i])) for i in shown[-count:]])
    for i in left:
        controller.add_pick(float(selection.picks.x[i]), float(selection.picks.y[i]))


def test_the_window_picks_what_the_command_picks(opened, tmp_path):
    """Candidates, scores, NCC and probabilities, by decoys and by the corrections of the session."""
    controller = opened.controller
    correct(opened)
    for teach in (False, True):
        controller.set_value("score", "learned")
        controller.set_teach(teach)
        opened.idle()
        assert controller.loaded.selection.picks.ncc is not None
        controller.save_now()
        folder = shutil.copytree(controller.folder.path, tmp_path / f"taught {teach}")
        done = retune(folder, {"score": "learned"}, teach=[folder / "session.json"] if teach else [])
        learned = controller.selections.teacher.learned
        assert learned.describe() == done["learned"] and (learned.labels > 9) == teach
        for stem, selection in selections(opened).items():
            table = read_table(folder / f"{stem}_autopick.star")
            found = selection.result(selection.choose(controller.state.tune_of(stem), Edits()))
            for name, column in zip(STAR[:4], (found.x, found.y, found.score, found.ncc), strict=True):
                np.testing.assert_allclose(
                    np.array(table[name], float),
                    column,
                    rtol=0,
                    atol=5.1e-4 if name in STAR[:2] else 2e-6,
                    err_msg=name,
                )
        state = controller.state
        chosen, problems = chosen_picks(
            state, controller.results, controller.folder.path, state.files, controller.selections
        )
        assert not problems
        out = tmp_path / f"out {teach}"
        export_picks(out, chosen, ["star", "csv"])
        for stem in ("mic1", "mic2"):  # without corrections of their own
            mine, theirs = (read_table(where / f"{stem}_autopick.star") for where in (out, folder))
            assert all(mine[name] == theirs[name] for name in STAR)
            csv = columns_of(out / f"{stem}.csv", (out / f"{stem}.csv").read_text(), ",")
            np.testing.assert_allclose(np.array(csv["ncc"], float), np.array(theirs["gempickNCC"], float), atol=1e-6)
            assert csv["probability_false"] == theirs["gempickProbabilityFalse"]


def test_added_picks_carry_the_learned_score_beside_their_ncc(opened):
    controller = opened.controller
    controller.set_value("score", "learned")
    opened.idle()
    selection = controller.loaded.selection
    hidden = int(np.flatnonzero(~selection.choose(controller.tune(), Edits()).shown)[0])
    x, y = float(selection.picks.x[hidden]), float(selection.picks.y[hidden])
    controller.add_pick(x, y)
    picks = selection.result(controller.choice)
    (mine,) = np.flatnonzero((picks.x == x) & (picks.y == y))
    assert (picks.score[mine], picks.ncc[mine]) == (selection.picks.score[hidden], selection.picks.ncc[hidden])


def test_corrections_teach_all_micrographs_at_once_and_undo_brings_back(opened):
    controller, counter = opened.controller, opened.counter
    before, first = dict(counter.counts), controller.loaded.selection.picks
    controller.set_teach(True)
    opened.idle()
    assert controller.state.values["score"] == "learned"
    plain = {stem: selection.picks for stem, selection in selections(opened).items()}
    correct(opened)
    opened.idle()
    taught = {stem: selection.picks for stem, selection in selections(opened).items()}
    assert all(not np.array_equal(plain[stem].score, taught[stem].score) for stem in plain)
    shown = controller.loaded.selection
    assert_same(shown.picks, taught[controller.stem])
    for stem, selection in selections(opened).items():
        choice = selection.choose(controller.state.tune_of(stem), controller.state.edits.get(stem, Edits()))
        assert counter.counts[stem] == len(choice), "counted with the current score"
    total = sum(int(counts.sum()) for counts in counter.histogram().values())
    assert total == sum(len(picks) for picks in taught.values())
    while controller.history.undoable:
        controller.undo()
    opened.idle()
    assert not controller.state.teach and "score" not in controller.state.values
    assert counter.counts == before and controller.loaded.selection.picks.ncc is None
    np.testing.assert_array_equal(controller.loaded.selection.picks.score, first.score)


def test_the_choice_is_saved_with_the_session(opened):
    controller = opened.controller
    controller.set_teach(True)
    correct(opened)
    opened.idle()
    seen = controller.loaded.selection.picks.score
    assert controller.open_folder(controller.folder.path)
    opened.wait(lambda: controller.choice is not None)
    assert controller.state.teach and controller.state.values["score"] == "learned"
    np.testing.assert_array_equal(controller.loaded.selection.picks.score, seen)


def test_results_of_a_learned_run_open_as_they_are(run, session, tmp_path):
    folder = shutil.copytree(run, tmp_path / "picks")
    retune(folder, {"score": "learned"})
    session.controller.open_folder(folder)
    session.wait(lambda: session.controller.choice is not None)
    picks = session.controller.loaded.selection.result(session.controller.choice)
    table = read_table(folder / f"{session.controller.stem}_autopick.star")
    np.testing.assert_allclose(np.array(table["gempickNCC"], float), picks.ncc, atol=2e-6)
    assert tuple(session.controller.selections.teacher.learned.describe()["weights"]) == FEATURES


def test_the_candidates_that_are_asked_about_are_in_doubt_spread_and_not_judged(opened):
    """As many of each micrograph, none nearer to certainty than one that is left out; a rejected one is left out."""
    controller = opened.controller

    def ask(count=12):
        known = controller.state, controller.results, controller.folder.path, controller.selections
        return questions(*known, count)

    controller.set_teach(True)
    asked = ask()
    assert sorted(one.stem for one in asked) == ["mic0"] * 4 + ["mic1"] * 4 + ["mic2"] * 4
    everything = ask(10_000)
    for stem in ("mic0", "mic1", "mic2"):
        doubts = [abs(one.false - 0.5) for one in everything if one.stem == stem]
        assert [abs(one.false - 0.5) for one in asked if one.stem == stem] == sorted(doubts)[:4]
    for number, one in enumerate(asked):
        controller.judge(one.stem, one.pick, number % 2 == 0)
    opened.idle()
    assert controller.selections.teacher.learned.labels == 12
    places = {(one.stem, one.pick.x, one.pick.y) for one in asked}
    assert not places & {(one.stem, one.pick.x, one.pick.y) for one in ask(10_000)}
    good = {(stem, one.x, one.y) for stem, edits in controller.state.edits.items() for one in edits.added}
    assert good == {(one.stem, one.pick.x, one.pick.y) for one in asked[::2]}
    controller.reject_micrographs(["mic1"], True)
    assert {one.stem for one in ask()} == {"mic0", "mic2"}


def test_a_score_chosen_while_a_micrograph_is_read_is_that_of_the_micrograph(opened, monkeypatch):
    """Answers may come in any order: here the last question is answered first."""
    controller, waiting = opened.controller, []
    with monkeypatch.context() as patched:
        patched.setattr(controller.background, "do", lambda work, then=id, otherwise=None: waiting.append((work, then)))
        controller.go(controller.current + 1)
        controller.set_value("score", "learned")
        while waiting:
            work, then = waiting.pop()
            with contextlib.suppress(Cancelled):  # of a micrograph that is not wanted any more
                then(work())
    opened.idle()
    assert controller.loaded.stem == controller.stem == "mic1"
    assert_same(controller.loaded.selection.picks, selections(opened)["mic1"].picks)


def test_what_other_micrographs_teach_is_shown(opened):
    controller = opened.controller
    controller.set_value("score", "learned")
    opened.idle()
    controller.remove_micrographs([2])
    opened.idle()
    assert_same(controller.loaded.selection.picks, selections(opened)["mic0"].picks)
    controller.undo()
    left = controller.results.pop("mic2")
    controller.relearn()
    opened.idle()
    opened.searches._take(Run(1, controller.state.files[2:], "", False, controller.folder.path), dict(left.row))
    opened.idle()
    assert "mic2" in controller.results
    assert_same(controller.loaded.selection.picks, selections(opened)["mic0"].picks)


def test_micrographs_searched_for_other_views_are_exported_too(opened, monkeypatch):
    """A view was added after some were searched: each is judged by those of the same views."""
    controller, get = opened.controller, opened.controller.selections.get
    controller.set_value("score", "learned")
    opened.idle()

    def with_a_view_more(file, *rest):
        selection = get(file, *rest)
        more = replace(selection.candidates, view_names=(*selection.candidates.view_names, "another"))
        return selection.with_candidates(more) if file.stem == "mic0" else selection

    monkeypatch.setattr(controller.selections, "get", with_a_view_more)
    state = controller.state
    chosen, problems = chosen_picks(
        state, controller.results, controller.folder.path, state.files, controller.selections
    )
    assert len(chosen) == 3 and not problems
    assert all(len(one.picks) and np.isfinite(one.picks.false).all() for one in chosen)
