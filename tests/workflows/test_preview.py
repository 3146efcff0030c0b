"""The quick look: its scores are the exact search's, and it finds what that finds."""

from fractions import Fraction

import numpy as np
import pytest

import napari_gempick as gp
from helpers import Blobs
from napari_gempick.device.cpu import CpuDevice
from napari_gempick.engine.matching.refine import refine
from napari_gempick.engine.matching.search import Search
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.inputs.bank_maker import BankMaker, source_of
from napari_gempick.inputs.views import choose_grid, view_of
from napari_gempick.io.images.micrograph import read_micrograph
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.geometry import Grid
from napari_gempick.model.settings import PickSettings
from napari_gempick.workflows.preview import agreement, angles_around, coarser, preview, preview_file

CENTRES = [(90.3, 100.6), (210.2, 90.1), (330.8, 120.4), (120.5, 240.2), (260.1, 250.7), (350.4, 330.9), (140.0, 350.0)]
PSIS = [0, 50, 100, 150, 200, 250, 300]


@pytest.fixture
def scene():
    noise = np.random.default_rng(3).standard_normal((430, 440)).astype(np.float32)
    return -Blobs.image((430, 440), 2.0, CENTRES, PSIS) + 0.4 * noise


def settings_of(**more):
    return PickSettings(pixel_size=2.0, mask=("circle:130",), angle_step=4, diameter=130, **more)


def views_of(settings):
    template = -Blobs.image((88, 88), 2.0, [(44, 44)])
    return [view_of("particle", [(template, "the template", 2.0)], "circle:130", settings)]


@pytest.mark.parametrize("lowpass", [None, 10.0], ids=["full grid", "cropped grid"])
def test_scores_are_those_of_the_search(scene, plans, lowpass):
    settings = settings_of(lowpass=lowpass)
    makers = BankMaker(settings, views_of(settings))
    grid = choose_grid(settings, scene.shape, 2.0)
    source = source_of(scene, grid, settings, makers)
    prepared, bank = prepare(source.image, grid, source.lowpass, source.highpass), makers(grid)
    (exact,) = run_search(Search(prepared, bank, plans.tile_shape), DevicePool([CpuDevice(2, plans)]))
    ratio = float(grid.ratio)
    for (x, y), psi in zip(CENTRES, PSIS, strict=True):
        ks = [k for k in range(90) if abs((4 * k - psi + 180) % 360 - 180) <= 12]
        found = refine(prepared, bank, (round(y / ratio) + 2, round(x / ratio) - 3), 5, ks)
        assert found.score == pytest.approx(exact.score[found.map_y, found.map_x], abs=1e-4)
        assert found.k == exact.index[found.map_y, found.map_x]
        assert np.hypot(found.x * ratio - x, found.y * ratio - y) < 0.7
    corner = refine(prepared, bank, (0, 0), 4, [0, 1])
    assert corner is None, "nothing is scored so near the edge"


@pytest.mark.parametrize("threshold", ["0.4", "auto"])
def test_what_the_search_finds(scene, plans, threshold):
    settings = settings_of(threshold=(threshold,))
    grid = Grid(scene.shape, 2.0)
    pool = DevicePool([CpuDevice(2, plans)])
    template = -Blobs.image((88, 88), 2.0, [(44, 44)])
    exact = gp.pick(scene, {"particle": template}, settings).picks
    stages = list(preview(scene, grid, settings, views_of(settings), pool, tile_shape=plans.tile_shape))
    assert stages[0].refined == 0 and stages[-1].refined == stages[-1].candidates
    found = agreement(stages[-1].picks, exact, 6.5)
    assert (found["quick"], found["exact"], found["both"]) == (7, 7, 7)
    assert found["largest_score_difference"] < 0.01
    assert all(np.diff(stages[-1].picks.score) <= 0)


