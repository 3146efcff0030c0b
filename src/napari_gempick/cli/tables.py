"""Tables of numbers for a person at the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEADINGS = {
    "name": "set",
    "recall_truth": "truth",
    "recall_matched": "found",
    "picks_matched": "matched",
    "truth_matched": "found",
    "f1": "F1",
    "mean_distance": "mean px",
    "rms_distance": "RMS px",
    "right_view": "right view",
    "only_a": "only a",
    "only_b": "only b",
    "matched_a": "matched a",
    "matched_b": "matched b",
    "alone": "in no other",
    "best_f1": "best F1",
    "best_threshold": "at score",
}


def aligned(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    """Yield a blank line, a heading and aligned rows; columns without any value are left out."""
    columns = [column for column in columns if any(row.get(column) is not None for row in rows)]
    cells = [[_HEADINGS.get(column, column) for column in columns]]
    cells += [[_cell(row.get(column), column) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    text = [isinstance(rows[0].get(column), str) for column in columns]
    yield ""
    for line in cells:
        words = (c.ljust(w) if t else c.rjust(w) for c, w, t in zip(line, widths, text, strict=True))
        yield "  ".join(words).rstrip()


def _cell(value: Any, column: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return (
            f"{value:.1f}" if " mod " in column else f"{value:.2f}" if column.endswith("distance") else f"{value:.3f}"
        )
    return str(value)
