"""Editors of values, made by magicgui from their types; the types that it lacks editors for are registered here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.type_map import TypeMap
from magicgui.types import Undefined
from magicgui.widgets import CheckBox, ComboBox, FileEdit, FloatSpinBox, LineEdit, TextEdit
from magicgui.widgets.bases import ValuedContainerWidget
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QFileDialog, QMenu, QSizePolicy, QWidget
from superqt.utils import signals_blocked

from napari_gempick.widgets.fold import GAP
from napari_gempick.widgets.parts import FRAMED

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_gempick.model.declaration import Paths

NARROWEST = 48
"""Pixels."""
_BOX = 36
"""Pixels of a check box beside its text, in napari's style."""


class WheelGuard(QObject):
    """Scrolling the dock must not change what the pointer happens to pass over."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        widget.installEventFilter(self)

    def eventFilter(self, widget: QObject, event: QEvent) -> bool:
        """Leave the wheel to the dock unless the widget has the focus."""
        if event.type() != QEvent.Type.Wheel or widget.hasFocus():
            return False
        event.ignore()
        return True


class Editor:
    """What all editors share, beside a class of magicgui."""

    native: Any
    get_value: Callable[[], Any]
    set_value: Callable[[Any], None]

    def show_value(self, value: Any) -> None:
        """Show a value and tell nobody; what is being typed stays where it means the same."""
        if self.native.hasFocus() and self.get_value() == value:
            return
        with signals_blocked(self.native):
            self.set_value(value)


class Number(Editor, FloatSpinBox):
    """A number with its unit; one that may be missing shows what that means, in a word.

    Parameters
    ----------
    digits : int
        Behind the point; 0 for whole numbers.
    empty : str
        What None means, or the smallest number where the value cannot be None.
    open : bool
        `min` itself is not a value, so that it can stand for None.
    start : float, optional
        Where the arrow keys begin when the number is missing.
    scale : float
        Shown is the value times this.
    narrowest : int
        Pixels for the text.
    """

    def __init__(
        self,
        *,
        min: float = 0.0,
        max: float = 99_999.0,
        step: float = 1.0,
        digits: int = 1,
        nullable: bool = False,
        empty: str = "",
        prefix: str = "",
        suffix: str = "",
        open: bool = False,
        start: float | None = None,
        scale: float = 1.0,
        narrowest: int = 36,
        **kwargs: Any,
    ) -> None:
        super().__init__(nullable=nullable, **kwargs)
        self._digits, self._start, self._scale, self._missing = digits, start, scale, True
        spin = self.native
        with signals_blocked(spin):
            spin.setDecimals(digits)
            self.step = step
            spin.setRange(min - step if nullable and not open else min, max)
        spin.setSpecialValueText(empty)
        spin.setPrefix(prefix)
        spin.setSuffix(suffix)
        spin.setKeyboardTracking(False)
        spin.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
        spin.setStyleSheet(f"padding: 1px 4px; min-width: {narrowest}px;")  # napari's style asks for more
        WheelGuard(spin)

    def get_value(self) -> Any:
        """Return the number, or None where there is none."""
        value = self.native.value()
        if self._nullable and value == self.native.minimum():
            return None
        return round(value / self._scale, 4) if self._digits or self._scale != 1 else round(value)

    def set_value(self, value: Any) -> None:
        """Show a number, or None; the nearest where it lies outside the limits."""
        self.native.setValue(self.native.minimum() if value is None else value * self._scale)
        self._missing = self.get_value() is None

    def explain(self, empty: str) -> None:
        """Show in place of a missing number what that means."""
        self.native.setSpecialValueText(empty)

    def _on_value_change(self, value: Any = None) -> None:
        spin = self.native
        if self._start is not None and self._missing and abs(value - spin.minimum() - spin.singleStep()) < 1e-6:
            self._missing = False
            spin.setValue(self._start)
            return
        self._missing = self.get_value() is None
        super()._on_value_change(self.get_value())


class Check(Editor, CheckBox):
    """A check box that is its own label."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.native.setMinimumWidth(self.native.fontMetrics().horizontalAdvance(self.native.text()) + _BOX)


