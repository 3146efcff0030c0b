"""Keys: one list for binding and for showing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QMessageBox

from napari_gempick.widgets.panels.tool_bar import TOOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qtpy.QtWidgets import QWidget


@dataclass(frozen=True)
class Key:
    """A key and what it does.

    Attributes
    ----------
    key : str
        As napari writes it.
    what : str
        For the list of shortcuts.
    release : callable, optional
        When the key is let go.
    """

    key: str
    what: str
    call: Callable[[], object]
    release: Callable[[], object] | None = None


def keys_of_tools(take: Callable[[str], object]) -> list[Key]:
    """Return the key of each tool."""
    return [
        Key(key, f"{name}: {tip[:1].lower()}{tip[1:]}", lambda tool=tool: take(tool))
        for tool, (name, key, tip) in TOOLS.items()
    ]


def bind(keys: list[Key], target: Any) -> None:
    """Bind keys to a viewer or to a layer of ours; there they win over napari's own keys of that layer."""
    for key in keys:
        if key.release is None:
            target.bind_key(key.key, _pressed(key), overwrite=True)
        else:
            target.bind_key(key.key, _held(key), overwrite=True)


def bind_widget(keys: list[Key], widget: QWidget) -> None:
    """Make the keys work while the dock has the focus, too; text fields keep what is typed into them."""
    for key in keys:
        if key.release is not None:
            continue
        shortcut = QShortcut(QKeySequence(key.key.replace("Control", "Ctrl").replace("-", "+")), widget)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(lambda key=key: key.call())


def _pressed(key: Key) -> Any:
    def pressed(_: Any) -> None:
        key.call()

    pressed.__doc__ = key.what
    return pressed


def _held(key: Key) -> Any:
    def held(_: Any) -> Iterator[None]:
        key.call()
        yield
        assert key.release is not None
        key.release()

    held.__doc__ = key.what
    return held


def show_keys(parent: QWidget, keys: list[Key]) -> None:
    """Show the list of keys."""
    box = QMessageBox(parent)
    box.setWindowTitle("Shortcuts")
    box.setTextFormat(Qt.TextFormat.RichText)
    box.setText(as_html(keys))
    box.open()


def as_html(keys: list[Key]) -> str:
    """Return the list of shortcuts as a table."""
    shown = {"Control": "Ctrl", "-": "+"}
    rows = []
    for key in keys:
        text = key.key
        if len(text) > 1:
            for old, new in shown.items():
                text = text.replace(old, new)
        rows.append(f"<tr><td><b>{text}</b></td><td style='padding-left: 12px'>{key.what}</td></tr>")
    return f"<table>{''.join(rows)}</table>"
