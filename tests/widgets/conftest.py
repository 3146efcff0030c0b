"""A small data set, a controller without a window, and the dock in a viewer."""

import os
import time

import numpy as np
import pytest

from helpers import Blobs
from napari_gempick.io.stack import write_mrc
from napari_gempick.widgets.controller import Controller
from napari_gempick.widgets.counting import Counter
from napari_gempick.widgets.searches import Searches

SHAPE, PIXEL = (220, 240), 2.0
PLANTED = {"one": [(60.0, 70.0), (170.0, 60.0), (120.0, 160.0)], "two": [(70.0, 150.0), (180.0, 120.0)]}
"""Centres (x, y) by micrograph."""


@pytest.fixture
def data(tmp_path):
    """Two micrographs with planted particles, a template, and the folder that they are in."""
    folder = tmp_path / "data"
    for seed, (name, centres) in enumerate(PLANTED.items()):
        noise = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
        write_mrc(folder / f"{name}.mrc", Blobs.image(SHAPE, PIXEL, centres) + 0.2 * noise, PIXEL)
    write_mrc(tmp_path / "particle.mrc", Blobs.image((88, 88), PIXEL, [(44, 44)]), PIXEL)
    return folder


class Session:
    """The parts behind the window, and a way to wait for them."""

    def __init__(self):
        self.controller = Controller()
        self.searches = Searches(self.controller)
        self.counter = Counter(self.controller)
        self.said = []
        self.controller.said.connect(lambda sentence, kind: self.said.append((kind, sentence)))

    def wait(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited in vain; said: {self.said}"
            self.controller.mailbox.deliver(0.02)

    def idle(self):
        """Wait until nothing is left to do."""
        self.wait(lambda: self.searches.run is None and not self.counter.busy)
        while self.controller.mailbox.deliver(0.1):
            pass

    def load(self, folder, template, **values):
        self.controller.add_micrographs([folder])
        self.wait(lambda: self.controller.loaded is not None)
        self.controller.add_view("particle", [str(template)])
        for name, value in {"angle_step": 30.0, **values}.items():
            self.controller.set_value(name, value)

    def close(self):
        self.searches.close()
        self.controller.close()


@pytest.fixture
def make_session(plan_cache):
    return Session


@pytest.fixture
def session(plan_cache):
    made = Session()
    yield made
    made.close()


@pytest.fixture
def searched(session, data):
    """A session with both micrographs searched."""
    session.load(data, data.parent / "particle.mrc")
    session.searches.run_all()
    session.idle()
    session.wait(lambda: session.controller.choice is not None)
    return session


@pytest.fixture
def planted():
    return PLANTED


@pytest.fixture
def screen():
    """Skips where there is no screen; in CI that is a failure."""
    if not os.environ.get("DISPLAY") and os.name == "posix":
        message = "no screen: run make test, which brings its own"
        if os.environ.get("CI") and not os.environ.get("GEMPICK_ALLOW_SKIP"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture
def dock(screen, make_napari_viewer, plan_cache, qtbot):
    """The dock in a viewer, shut down in the end."""
    from napari_gempick.widgets.start import open_dock

    made = open_dock(make_napari_viewer())
    yield made
    made.shut()


@pytest.fixture
def picked(dock, data, qtbot):
    """The dock with the first micrograph searched."""
    controller = dock.controller
    controller.add_micrographs([str(data)])
    qtbot.waitUntil(lambda: controller.loaded is not None, timeout=20_000)
    controller.add_view("particle", [str(data.parent / "particle.mrc")])
    controller.set_value("angle_step", 30.0)
    dock.searches.run_this()
    qtbot.waitUntil(lambda: controller.choice is not None, timeout=60_000)
    return dock
