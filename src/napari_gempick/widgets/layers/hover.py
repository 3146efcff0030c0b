"""What lies under the cursor: the particle and the template that fits it, turned, with score, view and psi."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QLabel, QWidget

from napari_gempick.widgets.forms.parts import pixmap, row
from napari_gempick.widgets.layers.pictures import cut_out, turned

if TYPE_CHECKING:
    from napari_gempick.widgets.layers.layers import Layers
    from napari_gempick.widgets.state.controller import Controller

SIDE = 56


class Hover(QWidget):
    """Two pictures and a line.

    Parameters
    ----------
    template_of : callable
        `template_of(view, section)` returns (image, pixel size in Å) or None.
    """

    def __init__(self, controller: Controller, layers: Layers, template_of: Any) -> None:
        super().__init__()
        self._controller, self._layers, self._template_of = controller, layers, template_of
        self.particle, self.template = QLabel(), QLabel()
        for label in (self.particle, self.template):
            label.setFixedSize(SIDE, SIDE)
        self.words = QLabel("")
        self.words.setWordWrap(True)
        self.words.setStyleSheet("font-size: 11px;")
        layout = row(self.particle, self.template, self.words)
        layout.setStretch(2, 1)
        self.setLayout(layout)
        self._shown: Any = None
        self._say_nothing()
        controller.loaded_changed.connect(self._say_nothing)

    def _say_nothing(self) -> None:
        self._shown = None
        self.particle.clear()
        self.template.clear()
        self.words.setText("Point at a pick to see it beside the template that fits it.")

    def look(self, x: float, y: float) -> None:
        """Show the pick at (x, y), pixels of the file; what is shown stays until the next one."""
        number = self._layers.picks.nearest(x, y)
        points = self._layers.layer("Picks")
        loaded = self._controller.loaded
        seen = self._layers.seen
        if number is None or points is None or loaded is None or seen is None or number == self._shown:
            return
        self._shown = number
        features = points.features.iloc[number]
        py, px = (float(value) for value in np.asarray(points.data)[number])
        score, psi, view = float(features["score"]), float(features["psi"]), str(features["view"])
        size = float(np.asarray(points.size).ravel()[number])
        section = int(np.nan_to_num(features["template"])) - 1
        words = f"<b>{view}</b>" if view else "<b>by hand</b>"
        if np.isfinite(score):
            words += f"<br>score {score:.3f}<br>psi {psi:g}°, template {section + 1}"
        self.words.setText(words)
        extent = max(8, round(1.4 * size))
        (image, contrast), pixel_size = seen, loaded.pixel_size or 1.0
        template = self._template_of(view, section) if section >= 0 and np.isfinite(psi) else None

        def draw() -> tuple[Any, Any]:
            particle = cut_out(image, px, py, extent, 2 * SIDE, contrast)
            if template is None:
                return particle, None
            return particle, turned(template[0], template[1], psi, extent * pixel_size, 2 * SIDE)

        self._controller.background.do(draw, lambda made: number == self._shown and self._show(*made))

    def _show(self, particle: Any, template: Any) -> None:
        self.particle.setPixmap(pixmap(particle, SIDE))
        if template is None:
            self.template.clear()
        else:
            self.template.setPixmap(pixmap(template, SIDE))
