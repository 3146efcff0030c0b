"""A picture of a micrograph with its picks; colours that all can tell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from scipy.ndimage import gaussian_filter

from napari_gempick.io.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from napari_gempick.model.picks import Picks

BRIGHT_COLOURS = ("#56B4E9", "#E69F00", "#F0E442", "#CC79A7", "#009E73", "#D55E00", "#FFFFFF")
"""On a grey picture; after Okabe and Ito."""

_DPI = 200
_WIDEST = 1600  # px of the picture
_BLUR = 2.0  # px after binning
_BARS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # nm


def overlay(
    path: Path | str,
    image: NDArray[Any],
    picks: Picks,
    view_names: Sequence[str],
    *,
    pixel_size: float,
    diameter: float,
    dpi: int = 200,
) -> None:
    """Draw a micrograph with its picks: circles coloured by view, a line from the centre along psi, a scale bar.

    Parameters
    ----------
    path : Path or str
        A .png file, written atomically.
    image : (y, x) array
        The micrograph, any real dtype. It is averaged over whole pixels to at most 1600 columns, gently low-passed
        (for display only), and shown from its 0.5th to its 99.5th percentile.
    picks : Picks
        Centres in px of `image`; psi in degrees, no line where it is NaN.
    view_names : sequence of str
        `picks.view` counts them from 0.
    pixel_size : float
        Å.
    diameter : float
        Of the particle, Å.
    dpi : int
        Pixels per inch; the picture is 8 inches wide.
    """
    factor = max(1, math.ceil(image.shape[1] / _WIDEST), math.ceil(image.shape[0] / _WIDEST))
    shown = gaussian_filter(_binned(image, factor), _BLUR)
    low, high = np.percentile(shown, (0.5, 99.5))
    ny, nx = image.shape
    width = 8.0
    figure = Figure(figsize=(width, width * ny / nx + 0.45), layout="constrained")
    axes = figure.add_subplot()
    edges = (-0.5, shown.shape[1] * factor - 0.5, shown.shape[0] * factor - 0.5, -0.5)
    axes.imshow(shown, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), extent=edges, interpolation="lanczos")
    axes.set(xlim=(-0.5, nx - 0.5), ylim=(ny - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    handles = _circles(axes, picks, view_names, diameter / pixel_size)
    _scale_bar(axes, nx, ny, pixel_size)
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=6, frameon=False, fontsize=10)
    save(figure, path, dpi)


def _binned(image: NDArray[Any], factor: int) -> NDArray[np.float32]:
    ny, nx = (length // factor for length in image.shape)
    blocks = np.asarray(image[: ny * factor, : nx * factor], np.float32).reshape(ny, factor, nx, factor)
    binned: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return binned


def _circles(axes: Axes, picks: Picks, view_names: Sequence[str], diameter: float) -> list[Any]:
    """Draw the picks of each view (diameter in px) and return the entries of the legend."""
    handles: list[Any] = []
    under = [withStroke(linewidth=2.6, foreground="#00000080")]
    for number, name in enumerate(view_names):
        these = picks.take(picks.view == number)
        colour = BRIGHT_COLOURS[number % len(BRIGHT_COLOURS)]
        centres = np.stack((these.x, these.y), axis=1)
        size = np.full(len(these), diameter)
        circles = EllipseCollection(
            size, size, np.zeros(len(these)), units="xy", offsets=centres, offset_transform=axes.transData,
            facecolors="none", edgecolors=colour, linewidths=1.4, path_effects=under,
        )  # fmt: skip
        axes.add_collection(circles)
        psi = np.deg2rad(these.psi)
        tips = centres + diameter / 2 * np.stack((np.cos(psi), -np.sin(psi)), axis=1)
        turned = np.isfinite(psi)
        lines = np.stack((centres[turned], tips[turned]), axis=1)
        axes.add_collection(LineCollection(list(lines), colors=colour, linewidths=0.9, path_effects=under))
        label = f"{literal(name)} ({len(these)})"
        handles.append(Line2D([], [], marker="o", ls="", mfc="none", mec=_on_white(colour), mew=2, ms=10, label=label))
    return handles


def _scale_bar(axes: Axes, nx: int, ny: int, pixel_size: float) -> None:
    """Draw a bar of a round number of nm, about a seventh of the width, in the lower left corner."""
    wanted = nx * pixel_size / 10 / 7
    length = min(_BARS, key=lambda bar: abs(math.log(bar / wanted)))
    pixels, margin, thick = length * 10 / pixel_size, 0.03 * min(nx, ny), 0.007 * min(nx, ny)
    corner = (margin, ny - margin - thick)
    axes.add_patch(Rectangle(corner, pixels, thick, facecolor="white", edgecolor="black", lw=0.9))
    axes.annotate(
        f"{length} nm", (margin + pixels / 2, corner[1]), (0, 4), textcoords="offset points", ha="center", va="bottom",
        color="white", fontsize=11, fontweight="bold", path_effects=[withStroke(linewidth=3, foreground="black")],
    )  # fmt: skip


def _on_white(colour: str) -> str:
    return "#000000" if colour == "#FFFFFF" else colour


def literal(text: str) -> str:
    """Return text that matplotlib shows as it is: dollars mean mathematics to it, and a leading _ hides a label."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def save(figure: Figure, path: Path | str, dpi: int = _DPI) -> None:
    """Write a figure as PNG, atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)
