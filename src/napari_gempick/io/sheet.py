"""The particle sheet: template, mean image and particles of every view, as one PNG."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from napari_gempick.io.curves import COLOURS
from napari_gempick.io.plots import literal, save
from napari_gempick.model.report import grey

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.model.report import RunReport, ViewReport

_COLUMNS = 12
_CELL, _GAP, _LABEL = 0.82, 0.06, 0.17  # inch
_MARGIN, _HEADER, _HEAD, _FOOT = 0.35, 0.75, 0.42, 0.25
_INK, _FAINT = "#1B1F24", "#6B7280"


def plot_sheet(path: Path | str, report: RunReport, *, dpi: int = 200) -> None:
    """Draw the sheet: for each view the template, the mean image, and particles from the best score to the worst.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    large = 2 * _CELL + _GAP + _LABEL
    heights = [
        _HEAD + max(2, math.ceil(len(view.particles) / _COLUMNS)) * (_CELL + _GAP + _LABEL) for view in report.views
    ]
    width = _MARGIN + 2 * (large + _GAP) + 0.3 + _COLUMNS * (_CELL + _GAP) + _MARGIN
    height = _HEADER + sum(heights) + 0.25 * len(heights) + _FOOT
    figure = Figure(figsize=(width, height), facecolor="white")

    def picture(left: float, top: float, side: float, image: NDArray[Any] | None, label: str, colour: str = "") -> None:
        """Put an image at inches from the upper left corner, its label below it."""
        axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
        axes.set_axis_off()
        if image is None:
            axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, facecolor="#F1F2F4"))
        else:
            axes.imshow(grey(image), cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
        if colour:
            axes.add_patch(
                Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=colour, lw=2.5, clip_on=False)
            )
        figure.text(
            (left + side / 2) / width,
            1 - (top + side + 0.03) / height,
            label,
            ha="center",
            va="top",
            fontsize=7,
            color=_FAINT,
        )

    def words(left: float, top: float, text: str, size: float, **style: Any) -> None:
        figure.text(left / width, 1 - top / height, text, va="top", fontsize=size, **{"color": _INK, **style})

    words(_MARGIN, 0.22, literal(report.name), 17, fontweight="bold")
    summary = (
        f"{report.picks} picks on {len(report.done)} micrographs     box {report.box / 10:.0f} nm     {report.program}"
    )
    figure.text((width - _MARGIN) / width, 1 - 0.32 / height, summary, ha="right", va="top", fontsize=9, color=_FAINT)
    top = _HEADER
    for number, (view, tall) in enumerate(zip(report.views, heights, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        words(_MARGIN, top, literal(view.name), 13, fontweight="bold", color=colour)
        words(_MARGIN + 0.13 * len(view.name) + 0.25, top + 0.045, _caption(view), 9, color=_FAINT)
        row = top + _HEAD - 0.08
        picture(
            _MARGIN,
            row,
            large - _LABEL,
            view.template,
            "template" + (f" 1 of {view.sections}" if view.sections > 1 else ""),
            colour,
        )
        label = f"mean of {view.averaged}, turned by psi" if view.averaged else "no particles"
        picture(_MARGIN + large + _GAP, row, large - _LABEL, view.mean, label, colour)
        start = _MARGIN + 2 * (large + _GAP) + 0.3
        for place, (particle, score) in enumerate(zip(view.particles, view.scores, strict=True)):
            line, column = divmod(place, _COLUMNS)
            picture(
                start + column * (_CELL + _GAP), row + line * (_CELL + _GAP + _LABEL), _CELL, particle, f"{score:.2f}"
            )
        top += tall + 0.25
    save(figure, path, dpi)


def _caption(view: ViewReport) -> str:
    scores = f", scores {max(view.scores):.2f} to {min(view.scores):.2f}" if view.scores else ""
    shown = f"; {len(view.particles)} shown, best first" if view.particles else ""
    return f"{view.picks} picks, threshold {view.threshold_text}{scores}{shown}"
