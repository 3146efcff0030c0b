"""Poses between the pixels and angles of the search: against planted ones, and against the full grid's scores."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

import napari_gempick as gp
from helpers import Blobs
from napari_gempick.device.cpu import CpuDevice
from napari_gempick.engine.matching.pipeline import search_all
from napari_gempick.engine.matching.pose import PARTS, REACH, PoseRefiner
from napari_gempick.engine.matching.search import Search
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.picking.peaks import APART, _lowest, find_peaks
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.inputs.bank_maker import BankMaker, source_of
from napari_gempick.inputs.views import view_of
from napari_gempick.model.geometry import Grid
from napari_gempick.model.settings import PickSettings

PIXEL = 2.0
RNG = np.random.default_rng(11)
CENTRES = [(80 + 82 * i + RNG.uniform(-4, 4), 80 + 82 * j + RNG.uniform(-4, 4)) for i in range(6) for j in range(6)]
PSIS = RNG.uniform(0, 360, len(CENTRES)).tolist()
SHAPE = (570, 572)
TEMPLATE = Blobs.image((88, 88), PIXEL, [(44, 44)])


@pytest.fixture(scope="module")
def scene():
    noise = np.random.default_rng(3).standard_normal(SHAPE)
    return (Blobs.image(SHAPE, PIXEL, CENTRES, PSIS) + 0.5 * noise).astype(np.float32)


def settings_of(**more):
    values = {"pixel_size": PIXEL, "mask": ("circle:130",), "angle_step": 4, "lowpass": 30, "threshold": ("0.3",)}
    return PickSettings(**{**values, "threads": 1, **more})


def errors(picks, score):
    """Return the root mean square of distance (file pixels) and psi (degrees), and the mean score."""
    away, turned, scores = [], [], []
    for (x, y), psi in zip(CENTRES, PSIS, strict=True):
        distance = np.hypot(picks.x - x, picks.y - y)
        best = int(distance.argmin())
        assert distance[best] < 8
        away.append(distance[best])
        turned.append(abs((picks.psi[best] - psi + 180) % 360 - 180))
        scores.append(score[best])
    return np.sqrt(np.mean(np.square(away))), np.sqrt(np.mean(np.square(turned))), np.mean(scores)


@pytest.fixture(scope="module")
def full(scene, plans):
    picks = gp.pick(scene, {"particle": TEMPLATE}, settings_of(grid="full")).picks
    assert picks.refined_score is None, "a step that is given is kept on the full grid"
    return errors(picks, picks.score)


def test_as_near_to_planted_poses_as_on_the_full_grid(scene, full, plans):
    found = gp.pick(scene, {"particle": TEMPLATE}, settings_of())
    assert found.scores.grid.ratio == 15 / 2
    position, psi, score = errors(found.picks, found.picks.refined_score)
    assert position < full[0] + 0.2 and psi < 1.3 * full[1] and score == pytest.approx(full[2], abs=0.01)
    searched, _ = find_peaks(found.scores, None, 0.3)
    before = errors(searched, searched.score)
    assert before[0] > full[0] + 0.5 and before[2] < full[2] - 0.03, "what the search leaves is worse"
    of_map = found.scores.score[found.candidates.map_y, found.candidates.map_x]
    np.testing.assert_array_equal(found.candidates.score, of_map, err_msg="thresholds act on the searched scores")
    refined = np.isfinite(found.candidates.refined_score)
    assert (found.candidates.refined_score[refined] >= found.candidates.score[refined]).all()


@pytest.mark.parametrize("grid", ["full", "auto"])
def test_a_coarse_automatic_step_costs_no_angle(scene, full, grid, plans):
    found = gp.pick(scene, {"particle": TEMPLATE}, settings_of(angle_step=None, grid=grid))
    assert found.scores.bank.angle_step == 360 / 27, "asin(30 / 130) is 13.34 degrees"
    position, psi, _ = errors(found.picks, found.picks.refined_score)
    assert position < full[0] + 0.3 and psi < 1.3 * full[1] + 0.5


def test_scores_between_the_pixels_are_those_of_the_full_grid(scene, plans):
    """Thirds of a map pixel are the pixels of the file where the ratio is 3."""
    assert PARTS == 3
    settings = settings_of(lowpass=12, angle_step=0, mask_edge=24)
    views = [view_of("particle", [(TEMPLATE, "the template", PIXEL)], "circle:130", settings)]
    searched = {}
    for ratio in (1, 3):
        grid = Grid(SHAPE, PIXEL, ratio)
        makers = BankMaker(settings, views)
        source = source_of(scene, grid, settings, makers)
        prepared, bank = prepare(source.image, grid, source.lowpass), makers(grid)
        (maps,) = run_search(Search(prepared, bank, plans.tile_shape), DevicePool([CpuDevice(1, plans)]))
        searched[ratio] = maps, PoseRefiner(prepared, bank)
    exact, refiner = searched[1][0].score, searched[3][1]
    map_y, map_x = (np.array([40, 61, 97], np.int32), np.array([55, 30, 120], np.int32))
    found = refiner._scores(map_y, map_x, np.zeros((3, 1), np.int64))[:, 0]
    reach = REACH * PARTS
    for block, y, x in zip(found, map_y, map_x, strict=True):
        window = exact[3 * y - reach : 3 * y + reach + 1, 3 * x - reach : 3 * x + reach + 1]
        np.testing.assert_allclose(block, window, atol=0.004)


@pytest.mark.parametrize(
    ("more", "period"),
    [
        ({"mask": ("rectangle:140x90",)}, 360),
        ({"mask": ("auto",), "angle_step": 3, "grid": "4"}, 360),
        ({"in_plane_symmetry": ("3",)}, 120),
        ({"angle_range": 90}, None),
        ({"angle_step": 0}, None),
        ({"angle_step": 7, "highpass": 300, "averaging": 2}, 360),
        ({"angle_step": 120}, 360),
        ({"grid": "9/4", "lowpass": None}, 360),
    ],
)
def test_whatever_is_searched_poses_stay_beside_what_was_found(scene, more, period, plans):
    part = scene[:300, :300]
    found = gp.pick(part, {"a": TEMPLATE, "b": TEMPLATE[::-1]}, settings_of(**more))
    searched, _ = find_peaks(found.scores, None, 0.1)
    some, ratio = found.candidates, float(found.scores.grid.ratio)
    refined = np.isfinite(some.refined_score)
    least = np.array([_lowest(some, found.decoys, view) for view in (0, 1)])
    high = some.score >= least[some.view]
    assert 0 < refined.sum() < len(refined) and not (refined & ~high).any()
    near = APART * found.diameter / found.scores.grid.map_pixel_size
    assert pdist(np.stack([some.map_y, some.map_x], axis=1)[refined]).min(initial=np.inf) >= near, "one in a place"
    for one in np.flatnonzero(high & ~refined):
        apart = np.hypot(some.map_y[:one] - some.map_y[one], some.map_x[:one] - some.map_x[one])
        assert apart[refined[:one]].min() < near, "a better one is refined in its place"
    for field in ("score", "map_x", "map_y", "k", "view", "section"):
        np.testing.assert_array_equal(getattr(some, field), getattr(searched, field))
    for field in ("x", "y", "psi"):
        np.testing.assert_array_equal(getattr(some, field)[~refined], getattr(searched, field)[~refined])
    away = np.maximum(abs(some.x / ratio - some.map_x), abs(some.y / ratio - some.map_y))
    assert away.max() <= REACH + 0.51 and (some.refined_score[refined] <= 1).all()
    assert (some.refined_score[refined] >= some.score[refined]).all()
    if period is not None:
        assert (some.psi >= 0).all() and (some.psi < period).all()
    if more.get("angle_step") == 0:
        assert not some.psi.any()


@pytest.mark.parametrize("threshold", ["0.01", "0.3", "0.9", "auto"])
def test_the_threshold_changes_no_candidate(scene, threshold, plans):
    """Another threshold may be chosen later, by retuning or with a slider; one below the floor only adds candidates."""
    floor = 0.35
    noisy = scene + 5 * np.random.default_rng(8).standard_normal(scene.shape).astype(np.float32)
    found = [
        gp.pick(noisy, {"particle": TEMPLATE}, settings_of(threshold=(text,), candidate_floor=floor)).candidates
        for text in ("0.5", threshold)
    ]
    found = [picks.take(picks.score >= floor) for picks in found]
    assert 0 < np.isfinite(found[0].refined_score).sum() < len(found[0])
    for field in ("x", "y", "psi", "refined_score"):
        assert getattr(found[0], field).tobytes() == getattr(found[1], field).tobytes()


def test_a_round_particle_has_some_angle(plans):
    y, x = np.indices((300, 300))
    image = sum(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 200) for cx, cy in [(90.3, 80.8), (200.7, 190.4)])
    image = (image + 0.1 * np.random.default_rng(0).standard_normal(image.shape)).astype(np.float32)
    y, x = np.indices((81, 81)) - 40
    picks = gp.pick(image, {"disc": np.exp(-(x**2 + y**2) / 200)}, settings_of(threshold=("0.7",))).picks
    assert len(picks) == 2 and np.isfinite(picks.psi).all()
    assert sorted(picks.x.tolist()) == pytest.approx([90.3, 200.7], abs=0.3)


def test_the_same_bytes_for_any_number_of_threads(scene, plans):
    one, two = (
        gp.pick(scene, {"particle": TEMPLATE}, settings_of(devices=devices, threads=threads)).candidates
        for devices, threads in (("cpu", 1), ("cpu,cpu", 3))
    )
    for field in ("x", "y", "psi", "score", "refined_score"):
        assert getattr(one, field).tobytes() == getattr(two, field).tobytes()


def test_decoys_are_searched_scores_with_and_without(scene, plans):
    settings = settings_of()
    makers = BankMaker(settings, [view_of("particle", [(TEMPLATE, "t", PIXEL)], "circle:130", settings)])
    grid = Grid(SHAPE, PIXEL, 7)
    (outcome,) = search_all(
        [lambda: source_of(scene, grid, settings, makers)], DevicePool([CpuDevice(1, plans)]), decoys=True
    )
    plain = find_peaks(outcome.scores, outcome.decoys, 0.1)
    refined = find_peaks(outcome.scores, outcome.decoys, 0.1, refine=outcome.refine)
    for one, other in zip(plain, refined, strict=True):
        assert one.score.tobytes() == other.score.tobytes()
    assert np.isfinite(refined[0].refined_score[refined[0].score > refined[1].score.max()]).all()
