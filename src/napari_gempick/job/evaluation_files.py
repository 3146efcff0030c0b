"""The report of an evaluation: JSON, tables and curves."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.engine.rates import score_curve
from napari_gempick.io.atomic import write_text
from napari_gempick.io.coordinate_sets import REPORT
from napari_gempick.model.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from napari_gempick.engine.evaluate import Matching
    from napari_gempick.job.evaluate import Evaluated

OUTPUTS = (REPORT, "matches.csv", "pr.csv", "roc.csv", "pr.png", "roc.png")


def refuse_existing(output: Path, overwrite: bool) -> None:
    """Raise OutputError where a file of a report is there already, unless it may be replaced."""
    for name in OUTPUTS:
        if (output / name).exists() and not overwrite:
            path = output / name
            raise OutputError(f"{path} exists already; add --overwrite or choose another folder.", path)


def write_report(output: Path, result: dict[str, Any], sets: dict[str, Evaluated]) -> None:
    """Write the files of OUTPUTS: `result` as JSON, every pick, and the curves."""
    from napari_gempick.io.curves import plot_precision_recall, plot_roc

    curves = {name: score_curve(list(one.matchings.values())) for name, one in sets.items()}
    write_text(output / REPORT, json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    columns = "micrograph x y score view psi matched distance truth_x truth_y truth_view counted set"
    rows = [row for one in sets.values() for mic, m in one.matchings.items() for row in _match_rows(one.name, mic, m)]
    _write_csv(output / "matches.csv", columns.split(), rows)
    for file, names in (
        ("pr.csv", ("precision", "recall", "f1", "picks", "matched")),
        ("roc.csv", ("recall", "false_per_micrograph", "false_positive_rate")),
    ):
        rows = [
            (name, *row)
            for name, curve in curves.items()
            for row in zip(curve.threshold, *(getattr(curve, column) for column in names), strict=True)
        ]
        _write_csv(output / file, ("set", "threshold", *names), rows)
    plot_precision_recall(output / "pr.png", curves)
    plot_roc(output / "roc.png", curves)


def _match_rows(name: str, micrograph: str, matching: Matching) -> Iterator[tuple[Any, ...]]:
    picks, truth = matching.picks, matching.truth
    for i, (partner, matched) in enumerate(zip(matching.partner.tolist(), matching.matched.tolist(), strict=True)):
        true = (truth.x[partner], truth.y[partner], truth.view[partner]) if partner >= 0 else ("", "", "")
        pick = (picks.x[i], picks.y[i], np.float32(picks.score[i]), picks.view[i], picks.psi[i])
        yield micrograph, *pick, int(matched), matching.distance[i], *true, int(matching.pick_counts[i]), name


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_text(value) for value in row] for row in rows)
    write_text(path, text.getvalue())


def _text(value: Any) -> str:
    """Return a number with the digits that it has, and nothing for one that is not finite."""
    if isinstance(value, np.floating):
        return f"{value:.9g}" if np.isfinite(value) else ""
    return str(value)
