"""The producer: order, failures that do not stop the others, per-view maps, nothing left running."""

import threading

import numpy as np
import pytest

from helpers import bank_of
from napari_gempick.device.cpu import CpuDevice
from napari_gempick.engine.matching.pipeline import Source, search_all
from napari_gempick.engine.matching.workers import DevicePool
from napari_gempick.engine.templates.masks import ShapeMask
from napari_gempick.model.errors import InputError
from napari_gempick.model.geometry import Grid


@pytest.fixture
def bank():
    rng = np.random.default_rng(1)
    circle = ShapeMask("circle", (11.0, 11.0))
    return bank_of(list(rng.standard_normal((3, 13, 13))), [circle] * 3, step=90, names=("a", "b"), per_view=(1, 2))


def source(seed, shape=(60, 70)):
    image = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return Source(image, Grid(shape, 1.0))


def broken():
    raise InputError("bad.mrc is bad.")


def test_a_broken_micrograph_is_an_outcome(bank, plans):
    before = threading.active_count()
    loaders = [lambda: source(0), broken, lambda: source(1), lambda: source(2, (9, 9))]
    outcomes = list(search_all(loaders, lambda grid: bank, DevicePool([CpuDevice(2, plans)])))
    assert [outcome.number for outcome in outcomes] == [0, 1, 2, 3]
    assert [outcome.error is None for outcome in outcomes] == [True, False, True, False]
    assert "larger than the micrograph" in outcomes[3].error.sentence
    assert threading.active_count() == before


def test_a_programming_error_in_a_loader_is_raised(bank, plans):
    with pytest.raises(ZeroDivisionError):
        list(search_all([lambda: 1 // 0], lambda grid: bank, DevicePool([CpuDevice(1, plans)])))


def test_per_view_maps_add_up(bank, plans):
    pool = DevicePool([CpuDevice(2, plans)])
    (whole,) = search_all([lambda: source(0)], lambda grid: bank, pool)
    (parts,) = search_all([lambda: source(0)], lambda grid: bank, pool, per_view=True)
    assert not whole.per_view and len(parts.per_view) == 2
    assert np.array_equal(parts.scores.score, whole.scores.score)
    assert np.array_equal(parts.scores.index, whole.scores.index)
    for view, maps in enumerate(parts.per_view):
        assert set(np.unique(bank.index.view(maps.index))) == {-1, view}
        assert (maps.score <= whole.scores.score).all()


def test_leaving_early_ends_the_producer(bank, plans):
    before = threading.active_count()
    outcomes = search_all([lambda: source(0)] * 5, lambda grid: bank, DevicePool([CpuDevice(1, plans)]))
    next(outcomes)
    outcomes.close()
    assert threading.active_count() == before
