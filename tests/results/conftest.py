"""A run of micrographs with many particles, one, and none."""

import numpy as np
import pytest

from cluster_jobs import values_for, write_data
from helpers import Blobs
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.listing import find_micrographs
from napari_gempick.model.settings import make_settings
from napari_gempick.workflows.pick import pick_files

SIZE = (300, 330)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Four micrographs with many particles, one with a single one, one with none."""
    folder = tmp_path_factory.mktemp("run")
    write_data(folder, SIZE, count=0)
    rng = np.random.default_rng(0)
    spots = [(x, y) for y in range(40, 280, 44) for x in range(40, 300, 44)]
    for number, count in enumerate((len(spots), len(spots), 20, 25, 1, 0)):
        places = spots[:count]
        image = -Blobs.image(SIZE, 4.0, places, list(rng.uniform(0, 360, count)))
        noisy = (image + 0.8 * rng.standard_normal(SIZE)).astype(np.float32)
        write_mrc(folder / "mics" / f"mic{number}.mrc", noisy, 4.0)
    return folder


@pytest.fixture(scope="session")
def settings(data):
    return make_settings(values_for(data, threshold=("auto",), save_maps=False, per_view_maps=False))


@pytest.fixture(scope="session")
def picked(data, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("picked") / "run"
    return folder, pick_files(settings, find_micrographs([data / "mics"]), folder)
