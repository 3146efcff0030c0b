"""Editors of settings: label, unit, limits, choices and help are those that their model declares."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QLabel, QLineEdit, QSizePolicy, QSpinBox, QWidget

from napari_gempick.model.errors import GempickError
from napari_gempick.model.settings import PickSettings, make_settings

if TYPE_CHECKING:
    from pydantic import BaseModel
    from qtpy.QtGui import QWheelEvent

_MOST = {"degrees": 360.0, "Å": 99_999.0, "hot_pixels": 99.0, None: 1.0}
_OFF = {  # what an empty setting means, in a word
    "angle_step": "auto",
    "lowpass": "off",
    "highpass": "off",
    "diameter": "from mask",
    "pixel_size": "from file",
    "template_pixel_size": "from file",
    "max_threshold": "off",
    "min_distance": "auto",
    "border": "auto",
    "max_picks": "all",
    "threads": "all",
    "averaging": "off",
    "hot_pixels": "off",
    "mask_edge": "auto",
    "in_plane_symmetry": "none",
    "grid": "auto",
}
_LABELS = {
    "lowpass": "Low-pass",
    "highpass": "High-pass",
    "max_threshold": "Upper limit",
    "per_view_maps": "Maps per view",
    "averaging": "Averaging",
    "gradient": "Gradient",
    "defects": "Defects",
    "hot_pixels": "Hot pixels",
    "ctf_step": "Defocus step",
    "phase_flipped": "Phases flipped",
    "in_plane_symmetry": "Symmetry",
    "mask_edge": "Soft edge",
    "mask_rotation": "Mask files",
    "candidate_floor": "Lowest score",
    "bad_pixels": "NaN pixels",
    "decoys": "Estimate false picks",
}
_SUFFIXES = {"degrees": "°", "hot_pixels": " σ"}
_STEPS = {"angle_step": 1.0, "lowpass": 1.0, "highpass": 50.0, "diameter": 10.0, "min_distance": 10.0, "border": 10.0}


def label_of(name: str) -> str:
    """Return a setting's name for people."""
    return _LABELS.get(name, name.replace("_", " ").capitalize())


def tip_of(name: str, model: type[BaseModel] = PickSettings) -> str:
    """Return a setting's help with its unit and default."""
    info = model.model_fields[name]
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    unit = f" [{extra['unit']}]" if extra.get("unit") else ""
    return f"<p>{info.description}{unit}</p>"


def limits_of(name: str, model: type[BaseModel] = PickSettings) -> tuple[float, float]:
    """Return the smallest and the largest value of a number; a limit that is excluded counts as one."""
    info = model.model_fields[name]
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    low, high = 0.0, _MOST.get(name, _MOST.get(str(extra.get("unit")) if extra.get("unit") else None, 99_999.0))
    for rule in info.metadata:
        low = getattr(rule, "ge", getattr(rule, "gt", low))
        high = getattr(rule, "le", getattr(rule, "lt", high))
    return float(low), float(high)


