"""Picks of the window are the engine's, with corrections by hand on top."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_gempick.engine.picking.peaks import Selection, select
from napari_gempick.io.candidates import Candidates
from napari_gempick.model.picks import Picks
from napari_gempick.widgets.state.candidate_selection import CandidateSelection
from napari_gempick.widgets.state.state import Added, Edits, Tune

NAMES = ("side", "top")
SHAPE, PIXEL = (300, 320), 2.0


def candidates(n=400, seed=0, ratio=1.5):
    random = np.random.default_rng(seed)
    y, x = (random.integers(0, int(size / ratio), n).astype(np.int32) for size in SHAPE)
    score = np.sort(random.random(n).astype(np.float32))[::-1]
    view = random.integers(0, 2, n).astype(np.int32)
    picks = Picks(x * ratio, y * ratio, x, y, score, np.arange(n, dtype=np.int32), view, view, np.zeros(n))
    picks = replace(picks, local=random.normal(size=(n, 3)).astype(np.float32))
    return Candidates(picks, NAMES, SHAPE, SHAPE, PIXEL, PIXEL * ratio, 0.0)


@given(
    st.integers(0, 500),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 200) | st.none(),
    st.floats(0, 1) | st.none(),
    st.floats(0, 80),
    st.integers(0, 40) | st.none(),
    st.sampled_from([None, "-0.5,1", ",0.2"]),
    st.sampled_from([None, "0,", "-1,0.3"]),
)
def test_same_as_the_engine(seed, side, top, distance, upper, border, most, mean, power):
    made = candidates(seed=seed)
    tune = Tune({"side": side, "top": top}, upper, distance, border, most, mean, None, power)
    excluded = None if seed % 3 == 0 else np.random.default_rng(seed).random(SHAPE) < 0.3
    selection = CandidateSelection(made, 60.0, excluded=excluded)
    assert selection.excluded_share == (0.0 if excluded is None else excluded.mean())
    chosen = selection.result(selection.choose(tune, Edits()))
    pixels = (30.0 if distance is None else distance) / made.map_pixel_size
    selection = Selection((side, top), pixels, upper, border / PIXEL, most, tune.local_limits())
    wanted = select(made.picks, selection, SHAPE, excluded)
    np.testing.assert_array_equal(chosen.k, wanted.k)


def test_one_board_follows_any_sequence_of_settings():
    made, random = candidates(), np.random.default_rng(1)
    selection = CandidateSelection(made, 60.0)
    for _ in range(30):
        tune = Tune({"side": random.random(), "top": random.random()}, min_distance=float(random.integers(0, 150)))
        fresh = CandidateSelection(made, 60.0)
        np.testing.assert_array_equal(selection.choose(tune, Edits()).shown, fresh.choose(tune, Edits()).shown)


def test_more_candidates_than_the_pool(monkeypatch):
    monkeypatch.setattr("napari_gempick.widgets.state.candidate_selection.POOL", 16)
    made = candidates()
    selection = CandidateSelection(made, 60.0)
    for threshold in (0.99, 0.5, 0.0, 0.9):
        tune = Tune(dict.fromkeys(NAMES, threshold))
        wanted = select(made.picks, Selection((threshold, threshold), 30 / made.map_pixel_size), SHAPE)
        assert len(selection.choose(tune, Edits())) == len(wanted)


def test_a_rejected_pick_stays_away_and_its_neighbours_too():
    selection, tune = CandidateSelection(candidates(), 60.0), Tune(dict.fromkeys(NAMES, 0.3))
    before = selection.choose(tune, Edits())
    first = int(np.flatnonzero(before.shown)[3])
    place = float(selection.picks.x[first]), float(selection.picks.y[first])
    after = selection.choose(tune, Edits(rejected=(place,)))
    gone = before.shown & ~after.shown
    assert gone[first] and not (after.shown & ~before.shown).any()
    apart = np.hypot(selection.picks.x[:400][gone] - place[0], selection.picks.y[:400][gone] - place[1])
    assert (apart <= selection.same).all()


def test_an_added_pick_is_written_once():
    selection, tune = CandidateSelection(candidates(), 60.0), Tune(dict.fromkeys(NAMES, 0.3))
    pick = int(np.flatnonzero(selection.choose(tune, Edits()).shown)[0])
    x, y = float(selection.picks.x[pick]) + 1, float(selection.picks.y[pick])
    edits = Edits(added=(Added(x, y, "top", 0.9, 12.0, 1), Added(5.0, 6.0)))
    result = selection.result(selection.choose(tune, edits))
    near = np.hypot(result.x - x, result.y - y) < selection.same
    assert near.sum() == 1
    assert (result.view[near], result.psi[near], result.section[near]) == (1, 12.0, 1)
    assert (result.x[-1], result.y[-1]) == (5.0, 6.0)  # without a score: last


@pytest.mark.parametrize("count", [1, 6, 20])
def test_gallery_shows_both_sides_of_the_threshold(count):
    selection, tune = CandidateSelection(candidates(), 60.0), Tune({"side": 0.5, "top": 0.7})
    choice = selection.choose(tune, Edits())
    rows = selection.around_threshold(choice, tune, count)
    assert len(rows) <= count and len(set(rows.tolist())) == len(rows)
    above = selection.picks.score[rows] - np.array([0.5, 0.7], np.float32)[selection.picks.view[rows]]
    np.testing.assert_array_equal(above >= 0, choice.shown[rows])


def test_no_candidates():
    empty = Candidates(Picks.empty(), NAMES, SHAPE, SHAPE, PIXEL, PIXEL, 0.1)
    selection = CandidateSelection(empty, 60.0)
    choice = selection.choose(Tune(), Edits(added=(Added(1.0, 2.0),)))
    assert len(choice) == 1
    assert len(selection.around_threshold(choice, Tune(), 10)) == 0
