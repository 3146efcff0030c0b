"""Forms of settings, made by magicgui from what the settings declare, with editors of paths and of ranges."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, FileEdit
from magicgui.widgets.bases import ValuedContainerWidget
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QGridLayout, QLabel, QMenu

from napari_gempick.io.listing import BY_NAME
from napari_gempick.model.declaration import declarations
from napari_gempick.model.errors import GempickError
from napari_gempick.model.settings import PickSettings
from napari_gempick.widgets.forms.editors import Check, Editor, Lines, Number, Text, edit, lower
from napari_gempick.widgets.forms.parts import GAP
from napari_gempick.widgets.state.look import written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic import BaseModel

    from napari_gempick.model.declaration import Declared, Paths


class Form(Container):
    """Editors of settings in a grid, each with its label.

    Parameters
    ----------
    model : type
        Declares the settings.
    edited : callable
        Called with the name of a setting and its new value; None where that is the default.
    refused : callable, optional
        Called with a sentence and "error" where a text or a path cannot be the setting's value. Without it, any text is
        handed on.
    columns : int
        Settings beside each other.
    options : mapping of name to mapping, optional
        Further options of an editor; see `editors`.
    """

    def __init__(
        self,
        model: type[BaseModel],
        names: Iterable[str],
        edited: Callable[[str, Any], object],
        refused: Callable[[str, str], object] | None = None,
        *,
        columns: int = 2,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        chosen = [declarations(model)[name] for name in names]
        super().__init__(widgets=[editor_of(one, **(options or {}).get(one.name, {})) for one in chosen], labels=False)
        self.fields: dict[str, Any] = {one.name: widget for one, widget in zip(chosen, self, strict=True)}
        self._model, self._declared = model, {one.name: one for one in chosen}
        self._values: dict[str, Any] = {}
        self._edited, self._refused = edited, refused
        for name, widget in self.fields.items():
            widget.changed.connect(functools.partial(self._changed, name))
            if isinstance(widget, PathEdit):
                widget.refused = refused
        self.margins = (0, 0, 0, 0)
        self._lay_out(columns)

    def _lay_out(self, columns: int) -> None:
        """Move the editors to a grid of labels and editors; wide ones have a line of their own."""
        grid = QGridLayout()
        grid.setSpacing(GAP)
        place = 0
        for widget in self.fields.values():
            wide = isinstance(widget, (PathEdit, Bounds))
            place += -place % columns if wide else 0
            line, side = place // columns, 2 * (place % columns)
            if isinstance(widget, PathEdit):
                grid.addWidget(widget.native, line, side, 1, 2 * columns)
            elif isinstance(widget, Check):
                grid.addWidget(widget.native, line, side, 1, 2, Qt.AlignmentFlag.AlignLeft)
            else:
                grid.addWidget(caption(widget), line, side)
                grid.addWidget(widget.native, line, side + 1, 1, 2 * columns - 1 if wide else 1)
            place += columns if wide else 1
        for column in range(columns):
            grid.setColumnStretch(2 * column + 1, 1)
        self.native.layout().addLayout(grid)
        self.native.layout().activate()  # editors have their sizes before they are shown

    def _changed(self, name: str, value: Any) -> None:
        one, widget = self._declared[name], self.fields[name]
        new = None if _plain(value) == _plain(one.default) else value
        if isinstance(widget, Text):
            widget.settle()
        if _plain(new) == _plain(self._values.get(name)):
            return
        if self._refused is not None and isinstance(widget, Text):
            try:
                self._model.model_validate({} if new is None else {name: new})
            except GempickError as error:
                self.show_values(self._values)
                self._refused(error.sentence, "error")
                return
        self._values = {**self._values, name: new}
        self._edited(name, new)

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Show settings without a signal; the default where one is missing or None."""
        self._values = {name: values.get(name) for name in self.fields}
        for name, widget in self.fields.items():
            value = self._values[name]
            widget.show_value(self._declared[name].default if value is None else value)


def editor_of(one: Declared, **options: Any) -> Any:
    """Return an editor of a declared setting that shows its default."""
    made: dict[str, Any] = {"name": one.name, "label": one.label, "tip": tip_of(one)}
    if one.kind in _KINDS:
        made["widget_type"] = _KINDS[one.kind]
    if one.kind == "path":
        made["paths"] = one.paths
    elif one.kind == "bounds":
        made |= {"min": one.low, "max": one.high, "step": one.step, "digits": one.digits}
    elif one.choices or "choices" in options:
        made["choices"] = [(written(value), value) for value in one.choices]
    elif one.type in (int, float):
        nullable = one.optional or one.required
        made |= {"min": one.low, "max": one.high, "step": one.step, "open": one.open, "nullable": nullable}
        made |= {"empty": one.empty, "suffix": one.suffix} | ({"digits": one.digits} if one.type is float else {})
    elif one.type is not bool and one.kind != "lines":
        made |= {"empty": one.empty, "default": one.default}
    return edit(one.type, one.default, **{**made, **options})


def tip_of(one: Declared) -> str:
    """Return a setting's help with its unit, as a tip."""
    return f"<p>{in_window_words(one.help)}{f' [{one.unit}]' if one.unit else ''}</p>"


