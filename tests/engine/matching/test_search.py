"""Threads and devices: the same bytes whoever does the work, failures that move on, cancelling."""

import threading
import time

import numpy as np
import pytest

from helpers import bank_of
from napari_gempick.device import fft
from napari_gempick.device.cpu import CpuDevice
from napari_gempick.engine.matching.search import Search
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.engine.templates.masks import ShapeMask
from napari_gempick.model.errors import Cancelled, DeviceError
from napari_gempick.model.geometry import Grid

TILE = (64, 80)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    image = rng.standard_normal((150, 170)).astype(np.float32)
    templates = list(rng.standard_normal((3, 21, 21)).astype(np.float32))
    masks = [
        ShapeMask("circle", (19.0, 19.0)),
        ShapeMask("rectangle", (19.0, 11.0)),
        np.ones((21, 21), np.float32),
    ]
    bank = bank_of(templates, masks, step=24)
    return prepare(image, Grid(image.shape, 1.0)), bank


def run(problem, devices, **more):
    prepared, bank = problem
    return run_search(Search(prepared, bank, lambda key, choose: TILE), DevicePool(devices), **more)[0]


def same(one, other):
    return one.score.tobytes() == other.score.tobytes() and one.index.tobytes() == other.index.tobytes()


class Keeping(CpuDevice):
    """A device that holds its maps until the end, as GPUs do."""

    keeps_maps = True


class Broken(CpuDevice):
    """A device that fails after some calls."""

    def __init__(self, calls, error, plans, **more):
        super().__init__(1, plans, "cpu#broken", **more)
        self.calls, self._good, self._error = 0, calls, error

    def worker(self, fft_shape):
        worker = super().worker(fft_shape)
        inner = worker.score

        def score(*args):
            self.calls += 1
            if self.calls > self._good:
                raise self._error
            return inner(*args)

        worker.score = score
        return worker


class KeepingBroken(Broken):
    keeps_maps = True


@pytest.mark.parametrize(
    "make",
    [
        lambda plans: [CpuDevice(4, plans)],
        lambda plans: [CpuDevice(1, plans, "cpu#1"), CpuDevice(1, plans, "cpu#2")],
        lambda plans: [CpuDevice(3, plans, "cpu#1"), Keeping(1, plans, "cpu#2")],
        lambda plans: [Keeping(2, plans)],
    ],
)
def test_same_bytes_however_the_work_is_shared(problem, plans, make):
    assert same(run(problem, [CpuDevice(1, plans)]), run(problem, make(plans)))


def test_tiles_in_one_block_or_in_several_give_the_same_bytes(problem, plans, monkeypatch):
    (prepared, bank), shape, rect = problem, (192, 200), (slice(70, 150), slice(0, 170))
    maps, correlations = [], np.empty((2, 1, 80, 170), np.float32)
    for pixels, rows, out in zip((fft.BLOCK, 1), (1280, 64), correlations, strict=True):
        monkeypatch.setattr(fft, "BLOCK", pixels)
        assert fft.rows_of_block(shape) == rows
        device = CpuDevice(1, plans)
        maps.append(run_search(Search(prepared, bank, lambda key, choose: shape, decoys=True), DevicePool([device])))
        worker = device.worker(shape)
        tile = worker.spectrum(prepared.image[:150, :170], "single")
        worker.correlations(tile, worker.template_spectra(bank, [0], "single"), rect, out, "single")
    assert all(same(*both) for both in zip(*maps, strict=True))
    assert correlations[0].tobytes() == correlations[1].tobytes()
    assert correlations.std() > 0


@pytest.mark.parametrize("kind", [Broken, KeepingBroken])
@pytest.mark.parametrize("calls", [0, 1, 17])
def test_a_failed_devices_work_moves_on(problem, plans, kind, calls):
    whole = run(problem, [CpuDevice(1, plans)])
    prepared, bank = problem
    pool = DevicePool([kind(calls, DeviceError("it broke"), plans), CpuDevice(1, plans)])
    search = Search(prepared, bank, lambda key, choose: TILE)
    assert same(whole, run_search(search, pool)[0])
    assert search.done == search.total
    tried = pool.devices[0].calls > calls  # a quick partner may leave it nothing to do
    assert pool.failed == ({"cpu#broken": "it broke"} if tried else {})


CALLS = ("spectrum", "template_spectra", "mask_spectra", "reciprocal_sigma", "score", "new_maps", "to_host")


class Faulty(CpuDevice):
    """A device of which one call fails, the first or a later time; says when."""

    def __init__(self, call, times, error, plans, *, keeps_maps):
        super().__init__(1, plans, "cpu#faulty")
        self.keeps_maps, self.failed = keeps_maps, threading.Event()
        self._call, self._times, self._error = call, times, error

    def worker(self, fft_shape):
        worker = super().worker(fft_shape)
        inner = getattr(worker, self._call)

        def fails(*args, **more):
            self._times -= 1
            if self._times < 0:
                self.failed.set()
                raise self._error
            return inner(*args, **more)

        setattr(worker, self._call, fails)
        return worker


class Waiting(CpuDevice):
    """A partner that begins only when the other device has failed, so that it must do that one's work too."""

    def __init__(self, other, plans):
        super().__init__(2, plans, "cpu#partner")
        self._other = other

    def worker(self, fft_shape):
        assert self._other.failed.wait(30)
        return super().worker(fft_shape)


