"""Editors of several parts: a path with a button to choose it, and a range of two numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import FileEdit
from magicgui.widgets.bases import ValuedContainerWidget
from qtpy.QtWidgets import QFileDialog, QMenu

from napari_gempick.widgets.editors import Editor, Number, edit, lower
from napari_gempick.widgets.fold import GAP

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_gempick.model.declaration import Paths


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
