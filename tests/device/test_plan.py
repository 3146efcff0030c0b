"""Stored plans and thread counts."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from napari_gempick.device import cores, fft
from napari_gempick.device import plan as planning
from napari_gempick.device.cpu import CpuDevice
from napari_gempick.device.discover import open_devices
from napari_gempick.device.plan import PlanStore
from napari_gempick.model.errors import DeviceError, SettingsError

PLAN = """
import hashlib, sys
from pathlib import Path
import numpy as np
from napari_gempick.device.plan import PlanStore
from napari_gempick.device.fft import FftwTile
tile = FftwTile((96, 80), "single", PlanStore(Path(sys.argv[1])))
block = np.random.default_rng(0).standard_normal((96, 80))
spectrum = tile.spectrum(block)
tile.correlate(spectrum, spectrum)
rows = b"".join(tile.rows(first, stop).tobytes() for first, stop in ((0, 64), (64, 96)))
print(hashlib.sha1(spectrum.tobytes() + rows).hexdigest())
"""


def test_processes_that_plan_at_once_end_with_one_plan(tmp_path):
    path = tmp_path / "plan.json"
    command = [sys.executable, "-c", PLAN, str(path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    digests = {process.communicate()[0] for process in started}
    digests.add(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert len(digests) == 1 and all(process.returncode == 0 for process in started)
    stored = json.loads(path.read_text())
    assert stored["wisdom"] and stored["versions"]["cpu"]


def test_tile_shape_is_chosen_once(tmp_path):
    path = tmp_path / "plan.json"
    assert PlanStore(path).tile_shape("a", lambda: (64, 80)) == (64, 80)
    assert PlanStore(path).tile_shape("a", lambda: (1, 1)) == (64, 80)


@pytest.mark.parametrize("content", ["{", "[]", '{"tiles": 3, "wisdom": null}'])
def test_damaged_plan_is_one_sentence(tmp_path, content):
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(SettingsError, match="delete it, and the next run makes it again"):
        PlanStore(path)


def test_no_place_to_store_is_no_obstacle(tmp_path):
    (tmp_path / "file").write_text("")
    store = PlanStore(tmp_path / "file" / "plan.json")
    tile = fft.FftwTile((32, 36), "single", store)
    assert tile.spectrum(np.ones((3, 3))).shape == (32, 19)
    assert store.record["stored"] is False


@pytest.mark.parametrize("precision", ["single", "double"])
def test_both_libraries_correlate_alike(plans, precision, monkeypatch):
    rng = np.random.default_rng(0)
    image, template = rng.standard_normal((48, 50)), rng.standard_normal((9, 12))
    expected = np.fft.irfft2(np.fft.rfft2(image) * np.conj(np.fft.rfft2(template, s=(48, 50))), s=(48, 50)) * 2400
    kinds = set()
    for library in (fft.pyfftw, None):
        monkeypatch.setattr(fft, "pyfftw", library)
        tile = fft.cpu_tile((48, 50), precision, plans)
        kinds.add(type(tile))
        tile.correlate(tile.spectrum(image), tile.spectrum(template, conjugate=True))
        found = tile.rows(0, 48)
        assert np.abs(found - expected).max() < {"single": 0.5, "double": 1e-9}[precision]
    assert len(kinds) == 2


def test_versions_without_pyfftw(monkeypatch):
    monkeypatch.setattr(planning, "pyfftw", None)
    assert planning.library_versions()["fft"].startswith("scipy")


@pytest.mark.parametrize(
    ("environment", "quota", "expected"),
    [
        ({}, None, 6),
        ({"OMP_NUM_THREADS": "3"}, None, 3),
        ({"SLURM_CPUS_PER_TASK": "4", "OMP_NUM_THREADS": "5,2"}, None, 4),
        ({"OMP_NUM_THREADS": "nonsense"}, None, 6),
        ({}, "150000 100000", 2),
        ({}, "max 100000", 6),
        ({}, "20000 100000", 1),
    ],
)
def test_usable_cores_respects_every_limit(monkeypatch, tmp_path, environment, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(cores, "_CGROUP", tmp_path)
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if quota:
        (tmp_path / "cpu.max").write_text(quota)
    assert cores.usable_cores() == expected


def test_devices_share_the_threads(plans):
    assert [(d.name, d.threads) for d in open_devices("cpu", 3, plans)] == [("cpu", 3)]
    assert [(d.name, d.threads) for d in open_devices("cpu,cpu", 5, plans)] == [("cpu#1", 3), ("cpu#2", 2)]
    assert [d.threads for d in open_devices("cpu,cpu,cpu", 1, plans)] == [1, 1, 1]
    assert isinstance(open_devices("cpu", 0, plans)[0], CpuDevice)


@pytest.mark.parametrize("spec", ["", "gpu", "cuda:x", "cpu;cpu"])
def test_wrong_devices(plans, spec):
    with pytest.raises(SettingsError, match="--devices"):
        open_devices(spec, 0, plans)


def test_absent_gpu(plans):
    with pytest.raises(DeviceError, match="cuda:99 is not available"):
        open_devices("cuda:99", 0, plans)


def test_dask_is_not_imported_and_can_be(tmp_path):
    """pyfftw would import it where it is installed, which takes longer than all the rest."""
    code = (
        "import sys, napari_gempick.device.plan as plan\n"
        "assert plan.pyfftw is not None and 'dask' not in sys.modules\n"
        "from dask.array.fft import fft_wrap\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize(
    ("limits", "expected"), [({}, 8000), ({"memory.max": "max\n"}, 8000), ({"memory.max": "3000\n"}, 3000)]
)
def test_memory_is_that_of_the_computer_or_of_its_control_group(monkeypatch, tmp_path, limits, expected):
    monkeypatch.setattr(cores, "_CGROUP", tmp_path)
    monkeypatch.setattr(cores.os, "sysconf", {"SC_PAGE_SIZE": 4, "SC_PHYS_PAGES": 2000}.__getitem__)
    for name, text in limits.items():
        (tmp_path / name).write_text(text)
    assert cores.usable_memory() == expected
