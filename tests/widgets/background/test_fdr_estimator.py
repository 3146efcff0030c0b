"""Thresholds kept at a share of false picks: of made candidates, without a window."""

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from napari_gempick.engine.picking.peaks import Selection
from napari_gempick.io.candidates import Candidates
from napari_gempick.io.listing import MicrographFile
from napari_gempick.model.picks import Picks
from napari_gempick.results.thresholds import scores_of
from napari_gempick.widgets.background.fdr_estimator import FdrEstimator
from napari_gempick.widgets.state.candidate_selection import CandidateSelection
from napari_gempick.widgets.state.loading import Loaded
from napari_gempick.widgets.state.result import Result
from napari_gempick.widgets.state.state import from_plain, to_plain

NAMES, SIDE, PIXEL, DIAMETER = ("side", "top"), 2000, 2.0, 100.0


def peaks(random, particles, noise=3000):
    n = particles + noise
    y, x = random.integers(0, SIDE, (2, n)).astype(np.int32)
    score = np.sort(np.concatenate([random.beta(60, 40, particles), random.beta(6, 20, noise)]).astype(np.float32))
    view = random.integers(0, 2, n).astype(np.int32)
    return Picks(x * 1.0, y * 1.0, x, y, score[::-1], np.zeros(n, np.int32), view, view, np.zeros(n))


def made(particles=300):
    random = np.random.default_rng(5)
    shape = (SIDE, SIDE)
    return Candidates(peaks(random, particles), NAMES, shape, shape, PIXEL, PIXEL, 0.1, peaks(random, 0))


def wanted(candidates, rate, distance):
    selection = Selection([0.1, 0.1], distance / PIXEL)
    scores = scores_of(candidates.picks, candidates.decoys, selection, 0.1, candidates.file_shape)
    return {name: one.threshold_for(rate) for name, one in zip(NAMES, scores.rates(), strict=True)}


@pytest.fixture
def tuned(session):
    """A session on made candidates, and its estimates."""
    controller = session.controller
    estimates = FdrEstimator(controller)
    file = MicrographFile(Path("a.mrc"), PurePosixPath("a.mrc"))
    controller.do("add", replace(controller.state, files=(file,)))
    controller.go(0)
    session.idle()
    controller.results["a"] = Result({"name": "a"}, diameter=DIAMETER)
    controller.loaded = Loaded(
        "a", np.zeros((SIDE, SIDE), np.int8), PIXEL, selection=CandidateSelection(made(), DIAMETER)
    )
    controller.choose()
    session.idle()
    return session, estimates


def test_thresholds_follow_a_rate_until_they_are_moved(tuned):
    session, estimates = tuned
    controller = session.controller
    estimates.set_rate(0.05)
    session.idle()
    first = controller.tune()
    assert first.fdr == 0.05
    for name, value in wanted(made(), 0.05, DIAMETER / 2).items():
        assert first.thresholds[name] == pytest.approx(value, abs=2e-6)
    assert 0 < estimates.false_share() <= 0.055
    controller.set_tune(min_distance=180.0)
    session.idle()
    for name, value in wanted(made(), 0.05, 180.0).items():
        assert controller.tune().thresholds[name] == pytest.approx(value, abs=2e-6)
    second = controller.tune()
    assert second.thresholds != first.thresholds
    controller.undo()  # the distance, and the thresholds that followed it
    session.idle()
    assert controller.tune() == first and controller.history.redoable
    controller.redo()
    session.idle()
    assert controller.tune() == second
    assert from_plain(json.loads(json.dumps(to_plain(controller.state)))) == controller.state
    controller.set_threshold("side", 0.7)
    controller.set_tune(min_distance=60.0)
    session.idle()
    assert controller.tune().fdr is None and controller.tune().threshold("side") == 0.7


def test_a_slider_moved_meanwhile_wins(tuned):
    session, estimates = tuned
    estimates.set_rate(0.05)
    session.controller.set_threshold(None, 0.33)
    session.idle()
    assert session.controller.tune().thresholds == {"side": 0.33, "top": 0.33}


def test_automatic_is_done_once(tuned):
    session, estimates = tuned
    estimates.choose_thresholds()
    session.idle()
    assert session.controller.tune().fdr is None
    assert all(0.35 < value < 0.6 for value in session.controller.tune().thresholds.values())


@pytest.mark.parametrize("rate", [None, 0.05])
def test_noise_has_no_threshold(tuned, rate):
    session, estimates = tuned
    session.controller.loaded = replace(session.controller.loaded, selection=CandidateSelection(made(0), DIAMETER))
    session.controller.choose()
    session.idle()
    estimates.choose_thresholds() if rate is None else estimates.set_rate(rate)
    session.idle()
    assert "above what chance gives" in str(session.notified[-1])
    assert session.controller.tune().thresholds == ({} if rate is None else {"side": 1.0, "top": 1.0})
