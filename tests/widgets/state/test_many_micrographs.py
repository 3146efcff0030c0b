"""Hundreds of micrographs: candidates stay in memory, and a change costs as much as what it changes."""

from collections import Counter as Counts
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from helpers import picks_at
from napari_gempick.io.candidates import Candidates
from napari_gempick.io.listing import MicrographFile
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.errors import InputError
from napari_gempick.model.score_maps import BankIndex
from napari_gempick.widgets.background.pick_counter import BINS
from napari_gempick.widgets.state import loading, state
from napari_gempick.widgets.state.candidate_selection import CandidateSelection
from napari_gempick.widgets.state.loading import CandidateCache
from napari_gempick.widgets.state.masks import Mask
from napari_gempick.widgets.state.result import Result
from napari_gempick.widgets.state.state import ViewSpec

MANY = 300
SCORES = np.array([0.9, 0.7, 0.5, 0.3, 0.2], np.float32)


def candidates(excluded=None):
    numbers = np.arange(len(SCORES))
    picks = picks_at(numbers * 40, numbers, score=SCORES, psi=numbers)
    return Candidates(picks, ("particle",), (64, 200), (64, 200), 2.0, 2.0, 0.1)


def micrographs(count=MANY):
    return tuple(MicrographFile(Path(f"/absent/m{i:03}.mrc"), PurePosixPath(f"m{i:03}.mrc")) for i in range(count))


def results(files):
    bank = BankIndex(("particle",), (1,), 0.0, 360.0)
    return {file.output_stem: Result({"name": file.output_stem, "best_score": 0.9}, bank, 40.0) for file in files}


@pytest.fixture
def reads(monkeypatch):
    """How often the candidates of each micrograph are read; they are all alike."""
    made, found = candidates(), Counts()

    def read(path):
        found[path.stem] += 1
        return made

    monkeypatch.setattr(loading, "read_candidates", read)
    return found


@pytest.fixture
def many(session, reads, tmp_path):
    """A session with all micrographs searched and counted."""
    controller = session.controller
    controller.use_folder(tmp_path / "work")
    files = micrographs()
    controller.results = results(files)
    start = replace(controller.state, files=files, views=(ViewSpec("particle", ("/absent/template.mrc",)),))
    controller.do("start", start)
    session.idle()
    assert session.counter.counts == {file.output_stem: 3 for file in files}
    return session


# candidates in memory


def test_no_file_is_read_again_for_a_threshold(many, reads):
    assert reads == {file.output_stem: 1 for file in many.controller.state.files}
    for threshold, left in ((0.8, 1), (0.1, 5), (0.6, 2)):
        many.controller.set_threshold("particle", threshold)
        many.idle()
        assert set(many.counter.counts.values()) == {left} and len(many.counter.counts) == MANY
    assert sum(reads.values()) == MANY


def test_what_does_not_fit_is_all_that_is_read_again(many, reads, monkeypatch):
    """With room for two thirds of the micrographs, one third is read for each threshold: nobody can do with less."""
    controller, size = many.controller, CandidateSelection(candidates(), 40.0).nbytes
    monkeypatch.setattr(loading, "KEPT_BYTES", 200 * size)
    controller.results = results(controller.state.files)  # of another search, so that all are read again
    many.counter.start()
    many.idle()
    assert set(reads.values()) == {2}
    for threshold in (0.8, 0.1):
        before = sum(reads.values())
        controller.set_threshold("particle", threshold)
        many.idle()
        assert sum(reads.values()) - before == MANY - 200


def test_what_was_used_last_stays(reads, monkeypatch, tmp_path):
    files = micrographs(5)
    made, selections = results(files), CandidateCache()

    def get(number):
        return selections.get(files[number], state.State(), tmp_path, made)

    size = get(0).nbytes
    monkeypatch.setattr(loading, "KEPT_BYTES", 3 * size)
    for number in (1, 2, 0, 3, 0, 4, 0):
        get(number)
    assert reads == {"m000": 1, "m001": 1, "m002": 1, "m003": 1, "m004": 1}
    assert [f"m{i:03}" in selections for i in range(5)] == [True, False, False, True, True]
    get(1)
    assert reads["m001"] == 2


def test_candidates_of_another_search_or_folder_are_read(reads, tmp_path):
    (file,) = micrographs(1)
    selections = CandidateCache()
    first, second = results([file])["m000"], results([file])["m000"]
    for result, folder in ((first, "a"), (first, "a"), (second, "a"), (second, "b"), (second, "b")):
        selections.get(file, state.State(), tmp_path / folder, {"m000": result})
    assert reads == {"m000": 3}


