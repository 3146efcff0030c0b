"""Micrographs of a run that borrow from one another: poor ones find their particles, empty ones stay empty."""

from dataclasses import replace

import numpy as np
import pytest

from napari_gempick.engine.picking.false_rate import Shape
from napari_gempick.engine.picking.run_evidence import RunEvidence, Scores, pool

NOISE = 0.012


def noise(rng, scale=1.0, count=300):
    """Scores of local maxima of a Gaussian field."""
    return scale * np.sqrt(0.1**2 + rng.exponential(NOISE, rng.poisson(count)))


def micrograph(rng, particles=(), scale=1.0, count=300):
    """Picks and decoys of one view, with particles of known scores."""
    false, decoys = noise(rng, scale, count), noise(rng, scale, count)
    return Scores((np.concatenate([np.asarray(particles, float), false]),), (decoys,))


def thresholds(parts):
    evidence = RunEvidence(parts)
    return [evidence.rates(number)[0].best_threshold() for number in range(len(parts))]


@pytest.fixture
def rich():
    rng = np.random.default_rng(3)
    return [micrograph(rng, rng.normal(0.6, 0.05, 40)) for _ in range(10)]


def test_a_single_particle_is_found_with_the_help_of_the_run():
    """Its 60 decoys leave too much doubt about how high noise reaches; the 600 of the run do not."""
    rng = np.random.default_rng(10)
    run = [micrograph(rng, rng.normal(0.6, 0.05, 4), count=60) for _ in range(10)]
    found = {"alone": 0, "in the run": 0}
    for seed in range(30):
        one = micrograph(np.random.default_rng(seed), [0.45], count=60)
        borrowed = thresholds([*run, one])[-1]
        found["alone"] += one.rates()[0].best_threshold() is not None
        found["in the run"] += borrowed is not None and 0.3 < borrowed <= 0.45
    assert found["in the run"] >= 25 > found["alone"] + 10


def test_noise_in_a_rich_run_stays_empty(rich):
    rng = np.random.default_rng(4)
    empty = [micrograph(rng) for _ in range(40)] + [Scores((np.zeros(0),), (np.zeros(0),))]
    assert thresholds([*rich, *empty])[len(rich) :] == [None] * 41


def test_a_rich_micrograph_decides_for_itself(rich):
    """Its particles score 0.25 lower than those of the others: by their threshold half of them would be lost."""
    rng = np.random.default_rng(5)
    faint = micrograph(rng, rng.normal(0.35, 0.05, 200))
    own, borrowed = faint.rates()[0].best_threshold(), thresholds([*rich, faint])[-1]
    assert own < 0.32 and borrowed == pytest.approx(own, abs=0.02)
    assert min(thresholds(rich)) > 0.36


def test_a_poor_micrograph_takes_the_threshold_of_the_run(rich):
    """Three particles of 0.6 leave open where between 0.36 and 0.6 the threshold lies; the run's lie down to 0.48."""
    poor = micrograph(np.random.default_rng(6), [0.62, 0.6, 0.58])
    assert thresholds([*rich, poor])[-1] == pytest.approx(np.median(thresholds(rich)), abs=0.05)


def test_micrographs_that_differ_borrow_little():
    rng = np.random.default_rng(7)
    heights = np.linspace(0.4, 0.8, 8)
    alike, differing = (
        [micrograph(rng, rng.normal(height, 0.02, 30)) for height in levels] for levels in ([0.6] * 8, heights)
    )
    weights = [RunEvidence(parts).rates(0)[0].shape.weight for parts in (alike, differing)]
    assert weights[0] > 10 and weights[1] < 0.5


def test_a_noisier_micrograph_is_measured_by_its_own_noise(rich):
    """All its scores are 1.3 times those of the others: by the others' noise, its highest would be particles."""
    rng = np.random.default_rng(8)
    noisy = [micrograph(rng, scale=1.3) for _ in range(20)]
    assert thresholds([*rich, *noisy])[len(rich) :] == [None] * 20


def test_a_run_of_one_is_that_micrograph():
    rng = np.random.default_rng(9)
    one = micrograph(rng, rng.normal(0.5, 0.05, 50))
    (rate,) = RunEvidence([one]).rates(0)
    assert isinstance(rate.shape, Shape)
    assert rate.best_threshold() == one.rates()[0].best_threshold()


def test_whether_there_are_particles_shows_by_the_learned_score_or_the_ncc(rich):
    """Twenty particles that stand clear by the NCC, and not by a learned score of the same candidates."""
    rng = np.random.default_rng(11)
    unclear = micrograph(rng)
    clear = micrograph(rng, particles=np.full(20, 0.6))
    assert RunEvidence([unclear]).rates(0)[0].best_threshold() is None
    both = RunEvidence([replace(unclear, ncc=clear)]).rates(0)[0]
    assert both.found and both.chance == RunEvidence([clear]).rates(0)[0].chance
    others = [replace(one, ncc=one) for one in rich]
    assert RunEvidence([replace(unclear, ncc=clear), *others]).rates(0)[0].found
    assert not RunEvidence([unclear, *rich]).rates(0)[0].found
    assert pool([replace(unclear, ncc=clear), *others]).ncc is not None and pool([unclear, *others]).ncc is None


@pytest.mark.parametrize(("picks", "decoys", "wrong"), [(0, 0, False), (40, 0, False), (40, 40, False), (0, 40, True)])
def test_the_contrast_looks_wrong_where_the_other_one_finds_more(picks, decoys, wrong):
    rng = np.random.default_rng(8)
    there = [rng.normal(0.6, 0.05, number) for number in (picks, decoys)]
    both = [np.concatenate([found, noise(rng)]) for found in there]
    assert Scores((both[0],), (both[1],)).contrast_looks_wrong() == wrong
