"""The producer: order, failures that do not stop the others, per-view maps, nothing left running."""

import functools
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import bank_of
from napari_gempick.device.cpu import CpuDevice
from napari_gempick.engine.matching import workers
from napari_gempick.engine.matching.pipeline import search_all
from napari_gempick.engine.matching.read_ahead import Source
from napari_gempick.engine.matching.workers import DevicePool
from napari_gempick.engine.templates.masks import ShapeMask
from napari_gempick.model.errors import Cancelled, InputError
from napari_gempick.model.geometry import Grid


@pytest.fixture
def bank():
    rng = np.random.default_rng(1)
    circle = ShapeMask("circle", (11.0, 11.0))
    return bank_of(list(rng.standard_normal((3, 13, 13))), [circle] * 3, step=90, names=("a", "b"), per_view=(1, 2))


def source(bank, seed, shape=(60, 70)):
    image = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return Source(image, Grid(shape, 1.0), lambda: bank)


def broken():
    raise InputError("bad.mrc is bad.")


def test_a_broken_micrograph_is_an_outcome(bank, plans):
    before = threading.active_count()
    loaders = [lambda: source(bank, 0), broken, lambda: source(bank, 1), lambda: source(bank, 2, (9, 9))]
    outcomes = list(search_all(loaders, DevicePool([CpuDevice(2, plans)])))
    assert [outcome.number for outcome in outcomes] == [0, 1, 2, 3]
    assert [outcome.error is None for outcome in outcomes] == [True, False, True, False]
    assert "larger than the micrograph" in outcomes[3].error.sentence
    assert threading.active_count() == before


class Slow:
    """Loaders of which each early one takes longer than those after it; counts how many are read at a time."""

    def __init__(self, bank, count):
        self.bank, self.count, self.reading, self.most = bank, count, 0, 0
        self.lock = threading.Lock()

    def __iter__(self):
        return (functools.partial(self.load, number) for number in range(self.count))

    def load(self, number):
        with self.lock:
            self.reading += 1
            self.most = max(self.most, self.reading)
        time.sleep(0.02 * (self.count - number))
        with self.lock:
            self.reading -= 1
        if number == 2:
            raise InputError("bad.mrc is bad.")
        return source(self.bank, number)


def test_several_readers_keep_the_order(bank, plans):
    before, found = threading.active_count(), []
    for readers in (1, 3):
        slow = Slow(bank, 7)
        pool = DevicePool([CpuDevice(1, plans)])
        outcomes = list(search_all(slow, pool, readers=readers))
        assert [outcome.number for outcome in outcomes] == list(range(7)) and slow.most == readers
        assert [outcome.number for outcome in outcomes if outcome.error] == [2]
        found.append([None if o.scores is None else (o.scores.score.tobytes(), o.image.tobytes()) for o in outcomes])
    assert found[0] == found[1]
    assert threading.active_count() == before


@pytest.mark.parametrize("what", ["loader", "list", "left", "cancelled"])
def test_several_readers_end(bank, plans, what):
    """A programming error in a loader or in the list of them, a caller who leaves, a cancelled run."""
    before, cancel = threading.active_count(), threading.Event()

    def loaders():
        for number in range(9):
            if what == "list" and number == 4:
                raise ZeroDivisionError
            yield (lambda: 1 // 0) if what == "loader" and number == 4 else functools.partial(source, bank, number)

    outcomes = search_all(loaders(), DevicePool([CpuDevice(1, plans)]), readers=3, cancel=cancel)
    done = [next(outcomes).number for _ in range(3)]
    assert done == [0, 1, 2]
    if what == "left":
        outcomes.close()
    else:
        cancel.set() if what == "cancelled" else None
        with pytest.raises(Cancelled if what == "cancelled" else ZeroDivisionError):
            done += [outcome.number for outcome in outcomes]
    assert threading.active_count() == before


def test_readers_leave_the_cores_to_the_devices(plans, monkeypatch):
    monkeypatch.setattr(workers, "usable_cores", lambda: 16)
    gpu, cpu = SimpleNamespace(cores=0), CpuDevice(3, plans)
    assert [DevicePool([gpu]).readers(threads) for threads in (0, 1, 2, 9)] == [4, 1, 2, 4]
    assert [DevicePool([cpu, gpu]).readers(threads) for threads in (0, 3, 5)] == [4, 1, 2]
    many = CpuDevice(16, plans)
    assert [DevicePool([many]).readers(threads) for threads in (1, 7, 8, 16, 64)] == [1, 1, 2, 4, 4]


def test_a_programming_error_in_a_loader_is_raised(bank, plans):
    with pytest.raises(ZeroDivisionError):
        list(search_all([lambda: 1 // 0], DevicePool([CpuDevice(1, plans)])))


def test_per_view_maps_add_up(bank, plans):
    pool = DevicePool([CpuDevice(2, plans)])
    (whole,) = search_all([lambda: source(bank, 0)], pool)
    (parts,) = search_all([lambda: source(bank, 0)], pool, per_view=True)
    assert not whole.per_view and len(parts.per_view) == 2
    assert np.array_equal(parts.scores.score, whole.scores.score)
    assert np.array_equal(parts.scores.index, whole.scores.index)
    for view, maps in enumerate(parts.per_view):
        assert set(np.unique(bank.index.view(maps.index))) == {-1, view}
        assert (maps.score <= whole.scores.score).all()


def test_leaving_early_ends_the_producer(bank, plans):
    before = threading.active_count()
    outcomes = search_all([lambda: source(bank, 0)] * 5, DevicePool([CpuDevice(1, plans)]))
    next(outcomes)
    outcomes.close()
    assert threading.active_count() == before
