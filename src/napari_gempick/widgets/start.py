"""Open napari with the plugin docked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import napari

from napari_gempick.widgets.dock import TITLE, Dock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari.viewer import Viewer


def open_dock(viewer: Viewer, paths: Sequence[Path] = ()) -> Dock:
    """Dock the plugin in a viewer and open files or results in it."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-gempick", TITLE)
    if paths:
        dock.open(list(paths))
    return dock


def open_window(paths: Sequence[Path]) -> None:
    """Open a viewer with the plugin, and return when it is closed."""
    viewer = napari.Viewer(title="napari-gempick")
    open_dock(viewer, paths)
    napari.run()
