"""Detector defects: what is found and replaced, what is left as it is, and what stands in its place."""

import numpy as np
import pytest
import scipy.fft
from scipy import ndimage

from napari_gempick.engine.picking.exclusion import find_exclusion
from napari_gempick.engine.preprocess.defects import constant_lines, find_defects, replace_defects

SIDE = 400
Y, X = np.mgrid[:SIDE, :SIDE]


def noise(seed=0, width=0.0):
    white = np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    white = ndimage.gaussian_filter(white, width, mode="wrap") if width else white
    return (30 + white / white.std()).astype(np.float32)


def rows(*at):
    return np.isin(Y, at)


def columns(*at):
    return np.isin(X, at)


def box(top, left, height, width):
    return (top <= Y) & (top + height > Y) & (left <= X) & (left + width > X)


def scattered(step):
    return (Y % step == 5) & (X % step == 7)


KINDS = {
    "edge rows": (rows(0, 1), "2 bad rows were replaced"),
    "column": (columns(170), "1 bad column was replaced"),
    "last columns": (columns(SIDE - 1, SIDE - 2, SIDE - 3), "3 bad columns were replaced"),
    "pixels": (scattered(50), "64 hot pixels were replaced"),
    "one pixel": (box(0, 399, 1, 1), "1 hot pixel was replaced"),
    "clusters": (box(60, 70, 3, 2) | box(200, 399, 2, 1), "8 hot pixels were replaced"),
    "part of a column": (box(100, 20, 150, 2), "1 part of a column was replaced"),
    "part of a row": (box(399, 100, 1, 90), "1 part of a row was replaced"),
    "blob": (np.hypot(Y - 200, X - 90) < 13, "1 blob was replaced"),
    "block in a corner": (box(370, 380, 30, 20), "1 blob was replaced"),
    "several": (
        rows(0, 1) | columns(250) | scattered(50) | box(300, 30, 20, 40),
        "2 bad rows, 1 bad column, 1 blob and 63 hot pixels were replaced",
    ),
}


@pytest.mark.parametrize("height", [15, 300, 3e4])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_defects_are_found_counted_and_replaced(kind, constant, height):
    where, sentence = KINDS[kind]
    image = noise()
    if not constant and ("b" in kind.replace("column", "") or kind == "several"):
        height *= 10  # noise on a blob: it could be an object until it is too high for one
    if kind == "clusters":
        height *= 2
    image[where] = height + (30 if constant else image[where])
    cleaned, found = replace_defects(image)
    assert found is not None and found.sentence().startswith(sentence)
    assert np.array_equal(found.where, where)
    assert np.array_equal(cleaned[~where], image[~where])
    assert np.abs(cleaned[where] - 30).max() < 6
    assert np.array_equal(cleaned, replace_defects(image)[0])


@pytest.mark.parametrize("width", [0.0, 2.0])
@pytest.mark.parametrize("value", [30.0, 0.0, 900.0])
def test_constant_borders_are_bad_rows_and_columns(value, width):
    image = noise(1, width)
    where = box(0, 0, 40, SIDE) | box(0, 0, SIDE, 25) | box(0, 330, SIDE, 70)
    image[where] = value
    cleaned, found = replace_defects(image)
    assert found is not None and np.array_equal(found.where, where)
    assert found.sentence().startswith("40 bad rows and 95 bad columns were replaced")
    assert np.array_equal(cleaned[~where], image[~where])
    assert not find_exclusion(cleaned, 30).any() and np.array_equal(find_exclusion(cleaned, 30, found.where), where)


@pytest.mark.parametrize("axis", [0, 1])
def test_lines_that_are_equal_in_places_are_not_constant(axis):
    """Wherever they are looked at first: one pixel differs."""
    image = noise()
    rows = [3, 77, 200, 398]
    image[rows] = 30
    assert np.array_equal(np.flatnonzero(constant_lines(image if axis == 0 else image.T)[axis]), rows)
    image[rows, [1, 123, 250, SIDE - 1]] = 31
    assert not constant_lines(image if axis == 0 else image.T)[axis].any()


def test_dark_defects_have_their_own_name():
    image = noise()
    image[scattered(50)], image[:, 5] = -30, -30
    found = find_defects(image)
    assert found is not None and found.sentence().startswith("1 bad column and 64 dead pixels were replaced")


def peaks(width, places):
    return sum(np.exp(-((Y - y) ** 2 + (X - x) ** 2) / (2 * width**2)) for y, x in places)


FEW = [(90, 80), (200, 310), (330, 140)]
MANY = [(y, x) for y in range(40, SIDE, 60) for x in range(40, SIDE, 60)]
DISCS = sum(np.hypot(Y - y, X - x) < 10 for y, x in FEW)
OBJECTS = {
    "noise": np.zeros((SIDE, SIDE)),
    "particles of high SNR": 60 * peaks(8, MANY),
    "dark particles of high SNR": -1e4 * peaks(6, FEW),
    "small particles": -500 * peaks(1.5, FEW),
    "gold beads": -30 * DISCS,
    "blurred beads": -400 * ndimage.gaussian_filter(DISCS.astype(float), 0.7),
    "many sharp particles": 3000 * sum(np.hypot(Y - y, X - x) < 9 for y, x in MANY),
    "carbon": -9 * (X + 0.15 * Y > 280),
    "carbon along an axis": -9 * (X > 280),
    "hole": 20 * (np.hypot(Y - 200, X - 200) < 150),
    "ice": -40 * peaks(30, FEW),
    "crystalline ice": 4 * np.cos(2 * np.pi * X / 3.7) * (Y < 150),
}


