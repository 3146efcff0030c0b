"""Scores beside defects of every kind, on every grid, against float64; the same picks as without them; what is said."""

import json
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

import napari_gempick as gp
from helpers import Blobs
from napari_gempick.cli import main
from napari_gempick.engine.preprocess.defects import replace_defects
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.inputs.bank_maker import BankMaker
from napari_gempick.inputs.views import view_of
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.geometry import Grid
from napari_gempick.model.settings import PickSettings

TOLERANCE = 0.002
"""Of a cropped grid, as docs/cropped-grid.md states it for masks of 18 map pixels or more."""
SHARE = 0.02
"""Of a score, by which it may be off beside something very bright, before the full grid is searched."""


def template(diameter):
    side = int(1.3 * diameter) // 2 * 2
    y, x = np.mgrid[:side, :side] - side // 2
    particle = np.exp(-(y**2 + x**2) / (2 * (diameter / 6) ** 2)) - 0.8 * np.exp(
        -((y - diameter / 7) ** 2 + (x + diameter / 5) ** 2) / (2 * (diameter / 9) ** 2)
    )
    return particle.astype(np.float32)


def ncc_in_double(image, maker):
    """The NCC of the only rotated template on the file's grid, (ny, nx) float64, NaN where it is not scored."""
    grid = Grid(image.shape, 1.0)
    bank = maker(grid)
    filtered = prepare(image, grid, maker.lowpass(grid)).image.astype(np.float64)
    box, extent = bank.template(0).shape, bank.extent

    def correlated(values, kernel):
        padded = np.zeros(values.shape)
        padded[: box[0], : box[1]] = kernel
        padded = np.roll(padded, (-extent.top, -extent.left), (0, 1))
        return np.fft.irfft2(np.fft.rfft2(values) * np.conj(np.fft.rfft2(padded)), s=values.shape)

    weights = bank.mean_weights(0)
    variance = correlated(filtered**2, weights) - correlated(filtered, weights) ** 2
    inside = grid.scored(bank.groups[0].extent)
    found = np.full(image.shape, np.nan)
    found[inside] = (correlated(filtered, bank.template(0)) / np.sqrt(np.maximum(variance, 1e-12)))[inside]
    return found


def largest_differences(image, ratio, defects):
    """Largest difference of the scores searched from those in double, in all and beyond a share of the score."""
    lowpass, diameter = 2 * float(ratio), 18 * float(ratio)
    chosen = PickSettings(
        pixel_size=1.0, lowpass=lowpass, diameter=diameter, angle_step=0, threads=1, decoys=False, defects=defects
    )
    picture = template(diameter)
    found = gp.pick(image, {"a": picture}, chosen)
    seen = replace_defects(image, 10 if defects == "replace" else 1e3)[0]
    full = chosen.model_copy(update={"grid": "full", "mask_edge": lowpass})
    expected = ncc_in_double(seen, BankMaker(full, [view_of("a", [(picture, "a", 1.0)], "auto", full)]))
    score, step = found.scores.score, found.scores.grid.ratio
    score = score[:: step.denominator, :: step.denominator]
    expected = expected[:: step.numerator, :: step.numerator][: score.shape[0], : score.shape[1]]
    both = (score > -1) & np.isfinite(expected)
    assert both.any()
    difference = np.abs(score - expected)[both]
    return difference.max(), (difference - SHARE * np.abs(expected[both])).max(), found


