"""What napari makes when the first layer of a kind comes is made before somebody waits for it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Points
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.transforms import Affine
from qtpy.QtWidgets import QWidget

from napari_gempick.widgets.layers.layer_registry import UNIT, try_scale_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from napari_gempick.widgets.layers.turns import Turns
    from napari_gempick.widgets.state.threads import Background

_PLACE: dict[str, Any] = {"scale": (1.0, 1.0), "units": (UNIT, UNIT)}
_CLEAR, _WHITE = np.zeros(4, np.float32), np.ones(4, np.float32)
_KINDS: dict[str, Callable[[], Any]] = {
    "image": lambda: Image(np.zeros((8, 8), np.float32), contrast_limits=(0, 1), **_PLACE),
    "points": lambda: Points(np.zeros((1, 2)), features={"view": [""]}, border_color="white", **_PLACE),
    "labels": lambda: Labels(
        np.zeros((8, 8), np.uint8),
        colormap=DirectLabelColormap(color_dict={None: _CLEAR, 0: _CLEAR, 1: _WHITE}),
        **_PLACE,
    ),
}


def warm_up(background: Background, turns: Turns, viewer: Viewer, dock: QWidget) -> None:
    """Load modules and tables on a thread; make a layer of each kind and its controls, which nobody sees."""
    Affine(ndim=2, units=(UNIT, UNIT))  # reads the table of units, for a second

    def put(*kinds: str) -> None:
        for kind in kinds:
            turns.put(f"first {kind}", lambda kind=kind: _make_controls(_KINDS[kind](), dock))  # type: ignore[misc]

    background.do(_load, lambda _: put("points", "labels"))  # which wait for pandas
    put("image")
    turns.put("first scale bar", lambda: try_scale_bar(viewer, True))
    turns.put("no scale bar", lambda: try_scale_bar(viewer, False))


def _load() -> None:
    import_module("pandas")  # which the first points wait for, a second
    try:
        import_module("vispy.visuals.line.dash_atlas").DashAtlas()  # patterns of lines, which the first labels wait for
    except (ImportError, AttributeError):  # of another vispy
        return


def _make_controls(layer: Any, dock: QWidget) -> None:
    """Make the controls of a layer in the look of the dock's window, and let them go."""
    try:
        container = import_module("napari._qt.layer_controls.qt_layer_controls_container")
        made = container.create_qt_layer_controls(layer)
    except (ImportError, AttributeError):  # of another napari
        return
    made.hide()
    made.setParent(dock)
    for widget in (made, *made.findChildren(QWidget)):
        widget.ensurePolished()
    made.deleteLater()
