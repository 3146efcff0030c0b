"""The micrographs of the window: their folder, what is read of them and when, and those that cannot be read."""

import threading
from dataclasses import replace

import numpy as np

from napari_gempick.io.stack import write_mrc
from napari_gempick.widgets.state import loading


def test_bad_files_do_no_harm(session, data):
    (data / "empty.mrc").write_bytes(b"")
    whole = (data / "two.mrc").read_bytes()
    (data / "short.mrc").write_bytes(whole[: len(whole) // 2])
    write_mrc(data / "flat.mrc", np.zeros((100, 100), np.float32), 2.0)
    session.load(data, data.parent / "particle.mrc")
    session.searches.run_all()
    session.idle()
    states = {file.output_stem: session.searches.state_of(file) for file in session.controller.state.files}
    assert {stem: state for stem, (state, _) in states.items()} == {
        "empty": "failed", "flat": "failed", "one": "done", "short": "failed", "two": "done",
    }  # fmt: skip
    assert "truncated" in states["short"][1] and "constant" in states["flat"][1]
    assert session.counter.counts == {"one": 3, "two": 2}
    for number in range(5):
        session.controller.go(number)
        session.wait(lambda: session.controller.loaded.stem == session.controller.stem)
        assert (session.controller.loaded.image is None) == (session.controller.stem in ("empty", "short"))


def test_an_image_is_drawn_as_it_is_and_read_once(session, data):
    """napari converts other types at every redraw; the same array is not drawn again."""
    write_mrc(data / "small.mrc", np.arange(12, dtype=np.int8).reshape(3, 4), 2.0)
    controller = session.controller
    controller.add_micrographs([data / "small.mrc"])
    session.wait(lambda: controller.loaded is not None)
    image = controller.loaded.image
    assert image.dtype == np.float32 and image.tolist() == np.arange(12).reshape(3, 4).tolist()
    controller.loaded = replace(controller.loaded, notes=("before",))
    controller.reload()
    session.wait(lambda: controller.loaded.notes != ("before",))
    assert controller.loaded.image is image
    write_mrc(data / "small.mrc", np.zeros((3, 5), np.uint16), 2.0)
    controller.reload()
    session.wait(lambda: controller.loaded.image is not image)
    assert controller.loaded.image.dtype == np.uint16 and controller.loaded.image.shape == (3, 5)


def test_stale_answers_are_dropped_and_the_next_image_is_read_ahead(session, data, monkeypatch):
    """Who holds the key down waits for the last micrograph, not for all that were passed."""
    session.load(data, data.parent / "particle.mrc")
    session.idle()
    go_on, read, drawn = threading.Event(), [], []

    def slowly(file, *rest):
        read.append(file.output_stem)
        go_on.wait()
        return loading.load(file, *rest)

    monkeypatch.setattr("napari_gempick.widgets.state.controller.load", slowly)
    monkeypatch.setattr(loading, "_drawn", lambda image, made=loading._drawn: drawn.append(1) or made(image))
    for number in (1, 0) * 4:
        session.controller.go(number)
    session.controller.go(1, then=0)
    go_on.set()
    session.wait(lambda: session.controller.loaded.stem == session.controller.stem == "two")
    assert len(read) <= 3, "two threads were at work"
    session.idle()
    assert read[-1] == "one" and session.controller.loaded.stem == "two"
    before = len(drawn)
    session.controller.go(0)
    session.wait(lambda: session.controller.loaded.stem == "one")
    assert len(drawn) == before, "it was there already"


def test_a_folder_chosen_before_the_first_micrograph_stays(session, data, tmp_path):
    controller = session.controller
    assert controller.use_folder(tmp_path / "mine")
    controller.add_micrographs([data])
    session.idle()
    assert controller.folder.path == tmp_path / "mine" and len(controller.state.files) == 2


def test_an_unreadable_micrograph_is_forgotten_with_its_line(session, data):
    controller = session.controller
    (data / "broken.mrc").write_bytes(b"nothing")
    controller.add_micrographs([data / "broken.mrc"])
    session.idle()
    assert list(controller.unreadable) == ["broken"]
    controller.remove_micrographs([0])
    session.idle()
    assert not controller.unreadable


def test_a_folder_that_is_entered_has_not_been_looked_at(searched, tmp_path):
    """A first look that has not been answered is not that of another folder."""
    controller = searched.controller
    for enter in (
        lambda: controller.use_folder(tmp_path / "new"),
        lambda: controller.open_folder(tmp_path / "session"),
    ):
        controller.first_look = {}
        assert enter() and controller.first_look is None


def test_earlier_sessions_are_read_for_an_empty_list_only(session, data, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "napari_gempick.widgets.state.micrograph_files.earlier_session", lambda found, own: asked.append(len(found))
    )
    session.controller.add_micrographs([data / "one.mrc"])
    session.idle()
    session.controller.add_micrographs([data / "two.mrc"])
    session.idle()
    assert asked == [1] and len(session.controller.state.files) == 2
