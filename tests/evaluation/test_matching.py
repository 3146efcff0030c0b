from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree

from napari_gempick.evaluation.matching import Matching, Particles, Rules, match, positions
from napari_gempick.evaluation.metrics import (
    angle_difference,
    better_reading,
    f_score,
    score_curve,
    summarise,
    summarise_views,
)

SHAPE = (400, 600)


def at(*positions, **others):
    return Particles.at([x for x, _ in positions], [y for _, y in positions], **others)


def pairs(matching: Matching):
    return {(pick, int(truth)) for pick, truth in enumerate(matching.partner) if truth >= 0}


def by_the_rule(picks: Particles, truth: Particles, tolerance: float):
    """The most pairs, and their smallest sum of distances, by a dense assignment."""
    usable = truth.view != "ignore"
    distances = np.hypot(picks.x[:, None] - truth.x[usable], picks.y[:, None] - truth.y[usable])
    near = distances <= tolerance
    rows, columns = linear_sum_assignment(np.where(near, distances - 1e3, 0.0))
    taken = near[rows, columns]
    return int(taken.sum()), float(distances[rows, columns][taken].sum())


whole = st.integers(0, 12).map(float)  # few places: many ties
scores = st.sampled_from([0.2, 0.4, 0.4, 0.8, math.nan])
some_picks = st.lists(st.tuples(whole, whole, scores), max_size=12).map(
    lambda rows: at(*[row[:2] for row in rows], score=[row[2] for row in rows])
)
views = st.sampled_from(["", "side", "side", "ignore"])
some_truth = st.lists(st.tuples(whole, whole, views), max_size=8).map(
    lambda rows: at(*[row[:2] for row in rows], view=np.array([row[2] for row in rows], dtype="<U6"))
)


@given(some_picks, some_truth, st.sampled_from([1.0, 2.5, 5.0]))
def test_pairs_are_those_of_the_rule_at_every_threshold(picks, truth, tolerance):
    rules = Rules(tolerance, edge=2.0, ignore_radius=1.5)
    found = match(picks, truth, rules, shape=(13, 13))
    count, distance = by_the_rule(picks, truth, tolerance)
    matched = found.partner >= 0
    assert matched.sum() == count and found.distance[matched].sum() == pytest.approx(distance)
    assert len(set(found.partner[matched].tolist())) == count
    np.testing.assert_allclose(
        np.hypot(picks.x - truth.x[found.partner], picks.y - truth.y[found.partner])[matched] if len(truth) else [],
        found.distance[matched],
    )
    curve = score_curve([found])
    levels = np.nan_to_num(picks.score, nan=-np.inf)
    assert curve.threshold.tolist() == sorted(set(levels.tolist()), reverse=True)
    for row, threshold in enumerate(curve.threshold):
        fewer = summarise([match(picks.take(levels >= threshold), truth, rules, shape=(13, 13))])
        numbers = (curve.picks[row], curve.matched[row], curve.precision[row], curve.recall[row], curve.f1[row])
        assert numbers == pytest.approx(
            (fewer.picks, fewer.matched, fewer.precision, fewer.recall, fewer.f1), nan_ok=True
        )
        assert curve.false_per_micrograph[row] == fewer.picks - fewer.matched
    assert (np.diff(curve.matched) >= 0).all() and (np.diff(curve.false_per_micrograph) >= 0).all()


@given(some_picks, some_truth)
def test_the_summary_counts_what_the_arrays_say(picks, truth):
    found = match(picks, truth, Rules(3.0, edge=1.0, ignore_radius=2.0), shape=(13, 13))
    numbers = summarise([found, found])
    assert numbers.picks == 2 * found.pick_counts.sum()
    assert numbers.matched == 2 * found.matched.sum() == numbers.recall_matched
    assert numbers.truth == 2 * found.truth_counts.sum()
    assert numbers.matched <= min(numbers.picks, numbers.truth)
    missed, false = numbers.truth - numbers.matched, numbers.picks - numbers.matched
    if numbers.truth or numbers.picks:
        assert numbers.f1 == pytest.approx(2 * numbers.matched / (2 * numbers.matched + missed + false))
    else:
        assert math.isnan(numbers.f1)


places = st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(-1, 1)), max_size=30, unique=True)


