"""gempick evaluate: picks against a truth, or sets of picks against one another, as tables and as JSON."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.cli.common import EXIT_SOME_FAILED, command_errors, reported, say
from napari_gempick.cli.options import LengthType, json_option, parse_format, parse_shape
from napari_gempick.evaluation import compare, metrics
from napari_gempick.evaluation.evaluate import (
    OUTPUTS,
    Evaluated,
    common_pixel_size,
    evaluate_set,
    recall_rows,
    some,
    write_report,
)
from napari_gempick.evaluation.matching import Rules
from napari_gempick.io.atomic import refuse_existing
from napari_gempick.io.coordinates import PICK_FILES, TRUTH_FILES, read_entries
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.values import Length, Named, counted
from napari_gempick.results.folder import INDEX_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari_gempick.io.formats import Format


@click.command("evaluate")
@click.argument("paths", nargs=-1, required=True, metavar="[NAME=]PICKS... TRUTH")
@click.option(
    "--tolerance",
    type=LengthType("px", 0, open=True),
    required=True,
    metavar="PX",
    help="Largest distance between a pick and the particle it finds. [px of the micrograph, or Å as in 80A]",
)
@click.option(
    "--edge",
    type=LengthType("px", 0),
    default="0",
    metavar="PX",
    help="Picks and particles nearer than this to the edge of the micrograph are not counted. [px or Å; default: 0]",
)
@click.option(
    "--ignore-radius",
    type=LengthType("px", 0),
    metavar="PX",
    help="Picks and particles within this distance of one whose view is `ignore` are not counted. [px or Å; default: "
    "the tolerance]",
)
@click.option(
    "--pixel-size",
    type=click.FloatRange(min=0, min_open=True),
    help="Pixel size of the micrographs, for lengths in Å. [Å; default: from the results, or a micrograph beside the "
    "truth]",
)
@click.option(
    "--recall-on",
    metavar="COLUMN=VALUE",
    help="Recall counts only particles with this value in a column of the ground truth; precision counts all. "
    "[default: all]",
)
@click.option(
    "--psi-modulo",
    type=click.FloatRange(min=0, min_open=True, max=360),
    default=360.0,
    metavar="DEGREES",
    help="Errors of psi are also given modulo this, for particles with a symmetry axis. [degrees; default: 360]",
)
@click.option(
    "--shape",
    callback=parse_shape,
    metavar="NY,NX",
    help="Size of the micrographs, rows and columns. [px; default: from the results, or a micrograph beside the truth]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for evaluation.json, matches.csv, and the curves as pr.csv, roc.csv, pr.png, roc.png.",
)
@click.option(
    "--compare",
    "compared",
    is_flag=True,
    help="All arguments are sets of picks: compare each pair of them, without a ground truth.",
)
@click.option(
    "--export",
    "export_to",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write the coordinates of picks that all sets have (consensus) and that only one has (only_NAME); the ground "
    "truth is the set named truth.",
)
@click.option(
    "--export-format",
    callback=parse_format,
    default="star",
    metavar="FORMAT",
    help="Format of --export, as in gempick convert. [default: star]",
)
@click.option("--overwrite", is_flag=True, help="Replace the files of an earlier evaluation.")
@json_option
@command_errors
def command(
    paths: tuple[str, ...],
    recall_on: str | None,
    psi_modulo: float,
    shape: tuple[int, int] | None,
    output: Path | None,
    compared: bool,
    export_to: Path | None,
    export_format: Format,
    overwrite: bool,
    as_json: bool,
    **lengths: Any,
) -> int:
    """Compare picks with a ground truth (known particle positions), or with one another.

    The result is precision, recall, F1, distances, views and angles.

    PICKS is a coordinate file (STAR, CSV, EMAN .box), a folder of results, or an autopick.star; several are compared
    side by side. TRUTH, the last argument, is a CSV file (x, y in px; optional view, psi or inplane_deg) or a folder of
    them. Both are paired by the micrograph's name: STEM_autopick.star with STEM_truth.csv or STEM.csv.

    Picks and truth match one to one: the most pairs, and of those the nearest. Curves show what a threshold on the
    score would give. Picking has no true negatives, so the ROC curve shows recall against the false positives per
    micrograph, and against the false positives over all picks at the lowest threshold.

    --compare needs no ground truth. It compares each pair of sets and counts the picks that both have and those that
    only one has.
    """
    if len(paths) < 2:
        raise click.UsageError("Give picks and, as the last argument, the truth; or two sets of picks with --compare.")
    if not math.isfinite(psi_modulo):
        raise SettingsError("--psi-modulo must be a finite number.")
    listed = {name: (path, PICK_FILES) for name, path in _named(paths if compared else paths[:-1]).items()}
    if not compared:
        listed["truth"] = Path(paths[-1]), TRUTH_FILES
    tolerance, edge, ignore_radius = _in_pixels(lengths, listed.values())
    if compared:
        compare_and_print(listed, tolerance, export_to, export_format, overwrite=overwrite, as_json=as_json)
        return 0
    if output is not None:
        refuse_existing((output / name for name in OUTPUTS), overwrite, "another folder")
    rules = Rules(tolerance, edge, ignore_radius)
    truths = read_entries(Path(paths[-1]), TRUTH_FILES).entries
    sets = {}
    for name, path in _named(paths[:-1]).items():
        sets[name] = evaluate_set(name, path, truths, rules, recall_rows(truths, recall_on), shape)
    result: dict[str, Any] = {
        "truth_path": paths[-1],
        "tolerance_px": tolerance,
        "edge_px": edge,
        "ignore_radius_px": rules.ignore_radius,
        "recall_on": recall_on,
        "psi_modulo_deg": psi_modulo,
    }
    reports = [_report(one, psi_modulo) for one in sets.values()]
    if len(reports) == 1:
        result |= {key: value for key, value in reports[0].items() if not isinstance(value, (list, dict))}
    result = _without_nan({**result, "sets": reports})
    if output is not None:
        write_report(output, result, sets)
        say(f"Wrote {', '.join(OUTPUTS)} to {output}.")
    if export_to is not None:
        export(listed, compare.compare_sets(listed, tolerance), export_to, export_format, overwrite=overwrite)
    if not reported(result, as_json):
        click.echo("\n".join(_tables(result)))
    return EXIT_SOME_FAILED if any(one.missing for one in sets.values()) else 0


def _in_pixels(given: dict[str, Any], sets: Iterable[tuple[Path, Sequence[str]]]) -> tuple[float, float, float]:
    """Return tolerance, edge and ignore radius in px; the sets tell the pixel size where it is needed."""
    lengths: list[Length] = [given[name] or given["tolerance"] for name in ("tolerance", "edge", "ignore_radius")]
    size = given["pixel_size"]
    if size is None and any(length.unit != "px" and length.value for length in lengths):
        size = common_pixel_size(sets)
    tolerance, edge, ignore_radius = (length.used(size) if length.value else 0.0 for length in lengths)
    return tolerance, edge, ignore_radius


def _named(texts: Iterable[str]) -> dict[str, Path]:
    """Return the sets of picks by name: the one given, else that of the folder or file."""
    out: dict[str, Path] = {}
    for text in texts:
        name, rest = (None, text) if Path(text).exists() else Named.read(text)
        path = Path(rest)
        if name is None:
            whole = path.absolute()
            name = whole.parent.name if whole.name == INDEX_FILE else whole.name if path.is_dir() else whole.stem
            name = text if name in out else name
        if name in out:
            raise SettingsError(f"Two sets of picks have the name {name}; give NAME=PATH for each.", path)
        out[name] = path
    return out


def _report(one: Evaluated, psi_modulo: float) -> dict[str, Any]:
    """Return the report about a set of picks; print its notes and warnings at once."""
    matchings = list(one.matchings.values())
    views = metrics.summarise_views(matchings, list(dict.fromkeys((360.0, psi_modulo))))
    known, right = sum(view.view_known for view in views), sum(view.view_right for view in views)
    curve = metrics.score_curve(matchings)
    notes, warnings = list(one.notes), []
    if one.other_reading is not None:
        how, matched, written = one.other_reading
        warnings.append(
            f"The coordinates of {one.path} fit much better when read as {how}: {matched} picks match instead of "
            f"{written}. The numbers are for the coordinates as they are; correct them and evaluate again."
        )
    named = [view for view in views if view.picks], [view for view in views if view.truth]
    comparable = any(view.picks and view.truth for view in views)
    if all(named) and not known and any(view.picks_matched for view in views):
        notes.append(
            f"Views are not compared: the picks have {some(v.name for v in named[0])}, the truth has "
            f"{some(v.name for v in named[1])}."
        )
    for sentence in (*notes, *(f"Warning: {warning}" for warning in warnings)):
        say(f"{one.name}: {sentence}")
    best = curve.best
    return {
        "name": one.name,
        "path": str(one.path),
        **_numbers(metrics.summarise(matchings)),
        "right_view": right / known if known else math.nan,
        "best_f1": math.nan if best is None else float(curve.f1[best]),
        "best_threshold": math.nan if best is None else float(curve.threshold[best]),
        "notes": notes,
        "warnings": warnings,
        "per_view": [_one_sided(view, comparable) for view in views],
        "per_micrograph": [
            {"micrograph": name, **_numbers(metrics.summarise([matching]))} for name, matching in one.matchings.items()
        ],
    }


def _numbers(summary: metrics.Summary | metrics.ViewSummary) -> dict[str, Any]:
    """Return the fields and the rates of a summary."""
    rates = ("precision", "recall", "f1", "right_view")
    return {**dataclasses.asdict(summary), **{r: getattr(summary, r) for r in rates if hasattr(summary, r)}}


def _one_sided(view: metrics.ViewSummary, comparable: bool) -> dict[str, Any]:
    """Return the numbers of a view; where views cannot be compared, only those of the side that has it."""
    numbers = _numbers(view)
    sides = {"picks": ("picks_matched", "precision"), "truth": ("truth_matched", "recall")}
    for side, others in sides.items():
        if not comparable and not numbers[side]:
            numbers |= dict.fromkeys((side, *others))
    return numbers


def _without_nan(value: Any) -> Any:
    """Return the value with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tables(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the tables for a person."""
    sets = result["sets"]
    rules = f"tolerance {result['tolerance_px']:g} px, edge {result['edge_px']:g} px"
    yield f"{rules}, ignore radius {result['ignore_radius_px']:g} px" + (
        f", recall on {result['recall_on']}" if result["recall_on"] else ""
    )
    rates = ("picks", "matched", "precision", "recall_truth", "recall_matched", "recall", "f1")
    distances = ("mean_distance", "rms_distance")
    best = ("best_f1", "best_threshold")
    yield from aligned(sets, ("name", "micrographs", *rates, *distances, "right_view", *best))
    several = ("name",) if len(sets) > 1 else ()
    views = [
        {**view, "view": view["name"], "name": one["name"], **_angles(view)} for one in sets for view in one["per_view"]
    ]
    angle_columns = tuple(dict.fromkeys(key for view in views for key in _angles(view)))
    view_rates = ("picks", "picks_matched", "precision", "truth", "truth_matched", "recall", "right_view")
    if views:
        yield from aligned(views, ("view", *several, *view_rates, *angle_columns))
    micrographs = [{**row, "name": one["name"]} for one in sets for row in one["per_micrograph"]]
    if len(micrographs) > len(sets):
        yield from aligned(micrographs, ("micrograph", *several, *rates, *distances))


def _angles(view: dict[str, Any]) -> dict[str, float]:
    return {
        f"{heading} mod {error['period']:g}": error[key]
        for error in view["angles"]
        for heading, key in (("|dpsi|", "median"), ("90 %", "percentile_90"))
    }


def compare_and_print(
    sets: dict[str, Any], tolerance: float, folder: Path | None, to: Format, *, overwrite: bool, as_json: bool
) -> None:
    """Compare sets with one another and print it."""
    micrographs = compare.compare_sets(sets, tolerance)
    result = compare.comparison(list(sets), micrographs)
    if folder is not None:
        export(sets, micrographs, folder, to, overwrite=overwrite)
    if reported({"tolerance_px": tolerance, **result}, as_json):
        return
    click.echo(f"tolerance {tolerance:g} px, {counted(result['micrographs'], 'micrograph')}")
    columns = ("a", "b", "matched", "only_a", "only_b", "mean_distance")
    click.echo("\n".join(aligned(result["pairs"], columns)))
    views = [{"a": pair["a"], "b": pair["b"], **view} for pair in result["pairs"] for view in pair["per_view"]]
    if views:
        click.echo("\n".join(aligned(views, ("view", "a", "b", "matched_a", "matched_b", "only_a", "only_b"))))
    if len(sets) > 2:
        rows = [{"name": name, "picks": result["picks"][name], "alone": result["alone"][name]} for name in sets]
        click.echo("\n".join(aligned(rows, ("name", "picks", "alone"))))
        click.echo(f"\nIn all sets: {result['in_all']}")


def export(
    sets: Iterable[str], micrographs: Sequence[compare.Compared], folder: Path, to: Format, *, overwrite: bool
) -> None:
    """Write consensus and differences and say where."""
    places = compare.export_sets(folder, list(sets), micrographs, to, overwrite=overwrite)
    say(f"Wrote {', '.join(places)}.")


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