class Choice(Editor, ComboBox):
    """A choice of one value; `choices` are values, pairs of text and value, or a function that returns them."""

    def __init__(self, *, shortest: int = 8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.native.setMinimumContentsLength(shortest)
        WheelGuard(self.native)

    def show_value(self, value: Any) -> None:
        """Show a value, also one that was not among the choices."""
        if value not in self.choices:
            self.set_choice(str(value), value)
        with signals_blocked(self.native):
            self.set_value(value)

    def show_none(self, why: str) -> None:
        """Show that there is no choice, and what holds instead."""
        with signals_blocked(self.native):
            self.native.setPlaceholderText(why)
            self.native.setCurrentIndex(-1)


class Text(Editor, LineEdit):
    """A line of text that is taken when it is finished.

    Parameters
    ----------
    empty : str
        What no text means; `default` then is no text.
    many : bool
        The text is several values with commas or spaces between them.
    """

    def __init__(self, *, empty: str = "", default: Any = "", many: bool = False, **kwargs: Any) -> None:
        self._empty, self._default, self._many = empty, default, many
        super().__init__(**kwargs)
        self.native.setPlaceholderText(empty)
        self.native.editingFinished.connect(lambda: self.changed.emit(self.get_value()))

    def get_value(self) -> Any:
        """Return the text or the texts."""
        text = self.native.text().strip()
        if self._empty and not text:
            return self._default
        return text.replace(",", " ").split() if self._many else text

    def set_value(self, value: Any) -> None:
        """Show a text or texts."""
        text = "" if value is None or (self._empty and value == self._default) else value
        text = text if isinstance(text, str) else ", ".join(text)
        if self.native.text() != text:
            self.native.setText(text)

    def show_value(self, value: Any) -> None:
        """Show a text and tell nobody, unless another one is being typed."""
        if not (self.native.hasFocus() and self.native.isModified()):
            super().show_value(value)

    def settle(self) -> None:
        """Take what was typed as finished, so that another text may be shown."""
        self.native.setModified(False)

    def _on_value_change(self, value: Any = None) -> None:
        """Wait for the end of the typing."""


class Lines(Editor, TextEdit):
    """Several lines of text, each of which is a value."""

    def __init__(self, *, height: int = 40, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.native.setAcceptRichText(False)
        self.native.setTabChangesFocus(True)
        self.native.setFixedHeight(height)
        self.native.setStyleSheet(FRAMED)

    def get_value(self) -> Any:
        """Return the lines that are not empty."""
        return tuple(filter(str.strip, self.native.toPlainText().splitlines()))

    def set_value(self, value: Any) -> None:
        """Show lines."""
        self.native.setPlainText("\n".join(value or ()))

    def _on_value_change(self, value: Any = None) -> None:
        super()._on_value_change(self.get_value())


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


def narrow(editor: QWidget) -> None:
    """Let an editor be as wide as there is room, whatever its longest text."""
    editor.setMinimumWidth(NARROWEST)
    editor.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)


def lower(text: str) -> str:
    """Return a label as it stands within a sentence; abbreviations stay."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


_TYPES = TypeMap()
"""Ours alone, so that forms of other plugins stay as magicgui makes them."""
_TYPES.register_type(bool, widget_type=Check)
_TYPES.register_type(int, widget_type=Number, digits=0)
_TYPES.register_type(float, widget_type=Number)
_TYPES.register_type(str, widget_type=Text)
_TYPES.register_type(tuple[str, ...], widget_type=Text, many=True)


def edit(annotation: Any, value: Any = Undefined, *, label: str = "", tip: str = "", **options: Any) -> Any:
    """Return an editor of a type; a choice where `choices` are among the options.

    Parameters
    ----------
    annotation, value : type, object
    label, tip : str
    options
        Of the editor's class.
    """
    if "choices" in options:
        options = {"widget_type": Choice, **options}
    made: Any = _TYPES.create_widget(annotation=annotation, label=label, options={"tooltip": tip, **options})
    made.native.setAccessibleName(label)
    if not isinstance(made, Check):
        narrow(made.native)
    if value is not Undefined:
        made.show_value(value)
    return made
