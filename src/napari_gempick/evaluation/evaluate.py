"""Evaluate a set of picks against the truth: from files to matchings.

The report of an evaluation: JSON, tables and curves.
"""

from __future__ import annotations

import csv
import functools
import io
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.evaluation.matching import Matching, Particles, Rules, match
from napari_gempick.evaluation.metrics import better_reading, score_curve
from napari_gempick.io.atomic import write_text
from napari_gempick.io.candidates import read_candidates
from napari_gempick.io.coordinates import PICK_FILES, REPORT, Entry, pair, read_entries
from napari_gempick.io.images.micrograph import header_pixel_size, open_image
from napari_gempick.io.images.row_order import from_bottom
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.results.run_file import FROM_BOTTOM, NoResults, read_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_gempick.io.listing import MicrographFile

_MICROGRAPHS = (".mrc", ".tif", ".tiff", ".mrcs", ".mrc.gz", ".mrc.bz2")
_NAMES_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A set of picks: a matching for each micrograph, by name, what there is to say, and files that do not exist."""

    name: str
    path: Path
    matchings: dict[str, Matching]
    notes: list[str]
    missing: list[str]
    other_reading: tuple[str, int, int] | None


def evaluate_set(
    name: str,
    path: Path,
    truths: Sequence[Entry],
    rules: Rules,
    recall_rows: Sequence[NDArray[np.bool_]],
    shape: tuple[int, int] | None,
) -> Evaluated:
    """Match the picks of a file or folder with the truths.

    Parameters
    ----------
    name, path : str and Path
        The set of picks.
    recall_rows : sequence of (n,) bool
        For each truth, the rows that recall is measured on.
    shape : (ny, nx), optional
        Of all micrographs, px; by default it is looked up.

    Raises
    ------
    InputError
        A file cannot be read, nothing fits, or the size of a micrograph is needed and not known.
    """
    forget_runs()
    entries, whole_list, notes, missing = read_entries(path, PICK_FILES)
    pairs = pair(entries, truths)
    if not pairs:
        raise InputError(
            f"{path} has picks of {some(e.name for e in entries)}, but the truth is of "
            f"{some(t.name for t in truths)}; no name fits, so rename the files or give others.",
            path,
        )
    notes += missing
    spare = [entry.name for number, entry in enumerate(entries) if number not in pairs.values()]
    if spare:
        notes.append(f"Not counted, because there is no truth: picks of {some(spare)}.")
    without = [truth.name for number, truth in enumerate(truths) if number not in pairs]
    if without and whole_list:
        notes.append(f"Counted as nothing found, because there are no picks: {some(without)}.")
    matchings, readings = {}, []
    for number, truth in enumerate(truths):
        if number not in pairs and not whole_list:
            continue
        entry = entries[pairs[number]] if number in pairs else None
        size = shape or entry_size(entry, truth)
        if size is None and rules.edge > 0:
            raise InputError(
                f"The size of {truth.name} is not known, and --edge needs it; give --shape NY,NX.", truth.path
            )
        beside = _beside(truth)
        picks = Particles.at([], []) if entry is None else entry_particles(settled(entry, beside, size))
        true = _particles(settled(truth, beside, size), [])
        matchings[truth.name] = match(picks, true, rules, shape=size, for_recall=recall_rows[number])
        readings.append((picks, true, size))
    return Evaluated(name, path, matchings, notes, missing, better_reading(readings, rules.tolerance))


def some(names: Iterable[str]) -> str:
    """Return the first of the names for a sentence, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _NAMES_SHOWN} more" if len(listed) > _NAMES_SHOWN else ""
    return (", ".join(listed[:_NAMES_SHOWN]) or "nothing") + more


def recall_rows(truths: Sequence[Entry], recall_on: str | None) -> list[NDArray[np.bool_]]:
    """Return which rows of each truth recall is measured on."""
    if recall_on is None:
        return [np.ones(len(truth.found.picks), np.bool_) for truth in truths]
    column, equals, value = recall_on.partition("=")
    if not equals:
        raise SettingsError(f"--recall-on {recall_on} is not COLUMN=VALUE, such as source=both.")
    rows, values = [], set()
    for truth in truths:
        cells = truth.found.columns.get(column, truth.found.columns.get(column.lower()))
        if cells is None:
            known = ", ".join(truth.found.columns)
            raise InputError(f"{truth.path} has no column {column} for --recall-on; it has {known}.", truth.path)
        rows.append(np.array([cell == value for cell in cells], np.bool_))
        values.update(cells)
    if values and value not in values:
        raise SettingsError(
            f"--recall-on {recall_on}: no particle of the ground truth has this value, only {some(sorted(values))}."
        )
    return rows


def entry_particles(entry: Entry) -> Particles:
    """Return the picks of a micrograph with the names of their views, as far as files beside them tell these."""
    return _particles(entry, _view_names(entry))


def _particles(entry: Entry, by_section: Sequence[str]) -> Particles:
    """Return picks or truth with the names of their views: from the file itself, else by section."""
    picks, columns = entry.found.picks, entry.found.columns
    views: Sequence[str] = ["" for _ in range(len(picks))]
    if "view" in columns:
        views = columns["view"]
    elif "gempickView" in columns:
        views = [_item(entry.found.view_names, view) for view in picks.view.tolist()]
    elif by_section:
        views = [_item(by_section, section) for section in picks.section.tolist()]
    return Particles.at(picks.x, picks.y, score=picks.score, view=views, psi=picks.psi)


