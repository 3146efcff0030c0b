"""Plots of precision-recall and ROC curves, in colours that everyone can tell apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from napari_gempick.io.images.plots import literal, save

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from napari_gempick.evaluation.metrics import Curve

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
