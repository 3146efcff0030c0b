"""The two functions of the manifest that are useful on their own: in a script, and as widgets in a viewer."""

import numpy as np
import pytest
from napari.layers import Image

from napari_gempick.io.stack import read_stack, write_mrc
from napari_gempick.model.errors import GempickError
from napari_gempick.widgets.npe2.contributions import (
    rotated_stack,
    rotated_stack_widget,
    template_stack,
    template_stack_widget,
)


@pytest.fixture
def ball(tmp_path):
    """A Gaussian ball of 24 voxels of 2 Å: every projection of it is the same disc."""
    z, y, x = np.indices((24, 24, 24)) - 12
    path = tmp_path / "ball.mrc"
    write_mrc(path, np.exp(-(z**2 + y**2 + x**2) / 18.0).astype(np.float32), 2.0)
    return path


def test_projections_of_a_ball_are_equal_discs(ball, tmp_path):
    ((images, options, kind),) = template_stack(ball, angle_step=60.0)
    assert kind == "image" and options["scale"] == (1.0, 2.0, 2.0) and len(images) > 3
    y, x = np.indices(images.shape[1:]) - images.shape[1] // 2
    disc = np.exp(-(y**2 + x**2) / 18.0)
    for image in images:
        assert np.corrcoef(image.ravel(), disc.ravel())[0, 1] > 0.999
    out = tmp_path / "out.mrcs"
    ((written, _, _),) = template_stack(ball, angle_step=60.0, output=out)
    np.testing.assert_array_equal(written, images)
    assert read_stack(out).pixel_size == 2.0 and (tmp_path / "out_mask.mrcs").exists()
    with pytest.raises(GempickError, match="already exist"):
        template_stack(ball, angle_step=60.0, output=out)


def test_rotated_stacks_are_the_template_turned(tmp_path):
    template = np.zeros((32, 32), np.float32)
    template[14:19, 16:26] = 1.0  # a bar from the centre to the right
    layer = Image(template, name="bar", metadata={"gempick": {"pixel_size": 2.0}})
    (masks, options, _), (turned, more, _) = rotated_stack(layer, "circle", 56.0, angle_step=90.0)
    assert options["name"] == "bar masks" and more["scale"] == (90.0, 2.0, 2.0)
    assert masks.shape == turned.shape == (4, *turned.shape[1:]) and masks.max() == 1.0
    c = turned.shape[1] // 2
    ends = [turned[k][c + dy, c + dx] for k, (dy, dx) in enumerate([(0, 7), (-7, 0), (0, -7), (7, 0)])]
    assert min(ends) > 0.5 * turned.max()  # counter-clockwise as napari shows it
    radius = np.hypot(*(np.indices(masks.shape[1:]) - c))
    np.testing.assert_array_equal(masks[0] > 0.5, radius <= 14.0)


def test_too_many_search_images_are_refused():
    layer = Image(np.random.default_rng(0).random((3, 16, 16), np.float32), name="three")
    with pytest.raises(GempickError, match="three would have 2160 rotated templates"):
        rotated_stack(layer, angle_step=0.5, pixel_size=2.0)


def test_widgets_add_layers(make_napari_viewer, qtbot, ball):
    viewer = make_napari_viewer()
    for made, label in ((template_stack_widget(), "a"), (rotated_stack_widget(), "b")):
        viewer.window.add_dock_widget(made, name=label)
        if label == "a":
            made(map_file=ball, angle_step=60.0)
            qtbot.waitUntil(lambda: "ball projections" in viewer.layers, timeout=20_000)
        else:
            made.reset_choices()
            made(angle_step=90.0)
            qtbot.waitUntil(lambda: "ball projections masks" in viewer.layers, timeout=20_000)
    assert viewer.layers["ball projections templates"].data.shape[1] == 4
