"""The learned score: features of known values, nothing learned from noise, no worse than the NCC with few particles."""

from dataclasses import replace

import numpy as np
import pytest

import napari_gempick as gp
from napari_gempick.engine.picking.learned import FEATURES, LEAST, NCC_ONLY, Lesson, features, teach
from napari_gempick.model.picks import Picks

NONE = np.zeros((0, len(FEATURES)))
NOT_JUDGED = (NONE, np.zeros(0, bool))


def candidates(score, y, x, local):
    n = len(score)
    whole = np.zeros(n, np.int32)
    return Picks(
        x=np.array(x, float),
        y=np.array(y, float),
        map_x=np.array(x, np.int32),
        map_y=np.array(y, np.int32),
        score=np.array(score, np.float32),
        k=whole,
        view=whole,
        section=whole,
        psi=np.zeros(n),
        local=np.array(local, np.float32),
    )


def test_features_of_three_candidates():
    """The second lies 3 px from the first, which is better; the third 40 px away, farther than a diameter of 10."""
    picks = candidates(
        [0.9, 0.5, 0.4], [10, 10, 50], [10, 13, 10], [[0.2, 1.1, 0.98], [0.1, 1.0, 0.25], [-0.3, 0.9, 0]]
    )
    found = features(picks, 10.0)
    expected = [
        [0.9, 0.2, 1.1, np.log(0.98), 1.0],
        [0.5, 0.1, 1.0, np.log(0.25), 0.3],
        [0.4, -0.3, 0.9, np.log(1e-6), 1.0],
    ]
    assert found == pytest.approx(np.array(expected), abs=1e-6)
    inverted = features(picks, 10.0, inverted=True)
    assert inverted[:, 1] == pytest.approx(-found[:, 1])
    assert (np.delete(inverted, 1, axis=1) == np.delete(found, 1, axis=1)).all()
    assert features(picks.take(slice(0, 1)), 10.0)[0, 4] == 1


def noise_lessons(count, size=256):
    """Candidates and decoys of micrographs of filtered noise."""
    template = np.exp(-np.hypot(*np.mgrid[-16:16, -16:16]) / 5) * np.cos(np.mgrid[-16:16, -16:16][1] / 3)
    made = []
    for seed in range(count):
        image = np.random.default_rng(seed).standard_normal((size, size)).astype(np.float32)
        settings = gp.PickSettings(pixel_size=4.0, mask=("circle:90",), angle_step=30, lowpass=16, candidate_floor=-1.0)
        found = gp.pick(image, {"one": template.astype(np.float32)}, settings)
        diameter = found.diameter / settings.pixel_size / float(found.scores.grid.ratio)
        made.append(
            Lesson(features(found.candidates, diameter), features(found.decoys, diameter, inverted=True), *NOT_JUDGED)
        )
    return made


def test_nothing_tells_candidates_from_decoys_in_noise():
    """A linear classifier of all features, taught on some micrographs of noise, is at chance on others."""
    lessons = noise_lessons(16)
    taught, judged = lessons[:8], lessons[8:]
    rows, decoys = (np.concatenate([getattr(one, kind) for one in taught]) for kind in ("candidates", "decoys"))
    both = np.concatenate([rows, decoys])
    weights = np.linalg.lstsq(
        np.c_[(both - both.mean(0)) / both.std(0), np.ones(len(both))],
        np.r_[np.ones(len(rows)), -np.ones(len(decoys))],
        rcond=None,
    )[0][:-1] / both.std(0)
    ours, theirs = (
        np.concatenate([getattr(one, kind) for one in judged]) @ weights for kind in ("candidates", "decoys")
    )
    better = (ours[:, None] > theirs).mean()
    assert len(ours) > 800 and abs(better - 0.5) < 0.04, "the area under the ROC curve"


def planted(rng, particles, noise, ncc=0.35, power=1.2):
    """Features of a micrograph in which particles differ from noise by NCC and power, and decoys are like the noise."""

    def some(n, score, more):
        rows = np.stack([rng.normal(score, 0.05, n), *rng.normal(0, 1, (3, n)), rng.uniform(0.5, 1, n)], axis=1)
        rows[:, 3] += more
        return rows

    rows = np.concatenate([some(particles, ncc, power), some(noise, 0.2, 0.0)])
    true = np.arange(len(rows)) < particles
    return Lesson(rows, some(noise, 0.2, 0.0), *NOT_JUDGED), true


def best_f1(scores, true):
    hits = np.cumsum(true[np.argsort(-scores, kind="stable")])
    return float((2 * hits / (np.arange(1, len(true) + 1) + true.sum())).max())


