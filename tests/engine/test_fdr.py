"""False discovery rates from decoys: calibrated where the assumption holds, silent where there is only noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_gempick.engine.fdr import FalseRate, false_rate


def noise(rng, n):
    """Scores of peaks of noise: an exponential tail above 0.1."""
    return 0.1 + rng.exponential(0.03, n)


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


def test_noise_alone_is_not_picked():
    found = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        count = rng.poisson(400, 2)
        rate = false_rate(noise(rng, count[0]), noise(rng, count[1]))
        assert rate.found == (rate.particles > 0) or rate.best_threshold() is None
        found += rate.best_threshold() is not None
    assert found <= 6, "about one in a hundred: several thresholds are looked at"


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
    assert threshold is None or threshold in rate.scores


def test_decoys_are_counted_below_the_tail_and_extrapolated_in_it():
    """Twenty decoys: the five highest give the tail, 0.60 to 0.56 (mean excess of four over the fifth: 0.025)."""
    decoys = np.linspace(0.60, 0.41, 20)
    rate = false_rate(np.array([0.8, 0.585, 0.5]), decoys)
    steps = (np.array([0.8, 0.585]) - 0.56) / 0.025
    assert rate.expected[:2] == pytest.approx(6 * (1 + steps / 5) ** -5.0)
    assert rate.expected[2] == 11 + 1, "one is added"


def test_particles_and_rates_of_known_counts():
    """18 of 20 high scores are true; far below, 600 of 1000 are not, and count for nothing."""
    scores = np.concatenate([np.linspace(0.9, 0.7, 20), np.linspace(0.5, 0.1, 980)])
    rate = FalseRate(scores, np.concatenate([np.full(20, 2.0), np.full(980, 600.0)]))
    assert rate.particles == pytest.approx(20 - 2 - 1.5 * np.sqrt(2 * 2.0))
    assert rate.best_threshold() == scores[19]
    assert rate.at(scores[19]) == pytest.approx(0.1), "a pick whose score is the threshold is one"
    assert rate.at(0.95) == 0 and rate.threshold_for(0.2) == scores[19]
