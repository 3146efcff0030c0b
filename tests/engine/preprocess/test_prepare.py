"""Filters of micrograph and templates, and what is done to a micrograph before them."""

import numpy as np
import pytest
import scipy.fft
from scipy import ndimage

from helpers import Blobs, bank_of, search
from napari_gempick.engine.preprocess.fourier_filters import (
    Averaging,
    CtfTransfer,
    Whitening,
    crop_spectrum,
    cropped_transform,
    frequencies,
    pad_smoothly,
    product,
)
from napari_gempick.engine.preprocess.grey_levels import SAMPLE, Standard, above, median, sampled
from napari_gempick.engine.preprocess.prepare import prepare, remove_gradient, remove_hot_pixels
from napari_gempick.engine.templates.masks import ShapeMask
from napari_gempick.model.ctf import Ctf
from napari_gempick.model.geometry import Grid


def filtered(image, transfer, pixel_size=2.0):
    return scipy.fft.irfft2(scipy.fft.rfft2(image) * transfer(image.shape, pixel_size), s=image.shape)


@pytest.mark.parametrize("shape", [(60, 64), (61, 63)])
def test_averaging_is_the_mean_over_pixels(shape):
    image = np.random.default_rng(0).standard_normal(shape)
    assert np.allclose(filtered(image, Averaging(3, 2.0)), ndimage.uniform_filter(image, 3, mode="wrap"), atol=1e-6)
    if shape == (60, 64):  # an even filter has no shift of its own: twice it is twice the shifted one, moved back
        once = ndimage.uniform_filter(image, 4, mode="wrap", origin=0)
        twice = ndimage.uniform_filter(once, 4, mode="wrap", origin=-1)
        mine = filtered(filtered(image, Averaging(4, 2.0)), Averaging(4, 2.0))
        assert np.allclose(mine, twice, atol=1e-3)


def test_averaging_means_pixels_of_the_file_on_any_grid():
    fine, coarse = Averaging(4, 2.0)((64, 64), 2.0), Averaging(4, 2.0)((32, 32), 4.0)
    assert np.allclose(fine[:16, :16], coarse[:16, :16], atol=1e-6)


def test_whitening_makes_the_spectrum_flat():
    rng, shape = np.random.default_rng(1), (700, 640)
    colour = 1 / (0.01 + frequencies(shape, 2.0))
    image = scipy.fft.irfft2(scipy.fft.rfft2(rng.standard_normal(shape)) * colour, s=shape).astype(np.float32)
    white = filtered(image, Whitening.of(image, 2.0))
    power = np.abs(scipy.fft.rfft2(white)) ** 2
    ring = (frequencies(shape, 2.0) / 0.025).astype(int)
    levels = np.bincount(ring.ravel(), power.ravel())[1:10] / np.bincount(ring.ravel())[1:10]
    assert levels.max() / levels.min() < 1.15
    assert hash(Whitening.of(image, 2.0)) == hash(Whitening.of(image, 2.0))
    low = Whitening.of(image, 2.0, lowpass=20.0)((64, 64), 2.0)
    assert low[0, -1] == pytest.approx(low[0, 14], rel=0.05)


def test_hot_pixels_and_no_others_are_replaced():
    rng = np.random.default_rng(2)
    image = rng.standard_normal((100, 120)).astype(np.float32)
    spoiled = image.copy()
    spoiled[[3, 50, 99], [7, 60, 0]] += 40
    mended, count = remove_hot_pixels(spoiled, 12.0)
    assert count == 3 and np.count_nonzero(mended != image) == 3
    assert np.abs(mended).max() < 6
    assert remove_hot_pixels(np.ones((20, 20), np.float32), 5)[1] == 0


@pytest.mark.parametrize(("order", "curved"), [(1, 0.0), (2, 3.0)])
def test_gradient_goes_and_the_mean_stays(order, curved):
    image = np.random.default_rng(3).standard_normal((200, 260)).astype(np.float32) + 50
    y, x = np.indices(image.shape) / 200.0
    flat = remove_gradient((image + 8 * x - 5 * y + curved * x * y).astype(np.float32), order)
    assert np.abs(flat - image - (flat - image).mean()).max() < 0.15
    assert flat.mean() == pytest.approx((image + 8 * x - 5 * y + curved * x * y).mean(), abs=0.02)


