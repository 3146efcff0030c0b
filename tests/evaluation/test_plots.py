from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import matplotlib.image
import numpy as np
import pytest

from helpers import picks_at
from napari_gempick.evaluation.metrics import Curve
from napari_gempick.evaluation.plots import COLOURS, overlay, plot_precision_recall, plot_roc
from napari_gempick.model.errors import OutputError
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def curve() -> Curve:
    recall = np.linspace(0, 1, 50)
    precision = 1 - 0.6 * recall**4
    f1 = 2 * precision * recall / (precision + recall)
    counts = np.arange(1, 51)
    return Curve(np.linspace(0.9, 0.3, 50), counts, counts, precision, recall, f1, 12 * recall**3, 0.4 * recall**3)


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def pixels_like(path: Path, colour: str, within: int = 6) -> np.ndarray:
    """Mask of the pixels of a picture that have about this colour, (y, x)."""
    picture = np.round(255 * matplotlib.image.imread(path)[..., :3])
    return (np.abs(picture - rgb(colour)) <= within).all(axis=-1)


@pytest.mark.parametrize("plot", [plot_precision_recall, plot_roc])
def test_every_curve_is_drawn_in_its_colour_and_the_same_bytes_come_again(tmp_path, curve, plot):
    worse = replace(curve, precision=0.8 * curve.precision, recall=0.7 * curve.recall)
    path = tmp_path / "new" / "curves.png"
    plot(path, {"one": curve, "_the other$ set$": worse})
    assert all(pixels_like(path, colour).sum() > 300 for colour in COLOURS[:2])
    assert not pixels_like(path, COLOURS[2]).any()
    first = path.read_bytes()
    plot(path, {"one": curve, "_the other$ set$": worse})
    assert path.read_bytes() == first


@pytest.mark.parametrize("plot", [plot_precision_recall, plot_roc])
def test_curves_without_scores_or_meaning_are_drawn_too(tmp_path, curve, plot):
    nothing = np.zeros(0)
    empty = Curve(*[nothing] * 8)
    single = Curve(*(np.array([value]) for value in (-np.inf, 1, 1, 0.5, 0.8, 0.6, 3.0, 0.5)))
    undefined = replace(curve, precision=np.full(50, np.nan), f1=np.full(50, np.nan))
    plot(tmp_path / "odd.png", {"empty": empty, "single": single, "undefined": undefined})
    assert pixels_like(tmp_path / "odd.png", COLOURS[1]).sum() > 50
    plot(tmp_path / "none.png", {})


def test_a_folder_that_is_a_file(tmp_path, curve):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        plot_precision_recall(tmp_path / "file" / "pr.png", {"one": curve})


def shown_at(path: Path, mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Positions (x, y) of the pixels in a mask of the picture, in px of the micrograph."""
    picture = np.round(255 * matplotlib.image.imread(path)[..., :3])
    inside = ~(picture == 255).all(axis=-1)
    rows = np.nonzero(inside.mean(axis=1) > 0.9)[0]
    columns = np.nonzero(inside.mean(axis=0) > 0.7)[0]
    y, x = np.nonzero(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    ny, nx = image.shape
    return np.stack((x * nx / len(columns), y * ny / len(rows)), axis=1)


def test_circles_stand_where_the_particles_are(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (300, 400)).astype(np.float32)
    path = tmp_path / "overlay.png"
    overlay(path, image, picks_at(100, 220, psi=np.nan), ("a $side$",), pixel_size=2.0, diameter=120.0, title="a $mic$")
    ring = shown_at(path, pixels_like(path, "#56B4E9", 12), image)
    assert np.ptp(ring, axis=0) == pytest.approx([60, 60], abs=4)
    assert (ring.max(axis=0) + ring.min(axis=0)) / 2 == pytest.approx([100, 220], abs=2)


def test_psi_is_counter_clockwise_on_screen(tmp_path):
    image = np.random.default_rng(0).normal(0, 1, (300, 400))
    path = tmp_path / "overlay.png"
    overlay(path, image, picks_at(200, 150, psi=90), ("side",), pixel_size=1.0, diameter=200.0)
    x, y = shown_at(path, pixels_like(path, "#56B4E9", 12), image).T
    inner = np.hypot(x - 200, y - 150) < 80
    assert inner.sum() > 50
    assert np.abs(x[inner] - 200).max() < 4 and y[inner].max() < 155  # from the centre upwards


def test_missed_truth_is_marked(tmp_path):
    image = np.random.default_rng(0).normal(0, 1, (300, 400))
    picks, truth = picks_at(100, 100, psi=np.nan), (np.array([115.0, 300.0]), np.array([100.0, 200.0]))
    path = tmp_path / "overlay.png"
    overlay(path, image, picks, ("side",), pixel_size=1.0, diameter=60.0, truth=truth)
    x, y = shown_at(path, pixels_like(path, "#FF3B30", 12), image).T
    assert (x.mean(), y.mean()) == pytest.approx((300, 200), abs=3) and np.ptp(x) < 20
    overlay(path, image, Picks.empty(), ("side", "top"), pixel_size=1.0, diameter=60.0, truth=truth)
    assert pixels_like(path, "#FF3B30", 12).sum() > 100


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.float32])
def test_large_and_constant_micrographs(tmp_path, dtype):
    image = np.zeros((1700, 3300), dtype)
    overlay(tmp_path / "overlay.png", image, picks_at(3000, 100, psi=np.nan), ("a",), pixel_size=1.0, diameter=60.0)
    assert matplotlib.image.imread(tmp_path / "overlay.png").shape[1] == 1600


def test_pyplot_and_windows_are_left_alone():
    code = (
        "import sys, numpy as np, tempfile, napari_gempick.evaluation.plots as plots;"
        "from napari_gempick.model.picks import Picks;"
        "plots.overlay(tempfile.mkdtemp() + '/a.png', np.eye(9), Picks.empty(), ('a',), pixel_size=1, diameter=3);"
        "sys.exit('matplotlib.pyplot' in sys.modules or 'tkinter' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
