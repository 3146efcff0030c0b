"""The page and the particle sheet of a report, and the values they show, which `gather` collects."""

from __future__ import annotations

import base64
import io
import itertools
import math
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jinja2
import matplotlib.image
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from napari_gempick.evaluation.plots import COLOURS, literal, save
from napari_gempick.io.atomic import write_text
from napari_gempick.model.values import counted

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 1000, 230, 46, 34, 12
_BASE = _HEIGHT - _BOTTOM
_CHART = {"width": _WIDTH, "height": _HEIGHT, "left": _LEFT, "base": _BASE, "top": _TOP}
_MOST_BARS = 250
_ROWS_OPEN = 40


@dataclass(frozen=True, eq=False)
class ViewReport:
    """A view of the particle.

    Attributes
    ----------
    threshold : float or None
        The median over the micrographs; None where no score is above chance.
    false_rate : float or None
        Estimated share of false picks, where decoys were searched.
    sections : int
        Templates of the view.
    template, mean : (n, n) float or None
        The first template, and the mean of `averaged` particles turned back by psi, on the same grid.
    particles : list of (n, n) float
        As they lie in their micrographs, the best first.
    scores : list of float
        Of the particles.
    candidates, chosen : (bins,) int64
        Histograms of the scores of all candidates and of the picks.
    """

    name: str
    picks: int
    threshold: float | None
    false_rate: float | None
    sections: int
    mask: str
    template: NDArray[Any] | None
    mean: NDArray[Any] | None
    averaged: int
    particles: list[NDArray[Any]]
    scores: list[float]
    candidates: NDArray[np.int64]
    chosen: NDArray[np.int64]

    @property
    def threshold_text(self) -> str:
        """For a person."""
        return "-" if self.threshold is None else f"{round(self.threshold, 3):g}"

    @property
    def template_text(self) -> str:
        """What stands below the picture of the template."""
        return f"template 1 of {self.sections}" if self.sections > 1 else "template"

    @property
    def mean_text(self) -> str:
        """What stands below the mean image."""
        return f"mean of {self.averaged}, turned by psi" if self.averaged else "no particles"


@dataclass(frozen=True, eq=False)
class RunReport:
    """A run of `gempick pick`.

    Attributes
    ----------
    name : str
        Of the folder.
    program, state : str
        As run.json has them.
    edges : (bins + 1,) float
        Of the histograms.
    micrographs : list of dict
        The lines of run.json.
    settings : list of (name, value, is the default)
    facts : list of (name, value)
        Devices, versions, sizes.
    box : float
        Side of the pictures of particles, Å.
    diameter : float
        Å.
    overlay : bytes or None
        PNG of a micrograph with its picks.
    """

    name: str
    program: str
    state: str
    views: list[ViewReport]
    edges: NDArray[np.float64]
    micrographs: list[dict[str, Any]]
    settings: list[tuple[str, str, bool]]
    facts: list[tuple[str, str]]
    box: float
    diameter: float
    overlay: bytes | None = None
    overlay_name: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def done(self) -> list[dict[str, Any]]:
        """The micrographs that were picked."""
        return [row for row in self.micrographs if "error" not in row]

    @property
    def picks(self) -> int:
        """Of all micrographs."""
        return sum(int(row["picks"]) for row in self.done)


def grey(image: NDArray[Any], deviations: float = 3.0) -> NDArray[np.uint8]:
    """Return an image as 8-bit grey levels, from `deviations` standard deviations below its mean to as many above."""
    mean, deviation = float(np.mean(image)), float(np.std(image)) or 1.0
    return np.clip((image - mean) / deviation / (2 * deviations) * 255 + 127.5, 0, 255).astype(np.uint8)


def write_html(path: Path | str, report: RunReport) -> None:
    """Write the report, atomically; equal reports give equal bytes."""
    folder = files("napari_gempick.report")
    page, style = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html.j2", "report.css"))
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    names = [view.name for view in report.views]
    text = environment.from_string(page).render(
        report=report,
        style=style,
        colours=[COLOURS[number % len(COLOURS)] for number in range(len(names))],
        names=names if len(names) > 1 else [],
        figures=_figures(report),
        histograms=[_histogram(view, report, number) for number, view in enumerate(report.views)],
        counts=_per_micrograph(report),
        given=[one[:2] for one in report.settings if not one[2]],
        defaults=[one[:2] for one in report.settings if one[2]],
        proof=_least_sure,
        rows_open=_ROWS_OPEN,
        png=_png,
        uri=_uri,
    )
    write_text(path, text)


def _figures(report: RunReport) -> list[tuple[str, str, str]]:
    """Return the large numbers at the top: a name, the number, and small words after it."""
    counts = [int(row["picks"]) for row in report.done]
    proofs = [text for row in report.done for text in row.get("proof", {}).values()]
    failed = len(report.micrographs) - len(report.done)
    figures = [
        ("picks", f"{report.picks:,}".replace(",", " "), ""),
        ("micrographs", str(len(report.done)), f"+ {failed} failed" if failed else ""),
        ("median per micrograph", f"{np.median(counts):g}" if counts else "-", ""),
    ]
    if proofs:
        verified = sum(text.startswith("verified") for text in proofs)
        figures.append(("coordinate files verified", str(verified), f"of {len(proofs)}"))
    return figures