@pytest.mark.parametrize("transfer", [Averaging(4, 2.0), "white", "all"])
def test_both_sides_get_the_same_filter(plans, transfer):
    """A noise-free particle scores one, whatever the filter."""
    image = Blobs.image((260, 260), 2.0, [(128, 131)], [90])
    image += 1e-3 * np.random.default_rng(4).standard_normal(image.shape).astype(np.float32)
    white = Whitening.of(image + np.random.default_rng(5).standard_normal(image.shape).astype(np.float32), 2.0)
    both = {"white": white, "all": product(Averaging(3, 2.0), white)}.get(transfer, transfer)
    lens = CtfTransfer(Ctf(8000, 8000)) if transfer == "all" else None
    seen = image if lens is None else filtered(image, lens).astype(np.float32)
    mask = ShapeMask("circle", (150.0, 150.0))
    template = Blobs.image((96, 96), 2.0, [(48, 48)])
    bank = bank_of([template], [mask], step=45, spacing=2.0, pixel_size=2.0, transfer=product(both, lens))
    found = search(seen, bank, plans, grid=Grid(image.shape, 2.0), transfer=both)
    assert found.score[131, 128] > 0.985 and found.bank.psi(found.index[131, 128]) == 90
    assert np.unravel_index(found.score.argmax(), found.score.shape) == (131, 128)


