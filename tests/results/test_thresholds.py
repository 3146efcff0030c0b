"""Which candidates count for a threshold, which threshold is taken, and the numbers that a selection is made of."""

from dataclasses import replace

import numpy as np
import pytest

from helpers import picks_at
from napari_gempick.engine.picking.false_rate import false_rate
from napari_gempick.engine.picking.peaks import Selection
from napari_gempick.io.candidates import Candidates
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.settings import make_settings
from napari_gempick.results.folder import Results
from napari_gempick.results.thresholds import (
    NOTHING,
    candidate_floor,
    decide,
    probability_false,
    scores_of,
    selection_for,
)

VIEWS = ("side", "top")


def picks_of(*rows):
    """Rows are (y, x, score, view), best first."""
    y, x, score, view = np.array(rows, float).T
    return picks_at(x, y, score=score, view=view)


@pytest.fixture
def rates():
    rng = np.random.default_rng(0)
    clear = false_rate(np.r_[rng.normal(0.7, 0.02, 60), rng.uniform(0, 0.3, 200)], rng.uniform(0, 0.3, 200))
    return [clear, false_rate(rng.uniform(0, 0.3, 200), rng.uniform(0, 0.3, 200))]


def test_scores_that_count_are_thinned_and_inside_but_not_cut_by_thresholds():
    candidates = picks_of((20, 20, 0.9, 0), (20, 22, 0.8, 1), (40, 40, 0.3, 1), (1, 40, 0.25, 0), (60, 60, 0.2, 0))
    excluded = np.zeros((80, 80), bool)
    excluded[60, 60] = True
    selection = Selection([0.95, 0.95], 10.0, border=5.0, max_picks=1)
    found = scores_of(candidates, candidates.take(np.array([2])), selection, 0.1, (80, 80), excluded)
    assert [part.astype(float).round(2).tolist() for part in found.picks] == [[0.9], [0.3]]
    assert [part.astype(float).round(2).tolist() for part in found.decoys] == [[], [0.3]]
    lower = scores_of(candidates, candidates, selection, 0.26, (80, 80))
    assert sum(map(len, lower.picks)) == 2, "the floor counts"


def test_a_pick_has_the_probability_of_its_own_view(rates):
    picks = picks_of((0, 0, 0.7, 0), (0, 9, 0.2, 0), (0, 20, 0.2, 1))
    found = probability_false(picks, rates)
    assert found.tolist() == pytest.approx(
        [float(rates[v].probability(picks.score[i])) for i, v in enumerate((0, 0, 1))]
    )
    assert found[0] < 0.05 < 0.5 < found[2]


def test_learned_scores_below_the_floor_of_the_ncc_count(tmp_path):
    picks = picks_of((20, 20, 0.6, 0), (40, 40, 0.05, 0))
    learned = replace(picks, ncc=np.array([0.5, 0.2], np.float32))
    results = Results(tmp_path, make_settings({}), 20.0)
    for found, count in ((picks, 1), (learned, 2)):
        candidates = Candidates(found, ("side",), (80, 80), (80, 80), 2.0, 2.0, 0.1, decoys=found)
        assert len(results.scores(candidates, None).picks[0]) == count
    assert results.scores(replace(candidates, decoys=None), None) is None


def test_the_threshold_that_is_taken(rates):
    assert decide(make_settings({"threshold": {"side": 0.3, "top": 0.5}}), VIEWS, None) == [0.3, 0.5]
    automatic = make_settings({"threshold": "auto"})
    assert decide(automatic, VIEWS, rates) == [rates[0].best_threshold(), NOTHING]
    assert decide(make_settings({"threshold": ("auto", "top=0.2")}), VIEWS, rates) == [rates[0].best_threshold(), 0.2]
    assert decide(make_settings({"fdr": 0.05}), VIEWS, rates) == [rates[0].threshold_for(0.05), NOTHING]
    with pytest.raises(SettingsError, match="needs the decoys"):
        decide(automatic, VIEWS, None)


def test_lengths_of_a_selection_are_pixels_of_the_map_and_of_the_file():
    given = make_settings({"threshold": ("auto", "top=0.2"), "min_distance": 60, "border": 30, "max_picks": 7})
    one = selection_for(given, VIEWS, diameter=100.0, pixel_size=2.0, map_pixel_size=4.0)
    assert (one.thresholds, one.min_distance, one.border, one.max_picks) == ([NOTHING, 0.2], 15.0, 15.0, 7)
    other = selection_for(make_settings({"diameter": 100}), VIEWS, 100.0, 2.0, 4.0)
    assert (other.min_distance, other.border) == (12.5, 25.0)
    assert selection_for(make_settings({}), VIEWS, 100.0, 2.0, 4.0).border == 0


def test_candidates_are_kept_down_to_the_lowest_threshold():
    assert candidate_floor(make_settings({"threshold": ("0.5", "top=0.05")}), VIEWS) == 0.05
    assert candidate_floor(make_settings({"threshold": "auto"}), VIEWS) == 0.1
