"""The dock in a viewer of its own, which napari checks for what is left behind."""

import shutil

import numpy as np

from napari_gempick.widgets.app.dock import open_dock
from napari_gempick.widgets.npe2.files import coordinates_reader


def test_closing_the_window_ends_everything(qtbot, searched_once, tmp_path, make_napari_viewer):
    shutil.copytree(searched_once, tmp_path / "session")
    viewer = make_napari_viewer()
    dock = open_dock(viewer, [tmp_path / "session"])
    qtbot.waitUntil(lambda: dock.controller.choice is not None, timeout=20_000)
    controller, searches = dock.controller, dock.searches
    searches.run_this()
    viewer.close()
    qtbot.waitUntil(lambda: controller.background.closed, timeout=10_000)
    assert searches._process._process is None and controller.folder is None


def test_open_images_are_adopted_and_picks_lie_on_them(make_napari_viewer, data, tmp_path, qtbot):
    viewer = make_napari_viewer()
    viewer.open(str(data / "one.mrc"), plugin="napari-gempick")
    low, high = viewer.layers[0].contrast_limits
    assert low > viewer.layers[0].data.min() and high < viewer.layers[0].data.max()
    dock = open_dock(viewer)
    qtbot.waitUntil(lambda: dock.controller.loaded is not None, timeout=20_000)
    (tmp_path / "one_autopick.star").write_text(
        "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n60.0 70.0\n", encoding="utf-8"
    )
    ((points, options, kind),) = coordinates_reader(str(tmp_path / "one_autopick.star"))(
        str(tmp_path / "one_autopick.star")
    )
    assert kind == "points" and points.tolist() == [[70.0, 60.0]]
    np.testing.assert_allclose(options["scale"], 2.0)
    dock.shut()