@given(places, places, st.randoms(use_true_random=False))
def test_the_order_of_picks_and_truth_does_not_matter(picks, truth, random):
    shuffled = random.sample(range(len(picks)), len(picks)), random.sample(range(len(truth)), len(truth))
    one = at(*[p[:2] for p in picks], score=[p[2] for p in picks])
    other = at(*[t[:2] for t in truth])
    distances = np.hypot(one.x[:, None] - other.x, one.y[:, None] - other.y)
    if len(np.unique(distances)) != distances.size or len(np.unique(one.score)) != len(one):
        return  # a tie goes by the order
    first = match(one, other, Rules(60.0))
    second = match(one.take(np.array(shuffled[0], int)), other.take(np.array(shuffled[1], int)), Rules(60.0))
    assert pairs(first) == {(shuffled[0][pick], shuffled[1][true]) for pick, true in pairs(second)}
    np.testing.assert_array_equal(score_curve([first]).f1, score_curve([second]).f1)


def test_it_is_the_best_assignment_where_particles_stand_apart():
    rng = np.random.default_rng(5)
    truth = at(*[(60.0 * i + 30, 60.0 * j + 30) for i in range(5) for j in range(4)])
    picks = at(*rng.uniform(0, 300, (80, 2)))
    tolerance = 25.0
    distances = np.hypot(picks.x[:, None] - truth.x, picks.y[:, None] - truth.y)
    rows, columns = linear_sum_assignment(np.where(distances <= tolerance, distances - 1e3, 0.0))
    best = [(int(p), int(t)) for p, t in zip(rows, columns, strict=True) if distances[p, t] <= tolerance]
    found = match(picks, truth, Rules(tolerance))
    assert pairs(found) == set(best)
    numbers = summarise([found])
    far = [distances[pair] for pair in best]
    assert numbers.mean_distance == pytest.approx(np.mean(far))
    assert numbers.rms_distance == pytest.approx(np.sqrt(np.mean(np.square(far))))


def test_the_most_pairs_count_then_the_nearest():
    truth = at((100, 100), (110, 100))
    picks = at((106, 100), (114, 100), (107, 100), score=[0.9, 0.1, 0.5])
    found = match(picks, truth, Rules(10.0))
    assert pairs(found) == {(0, 0), (2, 1)}  # 6 + 3 px; every other two pairs are farther apart
    assert found.distance.tolist() == pytest.approx([6, math.nan, 3], nan_ok=True)
    assert summarise([found]).precision == pytest.approx(2 / 3)


def test_the_nearest_pair_yields_where_it_costs_a_match():
    """Nearest first would pair the pick at 104 with the particle at 106 and leave two without a partner."""
    found = match(at((104, 100), (112, 100)), at((96, 100), (106, 100)), Rules(8.0))
    assert pairs(found) == {(0, 0), (1, 1)}
    chain = at(*((10.0 * i, 0.0) for i in range(50)))
    moved = at(*((10.0 * i + 5.5, 0.0) for i in range(-1, 49)))
    assert len(pairs(match(moved, chain, Rules(5.6)))) == 50


def test_many_picks_are_matched_exactly():
    """Of a crowded micrograph, by the graph's maximum matching; the sum of distances by components."""
    rng = np.random.default_rng(2)
    picks, truth = (
        at(*rng.uniform(0, 1500, (5000, 2)), score=rng.uniform(size=5000)),
        at(*rng.uniform(0, 1500, (5000, 2))),
    )
    found = match(picks, truth, Rules(14.0))
    near = cKDTree(positions(picks)).sparse_distance_matrix(cKDTree(positions(truth)), 14.0, output_type="coo_matrix")
    assert (found.partner >= 0).sum() == (maximum_bipartite_matching(near.tocsr(), perm_type="column") >= 0).sum()


def test_ties_go_by_score_and_then_by_order():
    truth = at((100, 100))
    picks = at((95, 100), (105, 100), (100, 95))
    assert pairs(match(replace(picks, score=np.array([0.5, 0.7, 0.7])), truth, Rules(5.0))) == {(1, 0)}
    assert pairs(match(replace(picks, score=np.array([math.nan, math.nan, 0.1])), truth, Rules(5.0))) == {(2, 0)}
    assert pairs(match(picks, truth, Rules(5.0))) == {(0, 0)}
    assert pairs(match(at((5, 0)), at((0, 0), (10, 0)), Rules(5.0))) == {(0, 0)}


def test_the_tolerance_itself_is_near_enough():
    assert pairs(match(at((3, 4)), at((0, 0)), Rules(5.0)))
    assert not pairs(match(at((3, 4.001)), at((0, 0)), Rules(5.0)))


def test_an_excluded_particle_takes_its_pick_with_it():
    """Truth 20 px from the left edge: finding it is neither a match nor a false positive, even from further in."""
    truth, picks = at((20, 200), (300, 200)), at((32, 200), (300, 201), (40, 100), (10, 10))
    found = match(picks, truth, Rules(15.0, edge=30.0), shape=SHAPE)
    assert found.truth_counts.tolist() == [False, True]
    assert found.pick_counts.tolist() == [False, True, True, False]
    numbers = summarise([found])
    assert (numbers.picks, numbers.matched, numbers.truth) == (2, 1, 1)


