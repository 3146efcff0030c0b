"""Readers and writers of the manifest, as napari calls them."""

import numpy as np
import pytest
from napari.components import ViewerModel
from npe2 import PluginManager

from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.images.mrc import Pixels
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.errors import InputError
from napari_gempick.widgets.npe2 import files
from napari_gempick.widgets.npe2.files import coordinates_reader, image_reader

POINTS = np.array([[10.0, 20.0], [30.5, 41.25], [50.0, 60.0]])
META = {
    "shown": np.array([True, False, True]),
    "size": np.array([32.0, 32.0, 32.0]),
    "features": {
        "score": [0.2, 0.9, 0.7],
        "view": ["side", "top", "top"],
        "psi": [0.0, 5.0, 90.0],
        "template": [1, 2, 2],
    },
    "metadata": {"gempick": {"box_size": 48, "shape": (100, 120), "micrograph": "a.mrc", "pixel_size": 2.0}},
}
WRITERS = {
    "star": ".star",
    "box": ".box",
    "cbox": ".cbox",
    "eman2": ".json",
    "cryosparc": ".cs",
    "xmipp": ".pos",
    "tsv": ".tsv",
}


@pytest.mark.parametrize(("name", "suffix"), WRITERS.items())
def test_hidden_points_are_never_written(name, suffix, tmp_path):
    path = tmp_path / ("a_info.json" if suffix == ".json" else f"a{suffix}")
    assert getattr(files, f"write_{name}")(str(path), POINTS, META) == [str(path)]
    picks = read_coordinates(path).picks
    np.testing.assert_allclose(sorted(zip(picks.x, picks.y, strict=True)), [(20.0, 10.0), (60.0, 50.0)], atol=1e-3)


def test_best_first_with_views(tmp_path):
    files.write_tsv(str(tmp_path / "a.tsv"), POINTS, {**META, "shown": True})
    found = read_coordinates(tmp_path / "a.tsv")
    assert found.picks.score.tolist() == pytest.approx([0.9, 0.7, 0.2])
    assert [found.view_names[view] for view in found.picks.view] == ["top", "top", "side"]


def test_points_drawn_by_hand_can_be_written(tmp_path):
    """A Points layer that is not ours has no features and no metadata."""
    files.write_star(str(tmp_path / "a.star"), POINTS, {"size": np.full(3, 10.0), "features": None, "metadata": {}})
    assert len(read_coordinates(tmp_path / "a.star").picks) == 3


def test_no_points(tmp_path):
    files.write_star(str(tmp_path / "a.star"), np.zeros((0, 2)), {"metadata": {}})
    assert len(read_coordinates(tmp_path / "a.star").picks) == 0


def test_reading_what_was_written(tmp_path):
    files.write_star(str(tmp_path / "a_autopick.star"), POINTS, META)
    path = str(tmp_path / "a_autopick.star")
    ((data, options, kind),) = coordinates_reader(path)(path)
    assert kind == "points" and options["name"] == "a picks"
    np.testing.assert_allclose(data, POINTS[[2, 0]])


@pytest.mark.parametrize("name", ["star", "box", "cbox", "eman2"])
def test_rows_of_a_tiff_count_from_the_bottom_for_others(name, tmp_path):
    """100 rows: RELION, EMAN2 and crYOLO call the file's row 10 row 89."""
    known = META["metadata"]["gempick"]
    meta = {**META, "metadata": {"gempick": {**known, "micrograph": "a.tif"}}}
    path = str(tmp_path / ("a_info.json" if name == "eman2" else f"a{WRITERS[name]}"))
    getattr(files, f"write_{name}")(path, POINTS, meta)
    (tmp_path / "mrc").mkdir()
    plain = str(tmp_path / "mrc" / ("a_info.json" if name == "eman2" else f"a{WRITERS[name]}"))
    getattr(files, f"write_{name}")(plain, POINTS, META)
    found, at_mrc = read_coordinates(path), read_coordinates(plain)
    if name == "star":  # the file says what it counts from
        ((data, _, _),) = coordinates_reader(path)(path)
        np.testing.assert_allclose(data, POINTS[[2, 0]])
        return
    np.testing.assert_allclose(found.picks.y, 99 - at_mrc.picks.y, atol=1.01)
    np.testing.assert_allclose(found.on("a.tif", (100, 120), path).picks.y, at_mrc.picks.y, atol=1.01)


def test_a_tiff_must_be_open_to_tell_its_rows(tmp_path):
    (tmp_path / "p.star").write_text("data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\na.tif 5 10\n")
    path = str(tmp_path / "p.star")
    with pytest.raises(InputError, match=r"last row of a\.tif, as it is a TIFF file; open that micrograph first"):
        coordinates_reader(path)(path)


def test_tables_of_others_are_left_to_others(tmp_path):
    (tmp_path / "table.csv").write_text("index,axis-0,axis-1\n0,1.0,2.0\n")
    assert coordinates_reader(str(tmp_path / "table.csv")) is None


def test_images_and_stacks(data, tmp_path):
    ((image, options, kind),) = image_reader(str(data / "one.mrc"))(str(data / "one.mrc"))
    assert (kind, image.ndim, options["name"]) == ("image", 2, "one")
    low, high = options["contrast_limits"]
    assert image.min() < low < high < image.max()


def test_a_large_stack_is_read_as_it_is_shown(tmp_path, monkeypatch):
    stack = np.random.default_rng(0).normal(size=(40, 12, 10)).astype(np.float32)
    write_mrc(tmp_path / "s.mrcs", stack, 1.0, stack=True)
    for at_once, kind in ((files.READ_AT_ONCE, np.ndarray), (100, Pixels)):
        monkeypatch.setattr(files, "READ_AT_ONCE", at_once)
        ((image, options, _),) = image_reader(str(tmp_path / "s.mrcs"))(str(tmp_path / "s.mrcs"))
        assert isinstance(image, kind) and image.shape == (40, 12, 10)
        viewer = ViewerModel()
        layer = viewer.add_image(image, **options)
        viewer.dims.set_point(0, 7)
        assert layer.get_value((7, 3, 4), world=True) == stack[7, 3, 4]
        np.testing.assert_array_equal(np.asarray(layer.data), stack)


def test_manifest_offers_all_of_it(data):
    manager = PluginManager()
    manager.discover()
    found = {reader.command for reader in manager.iter_compatible_readers([str(data / "one.mrc")])}
    assert found == {"napari-gempick.read_image"}
    manifest = manager.get_manifest("napari-gempick")
    assert {writer.filename_extensions[0] for writer in manifest.contributions.writers} == set(WRITERS.values())
    assert manifest.contributions.widgets[0].display_name == "Pick particles"
