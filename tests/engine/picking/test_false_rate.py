"""False discovery rates from decoys: calibrated where the assumption holds, silent where there is only noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from napari_gempick.engine.picking.false_rate import GRID, THRESHOLDS, Excess, Tail, false_rate
from napari_gempick.engine.picking.run_evidence import Scores


def noise(rng, n):
    """Scores of local maxima of a Gaussian field, above 0.1: their number above s falls as exp(-s^2 / 2 sigma^2)."""
    return np.sqrt(0.1**2 + rng.exponential(0.012, n))


@pytest.mark.parametrize(("particles", "height"), [(20, 0.5), (100, 0.3), (100, 0.5), (500, 0.25), (500, 0.3)])
def test_estimate_is_near_the_truth(particles, height):
    errors, losses = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        true = rng.normal(height, 0.04, particles)
        false = noise(rng, 1000)
        scores = np.concatenate([true, false])
        rate = false_rate(scores, noise(rng, 1000))
        threshold = rate.best_threshold()
        assert threshold is not None

        def f1(t, true=true, false=false):
            return 2 * (true >= t).sum() / ((true >= t).sum() + (false >= t).sum() + particles)

        chosen = scores >= threshold
        errors.append(rate.at(threshold) - (false >= threshold).sum() / chosen.sum())
        losses.append(max(f1(t) for t in scores) - f1(threshold))
    assert abs(np.mean(errors)) < 0.03
    assert np.mean(np.abs(errors) < 0.05 + 1 / particles) >= 0.7, "the false picks themselves are a Poisson number"
    assert np.mean(losses) < 0.03


def test_what_is_true_at_a_high_threshold_is_true_at_a_low_one():
    """Twice as many decoys as false picks, as on a crowded micrograph, do not make particles false."""
    rng = np.random.default_rng(0)
    true, false = rng.normal(0.7, 0.03, 20), noise(rng, 100)
    rate = false_rate(np.concatenate([true, false]), noise(rng, 200))
    for threshold in (0.5, 0.25, 0.2, 0.12):
        wrong = (false >= threshold).sum()
        assert rate.at(threshold) == pytest.approx(wrong / (20 + wrong), abs=0.08)
    assert rate.rate[rate.count(0.12) - 1] == 1 and rate.at(0.99) == 0
    assert (rate.shares <= rate.rate).all()
    without = false_rate(false, noise(rng, 100))
    assert without.at(0.12) == pytest.approx(without.rate[without.count(0.12) - 1], abs=0.05), "noise stays noise"


def test_noise_alone_is_not_picked():
    found = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        count = rng.poisson(400, 2)
        rate = false_rate(noise(rng, count[0]), noise(rng, count[1]))
        assert rate.found == (rate.particles > 0) or rate.best_threshold() is None
        found += rate.best_threshold() is not None
    assert found <= 2, "several thresholds are looked at"


def test_few_particles_far_above_the_noise_are_found():
    picked = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        scores = np.concatenate([[0.8, 0.75, 0.7], noise(rng, 300)])
        rate = false_rate(scores, noise(rng, 300))
        threshold = rate.best_threshold()
        assert threshold is not None and threshold <= 0.7 and rate.at(0.7) < 1e-3
        picked.append((scores >= threshold).sum())
    assert np.mean(np.array(picked) <= 5) > 0.9


def test_a_rate_asked_for_is_kept():
    rng = np.random.default_rng(1)
    true, false = rng.normal(0.3, 0.06, 400), noise(rng, 2000)
    rate = false_rate(np.concatenate([true, false]), noise(rng, 2000))
    thresholds = [rate.threshold_for(asked) for asked in (0.01, 0.05, 0.2)]
    assert thresholds == sorted(thresholds, reverse=True)
    for asked, threshold in zip((0.01, 0.05, 0.2), thresholds, strict=True):
        assert rate.at(threshold) <= asked
        real = (false >= threshold).sum() / ((false >= threshold).sum() + (true >= threshold).sum())
        assert real == pytest.approx(asked, abs=0.04)


@pytest.mark.parametrize(("picks", "decoys"), [([], []), ([], [0.3]), ([0.2], []), ([0.3, 0.3], [0.3, 0.3])])
def test_next_to_nothing(picks, decoys):
    rate = false_rate(np.array(picks), np.array(decoys))
    assert rate.best_threshold() is None or picks
    assert 0 <= rate.at(0.1) <= 1 and rate.at(0.9) == 0


@given(
    st.lists(st.floats(-1, 1, width=32), max_size=60),
    st.lists(st.floats(-1, 1, width=32), max_size=60),
)
def test_any_scores(picks, decoys):
    rate = false_rate(np.array(picks), np.array(decoys))
    assert (rate.rate >= 0).all() and (rate.rate <= 1).all() and (np.diff(rate.expected) >= -1e-9).all()
    threshold = rate.best_threshold()
    assert threshold is None or (threshold in GRID and (rate.scores >= threshold).any())


def test_decoys_are_counted_below_the_tail_and_extrapolated_in_it():
    """Twenty decoys: the five highest give the tail, of which the squares exceed 0.56^2 by 0.0564 on average."""
    decoys = np.linspace(0.60, 0.41, 20)
    expected = Tail(decoys).at([0.8, 0.585, 0.5])
    excess = np.sum(np.array([0.60, 0.59, 0.58, 0.57]) ** 2 - 0.56**2)
    steps = (np.array([0.8, 0.585]) ** 2 - 0.56**2) / excess
    assert expected[:2] == pytest.approx(6 * (1 + steps) ** -4.0)
    assert expected[2] == 11 + 1, "one is added"


def test_the_slope_of_a_larger_set_counts_for_fifteen_decoys():
    few, many = np.array([0.5, 0.45, 0.4, 0.39, 0.38]), Excess(40.0, 1000)
    own = few[:4] ** 2 - 0.38**2
    expected = 6 * (1 + (0.7**2 - 0.38**2) / (own.sum() + 15 * 0.04)) ** -(4 + 15.0)
    assert Tail(few, wider=many).at([0.7])[0] == pytest.approx(expected)


def test_the_chance_of_scores_beside_counted_decoys_is_binomial():
    """Of n + d equally likely peaks n or more are picks: the test of two Poisson numbers."""
    decoys = np.linspace(0.5, 0.1, 400)
    scores = np.full(90, 0.35)
    counted = int((decoys >= 0.35).sum())
    assert counted > 60
    assert Tail(decoys).chance(scores)[-1] == pytest.approx(binom.sf(89, 90 + counted, 0.5))


def test_the_smallest_chance_counts_many_thresholds_only_below_the_highest_decoy():
    tail = Tail(np.linspace(0.5, 0.1, 400))
    below, above = np.full(200, 0.35), np.full(3, 0.9)
    assert 1e-4 < tail.chance(below).min() == pytest.approx(tail.smallest_chance(below) / THRESHOLDS)
    assert tail.smallest_chance(above) == tail.chance(above).min()
    assert tail.smallest_chance(np.zeros(0)) == 1


def test_a_score_on_the_grid_reaches_its_own_step():
    rate = false_rate(GRID[100:160], np.linspace(0.3, 0.1, 400))
    assert rate.reaching[99] == 0 < rate.reaching[100]


def test_a_view_without_decoys_borrows_those_of_the_others():
    """Four peaks of noise in a view that has no decoy itself are as high as the other view's: nothing is picked."""
    side = np.array([0.416, 0.355, 0.348, 0.345, 0.344, 0.339, 0.337, 0.323] + [0.3] * 21)
    scores = Scores((side - 0.01, np.array([0.308, 0.302, 0.277, 0.244])), (side, np.zeros(0)))
    assert [rate.best_threshold() for rate in scores.rates()] == [None, None]