def test_a_particle_that_counts_takes_its_pick_with_it_too():
    found = match(at((28, 200)), at((32, 200)), Rules(15.0, edge=30.0), shape=SHAPE)
    numbers = summarise([found])
    assert (numbers.picks, numbers.matched, numbers.truth) == (1, 1, 1)


def test_edges_are_measured_from_the_outermost_pixel_centres():
    ny, nx = SHAPE
    corners = ((30, 200), (29.9, 200), (nx - 31, 200), (nx - 30.9, 200), (300, 30), (300, ny - 31), (300, ny - 30.9))
    found = match(at(*corners), at(), Rules(1.0, edge=30.0), shape=SHAPE)
    assert found.pick_counts.tolist() == [True, False, True, False, True, True, False]
    with pytest.raises(ValueError, match="shape"):
        match(at(), at(), Rules(1.0, edge=30.0))


def test_nothing_counts_around_an_ignore_mark():
    truth = at((100, 100), (140, 100), (300, 300), view=["ignore", "side", "side"])
    picks = at((101, 100), (143, 100), (153, 100), (300, 300), (200, 100))
    found = match(picks, truth, Rules(20.0, ignore_radius=50.0))
    assert found.truth_counts.tolist() == [False, False, True]
    # on the mark; on the particle near it; just outside the zone and beaten to that particle; found; free
    assert found.pick_counts.tolist() == [False, False, True, True, True]
    outside = match(picks.take(np.array([2])), truth, Rules(20.0, ignore_radius=50.0))
    assert outside.partner.tolist() == [1] and outside.pick_counts.tolist() == [False]


def test_a_mark_is_never_found():
    truth = at((100, 100), view=["ignore"])
    found = match(at((103, 100)), truth, Rules(20.0, ignore_radius=2.0))
    assert found.partner.tolist() == [-1] and found.pick_counts.tolist() == [True]


def test_recall_may_look_at_part_of_the_truth():
    truth = at((0, 0), (50, 0), (100, 0), (150, 0))
    picks = at((0, 0), (50, 0), (75, 50), score=[0.9, 0.8, 0.7])
    found = match(picks, truth, Rules(5.0), for_recall=np.array([True, False, True, False]))
    numbers = summarise([found])
    assert (numbers.precision, numbers.recall) == (pytest.approx(2 / 3), 0.5)
    assert numbers.f1 == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    curve = score_curve([found])
    assert curve.recall.tolist() == [0.5, 0.5, 0.5]
    assert curve.precision.tolist() == pytest.approx([1, 1, 2 / 3])
    assert curve.best == 0


def test_nothing_at_all():
    empty = match(at(), at(), Rules(5.0))
    numbers = summarise([empty])
    assert (numbers.picks, numbers.truth) == (0, 0)
    assert all(math.isnan(value) for value in (numbers.precision, numbers.recall, numbers.f1, numbers.mean_distance))
    missed = summarise([match(at(), at((1, 1)), Rules(5.0))])
    assert math.isnan(missed.precision) and (missed.recall, missed.f1) == (0, 0)
    assert len(score_curve([])) == 0 and score_curve([empty]).best is None
    assert summarise_views([]) == ()


def test_curves_pool_micrographs_and_count_their_false_positives():
    one = match(at((0, 0), (90, 0), (40, 0), score=[0.9, 0.5, 0.3]), at((0, 0)), Rules(5.0))
    two = match(at((0, 0), (90, 0), score=[0.5, 0.4]), at((0, 0)), Rules(5.0))
    curve = score_curve([one, two])
    np.testing.assert_allclose(curve.threshold, [0.9, 0.5, 0.4, 0.3])
    assert curve.matched.tolist() == [1, 2, 2, 2]
    assert curve.false_per_micrograph.tolist() == [0, 0.5, 1, 1.5]
    assert curve.false_positive_rate.tolist() == pytest.approx([0, 1 / 5, 2 / 5, 3 / 5])
    assert curve.f1.tolist() == pytest.approx([2 / 3, 4 / 5, 4 / 6, 4 / 7])
    assert curve.best == 1


@given(st.floats(0, 1), st.floats(0, 1))
def test_f_is_the_harmonic_mean(precision, recall):
    expected = 0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)
    assert float(f_score(np.float64(precision), np.float64(recall))) == pytest.approx(expected)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.sampled_from([360.0, 180.0, 90.0]), st.integers(-5, 5))
