"""A small data set, a controller without a window, and the dock in a viewer."""

import contextlib
import gc
import os
import shutil
import sys
import threading
import time
from unittest.mock import patch

import numpy as np
import pytest

import forked_python
from helpers import Blobs
from napari_gempick.io.stack import write_mrc
from napari_gempick.widgets.background import worker_process
from napari_gempick.widgets.background.pick_counter import PickCounter
from napari_gempick.widgets.background.search_runner import SearchRunner
from napari_gempick.widgets.state.controller import Controller

SHAPE, PIXEL = (220, 240), 2.0
PLANTED = {"one": [(60.0, 70.0), (170.0, 60.0), (120.0, 160.0)], "two": [(70.0, 150.0), (180.0, 120.0)]}
"""Centres (x, y) by micrograph."""


@pytest.fixture
def data(tmp_path):
    """Two micrographs with planted particles, a template beside their folder, and the folder."""
    return make_data(tmp_path)


def make_data(where):
    folder = where / "data"
    for seed, (name, centres) in enumerate(PLANTED.items()):
        noise = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
        write_mrc(folder / f"{name}.mrc", Blobs.image(SHAPE, PIXEL, centres) + 0.2 * noise, PIXEL)
    write_mrc(where / "particle.mrc", Blobs.image((88, 88), PIXEL, [(44, 44)]), PIXEL)
    return folder


class Session:
    """The parts behind the window, and a way to wait for them."""

    def __init__(self):
        self.controller = Controller()
        self.searches = SearchRunner(self.controller)
        self.counter = PickCounter(self.controller)
        self.notified = []
        self.controller.notified.connect(lambda sentence, kind: self.notified.append((kind, sentence)))

    def wait(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited in vain; said: {self.notified}"
            self.controller.mailbox.deliver(0.02)

    def idle(self):
        """Wait until nothing is left to do."""
        self.wait(lambda: self.searches.run is None and not self.counter.busy)
        while self.controller.background.busy or self.controller.mailbox.deliver(0.1):
            self.controller.mailbox.deliver(0.02)

    def load(self, folder, template, **values):
        self.controller.add_micrographs([folder])
        self.wait(lambda: self.controller.loaded is not None)
        self.controller.add_view("particle", [str(template)])
        for name, value in {"angle_step": 30.0, **values}.items():
            self.controller.set_value(name, value)

    def close(self):
        self.folder = None if self.controller.folder is None else self.controller.folder.path
        self.searches.close()
        self.controller.close()


@pytest.fixture(scope="session", autouse=True)
def searches_start_at_once():
    """The process that searches is a fork of one that has loaded the package."""
    with patch.object(worker_process, "PROGRAM", forked_python.words("-m", "napari_gempick.window_worker")):
        yield


@pytest.fixture(scope="session")
def make_session(plan_cache):
    return Session


@pytest.fixture
def session(plan_cache):
    made = Session()
    yield made
    made.close()


@pytest.fixture(scope="session")
def searched_once(tmp_path_factory, plan_cache):
    """The results folder of a session that has searched both micrographs."""
    folder = make_data(tmp_path_factory.mktemp("searched"))
    made = Session()
    made.load(folder, folder.parent / "particle.mrc")
    made.searches.run_all()
    made.idle()
    made.close()
    return made.folder


@pytest.fixture
def searched(session, searched_once, tmp_path):
    """A session with both micrographs searched, in a folder of its own."""
    shutil.copytree(searched_once, tmp_path / "session")
    session.controller.open_folder(tmp_path / "session")
    session.wait(lambda: session.controller.choice is not None)
    session.idle()
    return session


@pytest.fixture
def planted():
    return PLANTED


@pytest.fixture(scope="session")
def qapp_cls(qapp_cls):
    """No application starts without a screen, where Qt would end the process: skips, and fails in CI."""
    if not os.environ.get("DISPLAY") and os.name == "posix":
        message = "no screen: run make test, which brings its own"
        if os.environ.get("CI") and not os.environ.get("GEMPICK_ALLOW_SKIP"):
            pytest.fail(message)
        pytest.skip(message)
    return qapp_cls


@pytest.fixture(autouse=True)
def nothing_goes_wrong(request):
    """No test of the window ends with an error that was said and not expected, or with a thread of ours.

    Exceptions in slots and Qt's warnings fail a test too (pytest-qt, qt_log_level_fail).
    """
    if napari := sys.modules.get("napari"):
        napari.utils.notifications.notification_manager.records.clear()
    before = set(threading.enumerate())  # what an earlier test left is its own fault
    yield
    left = [one.name for one in threading.enumerate() if one.name.startswith("gempick") and one not in before]
    if "make_session" not in request.fixturenames:  # its sessions belong to the test run
        assert not left
    if napari := sys.modules.get("napari"):
        records = napari.utils.notifications.notification_manager.records
        errors = [record.message for record in records if record.severity.value == "error"]
        assert not errors or request.node.get_closest_marker("errors_are_said"), errors


@contextlib.contextmanager
def own_viewer(**options):
    """A viewer whose commands are registered for itself, so that others may come before and after it in one process."""
    import napari
    from app_model import Application
    from napari._app_model import _app
    from napari._qt._qapp_model.qactions import init_qactions
    from napari.plugins import _initialize_plugins

    def forget():
        init_qactions.cache_clear()
        _initialize_plugins.cache_clear()

    forget()
    app = _app.NapariApplication("gempick_tests")
    app.injection_store.namespace = _app._napari_names
    with patch.object(_app.NapariApplication, "get_app_model", return_value=app):
        made = napari.Viewer(**options)
        gc.freeze()  # napari collects garbage whenever layers go; what is loaded need not be looked through each time
        yield made
        gc.unfreeze()
        made.close()
    Application.destroy("gempick_tests")
    forget()


@pytest.fixture(scope="module")
def hidden_viewer(qapp, plan_cache):
    """One viewer for all tests of a module, which is not drawn: that takes most of the time."""
    with own_viewer(show=False) as made:
        yield made


@pytest.fixture(scope="module")
def viewer(qapp, plan_cache):
    """One viewer on the screen, 1280 x 800 pixels, for all tests of a module: to make one takes seconds."""
    with own_viewer() as made:
        made.window.resize(1280, 800)
        yield made


@pytest.fixture
def hand(viewer, qtbot):
    """A dock in that viewer, and what a person does with it."""
    from hands import Hand

    made = Hand(viewer, qtbot)
    yield made
    made.leave()


@pytest.fixture
def dock(hidden_viewer, qtbot):
    """The dock in the viewer that is not drawn, shut down in the end."""
    from hands import docked

    with docked(hidden_viewer) as made:
        yield made


@pytest.fixture
def picked(dock, searched_once, tmp_path, qtbot):
    """The dock on a copy of the searched session."""
    shutil.copytree(searched_once, tmp_path / "session")
    dock.open([tmp_path / "session"])
    qtbot.waitUntil(lambda: dock.controller.choice is not None, timeout=20_000)
    qtbot.waitUntil(lambda: dock.layers.layer("Index") is not None, timeout=20_000)
    return dock