def test_particles_and_rates_of_known_counts():
    """20 scores lie above all decoys; below, all is noise and counts for nothing."""
    decoys = np.concatenate([np.linspace(0.52, 0.5, 80), np.linspace(0.5, 0.1, 920)])
    scores = np.concatenate([np.linspace(0.9, 0.7, 20), np.linspace(0.5, 0.1, 980)])
    rate = false_rate(scores, decoys)
    assert rate.particles == pytest.approx(20, abs=0.01), "nothing is taken off where no decoy is near"
    threshold = rate.best_threshold()
    assert 0.53 < threshold <= 0.7 and rate.count(threshold) == 20
    assert rate.rate[20] == 1 and rate.at(0.5) == pytest.approx(1 / 21, abs=1e-3) and rate.at(0.95) == 0
    assert rate.threshold_for(0.2) == pytest.approx(0.7)
    assert rate.reaching[GRID <= 0.7 - 1e-9][0] == pytest.approx(rate.particles, abs=0.01) and rate.reaching[0] == 0


@pytest.mark.parametrize(("taken", "height"), [(0.5, 0.19), (0.6, 0.2)])
def test_on_a_crowded_field_only_a_part_of_the_decoys_counts(taken, height):
    """Faint particles take the room of half of the noise, which the decoys do not know of."""
    off, counted, f1 = [], [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        true, false = rng.normal(height, 0.05, int(taken * 900)), noise(rng, int((1 - taken) * 900))
        rate = false_rate(np.concatenate([true, false]), noise(rng, 900))
        threshold = rate.best_threshold()
        assert threshold is not None
        real = (false >= threshold).sum() / rate.count(threshold)
        off.append(rate.at(threshold) - real)
        counted.append(rate.tail.at([threshold])[0] / rate.count(threshold) - real)
        f1.append(2 * (true >= threshold).sum() / (rate.count(threshold) + len(true)))
    assert np.mean(counted) > 0.12, "all decoys would count too many"
    assert abs(np.mean(off)) < 0.6 * np.mean(counted) and np.std(off) < 0.1
    assert np.mean(f1) > 0.65


@given(
    st.lists(st.floats(-1, 1, width=32), max_size=60),
    st.lists(st.floats(-1, 1, width=32), max_size=60),
)
def test_a_higher_score_is_never_more_likely_to_be_false(picks, decoys):
    rate = false_rate(np.array(picks), np.array(decoys))
    assert (rate.false >= 0).all() and (rate.false <= 1).all() and (np.diff(rate.false) >= -1e-12).all()
