"""The GPU device on an emulated CuPy: all of its code but the GPU, against the CPU."""

import numpy as np
import pytest

import emulated_gpu
from emulated_gpu import install
from helpers import bank_of
from napari_gempick.device.cpu import CpuDevice
from napari_gempick.engine.matching.search import Search
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.engine.templates.masks import ShapeMask
from napari_gempick.model.errors import DeviceError
from napari_gempick.model.geometry import Grid


@pytest.fixture
def emulated(monkeypatch):
    return install(monkeypatch)


def search_on(devices, *, decoys=True, oversampling=1, spike=0.0):
    rng = np.random.default_rng(2)
    image = rng.standard_normal((120, 140)).astype(np.float32)
    image[70:110, 50:110] = 0.3  # flat: every score is 0, a tie of all rotated templates
    image[30:33, 40:43] += spike  # needs double precision where it is high
    templates = list(rng.standard_normal((3, 21, 21)).astype(np.float32))
    masks = [
        ShapeMask("rectangle", (19.0, 11.0)),
        ShapeMask("circle", (19.0, 19.0)),
        np.ones((21, 21), np.float32),
    ]
    bank = bank_of(templates, masks, step=20, oversampling=oversampling)
    search = Search(prepare(image, Grid(image.shape, 1.0)), bank, lambda key, choose: (64, 96), decoys=decoys)
    pool = DevicePool(devices)
    return run_search(search, pool), search, pool


