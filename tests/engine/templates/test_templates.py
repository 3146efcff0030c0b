"""Sampling, masks and preparation: rotation sense, exactness where nothing is asked, filters, Fourier crop."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import napari_gempick as gp
from helpers import Blobs, bank_of
from napari_gempick.engine.preprocess.fourier_filters import frequencies, transfer
from napari_gempick.engine.preprocess.prepare import pad_smoothly, prepare
from napari_gempick.engine.templates.masks import ImageMask, ShapeMask, automatic_weights, framed, parse_shape
from napari_gempick.engine.templates.sampling import ContinuousImage
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.model.geometry import Extent, Grid, coarsest_ratio

BOX = Extent(44, 44, 43, 43)


def particle(size=88, pixel=2.0, psi=0.0):
    return Blobs.image((size, size), pixel, [(size // 2, size // 2)], [psi])


def test_untouched_template_is_itself():
    image = np.random.default_rng(0).standard_normal((20, 31)).astype(np.float32)
    extent = Extent(10, 15, 9, 15)
    assert np.array_equal(ContinuousImage(image, 1.7).sample(0, 1.7, extent), image)
    assert np.array_equal(ContinuousImage(image, 1.7).sample(360, 1.7, extent), image)


@pytest.mark.parametrize("size", [87, 88])
@pytest.mark.parametrize("psi", [10.0, 90.0, 137.0, 270.0, 359.0])
def test_rotation_is_counter_clockwise_on_screen(size, psi):
    """Against the particle drawn at that angle, whose formula the helper states."""
    extent = Extent(size // 2 - 12, size // 2 - 12, size // 2 - 13, size // 2 - 13)
    turned = ContinuousImage(particle(size), 2.0).sample(psi, 2.0, extent)
    drawn = particle(size, psi=psi)[12:-12, 12:-12][: turned.shape[0], : turned.shape[1]]
    assert np.abs(turned - drawn).max() < 5e-3


@pytest.mark.parametrize("spacing", [1.1, 2.0, 3.7])
@pytest.mark.parametrize("size", [87, 88])
def test_change_of_pixel_size_keeps_the_centre(spacing, size):
    reach = int(60 / spacing)
    sampled = ContinuousImage(particle(size), 2.0, finest=spacing).sample(
        0, spacing, Extent(reach, reach, reach, reach)
    )
    drawn = Blobs.image((2 * reach + 1,) * 2, spacing, [(reach, reach)])
    assert np.abs(sampled - drawn).max() < 5e-3


def test_quarter_turns_are_exact():
    image = np.random.default_rng(1).standard_normal((21, 21)).astype(np.float32)
    turned = ContinuousImage(image, 1.0).sample(90, 1.0, Extent(10, 10, 10, 10))
    assert np.abs(turned - np.rot90(image)).max() < 1e-5


def test_filters_have_the_stated_shape():
    frequency = np.linspace(0, 0.3, 3001).astype(np.float32)
    low = transfer(frequency, 10.0, None)
    assert np.all(low[frequency <= 0.08] == 1) and np.all(low[frequency >= 0.1 + 1e-6] == 0)
    assert low[np.argmin(abs(frequency - 0.09))] == pytest.approx(0.5, abs=1e-3)
    high = transfer(frequency, None, 100.0)
    assert high[0] == 0 and high[np.argmin(abs(frequency - 0.01))] == pytest.approx(0.5, abs=1e-2)
    assert np.all(np.diff(high) >= 0) and high[-1] == 1
    assert frequencies((7, 10), 2.0).shape == (7, 6)


@given(lowpass=st.floats(2, 60), pixel=st.floats(0.5, 5))
def test_coarsest_grid_holds_the_lowpass(lowpass, pixel):
    ratio = coarsest_ratio(lowpass, pixel)
    assert ratio >= 1
    if ratio > 1:
        assert 1 / (2 * pixel * float(ratio)) >= 1 / lowpass * (1 - 1e-6)
    assert float(ratio) >= max(1, 0.85 * lowpass / (2 * pixel)) or ratio == 1


@pytest.mark.parametrize(
    "ratio", [Fraction(2), Fraction(3, 2), Fraction(9, 4), Fraction(10), Fraction(11, 2), Fraction(23, 7)]
)
@pytest.mark.parametrize("shape", [(240, 250), (211, 173)])
def test_fourier_crop_is_exact_below_nyquist(ratio, shape):
    """A band-limited image has the same values at shared positions."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = sum(
        np.cos(2 * np.pi * (fx * x + fy * y) + p) for fx, fy, p in [(0.01, 0.005, 0), (-0.007, 0.012, 1), (0.001, 0, 2)]
    )
    image *= np.outer(*(np.hanning(n) ** 2 for n in shape))  # nothing at the edges, where the image ends
    image = (image - image.mean()).astype(np.float32)
    image /= image.std()
    prepared = prepare(image, Grid(shape, 1.0, ratio), lowpass=2 * float(ratio))
    step = ratio.numerator
    inside = slice(prepared.margin, -prepared.margin or None)
    found = prepared.image[inside, inside]
    every = found[:: ratio.denominator, :: ratio.denominator]
    expected = image[::step, ::step]
    assert found.shape == prepared.grid.shape
    assert np.abs(every[: expected.shape[0], : expected.shape[1]] - expected).max() < 5e-3


