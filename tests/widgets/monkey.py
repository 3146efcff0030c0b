"""A monkey at the window: real clicks and keys at random moments, the same ones for the same seed.

`sh tools/display.sh python tests/widgets/monkey.py --steps 20000 --seed 7` runs it by hand.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog

sys.path.insert(0, str(Path(__file__).parents[1]))

from monkey_tools import Tools

from helpers import Blobs
from napari_gempick.io.atomic import TEMPORARY, sweep
from napari_gempick.io.candidates import read_candidates
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.stack import write_mrc
from napari_gempick.results.run_file import read_run
from napari_gempick.widgets.app import viewing
from napari_gempick.widgets.app.dock import open_dock
from napari_gempick.widgets.panels import export, particles
from napari_gempick.widgets.state.session import read_session

SHAPE, PIXEL = (96, 104), 8.0
NAMES = ("side", "top", "a b", "=", "", "end/on")
BROKEN = ("error of the program", "ended unexpectedly", "cannot be read", "cannot write", "Traceback")
"""What a person must never read who does nothing wrong."""


class Monkey(Tools):
    """Does things to a dock, and checks what must always hold.

    Parameters
    ----------
    viewer : napari.Viewer
    folder : Path
        Gets micrographs and results.
    seed : int
    """

    def __init__(self, viewer, folder, seed):
        self.viewer, self.folder = viewer, folder
        self.random = random.Random(seed)
        self.log = deque(maxlen=40)
        self.closed = self.searched = 0
        self.files = []
        for number in range(5):
            noise = np.random.default_rng(number).standard_normal(SHAPE).astype(np.float32)
            centres = [(20 + 12 * number, 30), (70, 60 - 5 * number)]
            path = folder / "data" / f"m{number}.mrc"
            write_mrc(path, Blobs.image(SHAPE, PIXEL, centres) + 0.2 * noise, PIXEL)
            self.files.append(path)
        for name in ("p", "q"):
            write_mrc(folder / f"{name}.mrc", Blobs.image((32, 32), PIXEL, [(16, 16)]), PIXEL)
        self.open()

    def open(self):
        self.dock = open_dock(self.viewer)
        self.controller = self.dock.controller
        self.controller.continues = lambda folder: self.random.random() < 0.7
        self.controller.notified.connect(self._heard)

    def _heard(self, sentence, kind):
        self.log.append(f"said {kind}: {sentence}")
        if any(words.lower() in sentence.lower() for words in BROKEN):
            self.spin(0.3)
            raise AssertionError("\n".join([sentence, *self.dock.searches._process._last_words]))

    # what it does

    def add(self):
        self.controller.add_micrographs(self.random.sample(self.files, self.random.randint(1, 3)))

    def remove(self):
        files = self.controller.state.files
        self.controller.remove_micrographs([self.random.randrange(len(files))] if files else [])

    def switch(self):
        panel = self.dock.micrographs
        if self.random.random() < 0.5:
            panel.step(self.random.choice((-1, 1)))
        elif panel.list.topLevelItemCount():
            item = panel.list.topLevelItem(self.random.randrange(panel.list.topLevelItemCount()))
            centre = panel.list.visualItemRect(item).center()
            QTest.mouseClick(panel.list.viewport(), Qt.MouseButton.LeftButton, pos=centre)

    def sort(self):
        self.dock.micrographs.list.sort_by(self.random.randrange(4))

    def delete(self):
        if self.random.random() < 0.3:
            QTest.keyClick(self.dock.micrographs.list, Qt.Key.Key_Delete)

    def add_view(self):
        self.controller.add_view(
            self.random.choice(NAMES[:3]), [str(self.folder / self.random.choice(("p.mrc", "q.mrc")))]
        )

    def rename(self):
        rows = list(self.dock.templates.views.values())
        if rows:
            line = self.random.choice(rows).name.native
            line.setFocus()
            line.selectAll()
            QTest.keyClicks(line, self.random.choice(NAMES))
            QTest.keyClick(line, Qt.Key.Key_Return)

    def mask(self):
        rows = list(self.dock.templates.views.values())
        if rows:
            box = self.random.choice(rows).mask.native
            box.setCurrentIndex(
                box.findText(self.random.choice(("automatic mask", "circle", "rectangle", "draw a mask...")))
            )

    def end_drawing(self):
        for line in self.dock.templates.views.values():
            for button in self.random.sample((line.use, line.give_up), 1):
                if line.drawing.isVisibleTo(self.dock):
                    button.click()

    def remove_view(self):
        views = self.controller.state.views
        if views and self.random.random() < 0.4:
            self.controller.remove_view(self.random.choice(views).name)

    def setting(self):
        name, values = self.random.choice(
            (
                ("angle_step", (90.0, 45.0)),
                ("diameter", (None, 200.0)),
                ("lowpass", (None, 40.0)),
                ("pixel_size", (None, 8.0)),
            )
        )
        self.controller.set_value(name, self.random.choice(values))

    def search(self):
        panel = self.dock.search
        button = self.random.choice((panel.run_this, panel.run_this, panel.run_all, panel.preview))
        if button.isEnabled():
            self.searched += 1
            button.click()

    def cancel(self):
        if self.random.random() < 0.3:
            self.dock.search.cancel.click()

    def slide(self):
        for slider in self.dock.tune.sliders.values():
            slider.slider.setValue(self.random.uniform(-0.2, 1.0))

    def automatic(self):
        self.dock.tune.automatic.click()

    def scope(self):
        self.random.choice((self.dock.tune.all, self.dock.tune.this)).click()

    def tune(self):
        self.controller.set_tune(
            **{self.random.choice(("min_distance", "border")): self.random.choice((None, 50.0, 150.0))}
        )

    def undo(self):
        for _ in range(self.random.randint(1, 4)):
            self.controller.undo()

    def redo(self):
        self.controller.redo()

    def reject(self):
        layer = self.dock.layers.layer("Picks")
        if layer is not None and len(layer.data):
            layer.selected_data = {self.random.randrange(len(layer.data))}
            self.dock.reject()

    def add_pick(self):
        self.controller.add_pick(self.random.uniform(-5, SHAPE[1] + 5), self.random.uniform(-5, SHAPE[0] + 5))

    def key(self):
        letter = self.random.choice("[],.iI")
        QTest.keyClicks(self.dock.tune.gallery, letter)

    def gallery(self):
        tile = QPoint(self.random.randrange(200), self.random.randrange(50))
        QTest.mouseClick(self.dock.tune.gallery, Qt.MouseButton.LeftButton, pos=tile)
        if self.random.random() < 0.5:
            QTest.keyClick(self.dock.tune.gallery, Qt.Key.Key_X)

    def lowpass(self):
        self.dock.layers.set_lowpass(self.random.choice((None, 40.0)))

    def fold(self):
        part = self.random.choice(self.dock.parts)
        part.set_open(not part.open)

    def tool(self):
        self.random.choice(list(self.dock.tool_bar.buttons.values())).click()

    def reject_micrograph(self):
        files = self.controller.state.files
        if files:
            self.controller.reject_micrographs([self.random.choice(files).output_stem], self.random.random() < 0.5)

    def export(self):
        if self.random.random() < 0.3:
            self.random.choice((self.dock.export.this, self.dock.export.all)).click()

    def delete_layer(self):
        if self.random.random() < 0.2 and len(self.viewer.layers):
            self.viewer.layers.remove(self.random.choice(list(self.viewer.layers)))

    def close(self):
        """Close the dock, whatever runs; open the folder again."""
        if self.random.random() < 0.15 and self.controller.folder is not None:
            self.closed += 1
            folder, state, stem = self.controller.folder.path, self.controller.state, self.controller.stem
            self.dock.shut()
            self.viewer.window.remove_dock_widget(self.dock)
            found, results, current = read_session(folder)
            assert (plain(found), current) == (plain(state), stem)
            self.viewer.layers.clear()
            self.open()
            self.dock.open([folder])
            assert plain(self.controller.state) == plain(state) and set(self.controller.results) == set(results)

    def step(self):
        """Do something, and let the window work for a moment."""
        actions = [
            *(
                self.add,
                self.add,
                self.remove,
                self.switch,
                self.switch,
                self.sort,
                self.delete,
                self.add_view,
                self.rename,
            ),
            *(
                self.mask,
                self.end_drawing,
                self.remove_view,
                self.setting,
                self.search,
                self.cancel,
                self.slide,
                self.slide,
            ),
            *(self.automatic, self.scope, self.tune, self.undo, self.redo, self.reject, self.add_pick, self.key),
            *(self.gallery, self.lowpass, self.fold, self.tool, self.tool, self.reject_micrograph),
            *(self.ask, self.improve, self.watch, self.arrive, self.brush, self.stroke, self.stroke),
            *(self.export, self.delete_layer, self.close),
        ]
        action = self.answer if self.dialogs() else self.random.choice(actions)
        self.log.append(action.__name__)
        action()
        self.spin(self.random.choice((0, 0, 0, 0.002, 0.02)))
        self.check()

    def spin(self, seconds):
        end = time.monotonic() + seconds
        QApplication.processEvents()
        while time.monotonic() < end:
            QApplication.processEvents()

    # what must hold

    def check(self):
        dock, controller = self.dock, self.controller
        listed = {
            dock.micrographs.list.topLevelItem(n).text(0) for n in range(dock.micrographs.list.topLevelItemCount())
        }
        assert listed == {file.output_stem for file in controller.state.files}
        assert list(dock.templates.views) == [view.name for view in controller.state.views]
        assert (controller.stem in listed) if controller.state.files else controller.stem is None
        layer = dock.layers.layer("Picks")
        if controller.choice is not None and layer is not None and controller.is_shown:
            counts = len(layer.data), len(controller.choice), len(controller.edits().added)
            assert counts[0] == counts[1], counts
            assert counts[1] >= counts[2] or controller.background.busy, counts
        assert not dock.drawing.view or dock.drawing.view in dock.templates.views

    def settle(self):
        """Wait for everything, then check every file."""
        dock, controller = self.dock, self.controller
        end = time.monotonic() + 60
        while dock.searches.run is not None or dock.counter.busy or controller.background.busy:
            assert time.monotonic() < end, "it never comes to rest"
            self.spin(0.02)
        self.check()
        controller.save_now()
        for session in (self.folder / "data").glob("gempick*"):
            if session.is_dir() and (session / "session.json").exists():
                state, _, _ = read_session(session)
                assert session != controller.folder.path or plain(state) == plain(controller.state)
                if (session / "run.json").exists():
                    read_run(session)
                for path in (session / "candidates").glob("*.star"):
                    read_candidates(path)
                for path in session.glob("*_autopick.star"):
                    read_coordinates(path)
        sweep(self.folder)  # as the next search does, where Cancel had to kill one
        left = [path for path in self.folder.rglob("*") if path.name.startswith(TEMPORARY)]
        assert not left, left

    def run(self, steps, often=250):
        """Go through steps; settle now and then."""
        try:
            for number in range(steps):
                self.step()
                if number % often == often - 1:
                    self.settle()
            self.settle()
        except BaseException:
            print("\n".join(self.log))
            raise
        finally:
            self.dock.shut()


def plain(state):
    """Return a state as text: NaN is equal to itself there."""
    from napari_gempick.widgets.state.state import to_plain

    return repr(to_plain(state))


def no_dialogs(patch, folder):
    """Answer dialogs: yes, and the folder with the micrographs."""
    patch(QFileDialog, "getExistingDirectory", lambda *_: str(folder / "data"))
    for panel in (export, particles, viewing):
        patch(panel, "agreed", lambda *_: True)


def main():
    import napari

    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    caught = []
    sys.excepthook = lambda *error: (caught.append(error), sys.__excepthook__(*error))
    folder = Path(tempfile.mkdtemp())
    no_dialogs(setattr, folder)
    viewer = napari.Viewer(show=False)  # to draw takes most of the time
    monkey = Monkey(viewer, folder, options.seed)
    started = time.monotonic()
    print(f"seed {options.seed}", flush=True)
    for done in range(0, options.steps, 500):
        for _ in range(min(500, options.steps - done)):
            try:
                monkey.step()
            except BaseException:
                print("\n".join(monkey.log))
                raise
            if caught:
                sys.exit("\n".join(monkey.log))
        monkey.settle()
        seconds = time.monotonic() - started
        print(f"{done + 500} steps, {monkey.closed} closings, {monkey.searched} searches, {seconds:.0f} s", flush=True)
    monkey.dock.shut()
    viewer.close()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
