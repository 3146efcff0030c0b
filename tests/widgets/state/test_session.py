"""The session file: saved in order and in its own folder, checked when it is read, no way out of the folder."""

import json
import shutil
import threading

import pytest

from napari_gempick.model.errors import OutputError
from napari_gempick.model.settings import PickSettings
from napari_gempick.widgets.panels import remembered
from napari_gempick.widgets.panels.template_actions import project
from napari_gempick.widgets.state import controller as controller_module
from napari_gempick.widgets.state import session as session_module
from napari_gempick.widgets.state.session import read_session

GUARD = 30
"""Seconds after which a test that waits in vain fails."""


def settled(session):
    """Let every thread of the session's background come to the end of what it was given before."""
    done = threading.Event()
    session.controller.background.do(lambda: None, lambda _: done.set())
    session.wait(done.is_set)


def lowpass_of(folder):
    return read_session(folder)[0].values.get("lowpass")


# saving


@pytest.fixture
def slow_disk(monkeypatch):
    """Writing a session with a low-pass of 10 Å waits for `released`; the low-passes written, in their order."""
    real = session_module.write_text

    class Disk:
        def __init__(self):
            self.begun, self.released = threading.Event(), threading.Event()
            self.written, self.at_work, self.most = [], 0, 0
            self._lock = threading.Lock()

        def write(self, path, text):
            value = json.loads(text)["state"]["values"].get("lowpass")
            with self._lock:
                self.at_work += 1
                self.most = max(self.most, self.at_work)
            if value == 10.0:
                self.begun.set()
                assert self.released.wait(GUARD)
            real(path, text)
            with self._lock:
                self.at_work -= 1
                self.written.append(value)

    disk = Disk()
    monkeypatch.setattr(session_module, "write_text", disk.write)
    yield disk
    disk.released.set()


def test_an_older_state_never_overwrites_a_newer_one(session, slow_disk, tmp_path):
    controller = session.controller
    controller.use_folder(tmp_path / "work")
    controller.set_value("lowpass", 10.0)
    assert slow_disk.begun.wait(GUARD)
    for value in (20.0, 30.0):
        controller.set_value("lowpass", value)
    settled(session)  # whatever saves beside the writer that waits has done so
    slow_disk.released.set()
    session.wait(lambda: 30.0 in slow_disk.written and 10.0 in slow_disk.written and not slow_disk.at_work)
    found = [value for value in slow_disk.written if value is not None]
    assert found == sorted(found) and found[-1] == 30.0
    assert slow_disk.most == 1
    assert lowpass_of(tmp_path / "work") == 30.0


def test_a_slow_disk_keeps_nothing_else_waiting(session, slow_disk, tmp_path):
    """Two more changes wait to be saved; micrographs are read all the same."""
    controller = session.controller
    controller.use_folder(tmp_path / "work")
    controller.set_value("lowpass", 10.0)
    assert slow_disk.begun.wait(GUARD)
    for value in (20.0, 30.0):
        controller.set_value("lowpass", value)
    settled(session)
    assert 10.0 not in slow_disk.written


def test_a_save_that_waits_lands_in_its_own_folder(session, searched_once, tmp_path, monkeypatch):
    """Another folder is opened while a save waits: the other folder keeps what it holds."""
    shutil.copytree(searched_once, tmp_path / "other")
    wanted = read_session(tmp_path / "other")[0]
    controller = session.controller
    controller.use_folder(tmp_path / "work")
    settled(session)
    gate = threading.Event()
    for _ in range(2):
        controller.background.do(lambda: gate.wait(GUARD))
    controller.set_value("lowpass", 12.0)
    real = controller_module.History

    def between(state):
        """The moment when the folder is the new one and the state is the old one."""
        gate.set()
        done = threading.Event()
        controller.background.do(done.set)
        assert done.wait(GUARD)
        return real(state)

    monkeypatch.setattr(controller_module, "History", between)
    assert controller.open_folder(tmp_path / "other")
    settled(session)
    assert read_session(tmp_path / "other")[0] == wanted
    assert lowpass_of(tmp_path / "work") == 12.0


def test_a_folder_that_is_left_is_saved_first(session, tmp_path):
    controller = session.controller
    controller.use_folder(tmp_path / "first")
    controller.set_value("lowpass", 15.0)
    controller.use_folder(tmp_path / "second")
    assert lowpass_of(tmp_path / "first") == 15.0
    settled(session)
    session.close()
    assert lowpass_of(tmp_path / "second") == 15.0


def test_a_folder_that_cannot_be_saved_keeps_nobody_in_it(session, searched_once, tmp_path, monkeypatch):
    shutil.copytree(searched_once, tmp_path / "other")
    controller = session.controller
    controller.use_folder(tmp_path / "work")
    settled(session)
    real = session_module.write_text

    def full(path, text):
        if path.parent == tmp_path / "work":
            raise OutputError(f"Cannot write {path}: the disk is full; free space.", path)
        real(path, text)

    monkeypatch.setattr(session_module, "write_text", full)
    controller.set_value("lowpass", 15.0)
    assert controller.open_folder(tmp_path / "other")
    session.wait(lambda: controller.choice is not None)
    assert controller.folder.path == tmp_path / "other"
    assert {sentence for kind, sentence in session.notified if kind == "error"} == {
        f"Cannot write {tmp_path / 'work' / 'session.json'}: the disk is full; free space."
    }