def test_a_mask_takes_an_eighth_and_reads_the_same():
    excluded = np.zeros((64, 203), bool)
    excluded[:, 35:90] = True
    excluded[63, 202] = True
    made = replace(candidates(), file_shape=(64, 203), map_shape=(64, 203))
    selection = CandidateSelection(made, 40.0, excluded=excluded)
    np.testing.assert_array_equal(selection.excluded, excluded)
    assert selection.nbytes - CandidateSelection(made, 40.0).nbytes == 64 * 26
    shown = selection.choose(state.Tune({"particle": 0.1}, min_distance=0.0), state.Edits()).shown
    assert shown.tolist() == [True, False, False, True, True]


# only what changed, once the slider rests


def test_while_a_slider_moves_the_picks_of_other_micrographs_wait(many, monkeypatch):
    """One move is counted at once; after further ones nothing is, until the slider rests."""
    controller, counter, later, chosen = many.controller, many.counter, [], Counts()
    real = CandidateSelection.choose

    def choose(self, tune, edits):
        chosen[tune.threshold("particle")] += 1
        return real(self, tune, edits)

    monkeypatch.setattr(CandidateSelection, "choose", choose)
    monkeypatch.setattr(controller.background, "later", lambda seconds, call: later.append(call))
    for threshold in (0.8, 0.1, 0.85, 0.6):
        controller.set_threshold("particle", threshold)
    many.wait(lambda: later)
    assert chosen[0.1] + chosen[0.85] + chosen[0.6] == 0 and counter.busy
    monkeypatch.setattr(counter, "_rests", 0.0)  # the slider rests
    later.pop()()
    many.idle()
    assert chosen[0.6] >= MANY and chosen[0.1] + chosen[0.85] == 0
    assert counter.counts == dict.fromkeys(counter.counts, 2) and len(counter.counts) == MANY


def test_a_correction_counts_one_micrograph(many, monkeypatch):
    chosen = Counts()
    real = CandidateSelection.choose

    def choose(self, tune, edits):
        chosen[len(edits.rejected)] += 1
        return real(self, tune, edits)

    monkeypatch.setattr(CandidateSelection, "choose", choose)
    controller = many.controller
    controller.do("reject", controller.state.with_edits("m007", state.Edits(rejected=((0.0, 0.0),))))
    many.idle()
    assert chosen == {1: 1}
    assert many.counter.counts["m007"] == 2 and set(many.counter.counts.values()) == {2, 3}


def test_thresholds_of_one_micrograph_count_that_one(many):
    """Also when undo takes them back and another one is shown."""
    controller = many.controller
    controller.do("change the threshold", controller.state.with_tune("m007", thresholds={"particle": 0.95}))
    many.idle()
    assert many.counter.counts["m007"] == 0 and list(many.counter.counts.values()).count(3) == MANY - 1
    controller.undo()
    many.idle()
    assert set(many.counter.counts.values()) == {3}


def test_a_mask_that_undo_takes_back_counts_the_micrograph_that_has_it(many):
    """It need not be the one that is shown."""
    controller = many.controller
    stem = controller.state.files[7].output_stem
    assert stem != controller.stem
    everywhere = Mask.of(np.ones((64, 200), bool), 2.0)
    controller.do("exclude", replace(controller.state, masks={stem: everywhere}))
    many.idle()
    assert many.counter.counts[stem] == 0
    controller.undo()
    many.idle()
    assert set(many.counter.counts.values()) == {3}


def test_a_result_counts_one_micrograph_and_the_histogram_keeps_its_sum(many, reads):
    controller = many.controller
    expected = MANY * np.histogram(SCORES, BINS)[0]
    np.testing.assert_array_equal(many.counter.histogram()["particle"], expected)
    for stem in ("m003", "m200"):
        controller.set_result(stem, results(micrographs())[stem])
        many.idle()
    assert sum(reads.values()) == MANY + 2 and reads["m003"] == reads["m200"] == 2
    np.testing.assert_array_equal(many.counter.histogram()["particle"], expected)
    failed = Result({"name": "m003", "error": "It is truncated."})
    controller.set_result("m003", failed)
    controller.remove_micrographs([200, 201])
    many.idle()
    np.testing.assert_array_equal(many.counter.histogram()["particle"], (MANY - 3) * np.histogram(SCORES, BINS)[0])
    assert set(many.counter.counts) == {f"m{i:03}" for i in range(MANY)} - {"m003", "m200", "m201"}


