"""The report of a run as one HTML file that needs nothing else: pictures and charts are in it.

The particle sheet: template, mean image and particles of every view, as one PNG.
"""

from __future__ import annotations

import base64
import io
import math
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import matplotlib.image
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from napari_gempick.evaluation.curves import COLOURS
from napari_gempick.io.atomic import write_text
from napari_gempick.io.images.plots import literal, save
from napari_gempick.model.values import counted
from napari_gempick.report.contents import grey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.report.contents import RunReport, ViewReport


_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 1000, 230, 46, 34, 12
_MOST_BARS = 250
_ROWS_OPEN = 40


def write_html(path: Path | str, report: RunReport) -> None:
    """Write the report, atomically; equal reports give equal bytes.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    style = files("napari_gempick.report").joinpath("report.css").read_text(encoding="utf-8")
    body = "\n".join(
        [
            _header(report),
            *(_section("Views", _views(report)) if report.views else []),
            *_section("Scores", "".join(_histogram(view, report, n) for n, view in enumerate(report.views))),
            *_section("Picks per micrograph", _per_micrograph(report)),
            *(_section(f"Micrograph {report.overlay_name}", _overlay(report)) if report.overlay else []),
            *(_section("Particles", _gallery(report)) if any(view.particles for view in report.views) else []),
            *_section("Settings", _settings(report)),
            *_section("Micrographs", _table(report)),
            _footer(report),
        ]
    )
    title = escape(f"{report.name} - picks")
    write_text(
        path,
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n",
    )


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _section(heading: str, content: str) -> list[str]:
    return [f"<section>\n<h2>{escape(heading)}</h2>\n{content}\n</section>"]


def _header(report: RunReport) -> str:
    counts = [int(row["picks"]) for row in report.done]
    proofs = [text for row in report.done for text in row.get("proof", {}).values()]
    verified = sum(text.startswith("verified") for text in proofs)
    failed = len(report.micrographs) - len(report.done)
    figures = [
        ("picks", f"{report.picks:,}".replace(",", " ")),
        ("micrographs", str(len(report.done)) + (f" <small>+ {failed} failed</small>" if failed else "")),
        ("median per micrograph", f"{np.median(counts):g}" if counts else "-"),
    ]
    if proofs:
        figures.append(("coordinate files verified", f"{verified} <small>of {len(proofs)}</small>"))
    cells = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in figures)
    notes = "".join(f"<p class='note'>{escape(note)}</p>" for note in report.notes)
    state = "" if report.state == "complete" else f"<span class='state'>{escape(report.state)}</span>"
    return f"<header>\n<h1>{escape(report.name)}{state}</h1>\n<div class='figures'>{cells}</div>\n{notes}</header>"


def _png(image: NDArray[Any]) -> str:
    out = io.BytesIO()
    software: Any = {"Software": None}
    matplotlib.image.imsave(out, grey(image), cmap="gray", vmin=0, vmax=255, format="png", metadata=software)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _picture(image: NDArray[Any] | None, caption: str, alt: str) -> str:
    shown = "<div class='none'></div>" if image is None else f'<img src="{_png(image)}" alt="{escape(alt)}">'
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _views(report: RunReport) -> str:
    cards = []
    for number, view in enumerate(report.views):
        share = f"{100 * view.picks / report.picks:.0f} % of the picks" if report.picks else ""
        first = f"template 1 of {view.sections}" if view.sections > 1 else "template"
        mean = f"mean of {view.averaged}, turned by psi" if view.averaged else "no particles"
        rows = [("picks", f"{view.picks} <small>{share}</small>"), ("threshold", view.threshold_text)]
        rows.append(("mask", escape(view.mask)))
        if view.false_rate is not None:
            rows.append(("false picks", f"about {100 * view.false_rate:.1f} %"))
        if view.scores:
            rows.append(("scores", f"{max(view.scores):.2f} to {min(view.scores):.2f}"))
        facts = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
        cards.append(
            f"<article class='view' style='--colour: {_colour(number)}'><h3>{escape(view.name)}</h3>"
            f"<div class='pair'>{_picture(view.template, first, 'template')}{_picture(view.mean, mean, 'mean')}</div>"
            f"<dl>{facts}</dl></article>"
        )
    return f"<div class='views'>{''.join(cards)}</div>"


def _gallery(report: RunReport) -> str:
    parts = [
        f"<p class='hint'>As they lie in the micrographs, from the best score to the worst of each view; "
        f"{report.box / 10:.0f} nm wide.</p>"
    ]
    for number, view in enumerate(report.views):
        if view.particles:
            pairs = zip(view.particles, view.scores, strict=True)
            shown = "".join(_picture(image, f"{score:.2f}", "particle") for image, score in pairs)
            parts.append(
                f"<h3 style='--colour: {_colour(number)}'>{escape(view.name)}</h3><div class='gallery'>{shown}</div>"
            )
    return "".join(parts)


def _overlay(report: RunReport) -> str:
    picture = base64.b64encode(report.overlay or b"").decode("ascii")
    return (
        "<p class='hint'>The micrograph with the median number of picks; a line leads from each centre along psi.</p>"
        f'<img class="overlay" src="data:image/png;base64,{picture}" alt="micrograph with picks">'
    )


def _svg(content: Iterable[str]) -> str:
    return f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img'>{''.join(content)}</svg>"


def _text(x: float, y: float, text: str, anchor: str = "middle", style: str = "") -> str:
    place = f"x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' class='{style}'"
    return f"<text {place}>{escape(text)}</text>"


def _axis(values: Sequence[tuple[float, str]]) -> list[str]:
    """Return lines and labels at heights y."""
    return [
        f"<line class='grid' x1='{_LEFT}' x2='{_WIDTH}' y1='{y:.1f}' y2='{y:.1f}'/>"
        + _text(_LEFT - 8, y + 4, label, "end")
        for y, label in values
    ]


def _histogram(view: ViewReport, report: RunReport, number: int) -> str:
    """Draw candidates and picks by score, on a logarithmic axis."""
    edges, most = report.edges, max(10, int(view.candidates.max(initial=0)))
    scale = (_HEIGHT - _BOTTOM - _TOP) / math.log10(2 * most)
    base = _HEIGHT - _BOTTOM

    def y(count: float) -> float:
        return base - scale * math.log10(max(1.0, 2 * count))

    def x(score: float) -> float:
        return float(_LEFT + (_WIDTH - _LEFT) * (score - edges[0]) / (edges[-1] - edges[0]))

    parts = _axis([(y(10**k), f"{10**k}") for k in range(math.ceil(math.log10(most)) + 1) if 10**k <= most])
    for kind, counts, colour in (("candidates", view.candidates, "#D5D9DF"), ("picks", view.chosen, _colour(number))):
        for low, high, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True):
            if count:
                parts.append(
                    f"<rect x='{x(low) + 0.5:.1f}' y='{y(count):.1f}' width='{x(high) - x(low) - 1:.1f}' "
                    f"height='{base - y(count):.1f}' fill='{colour}'>"
                    f"<title>{low:.2f} to {high:.2f}: {count} {kind}</title></rect>"
                )
    if view.threshold is not None:
        at = x(view.threshold)
        parts.append(f"<line class='mark' x1='{at:.1f}' x2='{at:.1f}' y1='{_TOP}' y2='{base}'/>")
        parts.append(_text(at + 6, _TOP + 10, f"threshold {view.threshold_text}", "start", "strong"))
    parts += [_text(x(score), base + 16, f"{score:g}") for score in np.round(edges[::5], 1).tolist()]
    parts.append(_text(_WIDTH, base + 31, "score (NCC)", "end"))
    legend = (
        f"<p class='hint'><i style='background: {_colour(number)}'></i>picks <i class='pale'></i>all candidates</p>"
    )
    return f"<h3 style='--colour: {_colour(number)}'>{escape(view.name)}</h3>{legend}{_svg(parts)}"


def _per_micrograph(report: RunReport) -> str:
    """Draw a bar for each micrograph, or for a few that follow one another where there are very many."""
    rows = report.done
    if not rows:
        return "<p class='hint'>None.</p>"
    together = math.ceil(len(rows) / _MOST_BARS)
    groups = [rows[start : start + together] for start in range(0, len(rows), together)]
    means = [
        [float(np.mean([row["picks_per_view"].get(view.name, 0) for row in group])) for view in report.views]
        for group in groups
    ]
    most = max(1.0, max(map(sum, means)))
    step = next(s * 10**k for k in range(9) for s in (1, 2, 5) if most / (s * 10**k) <= 5)
    base = _HEIGHT - _BOTTOM
    scale = (base - _TOP) / most
    parts = _axis([(base - scale * n, f"{n:g}") for n in np.arange(0, most + 1e-9, step).tolist()])
    pitch = min(44.0, (_WIDTH - _LEFT) / len(groups))
    for place, (group, shares) in enumerate(zip(groups, means, strict=True)):
        y, name = float(base), group[0]["name"] + (f" and {len(group) - 1} more" if len(group) > 1 else "")
        counts = ", ".join(f"{view.name} {share:g}" for view, share in zip(report.views, shares, strict=True))
        parts.append(f"<g><title>{escape(name)}: {escape(counts)}</title>")
        for number, share in enumerate(shares):
            y -= scale * share
            parts.append(
                f"<rect x='{_LEFT + 1 + place * pitch:.1f}' y='{y:.1f}' width='{max(0.8, pitch * 0.84):.1f}' "
                f"height='{scale * share:.1f}' fill='{_colour(number)}'/>"
            )
        parts.append("</g>")
    hint = "in the order of the run" + (f"; each bar is the mean of {together}" if together > 1 else "")
    parts.append(_text(_WIDTH, base + 22, f"micrographs, {hint}", "end"))
    legend = " ".join(f"<i style='background: {_colour(n)}'></i>{escape(v.name)}" for n, v in enumerate(report.views))
    return f"<p class='hint'>{legend}</p>{_svg(parts)}"


def _settings(report: RunReport) -> str:
    def rows(settings: Iterable[tuple[str, str, bool]]) -> str:
        return "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value).replace(chr(10), '<br>')}</td></tr>"
            for name, value, _ in settings
        )

    given = rows(one for one in report.settings if not one[2])
    default = rows(one for one in report.settings if one[2])
    facts = rows((name, value, False) for name, value in report.facts)
    return (
        f"<div class='columns'><div><h3>Given</h3><table>{given}</table></div>"
        f"<div><h3>The run</h3><table>{facts}</table></div></div>"
        f"<details><summary>Defaults</summary><table>{default}</table></details>"
    )


def _table(report: RunReport) -> str:
    names = [view.name for view in report.views] if len(report.views) > 1 else []
    heads = "".join(f"<th class='number'>{escape(name)}</th>" for name in ("picks", *names, "best score"))
    lines = []
    for row in report.micrographs:
        if "error" in row:
            why = f"<td colspan='{len(names) + 3}' class='failed'>{escape(row['error'])}</td>"
            lines.append(f"<tr><td>{escape(row['name'])}</td>{why}</tr>")
            continue
        best = "-" if row["best_score"] is None else f"{row['best_score']:.3f}"
        numbers = [str(row["picks"]), *(str(row["picks_per_view"].get(name, 0)) for name in names), best]
        cells = "".join(f"<td class='number'>{number}</td>" for number in numbers)
        proofs = sorted(row.get("proof", {}).values(), key=lambda text: text.startswith("verified"))
        proof = proofs[0] if proofs else ""  # the least sure one
        lines.append(f"<tr><td>{escape(row['name'])}</td>{cells}<td>{escape(proof)}</td></tr>")
    table = f"<table class='list'><tr><th>micrograph</th>{heads}<th>coordinates</th></tr>{''.join(lines)}</table>"
    if len(lines) <= _ROWS_OPEN:
        return table
    return f"<details><summary>All {len(lines)}</summary>{table}</details>"


def _footer(report: RunReport) -> str:
    return f"<footer>{escape(report.program)}. Positions are pixels of the micrographs, scores are NCC.</footer>"


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
    summary = f"{counted(report.picks, 'pick')} on {counted(len(report.done), 'micrograph')}"
    summary += f"     box {report.box / 10:.0f} nm     {report.program}"
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
    return f"{counted(view.picks, 'pick')}, threshold {view.threshold_text}{scores}{shown}"
