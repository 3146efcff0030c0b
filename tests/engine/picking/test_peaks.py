"""Peaks: local maxima, the order of the rules, suppression against brute force, sub-pixel positions, local limits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter

from helpers import picks_at
from napari_gempick.engine.picking.peaks import (
    Selection,
    Thinner,
    _lowest,
    find_candidates,
    select,
    suppress,
    with_local,
)
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.geometry import Grid
from napari_gempick.model.picks import Picks
from napari_gempick.model.score_maps import BankIndex, ScoreMap, highest_near
from napari_gempick.model.settings import make_settings

BANK = BankIndex(("side", "top"), (1, 2), 90.0, 360.0)


def score_map(score, index=None, **grid):
    score = np.asarray(score, np.float32)
    index = np.zeros(score.shape, np.int32) if index is None else np.asarray(index, np.int32)
    return ScoreMap(score, index, Grid(score.shape, 2.0, **grid), BANK)


def picks_of(score, thresholds=(0.4, 0.4), distance=5.0, index=None, excluded=None, **more):
    maps = score_map(score, index)
    return select(find_candidates(maps, 0.1), Selection(thresholds, distance, **more), maps.grid.file_shape, excluded)


def peaks(shape, *places):
    score = np.full(shape, -0.5, np.float32)
    for y, x, value in places:
        score[y, x] = value
    return score


@given(
    points=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60),
    distance=st.floats(0, 15),
)
@example(points=[(0, 0), (0, 0)], distance=1.0)
def test_suppression_is_the_greedy_rule(points, distance):
    y, x = np.array([p[0] for p in points], np.int32), np.array([p[1] for p in points], np.int32)
    kept = []
    for i, (yi, xi) in enumerate(points):
        if all((yi - points[j][0]) ** 2 + (xi - points[j][1]) ** 2 >= distance**2 for j in kept):
            kept.append(i)
    assert suppress(y, x, distance).tolist() == kept


@given(st.integers(0, 400), st.floats(0, 60), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_thinner_keeps_what_suppress_keeps(n, distance, seed, share):
    random = np.random.default_rng(seed)
    y, x = random.integers(0, 100, (2, n)).astype(np.int32)
    active = random.random(n) < share
    wanted = np.flatnonzero(active)[suppress(y[active], x[active], distance)]
    np.testing.assert_array_equal(np.flatnonzero(Thinner(y, x, distance).keep(active)), wanted)


@pytest.mark.parametrize("distance", [3, 20, 90])
def test_thinner_is_the_same_without_stored_neighbours(monkeypatch, distance):
    y, x = np.random.default_rng(3).integers(0, 100, (2, 500)).astype(np.int32)
    active = np.arange(500) % 3 > 0
    stored = Thinner(y, x, distance).keep(active)
    monkeypatch.setattr("napari_gempick.engine.picking.peaks.MOST_PAIRS", -1)
    np.testing.assert_array_equal(Thinner(y, x, distance).keep(active), stored)


@given(seed=st.integers(0, 10**6), levels=st.integers(2, 200))
def test_candidates_are_the_local_maxima(seed, levels):
    score = np.random.default_rng(seed).integers(0, levels, (17, 19)).astype(np.float32) / levels
    found = find_candidates(score_map(score), 0.1)
    padded = np.pad(score, 1, constant_values=-2)
    expected = {
        (y, x)
        for y in range(17)
        for x in range(19)
        if score[y, x] >= np.float32(0.1) and score[y, x] == padded[y : y + 3, x : x + 3].max()
    }
    assert set(zip(found.map_y.tolist(), found.map_x.tolist(), strict=True)) == expected
    keys = list(zip((-found.score).tolist(), found.map_y.tolist(), found.map_x.tolist(), strict=True))
    assert keys == sorted(keys)
    assert np.abs(found.x - found.map_x).max(initial=0) <= 0.5


def test_each_candidate_has_its_views_threshold():
    index = np.zeros((30, 30), np.int32)
    index[:, 15:] = BANK.n_rotations  # the second view
    score = peaks((30, 30), (5, 5, 0.5), (5, 25, 0.5), (20, 5, 0.7), (20, 25, 0.7))
    picks = picks_of(score, thresholds=(0.4, 0.6), index=index)
    assert sorted(zip(picks.view.tolist(), picks.map_y.tolist(), strict=True)) == [(0, 5), (0, 20), (1, 20)]


def test_raising_one_threshold_removes_from_the_end():
    rng = np.random.default_rng(0)
    score = rng.random((80, 80)).astype(np.float32)
    low, high = (picks_of(score, thresholds=(t, t)) for t in (0.5, 0.9))
    assert len(high) and np.array_equal(low.x[: len(high)], high.x)


def test_upper_threshold_still_suppresses():
    score = peaks((30, 30), (10, 10, 0.95), (10, 13, 0.6), (25, 25, 0.6))
    picks = picks_of(score, max_threshold=0.9)
    assert picks.map_y.tolist() == [25]


def test_border_exclusion_and_number_come_last():
    score = peaks((40, 40), (2, 20, 0.9), (20, 20, 0.8), (30, 30, 0.7), (30, 10, 0.6))
    excluded = np.zeros((40, 40), bool)
    excluded[28:33, 28:33] = True
    assert picks_of(score, border=5.0, excluded=excluded).map_y.tolist() == [20, 30]
    assert picks_of(score, border=5.0, excluded=excluded, max_picks=1).map_x.tolist() == [20]
    # a pick in the border zone has still suppressed its neighbour
    assert picks_of(peaks((40, 40), (4, 20, 0.9), (7, 20, 0.8)), border=5.0).map_y.tolist() == []


def test_distance_is_at_least():
    score = peaks((30, 30), (10, 10, 0.9), (10, 15, 0.8), (14, 10, 0.8))
    assert len(picks_of(score, distance=5.0)) == 2
    assert len(picks_of(score, distance=4.0)) == 3
    assert len(picks_of(score, distance=5.0001)) == 1


@pytest.mark.parametrize("ratio", [1, 2])
def test_subpixel_of_a_parabola(ratio):
    y, x = np.mgrid[:21, :23]
    score = 0.9 - 0.004 * ((y - 9.3) ** 2 + (x - 12.8) ** 2)
    found = find_candidates(score_map(score, ratio=ratio), 0.85)
    assert found.y[0] == pytest.approx(9.3 * ratio, abs=1e-4)
    assert found.x[0] == pytest.approx(12.8 * ratio, abs=1e-4)
    assert found.score[0] == np.float32(score[9, 13]), "the score stays the map's"


def test_nothing_is_nothing():
    assert len(picks_of(np.full((20, 20), -1, np.float32))) == 0
    unscored = ScoreMap(np.full((9, 9), -1, np.float32), np.full((9, 9), -1, np.int32), Grid((9, 9), 1.0), BANK)
    assert len(find_candidates(unscored, -1.0)) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (8, 1), (30, 41)])
def test_the_highest_of_the_eight_neighbours(shape):
    score = np.round(np.random.default_rng(1).standard_normal(shape), 1).astype(np.float32)
    for one in (score, np.asfortranarray(score), score[::-1]):
        assert np.array_equal(highest_near(one), maximum_filter(one, size=3, mode="nearest"))


@pytest.fixture
def image():
    made = np.random.default_rng(0).standard_normal((200, 220)).astype(np.float32)
    made[90:131, 90:131] = 3 * made[90:131, 90:131] - 8
    return made


def local_of(image, picks):
    """Together with others, which change nothing."""
    return with_local(image, 24, picks_at(30, 20, score=0.5), picks)[1].local


def test_values_against_the_definition(image):
    picks = picks_at([60, 110, 3, 219], [50, 110, 2, 199], score=0.5)
    half = round(24 * np.sqrt(np.pi) / 4)
    found = local_of(image, picks)
    for row, (y, x) in zip(found, ((50, 60), (110, 110), (2, 3), (199, 219)), strict=True):
        near = image[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1].astype(np.float64)
        mean, sigma = (near.mean() - image.mean()) / image.std(), near.std() / image.std()
        assert row == pytest.approx([mean, sigma, (0.5 * sigma) ** 2], abs=1e-4)
    assert np.allclose(local_of(5 * image + 70, picks), found, atol=1e-4), "gain and offset do not matter"


def test_limits_drop_picks_whose_neighbours_stay_suppressed(image):
    picks = picks_at([60, 110, 118], [50, 110, 110], score=[0.5, 0.9, 0.4]).take(np.array([1, 0, 2]))
    (picks,) = with_local(image, 24, picks)
    limits = make_settings({"local_mean": "-1,"}).local_limits()
    kept = select(picks, Selection([0.1], 20, local_limits=limits), image.shape)
    assert [(y, x) for y, x in zip(kept.map_y, kept.map_x, strict=True)] == [(50, 60)]
    assert len(select(picks, Selection([0.1], 20), image.shape)) == 2
    assert kept.local.shape == (1, 3)
    with pytest.raises(SettingsError, match="pick again, or omit --local-mean"):
        select(picks_at(60, 50, score=0.5), Selection([0.1], 20, local_limits=limits), image.shape)


def scored(scores, view=0):
    made = picks_at(20 * np.arange(len(scores)), 5 * np.ones(len(scores)), view=view)
    return replace(made, score=scores)  # float64, as they are


def test_poses_are_refined_where_a_threshold_can_lie():
    noise = np.linspace(0.5, 0.1, 1000)
    assert _lowest(scored(noise - 1e-6), scored(noise), 0) == noise[19], "of noise, the best 20"
    many = scored(np.concatenate([np.full(20, 0.6), noise]))
    assert _lowest(many, scored(noise), 0) == noise[179], "as long as there are nine decoys for ten candidates"
    assert _lowest(many, scored(noise), 1) == noise[179], "of all views where one has few decoys"
    assert _lowest(many, scored(noise[:8]), 0) == noise[7]
    assert _lowest(scored(noise[:1]), scored(noise[:8]), 0) == noise[1], "a quarter of eight"
    assert _lowest(many, scored(noise[:8], 1), 1) == noise[1]
    assert _lowest(many, None, 0) == _lowest(many, Picks.empty(), 0) == -1


@pytest.mark.parametrize("text", ["1", "a,b", "2,1", "1,2,3"])
def test_wrong_limits(text):
    with pytest.raises(SettingsError, match="--power"):
        make_settings({"power": text})
