"""Fast thinning keeps what the engine's suppression keeps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_gempick.engine.picking import peaks
from napari_gempick.engine.picking.peaks import Thinner, suppress


@given(st.integers(0, 400), st.floats(0, 60), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_same_as_suppress(n, distance, seed, share):
    random = np.random.default_rng(seed)
    y, x = random.integers(0, 100, (2, n)).astype(np.int32)
    active = random.random(n) < share
    wanted = np.flatnonzero(active)[suppress(y[active], x[active], distance)]
    np.testing.assert_array_equal(np.flatnonzero(Thinner(y, x, distance).keep(active)), wanted)


@pytest.mark.parametrize("distance", [3, 20, 90])
def test_same_without_stored_neighbours(monkeypatch, distance):
    y, x = np.random.default_rng(3).integers(0, 100, (2, 500)).astype(np.int32)
    active = np.arange(500) % 3 > 0
    stored = Thinner(y, x, distance).keep(active)
    monkeypatch.setattr(peaks, "MOST_PAIRS", -1)
    np.testing.assert_array_equal(Thinner(y, x, distance).keep(active), stored)