class Field(QWidget):
    """An editor of one setting.

    Parameters
    ----------
    name : str
    model : type
        Declares the setting.
    empty : str
        What no value means, in a word.
    """

    edited = Signal(str, object)
    refused = Signal(str, str)

    def __init__(self, name: str, model: type[BaseModel] = PickSettings, empty: str = "") -> None:
        super().__init__()
        self.name, self._model = name, model
        self._empty = empty or _OFF.get(name, "auto")
        info = model.model_fields[name]
        self.default = None if info.is_required() else info.default
        self._value: Any = None
        self.label = QLabel(label_of(name))
        self.label.setToolTip(tip_of(name, model))
        self.label.setStyleSheet("font-size: 11px;")
        kind, optional = _kind(info.annotation)
        self._optional = optional or name in _OFF or bool(empty)
        self.editor = self._make(kind)
        self.editor.setToolTip(tip_of(name, model))
        self.editor.setAccessibleName(label_of(name))
        self.label.setBuddy(self.editor)
        self.set(self.default)

    def _make(self, kind: Any) -> QWidget:
        if kind is bool:
            box = QCheckBox(label_of(self.name))
            box.toggled.connect(lambda on: self.edited.emit(self.name, None if on == self.default else on))
            return box
        if kind is str or get_origin(kind) is tuple:
            line = QLineEdit()
            if self._model is PickSettings:
                line.setPlaceholderText(_OFF.get(self.name, "none"))
                line.editingFinished.connect(self._typed)
                narrow(line)
            else:
                line.textEdited.connect(
                    lambda text: self.edited.emit(self.name, None if text == self.default else text)
                )
            return line
        if get_origin(kind) is Literal:
            combo = _Combo()
            combo.addItems(get_args(kind))
            combo.currentTextChanged.connect(
                lambda text: self.edited.emit(self.name, None if text == self.default else text)
            )
            return combo
        info = self._model.model_fields[self.name]
        spin: QSpinBox | QDoubleSpinBox = _Spin() if kind is int else _DoubleSpin()
        low, high = limits_of(self.name, self._model)
        if isinstance(spin, QSpinBox):
            spin.setRange(int(low), int(high) if high > 1 else 99_999)
        else:
            spin.setDecimals(3 if high <= 1 or self.name.endswith("pixel_size") else 1)
            spin.setRange(low, high)
            spin.setSingleStep(0.05 if high <= 1 else _STEPS.get(self.name, 1.0))
        unit = (info.json_schema_extra or {}).get("unit")  # type: ignore[union-attr]
        if unit or self.name in _SUFFIXES:
            spin.setSuffix(_SUFFIXES.get(self.name, _SUFFIXES.get(unit, f" {unit}")))
        if self._optional:
            if isinstance(spin, QDoubleSpinBox):
                zero_counts = any(getattr(rule, "ge", None) is not None for rule in info.metadata)
                spin.setMinimum(low - spin.singleStep() if zero_counts else low)
            elif self.default is None:
                spin.setMinimum(-1)
            spin.setSpecialValueText(self._empty)
        spin.setKeyboardTracking(False)
        spin.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        narrow(spin)
        spin.valueChanged.connect(self._spun)
        return spin

    def _spun(self, value: float) -> None:
        off = self._optional and value == self.editor.minimum()
        new = int(value) if isinstance(self.editor, QSpinBox) else round(value, 4)
        self.edited.emit(self.name, None if off or new == self.default else new)

    def _typed(self) -> None:
        """Take what was typed, if a search could be made with it."""
        text = self.editor.text().strip()
        several = not isinstance(self.default, str)
        value: Any = None if text in ("", self.default) else text.replace(",", " ").split() if several else text
        if value == self._value:
            return
        try:
            make_settings({} if value is None else {self.name: value})
        except GempickError as error:
            self.set(self._value)
            self.refused.emit(error.sentence, "error")
            return
        self.edited.emit(self.name, value)

    def set(self, value: Any) -> None:
        """Show a value; None shows the default."""
        self._value = value
        value = self.default if value is None else value
        editor = self.editor
        if isinstance(editor, QLineEdit):
            hidden = value is None or (self._model is PickSettings and value == self.default)
            text = "" if hidden else value if isinstance(value, str) else ", ".join(value)
            if editor.text() != text:
                editor.setText(text)
            return
        if editor.hasFocus() and isinstance(editor, (QSpinBox, QDoubleSpinBox)) and self._reads(value):
            return
        blocked = editor.blockSignals(True)
        if isinstance(editor, QCheckBox):
            editor.setChecked(bool(value))
        elif isinstance(editor, QComboBox):
            editor.setCurrentText(str(value))
        else:
            editor.setValue(editor.minimum() if value is None else value)
        editor.blockSignals(blocked)

    def explain(self, empty: str) -> None:
        """Show in a field without a value what that means."""
        self._empty = empty
        if isinstance(self.editor, (QSpinBox, QDoubleSpinBox)):
            self.editor.setSpecialValueText(empty)

    def clear(self, why: str) -> None:
        """Show no choice, and what is so instead."""
        blocked = self.editor.blockSignals(True)
        self.editor.setPlaceholderText(why)
        self.editor.setCurrentIndex(-1)
        self.editor.blockSignals(blocked)

    def _reads(self, value: Any) -> bool:
        return bool(self.editor.value() == (self.editor.minimum() if value is None else value))


def _kind(annotation: Any) -> tuple[Any, bool]:
    """Return the type of a setting without None, and whether it may be None."""
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return parts[0], True
    return annotation, False


def narrow(editor: QWidget) -> None:
    """Let an editor be as wide as there is room, whatever its longest text."""
    editor.setMinimumWidth(48)
    editor.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)


class _NoWheel:
    """Scrolling the dock must not change what the pointer happens to pass over."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():  # type: ignore[attr-defined]
            super().wheelEvent(event)  # type: ignore[misc]
        else:
            event.ignore()

    def _set_up(self) -> None:
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # type: ignore[attr-defined]


class _Spin(_NoWheel, QSpinBox):
    def __init__(self) -> None:
        super().__init__()
        self._set_up()


class _DoubleSpin(_NoWheel, QDoubleSpinBox):
    def __init__(self) -> None:
        super().__init__()
        self._set_up()


class _Combo(_NoWheel, QComboBox):
    def __init__(self) -> None:
        super().__init__()
        self._set_up()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)


Spin, DoubleSpin, Combo = _Spin, _DoubleSpin, _Combo