def test_angles_are_compared_modulo_the_period(one, other, period, turns):
    difference = float(angle_difference(np.float64(one), np.float64(other), period))
    assert 0 <= difference <= period / 2
    turned = float(angle_difference(np.float64(one + turns * period), np.float64(other), period))
    assert turned == pytest.approx(difference, abs=1e-6)
    assert float(angle_difference(np.float64(other), np.float64(one), period)) == pytest.approx(difference, abs=1e-6)


def test_views_and_angles():
    truth = at(
        *((50.0 * i, 0.0) for i in range(7)),
        view=["side", "side", "side", "side", "top", "top", "ignore"],
        psi=[10.0, 350.0, 0.0, 80.0, math.nan, math.nan, 5.0],
    )
    picks = at(
        *((50.0 * i, 1.0) for i in range(6)), (500.0, 0.0),
        view=["side", "side", "top", "", "top", "side", "top"],
        psi=[100.0, 4.0, 50.0, 86.0, 0.0, 0.0, 0.0],
    )  # fmt: skip
    side, top = summarise_views([match(picks, truth, Rules(5.0))], (360.0, 90.0))
    assert (side.name, side.truth, side.truth_matched, side.view_known, side.view_right) == ("side", 4, 4, 3, 2)
    assert (side.picks, side.picks_matched) == (3, 3) and side.right_view == pytest.approx(2 / 3)
    assert (top.name, top.truth, top.truth_matched, top.view_known, top.view_right) == ("top", 2, 2, 2, 1)
    assert (top.picks, top.picks_matched, top.precision) == (3, 2, pytest.approx(2 / 3))
    assert top.angles == ()
    whole, quarter = side.angles  # |dpsi| is 90, 14 and, where the pick's view is unknown, 6
    assert (whole.period, whole.pairs, whole.median, whole.percentile_90) == (360, 3, 14, pytest.approx(74.8))
    assert (quarter.pairs, quarter.median) == (3, 6)


def test_views_of_other_names_are_not_compared():
    truth, picks = at((0, 0), view=["side"], psi=[10.0]), at((0, 0), view=["average_1"], psi=[12.0])
    found = summarise_views([match(picks, truth, Rules(5.0))])
    assert [(view.name, view.view_known) for view in found] == [("average_1", 0), ("side", 0)]
    assert math.isnan(found[1].right_view) and found[1].angles[0].median == 2


WRITTEN = {  # how a program might write x, y
    "flipped in y": lambda x, y, ny, nx: (x, ny - 1 - y),
    "flipped in x": lambda x, y, ny, nx: (nx - 1 - x, y),
    "180": lambda x, y, ny, nx: (nx - 1 - x, ny - 1 - y),
    "x and y exchanged": lambda x, y, ny, nx: (y, x),
    "90 degrees counter-clockwise": lambda x, y, ny, nx: (y, nx - 1 - x),
    "90 degrees clockwise": lambda x, y, ny, nx: (ny - 1 - y, x),
    "exchanged, both": lambda x, y, ny, nx: (ny - 1 - y, nx - 1 - x),
    "4 times as coarse": lambda x, y, ny, nx: (x / 4, y / 4),
    "2 times as fine": lambda x, y, ny, nx: (2 * x, 2 * y),
    "shifted by -64": lambda x, y, ny, nx: (x - 64, y - 64),
}


@pytest.fixture(scope="module")
def field():
    rng = np.random.default_rng(11)
    ny, nx = 1800, 2400
    return [at(*np.stack((rng.uniform(80, nx - 80, 40), rng.uniform(80, ny - 80, 40)), 1)) for _ in range(2)], (ny, nx)


@pytest.mark.parametrize("how", WRITTEN)
def test_another_reading_is_named(field, how):
    truths, (ny, nx) = field
    rng = np.random.default_rng(3)
    micrographs = []
    for truth in truths:
        x, y = WRITTEN[how](truth.x, truth.y, ny, nx)
        micrographs.append((Particles.at(x + rng.normal(0, 1, 40), y + rng.normal(0, 1, 40)), truth, (ny, nx)))
    name, matched, written = better_reading(micrographs, 20.0)
    assert how in name and matched == 80 and written < 20


def test_the_right_reading_is_left_alone(field):
    truths, shape = field
    rng = np.random.default_rng(4)
    noise = at(*np.stack((rng.uniform(0, shape[1], 40), rng.uniform(0, shape[0], 40)), 1))
    for picks in (truths[0], truths[0].take(np.arange(20)), noise, at(), at((5, 5))):
        assert better_reading([(picks, truths[0], shape)], 20.0) is None


def test_a_flip_needs_the_shape(field):
    (truth, _), (ny, _) = field
    flipped = replace(truth, y=ny - 1 - truth.y)
    assert better_reading([(flipped, truth, None)], 20.0) is None
    assert better_reading([(flipped, truth, field[1])], 20.0) is not None
