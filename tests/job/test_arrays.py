"""The notebook interface: the same picks as the command line, from arrays."""

import numpy as np
import pytest

import napari_gempick as gp
from helpers import Blobs
from napari_gempick.job.inputs import BankMaker, view_of
from napari_gempick.model.geometry import Grid
from napari_gempick.model.settings import PickSettings


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(0)
    centres = [(80.2, 70.6), (200.0, 150.5)]
    image = Blobs.image((230, 280), 2.0, centres, [0, 45]) + 0.2 * rng.standard_normal((230, 280))
    return image, Blobs.image((88, 88), 2.0, [(44, 44)]), centres


def test_pick_and_repick(scene, plans):
    image, template, centres = scene
    settings = gp.PickSettings(pixel_size=2.0, diameter=130, angle_step=15, threshold=("0.5",), lowpass=10)
    found = gp.pick(image, {"particle": template}, settings)
    assert len(found.picks) == 2 and found.diameter == 130
    for x, y in centres:
        assert np.hypot(found.picks.x - x, found.picks.y - y).min() < 0.6
    assert found.scores.grid.ratio == 5 / 2
    again = gp.repick(found, settings.model_copy(update={"threshold": ("0.2",), "min_distance": 20.0}))
    assert len(again.picks) > 2 and np.array_equal(again.candidates.x, found.candidates.x)


def test_masks_as_arrays(scene, plans):
    image, template, _ = scene
    mask = np.zeros((88, 88), np.float32)
    mask[12:77, 12:77] = 1
    found = gp.pick(
        image, {"particle": template}, gp.PickSettings(pixel_size=2.0, angle_step=0), masks={"particle": mask}
    )
    assert found.scores.score.max() > 0.7
    assert (found.scores.index >= 0).sum() == (230 - 64) * (280 - 64)


@pytest.mark.parametrize(
    ("image", "settings", "words"),
    [
        (np.ones((50, 50)), gp.PickSettings(pixel_size=1.0), "not all equal"),
        (np.full((50, 50), np.nan), gp.PickSettings(pixel_size=1.0), "finite"),
        (np.eye(50), gp.PickSettings(), "pixel_size"),
        (np.eye(50), gp.PickSettings(pixel_size=1.0, mask=("top=auto",)), "no view 'top'"),
    ],
)
def test_wrong_arrays_are_one_sentence(image, settings, words):
    with pytest.raises(gp.GempickError, match=words):
        gp.pick(image, {"side": np.eye(9)}, settings)


def test_templates_of_a_view_share_their_automatic_mask():
    """Masks of one view; the diameter, from which the distance of picks follows, is that of a particle."""
    y, x = np.indices((80, 80)) - 40
    upright = ((abs(x) < 8) & (abs(y) < 24)).astype(np.float32)
    views = [view_of("both", [(upright, "1", 2.0), (upright.T, "2", 2.0)], "auto", PickSettings())]
    views += [view_of("one", [(upright, "3", 2.0)], "auto", PickSettings())]
    makers = BankMaker(PickSettings(angle_step=90), views)
    bank = makers(Grid((300, 300), 2.0))
    assert [group.ks.tolist() for group in bank.groups] == [list(range(8)), [8, 10], [9, 11]]
    assert makers.diameter == pytest.approx(2 * np.sqrt(4 / np.pi * 16 * 48), rel=0.3)
