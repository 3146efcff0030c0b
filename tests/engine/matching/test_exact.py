"""Saved maps against a brute-force float64 NCC: the definition itself."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracle
from helpers import Blobs, bank_of, search
from napari_gempick.device.base import HOST
from napari_gempick.device.cpu import CpuDevice
from napari_gempick.engine.matching.search import Search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.engine.templates.masks import ImageMask, ShapeMask, automatic_weights
from napari_gempick.engine.templates.sampling import ContinuousImage
from napari_gempick.model.geometry import Grid

SPOILERS = ("nothing", "offset", "gradient", "outlier", "flat patch", "faint half", "gain")


def spoil(image, how, rng):
    ny, nx = image.shape
    if how == "offset":
        image = image + 1e5
    elif how == "gradient":
        image = image + np.linspace(0, 100, nx)
    elif how == "outlier":
        image = image.copy()
        image[rng.integers(ny), rng.integers(nx)] = 600 * image.std()  # beyond a thousand it is a defect
    elif how == "flat patch":
        image = image.copy()
        image[: ny // 3, : nx // 3] = 2.5
    elif how == "faint half":
        image = image * np.where(np.arange(nx) < nx // 2, 1e-2, 1.0)
    elif how == "gain":
        image = image * 3e4
    return image.astype(np.float32)


def compare(image, templates, masks, result):
    best, index, scores = oracle.search(image, templates, masks)
    assert np.array_equal(result.index < 0, index < 0)
    assert np.all(result.score[index < 0] == -1)
    assert np.abs(result.score - best).max() <= 1e-4
    ordered = np.sort(np.where(np.isnan(scores), -2, scores), axis=0)
    clear = np.ones(best.shape, bool) if len(templates) == 1 else ordered[-1] - ordered[-2] > 2e-4
    assert np.array_equal(result.index[clear], index[clear])


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(20, 110), st.integers(20, 110)),
    sizes=st.lists(st.tuples(st.integers(3, 37), st.integers(3, 37)), min_size=1, max_size=4),
    soft=st.booleans(),
    how=st.sampled_from(SPOILERS),
    small_tiles=st.booleans(),
)
def test_maps_are_the_definition(plans, seed, shape, sizes, soft, how, small_tiles):
    rng = np.random.default_rng(seed)
    image = spoil(rng.standard_normal(shape), how, rng)
    sizes = [(min(h, shape[0] - 2), min(w, shape[1] - 2)) for h, w in sizes]
    templates = [rng.standard_normal(size).astype(np.float32) for size in sizes]
    masks = [rng.random(size).astype(np.float32) for size in sizes]
    masks = [np.where(m < 0.3, 0, m if soft else 1).astype(np.float32) for m in masks]
    for mask in masks:
        mask.flat[:2] = 1  # never empty, never a single pixel
        mask[mask.shape[0] // 2, mask.shape[1] // 2] = 1
    compare(
        image, templates, masks, search(image, bank_of(templates, masks), plans, tile=(64, 80) if small_tiles else None)
    )


@pytest.mark.parametrize("how", SPOILERS)
def test_single_precision_tiles(plans, how):
    """Compact masks on larger tiles: single precision where the bound allows it, and right all the same."""
    rng = np.random.default_rng(5)
    image = spoil(rng.standard_normal((210, 230)), how, rng)
    templates = [rng.standard_normal((31, 31)).astype(np.float32) for _ in range(3)]
    y, x = np.mgrid[-15:16, -15:16]
    masks = [
        (np.hypot(x, y) <= 14.5).astype(np.float32),
        (abs(x) <= 9).astype(np.float32),
        np.ones((31, 31), np.float32),
    ]
    bank = bank_of(templates, masks)
    made = Search(prepare(image, Grid(image.shape, 1.0)), bank, lambda key, choose: (96, 96))
    precisions = {
        made.precision(tile, made.block(tile, made.images(HOST), HOST)).scores for tile in range(len(made.tiles))
    }
    if how in ("nothing", "offset", "gain"):
        assert precisions == {"single"}
    compare(image, templates, masks, search(image, bank, plans, tile=(96, 96)))


def test_prime_sizes_and_template_as_large_as_the_micrograph(plans):
    rng = np.random.default_rng(0)
    image = rng.standard_normal((101, 97)).astype(np.float32)
    templates = [rng.standard_normal((101, 97)).astype(np.float32)]
    masks = [np.ones((101, 97), np.float32)]
    result = search(image, bank_of(templates, masks), plans)
    compare(image, templates, masks, result)
    assert (result.index >= 0).sum() == 1
    templates.append(image)
    masks.append(masks[0])
    again = search(image, bank_of(templates, masks), plans)
    assert again.score.max() == pytest.approx(1, abs=1e-5)
    assert again.index.max() == 1


@pytest.mark.parametrize("ratio", [1, 2])
def test_automatic_masks_are_weights_of_the_definition(plans, ratio):
    """Soft masks that turn, on both grids: the oracle's scores on the file's grid, and its unscored border."""
    pixel, lowpass, shape = 2.0, 8.0, (140, 132)
    image = Blobs.image(shape, pixel, [(60, 71)], [40]) + np.random.default_rng(6).normal(0, 0.3, shape)
    template = Blobs.image((64, 64), pixel, [(32, 32)])
    mask = ImageMask(automatic_weights(template, edge=4.0), pixel)
    turned = ContinuousImage(template, pixel, lowpass=lowpass)
    masks, extents = zip(*(mask.sample(psi, pixel) for psi in (0, 40, 80)), strict=True)
    assert ((masks[0] > 0) & (masks[0] < 1)).any(), "soft"
    templates = [turned.sample(psi, pixel, extent) for psi, extent in zip((0, 40, 80), extents, strict=True)]
    smooth = prepare(image.astype(np.float32), Grid(shape, pixel), lowpass).image
    best, index, _ = oracle.search(smooth, templates, masks, [(extent.top, extent.left) for extent in extents])
    grid = Grid(shape, pixel, Fraction(ratio))
    how = {"pixel_size": pixel, "spacing": grid.map_pixel_size, "oversampling": grid.oversampling, "lowpass": lowpass}
    result = search(image, bank_of([template], [mask], step=40, full=120, **how), plans, grid=grid, lowpass=lowpass)
    assert np.array_equal(result.index < 0, index[::ratio, ::ratio] < 0)
    assert np.abs(result.score - best[::ratio, ::ratio]).max() < (1e-4 if ratio == 1 else 2e-3)
    assert result.index[result.score == result.score.max()] == 1


def test_tie_goes_to_the_smaller_k(plans):
    """Equal templates in any order of masks: the first k that reaches the score is reported."""
    rng = np.random.default_rng(3)
    image = rng.standard_normal((60, 60)).astype(np.float32)
    base, other = rng.standard_normal((2, 15, 15)).astype(np.float32)
    full, cut = np.ones((15, 15), np.float32), np.ones((15, 15), np.float32)
    cut[:3] = 0
    order = [(other, cut), (base, full), (other, cut), (base, full)] * 5
    result = search(image, bank_of([t for t, _ in order], [m for _, m in order]), plans)
    assert set(np.unique(result.index)) == {-1, 0, 1}


def test_shared_mask_statistics_are_computed_once(plans, monkeypatch):
    rng = np.random.default_rng(3)
    calls = []

    class Counting(CpuDevice):
        def worker(self, fft_shape):
            worker = super().worker(fft_shape)
            inner = worker.reciprocal_sigma
            worker.reciprocal_sigma = lambda tile, squares, masks, *a: (
                calls.append(len(masks)),
                inner(tile, squares, masks, *a),
            )[1]
            return worker

    image = rng.standard_normal((90, 90)).astype(np.float32)
    circle = ShapeMask("circle", (21.0, 21.0))
    templates = rng.standard_normal((6, 25, 25)).astype(np.float32)
    bank = bank_of(list(templates), [circle] * 6, step=30)
    assert len(bank.groups) == 1, "a circular mask does not change under rotation"
    search(image, bank, plans, devices=[Counting(2, plans)], tile=(64, 64))
    n_tiles = len(Search(prepare(image, Grid((90, 90), 1.0)), bank, lambda key, choose: (64, 64)).tiles)
    assert sum(calls) == n_tiles


@pytest.mark.parametrize("kind", ["planted", "noise"])
def test_planted_across_every_tile_border(plans, kind):
    """Tiles do not show: the same scores whatever the tile shape, particles on borders included."""
    rng = np.random.default_rng(8)
    image = rng.standard_normal((200, 180)).astype(np.float32)
    template = rng.standard_normal((20, 21)).astype(np.float32)
    if kind == "planted":
        for y in range(15, 180, 12):
            for x in range(15, 160, 33):
                image[y - 10 : y + 10, x - 10 : x + 11] += 0.5 * template
    bank = bank_of([template], [np.ones((20, 21), np.float32)])
    whole = search(image, bank, plans, tile=(256, 256))
    for tile in ((32, 32), (48, 64), (80, 40), (128, 96)):
        cut = search(image, bank, plans, tile=tile)
        assert np.abs(cut.score - whole.score).max() < 2e-5
        assert np.array_equal(cut.index, whole.index)


def test_equivariance(plans):
    """A gain above 0 and an offset change nothing; a shift shifts; inverted contrast changes the sign of one score."""
    rng = np.random.default_rng(2)
    image = rng.standard_normal((80, 90)).astype(np.float32)
    bank = bank_of([rng.standard_normal((11, 13))], [np.ones((11, 13), np.float32)])
    plain = search(image, bank, plans).score
    assert np.abs(search(7 * image - 300, bank, plans).score - plain).max() < 2e-6
    shifted = search(np.roll(image, (5, -7), (0, 1)), bank, plans).score
    assert np.abs(shifted[15:70, 10:70] - plain[10:65, 17:77]).max() < 2e-6
    inverted = search(-image, bank, plans)
    inside = inverted.index >= 0
    assert np.abs(inverted.score + plain)[inside].max() < 2e-6
