"""On a real GPU: the CPU's scores, the same bytes on two logical devices, and a run that survives lack of memory.

make test-gpu; skipped where there is no GPU.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.fft

from napari_gempick.device.cpu import CpuDevice
from napari_gempick.device.discover import find_gpus
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.model.geometry import Grid
from napari_gempick.workflows.bench import Workload, make_bank, measure

GPUS, REASON = find_gpus()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason=f"no GPU: {REASON}")]


def searched(devices, masks, templates=40, size=1024):
    from napari_gempick.engine.matching.search import Search

    image = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    bank = make_bank(Workload(size, 96, masks=masks), templates)
    search = Search(prepare(image, Grid(image.shape, 1.0)), bank, lambda key, choose: (512, 512), decoys=True)
    pool = DevicePool(devices)
    found = run_search(search, pool)
    assert (search.scored == 1).all() and not pool.failed
    return found


def on_gpus(*names):
    from napari_gempick.device.gpu import GpuDevice

    return [GpuDevice(0, name) for name in names]


@pytest.mark.parametrize("masks", ["shared", "own"])
def test_same_scores_as_the_cpu(plans, masks):
    for one, other in zip(searched(on_gpus("a"), masks), searched([CpuDevice(2, plans)], masks), strict=True):
        assert np.abs(one.score - other.score).max() < 2e-4
        assert (one.index != other.index).mean() < 0.01


@pytest.mark.parametrize("masks", ["shared", "own"])
def test_two_logical_devices_give_the_same_bytes(masks):
    for one, other in zip(searched(on_gpus("a"), masks), searched(on_gpus("a", "b"), masks), strict=True):
        assert one.score.tobytes() == other.score.tobytes()
        assert one.index.tobytes() == other.index.tobytes()


@pytest.mark.parametrize("masks", ["shared", "own"])
def test_any_allocation_can_fail(masks):
    import cupy

    pool = cupy.get_default_memory_pool()
    numbers, refused = itertools.count(), {-1}

    def allocate(size):
        if next(numbers) in refused:
            raise cupy.cuda.memory.OutOfMemoryError(size, 0)
        return pool.malloc(size)

    wanted = searched(on_gpus("a"), masks, templates=16, size=512)
    cupy.cuda.set_allocator(allocate)
    try:
        searched(on_gpus("a"), masks, templates=16, size=512)
        count = next(numbers)
        assert count > 50
        for failing in range(0, count, 1 + count // 150):
            numbers, refused = itertools.count(), {failing}
            devices = on_gpus("a")
            found = searched(devices, masks, templates=16, size=512)
            assert "notice" in devices[0].describe()
            for one, other in zip(found, wanted, strict=True):
                assert one.score.tobytes() == other.score.tobytes() and one.index.tobytes() == other.index.tobytes()
    finally:
        cupy.cuda.set_allocator(pool.malloc)


@pytest.mark.parametrize("precision", ["single", "double"])
def test_every_length_is_transformed(precision):
    import cupy

    from napari_gempick.device.gpu import GpuDevice
    from napari_gempick.device.tiling import GPU_TILING

    rng = np.random.default_rng(0)
    lengths = GPU_TILING.lengths
    shapes = list(zip(lengths, reversed(lengths), strict=True))

    def transformed(shape):
        worker = GpuDevice(0, "a").worker(shape)
        image = rng.standard_normal((shape[0] - 3, shape[1] - 7)).astype(np.float32)
        with cupy.cuda.Device(0), worker.stream:
            found = worker.to_host(worker.spectra(cupy.asarray(image)[None], precision, 1, conjugate=True)[0])
        wanted = scipy.fft.fft2(image.astype(np.float64), s=shape)
        return np.abs(found - wanted).max() / np.abs(wanted).max()

    with ThreadPoolExecutor(8) as pool:  # the kernels of a shape take seconds to compile
        errors = dict(zip(shapes, pool.map(transformed, shapes), strict=True))
    limit = 2e-6 if precision == "single" else 1e-14
    assert max(errors.values()) < limit, errors


@pytest.mark.parametrize("masks", ["shared", "own"])
def test_figures(masks, capsys):
    """Prints templates per second on 4096²; nothing is asserted about speed."""
    figures = measure(Workload(templates=512, masks=masks, devices="cuda:0"))
    with capsys.disabled():
        print(f"\n{GPUS[0]['name']}, {masks} masks: {figures['templates_per_second']:.0f} templates/s")
    assert figures["devices"][0]["model"] == GPUS[0]["name"]
