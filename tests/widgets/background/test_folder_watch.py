"""What a watched folder has searched, without a window: files that change meanwhile, and searches that fail."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from psygnal import Signal

from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.widgets.background import folder_watch
from napari_gempick.widgets.background.folder_watch import FolderWatch
from napari_gempick.widgets.background.search_runner import SearchRunner
from napari_gempick.widgets.state.controller import Controller
from napari_gempick.widgets.state.result import Result
from napari_gempick.workflows.watch_settings import WatchSettings


class Searches:
    """Stands for the searches: notes what begins, and ends it as a test wants."""

    changed = Signal()

    def __init__(self, controller):
        self.controller, self.run, self.cancelling = controller, None, False
        self.arriving, self.begun = set(), []
        controller.results_changed.connect(lambda stem: self.changed.emit())

    def start(self, files, *, maps):
        stems = [file.output_stem for file in files]
        self.begun.append(stems)
        self.run = SimpleNamespace(places={stem: place for place, stem in enumerate(stems)}, files=tuple(files))
        self.changed.emit()
        return True

    def find(self, stem, **row):
        self.controller.set_result(stem, Result({"name": stem, **row}))
        self.arriving.discard(stem)

    def end(self):
        self.run, self.cancelling = None, False
        self.changed.emit()


@pytest.fixture
def watching(tmp_path):
    """A watched folder that is looked at every 20 ms; files are complete after 40 ms."""
    folder = tmp_path / "arrive"
    folder.mkdir()
    controller = Controller()
    searches = Searches(controller)
    watch = FolderWatch(controller, searches, WatchSettings(poll="0.02s", settle="0.04s"))
    controller.add_view("particle", [str(tmp_path / "particle.mrc")])
    watch.start(folder)
    watch.set_searching(True)

    def come(name, value=0.0):
        write_mrc(tmp_path / name, np.full((32, 32), value, np.float32), 2.0)
        (tmp_path / name).rename(folder / name)

    def until(condition, seconds=20):
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends
            controller.mailbox.deliver(0.02)

    yield SimpleNamespace(
        controller=controller, searches=searches, watch=watch, come=come, until=until, looks=lambda: watch._looks
    )
    watch.close()
    controller.close()


def first_search(w):
    """Let a.mrc arrive, and wait for its search."""
    w.come("a.mrc")
    w.until(lambda: w.searches.begun == [["a"]])


def first_search_unread(w):
    """The same until the search has ended, but its result is still being read."""
    first_search(w)
    w.searches.arriving.add("a")
    w.searches.end()


def some_looks(w, number=30):
    """Wait until the folder was looked at some times more."""
    since = w.looks()
    w.until(lambda: w.looks() >= since + number)


def test_a_search_that_fails_is_tried_again_only_when_something_changes(watching):
    w = watching
    first_search(w)
    w.searches.end()  # a template cannot be read, for example
    some_looks(w)
    assert w.searches.begun == [["a"]]
    w.come("b.mrc")
    w.until(lambda: w.searches.begun == [["a"], ["a", "b"]])
    w.searches.find("a")
    w.searches.end()
    w.until(lambda: w.searches.begun[2:] == [["b"]])
    w.searches.end()
    w.controller.set_value("angle_step", 20.0)
    assert w.searches.begun[3:] == [["b"]], "other settings"


def test_results_of_a_file_that_changed_during_its_search_are_dropped(watching):
    w = watching
    first_search(w)
    w.come("a.mrc", 1.0)
    some_looks(w)  # also after the new file is complete
    w.searches.find("a")
    assert "a" not in w.controller.results, "of the earlier file"
    w.searches.end()
    assert w.searches.begun == [["a"], ["a"]]
    w.searches.find("a")
    w.searches.end()
    assert "a" in w.controller.results and len(w.searches.begun) == 2


def test_so_are_results_that_are_still_read_when_the_file_changes(watching):
    w = watching
    first_search_unread(w)
    w.come("a.mrc", 1.0)
    some_looks(w)
    w.searches.find("a")
    assert "a" not in w.controller.results
    w.until(lambda: w.searches.begun == [["a"], ["a"]])


def test_a_file_that_is_being_rewritten_is_searched_when_it_is_whole(watching):
    w = watching
    first_search(w)
    w.searches.find("a")
    w.searches.end()
    path = w.watch.folder / "a.mrc"
    content = path.read_bytes()
    path.write_bytes(content[:2000])
    w.until(lambda: "a" not in w.controller.results)
    w.controller.set_value("angle_step", 20.0)
    assert w.searches.begun == [["a"]], "it is half there"
    path.write_bytes(content)
    w.until(lambda: w.searches.begun == [["a"], ["a"]])


def test_a_companion_that_leaves_the_list_is_not_an_action_of_the_person(watching):
    """Undo takes back what the person did, and what arrives is searched as before."""
    w = watching
    w.come("a_noDW.mrc")
    w.until(lambda: w.searches.begun == [["a_noDW"]])  # it waits for its micrograph at first
    w.controller.set_value("angle_step", 20.0)

    def listed():
        return [file.output_stem for file in w.controller.state.files]

    def give_up(state, before):
        if not {"a_noDW"} & set(listed()):  # as the real searches do
            w.searches.cancelling = True
            w.searches.changed.emit()

    w.controller.state_changed.connect(give_up)
    w.come("a.mrc")
    w.until(lambda: listed() == ["a"])
    w.controller.state_changed.disconnect(give_up)
    w.searches.end()
    assert w.watch.searching and w.searches.begun == [["a_noDW"], ["a"]]
    assert w.controller.undo() == "change angle step" and listed() == ["a"]
    w.controller.redo()
    assert listed() == ["a"]


def test_a_file_that_failed_is_looked_at_at_each_poll(watching, monkeypatch):
    monkeypatch.setattr(folder_watch, "ALL_FILES", 10**9)  # the others are not looked at again
    w = watching
    first_search(w)
    w.searches.find("a", error="It has no contrast.")
    w.searches.end()
    some_looks(w, 3)
    w.come("a.mrc", 1.0)
    w.until(lambda: w.searches.begun == [["a"], ["a"]])


def test_what_arrives_leaves_redo_as_it_is(watching):
    w = watching
    w.controller.set_value("angle_step", 20.0)
    w.controller.undo()
    w.come("a.mrc")
    w.until(lambda: w.controller.state.files)
    assert w.controller.redo() == "change angle step"
    assert [file.output_stem for file in w.controller.state.files] == ["a"]
    assert w.controller.state.values["angle_step"] == 20.0


def test_a_result_on_its_way_is_waited_for(watching):
    w = watching
    first_search_unread(w)
    some_looks(w, 3)
    assert w.searches.begun == [["a"]], "it is being read"
    w.searches.find("a")
    some_looks(w, 3)
    assert w.searches.begun == [["a"]]


def test_a_result_arrives_between_the_worker_s_word_and_the_list(tmp_path):
    """The real searches tell which results are being read."""
    controller = Controller()
    controller.use_folder(tmp_path / "work")
    searches = SearchRunner(controller)
    try:
        run = SimpleNamespace(number=1, folder=tmp_path / "work", files=(None,), digest="", maps=False)
        searches.run = run
        searches._heard({"event": "micrograph", "run": 1, "row": {"name": "a"}})
        assert searches.arriving == {"a"}
        while controller.background.busy or controller.mailbox.deliver(0.02):
            pass
        assert not searches.arriving, "also where run.json cannot be read"
    finally:
        searches.close()
        controller.close()