def _least_sure(row: dict[str, Any]) -> str:
    """Return what the check of coordinates says about the format of a micrograph that is least sure."""
    return min(row.get("proof", {}).values(), key=lambda text: text.startswith("verified"), default="")


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _png(image: NDArray[Any]) -> str:
    out = io.BytesIO()
    software: Any = {"Software": None}
    matplotlib.image.imsave(out, grey(image), cmap="gray", vmin=0, vmax=255, format="png", metadata=software)
    return _uri(out.getvalue())


def _histogram(view: ViewReport, report: RunReport, number: int) -> dict[str, Any]:
    """Return the chart of candidates and picks by score, on a logarithmic axis."""
    edges, most = report.edges, max(10, int(view.candidates.max(initial=0)))
    scale = (_BASE - _TOP) / math.log10(2 * most)

    def y(count: float) -> float:
        return _BASE - scale * math.log10(max(1.0, 2 * count))

    def x(score: float) -> float:
        return float(_LEFT + (_WIDTH - _LEFT) * (score - edges[0]) / (edges[-1] - edges[0]))

    colour = COLOURS[number % len(COLOURS)]
    bars = [
        {
            "x": x(low) + 0.5,
            "y": y(count),
            "width": x(high) - x(low) - 1,
            "height": _BASE - y(count),
            "colour": fill,
            "title": f"{low:.2f} to {high:.2f}: {count} {kind}",
        }
        for kind, counts, fill in (("candidates", view.candidates, "#D5D9DF"), ("picks", view.chosen, colour))
        for low, high, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
        if count
    ]
    powers = range(math.ceil(math.log10(most)) + 1)
    return {
        **_CHART,
        "axis": [(y(10**power), f"{10**power}") for power in powers if 10**power <= most],
        "bars": bars,
        "threshold": None if view.threshold is None else x(view.threshold),
        "ticks": [(x(score), f"{score:g}") for score in np.round(edges[::5], 1).tolist()],
    }


def _per_micrograph(report: RunReport) -> dict[str, Any] | None:
    """Return the chart of picks: a bar for each micrograph, or for a few that follow one another; None without any."""
    rows = report.done
    if not rows:
        return None
    together = math.ceil(len(rows) / _MOST_BARS)
    groups = [rows[start : start + together] for start in range(0, len(rows), together)]
    means = [
        [float(np.mean([row["picks_per_view"].get(view.name, 0) for row in group])) for view in report.views]
        for group in groups
    ]
    most = max(1.0, max(map(sum, means)))
    step = next(s * 10**k for k in range(9) for s in (1, 2, 5) if most / (s * 10**k) <= 5)
    scale = (_BASE - _TOP) / most
    pitch = min(44.0, (_WIDTH - _LEFT) / len(groups))
    charted = []
    for place, (group, shares) in enumerate(zip(groups, means, strict=True)):
        name = group[0]["name"] + (f" and {len(group) - 1} more" if len(group) > 1 else "")
        counts = ", ".join(f"{view.name} {share:g}" for view, share in zip(report.views, shares, strict=True))
        tops = itertools.accumulate(shares, lambda y, share: y - scale * share, initial=float(_BASE))
        next(tops)
        bars = [
            {
                "x": _LEFT + 1 + place * pitch,
                "y": top,
                "width": max(0.8, pitch * 0.84),
                "height": scale * share,
                "colour": COLOURS[number % len(COLOURS)],
            }
            for number, (top, share) in enumerate(zip(tops, shares, strict=True))
        ]
        charted.append((f"{name}: {counts}", bars))
    return {
        **_CHART,
        "axis": [(_BASE - scale * n, f"{n:g}") for n in np.arange(0, most + 1e-9, step).tolist()],
        "groups": charted,
        "hint": "in the order of the run" + (f"; each bar is the mean of {together}" if together > 1 else ""),
    }


_COLUMNS = 12
_CELL, _GAP, _LABEL = 0.82, 0.06, 0.17  # inch
_MARGIN, _HEADER, _HEAD, _FOOT = 0.35, 0.75, 0.42, 0.25
_INK, _FAINT = "#1B1F24", "#6B7280"


def plot_sheet(path: Path | str, report: RunReport, *, dpi: int = 200) -> None:
    """Draw the sheet: for each view the template, the mean image, and particles from the best score to the worst."""
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
    summary = f"{counted(report.picks, 'pick')} on {counted(len(report.done), 'micrograph')}"
    summary += f"     box {report.box / 10:.0f} nm     {report.program}"
    figure.text((width - _MARGIN) / width, 1 - 0.32 / height, summary, ha="right", va="top", fontsize=9, color=_FAINT)
    top = _HEADER
    for number, (view, tall) in enumerate(zip(report.views, heights, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        words(_MARGIN, top, literal(view.name), 13, fontweight="bold", color=colour)
        words(_MARGIN + 0.13 * len(view.name) + 0.25, top + 0.045, _caption(view), 9, color=_FAINT)
        row = top + _HEAD - 0.08
        picture(_MARGIN, row, large - _LABEL, view.template, view.template_text, colour)
        picture(_MARGIN + large + _GAP, row, large - _LABEL, view.mean, view.mean_text, colour)
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
    return f"{counted(view.picks, 'pick')}, threshold {view.threshold_text}{scores}{shown}"