# reading


def change(*path, to):
    """Return what puts a value at a place of the content."""

    def apply(content):
        here = content
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = to

    return apply


def remove(*path):
    """Return what removes a place of the content."""

    def apply(content):
        here = content
        for part in path[:-1]:
            here = here[part]
        del here[path[-1]]

    return apply


DAMAGE = {
    "state": remove("state"),
    "results": change("results", to=[]),
    "session": change("session", to=2),
    "current": change("current", to=5),
    "state.files": change("state", "files", to={"path": "x"}),
    "state.files.1": change("state", "files", 1, to="one.mrc"),
    "state.files.0.path": change("state", "files", 0, "path", to=None),
    "state.files.0.whole_name": change("state", "files", 0, "whole_name", to="no"),
    "state.views.0.mask": remove("state", "views", 0, "mask"),
    "state.views.0.colour": change("state", "views", 0, "colour", to="sort of blue"),
    "state.values: angle_step": change("state", "values", "angle_step", to="fine"),
    "state.values: 'angel_step'": change("state", "values", "angel_step", to=4.0),
    "state.values: averaging": change("state", "values", "averaging", to=10**400),
    "state.values: in_plane_symmetry": change("state", "values", "in_plane_symmetry", to="2"),
    "state.values: lowpass": change("state", "values", "lowpass", to=float("nan")),
    "state.tune.thresholds.particle": change("state", "tune", "thresholds", to={"particle": "high"}),
    "state.tune.min_distance": change("state", "tune", "min_distance", to="80"),
    "state.tune: local-mean": change("state", "tune", "local_mean", to="a,b"),
    "state.tune.max_picks": change("state", "tune", "max_picks", to=1.5),
    "state.overrides.one.thresholds": change("state", "overrides", "one", to={}),
    "state.edits.one.rejected.0": change("state", "edits", "one", to={"rejected": [[1.0]], "added": []}),
    "state.edits.one.added.0.x": change(
        *("state", "edits", "one"),
        to={"rejected": [], "added": [{"x": float("inf"), "y": 1, "view": "", "score": 0, "psi": 0, "section": 0}]},
    ),
    "results.one": change("results", "one", to=None),
    "results.one.row": change("results", "one", "row", to=[]),
    "results.one.row.best_score": change("results", "one", "row", "best_score", to="high"),
    "results.one.bank.sections_per_view.0": change("results", "one", "bank", "sections_per_view", to=[-1]),
    "results.one.bank": change("results", "one", "bank", "sections_per_view", to=[1, 2]),
    "results.one.bank: angle-step": change("results", "one", "bank", "angle_step", to=1e-300),
    "results.one.diameter": change("results", "one", "diameter", to="wide"),
}


@pytest.fixture
def folder(searched_once, tmp_path):
    return shutil.copytree(searched_once, tmp_path / "damaged")


def damaged(folder, apply):
    content = json.loads((folder / "session.json").read_text())
    apply(content)
    (folder / "session.json").write_text(json.dumps(content))


def still_usable(session, data):
    """The window goes on after the refusal."""
    session.controller.add_micrographs([data / "one.mrc"])
    session.wait(lambda: session.controller.loaded is not None)
    assert session.controller.loaded.image is not None


def test_a_wrong_field_is_a_sentence_that_names_it(session, folder, data):
    whole = (folder / "session.json").read_text()
    for field, apply in DAMAGE.items():
        (folder / "session.json").write_text(whole)
        damaged(folder, apply)
        said = len(session.notified)
        assert not session.controller.open_folder(folder), field
        ((kind, sentence),) = session.notified[said:]
        assert kind == "error", field
        assert sentence.startswith(f"{folder / 'session.json'} cannot be read: {field}"), (field, sentence)
        assert sentence.endswith("; correct or remove it.") and "\n" not in sentence
    (folder / "session.json").write_text(whole)
    still_usable(session, data)
    assert session.controller.open_folder(folder)  # nobody holds it
    session.wait(lambda: session.controller.choice is not None)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"session": 1, "state": ' * 5000, b'{"session": NaN}'],
    ids=["empty", "cut", "null", "list", "binary", "deep list", "deep object", "number"],
)
def test_what_is_not_a_session_is_a_sentence(session, folder, text):
    (folder / "session.json").write_bytes(text)
    assert not session.controller.open_folder(folder)
    ((kind, sentence),) = session.notified
    assert kind == "error" and sentence.startswith(f"{folder / 'session.json'} cannot be read: ")


