"""Pictures of results, in colours that everyone can tell apart: a micrograph with its picks; PR and ROC curves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from napari_gempick.io.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from napari_gempick.evaluation.metrics import Curve
    from napari_gempick.model.picks import Picks

BRIGHT_COLOURS = ("#56B4E9", "#E69F00", "#F0E442", "#CC79A7", "#009E73", "#D55E00", "#FFFFFF")
"""On a grey picture; after Okabe and Ito."""

_MISSED = "#FF3B30"
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
    truth: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    title: str | None = None,
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
    truth : (x, y) arrays of (n,), optional
        Centres in px. Those farther than half a diameter from every pick are marked with a cross as missed.
    title : str, optional
        Stands above the picture.
    dpi : int
        Pixels per inch; the picture is 8 inches wide.
    """
    factor = max(1, math.ceil(image.shape[1] / _WIDEST), math.ceil(image.shape[0] / _WIDEST))
    shown = gaussian_filter(_binned(image, factor), _BLUR)
    low, high = np.percentile(shown, (0.5, 99.5))
    ny, nx = image.shape
    width = 8.0
    figure = Figure(figsize=(width, width * ny / nx + 0.45 + (0.4 if title else 0.0)), layout="constrained")
    axes = figure.add_subplot()
    edges = (-0.5, shown.shape[1] * factor - 0.5, shown.shape[0] * factor - 0.5, -0.5)
    axes.imshow(shown, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), extent=edges, interpolation="lanczos")
    axes.set(xlim=(-0.5, nx - 0.5), ylim=(ny - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    handles = _circles(axes, picks, view_names, diameter / pixel_size)
    if truth is not None:
        handles += _missed(axes, picks, truth, diameter / pixel_size)
    _scale_bar(axes, nx, ny, pixel_size)
    if title:
        axes.set_title(literal(title), loc="left", fontsize=12)
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


def _missed(
    axes: Axes, picks: Picks, truth: tuple[NDArray[np.float64], NDArray[np.float64]], diameter: float
) -> list[Any]:
    centres = np.stack(truth, axis=1)
    far = np.ones(len(centres), np.bool_)
    if len(picks) and len(centres):
        far = cKDTree(np.stack((picks.x, picks.y), axis=1)).query(centres)[0] > diameter / 2
    at = centres[far]
    axes.plot(at[:, 0], at[:, 1], "x", color=_MISSED, ms=7, mew=2)
    return [Line2D([], [], marker="x", ls="", color=_MISSED, ms=7, mew=2, label=f"missed ({len(at)})")]


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


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""On white; after Okabe and Ito."""

_LOGARITHMIC_FROM = 30  # false positives per micrograph
_GREY, _PALE = "#555555", "#C8C8C8"
_LINE_STYLES = ("-", "--", "-.", ":")


def plot_precision_recall(path: Path | str, curves: Mapping[str, Curve]) -> None:
    """Draw precision against recall, with lines of equal F1, score thresholds along each curve and the best F1.

    Parameters
    ----------
    path : Path or str
        A .png file, written atomically.
    curves : mapping of str to Curve
        By the name in the legend.
    """
    figure = Figure(figsize=(6.4, 6.2), layout="constrained")
    axes = figure.add_subplot()
    _iso_f1(axes)
    labelled: list[tuple[float, float]] = []
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="Recall (share of the truth that is found)", aspect="equal")
    for number, (name, curve) in enumerate(curves.items()):
        _curve(axes, number, name, curve, curve.recall, curve.precision, labelled)
    axes.set_ylabel("Precision (share of the picks that match)")
    axes.set_title("Precision and recall by score threshold", loc="left", fontsize=12)
    _finish(axes, legend="lower left")
    save(figure, path)


def plot_roc(path: Path | str, curves: Mapping[str, Curve]) -> None:
    """Draw recall against false positives: per micrograph (FROC), and relative to all picks at the lowest threshold.

    Picking has no true negatives, so the usual false positive rate is undefined. Parameters as `plot_precision_recall`.
    """
    figure = Figure(figsize=(10.4, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    labels: tuple[list[tuple[float, float]], ...] = ([], [])
    most = max((_finite_max(curve.false_per_micrograph) for curve in curves.values()), default=0.0)
    share = max((_finite_max(curve.false_positive_rate) for curve in curves.values()), default=0.0)
    left.set(xlim=(-0.02 * max(most, 1.0), 1.05 * max(most, 1.0)), ylim=(0, 1.02))
    if most > _LOGARITHMIC_FROM:
        left.set_xscale("symlog", linthresh=1.0)
        left.set_xlim(-0.05, 1.3 * most)
        left.xaxis.set_major_formatter("{x:g}")
    right.set(xlim=(-0.02 * max(share, 0.05), 1.05 * max(share, 0.05)))
    for number, (name, curve) in enumerate(curves.items()):
        _curve(left, number, name, curve, curve.false_per_micrograph, curve.recall, labels[0], beside=True)
        _curve(right, number, name, curve, curve.false_positive_rate, curve.recall, labels[1], beside=True)
    scale = " (logarithmic above 1)" if most > _LOGARITHMIC_FROM else ""
    left.set(xlabel=f"False positives per micrograph{scale}", ylabel="Recall (share of the truth that is found)")
    right.set_xlabel("False positives / all picks at the lowest threshold")
    left.set_title("Free-response ROC", loc="left", fontsize=12)
    right.set_title("ROC relative to the picks", loc="left", fontsize=12)
    _finish(left, legend="lower right")
    _finish(right)
    save(figure, path)


def _iso_f1(axes: Axes) -> None:
    for f1 in np.arange(0.1, 1.0, 0.1):
        recall = np.linspace(f1 / (2 - f1) + 1e-6, 1.0, 200)
        axes.plot(recall, f1 * recall / (2 * recall - f1), color=_PALE, lw=0.7, zorder=0)
        axes.annotate(
            f"F1 {f1:.1f}" if f1 > 0.85 else f"{f1:.1f}", (1.02, f1 / (2 - f1)), (3, 0), va="center", fontsize=7,
            textcoords="offset points", color=_GREY, annotation_clip=False,
        )  # fmt: skip


def _curve(
    axes: Axes,
    number: int,
    name: str,
    curve: Curve,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    labelled: list[tuple[float, float]],
    *,
    beside: bool = False,
) -> None:
    """Draw a curve with ticks at round thresholds, the best F1 as a star and the lowest threshold as an open circle."""
    colour = COLOURS[number % len(COLOURS)]
    label, best = literal(name), curve.best
    if best is not None:
        at = f" at score {curve.threshold[best]:.3g}" if np.isfinite(curve.threshold[best]) else ""
        label += f": best F1 {curve.f1[best]:.3f}{at}"
    style = _LINE_STYLES[number % len(_LINE_STYLES)]
    axes.plot(x, y, style, color=colour, lw=1.8, label=label, zorder=2)
    if best is None:
        return
    axes.plot(x[-1:], y[-1:], "o", mfc="white", mec=colour, mew=1.6, ms=7, zorder=3)
    axes.plot(x[best], y[best], "*", color=colour, mec="white", mew=0.8, ms=15, zorder=4)
    ticks = [(value, row) for value, row in _round_thresholds(curve.threshold) if np.isfinite(x[row] + y[row])]
    rows = [row for _, row in ticks]
    axes.plot(x[rows], y[rows], "o", color=colour, ms=3.5, zorder=3)
    for threshold, row in ticks:
        here = tuple(axes.transAxes.inverted().transform(axes.transData.transform((x[row], y[row]))))
        if all(math.dist(here, other) > 0.07 for other in labelled):
            labelled.append(here)
            offset, ha, va = _label_place(here, beside)
            axes.annotate(
                f"{threshold:g}", (float(x[row]), float(y[row])), offset, textcoords="offset points", ha=ha, va=va,
                color=colour, fontsize=8, zorder=5, path_effects=[withStroke(linewidth=2, foreground="white")],
            )  # fmt: skip


def _label_place(here: tuple[float, float], beside: bool) -> tuple[tuple[float, float], Any, Any]:
    """Return offset (points) and alignment of a threshold's label that keep it off the curve."""
    x, y = here
    if y > 0.97 and (x > 0.05 or not beside):
        return (0, -6), "center", "top"
    if beside:
        return (8, -4), "left", "center"
    return ((-8, 0), "right", "center") if x > 0.97 else ((-4, -4), "right", "top")


def _round_thresholds(thresholds: NDArray[np.float64]) -> list[tuple[float, int]]:
    """Return at most 13 round thresholds within the range, the highest first, and the entry that each one gives."""
    finite = thresholds[np.isfinite(thresholds)]
    if len(finite) < 2:
        return []
    least = float(finite[0] - finite[-1]) / 12
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
    numbers = np.arange(math.ceil(finite[-1] / step), math.floor(finite[0] / step) + 1)[::-1]
    return [(float(f"{n * step:.9g}"), int(np.count_nonzero(finite >= n * step - 1e-9 * step)) - 1) for n in numbers]


def _finite_max(values: NDArray[np.float64]) -> float:
    return float(values[np.isfinite(values)].max(initial=0.0))


def _finish(axes: Axes, legend: Literal["lower left", "lower right"] | None = None) -> None:
    axes.grid(color="#EEEEEE", zorder=-1)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        marks = [
            Line2D([], [], marker="*", ls="", color=_GREY, ms=11, label="best F1"),
            Line2D([], [], marker="o", ls="", mfc="white", mec=_GREY, mew=1.5, label="all picks"),
            Line2D([], [], marker="o", ls="", color=_GREY, ms=3.5, label="score threshold"),
        ]
        handles: list[Any] = [*axes.get_legend_handles_labels()[0], *marks]
        axes.legend(handles=handles, loc=legend, fontsize=9, framealpha=0.9)