@pytest.mark.parametrize("keeps_maps", [False, True])
@pytest.mark.parametrize("times", [0, 2])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("error", [DeviceError("it broke"), MemoryError()])
def test_a_device_that_fails_in_any_call_leaves_its_work_exactly_once(problem, plans, call, times, keeps_maps, error):
    if call in ("new_maps", "to_host") and not keeps_maps:
        return  # such a device never calls it
    whole = run(problem, [CpuDevice(1, plans)])
    faulty = Faulty(call, times, error, plans, keeps_maps=keeps_maps)
    prepared, bank = problem
    search, pool = Search(prepared, bank, lambda key, choose: TILE), DevicePool([faulty, Waiting(faulty, plans)])
    assert same(whole, run_search(search, pool)[0])
    assert list(pool.failed) == ["cpu#faulty"]
    assert (search.scored == 1).all() and search.done == search.total


def test_no_device_left_is_reported_once(problem, plans):
    with pytest.raises(DeviceError, match=r"No device is left \(cpu#broken: it broke\)"):
        run(problem, [Broken(3, DeviceError("it broke"), plans)])


def test_lack_of_memory_fails_the_device_only(problem, plans):
    with pytest.raises(DeviceError, match="out of memory"):
        run(problem, [Broken(3, MemoryError(), plans)])


def test_a_programming_error_stops_the_run(problem, plans):
    with pytest.raises(ZeroDivisionError):
        run(problem, [Broken(2, ZeroDivisionError(), plans), CpuDevice(1, plans)])


def test_cancel_stops_soon(plans):
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1500, 1500)).astype(np.float32)
    bank = bank_of([rng.standard_normal((41, 41))], [ShapeMask("circle", (39.0, 39.0))], step=0.5)
    prepared = prepare(image, Grid(image.shape, 1.0))
    cancel, before = threading.Event(), threading.active_count()
    seen = []

    def progress(done, total):
        seen.append((done, total))
        if done:
            cancel.set()
            stopped.append(time.monotonic())

    stopped = []
    with pytest.raises(Cancelled):
        run_search(
            Search(prepared, bank, plans.tile_shape),
            DevicePool([CpuDevice(2, plans)]),
            cancel=cancel,
            progress=progress,
        )
    assert time.monotonic() - stopped[0] < 5
    assert 0 < seen[-1][0] < seen[-1][1]
    assert threading.active_count() == before


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 40])
def test_shares_of_the_bank_make_the_whole(plans, parts):
    rng = np.random.default_rng(3)
    image = rng.standard_normal((110, 120)).astype(np.float32)
    image[20:60, 20:60] = 1.5  # flat: every score is 0, a tie of all rotated templates
    templates = list(rng.integers(-2, 3, (3, 13, 13)).astype(np.float32))
    masks = [ShapeMask("circle", (12.0, 12.0)), ShapeMask("rectangle", (11.0, 7.0)), ShapeMask("circle", (9.0, 9.0))]
    bank = bank_of(templates, masks, step=8)
    prepared = prepare(image, Grid(image.shape, 1.0))

    def searched(share=None):
        search = Search(prepared, bank, lambda key, choose: (64, 64), decoys=True, share=share)
        run_search(search, DevicePool([CpuDevice(2, plans)]))
        return search

    whole = searched()
    assert (whole.scored == 1).all()
    merged = [(np.full_like(score, -2), np.full_like(index, -1)) for score, index in whole.partial_maps()]
    counts = np.zeros(len(bank.index), int)
    for part in range(parts):
        search = searched((part, part + 1, parts))
        counts += search.scored
        for (score, index), (more, k) in zip(merged, search.partial_maps(), strict=True):
            better = (more > score) | ((more == score) & (k < index))
            score[better], index[better] = more[better], k[better]
    assert (counts == 1).all()
    for (score, index), (wanted, k) in zip(merged, whole.partial_maps(), strict=True):
        assert (score + 0).tobytes() == (wanted + 0).tobytes()
        assert index.tobytes() == k.tobytes()


def test_the_least_share_is_a_unit(problem):
    """A first search that makes the plan finds something to do, however large the bank."""
    prepared, bank = problem
    assert Search(prepared, bank, lambda key, choose: TILE, share=(0, 1, len(bank.index))).total > 0


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_share_the_spectra_of_a_unit(problem, plans, threads):
    made = []

    class Counting(CpuDevice):
        def worker(self, fft_shape):
            worker = super().worker(fft_shape)
            for name in ("template_spectra", "mask_spectra"):
                inner = getattr(worker, name)
                setattr(worker, name, lambda bank, ks, how, inner=inner: (made.extend(ks), inner(bank, ks, how))[1])
            return worker

    prepared, bank = problem
    search = Search(prepared, bank, lambda key, choose: TILE)
    run_search(search, DevicePool([Counting(threads, plans)]))
    n_tiles, n_masks = len(search.tiles), len(bank.groups)
    assert n_tiles > 4
    assert len(bank.index) + n_masks <= len(made) <= 2 * (len(bank.index) + n_masks)  # not once for every tile


def test_a_flat_area_scores_zero_for_the_first_search_image(plans):
    image = np.random.default_rng(0).standard_normal((120, 120)).astype(np.float32)
    image[30:100, 30:100] = 0.7
    bank = bank_of([np.random.default_rng(1).standard_normal((15, 15))], [ShapeMask("circle", (13.0, 13.0))], step=10)
    search = Search(prepare(image, Grid(image.shape, 1.0)), bank, lambda key, choose: (64, 64), decoys=True)
    assert any(unit.shared for unit in search.units)
    for maps in run_search(search, DevicePool([CpuDevice(2, plans)])):
        assert (maps.score[40:90, 40:90] == 0).all()
        assert (maps.index[40:90, 40:90] == 0).all()
