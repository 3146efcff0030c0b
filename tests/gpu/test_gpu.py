"""On a real GPU: the CPU's scores, the same bytes on two logical devices, and a run that survives lack of memory.

make test-gpu; skipped where there is no GPU.
"""

import numpy as np
import pytest

from napari_gempick.device.cpu import CpuDevice
from napari_gempick.device.discover import find_gpus
from napari_gempick.engine.prepare import prepare
from napari_gempick.model.geometry import Grid
from napari_gempick.run.bench import Workload, make_bank, measure
from napari_gempick.run.search import DevicePool, run_search

GPUS, REASON = find_gpus()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason=f"no GPU: {REASON}")]


def searched(devices, masks, templates=40, size=1024):
    from napari_gempick.engine.search import Search

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


def test_lack_of_memory_halves_the_batch(plans):
    import cupy

    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    devices = on_gpus("a")
    pool.set_limit(size=160 * 2**20)
    try:
        found = searched(devices, "shared", templates=64)
    finally:
        pool.set_limit(size=0)
    assert "notice" in devices[0].describe()
    wanted = searched([CpuDevice(2, plans)], "shared", templates=64)
    assert np.abs(found[0].score - wanted[0].score).max() < 2e-4


@pytest.mark.parametrize("masks", ["shared", "own"])
def test_figures(masks, capsys):
    """Prints templates per second on 4096²; nothing is asserted about speed."""
    figures = measure(Workload(templates=512, masks=masks, devices="cuda:0"))
    with capsys.disabled():
        print(f"\n{GPUS[0]['name']}, {masks} masks: {figures['templates_per_second']:.0f} templates/s")
    assert figures["templates_per_second"] > 0