def check(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert np.abs(one.score - other.score).max() < 2e-4
        differ = one.index != other.index
        assert not differ[80:100, 60:100].any()
        assert differ.mean() < 0.01  # two rotated templates of nearly the same score may change places


@pytest.mark.parametrize("spike", [0.0, 3e4])
@pytest.mark.parametrize("decoys", [True, False])
def test_same_scores_as_the_cpu(emulated, plans, decoys, spike):
    gpu, _ = emulated
    on_gpu, search, _ = search_on([gpu.GpuDevice(0, "cuda:0")], decoys=decoys, spike=spike)
    assert (search.scored == 1).all()
    check(on_gpu, search_on([CpuDevice(1, plans)], decoys=decoys, spike=spike)[0])


def test_same_scores_on_a_cropped_grid(emulated, plans):
    gpu, _ = emulated
    check(
        search_on([gpu.GpuDevice(0, "cuda:0")], oversampling=2)[0],
        search_on([CpuDevice(1, plans)], oversampling=2)[0],
    )


def test_a_template_without_a_partner(emulated, plans):
    """Most scores of a single template are negative: the empty half of its transform must not count."""
    gpu, _ = emulated
    rng = np.random.default_rng(6)
    prepared = prepare(rng.standard_normal((60, 80)).astype(np.float32), Grid((60, 80), 1.0))
    bank = bank_of([rng.standard_normal((9, 9)).astype(np.float32)], [ShapeMask("circle", (9.0, 9.0))])
    found = []
    for device in (gpu.GpuDevice(0, "cuda:0"), CpuDevice(1, plans)):
        search = Search(prepared, bank, lambda key, choose: (64, 96), decoys=True)
        found.append(run_search(search, DevicePool([device])))
    assert (found[1][0].score[20:40, 20:60] < 0).mean() > 0.3
    for one, other in zip(*found, strict=True):
        assert np.abs(one.score - other.score).max() < 1e-5
        assert np.array_equal(one.index, other.index)


def test_two_logical_devices_give_the_same_bytes(emulated):
    gpu, _ = emulated
    one, _, _ = search_on([gpu.GpuDevice(0, "cuda:0")])
    for _ in range(2):
        two, _, _ = search_on([gpu.GpuDevice(0, "cuda:0#1"), gpu.GpuDevice(0, "cuda:0#2")])
        for a, b in zip(one, two, strict=True):
            assert a.score.tobytes() == b.score.tobytes()
            assert a.index.tobytes() == b.index.tobytes()


def test_the_emulation_notices_a_missing_wait(emulated, monkeypatch):
    gpu, _ = emulated
    whole, _, _ = search_on([gpu.GpuDevice(0, "cuda:0")])
    monkeypatch.setattr(emulated_gpu.Event, "synchronize", lambda self: None)
    spoilt, _, _ = search_on([gpu.GpuDevice(0, "cuda:0")])
    assert spoilt[0].score.tobytes() != whole[0].score.tobytes()


def test_gpu_and_cpu_share_a_queue(emulated, plans):
    gpu, _ = emulated
    mixed, search, _ = search_on([gpu.GpuDevice(0, "cuda:0"), CpuDevice(2, plans)])
    assert (search.scored == 1).all()
    check(mixed, search_on([CpuDevice(1, plans)])[0])


def same_bytes(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert one.score.tobytes() == other.score.tobytes()
        assert one.index.tobytes() == other.index.tobytes()


def test_lack_of_memory_halves_the_batch_and_the_run_goes_on(emulated):
    gpu, memory = emulated
    whole, _, _ = search_on([gpu.GpuDevice(0, "cuda:0")])
    memory.count, memory.fails = 0, lambda number: 300 <= number < 304  # four times in a row
    device = gpu.GpuDevice(0, "cuda:0")
    found, _, pool = search_on([device])
    assert not pool.failed
    assert memory.refused == 4 and device.chunk == 4
    assert "4 templates are transformed at a time" in device.describe()["notice"]
    same_bytes(found, whole)


def test_any_allocation_can_fail(emulated):
    gpu, memory = emulated
    rng = np.random.default_rng(3)
    prepared = prepare(rng.standard_normal((50, 70)).astype(np.float32), Grid((50, 70), 1.0))
    masks = [ShapeMask("circle", (9.0, 9.0)), ShapeMask("rectangle", (9.0, 5.0))]
    bank = bank_of(list(rng.standard_normal((2, 11, 11)).astype(np.float32)), masks, step=30)

    def searched():
        memory.count = 0
        search = Search(prepared, bank, lambda key, choose: (64, 96), decoys=True)
        pool = DevicePool([gpu.GpuDevice(0, "cuda:0")])
        found = run_search(search, pool)
        assert not pool.failed and (search.scored == 1).all()
        return found

    whole = searched()
    every = range(memory.count)
    assert len(every) > 100
    for failing in (*every[:10], *every[10:-40:19], *every[-40:]):
        memory.fails = lambda number, failing=failing: number == failing
        same_bytes(searched(), whole)
    assert memory.refused > 50


def test_memory_that_is_gone_for_good_ends_the_search(emulated):
    gpu, memory = emulated
    search_on([gpu.GpuDevice(0, "cuda:0")])
    count = memory.count
    for first in range(0, count - 10, count // 8):  # while templates are rotated, spectra made, scores computed
        memory.count, memory.fails = 0, lambda number, first=first: number >= first
        with pytest.raises(DeviceError, match="cuda:0 is out of memory"):
            search_on([gpu.GpuDevice(0, "cuda:0")])


def test_without_any_memory_the_work_goes_to_others(emulated, plans):
    gpu, memory = emulated
    memory.fails = lambda number: True
    found, _, pool = search_on([gpu.GpuDevice(0, "cuda:0"), CpuDevice(1, plans)])
    assert list(pool.failed) in ([], ["cuda:0"])  # a quick CPU may leave it nothing to do
    check(found, search_on([CpuDevice(1, plans)])[0])
    with pytest.raises(DeviceError, match="cuda:0 is out of memory"):
        search_on([gpu.GpuDevice(0, "cuda:0")])


def test_the_batch_follows_the_free_memory(emulated):
    gpu, memory = emulated
    device = gpu.GpuDevice(0, "cuda:0")
    device.make_room((960, 960))
    assert device.chunk == gpu.MOST and "notice" not in device.describe()
    memory.free = 2**30
    device.make_room((960, 960))
    assert device.chunk * 16 * 960**2 <= 2**28 < 2 * device.chunk * 16 * 960**2


def test_templates_stay_on_the_device(emulated):
    gpu, memory = emulated
    made = []
    bank = bank_of([np.random.default_rng(0).standard_normal((9, 9))], [ShapeMask("circle", (9.0, 9.0))], step=90)
    inner = bank.make_templates
    bank.make_templates = lambda ks, on: (made.extend(ks), inner(ks, on))[1]
    device = gpu.GpuDevice(0, "cuda:0")
    worker = device.worker((64, 64))
    first = worker.template_spectra(bank, (0, 1, 2), "single")
    again = worker.template_spectra(bank, (0, 1, 2), "single")
    assert made == [0, 1, 2]
    assert np.array_equal(worker.to_host(first), worker.to_host(again))
    assert device.give_up()
    worker.template_spectra(bank, (0, 1, 2), "single")
    assert made == [0, 1, 2, 0, 1, 2]
    made.clear()
    memory.free = 1000  # nothing fits beside the search
    small = gpu.GpuDevice(0, "cuda:0")
    for _ in range(2):
        small.worker((64, 64)).template_spectra(bank, (0, 1), "single")
    assert made == [0, 1, 0, 1]
