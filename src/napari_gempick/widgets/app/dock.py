"""The dock: five parts on one controller, and the joints between them and the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QDialog, QLineEdit, QScrollArea, QVBoxLayout, QWidget
from superqt.utils import qdebounced

from napari_gempick.widgets.app.keys import Key, bind, bind_widget, keys_of_tools, show_keys
from napari_gempick.widgets.app.lifecycle import Bridge, Shutter, SideWindow, warm_up
from napari_gempick.widgets.app.messages import Activity, Messages, next_step
from napari_gempick.widgets.app.viewing import Viewing
from napari_gempick.widgets.background.background_tasks import BackgroundTasks
from napari_gempick.widgets.background.false_shares import FalseShares
from napari_gempick.widgets.background.fdr_estimator import FdrEstimator
from napari_gempick.widgets.background.folder_watch import FolderWatch
from napari_gempick.widgets.background.pick_counter import PickCounter
from napari_gempick.widgets.background.search_runner import SearchRunner
from napari_gempick.widgets.forms.forms import in_window_words
from napari_gempick.widgets.forms.parts import GAP, Panel, agreed, button, row
from napari_gempick.widgets.layers.drawing import MaskDrawing
from napari_gempick.widgets.layers.excluded import ExcludedArea
from napari_gempick.widgets.layers.hover import Hover
from napari_gempick.widgets.layers.layer_registry import camera_of
from napari_gempick.widgets.layers.layers import INDEX, MICROGRAPH, NCC, PICKS, Layers
from napari_gempick.widgets.layers.pictures import show_stacks
from napari_gempick.widgets.layers.tools import PickTools
from napari_gempick.widgets.npe2.contributions import sample_files
from napari_gempick.widgets.panels.compare import ComparePanel, ComparisonLayer
from napari_gempick.widgets.panels.curate import CurateWindow
from napari_gempick.widgets.panels.export import ExportPanel
from napari_gempick.widgets.panels.micrographs import MicrographsPanel
from napari_gempick.widgets.panels.search import SearchPanel
from napari_gempick.widgets.panels.templates import TemplatesPanel
from napari_gempick.widgets.panels.tool_bar import ToolBar
from napari_gempick.widgets.panels.tune import TunePanel
from napari_gempick.widgets.panels.wall import Wall
from napari_gempick.widgets.state.comparing import Comparison
from napari_gempick.widgets.state.controller import Controller
from napari_gempick.widgets.state.curating import CtfValues

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari.viewer import Viewer


TITLE = "Pick particles"
WIDTH, LINE = 372, 17
"""Pixels: of the dock at napari's own font size, and of a line of text then."""
_STEP = 0.01


