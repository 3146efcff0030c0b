"""What part 3 says before a search and while it runs, and the first look at what it found."""

import csv
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_gempick.io.stack import AS_IN_MICROGRAPHS, read_stack, write_mrc
from napari_gempick.widgets.background import search_runner
from napari_gempick.widgets.state.loading import load

SAMPLE = Path(__file__).parents[3] / "sample_data"


@pytest.fixture
def ready(hand, data):
    hand.controller.add_micrographs([data])
    hand.until(lambda: hand.controller.loaded is not None)
    template = data.parent / "particle.mrc"
    write_mrc(template, read_stack(template).data[0], 2.0, note=AS_IN_MICROGRAPHS)
    hand.controller.add_view("particle", [str(template)])
    hand.controller.set_value("angle_step", 30.0)
    hand.idle()
    return hand


@pytest.mark.errors_are_said  # of the mask
def test_warnings_come_before_the_search(ready, data):
    """Each is there at once, and goes when its cause goes."""
    hand, controller, panel = ready, ready.controller, ready.dock.search
    hand.until(lambda: "12 rotated templates for each micrograph" in panel.cost.text())
    assert panel.warnings.isHidden()
    for name, value, words in (
        ("lowpass", 3.0, "hold no detail finer than 4 Å"),
        ("pixel_size", 3.0, "You typed a pixel size of 3 Å, but the file says 2 Å"),
        ("template_pixel_size", 8.0, "larger than the micrograph"),
        ("contrast", "opposite", "has the contrast of the micrographs, as its header says"),
    ):
        controller.set_value(name, value)
        hand.until(lambda words=words: words in panel.warnings.text())
        controller.undo()
        hand.until(panel.warnings.isHidden)
    write_mrc(data / "far.mrc", np.ones((220, 240), np.float32), 3.0)
    controller.add_micrographs([data / "far.mrc"])
    hand.until(lambda: controller.stem == "far")
    place = panel.run_this.mapTo(hand.dock.scroll.widget(), panel.run_this.pos())
    controller.set_value("pixel_size", 2.0)
    hand.until(lambda: "of 2 Å, but the file says 3 Å" in panel.warnings.text())
    assert panel.run_this.mapTo(hand.dock.scroll.widget(), panel.run_this.pos()) == place, "buttons stay where they are"
    controller.go(0)
    hand.until(panel.warnings.isHidden)
    controller.change_view("particle", mask="circle:400")
    hand.until(lambda: "larger than the template" in panel.warnings.text())


def test_a_search_says_where_it_is_and_begins_at_the_automatic_threshold(hand, tmp_path, monkeypatch):
    monkeypatch.setattr(search_runner, "TOLD_EVERY", 0.0)  # a search this short is told of once or twice otherwise
    controller, panel = hand.controller, hand.dock.search
    shutil.copy(SAMPLE / "micrograph_001.mrc", tmp_path)
    controller.add_micrographs([tmp_path / "micrograph_001.mrc"])
    hand.until(lambda: controller.loaded is not None)
    for view in ("side", "top"):
        controller.add_view(view, [str(SAMPLE / f"template_{view}.mrc")], str(SAMPLE / f"mask_{view}.mrc"))
    for name, value in {"angle_step": 10.0, "lowpass": 35.2}.items():
        controller.set_value(name, value)
    words, bars = [], []
    hand.dock.searches.changed.connect(lambda: words.append(panel.bar.format()))
    hand.dock.searches.changed.connect(lambda: bars.append(hand.dock.activity._bar is not None))
    hand.until(lambda: "72 rotated templates" in panel.cost.text())
    hand.click(panel.run_this)
    hand.until(lambda: bool(controller.state.tune.thresholds), 60)
    hand.idle()
    stages = {"reading templates", "opening devices", "preparing micrograph and transforms"}
    assert stages & set(words), "a stage shorter than a look is not seen"
    assert any(" of 72" in text for text in words)
    assert True in bars and hand.dock.activity._bar is None
    found = dict(controller.state.tune.thresholds)
    assert set(found) == {"side", "top"} and 0.4 not in found.values()
    picks = controller.loaded.selection.result(controller.choice)
    with (SAMPLE / "micrograph_001_truth.csv").open(encoding="utf-8") as file:
        truth = np.array([(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)])
    apart = np.hypot(picks.x[:, None] - truth[:, 0], picks.y[:, None] - truth[:, 1])
    assert (apart.min(axis=1) < 20).mean() > 0.9 and (apart.min(axis=0) < 20).mean() > 0.8
    assert "threshold" not in controller.history.undoable, "the first look is part of the step before it"
    tune = hand.dock.tune
    places = [widget.geometry() for widget in (tune.histogram, tune.sliders["side"].slider)]
    controller.set_threshold(None, 0.97)
    QApplication.processEvents()
    assert places == [widget.geometry() for widget in (tune.histogram, tune.sliders["side"].slider)]
    assert tune.nothing.isVisible() and "is below the threshold 0.97" in tune.nothing.text()
    assert f"{controller.loaded.selection.picks.score.max():.2f}" in tune.nothing.text()
    hand.click(tune.automatic)
    hand.until(lambda: controller.state.tune.thresholds == found)
    assert tune.nothing.isHidden() and len(controller.choice) == len(picks)