@pytest.mark.realdata
def test_a_side_view_that_looks_nearly_the_same_upside_down(real_data, tmp_path, plan_cache):
    """Both angles are compared on the real grid, not only at the coarse ones, where the right one may be behind."""
    write_mrc(tmp_path / "m.mrc", read_micrograph(real_data / "klh/klh_001.mrc").data[480:1330, 1140:1990], 2.2)
    templates = tuple(f"{view}={real_data}/klh/klh_{view}_average_4.4A.mrc" for view in ("side", "top"))
    settings = PickSettings(templates=templates, diameter=400, lowpass=20, angle_step=6, pixel_size=2.2)
    found = preview_file(tmp_path / "m.mrc", settings, compare=True)
    assert found["both"] >= 4 and found["largest_score_difference"] < 1e-4


@pytest.mark.parametrize(
    ("ratio", "step", "expected"),
    [(1, 4.0, (2, 12.0)), (1, 5.0, (2, 10.0)), (4, 20.0, (4, 20.0)), (1, 0.0, (2, 0.0))],
)
def test_coarser_never_finer(ratio, step, expected):
    settings, grid = coarser(PickSettings(), Grid((500, 500), 2.0, Fraction(ratio)), 130.0, step)
    assert (grid.ratio, settings.angle_step) == expected


def test_agreement_counts_one_to_one(scene):
    picks = gp.pick(scene, {"particle": -Blobs.image((88, 88), 2.0, [(44, 44)])}, settings_of()).picks
    assert agreement(picks, picks, 1)["both"] == 7
    half = picks.take(np.arange(3))
    assert agreement(half, picks, 1)["both"] == 3 and agreement(picks, half, 1)["quick"] == 7
    assert agreement(picks.take(np.arange(0)), picks, 1)["both"] == 0


@pytest.fixture
def files(tmp_path, scene, plan_cache):
    write_mrc(tmp_path / "m.mrc", scene, 2.0)
    write_mrc(tmp_path / "particle.mrc", -Blobs.image((88, 88), 2.0, [(44, 44)]), 2.0)
    return tmp_path


def test_a_file(files):
    found = preview_file(files / "m.mrc", settings_of(templates=(str(files / "particle.mrc"),)), compare=True)
    assert (found["picks"], found["both"], found["exact"]) == (7, 7, 7)


def test_what_limits_the_picks_of_the_search_limits_the_quick_look(files, scene):
    excluded = np.zeros(scene.shape, np.float32)
    excluded[:, :180] = 1
    write_mrc(files / "excluded.mrc", excluded, 2.0)
    for more, left in (({"exclude": str(files / "excluded.mrc")}, 4), ({"local_mean": "9,"}, 0), ({"power": ",9"}, 7)):
        settings = settings_of(templates=(str(files / "particle.mrc"),), **more)
        found = preview_file(files / "m.mrc", settings, compare=True)
        assert (found["picks"], found["both"], found["exact"]) == (left, left, left), more
    with pytest.raises(SettingsError, match="nowhere"):
        preview_file(files / "m.mrc", settings_of(templates=(str(files / "particle.mrc"),), exclude="nowhere.mrc"))


@pytest.mark.parametrize("step", [4.0, 5.0, 7.0])
def test_angles_between_are_looked_at_around_the_whole_circle(step):
    settings = settings_of().model_copy(update={"angle_step": step})
    fine = BankMaker(settings, views_of(settings))
    wide, _ = coarser(settings, Grid((500, 500), 2.0), 130.0, step)
    coarse = BankMaker(wide, views_of(wide))
    around = angles_around(fine, coarse.index)
    every = np.arange(fine.index.n_rotations) * step
    for k in range(coarse.index.n_rotations):
        distance = np.abs((every - k * wide.angle_step + 180) % 360 - 180)
        near = set(np.nonzero(distance < wide.angle_step - 1e-6)[0].tolist())
        assert near <= set(around(k)), "none is left out on either side of 0"
