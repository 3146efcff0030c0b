"""The compressed search against a brute-force NCC: bounds that hold, and the same local maxima of both signs."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, maximum_filter
from test_exact import SPOILERS, spoil

import oracle
from helpers import bank_of
from napari_gempick.device.cpu import CpuDevice
from napari_gempick.device.tiling import GPU_TILING
from napari_gempick.engine.matching.bounded_tile import AT_ONCE, _patches
from napari_gempick.engine.matching.choice import FULL, Wanted, make_search
from napari_gempick.engine.matching.compressed import CompressedSearch
from napari_gempick.engine.matching.compression import angles_of, by_rotations, compress, harmonics_of
from napari_gempick.engine.matching.search import Search
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.engine.templates.masks import ImageMask, ShapeMask
from napari_gempick.model.errors import Cancelled, SettingsError
from napari_gempick.model.geometry import Grid

TILE = (64, 80)


def parts_of(bank, residual):
    found = []
    for number, group in enumerate(bank.groups):
        for ks in by_rotations(bank, group.ks):
            harmonics = harmonics_of(bank, number, ks, 1)
            found.append(compress(bank, harmonics, harmonics.counts(residual)))
    return found


def run(prepared, bank, plans, residual, floor, *, devices=None, share=None, tile=TILE):
    parts = parts_of(bank, residual)
    search = CompressedSearch(prepared, bank, parts, floor, lambda key, choose: tile, decoys=True, share=share)
    return run_search(search, DevicePool(devices or [CpuDevice(1, plans)])), search


def exact_scores(image, bank):
    """All scores (k, y, x) by brute force; NaN where a rotated template does not fit."""
    scores = []
    for k in range(len(bank.index)):
        mask = bank.mask(int(bank.group_of[k]))
        template = np.where(mask > 0, bank.template(k) / np.where(mask > 0, mask, 1), 0)
        scores.append(oracle.ncc(image, template, mask, (bank.extent.top, bank.extent.left)))
    return np.stack(scores)


def peaks(score, floor):
    return (score == maximum_filter(score, size=3, mode="nearest")) & (score >= floor)


def check(scores, maps, sign, floor, bound):
    """Compare the maps of one sign with all scores."""
    every = np.where(np.isnan(scores), -2, sign * scores)
    best, index = every.max(axis=0), every.argmax(axis=0)
    scored = best > -2
    assert np.array_equal(maps.index >= 0, scored)
    assert np.abs(maps.score - best)[scored].max() <= bound + 1e-4
    ordered = np.sort(every, axis=0)
    clear = ordered[-1] - ordered[-2] > 2e-4 if len(scores) > 1 else scored
    around = maximum_filter(
        np.where(scored, best, -2), footprint=[[1, 1, 1], [1, 0, 1], [1, 1, 1]], mode="constant", cval=-2
    )
    sure = scored & (best > around + 2e-4) & (best > floor + 1e-4)  # local maxima whatever the rounding
    never = (best < around - 2e-4) | (best < floor - 1e-4)
    found = peaks(maps.score, floor) & (maps.index >= 0)
    assert found[sure].all()
    assert not found[never].any()
    assert np.abs(maps.score - best)[sure].max(initial=0) <= 1e-4
    assert np.array_equal(maps.index[sure & clear], index[sure & clear])
    rows, columns = np.nonzero(sure)
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):  # positions are refined by these
        y, x = rows + dy, columns + dx
        inside = (y >= 0) & (x >= 0) & (y < best.shape[0]) & (x < best.shape[1])
        y, x = y[inside], x[inside]
        at = scored[y, x]
        assert np.abs(maps.score - best)[y[at], x[at]].max(initial=0) <= 1e-4


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(34, 100), st.integers(34, 100)),
    size=st.integers(9, 21),
    sections=st.integers(1, 4),
    step=st.sampled_from([0, 24, 30, 36, 90]),
    smooth=st.floats(0, 2.5),
    soft=st.booleans(),
    residual=st.sampled_from([0.03, 0.1, 0.3, 0.6]),
    floor=st.sampled_from([-1.0, 0.1, 0.3]),
    how=st.sampled_from(SPOILERS),
)
def test_local_maxima_are_those_of_the_definition(
    plans, seed, shape, size, sections, step, smooth, soft, residual, floor, how
):
    rng = np.random.default_rng(seed)
    image = spoil(gaussian_filter(rng.standard_normal(shape), smooth / 2), how, rng)
    if step == 0:
        sections *= 5
    templates = [gaussian_filter(rng.standard_normal((size, size)), smooth).astype(np.float32) for _ in range(sections)]
    mask = ShapeMask("circle", (size - 2.0, size - 2.0), 3.0 if soft else 0.0)
    bank = bank_of(templates, [mask] * sections, step=step)
    maps, search = run(prepare(image, Grid(shape, 1.0)), bank, plans, residual, floor)
    scores = exact_scores(image, bank)
    for sign, found in zip((1, -1), maps, strict=True):
        check(scores, found, sign, floor, search.bound)
    assert (search.scored == 1).all()


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(3)
    image = gaussian_filter(rng.standard_normal((130, 150)), 1.5).astype(np.float32)
    image[:40, :50] = 0.25
    templates = [gaussian_filter(rng.standard_normal((23, 23)), 2).astype(np.float32) for _ in range(3)]
    masks = [ShapeMask("circle", (19.0, 19.0)), ShapeMask("circle", (19.0, 19.0)), ShapeMask("circle", (15.0, 15.0))]
    return prepare(image, Grid(image.shape, 1.0)), bank_of(templates, masks, step=20), image


def test_two_masks_and_a_flat_area(problem, plans):
    prepared, bank, image = problem
    maps, search = run(prepared, bank, plans, 0.2, 0.1)
    scores = exact_scores(image, bank)
    assert search.bound > 0.01  # there is something to be exact about
    for sign, found in zip((1, -1), maps, strict=True):
        check(scores, found, sign, 0.1, search.bound)


def test_neighbours_of_maxima_are_exact_across_the_edges_of_tiles(plans):
    """Many small tiles: a maximum at the edge of one has neighbours in the next, whose own maxima lie elsewhere."""
    rng = np.random.default_rng(5)
    image = gaussian_filter(rng.standard_normal((150, 160)), 0.8).astype(np.float32)
    templates = [gaussian_filter(rng.standard_normal((9, 9)), 0.8).astype(np.float32) for _ in range(2)]
    bank = bank_of(templates, [ShapeMask("circle", (8.0, 8.0))] * 2, step=30)
    maps, search = run(prepare(image, Grid(image.shape, 1.0)), bank, plans, 0.3, 0.1, tile=(20, 20))
    assert len(search.tiles) > 100
    scores = exact_scores(image, bank)
    for sign, found in zip((1, -1), maps, strict=True):
        check(scores, found, sign, 0.1, search.bound)


@pytest.mark.parametrize("smooth", [0, 2])
@pytest.mark.parametrize("step", [0, 20, 24])
def test_a_basis_is_as_far_from_the_bank_as_it_says(plans, step, smooth):
    """The norm of what is left out, computed from the rotated templates themselves."""
    rng = np.random.default_rng(1)
    templates = [gaussian_filter(rng.standard_normal((17, 17)), smooth) for _ in range(15 if step == 0 else 2)]
    bank = bank_of(templates, [ShapeMask("circle", (15.0, 15.0), 3.0)] * len(templates), step=step)
    (part,) = parts_of(bank, 0.2)
    images = part.images.reshape(len(part.images), -1).astype(np.float64)
    weights = images[-1]
    truth = np.stack([bank.template(k).ravel() for k in range(len(bank.index))]).astype(np.float64)
    harmonics = part.harmonics(images[: part.rank].astype(np.float32))
    made = np.concatenate([angles_of(harmonics[:, s.number], part.even, part.odd) for s in part.sections])
    ks = np.concatenate([section.ks for section in part.sections])
    rest = (truth[ks] - made) / np.sqrt(weights)
    bound = max(np.hypot(section.across, section.along) for section in part.sections)
    assert np.linalg.norm(rest, axis=1).max() <= bound + 1e-5
    assert bound < 0.8
    if smooth:
        assert part.rank < len(truth)
        assert bound > 0.05


@pytest.mark.parametrize(
    "make",
    [
        lambda plans: [CpuDevice(3, plans)],
        lambda plans: [CpuDevice(1, plans, "cpu#1"), CpuDevice(2, plans, "cpu#2")],
    ],
)
def test_same_bytes_for_any_threads(problem, plans, make):
    prepared, bank, _ = problem
    one, _ = run(prepared, bank, plans, 0.1, 0.1)
    other, _ = run(prepared, bank, plans, 0.1, 0.1, devices=make(plans))
    assert [(m.score.tobytes(), m.index.tobytes()) for m in one] == [
        (m.score.tobytes(), m.index.tobytes()) for m in other
    ]


@pytest.mark.parametrize("parts", [2, 5, 40])
def test_shares_add_up_to_the_same_bytes(problem, plans, parts):
    prepared, bank, _ = problem
    maps, whole = run(prepared, bank, plans, 0.1, 0.1)
    shares = [run(prepared, bank, plans, 0.1, 0.1, share=(i, i + 1, parts))[1] for i in range(parts)]
    for pair, expected in enumerate(maps):
        score, index = shares[0].partial_maps()[pair]
        for share in shares[1:]:
            more, k = share.partial_maps()[pair]
            better = (more > score) | ((more == score) & (k < index))
            score, index = np.where(better, more, score), np.where(better, k, index)
        assert np.array_equal(index, expected.index)
        assert np.array_equal(np.where(index < 0, -1, score), expected.score)
    shares[0].complete(np.sum([share.tally() for share in shares], axis=0, dtype=np.int32))
    assert (shares[0].scored == 1).all()
    assert shares[0].exact == whole.exact
    assert shares[0].bound == whole.bound


def test_equal_search_images_go_to_the_smaller_number(plans):
    rng = np.random.default_rng(8)
    image = rng.standard_normal((80, 90)).astype(np.float32)
    template = gaussian_filter(rng.standard_normal((15, 15)), 1.5)
    bank = bank_of([template, template], [ShapeMask("circle", (13.0, 13.0))] * 2, step=30)
    (found, inverted), _ = run(prepare(image, Grid(image.shape, 1.0)), bank, plans, 0.3, 0.1)
    for maps in (found, inverted):
        assert (maps.index[peaks(maps.score, 0.1)] < 12).all()


def smooth_bank(count, masks=None):
    rng = np.random.default_rng(2)
    templates = [gaussian_filter(rng.standard_normal((21, 21)), 2.5) for _ in range(count)]
    return bank_of(templates, masks or [ShapeMask("circle", (19.0, 19.0))] * count, step=10)


def chosen(plans, bank, kind, image_side=200, tiling=None, maps=False):
    image = np.random.default_rng(0).standard_normal((image_side, image_side)).astype(np.float32)
    device = CpuDevice(1, plans)
    device.rates = lambda: (12_000, 8_000, 30_000)
    if tiling is not None:
        device.tiling = tiling
    pool = DevicePool([device])
    return make_search(Wanted(kind, 0.1, maps), prepare(image, Grid(image.shape, 1.0)), bank, pool, plans.tile_shape)


@pytest.mark.parametrize(
    ("count", "kind", "expected"),
    [
        (20, "auto", CompressedSearch),
        (20, "full", Search),
        (1, "auto", Search),  # 36 rotated templates are not worth a basis
        (1, "compressed", CompressedSearch),
    ],
)
def test_what_is_searched_how(plans, count, kind, expected):
    assert type(chosen(plans, smooth_bank(count), kind)) is expected


@pytest.mark.parametrize(("kind", "expected"), [("auto", Search), ("compressed", CompressedSearch)])
def test_maps_that_are_kept_are_exact_unless_a_basis_is_asked_for(plans, kind, expected):
    assert type(chosen(plans, smooth_bank(20), kind, maps=True)) is expected


def test_the_choice_depends_on_no_earlier_micrograph(plans):
    """A small micrograph first, then one that is worth a basis: as if it had come first."""
    bank = smooth_bank(20)
    assert type(chosen(plans, bank, "auto", image_side=30)) is Search
    assert type(chosen(plans, bank, "auto", image_side=200)) is CompressedSearch
    assert type(chosen(plans, bank, "auto", image_side=30)) is Search


def test_a_flat_area_scores_0_and_names_the_first_search_image(plans):
    """All scores are 0 there, of all rotated templates: the first one is named, as in the full search."""
    image = np.full((90, 100), 0.25, np.float32)
    image[60:, 60:] += np.random.default_rng(4).standard_normal((30, 40)).astype(np.float32)
    bank = smooth_bank(2)
    (maps, inverted), search = run(prepare(image, Grid(image.shape, 1.0)), bank, plans, 0.1, -1.0)
    assert search.exact > 1000  # all are settled
    for one in (maps, inverted):
        flat = one.score[12:40, 12:80]
        assert (flat == 0).all() and (one.index[12:40, 12:80] == 0).all()


def test_the_search_for_a_basis_can_be_stopped(plans):
    calls = []

    def check():
        calls.append(None)
        if len(calls) == 3:
            raise Cancelled("Stopped.")

    bank, image = smooth_bank(20), np.random.default_rng(0).standard_normal((200, 200)).astype(np.float32)
    pool, prepared = DevicePool([CpuDevice(2, plans)]), prepare(image, Grid(image.shape, 1.0))
    with pytest.raises(Cancelled):
        make_search(Wanted("compressed", 0.1), prepared, bank, pool, plans.tile_shape, check=check)
    assert not bank.compressions and len(calls) < 20


@pytest.mark.parametrize(("kind", "ends"), [("auto", False), ("compressed", True)])
def test_where_memory_does_not_hold_a_basis_the_full_search_does_without(plans, monkeypatch, kind, ends):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("napari_gempick.engine.matching.choice.harmonics_of", fail)
    with pytest.raises(MemoryError) if ends else contextlib.nullcontext():
        assert type(chosen(plans, smooth_bank(20), kind)) is Search


def test_without_control_of_the_threads_of_products_auto_searches_in_full(plans, monkeypatch):
    monkeypatch.setattr("napari_gempick.engine.matching.choice.products_repeat", lambda: False)
    assert type(chosen(plans, smooth_bank(20), "auto")) is Search


def test_a_bank_whose_other_search_images_cost_more_than_a_basis_saves_is_searched_in_full(plans):
    """Rotated templates under masks of their own are transformed again for each tile of a search by a basis."""
    circle, bar = ShapeMask("circle", (19.0, 19.0)), ShapeMask("rectangle", (19.0, 9.0))
    assert type(chosen(plans, smooth_bank(21, [circle] * 20 + [bar]), "auto", image_side=900)) is CompressedSearch
    assert type(chosen(plans, smooth_bank(120, [circle] * 20 + [bar] * 100), "auto", image_side=900)) is Search


def test_masks_of_their_own_are_searched_in_full(plans):
    bank = smooth_bank(2, [ShapeMask("rectangle", (19.0, 9.0))] * 2)
    assert type(chosen(plans, bank, "compressed")) is Search


def test_white_templates_are_searched_in_full(plans):
    rng = np.random.default_rng(2)
    mask = ImageMask(np.ones((21, 21), np.float32), 1.0)
    bank = bank_of(list(rng.standard_normal((60, 21, 21))), [mask] * 60)
    assert type(chosen(plans, bank, "auto")) is Search


def test_a_gpu_searches_in_full(plans):
    assert type(chosen(plans, smooth_bank(1), "auto", tiling=GPU_TILING)) is Search
    with pytest.raises(SettingsError, match="runs on the CPU"):
        chosen(plans, smooth_bank(1), "compressed", tiling=GPU_TILING)


def test_the_default_of_the_engine_is_the_full_search():
    assert FULL.kind == "full"


@pytest.mark.parametrize(("real", "level"), [(np.float32, 0.0), (np.float64, 1e9)])
def test_boxes_of_a_tile_are_copied_in_pieces(real, level):
    """In double precision a level that single precision could not hold beside the noise is taken off."""
    random = np.random.default_rng(0)
    noise = random.standard_normal((40, 50)).astype(real)
    y, x = random.integers(0, 30, 2 * AT_ONCE + 5), random.integers(0, 40, 2 * AT_ONCE + 5)
    found = _patches(noise + real(level), y, x, (10, 7))
    for patch, row, column in zip(found, y, x, strict=True):
        box = noise[row : row + 10, column : column + 7].ravel()
        np.testing.assert_allclose(patch, box - box.mean() if level else box, atol=1e-6 if level else 0)
