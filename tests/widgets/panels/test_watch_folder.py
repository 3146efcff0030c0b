"""A folder that is watched while the window is open: files come whole, half, broken, and again."""

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from helpers import Blobs
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.widgets.state.session import read_session
from napari_gempick.workflows.watch_settings import WatchSettings

SHAPE, PIXEL = (220, 240), 2.0
CENTRES = {"a": [(60.0, 70.0), (170.0, 60.0), (120.0, 160.0)], "b": [(70.0, 150.0), (180.0, 120.0)], "c": [(120, 110)]}


@pytest.fixture
def files(tmp_path):
    """The bytes of micrographs with particles, and a template."""
    made = {}
    for seed, (name, centres) in enumerate(CENTRES.items()):
        noise = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
        write_mrc(tmp_path / "made" / f"{name}.mrc", Blobs.image(SHAPE, PIXEL, centres) + 0.2 * noise, PIXEL)
        made[name] = (tmp_path / "made" / f"{name}.mrc").read_bytes()
    write_mrc(tmp_path / "particle.mrc", Blobs.image((88, 88), PIXEL, [(44, 44)]), PIXEL)
    return made


@pytest.fixture
def watching(hand, files, tmp_path, monkeypatch):
    """The window, watching an empty folder by a click; it looks every 50 ms."""
    folder = tmp_path / "arrive"
    folder.mkdir()
    hand.dock.watch._watching = WatchSettings(poll="0.05s", settle="0.1s")
    hand.pick_files(monkeypatch, folder)
    hand.click(hand.dock.micrographs.watch.button)
    assert hand.dock.watch.folder == folder and "0 micrographs" in hand.dock.micrographs.watch.words.text()
    hand.folder = folder
    return hand


def come(folder, name, content):
    """Rename a file in place, as programs do that write beside."""
    (folder / f".{name}").write_bytes(content)
    (folder / f".{name}").rename(folder / name)


def names(hand):
    return [file.output_stem for file in hand.controller.state.files]


def states(hand):
    rows = hand.dock.micrographs._items
    return {stem: row.text(1) for stem, row in rows.items()}


def test_what_arrives_is_listed_and_searched_and_undo_leaves_it(watching, files):
    """Files come while the person works; counts grow, and undo takes back the person's own step."""
    hand, controller, line = watching, watching.controller, watching.dock.micrographs.watch
    hand.click(line.search.native)
    come(hand.folder, "a.mrc", files["a"])
    hand.until(lambda: names(hand) == ["a"] and controller.loaded is not None)
    hand.until(lambda: "Add templates in part 2" in line.words.text())
    controller.set_value("angle_step", 30.0)
    controller.add_view("particle", [str(hand.folder.parent / "particle.mrc")])
    hand.until(lambda: hand.dock.counter.counts.get("a") == 3)
    controller.set_threshold(None, 0.9, gesture="threshold")
    come(hand.folder, "b.mrc", files["b"])
    hand.until(lambda: states(hand) == {"a": "done", "b": "done"})
    hand.idle()
    assert controller.state.tune.thresholds["particle"] == 0.9, "as it was set meanwhile"
    assert "2 micrographs so far" in line.words.text()
    controller.undo()
    assert names(hand) == ["a", "b"], "what has arrived stays"
    assert controller.state.tune.thresholds.get("particle") != 0.9
    hand.click(line.button)
    come(hand.folder, "c.mrc", files["c"])
    hand.qtbot.wait(400)
    assert names(hand) == ["a", "b"] and hand.dock.watch.folder is None and not line.words.isVisible()
    hand.idle()
    folder = controller.folder.path
    hand.dock.shut()
    state, results, _ = read_session(folder)
    assert [file.output_stem for file in state.files] == ["a", "b"] == sorted(results)


def test_a_file_counts_when_it_is_whole_and_a_broken_one_stops_nothing(watching, files):
    hand, controller = watching, watching.controller
    controller.set_value("angle_step", 30.0)
    controller.add_view("particle", [str(hand.folder.parent / "particle.mrc")])
    hand.click(hand.dock.micrographs.watch.search.native)
    half = len(files["a"]) // 2
    with (hand.folder / "a.mrc").open("wb") as stream:
        stream.write(files["a"][:half])
        stream.flush()
        hand.until(lambda: hand.dock.watch.incomplete == 1)
        assert not names(hand)
        stream.write(files["a"][half:])
    hand.until(lambda: states(hand) == {"a": "done"})
    come(hand.folder, "b.mrc", b"not an image")
    come(hand.folder, "c.mrc", files["c"])
    hand.until(lambda: states(hand) == {"a": "done", "b": "failed", "c": "done"})
    assert any("b.mrc" in sentence for kind, sentence in hand.notified if kind == "warning")
    come(hand.folder, "b.mrc", files["b"])
    hand.until(lambda: states(hand)["b"] == "done")
    hand.idle()
    assert hand.dock.counter.counts == {"a": 3, "b": 2, "c": 1}
    hand.folder.joinpath("a.mrc").write_bytes(files["c"])  # another image of the same name
    hand.until(lambda: hand.dock.counter.counts.get("a") == 1)
    hand.idle()
    assert sorted(names(hand)) == ["a", "b", "c"]


def test_a_cancelled_search_is_the_last_and_another_session_ends_it(watching, files, searched_once, tmp_path):
    hand, controller, watch = watching, watching.controller, watching.dock.watch
    controller.set_value("angle_step", 0.5)
    controller.add_view("particle", [str(hand.folder.parent / "particle.mrc")])
    hand.click(hand.dock.micrographs.watch.search.native)
    come(hand.folder, "a.mrc", files["a"])
    hand.until(lambda: hand.dock.searches.run is not None)
    hand.dock.searches.cancel()
    hand.until(lambda: hand.dock.searches.run is None)
    come(hand.folder, "b.mrc", files["b"])
    hand.until(lambda: sorted(names(hand)) == ["a", "b"])
    QApplication.processEvents()
    assert hand.dock.searches.run is None and not watch.searching and watch.folder is not None
    hand.open_searched(searched_once, tmp_path / "session")
    assert watch.folder is None and sorted(names(hand)) == ["one", "two"]


def test_earlier_work_in_the_folder_is_asked_about_and_its_maps_are_not_micrographs(
    hand, searched_once, tmp_path, monkeypatch
):
    """A folder that was worked in: its session goes on, and score maps are never listed."""
    hand.open_searched(searched_once, tmp_path / "session")
    data = hand.controller.state.files[0].path.parent
    asked = []
    hand.controller.remove_micrographs([0, 1])
    hand.idle()
    monkeypatch.setattr(hand.controller, "continues", lambda folder: asked.append(folder) or True)
    hand.dock.watch._watching = WatchSettings(poll="0.05s", settle="0.1s")
    hand.dock.watch.start(data)
    hand.until(lambda: hand.dock.watch.arrived == 2)
    hand.idle()
    assert not any("_ncc" in name or "_index" in name for name in names(hand))
