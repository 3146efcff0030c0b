"""Draw docs/images/psi.png: where pixel centres lie, and what psi means.

Run from the root of the repository: python docs/figures/psi.py (or make figures).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Rectangle
from mrcfile import read as read_mrc
from picture import save_small

from napari_gempick.engine.templates.sampling import ContinuousImage
from napari_gempick.model.geometry import Extent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TARGET = Path("docs/images/psi.png")
PIXEL_SIZE = 4.4
PSI = 30.0
REACH = 56  # px around the centre that are shown
BLUE, RED = "#0072B2", "#D55E00"


def draw_pixels(axes: Axes) -> None:
    """Draw the first pixels of a micrograph and a box of four pixels."""
    for y in range(5):
        for x in range(6):
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="white", edgecolor="#999999", lw=0.8))
            axes.plot(x, y, ".", color="#999999", ms=3)
    axes.add_patch(Rectangle((0.5, 0.5), 4, 4, fill=False, edgecolor=BLUE, lw=2.2))
    axes.plot(3, 3, "+", color=BLUE, ms=13, mew=2.2)
    axes.annotate(
        "centre of the box:\npixel 4 // 2 = 2", (3, 3), (2.95, 3.3), color=BLUE, fontsize=8, va="top", ha="center"
    )
    axes.annotate("box of 4 px, corner (1, 1)", (0.5, 0.5), (0.55, 0.44), color=BLUE, fontsize=8, va="bottom")
    axes.plot(0, 0, "o", color=RED, ms=6)
    axes.annotate("(0, 0)", (0, 0), (0.12, 0), color=RED, fontsize=9, va="center")
    axes.set(xlim=(-0.6, 5.6), ylim=(4.6, -0.6), xticks=range(6), yticks=range(5), aspect="equal")
    axes.set_xlabel("x: column", loc="right")
    axes.set_ylabel("y: row", loc="bottom")
    axes.xaxis.set_ticks_position("top")
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw_template(axes: Axes, image: ContinuousImage, psi: float, title: str) -> None:
    """Draw the template turned by psi, its axis and the angle."""
    axes.imshow(image.sample(psi, PIXEL_SIZE, Extent(REACH, REACH, REACH, REACH)), cmap="gray")
    axes.set_title(title, loc="left", fontsize=10)
    far = 0.94 * REACH
    axes.plot([REACH, REACH + far], [REACH, REACH], color=BLUE, lw=1.6, ls="--" if psi else "-")
    if not psi:
        axes.annotate("x axis", (REACH + far, REACH - 2), color=BLUE, fontsize=9, ha="right", va="bottom")
    if psi:
        angle = np.deg2rad(psi)
        tip = REACH + far * np.cos(angle), REACH - far * np.sin(angle)
        axes.annotate("", tip, (REACH, REACH), arrowprops={"arrowstyle": "-|>", "color": RED, "lw": 2})
        axes.add_patch(Arc((REACH, REACH), 1.5 * far, 1.5 * far, theta1=-psi, theta2=0, color=RED, lw=1.6))
        middle = np.deg2rad(psi / 2)
        text = REACH + 0.62 * far * np.cos(middle), REACH - 0.62 * far * np.sin(middle)
        axes.annotate("psi", text, color=RED, fontsize=11, ha="right", va="center", fontweight="bold")
    axes.plot(REACH, REACH, "+", color=BLUE, ms=10, mew=2)
    axes.set(xticks=[], yticks=[])


def draw() -> Figure:
    """Return the figure."""
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    pixels, unrotated, rotated = figure.subplots(1, 3, width_ratios=(1.15, 1, 1))
    draw_pixels(pixels)
    image = ContinuousImage(read_mrc("sample_data/template_side.mrc"), PIXEL_SIZE)
    draw_template(unrotated, image, 0, "template, psi 0")
    draw_template(rotated, image, PSI, f"particle, psi {PSI:g}: counter-clockwise")
    return figure


if __name__ == "__main__":
    save_small(draw(), TARGET)