def _item(names: Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else ""


def forget_runs() -> None:
    """Read run.json files again from now on."""
    _run.cache_clear()


@functools.cache
def _run(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Return the view of every section, and the rows of the micrographs by name, that a folder's run.json gives."""
    try:
        run = read_run(folder)
    except NoResults:
        return [], {}
    sections = [view["name"] for view in run.get("views", []) for _ in range(view["sections"])]
    return sections, {row["name"]: row for row in run.get("micrographs", [])}


def _results(entry: Entry) -> tuple[list[str], dict[str, Any], Path | None]:
    """Return the view of every section, the row of run.json and the candidate file that belong to picks, if any."""
    file = entry.path.absolute()
    stem = file.name.removesuffix("_autopick.star")
    for folder in file.parents:
        name = file.relative_to(folder).with_name(stem).as_posix()
        sections, rows = _run(folder)
        candidates = folder / "candidates" / f"{name}.star"
        if name in rows or candidates.exists():
            return sections, rows.get(name, {}), candidates if candidates.exists() else None
    return [], {}, None


def _view_names(entry: Entry) -> Sequence[str]:
    sections, _, candidates = _results(entry)
    if sections or candidates is None or (entry.found.picks.section < 0).all():
        return sections
    stored = read_candidates(candidates, decoys=False)
    names = {
        s: stored.view_names[v] for s, v in zip(stored.picks.section.tolist(), stored.picks.view.tolist(), strict=True)
    }
    return [names.get(section, "") for section in range(max(names, default=-1) + 1)]


def entry_size(entry: Entry | None, truth: Entry | None = None) -> tuple[int, int] | None:
    """Return (ny, nx) of a micrograph: from run.json, the candidates, or a micrograph beside the truth."""
    if entry is not None:
        _, row, candidates = _results(entry)
        if "shape" in row:
            return row["shape"][0], row["shape"][1]
        candidates = entry.path if "gempickView" in entry.found.columns else candidates
        if candidates is not None:
            return read_candidates(candidates).file_shape
    near = truth or entry
    path = None if near is None else _beside(near)
    if path is None and entry is not None and entry.micrograph and Path(entry.micrograph).is_file():
        path = Path(entry.micrograph)
    return None if path is None else _size(path)


def common_pixel_size(
    sets: Iterable[tuple[Path, Sequence[str]]],
    micrographs: Iterable[MicrographFile] = (),
    unit: str = "Å",
    remedy: str = "--pixel-size, or px",
) -> float:
    """Return the pixel size (Å) of sets of coordinates, each a path and patterns of files, and of micrographs.

    It is what the results say, or the coordinates, or a micrograph beside them; of micrographs, their list or header,
    and those that cannot be read do not count. `unit` and `remedy` are for the errors.

    Raises
    ------
    SettingsError
        It is unknown, or not the same for all.
    InputError
        A file of coordinates cannot be read.
    """
    forget_runs()
    entries = (entry for path, patterns in sets for entry in read_entries(path, patterns).entries)
    known = [(_pixel_size(entry), entry.path) for entry in entries]
    for file in micrographs:
        with suppress(InputError):  # the command reports this file by itself
            known.append((file.pixel_size or _header_pixel_size(file.path), file.path))
    sizes: dict[float, Path] = {}
    for size, path in known:
        if size:
            sizes.setdefault(float(f"{size:.5g}"), path)
    if not sizes:
        raise SettingsError(f"No file gives the pixel size, which lengths in {unit} need; give {remedy}.")
    if len(sizes) > 1:
        (one, first), (other, second) = list(sizes.items())[:2]
        raise SettingsError(f"{first} has a pixel size of {one:g} Å and {second} one of {other:g} Å; give {remedy}.")
    return next(iter(sizes))


def _pixel_size(entry: Entry) -> float | None:
    _, row, candidates = _results(entry)
    size: float | None = row.get("pixel_size") or entry.found.common("pixel_size")
    if size is None and candidates is not None:
        size = read_candidates(candidates, decoys=False).pixel_size
    beside = _beside(entry)
    if size is None and beside is not None:
        size = _header_pixel_size(beside)
    return size


def _header_pixel_size(path: Path) -> float | None:
    return header_pixel_size(open_image(path, single=True))


def _size(path: Path) -> tuple[int, int]:
    ny, nx = open_image(path, single=True).data.shape[1:]
    return int(ny), int(nx)


def _beside(entry: Entry) -> Path | None:
    """Return the micrograph that lies beside a file of coordinates."""
    paths = (entry.path.with_name(entry.parts[-1] + suffix) for suffix in _MICROGRAPHS)
    return next((path for path in paths if path.exists()), None)


def settled(entry: Entry, micrograph: Path | None = None, size: tuple[int, int] | None = None) -> Entry:
    """Return the entry with y counted from the first row of the micrograph's file, TIFF or not.

    Parameters
    ----------
    micrograph : Path, optional
        Its file; by default what the results or the coordinates say, or a file beside them.
    size : (ny, nx), optional
        px; by default it is looked up.

    Raises
    ------
    SettingsError
        The rows are counted from the bottom, and the size is unknown.
    """
    found = entry.found
    _, row, _ = _results(entry)
    if found.settled or (row and found.program not in row.get(FROM_BOTTOM, [])):
        return replace(entry, found=replace(found, settled=True))
    file = micrograph or (Path(row["path"]) if row else _beside(entry))
    name = file or entry.micrograph
    if from_bottom(found.program, name) and size is None:
        size = _size(file) if file is not None and file.exists() else entry_size(entry)
    return replace(entry, found=found.on(name, size, entry.path))


OUTPUTS = (REPORT, "matches.csv", "pr.csv", "roc.csv", "pr.png", "roc.png")


def write_report(output: Path, result: dict[str, Any], sets: dict[str, Evaluated]) -> None:
    """Write the files of OUTPUTS: `result` as JSON, every pick, and the curves."""
    from napari_gempick.evaluation.plots import plot_precision_recall, plot_roc

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