OUTSIDE = ["../../escaped", "/escaped", "grid/../../../escaped", "..", ""]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_never_lead_out_of_the_folder(session, folder, data, name, tmp_path):
    """Of micrographs, results and views, in session.json and in run.json."""
    session_text, run_text = ((folder / file).read_text() for file in ("session.json", "run.json"))
    changes = {
        "relative": change("state", "files", 0, "relative", to=f"{name}/one.mrc" if name not in ("", "..") else name),
        "result": lambda content: content["results"].update({name: content["results"]["one"]}),
        "view": change("state", "views", 0, "name", to=name),
    }
    if name.startswith("/"):
        changes["relative"] = change("state", "files", 0, "relative", to=f"{tmp_path}/escaped/one.mrc")
    for what, apply in changes.items():
        damaged(folder, apply)
        assert not session.controller.open_folder(folder), what
        assert "leads out of the folder" in session.notified[-1][1], what
        (folder / "session.json").write_text(session_text)
    (folder / "session.json").unlink()
    content = json.loads(run_text)
    content["micrographs"][0]["name"] = name
    (folder / "run.json").write_text(json.dumps(content))
    assert not session.controller.open_folder(folder)
    assert "run.json" in session.notified[-1][1]
    still_usable(session, data)
    assert not [path for path in tmp_path.rglob("*") if "escaped" in path.name]


def test_a_damaged_run_is_a_sentence(session, folder, data):
    (folder / "session.json").unlink()
    whole = json.loads((folder / "run.json").read_text())
    for field, apply in {
        "views": remove("views"),
        "diameter": change("diameter", to="wide"),
        "micrographs": change("micrographs", to=7),
        "name": remove("micrographs", 0, "name"),
        "path": remove("micrographs", 1, "path"),
        "best_score": change("micrographs", 0, "best_score", to="high"),
        "sections": remove("views", 0, "sections"),
        "settings": change("settings", "lowpass", to=-1),
    }.items():
        content = json.loads(json.dumps(whole))
        apply(content)
        (folder / "run.json").write_text(json.dumps(content))
        said = len(session.notified)
        assert not session.controller.open_folder(folder), field
        ((kind, sentence),) = session.notified[said:]
        assert kind == "error" and ("run.json" in sentence or "settings" in sentence), sentence
    still_usable(session, data)


def test_a_folder_that_is_open_stays_open_when_it_cannot_be_read_again(searched, make_session):
    folder = searched.controller.folder.path
    state = searched.controller.state
    before = session_module.SessionFolder.save
    session_module.SessionFolder.save = lambda self, *args: (self.path / "session.json").write_text("{")
    try:
        assert not searched.controller.open_folder(folder)
    finally:
        session_module.SessionFolder.save = before
    assert searched.controller.state == state
    other = make_session()
    try:
        assert not other.controller.open_folder(folder)
        assert "open in another window" in other.notified[-1][1]
    finally:
        other.close()


def test_what_every_setting_may_be_is_read_again(folder):
    """A session with each setting at a value of its own."""
    more = {
        **{"averaging": 2, "highpass": 400.0, "hot_pixels": 8, "gradient": "plane", "whiten": True, "lowpass": 9},
        **{"ctf": "/data/ctf.star", "ctf_step": 100.0, "phase_flipped": "bright", "candidate_floor": -0.1},
        **{"angle_step": 0, "angle_range": 180.0, "in_plane_symmetry": ["particle=2"], "grid": "3/2", "mask_edge": 8.0},
        **{"diameter": 120.0, "pixel_size": 1.5, "template_pixel_size": 3, "exclude": "auto", "devices": "cpu"},
        **{"threads": 3, "save_maps": True, "per_view_maps": True, "decoys": False, "mask_rotation": "soft"},
        **{"bad_pixels": "replace", "contrast": "opposite"},
    }
    damaged(folder, change("state", "values", to=more))
    state, found, current = read_session(folder)
    assert state.values == more and current == "one" and set(found) == {"one", "two"}
    plain = PickSettings().model_dump(mode="json")
    damaged(folder, change("state", "values", to=plain))
    assert read_session(folder)[0].values == plain


def test_folds_are_read_again(folder):
    damaged(folder, change("results", "one", "bank", "folds", to=[2]))
    assert read_session(folder)[1]["one"].bank.folds == (2,)


@pytest.mark.parametrize("name", ["", "..", "../side", "/side", "a/b", "a=b", "a\\b"])
def test_views_have_names_that_files_can_be_called_after(session, name, tmp_path):
    session.controller.use_folder(tmp_path / "work")
    session.controller.add_view(name, ["/data/side.mrc"])
    project(session.controller, tmp_path / "map.mrc", name, "C1", 30.0)
    assert session.controller.state.views == ()
    assert {kind for kind, _ in session.notified} == {"error"} and len(session.notified) == 2
    assert all("A view cannot be called" in sentence for _, sentence in session.notified)


def test_what_the_window_remembers_may_be_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "napari-gempick" / "window.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"jobs": [1, None, {}], "choices": {"root": 5, "maps": True, "more": 1}, "cluster": 3}))
    assert (remembered.jobs(), remembered.last_choices(), remembered.last_cluster()) == ([], {"maps": True}, {})
