"""A window that is used as a person would: clicks and keys by xdotool, pictures of the whole window."""

from __future__ import annotations

import io
import subprocess
import time
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QBuffer, QPoint
from qtpy.QtWidgets import QApplication, QWidget
from superqt import QDoubleSlider

from napari_gempick.widgets.app.dock import open_dock
from napari_gempick.widgets.layers.layer_registry import camera_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COLOURS = 128
VIVID = 90


def quantised(shot: Image.Image) -> Image.Image:
    """Return a picture with few colours: greys and the bright ones apart, so that small coloured marks keep theirs."""
    pixels = np.asarray(shot).astype(int)
    bright = pixels.max(axis=2) - pixels.min(axis=2) > VIVID
    half = [
        Image.fromarray(pixels[which].astype(np.uint8)[None]).quantize(COLOURS // 2, dither=Image.Dither.NONE)
        for which in (bright, ~bright)
        if which.any()
    ]
    colours = [colour for part in half for colour in (part.getpalette() or [])[: 3 * COLOURS // 2]]
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours)
    return shot.quantize(palette=palette, dither=Image.Dither.NONE)


class Window:
    """A viewer with the plugin, 1280 x 800 pixels."""

    def __init__(self, theme: str = "dark") -> None:
        napari.utils.notifications.notification_manager.records.clear()
        self.viewer = napari.Viewer()
        self.viewer.theme = theme
        self.viewer.window.resize(1280, 800)
        self.dock = open_dock(self.viewer)
        self.controller = self.dock.controller
        self.spin(1.0)

    def spin(self, seconds: float) -> None:
        """Let the window work."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.005)

    def until(self, condition: Callable[[], bool], limit: float = 300.0) -> None:
        """Let the window work until something is so."""
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the window did not get there")
            QApplication.processEvents()
            time.sleep(0.005)

    def picture(self, path: Path, dialog: QWidget | None = None) -> None:
        """Write a picture of the whole window, or of a dialog."""
        self.spin(0.8)
        if dialog is not None:
            buffer = QBuffer()
            buffer.open(QBuffer.OpenModeFlag.WriteOnly)
            dialog.grab().save(buffer, "PNG")
            shot = Image.open(io.BytesIO(bytes(buffer.data()))).convert("RGB")
        else:
            shot = Image.fromarray(np.asarray(self.viewer.window.screenshot(flash=False, canvas_only=False))[..., :3])
        path.parent.mkdir(parents=True, exist_ok=True)
        quantised(shot).save(path, optimize=True)

    def input(self, *words: object) -> None:
        """Send real input events."""
        subprocess.run(["xdotool", *map(str, words)], check=True)
        self.spin(0.3)

    def click(self, widget: QWidget, x: float | None = None, y: float | None = None) -> None:
        """Click on a widget, in its middle unless said."""
        self.input("mousemove", *self.place(widget, x, y), "click", 1)

    def type(self, widget: QWidget, text: str) -> None:
        """Replace what a field holds."""
        self.click(widget)
        self.input("key", "ctrl+a")
        self.input("type", "--delay", "20", text)
        self.input("key", "Tab")

    def place(self, widget: QWidget, x: float | None = None, y: float | None = None) -> tuple[int, int]:
        """Return where a point of a widget is on the screen."""
        point = QPoint(round(widget.width() / 2 if x is None else x), round(widget.height() / 2 if y is None else y))
        shown = widget.mapToGlobal(point)
        return shown.x(), shown.y()

    def canvas(self, x: float, y: float) -> tuple[int, int]:
        """Return where a pixel (x, y) of the micrograph is on the screen."""
        main = QApplication.topLevelWidgets()
        widgets = [w for top in main for w in top.findChildren(QWidget) if "CanvasBackend" in type(w).__name__]
        size, _ = self.dock.layers.scale
        camera = camera_of(self.viewer)
        cy, cx = camera.center[-2:]
        zoom = camera.zoom
        return self.place(
            widgets[0],
            widgets[0].width() / 2 + (x * size - cx) * zoom,
            widgets[0].height() / 2 + (y * size - cy) * zoom,
        )

    def drag(self, slider: Any, value: float) -> None:
        """Drag a slider's handle to a value."""
        slider = slider.findChild(QDoubleSlider) or slider  # within a labelled one
        low, high = slider.minimum(), slider.maximum()

        def at(score: float) -> tuple[int, int]:
            return self.place(slider, 8 + (score - low) / (high - low) * (slider.width() - 16))

        here = slider.value()
        self.input("mousemove", *at(here), "mousedown", 1)
        for share in np.linspace(0, 1, 6)[1:]:
            self.input("mousemove", *at(here + share * (value - here)))
        self.input("mouseup", 1)

    def close(self) -> None:
        """Close the window."""
        self.dock.shut()
        self.viewer.close()
        self.spin(0.3)