RATIOS = [Fraction(3, 2), Fraction(2), Fraction(9, 4), Fraction(3), Fraction(4), Fraction(6)]
SHAPES = {
    "row": lambda y, x, at, size: (y >= at[0]) & (y < at[0] + size % 4 + 1),
    "column": lambda y, x, at, size: (x >= at[1]) & (x < at[1] + size % 4 + 1),
    "edge": lambda y, x, at, size: (y <= size) if at[0] % 2 else (x >= x.shape[1] - size),
    "pixels": lambda y, x, at, size: (y % (5 + size) == at[0] % (5 + size)) & (x % (5 + size) == at[1] % (5 + size)),
    "part": lambda y, x, at, size: (y >= at[0]) & (y < at[0] + 4 * size) & (x == at[1]),
    "block": lambda y, x, at, size: (abs(y - at[0]) < size) & (abs(x - at[1]) < size // 2 + 1),
    "blob": lambda y, x, at, size: np.hypot(y - at[0], x - at[1]) < size,
}
DEFECT = st.tuples(
    st.sampled_from(sorted(SHAPES)),
    st.tuples(st.integers(0, 199), st.integers(0, 219)),
    st.integers(1, 30),
    st.floats(1, 5),
    st.sampled_from([1, -1]),
    st.booleans(),
)


@settings(max_examples=25)
@given(
    ratio=st.sampled_from(RATIOS),
    defects=st.lists(DEFECT, min_size=1, max_size=4),
    treatment=st.sampled_from(["replace", "keep"]),
    seed=st.integers(0, 9),
)
@example(ratio=Fraction(2), defects=[("edge", (1, 0), 1, 2.5, 1, True)], treatment="keep", seed=0)
@example(ratio=Fraction(4), defects=[("pixels", (1, 0), 9, 3.0, 1, True)], treatment="keep", seed=0)
@example(ratio=Fraction(4), defects=[("blob", (90, 80), 12, 2.0, -1, True)], treatment="keep", seed=0)
def test_scores_are_right_beside_any_defects_on_any_grid(ratio, defects, treatment, seed):
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((200, 220)).astype(np.float32)
    particle = 2 * template(18 * float(ratio))
    image[60 : 60 + len(particle), 50 : 50 + len(particle)] += particle[:140, :170]
    y, x = np.mgrid[:200, :220]
    for kind, at, size, height, sign, constant in defects:
        where = SHAPES[kind](y, x, at, size)
        image[where] = sign * 10**height + (0 if constant else image[where])
    in_all, beyond, found = largest_differences(image, ratio, treatment)
    assert beyond <= TOLERANCE
    if found.scores.grid.ratio == 1:  # nothing is left out there
        assert in_all < 5e-4


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_where_defects_are_replaced_scores_are_within_the_tolerance(kind, ratio):
    image = np.random.default_rng(3).standard_normal((200, 220)).astype(np.float32)
    y, x = np.mgrid[:200, :220]
    image[SHAPES[kind](y, x, (81, 90), 12)] = 300
    in_all, _, found = largest_differences(image, ratio, "replace")
    assert in_all <= TOLERANCE and found.scores.grid.ratio == ratio
    assert len(found.notes) == 1 and "replaced" in found.notes[0]


def write_defect(path, kind):
    rng = np.random.default_rng(0)
    image = rng.standard_normal((260, 280)).astype(np.float32)
    places = [(70, 70), (200, 80), (130, 190), (210, 200)]
    image += 2.5 * Blobs.image(image.shape, 3.0, places)
    if kind != "none":
        where, value = {
            "rows": (np.s_[:2], 300),
            "strong rows": (np.s_[:2], 1000),
            "column": (np.s_[:, 140], 200),
            "pixels": ((rng.integers(0, 260, 30), rng.integers(0, 280, 30)), 950),
            "blob": (np.s_[5:30, 200:240], 400),
        }[kind]
        image[where] = value
    write_mrc(path, image, 3.0)


def picked(folder, kind, *more):
    """Picks (x, y, score) with a defect, and what run.json notes."""
    write_mrc(folder / "particle.mrc", Blobs.image((96, 96), 3.0, [(48, 48)]), 3.0)
    write_defect(folder / "mic.mrc", kind)
    command = ["pick", str(folder / "mic.mrc"), "--templates", f"a={folder}/particle.mrc", "--diameter", "150"]
    command += ["--angle-step", "0", "--lowpass", "15", "--threshold", "0.5", "--overwrite", "-o", str(folder / "out")]
    done = CliRunner().invoke(main, [*command, *more], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    (row,) = json.loads((folder / "out/run.json").read_text())["micrographs"]
    for note in row.get("notes", []):
        assert note in done.stderr
    picks = read_coordinates(folder / "out/mic_autopick.star").picks
    return np.column_stack([picks.x, picks.y, picks.score]), row.get("notes", [])


@pytest.fixture(scope="module")
def without(tmp_path_factory, plan_cache):
    """Picks and notes without a defect, by the options; searched once."""
    return cache(lambda *more: picked(tmp_path_factory.mktemp("without"), "none", *more))


@pytest.mark.parametrize("grid", ["auto", "full"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("rows", "2 bad rows were replaced"),
        ("strong rows", "2 bad rows were replaced"),
        ("column", "1 bad column was replaced"),
        ("pixels", "30 hot pixels were replaced"),
        ("blob", "1 blob was replaced"),
    ],
)
def test_picks_are_those_without_the_defect(tmp_path, without, kind, said, grid):
    expected, silent = without("--grid", grid)
    found, notes = picked(tmp_path, kind, "--grid", grid)
    assert len(expected) == 4 and silent == []
    assert len(notes) == 1 and said in notes[0]
    expected, found = (rows[np.argsort(rows[:, 1])] for rows in (expected, found))
    assert found.shape == expected.shape
    assert np.abs(found[:, :2] - expected[:, :2]).max() < 1 and np.abs(found[:, 2] - expected[:, 2]).max() < 0.05


@pytest.mark.parametrize("kind", ["rows", "column", "pixels", "blob"])
def test_kept_defects_are_searched_on_the_full_grid(tmp_path, without, kind):
    full, silent = picked(tmp_path, kind, "--defects", "keep", "--grid", "full")
    found, notes = picked(tmp_path, kind, "--defects", "keep")
    assert silent == [] and len(notes) == 1 and "full grid" in notes[0]
    assert np.abs(found - full).max() < 1e-4
    ordinary, silent = without("--defects", "keep")
    assert silent == [] and len(ordinary) == 4


@pytest.mark.parametrize("defects", ["replace", "keep"])
def test_one_report_of_what_is_beyond_a_thousand_deviations(defects):
    image = np.random.default_rng(0).standard_normal((260, 280)).astype(np.float32)
    image[20, 30], image[:, 100] = 4e3, 4e4
    views = {"a": Blobs.image((96, 96), 3.0, [(48, 48)])}
    chosen = PickSettings(pixel_size=3.0, diameter=150, angle_step=0, lowpass=15, threads=1, defects=defects)
    notes = gp.pick(image, views, chosen).notes
    assert len(notes) == 1 and notes[0].startswith("1 bad column and 1 hot pixel were replaced")


@pytest.mark.realdata
def test_real_particles_beside_defects(real_data, tmp_path):
    """A crop of an apoferritin micrograph with edge rows, a column and hot pixels: the picks of the plain crop."""
    from napari_gempick.io.images.micrograph import read_micrograph

    raw = read_micrograph(real_data / "apoferritin/May08_03.13.02.tif", 1.5).data[200:840, 200:840]
    unit = 30 + (raw - raw.mean(dtype=np.float64)) / raw.std(dtype=np.float64)
    y, x = np.random.default_rng(1).integers(0, 640, (2, 30))
    spoiled = {"plain": unit, "rows": unit.copy(), "column": unit.copy(), "pixels": unit.copy()}
    spoiled["rows"][:2], spoiled["column"][:, 320], spoiled["pixels"][y, x] = 300, 230, 980
    average = read_micrograph(real_data / "apoferritin/apoferritin_average_1.5A.mrc", 1.5).data
    found = {}
    for grid in ("auto", "full"):
        chosen = PickSettings(pixel_size=1.5, diameter=130, angle_step=30, lowpass=20, grid=grid)
        for name, image in spoiled.items():
            picks = gp.pick(image.astype(np.float32), {"apo": average}, chosen).picks
            found[name, grid] = np.column_stack([picks.x, picks.y, picks.score])
    assert len(found["plain", "auto"]) == 27
    for (name, grid), picks in found.items():
        plain = found["plain", grid]
        distance = np.hypot(*(picks[:, None, :2] - plain[None, :, :2]).transpose(2, 0, 1))
        assert len(picks) == len(plain) and distance.min(axis=1).max() < 2, (name, grid)
        assert np.abs(picks[:, 2] - plain[distance.argmin(axis=1), 2]).max() < 0.03