class Dock(QWidget):
    """The plugin's window.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Micrographs that are open in it are added to the list.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = viewer = napari_viewer
        self.bridge = Bridge(self)
        self.controller = controller = Controller(self.bridge.post)
        self.searches = SearchRunner(controller)
        self.activity = Activity(self.searches)
        self.counter = PickCounter(controller)
        self.messages = Messages()
        self.ctf = CtfValues(controller)
        estimates = FdrEstimator(controller)
        parts = controller, self.counter, self.ctf
        false = FalseShares(controller, self.counter, estimates)
        self.curate = SideWindow(viewer, "Curate micrographs", lambda: CurateWindow(*parts, false))
        self.wall = SideWindow(viewer, "Threshold wall", lambda: Wall(*parts))
        controller.notified.connect(self._say)
        controller.continues = self._continues
        self.layers = Layers(viewer, controller)
        self.drawing = MaskDrawing(viewer, controller)
        self.tools = PickTools(viewer, controller, self.layers, self)
        self.excluded = ExcludedArea(self.layers, controller)
        for put_down in (self.tools.put_down, self.excluded.put_down):
            self.drawing.begins.connect(put_down)
        self.excluded.begins.connect(self.tools.put_down)
        self.tool_bar = ToolBar(controller, self.tools, self.excluded)
        self.watch = FolderWatch(controller, self.searches)
        self.micrographs = MicrographsPanel(
            controller, self.searches, self.counter, self.watch, self.add_sample, self.curate.show
        )
        self.templates = TemplatesPanel(
            controller, self.drawing, lambda: show_stacks(viewer, controller, self.layers.turns), self.searches
        )
        self.search = SearchPanel(controller, self.searches)
        self.hover = Hover(controller, self.layers, self._template_of)
        shown = self.layers, self.excluded, self.hover
        self.tune = TunePanel(controller, self.counter, estimates, *shown, self.go_to, self.wall.show)
        self.comparison = Comparison(controller)
        self.compared = ComparisonLayer(viewer, self.layers, self.comparison)
        self.compare = ComparePanel(self.comparison)
        self.tune.rows.addWidget(self.compare)
        self.extraction, self.cluster = BackgroundTasks(controller), BackgroundTasks(controller)
        self.export = ExportPanel(controller, self.counter, self.extraction, self.cluster)
        self.parts = (self.micrographs, self.templates, self.search, self.tune, self.export)
        self._lay_out()
        self.keys = self._make_keys()
        bind(self.keys, viewer)
        bind_widget(self.keys, self)
        self.layers.on_made = lambda layer: bind(self.keys, layer)
        viewer.mouse_move_callbacks.append(self._moved)
        controller.state_changed.connect(self._unfold_next)
        for changed in (controller.state_changed, controller.results_changed, controller.loaded_changed):
            changed.connect(lambda *_: self.messages.hint(next_step(controller)))
        self.messages.hint(next_step(controller))
        controller.choice_changed.connect(lambda: self.layers.turns.put("unfold", self._unfold_tune))
        self._had_picks = False
        self._scroll_soon = qdebounced(self._scroll_to, timeout=50)
        self._shutter = Shutter(
            viewer,
            self._moved,
            self.drawing,
            self.tools,
            self.excluded,
            self.layers,
            self.compared,
            self.extraction,
            self.cluster,
            self.watch,
            self.searches,
            controller,
            self.activity,
        )
        self.tune.set_open(False)
        self.export.set_open(False)
        self.search.set_open(False)
        warm_up(controller.background, self.layers.turns, viewer, self)
        QTimer.singleShot(0, self.searches.look_at_machine)
        app = QApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self._shutter.shut)
        self.destroyed.connect(self._shutter.shut)
        self._adopt()

    def _adopt(self) -> None:
        """Add the micrographs that are open in the viewer; their plain layers are hidden."""
        paths = []
        for layer in list(self.viewer.layers):
            path = layer.metadata.get("gempick", {}).get("path")
            if path and layer.ndim == 2 and hasattr(layer, "contrast_limits"):
                paths.append(path)
                layer.visible = False
        if paths:
            self.controller.add_micrographs(paths)

    def _lay_out(self) -> None:
        inside = QWidget()
        inside.setMinimumWidth(1)  # never wider than the dock, whatever texts and themes ask for
        rows = QVBoxLayout(inside)
        rows.setContentsMargins(2, 2, 2, 2)
        rows.setSpacing(2)
        for part in self.parts:
            rows.addWidget(part)
        rows.addStretch(1)
        self.scroll = QScrollArea()
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setWidget(inside)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.scroll)
        self.shortcuts = button("Shortcuts", "Show the keys", lambda: show_keys(self, self.keys))
        self.look = button(
            "Showing: micrograph", "Show the micrograph, the score map or the index map  ( I )", self.cycle
        )
        self.viewing = Viewing(self.controller, self.layers, self.searches, self._show_map)
        layout.addWidget(self.tool_bar)
        layout.addWidget(self.messages)
        foot = row(self.look, self.viewing.lowpass, self.shortcuts)
        foot.setContentsMargins(6, 0, 12, 0)
        layout.addLayout(foot)
        layout.addWidget(self.viewing)
        self._fit_width()

    def changeEvent(self, event: Any) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange) and hasattr(self, "look"):
            self._fit_width()

    def _fit_width(self) -> None:
        """Be wide enough for the texts, which grow with napari's font size."""
        self.setMinimumWidth(max(WIDTH, round(WIDTH * self.look.fontMetrics().height() / LINE)))

    def _make_keys(self) -> list[Key]:
        controller = self.controller
        return [
            Key("[", "previous micrograph", lambda: self.micrographs.step(-1)),
            Key("]", "next micrograph", lambda: self.micrographs.step(1)),
            Key(",", "lower the thresholds by 0.01", lambda: self.step_thresholds(-_STEP)),
            Key(".", "raise the thresholds by 0.01", lambda: self.step_thresholds(_STEP)),
            Key("H", "hide the picks while held", lambda: self._show_picks(False), lambda: self._show_picks(True)),
            Key("I", "micrograph, score map, index map in turn", self.cycle),
            Key("X", "reject the selected picks, or the one under the cursor", self.reject),
            *keys_of_tools(self.tools.take),
            Key("Control-Z", "undo", controller.undo),
            Key("Control-Shift-Z", "redo", controller.redo),
        ]

    # what the person does

    def open(self, paths: Sequence[Path]) -> None:
        """Open a folder of results, or add micrographs."""
        from napari_gempick.widgets.state.session import is_results, is_session

        if len(paths) == 1 and paths[0].is_dir() and (is_session(paths[0]) or is_results(paths[0])):
            self.controller.open_folder(paths[0])
        elif paths:
            self.controller.add_micrographs(list(paths))

    def add_sample(self) -> None:
        """Make simulated micrographs with templates and add them."""
        controller = self.controller
        self._say("Making two micrographs of a KLH-like particle; this takes a few seconds.", "info")

        def take(made: Any) -> None:
            for view, path in made.templates.items():
                controller.add_view(view, [str(path)])
            controller.add_micrographs([str(path) for path in made.micrographs])

        controller.background.do(sample_files, take)

    def step_thresholds(self, by: float) -> None:
        """Move the thresholds of all views."""
        tune = self.controller.tune()
        for view in self.controller.view_names():
            self.controller.set_threshold(view, tune.threshold(view) + by, gesture="threshold keys")

    def reject(self) -> None:
        """Reject the picks selected in the gallery or in the layer, or the one under the cursor."""
        if self.tune.gallery.hasFocus():
            self.tune.gallery.reject_current()
            return
        self.layers.picks.reject_selected(self._cursor())

    def cycle(self) -> None:
        """Show the next of micrograph, score map and index map."""
        maps = [layer for layer in (self.layers.layer(NCC), self.layers.layer(INDEX)) if layer is not None]
        shown = next((i + 1 for i, layer in enumerate(maps) if layer.visible), 0)
        wanted = (shown + 1) % (len(maps) + 1)
        for number, layer in enumerate(maps, 1):
            layer.visible = number == wanted
        image = self.layers.layer(MICROGRAPH)
        if image is not None:
            image.visible = wanted == 0
        names = ["micrograph", *("score map" if layer.name == NCC else "index map" for layer in maps)]
        self.look.setText(f"Showing: {names[wanted]}")

    def _show_map(self) -> None:
        """Bring the score map into sight, unless a map is."""
        if not any(layer.visible for name in (NCC, INDEX) if (layer := self.layers.layer(name)) is not None):
            self.cycle()

    def go_to(self, x: float, y: float) -> None:
        """Bring a position (pixels of the file) to the middle of the canvas."""
        size, _ = self.layers.scale
        camera_of(self.viewer).center = (y * size, x * size)
        loaded = self.controller.loaded
        if loaded is not None and loaded.selection is not None:
            wanted = 140 / (loaded.selection.diameter / loaded.selection.candidates.pixel_size * size)
            if camera_of(self.viewer).zoom < wanted / 3:
                camera_of(self.viewer).zoom = wanted

    def _continues(self, folder: Path) -> bool:
        """Ask whether to continue an earlier session."""
        title = "Earlier work on these micrographs"
        text = f"{folder} holds an earlier session on these micrographs, with its searches and corrections."
        return agreed(self, title, text, "Continue it", "Start a new one")

    # joints

    def _show_picks(self, shown: bool) -> None:
        layer = self.layers.layer(PICKS)
        if layer is not None:
            layer.visible = shown

    def _cursor(self) -> tuple[float, float] | None:
        """Return the cursor's (x, y) in pixels of the file."""
        position = self.viewer.cursor.position
        size, _ = self.layers.scale
        if len(position) < 2:
            return None
        return float(position[-1]) / size, float(position[-2]) / size

    def _moved(self, viewer: Any, event: Any) -> None:
        if self.controller.choice is None or not self.tune.open:
            return
        size, _ = self.layers.scale
        self.hover.look(float(event.position[-1]) / size, float(event.position[-2]) / size)

    def _template_of(self, view: str, section: int) -> tuple[Any, float] | None:
        bank = None if self.controller.loaded is None else self.controller.loaded.bank
        shown = self.templates.views.get(view)
        made = getattr(shown, "made", None)
        if bank is None or made is None or view not in bank.view_names:
            return None
        first = int(np.sum(bank.sections_per_view[: bank.view_names.index(view)]))
        if not 0 <= section - first < len(made.view.templates):
            return None
        sign = -1 if self.controller.state.inverted else 1
        return sign * made.view.templates[section - first], made.view.pixel_size

    def _say(self, sentence: str, kind: str) -> None:
        """Keep a sentence where it can be read; errors are a notification of napari too."""
        sentence = in_window_words(sentence)
        self.messages.say(sentence, kind)
        if kind == "error":
            show_error(sentence)

    def _unfold_next(self, state: Any, before: Any) -> None:
        """Open the part that comes next when the one before it has what it needs."""
        if state.files and state.views and not (before.files and before.views):
            self.search.set_open(True)
            self._scroll_soon(self.search)
        elif state.views != before.views and self.search.open and not self._had_picks:
            self._scroll_soon(self.search)

    def _scroll_to(self, part: Panel) -> None:
        """Scroll to a part, its end first; the buttons to press after a preview stay visible."""
        inside, bar, height = self.scroll.widget(), self.scroll.verticalScrollBar(), self.scroll.viewport().height()
        inside.resize(inside.width(), max(height, inside.sizeHint().height()))  # what has just unfolded takes its room
        inside.layout().activate()
        bottom = part.mapTo(inside, part.rect().bottomLeft()).y()
        loaded = self.controller.loaded
        first: QWidget = self.search.run_this if loaded is not None and loaded.preview else part
        top = first.mapTo(inside, first.rect().topLeft()).y()
        bar.setValue(max(bar.value(), min(top - GAP, bottom - height)))

    def _unfold_tune(self) -> None:
        if self.controller.choice is not None and not self._had_picks:
            self._had_picks = True
            self.tune.set_open(True)
            self.export.set_open(True)
            if self._is_typing():
                return
            self.micrographs.set_open(len(self.controller.state.files) > 1 or self.watch.folder is not None)
            self.templates.set_open(False)
            run, loaded = self.searches.run, self.controller.loaded
            more = (run is not None and len(run.files) > 1) or (loaded is not None and loaded.preview)
            self.search.set_open(more)  # its progress and Cancel stay in sight, and what comes after a preview
            self._scroll_soon(self.tune)

    def _is_typing(self) -> bool:
        """Return whether the person is at work in a field of the dock, which then stays where it is."""
        focus = QApplication.focusWidget()
        return isinstance(focus, (QLineEdit, QAbstractSpinBox)) and self.isAncestorOf(focus)

    def shut(self) -> None:
        """End searches and threads, and save."""
        self._shutter.shut()
        for window in (self.curate, self.wall, *self.findChildren(QDialog)):
            window.close()

    def closeEvent(self, event: Any) -> None:
        self.shut()
        super().closeEvent(event)


def show_dock() -> None:
    """Open the dock in the current viewer (npe2 menu command)."""
    viewer = napari.current_viewer()
    if viewer is not None:
        viewer.window.add_plugin_dock_widget("napari-gempick", TITLE)


def open_dock(viewer: Viewer, paths: Sequence[Path] = ()) -> Dock:
    """Dock the plugin in a viewer and open files or results in it."""
    dock = viewer.window.add_plugin_dock_widget("napari-gempick", TITLE)[1]
    if paths:
        dock.open(list(paths))
    return dock


def open_window(paths: Sequence[Path]) -> None:
    """Open a viewer with the plugin, and return when it is closed."""
    viewer = napari.Viewer(title="napari-gempick")
    open_dock(viewer, paths)
    napari.run()