def test_a_micrograph_that_cannot_be_counted_stops_no_other(many, monkeypatch):
    """Neither an error that is foreseen nor one of the program ends the count."""
    made = candidates()
    faults = {"m100": InputError("It is damaged."), "m101": RuntimeError("unforeseen")}

    def read(path):
        if path.stem in faults:
            raise faults[path.stem]
        return made

    monkeypatch.setattr(loading, "read_candidates", read)
    controller = many.controller
    for stem in faults:
        controller.set_result(stem, results(micrographs())[stem])
    controller.set_threshold("particle", 0.8)
    many.idle()
    assert {stem for stem, count in many.counter.counts.items() if count == 1} >= set(many.counter.counts) - {"m101"}
    assert "m100" not in many.counter.counts and len(many.counter.counts) >= MANY - 2
    assert [sentence for kind, sentence in many.notified if kind == "error"]


@pytest.fixture
def listed(dock, reads, tmp_path, qtbot):
    """The dock with the same micrographs, none of them searched."""
    controller, template = dock.controller, tmp_path / "template.mrc"
    write_mrc(template, np.eye(32, dtype=np.float32), 2.0)
    controller.use_folder(tmp_path / "work")
    start = replace(controller.state, files=micrographs(), views=(ViewSpec("particle", (str(template),)),))
    controller.do("start", start)
    qtbot.waitUntil(lambda: not dock.counter.busy, timeout=20_000)
    return dock


def texts(dock):
    items = [dock.micrographs.list.topLevelItem(i) for i in range(MANY)]
    return [item.text(1) for item in items]


def test_a_run_checks_no_settings_and_touches_only_what_it_has_come_to(listed, qtbot, monkeypatch):
    from napari_gempick.widgets.background.search_runner import Run
    from napari_gempick.widgets.panels.micrographs import MicrographsPanel

    searches, controller = listed.searches, listed.controller
    files = controller.state.files
    searches.run = Run(1, files, searches.digest(), False, controller.folder.path)
    searches.changed.emit()
    assert texts(listed) == ["running"] + ["waiting"] * (MANY - 1)
    checked, shown, made = Counts(), Counts(), results(files)
    real_settings, real_show = state.make_settings, MicrographsPanel._update_item

    def count_settings(values):
        checked["settings"] += 1
        return real_settings(values)

    def count_shown(self, what):
        shown["items"] += 1
        return real_show(self, what)

    monkeypatch.setattr(state, "make_settings", count_settings)
    monkeypatch.setattr(MicrographsPanel, "_update_item", count_shown)
    for number in range(1, 41):
        stem = files[number - 1].output_stem
        searches.finished = number
        controller.set_result(stem, replace(made[stem], digest=searches.digest()))
        for share in (0.2, 0.6):
            searches._heard({"event": "progress", "run": 1, "finished": number, "share": share})
    qtbot.waitUntil(lambda: not listed.counter.busy, timeout=20_000)
    assert checked["settings"] <= 2
    assert shown["items"] <= 40 * 8  # not 40 x 300
    assert texts(listed) == ["done"] * 40 + ["running"] + ["waiting"] * (MANY - 41)
    assert listed.micrographs.summary.text() == f"40 of {MANY} searched"
    searches._heard({"event": "done", "run": 1})
    assert texts(listed) == ["done"] * 40 + ["not searched"] * (MANY - 40)
    qtbot.waitUntil(lambda: f"{40 * 3} picks of 40 micrographs" in listed.export.plan.text(), timeout=20_000)


def test_the_list_follows_the_settings(listed, qtbot):
    """Results of other settings are marked, and marked no longer when the settings come back."""
    searches, controller = listed.searches, listed.controller
    qtbot.waitUntil(lambda: bool(controller.unreadable), timeout=20_000)  # its files are missing
    made = results(controller.state.files)
    for stem in ("m001", "m002"):
        controller.set_result(stem, replace(made[stem], digest=searches.digest()))
    controller.set_result("m003", Result({"name": "m003", "error": "It is truncated."}))
    assert texts(listed)[:5] == ["failed", "done", "done", "failed", "not searched"], "the first one cannot be read"
    assert listed.micrographs.summary.text() == f"2 of {MANY} searched"
    controller.set_value("angle_step", 30.0)
    assert texts(listed)[:5] == ["failed", "settings changed", "settings changed", "failed", "not searched"]
    controller.undo()
    assert texts(listed)[1] == "done"
    controller.remove_micrographs([1])
    assert listed.micrographs.summary.text() == f"1 of {MANY - 1} searched"
