"""The CTF's formula, and templates that are multiplied by it against particles seen through the same lens."""

import math

import numpy as np
import pytest
import scipy.fft

from helpers import Blobs, bank_of, picks_at, search
from napari_gempick.engine.preprocess.fourier_filters import CtfTransfer, contrast_transfer, wavelength
from napari_gempick.engine.templates.masks import ShapeMask
from napari_gempick.model.ctf import Ctf
from napari_gempick.model.geometry import Grid, coarsest_ratio
from napari_gempick.workflows.template_bias import average_of_picks, likeness, through_lens

PIXEL = 4.0
ASTIGMATIC = Ctf(24000, 14000, 30)


def test_wavelengths_are_those_of_the_tables():
    assert [round(wavelength(v), 5) for v in (100, 200, 300)] == [0.03701, 0.02508, 0.01969]


def test_zeros_and_sign():
    plain = Ctf(15000, 15000, cs=0, amplitude_contrast=0)
    zeros = np.sqrt(np.arange(1, 6) / (wavelength(300) * 15000))
    assert np.abs(contrast_transfer(0 * zeros, zeros, plain)).max() < 1e-5
    assert contrast_transfer(0.0, 0.7 * zeros[0], plain) < -0.9
    assert contrast_transfer(0.0, 0.0, Ctf(15000, 15000, amplitude_contrast=0.07)) == pytest.approx(-0.07)
    assert contrast_transfer(0.0, 0.0, Ctf(15000, 15000, amplitude_contrast=0, phase_shift=90)) == pytest.approx(-1)
    cs_only = contrast_transfer(0.0, 0.3, Ctf(0, 0, cs=2.7, amplitude_contrast=0))
    assert cs_only == pytest.approx(math.sin(math.pi / 2 * 2.7e7 * wavelength(300) ** 3 * 0.3**4), abs=1e-5)


def test_astigmatism_lies_along_its_angle_towards_larger_rows():
    ctf = Ctf(20000, 10000, 30, cs=0, amplitude_contrast=0)
    s = 0.05
    for direction, defocus in ((30, 20000), (120, 10000), (75, 15000), (210, 20000)):
        a = math.radians(direction)
        expected = -math.sin(math.pi * wavelength(300) * s * s * defocus)
        assert contrast_transfer(s * math.sin(a), s * math.cos(a), ctf) == pytest.approx(expected, abs=1e-5)


def test_modulus_of_flipped_phases_and_reach():
    plain, dark, bright = (CtfTransfer(ASTIGMATIC, how)((64, 64), PIXEL) for how in ("no", "dark", "bright"))
    assert np.array_equal(bright, np.abs(plain)) and np.array_equal(dark, -bright) and (plain > 0).any()
    lens = CtfTransfer(Ctf(15000, 20000, cs=0))
    assert lens.reach(10) == pytest.approx(wavelength(300) / 10 * 20000)
    assert CtfTransfer(Ctf(15000, 20000, cs=2.7)).reach(10) > lens.reach(10)


def test_groups_round_the_defocus():
    assert Ctf(10249, 9751, 33).grouped(500) == Ctf(10000, 10000, 0)
    assert Ctf(10251, 9751, 178).grouped(500) == Ctf(10500, 10000, 0)
    assert Ctf(10251, 9751, 33).grouped(0) == Ctf(10251, 9751, 33)


def through(image, transfer):
    return scipy.fft.irfft2(scipy.fft.rfft2(image) * transfer(image.shape, PIXEL), s=image.shape).astype(np.float32)


@pytest.mark.parametrize("lowpass", [None, 20.0])
@pytest.mark.parametrize("flipped", ["no", "dark", "bright"])
def test_particles_seen_through_the_lens_score_one(plans, lowpass, flipped):
    """At two in-plane angles, the astigmatism fixed to the micrograph: the templates' wrong frame would score less."""
    transfer = CtfTransfer(ASTIGMATIC, flipped)
    centres, psis = [(90, 95), (210, 100), (100, 205), (200, 210)], [0, 45, 90, 250]
    image = through(Blobs.image((300, 300), PIXEL, centres, psis), transfer)
    image += 5e-3 * np.random.default_rng(0).standard_normal(image.shape).astype(np.float32)
    template = Blobs.image((64, 64), PIXEL, [(32, 32)])
    mask = ShapeMask("circle", (230.0, 230.0), 16.0)
    grid = Grid(image.shape, PIXEL, coarsest_ratio(lowpass, PIXEL))
    more = {"spacing": grid.map_pixel_size, "pixel_size": PIXEL, "lowpass": lowpass, "oversampling": grid.oversampling}
    bank = bank_of([template], [mask], step=5, transfer=transfer, **more)
    found = search(image, bank, plans, grid=grid, lowpass=lowpass)
    for (x, y), psi in zip(centres, psis, strict=True):
        at = round(y / float(grid.ratio)), round(x / float(grid.ratio))
        window = tuple(slice(n - 1, n + 2) for n in at)
        best = np.unravel_index(found.score[window].argmax(), (3, 3))
        assert found.score[window][best] > (0.97 if lowpass is None else 0.95)
        assert found.bank.psi(found.index[window][best][None]) == psi
    if lowpass is None and flipped == "no":
        turned = CtfTransfer(Ctf(24000, 14000, 120))
        other = search(image, bank_of([template], [mask], step=5, transfer=turned, **more), plans, grid=grid)
        assert other.score.max() < found.score.max() - 0.02
        assert search(-image, bank, plans, grid=grid).score.max() < 0.9


def test_average_of_turned_particles_looks_as_the_lens_lets_expect():
    """Astigmatism stays with the micrograph: turned back by psi, it lies elsewhere about the particle."""
    transfer = CtfTransfer(ASTIGMATIC)
    centres, psis = [(90.0, 95.0), (210.0, 100.0), (100.0, 205.0)], [50.0, 50.0, 65.0]
    image = through(Blobs.image((300, 300), PIXEL, centres, psis), transfer)
    picks = picks_at(*np.array(centres).T, psi=psis)
    average = average_of_picks(image, picks, (64, 64), 1.0)
    template = Blobs.image((64, 64), PIXEL, [(32, 32)])
    disc = (np.hypot(*(np.indices((64, 64)) - 32)) < 28).astype(np.float32)
    assert likeness(average, through_lens(template, PIXEL, transfer, picks.psi), disc) > 0.995
    assert likeness(average, through_lens(template, PIXEL, transfer, -picks.psi), disc) < 0.98
    assert likeness(average, template, disc) < 0