def test_a_preview_comes_first_and_is_called_so(ready, monkeypatch):
    """It is the button that is blue; list, count and export say what it is, and nothing of it is kept."""
    hand, controller, panel, dock = ready, ready.controller, ready.dock.search, ready.dock
    assert "background" in panel.preview.styleSheet() and "background" not in panel.run_this.styleSheet()
    assert dock.messages.text().startswith("Next, part 3: Preview")
    hand.until(lambda: "12 rotated templates" in panel.cost.text())
    QApplication.processEvents()
    for one in (panel.preview, panel.folder):
        assert one.visibleRegion().boundingRect().height() == one.height(), "part 3 is in sight to its end"
    hand.click(panel.preview)
    hand.until(lambda: controller.loaded.preview and dock.searches.run is None, 60)
    hand.idle()
    assert dock.messages.text().startswith("If the preview looks right, press Run this")
    assert dock.tune.count.text() == f"{len(controller.choice)} picks (preview)" and len(controller.choice) == 3
    assert dock.micrographs._items["one"].text(1) == "preview" and not dock.counter.counts
    assert "preview" in dock.export.plan.text() and not dock.export.all.isEnabled()
    assert panel.open and dock.tune.open, "what is pressed next is not folded away"
    assert "background" in panel.run_this.styleSheet() and "background" not in panel.preview.styleSheet()
    hand.qtbot.wait(100)
    assert panel.run_this.visibleRegion().boundingRect().height() == panel.run_this.height(), "the next one is in sight"
    dock.tune.colours.native.setCurrentIndex(1)
    points = hand.viewer.layers["Picks"]
    scores, colours = points.features["score"].to_numpy(), np.asarray(points.border_color)
    assert colours[scores.argmax(), 0] > 0.9 and colours[scores.argmin(), 2] > 0.7, "yellow is best, violet lowest"
    dock.tune.crosses.native.click()
    assert {str(symbol) for symbol in points.symbol} == {"cross"}
    dock.micrographs.step(1)
    hand.idle()
    assert dock.micrographs._items["one"].text(1) == "not searched"
    dock.micrographs.step(-1)
    hand.idle()
    hand.click(panel.preview)
    hand.until(lambda: controller.loaded.preview and dock.searches.run is None, 60)
    image, micrograph = controller.loaded.image, hand.viewer.layers["Micrograph"]
    micrograph.contrast_limits = (-0.5, 0.5)

    def load_later(*given):
        while dock.searches.run is not None:
            time.sleep(0.01)
        return load(*given)

    monkeypatch.setattr("napari_gempick.widgets.state.controller.load", load_later)  # as of a large micrograph
    hand.click(panel.run_this)
    hand.until(lambda: "one" in controller.results, 60)
    hand.idle()
    assert "background" in panel.run_all.styleSheet() and "background" not in panel.run_this.styleSheet()
    assert controller.loaded.image is image and micrograph.contrast_limits == [-0.5, 0.5], "it stays as it is seen"


def test_the_cost_is_that_of_the_searches_before(tmp_path):
    """Twice the pixels or images take twice as long; what a search took sets the scale."""
    from napari_gempick.io.listing import find_micrographs
    from napari_gempick.widgets.state.loading import CandidateCache
    from napari_gempick.widgets.state.outlook import outlook, rate_of
    from napari_gempick.widgets.state.state import State, ViewSpec

    random = np.random.default_rng(0)
    write_mrc(tmp_path / "t.mrc", random.random((32, 32)).astype(np.float32), 2.0)
    write_mrc(tmp_path / "m.mrc", random.random((300, 400)).astype(np.float32), 2.0)
    (file,) = find_micrographs([tmp_path / "m.mrc"])

    def cost(rate, mask="circle:50", **values):
        state = State((file,), (ViewSpec("a", (str(tmp_path / "t.mrc"),), mask),), values)
        loaded = load(file, state, None, {}, CandidateCache())
        return outlook(state, file, loaded, rate)

    one = cost(1e-9, angle_step=10.0)
    assert (one.images, one.quick) == (36, None) and cost(None).seconds is None
    row = {"seconds": 5.0, "shape": [300, 400], "pixel_size": 2.0, "map_pixel_size": 2.0}
    assert cost(rate_of(row, one.work), angle_step=10.0).seconds == pytest.approx(5.0)
    assert cost(1e-9, angle_step=5.0).seconds == pytest.approx(2 * one.seconds)
    assert cost(1e-9, angle_step=10.0, grid="2").seconds == pytest.approx(one.seconds / 4)
    assert cost(1e-9, mask="auto", angle_step=10.0).seconds > 3 * one.seconds
    slow = cost(1e-3, angle_step=10.0)
    assert slow.quick is not None and slow.quick[1] < slow.seconds / 3
