"""Forms of settings, made by magicgui from what the settings declare."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel

from napari_gempick.model.declaration import declarations, validated
from napari_gempick.model.errors import GempickError
from napari_gempick.widgets.compound_editors import Bounds, PathEdit
from napari_gempick.widgets.editors import Check, Lines, Text, edit
from napari_gempick.widgets.fold import GAP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic import BaseModel

    from napari_gempick.model.declaration import Declared

_KINDS = {"path": PathEdit, "bounds": Bounds, "lines": Lines}


class Form(Container):
    """Editors of settings in a grid, each with its label.

    Parameters
    ----------
    model : type
        Declares the settings.
    names : iterable of str
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
                validated(self._model, {} if new is None else {name: new})
            except GempickError as error:
                self.show_values(self._values)
                self._refused(error.sentence, "error")
                return
        self._values = {**self._values, name: new}
        self._edited(name, new)

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Show settings and tell nobody; the default where one is missing or None."""
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
        made["choices"] = one.choices
    elif one.type in (int, float):
        nullable = one.optional or one.required
        made |= {"min": one.low, "max": one.high, "step": one.step, "open": one.open, "nullable": nullable}
        made |= {"empty": one.empty, "suffix": one.suffix} | ({"digits": one.digits} if one.type is float else {})
    elif one.type is not bool and one.kind != "lines":
        made |= {"empty": one.empty, "default": one.default}
    return edit(one.type, one.default, **{**made, **options})


def tip_of(one: Declared) -> str:
    """Return a setting's help with its unit, as a tip."""
    return f"<p>{one.help}{f' [{one.unit}]' if one.unit else ''}</p>"


def caption(widget: Any) -> QLabel:
    """Return the label of an editor."""
    label = QLabel(widget.label)
    label.setToolTip(widget.tooltip)
    label.setStyleSheet("font-size: 11px;")
    label.setBuddy(widget.native)
    return label


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