@pytest.mark.parametrize("width", [0.0, 1.5])
@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_stay_bit_for_bit(kind, width):
    image = (noise(2, width) + OBJECTS[kind]).astype(np.float32)
    cleaned, found = replace_defects(image)
    assert found is None and cleaned is image
    assert replace_defects(image, 1e3)[0] is image


@pytest.mark.parametrize("background", [0.0, 30.0])
@pytest.mark.parametrize("particles", [peaks(8, FEW), peaks(1, MANY), DISCS, peaks(8, MANY)], ids=range(4))
def test_without_noise_nothing_is_a_defect(particles, background):
    image = (background + 5 * particles).astype(np.float32)
    assert find_defects(image) is None
    assert find_defects(image, 1e3) is None


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.poisson(0.3, (500, 600)),
        lambda rng: rng.poisson(1.0, (500, 600)),
        lambda rng: rng.poisson(20.0, (500, 600)),
        lambda rng: np.clip(20 * ndimage.gaussian_filter(rng.standard_normal((500, 600)), 2) * 4, -25, 25).astype("i1"),
        lambda rng: np.pad(rng.standard_normal((400, 500)), 50, "edge"),
    ],
    ids=["few counts", "a count", "counts", "clipped bytes", "streaks"],
)
def test_other_clean_micrographs_stay_bit_for_bit(draw):
    assert find_defects(draw(np.random.default_rng(3)).astype(np.float32)) is None


@pytest.mark.realdata
@pytest.mark.parametrize("pattern", ["klh/klh_00?.mrc", "betagal/Falcon*.mrc", "apoferritin*/*.tif"])
def test_real_micrographs_stay_bit_for_bit(real_data, pattern):
    from napari_gempick.io.images.micrograph import as_float32, read_micrograph

    paths = sorted(real_data.glob(pattern))
    assert len(paths) >= 2
    for path in paths:
        assert find_defects(as_float32(read_micrograph(path, 1.0))[0]) is None


@pytest.mark.parametrize("width", [0.0, 2.0])
def test_what_is_put_in_place_has_the_noise_of_its_surroundings(width):
    """Mean, variance and roughness are those of the noise, on a gradient too, and there is no step at the edges."""
    image = noise(4, width) + 0.01 * X.astype(np.float32)
    spoiled, where = image.copy(), box(100, 60, 120, 200)
    spoiled[where] = 700
    cleaned = replace_defects(spoiled)[0]
    inside, outside = (
        (values[104:216, 64:256] - 0.01 * X[104:216, 64:256]).astype(float) for values in (cleaned, image)
    )
    assert inside.mean() == pytest.approx(30, abs=0.3)
    assert inside.std() == pytest.approx(outside.std(), rel=0.25)
    assert np.diff(inside, axis=1).std() == pytest.approx(np.diff(outside, axis=1).std(), rel=0.25)
    assert abs(np.corrcoef(inside.ravel(), outside.ravel())[0, 1]) < 0.1


def test_in_place_of_a_large_defect_there_is_no_structure():
    """Particles around a blob are not copied into it: the best match there is no better than elsewhere in noise."""
    particles = peaks(6, [(y, x) for y in range(30, SIDE, 45) for x in range(30, SIDE, 45)]) * 6
    image, where = (noise(5) + particles).astype(np.float32), box(110, 110, 180, 180)
    image[where] = 2000
    cleaned, found = replace_defects(image)
    assert found is not None
    spectrum = scipy.fft.rfft2(cleaned - 30) * scipy.fft.rfft2(np.roll(peaks(6, [(200, 200)]), (-200, -200), (0, 1)))
    match = scipy.fft.irfft2(spectrum, s=image.shape)
    assert match[135:265, 135:265].max() < 0.5 * match[30::45, 30::45][:2].min()


def test_beyond_a_thousand_deviations_defects_are_replaced_even_where_they_are_kept():
    image = noise(6)
    image[3, 4], image[:, 50], image[200, 300] = 5000, 4000, 400
    cleaned, found = replace_defects(image, 1e3)
    assert found is not None and found.sentence().startswith("1 bad column and 1 hot pixel were replaced")
    assert found.where.sum() == SIDE + 1 and cleaned[200, 300] == 400


def test_outliers_beyond_a_thousand_deviations():
    image = np.random.default_rng(0).standard_normal((90, 80)).astype(np.float32)
    image[10, 10], image[50, 3], image[51, 3], image[0, 0] = 5e3, -1e6, 1e6, 900
    cleaned, found = replace_defects(image, 1e3)
    assert found.where.sum() == 3 and cleaned[0, 0] == 900
    assert abs(cleaned[50, 3]) < 0.1 * cleaned[0, 0]
