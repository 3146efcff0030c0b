"""Picks added by hand count once, keep their distance, and belong to a view."""

import numpy as np
import pytest

from napari_gempick.widgets.state.state import Added, Edits


def all_places(controller):
    picks = controller.loaded.selection.result(controller.choice)
    return np.stack([picks.x, picks.y], axis=1)


@pytest.mark.parametrize("off", [3.0, 9.0, 20.0])
def test_one_particle_counts_once(searched, planted, off):
    """A click beside a found pick takes its place; a second click nearer than the distance moves the first."""
    controller = searched.controller
    apart = controller.loaded.selection.min_distance(controller.tune()) / 2.0
    assert apart > 20.0
    (x, y), number = planted["one"][0], len(controller.choice)
    controller.add_pick(x + off, y)
    assert len(controller.choice) == number
    controller.add_pick(x + off, y + 2)
    assert len(controller.choice) == number and len(controller.edits().added) == 1
    places = all_places(controller)
    distances = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(places))
    assert distances.min() >= apart
    controller.undo()
    controller.undo()
    assert len(controller.choice) == number and not controller.edits().added


def test_an_added_pick_has_a_view_with_maps_and_without(searched, planted):
    controller = searched.controller
    x, y = planted["one"][1]
    controller.add_pick(x + 1, y)
    with_maps = controller.edits().added[0]
    controller.undo()
    controller.loaded = controller.loaded.__class__(**{**controller.loaded.__dict__, "maps": {}})
    controller.add_pick(x + 1, y)
    without = controller.edits().added[0]
    assert with_maps.view == without.view == "particle"
    assert without.score == pytest.approx(with_maps.score, abs=0.1) and without.psi == with_maps.psi
    controller.add_pick(10.0, 210.0)
    assert controller.edits().added[-1].view == "particle" and np.isnan(controller.edits().added[-1].score)


def test_a_candidate_is_called_good_or_bad_once(session):
    """The second answer for a place counts, and the same answer twice is one."""
    controller, pick = session.controller, Added(20.0, 30.0, "particle", 0.5, 10.0, 0)
    for good, edits in (
        (True, Edits(added=(pick,))),
        (True, Edits(added=(pick,))),
        (False, Edits(rejected=((20.0, 30.0),))),
        (False, Edits(rejected=((20.0, 30.0),))),
        (True, Edits(added=(pick,))),
    ):
        controller.judge("one", pick, good)
        assert controller.state.edits["one"] == edits
