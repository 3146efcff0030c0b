"""Whatever ends a search, no thread goes on: interrupts, failing callbacks, slow templates, slow files."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import napari_gempick as gp
from helpers import Blobs, bank_of
from napari_gempick.device.cpu import CpuDevice
from napari_gempick.engine.matching.pipeline import search_all
from napari_gempick.engine.matching.read_ahead import Source
from napari_gempick.engine.matching.search import Search
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.engine.templates.bank import Bank
from napari_gempick.io.listing import find_micrographs
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.errors import Cancelled
from napari_gempick.model.geometry import Grid

IMAGE = np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)


def bank() -> Bank:
    template = Blobs.image((44, 44), 4.0, [(22, 22)])
    return bank_of([template], [np.ones((44, 44), np.float32)], step=5)


@pytest.fixture
def data_set(tmp_path):
    """Settings, micrographs and a folder for the results."""
    for name in "ab":
        write_mrc(tmp_path / f"{name}.mrc", IMAGE, 2.0)
    write_mrc(tmp_path / "t.mrc", Blobs.image((44, 44), 4.0, [(22, 22)]), 4.0)
    settings = gp.PickSettings(templates=(str(tmp_path / "t.mrc"),), mask=("circle:150",), angle_step=30.0)
    return settings, find_micrographs([tmp_path / "a.mrc", tmp_path / "b.mrc"]), tmp_path / "out"


def left_after(before: set[threading.Thread], seconds: float = 1.0) -> set[threading.Thread]:
    """Return the threads that are new and alive after so long."""
    end = time.monotonic() + seconds
    while (left := {t for t in threading.enumerate() if t.is_alive()} - before) and time.monotonic() < end:
        time.sleep(0.01)
    return left


@pytest.fixture
def slow_templates(monkeypatch):
    """A bank whose 72 templates take 3.6 s, until it is told to be quick."""
    make, quick = Bank.make_templates, threading.Event()

    def slowly(self, ks, on):
        time.sleep(0 if quick.is_set() else 0.05 * len(ks))
        return make(self, ks, on)

    monkeypatch.setattr(Bank, "make_templates", slowly)
    return quick


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError, ValueError, MemoryError, SystemExit])
def test_what_progress_raises_ends_all_threads(plans, slow_templates, error) -> None:
    search = Search(prepare(IMAGE, Grid(IMAGE.shape, 1.0)), bank(), lambda key, choose: (128, 128))
    pool, before = DevicePool([CpuDevice(3, plans), CpuDevice(2, plans, "cpu:1")]), set(threading.enumerate())

    def fails(done: int, total: int) -> None:
        raise error("no more")

    started = time.monotonic()
    with pytest.raises(error):
        run_search(search, pool, progress=fails)
    assert not left_after(before)
    assert time.monotonic() - started < 2.5
    assert not pool.failed


def test_cancel_is_heard_while_templates_are_made(plans, slow_templates) -> None:
    search = Search(prepare(IMAGE, Grid(IMAGE.shape, 1.0)), bank(), lambda key, choose: (128, 128))
    cancel, before = threading.Event(), set(threading.enumerate())
    threading.Timer(0.2, cancel.set).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        run_search(search, DevicePool([CpuDevice(2, plans)]), cancel=cancel)
    assert not left_after(before)
    assert time.monotonic() - started < 2
    slow_templates.set()
    (scores,) = run_search(search, DevicePool([CpuDevice(2, plans)]))[:1]  # what was given back is done once
    fresh = Search(prepare(IMAGE, Grid(IMAGE.shape, 1.0)), bank(), lambda key, choose: (128, 128))
    (expected,) = run_search(fresh, DevicePool([CpuDevice(1, plans)]))[:1]
    assert np.array_equal(scores.score, expected.score) and np.array_equal(scores.index, expected.index)


def test_cancel_is_heard_while_masks_are_turned(monkeypatch) -> None:
    """Through the Python interface: 360 masks of 20 ms each."""
    sample, cancel, before = Bank._sample, threading.Event(), set(threading.enumerate())

    def slowly(self, mask, rotation):
        time.sleep(0.02)
        return sample(self, mask, rotation)

    monkeypatch.setattr(Bank, "_sample", slowly)
    settings = gp.PickSettings(templates=("a",), mask=("rectangle:60x30",), pixel_size=1.0, template_pixel_size=1.0,
                               angle_step=1.0)  # fmt: skip
    threading.Timer(0.3, cancel.set).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        gp.pick(IMAGE, {"a": Blobs.image((88, 88), 1.0, [(44, 44)])}, settings, cancel=cancel)
    assert time.monotonic() - started < 5
    assert not left_after(before)


@pytest.mark.parametrize("how", ["cancel", "close", "throw"])
def test_a_slow_file_keeps_nobody_waiting(plans, monkeypatch, how: str) -> None:
    monkeypatch.setattr("napari_gempick.engine.matching.pipeline.PATIENCE", 0.5)
    release, before = threading.Event(), set(threading.enumerate())

    def slow() -> Source:
        release.wait(30)
        return quick()

    cancel = threading.Event()
    made = bank()

    def quick() -> Source:
        return Source(IMAGE, Grid(IMAGE.shape, 1.0), lambda: made)

    outcomes = search_all([quick, slow, slow], DevicePool([CpuDevice(2, plans)]), cancel=cancel)
    assert next(outcomes).scores is not None
    started = time.monotonic()
    if how == "cancel":
        cancel.set()
        with pytest.raises(Cancelled):
            next(outcomes)
    elif how == "close":
        outcomes.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            outcomes.throw(KeyboardInterrupt)
    assert time.monotonic() - started < 10
    release.set()
    assert not left_after(before)


def test_a_traceback_that_is_kept_keeps_no_thread(data_set, plans, monkeypatch) -> None:
    """pick_files closes the search though the exception holds its frames, as a notebook's last traceback does."""
    settings, files, folder = data_set
    before = set(threading.enumerate())

    def stop(row) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as kept:
        gp.pick_files(settings, files, folder, finished=stop)
    assert kept.value.__traceback__ is not None
    assert not left_after(before)
