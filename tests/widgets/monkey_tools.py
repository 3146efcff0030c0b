"""What the monkey does with tools, brushes, a watched folder, and the dialogs that open by themselves."""

import random
import shutil
from types import SimpleNamespace

from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QProgressDialog

from napari_gempick.widgets.panels.improve import ImproveDialog
from napari_gempick.widgets.panels.score import AskDialog

MOST_FILES = 8


class Tools:
    """Actions of the monkey that it shares its dock, controller and random numbers with."""

    random: random.Random

    def dialogs(self):
        """Return the dialogs that wait for an answer; nothing else can be clicked meanwhile."""
        kinds = (AskDialog, ImproveDialog, QProgressDialog)
        return [one for one in QApplication.topLevelWidgets() if isinstance(one, kinds) and one.isVisible()]

    def answer(self):
        dialog = self.dialogs()[0]
        if self.random.random() < 0.1:
            dialog.reject()
        elif isinstance(dialog, AskDialog):
            QTest.keyClick(dialog, self.random.choice((Qt.Key.Key_Y, Qt.Key.Key_N, Qt.Key.Key_S)))
        elif isinstance(dialog, ImproveDialog):
            button = self.random.choice((dialog.both, dialog.replace, dialog.keep))
            if button.isEnabled():
                button.click()

    def ask(self):
        if self.dock.tune.score.ask.isEnabled():
            self.dock.tune.score.ask.click()

    def improve(self):
        for line in self.dock.templates.views.values():
            if line.improve.isVisibleTo(line):
                line.improve.click()
                break

    def watch(self):
        line = self.dock.micrographs.watch
        self.random.choice((line.button, line.search.native)).click()

    def arrive(self):
        """Copy a micrograph into the folder that may be watched."""
        number = len(list((self.folder / "data").glob("*.mrc")))
        if number < MOST_FILES:
            shutil.copy(self.random.choice(self.files), self.folder / "data" / f"m{number}.mrc")

    def brush(self):
        tool, button = self.random.choice(list(self.dock.tune.excluded.buttons.items()))
        button.click()
        layer = self.dock.excluded.layer
        if layer is not None and self.dock.excluded.tool == tool:
            with layer.block_history():
                for _ in range(self.random.randint(1, 3)):
                    place = [self.random.randrange(side) for side in layer.data.shape]
                    layer.paint(place, int(self.dock.excluded.tool == "paint"))

    def stroke(self):
        """Press the mouse, move it, and let go, with whatever tool is in hand."""
        size, _ = self.dock.layers.scale
        loaded = self.controller.loaded
        if loaded is None or loaded.image is None:
            return

        def move(kind):
            event.type, event.pos = kind, (self.random.randrange(300), self.random.randrange(300))
            event.position = [self.random.uniform(-5, side + 5) * size for side in loaded.image.shape]

        event = SimpleNamespace(button=1)
        move("mouse_press")
        moves = self.random.randint(0, 4)
        for number, _ in enumerate(self.dock.tools._drag(self.viewer, event)):
            self.spin(0)
            move("mouse_move" if number < moves else "mouse_release")
