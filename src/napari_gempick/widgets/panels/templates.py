"""Part 2: views, their templates and masks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QColorDialog,
    QFileDialog,
    QFrame,
    QLabel,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from napari_gempick.engine.templates.masks import parse_shape
from napari_gempick.io.names import split_suffix
from napari_gempick.model.declaration import declarations, names_with
from napari_gempick.model.errors import GempickError
from napari_gempick.model.settings import PickSettings
from napari_gempick.model.values import AUTO
from napari_gempick.widgets.forms.editors import edit
from napari_gempick.widgets.forms.forms import Form, tip_of
from napari_gempick.widgets.forms.parts import GAP, Panel, button, mark_next, pixmap, primary, row, tab_through, tool
from napari_gempick.widgets.layers.pictures import ViewPictures, draw_view
from napari_gempick.widgets.panels.improve import ask_improved
from napari_gempick.widgets.panels.template_actions import (
    ask,
    average_dialog,
    average_picks,
    mask_words,
    project,
    projection_dialog,
)

if TYPE_CHECKING:
    from napari_gempick.widgets.background.search_runner import SearchRunner
    from napari_gempick.widgets.layers.drawing import MaskDrawing
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.state import ViewSpec

THUMBNAIL = 64
_FILTER = "Images, stacks and RELION's lists (*.mrc *.mrcs *.map *.tif *.tiff *.star);;All files (*)"
_SHAPES = ("circle", "ellipse", "rectangle")
_MASKS = (
    ("automatic mask", AUTO),
    *((shape, shape) for shape in _SHAPES),
    (mask_words(""), "file"),
    ("draw a mask...", "draw"),
)
_SIZE: dict[str, Any] = {"min": 1.0, "max": 9999.0, "step": 5.0, "digits": 0, "suffix": " Å"}
MASK_TIP = tip_of(declarations(PickSettings)["mask"])


class TemplatesPanel(Panel):
    """Views with their templates and masks.

    Parameters
    ----------
    drawing : MaskDrawing
        Draws masks in the viewer.
    show_stacks : callable
        Shows the rotated templates and masks as layers.
    searches : SearchRunner
        Searches again with an improved template.
    """

    def __init__(self, controller: Controller, drawing: MaskDrawing, show_stacks: Any, searches: SearchRunner) -> None:
        super().__init__(2, "Templates", "An image or a stack for each view of the particle.")
        self._controller, self._drawing, self._searches = controller, drawing, searches
        self.add = button("Add view", "Add what a view of the particle looks like", lambda: None)
        menu = QMenu(self.add)
        menu.addAction("Images or stacks from files...", self._ask_stack)
        menu.addAction("Projections of a 3D map...", self._ask_map)
        menu.addAction("Average of picks on this micrograph...", self._ask_average)
        self.add.setMenu(menu)
        self.stacks = button(
            "Show stacks", "Show every rotated template and mask as a layer with a slider", show_stacks
        )
        self.rows.addLayout(row(self.add, self.stacks))
        self._box = QVBoxLayout()
        self._box.setSpacing(GAP)
        self.rows.addLayout(self._box)
        self.form = Form(PickSettings, names_with(PickSettings, group="Templates"), controller.set_value)
        self.contrast = self.form.fields["contrast"]
        self._tip = self.contrast.tooltip
        self.rows.addWidget(self.form.native)
        self.views: dict[str, _ViewRow] = {}
        controller.state_changed.connect(self._state_changed)
        controller.results_changed.connect(lambda stem: [line.show_improve() for line in self.views.values()])
        drawing.changed.connect(lambda: [line.show_drawing() for line in self.views.values()])
        self._show(())

    def _ask_stack(self) -> None:
        files, _ = QFileDialog.getOpenFileNames(self, "Add templates: one file for each view", "", _FILTER)
        for file in files:
            self._controller.add_view(self._free_name(file), [file])

    def _ask_map(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "3D map to project", "", "Maps (*.mrc *.map *.ccp4);;All files (*)")
        if not file:
            return
        asked = ask(projection_dialog(self, file))
        if asked is not None:
            project(self._controller, Path(file), asked["name"], asked["symmetry"], asked["step"])

    def _ask_average(self) -> None:
        controller = self._controller
        choice, selection = controller.choice, None if controller.loaded is None else controller.loaded.selection
        by_hand = len(controller.edits().added)
        seen = by_hand if choice is None else len(choice)
        if not seen:
            controller.notified.emit(
                "There are no picks to average on this micrograph: click some particles with the tool Add, or search "
                "and lower the threshold.",
                "info",
            )
            return
        diameter = controller.state.values.get("diameter") or (200.0 if selection is None else selection.diameter)
        asked = ask(average_dialog(self, diameter, by_hand=by_hand, seen=seen))
        if asked is not None:
            average_picks(controller, asked["name"], asked["diameter"], only_by_hand=asked.get("only", by_hand > 0))

    def _free_name(self, file: str) -> str:
        """Return side or top where the file's name contains it, else its stem."""
        stem = split_suffix(Path(file).name.lstrip("."))[0]
        words = re.split(r"[-_.]", stem.lower())
        name = next((word for word in ("side", "top", "front", "tilted") if word in words), stem.replace("=", "_"))
        taken = {view.name for view in self._controller.state.views}
        return name if name not in taken else stem if stem not in taken else f"{stem}_{len(taken) + 1}"

    def _state_changed(self, state: Any, before: Any) -> None:
        self.form.show_values(state.values)
        self._show_contrast(bool(state.values.get("ctf")))
        if state.values.get("ctf") != before.values.get("ctf"):
            for line in self.views.values():
                line.show_improve()
        drawn_with = ("template_pixel_size", "diameter", "mask_edge", "mask_rotation")
        stale = any(state.values.get(name) != before.values.get(name) for name in drawn_with)
        if (state.views, bool(state.files)) != (before.views, bool(before.files)) or stale:
            self._show(state.views, stale)

    def _show_contrast(self, with_ctf: bool) -> None:
        """Show where the contrast comes from when it cannot be chosen."""
        self.contrast.enabled = not with_ctf
        if with_ctf:
            self.contrast.show_none("from the CTF")
        why = "<p>The CTF gives the contrast. Remove the CTF in <b>Search, More settings</b> to choose it here.</p>"
        self.contrast.tooltip = why if with_ctf else self._tip

    def _show(self, views: tuple[ViewSpec, ...], stale: bool = False) -> None:
        names = [view.name for view in views]
        if list(self.views) != names:
            self._match_rows(views)
        for view in views:
            self.views[view.name].show_view(view, stale)
        self.summary.setText(", ".join(names) if len(names) < 5 else f"{len(names)} views")
        self.form.native.setVisible(bool(names))
        self.stacks.setEnabled(bool(names))
        mark_next(self.add, not names and bool(self._controller.state.files))

    def _match_rows(self, views: tuple[ViewSpec, ...]) -> None:
        """Have a row for each view in their order; rows stay with their views, also those whose names change."""
        rows, names = dict(self.views), {view.name for view in views}
        unnamed = {row.files: row for name, row in rows.items() if name not in names}
        self.views = {}
        for place, view in enumerate(views):
            known = rows.get(view.name) or unnamed.pop(view.files, None)
            made = self.views[view.name] = known or _ViewRow(self._controller, self._drawing, self._searches, view)
            if self._box.indexOf(made) != place:
                self._box.insertWidget(place, made)
        for old in rows.values():
            if old not in self.views.values():
                self._box.removeWidget(old)
                old.leave()
        tab_through(self.stacks, *self.views.values())


