"""Editors of values, made by magicgui from their types; types without an editor there are registered here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.type_map import TypeMap
from magicgui.types import Undefined
from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, LineEdit, PushButton, TextEdit
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QMenu, QSizePolicy, QWidget
from superqt.utils import signals_blocked

from napari_gempick.widgets.forms.parts import FRAMED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
        """Show a value without a signal; text that is being typed stays if it means the same."""
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


class ChoiceBox(Editor, ComboBox):
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


class Several(Editor, PushButton):
    """Any of some values, ticked in a menu.

    Parameters
    ----------
    choices : mapping of str to str
        What each value means.
    none : str
        What is shown where there is no value.
    """

    def __init__(self, *, choices: Mapping[str, str], none: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._none = none
        menu = QMenu(self.native)
        menu.setToolTipsVisible(True)
        self.actions = {value: menu.addAction(f"{value}:  {meaning}") for value, meaning in choices.items()}
        for action in self.actions.values():
            action.setCheckable(True)
            action.toggled.connect(self._toggled)
        self.native.setMenu(menu)

    def _toggled(self) -> None:
        self.text = ", ".join(self.get_value()) or self._none
        self.changed.emit(self.get_value())

    def get_value(self) -> Any:
        """Return the values that are ticked."""
        return tuple(value for value, action in self.actions.items() if action.isChecked())

    def set_value(self, value: Any) -> None:
        """Tick values."""
        for one, action in self.actions.items():
            with signals_blocked(action):
                action.setChecked(one in value)
        self._toggled()

    def show_value(self, value: Any) -> None:
        """Show values without a signal."""
        with self.changed.blocked():
            self.set_value(value)

    def _on_value_change(self, value: Any = None) -> None:
        """Wait for the menu."""


class Text(Editor, LineEdit):
    """A line of text that is taken when it is finished.

    Parameters
    ----------
    empty : str
        What an empty text means; `default` is then empty.
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
        """Show a text without a signal, unless another one is being typed."""
        if not (self.native.hasFocus() and self.native.isModified()):
            super().show_value(value)
            if not self.native.hasFocus():
                self.native.setCursorPosition(0)  # of a long text the beginning is seen

    def settle(self) -> None:
        """Take the typed text as finished, so that another one may be shown."""
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


def narrow(editor: QWidget) -> None:
    """Let an editor be as wide as there is room, whatever its longest text."""
    editor.setMinimumWidth(NARROWEST)
    editor.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)


def lower(text: str) -> str:
    """Return a label as it stands within a sentence; abbreviations stay."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


_TYPES = TypeMap()
"""Only ours, so that forms of other plugins stay as magicgui makes them."""
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
    options
        Of the editor's class.
    """
    if "choices" in options:
        options = {"widget_type": ChoiceBox, **options}
    made: Any = _TYPES.create_widget(annotation=annotation, label=label, options={"tooltip": tip, **options})
    made.native.setAccessibleName(label)
    if not isinstance(made, Check):
        narrow(made.native)
    if value is not Undefined:
        made.show_value(value)
    return made