def test_what_tells_particles_from_noise_is_learned_without_a_label():
    rng = np.random.default_rng(0)
    taught = [planted(rng, 100, 900)[0] for _ in range(3)]
    judged = [planted(rng, 100, 900) for _ in range(8)]
    weights = teach(taught)
    assert weights.weights[0] > 0 and weights.weights[3] > 0.4 * weights.weights[0]
    assert np.abs(weights.weights[[1, 2, 4]]).max() < 0.3 * weights.weights[0]
    gained = [
        best_f1(weights.score(one.candidates), true) - best_f1(one.candidates[:, 0], true) for one, true in judged
    ]
    assert np.mean(gained) > 0.02


def test_decoys_keep_the_level_and_the_spread_of_their_ncc():
    rng = np.random.default_rng(1)
    lesson, _ = planted(rng, 100, 900)
    scores = teach([lesson]).score(lesson.decoys)
    ncc = lesson.decoys[:, 0]
    assert np.median(scores) == pytest.approx(np.median(ncc), abs=1e-5)
    assert scores.std() == pytest.approx(ncc.std(), rel=1e-4)


@pytest.mark.parametrize(
    ("particles", "ncc", "power"), [(3, 0.4, 0), (20, 0.35, 0), (60, 0.3, 0), (60, 0.3, 1), (200, 0.28, 0)]
)
def test_never_much_worse_than_the_ncc(particles, ncc, power):
    """120 micrographs, five of which teach at a time."""
    lost = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        made = [planted(rng, particles, 600, ncc, power) for _ in range(6)]
        weights = teach([lesson for lesson, _ in made[:5]])
        lesson, true = made[5]
        lost.append(best_f1(lesson.candidates[:, 0], true) - best_f1(weights.score(lesson.candidates), true))
    assert np.mean(lost) < 0.005 and np.quantile(lost, 0.9) < 0.04


@pytest.mark.parametrize("lessons", [[], [Lesson(NONE, NONE, *NOT_JUDGED)]])
def test_nothing_to_learn_from(lessons):
    assert teach(lessons) is NCC_ONLY
    rows = np.array([[0.3, 9.0, 9.0, 9.0, 9.0]])
    assert NCC_ONLY.score(rows) == np.float32(0.3)


def test_noise_teaches_nothing():
    rng = np.random.default_rng(2)
    weights = teach([planted(rng, 0, 900)[0] for _ in range(3)])
    assert weights is NCC_ONLY and weights.taught_by < LEAST


def test_labels_teach_what_decoys_cannot_know():
    """Contaminants score as particles do, but have a higher local mean: only a person can tell them."""
    rng = np.random.default_rng(3)
    lesson, _ = planted(rng, 200, 800, 0.5)
    dirt = planted(rng, 100, 1, 0.5)[0].candidates[:100]
    dirt[:, 1] += 3
    lesson = replace(lesson, candidates=np.concatenate([lesson.candidates, dirt]))
    judged = replace(lesson, labelled=np.concatenate([lesson.candidates[:20], dirt[:20]]), good=np.arange(40) < 20)
    before, after = teach([lesson]), teach([judged])
    assert after.weights[1] / after.weights[0] < before.weights[1] / before.weights[0] - 0.1
    true = np.arange(300) < 200
    rows = np.concatenate([lesson.candidates[:200], dirt])
    assert best_f1(after.score(rows), true) > best_f1(before.score(rows), true)


def test_a_feature_that_is_the_same_for_all_decoys_is_left_out():
    """Few decoys, all farther apart than a diameter: a candidate at 0.9 of it is no outlier because of that."""
    rng = np.random.default_rng(4)
    lesson, true = planted(rng, 100, 900)
    lesson.candidates[:, 4], lesson.decoys[:, 4] = rng.uniform(0.5, 1, 1000), 1.0
    weights = teach([lesson])
    assert weights.slopes[4] == 0 and weights.weights[0] > 0
    assert best_f1(weights.score(lesson.candidates), true) > 0.7


def test_labels_of_one_kind_count_where_decoys_teach_too():
    rng = np.random.default_rng(3)
    lesson, _ = planted(rng, 200, 800, 0.5)
    dirt = planted(rng, 40, 1, 0.5)[0].candidates[:40]
    dirt[:, 1] += 3
    before, after = teach([lesson]), teach([replace(lesson, labelled=dirt, good=np.zeros(40, bool))])
    assert after.weights[1] / after.weights[0] < before.weights[1] / before.weights[0] - 0.1
    few = Lesson(lesson.candidates[:0], lesson.decoys, dirt, np.zeros(40, bool))
    assert teach([few]) is NCC_ONLY
