"""Locks end in finite time, and work continues without them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import filelock
import pytest

from napari_gempick.device import plan
from napari_gempick.device.locks import Busy, give_back, locked, take
from napari_gempick.device.plan import PlanStore

if TYPE_CHECKING:
    from pathlib import Path

HOLD = (
    "import sys, time, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(1, flush=True); "
    "time.sleep(60)"
)


@pytest.fixture
def held(tmp_path: Path):
    """A lock file that another process holds."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "x.lock"], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"1\n"
    yield tmp_path / "x.lock", process
    process.kill()
    process.wait()
    process.stdout.close()


def test_another_process(held) -> None:
    path, process = held
    started = time.monotonic()
    with pytest.raises(Busy):
        take(path, 0.2)
    with locked(path, 0.2) as mine:
        assert not mine
    assert time.monotonic() - started < 10
    process.kill()
    process.wait()
    lock = take(path, 5)  # it ended with the process
    assert lock is not None
    give_back(lock, remove=True)
    assert not path.exists()


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), PermissionError(13, "no"), NotImplementedError()])
def test_file_systems_without_locks(tmp_path: Path, monkeypatch, error: Exception) -> None:
    def fails(self, *args, **kwargs):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", fails)
    assert take(tmp_path / "a.lock") is None
    give_back(None)
    with locked(tmp_path / "a.lock", 1) as mine:
        assert not mine
    store = PlanStore(tmp_path / "plan.json")
    assert store.tile_shape("key", lambda: (3, 4)) == (3, 4) and store.record["stored"] is False


def test_a_plan_that_another_process_never_finishes(held, tmp_path: Path, monkeypatch) -> None:
    path, _ = held
    monkeypatch.setattr(plan, "PATIENCE", 0.2)
    path.rename(tmp_path / "plan.json.lock")
    store = PlanStore(tmp_path / "plan.json")
    assert store.tile_shape("key", lambda: (3, 4)) == (3, 4)
    assert store.record["stored"] is False and not (tmp_path / "plan.json").exists()


def test_a_full_disk_leaves_no_half_plan(tmp_path: Path, monkeypatch) -> None:
    store = PlanStore(tmp_path / "plan.json")
    store.tile_shape("first", lambda: (1, 2))
    before = (tmp_path / "plan.json").read_bytes()

    def full(self, text, **kwargs):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    assert store.tile_shape("second", lambda: (3, 4)) == (3, 4)
    assert store.record["stored"] is False
    assert (tmp_path / "plan.json").read_bytes() == before and not list(tmp_path.glob("*.tmp"))
    assert json.loads(before)["tiles"] == {"first": [1, 2]}
