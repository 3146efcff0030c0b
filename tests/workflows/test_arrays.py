"""The notebook interface: the same picks as the command line, from arrays."""

import numpy as np
import pytest

import napari_gempick as gp
from helpers import Blobs
from napari_gempick.inputs.bank_maker import BankMaker
from napari_gempick.inputs.views import view_of
from napari_gempick.model.ctf import Ctf
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


@pytest.mark.parametrize(("lowpass", "ctf"), [(10.0, None), (14.0, Ctf(15000, 15500, 20))])
def test_a_compressed_search_gives_the_same_picks(scene, plans, lowpass, ctf):
    """Cropped grids, one with a CTF: candidates, poses, decoys, automatic thresholds and picks are the same."""
    image, template, _ = scene
    given = {"lowpass": lowpass, "pixel_size": 2.0, "diameter": 130, "angle_step": 5, "threshold": ("auto",)}
    full, ours = (
        gp.pick(image, {"particle": template}, gp.PickSettings(**given, search=search), ctf=ctf)
        for search in ("full", "compressed")
    )
    assert full.scores.bound == 0 < ours.scores.bound
    assert np.abs(full.scores.score - ours.scores.score).max() <= ours.scores.bound + 1e-5
    assert full.thresholds == pytest.approx(ours.thresholds, abs=1e-6)
    assert len(full.candidates) > 40 < len(full.decoys)
    for one, other in ((full.candidates, ours.candidates), (full.decoys, ours.decoys), (full.picks, ours.picks)):
        assert len(one) == len(other)
        order, same = np.lexsort((one.map_x, one.map_y)), np.lexsort((other.map_x, other.map_y))
        for name, near in {"map_y": 0, "map_x": 0, "k": 0, "score": 1e-5, "x": 0.02, "y": 0.02, "psi": 0.05}.items():
            assert np.abs(getattr(one, name)[order] - getattr(other, name)[same]).max(initial=0) <= near, name


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
        (np.eye(50), gp.PickSettings(pixel_size=1.0, phase_flipped="dark"), "ctf="),
    ],
)
def test_wrong_arrays_are_one_sentence(image, settings, words):
    with pytest.raises(gp.GempickError, match=words):
        gp.pick(image, {"side": np.eye(9)}, settings)


def test_templates_without_names_are_one_sentence():
    with pytest.raises(gp.GempickError, match="mapping of view names to arrays"):
        gp.pick(np.eye(50), np.eye(9), gp.PickSettings(pixel_size=1.0))


@pytest.mark.parametrize(("phases", "modulus"), [("no", False), ("dark", True), ("bright", True)])
def test_a_ctf_and_flipped_phases_need_no_file(plans, phases, modulus):
    """A particle through the lens of the formula, in a micrograph whose phases were flipped or not."""
    rng, ctf, n = np.random.default_rng(3), Ctf(14000, 14000, voltage=300, cs=2.7, amplitude_contrast=0.1), 256
    protein = Blobs.image((n, n), 3.0, [(128, 128)], [0])
    frequency = np.hypot(np.fft.fftfreq(n, 3.0)[:, None], np.fft.rfftfreq(n, 3.0)[None])
    wavelength = 0.0196875  # Å, of 300 kV
    phase = (
        np.pi * wavelength * 14000 * frequency**2 - np.pi / 2 * 2.7e7 * wavelength**3 * frequency**4 + np.arcsin(0.1)
    )
    lens = np.sin(phase) if phases == "bright" else -np.sin(phase)  # dark protein as the microscope takes it
    lens = (1 if phases == "bright" else -1) * np.abs(lens) if modulus else lens
    seen = np.fft.irfft2(np.fft.rfft2(protein) * lens, s=(n, n))
    image = seen / seen.std() + 0.05 * rng.standard_normal((n, n))
    settings = gp.PickSettings(
        pixel_size=3.0, angle_step=0, mask=("circle:120",), threshold=("0.5",), phase_flipped=phases
    )
    found = gp.pick(image, {"particle": protein[84:173, 84:173]}, settings, ctf=ctf)
    assert found.picks.score[0] > 0.9
    assert np.hypot(found.picks.x[0] - 128, found.picks.y[0] - 128) < 1.5
    other = settings.model_copy(update={"phase_flipped": {"no": "bright", "dark": "bright", "bright": "dark"}[phases]})
    assert gp.pick(image, {"particle": protein[84:173, 84:173]}, other, ctf=ctf).scores.score[128, 128] < 0.8


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
