"""Boxes against an independent reading of what RELION 5 does (relion_preprocess --extract): see `relion_box`."""

import mrcfile
import numpy as np
import pytest
import starfile
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import Blobs
from napari_gempick.cli import main
from napari_gempick.extraction.cut import cut, finish
from napari_gempick.extraction.settings import make_extract_settings
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.stack import write_mrc
from napari_gempick.io.star import write_tables


def relion_box(image, x, y, size, scale=None, norm=False, ramp=True, invert=False):
    """One particle, pixel by pixel, from a description of RELION's preprocessing in its order.

    - The box goes from int(x) - size / 2 to int(x) + size / 2 - 1; beyond the micrograph the nearest pixel counts.
    - --scale keeps the Fourier components from -scale / 2 + 1 to scale / 2 along y, and from 0 to scale / 2 along x.
    - --norm fits a plane to the pixels with i² + j² > radius² by least squares (i, j about the pixel size / 2, the
      radius int(0.375 size)), subtracts it, and brings these pixels to mean 0 and standard deviation 1 (divided by n).
    - --invert_contrast changes the sign.
    """
    ny, nx = image.shape
    box = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            row, column = int(y) - size // 2 + i, int(x) - size // 2 + j
            box[i, j] = image[min(max(row, 0), ny - 1), min(max(column, 0), nx - 1)]
    if scale:
        whole = np.fft.fft2(box) / size**2
        kept = np.zeros((scale, scale // 2 + 1), complex)
        for line in range(scale):
            kept[line] = whole[line if line <= scale // 2 else line - scale, : scale // 2 + 1]
        box = np.fft.irfft2(kept, s=(scale, scale)) * scale**2
    n = len(box)
    if norm:
        radius = int(0.375 * n)
        at = [(i, j) for i in range(n) for j in range(n) if (i - n // 2) ** 2 + (j - n // 2) ** 2 > radius**2]
        i, j = (np.array(one) - n // 2 for one in zip(*at, strict=True))
        if ramp:  # the normal equations of z = a j + b i + c
            z = box[i + n // 2, j + n // 2]
            sums = [[(p * q).sum() for q in (j, i, 1 + 0 * i)] for p in (j, i, 1 + 0 * i)]
            a, b, c = np.linalg.solve(sums, [(p * z).sum() for p in (j, i, 1 + 0 * i)])
            rows, columns = np.indices(box.shape) - n // 2
            box = box - (a * columns + b * rows + c)
        z = box[i + n // 2, j + n // 2]
        mean = z.sum() / len(z)
        box = (box - mean) / np.sqrt(((z - mean) ** 2).sum() / len(z))
    return -box if invert else box


@pytest.fixture(scope="module")
def micrograph():
    """White noise, particles and a steep ramp: no frequency is empty."""
    random = np.random.default_rng(4)
    image = random.standard_normal((150, 180)) + 3 * Blobs.image((150, 180), 2.0, [(70.3, 80.7)])
    return (image + 0.05 * np.indices(image.shape).sum(axis=0)).astype(np.float32)


@settings(max_examples=25)
@given(
    x=st.floats(-0.4, 179.4),
    y=st.floats(-0.4, 149.4),
    size=st.sampled_from([32, 40, 50]),
    scale=st.sampled_from([None, 20, 24, 30]),
    norm=st.booleans(),
    ramp=st.booleans(),
    invert=st.booleans(),
)
def test_a_box_is_the_one_that_relion_cuts(micrograph, x, y, size, scale, norm, ramp, invert):
    x, y = round(x, 3), round(y, 3)
    given = {"box": size, "rescale": scale, "normalize": norm, "ramp": ramp, "invert": invert}
    (mine,), _ = finish(cut(micrograph, np.array([x]), np.array([y]), size), make_extract_settings(given))
    theirs = relion_box(micrograph, x, y, size, scale, norm, ramp, invert)
    np.testing.assert_allclose(mine, theirs, atol=2e-3)
    assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > 0.99999


def test_without_the_plane_a_box_on_a_ramp_is_another_one(micrograph):
    """The plane that is subtracted by default makes a difference that can be measured."""
    x, y = np.array([70.3]), np.array([80.7])
    theirs = relion_box(micrograph, x[0], y[0], 50, norm=True).ravel()
    found = {}
    for ramp in (True, False):
        given = make_extract_settings({"box": 50} if ramp else {"box": 50, "ramp": False})
        found[ramp] = np.corrcoef(finish(cut(micrograph, x, y, 50), given)[0].ravel(), theirs)[0, 1]
    assert found[True] > 0.99999 and found[False] < 0.97


@pytest.mark.parametrize("image", [np.full((40, 40), 3.0), np.indices((40, 40)).sum(axis=0) * 0.7 + 1000])
def test_a_background_without_deviation_is_only_subtracted(image):
    given = make_extract_settings({"box": 32})
    (particle,), _ = finish(cut(image.astype(np.float32), np.array([20.0]), np.array([20.0]), 32), given)
    assert np.abs(particle).max() < 1e-3


@pytest.mark.parametrize(("box", "scale"), [(64, None), (64, 32), (61, None), (61, 31)])
@pytest.mark.parametrize("extra", [["--no-normalize"], ["--invert"]])
def test_the_shift_takes_the_particle_to_the_centre_of_its_box(tmp_path, monkeypatch, box, scale, extra):
    """A particle that lies right of and below its box's centre pixel has negative shifts, as in RELION."""
    monkeypatch.chdir(tmp_path)
    pixel, x, y = 1.5, 80.75, 71.375
    steps_y, steps_x = np.indices((150, 160))
    image = 100 - np.exp(-((steps_x - x) ** 2 + (steps_y - y) ** 2) / 72)
    write_mrc("mic.mrc", (image + 0.001 * np.sin(steps_x * 1.7 + steps_y)).astype(np.float32), pixel)
    write_tables("mic.star", {"": {"rlnCoordinateX": [str(x)], "rlnCoordinateY": [str(y)]}})
    size = ["--box", str(box), *([] if scale is None else ["--rescale", str(scale)])]
    done = CliRunner().invoke(main, ["extract", "mic.mrc", "mic.star", *size, *extra, "-o", "p.mrcs"])
    assert done.exit_code == 0, done.stderr
    tables = starfile.read("p.star")
    row, optics = tables["particles"].iloc[0], tables["optics"].iloc[0]
    assert (row["rlnCoordinateX"], row["rlnCoordinateY"]) == (80, 71)
    assert row["rlnOriginXAngst"] == pytest.approx(-0.75 * pixel)
    assert row["rlnOriginYAngst"] == pytest.approx(-0.375 * pixel)
    particle = np.squeeze(mrcfile.read("p.mrcs")).astype(np.float64)
    blob = np.square(particle - np.median(particle))
    at = np.indices(blob.shape) - len(blob) // 2
    centre = (at * blob).sum(axis=(1, 2)) / blob.sum()
    assert centre[1] * optics["rlnImagePixelSize"] == pytest.approx(-row["rlnOriginXAngst"], abs=0.03 * pixel)
    assert centre[0] * optics["rlnImagePixelSize"] == pytest.approx(-row["rlnOriginYAngst"], abs=0.03 * pixel)
    (back,) = read_coordinates("p.star").by_micrograph().values()
    assert (back.picks.x[0], back.picks.y[0]) == pytest.approx((x, y), abs=1e-5)