@pytest.mark.parametrize(("slope", "ratio"), [("none", 1), ("ramp", 1), ("bowl", 1), ("ramp", 2), ("bowl", 2)])
def test_a_high_pass_gives_the_scores_near_an_edge_that_a_larger_micrograph_gives(plans, slope, ratio):
    """A slope has no kink where the micrograph ends: the whole, which has no slope at all, says what is right there."""
    whole = Blobs.image((480, 480), 4.0, [(158, 158), (240, 160), (240, 240)]) * 2.5
    whole += np.random.default_rng(7).standard_normal(whole.shape).astype(np.float32)
    y, x = (np.indices((200, 200)) - 100) / 200.0
    added = {"none": 0 * x, "ramp": 10 * (x + y), "bowl": 40 * (x**2 + y**2)}[slope]
    part = (whole[140:340, 140:340] + added).astype(np.float32)
    template, mask = Blobs.image((64, 64), 4.0, [(32, 32)]), ShapeMask("circle", (120.0, 120.0), 16.0)
    filters = {"lowpass": 20.0, "highpass": 400.0}
    bank = bank_of([template], [mask], step=45, spacing=4.0 * ratio, pixel_size=4.0, **filters)
    inside, there = slice(18 // ratio, 182 // ratio), slice(158 // ratio, 322 // ratio)
    scores = search(part, bank, plans, grid=Grid(part.shape, 4.0, ratio), **filters).score[inside, inside]
    right = search(whole, bank, plans, grid=Grid(whole.shape, 4.0, ratio), **filters).score[there, there]
    assert right[0, 0] > 0.85 and abs(scores[0, 0] - right[0, 0]) < 0.02, "a particle in the corner"
    edge = np.ones(scores.shape, bool)
    edge[10 // ratio : -10 // ratio, 10 // ratio : -10 // ratio] = False
    assert np.std((scores - right)[edge]) < 0.01 and np.abs(scores - right).max() < 0.06


def test_without_any_filter_the_pixels_are_untouched():
    image = np.random.default_rng(6).standard_normal((90, 80)).astype(np.float32)
    image = ((image - image.mean()) / image.std()).astype(np.float32)
    assert np.allclose(prepare(image, Grid(image.shape, 2.0)).image, image, atol=1e-6) and product(None, None) is None


@pytest.mark.parametrize("size", [2**20, 2**20 + 1, 1_300_003])
@pytest.mark.parametrize("kind", ["noise", "integers", "sorted", "two values", "outliers in step"])
def test_the_quick_median_is_the_median(size, kind):
    values = np.random.default_rng(3).standard_normal(size).astype(np.float32)
    if kind == "integers":
        values = np.rint(20 * values)
    elif kind == "sorted":
        values = np.sort(values)
    elif kind == "two values":
        values = np.where(values > 0, np.float32(7), np.float32(-2))
    elif kind == "outliers in step":  # where a sample is taken
        values[:: max(1, size // 2**16)] += 100
    assert median(values) == float(np.median(values))
    for level in (0.25, 3e7):
        away = np.abs((values.astype(np.float64) - level).astype(np.float32))
        assert median(values, level) == pytest.approx(float(np.median(away)), abs=0 if level > 1 else 1e-7)


@pytest.mark.parametrize("shape", [(60, 64), (61, 63), (120, 45)])
@pytest.mark.parametrize("cropped", [(30, 32), (31, 33), (17, 20)])
@pytest.mark.parametrize("extra", [(0, 0), (40, 31), (130, 70)])
def test_a_cropped_transform_is_the_cropped_part_of_the_transform(shape, cropped, extra):
    """Of the padded image, transformed by rows in single precision."""
    image = (7 + np.random.default_rng(5).standard_normal(shape)).astype(np.float32)
    padded = tuple(np.add(shape, extra))
    for standard in (None, Standard.of(image)):
        plain = image if standard is None else standard.applied(image)
        wanted = crop_spectrum(scipy.fft.rfft2(pad_smoothly(plain, padded)), padded[0], cropped)
        assert np.array_equal(cropped_transform(image, padded, cropped, standard), wanted)


def test_a_slope_leaves_and_the_mean_stays():
    """Also where the blocks that it is fitted to do not fill the image."""
    noise = np.random.default_rng(8).standard_normal((300, 517))
    v, u = np.mgrid[-1:1:300j, -1:1:517j]
    slope = 3 * u - 5 * v + 2 * u * v + 4 * v * v - u * u
    flat = remove_gradient((100 + noise + slope).astype(np.float32), 2)
    assert flat.mean() == pytest.approx(100 + noise.mean() + slope.mean(), abs=1e-3)
    assert np.abs(flat - flat.mean() - noise + noise.mean()).max() < 0.03
    plane = remove_gradient((100 + noise + slope).astype(np.float32), 1).astype(float) - 100 - noise
    assert abs(np.vdot(plane - plane.mean(), u)) < 300 and np.vdot(plane, v * v - (v * v).mean()) > 1e4


def test_the_quick_median_sorts_few_pixels(monkeypatch):
    values = np.random.default_rng(3).standard_normal(2**20).astype(np.float32)
    middle = float(np.median(values))
    monkeypatch.setattr(np, "median", None)
    assert median(values) == middle


@pytest.mark.parametrize("extra", [(9, 0), (0, 12), (9, 12), (40, 3)])
def test_padding_mirrors_both_ends_and_fades_between(extra):
    """Also where there are more new rows than old ones."""
    image = np.random.default_rng(6).standard_normal((30, 32)).astype(np.float32)
    padded = pad_smoothly(image, tuple(np.add(image.shape, extra)))
    assert np.array_equal(padded[:30, :32], image)
    for lines, n, new in ((padded[:, :32], 30, extra[0]), (padded.T, 32, extra[1])):
        mirror = np.concatenate([np.arange(n), np.arange(n)[::-1]])
        end, beginning = (lines[mirror[(n + k) % (2 * n)]] for k in (np.arange(new), np.arange(new) - new - n))
        assert np.array_equal(lines[n : n + new // 3], end[: new // 3])
        assert np.array_equal(lines[n + new - new // 3 :], beginning[new - new // 3 :])
        assert (lines[n:] >= np.minimum(end, beginning) - 1e-6).all()
        assert (lines[n:] <= np.maximum(end, beginning) + 1e-6).all()


def test_standardised_in_double_precision():
    """Grey levels of 1e5 on unit noise, in blocks that do not divide the image."""
    image = (1e5 + np.random.default_rng(4).standard_normal((1237, 411))).astype(np.float32)
    wanted = (image.astype(np.float64) - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)
    found = Standard.of(image).applied(image)
    assert found.dtype == np.float32 and np.abs(found - wanted).max() < 2e-6


@pytest.mark.parametrize("level", [0.0, 1e5, 3e7])
def test_a_level_is_taken_off_in_double_precision(level):
    image = (level + 1000 * np.random.default_rng(4).standard_normal((50, 41))).astype(np.float32)
    wanted = (image.astype(np.float64) - level).astype(np.float32)
    into = np.empty_like(image)
    assert np.array_equal(above(image, level), wanted) and np.array_equal(above(image, level, into), wanted)
    assert np.array_equal(into, wanted)


def test_a_sample_has_whole_rows_that_can_be_used():
    image = np.arange(4096, dtype=np.float32)[:, None] + np.zeros((1, 4096), np.float32)
    usable = np.arange(4096) % 3 > 0
    for found, wanted in ((sampled(image), np.ones(4096, bool)), (sampled(image, usable), usable)):
        rows = found[:, 0].astype(int)
        assert found.shape[1] == 4096 and wanted[rows].all()
        assert SAMPLE / 2 < found.size < SAMPLE
        assert np.ptp(rows) > 4000 and (rows % 2).mean() == pytest.approx(0.5, abs=0.05), "of no period of two"
    assert sampled(image[:5, :7], usable[:5]).shape == (3, 7)
