"""Local statistics of picks, and their limits."""

import numpy as np
import pytest

from napari_gempick.engine.picking.peaks import Selection, select, with_local
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.picks import Picks
from napari_gempick.model.settings import make_settings


def picks_at(*positions, score=0.5):
    y, x = np.array(positions).T
    n = len(y)
    zero = np.zeros(n, np.int32)
    return Picks(x * 1.0, y * 1.0, x.astype(np.int32), y.astype(np.int32), np.full(n, score, np.float32), zero, zero,
                 zero, np.zeros(n))  # fmt: skip


@pytest.fixture
def image():
    made = np.random.default_rng(0).standard_normal((200, 220)).astype(np.float32)
    made[90:131, 90:131] = 3 * made[90:131, 90:131] - 8
    return made


def local_of(image, picks):
    """Together with others, which change nothing."""
    return with_local(image, 24, picks_at((20, 30)), picks)[1].local


def test_values_against_the_definition(image):
    picks = picks_at((50, 60), (110, 110), (2, 3), (199, 219))
    half = round(24 * np.sqrt(np.pi) / 4)
    found = local_of(image, picks)
    for row, (y, x) in zip(found, ((50, 60), (110, 110), (2, 3), (199, 219)), strict=True):
        near = image[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1].astype(np.float64)
        mean, sigma = (near.mean() - image.mean()) / image.std(), near.std() / image.std()
        assert row == pytest.approx([mean, sigma, (0.5 * sigma) ** 2], abs=1e-4)
    assert np.allclose(local_of(5 * image + 70, picks), found, atol=1e-4), "gain and offset do not matter"


def test_limits_drop_picks_whose_neighbours_stay_suppressed(image):
    picks = picks_at((50, 60), (110, 110), (110, 118))
    picks = Picks(**{**picks.__dict__, "score": np.array([0.5, 0.9, 0.4], np.float32)}).take(np.array([1, 0, 2]))
    (picks,) = with_local(image, 24, picks)
    limits = make_settings({"local_mean": "-1,"}).local_limits()
    kept = select(picks, Selection([0.1], 20, local_limits=limits), image.shape)
    assert [(y, x) for y, x in zip(kept.map_y, kept.map_x, strict=True)] == [(50, 60)]
    assert len(select(picks, Selection([0.1], 20), image.shape)) == 2
    assert kept.local.shape == (1, 3)
    with pytest.raises(SettingsError, match="pick again, or omit --local-mean"):
        select(picks_at((50, 60)), Selection([0.1], 20, local_limits=limits), image.shape)


@pytest.mark.parametrize("text", ["1", "a,b", "2,1", "1,2,3"])
def test_wrong_limits(text):
    with pytest.raises(SettingsError, match="--power"):
        make_settings({"power": text})