@functools.cache
def _labels() -> dict[str, str]:
    """Return what the window calls each option of the command line."""
    named = {"--threshold": "Threshold", "--templates": "Templates", "--mask": "Mask", "--exclude": "No picks on"}
    return {one.flag: one.label for one in declarations(PickSettings).values()} | named


def in_window_words(text: str) -> str:
    """Return a sentence with the names of fields and buttons in place of those of options."""
    text = text.replace(BY_NAME, "use Add files to add them")
    return re.sub(r"--[a-z][a-z-]*", lambda found: _labels().get(found.group(), found.group()), text)


def caption(widget: Any) -> QLabel:
    """Return the label of an editor."""
    label = QLabel(widget.label)
    label.setToolTip(widget.tooltip)
    label.setStyleSheet("font-size: 11px;")
    label.setBuddy(widget.native)
    return label


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class PathEdit(Editor, FileEdit):
    """A file or a folder that exists, a word that stands for one, or None."""

    def __init__(self, *, paths: Paths, refused: Any = None, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "nullable": True})
        self._paths, self.refused = paths, refused
        self.native.layout().setSpacing(GAP)
        self.line = self.line_edit.native
        self.line.setPlaceholderText(paths.nothing)
        self.line.setAccessibleName(kwargs.get("label"))
        self.line.setToolTip(kwargs.get("tooltip"))
        self.line_edit.changed.disconnect()
        self.line.editingFinished.connect(lambda: self.take(self.line.text()))
        choose = self.choose_btn.native
        self.choose_btn.changed.disconnect()
        choose.setText("Choose")
        choose.setToolTip("Choose a file, or none")
        choose.setAccessibleName(f"Choose {kwargs.get('label')}")
        menu = QMenu(choose)
        if paths.word:
            menu.addAction(paths.meaning, lambda: self.take(paths.word))
        menu.addAction(f"{paths.file}...", lambda: self._ask(QFileDialog.getOpenFileName, paths.file, paths.files))
        menu.addAction(f"{paths.folder}...", lambda: self._ask(QFileDialog.getExistingDirectory, paths.folder))
        menu.addAction("None", lambda: self.take(""))
        choose.setMenu(menu)
        self._value: str | None = None

    def take(self, text: str) -> None:
        """Take a path, if there is such a file."""
        text = text.strip()
        value = text or None
        if value is not None and value != self._paths.word:
            value = str(Path(text).expanduser().absolute())
            if not Path(value).exists():
                self.show_value(self._value)
                word = f", or {self._paths.word}" if self._paths.word else ""
                what = f"{lower(self._paths.file)} or a {lower(self._paths.folder)}"
                if self.refused is not None:
                    self.refused(f"{value} does not exist; choose a {what}{word}.", "error")
                return
        if value != self._value:
            self.show_value(value)
            self.changed.emit(value)

    def get_value(self) -> Any:
        """Return the path, the word or None."""
        return self._value

    def set_value(self, value: Any) -> None:
        """Show a path, the word or None."""
        self._value = value or None
        self.line.setText(value or "")

    def _ask(self, dialog: Callable[..., Any], title: str, *files: str) -> None:
        found = dialog(self.native, title, "", *files)
        found = found[0] if isinstance(found, tuple) else found
        if found:
            self.take(found)


class Bounds(Editor, ValuedContainerWidget):
    """LOWEST,HIGHEST: two numbers, of which either may be missing."""

    def __init__(self, *, label: str = "", tooltip: str = "", **kwargs: Any) -> None:
        shared = {name: kwargs.pop(name) for name in ("min", "max", "step", "digits")}
        shared |= {"start": 0.0, "nullable": True, "tip": tooltip}
        ends = [
            edit(float, None, prefix=f"{word} ", empty=f"{word} any", label=f"{end} {lower(label)}", **shared)
            for end, word in (("Lowest", "from"), ("Highest", "to"))
        ]
        more = {**kwargs, "nullable": True, "tooltip": tooltip}
        super().__init__(widgets=ends, layout="horizontal", labels=False, label=label, **more)
        self.margins = (0, 0, 0, 0)
        self.native.layout().setSpacing(GAP)
        self.low, self.high = (one.native for one in ends)
        self._ends = ends
        for moved, other in (ends, ends[::-1]):
            moved.changed.connect(lambda value, other=other: self._moved(value, other))

    def _moved(self, value: float | None, other: Number) -> None:
        low, high = (one.get_value() for one in self._ends)
        if low is not None and high is not None and low > high:
            other.show_value(value)
        self.changed.emit(self.get_value())

    def get_value(self) -> Any:
        """Return LOWEST,HIGHEST, or None where both are missing."""
        texts = ["" if one.get_value() is None else f"{one.get_value():g}" for one in self._ends]
        return ",".join(texts) if any(texts) else None

    def set_value(self, value: Any) -> None:
        """Show LOWEST,HIGHEST, or None."""
        for one, text in zip(self._ends, (value or ",").split(","), strict=True):
            one.show_value(float(text) if text.strip() else None)


_KINDS = {"path": PathEdit, "bounds": Bounds, "lines": Lines}
