"""The maps of the lowest score: those of the inverted templates, whatever does the work."""

import numpy as np
import pytest

from helpers import bank_of
from napari_gempick.device.cpu import CpuDevice
from napari_gempick.engine.matching.search import Search
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.model.geometry import Grid


@pytest.mark.parametrize("shared", [True, False], ids=["shared mask", "own masks"])
@pytest.mark.parametrize("outlier", [1, 900], ids=["single precision", "double precision"])
def test_lowest_scores_are_those_of_inverted_templates(plans, shared, outlier):
    rng = np.random.default_rng(0)
    image = rng.standard_normal((90, 97)).astype(np.float32)
    image[40, 50] *= outlier
    image[:25, :30] = 1.0  # no local deviation: score 0, smallest k
    templates = [rng.standard_normal((13, 12)) for _ in range(14)]
    y, x = np.mgrid[-6:7, -6:6]
    masks = [(np.hypot(y, x) <= (5 if shared else 4 + 0.1 * i)).astype(np.float32) for i in range(14)]
    grid = Grid(image.shape, 1.0)

    def run(templates, decoys, threads):
        search = Search(prepare(image, grid), bank_of(templates, masks), lambda key, choose: (48, 48), decoys=decoys)
        return run_search(search, DevicePool([CpuDevice(threads, plans)]))

    highest, lowest = run(templates, True, 3)
    (alone,) = run(templates, False, 1)
    (inverted,) = run([-template for template in templates], False, 1)
    for found, expected in ((highest, alone), (lowest, inverted)):
        assert np.array_equal(found.score, expected.score) and np.array_equal(found.index, expected.index)