class _ViewRow(QFrame):
    """One view: colour, name, mask, pictures."""

    def __init__(self, controller: Controller, drawing: MaskDrawing, searches: SearchRunner, spec: ViewSpec) -> None:
        super().__init__()
        self._controller, self._drawing, self._searches = controller, drawing, searches
        self._spec = spec
        self._drawn: Any = None
        self._gone = False
        self.picture = QLabel()
        self.picture.setFixedSize(THUMBNAIL, THUMBNAIL)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.colour = tool("", "Colour of the view", self._ask_colour)
        self.colour.setFixedSize(22, 22)
        tip = "Name of the view: each view has its own thresholds, colour and maps"
        self.name = edit(str, spec.name, label="Name of the view", tip=tip)
        self.name.changed.connect(self._rename)
        self.count = QLabel("")
        self.count.setStyleSheet("font-size: 11px;")
        remove = tool("✕", "Remove this view", lambda: controller.remove_view(self._spec.name))
        more = tool("+", "Add templates to this view", self._ask_more)
        self.improve = button(
            "Improve from picks...", "Average the accepted picks into a better template", self._improve
        )
        self.improve.hide()
        self.mask = edit(str, label="Mask", tip=MASK_TIP, choices=_MASKS)
        self.mask.changed.connect(self._mask_chosen)
        self.along_x, self.along_y = (
            edit(float, label=f"Size of the mask {which}", tip=f"Size of the mask {which} at psi 0 [Å]", **_SIZE)
            for which in ("along x, or the diameter", "along y")
        )
        for size in (self.along_x, self.along_y):
            size.changed.connect(self._size_changed)
        self.use = primary("Use the drawing", "Use the drawing as the mask of this view", self._use_drawing)
        self.give_up = button("Cancel", "Keep the mask as it was", drawing.cancel)
        self.drawing = QWidget()
        self.drawing.setLayout(row(self.use, self.give_up))
        top = row(self.colour, self.name.native, self.count, more, remove, wide=1)
        bottom = row(self.mask.native, self.along_x.native, self.along_y.native)
        for place, share in enumerate((5, 3, 3)):
            bottom.setStretch(place, share)
        right = QVBoxLayout()
        right.setSpacing(2)
        right.addLayout(top)
        right.addLayout(bottom)
        right.addWidget(self.drawing)
        right.addWidget(self.improve)
        layout = row(self.picture)
        layout.setSpacing(6)
        layout.addLayout(right, 1)
        self.setLayout(layout)

    @property
    def files(self) -> tuple[str, ...]:
        """The template files of the view."""
        return self._spec.files

    def leave(self) -> None:
        """Go, and ignore pictures that come later."""
        self._gone = True
        if self._drawing.view == self._spec.name:
            self._drawing.cancel()
        self.hide()
        self.deleteLater()

    def show_view(self, spec: ViewSpec, stale: bool) -> None:
        """Show the view as the state has it."""
        if self._drawing.view == self._spec.name != spec.name:
            self._drawing.view = spec.name
        self._spec = spec
        self.name.show_value(spec.name)
        self.colour.setStyleSheet(f"background: {spec.colour}; border: 1px solid #808080; border-radius: 4px;")
        shape = parse_shape(spec.mask) if spec.mask != "auto" else None
        kind = "auto" if spec.mask == "auto" else shape[0] if shape else "file"
        self.mask.native.setItemText(self.mask.native.findData("file"), mask_words(spec.mask if kind == "file" else ""))
        self.mask.show_value(kind)
        self.mask.tooltip = MASK_TIP if kind != "file" else spec.mask
        for editor, size in ((self.along_x, shape and shape[1][0]), (self.along_y, shape and shape[1][1])):
            if size:
                editor.show_value(size)
        self.along_x.native.setVisible(shape is not None)
        self.along_y.native.setVisible(kind in ("ellipse", "rectangle"))
        self.show_drawing()
        if stale or self._drawn != spec:
            self._drawn = spec
            self._draw(spec)

    def _improve(self) -> None:
        ask_improved(self.parentWidget(), self._controller, self._searches, self._spec.name)

    def show_improve(self) -> None:
        """Offer a better template once this view, with one template, has picks."""
        controller, made = self._controller, getattr(self, "made", None)
        picks = any(
            result.row.get("picks_per_view", {}).get(self._spec.name) is not None and not result.error
            for result in controller.results.values()
        )
        with_ctf = bool(controller.state.values.get("ctf"))  # which an average contains already
        self.improve.setVisible(picks and made is not None and made.sections == 1 and not with_ctf)

    def show_drawing(self) -> None:
        """Show the buttons that end a drawing while the mask of this view is drawn."""
        self.drawing.setVisible(self._drawing.view == self._spec.name)

    def _draw(self, spec: ViewSpec) -> None:
        state = self._controller.state

        def work() -> ViewPictures | str:
            try:
                return draw_view(state, spec, 2 * THUMBNAIL)
            except GempickError as error:
                return error.sentence

        self._controller.background.do(work, lambda made: self._drew(spec, made))

    def _drew(self, spec: ViewSpec, made: ViewPictures | str) -> None:
        if self._gone or spec != self._spec:
            return
        if isinstance(made, str):
            self.picture.setText("?")
            self.picture.setToolTip(made)
            self.count.setText("")
            self._controller.notified.emit(made, "error")
            return
        self.made = made
        self.show_improve()
        self.picture.setPixmap(pixmap(made.pictures[0], THUMBNAIL))
        height, width = made.view.templates[0].shape
        files = "<br>".join(spec.files)
        self.picture.setToolTip(
            f"<p>{files}</p><p>{width} x {height} pixels of {made.view.pixel_size:g} Å. The line is the outline of the "
            "mask at psi 0.</p>"
        )
        self.count.setText("" if made.sections == 1 else f"{made.sections} templates")

    def _rename(self, new: str) -> None:
        self.name.settle()
        if new != self._spec.name:
            before = self._spec.name
            self._controller.change_view(before, name=new)
            if self._spec.name == before:
                self.name.show_value(before)

    def _ask_colour(self) -> None:
        chosen = QColorDialog.getColor(QColor(self._spec.colour), self, "Colour of the view")
        if chosen.isValid():
            self._controller.change_view(self._spec.name, colour=chosen.name())

    def _ask_more(self) -> None:
        files, _ = QFileDialog.getOpenFileNames(self, f"Add templates to {self._spec.name}", "", _FILTER)
        if files:
            self._controller.add_view(self._spec.name, files)

    def _mask_chosen(self, kind: str) -> None:
        name = self._spec.name
        if kind == "auto":
            self._controller.change_view(name, mask="auto")
        elif kind in _SHAPES:
            self._controller.change_view(name, mask=_shape_text(kind, *self._suggested()))
        elif kind == "file":
            file, _ = QFileDialog.getOpenFileName(self, f"Mask of {name}: weights 0 to 1", "", _FILTER)
            if file:
                self._controller.change_view(name, mask=file)
            else:
                self.show_view(self._spec, stale=False)
        else:
            made = getattr(self, "made", None)
            if made is not None:
                self._drawing.start(name, made)
            else:
                words = f"The template of {name} cannot be shown yet, so that no mask can be drawn on it."
                self._controller.notified.emit(words, "info")
            self.show_view(self._spec, stale=False)

    def _suggested(self) -> tuple[float, float]:
        """Return a first size of a shape, Å: that of another shape, the diameter typed, or the extent of the mask."""
        made = getattr(self, "made", None)
        typed = self._controller.state.values.get("diameter")
        shape = parse_shape(self._spec.mask) if self._spec.mask != "auto" else None
        if shape is not None:
            return shape[1]
        if typed or made is None:
            return (typed or 200.0,) * 2
        from napari_gempick.engine.templates.masks import automatic_weights

        view = made.view
        alike = [template for template in view.templates if template.shape == view.templates[0].shape]
        weights = automatic_weights(*alike) if view.mask_weights is None else view.mask_weights[0]
        rows, columns = np.nonzero(weights > 0.5)
        return tuple(round(float(np.ptp(axis) + 1) * view.pixel_size / 5) * 5.0 for axis in (columns, rows))  # type: ignore[return-value]

    def _size_changed(self) -> None:
        kind, x, y = self.mask.value, self.along_x.value, self.along_y.value
        text = _shape_text(kind, x, x if kind == "circle" else y)
        self._controller.change_view(self._spec.name, mask=text)

    def _use_drawing(self) -> None:
        try:
            path = self._drawing.finish()
        except GempickError as error:
            self._controller.notified.emit(error.sentence, "error")
            return
        self._controller.change_view(self._spec.name, mask=str(path))


def _shape_text(kind: str, x: float, y: float) -> str:
    return f"circle:{max(x, y):g}" if kind == "circle" else f"{kind}:{x:g}x{y:g}"