def test_sums_of_squares_on_the_cropped_grid():
    """Under a mask without high frequencies they are the full grid's, although a square has twice the band."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((200, 240)).astype(np.float32)
    fine = prepare(image, Grid((200, 240), 1.0), lowpass=6.0).image
    coarse = prepare(image, Grid((200, 240), 1.0, Fraction(3)), lowpass=6.0)
    inside = slice(coarse.margin, -coarse.margin)
    squares = (coarse.image**2 + coarse.square_correction)[inside, inside]
    y, x = np.mgrid[:200, :240]
    weights = np.exp(-((y - 99) ** 2 + (x - 120) ** 2) / (2 * 4.0**2))
    expected = (fine**2 * weights).sum()
    scale = fine[::3, ::3].std() / coarse.image[inside, inside].std()
    assert (squares * weights[::3, ::3]).sum() * 9 * scale**2 == pytest.approx(expected, rel=1e-4)
    plain = (coarse.image[inside, inside] ** 2 * weights[::3, ::3]).sum() * 9 * scale**2
    assert abs(plain - expected) > 1e-3 * expected


@pytest.mark.parametrize("spacing", [3.0, 4.0])
def test_the_spectrum_of_a_mask_on_a_finer_grid(spacing):
    """It is the conjugate one of a lopsided mask, of sum 1, at its place beside the middle of the box."""
    y, x = np.mgrid[:48, :48] - 24
    mask = np.clip(8 - np.hypot(y - 5, x + 7), 0, 1).astype(np.float32)
    bank = bank_of(
        [np.random.default_rng(0).standard_normal((48, 48))], [mask], spacing=spacing, lowpass=12, oversampling=4
    )
    found = np.fft.irfft2(np.conj(bank.twice_as_fine(0, (40, 50))), s=(80, 100))
    fine = spacing / 2
    v, u = np.fft.fftfreq(80, 1 / 80)[:, None] * fine, np.fft.fftfreq(100, 1 / 100) * fine
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert ((found * v).sum(), (found * u).sum()) == (pytest.approx(5, abs=0.2), pytest.approx(-7, abs=0.2))
    assert found[np.hypot(v - 5, u + 7) < 5].mean() == pytest.approx(fine**2 / mask.sum(), rel=0.05)
    assert bank.twice_as_fine(0, (40, 50)) is bank.twice_as_fine(0, (40, 50)), "made once"


def test_no_filter_leaves_the_pixels():
    image = np.random.default_rng(0).standard_normal((50, 41)).astype(np.float32) * 5 + 1e5
    prepared = prepare(image, Grid(image.shape, 1.0))
    wide = image.astype(np.float64)
    assert np.abs(prepared.image - (wide - wide.mean()) / wide.std()).max() < 1e-6


def test_padding_is_continuous_around_the_edges():
    image = np.cumsum(np.random.default_rng(0).standard_normal((60, 50)), axis=1).astype(np.float32)
    padded = pad_smoothly(image, (96, 100))
    assert np.array_equal(padded[:60, :50], image)
    for axis in (0, 1):
        seam = np.abs(np.take(padded, -1, axis) - np.take(padded, 0, axis)).max()
        assert seam <= 2 * np.abs(np.diff(image, axis=axis)).max()


@given(psi=st.floats(0, 360), diameter=st.floats(20, 60), spacing=st.floats(0.7, 4), edge=st.sampled_from([0.0, 5.0]))
def test_circle_is_the_same_at_every_angle(psi, diameter, spacing, edge):
    mask = ShapeMask("circle", (diameter, diameter), edge)
    turned, extent = mask.sample(psi, spacing)
    assert np.array_equal(turned, mask.sample(0, spacing)[0])
    assert turned.shape == extent.box and turned.max() <= 1 and turned[extent.top, extent.left] == 1


@pytest.mark.parametrize(
    ("text", "area"), [("circle:60", np.pi * 900), ("ellipse:60x30", np.pi * 450), ("rectangle:60x30", 1800)]
)
@pytest.mark.parametrize("edge", [0.0, 6.0])
@pytest.mark.parametrize("psi", [0, 30, 90])
def test_shapes_have_their_area_and_direction(text, area, edge, psi):
    mask = ShapeMask(*parse_shape(text), edge)
    weights, extent = mask.sample(psi, 0.5)
    assert weights.sum() * 0.25 == pytest.approx(area, rel=0.03)
    if psi == 0 and "60x30" in text:
        assert extent.right > 1.5 * extent.bottom, "A lies along x"
    if psi == 90 and "60x30" in text:
        assert extent.bottom > 1.5 * extent.right


def test_masks_turn_counter_clockwise_on_screen():
    """The right end of a bar lies above the centre at psi 30; at 90 an image is turned by a quarter."""
    bar, extent = ShapeMask("rectangle", (60.0, 6.0)).sample(30, 1.0)
    cy, cx = extent.top, extent.left
    assert bar[cy - 12, cx + 21] == 1 and bar[cy + 12, cx + 21] == 0
    for n in (30, 31):
        weights = np.zeros((n, n), np.float32)
        weights[12:19, 5:30] = 1
        weights[19:22, 26:30] = 1
        turned, extent = ImageMask(weights, 1.0).sample(90, 1.0)
        whole = np.rot90(np.pad(weights, ((0, 31 - n), (0, 31 - n))))
        assert np.array_equal(turned, whole[15 - extent.top : 16 + extent.bottom, 15 - extent.left : 16 + extent.right])
        assert turned.sum() == weights.sum()


def test_soft_edge_has_its_width():
    weights, extent = ShapeMask("circle", (80.0, 80.0), 8.0).sample(0, 1.0)
    profile = weights[extent.top, extent.left :]
    assert np.all(profile[:36] == 1) and profile[40] == pytest.approx(0.5, abs=1e-3) and len(profile) <= 45


@pytest.mark.parametrize("text", ["circle:", "circle:0", "ellipse:30", "rectangle:axb", "circle:-3"])
def test_wrong_shapes_are_refused(text):
    with pytest.raises(SettingsError, match="--mask"):
        parse_shape(text)


def test_radial_mask_files_do_not_rotate():
    y, x = np.mgrid[-12:13, -12:13]
    disc = (np.hypot(x, y) <= 9).astype(np.float32)
    assert not ImageMask(disc, 1.0, soft=False).rotates
    assert not ImageMask(np.clip(10 - np.hypot(x, y), 0, 1).astype(np.float32), 1.0, soft=False).rotates
    assert ImageMask((abs(x) <= 4).astype(np.float32), 1.0, soft=False).rotates
    disc[3, 12] = 0
    assert ImageMask(disc, 1.0, soft=False).rotates


@pytest.mark.parametrize("soft", [False, True])
def test_rotated_mask_files(soft):
    weights = np.zeros((41, 41), np.float32)
    weights[10:31, 15:26] = 1
    mask = ImageMask(weights, 1.0, soft=soft)
    turned, extent = mask.sample(90, 1.0)
    assert turned.shape == (11, 21) and (extent.top, extent.left) == (5, 10)
    tilted, _ = mask.sample(30, 1.0)
    assert bool(np.isin(tilted, (0, 1)).all()) is not soft
    assert tilted.sum() == pytest.approx(weights.sum(), rel=0.05)
    assert mask.sample(0, 1.0)[0].sum() == weights.sum()


def test_binary_mask_files_are_soft_on_a_coarser_grid():
    y, x = np.indices((60, 60)) - 30
    mask = ImageMask(((abs(x) <= 20) & (abs(y) <= 12)).astype(np.float32), 1.0, softening=1.2)
    weights, extent = mask.sample(90, 2.0)
    edge = weights[extent.top, extent.left :]
    assert edge[0] == 1 and ((edge > 0.01) & (edge < 0.99)).sum() >= 2
    assert 4 * weights.sum() == pytest.approx(41 * 25, rel=0.02)


def test_no_support_is_clipped_by_rotation():
    full = np.ones((30, 30), np.float32)
    for psi in (0, 17, 45, 90):
        weights, _ = ImageMask(full, 1.0, soft=False).sample(psi, 1.0)
        assert weights.sum() == pytest.approx(900, rel=0.05)


def test_automatic_mask_covers_the_particle():
    image = particle() + 0.03 * np.random.default_rng(0).standard_normal((88, 88)).astype(np.float32)
    weights = automatic_weights(image)
    assert weights[np.abs(particle()) > 0.3].mean() > 0.95
    assert 0.1 < weights.mean() < 0.7 and not weights[0].any()
    assert np.array_equal(weights, automatic_weights(-image))


def test_automatic_mask_is_a_little_wider_than_the_particle_with_a_soft_edge_of_its_width():
    y, x = np.indices((100, 100)) - 50
    disc = (np.hypot(x, y) <= 30).astype(np.float32)
    for edge in (3.0, 8.0):
        profile = automatic_weights(disc, edge=edge)[50, 50:]
        assert profile[33 - int(edge / 2)] == 1 and profile[35 + round(edge / 2)] == 0
        assert np.all(np.diff(profile) <= 0) and ((profile > 0) & (profile < 1)).sum() >= edge - 1
        assert profile.sum() == pytest.approx(34, abs=1), "widened by 6 % of the diameter, half-way at the outline"
    wide = automatic_weights(np.pad(disc, 30))[30:-30, 30:-30]
    assert np.abs(wide - automatic_weights(disc)).sum() < 2 * np.pi * 34, "the box around: less than a pixel"


def test_automatic_mask_fills_rings_and_leaves_out_neighbours():
    y, x = np.indices((120, 120)) - 60
    ring = ((np.hypot(x, y) < 26) & (np.hypot(x, y) > 16)).astype(np.float32)
    neighbour = (np.hypot(x - 50, y) < 9).astype(np.float32)
    weights = automatic_weights(ring + neighbour)
    assert weights[60, 60] == 1 and weights[60, 110] == 0


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("solid", ["ball", "shell", "plate"])
def test_the_automatic_mask_of_projections_is_hardly_larger_than_what_is_projected(solid, noise):
    """The truth is the area where any projection without noise is above 5 % of its maximum."""
    z, y, x = np.indices((48, 48, 48)) - 24.0
    r = np.sqrt(x * x + y * y + z * z)
    density = {
        "ball": np.clip(14.5 - r, 0, 1),
        "shell": np.clip(15.5 - r, 0, 1) * np.clip(r - 9, 0, 1),
        "plate": np.clip(14.5 - abs(x), 0, 1) * np.clip(11.5 - abs(y), 0, 1) * np.clip(5.5 - abs(z), 0, 1),
    }[solid]
    angles = [(0, 0), (30, 60), (0, 90), (90, 90)]
    clean = gp.project_map(density, 3.0, angles=angles).images
    rough = density + noise * np.random.default_rng(1).standard_normal(density.shape)
    true = (clean > 0.05 * clean.max(axis=(1, 2), keepdims=True)).any(axis=0)
    weights = gp.project_map(rough, 3.0, angles=angles).masks[0]
    assert 1.0 < weights.sum() / true.sum() < 1.25 and weights[true].mean() > 0.95


@pytest.mark.parametrize("size", [30, 31])
def test_masks_are_framed_about_the_centre_pixel(size):
    whole = framed(ShapeMask("ellipse", (20.0, 10.0)), (size, size), 1.0)
    rows, columns = np.nonzero(whole)
    assert rows.mean() == columns.mean() == size // 2


def test_templates_of_a_view_share_their_automatic_mask():
    """Upright and lying particles: one mask that holds both, whatever their order."""
    y, x = np.indices((80, 80)) - 40
    upright = ((abs(x) < 8) & (abs(y) < 24)).astype(np.float32)
    both = automatic_weights(upright, upright.T)
    assert np.array_equal(both, automatic_weights(upright.T, upright)) and np.allclose(both, both.T)
    assert both[40, 60] == both[60, 40] == 1 and both[60, 60] == 0


def test_bank_box_and_numbers():
    rng = np.random.default_rng(0)
    rectangle = ShapeMask("rectangle", (21.0, 9.0))
    circle = ShapeMask("circle", (15.0, 15.0))
    bank = bank_of(
        list(rng.standard_normal((3, 23, 23))), [rectangle, circle, circle], step=90, names=("a", "b"), per_view=(1, 2)
    )
    assert len(bank.index) == 12 and len(bank.groups) == 3
    assert bank.extent.box == (21, 21)
    assert bank.index.view(np.arange(12)).tolist() == [0] * 4 + [1] * 8
    assert bank.index.psi(np.array([0, 1, 5, 11])).tolist() == [0, 90, 90, 270]
    for k in range(12):
        template, mask = bank.template(k).astype(float), bank.mask(int(bank.group_of[k]))
        assert abs(template.sum()) < 1e-6
        weights = np.where(mask > 0, mask, 1)
        assert (template**2 / weights).sum() * mask.sum() == pytest.approx(1, rel=1e-4), "unit norm under the mask"


def test_constant_template_is_refused():
    with pytest.raises(InputError, match="constant under its mask"):
        bank_of([np.ones((9, 9))], [np.ones((9, 9), np.float32)]).template(0)
